//! The operations that are served. All others answer as DynamoDB answers an operation that it does not know.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    BatchGetItem,
    BatchWriteItem,
    CreateTable,
    DeleteItem,
    DeleteTable,
    DescribeTable,
    DescribeTimeToLive,
    GetItem,
    ListTables,
    ListTagsOfResource,
    PutItem,
    Query,
    Scan,
    TagResource,
    TransactGetItems,
    TransactWriteItems,
    UntagResource,
    UpdateItem,
    UpdateTable,
    UpdateTimeToLive,
}

/// What an operation does to what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Reads one item by its key.
    Point,
    /// Reads or writes items, or reads about tables.
    Items,
    /// Makes, changes or deletes a table, or what policies know of it.
    Tables,
}

impl Operation {
    /// All of them.
    pub(super) const ALL: [Self; 20] = [
        Self::BatchGetItem,
        Self::BatchWriteItem,
        Self::CreateTable,
        Self::DeleteItem,
        Self::DeleteTable,
        Self::DescribeTable,
        Self::DescribeTimeToLive,
        Self::GetItem,
        Self::ListTables,
        Self::ListTagsOfResource,
        Self::PutItem,
        Self::Query,
        Self::Scan,
        Self::TagResource,
        Self::TransactGetItems,
        Self::TransactWriteItems,
        Self::UntagResource,
        Self::UpdateItem,
        Self::UpdateTable,
        Self::UpdateTimeToLive,
    ];

    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// AWS's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BatchGetItem => "BatchGetItem",
            Self::BatchWriteItem => "BatchWriteItem",
            Self::CreateTable => "CreateTable",
            Self::DeleteItem => "DeleteItem",
            Self::DeleteTable => "DeleteTable",
            Self::DescribeTable => "DescribeTable",
            Self::DescribeTimeToLive => "DescribeTimeToLive",
            Self::GetItem => "GetItem",
            Self::ListTables => "ListTables",
            Self::ListTagsOfResource => "ListTagsOfResource",
            Self::PutItem => "PutItem",
            Self::Query => "Query",
            Self::Scan => "Scan",
            Self::TagResource => "TagResource",
            Self::TransactGetItems => "TransactGetItems",
            Self::TransactWriteItems => "TransactWriteItems",
            Self::UntagResource => "UntagResource",
            Self::UpdateItem => "UpdateItem",
            Self::UpdateTable => "UpdateTable",
            Self::UpdateTimeToLive => "UpdateTimeToLive",
        }
    }

    /// What it does.
    pub(super) fn effect(self) -> Effect {
        match self {
            Self::GetItem => Effect::Point,
            Self::CreateTable
            | Self::DeleteTable
            | Self::TagResource
            | Self::UntagResource
            | Self::UpdateTable
            | Self::UpdateTimeToLive => Effect::Tables,
            Self::BatchGetItem
            | Self::BatchWriteItem
            | Self::DeleteItem
            | Self::DescribeTable
            | Self::DescribeTimeToLive
            | Self::ListTables
            | Self::ListTagsOfResource
            | Self::PutItem
            | Self::Query
            | Self::Scan
            | Self::TransactGetItems
            | Self::TransactWriteItems
            | Self::UpdateItem => Effect::Items,
        }
    }
}

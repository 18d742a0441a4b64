//! The engine: a request read into its types, carried out, and its answer written.
//!
//! INVARIANT: the words that the engine's types use among themselves for kinds of errors reach nobody.

use dynoxide::{Database, DynoxideError, actions};
use postern_frontdoor::JsonError;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::error::{serialization, validation};
use super::operation::Operation;

/// What marks a `ValidationException` in an error of the engine's types.
const VALIDATION_MARK: &str = "VALIDATION:";
/// What marks one that item operations put into an envelope.
const REQUEST_MARK: &str = "VALIDATION_REQUEST:";
/// What marks a `SerializationException`.
const SERIALIZATION_MARK: &str = "SERIALIZATION:";

/// A request that makes sense, with whatever the engine takes for it.
pub(super) enum Work {
    BatchGetItem(actions::batch_get_item::BatchGetItemRequest),
    BatchWriteItem(actions::batch_write_item::BatchWriteItemRequest),
    CreateTable(Box<actions::create_table::CreateTableRequest>),
    DeleteItem(Box<actions::delete_item::DeleteItemRequest>),
    DeleteTable(actions::delete_table::DeleteTableRequest),
    DescribeTable(actions::describe_table::DescribeTableRequest),
    DescribeTimeToLive(actions::describe_time_to_live::DescribeTimeToLiveRequest),
    GetItem(Box<actions::get_item::GetItemRequest>),
    ListTables(actions::list_tables::ListTablesRequest),
    ListTagsOfResource(actions::list_tags_of_resource::ListTagsOfResourceRequest),
    PutItem(Box<actions::put_item::PutItemRequest>),
    Query(Box<actions::query::QueryRequest>),
    Scan(Box<actions::scan::ScanRequest>),
    TagResource(actions::tag_resource::TagResourceRequest),
    TransactGetItems(actions::transact_get_items::TransactGetItemsRequest),
    TransactWriteItems(actions::transact_write_items::TransactWriteItemsRequest),
    UntagResource(actions::untag_resource::UntagResourceRequest),
    UpdateItem(Box<actions::update_item::UpdateItemRequest>),
    UpdateTable(Box<actions::update_table::UpdateTableRequest>),
    UpdateTimeToLive(actions::update_time_to_live::UpdateTimeToLiveRequest),
}

impl Work {
    /// Reads a document.
    ///
    /// # Errors
    /// Why it makes no sense, in DynamoDB's words.
    pub(super) fn read(operation: Operation, document: &Map<String, Json>) -> Result<Self, JsonError> {
        let read = Reader { operation, document };
        Ok(match operation {
            Operation::BatchGetItem => Self::BatchGetItem(read.typed()?),
            Operation::BatchWriteItem => Self::BatchWriteItem(read.typed()?),
            Operation::CreateTable => Self::CreateTable(read.typed()?),
            Operation::DeleteItem => Self::DeleteItem(read.typed()?),
            Operation::DeleteTable => Self::DeleteTable(read.typed()?),
            Operation::DescribeTable => Self::DescribeTable(read.typed()?),
            Operation::DescribeTimeToLive => Self::DescribeTimeToLive(read.typed()?),
            Operation::GetItem => Self::GetItem(read.typed()?),
            Operation::ListTables => Self::ListTables(read.typed()?),
            Operation::ListTagsOfResource => Self::ListTagsOfResource(read.typed()?),
            Operation::PutItem => Self::PutItem(read.typed()?),
            Operation::Query => Self::Query(read.typed()?),
            Operation::Scan => Self::Scan(read.typed()?),
            Operation::TagResource => Self::TagResource(read.typed()?),
            Operation::TransactGetItems => Self::TransactGetItems(read.typed()?),
            Operation::TransactWriteItems => Self::TransactWriteItems(read.typed()?),
            Operation::UntagResource => Self::UntagResource(read.typed()?),
            Operation::UpdateItem => Self::UpdateItem(read.typed()?),
            Operation::UpdateTable => Self::UpdateTable(read.typed()?),
            Operation::UpdateTimeToLive => Self::UpdateTimeToLive(read.typed()?),
        })
    }

    /// Carries it out. Blocks.
    ///
    /// # Errors
    /// The engine's refusal, in DynamoDB's words, or its failure.
    pub(super) fn carry_out(self, tables: &Database) -> Result<Answer, JsonError> {
        match self {
            Self::BatchGetItem(request) => items("BatchGetItem", tables.batch_get_item(request)),
            Self::BatchWriteItem(request) => items("BatchWriteItem", tables.batch_write_item(request)),
            Self::CreateTable(request) => description("CreateTable", tables.create_table(*request)),
            Self::DeleteItem(request) => items("DeleteItem", tables.delete_item(*request)),
            Self::DeleteTable(request) => description("DeleteTable", tables.delete_table(request)),
            Self::DescribeTable(request) => description("DescribeTable", tables.describe_table(request)),
            Self::DescribeTimeToLive(request) => {
                items("DescribeTimeToLive", tables.describe_time_to_live(request))
            }
            Self::GetItem(request) => items("GetItem", tables.get_item(*request)),
            Self::ListTables(request) => items("ListTables", tables.list_tables(request)),
            Self::ListTagsOfResource(request) => {
                items("ListTagsOfResource", tables.list_tags_of_resource(request))
            }
            Self::PutItem(request) => items("PutItem", tables.put_item(*request)),
            Self::Query(request) => items("Query", tables.query(*request)),
            Self::Scan(request) => items("Scan", tables.scan(*request)),
            // These two answer with nothing at all.
            Self::TagResource(request) => nothing("TagResource", tables.tag_resource(request)),
            Self::UntagResource(request) => nothing("UntagResource", tables.untag_resource(request)),
            Self::TransactGetItems(request) => items("TransactGetItems", tables.transact_get_items(request)),
            Self::TransactWriteItems(request) => {
                items("TransactWriteItems", tables.transact_write_items(request))
            }
            Self::UpdateItem(request) => items("UpdateItem", tables.update_item(*request)),
            Self::UpdateTable(request) => description("UpdateTable", tables.update_table(*request)),
            Self::UpdateTimeToLive(request) => items("UpdateTimeToLive", tables.update_time_to_live(request)),
        }
    }
}

/// What the engine answers.
pub(super) enum Answer {
    /// A document as it is to be sent.
    Document(String),
    /// One that describes a table, and has the engine's ARNs in it.
    Description(Json),
}

fn items<T: serde::Serialize>(operation: &str, answer: dynoxide::Result<T>) -> Result<Answer, JsonError> {
    let answer = answer.map_err(|error| refusal(operation, error))?;
    let document = serde_json::to_string(&answer);
    document.map(Answer::Document).map_err(|error| JsonError::internal(error.to_string()))
}

fn description<T: serde::Serialize>(
    operation: &str,
    answer: dynoxide::Result<T>,
) -> Result<Answer, JsonError> {
    let answer = answer.map_err(|error| refusal(operation, error))?;
    let document = serde_json::to_value(&answer);
    document.map(Answer::Description).map_err(|error| JsonError::internal(error.to_string()))
}

fn nothing<T>(operation: &str, answer: dynoxide::Result<T>) -> Result<Answer, JsonError> {
    answer.map(|_| Answer::Document(String::new())).map_err(|error| refusal(operation, error))
}

/// The engine's error as DynamoDB writes it.
fn refusal(operation: &str, error: DynoxideError) -> JsonError {
    let error = match error {
        DynoxideError::EnvelopedValidation(message) => return request_validation(operation, &message),
        other => other,
    };
    let kind = error.error_type();
    JsonError {
        code: kind.rsplit('#').next().unwrap_or(kind).to_owned(),
        message: error.to_string(),
        status: error.status_code(),
        body: error.to_json(),
    }
}

/// A failed validation that three operations put into an envelope.
fn request_validation(operation: &str, message: &str) -> JsonError {
    match operation {
        "PutItem" | "UpdateItem" | "DeleteItem" => {
            validation(format!("1 validation error detected: {message}"))
        }
        _ => validation(message),
    }
}

struct Reader<'d> {
    operation: Operation,
    document: &'d Map<String, Json>,
}

impl Reader<'_> {
    fn typed<T: DeserializeOwned>(&self) -> Result<T, JsonError> {
        T::deserialize(self.document).map_err(|error| self.unreadable(&error.to_string()))
    }

    /// What the engine's types say of a document that they do not take.
    fn unreadable(&self, message: &str) -> JsonError {
        if let Some(message) = message.strip_prefix(REQUEST_MARK) {
            return request_validation(self.operation.name(), message);
        }
        if let Some(message) = message.strip_prefix(VALIDATION_MARK) {
            return validation(message);
        }
        if let Some(message) = message.strip_prefix(SERIALIZATION_MARK) {
            return serialization(message);
        }
        if let Some(member) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
        {
            let (first, rest) = member.split_at(member.len().min(1));
            return validation(format!(
                "1 validation error detected: Value null at '{}{rest}' failed to satisfy constraint: \
                 Member must not be null",
                first.to_ascii_lowercase()
            ));
        }
        if message.contains("empty AttributeValue") {
            return validation(
                "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes",
            );
        }
        let of_value = message.contains("Supplied AttributeValue")
            || message.contains("unknown variant")
            || message.contains("invalid type: null");
        if of_value { validation(message) } else { serialization(message) }
    }
}

//! What a request may say: every member that is honoured, with its type. All others are refused by name.
//!
//! DynamoDB itself takes no notice of members that it does not know. What is refused here is therefore AWS's and not
//! served, or a mistake; either way nobody is left thinking that it was done.
//!
//! INVARIANT: nothing that is not listed here reaches the engine.

use postern_frontdoor::JsonError;
use serde_json::{Map, Value as Json};

use super::error::{serialization, validation};
use super::operation::Operation;

/// The type of a member.
enum Kind {
    Text,
    Flag,
    Number,
    /// An attribute value, `{"S": "…"}`: the engine reads what is in it.
    Value,
    Structure(Members),
    List(&'static Kind),
    /// From names to these.
    Map(&'static Kind),
}

type Members = &'static [(&'static str, Kind)];

const TEXTS: Kind = Kind::List(&Kind::Text);
const NAMES: Kind = Kind::Map(&Kind::Text);
const ITEM: Kind = Kind::Map(&Kind::Value);
const VALUES: Kind = Kind::List(&Kind::Value);

const KEY_SCHEMA: Kind =
    Kind::List(&Kind::Structure(&[("AttributeName", Kind::Text), ("KeyType", Kind::Text)]));
const ATTRIBUTE_DEFINITIONS: Kind =
    Kind::List(&Kind::Structure(&[("AttributeName", Kind::Text), ("AttributeType", Kind::Text)]));
const PROJECTION: Kind = Kind::Structure(&[("ProjectionType", Kind::Text), ("NonKeyAttributes", TEXTS)]);
const THROUGHPUT: Kind =
    Kind::Structure(&[("ReadCapacityUnits", Kind::Number), ("WriteCapacityUnits", Kind::Number)]);
const TAGS: Kind = Kind::List(&Kind::Structure(&[("Key", Kind::Text), ("Value", Kind::Text)]));
/// That there is no stream can be said; that there is one is refused.
const NO_STREAM: Kind = Kind::Structure(&[("StreamEnabled", Kind::Flag)]);
const INDEX: Members = &[
    ("IndexName", Kind::Text),
    ("KeySchema", KEY_SCHEMA),
    ("Projection", PROJECTION),
    ("ProvisionedThroughput", THROUGHPUT),
];
const EXPECTED: Kind = Kind::Map(&Kind::Structure(&[
    ("Value", Kind::Value),
    ("Exists", Kind::Flag),
    ("ComparisonOperator", Kind::Text),
    ("AttributeValueList", VALUES),
]));
const CONDITIONS: Kind =
    Kind::Map(&Kind::Structure(&[("AttributeValueList", VALUES), ("ComparisonOperator", Kind::Text)]));
const UPDATES: Kind = Kind::Map(&Kind::Structure(&[("Value", Kind::Value), ("Action", Kind::Text)]));

const TABLE: Members = &[("TableName", Kind::Text)];
const CREATE_TABLE: Members = &[
    ("AttributeDefinitions", ATTRIBUTE_DEFINITIONS),
    ("TableName", Kind::Text),
    ("KeySchema", KEY_SCHEMA),
    (
        "LocalSecondaryIndexes",
        Kind::List(&Kind::Structure(&[
            ("IndexName", Kind::Text),
            ("KeySchema", KEY_SCHEMA),
            ("Projection", PROJECTION),
        ])),
    ),
    ("GlobalSecondaryIndexes", Kind::List(&Kind::Structure(INDEX))),
    ("BillingMode", Kind::Text),
    ("ProvisionedThroughput", THROUGHPUT),
    ("StreamSpecification", NO_STREAM),
    ("Tags", TAGS),
    ("TableClass", Kind::Text),
    ("DeletionProtectionEnabled", Kind::Flag),
];
const UPDATE_TABLE: Members = &[
    ("AttributeDefinitions", ATTRIBUTE_DEFINITIONS),
    ("TableName", Kind::Text),
    ("BillingMode", Kind::Text),
    ("ProvisionedThroughput", THROUGHPUT),
    (
        "GlobalSecondaryIndexUpdates",
        Kind::List(&Kind::Structure(&[
            ("Create", Kind::Structure(INDEX)),
            ("Delete", Kind::Structure(&[("IndexName", Kind::Text)])),
        ])),
    ),
    ("StreamSpecification", NO_STREAM),
    ("TableClass", Kind::Text),
    ("DeletionProtectionEnabled", Kind::Flag),
];
const LIST_TABLES: Members = &[("ExclusiveStartTableName", Kind::Text), ("Limit", Kind::Number)];
const PUT_ITEM: Members = &[
    ("TableName", Kind::Text),
    ("Item", ITEM),
    ("Expected", EXPECTED),
    ("ReturnValues", Kind::Text),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ReturnItemCollectionMetrics", Kind::Text),
    ("ConditionalOperator", Kind::Text),
    ("ConditionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
];
const GET_ITEM: Members = &[
    ("TableName", Kind::Text),
    ("Key", ITEM),
    ("AttributesToGet", TEXTS),
    ("ConsistentRead", Kind::Flag),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ProjectionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
];
const DELETE_ITEM: Members = &[
    ("TableName", Kind::Text),
    ("Key", ITEM),
    ("Expected", EXPECTED),
    ("ConditionalOperator", Kind::Text),
    ("ReturnValues", Kind::Text),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ReturnItemCollectionMetrics", Kind::Text),
    ("ConditionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
];
const UPDATE_ITEM: Members = &[
    ("TableName", Kind::Text),
    ("Key", ITEM),
    ("AttributeUpdates", UPDATES),
    ("Expected", EXPECTED),
    ("ConditionalOperator", Kind::Text),
    ("ReturnValues", Kind::Text),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ReturnItemCollectionMetrics", Kind::Text),
    ("UpdateExpression", Kind::Text),
    ("ConditionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
];
const QUERY: Members = &[
    ("TableName", Kind::Text),
    ("IndexName", Kind::Text),
    ("Select", Kind::Text),
    ("AttributesToGet", TEXTS),
    ("Limit", Kind::Number),
    ("ConsistentRead", Kind::Flag),
    ("KeyConditions", CONDITIONS),
    ("QueryFilter", CONDITIONS),
    ("ConditionalOperator", Kind::Text),
    ("ScanIndexForward", Kind::Flag),
    ("ExclusiveStartKey", ITEM),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ProjectionExpression", Kind::Text),
    ("FilterExpression", Kind::Text),
    ("KeyConditionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
];
const SCAN: Members = &[
    ("TableName", Kind::Text),
    ("IndexName", Kind::Text),
    ("AttributesToGet", TEXTS),
    ("Limit", Kind::Number),
    ("Select", Kind::Text),
    ("ScanFilter", CONDITIONS),
    ("ConditionalOperator", Kind::Text),
    ("ExclusiveStartKey", ITEM),
    ("ReturnConsumedCapacity", Kind::Text),
    ("TotalSegments", Kind::Number),
    ("Segment", Kind::Number),
    ("ProjectionExpression", Kind::Text),
    ("FilterExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
    ("ConsistentRead", Kind::Flag),
];
const BATCH_GET_ITEM: Members = &[
    (
        "RequestItems",
        Kind::Map(&Kind::Structure(&[
            ("Keys", Kind::List(&ITEM)),
            ("AttributesToGet", TEXTS),
            ("ConsistentRead", Kind::Flag),
            ("ProjectionExpression", Kind::Text),
            ("ExpressionAttributeNames", NAMES),
        ])),
    ),
    ("ReturnConsumedCapacity", Kind::Text),
];
const BATCH_WRITE_ITEM: Members = &[
    (
        "RequestItems",
        Kind::Map(&Kind::List(&Kind::Structure(&[
            ("PutRequest", Kind::Structure(&[("Item", ITEM)])),
            ("DeleteRequest", Kind::Structure(&[("Key", ITEM)])),
        ]))),
    ),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ReturnItemCollectionMetrics", Kind::Text),
];
const TRANSACT_GET_ITEMS: Members = &[
    (
        "TransactItems",
        Kind::List(&Kind::Structure(&[(
            "Get",
            Kind::Structure(&[
                ("Key", ITEM),
                ("TableName", Kind::Text),
                ("ProjectionExpression", Kind::Text),
                ("ExpressionAttributeNames", NAMES),
            ]),
        )])),
    ),
    ("ReturnConsumedCapacity", Kind::Text),
];
const TRANSACT_KEYED: Members = &[
    ("Key", ITEM),
    ("TableName", Kind::Text),
    ("ConditionExpression", Kind::Text),
    ("ExpressionAttributeNames", NAMES),
    ("ExpressionAttributeValues", ITEM),
    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
];
const TRANSACT_WRITE_ITEMS: Members = &[
    (
        "TransactItems",
        Kind::List(&Kind::Structure(&[
            ("ConditionCheck", Kind::Structure(TRANSACT_KEYED)),
            (
                "Put",
                Kind::Structure(&[
                    ("Item", ITEM),
                    ("TableName", Kind::Text),
                    ("ConditionExpression", Kind::Text),
                    ("ExpressionAttributeNames", NAMES),
                    ("ExpressionAttributeValues", ITEM),
                    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
                ]),
            ),
            ("Delete", Kind::Structure(TRANSACT_KEYED)),
            (
                "Update",
                Kind::Structure(&[
                    ("Key", ITEM),
                    ("UpdateExpression", Kind::Text),
                    ("TableName", Kind::Text),
                    ("ConditionExpression", Kind::Text),
                    ("ExpressionAttributeNames", NAMES),
                    ("ExpressionAttributeValues", ITEM),
                    ("ReturnValuesOnConditionCheckFailure", Kind::Text),
                ]),
            ),
        ])),
    ),
    ("ReturnConsumedCapacity", Kind::Text),
    ("ClientRequestToken", Kind::Text),
];
const UPDATE_TIME_TO_LIVE: Members = &[
    ("TableName", Kind::Text),
    ("TimeToLiveSpecification", Kind::Structure(&[("Enabled", Kind::Flag), ("AttributeName", Kind::Text)])),
];
const TAG_RESOURCE: Members = &[("ResourceArn", Kind::Text), ("Tags", TAGS)];
const UNTAG_RESOURCE: Members = &[("ResourceArn", Kind::Text), ("TagKeys", TEXTS)];
/// AWS gives at most ten tags a page, and the token of the next one. All of a table's tags are on one page here, so
/// there is no token that could be sent back.
const LIST_TAGS_OF_RESOURCE: Members = &[("ResourceArn", Kind::Text)];

fn members(operation: Operation) -> Members {
    match operation {
        Operation::BatchGetItem => BATCH_GET_ITEM,
        Operation::BatchWriteItem => BATCH_WRITE_ITEM,
        Operation::CreateTable => CREATE_TABLE,
        Operation::DeleteItem => DELETE_ITEM,
        Operation::DeleteTable | Operation::DescribeTable | Operation::DescribeTimeToLive => TABLE,
        Operation::GetItem => GET_ITEM,
        Operation::ListTables => LIST_TABLES,
        Operation::ListTagsOfResource => LIST_TAGS_OF_RESOURCE,
        Operation::PutItem => PUT_ITEM,
        Operation::Query => QUERY,
        Operation::Scan => SCAN,
        Operation::TagResource => TAG_RESOURCE,
        Operation::TransactGetItems => TRANSACT_GET_ITEMS,
        Operation::TransactWriteItems => TRANSACT_WRITE_ITEMS,
        Operation::UntagResource => UNTAG_RESOURCE,
        Operation::UpdateItem => UPDATE_ITEM,
        Operation::UpdateTable => UPDATE_TABLE,
        Operation::UpdateTimeToLive => UPDATE_TIME_TO_LIVE,
    }
}

/// Reads a document, and refuses what is not served in it.
///
/// # Errors
/// Not JSON, another type than it should be, or a member that is not served, by its name.
pub(super) fn read(operation: Operation, body: &[u8]) -> Result<Map<String, Json>, JsonError> {
    let Ok(Json::Object(document)) = serde_json::from_slice(body) else {
        return Err(serialization(""));
    };
    structure(&document, members(operation), "")?;
    let stream = document.get("StreamSpecification").and_then(|stream| stream.get("StreamEnabled"));
    if stream == Some(&Json::Bool(true)) {
        return Err(unsupported("StreamSpecification.StreamEnabled"));
    }
    Ok(document)
}

fn unsupported(name: &str) -> JsonError {
    validation(format!("The parameter {name} is not supported by this endpoint yet."))
}

fn structure(document: &Map<String, Json>, members: Members, at: &str) -> Result<(), JsonError> {
    for (name, value) in document {
        let path = || if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let Some((_, kind)) = members.iter().find(|(known, _)| known == name) else {
            return Err(unsupported(&path()));
        };
        if !value.is_null() {
            fits(value, kind, &path)?;
        }
    }
    Ok(())
}

fn fits(value: &Json, kind: &Kind, path: &dyn Fn() -> String) -> Result<(), JsonError> {
    match (kind, value) {
        (Kind::Text, Json::String(_)) | (Kind::Number, Json::Number(_)) | (Kind::Flag, Json::Bool(_)) => {
            Ok(())
        }
        // DynamoDB reads these words as booleans, and so does the engine.
        (Kind::Flag, Json::String(text)) if matches!(text.as_str(), "true" | "false") => Ok(()),
        (Kind::Value, Json::Object(_)) => Ok(()),
        (Kind::Structure(members), Json::Object(document)) => structure(document, members, &path()),
        (Kind::List(of), Json::Array(items)) => items.iter().try_for_each(|item| fits(item, of, path)),
        (Kind::Map(of), Json::Object(document)) => {
            document.values().try_for_each(|value| fits(value, of, path))
        }
        (kind, value) => Err(serialization(mismatch(kind, value))),
    }
}

/// DynamoDB's words for a value of another type than it should be.
fn mismatch(kind: &Kind, value: &Json) -> String {
    let expected = match kind {
        Kind::Text => "String",
        Kind::Flag => "Boolean",
        Kind::Number => "Long",
        Kind::Value | Kind::Structure(_) | Kind::Map(_) | Kind::List(_) => "",
    };
    let given = match value {
        Json::Null => "NULL_VALUE",
        Json::Bool(true) => "TRUE_VALUE",
        Json::Bool(false) => "FALSE_VALUE",
        Json::Number(number) if number.is_f64() => "DECIMAL_VALUE",
        Json::Number(_) => "NUMBER_VALUE",
        Json::String(_) => "STRING_VALUE",
        Json::Array(_) => return "Start of list found where not expected".to_owned(),
        Json::Object(_) => return "Start of structure or map found where not expected".to_owned(),
    };
    match expected {
        "" => "Unexpected field type".to_owned(),
        expected => format!("{given} cannot be converted to {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(operation: Operation, body: &str) -> String {
        match read(operation, body.as_bytes()) {
            Ok(_) => "served".to_owned(),
            Err(error) => format!("{}: {}", error.code, error.message),
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        let yet = |name: &str| {
            format!("ValidationException: The parameter {name} is not supported by this endpoint yet.")
        };
        for (operation, body, name) in [
            (Operation::CreateTable, r#"{"SSESpecification":{}}"#, "SSESpecification"),
            (
                Operation::CreateTable,
                r#"{"GlobalSecondaryIndexes":[{"IndexName":"i"},{"WarmThroughput":{}}]}"#,
                "GlobalSecondaryIndexes.WarmThroughput",
            ),
            (
                Operation::UpdateTable,
                r#"{"StreamSpecification":{"StreamEnabled":true}}"#,
                "StreamSpecification.StreamEnabled",
            ),
            // Names that the engine would take as well.
            (Operation::GetItem, r#"{"table_name":"t"}"#, "table_name"),
            (Operation::TransactGetItems, r#"{"TransactItems":[{"Get":{"X":1}}]}"#, "TransactItems.Get.X"),
        ] {
            assert_eq!(refusal(operation, body), yet(name), "{body}");
        }
        assert_eq!(
            refusal(Operation::CreateTable, r#"{"StreamSpecification":{"StreamEnabled":false}}"#),
            "served"
        );
        assert_eq!(refusal(Operation::GetItem, r#"{"TableName":"t","ConsistentRead":null}"#), "served");
    }

    #[test]
    fn other_types_are_refused() {
        for (body, words) in [
            ("", ""),
            ("[]", ""),
            (r#"{"TableName":1}"#, "NUMBER_VALUE cannot be converted to String"),
            (r#"{"TableName":{}}"#, "Start of structure or map found where not expected"),
            (r#"{"ConsistentRead":"yes"}"#, "STRING_VALUE cannot be converted to Boolean"),
            (r#"{"Key":"k"}"#, "Unexpected field type"),
            (r#"{"Key":{"k":"v"}}"#, "Unexpected field type"),
            (r#"{"AttributesToGet":[1]}"#, "NUMBER_VALUE cannot be converted to String"),
        ] {
            assert_eq!(
                refusal(Operation::GetItem, body),
                format!("SerializationException: {words}"),
                "{body}"
            );
        }
        let deep = format!("{}{}", r#"{"Key":"#.repeat(1000), "}".repeat(1000));
        assert_eq!(refusal(Operation::GetItem, &deep), "SerializationException: ");
    }
}

//! Errors in DynamoDB's words.

use postern_frontdoor::JsonError;

/// A request that makes no sense, or that says what is not served.
pub(super) fn validation(message: impl Into<String>) -> JsonError {
    of("com.amazon.coral.validate", "ValidationException", message)
}

/// A table that is not there. Two sentences are in use: that of the operations on tables names it.
pub(super) fn no_table(name: &str) -> JsonError {
    let message = format!("Requested resource not found: Table: {name} not found");
    of("com.amazonaws.dynamodb.v20120810", "ResourceNotFoundException", message)
}

/// A member with another type than it should have.
pub(super) fn serialization(message: impl Into<String>) -> JsonError {
    JsonError::common("SerializationException", message)
}

fn of(namespace: &str, code: &str, message: impl Into<String>) -> JsonError {
    let message = message.into();
    let body = serde_json::json!({ "__type": format!("{namespace}#{code}"), "message": message });
    JsonError { code: code.to_owned(), message, status: 400, body: body.to_string() }
}

//! SNS's codes and sentences for what cannot be done.
//!
//! Codes from the errors of each operation in the SNS API reference; sentences as AWS writes them, where it does.

use postern_model::ModelError;
use postern_wire::AwsError;

use crate::commands::CommandError;

/// A parameter that makes no sense.
pub(super) fn invalid(parameter: &str) -> AwsError {
    AwsError::new("InvalidParameter", format!("Invalid parameter: {parameter}"))
}

/// The same, and why.
pub(super) fn invalid_because(parameter: &str, why: &str) -> AwsError {
    invalid(&format!("{parameter} Reason: {why}"))
}

/// Something that AWS has and this endpoint has not.
pub(super) fn unsupported(parameter: &str, what: &str) -> AwsError {
    invalid_because(parameter, &format!("{what} is not supported by this endpoint yet"))
}

pub(super) fn authorization(message: &str) -> AwsError {
    AwsError::new("AuthorizationError", message).with_status(403)
}

pub(super) fn topic_not_found() -> AwsError {
    AwsError::new("NotFound", "Topic does not exist").with_status(404)
}

pub(super) fn subscription_not_found() -> AwsError {
    AwsError::new("NotFound", "Subscription does not exist").with_status(404)
}

/// A resource that has tags, or would.
pub(super) fn resource_not_found() -> AwsError {
    AwsError::new("ResourceNotFound", "Resource does not exist").with_status(404)
}

pub(super) fn internal(what: &str) -> AwsError {
    AwsError::new("InternalError", format!("An internal error has occurred: {what}")).with_status(500)
}

/// A command that was not carried out.
pub(super) fn of_command(failure: CommandError) -> AwsError {
    match failure {
        CommandError::Refused(refusal) => of_model(&refusal),
        CommandError::Storage(why) => internal(&format!("the change could not be stored: {why}")),
    }
}

fn of_model(refusal: &ModelError) -> AwsError {
    match refusal {
        ModelError::TopicNotFound(_) => topic_not_found(),
        ModelError::SubscriptionNotFound(_) => subscription_not_found(),
        ModelError::TopicName(_) => invalid("Topic Name"),
        ModelError::TopicDiffers(_) => {
            invalid_because("Attributes", "Topic already exists with different attributes")
        }
        ModelError::Limit { what: "topics", limit } => {
            AwsError::new("TopicLimitExceeded", format!("There are {limit} topics already")).with_status(403)
        }
        ModelError::Limit { limit, .. } => {
            let message = format!("There are {limit} subscriptions of this topic already");
            AwsError::new("SubscriptionLimitExceeded", message).with_status(403)
        }
        ModelError::TooManyTags { limit } => {
            AwsError::new("TagLimitExceeded", format!("A resource can have {limit} tags"))
        }
        // The other ones say nothing about topics, and say it well enough.
        other => invalid(&other.to_string()),
    }
}

//! One error, four bodies: EC2's, the query protocol's, S3's and the JSON protocols'.

use crate::query::{DecodeError, FormError};
use crate::shape::Protocol;
use crate::xml::Writer;

/// How a service writes errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStyle {
    /// `<Response><Errors><Error>`.
    Ec2,
    /// `<ErrorResponse xmlns="…"><Error>`.
    Query {
        /// The service's namespace.
        xml_namespace: &'static str,
    },
    /// `<Error>`.
    S3,
    /// `{"__type": …, "message": …}`.
    Json {
        /// The content type, which carries the protocol's version: `application/x-amz-json-1.0`.
        content_type: &'static str,
    },
}

/// An error in AWS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AwsError {
    /// AWS's code: `InvalidVpcID.NotFound`.
    pub code: String,
    /// AWS's sentence.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// Further elements, which S3 writes beside the code: `BucketName`, `CanonicalRequest`.
    pub details: Vec<(&'static str, String)>,
}

/// A body to answer with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The document.
    pub body: String,
}

impl AwsError {
    /// An error with the status 400.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), status: 400, details: Vec::new() }
    }

    /// The same error with another status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same error with one more element.
    #[must_use]
    pub fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Writes the body. `resource` is what S3 repeats: the path asked for.
    pub fn body(&self, style: ErrorStyle, request_id: &str, resource: Option<&str>) -> ErrorBody {
        let (content_type, body) = match style {
            ErrorStyle::Ec2 => ("text/xml;charset=UTF-8", self.ec2(request_id)),
            ErrorStyle::Query { xml_namespace } => ("text/xml", self.query(xml_namespace, request_id)),
            ErrorStyle::S3 => ("application/xml", self.s3(request_id, resource)),
            ErrorStyle::Json { content_type } => (content_type, self.json()),
        };
        ErrorBody { status: self.status, content_type, body }
    }

    fn ec2(&self, request_id: &str) -> String {
        let mut writer = Writer::default();
        writer.open("Response");
        writer.open("Errors");
        writer.open("Error");
        writer.element("Code", &self.code);
        writer.element("Message", &self.message);
        writer.close("Error");
        writer.close("Errors");
        writer.element("RequestID", request_id);
        writer.close("Response");
        writer.finish()
    }

    fn query(&self, xml_namespace: &str, request_id: &str) -> String {
        let mut writer = Writer::default();
        writer.open_with_namespace("ErrorResponse", xml_namespace);
        writer.open("Error");
        writer.element("Type", if self.status < 500 { "Sender" } else { "Receiver" });
        writer.element("Code", &self.code);
        writer.element("Message", &self.message);
        writer.close("Error");
        writer.element("RequestId", request_id);
        writer.close("ErrorResponse");
        writer.finish()
    }

    fn s3(&self, request_id: &str, resource: Option<&str>) -> String {
        let mut writer = Writer::default();
        writer.open("Error");
        writer.element("Code", &self.code);
        writer.element("Message", &self.message);
        for (name, value) in &self.details {
            writer.element(name, value);
        }
        if let Some(resource) = resource {
            writer.element("Resource", resource);
        }
        writer.element("RequestId", request_id);
        writer.close("Error");
        writer.finish()
    }

    fn json(&self) -> String {
        serde_json::json!({ "__type": self.code, "message": self.message }).to_string()
    }
}

impl DecodeError {
    /// In the words of the service's dialect.
    pub fn to_aws(&self, protocol: Protocol) -> AwsError {
        match (self, protocol) {
            (Self::Form(form), _) => form_error(form),
            (Self::UnknownAction { action, .. }, Protocol::Ec2) => AwsError::new(
                "InvalidAction",
                format!("The action {action} is not valid for this web service."),
            ),
            (Self::UnknownAction { action, version, .. }, Protocol::Query) => AwsError::new(
                "InvalidAction",
                format!("Could not find operation {action} for version {version}"),
            ),
            (Self::NoVersion, _) => missing("Version"),
            (Self::UnknownParameter { parameter }, _) => {
                AwsError::new("UnknownParameter", format!("The parameter {parameter} is not recognized"))
            }
            (Self::MissingParameter { parameter }, Protocol::Ec2) => missing(parameter),
            (Self::MissingParameter { parameter }, Protocol::Query) => AwsError::new(
                "ValidationError",
                format!(
                    "1 validation error detected: Value null at '{}' failed to satisfy constraint: \
                     Member must not be null",
                    validation_path(parameter)
                ),
            ),
            (Self::Malformed { parameter, value, expected }, Protocol::Ec2) => AwsError::new(
                "InvalidParameterValue",
                format!("Value ({value}) for parameter {parameter} is invalid. It is not {expected}."),
            ),
            (Self::Malformed { parameter, value, expected }, Protocol::Query) => AwsError::new(
                "MalformedInput",
                format!("The value '{value}' of the parameter {parameter} is not {expected}"),
            ),
            (Self::NotAllowed { parameter, value, constraint }, Protocol::Ec2) => AwsError::new(
                "InvalidParameterValue",
                format!("Value ({value}) for parameter {parameter} is invalid. {}", constraint.sentence()),
            ),
            (Self::NotAllowed { parameter, value, constraint }, Protocol::Query) => AwsError::new(
                "ValidationError",
                format!(
                    "1 validation error detected: Value '{value}' at '{}' failed to satisfy constraint: {constraint}",
                    validation_path(parameter)
                ),
            ),
        }
    }
}

fn missing(parameter: &str) -> AwsError {
    AwsError::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

/// `Tags.member.1.Key` as IAM names it: `tags.1.member.key`.
fn validation_path(parameter: &str) -> String {
    let mut steps: Vec<String> = parameter
        .split('.')
        .map(|step| {
            let mut letters = step.chars();
            letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
        })
        .collect();
    for at in 1..steps.len() {
        if steps[at - 1] == "member" && steps[at].bytes().all(|byte| byte.is_ascii_digit()) {
            steps.swap(at - 1, at);
        }
    }
    steps.join(".")
}

fn form_error(error: &FormError) -> AwsError {
    match error {
        FormError::NoAction => {
            AwsError::new("MissingAction", "The request is missing an action or a required parameter.")
        }
        FormError::TooLong { .. } => AwsError::new("RequestEntityTooLarge", capital(error)).with_status(413),
        FormError::SignatureVersion2 { .. } => {
            AwsError::new("InvalidRequest", format!("{} Please use AWS4-HMAC-SHA256.", capital(error)))
        }
        FormError::TooMany { .. }
        | FormError::NotText
        | FormError::Encoding { .. }
        | FormError::Duplicate { .. }
        | FormError::NoName
        | FormError::Character { .. } => AwsError::new("MalformedQueryString", capital(error)),
    }
}

/// An error's own text as a sentence.
fn capital(error: &FormError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).chain(['.']).collect()
}

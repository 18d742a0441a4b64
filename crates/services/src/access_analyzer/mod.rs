//! IAM Access Analyzer's `ValidatePolicy`: what the reader of policies refuses, and what it warns about, as AWS's findings.
//!
//! Where AWS has no check for something that is warned about here, there is no finding of it; `postern policy check` has
//! all warnings. Checks of AWS's that nothing here looks for are listed nowhere, so a document without findings may have
//! some on AWS.
//!
//! INVARIANT: every parameter is honoured or refused by its name.
//! Source: "ValidatePolicy" in the Access Analyzer API reference, and "IAM policy validation check reference".

mod finding;
mod path;
mod refused;
mod warned;

use postern_frontdoor::json::{Beginning, Begun};
use postern_frontdoor::{Ask, Caller, JsonError, JsonRequest, JsonService, Permit, Refusal, RestOperation};
use postern_policy::{Context, Kind, PolicyDocument};
use serde::Deserialize;
use serde_json::{Value, json};

use self::finding::Finding;

/// Bytes of a request: a policy of any size, and what is around it.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Findings of one answer, unless a request wants fewer.
const PAGE: usize = 100;

const OPERATIONS: &[RestOperation] =
    &[RestOperation { method: "POST", path: "/policy/validation", name: "ValidatePolicy" }];

/// IAM Access Analyzer.
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessAnalyzerService;

/// What is to be looked over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    locale: Option<String>,
    policy_document: String,
    policy_type: String,
    validate_policy_resource_type: Option<String>,
}

/// Which part of the findings is wanted.
struct Page {
    from: usize,
    most: usize,
}

impl JsonService for AccessAnalyzerService {
    fn signing_name(&self) -> &'static str {
        "access-analyzer"
    }

    fn target_prefix(&self) -> &'static str {
        "AccessAnalyzer"
    }

    fn rest_operations(&self) -> &'static [RestOperation] {
        OPERATIONS
    }

    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn operation(&self, name: &str) -> Option<&'static str> {
        OPERATIONS.iter().find(|operation| operation.name == name).map(|operation| operation.name)
    }

    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a> {
        let _ = caller;
        Box::pin(async move {
            let ask = Ask {
                action: "access-analyzer:ValidatePolicy".to_owned(),
                resource: "*".to_owned(),
                resource_account: None,
                resource_policy: None,
                context: Context::new(),
            };
            let serve = move |permits: Vec<Permit>| async move {
                if permits.is_empty() {
                    return Err(JsonError::internal("nothing was permitted"));
                }
                validate(&request).map(|answer| answer.to_string())
            };
            Ok(Begun { asks: vec![ask], serve: Box::new(move |permits| Box::pin(serve(permits))) })
        })
    }

    fn refused(&self, refusal: &Refusal) -> JsonError {
        JsonError::rest("AccessDeniedException", refusal.message.clone(), 403)
    }
}

fn validate(request: &JsonRequest) -> Result<Value, JsonError> {
    let page = page(&request.query)?;
    let body: Body = serde_json::from_slice(&request.body)
        .map_err(|error| invalid("cannotParse", format!("The request cannot be read: {error}."), &[]))?;
    if let Some(locale) = body.locale.as_deref().filter(|locale| *locale != "EN") {
        let message = format!("Findings are not written in {locale} by this endpoint: EN is.");
        return Err(invalid("notSupported", message, &["locale"]));
    }
    let resource_type = body.validate_policy_resource_type.as_deref();
    let kind = kind(&body.policy_type, resource_type)?;
    let text = body.policy_document.as_str();
    let findings = match PolicyDocument::parse_for_all(text, kind) {
        Ok(document) => warned::findings(&document, resource_type),
        Err(errors) => errors.iter().map(|error| refused::finding(error, text)).collect(),
    };
    let shown: Vec<Value> =
        findings.iter().skip(page.from).take(page.most).map(|it| it.shape(text)).collect();
    let mut answer = json!({ "findings": shown });
    let next = page.from.saturating_add(page.most);
    if next < findings.len() {
        answer["nextToken"] = next.to_string().into();
    }
    Ok(answer)
}

fn page(query: &str) -> Result<Page, JsonError> {
    let mut page = Page { from: 0, most: PAGE };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let number = value.parse::<usize>().ok();
        match (name, number) {
            ("maxResults", Some(most)) if most > 0 => page.most = most.min(PAGE),
            ("nextToken", Some(from)) => page.from = from,
            (name, _) => {
                let message = format!("The value `{value}` of the parameter `{name}` is not valid.");
                return Err(invalid("fieldValidationFailed", message, &[name]));
            }
        }
    }
    Ok(page)
}

/// What a document is read as.
fn kind(policy_type: &str, resource_type: Option<&str>) -> Result<Kind, JsonError> {
    let kind = match (policy_type, resource_type) {
        ("RESOURCE_POLICY", Some("AWS::IAM::AssumeRolePolicyDocument")) => Kind::Trust,
        ("RESOURCE_POLICY", Some(name)) if warned::prefix_of(name).is_none() => {
            let message = format!("`{name}` is not a resource type that policies are validated for.");
            return Err(invalid("fieldValidationFailed", message, &["validatePolicyResourceType"]));
        }
        ("RESOURCE_POLICY", _) => Kind::Resource,
        (_, Some(_)) => {
            let message = "validatePolicyResourceType goes with the policy type RESOURCE_POLICY only.";
            return Err(invalid("fieldValidationFailed", message, &["validatePolicyResourceType"]));
        }
        ("IDENTITY_POLICY", None) => Kind::Identity,
        ("SERVICE_CONTROL_POLICY", None) => Kind::ServiceControl,
        ("RESOURCE_CONTROL_POLICY", None) => Kind::ResourceControl,
        (other, None) => {
            let message = format!("`{other}` is not a policy type.");
            return Err(invalid("fieldValidationFailed", message, &["policyType"]));
        }
    };
    Ok(kind)
}

/// `ValidationException`.
fn invalid(reason: &str, message: impl Into<String>, fields: &[&str]) -> JsonError {
    let error = JsonError::rest("ValidationException", message, 400);
    let fields: Vec<Value> =
        fields.iter().map(|name| json!({ "name": name, "message": error.message })).collect();
    let body = json!({ "message": error.message, "reason": reason, "fieldList": fields }).to_string();
    JsonError { body, ..error }
}

impl Finding {
    /// As the answer has it.
    fn shape(&self, text: &str) -> Value {
        let check = self.check;
        json!({
            "findingDetails": self.details,
            "findingType": check.finding_type.name(),
            "issueCode": check.issue_code(),
            "learnMoreLink": check.link(),
            "locations": self.place.map(|place| path::location(text, place)).into_iter().collect::<Vec<_>>(),
        })
    }
}

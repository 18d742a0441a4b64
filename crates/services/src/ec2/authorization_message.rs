//! Encoded authorization failure messages: what a refusal rests on, for those alone who may know it.
//!
//! "DecodeAuthorizationMessage" in the STS API reference, whose shape they have: the caller gets them sealed, and who of
//! the account may call that operation can read them.

use postern_frontdoor::Refusal;
use postern_model::AccountId;
use postern_policy::{Request, Value};
use serde_json::{Value as Json, json};

use crate::directory::session::SessionKeys;

/// How long a message may be that STS decodes.
const ENCODED_CHARS_MAX: usize = 10_240;

/// The sealed message of a refusal; none where no policy was asked, or where it would be too long to be decoded.
pub(super) fn encoded(keys: &SessionKeys, refusal: &Refusal) -> Option<String> {
    let request = refusal.request.as_deref()?;
    let account: AccountId = request.principal.account()?.parse().ok()?;
    let message = message(refusal, request).to_string();
    keys.seal_message(account, &message).ok().filter(|text| text.len() <= ENCODED_CHARS_MAX)
}

fn message(refusal: &Refusal, request: &Request) -> Json {
    let explicit = refusal.denial.as_ref().filter(|denial| denial.explicit);
    let matched: Vec<Json> = explicit
        .into_iter()
        .map(|denial| {
            json!({
                "statementId": denial.sid.as_deref().unwrap_or_default(),
                "effect": "DENY",
                "sourcePolicyId": denial.policy.as_deref().unwrap_or_default(),
            })
        })
        .collect();
    let arn = request.principal.display_name();
    let id = request.context.get("aws:userid").first().map(Value::text);
    json!({
        "allowed": false,
        "explicitDeny": explicit.is_some(),
        "matchedStatements": { "items": matched },
        "failures": { "items": [] },
        "context": {
            "principal": {
                "id": id.unwrap_or_default(),
                "name": arn.rsplit('/').next().unwrap_or(&arn),
                "arn": arn,
            },
            "action": request.action.as_str(),
            "resource": request.resource,
            "conditions": { "items": conditions(request) },
        },
    })
}

fn conditions(request: &Request) -> Vec<Json> {
    let items = |values: &[Value]| -> Vec<Json> {
        values.iter().map(|value| json!({ "value": value.text() })).collect()
    };
    let all = request.context.iter();
    all.map(|(key, values)| json!({ "key": key, "values": { "items": items(values) } })).collect()
}

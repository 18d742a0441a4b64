//! Service Quotas: what an account may have of everything, and asking for more.
//!
//! AWS decides requests by people or rules of its own, later. Here a request is decided at once, by how far AWS's
//! documentation says that the quota can be raised; the answer and the history say how.
//!
//! INVARIANT: every member of a request is honoured or refused by its name.

mod catalogue;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_frontdoor::json::{Beginning, Begun};
use postern_frontdoor::{Ask, Caller, JsonError, JsonRequest, JsonService, Permit};
use postern_model::quota::{QuotaRequest, limit};
use postern_model::{AccountId, Action, ModelError, State};
use postern_policy::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use catalogue::{ENTRIES, Entry, SERVICES};

use crate::commands::{CommandError, Commands};

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 64 << 10;
/// "MaxResults": 1 to 100.
const MOST_ITEMS: usize = 100;
/// The greatest value that a request can name.
const MOST_DESIRED: f64 = 10_000_000_000.0;

/// The operations that are served.
const OPERATIONS: [&str; 9] = [
    "ListServices",
    "ListServiceQuotas",
    "GetServiceQuota",
    "ListAWSDefaultServiceQuotas",
    "GetAWSDefaultServiceQuota",
    "RequestServiceQuotaIncrease",
    "GetRequestedServiceQuotaChange",
    "ListRequestedServiceQuotaChangeHistory",
    "ListRequestedServiceQuotaChangeHistoryByQuota",
];

/// The service.
pub struct QuotasService {
    commands: Arc<dyn Commands>,
}

impl QuotasService {
    /// Over the region's commands.
    pub fn new(commands: Arc<dyn Commands>) -> Self {
        Self { commands }
    }
}

type Outcome = Result<Json, JsonError>;

/// Every member that a request of any of the operations can have.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
struct Given {
    service_code: Option<String>,
    quota_code: Option<String>,
    desired_value: Option<f64>,
    request_id: Option<String>,
    status: Option<String>,
    next_token: Option<String>,
    max_results: Option<i64>,
    quota_applied_at_level: Option<String>,
    quota_requested_at_level: Option<String>,
    context_id: Option<String>,
    support_case_allowed: Option<bool>,
}

fn error(code: &str, message: impl Into<String>) -> JsonError {
    let message = message.into();
    let body = json!({ "__type": code, "Message": message }).to_string();
    JsonError { code: code.to_owned(), message, status: 400, body }
}

fn illegal(message: impl Into<String>) -> JsonError {
    error("IllegalArgumentException", message)
}

fn no_such(message: impl Into<String>) -> JsonError {
    error("NoSuchResourceException", message)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|why| JsonError::common("SerializationException", why.to_string()))
}

/// Which members an operation has.
fn members(operation: &str) -> &'static [&'static str] {
    match operation {
        "ListServices" => &["NextToken", "MaxResults"],
        "ListServiceQuotas" => {
            &["ServiceCode", "QuotaCode", "QuotaAppliedAtLevel", "NextToken", "MaxResults"]
        }
        "ListAWSDefaultServiceQuotas" => &["ServiceCode", "NextToken", "MaxResults"],
        "GetServiceQuota" => &["ServiceCode", "QuotaCode", "ContextId"],
        "GetAWSDefaultServiceQuota" => &["ServiceCode", "QuotaCode"],
        "RequestServiceQuotaIncrease" => {
            &["ServiceCode", "QuotaCode", "DesiredValue", "ContextId", "SupportCaseAllowed"]
        }
        "GetRequestedServiceQuotaChange" => &["RequestId"],
        "ListRequestedServiceQuotaChangeHistory" => {
            &["ServiceCode", "Status", "QuotaRequestedAtLevel", "NextToken", "MaxResults"]
        }
        _ => &["ServiceCode", "QuotaCode", "Status", "QuotaRequestedAtLevel", "NextToken", "MaxResults"],
    }
}

impl Given {
    fn of(operation: &str, body: &[u8]) -> Result<Self, JsonError> {
        let document: serde_json::Map<String, Json> = read(body)?;
        let known = members(operation);
        if let Some(name) = document.keys().find(|name| !known.contains(&name.as_str())) {
            let why = format!("{operation} has no member {name}");
            return Err(JsonError::common("SerializationException", why));
        }
        let given: Self = read(body)?;
        if given.context_id.is_some() {
            return Err(illegal(
                "ContextId: quotas of single resources are not supported by this endpoint yet",
            ));
        }
        for (name, level) in [
            ("QuotaAppliedAtLevel", &given.quota_applied_at_level),
            ("QuotaRequestedAtLevel", &given.quota_requested_at_level),
        ] {
            match level.as_deref() {
                None | Some("ACCOUNT" | "ALL" | "RESOURCE") => {}
                Some(other) => {
                    return Err(illegal(format!("{name}: '{other}' is none of ACCOUNT, ALL, RESOURCE")));
                }
            }
        }
        Ok(given)
    }

    /// Whether only quotas of single resources are asked about, of which there are none.
    fn wants_resources_alone(&self) -> bool {
        [&self.quota_applied_at_level, &self.quota_requested_at_level]
            .iter()
            .any(|level| level.as_deref() == Some("RESOURCE"))
    }

    fn service(&self) -> Result<&str, JsonError> {
        let code = self.service_code.as_deref().ok_or_else(|| illegal("ServiceCode is required"))?;
        match catalogue::service_name(code) {
            Some(_) => Ok(code),
            None => Err(no_such(format!("The service code '{code}' does not exist, or has no quotas here."))),
        }
    }

    fn entry(&self) -> Result<&'static Entry, JsonError> {
        let service = self.service()?;
        let code = self.quota_code.as_deref().ok_or_else(|| illegal("QuotaCode is required"))?;
        let unknown =
            || no_such(format!("The quota code '{code}' of the service '{service}' does not exist."));
        catalogue::find(service, code).ok_or_else(unknown)
    }

    /// A page of a list, under its name.
    fn page(&self, name: &str, all: Vec<Json>) -> Outcome {
        let invalid = || error("InvalidPaginationTokenException", "Invalid NextToken was provided.");
        let from = match &self.next_token {
            None => 0,
            Some(token) => {
                let bytes = STANDARD.decode(token).map_err(|_| invalid())?;
                let text = String::from_utf8(bytes).map_err(|_| invalid())?;
                text.parse::<usize>().ok().filter(|at| (1..all.len()).contains(at)).ok_or_else(invalid)?
            }
        };
        let size = match self.max_results {
            None => MOST_ITEMS,
            Some(given) => usize::try_from(given)
                .ok()
                .filter(|size| (1..=MOST_ITEMS).contains(size))
                .ok_or_else(|| illegal("MaxResults must be between 1 and 100"))?,
        };
        let more = all.len() > from + size;
        let items: Vec<Json> = all.into_iter().skip(from).take(size).collect();
        let mut page = json!({ name: items });
        if more {
            page["NextToken"] = json!(STANDARD.encode((from + size).to_string()));
        }
        Ok(page)
    }
}

/// A number of things, as the wire has numbers of all kinds.
fn number(count: usize) -> f64 {
    // No quota is anywhere near where this is not exact.
    count as f64
}

/// What a quota is.
fn about(state: &State, account: Option<AccountId>, entry: &Entry) -> Json {
    let owner = account.map(|account| account.to_string()).unwrap_or_default();
    let region = &state.region.name;
    json!({
        "ServiceCode": entry.service,
        "ServiceName": catalogue::service_name(entry.service),
        "QuotaArn": format!("arn:aws:servicequotas:{region}:{owner}:{}/{}", entry.service, entry.code),
        "QuotaCode": entry.code,
        "QuotaName": entry.name,
        "Unit": "None",
        "GlobalQuota": false,
    })
}

/// A quota with its value: the account's, or without one the usual one.
fn show(state: &State, account: Option<AccountId>, entry: &Entry) -> Json {
    let mut shown = about(state, account, entry);
    let value = account.map_or(entry.quota.usual(), |account| limit(state, account, entry.quota));
    shown["Value"] = json!(number(value));
    shown["Adjustable"] = json!(entry.adjustable);
    shown["QuotaAppliedAtLevel"] = json!("ACCOUNT");
    shown
}

fn status(request: &QuotaRequest) -> &'static str {
    if request.approved { "APPROVED" } else { "DENIED" }
}

/// A request for more. One for a quota that is listed no more is shown by nothing.
fn show_request(state: &State, account: AccountId, request: &QuotaRequest) -> Option<Json> {
    let entry = ENTRIES.iter().find(|entry| entry.code == request.code)?;
    let mut shown = about(state, Some(account), entry);
    // The protocol has times as seconds since 1970.
    let seconds = json!(request.at.0 / 1_000);
    shown["Id"] = json!(request.id);
    shown["DesiredValue"] = json!(number(request.desired));
    shown["Status"] = json!(status(request));
    shown["Created"] = seconds.clone();
    shown["LastUpdated"] = seconds;
    shown["Requester"] = json!(request.requester);
    shown["QuotaRequestedAtLevel"] = json!("ACCOUNT");
    Some(shown)
}

/// The requests of an account, the latest first.
fn history(state: &State, account: AccountId, given: &Given, which: impl Fn(&Json) -> bool) -> Vec<Json> {
    let all = state.quota_requests.get(&account);
    let all = all.iter().flat_map(|requests| requests.iter().rev());
    let wanted = all.filter(|request| given.status.as_deref().is_none_or(|wanted| wanted == status(request)));
    let shown = wanted.filter_map(|request| show_request(state, account, request));
    shown.filter(|request| which(request) && !given.wants_resources_alone()).collect()
}

impl QuotasService {
    fn begin_now<'a>(&'a self, caller: &'a Caller, request: &JsonRequest) -> Result<Begun<'a>, JsonError> {
        let denied = || JsonError::common("AccessDeniedException", "Access Denied");
        let account = caller.account.ok_or_else(denied)?;
        let operation = request.operation;
        let given = Given::of(operation, &request.body)?;
        let region = &self.commands.state().region.name;
        // Only requests for more have a resource type.
        let resource = match (operation, &given.service_code, &given.quota_code) {
            ("RequestServiceQuotaIncrease", Some(service), Some(code)) => {
                format!("arn:aws:servicequotas:{region}:{account}:{service}/{code}")
            }
            _ => "*".to_owned(),
        };
        let mut context = Context::new();
        if let ("RequestServiceQuotaIncrease", Some(service)) = (operation, &given.service_code) {
            context.insert("servicequotas:service", service.clone());
        }
        let action = format!("servicequotas:{operation}");
        let ask = Ask { action, resource, resource_account: None, resource_policy: None, context };
        let serve = move |permits: Vec<Permit>| async move {
            if permits.is_empty() {
                return Err(denied());
            }
            self.serve(account, caller, operation, &given).await.map(|document| document.to_string())
        };
        Ok(Begun { asks: vec![ask], serve: Box::new(move |permits| Box::pin(serve(permits))) })
    }

    async fn serve(&self, account: AccountId, caller: &Caller, operation: &str, given: &Given) -> Outcome {
        let state = self.commands.state();
        let of_service = |service: &str, account: Option<AccountId>| {
            let listed = ENTRIES.iter().filter(|entry| {
                let asked = given.quota_code.as_deref().is_none_or(|code| code == entry.code);
                entry.service == service && asked && !given.wants_resources_alone()
            });
            listed.map(|entry| show(&state, account, entry)).collect::<Vec<_>>()
        };
        match operation {
            "ListServices" => {
                let shown = |(code, name): &(&str, &str)| json!({ "ServiceCode": code, "ServiceName": name });
                given.page("Services", SERVICES.iter().map(shown).collect())
            }
            "ListServiceQuotas" => given.page("Quotas", of_service(given.service()?, Some(account))),
            "ListAWSDefaultServiceQuotas" => given.page("Quotas", of_service(given.service()?, None)),
            "GetServiceQuota" => Ok(json!({ "Quota": show(&state, Some(account), given.entry()?) })),
            "GetAWSDefaultServiceQuota" => Ok(json!({ "Quota": show(&state, None, given.entry()?) })),
            "RequestServiceQuotaIncrease" => self.request(account, caller, given).await,
            "GetRequestedServiceQuotaChange" => {
                let id = given.request_id.as_deref().ok_or_else(|| illegal("RequestId is required"))?;
                let found = history(&state, account, given, |request| request["Id"] == id);
                let found = found.into_iter().next();
                let found = found.ok_or_else(|| no_such(format!("The request '{id}' does not exist.")))?;
                Ok(json!({ "RequestedQuota": found }))
            }
            "ListRequestedServiceQuotaChangeHistory" => {
                let service = given.service_code.is_some().then(|| given.service()).transpose()?;
                let of = |request: &Json| service.is_none_or(|service| request["ServiceCode"] == service);
                given.page("RequestedQuotas", history(&state, account, given, of))
            }
            "ListRequestedServiceQuotaChangeHistoryByQuota" => {
                let code = given.entry()?.code;
                let of = |request: &Json| request["QuotaCode"] == code;
                given.page("RequestedQuotas", history(&state, account, given, of))
            }
            _ => Err(JsonError::common("UnknownOperationException", "")),
        }
    }

    /// Asks for more, and says what was decided. A support case, which AWS opens where it wants to think, is none here:
    /// whether one may be opened changes nothing.
    async fn request(&self, account: AccountId, caller: &Caller, given: &Given) -> Outcome {
        let _ = given.support_case_allowed;
        let entry = given.entry()?;
        let desired = given.desired_value.ok_or_else(|| illegal("DesiredValue is required"))?;
        if !(0.0..=MOST_DESIRED).contains(&desired) || desired.fract() != 0.0 {
            return Err(illegal(format!("DesiredValue: {desired} is not a number of resources")));
        }
        if !entry.adjustable {
            return Err(illegal(format!("The quota {} is not adjustable.", entry.code)));
        }
        // A whole number within bounds.
        let desired = desired as usize;
        let id = postern_frontdoor::request_id().replace('-', "");
        let action = Action::RequestQuotaIncrease {
            quota: entry.quota,
            code: entry.code.to_owned(),
            id: id.clone(),
            desired,
            requester:
                json!({ "accountId": account.to_string(), "callerArn": caller.principal.display_name() })
                    .to_string(),
        };
        let done = match self.commands.execute(account, None, action).await {
            Ok(done) => done,
            Err(CommandError::Refused(ModelError::QuotaNotRaised { there, .. })) => {
                let why = format!(
                    "You must provide a quota value greater than the current quota value, which is {there}."
                );
                return Err(illegal(why));
            }
            Err(failure) => return Err(JsonError::internal(failure.to_string())),
        };
        let made = history(&done.state, account, &Given::default(), |request| request["Id"] == id);
        let made = made.into_iter().next().ok_or_else(|| JsonError::internal("the request made nothing"))?;
        Ok(json!({ "RequestedQuota": made }))
    }
}

impl JsonService for QuotasService {
    fn signing_name(&self) -> &'static str {
        "servicequotas"
    }

    fn target_prefix(&self) -> &'static str {
        "ServiceQuotasV20190624"
    }

    fn content_type(&self) -> &'static str {
        "application/x-amz-json-1.1"
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn operation(&self, name: &str) -> Option<&'static str> {
        OPERATIONS.into_iter().find(|known| *known == name)
    }

    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a> {
        Box::pin(async move { self.begin_now(caller, &request) })
    }
}

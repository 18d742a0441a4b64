//! STS: who one is, and temporary credentials.
//!
//! INVARIANT: a role is assumed only where its trust policy allows it, and across accounts only where the caller's own
//! policies do too. Whether a role of another account exists is not told to who may not assume it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern_frontdoor::caller::Identity;
use postern_frontdoor::service::Serving;
use postern_frontdoor::{
    Answer, Ask, Caller, Origin, Permit, QueryRequest, QueryService, Refusal, SessionPolicy,
};
use postern_model::iam::Role;
use postern_model::{AccountId, State};
use postern_policy::{Context, Kind, NamedPolicy, PolicyDocument, PolicyType, Principal};
use postern_wire::error::ErrorStyle;
use postern_wire::query::{Form, Limits};
use postern_wire::shape::Protocol;
use postern_wire::sts::{self, Request, op};
use postern_wire::{AwsError, Operation, Sensitive, Timestamp};

use crate::commands::Commands;
use crate::directory::session::{Claims, IssueError, SessionKeys, Who};
use crate::directory::{managed, session_arn};
use crate::iam::document;

/// How long a role's session lasts when nobody says, in seconds ("AssumeRole").
const ROLE_SECONDS: i64 = 3_600;
/// How long a session lasts at most that was made with another session.
const CHAINED_SECONDS_MAX: i64 = 3_600;
/// How long a user's session lasts when nobody says, in seconds ("GetSessionToken").
const USER_SECONDS: i64 = 43_200;
/// How long the root user's session lasts at most.
const ROOT_SECONDS_MAX: i64 = 3_600;
/// How many characters the policies of a session may have.
const SESSION_POLICY_CHARS_MAX: usize = 2_048;
/// How many managed policies may limit a session.
const SESSION_POLICY_ARNS_MAX: usize = 10;
/// The trust policy of a role that is not there: it is refused as one that trusts nobody.
const TRUSTS_NOBODY: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",
    "Principal":{"Service":"nobody.amazonaws.com"}}}"#;

/// What root users are told who want to assume a role.
pub const NOT_BY_ROOT: &str = "Roles may not be assumed by root accounts.";

/// STS.
pub struct StsService {
    commands: Arc<dyn Commands>,
    sessions: Arc<SessionKeys>,
}

type Outcome<T> = Result<T, AwsError>;

impl StsService {
    /// Over the region's state, with credentials made by these keys.
    pub fn new(commands: Arc<dyn Commands>, sessions: Arc<SessionKeys>) -> Self {
        Self { commands, sessions }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.commands.now_milliseconds()).unwrap_or(i64::MAX))
    }
}

impl QueryService for StsService {
    fn signing_name(&self) -> &'static str {
        sts::SERVICE.name
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Query { xml_namespace: sts::SERVICE.xml_namespace }
    }

    fn is_global(&self) -> bool {
        true
    }

    /// "No permissions are required" stands in the API reference of both.
    fn needs_no_permission(&self, operation: &str) -> bool {
        matches!(operation, "GetCallerIdentity" | "GetSessionToken")
    }

    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        match decode(request)? {
            Request::GetCallerIdentity(_) | Request::GetSessionToken(_) => Ok(Vec::new()),
            Request::AssumeRole(request) => assume_role_asks(&self.commands.state(), caller, &request),
            Request::DecodeAuthorizationMessage(_) => Ok(vec![Ask {
                action: "sts:DecodeAuthorizationMessage".to_owned(),
                resource: "*".to_owned(),
                resource_account: None,
                resource_policy: None,
                context: Context::new(),
            }]),
        }
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        // A trust policy is somebody else's business: the caller is not told that it was what refused.
        let by_trust = refusal
            .denial
            .as_ref()
            .is_some_and(|denial| denial.policy_type == PolicyType::Trust && !denial.explicit);
        let message = match refusal.message.split_once(" because no role trust policy") {
            Some((start, _)) if by_trust => start.to_owned(),
            Some(_) | None => refusal.message.clone(),
        };
        denied(message)
    }

    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        _origin: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move {
            let id = request.request_id.as_str();
            let body = match decode(&request)? {
                Request::GetCallerIdentity(_) => op::GetCallerIdentity::respond(identity(caller), id),
                Request::GetSessionToken(request) => {
                    op::GetSessionToken::respond(self.session_token(caller, *request)?, id)
                }
                Request::DecodeAuthorizationMessage(request) => {
                    op::DecodeAuthorizationMessage::respond(self.decode_message(caller, *request)?, id)
                }
                Request::AssumeRole(request) => {
                    let permit =
                        permits.into_iter().next().ok_or_else(|| denied("Access Denied".to_owned()))?;
                    op::AssumeRole::respond(self.assume_role(caller, *request, &permit)?, id)
                }
            };
            Ok(Answer { body })
        })
    }
}

fn decode(request: &QueryRequest) -> Outcome<Request> {
    let form = Form::parse("", &request.body, Limits::DEFAULT);
    let decoded = form.map_err(Into::into).and_then(|form| Request::decode(&form));
    decoded.map_err(|error| error.to_aws(Protocol::Query))
}

fn denied(message: String) -> AwsError {
    AwsError::new("AccessDenied", message).with_status(403)
}

fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

fn unsupported(parameter: &str) -> AwsError {
    validation(format!("The parameter {parameter} is not supported by this endpoint yet."))
}

fn refuse_given(given: &[(&str, bool)]) -> Outcome<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(unsupported(name)),
        None => Ok(()),
    }
}

fn identity(caller: &Caller) -> sts::GetCallerIdentityResponse {
    sts::GetCallerIdentityResponse {
        account: caller.account.map(|account| account.to_string()),
        arn: Some(caller.principal.display_name()),
        user_id: caller.user_id.clone(),
    }
}

/// The account and name in the ARN of a role.
fn role_in(arn: &str) -> Outcome<(AccountId, &str)> {
    let invalid = || validation(format!("{arn} is invalid"));
    let rest = arn.strip_prefix("arn:aws:iam::").ok_or_else(invalid)?;
    let (account, resource) = rest.split_once(':').ok_or_else(invalid)?;
    let path = resource.strip_prefix("role/").ok_or_else(invalid)?;
    let name = path.rsplit('/').next().filter(|name| !name.is_empty()).ok_or_else(invalid)?;
    Ok((account.parse().map_err(|_| invalid())?, name))
}

/// The role of this ARN, path included.
fn find_role<'s>(state: &'s State, arn: &str) -> Outcome<(AccountId, Option<&'s Arc<Role>>)> {
    let (account, name) = role_in(arn)?;
    let role = state.iam.get(&account).and_then(|iam| iam.roles.get(name));
    Ok((account, role.filter(|role| crate::directory::role_arn(account, role) == arn)))
}

/// Whose role an ARN names, and whom it trusts: nobody, where it is not there.
///
/// # Errors
/// Where it is no role's ARN, or the policy cannot be read.
pub fn trust_of(state: &State, arn: &str) -> Result<(AccountId, Arc<NamedPolicy>), AwsError> {
    let (account, role) = find_role(state, arn)?;
    let text = role.map_or(TRUSTS_NOBODY, |role| role.trust_policy.as_str());
    let trust = PolicyDocument::parse(text, Kind::Trust)
        .map_err(|_| denied(format!("The trust policy of {arn} cannot be read, so nobody may assume it.")))?;
    Ok((account, Arc::new(NamedPolicy::new(arn, trust))))
}

/// To assume the role; and to pass tags and a source identity, where the request or the caller's session has some ("Pass
/// session tags in AWS STS", "Monitor and control actions taken with assumed roles").
fn assume_role_asks(state: &State, caller: &Caller, request: &sts::AssumeRoleRequest) -> Outcome<Vec<Ask>> {
    if caller.identity == Identity::Root {
        return Err(denied(NOT_BY_ROOT.to_owned()));
    }
    let arn = request.role_arn.clone().unwrap_or_default();
    let (account, trust) = trust_of(state, &arn)?;
    let mut context = Context::new();
    if let Some(name) = &request.role_session_name {
        context.insert("sts:RoleSessionName", name.clone());
    }
    if let Some(id) = &request.external_id {
        context.insert("sts:ExternalId", id.clone());
    }
    let seconds = request.duration_seconds.unwrap_or(ROLE_SECONDS);
    context.insert("sts:DurationSeconds", postern_policy::Value::Integer(seconds));
    let passed = Passed::of(caller, request)?;
    for (key, value) in &passed.tags {
        context.insert(&format!("aws:RequestTag/{key}"), value.clone());
    }
    context.insert_many("aws:TagKeys", passed.tags.keys().cloned());
    context.insert_many("sts:TransitiveTagKeys", passed.transitive_tag_keys.iter().cloned());
    if let Some(identity) = &passed.source_identity {
        context.insert("sts:SourceIdentity", identity.clone());
    }
    let ask = |action: &str| Ask {
        action: action.to_owned(),
        resource: arn.clone(),
        resource_account: Some(account),
        resource_policy: Some(Arc::clone(&trust)),
        context: context.clone(),
    };
    let tags = (!passed.tags.is_empty()).then(|| ask("sts:TagSession"));
    let identity = passed.source_identity.is_some().then(|| ask("sts:SetSourceIdentity"));
    Ok(std::iter::once(ask("sts:AssumeRole")).chain(tags).chain(identity).collect())
}

/// What goes into a role's session: what the request gives, and what the caller's session hands on.
struct Passed {
    tags: BTreeMap<String, String>,
    transitive_tag_keys: BTreeSet<String>,
    source_identity: Option<String>,
}

impl Passed {
    fn of(caller: &Caller, request: &sts::AssumeRoleRequest) -> Outcome<Self> {
        let invalid = |message: &str| AwsError::new("InvalidParameterValue", message);
        let inherited = &caller.traits.transitive_tag_keys;
        let known = caller.traits.tags.iter().filter(|(key, _)| inherited.contains(*key));
        let mut tags: BTreeMap<String, String> =
            known.map(|(key, value)| (key.clone(), value.clone())).collect();
        let same = |one: &String, other: &str| one.eq_ignore_ascii_case(other);
        for tag in &request.tags {
            let key = tag.key.clone().unwrap_or_default();
            if inherited.iter().any(|other| same(other, &key)) {
                return Err(invalid(
                    "One of the specified transitive tag keys can't be set because it conflicts with a transitive \
                     tag key from the calling session.",
                ));
            }
            if tags.keys().any(|other| same(other, &key)) {
                return Err(invalid(
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
            if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
                return Err(invalid("Tag keys that start with aws: are reserved."));
            }
            tags.insert(key, tag.value.clone().unwrap_or_default());
        }
        let mut transitive_tag_keys = inherited.clone();
        for key in &request.transitive_tag_keys {
            let given = tags.keys().find(|other| same(other, key)).ok_or_else(|| {
                invalid("The specified transitive tag key must be included in the requested tags.")
            })?;
            transitive_tag_keys.insert(given.clone());
        }
        let source_identity = match (&caller.traits.source_identity, &request.source_identity) {
            // "After you set the source identity, you can't change it."
            (Some(set), Some(other)) if set != other => {
                return Err(denied(
                    "The source identity of the calling session cannot be changed.".to_owned(),
                ));
            }
            (Some(set), _) => Some(set.clone()),
            (None, given) => given.clone(),
        };
        Ok(Self { tags, transitive_tag_keys, source_identity })
    }
}

impl StsService {
    fn assume_role(
        &self,
        caller: &Caller,
        request: sts::AssumeRoleRequest,
        permit: &Permit,
    ) -> Outcome<sts::AssumeRoleResponse> {
        let passed = Passed::of(caller, &request)?;
        let sts::AssumeRoleRequest {
            duration_seconds,
            // They were asked about.
            external_id: _,
            source_identity: _,
            tags: _,
            transitive_tag_keys: _,
            minimum_session_token_size,
            policy,
            policy_arns,
            provided_contexts,
            role_arn,
            role_session_name,
            serial_number,
            token_code,
        } = request;
        refuse_given(&[
            ("MinimumSessionTokenSize", minimum_session_token_size.is_some()),
            ("ProvidedContexts", !provided_contexts.is_empty()),
            ("SerialNumber", serial_number.is_some()),
            ("TokenCode", token_code.is_some()),
        ])?;
        let (arn, session) = (role_arn.unwrap_or_default(), role_session_name.unwrap_or_default());
        let state = self.commands.state();
        let (account, role) = find_role(&state, &arn)?;
        // The role that was asked about may be gone by now.
        let role =
            role.filter(|_| permit.resource() == arn).ok_or_else(|| denied("Access Denied".to_owned()))?;
        let seconds = duration_seconds.unwrap_or(ROLE_SECONDS);
        check_duration(seconds, role, caller)?;
        let (policies, packed) = session_policies(&state, account, policy, policy_arns, &passed.tags)?;
        let who = Who::Role { name: role.name.clone(), id: role.unique_id.clone(), session: session.clone() };
        let source_identity = passed.source_identity.clone();
        let credentials = self.issue(account, who, seconds, policies, Some(passed))?;
        Ok(sts::AssumeRoleResponse {
            source_identity,
            assumed_role_user: Some(sts::AssumedRoleUser {
                arn: Some(session_arn(account, &role.name, &session)),
                assumed_role_id: Some(format!("{}:{session}", role.unique_id)),
            }),
            credentials: Some(credentials),
            packed_policy_size: packed,
            ..Default::default()
        })
    }

    fn session_token(
        &self,
        caller: &Caller,
        request: sts::GetSessionTokenRequest,
    ) -> Outcome<sts::GetSessionTokenResponse> {
        let sts::GetSessionTokenRequest {
            duration_seconds,
            minimum_session_token_size,
            serial_number,
            token_code,
        } = request;
        refuse_given(&[
            ("MinimumSessionTokenSize", minimum_session_token_size.is_some()),
            ("SerialNumber", serial_number.is_some()),
            ("TokenCode", token_code.is_some()),
        ])?;
        if caller.is_temporary() {
            return Err(denied("Cannot call GetSessionToken with session credentials".to_owned()));
        }
        let account = caller.account.ok_or_else(|| denied("Access Denied".to_owned()))?;
        let seconds = duration_seconds.unwrap_or(USER_SECONDS);
        let (who, seconds) = match (&caller.identity, &caller.user_id) {
            // "Credentials based on account credentials … with a default of 1 hour", and no longer.
            (Identity::Root, _) => (Who::Root, seconds.min(ROOT_SECONDS_MAX)),
            (Identity::User(name), Some(id)) => (Who::User { name: name.clone(), id: id.clone() }, seconds),
            (Identity::User(_) | Identity::Role(_) | Identity::Anonymous, _) => {
                return Err(denied("Cannot call GetSessionToken with session credentials".to_owned()));
            }
        };
        let credentials = Some(self.issue(account, who, seconds, Vec::new(), None)?);
        Ok(sts::GetSessionTokenResponse { credentials, ..Default::default() })
    }

    /// A message of another account's is as unreadable as one that nobody made.
    fn decode_message(
        &self,
        caller: &Caller,
        request: sts::DecodeAuthorizationMessageRequest,
    ) -> Outcome<sts::DecodeAuthorizationMessageResponse> {
        let sts::DecodeAuthorizationMessageRequest { encoded_message } = request;
        let text = encoded_message.unwrap_or_default();
        let opened = caller.account.and_then(|account| self.sessions.open_message(account, text.trim()));
        let invalid = || AwsError::new("InvalidAuthorizationMessageException", "Message is not valid");
        Ok(sts::DecodeAuthorizationMessageResponse { decoded_message: Some(opened.ok_or_else(invalid)?) })
    }

    fn issue(
        &self,
        account: AccountId,
        who: Who,
        seconds: i64,
        policies: Vec<SessionPolicy>,
        passed: Option<Passed>,
    ) -> Outcome<sts::Credentials> {
        let expires_at_seconds = self.now().plus_seconds(seconds).seconds();
        let (tags, transitive_tag_keys, source_identity) = match passed {
            Some(passed) => (passed.tags, passed.transitive_tag_keys, passed.source_identity),
            None => (BTreeMap::new(), BTreeSet::new(), None),
        };
        let claims =
            Claims { account, who, expires_at_seconds, policies, tags, transitive_tag_keys, source_identity };
        let issued = self.sessions.issue(&claims).map_err(|error| match error {
            IssueError::TooLarge(_) => AwsError::new("PackedPolicyTooLarge", format!("{error}.")),
            IssueError::Crypto(_) => AwsError::new("InternalFailure", format!("{error}.")).with_status(500),
        })?;
        Ok(sts::Credentials {
            access_key_id: Some(issued.access_key_id),
            expiration: Some(issued.expires_at),
            secret_access_key: Some(issued.secret_access_key),
            session_token: Some(Sensitive::into_exposed(issued.session_token)),
        })
    }
}

fn check_duration(seconds: i64, role: &Role, caller: &Caller) -> Outcome<()> {
    if seconds > i64::from(role.max_session_seconds) {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(validation(message));
    }
    let chained = matches!(caller.principal, Principal::AssumedRole { .. });
    if chained && seconds > CHAINED_SECONDS_MAX {
        let message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining";
        return Err(validation(message));
    }
    Ok(())
}

/// The policies that limit a session, and how much of their room they and the session's tags take, in percent.
fn session_policies(
    state: &State,
    account: AccountId,
    policy: Option<String>,
    arns: Vec<sts::PolicyDescriptorType>,
    tags: &BTreeMap<String, String>,
) -> Outcome<(Vec<SessionPolicy>, Option<i64>)> {
    let mut policies = Vec::new();
    let mut chars: usize = tags.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum();
    if let Some(text) = policy {
        document::check(&text, Kind::Session)?;
        chars += text.chars().count();
        policies.push(SessionPolicy::Document(text));
    }
    if arns.len() > SESSION_POLICY_ARNS_MAX {
        let message = format!("A session may have at most {SESSION_POLICY_ARNS_MAX} policy ARNs.");
        return Err(validation(message));
    }
    for descriptor in arns {
        let arn = descriptor.arn.unwrap_or_default();
        let own = state.iam.get(&account).is_some_and(|iam| iam.policies.contains_key(&arn));
        if !own && managed::find(&arn).is_none() {
            return Err(validation(format!("The policy {arn} does not exist.")));
        }
        chars += arn.chars().count();
        policies.push(SessionPolicy::Managed(arn));
    }
    if chars > SESSION_POLICY_CHARS_MAX {
        let percent = chars * 100 / SESSION_POLICY_CHARS_MAX;
        let message = format!("The session policies consume {percent}% of the allotted space.");
        return Err(AwsError::new("PackedPolicyTooLarge", message));
    }
    let packed =
        (chars > 0).then(|| i64::try_from(chars.saturating_mul(100).div_ceil(SESSION_POLICY_CHARS_MAX)).ok());
    Ok((policies, packed.flatten()))
}

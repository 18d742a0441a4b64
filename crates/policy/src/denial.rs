//! Refusals, and the sentences in which AWS gives them.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>

use std::sync::Arc;

use crate::place::Place;
use crate::request::Request;
use crate::set::PolicyType;

/// What a caller is told who may not learn why.
pub const ACCESS_DENIED: &str = "Access Denied";

/// The one policy type that a refusal is ascribed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The type that is named to the caller.
    pub policy_type: PolicyType,
    /// A statement denied, rather than none allowing.
    pub explicit: bool,
    /// The policy with the denying statement; for an implicit denial, the only policy of that type.
    pub policy: Option<Arc<str>>,
    /// The index of the denying statement.
    pub statement: Option<usize>,
    /// The `Sid` of the denying statement.
    pub sid: Option<Arc<str>>,
    /// Where the denying statement begins in its document.
    pub place: Option<Place>,
    /// The level of the organization whose policies refuse, by its name.
    pub level: Option<Arc<str>>,
}

impl Denial {
    /// AWS's sentence with the reason. S3 quotes the resource, other services do not; actions that know no
    /// resource (`*`) name none.
    #[must_use]
    pub fn message(&self, request: &Request, quote_resource: bool) -> String {
        let who = request.principal.display_name();
        let resource = match (request.resource.as_str(), quote_resource) {
            ("*", _) => String::new(),
            (resource, true) => format!(" on resource: \"{resource}\""),
            (resource, false) => format!(" on resource: {resource}"),
        };
        let why = self.reason(request.action.as_str());
        format!("User: {who} is not authorized to perform: {}{resource} {why}", request.action)
    }

    /// [`message`](Self::message) followed by `: <policy>` where the denying policy is known by its ARN, as some
    /// services write since 2026.
    #[must_use]
    pub fn message_with_policy(&self, request: &Request, quote_resource: bool) -> String {
        let message = self.message(request, quote_resource);
        match &self.policy {
            Some(arn) if arn.starts_with("arn:") => format!("{message}: {arn}"),
            Some(_) | None => message,
        }
    }

    /// The sentence without a reason: S3's for callers who may not learn it.
    #[must_use]
    pub fn plain_message(&self) -> &'static str {
        ACCESS_DENIED
    }

    /// Whether S3 tells this caller the reason: one of the resource's account, or of its organization unless an
    /// endpoint policy refused.
    #[must_use]
    pub fn is_told_by_s3(&self, request: &Request, same_organization: bool) -> bool {
        request.is_same_account() || (same_organization && self.policy_type != PolicyType::Endpoint)
    }

    fn reason(&self, action: &str) -> String {
        let phrase = self.policy_type.phrase();
        if !self.explicit {
            return format!("because no {phrase} allows the {action} action");
        }
        let article = match self.policy_type {
            PolicyType::Identity => "an",
            PolicyType::Trust => "the",
            PolicyType::ServiceControl
            | PolicyType::ResourceControl
            | PolicyType::Resource
            | PolicyType::Boundary
            | PolicyType::Session
            | PolicyType::Endpoint => "a",
        };
        format!("with an explicit deny in {article} {phrase}")
    }
}

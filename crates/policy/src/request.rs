//! What is asked: by whom, which action, on what, under which circumstances.

use std::fmt;

use crate::arn::AccountId;
use crate::context::{Context, Entry};
use crate::principal::Principal;
use crate::value::Value;

/// An action such as `s3:GetObject`. Compared without distinguishing case, shown as it was given.
#[derive(Debug, Clone)]
pub struct Action {
    text: String,
    lower_case: String,
}

/// Why a text is not an action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action of the form service:Name")]
pub struct ActionError(String);

impl Action {
    /// Reads `service:Name`, without wildcards.
    ///
    /// # Errors
    /// [`ActionError`] for any other form.
    pub fn parse(text: &str) -> Result<Self, ActionError> {
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        match text.split_once(':') {
            Some((service, name)) if plain(service) && plain(name) => {
                Ok(Self { text: text.to_owned(), lower_case: text.to_ascii_lowercase() })
            }
            Some(_) | None => Err(ActionError(text.to_owned())),
        }
    }

    /// The action as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn lower_case(&self) -> &str {
        &self.lower_case
    }
}

impl PartialEq for Action {
    fn eq(&self, other: &Self) -> bool {
        self.lower_case == other.lower_case
    }
}

impl Eq for Action {}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One request to decide.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub principal: Principal,
    /// What for.
    pub action: Action,
    /// On what: an ARN, or `*` for actions that know no resources.
    pub resource: String,
    /// Whose the resource is. `None` for a request about the caller's own account (listing, creating), which
    /// is decided as within one account; with a resource policy it is decided as across accounts.
    pub resource_account: Option<AccountId>,
    /// The canonical user id of the caller's account, for policies that name a `CanonicalUser`.
    pub canonical_user: Option<String>,
    /// The condition keys.
    pub context: Context,
}

impl Request {
    /// A request about the caller's own account, with an empty context.
    #[must_use]
    pub fn new(principal: Principal, action: Action, resource: impl Into<String>) -> Self {
        Self {
            principal,
            action,
            resource: resource.into(),
            resource_account: None,
            canonical_user: None,
            context: Context::new(),
        }
    }

    /// Says whose the resource is.
    #[must_use]
    pub fn with_resource_account(mut self, account: AccountId) -> Self {
        self.resource_account = Some(account);
        self
    }

    /// Sets the canonical user id of the caller's account.
    #[must_use]
    pub fn with_canonical_user(mut self, id: impl Into<String>) -> Self {
        self.canonical_user = Some(id.into());
        self
    }

    /// Sets the condition keys.
    #[must_use]
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }

    /// Whether principal and resource are in the same account.
    #[must_use]
    pub fn is_same_account(&self) -> bool {
        match (self.principal.account(), &self.resource_account) {
            (Some(account), Some(owner)) => account == owner.as_str(),
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

/// Whether evaluation itself provides this key from the principal and the resource, whatever the context says:
/// `aws:PrincipalArn`, `aws:PrincipalAccount`, `aws:PrincipalType`, `aws:PrincipalIsAWSService`,
/// `aws:PrincipalServiceName` and `aws:username`.
///
/// `aws:userid` is derived for a root user and an anonymous caller and taken from the context otherwise;
/// `aws:ResourceAccount` is derived when the request says whose the resource is.
#[must_use]
pub fn is_derived_key(key: &str) -> bool {
    const DERIVED: [&str; 6] = [
        "aws:principalarn",
        "aws:principalaccount",
        "aws:principaltype",
        "aws:principalisawsservice",
        "aws:principalservicename",
        "aws:username",
    ];
    DERIVED.iter().any(|derived| derived.eq_ignore_ascii_case(key))
}

/// A request as conditions and variables see it: derived keys first, then the context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a Request,
    /// A permissions boundary is set on the principal, which `NotPrincipal` has to know.
    pub(crate) has_boundary: bool,
}

/// The values of a key.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Given(&'a Entry),
    Derived(Value),
}

impl Found<'_> {
    pub(crate) fn values(&self) -> &[Value] {
        match self {
            Self::Given(entry) => &entry.values,
            Self::Derived(value) => std::slice::from_ref(value),
        }
    }

    pub(crate) fn multivalued(&self) -> bool {
        match self {
            Self::Given(entry) => entry.multivalued,
            Self::Derived(_) => false,
        }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn lookup(&self, lower_case_key: &str) -> Option<Found<'a>> {
        let principal = &self.request.principal;
        let derived = match lower_case_key {
            "aws:principalarn" => principal.principal_arn(),
            "aws:principalaccount" => principal.principal_account(),
            "aws:principaltype" => principal.principal_type().map(str::to_owned),
            "aws:principalisawsservice" => principal.is_service().map(|is| is.to_string()),
            "aws:principalservicename" => principal.service_name().map(str::to_owned),
            "aws:username" => principal.user_name().map(str::to_owned),
            other => return self.lookup_context(other),
        };
        derived.map(|text| Found::Derived(Value::Text(text)))
    }

    fn lookup_context(&self, key: &str) -> Option<Found<'a>> {
        let principal = &self.request.principal;
        let derived = match key {
            "aws:userid" => principal.fixed_user_id(),
            "aws:resourceaccount" => self.request.resource_account.as_ref().map(ToString::to_string),
            _ => None,
        };
        if let Some(text) = derived {
            return Some(Found::Derived(Value::Text(text)));
        }
        // An anonymous caller has no organization and no tags, whatever the context says.
        let of_somebody = ["aws:principalorgid", "aws:principalorgpaths"].contains(&key)
            || key.starts_with("aws:principaltag/");
        if of_somebody && matches!(principal, Principal::Anonymous) {
            return None;
        }
        self.request.context.entry(key).map(Found::Given)
    }
}

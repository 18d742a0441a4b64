//! What is asked: by whom, which action, on what, under which circumstances.

use std::fmt;

use crate::arn::AccountId;
use crate::context::{Context, Entry};
use crate::hash::hash;
use crate::key::{Key, Source};
use crate::principal::Principal;
use crate::value::{Value, View};

/// An action such as `s3:GetObject`. Compared without distinguishing case, shown as it was given.
#[derive(Debug, Clone)]
pub struct Action {
    text: String,
    lower_case: String,
    /// Of the lower-case text, and of its service with the colon.
    hashes: ActionHashes,
}

/// What a large document finds its statements by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ActionHashes {
    pub(crate) whole: u64,
    pub(crate) service: u64,
}

impl ActionHashes {
    /// Of an action in lower case.
    pub(crate) fn of(lower_case: &str) -> Self {
        let service = lower_case.find(':').map_or(lower_case, |colon| &lower_case[..=colon]);
        Self { whole: hash(lower_case), service: hash(service) }
    }
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
                let lower_case = text.to_ascii_lowercase();
                let hashes = ActionHashes::of(&lower_case);
                Ok(Self { text: text.to_owned(), lower_case, hashes })
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

    pub(crate) fn hashes(&self) -> ActionHashes {
        self.hashes
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
    /// Whether keys that follow from the principal and the resource are derived from them (see [`is_derived_key`]), as
    /// for every real request. A simulation, which may know nothing of them, takes all keys from the context.
    pub derives_keys: bool,
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
            derives_keys: true,
        }
    }

    /// Says that the request is simulated: every key is taken from the context.
    #[must_use]
    pub fn simulated(mut self) -> Self {
        self.derives_keys = false;
        self
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
    Key::new(key).source().is_derived()
}

/// The actions for which AWS knows nothing of the resource's account and organization: `aws:ResourceAccount`,
/// `aws:ResourceOrgID` and `aws:ResourceOrgPaths` are absent ("This global condition key does not support the following
/// actions", "AWS global condition context keys"), and for all actions of EBS.
const WITHOUT_RESOURCE_KEYS: [&str; 11] = [
    "auditmanager:UpdateAssessmentFrameworkShare",
    "detective:AcceptInvitation",
    "ds:AcceptSharedDirectory",
    "ec2:AcceptTransitGatewayPeeringAttachment",
    "ec2:AcceptVpcEndpointConnections",
    "ec2:AcceptVpcPeeringConnection",
    "ec2:CreateTransitGatewayPeeringAttachment",
    "ec2:CreateVpcEndpoint",
    "ec2:CreateVpcPeeringConnection",
    "guardduty:AcceptAdministratorInvitation",
    "macie2:AcceptInvitation",
];

/// Whether requests for an action say whose the resource is.
#[must_use]
pub fn has_resource_keys(action: &str) -> bool {
    let of_ebs = action.split(':').next().is_some_and(|prefix| prefix.eq_ignore_ascii_case("ebs"));
    !of_ebs && !WITHOUT_RESOURCE_KEYS.iter().any(|known| known.eq_ignore_ascii_case(action))
}

/// A request as conditions and variables see it: derived keys first, then the context.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) request: &'a Request,
    /// A permissions boundary is set on the principal, which `NotPrincipal` has to know.
    pub(crate) has_boundary: bool,
    root_arn: RootArn,
}

/// The ARN of an account's root user, `arn:aws:iam::<12 digits>:root`.
#[derive(Debug)]
struct RootArn([u8; 30]);

impl RootArn {
    const FORM: &[u8; 30] = b"arn:aws:iam::000000000000:root";
    const ACCOUNT: std::ops::Range<usize> = 13..25;

    fn of(principal: &Principal) -> Self {
        let mut arn = Self(*Self::FORM);
        if let Principal::Root { account } = principal {
            arn.0[Self::ACCOUNT].copy_from_slice(account.as_str().as_bytes());
        }
        arn
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The values of a key.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Given(&'a Entry),
    Derived(&'a str),
}

impl<'a> Found<'a> {
    pub(crate) fn values(&self) -> impl Iterator<Item = View<'a>> + use<'a> {
        let (given, derived): (&'a [Value], Option<&'a str>) = match *self {
            Self::Given(entry) => (&entry.values, None),
            Self::Derived(text) => (&[], Some(text)),
        };
        derived.map(View::Text).into_iter().chain(given.iter().map(Value::view))
    }

    pub(crate) fn multivalued(&self) -> bool {
        match self {
            Self::Given(entry) => entry.multivalued,
            Self::Derived(_) => false,
        }
    }
}

impl<'a> Facts<'a> {
    pub(crate) fn new(request: &'a Request, has_boundary: bool) -> Self {
        Self { request, has_boundary, root_arn: RootArn::of(&request.principal) }
    }

    pub(crate) fn lookup(&self, key: &Key) -> Option<Found<'_>> {
        let principal = &self.request.principal;
        let in_context = || self.request.context.entry(key.hash(), key.lower_case()).map(Found::Given);
        if !self.request.derives_keys {
            return in_context();
        }
        let derived = match key.source() {
            Source::PrincipalArn if matches!(principal, Principal::Root { .. }) => {
                Some(self.root_arn.as_str())
            }
            Source::PrincipalArn => principal.principal_arn(),
            Source::PrincipalAccount => principal.principal_account(),
            Source::PrincipalType => principal.principal_type(),
            Source::PrincipalIsAwsService => {
                principal.is_service().map(|is| if is { "true" } else { "false" })
            }
            Source::PrincipalServiceName => principal.service_name(),
            Source::UserName => principal.user_name(),
            Source::UserId => match principal.fixed_user_id() {
                Some(id) => Some(id),
                None => return in_context(),
            },
            Source::ResourceAccount => match &self.request.resource_account {
                Some(account) if has_resource_keys(self.request.action.as_str()) => Some(account.as_str()),
                Some(_) => None,
                None => return in_context(),
            },
            // An anonymous caller has no organization and no tags, whatever the context says.
            Source::OfSomebody if matches!(principal, Principal::Anonymous) => None,
            Source::OfSomebody | Source::Context => return in_context(),
        };
        derived.map(Found::Derived)
    }

    /// `aws:userid`.
    pub(crate) fn user_id(&self) -> Option<Found<'_>> {
        const USER_ID: &str = "aws:userid";
        match self.request.principal.fixed_user_id().filter(|_| self.request.derives_keys) {
            Some(id) => Some(Found::Derived(id)),
            None => self.request.context.entry(hash(USER_ID), USER_ID).map(Found::Given),
        }
    }
}

//! A policy document: its text, and its compiled statements.

use std::fmt;
use std::sync::Arc;

use crate::error::ParseError;
use crate::index::Index;
use crate::place::Place;
use crate::statement::Statement;
use crate::warn::{self, Warning};

/// The full-access policy of a gateway endpoint that was made without one, as AWS returns it.
pub const DEFAULT_GATEWAY_ENDPOINT_POLICY: &str = r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

/// The full-access policy of an interface endpoint that was made without one, as AWS returns it.
pub const DEFAULT_INTERFACE_ENDPOINT_POLICY: &str = "{\n  \"Statement\": [\n    {\n      \"Action\": \"*\", \n      \
     \"Effect\": \"Allow\", \n      \"Principal\": \"*\", \n      \"Resource\": \"*\"\n    }\n  ]\n}";

/// What a policy is attached to, which decides what it may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Attached to a user, group or role. A managed policy of this kind also serves as boundary or session policy.
    Identity,
    /// Attached to a resource, such as a bucket.
    Resource,
    /// Says who may assume a role.
    Trust,
    /// Attached to a VPC endpoint.
    Endpoint {
        /// A gateway endpoint, whose policy cannot pick principals by the `Principal` element.
        gateway: bool,
    },
    /// The permissions boundary of a user or role.
    Boundary,
    /// Passed when a session is made.
    Session,
    /// Of an organization, over principals.
    ServiceControl,
    /// Of an organization, over resources.
    ResourceControl,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identity => "an identity-based policy",
            Self::Resource => "a resource-based policy",
            Self::Trust => "a role trust policy",
            Self::Endpoint { gateway: true } => "a gateway endpoint policy",
            Self::Endpoint { gateway: false } => "a VPC endpoint policy",
            Self::Boundary => "a permissions boundary",
            Self::Session => "a session policy",
            Self::ServiceControl => "a service control policy",
            Self::ResourceControl => "a resource control policy",
        })
    }
}

impl Kind {
    /// The most characters a document may have by AWS's default quotas, and whether white space counts.
    ///
    /// An identity policy may be as long as the largest of its quotas; the service that stores it checks the
    /// one that applies with [`PolicyDocument::fits`].
    pub(crate) fn limit(self) -> (usize, WhiteSpace) {
        match self {
            Self::Identity => (SizeQuota::RoleInline.characters(), WhiteSpace::Ignored),
            Self::Boundary => (SizeQuota::Managed.characters(), WhiteSpace::Ignored),
            Self::Trust => (2_048, WhiteSpace::Ignored),
            Self::Session => (2_048, WhiteSpace::Counted),
            Self::Resource | Self::Endpoint { .. } => (20_480, WhiteSpace::Counted),
            Self::ServiceControl | Self::ResourceControl => (5_120, WhiteSpace::Counted),
        }
    }

    /// Kinds whose documents the IAM service itself stores, with its rules for characters and statement ids.
    pub(crate) fn is_kept_by_iam(self) -> bool {
        match self {
            Self::Identity | Self::Boundary | Self::Session | Self::Trust => true,
            Self::Resource | Self::Endpoint { .. } | Self::ServiceControl | Self::ResourceControl => false,
        }
    }

    /// Kinds whose statements say whom they are about.
    pub(crate) fn has_principal(self) -> bool {
        match self {
            Self::Resource | Self::Trust | Self::Endpoint { .. } | Self::ResourceControl => true,
            Self::Identity | Self::Boundary | Self::Session | Self::ServiceControl => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhiteSpace {
    Counted,
    Ignored,
}

/// IAM's quotas for the size of identity policies, in characters without white space. The inline ones hold for
/// all inline policies of a user, group or role together.
///
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeQuota {
    /// One managed policy.
    Managed,
    /// A user's inline policies.
    UserInline,
    /// A group's inline policies.
    GroupInline,
    /// A role's inline policies.
    RoleInline,
}

impl SizeQuota {
    /// The number of characters.
    #[must_use]
    pub fn characters(self) -> usize {
        match self {
            Self::Managed => 6_144,
            Self::UserInline => 2_048,
            Self::GroupInline => 5_120,
            Self::RoleInline => 10_240,
        }
    }
}

/// The version of the language; it decides whether `${…}` is a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`, also when a document names none.
    V2008,
    /// `2012-10-17`.
    V2012,
}

impl Version {
    /// As it stands in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2008 => "2008-10-17",
            Self::V2012 => "2012-10-17",
        }
    }

    pub(crate) fn has_variables(self) -> bool {
        match self {
            Self::V2008 => false,
            Self::V2012 => true,
        }
    }
}

impl Effect {
    /// As it stands in a document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        }
    }
}

/// What a statement does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Allows.
    Allow,
    /// Denies, whatever allows.
    Deny,
}

/// A valid policy document. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PolicyDocument {
    pub(crate) text: Arc<str>,
    pub(crate) kind: Kind,
    /// As written; none means the older one.
    pub(crate) version: Option<Version>,
    pub(crate) id: Option<Arc<str>>,
    pub(crate) statements: Arc<[Statement]>,
    pub(crate) index: Arc<Index>,
}

impl PolicyDocument {
    /// Reads and compiles a document, within AWS's default size for its kind.
    ///
    /// # Errors
    /// The first reason why it is not a policy of this kind.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, ParseError> {
        Self::parse_within(text, kind, kind.limit().0)
    }

    /// [`parse`](Self::parse) with another limit, for a quota that was raised.
    ///
    /// # Errors
    /// The first reason why it is not a policy of this kind.
    pub fn parse_within(text: &str, kind: Kind, limit_characters: usize) -> Result<Self, ParseError> {
        crate::parse::document(text, kind, limit_characters).map_err(|mut errors| errors.swap_remove(0))
    }

    /// The document, or everything that is wrong with it, as far as it can be read on: the reason that [`parse`](Self::parse)
    /// gives first, a hundred of them at most, never none.
    ///
    /// # Errors
    /// Why it is not a policy of this kind.
    pub fn parse_for_all(text: &str, kind: Kind) -> Result<Self, Vec<ParseError>> {
        crate::parse::document(text, kind, kind.limit().0)
    }

    /// [`parse_for_all`](Self::parse_for_all) of bytes that may not be text.
    ///
    /// # Errors
    /// The same, and [`ParseError::NotUtf8`].
    pub fn parse_bytes_for_all(bytes: &[u8], kind: Kind) -> Result<Self, Vec<ParseError>> {
        Self::parse_for_all(crate::parse::utf8(bytes).map_err(|error| vec![error])?, kind)
    }

    /// [`parse`](Self::parse) of bytes that may not be text.
    ///
    /// # Errors
    /// [`ParseError::NotUtf8`], or the first reason why it is not a policy of this kind.
    pub fn parse_bytes(bytes: &[u8], kind: Kind) -> Result<Self, ParseError> {
        Self::parse(crate::parse::utf8(bytes)?, kind)
    }

    /// What is most likely a mistake, though AWS accepts it, in the order of the text.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        warn::warnings(self)
    }

    /// The document in one plain form: elements in AWS's order, lists only where there is more than one value.
    /// Parsing it gives a document that [says the same](Self::says_the_same).
    #[must_use]
    pub fn print(&self) -> String {
        crate::print::document(self)
    }

    /// Whether both have the same elements, however they are laid out.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.version == other.version
            && self.id == other.id
            && self.statements == other.statements
    }

    /// The document exactly as it was given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it was parsed as.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The version of the language it is in.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version.unwrap_or(Version::V2008)
    }

    /// Whether it says which version it is in.
    #[must_use]
    pub fn names_version(&self) -> bool {
        self.version.is_some()
    }

    /// Whether a statement allows, or denies.
    #[must_use]
    pub fn effect(&self, statement: usize) -> Option<Effect> {
        self.statements.get(statement).map(|statement| statement.effect)
    }

    /// The actions of a statement as they are written, of `NotAction` too, and where each stands.
    pub fn actions(&self, statement: usize) -> impl Iterator<Item = (&str, Place)> {
        let patterns = self.statements.get(statement).map(|statement| statement.actions.patterns.as_slice());
        patterns.unwrap_or_default().iter().map(|pattern| (pattern.text.as_str(), pattern.at.0))
    }

    /// Its `Id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// How many statements it has.
    #[must_use]
    pub fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// Where a statement begins, and where what comes behind it does.
    #[must_use]
    pub fn statement_places(&self, statement: usize) -> Option<(Place, Place)> {
        self.statements.get(statement).map(|statement| (statement.at.0, statement.end.0))
    }

    /// The condition keys that the document uses, in conditions, in policy variables or through a unique id in
    /// `Principal`; as written, sorted, each once however it is spelt.
    #[must_use]
    pub fn condition_keys(&self) -> Vec<String> {
        crate::enforce::condition_keys(self)
    }

    /// Its length in characters as IAM counts it, without white space.
    #[must_use]
    pub fn size_without_white_space(&self) -> usize {
        self.text.chars().filter(|c| !c.is_whitespace()).count()
    }

    /// Whether it alone is within one of IAM's quotas.
    #[must_use]
    pub fn fits(&self, quota: SizeQuota) -> bool {
        self.size_without_white_space() <= quota.characters()
    }
}

impl PartialEq for PolicyDocument {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.text == other.text
    }
}

impl Eq for PolicyDocument {}

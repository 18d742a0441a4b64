//! Why a policy document was refused.
//!
//! [`Problem`] tells the cases apart so that a service can answer with its own AWS code and sentence.

use crate::document::Kind;
use crate::place::Place;

/// A policy document that cannot be accepted, and the first reason found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Longer than the kind of policy may be.
    #[error("the document has {actual} characters, {kind} may have at most {limit}")]
    TooLong {
        /// The kind of policy.
        kind: Kind,
        /// The most that may be.
        limit: usize,
        /// What there is, white space counted as the kind counts it.
        actual: usize,
    },
    /// Not text.
    #[error("the document is not utf-8 from byte {valid_up_to_bytes} on, at {place}")]
    NotUtf8 {
        /// How many bytes are.
        valid_up_to_bytes: usize,
        /// Behind the last character.
        place: Place,
    },
    /// Not JSON, or a key that appears twice.
    #[error("malformed json at {place}: {message}")]
    Json {
        /// Where.
        place: Place,
        /// What was expected there and what is there.
        message: String,
    },
    /// JSON, but not a policy of this kind.
    #[error("{at}: {problem} ({place})")]
    Element {
        /// Which element, for example `Statement[0].Condition.StringEquals`.
        at: String,
        /// Where it stands.
        place: Place,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with an element of a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another JSON type was expected.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// An element that the language does not have.
    #[error("unknown element `{0}`")]
    UnknownElement(String),
    /// A required element is not there.
    #[error("missing `{0}`")]
    Missing(&'static str),
    /// Two elements that exclude each other.
    #[error("has both `{0}` and `{1}`, only one of them is allowed")]
    Both(&'static str, &'static str),
    /// An element that this kind of policy may not have.
    #[error("`{element}` is not allowed in {kind}")]
    Forbidden {
        /// The element.
        element: &'static str,
        /// The kind of policy.
        kind: Kind,
    },
    /// A list or object without members, or an empty string where a value is needed.
    #[error("must not be empty")]
    Empty,
    /// `Version` is neither `2008-10-17` nor `2012-10-17`.
    #[error("`{0}` is not a policy version, which is `2008-10-17` or `2012-10-17`")]
    BadVersion(String),
    /// `Effect` is neither `Allow` nor `Deny`.
    #[error("`{0}` is not an effect, which is `Allow` or `Deny`")]
    BadEffect(String),
    /// `Sid` has characters that this kind of policy does not allow.
    #[error("`{0}` is not a statement id, which has letters and digits only")]
    BadSid(String),
    /// Two statements have the same `Sid`.
    #[error("statement id `{0}` is used twice")]
    DuplicateSid(String),
    /// A character outside of what IAM accepts.
    #[error("character U+{code:04X} is outside of tab, line ends and U+0020 to U+00FF")]
    BadCharacter {
        /// Its code point.
        code: u32,
    },
    /// Not `service:Name`, `*` or a wildcard form of it.
    #[error("`{value}` is not an action: {why}")]
    BadAction {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Neither `*` nor a well-formed ARN.
    #[error("`{value}` is not a resource: {why}")]
    BadResource {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Not a principal that can be named here.
    #[error("`{value}` is not a principal: {why}")]
    BadPrincipal {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A statement that this kind of policy cannot hold.
    #[error("{why} in {kind}")]
    BadStatement {
        /// What is wrong with it.
        why: &'static str,
        /// The kind of policy.
        kind: Kind,
    },
    /// The same condition key twice under one operator, in different spellings.
    #[error("condition key `{0}` appears twice under this operator, once spelt `{1}`")]
    DuplicateConditionKey(String, String),
    /// A condition operator that does not exist.
    #[error("unknown condition operator `{0}`")]
    UnknownOperator(String),
    /// A condition key without a prefix, such as `aws:`.
    #[error("`{0}` is not a condition key, which has the form prefix:name")]
    BadConditionKey(String),
    /// A value that the operator cannot compare with.
    #[error("`{value}` is not {expected}")]
    BadValue {
        /// The value.
        value: String,
        /// What the operator needs.
        expected: &'static str,
    },
    /// A policy variable that cannot be read.
    #[error(
        "`{0}` is not a policy variable, which is ${{key}}, ${{key, 'default'}}, ${{*}}, ${{?}} or ${{$}}"
    )]
    BadVariable(String),
    /// A rule of endpoint policies about wildcards.
    #[error("`{value}`: {why}")]
    EndpointRule {
        /// The value.
        value: String,
        /// The rule.
        why: &'static str,
    },
}

impl ParseError {
    /// Where the reason stands; a document that is too long has no place.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::TooLong { .. } => None,
            Self::NotUtf8 { place, .. } | Self::Json { place, .. } | Self::Element { place, .. } => {
                Some(*place)
            }
        }
    }
}

impl Problem {
    pub(crate) fn at(self, at: impl Into<String>, place: Place) -> ParseError {
        ParseError::Element { at: at.into(), place, problem: self }
    }
}

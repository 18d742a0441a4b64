//! Who asks, and from where.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use postern_model::AccountId;
use postern_path::{Peer, Through};
use postern_policy::Principal;

/// Where a request came from. It follows from the connection alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Who is behind the connection; none for one from outside every VPC (Postern's own port).
    pub peer: Option<Peer>,
    /// The other end, as the listener saw it.
    pub remote: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Origin {
    /// `aws:SourceIp`: the public address, absent through an endpoint.
    pub fn source_ip(&self) -> Option<IpAddr> {
        match self.peer.map(|peer| peer.through) {
            None => Some(self.remote.ip()),
            Some(Through::Internet(address)) => Some(address.into()),
            Some(Through::Endpoint(..) | Through::Resolver(..) | Through::Link) => None,
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// As policies name it.
    pub principal: Principal,
    /// Its account; none for an anonymous one.
    pub account: Option<AccountId>,
    /// The access key that signed.
    pub access_key: Option<String>,
    /// `aws:userid`.
    pub user_id: Option<String>,
    /// The name of the user or role whose policies apply.
    pub identity: Identity,
    /// Session policies, for credentials that were made with some.
    pub session_policies: Vec<SessionPolicy>,
    /// What it brings along beside its name.
    pub traits: Traits,
}

/// What policies know of a caller beside its name ("Pass session tags in AWS STS" and "Monitor and control actions taken
/// with assumed roles" in the IAM user guide).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traits {
    /// `aws:PrincipalTag/…`: the tags of the user or role, and those of the session in their stead.
    pub tags: BTreeMap<String, String>,
    /// The keys of the session's tags that go with it to the next role.
    pub transitive_tag_keys: BTreeSet<String>,
    /// `aws:SourceIdentity`: who is behind a chain of roles.
    pub source_identity: Option<String>,
    /// `aws:UserAgent`: what its program says that it is, in this request. Anybody can say anything.
    pub user_agent: Option<String>,
    /// `aws:referer`: where its program says that it was sent from, in this request.
    pub referer: Option<String>,
}

impl Traits {
    /// Takes in what a request says of the program that made it.
    pub fn hear(&mut self, headers: &http::HeaderMap) {
        let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.user_agent = said(http::header::USER_AGENT);
        self.referer = said(http::header::REFERER);
    }
}

/// A policy that a session was made with: the session may do what it and the identity's own policies allow.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SessionPolicy {
    /// A document.
    Document(String),
    /// The ARN of a managed policy.
    Managed(String),
}

/// Whose policies apply to a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody's.
    Anonymous,
    /// The root user needs none.
    Root,
    /// A user's, by name.
    User(String),
    /// A role's, by name.
    Role(String),
}

impl Caller {
    /// Whether the credentials are temporary ones.
    pub fn is_temporary(&self) -> bool {
        self.access_key.as_ref().is_some_and(|key| key.starts_with("ASIA"))
    }

    /// Nobody.
    pub fn anonymous() -> Self {
        Self {
            principal: Principal::Anonymous,
            account: None,
            access_key: None,
            user_id: None,
            identity: Identity::Anonymous,
            session_policies: Vec::new(),
            traits: Traits::default(),
        }
    }
}

/// What is known of an access key.
#[derive(Clone)]
pub struct Credential {
    /// What signs.
    pub secret: String,
    /// Who signs with it.
    pub caller: Caller,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: a secret never reaches a log.
        f.debug_struct("Credential").field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// Why an access key does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is no such key, or it is not active.
    #[error("access key `{0}` is not known")]
    Unknown(String),
    /// The session token is missing, forged or of another key.
    #[error("the session token does not belong to access key `{0}`")]
    InvalidToken(String),
    /// The time of temporary credentials is over.
    #[error("the credentials of access key `{0}` have expired")]
    Expired(String),
}

//! What S3 asks of the front door: whose key this is, and whether the caller may do this.
//!
//! S3 holds no policy. It says what a request asks for as an [`Ask`], and goes on only with the [`Permit`] that a
//! [`Gate`] gave for it.
//!
//! INVARIANT: without a permit no operation reaches the store (see `Vault` in [`super::ops`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the front door knows about an access key.
#[derive(Clone)]
pub struct SecretLookup {
    /// The secret that signatures are made with.
    pub secret_key: String,
    /// The account of the principal, 12 digits.
    pub account: String,
    /// The session token that must come with the key, for temporary credentials.
    pub session_token: Option<String>,
    /// Whether the credentials' time is over.
    pub expired: bool,
}

// A secret never shows in a log.
impl std::fmt::Debug for SecretLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretLookup")
            .field("account", &self.account)
            .field("temporary", &self.session_token.is_some())
            .field("expired", &self.expired)
            .finish_non_exhaustive()
    }
}

/// Who signed the request. Put into the request's extensions once the signature is verified; nothing a client sends
/// gets in there by another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nobody: the request carried no signature.
    Anonymous,
    /// The holder of this key.
    Signed {
        /// The access key id.
        access_key: String,
        /// Its account, 12 digits.
        account: String,
    },
}

impl Caller {
    /// The caller's account; `None` for an anonymous one.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Signed { account, .. } => Some(account),
        }
    }
}

/// What authorisation needs to know about the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketFacts {
    /// Its name.
    pub name: String,
    /// The account that owns it.
    pub owner: String,
    /// Its bucket policy, if it has one.
    pub policy: Option<Arc<str>>,
    /// Whether only its own account gets in while that policy is public.
    pub restricts_public: bool,
}

/// What a condition key of a request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    /// One value.
    One(String),
    /// Any number of values, of a key that may have several.
    Many(Vec<String>),
}

/// Condition keys of a request, by name.
pub type Keys = BTreeMap<Cow<'static, str>, KeyValue>;

/// One thing that a request wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The action, such as `s3:GetObject`.
    pub action: &'static str,
    /// The resource's ARN.
    pub resource: String,
    /// The bucket; `None` if the action is on none, or there is no such bucket.
    pub bucket: Option<Arc<BucketFacts>>,
    /// Condition keys of the request, such as `s3:prefix`, with their values.
    pub context: Keys,
}

/// Why the gate refused, in AWS's words; the answer is 403 AccessDenied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The sentence that the client reads.
    pub message: String,
}

/// Proof that a [`Gate`] allowed an [`Ask`]. Only a gate gives it.
#[derive(Debug)]
pub struct Permit(());

impl Permit {
    /// For implementations of [`Gate::authorise`] alone, after their decision was to allow.
    pub fn issued_by(_gate: &dyn Gate) -> Self {
        Self(())
    }
}

/// The front door, as S3 sees it.
pub trait Gate: Send + Sync + 'static {
    /// What is known about an access key; `None` if there is no such key. `token` is the session token that came with
    /// it.
    fn secret(&self, access_key: &str, token: Option<&str>) -> Option<SecretLookup>;

    /// Decides. `caller` are the request's extensions: what the front door put there itself (who is connected) and
    /// [`Caller`], the verified signer.
    ///
    /// # Errors
    /// The refusal to show to the client.
    fn authorise(&self, caller: &http::Extensions, ask: &Ask) -> Result<Permit, Refusal>;

    /// How AWS names the caller in a refusal; `None` if that cannot be said.
    fn name(&self, caller: &http::Extensions) -> Option<String>;
}

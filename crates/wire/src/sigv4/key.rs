//! The secret and the keys derived from it.

use super::TERMINATOR;
use super::authorization::CredentialScope;
use crate::crypto::{Digest, hmac_sha256};
use crate::sensitive::Sensitive;

/// The secret half of an access key; `Debug` hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretAccessKey(Sensitive<String>);

impl SecretAccessKey {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(Sensitive::new(secret.into()))
    }

    /// The key that signs for one day, region and service.
    pub(super) fn signing_key(&self, scope: &CredentialScope) -> Digest {
        let secret = format!("AWS4{}", self.0.expose());
        let steps = [scope.date.as_str(), &scope.region, &scope.service, TERMINATOR];
        let [date, rest @ ..] = steps;
        let start = hmac_sha256(secret.as_bytes(), date.as_bytes());
        rest.iter().fold(start, |key, step| hmac_sha256(&key, step.as_bytes()))
    }
}

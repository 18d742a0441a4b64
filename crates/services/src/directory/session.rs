//! Temporary credentials that need no memory: the session token itself says, sealed, whose session it is.
//!
//! The token is the claims as JSON, encrypted and authenticated (AES-256-GCM) under a key of the region, with the
//! access key id as associated data; the secret is derived from the access key id by HMAC-SHA-256 under another one.
//!
//! INVARIANT: whoever does not hold the region's key can neither make a token, nor use one with another access key
//! id, nor find the secret.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use postern_frontdoor::SessionPolicy;
use postern_model::AccountId;
use postern_wire::crypto::{Digest, equal, hmac_sha256};
use postern_wire::{Sensitive, Timestamp};
use serde::{Deserialize, Serialize};

/// What the ids of temporary access keys start with.
pub const KEY_PREFIX: &str = "ASIA";
/// The first byte of a token: its format.
const FORMAT: u8 = 1;
/// How long a token may be: it travels in headers.
const TOKEN_CHARS_MAX: usize = 16 * 1024;

/// The region's keys for temporary credentials and for what is derived alike.
pub struct SessionKeys {
    master: Sensitive<[u8; 32]>,
    sealing: RandomizedNonceKey,
    messages: RandomizedNonceKey,
    secrets: Digest,
    metadata: Digest,
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(…)")
    }
}

/// The machine's cryptography failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's cryptography failed")]
pub struct CryptoError;

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The account's root user's.
    Root,
    /// A user's.
    User {
        /// Its name.
        name: String,
        /// Its unique id, which another user of the name would not have.
        id: String,
    },
    /// A role's.
    Role {
        /// Its name.
        name: String,
        /// Its unique id.
        id: String,
        /// What the session is called.
        session: String,
    },
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The account.
    pub account: AccountId,
    /// Whose session.
    pub who: Who,
    /// When it ends: seconds since 1970.
    pub expires_at_seconds: i64,
    /// What limits it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<SessionPolicy>,
    /// The session's tags, those included that came with the caller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The keys of the tags that go with it to the next role.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub transitive_tag_keys: BTreeSet<String>,
    /// Who is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_identity: Option<String>,
}

impl Claims {
    /// A session that nothing limits and that carries nothing.
    pub fn new(account: AccountId, who: Who, expires_at_seconds: i64) -> Self {
        Self {
            account,
            who,
            expires_at_seconds,
            policies: Vec::new(),
            tags: BTreeMap::new(),
            transitive_tag_keys: BTreeSet::new(),
            source_identity: None,
        }
    }
}

/// Temporary credentials.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// What signs.
    pub secret_access_key: Sensitive<String>,
    /// What has to come with every request.
    pub session_token: Sensitive<String>,
    /// When they end.
    pub expires_at: Timestamp,
}

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// See [`CryptoError`].
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The session's policies do not fit into a token.
    #[error("the session policies are too large: the token would have {0} characters")]
    TooLarge(usize),
}

/// Why a token does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It was not made by this region for this access key.
    #[error("the session token was not issued here for this access key")]
    Forged,
    /// Its time is over.
    #[error("the session is over")]
    Expired,
}

impl SessionKeys {
    /// New keys.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let mut master = [0; 32];
        rand::fill(&mut master).map_err(|_| CryptoError)?;
        Self::from_bytes(master)
    }

    /// The keys that were stored.
    ///
    /// # Errors
    /// Where the system's cryptography fails.
    pub fn from_bytes(master: [u8; 32]) -> Result<Self, CryptoError> {
        let derived = |label: &str| hmac_sha256(&master, label.as_bytes());
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &derived("postern session token 1"));
        let messages = RandomizedNonceKey::new(&AES_256_GCM, &derived("postern authorization message 1"));
        Ok(Self {
            messages: messages.map_err(|_| CryptoError)?,
            sealing: sealing.map_err(|_| CryptoError)?,
            secrets: derived("postern session secret 1"),
            metadata: derived("postern metadata token 1"),
            master: Sensitive::new(master),
        })
    }

    /// What to store, where only its owner can read it.
    pub fn to_bytes(&self) -> [u8; 32] {
        *self.master.expose()
    }

    /// Credentials for a session.
    ///
    /// # Errors
    /// Where its policies are too large for a token, or the system's cryptography fails.
    pub fn issue(&self, claims: &Claims) -> Result<Credentials, IssueError> {
        let access_key_id = new_key_id(KEY_PREFIX)?;
        let mut sealed = serde_json::to_vec(claims).map_err(|_| CryptoError)?;
        let nonce = self.sealing.seal_in_place_append_tag(Aad::from(access_key_id.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| CryptoError)?;
        let token = STANDARD.encode([&[FORMAT], nonce.as_ref().as_slice(), &sealed].concat());
        if token.len() > TOKEN_CHARS_MAX {
            return Err(IssueError::TooLarge(token.len()));
        }
        Ok(Credentials {
            secret_access_key: Sensitive::new(self.secret_of(&access_key_id)),
            session_token: Sensitive::new(token),
            expires_at: Timestamp::from_seconds(claims.expires_at_seconds),
            access_key_id,
        })
    }

    /// What a token says.
    ///
    /// # Errors
    /// When it was not made here for this access key, or its time is over.
    pub fn open(&self, access_key_id: &str, token: &str, now: Timestamp) -> Result<Claims, OpenError> {
        if token.len() > TOKEN_CHARS_MAX {
            return Err(OpenError::Forged);
        }
        let token = STANDARD.decode(token).map_err(|_| OpenError::Forged)?;
        let Some((&FORMAT, rest)) = token.split_first() else { return Err(OpenError::Forged) };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::Forged)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.sealing.open_in_place(nonce, Aad::from(access_key_id.as_bytes()), &mut sealed);
        let opened = opened.map_err(|_| OpenError::Forged)?;
        let claims: Claims = serde_json::from_slice(opened).map_err(|_| OpenError::Forged)?;
        if now.seconds() >= claims.expires_at_seconds { Err(OpenError::Expired) } else { Ok(claims) }
    }

    /// A message that only callers of this account can have opened: text of base 64 for URLs.
    ///
    /// # Errors
    /// Where the system's cryptography fails.
    pub(crate) fn seal_message(&self, account: AccountId, message: &str) -> Result<String, CryptoError> {
        let mut sealed = message.as_bytes().to_vec();
        let label = account.to_string();
        let nonce = self.messages.seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut sealed);
        let nonce = nonce.map_err(|_| CryptoError)?;
        Ok(URL_SAFE_NO_PAD.encode([&[FORMAT], nonce.as_ref().as_slice(), &sealed].concat()))
    }

    /// What [`seal_message`](Self::seal_message) sealed for this account.
    pub(crate) fn open_message(&self, account: AccountId, text: &str) -> Option<String> {
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let Some((&FORMAT, rest)) = sealed.split_first() else { return None };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let label = account.to_string();
        let opened = self.messages.open_in_place(nonce, Aad::from(label.as_bytes()), &mut sealed).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }

    /// The secret of a temporary access key: 40 characters, as AWS's.
    pub fn secret_of(&self, access_key_id: &str) -> String {
        let digest = hmac_sha256(&self.secrets, access_key_id.as_bytes());
        STANDARD.encode(&digest[..30])
    }

    /// A mark on these parts that nobody else can make, for tokens of instance metadata.
    pub(crate) fn metadata_mark(&self, parts: &[&[u8]]) -> Digest {
        let mut message = Vec::new();
        for part in parts {
            // INVARIANT: the length stands before each part, so that no two lists of parts give the same message.
            message.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            message.extend_from_slice(part);
        }
        hmac_sha256(&self.metadata, &message)
    }

    /// Whether [`metadata_mark`](Self::metadata_mark) gives this mark.
    pub(crate) fn is_metadata_mark(&self, parts: &[&[u8]], mark: &[u8]) -> bool {
        equal(&self.metadata_mark(parts), mark)
    }
}

/// An access key id: a prefix that tells the kind, and sixteen letters and digits of base 32.
///
/// # Errors
/// Where there is no randomness.
pub fn new_key_id(prefix: &str) -> Result<String, CryptoError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0u8; 16];
    rand::fill(&mut bytes).map_err(|_| CryptoError)?;
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)]));
    Ok(prefix.chars().chain(letters).collect())
}

/// A secret of 40 characters for a long-term key.
///
/// # Errors
/// Where there is no randomness.
pub fn new_secret() -> Result<String, CryptoError> {
    let mut bytes = [0u8; 30];
    rand::fill(&mut bytes).map_err(|_| CryptoError)?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claims() -> Claims {
        Claims {
            account: AccountId::from_number(111_122_223_333).unwrap(),
            who: Who::Role { name: "r".to_owned(), id: "AROAX".to_owned(), session: "s".to_owned() },
            expires_at_seconds: 1_000,
            policies: vec![SessionPolicy::Managed("arn:aws:iam::aws:policy/AdministratorAccess".to_owned())],
            tags: BTreeMap::from([("team".to_owned(), "red".to_owned())]),
            transitive_tag_keys: BTreeSet::from(["team".to_owned()]),
            source_identity: Some("ana".to_owned()),
        }
    }

    const BEFORE: Timestamp = Timestamp::from_seconds(999);

    #[test]
    fn a_token_opens_with_its_key_until_it_expires() {
        let keys = SessionKeys::generate().unwrap();
        let issued = keys.issue(&claims()).unwrap();
        let (id, token) = (issued.access_key_id.as_str(), issued.session_token.expose());
        assert!(id.starts_with("ASIA") && id.len() == 20);
        assert_eq!(keys.open(id, token, BEFORE), Ok(claims()));
        assert_eq!(keys.open(id, token, Timestamp::from_seconds(1_000)), Err(OpenError::Expired));
        assert_eq!(keys.open("ASIAAAAAAAAAAAAAAAAA", token, BEFORE), Err(OpenError::Forged));
        assert_eq!(issued.secret_access_key.expose(), &keys.secret_of(id));
        assert_eq!(issued.secret_access_key.expose().len(), 40);
        let stored = SessionKeys::from_bytes(keys.to_bytes()).unwrap();
        assert_eq!(stored.open(id, token, BEFORE), Ok(claims()));
        assert_eq!(stored.secret_of(id), keys.secret_of(id));
        let other = SessionKeys::generate().unwrap();
        assert_eq!(other.open(id, token, BEFORE), Err(OpenError::Forged));
        assert_ne!(other.secret_of(id), keys.secret_of(id));
        assert!(!format!("{issued:?}").contains(token.as_str()));
    }

    #[test]
    fn policies_too_large_for_a_header_are_refused() {
        let keys = SessionKeys::generate().unwrap();
        let large =
            Claims { policies: vec![SessionPolicy::Document("x".repeat(TOKEN_CHARS_MAX))], ..claims() };
        assert!(matches!(keys.issue(&large), Err(IssueError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn a_token_that_was_touched_does_not_open(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let keys = SessionKeys::from_bytes([7; 32]).unwrap();
            let issued = keys.issue(&claims()).unwrap();
            let mut bytes = STANDARD.decode(issued.session_token.expose()).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let opened = keys.open(&issued.access_key_id, &STANDARD.encode(bytes), BEFORE);
            prop_assert_eq!(opened, Err(OpenError::Forged));
        }

        #[test]
        fn nonsense_does_not_open(token in ".{0,200}") {
            let keys = SessionKeys::from_bytes([7; 32]).unwrap();
            prop_assert_eq!(keys.open("ASIA", &token, BEFORE), Err(OpenError::Forged));
        }
    }
}

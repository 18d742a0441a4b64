//! Amazon Resource Names and account ids, as far as the policy language looks into them.
//!
//! An ARN has six parts at its first five colons; the last part keeps any further colons.

use std::fmt;
use std::str::FromStr;

/// A 12-digit account id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(String);

/// Why a text is not an ARN or an account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// The text has fewer than six parts, does not begin with `arn`, or lacks partition, service or resource.
    #[error("`{0}` is not an arn of the form arn:partition:service:region:account:resource")]
    Malformed(String),
    /// The text is not twelve decimal digits.
    #[error("`{0}` is not a 12-digit account id")]
    NotAnAccount(String),
}

impl AccountId {
    /// The twelve digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ArnError::NotAnAccount(text.to_owned()))
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An ARN with all six parts; region and account may be empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Arn {
    text: String,
    /// Where the account and the last part begin; they follow from the text.
    account_at: usize,
    resource_at: usize,
}

impl Arn {
    /// Reads an ARN.
    ///
    /// # Errors
    /// [`ArnError::Malformed`] when a part is missing.
    pub fn parse(text: &str) -> Result<Self, ArnError> {
        match segments(text) {
            Some(["arn", partition, service, _, account, resource])
                if !partition.is_empty() && !service.is_empty() && !resource.is_empty() =>
            {
                let resource_at = text.len() - resource.len();
                let account_at = resource_at - 1 - account.len();
                Ok(Self { text: text.to_owned(), account_at, resource_at })
            }
            Some(_) | None => Err(ArnError::Malformed(text.to_owned())),
        }
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The service, for example `iam`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.text.split(':').nth(2).unwrap_or_default()
    }

    /// The account, empty where the ARN has none (a bucket's).
    #[must_use]
    pub fn account(&self) -> &str {
        &self.text[self.account_at..self.resource_at - 1]
    }

    /// What stands behind the fifth colon, for example `user/ana`.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.text[self.resource_at..]
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        Self::parse(text)
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The six parts of a text with at least five colons.
pub(crate) fn segments(text: &str) -> Option<[&str; 6]> {
    let mut parts = text.splitn(6, ':');
    Some([parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?])
}

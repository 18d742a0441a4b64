//! A form body or a query string as parameters, within bounds.

use std::collections::BTreeMap;

use super::percent::{self, PercentError, Plus};

/// The bounds on a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the encoded body and query string together.
    pub bytes: usize,
    /// Parameters.
    pub parameters: usize,
    /// Steps in a parameter's name: `Filter.1.Value.2` has four.
    pub steps: usize,
    /// The highest index of a list.
    pub index: usize,
}

impl Limits {
    /// What the front door uses: well above what AWS accepts, well below what hurts.
    pub const DEFAULT: Self = Self { bytes: 1 << 20, parameters: 10_000, steps: 16, index: 1000 };
}

/// What is wrong with a form as such.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// More bytes than [`Limits::bytes`].
    #[error("the request has {found} bytes of parameters, more than {limit}")]
    TooLong {
        /// Bytes found.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// More parameters than [`Limits::parameters`].
    #[error("the request has more than {limit} parameters")]
    TooMany {
        /// Parameters allowed.
        limit: usize,
    },
    /// The body is not text.
    #[error("the request body is not text")]
    NotText,
    /// A name or value is not properly encoded.
    #[error("the parameter `{parameter}` is not properly encoded: {reason}")]
    Encoding {
        /// The name as it stands in the form.
        parameter: String,
        /// What is wrong.
        #[source]
        reason: PercentError,
    },
    /// A parameter stands twice.
    #[error("the parameter `{parameter}` is given more than once")]
    Duplicate {
        /// Its name.
        parameter: String,
    },
    /// A value without a name.
    #[error("a parameter has no name")]
    NoName,
    /// A control character that XML cannot carry, so that no answer could repeat the value.
    #[error("the parameter `{parameter}` holds a character that is not allowed")]
    Character {
        /// Its name.
        parameter: String,
    },
    /// `Action` is missing.
    #[error("the request has no `Action`")]
    NoAction,
    /// A parameter of signature version 2.
    #[error("signature version 2 is not supported: `{parameter}` was given")]
    SignatureVersion2 {
        /// Its name.
        parameter: String,
    },
}

/// A request's parameters: the action, the version, and the rest by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// `Action`.
    pub action: String,
    /// `Version`, if given.
    pub version: Option<String>,
    /// Everything else, without what belongs to a presigned URL's signature.
    pub parameters: BTreeMap<String, String>,
}

/// Parameters of a presigned URL's query string: SigV4 has read them there, and nowhere else.
const SIGNATURE_V4: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// Parameters of signature version 2, refused by name.
const SIGNATURE_V2: [&str; 5] =
    ["AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "SecurityToken"];

impl Form {
    /// Reads the URL's query string and the body as one form.
    ///
    /// # Errors
    /// When a bound is exceeded, an encoding is broken, a parameter stands twice, or `Action` is missing.
    pub fn parse(query: &str, body: &[u8], limits: Limits) -> Result<Self, FormError> {
        let found = query.len().saturating_add(body.len());
        if found > limits.bytes {
            return Err(FormError::TooLong { found, limit: limits.bytes });
        }
        let body = std::str::from_utf8(body).map_err(|_| FormError::NotText)?;
        let mut form = Self::default();
        let mut action = None;
        let presigned = query.split('&').any(|pair| pair.starts_with("X-Amz-Signature="));
        let in_query = query.split('&').map(|pair| (pair, presigned));
        let pairs = in_query.chain(body.split('&').map(|pair| (pair, false)));
        for (count, (pair, presigned)) in pairs.filter(|(pair, _)| !pair.is_empty()).enumerate() {
            if count >= limits.parameters {
                return Err(FormError::TooMany { limit: limits.parameters });
            }
            let (name, value) = decode_pair(pair)?;
            let of_signature = presigned && SIGNATURE_V4.contains(&name.as_str());
            if !of_signature {
                form.add(name, value, &mut action)?;
            }
        }
        form.action = action.ok_or(FormError::NoAction)?;
        Ok(form)
    }

    fn add(&mut self, name: String, value: String, action: &mut Option<String>) -> Result<(), FormError> {
        if SIGNATURE_V2.contains(&name.as_str()) {
            return Err(FormError::SignatureVersion2 { parameter: name });
        }
        let replaced = match name.as_str() {
            "Action" => action.replace(value).is_some(),
            "Version" => self.version.replace(value).is_some(),
            _ => self.parameters.insert(name.clone(), value).is_some(),
        };
        if replaced { Err(FormError::Duplicate { parameter: name }) } else { Ok(()) }
    }

    /// The body that carries this form, as clients send it.
    pub fn to_body(&self) -> String {
        let mut body = format!("Action={}", percent::encode(self.action.as_bytes()));
        let version = self.version.iter().map(|version| ("Version", version.as_str()));
        let rest = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in version.chain(rest) {
            body.push('&');
            body.push_str(&percent::encode(name.as_bytes()));
            body.push('=');
            body.push_str(&percent::encode(value.as_bytes()));
        }
        body
    }
}

fn decode_pair(pair: &str) -> Result<(String, String), FormError> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let encoding = |reason| FormError::Encoding { parameter: name.to_owned(), reason };
    let decoded = percent::decode(name, Plus::Space).map_err(encoding)?;
    let value = percent::decode(value, Plus::Space).map_err(encoding)?;
    if decoded.is_empty() {
        return Err(FormError::NoName);
    }
    if !decoded.chars().chain(value.chars()).all(crate::xml::is_allowed) {
        return Err(FormError::Character { parameter: name.to_owned() });
    }
    Ok((decoded, value))
}

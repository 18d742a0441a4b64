//! What a request says about its signature, in the `Authorization` header or in a presigned URL.

use http::HeaderMap;

use super::error::SignatureError;
use super::{ALGORITHM, EXPIRES_MAX_SECONDS, RequestParts, TERMINATOR};
use crate::crypto::{Digest, digest_from_hex};
use crate::query::percent::{self, Plus};
use crate::timestamp::Timestamp;

/// Names in `SignedHeaders` that are read; no client signs more.
const SIGNED_HEADERS_MAX: usize = 128;

/// For which day, region and service a signing key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialScope {
    /// `20260131`.
    pub date: String,
    /// `eu-west-1`.
    pub region: String,
    /// `ec2`.
    pub service: String,
}

impl std::fmt::Display for CredentialScope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}/{TERMINATOR}", self.date, self.region, self.service)
    }
}

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the `Authorization` header.
    Header,
    /// In the query string, for as long as it says.
    Presigned {
        /// Seconds from the signature's time on.
        expires_seconds: i64,
    },
}

/// What a request claims. Nothing of it is known to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// Whose secret it claims to be signed with.
    pub access_key_id: String,
    /// What the signature is for.
    pub scope: CredentialScope,
    /// When it was made.
    pub at: Timestamp,
    /// The session token that came with it.
    pub session_token: Option<String>,
    /// The headers signed: small letters, sorted.
    pub signed_headers: Vec<String>,
    /// Where it stands.
    pub placement: Placement,
    /// The signature.
    pub(super) signature: Digest,
}

/// Reads a request's signature; `None` if it has none.
///
/// # Errors
/// When there is something that should be a signature and is not one of version 4, or there are two.
pub fn parse(parts: &RequestParts<'_>) -> Result<Option<Unverified>, SignatureError> {
    let query = QueryAuthorization::read(parts.query)?;
    let header = single(parts.headers, "authorization")?;
    match (header, query) {
        (Some(_), Some(_)) => Err(SignatureError::TwoMechanisms),
        (Some(header), None) => from_header(header, parts.headers).map(Some),
        (None, Some(query)) => from_query(query).map(Some),
        (None, None) => Ok(None),
    }
}

fn from_header(header: &str, headers: &HeaderMap) -> Result<Unverified, SignatureError> {
    let (algorithm, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if algorithm == "AWS" {
        return Err(SignatureError::Version2 { found: "an Authorization header of the scheme `AWS`" });
    }
    if algorithm != ALGORITHM {
        return Err(SignatureError::Algorithm { found: algorithm.to_owned() });
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for pair in rest.split(',') {
        let (name, value) = pair.trim().split_once('=').ok_or_else(|| malformed_pair(pair))?;
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(malformed_pair(pair)),
        };
        if slot.replace(value).is_some() {
            return Err(malformed(format!("`{name}` is given more than once in the Authorization header")));
        }
    }
    let need = |value: Option<&str>, name: &str| {
        let missing = || malformed(format!("Authorization header requires '{name}' parameter"));
        value.filter(|value| !value.is_empty()).map(str::to_owned).ok_or_else(missing)
    };
    let (access_key_id, scope) = parse_credential(&need(credential, "Credential")?)?;
    Ok(Unverified {
        access_key_id,
        scope,
        at: header_time(headers)?,
        session_token: single(headers, "x-amz-security-token")?.map(str::to_owned),
        signed_headers: parse_signed_headers(&need(signed_headers, "SignedHeaders")?)?,
        placement: Placement::Header,
        signature: parse_signature(&need(signature, "Signature")?)?,
    })
}

fn from_query(query: QueryAuthorization) -> Result<Unverified, SignatureError> {
    let QueryAuthorization { algorithm, credential, date, expires, signed_headers, signature, token } = query;
    let need = |value: Option<String>| {
        value.filter(|value| !value.is_empty()).ok_or(SignatureError::PresignedIncomplete)
    };
    let algorithm = need(algorithm)?;
    if algorithm != ALGORITHM {
        return Err(SignatureError::Algorithm { found: algorithm });
    }
    let (access_key_id, scope) = parse_credential(&need(credential)?)?;
    let date = need(date)?;
    Ok(Unverified {
        access_key_id,
        scope,
        at: Timestamp::parse_basic(&date).map_err(|_| SignatureError::Date { found: date })?,
        session_token: token,
        signed_headers: parse_signed_headers(&need(signed_headers)?)?,
        placement: Placement::Presigned { expires_seconds: parse_expires(&need(expires)?)? },
        signature: parse_signature(&need(signature)?)?,
    })
}

/// The parameters of a presigned URL.
#[derive(Default)]
struct QueryAuthorization {
    algorithm: Option<String>,
    credential: Option<String>,
    date: Option<String>,
    expires: Option<String>,
    signed_headers: Option<String>,
    signature: Option<String>,
    token: Option<String>,
}

impl QueryAuthorization {
    /// `None` if the query string has nothing of a signature.
    fn read(query: &str) -> Result<Option<Self>, SignatureError> {
        let mut found = Self::default();
        let mut version_2 = 0;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "X-Amz-Algorithm" => &mut found.algorithm,
                "X-Amz-Credential" => &mut found.credential,
                "X-Amz-Date" => &mut found.date,
                "X-Amz-Expires" => &mut found.expires,
                "X-Amz-SignedHeaders" => &mut found.signed_headers,
                "X-Amz-Signature" => &mut found.signature,
                "X-Amz-Security-Token" => &mut found.token,
                "AWSAccessKeyId" | "Signature" => {
                    version_2 += 1;
                    continue;
                }
                _ => continue,
            };
            let value = percent::decode(value, Plus::Space)
                .map_err(|reason| malformed(format!("the parameter `{name}`: {reason}")))?;
            if slot.replace(value).is_some() {
                return Err(malformed(format!("the parameter `{name}` is given more than once")));
            }
        }
        let present =
            [&found.algorithm, &found.credential, &found.signature].iter().any(|value| value.is_some());
        match (present, version_2) {
            (false, 2..) => {
                Err(SignatureError::Version2 { found: "the parameters `AWSAccessKeyId` and `Signature`" })
            }
            (true, 1..) => Err(SignatureError::TwoMechanisms),
            (true, _) => Ok(Some(found)),
            (false, _) => Ok(None),
        }
    }
}

fn malformed(reason: String) -> SignatureError {
    SignatureError::Malformed { reason }
}

fn malformed_pair(pair: &str) -> SignatureError {
    malformed(format!(
        "'{}' not a valid key=value pair (missing equal-sign) in Authorization header",
        pair.trim()
    ))
}

/// The one value of a header; a second one would leave it open which was meant.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(malformed(format!("the header `{name}` is given more than once")));
    }
    value.to_str().map(Some).map_err(|_| malformed(format!("the header `{name}` is not ASCII text")))
}

fn header_time(headers: &HeaderMap) -> Result<Timestamp, SignatureError> {
    if let Some(date) = single(headers, "x-amz-date")? {
        return Timestamp::parse_basic(date).map_err(|_| SignatureError::Date { found: date.to_owned() });
    }
    let date = single(headers, "date")?.ok_or(SignatureError::NoDate)?;
    let parsed = Timestamp::parse_basic(date).or_else(|_| Timestamp::parse_http(date));
    parsed.map_err(|_| SignatureError::Date { found: date.to_owned() })
}

fn parse_credential(credential: &str) -> Result<(String, CredentialScope), SignatureError> {
    let parts: Vec<&str> = credential.splitn(6, '/').collect();
    let [access_key_id, date, region, service, terminator] = parts.as_slice() else {
        return Err(malformed(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, \
             got '{credential}'"
        )));
    };
    if *terminator != TERMINATOR {
        return Err(malformed(format!(
            "Credential should be scoped with the terminator '{TERMINATOR}', got '{terminator}'"
        )));
    }
    if access_key_id.is_empty() {
        return Err(malformed("Credential has no access key id".to_owned()));
    }
    let scope = CredentialScope {
        date: (*date).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
    };
    Ok(((*access_key_id).to_owned(), scope))
}

fn parse_signed_headers(list: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = list.split(';').take(SIGNED_HEADERS_MAX + 1).map(str::to_owned).collect();
    if names.len() > SIGNED_HEADERS_MAX {
        return Err(malformed(format!("SignedHeaders has more than {SIGNED_HEADERS_MAX} names")));
    }
    let ordered = names.windows(2).all(|pair| matches!(pair, [left, right] if left < right));
    let plain = names.iter().all(|name| !name.is_empty() && *name == name.to_ascii_lowercase());
    if ordered && plain {
        Ok(names)
    } else {
        Err(malformed(format!("SignedHeaders must be small letters, sorted, each once, got '{list}'")))
    }
}

fn parse_signature(signature: &str) -> Result<Digest, SignatureError> {
    digest_from_hex(signature)
        .ok_or_else(|| malformed("Signature must be 64 small hexadecimal digits".to_owned()))
}

fn parse_expires(expires: &str) -> Result<i64, SignatureError> {
    let seconds: i64 =
        expires.parse().map_err(|_| SignatureError::Expires { reason: "should be a number" })?;
    if seconds < 0 {
        return Err(SignatureError::Expires { reason: "must be non-negative" });
    }
    if seconds > EXPIRES_MAX_SECONDS {
        return Err(SignatureError::Expires {
            reason: "must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than \
                     604800 seconds",
        });
    }
    Ok(seconds)
}

//! The canonical request and the string to sign.

use http::HeaderMap;

use super::authorization::CredentialScope;
use super::error::SignatureError;
use super::{ALGORITHM, PathStyle, RequestParts};
use crate::crypto::{hex, sha256};
use crate::query::percent::{self, PercentError, Plus};
use crate::timestamp::Timestamp;

/// The canonical form of a request: bytes, since headers may hold any.
pub(super) fn request(
    parts: &RequestParts<'_>,
    style: PathStyle,
    signed_headers: &[String],
    payload: &str,
) -> Result<Vec<u8>, SignatureError> {
    let mut canonical = Vec::with_capacity(512);
    for line in [parts.method, &path(parts.path, style)?, &query(parts.query)?] {
        canonical.extend_from_slice(line.as_bytes());
        canonical.push(b'\n');
    }
    for name in signed_headers {
        canonical.extend_from_slice(name.as_bytes());
        canonical.push(b':');
        header_value(parts.headers, name, &mut canonical)?;
        canonical.push(b'\n');
    }
    canonical.push(b'\n');
    canonical.extend_from_slice(signed_headers.join(";").as_bytes());
    canonical.push(b'\n');
    canonical.extend_from_slice(payload.as_bytes());
    Ok(canonical)
}

/// What is signed in the end.
pub(super) fn string_to_sign(at: Timestamp, scope: &CredentialScope, canonical: &[u8]) -> String {
    format!("{ALGORITHM}\n{}\n{scope}\n{}", at.basic(), hex(&sha256(canonical)))
}

fn path(path: &str, style: PathStyle) -> Result<String, SignatureError> {
    let path = if path.is_empty() { "/" } else { path };
    match style {
        PathStyle::Verbatim => {
            let decoded =
                percent::decode_bytes(path, Plus::Plus).map_err(|reason| encoding("path", reason))?;
            Ok(percent::encode_path(&decoded))
        }
        PathStyle::Normalised => Ok(percent::encode_path(without_dots(path).as_bytes())),
    }
}

/// RFC 3986's removal of dot segments; AWS's services also remove empty ones.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let last = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    format!("/{}{last}", kept.join("/"))
}

/// Every parameter but the signature itself, encoded anew and sorted.
fn query(query: &str) -> Result<String, SignatureError> {
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let anew = |text| {
            let decoded = percent::decode_bytes(text, Plus::Space)
                .map_err(|reason| encoding("query string", reason))?;
            Ok::<_, SignatureError>(percent::encode(&decoded))
        };
        let name = anew(name)?;
        if name != "X-Amz-Signature" {
            pairs.push((name, anew(value)?));
        }
    }
    pairs.sort();
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

fn encoding(what: &str, reason: PercentError) -> SignatureError {
    SignatureError::Malformed { reason: format!("the {what} is not properly encoded: {reason}") }
}

/// All values of a header, joined by commas, each without white space at its ends and with single spaces inside.
fn header_value(headers: &HeaderMap, name: &str, canonical: &mut Vec<u8>) -> Result<(), SignatureError> {
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        return Err(SignatureError::SignedHeaderAbsent { header: name.to_owned() });
    }
    for (position, value) in values.enumerate() {
        if position > 0 {
            canonical.push(b',');
        }
        let words = value.as_bytes().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        for (position, word) in words.enumerate() {
            if position > 0 {
                canonical.push(b' ');
            }
            canonical.extend_from_slice(word);
        }
    }
    Ok(())
}

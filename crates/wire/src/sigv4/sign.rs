//! Making signatures: what the labs and the tests send.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::authorization::CredentialScope;
use super::chunk::ChunkChain;
use super::error::SignatureError;
use super::key::SecretAccessKey;
use super::{ALGORITHM, PathStyle, RequestParts, UNSIGNED_PAYLOAD, canonical};
use crate::crypto::{hex, hmac_sha256, sha256};
use crate::query::percent;
use crate::timestamp::Timestamp;

/// Headers that intermediaries may change, so clients leave them unsigned.
const NEVER_SIGNED: [&str; 15] = [
    "authorization",
    "baggage",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// Why a request cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The request has no `host` header.
    #[error("the request has no `host` header")]
    NoHost,
    /// The session token cannot stand in a header.
    #[error("the session token cannot stand in a header")]
    Token,
    /// The path or the query string is not properly encoded.
    #[error(transparent)]
    Request(#[from] SignatureError),
}

/// Who signs, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The access key's public half.
    pub access_key_id: &'a str,
    /// The access key's secret half.
    pub secret: &'a SecretAccessKey,
    /// The token of temporary credentials.
    pub session_token: Option<&'a str>,
    /// The region asked.
    pub region: &'a str,
    /// The service asked, as in a credential scope.
    pub service: &'a str,
}

/// The headers to add to a request, and the chain for its pieces if it comes in any.
#[derive(Clone, Debug)]
pub struct Signed {
    /// `x-amz-date`, `authorization` and what else belongs to the signature.
    pub headers: HeaderMap,
    /// Continues into the pieces of an `aws-chunked` body.
    pub chunks: ChunkChain,
}

impl Signer<'_> {
    /// Signs in the `Authorization` header. `payload` is the last line of the canonical request: the body's hash in
    /// hexadecimal digits (see [`Signer::hash`]), or one of S3's words, such as `UNSIGNED-PAYLOAD`.
    ///
    /// # Errors
    /// When the request has no host or is not properly encoded.
    pub fn sign(
        &self,
        parts: &RequestParts<'_>,
        payload: &str,
        at: Timestamp,
    ) -> Result<Signed, SigningError> {
        let mut headers = parts.headers.clone();
        let mut added = HeaderMap::new();
        let mut add = |name: &'static str, value: HeaderValue| {
            headers.insert(HeaderName::from_static(name), value.clone());
            added.insert(HeaderName::from_static(name), value);
        };
        add("x-amz-date", header(&at.basic())?);
        if let Some(token) = self.session_token {
            add("x-amz-security-token", header(token)?);
        }
        if PathStyle::of(self.service) == PathStyle::Verbatim {
            add("x-amz-content-sha256", header(payload)?);
        }
        let names = signed_headers(&headers)?;
        let parts = RequestParts { headers: &headers, ..*parts };
        let (scope, signature) = self.signature(&parts, &names, payload, at)?;
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={}",
            self.access_key_id,
            names.join(";"),
            hex(&signature)
        );
        added.insert(http::header::AUTHORIZATION, header(&authorization)?);
        let chunks = ChunkChain::new(self.secret.signing_key(&scope), at, &scope, signature);
        Ok(Signed { headers: added, chunks })
    }

    /// Signs in the URL: the query string to ask with, signature included. All headers given are signed.
    ///
    /// # Errors
    /// When the request has no host or is not properly encoded.
    pub fn presign(
        &self,
        parts: &RequestParts<'_>,
        expires_seconds: i64,
        at: Timestamp,
    ) -> Result<String, SigningError> {
        let names = signed_headers(parts.headers)?;
        let scope = self.scope(at);
        let credential = format!("{}/{scope}", self.access_key_id);
        let (date, expires, signed) = (at.basic(), expires_seconds.to_string(), names.join(";"));
        let mut added = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &date),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", &signed),
        ];
        added.extend(self.session_token.map(|token| ("X-Amz-Security-Token", token)));
        let mut query = parts.query.to_owned();
        for (name, value) in added {
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(&format!("{name}={}", percent::encode(value.as_bytes())));
        }
        let payload = match PathStyle::of(self.service) {
            PathStyle::Verbatim => UNSIGNED_PAYLOAD.to_owned(),
            PathStyle::Normalised => Self::hash(b""),
        };
        let parts = RequestParts { query: &query, ..*parts };
        let (_, signature) = self.signature(&parts, &names, &payload, at)?;
        query.push_str(&format!("&X-Amz-Signature={}", hex(&signature)));
        Ok(query)
    }

    /// A body's hash as it stands in a canonical request.
    pub fn hash(body: &[u8]) -> String {
        hex(&sha256(body))
    }

    fn scope(&self, at: Timestamp) -> CredentialScope {
        CredentialScope {
            date: at.basic_date(),
            region: self.region.to_owned(),
            service: self.service.to_owned(),
        }
    }

    fn signature(
        &self,
        parts: &RequestParts<'_>,
        names: &[String],
        payload: &str,
        at: Timestamp,
    ) -> Result<(CredentialScope, crate::crypto::Digest), SigningError> {
        let scope = self.scope(at);
        let canonical = canonical::request(parts, PathStyle::of(self.service), names, payload)?;
        let text = canonical::string_to_sign(at, &scope, &canonical);
        let signature = hmac_sha256(&self.secret.signing_key(&scope), text.as_bytes());
        Ok((scope, signature))
    }
}

fn header(value: &str) -> Result<HeaderValue, SigningError> {
    HeaderValue::from_str(value).map_err(|_| SigningError::Token)
}

fn signed_headers(headers: &HeaderMap) -> Result<Vec<String>, SigningError> {
    if !headers.contains_key(http::header::HOST) {
        return Err(SigningError::NoHost);
    }
    let names = headers.keys().map(|name| name.as_str().to_owned());
    let mut names: Vec<String> = names.filter(|name| !NEVER_SIGNED.contains(&name.as_str())).collect();
    names.sort();
    Ok(names)
}

//! Signing a request anew: where signatures are not checked, and where a header has to go that was signed.
//!
//! The protocol layer checks every signature by itself; a request whose head is changed in front of it needs a
//! signature that fits.

use http::header::AUTHORIZATION;
use http::request::Parts;
use postern_wire::Timestamp;
use postern_wire::sigv4::{self, Payload, RequestParts, Rules, SecretAccessKey, Signer};

/// The head of a request as the signature is made over it.
pub(crate) fn signed_parts(parts: &Parts) -> RequestParts<'_> {
    RequestParts {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    }
}

/// Whose signature a request carries, and what it is made with.
pub(crate) struct Key<'a> {
    /// What the request says.
    pub(crate) claim: &'a sigv4::Unverified,
    /// The secret of its access key.
    pub(crate) secret: &'a SecretAccessKey,
    /// The region that is served.
    pub(crate) region: &'a str,
    /// When it is checked.
    pub(crate) now: Timestamp,
}

impl Key<'_> {
    /// Whether the signature over the head holds.
    pub(crate) fn holds(&self, parts: &Parts) -> bool {
        let rules = Rules { service: "s3", regions: &[self.region] };
        self.claim.verify(&signed_parts(parts), Payload::Streamed, &rules, self.secret, self.now).is_ok()
    }

    /// Puts a signature over the head as it is now in place of the one it carries. A head that cannot be signed is
    /// left as it is, with a signature that does not hold.
    pub(crate) fn sign(&self, parts: &mut Parts) {
        let payload = parts.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
        let payload = payload.unwrap_or("UNSIGNED-PAYLOAD").to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let kept: Vec<&str> = query.split('&').filter(|pair| !is_of_signature(pair)).collect();
        let query = kept.join("&");
        let path = parts.uri.path().to_owned();
        let target = if query.is_empty() { path.clone() } else { format!("{path}?{query}") };
        let Ok(uri) = target.parse() else { return };
        parts.headers.remove(AUTHORIZATION);
        let signer = Signer {
            access_key_id: &self.claim.access_key_id,
            secret: self.secret,
            session_token: self.claim.session_token.as_deref(),
            region: self.region,
            service: "s3",
        };
        let head = RequestParts {
            method: parts.method.as_str(),
            path: &path,
            query: &query,
            headers: &parts.headers,
        };
        if let Ok(signed) = signer.sign(&head, &payload, self.now) {
            parts.headers.extend(signed.headers);
            parts.uri = uri;
        }
    }
}

fn is_of_signature(pair: &&str) -> bool {
    const NAMES: [&str; 7] = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
    ];
    NAMES.contains(&pair.split('=').next().unwrap_or_default())
}

//! From a claim to a proof.

use super::authorization::{CredentialScope, Placement, Unverified, single};
use super::chunk::ChunkChain;
use super::error::{Mismatch, SignatureError};
use super::key::SecretAccessKey;
use super::{
    PathStyle, RequestParts, SIGNED_CHUNKS, SIGNED_CHUNKS_TRAILER, SKEW_MAX_SECONDS, UNSIGNED_CHUNKS_TRAILER,
    UNSIGNED_PAYLOAD, canonical,
};
use crate::crypto::{Digest, digest_from_hex, equal, hex, hmac_sha256, sha256};
use crate::timestamp::Timestamp;

/// What the service expects a signature to be for.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `s3`, `ec2`; with `s3`, paths are read as S3 reads them and the payload's hash has to be declared.
    pub service: &'a str,
    /// The regions accepted: one's own, and `us-east-1` for a global endpoint. The first is named in errors.
    pub regions: &'a [&'a str],
}

/// What the caller has of the body.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// All of it.
    Body(&'a [u8]),
    /// Its hash.
    Hash(Digest),
    /// Nothing yet: what has to be checked then stands in [`Verified::payload`].
    Streamed,
}

/// What is left to check about the body.
#[derive(Clone, Debug)]
pub enum PayloadCheck {
    /// Nothing: the body is the one that was signed.
    Done,
    /// The body has to have this hash.
    Hash(Digest),
    /// The signature does not cover the body.
    Unsigned,
    /// The body comes in `aws-chunked` pieces, each with a signature.
    SignedChunks(ChunkChain),
    /// The same, with signed trailing headers at the end.
    SignedChunksAndTrailer(ChunkChain),
    /// The body comes in `aws-chunked` pieces without signatures, with trailing headers at the end.
    UnsignedChunksAndTrailer,
}

/// A request whose signature holds.
#[derive(Clone, Debug)]
pub struct Verified {
    claim: Unverified,
    payload: PayloadCheck,
}

impl Verified {
    /// Whose secret it was signed with.
    pub fn access_key_id(&self) -> &str {
        &self.claim.access_key_id
    }

    /// The session token that came with it, to be checked against the access key by the caller.
    pub fn session_token(&self) -> Option<&str> {
        self.claim.session_token.as_deref()
    }

    /// What the signature was made for.
    pub fn scope(&self) -> &CredentialScope {
        &self.claim.scope
    }

    /// When it was made.
    pub fn at(&self) -> Timestamp {
        self.claim.at
    }

    /// Where it stood.
    pub fn placement(&self) -> Placement {
        self.claim.placement
    }

    /// What is left to check about the body.
    pub fn payload(&self) -> &PayloadCheck {
        &self.payload
    }
}

impl Unverified {
    /// Checks the claim against the secret.
    ///
    /// # Errors
    /// When the claim is for another service, region or time, does not cover what it has to, or was not made with
    /// this secret.
    pub fn verify(
        &self,
        parts: &RequestParts<'_>,
        payload: Payload<'_>,
        rules: &Rules<'_>,
        secret: &SecretAccessKey,
        now: Timestamp,
    ) -> Result<Verified, SignatureError> {
        self.check_scope(rules)?;
        self.check_time(now)?;
        self.check_coverage(parts)?;
        let (declared, check) = self.payload_hash(parts, payload, rules, secret)?;
        let style = PathStyle::of(rules.service);
        let canonical = canonical::request(parts, style, &self.signed_headers, &declared)?;
        let string_to_sign = canonical::string_to_sign(self.at, &self.scope, &canonical);
        let expected = hmac_sha256(&secret.signing_key(&self.scope), string_to_sign.as_bytes());
        if !equal(&expected, &self.signature) {
            return Err(SignatureError::DoesNotMatch(Box::new(Mismatch {
                access_key_id: self.access_key_id.clone(),
                canonical_request: String::from_utf8_lossy(&canonical).into_owned(),
                string_to_sign,
                signature_provided: hex(&self.signature),
            })));
        }
        Ok(Verified { claim: self.clone(), payload: check })
    }

    fn check_scope(&self, rules: &Rules<'_>) -> Result<(), SignatureError> {
        let CredentialScope { date, region, service } = &self.scope;
        if service != rules.service {
            return Err(SignatureError::Service {
                found: service.clone(),
                expected: rules.service.to_owned(),
            });
        }
        if !rules.regions.contains(&region.as_str()) {
            let expected = rules.regions.first().copied().unwrap_or_default().to_owned();
            return Err(SignatureError::Region { found: region.clone(), expected });
        }
        if *date != self.at.basic_date() {
            return Err(SignatureError::ScopeDate { found: date.clone(), at: self.at });
        }
        Ok(())
    }

    fn check_time(&self, now: Timestamp) -> Result<(), SignatureError> {
        let at = self.at;
        let early = at > now.plus_seconds(SKEW_MAX_SECONDS);
        match self.placement {
            Placement::Header if early || at < now.plus_seconds(-SKEW_MAX_SECONDS) => {
                Err(SignatureError::Skewed { at, now })
            }
            Placement::Presigned { .. } if early => Err(SignatureError::NotYetValid { at, now }),
            Placement::Presigned { expires_seconds } if now > at.plus_seconds(expires_seconds) => {
                Err(SignatureError::Expired { at, expires_seconds, now })
            }
            Placement::Header | Placement::Presigned { .. } => Ok(()),
        }
    }

    /// The host and every `x-amz-` header have to be signed, or somebody on the way could change them.
    fn check_coverage(&self, parts: &RequestParts<'_>) -> Result<(), SignatureError> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        if !signed("host") {
            return Err(SignatureError::HostNotSigned);
        }
        let named = parts.headers.keys().map(http::HeaderName::as_str);
        let mut unsigned: Vec<&str> =
            named.filter(|name| name.starts_with("x-amz-") && !signed(name)).collect();
        unsigned.sort_unstable();
        if unsigned.is_empty() {
            Ok(())
        } else {
            Err(SignatureError::HeadersNotSigned { headers: unsigned.join(", ") })
        }
    }

    /// The last line of the canonical request, and what is left to check.
    fn payload_hash(
        &self,
        parts: &RequestParts<'_>,
        payload: Payload<'_>,
        rules: &Rules<'_>,
        secret: &SecretAccessKey,
    ) -> Result<(String, PayloadCheck), SignatureError> {
        let computed = match payload {
            Payload::Body(body) => Some(sha256(body)),
            Payload::Hash(hash) => Some(hash),
            Payload::Streamed => None,
        };
        let header = single(parts.headers, "x-amz-content-sha256")?;
        let declared = match (PathStyle::of(rules.service), self.placement, header, computed) {
            (_, _, Some(header), _) => header.to_owned(),
            (PathStyle::Verbatim, Placement::Presigned { .. }, None, _) => UNSIGNED_PAYLOAD.to_owned(),
            (PathStyle::Normalised, _, None, Some(hash)) => hex(&hash),
            (PathStyle::Verbatim, Placement::Header, None, _) | (PathStyle::Normalised, _, None, None) => {
                return Err(SignatureError::NoPayloadHash);
            }
        };
        let streams = PathStyle::of(rules.service) == PathStyle::Verbatim;
        let check = match (declared.as_str(), digest_from_hex(&declared)) {
            (_, Some(hash)) => match computed {
                Some(computed) if equal(&computed, &hash) => PayloadCheck::Done,
                Some(computed) => {
                    return Err(SignatureError::PayloadMismatch { declared, computed: hex(&computed) });
                }
                None => PayloadCheck::Hash(hash),
            },
            (UNSIGNED_PAYLOAD, None) if streams => PayloadCheck::Unsigned,
            (SIGNED_CHUNKS, None) if streams => PayloadCheck::SignedChunks(self.chain(secret)),
            (SIGNED_CHUNKS_TRAILER, None) if streams => {
                PayloadCheck::SignedChunksAndTrailer(self.chain(secret))
            }
            (UNSIGNED_CHUNKS_TRAILER, None) if streams => PayloadCheck::UnsignedChunksAndTrailer,
            (_, None) => return Err(SignatureError::PayloadHash { found: declared }),
        };
        Ok((declared, check))
    }

    fn chain(&self, secret: &SecretAccessKey) -> ChunkChain {
        ChunkChain::new(secret.signing_key(&self.scope), self.at, &self.scope, self.signature)
    }
}

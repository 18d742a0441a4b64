//! Signatures of `aws-chunked` pieces: each covers the one before, the first covers the request's.

use super::authorization::CredentialScope;
use crate::crypto::{Digest, digest_from_hex, equal, hex, hmac_sha256, sha256};
use crate::timestamp::Timestamp;

/// A piece whose signature does not hold, or that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature of a chunk does not match")]
pub struct ChunkMismatch;

/// The state between two pieces. `Debug` shows no key.
#[derive(Clone)]
pub struct ChunkChain {
    key: Digest,
    at: String,
    scope: String,
    previous: Digest,
}

impl std::fmt::Debug for ChunkChain {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ChunkChain").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkChain {
    pub(super) fn new(key: Digest, at: Timestamp, scope: &CredentialScope, seed: Digest) -> Self {
        Self { key, at: at.basic(), scope: scope.to_string(), previous: seed }
    }

    /// Checks the next piece by the hash of its data; the last piece is empty.
    ///
    /// # Errors
    /// When the signature is not that of this piece at this place.
    pub fn verify(&mut self, data: Digest, signature: &str) -> Result<(), ChunkMismatch> {
        let expected = self.chunk_signature(&data);
        self.advance(expected, signature)
    }

    /// Checks the trailing headers, which come as `name:value` and a line feed each.
    ///
    /// # Errors
    /// When the signature is not that of these headers at this place.
    pub fn verify_trailer(&mut self, trailer: &[u8], signature: &str) -> Result<(), ChunkMismatch> {
        let expected = self.trailer_signature(trailer);
        self.advance(expected, signature)
    }

    /// Signs the next piece by the hash of its data.
    pub fn sign(&mut self, data: Digest) -> String {
        self.previous = self.chunk_signature(&data);
        hex(&self.previous)
    }

    /// Signs the trailing headers.
    pub fn sign_trailer(&mut self, trailer: &[u8]) -> String {
        self.previous = self.trailer_signature(trailer);
        hex(&self.previous)
    }

    fn advance(&mut self, expected: Digest, signature: &str) -> Result<(), ChunkMismatch> {
        match digest_from_hex(signature) {
            Some(given) if equal(&given, &expected) => {
                self.previous = expected;
                Ok(())
            }
            Some(_) | None => Err(ChunkMismatch),
        }
    }

    fn chunk_signature(&self, data: &Digest) -> Digest {
        let Self { key, at, scope, previous } = self;
        let (previous, nothing, data) = (hex(previous), hex(&sha256(b"")), hex(data));
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{at}\n{scope}\n{previous}\n{nothing}\n{data}");
        hmac_sha256(key, text.as_bytes())
    }

    fn trailer_signature(&self, trailer: &[u8]) -> Digest {
        let Self { key, at, scope, previous } = self;
        let (previous, trailer) = (hex(previous), hex(&sha256(trailer)));
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{at}\n{scope}\n{previous}\n{trailer}");
        hmac_sha256(key, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::ChunkChain;
    use crate::crypto::{digest_from_hex, sha256};
    use crate::sigv4::{CredentialScope, SecretAccessKey};
    use crate::timestamp::Timestamp;

    /// The example of S3's API reference, "Signature calculations for the Authorization header: transferring payload
    /// in multiple chunks".
    #[test]
    fn the_documented_upload() {
        let secret = SecretAccessKey::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let scope =
            CredentialScope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
        let at = Timestamp::parse_basic("20130524T000000Z").unwrap();
        let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
        let mut chain =
            ChunkChain::new(secret.signing_key(&scope), at, &scope, digest_from_hex(seed).unwrap());
        let pieces: [(&[u8], &str); 3] = [
            (&[b'a'; 65536], "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (&[b'a'; 1024], "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ];
        let mut signing = chain.clone();
        for (data, signature) in pieces {
            assert!(chain.clone().verify(sha256(b"other"), signature).is_err());
            assert_eq!(chain.verify(sha256(data), signature), Ok(()));
            assert_eq!(signing.sign(sha256(data)), signature);
        }
    }

    #[test]
    fn a_trailer_is_signed_after_the_last_piece() {
        let scope = CredentialScope { date: "20130524".into(), region: "r".into(), service: "s3".into() };
        let mut signing = ChunkChain::new([7; 32], Timestamp::EPOCH, &scope, [1; 32]);
        let mut verifying = signing.clone();
        let (last, trailer) =
            (signing.sign(sha256(b"")), signing.sign_trailer(b"x-amz-checksum-crc32:AAAAAA==\n"));
        assert!(verifying.clone().verify_trailer(b"x-amz-checksum-crc32:AAAAAA==\n", &trailer).is_err());
        assert_eq!(verifying.verify(sha256(b""), &last), Ok(()));
        assert!(verifying.clone().verify_trailer(b"x-amz-checksum-crc32:BAAAAA==\n", &trailer).is_err());
        assert_eq!(verifying.verify_trailer(b"x-amz-checksum-crc32:AAAAAA==\n", &trailer), Ok(()));
    }
}

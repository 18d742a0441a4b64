//! The sums the store computes over content while it streams past.
//!
//! Every content gets an MD5 (it becomes the ETag) and exactly one further checksum: the one the writer named, or
//! CRC-64/NVME, which is what S3 adds by itself.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use crc_fast::CrcAlgorithm;
use md5::{Digest as _, Md5};
use serde::{Deserialize, Serialize};

/// A checksum algorithm of S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// CRC-32 as in zlib.
    #[serde(rename = "CRC32")]
    Crc32,
    /// CRC-32C (Castagnoli).
    #[serde(rename = "CRC32C")]
    Crc32c,
    /// CRC-64/NVME.
    #[serde(rename = "CRC64NVME")]
    Crc64Nvme,
    /// SHA-1.
    #[serde(rename = "SHA1")]
    Sha1,
    /// SHA-256.
    #[serde(rename = "SHA256")]
    Sha256,
}

impl Algorithm {
    /// Every algorithm, in S3's order.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// S3's name of it, as in `x-amz-checksum-algorithm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// Length of the sum in bytes.
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    fn crc_bytes(self, value: u64) -> Vec<u8> {
        value.to_be_bytes()[8 - self.len_bytes().min(8)..].to_vec()
    }

    /// The sum over `a` followed by `b`, from their sums; `None` for the hashes, which cannot be joined.
    pub fn combine(self, a: &[u8], b: &[u8], b_len: u64) -> Option<Vec<u8>> {
        let value = |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let crc = self.crc()?;
        Some(self.crc_bytes(crc_fast::checksum_combine(crc, value(a), value(b), b_len)))
    }

    /// The sum of `data`.
    pub fn sum(self, data: &[u8]) -> Vec<u8> {
        let mut running = Running::new(self);
        running.update(data);
        running.finish(self)
    }
}

/// What a stored checksum was computed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// The whole content.
    #[serde(rename = "FULL_OBJECT")]
    FullObject,
    /// The sums of the parts, one after the other.
    #[serde(rename = "COMPOSITE")]
    Composite,
}

enum Running {
    Crc(Box<crc_fast::Digest>),
    Hash(Context),
}

impl Running {
    fn new(algorithm: Algorithm) -> Self {
        match (algorithm.crc(), algorithm) {
            (Some(crc), _) => Self::Crc(Box::new(crc_fast::Digest::new(crc))),
            (None, Algorithm::Sha1) => Self::Hash(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            (None, _) => Self::Hash(Context::new(&SHA256)),
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Self::Crc(digest) => digest.update(data),
            Self::Hash(context) => context.update(data),
        }
    }

    fn finish(self, algorithm: Algorithm) -> Vec<u8> {
        match self {
            Self::Crc(digest) => algorithm.crc_bytes(digest.finalize()),
            Self::Hash(context) => context.finish().as_ref().to_vec(),
        }
    }
}

/// Sums in progress.
pub struct Hasher {
    md5: Md5,
    algorithm: Algorithm,
    running: Running,
    also: Option<(Algorithm, Running)>,
}

impl Hasher {
    /// Starts with MD5 and `algorithm`.
    pub fn new(algorithm: Algorithm) -> Self {
        Self { md5: Md5::new(), algorithm, running: Running::new(algorithm), also: None }
    }

    /// Computes `algorithm` as well, if it is another one.
    pub fn also(mut self, algorithm: Algorithm) -> Self {
        self.also = (algorithm != self.algorithm).then(|| (algorithm, Running::new(algorithm)));
        self
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.md5.update(data);
        self.running.update(data);
        if let Some((_, running)) = &mut self.also {
            running.update(data);
        }
    }

    /// The finished sums.
    pub fn finish(self) -> Sums {
        Sums {
            md5: self.md5.finalize().into(),
            algorithm: self.algorithm,
            checksum: self.running.finish(self.algorithm),
            also: self.also.map(|(algorithm, running)| (algorithm, running.finish(algorithm))),
        }
    }
}

/// Finished sums over one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// MD5.
    pub md5: [u8; 16],
    /// Which checksum `checksum` is.
    pub algorithm: Algorithm,
    /// The checksum, most significant byte first.
    pub checksum: Vec<u8>,
    /// A second one, if it was asked for.
    pub also: Option<(Algorithm, Vec<u8>)>,
}

impl Sums {
    /// The checksum in `algorithm`, if it was computed.
    pub fn in_algorithm(&self, algorithm: Algorithm) -> Option<&[u8]> {
        match &self.also {
            _ if self.algorithm == algorithm => Some(&self.checksum),
            Some((also, checksum)) if *also == algorithm => Some(checksum),
            Some(_) | None => None,
        }
    }
}

/// The MD5 of `data`.
pub fn md5_of(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_123456789() {
        let data = b"123456789";
        assert_eq!(hex(&Algorithm::Crc32.sum(data)), "cbf43926");
        assert_eq!(hex(&Algorithm::Crc32c.sum(data)), "e3069283");
        assert_eq!(hex(&Algorithm::Crc64Nvme.sum(data)), "ae8b14860a799888");
        assert_eq!(hex(&Algorithm::Sha1.sum(data)), "f7c3bc1d808e04732adf679965ccc34ca7ae3441");
        assert_eq!(
            hex(&Algorithm::Sha256.sum(data)),
            "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
        );
        assert_eq!(hex(&md5_of(data)), "25f9e794323b453885f5181f1b624d0b");
    }

    #[test]
    fn crcs_join_and_hashes_do_not() {
        for algorithm in Algorithm::ALL {
            let joined = algorithm.combine(&algorithm.sum(b"hello "), &algorithm.sum(b"world"), 5);
            match algorithm {
                Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme => {
                    assert_eq!(joined, Some(algorithm.sum(b"hello world")), "{algorithm:?}");
                }
                Algorithm::Sha1 | Algorithm::Sha256 => assert_eq!(joined, None),
            }
        }
    }
}

//! Why the store refused or failed.

use std::io;

/// What a store operation can answer instead of a result.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// There is no such bucket.
    #[error("no bucket `{0}`")]
    NoSuchBucket(String),
    /// The bucket exists, owned by the named account.
    #[error("the bucket exists and belongs to account `{owner}`")]
    BucketExists {
        /// Who owns it.
        owner: String,
    },
    /// The bucket holds objects.
    #[error("the bucket holds objects")]
    BucketNotEmpty {
        /// Whether it keeps, or kept, versions.
        versioned: bool,
    },
    /// The account owns as many buckets as it may.
    #[error("the account already owns `{limit}` buckets")]
    TooManyBuckets {
        /// The limit.
        limit: usize,
    },
    /// There is no such object where one was required.
    #[error("no object `{0}`")]
    NoSuchKey(String),
    /// A condition of the write does not hold.
    #[error("the condition `{0}` does not hold")]
    PreconditionFailed(&'static str),
    /// There is no such upload.
    #[error("no upload `{0}`")]
    NoSuchUpload(String),
    /// A listed part was not uploaded, or under another ETag or checksum.
    #[error("part `{0}` is missing or differs")]
    InvalidPart(u32),
    /// Listed parts do not ascend.
    #[error("part `{0}` is out of order")]
    InvalidPartOrder(u32),
    /// A part that is not the last is too small.
    #[error("part `{part}` has `{size}` bytes, too few")]
    PartTooSmall {
        /// Part number.
        part: u32,
        /// Its size in bytes.
        size: u64,
        /// Its ETag.
        etag: String,
    },
    /// The parts together exceed the largest object.
    #[error("an object of `{0}` bytes is too large")]
    TooLarge(u64),
    /// The size or checksum the client expected of the whole is another.
    #[error("the whole differs from the expected {0}")]
    WholeDiffers(&'static str),
    /// The disk is full.
    #[error("no space left on the disk that holds the objects")]
    Full,
    /// The disk failed, or a record could not be read.
    #[error("storage failure: {0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the disk, not the request, is at fault.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Full | Self::Failed(_))
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Failed(format!("unreadable record: {error}"))
    }
}

macro_rules! from_redb {
    ($($kind:ty),*) => {$(
        impl From<$kind> for StoreError {
            fn from(error: $kind) -> Self {
                match redb::Error::from(error) {
                    redb::Error::Io(error) => error.into(),
                    other => Self::Failed(other.to_string()),
                }
            }
        }
    )*};
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

//! A record as it lies on the disk: one byte of format, eight of checksum (CRC-64/NVME), then the content.
//!
//! INVARIANT: the checksum covers the record's name too, so one record read in the place of another is noticed.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 9;

/// Which record: part of its checksum, and what an error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// The format and region of the store.
    Region,
    /// The last revision.
    Head,
    /// The state at a revision.
    Snapshot(u64),
    /// The command that made a revision.
    Command(u64),
    /// A blob.
    Blob(&'a str),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region => f.write_str("the region record"),
            Self::Head => f.write_str("the head record"),
            Self::Snapshot(revision) => write!(f, "the snapshot of revision {revision}"),
            Self::Command(revision) => write!(f, "the command of revision {revision}"),
            Self::Blob(name) => write!(f, "blob `{name}`"),
        }
    }
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it is {0} bytes long, shorter than its header")]
    Short(usize),
    #[error("its format is {0}, and this version reads {VERSION}")]
    Version(u8),
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("its content does not read: {0}")]
    Content(#[from] serde_json::Error),
}

/// The checksum of some bytes under a name.
pub(crate) fn checksum(name: Name<'_>, content: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(name.to_string().as_bytes());
    digest.update(&[VERSION]);
    digest.update(content);
    digest.finalize()
}

pub(crate) fn seal(name: Name<'_>, content: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(HEADER_BYTES + content.len());
    record.push(VERSION);
    record.extend_from_slice(&checksum(name, content).to_le_bytes());
    record.extend_from_slice(content);
    record
}

pub(crate) fn open<'r>(name: Name<'_>, record: &'r [u8]) -> Result<&'r [u8], RecordError> {
    let Some((header, content)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err(RecordError::Short(record.len()));
    };
    let [version, sum @ ..] = *header;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    if u64::from_le_bytes(sum) != checksum(name, content) {
        return Err(RecordError::Checksum);
    }
    Ok(content)
}

pub(crate) fn write<T: Serialize>(name: Name<'_>, value: &T) -> Result<Vec<u8>, RecordError> {
    Ok(seal(name, &serde_json::to_vec(value)?))
}

pub(crate) fn read<T: DeserializeOwned>(name: Name<'_>, record: &[u8]) -> Result<T, RecordError> {
    Ok(serde_json::from_slice(open(name, record)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_under_its_own_name_only() {
        let record = write(Name::Command(7), &"content").unwrap();
        assert_eq!(read::<String>(Name::Command(7), &record).unwrap(), "content");
        assert!(matches!(read::<String>(Name::Command(8), &record), Err(RecordError::Checksum)));
        assert!(matches!(read::<String>(Name::Snapshot(7), &record), Err(RecordError::Checksum)));
    }

    #[test]
    fn every_changed_byte_and_every_lost_end_is_noticed() {
        let record = write(Name::Head, &[1, 2, 3]).unwrap();
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 0x10;
            assert!(open(Name::Head, &changed).is_err(), "byte {at}");
            assert!(open(Name::Head, &record[..at]).is_err(), "cut at {at}");
        }
    }
}

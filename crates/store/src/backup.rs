//! Backups: one file that holds a whole region, readable by eye.
//!
//! A line each: a header, the state, the blobs, an end. Each line is a checksum of sixteen digits, a space and JSON.
//!
//! INVARIANT: a file that lacks its end, or a line of it, is refused.

use std::io::{self, BufRead, Read, Write};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use crc_fast::{CrcAlgorithm, checksum};
use postern_model::{Region, State, invariants};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::medium::{Directory, Medium};
use crate::store::{Blobs, FORMAT, MAX_BLOBS, OLDEST_FORMAT, PlainBlobs, Store, check_blob, revive};

/// How long a line may be.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The region.
    pub region: Region,
    /// The revision that the backup was made of.
    pub revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    postern_backup: u64,
    region: String,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Blob {
    blob: String,
    content: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    blobs: usize,
    end: u64,
}

/// Writes a backup of this state and these blobs.
pub(crate) fn write(to: &mut dyn Write, state: &State, blobs: &Blobs) -> Result<(), StoreError> {
    let header =
        Header { postern_backup: FORMAT, region: state.region.name.clone(), revision: state.revision };
    write_line(to, &header)?;
    write_line(to, state)?;
    for (name, content) in blobs {
        write_line(to, &Blob { blob: name.clone(), content: BASE64.encode(content) })?;
    }
    write_line(to, &End { blobs: blobs.len(), end: state.revision })?;
    to.flush().map_err(write_error)
}

fn write_error(source: io::Error) -> StoreError {
    StoreError::Io { action: "write", path: "the backup".into(), source }
}

fn write_line<T: Serialize>(to: &mut dyn Write, value: &T) -> Result<(), StoreError> {
    let json = serde_json::to_vec(value).map_err(|error| write_error(error.into()))?;
    let sum = checksum(CrcAlgorithm::Crc64Nvme, &json);
    let line =
        write!(to, "{sum:016x} ").and_then(|()| to.write_all(&json)).and_then(|()| to.write_all(b"\n"));
    line.map_err(write_error)
}

/// Makes a region in an empty directory from a backup.
pub fn restore(from: &mut dyn Read, directory: &Path) -> Result<Restored, StoreError> {
    let directory = Directory::take(directory)?;
    if directory.database().exists() {
        return Err(StoreError::NotEmpty { place: directory.name() });
    }
    let (state, blobs) = read(from)?;
    let restored = Restored { region: state.region.clone(), revision: state.revision };
    Store::make(directory, &state, &blobs)?;
    Ok(restored)
}

/// Reads a backup and checks it whole.
fn read(from: &mut dyn Read) -> Result<(State, Blobs), StoreError> {
    let mut lines = Lines { from: io::BufReader::new(from), number: 0 };
    let header: Header = lines.next()?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&header.postern_backup) {
        let place = "the backup".to_owned();
        return Err(StoreError::UnknownFormat { place, found: header.postern_backup, known: FORMAT });
    }
    let state: State = lines.next()?;
    if (&state.region.name, state.revision) != (&header.region, header.revision) {
        return Err(lines.damage("it is not the state that the header announces".to_owned()));
    }
    let state = revive(state);
    if let Some(violation) = invariants::check(&state).first() {
        return Err(lines.damage(format!("{}: {}", violation.invariant, violation.detail)));
    }
    let (blobs, end) = read_blobs(&mut lines)?;
    if (end.blobs, end.end) != (blobs.len(), header.revision) {
        return Err(lines.damage("the end does not fit the beginning".to_owned()));
    }
    Ok((state, blobs))
}

fn read_blobs(lines: &mut Lines<'_>) -> Result<(Blobs, End), StoreError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Line {
        Blob(Blob),
        End(End),
    }
    let mut plain = PlainBlobs::new();
    for _ in 0..=MAX_BLOBS {
        match lines.next()? {
            Line::Blob(Blob { blob, content }) => {
                let content = BASE64.decode(content).map_err(|error| lines.damage(error.to_string()))?;
                check_blob(&Blobs::new(), &blob, &content)?;
                plain.insert(blob, content);
            }
            Line::End(end) => {
                let blobs =
                    plain.into_iter().map(|(name, content)| (name, Arc::<[u8]>::from(content))).collect();
                return Ok((blobs, end));
            }
        }
    }
    Err(StoreError::BlobLimit { what: "blobs", limit: MAX_BLOBS })
}

struct Lines<'a> {
    from: io::BufReader<&'a mut dyn Read>,
    number: usize,
}

impl Lines<'_> {
    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T, StoreError> {
        self.number += 1;
        let mut line = Vec::new();
        let mut limited = (&mut self.from).take(MAX_LINE_BYTES);
        limited.read_until(b'\n', &mut line).map_err(|source| StoreError::Io {
            action: "read",
            path: "the backup".into(),
            source,
        })?;
        if line.pop() != Some(b'\n') {
            return Err(self.damage("the file ends here".to_owned()));
        }
        let parts = line.split_at_checked(17).filter(|(sum, _)| sum.ends_with(b" "));
        let (sum, json) = parts.ok_or_else(|| self.damage("it is not a checksum and JSON".to_owned()))?;
        let given =
            std::str::from_utf8(sum).ok().and_then(|sum| u64::from_str_radix(sum.trim_end(), 16).ok());
        if given != Some(checksum(CrcAlgorithm::Crc64Nvme, json)) {
            return Err(self.damage("its checksum does not match its content".to_owned()));
        }
        serde_json::from_slice(json).map_err(|error| self.damage(error.to_string()))
    }

    fn damage(&self, reason: String) -> StoreError {
        let record = format!("line {}", self.number);
        StoreError::Damaged { place: "the backup".to_owned(), record, reason, backup: None }
    }
}

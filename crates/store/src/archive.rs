//! Archives: one file of named sections, each a stream of bytes, checked piece by piece.
//!
//! ```text
//! postern-archive 1\n
//! frame*      kind (1 byte), length (4), CRC-64/NVME over number, kind, length and payload (8), payload
//! ```
//! A section is a frame with its name, frames with its bytes and a frame with how many there were; a last frame says
//! how many sections there were. Numbers are in network order. What a section holds is its writer's.
//!
//! INVARIANT: no byte is handed out before the checksum of its frame held; frames that are missing, doubled or in
//! another order do not have theirs, because it covers their number.
//! INVARIANT: memory is bounded by one frame, however long a section is.

use std::io::{self, BufRead, Read, Write};

use crc_fast::{CrcAlgorithm, Digest};

use crate::error::StoreError;

/// What every archive begins with, before its version.
pub const MAGIC: &[u8] = b"postern-archive ";
/// The version that is written, and the newest that is read.
const VERSION: u64 = 1;
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
const HEAD_BYTES: usize = 13;
/// What archives are called in errors.
const PLACE: &str = "the backup";

const BEGIN: u8 = b'B';
const DATA: u8 = b'D';
const END: u8 = b'E';
const LAST: u8 = b'Z';

fn sum(number: u64, kind: u8, payload: &[u8]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(&number.to_be_bytes());
    digest.update(&[kind]);
    // A payload is at most a mebibyte.
    digest.update(&(payload.len() as u64).to_be_bytes());
    digest.update(payload);
    digest.finalize()
}

fn write_error(source: io::Error) -> StoreError {
    StoreError::Io { action: "write", path: PLACE.into(), source }
}

/// Writes an archive. One that was not finished is refused when it is read.
pub struct ArchiveWriter<W> {
    to: W,
    frames: u64,
    sections: u64,
}

impl<W: Write> ArchiveWriter<W> {
    /// Begins an archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut to: W) -> Result<Self, StoreError> {
        to.write_all(MAGIC).and_then(|()| writeln!(to, "{VERSION}")).map_err(write_error)?;
        Ok(Self { to, frames: 0, sections: 0 })
    }

    /// Writes a section, whose bytes `fill` gives.
    ///
    /// # Errors
    /// `fill`'s, or when the archive cannot be written; it is then of no further use.
    pub fn section<E: From<StoreError>>(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        self.frame(BEGIN, name.as_bytes()).map_err(write_error)?;
        let mut section = Section { archive: self, piece: Vec::new(), bytes: 0 };
        fill(&mut section)?;
        section.flush().map_err(write_error)?;
        let bytes = section.bytes;
        self.frame(END, &bytes.to_be_bytes()).map_err(write_error)?;
        self.sections += 1;
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<W, StoreError> {
        let sections = self.sections.to_be_bytes();
        self.frame(LAST, &sections).and_then(|()| self.to.flush()).map_err(write_error)?;
        Ok(self.to)
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.to.write_all(&[kind])?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&sum(self.frames, kind, payload).to_be_bytes())?;
        self.to.write_all(payload)?;
        self.frames += 1;
        Ok(())
    }
}

struct Section<'a, W> {
    archive: &'a mut ArchiveWriter<W>,
    piece: Vec<u8>,
    bytes: u64,
}

impl<W: Write> Write for Section<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_PAYLOAD_BYTES - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend(bytes.iter().take(taken));
        self.bytes += taken as u64;
        if self.piece.len() == MAX_PAYLOAD_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.archive.frame(DATA, &self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }
}

/// Reads an archive. While a section is read, it is a reader of that section's bytes.
pub struct ArchiveReader<R> {
    from: R,
    frames: u64,
    sections: u64,
    /// Of the section that is being read.
    section: Option<u64>,
    piece: io::Cursor<Vec<u8>>,
}

impl<R: BufRead> ArchiveReader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is no archive, [`StoreError::UnknownFormat`] if it is of a later version.
    pub fn new(mut from: R) -> Result<Self, StoreError> {
        let mut line = Vec::new();
        (&mut from).take(64).read_until(b'\n', &mut line).map_err(read_error)?;
        let version = line.strip_prefix(MAGIC).and_then(|rest| rest.strip_suffix(b"\n"));
        let version = version.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        match version {
            Some(VERSION) => {}
            Some(found) => {
                return Err(StoreError::UnknownFormat { place: PLACE.to_owned(), found, known: VERSION });
            }
            None => return Err(damage("its first line", "it is not the beginning of a backup")),
        }
        Ok(Self { from, frames: 0, sections: 0, section: None, piece: io::Cursor::default() })
    }

    /// The name of the next section; none if there are no more, and the archive is whole.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also if the section before was not read to its end.
    pub fn next_section(&mut self) -> Result<Option<String>, StoreError> {
        if self.section.is_some() {
            let rest = io::copy(self, &mut io::sink()).map_err(read_error)?;
            if rest > 0 {
                return Err(self.damage("a section holds more than was expected"));
            }
        }
        let (kind, payload) = self.frame()?;
        match kind {
            BEGIN => {
                self.section = Some(0);
                let name = String::from_utf8(payload);
                name.map(Some).map_err(|_| self.damage("the name of a section cannot be read"))
            }
            LAST if payload == self.sections.to_be_bytes() => {
                let more = self.from.fill_buf().map_err(read_error)?;
                if more.is_empty() { Ok(None) } else { Err(self.damage("there is something behind the end")) }
            }
            _ => Err(self.damage("another frame was expected")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), StoreError> {
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head)?;
        let [kind, l0, l1, l2, l3, given @ ..] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD_BYTES {
            return Err(self.damage("its checksum does not match its content"));
        }
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        if sum(self.frames, kind, &payload) != u64::from_be_bytes(given) {
            return Err(self.damage("its checksum does not match its content"));
        }
        self.frames += 1;
        Ok((kind, payload))
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), StoreError> {
        self.from.read_exact(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damage("the file ends here"),
            _ => read_error(error),
        })
    }

    /// Reads the next piece of the section; false at its end.
    fn next_piece(&mut self, read: u64) -> Result<bool, StoreError> {
        let (kind, payload) = self.frame()?;
        match kind {
            DATA => {
                self.section = Some(read + payload.len() as u64);
                self.piece = io::Cursor::new(payload);
                Ok(true)
            }
            END if payload == read.to_be_bytes() => {
                self.section = None;
                self.sections += 1;
                Ok(false)
            }
            _ => Err(self.damage("another frame was expected")),
        }
    }

    fn damage(&self, reason: &str) -> StoreError {
        damage(&format!("frame {}", self.frames), reason)
    }
}

impl<R: BufRead> Read for ArchiveReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let taken = self.piece.read(out)?;
            if taken > 0 || out.is_empty() {
                return Ok(taken);
            }
            let Some(read) = self.section else { return Ok(0) };
            if !self.next_piece(read).map_err(io::Error::other)? {
                return Ok(0);
            }
        }
    }
}

fn damage(record: &str, reason: &str) -> StoreError {
    StoreError::Damaged {
        place: PLACE.to_owned(),
        record: record.to_owned(),
        reason: reason.to_owned(),
        backup: None,
    }
}

fn read_error(source: io::Error) -> StoreError {
    StoreError::Io { action: "read", path: PLACE.into(), source }
}

//! The audit log on disk: `audit.log`, and beside it the older ones, `audit.log.1` the youngest of them.
//!
//! INVARIANT: the log holds whole lines. What did not fit goes from it again, so that the next line begins one.
//! INVARIANT: no file is longer than the limit and no more than so many are kept. Only the oldest ever goes, and only
//! after there is a new one to write to: a crash at any moment leaves every record in one of the files.
//!
//! Lines are with the kernel when they are written, so they survive the end of the program; they are brought to the
//! disk within a second, and before a file is put aside.

use std::fs::File;
use std::io::{self, Write};
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// Bytes of a file.
    pub bytes: NonZeroU64,
    /// Older files.
    pub kept: NonZeroU32,
}

/// The open log.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    rotation: Rotation,
    unsettled: bool,
}

impl AuditLog {
    /// Opens the log, and goes on where it ended.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = options().open(path)?;
        let bytes = file.metadata()?.len();
        let mut log = Self { path: path.to_owned(), file, bytes, rotation, unsettled: false };
        log.end_last_line()?;
        Ok(log)
    }

    /// The files that there are, the youngest first.
    pub fn files(&self) -> Vec<PathBuf> {
        let older = (1..=self.rotation.kept.get()).map(|number| self.older(number));
        std::iter::once(self.path.clone()).chain(older.filter(|path| path.exists())).collect()
    }

    /// Appends whole lines, or nothing. Before a file gets too long it is put aside; where that fails the reason is
    /// the second value, and the file goes on.
    pub fn append(&mut self, lines: &[u8]) -> (io::Result<()>, io::Result<()>) {
        let length = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        let full = self.bytes > 0 && self.bytes.saturating_add(length) > self.rotation.bytes.get();
        let rotated = if full { self.rotate() } else { Ok(()) };
        let written = self.file.write_all(lines);
        match &written {
            Ok(()) => {
                self.bytes = self.bytes.saturating_add(length);
                self.unsettled = true;
            }
            Err(_) => {
                if let Err(error) = self.file.set_len(self.bytes) {
                    tracing::error!(%error, "half a line is left in the audit log");
                }
            }
        }
        (written, rotated)
    }

    /// Brings what was written to the disk.
    pub fn settle(&mut self) -> io::Result<()> {
        if self.unsettled {
            self.file.sync_data()?;
            self.unsettled = false;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.settle()?;
        // The new file is there before the old one goes: on a full disk this is where it fails, with nothing changed.
        let fresh = self.path.with_extension("log.new");
        remove(&fresh)?;
        let file = options().create_new(true).open(&fresh)?;
        self.make_room()?;
        rename(&self.path, &self.older(1))?;
        rename(&fresh, &self.path)?;
        self.file = file;
        self.bytes = 0;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Moves older files on, up to a gap if a crash left one. Only where there is none the oldest goes, and with it what
    /// is left of when more were kept.
    fn make_room(&self) -> io::Result<()> {
        let kept = self.rotation.kept.get();
        let is_there = |number: &u32| self.older(*number).exists();
        let moved = (1..kept).take_while(is_there).count();
        let first_free = u32::try_from(moved).unwrap_or(u32::MAX).saturating_add(1);
        if first_free == kept {
            (kept..=u32::MAX).take_while(is_there).try_for_each(|number| remove(&self.older(number)))?;
        }
        (1..first_free).rev().try_for_each(|number| rename(&self.older(number), &self.older(number + 1)))
    }

    fn older(&self, number: u32) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    /// A loss of power may have left half a line.
    fn end_last_line(&mut self) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut last = [b'\n'];
        if self.bytes > 0 {
            File::open(&self.path)?.read_exact_at(&mut last, self.bytes - 1)?;
        }
        if last != [b'\n'] {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        Ok(())
    }
}

fn options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.create(true).append(true).mode(0o600);
    options
}

/// What is not there need not be removed.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What is not there need not be renamed: there are fewer files than may be kept, or a crash left a gap.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(bytes: u64, kept: u32) -> Rotation {
        Rotation { bytes: NonZeroU64::new(bytes).unwrap(), kept: NonZeroU32::new(kept).unwrap() }
    }

    /// The names and contents of a directory.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut found: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        found.sort();
        found
    }

    fn append(log: &mut AuditLog, line: &str) {
        let (written, rotated) = log.append(line.as_bytes());
        written.unwrap();
        rotated.unwrap();
    }

    #[test]
    fn files_are_bounded_and_the_oldest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = AuditLog::open(&path, rotation(10, 2)).unwrap();
        for n in 1..=7 {
            append(&mut log, &format!("n{n}-x\n"));
        }
        let expected =
            [("audit.log", "n7-x\n"), ("audit.log.1", "n5-x\nn6-x\n"), ("audit.log.2", "n3-x\nn4-x\n")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(files(directory.path()), expected);
        // It goes on where it ended, after a start as well, and mends half a line.
        drop(log);
        std::fs::write(&path, "half").unwrap();
        let mut log = AuditLog::open(&path, rotation(10, 2)).unwrap();
        append(&mut log, "n8-x\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half\nn8-x\n");
    }

    #[test]
    fn fewer_are_kept_when_fewer_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = AuditLog::open(&path, rotation(2, 5)).unwrap();
        (1..=6).for_each(|n| append(&mut log, &format!("{n}\n")));
        assert_eq!(files(directory.path()).len(), 6);
        drop(log);
        let mut log = AuditLog::open(&path, rotation(2, 2)).unwrap();
        append(&mut log, "7\n");
        let texts: Vec<String> = files(directory.path()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["7\n", "6\n", "5\n"]);
    }

    #[test]
    fn a_gap_is_filled_before_anything_goes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(directory.path().join("audit.log.2"), "oldest\n").unwrap();
        let mut log = AuditLog::open(&path, rotation(2, 2)).unwrap();
        ["a\n", "b\n"].iter().for_each(|line| append(&mut log, line));
        let texts: Vec<String> = files(directory.path()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["b\n", "a\n", "oldest\n"]);
    }

    #[test]
    fn a_rotation_that_fails_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        let mut log = AuditLog::open(&path, rotation(10, 2)).unwrap();
        append(&mut log, "first-1\n");
        // A directory in the way of the new file.
        std::fs::create_dir(directory.path().join("audit.log.new")).unwrap();
        let (written, rotated) = log.append(b"second\n");
        written.unwrap();
        assert!(rotated.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first-1\nsecond\n");
        std::fs::remove_dir(directory.path().join("audit.log.new")).unwrap();
        append(&mut log, "third\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third\n");
    }

    #[test]
    fn a_crash_in_the_middle_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        // As between the last two renames: the old one is put aside, the new one not yet there.
        std::fs::write(directory.path().join("audit.log.1"), "old\n").unwrap();
        std::fs::write(directory.path().join("audit.log.new"), "").unwrap();
        let mut log = AuditLog::open(&path, rotation(4, 3)).unwrap();
        append(&mut log, "new\n");
        append(&mut log, "newer\n");
        let texts: Vec<String> = files(directory.path()).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["newer\n", "new\n", "old\n"]);
    }
}

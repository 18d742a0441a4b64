//! Where a store lies: a directory, or in tests something that fails on purpose.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

use crate::error::StoreError;

/// Writes a backup into what it is given.
pub type WriteBackup<'a> = &'a dyn Fn(&mut dyn Write) -> Result<(), StoreError>;

/// Where a store lies. It is opened again after the disk has failed.
pub trait Medium: Send + Sync + 'static {
    /// Opens the database that is there; none if there is none.
    fn open(&self, builder: &Builder) -> Result<Option<Database>, DatabaseError>;

    /// Makes an empty database beside the one that is there.
    fn open_new(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Puts the new database, closed by now, in place of the one that was there, durably and at once.
    fn adopt_new(&self) -> Result<(), StoreError>;

    /// Keeps a copy of the last snapshot apart from the database, replacing the one before whole.
    fn keep_backup(&self, write: WriteBackup<'_>) -> Result<(), StoreError>;

    /// That copy, if there is one.
    fn backup(&self) -> Option<PathBuf>;

    /// What to call it in errors.
    fn name(&self) -> String;
}

/// A directory that this process alone uses: `state.redb`, `last.backup` and `lock`, readable by their owner only.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held as long as the store is open.
    _lock: File,
}

impl Directory {
    /// Takes the directory for this process, making it if it is not there.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action, path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("make", path))?;
        let lock_path = path.join("lock");
        let mut options = private();
        let mut lock = options.truncate(false).open(&lock_path).map_err(io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let place = path.display().to_string();
                return Err(StoreError::InUse { place, holder: holder(&mut lock) });
            }
            Err(fs::TryLockError::Error(source)) => return Err(io("lock", &lock_path)(source)),
        }
        // Who holds it, for the message of the next one who tries.
        let said = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| write!(lock, "{}", std::process::id()));
        said.map_err(io("write", &lock_path))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("state.redb")
    }

    fn new_database(&self) -> PathBuf {
        self.path.join("state.redb.new")
    }

    fn backup_path(&self) -> PathBuf {
        self.path.join("last.backup")
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    match lock.take(20).read_to_string(&mut text) {
        Ok(_) if !text.is_empty() => format!("process {text}"),
        Ok(_) | Err(_) => "another process".to_owned(),
    }
}

impl Medium for Directory {
    fn open(&self, builder: &Builder) -> Result<Option<Database>, DatabaseError> {
        let path = self.database();
        if path.exists() { builder.open(path).map(Some) } else { Ok(None) }
    }

    fn open_new(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let new = self.new_database();
        private().truncate(true).open(&new)?;
        builder.create(&new)
    }

    fn adopt_new(&self) -> Result<(), StoreError> {
        let renamed = fs::rename(self.new_database(), self.database()).and_then(|()| self.sync());
        renamed.map_err(|source| StoreError::Io { action: "replace", path: self.database(), source })
    }

    fn keep_backup(&self, write: WriteBackup<'_>) -> Result<(), StoreError> {
        let new = self.path.join("last.backup.new");
        let io = |action| {
            let path = new.clone();
            move |source| StoreError::Io { action, path, source }
        };
        let mut file = private().truncate(true).open(&new).map_err(io("make"))?;
        let mut buffered = io::BufWriter::new(&mut file);
        write(&mut buffered)?;
        buffered.flush().map_err(io("write"))?;
        drop(buffered);
        file.sync_all().map_err(io("write"))?;
        fs::rename(&new, self.backup_path()).map_err(io("rename"))?;
        self.sync().map_err(io("flush the directory of"))
    }

    fn backup(&self) -> Option<PathBuf> {
        Some(self.backup_path()).filter(|path| path.exists())
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}

//! The seam between the object store and the machine's disk.
//!
//! Everything the store asks of a disk goes through [`Disk`], so that tests can put a disk in its place that fails,
//! fills up or loses power at any step. [`OsDisk`] is the real one: a directory with one index file, one lock file
//! and content files spread over 256 shard directories by the first byte of their id.
//!
//! INVARIANT: a content file is written once, made durable (file, then directory), referenced from the index, and
//! never written again.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of a content file: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub u128);

impl BlobId {
    /// Draws a fresh id.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0u8; 16];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| io::Error::other("the random number generator failed"))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    fn shard(self) -> String {
        format!("{:02x}", self.0 >> 120)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blob {self}")
    }
}

/// A content file being written, front to back.
pub trait BlobWrite: Send {
    /// Appends all of `data`.
    fn append(&mut self, data: &[u8]) -> io::Result<()>;
    /// Returns once everything appended would survive a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// A content file open for reading. It stays readable after [`Disk::remove`].
pub trait BlobRead: Send + Sync {
    /// Fills `out` from `offset`; a file that ends earlier is an error.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
}

/// What the store needs of a disk. Every method may block.
pub trait Disk: Send + Sync + 'static {
    /// Creates a content file; an existing one is an error.
    fn create(&self, id: BlobId) -> io::Result<Box<dyn BlobWrite>>;
    /// Makes the directory entry of `id` durable.
    fn sync_entry(&self, id: BlobId) -> io::Result<()>;
    /// Opens a content file.
    fn open(&self, id: BlobId) -> io::Result<Arc<dyn BlobRead>>;
    /// Removes a content file's name.
    fn remove(&self, id: BlobId) -> io::Result<()>;
    /// Calls `each` for every content file.
    fn list(&self, each: &mut dyn FnMut(BlobId)) -> io::Result<()>;
    /// The index file, made if missing. May be asked for again after the previous backend was dropped.
    fn index(&self) -> io::Result<Box<dyn redb::StorageBackend>>;
    /// Bytes that an ordinary user may still write.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// The real disk: a directory.
pub struct OsDisk {
    root: PathBuf,
    // Held for its lock: two stores must never share a directory.
    _lock: File,
}

impl OsDisk {
    /// Opens `root`, making it and its shard directories if missing, and locks it against other processes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another store has the directory open; otherwise what the disk said.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("data"))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
        for shard in 0..=255u8 {
            let path = root.join("data").join(format!("{shard:02x}"));
            match std::fs::create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        for directory in [root.join("data"), root.to_path_buf()] {
            File::open(directory)?.sync_all()?;
        }
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    fn path(&self, id: BlobId) -> PathBuf {
        self.root.join("data").join(id.shard()).join(id.to_string())
    }
}

impl Disk for OsDisk {
    fn create(&self, id: BlobId) -> io::Result<Box<dyn BlobWrite>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path(id))?;
        Ok(Box::new(OsBlob { file }))
    }

    fn sync_entry(&self, id: BlobId) -> io::Result<()> {
        File::open(self.root.join("data").join(id.shard()))?.sync_all()
    }

    fn open(&self, id: BlobId) -> io::Result<Arc<dyn BlobRead>> {
        Ok(Arc::new(OsBlob { file: File::open(self.path(id))? }))
    }

    fn remove(&self, id: BlobId) -> io::Result<()> {
        std::fs::remove_file(self.path(id))
    }

    fn list(&self, each: &mut dyn FnMut(BlobId)) -> io::Result<()> {
        for shard in 0..=255u8 {
            for entry in std::fs::read_dir(self.root.join("data").join(format!("{shard:02x}")))? {
                // A name that is not an id is not ours and is left alone.
                if let Some(id) = entry?.file_name().to_str().and_then(BlobId::parse) {
                    each(id);
                }
            }
        }
        Ok(())
    }

    fn index(&self) -> io::Result<Box<dyn redb::StorageBackend>> {
        let path = self.root.join("index.redb");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        File::open(&self.root)?.sync_all()?;
        Ok(Box::new(OsIndex { file }))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.root)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

struct OsBlob {
    file: File,
}

impl BlobWrite for OsBlob {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.file, data)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl BlobRead for OsBlob {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }
}

/// The index file without redb's own locking: the directory's lock already keeps others out.
#[derive(Debug)]
struct OsIndex {
    file: File,
}

impl redb::StorageBackend for OsIndex {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

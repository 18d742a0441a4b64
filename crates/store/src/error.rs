//! Why the disk could not be read, and why a command was not committed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use postern_model::ModelError;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The disk refused a write, a read or a flush.
    #[error("`{place}` cannot be read or written: {source}")]
    Disk {
        /// Which store.
        place: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else has it open.
    #[error("`{place}` is in use by {holder}")]
    InUse {
        /// Which store.
        place: String,
        /// Who, as far as is known.
        holder: String,
    },
    /// It was written by a later version of this program.
    #[error("`{place}` has format {found}, and this version reads format {known}: use a newer version")]
    UnknownFormat {
        /// Which store, or which backup.
        place: String,
        /// Its format.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// It holds another region.
    #[error("`{place}` holds region `{stored}`, not `{asked}`")]
    OtherRegion {
        /// Which store.
        place: String,
        /// The region in it.
        stored: String,
        /// The region that was asked for.
        asked: String,
    },
    /// What is in it is not what was written.
    #[error("`{place}` is damaged at {record}: {reason}{}", hint(.backup))]
    Damaged {
        /// Which store, or which backup.
        place: String,
        /// Which record.
        record: String,
        /// What is wrong with it.
        reason: String,
        /// The last good snapshot beside it, to restore from.
        backup: Option<PathBuf>,
    },
    /// The place where a backup should be restored to holds a store.
    #[error("`{place}` holds a region already: restore into an empty directory")]
    NotEmpty {
        /// Where.
        place: String,
    },
    /// A blob's name is not 1 to 128 of `a-z`, `0-9`, `.`, `_`, `-` and `/`.
    #[error("`{0}` is not a name for a blob")]
    BlobName(String),
    /// A blob is too large, or there are too many.
    #[error("{limit} {what} are allowed")]
    BlobLimit {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
}

fn hint(backup: &Option<PathBuf>) -> String {
    match backup {
        Some(path) => format!("; the last snapshot is kept in `{}` and can be restored", path.display()),
        None => String::new(),
    }
}

/// Why a command was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The model refused it.
    #[error(transparent)]
    Refused(#[from] ModelError),
    /// It could not be made durable. The state is as it was.
    #[error("the change could not be stored: {0}")]
    Storage(#[source] Arc<StoreError>),
    /// Too many commands wait. The state is as it was.
    #[error("{limit} commands are waiting already")]
    Busy {
        /// How many may wait.
        limit: usize,
    },
    /// The ledger has been closed. Whether the command was committed is not known.
    #[error("the ledger is closed")]
    Closed,
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Storage(Arc::new(error))
    }
}

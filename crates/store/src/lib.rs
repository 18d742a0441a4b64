//! The memory of a region: commands are durable before they are answered, readers see one revision, watchers see all.
//!
//! **Job.** [`Ledger`] owns the state. A command goes through it: applied by the model, written to the disk together
//! with whatever else is waiting (one flush for all), then published. [`Store`] is the disk underneath.
//!
//! **Invariants.**
//! - A command that was acknowledged is there after a crash at any moment, whole and in its place; one that was not
//!   is there whole or not at all.
//! - When the disk fails, the state is as it was before, and commands can succeed again once the disk does.
//! - What is read back is checked: format version, checksum of every record, an unbroken sequence of revisions, and
//!   that replaying gives what was acknowledged.
//! - Nothing waits without bound: the queue of commands, the history that watchers read and the log all have limits.
//!
//! **Must never know.** AWS's wire formats, packets, what a policy means.

mod archive;
mod backup;
mod error;
mod ledger;
mod medium;
mod record;
mod sources;
mod store;
mod watch;
mod writer;

pub use archive::{ArchiveReader, ArchiveWriter, MAGIC as ARCHIVE_MAGIC};
pub use backup::{Restored, restore};
pub use error::{CommitError, StoreError};
pub use ledger::{Committed, Ledger};
pub use medium::{Directory, Medium};
pub use sources::{Clock, Entropy, Sources};
pub use store::{Blobs, FORMAT, MAX_BLOB_BYTES, MAX_BLOBS, Options, Store};
pub use watch::{Change, WatchError, Watcher};

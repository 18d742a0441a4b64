//! What the front door recorded: the audit log on disk, and its last lines in memory for labs and `postern`.

use std::collections::VecDeque;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// How many records are kept in memory.
const KEPT: usize = 4_096;

/// The last records, numbered from one.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    /// A line that is not complete yet.
    partial: Vec<u8>,
    last: u64,
    kept: VecDeque<(u64, serde_json::Value)>,
    log: Option<std::fs::File>,
}

impl Recorder {
    /// One that also appends to a file.
    pub fn appending(path: &std::path::Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let log = std::fs::File::options().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self(Arc::new(Mutex::new(Records { log: Some(log), ..Records::default() }))))
    }

    /// The records after a number, each with its `sequence`.
    pub fn after(&self, sequence: u64) -> Vec<serde_json::Value> {
        let records = self.lock();
        let later = records.kept.iter().filter(|(number, _)| *number > sequence);
        later
            .map(|(number, record)| {
                let mut record = record.clone();
                if let Some(object) = record.as_object_mut() {
                    object.insert("sequence".to_owned(), (*number).into());
                }
                record
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let written = self.append(bytes);
        self.partial.extend_from_slice(bytes);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            if let Ok(record) = serde_json::from_slice(&line) {
                self.last += 1;
                self.kept.push_back((self.last, record));
            }
        }
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
        written
    }

    /// INVARIANT: the log holds whole lines. What did not fit goes from it again, so that the next line begins one.
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let before = log.metadata()?.len();
        log.write_all(bytes).inspect_err(|_| {
            if let Err(error) = log.set_len(before) {
                tracing::error!(%error, "half a line is left in the audit log");
            }
        })
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.lock().take(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_however_they_come() {
        let recorder = Recorder::default();
        for part in ["{\"a\":1}\n{\"a\"", ":2}\n", "not json\n", "{\"a\":3}\n"] {
            recorder.lock().take(part.as_bytes()).unwrap();
        }
        let later: Vec<_> =
            recorder.after(1).iter().map(|r| (r["sequence"].clone(), r["a"].clone())).collect();
        assert_eq!(later, [(2.into(), 2.into()), (3.into(), 3.into())]);
    }
}

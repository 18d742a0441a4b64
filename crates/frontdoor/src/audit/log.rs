//! From records to lines that stay.
//!
//! INVARIANT: no record goes unnoticed: one that cannot be written is counted, said in the program's log, and missing
//! records are told in the audit log itself by a line of their own as soon as it can be written again.
//! INVARIANT: a log that cannot be written stops no request. Changes to the region need the same disk for their own
//! journal, so a full one refuses them there; reads go on, as CloudTrail never holds up the API it records.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use postern_wire::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Record;
use crate::metrics::{Counter, Metrics};

/// Records that are written at a time.
const BATCH: usize = 64;
/// How long written records may wait until they survive a loss of power.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// Where lines go. Its methods block.
pub trait Log: Send + 'static {
    /// Writes whole lines, or none of them.
    ///
    /// # Errors
    /// Where they cannot be written.
    fn append(&mut self, lines: &str) -> io::Result<()>;

    /// Makes what was written survive a loss of power.
    ///
    /// # Errors
    /// Where that cannot be said of all of it.
    fn settle(&mut self) -> io::Result<()>;
}

/// What the writer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Records,
    /// Nothing more came for a while.
    Silence,
    /// Nobody is left who could hand records over.
    End,
}

struct Writer<L> {
    log: L,
    metrics: Arc<Metrics>,
    /// Records that are missing from the log since it was last written.
    missing: u64,
}

/// Writes records as lines until every [`Audit`](super::Audit) of the channel is gone. Lines are handed to the kernel
/// at once, so they survive the end of the program, and to the disk within a second.
pub async fn write(mut records: mpsc::Receiver<Record>, log: impl Log, metrics: Arc<Metrics>) {
    let mut writer = Writer { log, metrics, missing: 0 };
    let mut batch = Vec::with_capacity(BATCH);
    let mut settle_at: Option<Instant> = None;
    loop {
        let heard = tokio::select! {
            count = records.recv_many(&mut batch, BATCH) => if count > 0 { Heard::Records } else { Heard::End },
            () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => Heard::Silence,
        };
        let lines: Vec<String> = batch.drain(..).map(|record: Record| record.line()).collect();
        let due = match heard {
            Heard::Silence | Heard::End => true,
            Heard::Records => settle_at.is_some_and(|at| at <= Instant::now()),
        };
        let working = tokio::task::spawn_blocking(move || {
            writer.take(&lines);
            if due {
                writer.settle();
            }
            writer
        });
        writer = match working.await {
            Ok(writer) => writer,
            Err(error) => {
                tracing::error!(%error, "the audit log is not written any more");
                return;
            }
        };
        if heard == Heard::End {
            return;
        }
        settle_at = if due { None } else { settle_at.or_else(|| Some(Instant::now() + SETTLE_AFTER)) };
    }
}

impl<L: Log> Writer<L> {
    fn take(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let gap = if self.missing > 0 { gap_line(self.missing) } else { String::new() };
        let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        match self.log.append(&(gap + &lines.concat())) {
            Ok(()) => {
                self.missing = 0;
                self.metrics.count_many(Counter::AuditWritten, count);
            }
            Err(error) => {
                self.missing = self.missing.saturating_add(count);
                let missing = self.missing;
                tracing::error!(%error, missing, "audit records are lost: the audit log cannot be written");
                self.metrics.count_many(Counter::AuditLost, count);
            }
        }
    }

    fn settle(&mut self) {
        if let Err(error) = self.log.settle() {
            tracing::error!(%error, "audit records may not survive a loss of power");
        }
    }
}

/// The line that stands for records that are not there.
fn gap_line(missing: u64) -> String {
    let line = serde_json::json!({
        "eventTime": Timestamp::from(std::time::SystemTime::now()).iso_millis(),
        "eventSource": "postern",
        "eventName": "AuditRecordsLost",
        "recordsLost": missing,
    });
    format!("{line}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<(String, bool, u32)>>);

    impl Log for Memory {
        fn append(&mut self, lines: &str) -> io::Result<()> {
            let mut memory = self.0.lock().unwrap();
            if memory.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            memory.0.push_str(lines);
            Ok(())
        }

        fn settle(&mut self) -> io::Result<()> {
            self.0.lock().unwrap().2 += 1;
            Ok(())
        }
    }

    #[test]
    fn a_gap_is_told_once_it_can_be() {
        let (memory, metrics) = (Memory::default(), Arc::new(Metrics::default()));
        let mut writer = Writer { log: memory.clone(), metrics: Arc::clone(&metrics), missing: 0 };
        let lines = |name: &str| vec![format!("{{\"n\":\"{name}\"}}\n")];
        writer.take(&lines("first"));
        memory.0.lock().unwrap().1 = true;
        writer.take(&lines("lost"));
        writer.take(&[lines("lost"), lines("too")].concat());
        assert_eq!(metrics.get(Counter::AuditLost), 3);
        memory.0.lock().unwrap().1 = false;
        writer.take(&lines("second"));
        writer.take(&lines("third"));
        let text = memory.0.lock().unwrap().0.clone();
        let found: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.len(), 4, "{text}");
        assert_eq!((&found[0]["n"], &found[1]["recordsLost"]), (&"first".into(), &3.into()));
        assert_eq!((&found[2]["n"], &found[3]["n"]), (&"second".into(), &"third".into()));
        assert_eq!(metrics.get(Counter::AuditWritten), 3);
    }
}

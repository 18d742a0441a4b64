//! What the front door recorded: the audit log on disk, and its last lines in memory for labs and `postern`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_frontdoor::audit::Log;
use postern_frontdoor::{Counter, Metrics};

use super::audit_log::{AuditLog, Rotation};

/// How many records are kept in memory.
const KEPT: usize = 4_096;

/// The last records, numbered from one.
#[derive(Debug, Clone)]
pub struct Recorder {
    records: Arc<Mutex<Records>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Records {
    last: u64,
    kept: VecDeque<(u64, serde_json::Value)>,
    log: Option<AuditLog>,
}

impl Recorder {
    /// One that keeps the last records in memory alone.
    pub fn in_memory(metrics: Arc<Metrics>) -> Self {
        Self { records: Arc::default(), metrics }
    }

    /// One that also appends to a file.
    pub fn appending(path: &Path, rotation: Rotation, metrics: Arc<Metrics>) -> io::Result<Self> {
        let records = Records { log: Some(AuditLog::open(path, rotation)?), ..Records::default() };
        Ok(Self { records: Arc::new(Mutex::new(records)), metrics })
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

    /// The record of a request: one of the last, or from the files that are kept.
    pub fn find(&self, request_id: &str) -> Option<serde_json::Value> {
        let of_request = |record: &serde_json::Value| record["requestID"] == request_id;
        let records = self.lock();
        let recent = records.kept.iter().rev().map(|(_, record)| record).find(|record| of_request(record));
        if let Some(record) = recent {
            return Some(record.clone());
        }
        let files = records.log.as_ref().map(AuditLog::files).unwrap_or_default();
        // Reading what may be long must not hold anybody's records up.
        drop(records);
        let lines = files
            .iter()
            .filter_map(|path| File::open(path).ok())
            .flat_map(|file| BufReader::new(file).lines());
        let named = lines.map_while(Result::ok).filter(|line| line.contains(request_id));
        named.filter_map(|line| serde_json::from_str(&line).ok()).find(of_request)
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        // Nothing in here panics half way.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn keep(&mut self, lines: &str) {
        for record in lines.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            self.last += 1;
            self.kept.push_back((self.last, record));
        }
        let surplus = self.kept.len().saturating_sub(KEPT);
        self.kept.drain(..surplus);
    }
}

impl Log for Recorder {
    fn append(&mut self, lines: &str) -> io::Result<()> {
        let mut records = self.lock();
        records.keep(lines);
        let Some(log) = &mut records.log else { return Ok(()) };
        let (written, rotated) = log.append(lines.as_bytes());
        if let Err(error) = rotated {
            self.metrics.count(Counter::AuditNotRotated);
            tracing::error!(%error, "the audit log cannot be rotated and goes on in one file");
        }
        written
    }

    fn settle(&mut self) -> io::Result<()> {
        self.lock().log.as_mut().map_or(Ok(()), AuditLog::settle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_in_what_was_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.log");
        std::fs::write(directory.path().join("audit.log.1"), "half a line\n{\"requestID\":\"old\"}\n")
            .unwrap();
        let two = |n: u64| std::num::NonZeroU64::new(n).unwrap();
        let rotation = Rotation { bytes: two(1 << 20), kept: std::num::NonZeroU32::new(2).unwrap() };
        let mut recorder = Recorder::appending(&path, rotation, Arc::default()).unwrap();
        recorder.append("{\"requestID\":\"new\",\"a\":1}\n").unwrap();
        assert_eq!(recorder.find("new").unwrap()["a"], 1);
        assert!(recorder.find("old").is_some());
        assert!(recorder.find("none").is_none());
    }

    #[test]
    fn records_are_numbered() {
        let mut recorder = Recorder::in_memory(Arc::default());
        recorder.append("{\"a\":1}\n{\"a\":2}\n").unwrap();
        recorder.append("{\"a\":3}\n").unwrap();
        let later: Vec<_> =
            recorder.after(1).iter().map(|r| (r["sequence"].clone(), r["a"].clone())).collect();
        assert_eq!(later, [(2.into(), 2.into()), (3.into(), 3.into())]);
    }
}

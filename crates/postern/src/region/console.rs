//! What instances print: the last part of it, as the console output of the API; and their reset buttons.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use postern_model::InstanceId;
use tokio::sync::Notify;

/// How much is kept of each instance ("GetConsoleOutput": 64 KB).
const KEPT_BYTES: usize = 64 * 1024;
/// How many instances are remembered, those that are gone included.
const KEPT_INSTANCES: usize = 4_096;

/// The consoles of all instances.
#[derive(Debug, Clone)]
pub struct Consoles {
    inner: Arc<Mutex<Inner>>,
    /// Told when a reset button was pushed.
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    printed: BTreeMap<InstanceId, Vec<u8>>,
    reboots: BTreeSet<InstanceId>,
}

impl Consoles {
    /// Consoles that tell `changed` of reset buttons.
    pub fn new(changed: Arc<Notify>) -> Self {
        Self { inner: Arc::default(), changed }
    }

    /// Pushes an instance's reset button.
    pub fn push_reset(&self, instance: InstanceId) {
        self.lock().reboots.insert(instance);
        self.changed.notify_one();
    }

    /// Whose buttons were pushed since the last time.
    pub fn take_resets(&self) -> BTreeSet<InstanceId> {
        std::mem::take(&mut self.lock().reboots)
    }

    /// What an instance printed.
    pub fn read(&self, instance: InstanceId) -> Option<Vec<u8>> {
        self.lock().printed.get(&instance).cloned()
    }

    /// Adds a line of Postern's own.
    pub fn note(&self, instance: InstanceId, line: &str) {
        self.append(instance, format!("[postern] {line}\n").as_bytes());
    }

    /// What an instance printed while nobody kept it here.
    pub fn printed_before(&self, instance: InstanceId, bytes: &[u8]) {
        self.note(
            instance,
            "what was printed before the region was started again is lost, but for the last of it",
        );
        self.append(instance, bytes);
    }

    /// Reads what an instance's programs write until the last of them has ended, on a thread.
    pub fn follow(&self, instance: InstanceId, reader: OwnedFd) -> std::io::Result<()> {
        let (consoles, mut reader) = (self.clone(), std::fs::File::from(reader));
        std::thread::Builder::new().name(format!("console {instance}")).spawn(move || {
            let mut buffer = vec![0; 8 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                consoles.append(instance, buffer.get(..length).unwrap_or_default());
            }
        })?;
        Ok(())
    }

    fn append(&self, instance: InstanceId, bytes: &[u8]) {
        let consoles = &mut self.lock().printed;
        if consoles.len() >= KEPT_INSTANCES && !consoles.contains_key(&instance) {
            consoles.pop_first();
        }
        let console = consoles.entry(instance).or_default();
        console.extend_from_slice(bytes);
        let surplus = console.len().saturating_sub(KEPT_BYTES);
        console.drain(..surplus);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Nothing in here panics half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

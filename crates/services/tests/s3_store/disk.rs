//! A disk in memory that tells what is durable from what is not, and can be told to fail.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use postern_services::s3::storage::disk::{BlobId, BlobRead, BlobWrite, Disk};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// One step fails with this error, later ones work again.
    Once(io::ErrorKind),
    /// From that step on every write fails with this error.
    Lasting(io::ErrorKind),
    /// The power goes: nothing works any more and what was not synced may be lost.
    PowerLoss,
}

#[derive(Default, Clone)]
pub struct FileState {
    now: Vec<u8>,
    durable: Vec<u8>,
    // The directory entry was synced.
    entry_durable: bool,
    removed: bool,
}

#[derive(Default)]
pub struct State {
    blobs: BTreeMap<u128, FileState>,
    index: FileState,
    pub steps: u64,
    pub mishap: Option<(u64, Mishap)>,
    pub free: u64,
}

#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { free: 1 << 40, ..State::default() })))
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Counts a step that changes the disk, and fails it if it is its turn.
    fn step<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.with(|state| {
            state.steps += 1;
            match state.mishap {
                Some((at, Mishap::Once(kind))) if state.steps == at => Err(kind.into()),
                Some((at, Mishap::Lasting(kind))) if state.steps >= at => Err(kind.into()),
                Some((at, Mishap::PowerLoss)) if state.steps >= at => {
                    Err(io::Error::other("the power is gone"))
                }
                _ => work(state),
            }
        })
    }

    fn read<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.with(|state| match state.mishap {
            Some((at, Mishap::PowerLoss)) if state.steps >= at => Err(io::Error::other("the power is gone")),
            _ => work(state),
        })
    }

    /// The disk as the next boot finds it: for each file either what was synced, or, by `seed`, some of the rest.
    pub fn reboot(&self, seed: u64) -> Self {
        let mut random = seed;
        let mut coin = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) & 1 == 1
        };
        self.with(|state| {
            let mut survivors = BTreeMap::new();
            for (id, file) in &state.blobs {
                // An unsynced removal or creation may or may not have reached the disk.
                let there = if file.removed { coin() } else { file.entry_durable || coin() };
                if there {
                    let content = if coin() { file.now.clone() } else { file.durable.clone() };
                    let kept = FileState {
                        now: content.clone(),
                        durable: content,
                        entry_durable: true,
                        removed: false,
                    };
                    survivors.insert(*id, kept);
                }
            }
            // The index: pages not synced survive each by a throw of the coin.
            let mut index = state.index.durable.clone();
            let length = if coin() { state.index.now.len() } else { index.len().min(state.index.now.len()) };
            index.resize(length.max(state.index.durable.len()), 0);
            for (page, chunk) in state.index.now.chunks(4096).enumerate() {
                let range = page * 4096..page * 4096 + chunk.len();
                if range.end <= index.len() && index[range.clone()] != *chunk && coin() {
                    index[range].copy_from_slice(chunk);
                }
            }
            let index = FileState { now: index.clone(), durable: index, entry_durable: true, removed: false };
            let after = State { blobs: survivors, index, free: 1 << 40, ..State::default() };
            Self(Arc::new(Mutex::new(after)))
        })
    }

    pub fn blob_count(&self) -> usize {
        self.with(|state| state.blobs.values().filter(|file| !file.removed).count())
    }
}

impl Disk for SimDisk {
    fn create(&self, id: BlobId) -> io::Result<Box<dyn BlobWrite>> {
        self.step(|state| {
            state.blobs.insert(id.0, FileState::default());
            Ok(())
        })?;
        Ok(Box::new(SimBlob { disk: self.clone(), id }))
    }

    fn sync_entry(&self, id: BlobId) -> io::Result<()> {
        self.step(|state| {
            if let Some(file) = state.blobs.get_mut(&id.0) {
                file.entry_durable = true;
            }
            Ok(())
        })
    }

    fn open(&self, id: BlobId) -> io::Result<Arc<dyn BlobRead>> {
        let content = self.read(|state| {
            let file = state.blobs.get(&id.0).filter(|file| !file.removed);
            file.map(|file| file.now.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
        })?;
        Ok(Arc::new(Held(content)))
    }

    fn remove(&self, id: BlobId) -> io::Result<()> {
        self.step(|state| match state.blobs.get_mut(&id.0) {
            Some(file) if !file.removed => {
                file.removed = true;
                Ok(())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn list(&self, each: &mut dyn FnMut(BlobId)) -> io::Result<()> {
        let ids: Vec<u128> = self.read(|state| {
            Ok(state.blobs.iter().filter(|(_, file)| !file.removed).map(|(id, _)| *id).collect())
        })?;
        ids.into_iter().for_each(|id| each(BlobId(id)));
        Ok(())
    }

    fn index(&self) -> io::Result<Box<dyn redb::StorageBackend>> {
        Ok(Box::new(SimIndex(self.clone())))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.read(|state| Ok(state.free))
    }
}

pub struct SimBlob {
    disk: SimDisk,
    id: BlobId,
}

impl BlobWrite for SimBlob {
    fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.disk.step(|state| {
            state.blobs.get_mut(&self.id.0).ok_or(io::ErrorKind::NotFound)?.now.extend_from_slice(data);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.step(|state| {
            let file = state.blobs.get_mut(&self.id.0).ok_or(io::ErrorKind::NotFound)?;
            file.durable = file.now.clone();
            Ok(())
        })
    }
}

pub struct Held(Vec<u8>);

impl BlobRead for Held {
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap();
        let slice = self.0.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(slice);
        Ok(())
    }
}

#[derive(Clone)]
pub struct SimIndex(SimDisk);

impl std::fmt::Debug for SimIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimIndex")
    }
}

impl redb::StorageBackend for SimIndex {
    fn len(&self) -> io::Result<u64> {
        self.0.read(|state| Ok(state.index.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(|state| {
            let from = usize::try_from(offset).unwrap();
            out.copy_from_slice(
                state.index.now.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?,
            );
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.step(|state| {
            state.index.now.resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.step(|state| {
            state.index.durable = state.index.now.clone();
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.step(|state| {
            let from = usize::try_from(offset).unwrap();
            state.index.now[from..from + data.len()].copy_from_slice(data);
            Ok(())
        })
    }
}

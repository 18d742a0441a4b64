//! A disk in memory that forgets what was not flushed, tears writes, runs full and fails.
//!
//! Every operation is recorded, so that one run gives the disk as it could be found after a crash at any point of it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use postern_store::{Medium, StoreError};
use redb::{Builder, Database, DatabaseError, StorageBackend};

/// The unit that a real disk writes whole.
const SECTOR: usize = 512;

/// A small generator of pseudo-random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// One operation on a file.
#[derive(Debug, Clone)]
pub enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
    Flush,
    /// The new file takes the place of the other one.
    Adopt(Vec<u8>),
}

impl Op {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                if file.len() < offset + data.len() {
                    file.resize(offset + data.len(), 0);
                }
                file[*offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => file.resize(*length, 0),
            Self::Flush => {}
            Self::Adopt(new) => new.clone_into(file),
        }
    }

    /// What of it has reached the disk by chance: all, nothing, or some sectors.
    fn apply_torn(&self, file: &mut Vec<u8>, random: &mut Random) {
        match (self, random.below(4)) {
            (_, 0) => {}
            (Self::Write(offset, data), 1) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.chance(50) {
                        Self::Write(offset + n * SECTOR, sector.to_vec()).apply(file);
                    }
                }
            }
            (Self::Write(..) | Self::Length(_) | Self::Flush | Self::Adopt(_), _) => self.apply(file),
        }
    }
}

/// How operations fail.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// How large the file may be.
    pub capacity: Option<usize>,
    /// In how many operations from now one fails, and whether the process stops there.
    pub fail_in: Option<usize>,
    /// Whether everything fails.
    pub dead: bool,
}

#[derive(Debug, Default)]
struct File {
    /// What a process sees.
    seen: Vec<u8>,
    /// What is on the disk.
    durable: Vec<u8>,
    /// What is not yet on the disk.
    pending: Vec<Op>,
}

#[derive(Debug, Default)]
struct Inner {
    file: Option<File>,
    new: Option<File>,
    faults: Faults,
    trace: Vec<Op>,
    tracing: bool,
    random: Option<Random>,
}

/// A disk; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    inner: Arc<Mutex<Inner>>,
}

impl Disk {
    /// A disk with this on it.
    pub fn with(image: Vec<u8>) -> Self {
        let disk = Self::default();
        let file = File { seen: image.clone(), durable: image, pending: Vec::new() };
        disk.inner.lock().unwrap().file = Some(file);
        disk
    }

    /// A disk on which what has been written but not flushed when a flush fails is never written.
    pub fn forgetful(seed: u64) -> Self {
        let disk = Self::default();
        disk.inner.lock().unwrap().random = Some(Random(seed));
        disk
    }

    /// From now on all operations are recorded.
    pub fn trace(&self) {
        self.inner.lock().unwrap().tracing = true;
    }

    /// How many operations have been recorded.
    pub fn position(&self) -> usize {
        self.inner.lock().unwrap().trace.len()
    }

    pub fn take_trace(&self) -> Vec<Op> {
        std::mem::take(&mut self.inner.lock().unwrap().trace)
    }

    pub fn faults(&self, faults: Faults) {
        self.inner.lock().unwrap().faults = faults;
    }

    pub fn length(&self) -> usize {
        self.inner.lock().unwrap().file.as_ref().map_or(0, |file| file.seen.len())
    }

    /// What a process would read now.
    pub fn image(&self) -> Vec<u8> {
        self.inner.lock().unwrap().file.as_ref().map_or(Vec::new(), |file| file.seen.clone())
    }

    /// What is found after the power fails now.
    pub fn after_power_failure(&self, random: &mut Random) -> Vec<u8> {
        let inner = self.inner.lock().unwrap();
        let file = inner.file.as_ref().unwrap();
        torn(&file.durable, &file.pending, random)
    }
}

/// What is on the disk when some of the pending operations have reached it.
pub fn torn(durable: &[u8], pending: &[Op], random: &mut Random) -> Vec<u8> {
    let mut image = durable.to_vec();
    match random.below(8) {
        0 => pending.iter().for_each(|op| op.apply(&mut image)),
        1 => {}
        2..5 => pending.iter().take(random.below(pending.len() + 1)).for_each(|op| op.apply(&mut image)),
        _ => pending.iter().for_each(|op| op.apply_torn(&mut image, random)),
    }
    image
}

/// Goes through a trace: what is durable, what is pending, at each point.
pub struct Replay<'a> {
    trace: std::slice::Iter<'a, Op>,
    pub durable: Vec<u8>,
    pub pending: Vec<Op>,
}

impl<'a> Replay<'a> {
    pub fn new(image: Vec<u8>, trace: &'a [Op]) -> Self {
        Self { trace: trace.iter(), durable: image, pending: Vec::new() }
    }

    /// One operation further; false at the end.
    pub fn step(&mut self) -> bool {
        let Some(op) = self.trace.next() else { return false };
        match op {
            Op::Write(..) | Op::Length(_) => self.pending.push(op.clone()),
            Op::Flush => self.pending.drain(..).for_each(|op| op.apply(&mut self.durable)),
            Op::Adopt(_) => {
                self.pending.clear();
                op.apply(&mut self.durable);
            }
        }
        true
    }
}

impl Inner {
    /// Whether the next operation works.
    fn check(&mut self) -> io::Result<()> {
        if self.faults.dead {
            return Err(io::Error::other("the disk is gone"));
        }
        match &mut self.faults.fail_in {
            None => Ok(()),
            Some(0) => {
                self.faults.fail_in = None;
                Err(io::Error::other("the disk failed"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    fn check_size(&self, size: usize) -> io::Result<()> {
        match self.faults.capacity {
            Some(capacity) if size > capacity => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(_) | None => Ok(()),
        }
    }
}

/// One file of a disk.
#[derive(Debug)]
struct Handle {
    disk: Disk,
    new: bool,
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut Inner, bool) -> io::Result<T>) -> io::Result<T> {
        work(&mut self.disk.inner.lock().unwrap(), self.new)
    }

    fn change(&self, op: Op) -> io::Result<()> {
        self.with(|inner, new| {
            let failed = inner.check();
            let size = match &op {
                Op::Write(offset, data) => offset + data.len(),
                Op::Length(length) => *length,
                Op::Flush | Op::Adopt(_) => 0,
            };
            inner.check_size(size)?;
            let flush = matches!(op, Op::Flush);
            let Inner { file, new: other, random, .. } = &mut *inner;
            let file = if new { other } else { file }.as_mut().unwrap();
            if let Err(error) = failed {
                // A flush that fails may lose what it should have written, though it can still be read.
                if let (true, Some(random)) = (flush, random) {
                    file.pending.retain(|_| random.chance(50));
                }
                return Err(error);
            }
            op.apply(&mut file.seen);
            if flush {
                let File { durable, pending, .. } = file;
                pending.drain(..).for_each(|op| op.apply(durable));
            } else {
                file.pending.push(op.clone());
            }
            if inner.tracing && !new {
                inner.trace.push(op);
            }
            Ok(())
        })
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.with(|inner, new| {
            let file = if new { &inner.new } else { &inner.file };
            Ok(file.as_ref().unwrap().seen.len() as u64)
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|inner, new| {
            let file = if new { &inner.new } else { &inner.file }.as_ref().unwrap();
            let offset = offset as usize;
            let bytes = file.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Op::Length(length as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Op::Flush)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Op::Write(offset as usize, data.to_vec()))
    }
}

impl Medium for Disk {
    fn open(&self, builder: &Builder) -> Result<Option<Database>, DatabaseError> {
        if self.inner.lock().unwrap().file.is_none() {
            return Ok(None);
        }
        builder.create_with_backend(Handle { disk: self.clone(), new: false }).map(Some)
    }

    fn open_new(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        self.inner.lock().unwrap().new = Some(File::default());
        builder.create_with_backend(Handle { disk: self.clone(), new: true })
    }

    fn adopt_new(&self) -> Result<(), StoreError> {
        let mut inner = self.inner.lock().unwrap();
        let new = inner.new.take().unwrap();
        if inner.tracing {
            inner.trace.push(Op::Adopt(new.durable.clone()));
        }
        inner.file = Some(new);
        Ok(())
    }

    fn keep_backup(
        &self,
        write: &dyn Fn(&mut dyn io::Write) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        write(&mut io::sink())
    }

    fn backup(&self) -> Option<PathBuf> {
        None
    }

    fn name(&self) -> String {
        "a disk in memory".to_owned()
    }
}

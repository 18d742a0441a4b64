//! What stands on ports' host ends: a program that goes on into the one in the slot, and is never replaced itself.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::EbpfLoader;
use aya::maps::{Map, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier};

use super::layout::GATEWAYS;
use super::mapping::Mapped;
use super::pin::Pins;
use super::program::{KernelError, chain, load_error};

/// The stub, as `cargo xtask bpf` makes it from `bpf/stub.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/stub.o");
const PROGRAM: &str = "stub";
const SLOT: &str = "slot";
const NOTES: &str = "notes";
/// What the notes begin with once everything is there.
const FINISHED: u64 = u64::from_be_bytes(*b"postern\x01");

/// A cache line of notes.
pub(super) type Note = [AtomicU64; 8];

/// The stub with its slot, and the notes.
pub(super) struct Stub {
    program: OwnedFd,
    slot: ProgramArray<MapData>,
    notes: Arc<Notes>,
}

/// What is written down for the next process. The first line is about everything, each further one about a gateway.
#[derive(Debug)]
pub(super) struct Notes(Mapped<Note>);

/// What the first line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct About {
    /// How the maps read.
    pub fingerprint: u64,
    /// How many flows there is room for.
    pub flows: u64,
    /// How many processors have counters.
    pub processors: u64,
    /// How often somebody went on with what is there.
    pub adoptions: u64,
    /// Which state packets follow.
    pub state: u64,
}

impl Stub {
    /// Loads it, pinned where it is to outlive this process.
    pub fn load(pins: Option<&Pins>) -> Result<Self, KernelError> {
        let mut loader = EbpfLoader::new();
        loader.map_max_entries(NOTES, 1 + GATEWAYS);
        if let Some(pins) = pins {
            loader.map_pin_path(SLOT, pins.object(SLOT)).map_pin_path(NOTES, pins.object(NOTES));
        }
        let mut ebpf = loader.load(OBJECT).map_err(|error| KernelError::Load(chain(&error)))?;
        let program = ebpf.program_mut(PROGRAM).ok_or(KernelError::Missing(PROGRAM))?;
        let classifier: &mut SchedClassifier =
            program.try_into().map_err(|_| KernelError::Missing(PROGRAM))?;
        classifier.load().map_err(|error| load_error(&error))?;
        let program = classifier.fd().map_err(|error| load_error(&error))?.as_fd().try_clone_to_owned()?;
        if let Some(pins) = pins {
            pins.pin(PROGRAM, program.as_fd())?;
        }
        let slot = ebpf.take_map(SLOT).ok_or(KernelError::Missing(SLOT))?;
        let notes = match ebpf.take_map(NOTES) {
            Some(Map::Array(data)) => Arc::new(Notes::of(data.fd().as_fd())?),
            Some(_) | None => return Err(KernelError::Missing(NOTES)),
        };
        Ok(Self { program, slot: as_slot(slot)?, notes })
    }

    /// The one that is pinned.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        let program = pins.open(PROGRAM)?;
        let slot = MapData::from_pin(pins.object(SLOT)).map_err(|error| KernelError::Load(chain(&error)))?;
        let notes = Arc::new(Notes::of(pins.open(NOTES)?.as_fd())?);
        Ok(Self { program, slot: as_slot(Map::ProgramArray(slot))?, notes })
    }

    /// Whether anything is pinned, be it unfinished.
    pub fn is_pinned(pins: &Pins) -> bool {
        [PROGRAM, SLOT, NOTES].iter().any(|name| pins.has(name))
    }

    /// The program in the slot is this one from now on, for the next packet of every port.
    pub fn run(&mut self, program: &ProgramFd) -> Result<(), KernelError> {
        self.slot.set(0, program, 0).map_err(|error| KernelError::Load(chain(&error)))
    }

    /// What stands on ports.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }

    /// What is written down.
    pub fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub").field("program", &self.program).finish_non_exhaustive()
    }
}

fn as_slot(map: Map) -> Result<ProgramArray<MapData>, KernelError> {
    map.try_into().map_err(|_| KernelError::Missing(SLOT))
}

impl Notes {
    fn of(map: BorrowedFd<'_>) -> Result<Self, KernelError> {
        Ok(Self(Mapped::of_map(map, 1 + GATEWAYS as usize)?))
    }

    fn line(&self, at: usize) -> &Note {
        match self.0.get(at) {
            Some(line) => line,
            None => unreachable!("there are as many lines as gateways, and one more"),
        }
    }

    /// What the first line says; none if nobody has finished writing it.
    pub fn about(&self) -> Option<About> {
        let [finished, fingerprint, flows, processors, adoptions, state, ..] =
            self.line(0).each_ref().map(|word| word.load(Ordering::Acquire));
        (finished == FINISHED).then_some(About { fingerprint, flows, processors, adoptions, state })
    }

    /// Writes the first line. Everything else must be there before.
    pub fn finish(&self, about: About) {
        let About { fingerprint, flows, processors, adoptions, state } = about;
        let words = [fingerprint, flows, processors, adoptions, state];
        let [finished, rest @ ..] = self.line(0);
        for (to, from) in rest.iter().zip(words) {
            to.store(from, Ordering::Relaxed);
        }
        finished.store(FINISHED, Ordering::Release);
    }

    /// Packets follow this state from now on.
    pub fn follow(&self, state: u64) {
        let [_, _, _, _, _, follows, ..] = self.line(0);
        follows.store(state, Ordering::Release);
    }

    /// Writes down which gateway is counted at a place. A name that does not fit is not written: it is not counted on.
    pub fn name_gateway(&self, place: usize, name: &str) {
        let Some(line) = self.0.get(place + 1).filter(|_| name.len() < 64) else { return };
        let mut bytes = [0_u8; 64];
        for (to, from) in bytes.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        let (words, _) = bytes.as_chunks::<8>();
        for (to, from) in line.iter().zip(words) {
            to.store(u64::from_le_bytes(*from), Ordering::Relaxed);
        }
    }

    /// Which gateways are counted, in the order of their places.
    pub fn gateways(&self) -> impl Iterator<Item = String> {
        let line = |at: usize| {
            let words = self.0.get(at)?.each_ref().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
            let bytes: Vec<u8> = words.as_flattened().iter().copied().take_while(|byte| *byte != 0).collect();
            String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
        };
        (1..self.0.len()).map_while(line)
    }
}

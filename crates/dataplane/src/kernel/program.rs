//! Loading the program, and putting it on ports.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aya::maps::Map;
use aya::programs::{ProgramError, ProgramFd, SchedClassifier};
use aya::{Ebpf, EbpfLoader};

use super::index::Index;
use super::layout::{GATEWAYS, GENERATIONS, INTERFACES, PORTS, PROCESSORS, TEMPLATE_BUCKETS, TEMPLATES};
use super::mapping::{Mapped, Plain};
use super::maps::Maps;
use crate::host::{Feature, Namespace, NamespaceError, PacketSocket, sys};

/// The program, as `cargo xtask bpf` makes it from `bpf/postern.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/postern.o");
const PROGRAM: &str = "postern";
/// What the verifier says about a program that it refuses is longer than anybody wants to read.
const MOST_SAID: usize = 400;

/// Whether this processor reads in another order than it is told to, so that the program must forbid it.
const REORDERS: u32 = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

/// How much room the program's maps have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Flows that the program carries, each about 540 bytes of memory. Further ones are carried by the forwarder.
    pub flows: u32,
}

impl Default for Size {
    fn default() -> Self {
        Self { flows: 1 << 17 }
    }
}

/// Why packets cannot be carried in the kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// This kernel, or the caller's privileges, do not allow it.
    #[error("the kernel does not load the program: {0}")]
    Load(String),
    /// This kernel can load programs, and refuses this one.
    #[error("the kernel's verifier refuses the program: {0}")]
    Verifier(String),
    /// The maps could not be mapped.
    #[error("the memory that is shared with the kernel cannot be mapped: {0}")]
    Map(#[from] io::Error),
    /// The object is not the one that this crate was written for.
    #[error("the program has no `{0}`")]
    Missing(&'static str),
    /// This kernel loads the program, and has no place on interfaces for it.
    #[error("the kernel puts no program on interfaces by TCX, as Linux 6.6 and later do: {0}")]
    NoTcx(#[source] io::Error),
    /// The port's network could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The program cannot stand on an interface.
    #[error("the program cannot be put on `{interface}`: {source}")]
    Attach {
        /// Which.
        interface: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The loaded program. It carries nothing before a forwarder is started with it.
#[derive(Debug)]
pub struct KernelProgram {
    program: ProgramFd,
    maps: Arc<Maps>,
    fabric: Namespace,
}

/// The program on a port. Dropping it takes the program away from there.
#[derive(Debug)]
pub(crate) struct Attachment {
    _link: OwnedFd,
}

impl KernelProgram {
    /// Loads it, to carry packets between ports of this network. What is loaded can be put on interfaces there: that was
    /// tried.
    pub fn load(fabric: &Namespace, size: Size, seed: u64) -> Result<Self, KernelError> {
        let program = Self::read(fabric, size, seed)?;
        let try_out = || sys::attach_tcx(program.program.as_fd(), sys::interface_index("lo")?).map(drop);
        fabric.run(try_out)?.map_err(KernelError::NoTcx)?;
        Ok(program)
    }

    /// Loads it, and touches no interface.
    fn read(fabric: &Namespace, size: Size, seed: u64) -> Result<Self, KernelError> {
        let flows = size.flows.clamp(64, 1 << 24);
        // Two keys a flow, which take a quarter of the slots: there are marks of the forwarder's own flows, too.
        let buckets = flows.next_power_of_two();
        let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?.min(PROCESSORS as usize) as u32;
        let mask = buckets - 1;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("flows", flows)
            .map_max_entries("buckets", buckets)
            .map_max_entries("port_tallies", PORTS * processors)
            .map_max_entries("gateway_tallies", GATEWAYS * processors)
            .map_max_entries("place_rings", processors)
            .map_max_entries("note_rings", processors)
            .override_global("bucket_mask", &mask, true)
            .override_global("reorders", &REORDERS, true)
            .load(OBJECT)
            .map_err(|error| KernelError::Load(chain(&error)))?;
        let classifier = classifier(&mut ebpf)?;
        classifier.load().map_err(|error| load_error(&error))?;
        let program = classifier.fd().map_err(|error| load_error(&error))?.try_clone()?;
        let maps = Maps {
            settings: map(&mut ebpf, "settings", 1)?,
            places: map(&mut ebpf, "places", INTERFACES)?,
            ports: map(&mut ebpf, "ports", PORTS)?,
            flows: map(&mut ebpf, "flows", flows)?,
            index: Index::new(map(&mut ebpf, "buckets", buckets)?),
            generations: map(&mut ebpf, "generations", GENERATIONS)?,
            masks: map(&mut ebpf, "port_masks", PORTS)?,
            port_lives: map(&mut ebpf, "port_lives", PORTS)?,
            port_drops: map(&mut ebpf, "port_drops", PORTS)?,
            templates: map(&mut ebpf, "templates", TEMPLATES)?,
            template_index: Index::new(map(&mut ebpf, "template_buckets", TEMPLATE_BUCKETS)?),
            place_rings: map(&mut ebpf, "place_rings", processors)?,
            note_rings: map(&mut ebpf, "note_rings", processors)?,
            port_tallies: map(&mut ebpf, "port_tallies", PORTS * processors)?,
            gateway_tallies: map(&mut ebpf, "gateway_tallies", GATEWAYS * processors)?,
        };
        // Epochs begin at one, so that a flow's zero is none of them.
        maps.settings().epoch.store(1, Ordering::Release);
        maps.settings().revision.store(1, Ordering::Release);
        let mut secret = seed;
        for word in &maps.settings().secrets {
            secret = spread(secret);
            word.store(secret | 1, Ordering::Relaxed);
        }
        maps.settings().shape_secret.store(spread(secret) | 1, Ordering::Relaxed);
        Ok(Self { program, maps: Arc::new(maps), fabric: fabric.clone() })
    }

    /// The memory that is shared with it.
    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        Arc::clone(&self.maps)
    }

    /// Whether the program can serve a port: those in the fabric's network it can.
    pub(crate) fn can_serve(&self, socket: &PacketSocket) -> bool {
        socket.namespace().is_same(&self.fabric)
    }

    /// Puts the program on a port's host end. It carries nothing there before the port is described to it.
    pub(crate) fn attach(&self, socket: &PacketSocket) -> Result<Attachment, KernelError> {
        let attached = self.fabric.run(|| sys::attach_tcx(self.program.as_fd(), socket.index()))?;
        let fail = |source| KernelError::Attach { interface: socket.interface().to_owned(), source };
        attached.map(|link| Attachment { _link: link }).map_err(fail)
    }
}

/// Whether the program could carry packets here, tried for real; nothing is left of it.
#[must_use]
pub fn probe() -> Feature {
    let name = "kernel program";
    let tried = Namespace::current()
        .map_err(KernelError::from)
        .and_then(|here| KernelProgram::read(&here, Size { flows: 64 }, 0));
    match tried {
        Ok(_) => Feature {
            name,
            ok: true,
            required: false,
            detail: "loaded for a try; `postern up` as root makes and carries flows with it".to_owned(),
            remedy: String::new(),
        },
        Err(error) => Feature {
            name,
            ok: false,
            required: false,
            detail: format!("{error}; the forwarder carries all packets"),
            remedy: "run as root on Linux 6.6 or later".to_owned(),
        },
    }
}

fn classifier(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, KernelError> {
    let program = ebpf.program_mut(PROGRAM).ok_or(KernelError::Missing(PROGRAM))?;
    program.try_into().map_err(|_| KernelError::Missing(PROGRAM))
}

fn map<T: Plain>(ebpf: &mut Ebpf, name: &'static str, entries: u32) -> Result<Mapped<T>, KernelError> {
    match ebpf.take_map(name) {
        // The program and the mapping keep the map; its descriptor is not needed any more.
        Some(Map::Array(data)) => Ok(Mapped::of_map(data.fd().as_fd(), entries as usize)?),
        Some(_) | None => Err(KernelError::Missing(name)),
    }
}

/// One step of splitmix64: secrets that say nothing about each other.
const fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Why the program was not loaded. The verifier closes with its reason, before some lines about its own work.
fn load_error(error: &ProgramError) -> KernelError {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return KernelError::Load(chain(error));
    };
    let log = verifier_log.to_string();
    let about_itself = ["processed ", "verification time", "stack depth"];
    let mut lines = log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    match lines.find(|line| !about_itself.iter().any(|start| line.starts_with(start))) {
        Some(said) => KernelError::Verifier(format!("{said} ({io_error})").chars().take(MOST_SAID).collect()),
        None => KernelError::Load(io_error.to_string()),
    }
}

/// An error with what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.chars().take(MOST_SAID).collect()
}

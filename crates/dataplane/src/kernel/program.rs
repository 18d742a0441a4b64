//! Loading the program, and putting it on ports.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::maps::Map;
use aya::programs::{ProgramError, ProgramFd, SchedClassifier};
use aya::{Ebpf, EbpfLoader};

use postern_model::NetworkInterfaceId;

use super::index::Index;
use super::layout::{
    CHOICE_TABLES, GATEWAYS, GENERATIONS, INTERFACES, PORTS, PROCESSORS, TEMPLATE_BUCKETS, TEMPLATES,
};
use super::mapping::{Mapped, Plain};
use super::maps::Maps;
use super::pin::{Pins, fingerprint};
use super::stub::{About, Notes, Stub};
use crate::host::{Feature, Namespace, NamespaceError, PacketSocket, sys};

/// The program, as `cargo xtask bpf` makes it from `bpf/postern.c`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/postern.o");
const PROGRAM: &str = "postern";
/// What program and forwarder share.
const MAPS: [&str; 16] = [
    "settings",
    "places",
    "ports",
    "port_masks",
    "port_lives",
    "port_drops",
    "flows",
    "buckets",
    "templates",
    "template_buckets",
    "choice_tables",
    "generations",
    "port_tallies",
    "gateway_tallies",
    "place_rings",
    "note_rings",
];
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
    stub: Mutex<Stub>,
    maps: Arc<Maps>,
    room: Room,
    fabric: Namespace,
    pins: Option<Arc<Pins>>,
    /// Whose ports it stands on already, by the indices of their host ends; none if it stands nowhere yet.
    inherited: Option<Vec<(NetworkInterfaceId, u32)>>,
}

/// What is pinned cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum NotAdopted {
    /// Whoever pinned it did not finish.
    #[error("it was not finished")]
    Unfinished,
    /// It is another version's.
    #[error("its maps are laid out as version `{found:016x}` does, and this program's as `{ours:016x}`")]
    Version {
        /// Which.
        found: u64,
        /// And which it would have to be.
        ours: u64,
    },
    /// The machine's processors are more or fewer than they were.
    #[error("it counts for `{found}` processors, and there are `{ours}`")]
    Processors {
        /// How many.
        found: u64,
        /// And how many there are.
        ours: u64,
    },
    /// A part cannot be opened, or the program not be loaded.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// How large the maps are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    flows: u32,
    processors: u32,
}

/// The program on a port. Dropping it takes the program away from there.
#[derive(Debug)]
pub(crate) struct Attachment {
    _link: OwnedFd,
    pinned: Option<(Arc<Pins>, u32)>,
}

impl Attachment {
    /// What is pinned stays when this is dropped.
    pub(crate) fn leave_pinned(&mut self) {
        self.pinned = None;
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some((pins, interface)) = &self.pinned
            && let Err(error) = pins.remove_link(*interface)
        {
            tracing::warn!(%error, interface, "the kernel program stays on a port");
        }
    }
}

impl Room {
    fn of(size: Size) -> Result<Self, KernelError> {
        let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?.min(PROCESSORS as usize) as u32;
        Ok(Self { flows: size.flows.clamp(64, 1 << 24), processors })
    }

    /// Two keys a flow, which take a quarter of the slots: there are marks of the forwarder's own flows, too.
    const fn buckets(self) -> u32 {
        self.flows.next_power_of_two()
    }

    const fn port_tallies(self) -> u32 {
        PORTS * self.processors
    }

    const fn gateway_tallies(self) -> u32 {
        GATEWAYS * self.processors
    }
}

impl KernelProgram {
    /// Loads it, to carry packets between ports of this network. What is loaded can be put on interfaces there: that was
    /// tried.
    pub fn load(fabric: &Namespace, size: Size, seed: u64) -> Result<Self, KernelError> {
        let program = Self::read(fabric, size, seed, None)?;
        program.try_out()?;
        Ok(program)
    }

    /// The same, pinned, so that it outlives this process. Nothing must be pinned there yet.
    pub fn load_pinned(fabric: &Namespace, size: Size, seed: u64, pins: Pins) -> Result<Self, KernelError> {
        let program = Self::read(fabric, size, seed, Some(pins))?;
        program.try_out()?;
        program.maps.notes.finish(About {
            fingerprint: fingerprint(&MAPS),
            flows: program.room.flows.into(),
            processors: program.room.processors.into(),
            adoptions: 0,
            state: 0,
        });
        Ok(program)
    }

    /// Goes on with what another process has pinned, by this process's version of the program. `inherited` are the ports
    /// that there still are, by the indices of their host ends. None where nothing is pinned.
    pub fn adopt(
        fabric: &Namespace,
        pins: Pins,
        inherited: Vec<(NetworkInterfaceId, u32)>,
    ) -> Result<Option<Self>, NotAdopted> {
        if !Stub::is_pinned(&pins) {
            return Ok(None);
        }
        let mut stub = Stub::open(&pins)?;
        let about = stub.notes().about().ok_or(NotAdopted::Unfinished)?;
        let ours = fingerprint(&MAPS);
        if about.fingerprint != ours {
            return Err(NotAdopted::Version { found: about.fingerprint, ours });
        }
        let flows = u32::try_from(about.flows).map_err(|_| NotAdopted::Unfinished)?;
        let room = Room::of(Size { flows })?;
        if about.processors != u64::from(room.processors) || room.flows != flows {
            return Err(NotAdopted::Processors { found: about.processors, ours: room.processors.into() });
        }
        let maps = maps(room, stub.notes(), |name| Ok(pins.open_map(name)?))?;
        // One write, and the next packet of every port meets the new one.
        let program = object(room, Some(&pins))?;
        stub.run(&program)?;
        pins.pin(PROGRAM_PIN, program.as_fd()).map_err(KernelError::Map)?;
        stub.notes().finish(About { adoptions: about.adoptions + 1, ..about });
        let there = |interface: &u32| inherited.iter().any(|(_, inherited)| inherited == interface);
        for interface in pins.links().map_err(KernelError::Map)?.iter().filter(|link| !there(link)) {
            pins.remove_link(*interface).map_err(KernelError::Map)?;
        }
        Ok(Some(Self {
            stub: Mutex::new(stub),
            maps: Arc::new(maps),
            room,
            fabric: fabric.clone(),
            pins: Some(Arc::new(pins)),
            inherited: Some(inherited),
        }))
    }

    fn try_out(&self) -> Result<(), KernelError> {
        let stub = self.stub();
        let try_out = || sys::attach_tcx(stub.program(), sys::interface_index("lo")?).map(drop);
        self.fabric.run(try_out)?.map_err(KernelError::NoTcx)
    }

    /// Loads it, and touches no interface.
    fn read(fabric: &Namespace, size: Size, seed: u64, pins: Option<Pins>) -> Result<Self, KernelError> {
        let room = Room::of(size)?;
        let mut stub = Stub::load(pins.as_ref())?;
        let mut ebpf = load_object(room, pins.as_ref())?;
        let program = program_of(&mut ebpf)?;
        let maps = maps(room, stub.notes(), |name| {
            let map = ebpf.take_map(name);
            match &map {
                Some(Map::Array(data)) => Ok(data.fd().as_fd().try_clone_to_owned()?),
                Some(_) | None => Err(KernelError::Missing(name)),
            }
        })?;
        // Epochs begin at one, so that a flow's zero is none of them.
        maps.settings().epoch.store(1, Ordering::Release);
        maps.settings().revision.store(1, Ordering::Release);
        let mut secret = seed;
        for word in &maps.settings().secrets {
            secret = spread(secret);
            word.store(secret | 1, Ordering::Relaxed);
        }
        maps.settings().shape_secret.store(spread(secret) | 1, Ordering::Relaxed);
        stub.run(&program)?;
        if let Some(pins) = &pins {
            pins.pin(PROGRAM_PIN, program.as_fd())?;
        }
        Ok(Self {
            stub: Mutex::new(stub),
            maps: Arc::new(maps),
            room,
            fabric: fabric.clone(),
            pins: pins.map(Arc::new),
            inherited: None,
        })
    }

    /// Loads the program once more, and puts it in the place of the one that runs: no packet is lost, and none meets half
    /// of each.
    pub fn replace(&self) -> Result<(), KernelError> {
        let program = match &self.pins {
            Some(pins) => object(self.room, Some(pins))?,
            // Without pins the maps have no name by which another program could find them.
            None => return Err(KernelError::Missing("pinned map")),
        };
        self.stub().run(&program)?;
        if let Some(pins) = &self.pins {
            pins.pin(PROGRAM_PIN, program.as_fd())?;
        }
        Ok(())
    }

    fn stub(&self) -> MutexGuard<'_, Stub> {
        // Nothing in it is half done between two statements.
        self.stub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports that it stands on since before this process, with whose they are; none if it stands nowhere.
    pub(crate) fn inherited(&self) -> Option<&[(NetworkInterfaceId, u32)]> {
        self.inherited.as_deref()
    }

    /// The highest generation of anything that was ever decided on. What is decided from now on begins above it, so that
    /// nothing that was decided before looks current.
    #[must_use]
    pub fn last_generation(&self) -> u64 {
        if self.inherited.is_none() {
            return 0;
        }
        (0..GENERATIONS)
            .filter_map(|slot| self.maps.generation(slot))
            .fold(0, |most, generation| most.max(generation.load(Ordering::Acquire)))
    }

    /// Which state packets follow, as whoever was before noted it; and how often somebody went on.
    #[must_use]
    pub fn followed(&self) -> (u64, u64) {
        let about = self.maps.notes.about();
        about.map_or((0, 0), |about| (about.state, about.adoptions))
    }

    /// Notes which state packets follow from now on.
    pub fn follow(&self, state: u64) {
        self.maps.notes.follow(state);
    }

    /// The memory that is shared with it.
    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        Arc::clone(&self.maps)
    }

    /// What stands on ports once more, and their network.
    pub(super) fn shared(&self) -> io::Result<(OwnedFd, Namespace)> {
        Ok((self.stub().program().try_clone_to_owned()?, self.fabric.clone()))
    }

    /// Whether the program can serve a port: those in the fabric's network it can.
    pub(crate) fn can_serve(&self, socket: &PacketSocket) -> bool {
        socket.namespace().is_same(&self.fabric)
    }

    /// Whether the program was put on a port by somebody before us.
    pub(crate) fn stands_on(&self, socket: &PacketSocket) -> bool {
        self.inherited().is_some_and(|all| all.iter().any(|(_, port)| *port == socket.index()))
    }

    /// Puts the program on a port's host end. It carries nothing there before the port is described to it.
    pub(crate) fn attach(&self, socket: &PacketSocket) -> Result<Attachment, KernelError> {
        let interface = socket.index();
        let fail = |source| KernelError::Attach { interface: socket.interface().to_owned(), source };
        let pinned = self.pins.as_ref().map(|pins| (Arc::clone(pins), interface));
        if let (true, Some((pins, _))) = (self.stands_on(socket), &pinned)
            && let Some(link) = pins.open_link(interface).map_err(fail)?
        {
            return Ok(Attachment { _link: link, pinned });
        }
        let stub = self.stub();
        let link = self.fabric.run(|| sys::attach_tcx(stub.program(), interface))?.map_err(fail)?;
        drop(stub);
        if let Some((pins, _)) = &pinned {
            pins.pin_link(interface, link.as_fd()).map_err(fail)?;
        }
        Ok(Attachment { _link: link, pinned })
    }
}

/// Where the program is pinned that is in the slot.
const PROGRAM_PIN: &str = "program";

/// The program, with the maps that are pinned or new ones.
fn object(room: Room, pins: Option<&Pins>) -> Result<ProgramFd, KernelError> {
    program_of(&mut load_object(room, pins)?)
}

fn load_object(room: Room, pins: Option<&Pins>) -> Result<Ebpf, KernelError> {
    let mask = room.buckets() - 1;
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("flows", room.flows)
        .map_max_entries("buckets", room.buckets())
        .map_max_entries("port_tallies", room.port_tallies())
        .map_max_entries("gateway_tallies", room.gateway_tallies())
        .map_max_entries("place_rings", room.processors)
        .map_max_entries("note_rings", room.processors)
        .override_global("bucket_mask", &mask, true)
        .override_global("reorders", &REORDERS, true);
    if let Some(pins) = pins {
        for name in MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    loader.load(OBJECT).map_err(|error| KernelError::Load(chain(&error)))
}

fn program_of(ebpf: &mut Ebpf) -> Result<ProgramFd, KernelError> {
    let classifier = classifier(ebpf)?;
    classifier.load().map_err(|error| load_error(&error))?;
    Ok(classifier.fd().map_err(|error| load_error(&error))?.try_clone()?)
}

/// Maps all that is shared.
fn maps(
    room: Room,
    notes: &Arc<Notes>,
    mut open: impl FnMut(&'static str) -> Result<OwnedFd, KernelError>,
) -> Result<Maps, KernelError> {
    fn mapped<T: Plain>(
        open: &mut impl FnMut(&'static str) -> Result<OwnedFd, KernelError>,
        name: &'static str,
        entries: u32,
    ) -> Result<Mapped<T>, KernelError> {
        // The program and the mapping keep the map; its descriptor is not needed any more.
        Ok(Mapped::of_map(open(name)?.as_fd(), entries as usize)?)
    }
    let open = &mut open;
    Ok(Maps {
        settings: mapped(open, "settings", 1)?,
        places: mapped(open, "places", INTERFACES)?,
        ports: mapped(open, "ports", PORTS)?,
        flows: mapped(open, "flows", room.flows)?,
        index: Index::new(mapped(open, "buckets", room.buckets())?),
        generations: mapped(open, "generations", GENERATIONS)?,
        port_tallies: mapped(open, "port_tallies", room.port_tallies())?,
        gateway_tallies: mapped(open, "gateway_tallies", room.gateway_tallies())?,
        masks: mapped(open, "port_masks", PORTS)?,
        port_lives: mapped(open, "port_lives", PORTS)?,
        port_drops: mapped(open, "port_drops", PORTS)?,
        templates: mapped(open, "templates", TEMPLATES)?,
        template_index: Index::new(mapped(open, "template_buckets", TEMPLATE_BUCKETS)?),
        choices: mapped(open, "choice_tables", CHOICE_TABLES)?,
        place_rings: mapped(open, "place_rings", room.processors)?,
        note_rings: mapped(open, "note_rings", room.processors)?,
        notes: Arc::clone(notes),
    })
}

/// Whether the program could carry packets here, tried for real; nothing is left of it.
#[must_use]
pub fn probe() -> Feature {
    let name = "kernel program";
    let tried = Namespace::current()
        .map_err(KernelError::from)
        .and_then(|here| KernelProgram::read(&here, Size { flows: 64 }, 0, None));
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

/// One step of splitmix64: secrets that say nothing about each other.
const fn spread(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Why the program was not loaded. The verifier closes with its reason, before some lines about its own work.
pub(super) fn load_error(error: &ProgramError) -> KernelError {
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In a network of its own, as root; else not at all.
    fn as_root(case: impl FnOnce(&Namespace) + Send) {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: only root can run this one");
            return;
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                let here = Namespace::current().unwrap();
                match KernelProgram::load(&here, Size { flows: 64 }, 1) {
                    Ok(_) => case(&here),
                    Err(error @ KernelError::Verifier(_)) => panic!("{error}"),
                    Err(error) => println!("skipped: {error}"),
                }
            });
        });
    }

    fn adopt(here: &Namespace, pins: &Pins) -> Result<Option<KernelProgram>, NotAdopted> {
        KernelProgram::adopt(here, pins.try_clone().unwrap(), Vec::new())
    }

    #[test]
    fn what_is_pinned_is_found_again() {
        as_root(|here| {
            let pins = Pins::own().unwrap();
            assert!(adopt(here, &pins).unwrap().is_none(), "nothing is there yet");
            let first =
                KernelProgram::load_pinned(here, Size { flows: 100 }, 1, pins.try_clone().unwrap()).unwrap();
            first.maps.generation(7).unwrap().store(41, Ordering::Relaxed);
            first.maps.note_gateway(0, "nat-0123456789abcdef0");
            first.follow(12);
            let secrets = |program: &KernelProgram| {
                program.maps.settings().secrets.each_ref().map(|secret| secret.load(Ordering::Relaxed))
            };
            let before = secrets(&first);
            drop(first);
            for adoptions in 1..=2 {
                let again = adopt(here, &pins).unwrap().unwrap();
                assert_eq!(secrets(&again), before);
                assert_eq!((again.last_generation(), again.followed()), (41, (12, adoptions)));
                assert_eq!(again.maps.gateways(), ["nat-0123456789abcdef0"]);
                assert_eq!((again.room.flows, again.maps.room()), (100, 100));
            }
        });
    }

    #[test]
    fn what_another_version_pinned_is_not_read() {
        as_root(|here| {
            let pins = Pins::own().unwrap();
            let first =
                KernelProgram::load_pinned(here, Size { flows: 100 }, 1, pins.try_clone().unwrap()).unwrap();
            let about = first.maps.notes.about().unwrap();
            first.maps.notes.finish(About { fingerprint: about.fingerprint ^ 1, ..about });
            let refused = adopt(here, &pins).unwrap_err();
            assert!(matches!(refused, NotAdopted::Version { .. }), "{refused}");
            first.maps.notes.finish(About { processors: about.processors + 1, ..about });
            let refused = adopt(here, &pins).unwrap_err();
            assert!(matches!(refused, NotAdopted::Processors { .. }), "{refused}");
            first.maps.notes.finish(about);
            assert!(adopt(here, &pins).is_ok());
        });
    }

    #[test]
    fn what_was_not_finished_is_not_read() {
        as_root(|here| {
            let pins = Pins::own().unwrap();
            let half =
                KernelProgram::read(here, Size { flows: 64 }, 1, Some(pins.try_clone().unwrap())).unwrap();
            drop(half);
            let refused = adopt(here, &pins).unwrap_err();
            assert!(matches!(refused, NotAdopted::Unfinished), "{refused}");
        });
    }
}

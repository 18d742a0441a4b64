//! The forwarder's thread: reads frames from packet sockets, takes each through [`step`], and writes what comes out.
//!
//! One thread owns all tables, so that no packet of a flow waits for a lock (a flow's first may, for a moment: who is behind
//! it, and where it leaves to, others may ask). Everybody else speaks to it by
//! commands, which it takes between two batches of frames: a change of plan is in effect for every packet that is
//! read after it. The sockets are in the fabric's network wherever the thread is, so it stays in its own.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use postern_model::{Mac, NetworkInterfaceId};
use postern_path::{DropReason, PeerLookup, Stamp};
use smallvec::SmallVec;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::adopt::Adopted;
use super::attacher::Attacher;
use super::clock::Clock;
use super::counters::Counters;
use super::decider::Decider;
use super::flow::FlowId;
use super::generation::Generations;
use super::key::PortNumber;
use super::limit::Limits;
use super::link::{Closer, End, GivenUp, Lane, Leftover};
use super::log::{FlowRecord, LiveFlow};
use super::peer::PeerDirectory;
use super::port::{Owner, Port};
use super::step::{Effects, Fate, Frame, opened, step};
use super::tables::Tables;
use super::time_share::Shares;
use super::uplink::{NotOpened, UplinkDirectory, Wanted};
use crate::host::{FrameBatch, FrameMeta, Frames as Received, MAX_BATCH, PacketSocket, VirtioNetHdr};
use crate::kernel::{Attachment, KernelError, KernelProgram, Maps};

/// Frames that are read from a port before the next port's turn.
const BATCH: usize = 32;
/// How long the thread sleeps when nothing happens. Tables are swept in the meantime.
const REST: Duration = Duration::from_millis(100);
/// How often places of the flow table are looked at to collect flows that are over, in nanoseconds, and how many each
/// time: a million in two seconds.
const SWEEP_EVERY: u64 = 1_000_000;
const SWEEP_PLACES: usize = 512;
/// How many at most in one go, after a rest.
const SWEEP_MOST: usize = 8_192;
/// Ports of which the kernel program is told what another plan says, in one go.
const TOLD_AT_ONCE: usize = 128;
/// Commands that wait.
const COMMANDS: usize = 1_024;
/// The mark of the wake-up event among those of ports, which are below it.
const WAKE: u64 = u64::MAX;

/// How a forwarder is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bounds of its tables.
    pub limits: Limits,
    /// Its clock. It goes on as that of a forwarder before, if the kernel program carries flows of one.
    pub clock: Clock,
    /// A secret: whoever knows it can make keys that collide.
    pub seed: u64,
    /// Flow records that a reader of the log may be behind before it loses some.
    pub log_length: usize,
    /// Whether the plan to begin with is of the state that packets followed before, if the kernel program carried flows
    /// for another forwarder.
    pub same_state: bool,
}

impl Options {
    /// The usual bounds.
    pub fn with_seed(seed: u64) -> Self {
        Self {
            limits: Limits::default(),
            clock: Clock::default(),
            seed,
            log_length: 8_192,
            same_state: false,
        }
    }
}

/// Why a forwarder does not start.
#[derive(Debug, thiserror::Error)]
pub enum ForwarderError {
    /// No descriptor or no thread could be had.
    #[error("cannot start the forwarder: {0}")]
    Start(#[from] io::Error),
}

/// The forwarder has stopped, or could not take the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// Its thread has ended.
    #[error("the forwarder has stopped")]
    Gone,
    /// There are as many ports as there can be, or the kernel does not watch another.
    #[error("the forwarder takes no further port")]
    NoPort,
}

/// The answer to a command, to be awaited or waited for.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<T>);

impl<T> Pending<T> {
    /// Blocks until it is there. Not to be called in a task of an asynchronous runtime, where it panics.
    pub fn wait(self) -> Result<T, Stopped> {
        self.0.blocking_recv().map_err(|_| Stopped::Gone)
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| Stopped::Gone)
    }
}

enum Command {
    AddPort { owner: Owner, mac: Mac, end: End, reply: oneshot::Sender<Result<(), Stopped>> },
    Stand { owner: Owner, interface: u32, program: Option<Attachment>, reply: oneshot::Sender<Leftover> },
    RemovePort { owner: Owner, reply: oneshot::Sender<bool> },
    GiveUpAwaited { reply: oneshot::Sender<usize> },
    Publish { decider: Arc<dyn Decider>, changed: Vec<Stamp>, reply: oneshot::Sender<()> },
    Opener { opener: mpsc::Sender<Wanted>, reply: oneshot::Sender<()> },
    Opened { id: FlowId, outcome: Result<(), NotOpened> },
    Counters { reply: oneshot::Sender<Counters> },
    Flows { most: usize, reply: oneshot::Sender<Vec<LiveFlow>> },
    Shutdown,
}

/// A running forwarder. Dropping it stops it.
#[derive(Debug)]
pub struct Forwarder {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    log: broadcast::Sender<FlowRecord>,
    peers: Arc<PeerDirectory>,
    uplink: Arc<UplinkDirectory>,
    generations: Arc<Generations>,
    clock: Clock,
    program: Option<Arc<KernelProgram>>,
    adopted: Option<Adopted>,
    closer: Closer,
    attacher: Option<Attacher>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Forwarder {
    /// Starts one, without ports. `current` is every generation of the plan.
    pub fn start(
        decider: Arc<dyn Decider>,
        current: &[Stamp],
        options: Options,
    ) -> Result<Self, ForwarderError> {
        Self::start_with(decider, current, options, None)
    }

    /// Starts one whose flows are carried by the program in the kernel, where there is one and it can.
    pub fn start_with(
        decider: Arc<dyn Decider>,
        current: &[Stamp],
        options: Options,
        program: Option<KernelProgram>,
    ) -> Result<Self, ForwarderError> {
        let program = program.map(Arc::new);
        let maps = program.as_ref().map(|program| program.maps());
        let mut tables = Tables::with(options.limits, options.seed, maps.as_ref());
        let adopted = match (&maps, &program) {
            (Some(maps), Some(program)) if program.inherited().is_some() => {
                options.clock.go_on(maps);
                let now = options.clock.now();
                Some(tables.go_on(program, &*decider, current, options.same_state, now))
            }
            (Some(maps), _) => {
                options.clock.lead(maps);
                tables.plan_changed(current);
                None
            }
            (None, _) => {
                tables.plan_changed(current);
                None
            }
        };
        let (commands, inbox) = sync_channel(COMMANDS);
        let wake = Arc::new(
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(io::Error::from)?,
        );
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
        epoll.add(&*wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE)).map_err(io::Error::from)?;
        let (closer, given_up) = Closer::start()?;
        let attacher = program.as_ref().map(|program| {
            let (commands, wake) = (commands.clone(), Arc::clone(&wake));
            Attacher::start(Arc::clone(program), move |owner, interface, program| {
                let (reply, leftover) = oneshot::channel();
                let _ = commands.send(Command::Stand { owner, interface, program, reply });
                let _ = wake.write(1);
                // Dropped here, where nobody waits for it; there is none where the forwarder has stopped.
                drop(leftover.blocking_recv());
            })
        });
        let (log, _) = broadcast::channel(options.log_length.max(1));
        let forwarder = Self {
            commands,
            wake: Arc::clone(&wake),
            log: log.clone(),
            peers: tables.peers.directory(),
            uplink: Arc::clone(&tables.uplink),
            generations: tables.generations(),
            clock: options.clock.clone(),
            program,
            adopted,
            closer,
            attacher: attacher.transpose()?,
            thread: Mutex::new(None),
        };
        let worker = Worker {
            given_up,
            tables,
            maps,
            decider,
            links: Vec::new(),
            epoll,
            wake,
            inbox,
            clock: options.clock,
            log,
            log_lost: 0,
            swept: 0,
            untold: false,
            shares: Shares::new(),
        };
        let thread = std::thread::Builder::new().name("forwarder".to_owned()).spawn(|| worker.run())?;
        *forwarder.thread() = Some(thread);
        Ok(forwarder)
    }

    /// Takes over the port of an interface. An older one of the same interface gives way.
    pub fn add_port(
        &self,
        interface: NetworkInterfaceId,
        socket: PacketSocket,
    ) -> Pending<Result<(), Stopped>> {
        // The hardware address is in the plan.
        self.add(Owner::Interface(interface), Mac([0; 6]), socket)
    }

    /// Takes over the port of an interface without waiting for the kernel program: the forwarder carries all of its packets until
    /// the program stands there, which is a moment after ports are no longer being added.
    pub fn add_port_soon(
        &self,
        interface: NetworkInterfaceId,
        socket: PacketSocket,
    ) -> Pending<Result<(), Stopped>> {
        let owner = Owner::Interface(interface);
        // Where the program stands since before nobody waits for it.
        if self.program.as_ref().is_some_and(|program| program.stands_on(&socket)) {
            return self.add(owner, Mac([0; 6]), socket);
        }
        self.closer.wait_for(socket.index());
        let end = End::prepare_behind(socket, self.program.as_deref());
        let wanted = if end.awaits_program() { end.socket.try_clone().ok() } else { None };
        let pending = self.ask(|reply| Command::AddPort { owner, mac: Mac([0; 6]), end, reply });
        if let (Some(attacher), Some(socket)) = (&self.attacher, wanted) {
            attacher.want(owner, socket);
        }
        pending
    }

    /// Which frames the socket of a port is best opened for.
    pub fn received_by_ports(&self) -> Received {
        if self.program.is_some() { Received::Ipv4 } else { Received::All }
    }

    /// Takes over the port of the doors' namespace, whose inner end has this hardware address.
    pub fn add_doors_port(&self, socket: PacketSocket, mac: Mac) -> Pending<Result<(), Stopped>> {
        self.add(Owner::Doors, mac, socket)
    }

    fn add(&self, owner: Owner, mac: Mac, socket: PacketSocket) -> Pending<Result<(), Stopped>> {
        self.closer.wait_for(socket.index());
        let end = End::prepare(socket, self.program.as_deref());
        self.ask(|reply| Command::AddPort { owner, mac, end, reply })
    }

    /// Gives up an interface's port. Its flows end. False if there was none.
    pub fn remove_port(&self, interface: NetworkInterfaceId) -> Pending<bool> {
        self.ask(|reply| Command::RemovePort { owner: Owner::Interface(interface), reply })
    }

    /// Uses another plan. Once this is answered the change is effective: no packet that is read later passes by what
    /// was decided before, except packets of flows that nothing in `changed` cuts.
    pub fn publish(&self, decider: Arc<dyn Decider>, changed: Vec<Stamp>) -> Pending<()> {
        self.ask(|reply| Command::Publish { decider, changed, reply })
    }

    /// All counters.
    pub fn counters(&self) -> Pending<Counters> {
        self.ask(|reply| Command::Counters { reply })
    }

    /// The flows that are known, at most so many.
    pub fn flows(&self, most: usize) -> Pending<Vec<LiveFlow>> {
        self.ask(|reply| Command::Flows { most, reply })
    }

    /// Follows the flow log from now on. A reader that falls behind is told how many records it lost.
    pub fn subscribe(&self) -> broadcast::Receiver<FlowRecord> {
        let log = self.log.subscribe();
        if let Some(program) = &self.program {
            // After there is somebody: who finds nobody, and turns it off, looks again.
            program.maps().log_flows(true);
        }
        log
    }

    /// Who is behind the addresses that the doors see.
    pub fn peers(&self) -> Arc<dyn PeerLookup> {
        Arc::clone(&self.peers) as Arc<dyn PeerLookup>
    }

    /// Where flows that came to the uplink's door were for.
    pub fn uplink(&self) -> Arc<UplinkDirectory> {
        Arc::clone(&self.uplink)
    }

    /// Lets the first packet of each connection that leaves the region wait until [`Forwarder::opened`] says what came of
    /// it outside. Gives the connections to be made, of which so many may wait to be looked at.
    pub fn open_outside_first(&self, waiting: usize) -> (mpsc::Receiver<Wanted>, Pending<()>) {
        let (opener, wanted) = mpsc::channel(waiting);
        (wanted, self.ask(|reply| Command::Opener { opener, reply }))
    }

    /// What came of a connection outside. Nothing happens if its flow is over.
    pub fn opened(&self, wanted: &Wanted, outcome: Result<(), NotOpened>) {
        self.send(Command::Opened { id: wanted.id, outcome });
    }

    /// The generation array.
    pub fn generations(&self) -> Arc<Generations> {
        Arc::clone(&self.generations)
    }

    /// What was gone on with of a forwarder before, if there was one.
    pub fn adopted(&self) -> Option<Adopted> {
        self.adopted
    }

    /// Gives up ports of a forwarder before that nobody has added. Their flows end. Gives how many.
    pub fn give_up_awaited(&self) -> Pending<usize> {
        self.ask(|reply| Command::GiveUpAwaited { reply })
    }

    /// Loads the kernel program once more, and lets it carry packets in the place of the one that does. No packet is lost.
    pub fn renew_program(&self) -> Result<(), KernelError> {
        self.program.as_ref().map_or(Ok(()), |program| program.replace())
    }

    /// Notes for a forwarder after this one which state packets follow.
    pub fn note_state(&self, revision: u64) {
        if let Some(program) = &self.program {
            program.follow(revision);
        }
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Stops the thread, and waits until it has.
    pub fn shutdown(&self) {
        let thread = self.thread().take();
        if let Some(thread) = thread {
            if let Some(attacher) = &self.attacher {
                attacher.stop();
            }
            self.send(Command::Shutdown);
            if thread.join().is_err() {
                tracing::error!("the forwarder's thread panicked");
            }
            self.closer.join();
        }
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Pending<T> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply));
        Pending(answer)
    }

    fn send(&self, command: Command) {
        // If the thread is gone the command is dropped, and its answer says so.
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }

    fn thread(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The frames of one batch: what came with each, and its bytes.
type Frames<'a> = SmallVec<[(FrameMeta, &'a mut [u8]); MAX_BATCH]>;

/// A port, as the thread holds it.
struct Link {
    number: PortNumber,
    end: End,
}

/// What the thread owns.
struct Worker {
    /// Takes ends that are given up.
    given_up: GivenUp,
    tables: Tables,
    maps: Option<Arc<Maps>>,
    decider: Arc<dyn Decider>,
    /// By the place of the port's number.
    links: Vec<Option<Link>>,
    epoll: Epoll,
    wake: Arc<EventFd>,
    inbox: Receiver<Command>,
    clock: Clock,
    log: broadcast::Sender<FlowRecord>,
    log_lost: u64,
    /// When the tables were last swept.
    swept: u64,
    /// Whether the kernel program is still to be told of ports what the plan says now.
    untold: bool,
    /// How much of this thread's time each port may take.
    shares: Shares,
}

impl Drop for Worker {
    fn drop(&mut self) {
        for mut link in std::mem::take(&mut self.links).into_iter().flatten() {
            // The ports are still there. What is pinned on them goes with the keeper, or on without us.
            link.end.leave_program();
            self.close(link.end);
        }
    }
}

impl Worker {
    fn run(mut self) {
        let mut batch = FrameBatch::new(BATCH);
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let rest = if self.untold { Duration::ZERO } else { self.shares.patience(REST) };
            let rest = EpollTimeout::try_from(rest).unwrap_or(EpollTimeout::ZERO);
            let ready = match self.epoll.wait(&mut events, rest) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "the forwarder cannot wait for frames");
                    return;
                }
            };
            for event in events.iter().take(ready) {
                match event.data() {
                    WAKE => {
                        let _ = self.wake.read();
                        if self.obey().is_break() {
                            return;
                        }
                    }
                    // Everything else was registered with a port's number, which has 32 bits.
                    data => self.pump(PortNumber(data as u32), Lane::of_event(data), &mut batch),
                }
            }
            self.read_again();
            if self.untold {
                self.untold = self.tables.ports.tell_plan(&*self.decider, TOLD_AT_ONCE);
            }
            // What the program made is logged before it is collected.
            self.tables.take_notes();
            self.sweep();
            self.publish_log();
        }
    }

    /// Collects what is over: the more, the longer that was not done.
    fn sweep(&mut self) {
        let now = self.clock.now();
        let times = now.saturating_sub(self.swept) / SWEEP_EVERY;
        if times > 0 {
            let places = SWEEP_PLACES.saturating_mul(usize::try_from(times).unwrap_or(usize::MAX));
            self.tables.sweep(now, places.min(SWEEP_MOST));
            self.swept = now;
        }
    }

    /// Takes all commands that wait.
    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Shutdown) | Err(TryRecvError::Disconnected) => {
                    return std::ops::ControlFlow::Break(());
                }
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => return std::ops::ControlFlow::Continue(()),
            }
        }
    }

    fn take(&mut self, command: Command) {
        // Whoever asked may be gone; what was asked for is done all the same.
        match command {
            Command::AddPort { owner, mac, end, reply } => {
                let _ = reply.send(self.add_port(owner, mac, end));
            }
            Command::Stand { owner, interface, program, reply } => {
                let _ = reply.send(self.stand(owner, interface, program));
            }
            Command::RemovePort { owner, reply } => {
                let _ = reply.send(self.remove_port(owner));
            }
            Command::GiveUpAwaited { reply } => {
                let awaited = self.tables.ports.awaited();
                let removed = awaited.iter().filter(|owner| self.remove_port(**owner)).count();
                let _ = reply.send(removed);
            }
            Command::Publish { decider, changed, reply } => {
                self.decider = decider;
                self.tables.plan_changed(&changed);
                self.untold = self.tables.ports.tell_plan(&*self.decider, TOLD_AT_ONCE);
                let _ = reply.send(());
            }
            Command::Opener { opener, reply } => {
                self.tables.opener = Some(opener);
                let _ = reply.send(());
            }
            Command::Opened { id, outcome } => self.go_on(id, outcome),
            Command::Counters { reply } => {
                self.count_overruns();
                let unnoted = self.maps.as_ref().map_or(0, |maps| maps.notes_lost());
                let (log_lost, waits) = (self.log_lost + unnoted, self.shares.waits());
                let counters = Counters { log_lost, waits, ..self.tables.counters() };
                let _ = reply.send(counters);
            }
            Command::Flows { most, reply } => {
                let _ = reply.send(self.tables.live_flows(self.clock.now(), most));
            }
            Command::Shutdown => {}
        }
    }

    /// What came of a connection outside the region: its first packet goes on, or its sender is told.
    fn go_on(&mut self, id: FlowId, outcome: Result<(), NotOpened>) {
        let now = self.clock.now();
        let done = opened(&mut self.tables, &*self.decider, id, outcome, now);
        let Some((port, held, Effects { fate, emitted })) = done else { return };
        if let Fate::Deliver(exit) = fate {
            self.send(port, exit, &[(held.header, &held.frame)]);
        }
        for (exit, frame) in emitted {
            self.send(port, exit, &[(VirtioNetHdr::default(), &frame)]);
        }
    }

    fn add_port(&mut self, owner: Owner, mac: Mac, end: End) -> Result<(), Stopped> {
        let index = end.socket.index();
        let arrived = if end.is_in_kernel() { self.tables.ports.arrived(owner, index) } else { None };
        let is_new = arrived.is_none();
        let number = arrived.or_else(|| {
            self.remove_port(owner);
            self.tables.add_port(owner, mac, self.clock.now())
        });
        let Some(number) = number else {
            self.close(end);
            return Err(Stopped::NoPort);
        };
        if let Err(error) = end.watch(&self.epoll, number) {
            tracing::error!(%error, "the forwarder cannot watch another port");
            self.tables.remove_port(owner, self.clock.now());
            self.close(end);
            return Err(Stopped::NoPort);
        }
        // One that the program stands on since before is described to it already, and carries packets.
        if is_new && end.is_in_kernel() {
            self.show_to_program(number, end.socket.index());
        }
        self.shares.begin(number);
        let place = number.place();
        if self.links.len() <= place {
            self.links.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.links.get_mut(place) {
            *slot = Some(Link { number, end });
        }
        Ok(())
    }

    /// Lets the kernel program carry a port's packets.
    fn show_to_program(&mut self, number: PortNumber, interface: u32) {
        self.tables.ports.attached(number, interface);
        self.tables.hand_over(number, self.clock.now());
        // So that the program can judge its first frame.
        let _ = self.tables.ports.fresh(number, &*self.decider);
    }

    /// The kernel program stands on a port that was added before, or never will.
    fn stand(&mut self, owner: Owner, interface: u32, program: Option<Attachment>) -> Leftover {
        let number = self.tables.ports.of(owner);
        let link = number.and_then(|number| self.links.get_mut(number.place())?.as_mut());
        let Some(link) = link.filter(|link| link.end.socket.index() == interface) else {
            // The port has gone meanwhile, or is another one.
            return Leftover::of(program);
        };
        let number = link.number;
        if program.is_none() {
            link.end.unwatch_others(&self.epoll);
        }
        let leftover = link.end.stand(program);
        if link.end.is_in_kernel() {
            self.show_to_program(number, interface);
        }
        leftover
    }

    fn remove_port(&mut self, owner: Owner) -> bool {
        let Some(number) = self.tables.ports.of(owner) else { return false };
        let removed = self.tables.remove_port(owner, self.clock.now());
        if let Some(link) = self.links.get_mut(number.place()).and_then(Option::take) {
            self.close(link.end);
        }
        removed
    }

    /// Gives up a port's end. Waiting for the kernel to let go of it is somebody else's work.
    fn close(&self, end: End) {
        end.unwatch(&self.epoll);
        self.given_up.take(end);
    }

    /// Ports whose time has come again are read again.
    fn read_again(&mut self) {
        while let Some(port) = self.shares.due() {
            if let Some(link) = link(&self.links, port)
                && let Err(error) = link.end.watch(&self.epoll, port)
            {
                tracing::error!(%error, ?port, "a port cannot be watched again");
            }
        }
    }

    /// Reads one batch of frames from a port and sends them on.
    fn pump(&mut self, port: PortNumber, lane: Lane, batch: &mut FrameBatch) {
        let Some(link) = link(&self.links, port) else { return };
        let Some(socket) = link.end.socket(lane) else { return };
        match socket.recv_batch(batch) {
            Ok(0) => return,
            // What the program does not carry is little, unless somebody means harm.
            Ok(taken) => {
                let shared = self.tables.ports.get(port).is_some_and(Port::shares_time);
                if shared && lane != Lane::Arp && self.shares.spend(port, taken) {
                    link.end.unwatch(&self.epoll);
                }
            }
            Err(error) => {
                // The interface is down or gone; its owner will remove the port. Until then what goes there is counted
                // as lost here, which the kernel program could not notice.
                tracing::debug!(%error, ?port, "cannot read from a port");
                self.tables.ports.detached(port);
                return;
            }
        }
        let now = self.clock.now();
        let mut frames: Frames<'_> = batch.frames().collect();
        let mut exits: SmallVec<[Option<PortNumber>; MAX_BATCH]> = SmallVec::new();
        let mut emitted = VecDeque::new();
        for (meta, bytes) in &mut frames {
            let mut frame = Frame { bytes, header: meta.header, tagged: meta.vlan.is_some() };
            let effects = step(&mut self.tables, &*self.decider, port, &mut frame, now);
            let Effects { fate, emitted: more } = effects;
            exits.push(match fate {
                Fate::Deliver(exit) => Some(exit),
                Fate::DeliverPieces(_) | Fate::Answered | Fate::Held | Fate::Drop { .. } => None,
            });
            emitted.extend(more);
        }
        self.deliver(port, &frames, &mut exits);
        for (exit, frame) in emitted {
            self.send(port, exit, &[(VirtioNetHdr::default(), &frame)]);
        }
    }

    /// Sends the frames of a batch, each port's in one call and in order.
    fn deliver(&mut self, from: PortNumber, frames: &Frames<'_>, exits: &mut [Option<PortNumber>]) {
        while let Some(exit) = exits.iter().flatten().next().copied() {
            let mut run: SmallVec<[(VirtioNetHdr, &[u8]); MAX_BATCH]> = SmallVec::new();
            for (slot, (meta, bytes)) in exits.iter_mut().zip(frames) {
                if *slot == Some(exit) {
                    *slot = None;
                    run.push((meta.header, bytes));
                }
            }
            self.send(from, exit, &run);
        }
    }

    /// Sends frames to one port. What it cannot take is lost, and counted where it came from.
    fn send(&mut self, from: PortNumber, exit: PortNumber, frames: &[(VirtioNetHdr, &[u8])]) {
        let mut left = frames;
        let mut lost = 0;
        while !left.is_empty() {
            let sent = match link(&self.links, exit) {
                Some(link) => link.end.socket.send_batch(left),
                None => Ok(0),
            };
            match sent {
                Ok(0) => {
                    lost += left.len();
                    break;
                }
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(error) => {
                    tracing::debug!(%error, ?exit, "a frame cannot be sent");
                    lost += 1;
                    left = left.get(1..).unwrap_or_default();
                }
            }
        }
        if lost > 0
            && let Some(port) = self.tables.ports.get_mut(from)
        {
            for _ in 0..lost {
                port.counters.drops.count(DropReason::SendFailed);
            }
        }
    }

    fn count_overruns(&mut self) {
        for link in self.links.iter().flatten() {
            for (_, socket) in link.end.sockets() {
                if let Ok(statistics) = socket.statistics()
                    && let Some(port) = self.tables.ports.get_mut(link.number)
                {
                    port.counters.overruns += u64::from(statistics.dropped);
                }
            }
        }
    }

    /// Lets the program write down the flows that it makes only while somebody follows the log.
    fn follow(&mut self) {
        let Some(maps) = self.maps.as_ref().filter(|maps| maps.logs_flows()) else { return };
        if self.log.receiver_count() == 0 {
            maps.log_flows(false);
            // Whoever follows it next does not care for these.
            self.tables.drop_notes();
            if self.log.receiver_count() > 0 {
                maps.log_flows(true);
            }
        }
    }

    fn publish_log(&mut self) {
        self.follow();
        if !self.tables.has_log() {
            return;
        }
        let (records, lost) = self.tables.take_log();
        self.log_lost += lost;
        if self.log.receiver_count() == 0 {
            return;
        }
        let time = SystemTime::now();
        for record in records {
            // Nobody may be listening any more.
            let _ = self.log.send(FlowRecord { time, flow: record.flow, outcome: record.outcome });
        }
    }
}

/// The link of a port, if the port is still there.
fn link(links: &[Option<Link>], port: PortNumber) -> Option<&Link> {
    links.get(port.place())?.as_ref().filter(|link| link.number == port)
}

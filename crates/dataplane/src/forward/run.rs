//! The forwarder as others hold it: they speak to its thread by commands, which it takes between two batches of frames.
//! So a change of plan is in effect for every packet that is read after it.

use std::io;
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use postern_model::{Mac, NetworkInterfaceId};
use postern_path::{PeerLookup, Stamp};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::adopt::Adopted;
use super::attacher::Attacher;
use super::clock::Clock;
use super::counters::Counters;
use super::decider::Decider;
use super::generation::Generations;
use super::limit::Limits;
use super::link::{Closer, End};
use super::log::{FlowRecord, LiveFlow};
use super::peer::PeerDirectory;
use super::port::Owner;
use super::tables::Tables;
use super::time_share::Shares;
use super::uplink::{NotOpened, UplinkDirectory, Wanted};
use super::worker::{Command, WAKE, Worker};
use crate::host::{Frames as Received, PacketSocket};
use crate::kernel::{KernelError, KernelProgram};

/// Commands that wait.
const COMMANDS: usize = 1_024;

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

//! The forwarder's thread: reads frames from packet sockets, takes each through [`step`], and writes what comes out.
//!
//! One thread owns all tables, so that no packet of a flow waits for a lock (a flow's first may, for a moment: who is behind
//! it, and where it leaves to, others may ask). The sockets are in the fabric's network wherever the thread is, so it stays
//! in its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, SystemTime};

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::eventfd::EventFd;
use postern_model::Mac;
use postern_path::{DropReason, Stamp};
use smallvec::SmallVec;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::clock::Clock;
use super::counters::Counters;
use super::decider::Decider;
use super::flow::FlowId;
use super::key::PortNumber;
use super::link::{End, GivenUp, Lane, Leftover};
use super::log::{FlowRecord, LiveFlow};
use super::port::{Owner, Port};
use super::run::Stopped;
use super::step::{Effects, Fate, Frame, opened, step};
use super::tables::Tables;
use super::time_share::Shares;
use super::uplink::{NotOpened, Wanted};
use crate::host::{FrameBatch, FrameMeta, MAX_BATCH, VirtioNetHdr};
use crate::kernel::{Attachment, Maps};

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
/// The mark of the wake-up event among those of ports, which are below it.
pub(super) const WAKE: u64 = u64::MAX;

/// What the thread is told, and asked.
pub(super) enum Command {
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

/// The frames of one batch: what came with each, and its bytes.
type Frames<'a> = SmallVec<[(FrameMeta, &'a mut [u8]); MAX_BATCH]>;

/// A port, as the thread holds it.
pub(super) struct Link {
    number: PortNumber,
    end: End,
}

/// What the thread owns.
pub(super) struct Worker {
    /// Takes ends that are given up.
    pub given_up: GivenUp,
    pub tables: Tables,
    pub maps: Option<Arc<Maps>>,
    pub decider: Arc<dyn Decider>,
    /// By the place of the port's number.
    pub links: Vec<Option<Link>>,
    pub epoll: Epoll,
    pub wake: Arc<EventFd>,
    pub inbox: Receiver<Command>,
    pub clock: Clock,
    pub log: broadcast::Sender<FlowRecord>,
    pub log_lost: u64,
    /// When the tables were last swept.
    pub swept: u64,
    /// Whether the kernel program is still to be told of ports what the plan says now.
    pub untold: bool,
    /// How much of this thread's time each port may take.
    pub shares: Shares,
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
    /// Until it is told to end.
    pub fn run(mut self) {
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

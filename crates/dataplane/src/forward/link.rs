//! What the forwarder's thread holds of a port: its sockets, and the kernel program on it.
//!
//! Opening and closing them waits for the kernel, some hundredths of a second each time, so neither is done on the
//! forwarder's thread: whoever adds a port prepares its [`End`], and a [`Closer`] takes ends that are given up.

use std::io;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::key::PortNumber;
use crate::host::{Frames, PacketSocket};
use crate::kernel::{Attachment, KernelError, KernelProgram};

/// Which of a port's sockets it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The one that frames go out by, and come in by where no program stands.
    Main,
    /// For ARP, where the program stands.
    Arp,
    /// For what the program hands up.
    HandedUp,
}

impl Lane {
    /// What is beside the port's number in an event.
    const fn mark(self) -> u64 {
        match self {
            Self::Main => 0,
            Self::Arp => 1 << 32,
            Self::HandedUp => 1 << 33,
        }
    }

    /// The one that an event is about.
    pub const fn of_event(data: u64) -> Self {
        if data & Self::Arp.mark() != 0 {
            Self::Arp
        } else if data & Self::HandedUp.mark() != 0 {
            Self::HandedUp
        } else {
            Self::Main
        }
    }
}

/// Ends that are closed at the same time. They wait for the same thing, so that many take as long as one.
const CLOSED_AT_ONCE: usize = 64;

/// A port's end.
#[derive(Debug)]
pub(super) struct End {
    pub socket: PacketSocket,
    pub in_kernel: Option<InKernel>,
}

/// The kernel program on a port. What it takes must not reach the port's socket too, so that one comes after it, for
/// IPv4 only, and for nothing once the program stands there: the kernel makes a copy of every packet that is redirected from
/// an interface for each socket that is bound to the packet's protocol there, if only to be refused. So what the program
/// hands up is of a protocol of its own, with a socket of its own, and so is ARP.
#[derive(Debug)]
pub(super) struct InKernel {
    arp: PacketSocket,
    handed_up: PacketSocket,
    /// None until it stands there: the forwarder carries all packets that long.
    program: Option<Attachment>,
}

impl End {
    /// With the kernel program, if there is one and it can serve there. A port without it is served by the forwarder
    /// alone.
    pub fn prepare(socket: PacketSocket, program: Option<&KernelProgram>) -> Self {
        let mut end = Self::prepare_behind(socket, program);
        if let (Some(program), Some(in_kernel)) = (program, &mut end.in_kernel) {
            match stand_before(program, &mut end.socket) {
                Ok(attachment) => in_kernel.program = Some(attachment),
                Err(reason) => {
                    tracing::warn!(%reason, "a port is served by the forwarder alone");
                    end.serve_alone();
                }
            }
        }
        end
    }

    /// With its sockets where the kernel program can stand before them, and without the program.
    pub fn prepare_behind(mut socket: PacketSocket, program: Option<&KernelProgram>) -> Self {
        let in_kernel = program.filter(|program| program.can_serve(&socket)).and_then(|_| {
            let stood = stand_behind(&mut socket);
            stood
                .inspect_err(|reason| tracing::warn!(%reason, "a port is served by the forwarder alone"))
                .ok()
        });
        let mut end = Self { socket, in_kernel };
        if end.in_kernel.is_none() {
            end.serve_alone();
        }
        end
    }

    /// The kernel program will not stand there: one socket sees all frames.
    fn serve_alone(&mut self) {
        self.in_kernel = None;
        if let Err(error) = self.socket.narrow(Frames::All) {
            tracing::error!(%error, "a port's socket cannot be bound again");
        }
    }

    /// Whether the kernel program stands there.
    pub fn is_in_kernel(&self) -> bool {
        self.in_kernel.as_ref().is_some_and(|in_kernel| in_kernel.program.is_some())
    }

    /// Whether it is to stand there and does not yet.
    pub fn awaits_program(&self) -> bool {
        self.in_kernel.as_ref().is_some_and(|in_kernel| in_kernel.program.is_none())
    }

    /// The kernel program stands there now, or never will. What is left over is to be dropped where nobody waits.
    pub fn stand(&mut self, program: Option<Attachment>) -> Leftover {
        match (&mut self.in_kernel, program) {
            (Some(in_kernel), Some(program)) if in_kernel.program.is_none() => {
                in_kernel.program = Some(program);
                Leftover::Nothing
            }
            (Some(in_kernel), None) if in_kernel.program.is_none() => {
                let sockets = self.in_kernel.take();
                sockets.map_or(Leftover::Nothing, |sockets| Leftover::Behind { _sockets: sockets })
            }
            (Some(_) | None, program) => Leftover::of(program),
        }
    }

    /// One of its sockets, if it has that.
    pub fn socket(&self, lane: Lane) -> Option<&PacketSocket> {
        match lane {
            Lane::Main => Some(&self.socket),
            Lane::Arp => self.in_kernel.as_ref().map(|in_kernel| &in_kernel.arp),
            Lane::HandedUp => self.in_kernel.as_ref().map(|in_kernel| &in_kernel.handed_up),
        }
    }

    /// All of its sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (Lane, &PacketSocket)> {
        [Lane::Main, Lane::Arp, Lane::HandedUp]
            .into_iter()
            .filter_map(|lane| Some((lane, self.socket(lane)?)))
    }

    /// What is pinned of the program on the port stays there.
    pub fn leave_program(&mut self) {
        if let Some(in_kernel) = &mut self.in_kernel {
            in_kernel.program.iter_mut().for_each(Attachment::leave_pinned);
        }
    }

    /// Lets frames wake whoever waits.
    pub fn watch(&self, epoll: &Epoll, number: PortNumber) -> io::Result<()> {
        for (lane, socket) in self.sockets() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(number.0) | lane.mark());
            epoll.add(socket, event)?;
        }
        Ok(())
    }

    /// Sockets beside the main one wake nobody any more.
    pub fn unwatch_others(&self, epoll: &Epoll) {
        for (_, socket) in self.sockets().filter(|(lane, _)| *lane != Lane::Main) {
            let _ = epoll.delete(socket);
        }
    }

    /// Frames wake nobody any more.
    pub fn unwatch(&self, epoll: &Epoll) {
        for (_, socket) in self.sockets() {
            // One that was never watched, or whose interface is gone.
            let _ = epoll.delete(socket);
        }
    }
}

/// What a port does not need; dropping it waits for the kernel.
#[derive(Debug)]
pub(super) enum Leftover {
    Nothing,
    Program { _program: Attachment },
    Behind { _sockets: InKernel },
}

impl Leftover {
    /// A program that is on no port.
    pub fn of(program: Option<Attachment>) -> Self {
        program.map_or(Self::Nothing, |program| Self::Program { _program: program })
    }
}

/// Lets a port's sockets come after where the kernel program stands.
fn stand_behind(socket: &mut PacketSocket) -> Result<InKernel, String> {
    let arp = socket.another(Frames::Arp).map_err(|error| error.to_string())?;
    let handed_up = socket.another(Frames::HandedUp).map_err(|error| error.to_string())?;
    socket.narrow(Frames::Ipv4).map_err(|error| error.to_string())?;
    Ok(InKernel { arp, handed_up, program: None })
}

/// Puts the program before a port's socket, which then gets nothing more. What waits in it is still received.
pub(super) fn stand_before(
    program: &KernelProgram,
    socket: &mut PacketSocket,
) -> Result<Attachment, KernelError> {
    let attachment = program.attach(socket)?;
    if let Err(error) = socket.narrow(Frames::Nothing) {
        // It costs the program some of its speed, and nothing else.
        tracing::warn!(%error, interface = socket.interface(), "a port's socket cannot be bound again");
    }
    Ok(attachment)
}

/// Closes ends on threads of its own.
#[derive(Debug)]
pub(super) struct Closer {
    closing: Arc<Closing>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The interfaces whose ends are being closed.
#[derive(Debug, Default)]
struct Closing {
    interfaces: Mutex<Vec<u32>>,
    fewer: Condvar,
}

impl Closing {
    fn interfaces(&self) -> MutexGuard<'_, Vec<u32>> {
        // The list is whole between any two statements.
        self.interfaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, end: End) {
        let interface = end.socket.index();
        drop(end);
        let mut interfaces = self.interfaces();
        if let Some(at) = interfaces.iter().position(|closing| *closing == interface) {
            interfaces.swap_remove(at);
        }
        self.fewer.notify_all();
    }
}

/// Where ends are given up.
#[derive(Debug)]
pub(super) struct GivenUp {
    ends: Sender<End>,
    closing: Arc<Closing>,
}

impl GivenUp {
    /// Takes an end to be closed.
    pub fn take(&self, end: End) {
        self.closing.interfaces().push(end.socket.index());
        if let Err(SendError(end)) = self.ends.send(end) {
            // The closer is gone: it is closed here.
            self.closing.close(end);
        }
    }
}

impl Closer {
    /// Starts it; it ends when nothing can be given up any more and everything is closed.
    pub fn start() -> io::Result<(Self, GivenUp)> {
        let (ends, inbox) = channel();
        let closing = Arc::<Closing>::default();
        let on_thread = Arc::clone(&closing);
        let thread = std::thread::Builder::new()
            .name("port-closer".to_owned())
            .spawn(move || close_all(&inbox, &on_thread))?;
        let given_up = GivenUp { ends, closing: Arc::clone(&closing) };
        Ok((Self { closing, thread: Mutex::new(Some(thread)) }, given_up))
    }

    /// Waits until what was an interface's end is closed: the program stands on an interface once.
    pub fn wait_for(&self, interface: u32) {
        let interfaces = self.closing.interfaces();
        let waited = self.closing.fewer.wait_while(interfaces, |closing| closing.contains(&interface));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until everything is closed.
    pub fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that closes ports panicked");
        }
    }
}

fn close_all(inbox: &Receiver<End>, closing: &Closing) {
    while let Ok(first) = inbox.recv() {
        let ends: Vec<End> = [first].into_iter().chain(inbox.try_iter().take(CLOSED_AT_ONCE - 1)).collect();
        std::thread::scope(|scope| {
            for end in ends {
                scope.spawn(move || closing.close(end));
            }
        });
    }
}

//! Puts the kernel program on ports that are in use already.
//!
//! The kernel takes some hundredths of a second for each, one after the other, and keeps everything else that changes
//! interfaces waiting meanwhile. So a port that is wanted soon is carried by the forwarder first, and while further
//! ones are being made the program waits, but not for ever.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::link::stand_before;
use super::port::Owner;
use crate::host::{Frames, PacketSocket};
use crate::kernel::{Attachment, KernelProgram};

/// How long no port has been added when nobody is thought to be adding ports.
const QUIET: Duration = Duration::from_millis(100);
/// How long a port waits for that.
const PATIENCE: Duration = Duration::from_secs(30);

/// A port that the program is to stand on, by its owner and its socket.
type Port = (Owner, PacketSocket);

/// What waits, and since when.
struct Waiting<T> {
    what: T,
    since: Instant,
}

/// The thread that does it.
#[derive(Debug)]
pub(super) struct Attacher {
    wanted: Mutex<Option<Sender<Waiting<Port>>>>,
    stopping: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Attacher {
    /// Starts it. `tell` is told of each port, by its owner and the index of its interface, that the program stands
    /// there, or that it does not and the port's socket sees all frames.
    pub fn start(
        program: Arc<KernelProgram>,
        tell: impl Fn(Owner, u32, Option<Attachment>) + Send + 'static,
    ) -> io::Result<Self> {
        let (wanted, inbox) = channel();
        let stopping = Arc::<AtomicBool>::default();
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("port-attacher".to_owned()).spawn(move || {
            attach_all(&inbox, &stop, |port| attach(&program, port, &tell));
        })?;
        Ok(Self { wanted: Mutex::new(Some(wanted)), stopping, thread: Mutex::new(Some(thread)) })
    }

    /// The program is to stand on this port.
    pub fn want(&self, owner: Owner, socket: PacketSocket) {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wanted) = &*wanted {
            // Without its thread the port stays with the forwarder.
            let _ = wanted.send(Waiting { what: (owner, socket), since: Instant::now() });
        }
    }

    /// Ends it, however many ports wait.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that puts the kernel program on ports panicked");
        }
    }
}

fn attach_all<T>(inbox: &Receiver<Waiting<T>>, stopping: &AtomicBool, attach: impl Fn(T)) {
    let mut waiting = VecDeque::new();
    loop {
        let next = match waiting.pop_front() {
            Some(next) => next,
            None => match inbox.recv() {
                Ok(next) => next,
                Err(_) => return,
            },
        };
        wait_for_quiet(inbox, &mut waiting, next.since + PATIENCE);
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        attach(next.what);
    }
}

/// Waits until no further port has come for a while, at the longest until `latest`.
fn wait_for_quiet<T>(inbox: &Receiver<Waiting<T>>, waiting: &mut VecDeque<Waiting<T>>, latest: Instant) {
    // Of what waits, the last one says how long nothing has come.
    let mut last = waiting.back().map_or(latest - PATIENCE, |waiting| waiting.since);
    loop {
        let until = (last + QUIET).min(latest);
        match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(another) => {
                last = another.since;
                waiting.push_back(another);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn attach(program: &KernelProgram, port: Port, tell: &impl Fn(Owner, u32, Option<Attachment>)) {
    let (owner, mut socket) = port;
    let attachment = match stand_before(program, &mut socket) {
        Ok(attachment) => Some(attachment),
        Err(reason) => {
            // Most likely the port is gone.
            tracing::debug!(%reason, "a port is served by the forwarder alone");
            if let Err(error) = socket.narrow(Frames::All) {
                tracing::debug!(%error, "a port's socket cannot be bound again");
            }
            None
        }
    };
    tell(owner, socket.index(), attachment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_wait_while_more_come_and_none_is_forgotten() {
        let (wanted, inbox) = channel();
        let (stopping, begun) = (AtomicBool::new(false), Instant::now());
        let adder = std::thread::spawn(move || {
            for what in 0..10 {
                wanted.send(Waiting { what, since: Instant::now() }).unwrap();
                std::thread::sleep(QUIET / 4);
            }
        });
        let done = Mutex::new(Vec::new());
        attach_all(&inbox, &stopping, |what| done.lock().unwrap().push((what, begun.elapsed())));
        adder.join().unwrap();
        let done = done.into_inner().unwrap();
        assert_eq!(done.iter().map(|(what, _)| *what).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert!(done[0].1 >= QUIET * 2, "the first waited for the last: {:?}", done[0].1);
    }

    #[test]
    fn none_waits_for_ever() {
        let (wanted, inbox) = channel();
        let long_ago = Instant::now().checked_sub(PATIENCE).unwrap();
        let mut waiting = VecDeque::new();
        wanted.send(Waiting { what: (), since: Instant::now() }).unwrap();
        let begun = Instant::now();
        wait_for_quiet(&inbox, &mut waiting, long_ago + PATIENCE);
        assert!(begun.elapsed() < QUIET, "{:?}", begun.elapsed());
    }
}

//! The simplest thing between two ports: every frame of one is sent out of the other.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use postern_dataplane::host::{FrameBatch, MAX_BATCH, PacketSocket, VirtioNetHdr};

#[derive(Default)]
pub struct Seen {
    pub frames: AtomicUsize,
    pub largest: AtomicUsize,
    pub gso: AtomicUsize,
    stop: AtomicBool,
}

pub struct Relay {
    pub seen: Arc<Seen>,
    thread: Option<JoinHandle<String>>,
}

impl Relay {
    pub fn start(a: PacketSocket, b: PacketSocket) -> Self {
        let seen = Arc::new(Seen::default());
        let counters = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut batch = FrameBatch::new(MAX_BATCH);
            while !counters.stop.load(Ordering::Relaxed) {
                let mut fds =
                    [&a, &b].map(|s| libc::pollfd { fd: s.as_raw_fd(), events: libc::POLLIN, revents: 0 });
                poll(&mut fds);
                copy(&a, &b, &mut batch, &counters);
                copy(&b, &a, &mut batch, &counters);
            }
            format!("{:?} {:?}", a.statistics().unwrap(), b.statistics().unwrap())
        });
        Self { seen, thread: Some(thread) }
    }

    pub fn stop(mut self) -> String {
        self.seen.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[expect(unsafe_code, reason = "poll")]
fn poll(fds: &mut [libc::pollfd; 2]) {
    // SAFETY: the kernel reads and writes the two records given.
    unsafe { libc::poll(fds.as_mut_ptr(), 2, 20) };
}

fn copy(from: &PacketSocket, to: &PacketSocket, batch: &mut FrameBatch, seen: &Seen) {
    from.recv_batch(batch).unwrap();
    let frames: Vec<(VirtioNetHdr, &[u8])> =
        batch.frames().map(|(meta, bytes)| (meta.header, &*bytes)).collect();
    for (header, bytes) in &frames {
        seen.frames.fetch_add(1, Ordering::Relaxed);
        seen.largest.fetch_max(bytes.len(), Ordering::Relaxed);
        seen.gso.fetch_add(usize::from(header.gso_type != VirtioNetHdr::GSO_NONE), Ordering::Relaxed);
    }
    let mut sent = 0;
    while sent < frames.len() {
        match to.send_batch(&frames[sent..]).unwrap() {
            0 => break,
            count => sent += count,
        }
    }
}

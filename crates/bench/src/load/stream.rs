//! Bytes as fast as they go: some senders, one taker for each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::unistd::Pid;
use postern_dataplane::host::Namespace;

use super::{Route, STREAM_PORT, use_cubic};
use crate::cpu;

const BUFFER: usize = 256 << 10;
/// Streams at once.
const MOST_STREAMS: usize = 64;
/// Before counting, so that connections have found their speed.
const WARM_UP: Duration = Duration::from_millis(250);
/// How long a socket may stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes bytes in and counts them.
#[derive(Debug, Clone)]
pub struct Sink {
    bytes: Arc<AtomicU64>,
    open: Arc<AtomicUsize>,
}

impl Sink {
    /// Starts it in a namespace, on every address.
    pub fn start(namespace: &Namespace, processor: usize) -> anyhow::Result<Self> {
        let listener = namespace.listen_tcp(SocketAddr::from(([0; 4], STREAM_PORT)))?;
        use_cubic(&listener);
        let sink = Self { bytes: Arc::default(), open: Arc::default() };
        let serving = sink.clone();
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            if cpu::pin(&[processor]).is_ok() {
                serving.accept(&listener);
            }
        })?;
        Ok(sink)
    }

    fn accept(&self, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.open.fetch_add(1, Ordering::Relaxed) >= MOST_STREAMS {
                self.open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let sink = self.clone();
            // Started from a pinned thread, so pinned alike.
            let started = std::thread::Builder::new().name("taker".to_owned()).spawn(move || {
                sink.take(stream);
                sink.open.fetch_sub(1, Ordering::Relaxed);
            });
            if started.is_err() {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn take(&self, mut stream: TcpStream) {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// What went through.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Gigabits of payload a second.
    pub gigabits: f64,
    /// Processor seconds for each gigabyte, of all that took part.
    pub cpu_per_gigabyte: f64,
}

/// Sends over so many connections for a while. `others` are processes that take part in it.
pub fn carry(
    route: &Route,
    sink: &Sink,
    streams: usize,
    time: Duration,
    processor: usize,
    others: &[Pid],
) -> anyhow::Result<Carried> {
    let stop = AtomicBool::new(false);
    let carried = std::thread::scope(|scope| {
        let stop = &stop;
        let sending = scope.spawn(move || route.client.run(|| send_all(route, streams, processor, stop)));
        std::thread::sleep(WARM_UP);
        let measured = count(sink, time, others);
        stop.store(true, Ordering::Relaxed);
        let sent = sending.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?;
        sent??;
        measured
    })?;
    // Whatever is under way is taken in before anybody else measures.
    let deadline = Instant::now() + PATIENCE;
    while sink.open.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(carried)
}

fn count(sink: &Sink, time: Duration, others: &[Pid]) -> anyhow::Result<Carried> {
    let (began, bytes, used) = (Instant::now(), sink.bytes.load(Ordering::Relaxed), cpu::used(others)?);
    std::thread::sleep(time);
    let (took, used) = (began.elapsed(), cpu::used(others)?.saturating_sub(used));
    let bytes = sink.bytes.load(Ordering::Relaxed) - bytes;
    if bytes == 0 {
        bail!("no byte came through");
    }
    let gigabytes = bytes as f64 / 1e9;
    Ok(Carried {
        gigabits: gigabytes * 8.0 / took.as_secs_f64(),
        cpu_per_gigabyte: used.as_secs_f64() / gigabytes,
    })
}

/// Called inside the client's namespace.
fn send_all(route: &Route, streams: usize, processor: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    cpu::pin(&[processor])?;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..streams).map(|_| scope.spawn(|| send(route, stop))).collect();
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?)
    })
}

fn send(route: &Route, stop: &AtomicBool) -> anyhow::Result<()> {
    let address = SocketAddr::from((route.target, STREAM_PORT));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("cannot connect to `{address}`"))?;
    use_cubic(&stream);
    stream.set_write_timeout(Some(PATIENCE))?;
    let buffer = vec![7; BUFFER];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&buffer).context("a stream stands still")?;
    }
    Ok(())
}

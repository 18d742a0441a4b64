//! The stream under a connection: it fails when its reader takes nothing for a while, and its packets may be told to
//! live for few hops only.

use std::io;
use std::num::NonZeroU8;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How many hops the packets of an answer may take, which a service finds in its request's extensions.
///
/// INVARIANT: an answer with a limit is its connection's last one. What is sent again because its receipt was not
/// confirmed goes out with the socket's time to live of that moment; were it raised for a later answer, a limited one
/// could still arrive where it must not.
#[derive(Debug, Clone, Default)]
pub struct AnswerHops(Arc<AtomicU8>);

impl AnswerHops {
    /// Limits the answer under way.
    pub fn limit(&self, hops: NonZeroU8) {
        self.0.store(hops.get(), Ordering::Release);
    }

    /// The limit, if there is one.
    pub fn get(&self) -> Option<NonZeroU8> {
        NonZeroU8::new(self.0.load(Ordering::Acquire))
    }
}

/// A stream that fails when its reader takes nothing for a while, and limits its packets' hops.
pub(crate) struct GuardedStream {
    inner: TcpStream,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    hops: AnswerHops,
    /// The limit that the socket has.
    set: Option<NonZeroU8>,
}

impl GuardedStream {
    pub(crate) fn new(inner: TcpStream, limit: Duration, hops: AnswerHops) -> Self {
        Self { inner, limit, waiting: None, hops, set: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waiting = None;
            return done;
        }
        let limit = self.limit;
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Makes the socket's time to live what the answer's limit says. Nothing is written if that cannot be done.
    fn limit_hops(&mut self) -> io::Result<()> {
        let wanted = self.hops.get();
        if let Some(hops) = wanted.filter(|_| wanted != self.set) {
            self.inner.set_ttl(hops.get().into())?;
            self.set = wanted;
        }
        Ok(())
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.limit_hops()?;
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.limit_hops()?;
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, shut)
    }
}

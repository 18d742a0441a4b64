//! Ctrl-C, and SIGTERM alike.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// What a program that was interrupted ends with, as shells have it: 128 and the number of SIGINT.
pub const INTERRUPTED: u8 = 130;

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    /// SIGINT: from a terminal, to every program of the foreground.
    Interrupt,
    /// SIGTERM: to this process.
    Terminate,
}

/// From now on calls `handle`, on a thread of its own, for each signal that asks this process to end; with the number
/// of those that came before it.
pub fn watch(mut handle: impl FnMut(Came, usize) + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("cannot wait for signals")?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = move || {
        runtime.block_on(async move {
            for before in 0.. {
                let came = tokio::select! {
                    _ = interrupt.recv() => Came::Interrupt,
                    _ = terminate.recv() => Came::Terminate,
                };
                handle(came, before);
            }
        });
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("cannot wait for signals")?;
    Ok(())
}

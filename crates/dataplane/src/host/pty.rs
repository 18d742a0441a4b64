//! The command line's side of an interactive program: its own terminal joined to the program's.
//!
//! INVARIANT: the caller's terminal is put back as it was, however the relay ends.
#![expect(unsafe_code, reason = "poll and the terminal's descriptors")]

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::spec::WindowSize;
use super::sys;

/// How long nothing must come from the terminal of a program that has ended, and how long it may take in all.
const REST_PAUSE_MILLISECONDS: u8 = 50;
const REST_AT_MOST: Duration = Duration::from_millis(500);

/// What a terminal reads as the end of input.
const END_OF_INPUT: u8 = 4;

/// The size of the terminal on standard output; `None` where that is none.
#[must_use]
pub fn window_size() -> Option<WindowSize> {
    let (rows, columns) = sys::terminal_size(io::stdout().as_fd()).ok()?;
    Some(WindowSize { rows, columns })
}

/// A terminal in raw mode until this is dropped.
struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// `None` where `terminal` is not a terminal.
    fn enter(terminal: BorrowedFd<'a>) -> io::Result<Option<Self>> {
        let Ok(before) = tcgetattr(terminal) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(Some(Self { terminal, before }))
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // There is nobody to tell, and nothing better to do.
        let _ = tcsetattr(self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

/// Joins standard input and output to the program's terminal until nobody has it open any more, or `ended` becomes
/// readable: the program has ended, and only what it left in the background keeps the terminal. A change of the
/// window's size is passed on. To be called from the main thread while it is the only one, so that the signal for that
/// reaches it.
pub fn pty_relay(master: OwnedFd, ended: BorrowedFd<'_>) -> io::Result<()> {
    let stdin = io::stdin();
    let raw = RawMode::enter(stdin.as_fd())?;
    let signals = sys::signal_descriptor(&[libc::SIGWINCH])?;
    let flags = OFlag::from_bits_truncate(fcntl(&master, FcntlArg::F_GETFL)?);
    fcntl(&master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    let relay =
        Relay { stdin: stdin.as_fd(), master, signals, ended, to_program: Vec::new(), input_open: true };
    let result = relay.run();
    drop(raw);
    result
}

struct Relay<'a> {
    stdin: BorrowedFd<'a>,
    master: OwnedFd,
    signals: OwnedFd,
    /// Readable once the program has ended.
    ended: BorrowedFd<'a>,
    /// Read from standard input and not yet taken by the program: at most one buffer.
    to_program: Vec<u8>,
    input_open: bool,
}

impl Relay<'_> {
    fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0_u8; 16 * 1024];
        loop {
            let [input, output, resized, ended] = self.wait()?;
            if ended {
                return self.copy_rest(&mut buffer);
            }
            if resized {
                sys::drain_signals(self.signals.as_fd());
                if let Some(size) = window_size() {
                    sys::set_terminal_size(self.master.as_fd(), size.rows, size.columns)?;
                }
            }
            if input {
                self.read_input(&mut buffer)?;
            }
            self.feed_program()?;
            if output && !self.copy_output(&mut buffer)? {
                return Ok(());
            }
        }
    }

    /// Waits for something to do: input, output, a new size, the program's end.
    fn wait(&self) -> io::Result<[bool; 4]> {
        let wants_input = self.input_open && self.to_program.is_empty();
        let poll = |fd: i32, events| libc::pollfd { fd, events, revents: 0 };
        let output = if self.to_program.is_empty() { libc::POLLIN } else { libc::POLLIN | libc::POLLOUT };
        let mut fds = [
            poll(if wants_input { self.stdin.as_raw_fd() } else { -1 }, libc::POLLIN),
            poll(self.master.as_raw_fd(), output),
            poll(self.signals.as_raw_fd(), libc::POLLIN),
            poll(self.ended.as_raw_fd(), libc::POLLIN),
        ];
        // SAFETY: the kernel reads and writes the four records given.
        match sys::check(unsafe { libc::poll(fds.as_mut_ptr(), 4, -1) }) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(fds.map(|entry| entry.revents & !libc::POLLOUT != 0))
    }

    /// Copies what the program wrote before it ended. That may still be on its way through the terminal; and what it left
    /// in the background may go on writing, which is not waited for.
    fn copy_rest(&self, buffer: &mut [u8]) -> io::Result<()> {
        let deadline = Instant::now() + REST_AT_MOST;
        while Instant::now() < deadline {
            let mut polled = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, REST_PAUSE_MILLISECONDS) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if !self.copy_output(buffer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn read_input(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match nix::unistd::read(self.stdin, buffer) {
            Ok(0) | Err(nix::Error::EIO) => {
                self.input_open = false;
                self.to_program.push(END_OF_INPUT);
            }
            Ok(count) => self.to_program.extend_from_slice(&buffer[..count]),
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn feed_program(&mut self) -> io::Result<()> {
        if self.to_program.is_empty() {
            return Ok(());
        }
        match nix::unistd::write(&self.master, &self.to_program) {
            Ok(count) => drop(self.to_program.drain(..count)),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => {}
            // The program has closed its terminal: what it did not read is lost, as on any terminal.
            Err(nix::Error::EIO) => self.to_program.clear(),
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    /// False at the end of the program's output.
    fn copy_output(&self, buffer: &mut [u8]) -> io::Result<bool> {
        match nix::unistd::read(&self.master, buffer) {
            Ok(0) | Err(nix::Error::EIO) => Ok(false),
            Ok(count) => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&buffer[..count])?;
                stdout.flush()?;
                Ok(true)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(true),
            Err(errno) => Err(errno.into()),
        }
    }
}

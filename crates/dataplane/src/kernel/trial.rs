//! One frame through the program without a wire, to see what it does with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::program::KernelProgram;
use crate::host::{Namespace, NamespaceError, before_tag, sys};

/// The longest frame that can be tried.
pub const MAX_TRIAL_BYTES: usize = 3_500;

/// What the program said of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the forwarder's.
    Pass,
    /// It is dropped.
    Drop,
    /// It is sent to another interface.
    Redirect,
    /// Something that the program never says.
    Other(u32),
}

/// Runs the program on frames that nobody sent. It counts and makes flows as it always does; what it redirects goes
/// nowhere.
#[derive(Debug)]
pub struct Trial {
    program: OwnedFd,
    fabric: Namespace,
}

/// Why a frame could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The ports' network could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel does not take the frame, such as one without a whole Ethernet header.
    #[error("the kernel does not try a frame of `{length}` bytes: {source}")]
    Refused {
        /// How long it is.
        length: usize,
        /// What the system says.
        source: io::Error,
    },
}

impl Trial {
    /// Of this program, whoever else uses it.
    pub fn of(program: &KernelProgram) -> io::Result<Self> {
        let (program, fabric) = program.shared()?;
        Ok(Self { program, fabric })
    }

    /// Runs it on a frame that came in by the host end with this index. Gives what it said, and the frame as it left it; one that
    /// is the forwarder's as the forwarder gets it.
    pub fn run(&self, interface: u32, frame: &[u8]) -> Result<(Verdict, Vec<u8>), TrialError> {
        let tried = self.fabric.run(|| sys::run_program(self.program.as_fd(), interface, frame))?;
        let (said, mut after) =
            tried.map_err(|source| TrialError::Refused { length: frame.len(), source })?;
        let verdict = match said {
            0 => Verdict::Pass,
            2 => Verdict::Drop,
            7 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        if verdict == Verdict::Pass
            && let Some(frame) = before_tag(&mut after)
        {
            after = frame.to_vec();
        }
        Ok((verdict, after))
    }
}

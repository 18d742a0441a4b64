//! What carries packets: the forwarder with the program in the kernel, or alone, and why.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use postern_dataplane::forward::{self, Forwarder};
use postern_dataplane::host::{Host, Privilege};
use postern_dataplane::kernel::{KernelProgram, Size};

use super::planner::Planned;

/// A forwarder without ports, and who carries packets beside it.
#[derive(Debug)]
pub struct Carrier {
    /// It decides in any case.
    pub forwarder: Forwarder,
    /// Who carries known flows.
    pub how: How,
}

/// Who carries packets of flows that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// The program in the kernel.
    Kernel,
    /// The forwarder, since nothing else was wanted.
    Told,
    /// The forwarder, since the program takes privileges that are not there.
    Unprivileged,
    /// The forwarder, since the kernel does not take the program.
    Refused(String),
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("by the kernel program, as root"),
            Self::Told => f.write_str("by the forwarder, as `--forwarder` says"),
            Self::Unprivileged => {
                f.write_str("by the forwarder, in a user namespace: the kernel program takes root")
            }
            Self::Refused(why) => write!(f, "by the forwarder, as root: {why}"),
        }
    }
}

impl Carrier {
    /// Starts the forwarder, with the kernel program where that may and can be had.
    pub fn start(planned: &Planned, host: &Host, forwarder_only: bool) -> anyhow::Result<Self> {
        // The standard library draws its hash keys from the system's randomness.
        let seed = |which: u8| RandomState::new().hash_one(which);
        let (program, how) = program(host, forwarder_only, seed(1));
        let current: Vec<_> = planned.plan.slots().collect();
        let plan = Arc::clone(&planned.plan) as _;
        let forwarder = Forwarder::start_with(plan, &current, forward::Options::with_seed(seed(0)), program)?;
        Ok(Self { forwarder, how })
    }
}

fn program(host: &Host, forwarder_only: bool, seed: u64) -> (Option<KernelProgram>, How) {
    match host.privilege() {
        Privilege::Unprivileged => (None, How::Unprivileged),
        Privilege::Root if forwarder_only => (None, How::Told),
        Privilege::Root => match KernelProgram::load(host.fabric(), Size::default(), seed) {
            Ok(program) => (Some(program), How::Kernel),
            Err(error) => {
                tracing::warn!(%error, "the forwarder carries all packets");
                (None, How::Refused(error.to_string()))
            }
        },
    }
}

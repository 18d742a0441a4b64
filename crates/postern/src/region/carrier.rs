//! What carries packets: the forwarder with the program in the kernel, or alone, and why; and whether the program is
//! new, or goes on with what it carried for a region that is gone.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use postern_dataplane::forward::{self, Forwarder};
use postern_dataplane::host::{Host, Privilege};
use postern_dataplane::kernel::{KernelProgram, NotAdopted, Pins, Size};
use postern_model::NetworkInterfaceId;

use super::planner::Planned;

/// What carries known flows, before there is a forwarder.
#[derive(Debug)]
pub struct Carrier {
    program: Option<KernelProgram>,
    /// Who carries known flows.
    pub how: How,
    /// Whether that goes on if this process ends without a word.
    pub lingers: bool,
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
    /// Loads the kernel program, where that may and can be had.
    pub fn load(host: &Host, forwarder_only: bool) -> Self {
        let refused = match host.privilege() {
            Privilege::Unprivileged => How::Unprivileged,
            Privilege::Root if forwarder_only => How::Told,
            Privilege::Root => match load(host) {
                Ok((program, lingers)) => {
                    return Self { program: Some(program), how: How::Kernel, lingers };
                }
                Err(error) => {
                    let why = crate::said::said(&error);
                    tracing::warn!(error = why, "the forwarder carries all packets");
                    How::Refused(why)
                }
            },
        };
        Self { program: None, how: refused, lingers: false }
    }

    /// The last generation of the plan that packets followed before, if any did.
    pub fn last_generation(&self) -> u64 {
        self.program.as_ref().map_or(0, KernelProgram::last_generation)
    }

    /// Starts the forwarder, which decides in any case. It has no ports but those that the program carried packets of
    /// before.
    pub fn start(self, planned: &Planned) -> anyhow::Result<Forwarder> {
        let current: Vec<_> = planned.plan.slots().collect();
        let plan = Arc::clone(&planned.plan) as _;
        let followed = self.program.as_ref().map(|program| program.followed().0);
        let revision = planned.state.revision;
        let options = forward::Options {
            same_state: followed == Some(revision),
            ..forward::Options::with_seed(seed(0))
        };
        let forwarder = Forwarder::start_with(plan, &current, options, self.program)?;
        forwarder.note_state(revision);
        if let Some(adopted) = forwarder.adopted() {
            tracing::info!(
                ports = adopted.ports,
                flows = adopted.flows,
                ended = adopted.ended,
                "packets went on while there was no region, and go on"
            );
        }
        Ok(forwarder)
    }
}

/// The program: the one that goes on, or a new one, pinned where it may have to go on without us; and whether it is.
fn load(host: &Host) -> anyhow::Result<(KernelProgram, bool)> {
    if !host.keeps() {
        return Ok((KernelProgram::load(host.fabric(), Size::default(), seed(1))?, false));
    }
    match adopt(host) {
        Ok(Ok(Some(program))) => return Ok((program, true)),
        Ok(Ok(None)) => {}
        Ok(Err(reason)) => {
            tracing::warn!(%reason, "what is pinned of the kernel program is replaced, and its flows end");
        }
        Err(error) => {
            let error = crate::said::said(&error);
            tracing::warn!(
                error,
                "nothing can be pinned: if this process is killed, everything ends with it"
            );
            return Ok((KernelProgram::load(host.fabric(), Size::default(), seed(1))?, false));
        }
    }
    let pins = Pins::new(host.pins(true)?)?;
    Ok((KernelProgram::load_pinned(host.fabric(), Size::default(), seed(1), pins)?, true))
}

fn adopt(host: &Host) -> anyhow::Result<Result<Option<KernelProgram>, NotAdopted>> {
    let pins = Pins::new(host.pins(false)?)?;
    let ports = host.inherited_ports();
    let known = ports.iter().filter_map(|inherited| {
        Some((inherited.label.parse::<NetworkInterfaceId>().ok()?, inherited.port.index))
    });
    Ok(KernelProgram::adopt(host.fabric(), pins, known.collect()))
}

/// A secret. The standard library draws its hash keys from the system's randomness.
fn seed(which: u8) -> u64 {
    RandomState::new().hash_one(which)
}

//! The kernel program: packets of known flows, and of flows that are decided like one before, go their way without
//! leaving the kernel.
//!
//! ```text
//!                    ┌ flow known and holds ──────────────► rewrite, count, redirect to the receiver's interface
//!                    ├ template holds ──► make the flow ──┘
//!   interface ──► program
//!                    ├ template refuses ──► drop, count
//!                    └ anything else ──► packet socket ──► forwarder's `step` ──► decides, makes the flow, shares
//!                                                                                flow and template with the program
//! ```
//!
//! **Job.** [`layout`] says what both sides share; [`Maps`] is that memory, mapped; [`KernelTables`] is the forwarder's
//! hand in it: which flows and templates the program knows, and which flows it made; [`KernelProgram`] loads the program
//! and puts it on ports.
//!
//! **Invariants.**
//! - The forwarder alone decides. The program makes and carries what was decided, while that holds.
//! - A key is one flow's, whoever of both made it.
//! - What both count or note (volumes, phase, when a packet last passed) is in the mapped flow and nowhere else.
//! - Where [`Pins`] are given, everything outlives the process, and is gone on with only by a version that reads it alike.

mod choices;
mod found;
mod index;
pub mod layout;
mod mapping;
mod maps;
mod pin;
mod ports;
mod program;
mod stub;
mod table;
mod template;
mod trial;

pub(crate) use found::Found;
pub use maps::Maps;
pub(crate) use maps::{FlowCopy, SharedFlow};
pub use pin::Pins;
pub(crate) use ports::Checks;
pub(crate) use program::Attachment;
pub use program::{KernelError, KernelProgram, NotAdopted, Size, probe};
pub(crate) use table::{Contended, Ended, KernelTables, fits_template};
pub(crate) use template::Recipe;
pub use trial::{MAX_TRIAL_BYTES, Trial, TrialError, Verdict};

//! The kernel program: packets of known flows go their way without leaving the kernel.
//!
//! ```text
//!                    ┌ flow known, holds, plain packet ──► rewrite, count, redirect to the receiver's interface
//!   interface ──► program
//!                    └ anything else ──► packet socket ──► forwarder's `step` ──► decides, makes the flow,
//!                                                                                shares it with the program
//! ```
//!
//! **Job.** [`layout`] says what both sides share; [`Maps`] is that memory, mapped; [`KernelTables`] is the forwarder's
//! hand in it: which flows the program knows; [`KernelProgram`] loads the program and puts it on ports.
//!
//! **Invariants.**
//! - The forwarder alone decides, makes and ends flows. The program only carries what was made.
//! - What both count or note (volumes, phase, when a packet last passed) is in the mapped flow and nowhere else.
//! - Nothing is pinned: program and maps end with the process.

mod index;
pub mod layout;
mod mapping;
mod maps;
mod program;
mod table;
mod trial;

pub use maps::Maps;
pub(crate) use maps::SharedFlow;
pub(crate) use program::Attachment;
pub use program::{KernelError, KernelProgram, Size, probe};
pub(crate) use table::{Checks, KernelTables};
pub use trial::{MAX_TRIAL_BYTES, Trial, TrialError, Verdict};

//! What tests are written with: topologies as text, random topologies and flows, all made by real commands of the
//! model, so that every state is a legal one.
//!
//! - [`Topology`] reads the small language that fixtures are written in and puts a flow's decision into words, with
//!   the names of the fixture in the place of ids.
//! - [`World`] runs commands; [`draw`] draws random ones, and random flows that lie close to the edges of rules.
//!
//! Everything that is random comes from a [`Random`] with a seed that the test prints when it fails.

pub mod coverage;
pub mod draw;
pub mod fixture;
pub mod random;
pub mod topology;
pub mod world;

pub use random::Random;
pub use topology::{Probe, Topology, TopologyError};
pub use world::World;

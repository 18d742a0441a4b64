//! The forwarder against scripted decisions, and against oracles that share no code with it.

mod balance;
mod decisions;
mod frames;
mod histories;
mod packets;
mod script;
mod steps;
mod uplink;

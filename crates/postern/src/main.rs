//! Postern: private doors to services for isolated networks, in one program.
//!
//! This crate assembles: it starts the parts in order, joins them, and takes them down. What the parts do is theirs.

mod cli;
mod commands;
mod control;
mod lab;
mod lab_target;
mod paths;
mod region;
mod region_client;
mod table;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postern: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! Postern: private doors to services for isolated networks, in one program.
//!
//! This crate assembles: it starts the parts in order, joins them, and takes them down. What the parts do is theirs.

mod cli;
mod commands;
mod control;
mod credentials;
mod http_client;
mod interrupt;
mod lab;
mod lab_server;
mod lab_target;
mod paths;
mod region;
mod region_client;
mod said;
mod supervisor;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::Cli;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postern: {}", said::said(&error));
            ExitCode::FAILURE
        }
    }
}

/// Prints what is wrong with the command line, or the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    // Where nobody listens there is nobody to tell.
    let _ = error.print();
    let asked = Cli::command().ignore_errors(true).try_get_matches().ok();
    let passes_status = asked.is_some_and(|asked| matches!(asked.subcommand_name(), Some("exec" | "shell")));
    match u8::try_from(error.exit_code()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) if passes_status => ExitCode::from(control::exit_code::POSTERN_FAILED),
        Ok(code) => ExitCode::from(code),
        Err(_) => ExitCode::FAILURE,
    }
}

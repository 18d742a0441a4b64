//! The commands, one file for each group of them.

mod account;
mod attach;
mod backup;
mod doctor;
mod env;
mod exec;
mod flows;
mod judge;
mod lab;
mod policy;
mod service;
mod status;
mod trace;
mod up;

use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::paths::StateDir;

/// Does what the command line says.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { state_dir, output, command } = cli;
    let resolve = || StateDir::resolve(state_dir.as_deref());
    match command {
        // A region must outlive readers of its output that go away.
        Command::Up(_) | Command::Lab(_) => {}
        _ => postern_dataplane::host::end_with_closed_pipes(),
    }
    match command {
        Command::Up(args) => up::run(resolve()?, args, output),
        Command::Env(args) => env::run(&resolve()?, &args, output),
        Command::Status => status::run(&resolve()?, output),
        Command::Down => status::down(&resolve()?),
        Command::Account(command) => account::run(&resolve()?, command, output),
        Command::Service(command) => service::run(&resolve()?, command, output),
        Command::Exec(args) => exec::passing_status(|| exec::exec(&resolve()?, args)),
        Command::Shell { instance } => exec::passing_status(|| exec::shell(&resolve()?, instance)),
        Command::Attach(args) => attach::run(&resolve()?, args, output),
        Command::Trace(args) => trace::run(&resolve()?, args, output),
        Command::Simulate(args) => judge::simulate(&resolve()?, args, output),
        Command::Why { request_id } => judge::why(&resolve()?, request_id, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Flows(args) => flows::run(&resolve()?, &args, output),
        Command::Doctor => doctor::run(resolve().ok().as_ref(), output),
        Command::Lab(command) => lab::run(command, output),
        Command::Backup { file } => backup::backup(&resolve()?, &file),
        Command::Restore { file } => backup::restore(&resolve()?, &file),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "postern", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

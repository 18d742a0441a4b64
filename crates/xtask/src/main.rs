//! The workspace's own tasks: `cargo xtask install | demo | test | codegen | bpf | dist | bench`.
//!
//! One file (or folder) per command; [`process`] runs programs, [`workspace`] says where things lie.
//!
//! INVARIANT: a task needs the Rust toolchain, git, `/usr/bin/python3` and Debian's package manager, nothing
//! else; whatever more it needs it puts into the tools folder, never onto the host.

mod bench;
mod bpf;
mod codegen;
mod demo;
mod dist;
mod install;
mod process;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Build, test and show Postern")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install the client programs that labs and tests use, into a folder of the checkout's own
    Install {
        /// What the programs are for
        #[arg(long = "for", value_enum, default_value_t = install::Purpose::Demo)]
        purpose: install::Purpose,
    },
    /// Run lab gateway-s3 with real packets, built in release mode
    Demo,
    /// Check everything: format, lints, licences, tests, labs, and the labs again without root
    Test(test::Options),
    /// Generate the AWS wire shapes
    Codegen {
        /// Write nothing; fail if generating would change a file
        #[arg(long)]
        check: bool,
    },
    /// Compile the kernel program
    Bpf {
        /// Write nothing; fail if compiling would change a file
        #[arg(long)]
        check: bool,
    },
    /// Make the release archive: one static binary and what goes with it
    Dist,
    /// Measure Postern against what else could carry the packets
    Bench(bench::Options),
}

fn main() -> ExitCode {
    // What is built and installed here is also run by an ordinary user, whatever the caller's umask.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Install { purpose } => {
            let workspace = Workspace::find()?;
            install::run(&workspace, purpose)?;
            install::print_usage(&workspace.tools_dir()?);
            Ok(ExitCode::SUCCESS)
        }
        Task::Demo => demo::run(&Workspace::find()?),
        Task::Test(options) => test::run(&Workspace::find()?, &options),
        Task::Codegen { check } => codegen::run(&Workspace::find()?, check).map(|()| ExitCode::SUCCESS),
        Task::Bpf { check } => bpf::run(&Workspace::find()?, check).map(|()| ExitCode::SUCCESS),
        Task::Dist => dist::run(&Workspace::find()?),
        Task::Bench(options) => bench::run(&Workspace::find()?, &options),
    }
}

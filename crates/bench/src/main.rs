//! Measures Postern against what else could carry the packets, and prints what it found beside what was aimed at.
//!
//! ```text
//!   supervisor ── holds what outlives a failure: the temporary folder, a sysctl of the first network
//!     └ measurer ── holds all namespaces, by descriptors only; ends when the supervisor does
//!         ├ haproxy       ends with the measurer
//!         ├ s3s-fs        ends with the measurer
//!         ├ dynoxide      ends with the measurer
//!         └ postern up    is told to end, and takes down what it made
//! ```
//!
//! INVARIANT: everything is measured inside one run and one round after the other, contenders in turn within a round,
//! so that a neighbour's load hits all of them; figures are medians, and ratios are made within a round.
//! INVARIANT: however the run ends, nothing is left behind but what was asked to be written.

mod catalogue;
mod client;
mod cpu;
mod decide;
mod dynamodb;
mod first_packet;
mod isolation;
mod load;
mod machine;
mod middle;
mod netns;
mod paths;
mod policy;
mod program;
mod region;
mod report;
mod route_change;
mod s3;
mod scale;
mod stats;
mod supervise;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use catalogue::Benchmark;

/// Measure Postern's data plane, decisions and object store.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    internal: Option<Internal>,
    #[command(flatten)]
    options: Options,
}

/// What is measured, how long, and where the figures go.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to measure, instead of everything
    #[arg(value_enum)]
    pub names: Vec<Benchmark>,
    /// How often each figure is taken; the median counts
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long one throughput or rate is measured, in seconds
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// The processors to use: clients have the first, servers the second, what is in the middle all of them
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    pub cpus: Vec<usize>,
    /// Of the paths, measure only those with one of these in their names, beside the direct one
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Write every figure of every round to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Put the tables into this file, between its two marks; everything has to be measured for it
    #[arg(long, conflicts_with_all = ["names", "only"])]
    pub docs: Option<PathBuf>,
    /// The program to measure; the one beside this one if none is named
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// The program with the policy evaluators to compare with; the one that the build puts beside this one's folder if
    /// none is named
    #[arg(long)]
    pub rivals: Option<PathBuf>,
    /// End the run, clean-up included, after so many minutes
    #[arg(long, default_value_t = 60)]
    pub limit_minutes: u64,
}

impl Options {
    /// Where the program is.
    fn program(&self) -> anyhow::Result<PathBuf> {
        let beside = || anyhow::Ok(std::env::current_exe()?.with_file_name("postern"));
        self.program.clone().map_or_else(beside, Ok)
    }

    /// Where the other policy evaluators are: `target/rivals/release`, seen from `target/release`.
    fn rivals(&self) -> anyhow::Result<PathBuf> {
        let of_build = || {
            let own = std::env::current_exe()?;
            let target = own.ancestors().nth(2).map(std::path::Path::to_owned).unwrap_or_default();
            anyhow::Ok(target.join("rivals/release/postern-bench-rivals"))
        };
        self.rivals.clone().map_or_else(of_build, Ok)
    }
}

#[derive(Debug, Clone, Subcommand)]
enum Internal {
    /// s3s-fs on loopback, for the measurer
    #[command(hide = true)]
    ServeS3 { directory: PathBuf },
    /// DynamoDB's engine on loopback, for the measurer
    #[command(hide = true)]
    ServeDynamodb { directory: PathBuf },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.internal, supervise::place()) {
        (Some(Internal::ServeS3 { directory }), _) => s3::server::run(&directory),
        (Some(Internal::ServeDynamodb { directory }), _) => dynamodb::server::run(&directory),
        (None, None) => return supervise::run(arguments.options.limit_minutes),
        (None, Some(place)) => catalogue::run(&arguments.options, &place),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

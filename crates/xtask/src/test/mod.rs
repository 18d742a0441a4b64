//! `cargo xtask test`: everything that must hold, step by step.
//!
//! INVARIANTS
//! - A step passes only if its check ran and said so; what could not be checked is skipped by name or fails.
//! - All steps run even if one fails, as far as they do not need it.
//! - The whole run is bounded: each step has a time limit, and all together have one.
//! - The last line is `N passed, N failed`: tests, labs and steps added up.

mod steps;
mod summary;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::install::{self, Purpose};
use crate::process::{Finished, Job};
use crate::workspace::Workspace;

use summary::Count;

/// All steps together; the limits of single steps are cut to what is left of this.
const TOTAL_LIMIT: Duration = Duration::from_mins(80);

/// What to run.
#[derive(Debug, Args)]
pub struct Options {
    /// Run this step alone, and what it needs
    #[arg(long, value_enum, value_name = "STEP")]
    only: Option<Step>,
    /// Leave out what takes long: licences, advisories, the run without root, doc tests
    #[arg(long, conflicts_with = "only")]
    quick: bool,
}

/// One thing that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// cargo fmt
    Fmt,
    /// cargo clippy, warnings as errors
    Clippy,
    /// Generating the wire shapes again changes nothing
    Codegen,
    /// Compiling the kernel program again changes nothing
    Bpf,
    /// Licences, bans and sources of dependencies
    Deny,
    /// Known vulnerabilities of dependencies
    Advisories,
    /// The program
    Build,
    /// Tests of all crates
    Tests,
    /// Every lab, as the user who runs this
    Labs,
    /// Labs and data plane tests again, as an ordinary user without groups
    Rootless,
    /// Examples in the documentation
    Doc,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Fmt,
        Self::Clippy,
        Self::Codegen,
        Self::Bpf,
        Self::Deny,
        Self::Advisories,
        Self::Build,
        Self::Tests,
        Self::Labs,
        Self::Rootless,
        Self::Doc,
    ];

    /// Its name on the command line and in log files.
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Codegen => "codegen",
            Self::Bpf => "bpf",
            Self::Deny => "deny",
            Self::Advisories => "advisories",
            Self::Build => "build",
            Self::Tests => "tests",
            Self::Labs => "labs",
            Self::Rootless => "rootless",
            Self::Doc => "doc",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::Fmt => "Format",
            Self::Clippy => "Lints",
            Self::Codegen => "Generated wire shapes are up to date",
            Self::Bpf => "The kernel program is what its source gives",
            Self::Deny => "Licences, bans and sources of dependencies",
            Self::Advisories => "Known vulnerabilities of dependencies",
            Self::Build => "Build of the program",
            Self::Tests => "Tests of all crates",
            Self::Labs => "Labs",
            Self::Rootless => "Labs and data plane tests as an ordinary user",
            Self::Doc => "Examples in the documentation",
        }
    }

    fn limit(self) -> Duration {
        Duration::from_mins(match self {
            Self::Fmt | Self::Codegen | Self::Deny | Self::Advisories => 5,
            Self::Clippy | Self::Bpf | Self::Build | Self::Labs | Self::Rootless | Self::Doc => 20,
            Self::Tests => 40,
        })
    }

    fn is_slow(self) -> bool {
        match self {
            Self::Deny | Self::Advisories | Self::Rootless | Self::Doc => true,
            Self::Fmt | Self::Clippy | Self::Codegen | Self::Bpf | Self::Build | Self::Tests | Self::Labs => {
                false
            }
        }
    }

    /// Steps without which this one has nothing to look at.
    fn needs(self) -> &'static [Self] {
        match self {
            Self::Labs | Self::Rootless => &[Self::Build],
            Self::Fmt
            | Self::Clippy
            | Self::Codegen
            | Self::Bpf
            | Self::Deny
            | Self::Advisories
            | Self::Build
            | Self::Tests
            | Self::Doc => &[],
        }
    }
}

/// How a step ended.
#[derive(Debug)]
enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// A step's verdict, and the tests that it ran.
#[derive(Debug)]
struct StepResult {
    verdict: Verdict,
    tests: Count,
}

impl StepResult {
    fn failed(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed(why.into()), tests: Count::default() }
    }

    fn skipped(why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped(why.into()), tests: Count::default() }
    }
}

/// What steps share.
struct Context<'a> {
    workspace: &'a Workspace,
    tools: PathBuf,
    logs: PathBuf,
    deadline: Instant,
    step_deadline: Instant,
}

impl Context<'_> {
    /// Runs a program as part of a step, its output kept in a log; says what failed and where all of it is.
    fn run(&self, name: &str, job: Job) -> anyhow::Result<Finished> {
        let log = self.logs.join(format!("{name}.log"));
        let left = self.step_deadline.saturating_duration_since(Instant::now());
        let finished = job.log(log).timeout(left).run()?;
        Ok(finished)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// Runs the steps; fails if any did.
pub fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let chosen = choose(options);
    install::run(workspace, Purpose::Test)?;
    let mut context = Context {
        workspace,
        tools: workspace.tools_dir()?,
        logs: workspace.target().join("xtask-logs"),
        deadline: started + TOTAL_LIMIT,
        step_deadline: started,
    };
    let mut results: Vec<(Step, StepResult, Duration)> = Vec::new();
    for (number, step) in chosen.iter().copied().enumerate() {
        println!("\n=== [{}/{}] {} ===", number + 1, chosen.len(), step.heading());
        let began = Instant::now();
        context.step_deadline = context.deadline.min(began + step.limit());
        let missing = step.needs().iter().find(|need| {
            results
                .iter()
                .any(|(done, result, _)| done == *need && matches!(result.verdict, Verdict::Failed(_)))
        });
        let result = match missing {
            Some(need) => {
                StepResult::failed(format!("not run: it needs step `{}`, which failed", need.name()))
            }
            None if began >= context.deadline => {
                StepResult::failed(format!("not run: {} minutes are over", TOTAL_LIMIT.as_secs() / 60))
            }
            None => steps::run(&context, step)
                .unwrap_or_else(|error| StepResult::failed(format!("could not be run: {error:#}"))),
        };
        println!("{}", result_line(step, &result, began.elapsed()));
        results.push((step, result, began.elapsed()));
    }
    Ok(conclude(&results, started.elapsed()))
}

/// The steps to run, in order.
fn choose(options: &Options) -> Vec<Step> {
    let wanted = |step: &Step| match options.only {
        Some(only) => *step == only || only.needs().contains(step),
        None => !(options.quick && step.is_slow()),
    };
    Step::ALL.into_iter().filter(wanted).collect()
}

fn result_line(step: Step, result: &StepResult, took: Duration) -> String {
    let name = step.name();
    let seconds = took.as_secs_f32();
    let tests = match result.tests {
        Count { passed: 0, failed: 0 } => String::new(),
        Count { passed, failed } => format!("; {passed} tests passed, {failed} failed"),
    };
    match &result.verdict {
        Verdict::Passed => format!("ok      {name} ({seconds:.1} s){tests}"),
        Verdict::Failed(why) => format!("FAILED  {name} ({seconds:.1} s): {why}{tests}"),
        Verdict::Skipped(why) => format!("skipped {name}: {why}"),
    }
}

/// Steps and tests added up; a skipped step counts as neither.
fn total<'a>(results: impl Iterator<Item = &'a StepResult>) -> Count {
    let mut total = Count::default();
    for result in results {
        total += result.tests;
        total += match result.verdict {
            Verdict::Passed => Count { passed: 1, failed: 0 },
            Verdict::Failed(_) => Count { passed: 0, failed: 1 },
            Verdict::Skipped(_) => Count::default(),
        };
    }
    total
}

/// Prints all results again, then the closing line.
fn conclude(results: &[(Step, StepResult, Duration)], took: Duration) -> ExitCode {
    println!("\n=== Result after {} s ===", took.as_secs());
    for (step, result, took) in results {
        println!("{}", result_line(*step, result, *took));
    }
    let Count { passed, failed } = total(results.iter().map(|(_, result, _)| result));
    println!("\n{passed} passed, {failed} failed");
    // A run in which nothing passed has checked nothing.
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_in_order_with_what_they_need() {
        let choose = |only, quick| choose(&Options { only, quick });
        assert_eq!(choose(None, false), Step::ALL);
        assert_eq!(choose(Some(Step::Labs), false), [Step::Build, Step::Labs]);
        assert_eq!(choose(Some(Step::Fmt), false), [Step::Fmt]);
        let quick = choose(None, true);
        assert!(quick.contains(&Step::Labs) && !quick.contains(&Step::Rootless));
    }

    #[test]
    fn every_step_is_listed_once_under_its_own_name() {
        for step in Step::value_variants() {
            assert_eq!(Step::ALL.iter().filter(|each| *each == step).count(), 1, "{step:?}");
            let value = step.to_possible_value().unwrap();
            assert_eq!(value.get_name(), step.name());
        }
    }

    #[test]
    fn the_closing_count_adds_tests_and_steps() {
        let result = |verdict, passed, failed| StepResult { verdict, tests: Count { passed, failed } };
        let results = [
            result(Verdict::Passed, 0, 0),
            result(Verdict::Passed, 10, 0),
            result(Verdict::Failed("why".to_owned()), 3, 2),
            result(Verdict::Skipped("why".to_owned()), 0, 0),
        ];
        assert_eq!(total(results.iter()), Count { passed: 15, failed: 3 });
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        let line = result_line(Step::Labs, &StepResult::failed("no labs"), Duration::from_secs(2));
        assert_eq!(line, "FAILED  labs (2.0 s): no labs");
    }
}

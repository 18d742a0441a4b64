//! The steps of `cargo xtask test`, one function each.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::summary::{self, Count};
use super::user::OrdinaryUser;
use super::{Context, Step, StepResult, Verdict};
use crate::install::Subcommand;
use crate::process::{Finished, Job, Show, cargo, clean};
use crate::workspace::{TOOLS_VARIABLE, search_path};

/// The package whose tests also run as an ordinary user.
const ROOTLESS_PACKAGE: &str = "postern-dataplane";

/// Runs one step.
pub fn run(context: &Context<'_>, step: Step) -> anyhow::Result<StepResult> {
    match step {
        Step::Fmt => simple(
            context,
            "fmt",
            cargo_command(context, &["fmt", "--all", "--check", "--", "--color", "never"]),
        ),
        Step::Clippy => {
            let arguments = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
            simple(context, "clippy", cargo_command(context, &arguments))
        }
        Step::Codegen => ourselves(context, "codegen"),
        Step::Bpf => ourselves(context, "bpf"),
        Step::Deny => deny(context),
        Step::Advisories => advisories(context),
        Step::Build => simple(context, "build", cargo_command(context, &["build", "--package", "postern"])),
        Step::Tests => tests(context),
        Step::Labs => labs(context, "labs", lab_options(), &|program, arguments| {
            let mut command = clean(program);
            command.args(arguments).current_dir(context.workspace.root());
            equip(context, &mut command);
            command
        }),
        Step::Rootless => rootless(context),
        Step::Doc => doc(context),
    }
}

/// As root labs run with the kernel program, and once more without; an ordinary user has the forwarder only. Leaving steps
/// out begins with a run that leaves out none.
fn lab_options() -> &'static [&'static str] {
    if nix::unistd::geteuid().is_root() { &["--forwarder", "--omissions"] } else { &["--omissions"] }
}

fn equip(context: &Context<'_>, command: &mut Command) {
    command.env(TOOLS_VARIABLE, &context.tools).env("PATH", search_path(&context.tools));
}

fn cargo_command(context: &Context<'_>, arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments).current_dir(context.workspace.root());
    equip(context, &mut command);
    command
}

/// A step that is one program whose exit status is the verdict.
fn simple(context: &Context<'_>, name: &str, command: Command) -> anyhow::Result<StepResult> {
    let finished = context.run(name, Job::new(name, command))?;
    if !finished.succeeded() {
        reveal(context, name)?;
    }
    Ok(StepResult { verdict: verdict(&finished), tests: Count::default() })
}

fn verdict(finished: &Finished) -> Verdict {
    if !finished.succeeded() {
        return Verdict::Failed(finished.failure());
    }
    if !finished.leftovers.is_empty() {
        return Verdict::Failed(format!("it left processes behind: {}", finished.leftovers.join(", ")));
    }
    Verdict::Passed
}

/// Prints the whole output of a quiet program that failed.
fn reveal(context: &Context<'_>, name: &str) -> anyhow::Result<()> {
    let mut log = std::fs::File::open(context.log(name))?;
    std::io::copy(&mut log, &mut std::io::stdout())?;
    println!();
    Ok(())
}

/// Runs a check of this program's own in another process, so that it has a time limit like every other step.
fn ourselves(context: &Context<'_>, task: &str) -> anyhow::Result<StepResult> {
    let mut command = clean(std::env::current_exe().context("this program's own file is not known")?);
    command.args([task, "--check"]).current_dir(context.workspace.root());
    simple(context, task, command)
}

fn deny(context: &Context<'_>) -> anyhow::Result<StepResult> {
    if Subcommand::Deny.version(&context.tools).is_none() {
        return Ok(StepResult::failed("cargo-deny is not there and could not be installed"));
    }
    let arguments = ["deny", "--workspace", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"];
    simple(context, "deny", cargo_command(context, &arguments))
}

/// Checks against the advisory database; where that cannot be reached, says so and counts nothing.
fn advisories(context: &Context<'_>) -> anyhow::Result<StepResult> {
    if Subcommand::Deny.version(&context.tools).is_none() {
        return Ok(StepResult::failed("cargo-deny is not there and could not be installed"));
    }
    let command = cargo_command(context, &["deny", "--workspace", "check", "advisories"]);
    let finished = context.run("advisories", Job::new("advisories", command))?;
    if !finished.succeeded() {
        reveal(context, "advisories")?;
        if database_unreachable(&finished.output) {
            return Ok(StepResult::skipped(
                "NOT CHECKED, the advisory database cannot be reached from here; nothing is known about vulnerabilities",
            ));
        }
    }
    Ok(StepResult { verdict: verdict(&finished), tests: Count::default() })
}

/// Whether cargo-deny gave up on fetching its database, as against finding something in it.
fn database_unreachable(output: &str) -> bool {
    output.contains("failed to fetch advisory database")
}

/// All tests of the workspace, with nextest, or with cargo's own runner where nextest cannot be had.
fn tests(context: &Context<'_>) -> anyhow::Result<StepResult> {
    let with_nextest = Subcommand::Nextest.version(&context.tools).is_some();
    let arguments: &[&str] = if with_nextest {
        &["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never", "--show-progress", "none"]
    } else {
        println!("cargo-nextest is not there: cargo's own test runner is used");
        &["test", "--workspace", "--all-targets", "--no-fail-fast"]
    };
    let job = Job::new("tests", cargo_command(context, arguments)).show(Show::Live);
    let finished = context.run("tests", job)?;
    let count =
        if with_nextest { summary::nextest(&finished.output) } else { summary::libtest(&finished.output) };
    Ok(counted(&finished, count))
}

/// The verdict over a test runner: it must say that all is well and that it ran something.
fn counted(finished: &Finished, count: Option<Count>) -> StepResult {
    let Some(tests) = count else {
        let why =
            if finished.succeeded() { "it printed no closing line".to_owned() } else { finished.failure() };
        return StepResult::failed(why);
    };
    let verdict = match verdict(finished) {
        Verdict::Passed if tests.failed > 0 => {
            Verdict::Failed("tests failed, yet it reported success".to_owned())
        }
        Verdict::Passed if tests.passed == 0 => Verdict::Failed("it ran no test".to_owned()),
        other => other,
    };
    StepResult { verdict, tests }
}

/// Examples in doc comments; there may be none.
fn doc(context: &Context<'_>) -> anyhow::Result<StepResult> {
    let command = cargo_command(context, &["test", "--doc", "--workspace", "--no-fail-fast"]);
    let finished = context.run("doc", Job::new("doc tests", command))?;
    if !finished.succeeded() {
        reveal(context, "doc")?;
    }
    let Some(tests) = summary::libtest(&finished.output) else {
        return Ok(StepResult::failed(format!("no closing line: {}", finished.failure())));
    };
    Ok(StepResult { verdict: verdict(&finished), tests })
}

/// Runs every lab with a way to start programs, with each of the options in turn; each run counts as a test.
fn labs(
    context: &Context<'_>,
    step: &str,
    options: &[&str],
    start: &dyn Fn(&Path, &[&OsStr]) -> Command,
) -> anyhow::Result<StepResult> {
    let postern = context.workspace.target().join("debug/postern");
    let probe = start(&postern, &["lab".as_ref(), "--help".as_ref()]);
    let probe = Job::new("postern lab --help", probe).timeout(Duration::from_secs(30)).run()?;
    if !probe.succeeded() || !probe.output.contains("run") {
        print!("{}", probe.output);
        let why = format!("`postern lab --help` does not offer to run labs ({})", probe.failure());
        return Ok(StepResult::failed(why));
    }
    let labs = context.workspace.labs()?;
    if labs.is_empty() {
        return Ok(StepResult::failed("there is no lab in `labs`"));
    }
    let mut tests = Count::default();
    let mut failures = Vec::new();
    for (lab, option) in labs.iter().flat_map(|lab| options.iter().map(move |option| (lab, *option))) {
        println!("--- {step}: {lab} {option}");
        let words = ["lab", "run", lab, option];
        let arguments: Vec<&OsStr> =
            words.into_iter().filter(|word| !word.is_empty()).map(OsStr::new).collect();
        let job = Job::new(format!("lab {lab} {option}"), start(&postern, &arguments)).show(Show::Live);
        let finished = context.run(&format!("{step}-{lab}{option}"), job)?;
        match verdict(&finished) {
            Verdict::Passed => tests.passed += 1,
            Verdict::Failed(why) => {
                tests.failed += 1;
                failures.push(format!("lab {lab} {option}: {why}"));
            }
            Verdict::Skipped(_) => {}
        }
    }
    let verdict = if failures.is_empty() { Verdict::Passed } else { Verdict::Failed(failures.join("; ")) };
    Ok(StepResult { verdict, tests })
}

/// Labs and data plane tests as a user without privileges, if we have any to give up.
fn rootless(context: &Context<'_>) -> anyhow::Result<StepResult> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(StepResult::skipped("already an ordinary user: the steps above were this one"));
    }
    let user = OrdinaryUser::new(context.workspace)?;
    println!("As user id {} without groups and capabilities:", user.uid());
    let start = |program: &Path, arguments: &[&OsStr]| user.command(program, arguments);
    let of_labs = labs(context, "rootless", &[""], &start)?;
    println!("--- rootless: tests of {ROOTLESS_PACKAGE}");
    let of_tests = rootless_tests(context, &user)
        .unwrap_or_else(|error| StepResult::failed(format!("could not be run: {error:#}")));
    let mut tests = of_labs.tests;
    tests += of_tests.tests;
    let failures: Vec<String> = [("labs", of_labs.verdict), (ROOTLESS_PACKAGE, of_tests.verdict)]
        .into_iter()
        .filter_map(|(what, verdict)| match verdict {
            Verdict::Passed => None,
            Verdict::Failed(why) | Verdict::Skipped(why) => Some(format!("{what}: {why}")),
        })
        .collect();
    let verdict = if failures.is_empty() { Verdict::Passed } else { Verdict::Failed(failures.join("; ")) };
    Ok(StepResult { verdict, tests })
}

/// The data plane's tests, built by us and run by the user.
fn rootless_tests(context: &Context<'_>, user: &OrdinaryUser) -> anyhow::Result<StepResult> {
    if Subcommand::Nextest.version(&context.tools).is_some() {
        rootless_nextest(context, user)
    } else {
        rootless_libtest(context, user)
    }
}

/// With nextest: built here and described by metadata, so that the user needs no toolchain.
fn rootless_nextest(context: &Context<'_>, user: &OrdinaryUser) -> anyhow::Result<StepResult> {
    let list = ["nextest", "list", "--workspace", "--list-type", "binaries-only", "--message-format", "json"];
    let binaries = json_line(context, "rootless-build", cargo_command(context, &list))?;
    let metadata = ["metadata", "--format-version", "1"];
    let metadata = json_line(context, "rootless-metadata", cargo_command(context, &metadata))?;
    let binaries = user.give("binaries.json", &binaries)?;
    let metadata = user.give("metadata.json", &metadata)?;
    let nextest = user.lend(&find_program(context, "cargo-nextest")?)?;
    let filter = format!("package({ROOTLESS_PACKAGE})");
    let mut arguments: Vec<&OsStr> =
        ["nextest", "run", "--no-fail-fast", "--color", "never"].map(OsStr::new).into();
    arguments.extend(["--show-progress", "none", "--filterset", &filter].map(OsStr::new));
    arguments.extend(["--binaries-metadata".as_ref(), binaries.as_os_str()]);
    arguments.extend(["--cargo-metadata".as_ref(), metadata.as_os_str()]);
    let job = Job::new("rootless tests", user.command(&nextest, &arguments)).show(Show::Live);
    let finished = context.run("rootless-tests", job)?;
    let count = summary::nextest(&finished.output);
    Ok(counted(&finished, count))
}

/// Without nextest: every test program of the package by itself.
fn rootless_libtest(context: &Context<'_>, user: &OrdinaryUser) -> anyhow::Result<StepResult> {
    let build = ["test", "--package", ROOTLESS_PACKAGE, "--no-run", "--message-format", "json"];
    let output = standard_output(context, "rootless-build", cargo_command(context, &build))?;
    let mut tests = Count::default();
    let mut failures = Vec::new();
    for program in test_programs(&output) {
        let job = Job::new("rootless tests", user.command(&program, &[])).show(Show::Live);
        let finished = context.run("rootless-tests", job)?;
        let result = match summary::libtest(&finished.output) {
            Some(count) => StepResult { verdict: verdict(&finished), tests: count },
            None => StepResult::failed("it printed no closing line"),
        };
        tests += result.tests;
        if let Verdict::Failed(why) = result.verdict {
            failures.push(format!("{}: {why}", program.display()));
        }
    }
    if tests == Count::default() {
        return Ok(StepResult::failed("no test was found"));
    }
    let verdict = if failures.is_empty() { Verdict::Passed } else { Verdict::Failed(failures.join("; ")) };
    Ok(StepResult { verdict, tests })
}

/// Test programs in cargo's messages.
fn test_programs(messages: &str) -> Vec<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message.pointer("/profile/test").and_then(serde_json::Value::as_bool) == Some(true))
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .collect()
}

/// Runs a program and returns what it wrote to standard output alone.
fn standard_output(context: &Context<'_>, name: &str, command: Command) -> anyhow::Result<String> {
    let path = context.logs.join(format!("{name}.out"));
    std::fs::create_dir_all(&context.logs)?;
    let job = Job::new(name, command).output_to(path.clone());
    let finished = context.run(name, job)?;
    anyhow::ensure!(finished.succeeded(), "{name}: {}\n{}", finished.failure(), finished.output.trim_end());
    Ok(std::fs::read_to_string(path)?)
}

/// The same for a program that prints one JSON document.
fn json_line(context: &Context<'_>, name: &str, command: Command) -> anyhow::Result<String> {
    let output = standard_output(context, name, command)?;
    serde_json::from_str::<serde_json::Value>(&output).with_context(|| format!("{name} printed no JSON"))?;
    Ok(output)
}

/// Where a program is that the search path finds.
fn find_program(context: &Context<'_>, name: &str) -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&search_path(&context.tools)).collect();
    // Cargo looks here too.
    if let Some(home) = std::env::var_os("CARGO_HOME") {
        folders.push(Path::new(&home).join("bin"));
    }
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("`{name}` is not in PATH"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Outcome;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn finished(status: i32, leftovers: &[&str]) -> Finished {
        Finished {
            outcome: Outcome::Exited(ExitStatus::from_raw(status << 8)),
            output: String::new(),
            leftovers: leftovers.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn a_runner_that_ran_nothing_has_failed() {
        let passes = |finished: &Finished, count| matches!(counted(finished, count).verdict, Verdict::Passed);
        let count = |passed, failed| Some(Count { passed, failed });
        assert!(passes(&finished(0, &[]), count(1, 0)));
        assert!(!passes(&finished(0, &[]), count(0, 0)));
        assert!(!passes(&finished(0, &[]), count(5, 1)));
        assert!(!passes(&finished(0, &[]), None));
        assert!(!passes(&finished(100, &[]), count(5, 0)));
        assert!(!passes(&finished(0, &["7 sleep"]), count(5, 0)));
    }

    #[test]
    fn an_unreachable_database_is_told_from_a_finding() {
        assert!(database_unreachable(
            "[ERROR] failed to fetch advisory database https://example.org with cli"
        ));
        assert!(!database_unreachable("error[vulnerability]: something\nadvisories FAILED"));
    }

    #[test]
    fn test_programs_are_found_in_cargo_messages() {
        let messages = r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/postern"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/deps/dataplane-1"}
{"reason":"compiler-artifact","profile":{"test":true},"executable":null}
not json
{"reason":"build-finished","success":true}"#;
        assert_eq!(test_programs(messages), [PathBuf::from("/t/deps/dataplane-1")]);
    }
}

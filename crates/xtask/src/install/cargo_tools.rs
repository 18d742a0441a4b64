//! Cargo subcommands for `cargo xtask test`, built from source where they are missing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::print_tool;
use crate::process::{Job, cargo};
use crate::workspace::search_path;

/// A cargo subcommand that tests use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subcommand {
    /// cargo-nextest, the test runner.
    Nextest,
    /// cargo-deny, which checks licences, bans and advisories.
    Deny,
}

impl Subcommand {
    /// As `cargo NAME` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nextest => "nextest",
            Self::Deny => "deny",
        }
    }

    /// The package that is installed where the subcommand is missing: version and features.
    fn pinned(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            // Without the feature that replaces the program by a newer one.
            Self::Nextest => {
                ("cargo-nextest", "0.9.143", &["--no-default-features", "--features", "default-no-update"])
            }
            Self::Deny => ("cargo-deny", "0.20.2", &[]),
        }
    }

    /// Its version, if cargo can run it.
    pub fn version(self, tools: &Path) -> Option<String> {
        let mut command = cargo();
        command.args([self.name(), "--version"]).env("PATH", search_path(tools));
        let output = Job::new(self.name(), command).timeout(Duration::from_secs(60)).require().ok()?;
        output.lines().next().map(|line| line.trim().to_owned())
    }
}

/// Installs both where they are missing. One that cannot be built is said so and left to the step that uses it.
pub fn install(tools: &Path) {
    for subcommand in [Subcommand::Nextest, Subcommand::Deny] {
        if subcommand.version(tools).is_none()
            && let Err(error) = build(subcommand, tools)
        {
            println!("  cargo-{} could not be installed: {error:#}", subcommand.name());
            continue;
        }
        if let Some(version) = subcommand.version(tools) {
            let ours = tools.join("cargo/bin").join(format!("cargo-{}", subcommand.name()));
            let place = if ours.is_file() { ours } else { "found by cargo".into() };
            print_tool(&format!("cargo-{}", subcommand.name()), &version, &place);
        }
    }
}

/// Builds one, without optimisation: that takes a minute or two instead of five.
fn build(subcommand: Subcommand, tools: &Path) -> anyhow::Result<()> {
    let (package, version, features) = subcommand.pinned();
    let root = tools.join("cargo");
    fs::create_dir_all(&root)?;
    let mut command = cargo();
    command.args(["install", "--quiet", "--locked", package, "--version", version]).args(features);
    command.args(["--profile", "dev", "--config", "profile.dev.debug=false", "--root"]).arg(&root);
    // Cargo builds in a folder of its own, outside the workspace's settings.
    command.current_dir(tools).env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    Job::new(format!("building {package} {version}"), command).timeout(Duration::from_secs(900)).require()?;
    Ok(())
}

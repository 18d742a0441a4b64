//! `cargo xtask bench`: will measure the data plane; says so plainly until it does.

use anyhow::bail;

/// Fails: there are no benchmarks in the workspace yet, so there is no number to print.
pub fn run(name: Option<&str>) -> anyhow::Result<std::process::ExitCode> {
    match name {
        Some(name) => bail!("benchmark `{name}` is not built yet: the workspace has no benchmarks so far"),
        None => bail!("the benchmarks are not built yet"),
    }
}

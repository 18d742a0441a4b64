//! `cargo xtask bpf`: the header and the objects of the kernel program and its stub.
//!
//! All are checked in, so that nobody needs a compiler for eBPF to build Postern. The header is what the Rust
//! definitions say, an object is what clang makes of its source.
//!
//! INVARIANT: an object depends on the source, the compiler's version and the options here, and on nothing of the
//! machine: no header of the system's, no path, no time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::install;
use crate::process::{Job, cargo, clean};
use crate::workspace::{Workspace, search_path};

const PACKAGE: &str = "postern-dataplane";
const FOLDER: &str = "crates/dataplane/bpf";
const HEADER: &str = "layout.h";
/// Sources, and the objects made of them.
const PROGRAMS: [(&str, &str); 2] = [("postern.c", "postern.o"), ("stub.c", "stub.o")];
const LIMIT: Duration = Duration::from_mins(10);

/// Makes all anew; with `check`, compares instead of writing.
///
/// # Errors
/// When the compiler cannot be had or refuses the source, or, with `check`, when what is checked in differs.
pub fn run(workspace: &Workspace, check: bool) -> anyhow::Result<()> {
    let tools = workspace.tools_dir()?;
    install::compiler(workspace)?;
    let folder = workspace.root().join(FOLDER);
    let header = header(workspace)?;
    settle(&folder.join(HEADER), header.as_bytes(), check)?;
    for (source, object) in PROGRAMS {
        settle(&folder.join(object), &compile(&tools, &folder, source, object)?, check)?;
    }
    Ok(())
}

/// The header, as the crate that shares it with the program prints it.
fn header(workspace: &Workspace) -> anyhow::Result<String> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", PACKAGE, "--example", "kernel_layout"]);
    command.current_dir(workspace.root());
    let output = tempfile::NamedTempFile::new()?;
    // Apart from what cargo says on its way.
    Job::new("writing the header", command).output_to(output.path().to_owned()).timeout(LIMIT).require()?;
    Ok(fs::read_to_string(output.path())?)
}

/// An object: compiled, and without the debugging information that is not for the kernel.
fn compile(tools: &Path, folder: &Path, source: &str, object: &str) -> anyhow::Result<Vec<u8>> {
    let made = tempfile::tempdir()?;
    let object = made.path().join(object);
    let mut clang = clean("clang-19");
    clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-nostdinc"]);
    clang.arg(format!("-ffile-prefix-map={}=.", folder.display()));
    clang.args(["-c", source, "-o"]).arg(&object).current_dir(folder).env("PATH", search_path(tools));
    Job::new(format!("compiling {source}"), clang).timeout(LIMIT).require()?;
    let mut strip = clean("llvm-strip-19");
    strip.arg("--strip-debug").arg(&object).env("PATH", search_path(tools));
    Job::new(format!("stripping {source}"), strip).timeout(LIMIT).require()?;
    fs::read(&object).with_context(|| format!("`{}` cannot be read", object.display()))
}

fn settle(path: &Path, made: &[u8], check: bool) -> anyhow::Result<()> {
    let same = fs::read(path).is_ok_and(|present| present == made);
    match (same, check) {
        (true, _) => println!("`{}` is up to date", path.display()),
        (false, true) => {
            bail!("`{}` is not what its source gives; run `cargo xtask bpf`", path.display())
        }
        (false, false) => {
            fs::write(path, made).with_context(|| format!("`{}` cannot be written", path.display()))?;
            println!("`{}` is written anew, {} bytes", path.display(), made.len());
        }
    }
    Ok(())
}

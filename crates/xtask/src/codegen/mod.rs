//! Turns botocore's service models into `crates/wire/src/generated`.
//!
//! The models describe every shape that AWS's API knows; only the operations in [`served`] and what they reach
//! are written out, without documentation. The result is checked in, so that nobody needs Python to build; `check`
//! regenerates it in memory and fails at the first byte that differs.
//!
//! INVARIANT: the output depends on nothing but the pinned botocore, [`served`] and this module.

mod botocore;
mod emit;
mod names;
mod protocols;
mod served;
mod service;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// Regenerates the shapes; with `check`, compares instead of writing.
///
/// # Errors
/// When botocore cannot be installed or read, when a model uses something the generator does not know, or, with
/// `check`, when the checked-in files differ from what the generator writes.
pub fn run(workspace: &Workspace, check: bool) -> anyhow::Result<()> {
    let root = workspace.root();
    let data = botocore::install(workspace)?;
    let mut files = vec![("mod.rs".to_owned(), emit::index(botocore::VERSION, served::SERVICES))];
    for served in served::SERVICES {
        let document = botocore::load(&data, served)?;
        let service =
            service::read(&document, served).with_context(|| format!("service `{}`", served.name))?;
        files.push((format!("{}.rs", served.name), emit::service(&service, botocore::VERSION)));
    }
    files.push(("protocols.txt".to_owned(), protocols::text(&data)?));
    let folder = root.join("crates/wire/src/generated");
    for (name, content) in &files {
        let path = folder.join(name);
        if check { compare(&path, content)? } else { write(&path, content)? }
    }
    Ok(())
}

/// The folder that holds the workspace, found from this crate's own.
fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("generated file without a folder")?;
    std::fs::create_dir_all(folder).with_context(|| format!("create `{}`", folder.display()))?;
    if std::fs::read(path).is_ok_and(|present| present == content.as_bytes()) {
        return Ok(());
    }
    std::fs::write(path, content).with_context(|| format!("write `{}`", path.display()))
}

fn compare(path: &Path, expected: &str) -> anyhow::Result<()> {
    let present = std::fs::read_to_string(path).with_context(|| format!("read `{}`", path.display()))?;
    if present == expected {
        return Ok(());
    }
    let (mut found, mut wanted) = (present.lines(), expected.lines());
    let mut number = 0_usize;
    loop {
        number += 1;
        match (found.next(), wanted.next()) {
            (Some(left), Some(right)) if left == right => {}
            (left, right) => bail!(
                "`{}` differs from what the generator writes at line {number}: it has `{}`, the generator writes `{}`; \
                 run `cargo xtask codegen`",
                path.display(),
                left.unwrap_or("nothing more"),
                right.unwrap_or("nothing more"),
            ),
        }
    }
}

//! `postern backup` and `postern restore`.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::control::Request;
use crate::control::client::Client;
use crate::paths::StateDir;

/// Writes a copy of a running region's state.
pub fn backup(state_dir: &StateDir, file: &Path) -> anyhow::Result<ExitCode> {
    let client = Client::connect(state_dir)?;
    // INVARIANT: keys are in it, so nobody else may read it.
    let copy = File::options().create_new(true).write(true).mode(0o600).open(file);
    let copy = copy.with_context(|| format!("cannot make `{}`", file.display()))?;
    match client.ask(&Request::Backup, &[copy.as_fd()]) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            // Half a copy is worse than none.
            let _ = std::fs::remove_file(file);
            Err(error)
        }
    }
}

/// Makes a state directory from a copy.
pub fn restore(state_dir: &StateDir, file: &Path) -> anyhow::Result<ExitCode> {
    let mut copy = File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
    state_dir.create()?;
    let _taken = state_dir.take()?;
    refuse_occupied(state_dir)?;
    let restored = postern_store::restore(&mut copy, &state_dir.ledger()).inspect_err(|_| {
        // The directory was empty, and is to be for the next try.
        if let Err(error) = std::fs::remove_dir_all(state_dir.ledger()) {
            eprintln!("postern: `{}` is left over: {error}", state_dir.ledger().display());
        }
    })?;
    println!("restored revision {} of {}", restored.revision, restored.region.name);
    Ok(ExitCode::SUCCESS)
}

/// A region's state, S3 and audit log belong together: nothing of another one may be mixed in.
fn refuse_occupied(state_dir: &StateDir) -> anyhow::Result<()> {
    let root = state_dir.root();
    let entries = std::fs::read_dir(root).with_context(|| format!("cannot read `{}`", root.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read `{}`", root.display()))?.path();
        if path != state_dir.runtime() {
            bail!(
                "`{}` is not empty: there is `{}`; restore into an empty directory",
                root.display(),
                path.display()
            );
        }
    }
    Ok(())
}

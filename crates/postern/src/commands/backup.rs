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
use crate::region::backup::{self, Copied, Unfinished};

/// Writes a copy of a region: of a running one through it, of one that does not run from its directory.
pub fn backup(state_dir: &StateDir, file: &Path) -> anyhow::Result<ExitCode> {
    let running = match Client::connect(state_dir) {
        Ok(client) => Ok(client),
        Err(_) if state_dir.ledger().exists() => Err(state_dir.take()?),
        Err(error) => return Err(error),
    };
    // INVARIANT: keys are in it, so nobody else may read it.
    let copy = File::options().create_new(true).write(true).mode(0o600).open(file);
    let copy = copy.with_context(|| format!("cannot make `{}`", file.display()))?;
    let written = match running {
        Ok(client) => client.ask(&Request::Backup, &[copy.as_fd()]).map(|_| ()),
        Err(_taken) => backup::write_stopped(state_dir, &copy),
    };
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            // Half a copy is worse than none.
            let _ = std::fs::remove_file(file);
            Err(error)
        }
    }
}

/// Makes a state directory from a copy.
pub fn restore(state_dir: &StateDir, file: &Path) -> anyhow::Result<ExitCode> {
    let copy = File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
    state_dir.create()?;
    let _taken = state_dir.take()?;
    refuse_occupied(state_dir)?;
    let unfinished = Unfinished::mark(state_dir)?;
    let Copied { state, objects, accounts_with_tables } = match backup::read(state_dir, copy) {
        Ok(copied) => {
            unfinished.done()?;
            copied
        }
        Err(error) => {
            // The directory was empty, and is to be for the next try.
            if let Err(left) = unfinished.undo() {
                eprintln!("postern: {left:#}");
            }
            return Err(error);
        }
    };
    let (revision, region) = (state.revision, state.region.name);
    match objects {
        Some((buckets, objects)) => {
            let tables = accounts_with_tables.map(|count| format!(", and the tables of {count} accounts"));
            let tables = tables.unwrap_or_default();
            println!(
                "restored revision {revision} of {region}, with {objects} objects in {buckets} buckets{tables}"
            );
        }
        None => println!(
            "restored revision {revision} of {region}; what S3 and DynamoDB held is not in this copy"
        ),
    }
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

//! Where a region keeps things.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// A state directory that no other process has.
#[derive(Debug)]
pub struct Taken {
    _lock: File,
}

/// A state directory.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The given one, or the default of this user.
    pub fn resolve(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(given) = given {
            let absolute = std::path::absolute(given).with_context(|| format!("`{}`", given.display()))?;
            return Ok(Self(absolute));
        }
        if nix::unistd::geteuid().is_root() {
            return Ok(Self(PathBuf::from("/var/lib/postern")));
        }
        let state_home =
            std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
        let base =
            state_home.or_else(home).context("neither HOME nor XDG_STATE_HOME is set: use --state-dir")?;
        Ok(Self(base.join("postern")))
    }

    /// Makes it, for its owner alone. One that is there is closed to others if nothing foreign is in it, and refused
    /// otherwise: closing somebody's directory would do harm.
    pub fn create(&self) -> anyhow::Result<()> {
        for path in [self.0.clone(), self.runtime()] {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.with_context(|| format!("cannot make the directory `{}`", path.display()))?;
            let look = || format!("cannot look at `{}`", path.display());
            // INVARIANT: keys live below, so nobody else may look.
            let open = std::fs::metadata(&path).with_context(look)?.permissions().mode() & 0o077 != 0;
            if open && path == self.0 && self.holds_foreign_files().with_context(look)? {
                bail!(
                    "`{}` is open to others and holds more than a region: use a directory of its own",
                    path.display()
                );
            }
            if open {
                let closed = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700));
                closed
                    .with_context(|| format!("cannot close the directory `{}` to others", path.display()))?;
            }
        }
        Ok(())
    }

    fn holds_foreign_files(&self) -> std::io::Result<bool> {
        let own = [
            self.ledger(),
            self.s3(),
            self.dynamodb(),
            self.runtime(),
            self.ca_bundle(),
            self.identity_certificate(),
            self.audit_log(),
            self.unfinished(),
        ];
        for entry in std::fs::read_dir(&self.0)? {
            let path = entry?.path();
            // Audit logs that were put aside: audit.log.1 and so on.
            let put_aside = path.with_extension("") == self.audit_log();
            if !put_aside && !own.contains(&path) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes it for this process, as long as the value lives. Keys, packets and the control socket of two regions
    /// would get in each other's way, be it that one of them keeps nothing.
    pub fn take(&self) -> anyhow::Result<Taken> {
        let path = self.runtime().join("lock");
        let mut options = File::options();
        let open = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
        let mut lock = open.with_context(|| format!("cannot open `{}`", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = lock.read_to_string(&mut holder);
                bail!("the state directory `{}` is in use by process {}", self.0.display(), holder.trim());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
            }
        }
        if self.unfinished().exists() {
            bail!(
                "`{}` is incomplete: a restore into it was cut short; remove the directory and restore again",
                self.0.display()
            );
        }
        let told = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        told.with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(Taken { _lock: lock })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The commands and keys.
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }

    /// What S3 holds.
    pub fn s3(&self) -> PathBuf {
        self.0.join("s3")
    }

    /// What S3 holds in a region that keeps nothing.
    pub fn ephemeral_s3(&self) -> PathBuf {
        self.runtime().join("s3")
    }

    /// The tables of DynamoDB.
    pub fn dynamodb(&self) -> PathBuf {
        self.0.join("dynamodb")
    }

    /// The tables of DynamoDB in a region that keeps nothing.
    pub fn ephemeral_dynamodb(&self) -> PathBuf {
        self.runtime().join("dynamodb")
    }

    /// What lives only while the region runs.
    pub fn runtime(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Says that a restore into it has not ended.
    pub fn unfinished(&self) -> PathBuf {
        self.0.join("restore-unfinished")
    }

    /// Where the region listens for its own commands.
    pub fn control_socket(&self) -> PathBuf {
        self.runtime().join("control.sock")
    }

    /// Where what the region leaves behind when it is killed is found, as long as it is there.
    pub fn keeper_socket(&self) -> PathBuf {
        self.runtime().join("keeper.sock")
    }

    /// The region's certificate authority, for clients.
    pub fn ca_bundle(&self) -> PathBuf {
        self.0.join("ca.pem")
    }

    /// The certificate of what signs instances' identity documents, for whoever verifies them.
    pub fn identity_certificate(&self) -> PathBuf {
        self.0.join("instance-identity.pem")
    }

    /// What the API was asked, a line for each request.
    pub fn audit_log(&self) -> PathBuf {
        self.0.join("audit.log")
    }
}

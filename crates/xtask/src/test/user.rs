//! An ordinary user to run things as: no account, no groups, no capabilities, a home of its own.
//!
//! INVARIANT: nothing is created on the host but a temporary folder, which goes when the value is dropped.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User};
use tempfile::TempDir;

use crate::workspace::{SYSTEM_FOLDERS, TOOLS_VARIABLE, Workspace, closed_ancestor};

/// Where a free number is looked for.
const CANDIDATES: std::ops::Range<u32> = 61234..61334;

/// Lays the checkout, at the path it has, into a view of the file system in which every folder on the way can
/// be entered: $1 is the closed folder, $2 the checkout, $3 uid and gid; the rest is what to run.
const OPEN_VIEW: &str = "\
set -eu
closed=$1 checkout=$2 user=$3
shift 3
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m postern-view /mnt
mkdir /mnt/checkout
mount --rbind \"$checkout\" /mnt/checkout
mount -t tmpfs -o mode=755,size=1m postern-view \"$closed\"
mkdir -p \"$checkout\"
mount --rbind /mnt/checkout \"$checkout\"
cd \"$checkout\"
exec setpriv --reuid \"$user\" --regid \"$user\" --clear-groups --inh-caps=-all \"$@\"
";

/// A user that owns nothing but its home.
#[derive(Debug)]
pub struct OrdinaryUser {
    uid: u32,
    home: TempDir,
    root: PathBuf,
    closed: Option<PathBuf>,
    tools: PathBuf,
}

impl OrdinaryUser {
    /// Takes a free user id, makes its home and sees to it that the checkout can be entered. Needs root.
    pub fn new(workspace: &Workspace) -> anyhow::Result<Self> {
        let uid = free_uid()?;
        let home = tempfile::Builder::new().prefix("postern-user-").tempdir_in("/var/tmp")?;
        nix::unistd::chown(home.path(), Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)))
            .context("the user's home cannot be handed over")?;
        let root = workspace.root().to_owned();
        let closed = closed_ancestor(&root).map(Path::to_owned);
        if closed.as_deref() == Some(&root) {
            bail!("`{}` is closed to other users; `chmod o+rx` it for this step", root.display());
        }
        Ok(Self { uid, home, root, closed, tools: workspace.tools_dir()? })
    }

    /// Its number.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Copies a program into its home, from where it can be run wherever it was.
    pub fn lend(&self, program: &Path) -> anyhow::Result<PathBuf> {
        let Some(name) = program.file_name() else { bail!("`{}` is no program", program.display()) };
        let copy = self.home.path().join(name);
        fs::copy(program, &copy).with_context(|| format!("`{}` cannot be copied", program.display()))?;
        Ok(copy)
    }

    /// Writes a file that it can read.
    pub fn give(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.home.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    /// A program to be run by this user in the checkout, with nothing of our environment.
    pub fn command(&self, program: &Path, arguments: &[&OsStr]) -> Command {
        let mut command = match &self.closed {
            None => {
                let mut command = Command::new(program);
                // With a user id and no list of groups, the standard library clears the groups as well.
                command.uid(self.uid).gid(self.uid).current_dir(&self.root);
                command
            }
            Some(closed) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", OPEN_VIEW, "sh"]).arg(closed).arg(&self.root);
                command.arg(self.uid.to_string()).arg(program);
                command
            }
        };
        command.args(arguments);
        let mut path = self.tools.join("bin").into_os_string();
        for folder in SYSTEM_FOLDERS {
            path.push(":");
            path.push(folder);
        }
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8").env(TOOLS_VARIABLE, &self.tools);
        command.env("HOME", self.home.path()).env("TMPDIR", self.home.path());
        command.env("RUST_BACKTRACE", "1");
        command
    }
}

/// A user id that no account has.
fn free_uid() -> anyhow::Result<u32> {
    for uid in CANDIDATES {
        let account = User::from_uid(Uid::from_raw(uid)).context("the accounts cannot be looked up")?;
        if account.is_none() {
            return Ok(uid);
        }
    }
    bail!("user ids {} to {} are all taken", CANDIDATES.start, CANDIDATES.end - 1)
}

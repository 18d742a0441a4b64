//! Where things lie: the checkout, cargo's target folder, the tools folder.
//!
//! INVARIANT: the tools folder is one that any user of the host can enter and that nobody else can write.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The environment variable that tells Postern and its tests where the client programs are.
pub const TOOLS_VARIABLE: &str = "POSTERN_TOOLS";

/// The lab that `cargo xtask demo` runs.
pub const DEMO_LAB: &str = "gateway-s3";

/// A checkout of Postern.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The checkout that cargo started us from, else the one around the present folder.
    pub fn find() -> anyhow::Result<Self> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(manifest) => PathBuf::from(manifest),
            None => std::env::current_dir().context("the present folder cannot be read")?,
        };
        let root = start.ancestors().find(|folder| folder.join("crates/xtask/Cargo.toml").is_file());
        match root {
            Some(root) => Ok(Self { root: fs::canonicalize(root)? }),
            None => bail!("`{}` is not inside a checkout of Postern", start.display()),
        }
    }

    /// The checkout's top folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target folder.
    pub fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => self.root.join(target),
            None => self.root.join("target"),
        }
    }

    /// The version that all crates of the workspace carry.
    pub fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// The folder for client programs, made if it is missing: `target/tools`, or a folder in /var/tmp where
    /// the checkout is below a folder that other users cannot enter (a home, usually).
    pub fn tools_dir(&self) -> anyhow::Result<PathBuf> {
        let target = self.target();
        fs::create_dir_all(&target).with_context(|| format!("`{}` cannot be made", target.display()))?;
        if closed_ancestor(&target).is_none() {
            let tools = target.join("tools");
            fs::create_dir_all(&tools)?;
            return Ok(tools);
        }
        let uid = nix::unistd::geteuid();
        let tools = PathBuf::from(format!("/var/tmp/postern-tools-{uid}"));
        own_folder(&tools, uid.as_raw())?;
        Ok(tools)
    }

    /// Names of the lab files in `labs/`, in order.
    pub fn labs(&self) -> anyhow::Result<Vec<String>> {
        let mut labs = Vec::new();
        for entry in fs::read_dir(self.root.join("labs")).context("`labs` cannot be read")? {
            let path = entry?.path();
            if let Some(name) = lab_name(&path) {
                labs.push(name);
            }
        }
        labs.sort();
        Ok(labs)
    }
}

/// The lab that a file of `labs/` holds; none for notes and hidden files.
fn lab_name(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_str()?;
    let extension = path.extension()?.to_str()?;
    let is_lab = path.is_file() && !name.starts_with('.') && extension != "md";
    is_lab.then(|| name.to_owned())
}

/// The outermost folder on the way to `path` (itself included) that other users cannot enter.
pub fn closed_ancestor(path: &Path) -> Option<&Path> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    folders.into_iter().find(|folder| {
        // A folder that cannot even be looked at counts as closed.
        fs::metadata(folder).map_or(true, |metadata| metadata.permissions().mode() & 0o005 != 0o005)
    })
}

/// Makes `folder`, or accepts it if it is already ours alone: /var/tmp is writable by everybody, so one that
/// somebody else laid there must not be used.
fn own_folder(folder: &Path, uid: u32) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o755).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("`{}` cannot be made", folder.display())),
    }
    let metadata = fs::symlink_metadata(folder)?;
    if !metadata.is_dir() || metadata.uid() != uid || metadata.mode() & 0o022 != 0 {
        bail!(
            "`{}` is there but is not a folder that only user {uid} can write; remove it",
            folder.display()
        );
    }
    Ok(())
}

/// PATH with the installed programs first and the folders for administration in it.
pub fn search_path(tools: &Path) -> OsString {
    let mut folders = vec![tools.join("bin"), tools.join("cargo/bin")];
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    for folder in SYSTEM_FOLDERS {
        if !folders.iter().any(|known| known == Path::new(folder)) {
            folders.push(PathBuf::from(folder));
        }
    }
    // Joining fails only for a folder with a colon in its name, which PATH cannot express anyway.
    std::env::join_paths(folders).unwrap_or_else(|_| OsString::from("/usr/bin:/bin"))
}

/// Where the host's own programs are.
pub const SYSTEM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_folder_is_found_from_outside_in() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let home = folder.path().join("home");
        let inner = home.join("checkout/target");
        fs::create_dir_all(&inner).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for open in [folder.path(), &home, &home.join("checkout"), &inner] {
            set(open, 0o755);
        }
        assert_eq!(closed_ancestor(&inner), None);
        set(&home, 0o750);
        assert_eq!(closed_ancestor(&inner), Some(home.as_path()));
        set(folder.path(), 0o711);
        assert_eq!(closed_ancestor(&inner), Some(folder.path()));
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let tools = folder.path().join("tools");
        own_folder(&tools, uid).unwrap();
        fs::set_permissions(&tools, fs::Permissions::from_mode(0o755)).unwrap();
        own_folder(&tools, uid).unwrap();
        assert!(own_folder(&tools, uid + 1).is_err());
        fs::set_permissions(&tools, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own_folder(&tools, uid).is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&tools, &link).unwrap();
        assert!(own_folder(&link, uid).is_err());
    }

    #[test]
    fn labs_are_files_that_are_not_notes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.toml", "README.md", ".hidden.toml", "plain"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(lab_name(&folder.path().join("a.toml")), Some("a".to_owned()));
        for name in ["README.md", ".hidden.toml", "plain", "absent.toml"] {
            assert_eq!(lab_name(&folder.path().join(name)), None, "{name}");
        }
    }
}

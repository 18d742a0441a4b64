//! The file system of an instance, built in the instance's own mount namespace before any foreign program runs.
//!
//! INVARIANT: everything of the host is read-only, without set-uid files and without device nodes; what an instance
//! may write is in memory and private to it. The mount namespace belongs to the user namespace *above* the
//! instance's, so that nothing inside can change a mount, whatever privilege it finds.
//! INVARIANT: of the host's directories only those of programs and libraries are there, and what the specification
//! shows.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::etc;
use super::protocol::{AtStep, Failure};
use super::spec::{InstanceSpec, LOGIN_HOME};
use super::sys;

const ATTR_RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const ATTR_NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const ATTR_NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const HOST_ATTRIBUTES: u64 = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV;

/// What of the host's root directory an instance gets: programs and libraries, and nothing that could be somebody's
/// data or somebody's socket. (`/nix` is where one distribution keeps all of its programs.)
const SHOWN: [&str; 8] = ["bin", "lib", "lib32", "lib64", "libx32", "nix", "sbin", "usr"];
/// Devices that are shown.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
/// What of `/proc` is made read-only, so that no capability found inside could turn a knob of the kernel.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];
/// What of `/proc` tells about the host, and is hidden behind `/dev/null`.
const PROC_HIDDEN: [&str; 5] = ["kcore", "keys", "key-users", "kmsg", "timer_list"];

/// Numbers, as the builder sees them, of the users that exist in the instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    /// Who the instance sees as root.
    pub root: u32,
    /// Who the instance sees as the login user.
    pub login: u32,
}

/// Where a root directory is made, and of what.
pub(super) struct Places<'a> {
    /// On what it is built.
    pub staging: &'a Path,
    /// What [`etc::share`] has made.
    pub shared: &'a Path,
    /// Host directories that must not be seen.
    pub hidden: &'a [PathBuf],
}

/// The finished root, and a way into its `/proc` that the read-only mounts over it do not cover.
pub(super) struct BuiltRoot {
    pub unmasked_proc: OwnedFd,
}

/// Builds the root directory of an instance on `staging` and makes it the root of the calling process.
///
/// The caller is alone in fresh mount, PID and network namespaces, with the privileges of the user namespace that
/// owns them.
pub(super) fn build(spec: &InstanceSpec, places: &Places<'_>, owners: Owners) -> Result<BuiltRoot, Failure> {
    let root = Root::at(places.staging, owners);
    root.tmpfs("", 0o755, 4 << 20, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
    root.show_host()?;
    root.private_directories(spec)?;
    root.devices()?;
    let unmasked_proc = root.kernel_file_systems()?;
    let covers = root.hide(places.hidden)?;
    root.show_extra(&spec.read_only_binds)?;
    etc::write(&root, spec, places.shared)?;
    root.place_files(spec)?;
    for path in ["/etc", "/dev"].into_iter().map(PathBuf::from).chain(covers) {
        root.set_attributes(&path, ATTR_RDONLY, false)?;
    }
    root.set_attributes(Path::new("/"), ATTR_RDONLY, false)?;
    root.enter()?;
    Ok(BuiltRoot { unmasked_proc })
}

/// A root directory under construction. Paths given to its methods are the instance's, absolute.
pub(super) struct Root {
    path: PathBuf,
    owners: Owners,
}

impl Root {
    pub(super) fn at(path: &Path, owners: Owners) -> Self {
        Self { path: path.to_owned(), owners }
    }

    /// Where a path of the instance is now.
    fn place(&self, inside: &Path) -> PathBuf {
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn owner_of(&self, inside: &Path) -> u32 {
        if inside.starts_with(LOGIN_HOME) { self.owners.login } else { self.owners.root }
    }

    /// A directory with these permission bits; one that is there gets them too.
    pub(super) fn directory(&self, inside: &str, mode: u32) -> Result<(), Failure> {
        self.directory_for(Path::new(inside), mode, self.owner_of(Path::new(inside)))
    }

    fn directory_for(&self, inside: &Path, mode: u32, owner: u32) -> Result<(), Failure> {
        let place = self.place(inside);
        make_directory(&place, mode, owner).at(|| format!("making `{}`", inside.display()))
    }

    /// Every directory on the way to `inside` that is not there yet.
    fn parents(&self, inside: &Path) -> Result<(), Failure> {
        let mut missing: Vec<&Path> =
            inside.ancestors().skip(1).take_while(|parent| !self.place(parent).exists()).collect();
        missing.reverse();
        for parent in missing {
            self.directory_for(parent, 0o755, self.owner_of(parent))?;
        }
        Ok(())
    }

    /// A file with this content; what was there is replaced.
    pub(super) fn file(&self, inside: &Path, mode: u32, bytes: &[u8]) -> Result<(), Failure> {
        self.parents(inside)?;
        write_file(&self.place(inside), mode, self.owner_of(inside), bytes)
            .at(|| format!("writing `{}`", inside.display()))
    }

    /// A symbolic link.
    pub(super) fn link(&self, inside: &str, target: &Path) -> Result<(), Failure> {
        symlink(target, self.place(Path::new(inside))).at(|| format!("linking `{inside}`"))
    }

    fn tmpfs(&self, inside: &str, mode: u32, bytes: u64, flags: MsFlags) -> Result<(), Failure> {
        let place = self.place(Path::new(inside));
        let owner = self.owners.root;
        let options = format!("mode={mode:o},size={bytes},uid={owner},gid={owner}");
        mount(Some("tmpfs"), &place, Some("tmpfs"), flags, Some(options.as_str()))
            .at(|| format!("mounting a tmpfs on `/{}`", inside.trim_start_matches('/')))
    }

    fn set_attributes(&self, inside: &Path, set: u64, below: bool) -> Result<(), Failure> {
        sys::set_mount_attributes(&self.place(inside), set, below)
            .at(|| format!("setting mount attributes of `{}`", inside.display()))
    }

    /// A directory that is read-only, and the same for all instances.
    pub(super) fn share(&self, source: &Path, inside: &Path) -> Result<(), Failure> {
        self.directory_for(inside, 0o755, self.owners.root)?;
        self.bind(source, inside, HOST_ATTRIBUTES)
    }

    /// Mounts what the host has at `source` on `inside`, with all that is mounted below it.
    fn bind(&self, source: &Path, inside: &Path, attributes: u64) -> Result<(), Failure> {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(source), &self.place(inside), None::<&str>, flags, None::<&str>)
            .at(|| format!("showing `{}`", source.display()))?;
        self.set_attributes(inside, attributes, true)
    }

    fn show_host(&self) -> Result<(), Failure> {
        let listing = || "listing `/`".to_owned();
        for entry in fs::read_dir("/").at(listing)? {
            let entry = entry.at(listing)?;
            let name = entry.file_name();
            if !SHOWN.iter().any(|shown| *shown == name) {
                continue;
            }
            let path = Path::new("/").join(&name);
            let kind = entry.file_type().at(|| format!("looking at `{}`", path.display()))?;
            if kind.is_symlink() {
                let target = fs::read_link(&path).at(|| format!("reading `{}`", path.display()))?;
                symlink(target, self.place(&path)).at(|| format!("linking `{}`", path.display()))?;
            } else if kind.is_dir() {
                self.directory_for(&path, 0o755, self.owners.root)?;
                self.bind(&path, &path, HOST_ATTRIBUTES)?;
            }
        }
        Ok(())
    }

    fn private_directories(&self, spec: &InstanceSpec) -> Result<(), Failure> {
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let small = 64 << 20;
        for (path, mode, bytes) in [
            ("/home", 0o755, spec.disk_bytes),
            ("/tmp", 0o1777, spec.disk_bytes),
            ("/var", 0o755, spec.disk_bytes),
            ("/run", 0o755, small),
            ("/etc", 0o755, small),
        ] {
            self.directory(path, 0o755)?;
            self.tmpfs(path, mode, bytes, plain)?;
        }
        for (path, mode) in [
            ("/media", 0o755),
            ("/mnt", 0o755),
            // Without root it belongs to the login user, like all that is private.
            ("/root", 0),
            (LOGIN_HOME, 0o700),
            ("/run/lock", 0o1777),
            ("/run/user", 0o755),
            ("/var/cache", 0o755),
            ("/var/empty", 0o755),
            ("/var/lib", 0o755),
            ("/var/log", 0o755),
            ("/var/spool", 0o755),
            ("/var/tmp", 0o1777),
        ] {
            self.directory(path, mode)?;
        }
        let login = self.owners.login;
        self.directory_for(Path::new("/run/user/1000"), 0o700, login)?;
        // A daemon that runs as the login user keeps its files here.
        self.directory_for(Path::new("/run/ec2-user"), 0o755, login)?;
        self.directory_for(Path::new("/var/log/ec2-user"), 0o755, login)?;
        self.directory("/run/sshd", 0o755)?;
        self.link("/var/run", Path::new("/run"))?;
        self.link("/var/lock", Path::new("/run/lock"))
    }

    fn devices(&self) -> Result<(), Failure> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        self.directory("/dev", 0o755)?;
        self.tmpfs("/dev", 0o755, 1 << 20, flags)?;
        for name in DEVICES {
            let path = PathBuf::from(format!("/dev/{name}"));
            self.file(&path, 0o666, b"")?;
            self.bind(&path, &path, ATTR_NOSUID)?;
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ] {
            self.link(&format!("/dev/{name}"), Path::new(target))?;
        }
        self.directory("/dev/pts", 0o755)?;
        self.directory("/dev/shm", 0o1777)?;
        mount(
            Some("devpts"),
            &self.place(Path::new("/dev/pts")),
            Some("devpts"),
            flags,
            Some("newinstance,ptmxmode=0666,mode=0620"),
        )
        .at(|| "mounting a devpts on `/dev/pts`".to_owned())?;
        self.tmpfs("/dev/shm", 0o1777, 64 << 20, flags | MsFlags::MS_NODEV)
    }

    fn kernel_file_systems(&self) -> Result<OwnedFd, Failure> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        for (kind, path) in [("proc", "/proc"), ("sysfs", "/sys")] {
            self.directory(path, 0o555)?;
            mount(Some(kind), &self.place(Path::new(path)), Some(kind), flags, None::<&str>)
                .at(|| format!("mounting {kind} on `{path}`"))?;
        }
        self.set_attributes(Path::new("/sys"), ATTR_RDONLY, false)?;
        let proc = self.place(Path::new("/proc"));
        let unmasked = sys::clone_mount(&proc).at(|| "copying the mount of `/proc`".to_owned())?;
        for name in PROC_READ_ONLY {
            let inside = PathBuf::from(format!("/proc/{name}"));
            let place = self.place(&inside);
            if place.exists() {
                self.bind(&place, &inside, ATTR_RDONLY)?;
            }
        }
        for name in PROC_HIDDEN {
            let inside = PathBuf::from(format!("/proc/{name}"));
            if self.place(&inside).exists() {
                self.bind(Path::new("/dev/null"), &inside, ATTR_RDONLY)?;
            }
        }
        Ok(unmasked)
    }

    /// Covers each directory with an empty one, where it is visible at all. Returns the covers, which are still
    /// writable so that mount points can be made in them.
    fn hide(&self, hidden: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
        let mut covers = Vec::new();
        for path in hidden {
            if self.place(path).is_dir() && path.components().count() > 1 {
                let inside = path.to_string_lossy();
                self.tmpfs(&inside, 0o755, 1 << 20, MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
                covers.push(path.clone());
            }
        }
        Ok(covers)
    }

    fn show_extra(&self, paths: &[PathBuf]) -> Result<(), Failure> {
        for path in paths {
            let step = || format!("showing `{}`", path.display());
            let real = fs::canonicalize(path).at(step)?;
            self.parents(path)?;
            let place = self.place(path);
            if real.is_dir() {
                if !place.is_dir() {
                    self.directory_for(path, 0o755, self.owners.root)?;
                }
            } else if !place.exists() {
                self.file(path, 0o644, b"")?;
            }
            self.bind(&real, path, HOST_ATTRIBUTES)?;
        }
        Ok(())
    }

    fn place_files(&self, spec: &InstanceSpec) -> Result<(), Failure> {
        spec.files.iter().try_for_each(|file| self.file(&file.path, file.mode & 0o7777, &file.bytes))
    }

    /// Makes this the root directory; the old one is gone from the namespace.
    fn enter(&self) -> Result<(), Failure> {
        let step = || "changing the root directory".to_owned();
        chdir(&self.path).at(step)?;
        // The old root is put on top of the new one, and taken off again: this needs no directory for it.
        pivot_root(".", ".").at(step)?;
        umount2(".", MntFlags::MNT_DETACH).at(step)?;
        chdir("/").at(step)
    }

    /// Copies one entry of the host to the same path: a directory with what is in it, a file, a link. Only what
    /// everybody may read is copied, whoever the caller is; the rest is left out.
    pub(super) fn copy_public(&self, path: &Path, budget: &mut CopyBudget) -> Result<(), Failure> {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        let step = || format!("copying `{}`", path.display());
        budget.entries = budget.entries.saturating_sub(1);
        if budget.entries == 0 {
            return Err(io::Error::other("too many files")).at(step);
        }
        let public = metadata.mode() & 0o004 != 0;
        if metadata.is_symlink() {
            let target = fs::read_link(path).at(step)?;
            return self.link(&path.to_string_lossy(), &target);
        }
        if metadata.is_dir() && public && metadata.mode() & 0o001 != 0 {
            self.directory_for(path, metadata.mode() & 0o755, self.owners.root)?;
            for entry in fs::read_dir(path).at(step)? {
                self.copy_public(&entry.at(step)?.path(), budget)?;
            }
        } else if metadata.is_file() && public && metadata.len() <= budget.file_bytes {
            let bytes = fs::read(path).at(step)?;
            self.file(path, metadata.mode() & 0o755, &bytes)?;
        }
        Ok(())
    }
}

/// How much [`Root::copy_public`] may still copy.
pub(super) struct CopyBudget {
    pub entries: usize,
    /// Larger files are left out.
    pub file_bytes: u64,
}

fn make_directory(place: &Path, mode: u32, owner: u32) -> io::Result<()> {
    match fs::create_dir(place) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    chown(place, Some(owner), Some(owner))?;
    fs::set_permissions(place, fs::Permissions::from_mode(mode))
}

fn write_file(place: &Path, mode: u32, owner: u32, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    match fs::remove_file(place) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    file.write_all(bytes)?;
    std::os::unix::fs::fchown(&file, Some(owner), Some(owner))?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// The staging directory's file system of the keeper: nothing that is made on the way reaches the disk.
pub(super) fn mount_staging(runtime_dir: &Path) -> Result<PathBuf, Failure> {
    mount(
        Some("tmpfs"),
        runtime_dir,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=700,size=1048576"),
    )
    .at(|| format!("mounting a tmpfs on `{}`", runtime_dir.display()))?;
    let staging = runtime_dir.join("root");
    fs::create_dir(&staging).at(|| format!("making `{}`", staging.display()))?;
    Ok(staging)
}

/// Cuts all mounts of this namespace off from the host's: nothing made here appears there, and the other way round.
pub(super) fn make_mounts_private() -> Result<(), Failure> {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .at(|| "making the mounts private".to_owned())
}

/// A fresh `/proc` for the PID namespace that the caller is the first process of.
pub(super) fn mount_proc() -> Result<(), Failure> {
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .at(|| "mounting proc for a new PID namespace".to_owned())
}

/// Denies user namespaces to whatever runs in the user namespace of the caller.
pub(super) fn forbid_user_namespaces(root: &BuiltRoot) -> Result<(), Failure> {
    sys::write_at(root.unmasked_proc.as_fd(), c"sys/user/max_user_namespaces", "0")
        .at(|| "forbidding user namespaces".to_owned())
}

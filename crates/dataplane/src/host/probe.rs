//! What this machine's kernel lets the caller do, each tried for real where that leaves no trace.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};

use super::outside;
use super::start::{mount_kernel_file_systems, try_namespaces};
use super::sys;

/// One thing that Postern needs or can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What it is.
    pub name: &'static str,
    /// Whether it is there.
    pub ok: bool,
    /// Whether packets cannot move without it.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What to do where it is missing; empty where it is there.
    pub remedy: String,
}

/// Tries what the host side needs. May be called at any time, with threads or without, before or after the start.
#[must_use]
pub fn probe() -> Vec<Feature> {
    vec![
        user_namespaces(),
        child_feature(
            "network namespaces and packet sockets",
            true,
            "use a kernel with CONFIG_NET_NS, CONFIG_PACKET and CONFIG_VETH, or allow namespaces",
            packets_in_a_namespace,
        ),
        child_feature(
            "proc and sysfs in namespaces",
            true,
            "a container hides parts of /proc or /sys: run on the host itself, or unmask them",
            kernel_file_systems,
        ),
        mount_attributes(),
        tun(),
        child_feature(
            "eBPF at TCX",
            false,
            "run as root on Linux 6.6 or later; the forwarder serves without",
            tcx,
        ),
        uplink(),
        uplink_echo(),
        open_files(),
        cgroups(),
    ]
}

fn user_namespaces() -> Feature {
    let name = "namespaces";
    if sys::has_capabilities(&[sys::CAP_SYS_ADMIN, sys::CAP_NET_ADMIN]) {
        return there(name, true, "made with the caller's own privileges".to_owned());
    }
    match try_namespaces() {
        Ok(()) => there(name, true, "an ordinary user may make user namespaces".to_owned()),
        Err(error) => missing(name, true, error.to_string(), "see the detail"),
    }
}

fn there(name: &'static str, required: bool, detail: String) -> Feature {
    Feature { name, ok: true, required, detail, remedy: String::new() }
}

fn missing(name: &'static str, required: bool, detail: String, remedy: &str) -> Feature {
    Feature { name, ok: false, required, detail, remedy: remedy.to_owned() }
}

/// Tries something in a child process that has entered namespaces of its own.
fn child_feature(
    name: &'static str,
    required: bool,
    remedy: &str,
    attempt: impl FnOnce() -> io::Result<()>,
) -> Feature {
    let outcome = sys::in_child(|| match attempt() {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(u8::MAX),
    });
    match outcome {
        Ok(0) => there(name, required, "tried, works".to_owned()),
        Ok(errno) => {
            let error = io::Error::from_raw_os_error(i32::from(errno));
            missing(name, required, error.to_string(), remedy)
        }
        Err(error) => missing(name, required, error.to_string(), remedy),
    }
}

/// New namespaces, by way of a user namespace where the caller has no privileges.
fn isolate(namespaces: CloneFlags) -> io::Result<()> {
    let user = if sys::has_capabilities(&[sys::CAP_SYS_ADMIN, sys::CAP_NET_ADMIN]) {
        CloneFlags::empty()
    } else {
        CloneFlags::CLONE_NEWUSER
    };
    Ok(unshare(namespaces | user)?)
}

fn packets_in_a_namespace() -> io::Result<()> {
    isolate(CloneFlags::CLONE_NEWNET)?;
    sys::bring_up("lo")?;
    sys::open_packet_probe()
}

fn kernel_file_systems() -> io::Result<()> {
    isolate(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID)?;
    mount_kernel_file_systems()
}

fn tcx() -> io::Result<()> {
    isolate(CloneFlags::CLONE_NEWNET)?;
    let program = sys::load_smallest_classifier()?;
    sys::attach_tcx(program.as_fd(), sys::interface_index("lo")?).map(drop)
}

fn mount_attributes() -> Feature {
    let name = "recursive read-only mounts";
    // An empty change of a path that cannot be: a kernel that has the call complains about the path.
    match sys::set_mount_attributes(Path::new("/nonexistent/postern"), 0, true) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            missing(name, true, error.to_string(), "use Linux 5.12 or later")
        }
        Ok(()) | Err(_) => there(name, true, "the kernel has mount_setattr".to_owned()),
    }
}

fn tun() -> Feature {
    let name = "tap interfaces of virtual machines";
    let remedy = "run as root; namespaces can be attached without";
    if !sys::has_capabilities(&[sys::CAP_NET_ADMIN]) {
        return missing(name, false, "attaching a tap takes root".to_owned(), remedy);
    }
    match fs::File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => there(name, false, "`/dev/net/tun` can be opened".to_owned()),
        Err(error) => missing(name, false, format!("`/dev/net/tun`: {error}"), remedy),
    }
}

/// Sockets bound to an interface, by which packets leave the region.
fn uplink() -> Feature {
    let name = "uplink (up --uplink)";
    match outside::check_bound_socket("lo") {
        Ok(()) => there(name, false, "sockets can be bound to an interface".to_owned()),
        Err(error) => {
            let detail = format!("no socket can be bound to an interface: {error}");
            missing(name, false, detail, "use Linux 5.7 or later, or run as root")
        }
    }
}

fn uplink_echo() -> Feature {
    let name = "ICMP echo by the uplink";
    match outside::echo_socket("lo") {
        Ok(_) => there(name, false, "this user may send echoes".to_owned()),
        Err(error) => missing(
            name,
            false,
            format!("this user may send none, and instances cannot `ping` what is outside: {error}"),
            "as root, set `sysctl net.ipv4.ping_group_range` to a range with one of the user's groups",
        ),
    }
}

fn open_files() -> Feature {
    let name = "open files";
    let wanted = 4096;
    match sys::open_file_limit() {
        Ok(limit) if limit >= wanted => there(name, false, format!("at most `{limit}`")),
        Ok(limit) => missing(
            name,
            false,
            format!("at most `{limit}`, which is little for many instances"),
            "raise the hard limit of open files (`ulimit -Hn`, `LimitNOFILE=`)",
        ),
        Err(error) => missing(name, false, error.to_string(), "raise the limit of open files"),
    }
}

fn cgroups() -> Feature {
    let name = "control groups";
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        there(name, false, "version 2".to_owned())
    } else {
        missing(
            name,
            false,
            "no version 2 hierarchy at `/sys/fs/cgroup`".to_owned(),
            "nothing needs it: instances are bounded by process limits and the size of their memory file systems",
        )
    }
}

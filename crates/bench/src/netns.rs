//! Network namespaces of the run's own, held by descriptors, and what `ip` and sysctls do in them.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use nix::sched::{CloneFlags, unshare};
use postern_dataplane::host::Namespace;

/// What a new namespace is set to, for every contender alike.
const SYSCTLS: [(&str, &str); 3] = [
    ("net/ipv4/ip_local_port_range", "10000 64999"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];

/// How connections send in a namespace by default.
const CONGESTION: &str = "net/ipv4/tcp_congestion_control";

/// Makes an empty network with a loopback interface.
pub fn create() -> anyhow::Result<Namespace> {
    let namespace = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("a network namespace cannot be made")?;
            anyhow::Ok(Namespace::current()?)
        });
        made.join().map_err(|_| anyhow!("the thread for a network namespace failed"))?
    })?;
    prepare(&namespace)?;
    ip(&namespace, "link set lo up")?;
    Ok(namespace)
}

/// Sets what every contender's namespaces have alike.
pub fn prepare(namespace: &Namespace) -> anyhow::Result<()> {
    SYSCTLS.iter().try_for_each(|(name, value)| set(namespace, name, value))?;
    // Without the right to, connections are set to cubic one by one.
    let _ = set(namespace, CONGESTION, "cubic");
    Ok(())
}

/// How connections send by default there.
pub fn congestion(namespace: &Namespace) -> anyhow::Result<String> {
    let read = namespace.run(|| std::fs::read_to_string(format!("/proc/sys/{CONGESTION}")))??;
    Ok(read.trim().to_owned())
}

/// Sets a sysctl of the namespace.
pub fn set(namespace: &Namespace, name: &str, value: &str) -> anyhow::Result<()> {
    let path = format!("/proc/sys/{name}");
    // What does not exist on this kernel need not be set.
    if !std::path::Path::new(&path).exists() {
        return Ok(());
    }
    namespace
        .run(|| std::fs::write(&path, value))?
        .with_context(|| format!("cannot set `{name}` to `{value}`"))
}

/// Where another process finds the namespace.
fn reference(namespace: &Namespace) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

/// Runs lines of `ip` in the namespace.
pub fn ip(namespace: &Namespace, lines: &str) -> anyhow::Result<()> {
    feed(namespace, "ip", &["-batch", "-"], lines)
}

/// Runs a program in the namespace, which must succeed, with this on its standard input.
pub fn feed(namespace: &Namespace, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<()> {
    let run = || -> anyhow::Result<()> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("`{program}` cannot be started"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        bail!(
            "`{program}` failed:\n{}\nwith the input:\n{input}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    };
    namespace.run(run)?
}

/// One end of a link.
pub struct End<'a> {
    /// Where.
    pub namespace: &'a Namespace,
    /// What the interface is called.
    pub name: &'a str,
    /// Its address, with the length of the prefix.
    pub address: &'a str,
}

/// Joins two namespaces by a veth pair with the MTU that Postern's links have.
pub fn join(a: &End<'_>, b: &End<'_>) -> anyhow::Result<()> {
    let mtu = postern_path::decide::VPC_MTU;
    let (name, peer, there) = (a.name, b.name, reference(b.namespace));
    ip(
        a.namespace,
        &format!("link add {name} mtu {mtu} type veth peer name {peer} mtu {mtu} netns {there}"),
    )?;
    for end in [a, b] {
        let lines = format!("address add {} dev {1}\nlink set {1} up", end.address, end.name);
        ip(end.namespace, &lines)?;
    }
    Ok(())
}

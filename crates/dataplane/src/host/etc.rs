//! The `/etc` of an instance: the few public files of the host that programs need, and its own identity.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::protocol::{AtStep, Failure};
use super::sandbox::{CopyBudget, Owners, Root};
use super::spec::{InstanceSpec, LOGIN_HOME, LOGIN_ID, LOGIN_USER};

/// What is taken over from the host, where it is there and everybody may read it.
const FROM_HOST: [&str; 33] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "mime.types",
    "nanorc",
    "networks",
    "os-release",
    "pki",
    "profile",
    "protocols",
    "python3",
    "python3.11",
    "rpc",
    "services",
    "shells",
    "ssh",
    "ssl",
    "terminfo",
    "timezone",
];

/// Those of them that are directories with much in them. They are copied once for all instances, which saves each of them
/// a thousand files and links; so what they say is of when the region was started.
const SHARED: [&str; 9] = [
    "alternatives",
    "ca-certificates",
    "crypto-policies",
    "java",
    "pki",
    "python3",
    "python3.11",
    "ssl",
    "terminfo",
];

/// Copies what instances share. Returns where it is: a directory that looks like a root directory with an `/etc`.
pub(super) fn share(runtime_dir: &Path) -> Result<PathBuf, Failure> {
    let place = runtime_dir.join("shared");
    fs::create_dir_all(place.join("etc")).at(|| format!("making `{}`", place.display()))?;
    let root = Root::at(&place, Owners { root: 0, login: 0 });
    let mut budget = budget();
    for name in SHARED {
        root.copy_public(&Path::new("/etc").join(name), &mut budget)?;
    }
    Ok(place)
}

pub(super) fn write(root: &Root, spec: &InstanceSpec, shared: &Path) -> Result<(), Failure> {
    let mut budget = budget();
    for name in FROM_HOST {
        let inside = Path::new("/etc").join(name);
        let common = shared.join("etc").join(name);
        // What is to be put there belongs to this instance.
        let own = spec.files.iter().any(|file| file.path.starts_with(&inside));
        if SHARED.contains(&name) && common.is_dir() && !common.is_symlink() && !own {
            root.share(&common, &inside)?;
        } else {
            root.copy_public(&inside, &mut budget)?;
        }
    }
    root.directory("/etc/postern", 0o755)?;
    root.link("/etc/mtab", Path::new("/proc/self/mounts"))?;
    for (name, text) in own_files(spec) {
        root.file(&Path::new("/etc").join(name), 0o644, text.as_bytes())?;
    }
    Ok(())
}

fn budget() -> CopyBudget {
    CopyBudget { entries: 8192, file_bytes: 4 << 20 }
}

fn own_files(spec: &InstanceSpec) -> [(&'static str, String); 7] {
    [
        ("group", groups()),
        ("hostname", format!("{}\n", spec.host_name)),
        ("hosts", hosts(spec)),
        ("nsswitch.conf", name_services()),
        ("passwd", users()),
        ("resolv.conf", resolver(spec)),
        ("machine-id", machine_id(&spec.name)),
    ]
}

fn users() -> String {
    let shell = login_shell();
    format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         sshd:x:74:74:sshd:/run/sshd:/usr/sbin/nologin\n\
         {LOGIN_USER}:x:{LOGIN_ID}:{LOGIN_ID}:{LOGIN_USER}:{LOGIN_HOME}:{shell}\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

/// The shell that the login user gets: the host's bash where it has one.
pub(super) fn login_shell() -> &'static str {
    if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" }
}

/// INVARIANT: no group `tty`, to which a server without privilege could not give a terminal.
fn groups() -> String {
    format!("root:x:0:\nsshd:x:74:\n{LOGIN_USER}:x:{LOGIN_ID}:\nnogroup:x:65534:\n")
}

fn name_services() -> String {
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n\
     networks: files\nprotocols: files\nservices: files\n"
        .to_owned()
}

fn hosts(spec: &InstanceSpec) -> String {
    let mut text = "127.0.0.1 localhost localhost.localdomain\n".to_owned();
    for (address, name) in &spec.host_entries {
        let _ = writeln!(text, "{address} {name}");
    }
    text
}

fn resolver(spec: &InstanceSpec) -> String {
    let mut text = String::new();
    if let Some(domain) = &spec.domain {
        let _ = writeln!(text, "search {domain}");
    }
    for server in &spec.name_servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    // As on AWS's own images: a lost answer is asked for again soon.
    text.push_str("options timeout:2 attempts:5\n");
    text
}

/// Thirty-two hexadecimal digits that are the instance's alone and the same at every start.
fn machine_id(name: &str) -> String {
    let mut halves = [0xcbf2_9ce4_8422_2325_u64, 0x9ae1_6a3b_2f90_404f];
    for byte in name.bytes() {
        for half in &mut halves {
            *half = (*half ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{:016x}{:016x}\n", halves[0], halves[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_the_resolver_given() {
        let mut spec = InstanceSpec::new("i-1", "ip-10-0-0-5");
        spec.domain = Some("ec2.internal".to_owned());
        spec.name_servers.push([10, 0, 0, 2].into());
        spec.host_entries.push(([10, 0, 0, 5].into(), "ip-10-0-0-5".to_owned()));
        assert_eq!(
            resolver(&spec),
            "search ec2.internal\nnameserver 10.0.0.2\noptions timeout:2 attempts:5\n"
        );
        assert!(hosts(&spec).ends_with("\n10.0.0.5 ip-10-0-0-5\n"));
    }

    #[test]
    fn machine_ids_differ() {
        assert_eq!(machine_id("i-1").len(), 33);
        assert_ne!(machine_id("i-1"), machine_id("i-2"));
    }
}

//! The end: nothing is left, however it comes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern_dataplane::host::{self, ExitStatus, HostError, Mac, PortSpec};

use crate::cases::{PATIENCE, launch, spec, start_host, try_start, words};
use crate::{CASE_VARIABLE, Context};

/// Programs that a case starts in order to kill them.
pub fn victim(name: &str) -> Option<fn(&Context)> {
    match name {
        "victim" => Some(busy_victim),
        "restless_victim" => Some(restless_victim),
        _ => None,
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// Has instances, ports and programs, and waits for its end.
fn busy_victim(context: &Context) {
    let host = start_host(context);
    for n in 0..3_u8 {
        let instance = host.create_instance(&spec(context, &format!("i-{n}"))).unwrap();
        host.create_port(&PortSpec {
            target: instance.network().clone(),
            inside_name: "ens5".to_owned(),
            mac: Mac([2, 0, 0, 0, 0, n]),
            mtu: 9001,
            addresses: Vec::new(),
            gateway: None,
            neighbours: Vec::new(),
            routes: Vec::new(),
        })
        .unwrap();
        // One that ignores what can be ignored, in a session of its own.
        let script = "trap '' TERM HUP INT; setsid sleep 1000 & echo up; wait";
        let (_, mut output) = launch(&instance, &words(&["sh", "-c", script]));
        output.read_exact(&mut [0; 3]).unwrap();
    }
    say("ready");
    std::thread::sleep(Duration::from_secs(1000));
    drop(host);
}

/// Makes and destroys instances for ever.
fn restless_victim(context: &Context) {
    say("ready");
    let host = start_host(context);
    loop {
        let instance = host.create_instance(&spec(context, "i-1")).unwrap();
        launch(&instance, &words(&["sleep", "1000"]));
        host.destroy_instance("i-1", Duration::ZERO).unwrap();
    }
}

/// A victim does not outlive its case, even if that fails before it has killed it.
struct Victim(Child);

impl Victim {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start_victim(context: &Context, name: &str) -> Victim {
    let mut child =
        Command::new(&context.program).env(CASE_VARIABLE, name).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let victim = Victim(child);
    assert_eq!(line.trim(), "ready");
    victim
}

/// Every process that runs: its number and start time, its parent. One that has ended and waits for the system's
/// first process to take note of it holds nothing any more.
fn processes() -> Vec<((u32, String), u32)> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter_map(|pid: u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            if matches!(*fields.first()?, "Z" | "X") {
                return None;
            }
            Some(((pid, fields.get(19)?.to_string()), fields.get(1)?.parse().ok()?))
        })
        .collect()
}

/// All processes below this one.
fn descendants(of: u32) -> BTreeSet<(u32, String)> {
    let all = processes();
    let mut found: BTreeSet<(u32, String)> = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for (process, _) in all.iter().filter(|(_, its_parent)| *its_parent == parent) {
            if found.insert(process.clone()) {
                parents.push(process.0);
            }
        }
    }
    found
}

fn alive(wanted: &BTreeSet<(u32, String)>) -> Vec<(u32, String)> {
    processes().into_iter().map(|(process, _)| process).filter(|process| wanted.contains(process)).collect()
}

/// Network namespaces that processes are in, as far as they can be seen.
fn networks(of: impl Iterator<Item = u32>) -> BTreeSet<String> {
    of.filter_map(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

fn wait_until_gone(below: &BTreeSet<(u32, String)>) -> Duration {
    let began = Instant::now();
    while !alive(below).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(5), "still there: {:?}", alive(below));
        std::thread::sleep(Duration::from_millis(1));
    }
    began.elapsed()
}

fn runtime_dir_is_empty(context: &Context) {
    let left: Vec<_> =
        fs::read_dir(context.dir.join("run")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "left on disk: {left:?}");
}

pub fn kill_leaves_nothing(context: &Context) {
    let mounts_before = mounts();
    let mut victim = start_victim(context, "victim");
    let below = descendants(victim.0.id());
    // The keeper, and of each instance init, a shell and a sleep.
    assert!(below.len() > 3 * 3, "{below:?}");
    let own = networks(std::iter::once(std::process::id()));
    let theirs: BTreeSet<String> =
        networks(below.iter().map(|(pid, _)| *pid)).difference(&own).cloned().collect();
    if context.root {
        assert_eq!(theirs.len(), 4, "keeper and instances each have a network: {theirs:?}");
    }
    runtime_dir_is_empty(context);
    assert_eq!(mounts(), mounts_before, "the host sees mounts of the region");
    victim.kill();
    println!("note: all gone {:?} after the kill", wait_until_gone(&below));
    let now = networks(processes().into_iter().map(|((pid, _), _)| pid));
    assert!(theirs.is_disjoint(&now), "a network outlived its region");
    assert_eq!(mounts(), mounts_before);
    runtime_dir_is_empty(context);
}

pub fn kill_at_any_moment(context: &Context) {
    // What loses its parent comes to this process, and not to the system's first one, where others' orphans are as well.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    // Reproducible: the moments are fixed fractions of the time that starting and building take.
    for round in 0..12_u64 {
        let mut victim = start_victim(context, "restless_victim");
        std::thread::sleep(Duration::from_micros(round * round * 700));
        let below = descendants(victim.0.id());
        victim.kill();
        wait_until_gone(&below);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = descendants(std::process::id());
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "left without a parent: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn shutdown_leaves_nothing(context: &Context) {
    let host = start_host(context);
    let instance = host.create_instance(&spec(context, "i-1")).unwrap();
    let (child, _out) = launch(&instance, &words(&["sleep", "1000"]));
    let below = descendants(std::process::id());
    assert!(below.len() >= 3, "{below:?}");
    host.shutdown(Duration::from_secs(2)).unwrap();
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Signalled(15)));
    assert!(alive(&below).is_empty(), "{:?}", alive(&below));
    host.shutdown(Duration::ZERO).unwrap();
    let after = host.create_instance(&spec(context, "i-2")).unwrap_err();
    assert_eq!(after.to_string(), "the keeper of the instances has ended");
    drop(host);
    runtime_dir_is_empty(context);
}

pub fn keeper_death_is_seen(context: &Context) {
    let host = start_host(context);
    let instance = host.create_instance(&spec(context, "i-1")).unwrap();
    let (child, _out) = launch(&instance, &words(&["sleep", "1000"]));
    let below = descendants(std::process::id());
    let me = std::process::id();
    let (keeper, _) = processes().into_iter().find(|(_, parent)| *parent == me).unwrap();
    let keeper = nix::unistd::Pid::from_raw(i32::try_from(keeper.0).unwrap());
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::InstanceEnded));
    assert!(instance.has_ended());
    let after = host.create_instance(&spec(context, "i-2")).unwrap_err();
    assert_eq!(after.to_string(), "the keeper of the instances has ended");
    assert!(host.shutdown(Duration::ZERO).is_err(), "the loss is reported");
    assert!(alive(&below).is_empty(), "{:?}", alive(&below));
}

pub fn too_late(context: &Context) {
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || finished.recv());
    let error = try_start(context).unwrap_err();
    assert!(matches!(error, HostError::TooLate(_)), "{error}");
    drop(finish);
    let _ = thread.join();
    let file = context.dir.join("file");
    fs::write(&file, "").unwrap();
    let options = host::StartOptions { runtime_dir: file.join("run"), hidden: Vec::new() };
    let error = host::start(options).unwrap_err();
    assert!(error.to_string().contains("file/run`"), "{error}");
}

/// A copy of a descriptor of this process.
#[expect(unsafe_code, reason = "standard descriptors have no owner to borrow from")]
pub fn copy_standard(number: i32) -> OwnedFd {
    // SAFETY: the standard descriptors stay open for the life of the process.
    unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().unwrap()
}

/// Makes a standard descriptor a copy of another.
#[expect(unsafe_code, reason = "standard descriptors have no owner to replace")]
pub fn replace_standard(with: BorrowedFd<'_>, number: i32) {
    // SAFETY: plain values; the standard library refers to standard descriptors by number only.
    assert!(unsafe { libc::dup2(with.as_raw_fd(), number) } >= 0);
}

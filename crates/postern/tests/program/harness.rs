//! A region as a process: the built program with a state directory of its own, started by root or by an ordinary
//! user, and watched so that nothing of it is left when it has ended.
//!
//! INVARIANT: only processes that were started here are ever killed, by their number.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::aws::Aws;

/// A user number that no system uses.
const NOBODY_IN_PARTICULAR: u32 = 61_234;
/// How long a region may take to be ready, on a busy machine.
const READY_PATIENCE: Duration = Duration::from_secs(40);
/// How long a command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// Lays the checkout, at the path it has, into a view of the file system in which an ordinary user can enter every
/// folder on the way to it: $1 is the closed folder, $2 the checkout, $3 the user; the rest is what to run.
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
exec setpriv --reuid \"$user\" --regid \"$user\" --clear-groups --inh-caps=-all \"$@\"
";

/// Who runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Root, in the first user namespace.
    Root,
    /// Somebody without any privilege or group.
    User,
}

/// A test for each way.
#[macro_export]
macro_rules! both_ways {
    ($($name:ident),+ $(,)?) => {
        mod as_root {
            $(#[test] fn $name() { $crate::harness::World::of($crate::harness::Way::Root, super::$name); })+
        }
        mod as_user {
            $(#[test] fn $name() { $crate::harness::World::of($crate::harness::Way::User, super::$name); })+
        }
    };
}

/// A test for the way that the tests were started, where the other one would show nothing else.
#[macro_export]
macro_rules! one_way {
    ($($name:ident),+ $(,)?) => {
        mod as_whoever {
            $(#[test] fn $name() { $crate::harness::World::of($crate::harness::Way::any(), super::$name); })+
        }
    };
}

impl Way {
    /// The way that the tests were started.
    pub fn any() -> Self {
        if is_root() { Self::Root } else { Self::User }
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A directory of a test's own, with everything that it starts.
pub struct World {
    pub way: Way,
    dir: tempfile::TempDir,
}

impl World {
    /// Runs a case, unless it needs root and we are not.
    pub fn of(way: Way, case: fn(&World)) {
        if way == Way::Root && !is_root() {
            println!("skipped: only root can run this one");
            return;
        }
        case(&World::new(way));
    }

    pub fn new(way: Way) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-program-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = Self { way, dir };
        fs::create_dir(world.home()).unwrap();
        world.hand_over(&world.home());
        world
    }

    /// Whether programs must be started as somebody else than we are.
    fn drops(&self) -> bool {
        self.way == Way::User && is_root()
    }

    /// Gives a file to who runs the program.
    pub fn hand_over(&self, path: &Path) {
        if self.drops() {
            chown(path, Some(NOBODY_IN_PARTICULAR), Some(NOBODY_IN_PARTICULAR)).unwrap();
        }
    }

    /// A directory of who runs the program.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Where a state directory is, by name. It is made by the program.
    pub fn state(&self, name: &str) -> PathBuf {
        self.home().join(name)
    }

    /// A program as this way's user, with nothing of our environment.
    pub fn command(&self, program: &Path) -> Command {
        let checkout = checkout();
        let mut command = match closed_ancestor(&checkout).filter(|_| self.drops()) {
            Some(closed) => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", OPEN_VIEW, "sh"]).arg(closed).arg(&checkout);
                command.arg(NOBODY_IN_PARTICULAR.to_string()).arg(program);
                command
            }
            None => {
                let mut command = Command::new(program);
                if self.drops() {
                    // With a user and no list of groups, the standard library clears the groups as well.
                    command.uid(NOBODY_IN_PARTICULAR).gid(NOBODY_IN_PARTICULAR);
                }
                command
            }
        };
        // The host's own programs first, and for those that it lacks the installed ones.
        let path = format!("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:{}/bin", tools().display());
        command.env_clear().env("PATH", path).env("LANG", "C.UTF-8");
        command.env("HOME", self.home()).env("RUST_BACKTRACE", "1").current_dir("/");
        command.stdin(Stdio::null());
        command
    }

    /// The program with a state directory and arguments.
    pub fn postern(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_postern")));
        command.arg("--state-dir").arg(state).args(arguments);
        // A killed region leaves nothing, but where that is what a case is about.
        if arguments.first() == Some(&"up") && !arguments.contains(&"--linger") {
            command.args(["--linger", "0"]);
        }
        command
    }

    /// A region of this world that is ready, in the state directory `state`.
    pub fn up(&self, arguments: &[&str]) -> Region<'_> {
        self.up_in("state", arguments)
    }

    /// The same in another state directory.
    pub fn up_in(&self, state: &str, arguments: &[&str]) -> Region<'_> {
        let tools = tools();
        let with_tools = [&["--tools", tools.to_str().unwrap()], arguments].concat();
        match self.try_up(&self.state(state), &with_tools) {
            Ok(region) => region,
            Err(why) => panic!("the region did not come up: {why}"),
        }
    }

    /// Starts a region and waits until it says that it is ready; otherwise what it printed before it ended.
    pub fn try_up(&self, state: &Path, arguments: &[&str]) -> Result<Region<'_>, String> {
        let command = self.postern(state, &[&["up", "--listen", "127.0.0.1:0"], arguments].concat());
        self.start(command, state)
    }

    /// Starts a region by a command of the caller's.
    pub fn start(&self, mut command: Command, state: &Path) -> Result<Region<'_>, String> {
        let log = tempfile::tempfile_in(self.dir.path()).unwrap();
        command.stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut region = Region {
            world: self,
            child: Some(child),
            state: state.to_owned(),
            url: String::new(),
            packets: String::new(),
            log,
            seen: Seen::default(),
            beside: None,
        };
        match lines.recv_timeout(READY_PATIENCE) {
            Ok(line) => {
                let (url, packets) = line
                    .strip_prefix("ready: ")
                    .and_then(|line| line.split_once(" (packets: "))
                    .unwrap_or_else(|| {
                        panic!("`{line}` does not say where the region is; it logged:\n{}", region.logged())
                    });
                region.url = url.to_owned();
                region.packets = packets.trim_end_matches(')').to_owned();
                Ok(region)
            }
            Err(_) => {
                let ended = region.wait_for_end(Duration::from_secs(1));
                let said = region.logged();
                region.kill();
                Err(format!(
                    "{} {said}",
                    ended.map_or("it did not end;".to_owned(), |status| status.to_string())
                ))
            }
        }
    }
}

impl Drop for World {
    /// What a killed region of a case that failed would leave for a while ends with the case.
    fn drop(&mut self) {
        let states =
            fs::read_dir(self.home()).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        for state in states.filter(|state| state.join("run/keeper.sock").exists()) {
            let _ = self.postern(&state, &["down"]).stderr(Stdio::null()).status();
        }
    }
}

/// The checkout.
pub fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// The client programs.
pub fn tools() -> PathBuf {
    let told = std::env::var_os("POSTERN_TOOLS").map(PathBuf::from);
    let tools = told.unwrap_or_else(|| checkout().join("target/tools"));
    for program in ["python3", "aws"] {
        let program = tools.join("bin").join(program);
        assert!(
            program.exists(),
            "`{}` is not there: run `cargo xtask install --for test`",
            program.display()
        );
    }
    tools
}

/// The first folder on the way to `path` that other users cannot enter.
fn closed_ancestor(path: &Path) -> Option<PathBuf> {
    let mut folders: Vec<&Path> = path.ancestors().collect();
    folders.reverse();
    let closed = |folder: &&&Path| {
        fs::metadata(folder).map_or(true, |found| found.permissions().mode() & 0o005 != 0o005)
    };
    folders.iter().find(closed).map(|folder| folder.to_path_buf())
}

/// A region that runs.
pub struct Region<'w> {
    pub world: &'w World,
    child: Option<Child>,
    pub state: PathBuf,
    pub url: String,
    /// How packets move, as it said.
    pub packets: String,
    log: fs::File,
    seen: Seen,
    /// A process that the case put the region beside; its namespaces outlive the region.
    pub beside: Option<u32>,
}

/// Processes and namespaces that a region had.
#[derive(Default)]
struct Seen {
    /// With the time of their start, so that a number that is used again is somebody else.
    processes: BTreeSet<(i32, u64)>,
    namespaces: BTreeSet<String>,
}

impl Region<'_> {
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.as_ref().expect("it runs").id().try_into().unwrap())
    }

    /// What it logged.
    pub fn logged(&self) -> String {
        use std::os::unix::fs::FileExt;
        let mut text = vec![0; 1 << 20];
        let length = self.log.read_at(&mut text, 0).unwrap();
        text.truncate(length);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Remembers what there is now of processes and namespaces.
    pub fn look(&mut self) {
        let mut own = namespaces(std::process::id().try_into().unwrap());
        let beside = self.beside.map(|pid| namespaces(pid.try_into().unwrap()));
        own.extend(beside.into_iter().flatten());
        let up = self.pid().as_raw();
        for pid in descendants(up) {
            if let Some(started) = start_time(pid) {
                self.seen.processes.insert((pid, started));
                self.seen.namespaces.extend(namespaces(pid).difference(&own).cloned());
            }
        }
    }

    /// How many processes it has, itself included.
    pub fn processes(&self) -> usize {
        descendants(self.pid().as_raw()).len()
    }

    /// Runs a command of the command line against it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.world.postern(&self.state, arguments), b"")
    }

    /// The JSON that a command prints; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[&["--output", "json"], arguments].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// What runs in an instance.
    pub fn exec(&self, instance: &str, argv: &[&str]) -> Ran {
        self.run(&[&["exec", instance, "--"], argv].concat())
    }

    /// What a shell in an instance prints; it must succeed.
    pub fn sh(&self, instance: &str, script: &str) -> String {
        let ran = self.exec(instance, &["/bin/sh", "-c", script]);
        assert_eq!(ran.code, Some(0), "`{script}` in {instance}: {}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// The API as the root user of the first account.
    pub fn aws(&self) -> Aws {
        Aws::from_environment(&self.json(&["env"]))
    }

    /// Address and port of the API.
    pub fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn wait_for_end(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let child = self.child.as_mut().expect("it runs");
        let deadline = Instant::now() + patience;
        loop {
            match child.try_wait().unwrap() {
                Some(status) => return Some(status),
                None if Instant::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Ends it by a signal, and checks that it ended well and that nothing is left.
    pub fn end_by(mut self, signal: Signal) {
        self.look();
        self.signal(signal);
        let status = self.wait_for_end(Duration::from_secs(20));
        let status = status.unwrap_or_else(|| panic!("{signal} does not end it: {}", self.logged()));
        assert!(status.success(), "{status}: {}", self.logged());
        self.gone(Duration::from_secs(1));
        self.nothing_in_run();
    }

    /// The same with its own command.
    pub fn down(mut self) {
        self.look();
        let ran = self.run(&["down"]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        // The command returns when the region has ended, but we have not waited for our child yet.
        let status = self.wait_for_end(Duration::from_secs(1)).expect("`down` waits for the end");
        assert!(status.success(), "{status}: {}", self.logged());
        self.gone(Duration::from_secs(1));
        self.nothing_in_run();
    }

    /// Kills it, and checks that nothing of it lives a second later.
    pub fn killed(mut self) {
        if self.child.is_some() {
            self.look();
        }
        self.gone(Duration::from_secs(1));
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Checks that nothing of it is left: no process, no namespace, no mount.
    pub fn gone(&mut self, patience: Duration) {
        self.kill();
        let deadline = Instant::now() + patience;
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:?}\n{}", self.logged());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for &(pid, started) in &self.seen.processes {
            if start_time(pid) == Some(started) && state_of(pid) != Some('Z') {
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                left.push(format!("process {pid} {}", name.trim()));
            }
        }
        let foreign = |pid: i32| of_a_region(pid) || self.is_of_another_keeper(pid);
        for pid in all_processes().into_iter().filter(|pid| state_of(*pid) != Some('Z') && !foreign(*pid)) {
            left.extend(
                namespaces(pid)
                    .intersection(&self.seen.namespaces)
                    .map(|x| format!("process {pid} is in {x}")),
            );
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let state = self.state.display().to_string();
        let ours = |line: &&str| {
            line.contains(&state)
                || self.seen.namespaces.iter().any(|namespace| line.contains(namespace.as_str()))
        };
        left.extend(mounts.lines().filter(ours).map(|line| format!("mount {line}")));
        left
    }

    /// Whether a process is, or descends from, a keeper that was never ours: those that linger have no region above them.
    fn is_of_another_keeper(&self, pid: i32) -> bool {
        let is_keeper = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postern-keeper")
        };
        let ours =
            |pid: &i32| start_time(*pid).is_some_and(|start| self.seen.processes.contains(&(*pid, start)));
        std::iter::successors(Some(pid), |pid| parent(*pid)).any(|pid| is_keeper(&pid) && !ours(&pid))
    }

    /// What lives only while the region runs is gone with it.
    fn nothing_in_run(&self) {
        let left: Vec<String> =
            names_in(&self.state.join("run")).into_iter().filter(|name| name != "lock").collect();
        assert!(left.is_empty(), "left in the runtime directory: {left:?}");
    }
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.look();
        self.kill();
        if std::thread::panicking() {
            eprintln!("the region logged:\n{}", self.logged());
        } else {
            self.gone(Duration::from_secs(2));
        }
    }
}

/// The names of what is in a directory, in order.
pub fn names_in(directory: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("`{}`: {error}", directory.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn all_processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Fields of `/proc/PID/stat` after the name, which may hold anything: the first is the state.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn state_of(pid: i32) -> Option<char> {
    stat(pid)?.first()?.chars().next()
}

fn start_time(pid: i32) -> Option<u64> {
    stat(pid)?.get(19)?.parse().ok()
}

/// A process and all that descend from it.
pub fn descendants(root: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> =
        all_processes().into_iter().filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| found.contains(parent))
                .map(|(pid, _)| *pid)
                .collect::<Vec<_>>(),
        );
        if found.len() == before {
            return found;
        }
    }
}

/// The process above one, if that is not the first of all.
fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.get(1)?.parse::<i32>().ok().filter(|parent| *parent > 1)
}

/// Whether a process descends from a region that runs. The numbers of namespaces are used again at once, so another
/// case's region may have one that was ours.
fn of_a_region(pid: i32) -> bool {
    let is_region = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.split(|b| *b == 0).any(|word| word == b"up"))
    };
    std::iter::successors(parent(pid), |pid| parent(*pid)).any(|pid| is_region(&pid))
}

/// Names of the namespaces of a process, as far as they can be seen.
fn namespaces(pid: i32) -> BTreeSet<String> {
    let kinds = ["net", "mnt", "pid", "user", "uts", "ipc"];
    let link = |kind: &&str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    kinds.iter().filter_map(link).map(|path| path.display().to_string()).collect()
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Standard output as it came.
    pub bytes: Vec<u8>,
}

impl Ran {
    /// Runs a command to its end with this input.
    pub fn of(mut command: Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        std::thread::spawn(move || {
            use std::io::Write;
            // The program need not read all of it.
            let _ = stdin.write_all(&input);
        });
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let (done, is_done) = mpsc::channel::<()>();
        let watch = std::thread::spawn(move || {
            let slow = is_done.recv_timeout(COMMAND_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
            if slow {
                let _ = kill(pid, Signal::SIGKILL);
            }
            slow
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        drop(done);
        assert!(!watch.join().unwrap(), "{command:?} takes more than {} s", COMMAND_PATIENCE.as_secs());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: status.code(), stdout: text(&stdout), stderr: text(&stderr), bytes: stdout }
    }

    /// What it said, after having failed.
    #[track_caller]
    pub fn failure(&self) -> &str {
        assert_ne!(self.code, Some(0), "it succeeded: {}", self.stdout);
        &self.stderr
    }
}

/// Waits until something holds.
#[track_caller]
pub fn eventually<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A process that does nothing but keep a network namespace of its own. Only root can start one.
pub struct Holder(Child);

impl Holder {
    pub fn with_network() -> Self {
        let child = Command::new("/usr/bin/unshare").args(["--net", "sleep", "600"]).spawn().unwrap();
        let holder = Self(child);
        let network = |pid: String| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        eventually("it has a network of its own", 10, || {
            let its = network(holder.pid().to_string())?;
            (Some(its) != network("self".to_owned())).then_some(())
        });
        holder
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that is spoken with, a line at a time.
pub struct Talk {
    child: Child,
    to: Option<std::process::ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Region<'_> {
    /// Starts a program in an instance to speak with.
    pub fn talk(&self, instance: &str, argv: &[&str]) -> Talk {
        let mut command = self.world.postern(&self.state, &[&["exec", instance, "--"], argv].concat());
        Talk::with(&mut command)
    }

    /// Starts a command of the program that goes on.
    pub fn keep_running(&self, arguments: &[&str]) -> Talk {
        Talk::with(&mut self.world.postern(&self.state, arguments))
    }
}

impl Talk {
    /// Starts any program to speak with.
    pub fn with(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, to, lines }
    }

    /// The next line that it prints.
    #[track_caller]
    pub fn hear(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("it answers")
    }

    /// Says something without waiting for an answer.
    pub fn tell(&mut self, line: &str) {
        use std::io::Write;
        let to = self.to.as_mut().unwrap();
        writeln!(to, "{line}").and_then(|()| to.flush()).unwrap();
    }

    /// Says something and hears the answer.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.hear()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! One instance: what it is, what it may, and how programs run in it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dataplane::host::{
    Child, ExitStatus, FileSpec, Host, HostError, Instance, InstanceError, InstanceSpec, Privilege,
    ProgramSpec, SpawnError, StartOptions, Stdio, WindowSize, fdpass, start,
};

use crate::Context;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn start_host(context: &Context) -> Host {
    match try_start(context) {
        Ok(host) => host,
        Err(error) => panic!("{error}"),
    }
}

pub fn try_start(context: &Context) -> Result<Host, HostError> {
    start(StartOptions { runtime_dir: context.dir.join("run"), hidden: vec![context.dir.clone()] })
}

/// An instance that can run this executable as a tool.
pub fn spec(context: &Context, name: &str) -> InstanceSpec {
    let mut spec = InstanceSpec::new(name, "ip-10-0-0-5");
    spec.read_only_binds.push(context.program.parent().unwrap().to_owned());
    spec
}

pub fn words(argv: &[&str]) -> ProgramSpec {
    ProgramSpec::new(argv.iter().map(|&word| word.to_owned()).collect())
}

/// Starts a program whose output can be read.
pub fn launch(instance: &Instance, program: &ProgramSpec) -> (Child, fs::File) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let stdin = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    let stdio = Stdio::Descriptors([stdin, writer.try_clone().unwrap(), writer]);
    match instance.spawn(program, stdio) {
        Ok(child) => (child, reader.into()),
        Err(error) => panic!("{error}"),
    }
}

/// Runs a program to its end: how it ended, and what it printed.
pub fn run(instance: &Instance, program: &ProgramSpec) -> (ExitStatus, String) {
    let (child, mut output) = launch(instance, program);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (child.wait_timeout(PATIENCE).expect("an end"), text)
}

pub fn shell(instance: &Instance, script: &str) -> (ExitStatus, String) {
    run(instance, &words(&["/bin/sh", "-c", script]))
}

pub fn tool(context: &Context, arguments: &[&str]) -> ProgramSpec {
    let program = context.program.to_str().unwrap();
    let argv: Vec<&str> = [program, "tool"].into_iter().chain(arguments.iter().copied()).collect();
    words(&argv)
}

fn instance(context: &Context, host: &Host) -> Arc<Instance> {
    host.create_instance(&spec(context, "i-1")).unwrap_or_else(|error| panic!("{error}"))
}

pub fn isolation(context: &Context) {
    fs::write(context.dir.join("secret"), "swordfish").unwrap();
    let host = start_host(context);
    let expected = if context.root { Privilege::Root } else { Privilege::Unprivileged };
    assert_eq!(host.privilege(), expected);
    let instance = instance(context, &host);
    let check = |script: &str, expected: &str| {
        let (_, text) = shell(&instance, script);
        assert_eq!(text.trim(), expected, "{script}");
    };
    check("id -u; id -g; id -un", "1000\n1000\nec2-user");
    check("ls /root 2>/dev/null || echo refused", "refused");
    for path in ["/x", "/usr/x", "/etc/x", "/dev/x", "/sys/x", "/proc/sys/kernel/hostname"] {
        check(&format!("(echo x > {path}) 2>/dev/null && echo written || echo refused"), "refused");
    }
    for path in ["/home/ec2-user/x", "/tmp/x", "/var/tmp/x", "/run/user/1000/x", "/dev/shm/x"] {
        check(&format!("echo x > {path} && cat {path}"), "x");
    }
    check("ls -A /home /mnt /media", "/home:\nec2-user\n\n/media:\n\n/mnt:");
    check("ls /boot /etc/shadow 2>/dev/null | wc -l", "0");
    // Nothing of the host but programs and libraries: no data, no sockets.
    check("ls -d /srv /opt /data /snap 2>/dev/null | wc -l", "0");
    let known = "bin dev etc home lib lib32 lib64 libx32 media mnt nix proc root run sbin sys tmp usr var";
    let extra: Vec<&str> = context.dir.components().filter_map(|part| part.as_os_str().to_str()).collect();
    let (_, listed) = shell(&instance, "ls /");
    for name in listed.split_whitespace() {
        assert!(known.split(' ').any(|k| k == name) || extra.contains(&name), "`/{name}` is shown");
    }
    check(&format!("cat {}/secret 2>/dev/null || echo hidden", context.dir.display()), "hidden");
    check(
        "grep -c . /proc/self/mountinfo > /dev/null; findmnt -n / >/dev/null 2>&1; echo $$ | grep -cE '^[0-9]{1,3}$'",
        "1",
    );
    // Init, this shell, and the three that it runs.
    check("ls -d /proc/[0-9]* | wc -l | awk '{ print ($1 <= 5) }'", "1");
    check(
        "grep -E '^(NoNewPrivs|CapInh|CapPrm|CapEff|CapBnd|CapAmb)' /proc/self/status | awk '{print $2}' | sort -u | tr '\\n' ' '",
        "0000000000000000 1",
    );
    check("cat /proc/1/environ /proc/1/maps /proc/1/fd/0 2>/dev/null | wc -c", "0");
    check("tr '\\0' ' ' < /proc/1/cmdline | grep -c case", "0");
    check("ls /sys/class/net", "lo");
    check("cat /proc/sys/net/ipv6/conf/lo/disable_ipv6 2>/dev/null || echo 1", "1");
    check("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    check(
        "grep -E 'core file|processes' /proc/self/limits | tr -s ' ' | cut -d' ' -f3,5",
        "file 0\n4096 processes",
    );
    check("cat /proc/self/oom_score_adj", "500");
    check("umask", "0022");
    check("cat /proc/self/uid_map | awk '{print $1, $3}'", if context.root { "0 65536" } else { "1000 1" });
    check("for d in / /dev /etc /root /sys /usr; do test -w $d && echo $d; done", "");
    check("ls -l /proc/self/fd | grep -c -- '->'", "4");
    let (status, text) = run(&instance, &tool(context, &["privileges"]));
    assert_eq!((status, text.trim()), (ExitStatus::Exited(0), "nothing"));
    unreachable_host(context, &instance);
    let (_, text) = run(&instance, &words(&["env"]));
    let mut variables: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    variables.sort_unstable();
    assert_eq!(variables, ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER", "XDG_RUNTIME_DIR"]);
    if context.root {
        let second = host.create_instance(&spec(context, "i-2")).unwrap();
        let base = |instance: &Instance| shell(instance, "awk '{print $2}' /proc/self/uid_map").1;
        assert_ne!(base(&instance), base(&second), "instances share user numbers");
    }
    host.shutdown(Duration::ZERO).unwrap();
}

/// A directory in the middle of what is shown, and one in that which is shown all the same.
pub fn hidden_directories(context: &Context) {
    let shown = PathBuf::from("/usr/share/zoneinfo");
    let shown = if shown.is_dir() { shown } else { first_directory("/usr/share") };
    let options = StartOptions {
        runtime_dir: context.dir.join("run"),
        hidden: vec!["/usr/share".into(), "/no/where".into()],
    };
    let host = start(options).unwrap_or_else(|error| panic!("{error}"));
    let mut spec = spec(context, "i-1");
    spec.read_only_binds.push(shown.clone());
    let instance = host.create_instance(&spec).unwrap_or_else(|error| panic!("{error}"));
    let name = shown.file_name().unwrap().to_str().unwrap();
    assert_eq!(shell(&instance, "ls -A /usr/share").1.trim(), name);
    let entries = fs::read_dir(&shown).unwrap().count().to_string();
    assert_eq!(shell(&instance, &format!("ls -A {} | wc -l", shown.display())).1.trim(), entries);
    for path in ["/usr/share/x".to_owned(), format!("{}/x", shown.display())] {
        let text = shell(&instance, &format!("(echo x > {path}) 2>/dev/null || echo refused")).1;
        assert_eq!(text.trim(), "refused", "{path}");
    }
}

fn first_directory(path: &str) -> PathBuf {
    let mut entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir() && !path.is_symlink()).unwrap()
}

/// Neither ports nor abstract sockets of the host can be reached.
fn unreachable_host(context: &Context, instance: &Instance) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (status, _) = run(instance, &tool(context, &["fetch", &address, "0"]));
    assert_eq!(status, ExitStatus::Exited(1), "the host's loopback is reachable");
    let name = format!("postern-test-{}", std::process::id());
    let at =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
    let _listener = UnixListener::bind_addr(&at.unwrap()).unwrap();
    let (status, _) = run(instance, &tool(context, &["abstract", &name]));
    assert_eq!(status, ExitStatus::Exited(1), "the host's abstract sockets are reachable");
}

pub fn identity_and_files(context: &Context) {
    let host = start_host(context);
    let mut spec = spec(context, "i-1");
    spec.domain = Some("ec2.internal".to_owned());
    spec.name_servers = vec![[10, 0, 0, 2].into()];
    spec.host_entries = vec![([10, 0, 0, 5].into(), "ip-10-0-0-5.ec2.internal".to_owned())];
    spec.environment = vec![("AWS_DEFAULT_REGION".to_owned(), "eu-west-1".to_owned())];
    let file =
        |path: &str, mode: u32, bytes: &[u8]| FileSpec { path: path.into(), mode, bytes: bytes.to_vec() };
    let large = vec![7_u8; 3 << 20];
    spec.files = vec![
        file("/home/ec2-user/.ssh/authorized_keys", 0o600, b"ssh-ed25519 AAAA\n"),
        file("/etc/postern/ca.pem", 0o644, b"certificate\n"),
        file("/var/lib/x/large", 0o644, &large),
    ];
    let instance = host.create_instance(&spec).unwrap_or_else(|error| panic!("{error}"));
    let check = |script: &str, expected: &str| {
        let (_, text) = shell(&instance, script);
        assert_eq!(text.trim(), expected, "{script}");
    };
    check("hostname; cat /etc/hostname", "ip-10-0-0-5\nip-10-0-0-5");
    check("cat /etc/resolv.conf", "search ec2.internal\nnameserver 10.0.0.2\noptions timeout:2 attempts:5");
    check("getent hosts ip-10-0-0-5.ec2.internal", "10.0.0.5        ip-10-0-0-5.ec2.internal");
    check("cut -d: -f1 /etc/passwd | tr '\\n' ' '", "root sshd ec2-user nobody");
    check("stat -c '%a %U' ~/.ssh/authorized_keys ~", "600 ec2-user\n700 ec2-user");
    check("cat ~/.ssh/authorized_keys /etc/postern/ca.pem", "ssh-ed25519 AAAA\ncertificate");
    check("stat -c %s /var/lib/x/large", &large.len().to_string());
    check("pwd; echo $AWS_DEFAULT_REGION; echo $HOME", "/home/ec2-user\neu-west-1\n/home/ec2-user");
    check(&format!("ls {}", context.program.parent().unwrap().display()), "case");
    let mut program = words(&["sh", "-c", "echo $ONE $AWS_DEFAULT_REGION; pwd"]);
    program.environment =
        vec![("ONE".to_owned(), "1".to_owned()), ("AWS_DEFAULT_REGION".to_owned(), "b".to_owned())];
    program.directory = "/tmp".to_owned();
    assert_eq!(run(&instance, &program).1, "1 b\n/tmp\n");
    if context.root {
        check("stat -c '%U' / /etc /etc/passwd /tmp | sort -u", "root");
    }
}

pub fn exit_status(context: &Context) {
    let host = start_host(context);
    let instance = instance(context, &host);
    assert_eq!(shell(&instance, "exit 42").0, ExitStatus::Exited(42));
    assert_eq!(shell(&instance, "kill -9 $$").0, ExitStatus::Signalled(9));
    assert_eq!(shell(&instance, "kill -9 $$").0.shell_code(), 137);
    // A program that writes to a closed pipe dies of it: no signal is ignored or blocked.
    let masks = shell(&instance, "grep -E '^Sig(Blk|Ign)' /proc/self/status | awk '{print $2}' | sort -u").1;
    assert_eq!(masks.trim(), "0000000000000000");
    assert_eq!(shell(&instance, "yes | head -c 1").1, "y");
    // An orphan is reaped and nobody hears of it.
    assert_eq!(shell(&instance, "(sleep 0.05 &) ; exit 3").0, ExitStatus::Exited(3));
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(shell(&instance, "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").1.trim(), "0");
    let missing = instance.spawn(&words(&["no-such-program"]), Stdio::null().unwrap()).unwrap_err();
    assert!(
        matches!(&missing, SpawnError::NotFound { program, .. } if program == "no-such-program"),
        "{missing}"
    );
    let not_executable = instance.spawn(&words(&["/etc/passwd"]), Stdio::null().unwrap()).unwrap_err();
    assert!(
        matches!(&not_executable, SpawnError::NotExecutable { program, .. } if program == "/etc/passwd"),
        "{not_executable}"
    );
    let mut lost = words(&["true"]);
    lost.directory = "/nowhere".to_owned();
    let lost = instance.spawn(&lost, Stdio::null().unwrap()).unwrap_err();
    assert!(lost.to_string().contains("`/nowhere`"), "{lost}");
    let nothing = instance.spawn(&words(&[]), Stdio::null().unwrap()).unwrap_err();
    assert!(nothing.to_string().contains("no program is named"), "{nothing}");
    let children: Vec<_> =
        (0..20).map(|n| launch(&instance, &words(&["sh", "-c", &format!("exit {n}")])).0).collect();
    for (n, child) in children.iter().enumerate() {
        assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Exited(u8::try_from(n).unwrap())));
    }
    let began = Instant::now();
    for _ in 0..50 {
        run(&instance, &words(&["/bin/true"]));
    }
    println!("note: a program in {} us", began.elapsed().as_micros() / 50);
}

pub fn stopping(context: &Context) {
    let host = start_host(context);
    let instance = instance(context, &host);
    let (child, _out) = launch(&instance, &words(&["sleep", "100"]));
    assert_eq!(child.wait_timeout(Duration::from_millis(50)), None);
    assert!(child.stop(PATIENCE).unwrap());
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Signalled(15)));
    assert!(!child.stop(PATIENCE).unwrap(), "it has ended");
    let stubborn = "trap '' TERM; echo ready; while :; do sleep 0.02; done";
    let (child, mut output) = launch(&instance, &words(&["sh", "-c", stubborn]));
    output.read_exact(&mut [0; 6]).unwrap();
    let began = Instant::now();
    assert!(child.stop(Duration::from_millis(200)).unwrap());
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Signalled(9)));
    assert!(began.elapsed() >= Duration::from_millis(190), "the grace was not given");
    let (child, mut output) = launch(&instance, &words(&["sh", "-c", stubborn]));
    output.read_exact(&mut [0; 6]).unwrap();
    let (polite, _out) = launch(&instance, &words(&["sleep", "100"]));
    let ended = instance.ended();
    host.destroy_instance("i-1", Duration::from_millis(100)).unwrap();
    assert_eq!(polite.wait_timeout(PATIENCE), Some(ExitStatus::Signalled(15)));
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::InstanceEnded));
    assert!(*ended.borrow());
    assert!(host.instance("i-1").is_none());
    let gone = instance.spawn(&words(&["true"]), Stdio::null().unwrap()).unwrap_err();
    assert!(matches!(gone, SpawnError::Ended(_)), "{gone}");
    // The name is free again.
    host.create_instance(&spec(context, "i-1")).unwrap();
}

/// Reads a terminal's master until it is closed.
fn read_terminal(master: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    let mut file = fs::File::from(master);
    while let Ok(count @ 1..) = file.read(&mut buffer) {
        text.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(text).unwrap()
}

pub fn terminal(context: &Context) {
    let host = start_host(context);
    let instance = instance(context, &host);
    let size = WindowSize { rows: 33, columns: 101 };
    let script = "test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo hello > /dev/tty && \
                  stat -c '%u %a' $(tty) && read line && echo got $line; exit 5";
    let mut child = instance.spawn(&words(&["sh", "-c", script]), Stdio::Terminal(size)).unwrap();
    let master = child.terminal.take().expect("a terminal");
    fs::File::from(master.try_clone().unwrap()).write_all(b"input\n").unwrap();
    let text = read_terminal(master).replace('\r', "");
    // The terminal's own echo of what was typed may come between any two lines.
    for line in ["/dev/pts/0\n", "33 101\n", "hello\n", "1000 620\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("got input\n"), "{text}");
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Exited(5)));
    // An interrupt typed at the terminal reaches the program; closing the terminal hangs it up.
    let program =
        words(&["sh", "-c", "trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.02; done"]);
    let mut child = instance.spawn(&program, Stdio::Terminal(size)).unwrap();
    let mut master = fs::File::from(child.terminal.take().unwrap());
    let mut seen = String::new();
    while !seen.contains("ready") {
        let mut buffer = [0; 64];
        let count = master.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    master.write_all(&[3]).unwrap();
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Exited(6)));
    let mut child = instance.spawn(&words(&["sleep", "100"]), Stdio::Terminal(size)).unwrap();
    drop(child.terminal.take());
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Signalled(libc::SIGHUP)));
}

/// The command line's side: this process's own standard descriptors become a terminal, whose other end the case reads.
pub fn terminal_relay(context: &Context) {
    use nix::sys::termios::{LocalFlags, tcgetattr};
    let host = start_host(context);
    let instance = instance(context, &host);
    let pty = nix::pty::openpty(None, None).unwrap();
    let size = WindowSize { rows: 10, columns: 20 };
    let program = words(&["sh", "-c", "read line; echo \"<$line>\"; exit 7"]);
    let mut child = instance.spawn(&program, Stdio::Terminal(size)).unwrap();
    let master = child.terminal.take().unwrap();
    let outer = pty.master.try_clone().unwrap();
    let saved = [0, 1].map(crate::lifetime::copy_standard);
    crate::lifetime::replace_standard(pty.slave.as_fd(), 0);
    crate::lifetime::replace_standard(pty.slave.as_fd(), 1);
    let (ended, not_ended) = std::os::unix::net::UnixStream::pair().unwrap();
    let relay = std::thread::spawn(move || postern_dataplane::host::pty_relay(master, not_ended.as_fd()));
    let cooked = |pty: &nix::pty::OpenptyResult| {
        tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON)
    };
    let deadline = Instant::now() + PATIENCE;
    while cooked(&pty) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut outer = fs::File::from(outer);
    outer.write_all(b"typed\r").unwrap();
    let mut text = String::new();
    while !text.contains("<typed>") && Instant::now() < deadline {
        let mut buffer = [0; 64];
        let count = outer.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let outcome = relay.join().unwrap();
    drop(ended);
    crate::lifetime::replace_standard(saved[0].as_fd(), 0);
    crate::lifetime::replace_standard(saved[1].as_fd(), 1);
    outcome.unwrap();
    assert!(text.contains("<typed>"), "{text}");
    assert!(cooked(&pty), "the terminal was not put back");
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Exited(7)));
}

/// A command in another process: its standard descriptors come over a socket, and the program writes to them.
pub fn descriptors_travel(context: &Context) {
    let host = start_host(context);
    instance(context, &host);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let null = OwnedFd::from(fs::File::open("/dev/null").unwrap());
    fdpass::send(&theirs, b"echo hi", &[null.as_fd(), writer.as_fd(), writer.as_fd()]).unwrap();
    drop(writer);
    let (bytes, fds) = fdpass::recv(&ours).unwrap().unwrap();
    let script = String::from_utf8(bytes).unwrap();
    let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let child = host.spawn_in("i-1", argv, fds.try_into().unwrap(), None).unwrap();
    let mut text = String::new();
    fs::File::from(reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi\n");
    assert_eq!(child.wait_timeout(PATIENCE), Some(ExitStatus::Exited(0)));
    drop(theirs);
    assert!(fdpass::recv(&ours).unwrap().is_none(), "the end of the stream");
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(fdpass::recv(&ours).is_err(), "a frame beyond the limit");
    assert!(fdpass::send(&ours, &vec![0; fdpass::MAX_FRAME_BYTES + 1], &[]).is_err());
}

pub fn refusals(context: &Context) {
    let host = start_host(context);
    let refused = |change: fn(&mut InstanceSpec)| {
        let mut spec = spec(context, "i-bad");
        change(&mut spec);
        host.create_instance(&spec).unwrap_err().to_string()
    };
    let text = refused(|spec| spec.read_only_binds.push(PathBuf::from("/no/such/place")));
    assert!(text.contains("`/no/such/place`") && text.contains("`i-bad`"), "{text}");
    let text = refused(|spec| spec.host_name = "a b".to_owned());
    assert!(text.contains("`a b`"), "{text}");
    let text = refused(|spec| spec.environment.push(("A=B".to_owned(), String::new())));
    assert!(text.contains("`A=B`"), "{text}");
    let text = refused(|spec| {
        spec.disk_bytes = 1 << 20;
        spec.files.push(FileSpec { path: "/tmp/x".into(), mode: 0o600, bytes: vec![1; 2 << 20] });
    });
    assert!(text.contains("`/tmp/x`") && text.contains("No space left"), "{text}");
    // A failed one leaves nothing in the way of the next.
    instance(context, &host);
    let again = host.create_instance(&spec(context, "i-1")).unwrap_err();
    assert!(matches!(again, InstanceError::Exists(_)), "{again}");
    let none = host.destroy_instance("i-9", Duration::ZERO).unwrap_err();
    assert!(matches!(none, InstanceError::NotFound(_)), "{none}");
    let none = host.spawn("i-9", &words(&["true"]), Stdio::null().unwrap()).unwrap_err();
    assert_eq!(none.to_string(), "there is no instance `i-9`");
}

pub fn probe(_: &Context) {
    let features = postern_dataplane::host::probe();
    for feature in &features {
        println!(
            "note: {} {}: {} {}",
            if feature.ok { "+" } else { "-" },
            feature.name,
            feature.detail,
            feature.remedy
        );
        assert_eq!(feature.ok, feature.remedy.is_empty(), "{feature:?}");
    }
    let missing: Vec<_> = features.iter().filter(|feature| feature.required && !feature.ok).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Many at once: those that can be made are, each with what is its own, and of two with one name there is one.
pub fn many_at_once(context: &Context) {
    let host = start_host(context);
    let number = |name: &str| name.trim_start_matches("i-").parse::<usize>().unwrap();
    let names: Vec<String> = (0..24).map(|number| format!("i-{}", number % 20)).collect();
    let outcomes: Vec<(String, Result<Arc<Instance>, InstanceError>)> = std::thread::scope(|scope| {
        let making: Vec<_> = names
            .iter()
            .map(|name| {
                let host = &host;
                scope.spawn(move || {
                    let mut spec = spec(context, name);
                    spec.host_name = format!("host-{}", number(name));
                    if number(name) == 7 {
                        spec.read_only_binds.push(PathBuf::from("/there/is/none"));
                    }
                    if number(name) == 9 {
                        let (path, bytes) = ("/etc/ssl/own.pem".into(), b"mine".to_vec());
                        spec.files.push(FileSpec { path, mode: 0o644, bytes });
                    }
                    (name.clone(), host.create_instance(&spec))
                })
            })
            .collect();
        making.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for name in &names {
        let of_name = || outcomes.iter().filter(|(other, _)| other == name);
        let made = of_name().filter(|(_, outcome)| outcome.is_ok()).count();
        assert_eq!(made, usize::from(number(name) != 7), "{name}");
        let others = of_name().filter_map(|(_, outcome)| outcome.as_ref().err());
        for error in others {
            let expected = match number(name) {
                7 => {
                    matches!(error, InstanceError::Build { reason, .. } if reason.contains("/there/is/none"))
                }
                _ => matches!(error, InstanceError::Exists(_)),
            };
            assert!(expected, "{name}: {error}");
        }
    }
    for (name, instance) in outcomes.iter().filter_map(|(name, outcome)| Some((name, outcome.as_ref().ok()?)))
    {
        let script = "cat /etc/hostname; test ! -e /etc/ssl || ls /etc/ssl; touch /etc/ssl/x 2>&1";
        let (_, text) = run(instance, &words(&["/bin/sh", "-c", script]));
        assert!(text.starts_with(&format!("host-{}\n", number(name))), "{name}: {text}");
        assert_eq!(text.contains("own.pem"), number(name) == 9, "what one has the others have not: {text}");
        assert!(text.contains("Read-only file system") || text.contains("No such file"), "{text}");
    }
    drop(outcomes);
    host.shutdown(Duration::ZERO).unwrap();
}

//! Programs in instances: how they are started and end, what they see, and what they must not.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::aws::Boto;
use crate::harness::{Ran, World, eventually};
use crate::network::{Network, becomes};

crate::both_ways!(
    status_and_streams,
    terminal,
    a_program_ends_with_its_caller,
    nothing_of_the_host_is_reached,
);
crate::one_way!(user_data_runs_and_is_heard, instances_live_as_aws_says);

fn status_and_streams(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
    {
        assert_eq!(region.exec(&instance, &["sh", "-c", script]).code, Some(code), "{script}");
    }
    let ran = region.exec(&instance, &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"));
    for (program, code) in
        [("no-such-program", 127), ("/no/such/program", 127), ("/etc/passwd", 126), ("/usr", 126)]
    {
        let ran = region.exec(&instance, &[program]);
        assert!(ran.failure().contains(&format!("`{program}`")), "{ran:?}");
        assert_eq!(ran.code, Some(code), "{ran:?}");
    }
    // Options of the program are the program's.
    assert_eq!(region.exec(&instance, &["echo", "--help", "--state-dir"]).stdout, "--help --state-dir\n");

    let input: Vec<u8> = (0..8_000_003_u32).map(|n| (n % 251) as u8).collect();
    let ran = Ran::of(region.world.postern(&region.state, &["exec", &instance, "--", "cat"]), &input);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.bytes == input, "{} of {} bytes came back, or others", ran.bytes.len(), input.len());

    for nobody in ["i-0123456789abcdef0", "i-nonsense", "eni-1"] {
        let ran = region.exec(nobody, &["true"]);
        assert!(ran.failure().contains(&format!("`{nobody}`")), "{ran:?}");
        assert_eq!(ran.code, Some(125), "{ran:?}");
    }
    // Whatever is Postern's own failure is told apart from the program's.
    for failing in
        [&["exec", &instance][..], &["exec", &instance, "--no-such-option", "--", "true"], &["shell"]]
    {
        assert_eq!(region.run(failing).code, Some(125), "{failing:?}");
    }
    let nowhere = Ran::of(world.postern(&world.state("nowhere"), &["exec", &instance, "--", "true"]), b"");
    assert_eq!(nowhere.code, Some(125), "{nowhere:?}");
    assert!(nowhere.stderr.contains("no region runs"), "{nowhere:?}");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Plays the person at a terminal: starts argv[1:] on a new one, 37 by 101, then does what standard input says: a
/// line `expect TEXT`, `send TEXT` (with Python's escapes) or `size ROWS COLUMNS`; ends with the program's status.
const PERSON: &str = r#"
import fcntl, os, pty, select, struct, sys, termios, time
pid, master = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 37, 101, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b""
def more(deadline):
    global seen
    if not select.select([master], [], [], max(0, deadline - time.time()))[0]:
        sys.exit(f"too slow; seen: {seen!r}")
    try:
        part = os.read(master, 4096)
    except OSError:
        part = b""
    seen += part
    return part
for line in sys.stdin:
    verb, _, text = line.rstrip("\n").partition(" ")
    if verb == "expect":
        deadline, wanted = time.time() + 20, text.encode()
        while wanted not in seen:
            if not more(deadline):
                sys.exit(f"ended before {text!r}; seen: {seen!r}")
        seen = seen.split(wanted, 1)[1]
    elif verb == "size":
        rows, columns = map(int, text.split())
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    else:
        os.write(master, text.encode().decode("unicode_escape").encode())
deadline = time.time() + 20
while more(deadline):
    pass
_, status = os.waitpid(pid, 0)
print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)
"#;

fn person(world: &World, state: &Path, instance: &str, argv: &[&str], does: &str) -> String {
    let postern = world.postern(state, &[&["exec", instance, "--"], argv].concat());
    let mut command = world.command(Path::new("/usr/bin/python3"));
    command.args(["-c", PERSON, env!("CARGO_BIN_EXE_postern")]);
    // Where the checkout is closed to others, Python is in the view of it already, and so is what it starts.
    command.args(postern.get_args().skip_while(|argument| *argument != "--state-dir"));
    let ran = Ran::of(command, does.as_bytes());
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    ran.stdout
}

fn terminal(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let script = "test -t 0 && test -t 1 && test -t 2 && tty && stty size && echo \"$TERM\"; exit 5";
    let does = "expect /dev/pts/\nexpect 37 101\nexpect xterm\n";
    assert_eq!(person(world, &region.state, &instance, &["sh", "-c", script], does), "ended 5\n");

    // Ctrl-C is a signal to the program, not to the command.
    let script = "trap 'echo interrupted; exit 9' INT; echo waiting; while :; do sleep 0.1; done";
    let does = "expect waiting\nsend \\x03\nexpect interrupted\n";
    assert_eq!(person(world, &region.state, &instance, &["bash", "-c", script], does), "ended 9\n");

    // A change of the window's size arrives; so does what is typed, and the end of it.
    let script = "echo first; read x; stty size; cat";
    let does = "expect first\nsize 50 90\nsend \\r\nexpect 50 90\nsend hello\\r\nexpect hello\nsend \\x04\n";
    assert_eq!(person(world, &region.state, &instance, &["bash", "-c", script], does), "ended 0\n");

    // What is left in the background keeps the terminal open, and nobody waiting: neither when it is silent nor when it
    // goes on writing. All that was written before the end is there.
    for (left, mark) in [("sleep 118", "118"), ("while :; do echo on; sleep 0.01; done", "on")] {
        let began = Instant::now();
        let script = format!("trap '' HUP; {{ {left}; }} & seq 2000; echo the-end; exit 4");
        let ended = person(
            world,
            &region.state,
            &instance,
            &["bash", "-c", &script],
            "expect 1999\nexpect the-end\n",
        );
        assert_eq!(ended, "ended 4\n");
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        let runs = format!("grep -lsaF '{mark}' /proc/[0-9]*/cmdline | wc -l");
        assert_ne!(region.sh(&instance, &runs).trim(), "0", "`{left}` goes on");
    }
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn a_program_ends_with_its_caller(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let script = "echo started; exec sleep 12345";
    let mut command = world.postern(&region.state, &["exec", &instance, "--", "sh", "-c", script]);
    let mut caller = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(caller.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let runs = || region.sh(&instance, "grep -lsxz 1234[5] /proc/[0-9]*/cmdline | wc -l").trim() != "0";
    eventually("the check finds it", 10, || runs().then_some(()));
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("the program ends", 10, || (!runs()).then_some(()));

    // One that only answers the question nicely is made to.
    let script = "trap '' TERM; echo started; while :; do sleep 0.2; done; : 12345";
    let mut command = world.postern(&region.state, &["exec", &instance, "--", "sh", "-c", script, "12345"]);
    let mut caller = command.stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(caller.stdout.take().unwrap()).read_line(&mut line).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    eventually("the stubborn program ends", 10, || (!runs()).then_some(()));
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Connects to every address in its arguments and says which were reached.
const KNOCK: &str = r#"
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    s = socket.socket()
    s.settimeout(2)
    try:
        s.connect((host, int(port)))
        print("REACHED", place)
    except OSError:
        pass
    s.close()
s = socket.socket(socket.AF_UNIX)
for line in open("/proc/net/unix"):
    name = line.split()[-1]
    if name.startswith("@"):
        print("SEEN", name)
print("done")
"#;

fn nothing_of_the_host_is_reached(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let (one, two) = (network.launch(&aws, json!({})), network.launch(&aws, json!({})));
    becomes(&aws, &one, "running");
    becomes(&aws, &two, "running");

    let mut command = world.postern(&region.state, &["exec", &one, "--", "env"]);
    command
        .env("AWS_ENDPOINT_URL", &region.url)
        .env("AWS_SECRET_ACCESS_KEY", "swordfish")
        .env("SECRET", "swordfish");
    command.env("POSTERN_STATE_DIR", "/nowhere");
    let environment = Ran::of(command, b"").stdout;
    assert!(environment.contains("HOME=") && environment.contains("PATH="), "{environment}");
    for word in
        ["swordfish", "AWS_ENDPOINT_URL", "POSTERN", "SECRET", "127.0.0.1", world.home().to_str().unwrap()]
    {
        assert!(!environment.contains(word), "`{word}` got in: {environment}");
    }

    // The API's port and another one of the host's, by every name that the host has.
    let other = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let (_, api) = region.host().rsplit_once(':').unwrap();
    let other = other.local_addr().unwrap().port().to_string();
    let mut places = Vec::new();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "10.0.1.1", "10.0.0.2", "169.254.169.254"] {
        places.extend([format!("{host}:{api}"), format!("{host}:{other}")]);
    }
    let knock =
        [&["/usr/bin/python3", "-c", KNOCK], &places.iter().map(String::as_str).collect::<Vec<_>>()[..]]
            .concat();
    let ran = region.exec(&one, &knock);
    assert_eq!(ran.stdout, "done\n", "{}", ran.stderr);

    // Other instances, the host's processes, the region's keys.
    region.sh(&two, "echo private > ~/mine && echo private > /tmp/mine && chmod 777 ~/mine /tmp/mine");
    assert_eq!(region.sh(&one, "cat ~/mine /tmp/mine 2>/dev/null | wc -l").trim(), "0");
    assert_eq!(
        region.sh(&one, "cat /proc/[0-9]*/cmdline | grep -ac -e [p]ostern.up -e [s]tate-dir || true").trim(),
        "0"
    );
    let state = region.state.display().to_string();
    let listing = region.exec(&one, &["ls", "-A", &state]);
    assert!(listing.code != Some(0) || listing.stdout.is_empty(), "{listing:?}");
    assert_ne!(region.sh(&one, "hostname"), region.sh(&two, "hostname"));
    let written = region.exec(
        &one,
        &["sh", "-c", "for d in / /usr /etc /opt; do touch $d/x 2>/dev/null && echo $d; done; true"],
    );
    assert_eq!(written.stdout, "", "places of the host's that can be written");
    let privileged =
        region.exec(&one, &["sh", "-c", "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status"]);
    assert!(privileged.stdout.contains("CapEff:\t0000000000000000"), "{privileged:?}");
    assert!(privileged.stdout.contains("NoNewPrivs:\t1"), "{privileged:?}");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn user_data_runs_and_is_heard(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let data = |text: &str| {
        use base64::Engine;
        json!({ "UserData": base64::engine::general_purpose::STANDARD.encode(text) })
    };
    let good =
        network.launch(&aws, data("#!/bin/sh\necho from the user data in $(hostname)\necho error >&2\n"));
    let bad = network.launch(&aws, data("#!/bin/sh\necho trying\nexit 7\n"));
    let absent = network.launch(&aws, data("#!/no/such/shell\n"));
    let text = network.launch(&aws, data("just some text"));
    let mut boto = Boto::new(&aws);
    boto.call("ec2", "wait:instance_running", json!({ "InstanceIds": [good, bad, text] }));
    let mut says = |instance: &str, words: &[&str]| {
        let mut seen = String::new();
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            let console = boto.call("ec2", "get_console_output", json!({ "InstanceId": instance }));
            // boto3 decodes it.
            seen = console["Output"].as_str().unwrap_or_default().to_owned();
            if words.iter().all(|word| seen.contains(word)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{instance} does not say {words:?}: {seen:?}");
    };
    says(&good, &["from the user data in ip-10-0-1-", "error\n", "exit status 0"]);
    says(&bad, &["trying", "exit status 7"]);
    says(&text, &["does not begin with `#!`"]);
    // As on AWS a broken script does not keep an instance from running; it says so.
    says(&absent, &["/var/lib/postern/user-data"]);
    becomes(&aws, &absent, "running");
    // The instance metadata has it as it was given.
    let got = region.sh(&text, "python3 -c \"import urllib.request as u; t=u.urlopen(u.Request('http://169.254.169.254/latest/api/token',method='PUT',headers={'X-aws-ec2-metadata-token-ttl-seconds':'60'})).read().decode(); print(u.urlopen(u.Request('http://169.254.169.254/latest/user-data',headers={'X-aws-ec2-metadata-token':t})).read().decode())\"");
    assert_eq!(got.trim(), "just some text");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn instances_live_as_aws_says(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let mut boto = Boto::new(&aws);
    let ids = json!({ "InstanceIds": [instance] });
    boto.call("ec2", "wait:instance_status_ok", ids.clone());
    region.sh(&instance, "echo here > /tmp/mark");

    boto.call("ec2", "reboot_instances", ids.clone());
    eventually("it is made anew", 15, || {
        let mark = region.exec(&instance, &["sh", "-c", "test -e /tmp/mark || echo anew"]);
        (mark.stdout == "anew\n").then_some(())
    });
    assert_eq!(crate::network::describe(&aws, &instance)["State"]["Name"], "running");

    boto.call("ec2", "stop_instances", ids.clone());
    boto.call("ec2", "wait:instance_stopped", ids.clone());
    let ran = region.exec(&instance, &["true"]);
    assert!(ran.failure().contains(&format!("`{instance}` does not run")), "{ran:?}");
    assert_eq!(aws.refused("ec2", "RebootInstances", ids.clone()).0, "IncorrectInstanceState");

    boto.call("ec2", "start_instances", ids.clone());
    boto.call("ec2", "wait:instance_running", ids.clone());
    assert_eq!(region.sh(&instance, "echo again"), "again\n");

    // A program that runs is told, and then gone, and its caller hears of it.
    let mut command =
        world.postern(&region.state, &["exec", &instance, "--", "sh", "-c", "echo on; exec sleep 600"]);
    let mut sleeper =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
    let mut on = [0; 3];
    sleeper.stdout.as_mut().unwrap().read_exact(&mut on).unwrap();
    boto.call("ec2", "terminate_instances", ids.clone());
    boto.call("ec2", "wait:instance_terminated", ids);
    sleeper.stdin.take().unwrap().write_all(b"").unwrap();
    let status = eventually("the caller hears of the end", 10, || sleeper.try_wait().unwrap());
    assert!(matches!(status.code(), Some(143 | 137)), "{status}");
    assert!(!region.exec(&instance, &["true"]).failure().is_empty());
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

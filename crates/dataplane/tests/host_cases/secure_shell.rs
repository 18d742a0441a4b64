//! A real sshd in one instance and a real ssh in another.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use postern_dataplane::host::{ExitStatus, FileSpec, Stdio};

use crate::Context;
use crate::cases::{run, shell, spec, start_host, words};
use crate::traffic::join;

/// The directory into which Debian's packages of the server were unpacked, if it is not installed.
pub const SERVER_VARIABLE: &str = "POSTERN_TEST_SSHD";

/// The server's configuration: as an ordinary user, with all its files in that user's reach.
const CONFIGURATION: &str = "Port 22\nHostKey /home/ec2-user/.sshd/host_key\nUsePAM no\n\
    PidFile /run/ec2-user/sshd.pid\nPasswordAuthentication no\nSetEnv AWS_DEFAULT_REGION=eu-west-1\n";

/// The server, and the directory that it came with where it is not installed.
fn server() -> Option<(PathBuf, Option<PathBuf>)> {
    let unpacked = std::env::var_os(SERVER_VARIABLE).map(PathBuf::from);
    let unpacked = unpacked.map(|root| (root.join("usr/sbin/sshd"), Some(root)));
    [unpacked, Some(("/usr/sbin/sshd".into(), None))]
        .into_iter()
        .flatten()
        .find(|(server, _)| server.is_file())
}

fn file(path: &str, mode: u32, bytes: Vec<u8>) -> FileSpec {
    FileSpec { path: path.into(), mode, bytes }
}

pub fn secure_shell(context: &Context) {
    let Some((server, unpacked)) = server() else {
        println!(
            "note: not run: there is no sshd (its packages can be unpacked and named in {SERVER_VARIABLE})"
        );
        return;
    };
    let host = start_host(context);
    // Keys are made where everybody has a name: ssh-keygen refuses to work for a user without one.
    let keys = host.create_instance(&spec(context, "i-keys")).unwrap();
    let make = "mkdir .k; for k in host user; do ssh-keygen -q -t ed25519 -N '' -f .k/$k; done";
    assert_eq!(shell(&keys, make), (ExitStatus::Exited(0), String::new()));
    let key = |name: &str| shell(&keys, &format!("cat .k/{name}")).1.into_bytes();
    let mut client = spec(context, "i-a");
    client.files.push(file("/home/ec2-user/.ssh/id_ed25519", 0o600, key("user")));
    let mut target = spec(context, "i-b");
    target.host_name = "ip-10-0-0-6".to_owned();
    target.files = vec![
        file("/home/ec2-user/.ssh/authorized_keys", 0o600, key("user.pub")),
        file("/home/ec2-user/.sshd/host_key", 0o600, key("host")),
        file("/home/ec2-user/.sshd/config", 0o600, CONFIGURATION.as_bytes().to_vec()),
    ];
    target.read_only_binds.extend(unpacked.clone());
    let (client, target, _relay) = join(&host, [client, target]);
    let mut program = words(&[server.to_str().unwrap(), "-D", "-e", "-f", "/home/ec2-user/.sshd/config"]);
    if let Some(root) = unpacked {
        let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let path = root.join(libraries).display().to_string();
        program.environment.push(("LD_LIBRARY_PATH".to_owned(), path));
    }
    let log = fs::File::create(context.dir.join("sshd.log")).unwrap();
    let daemon = target.spawn(&program, Stdio::log(log.into()).unwrap()).unwrap();
    let ssh = |terminal: &str, command: &str| {
        let options =
            ["-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR", terminal];
        let argv: Vec<&str> = ["ssh"].into_iter().chain(options).chain(["10.0.0.6", command]).collect();
        run(&client, &words(&argv))
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    let outcome = loop {
        let outcome = ssh("-T", "hostname; whoami; echo $AWS_DEFAULT_REGION; exit 9");
        if outcome.0 != ExitStatus::Exited(255) || Instant::now() > deadline {
            break outcome;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let log = fs::read_to_string(context.dir.join("sshd.log")).unwrap();
    assert_eq!(outcome, (ExitStatus::Exited(9), "ip-10-0-0-6\nec2-user\neu-west-1\n".to_owned()), "{log}");
    let (_, terminal) = ssh("-tt", "tty");
    assert!(terminal.contains("/dev/pts/"), "{terminal}");
    assert_eq!(daemon.try_status(), None);
    assert!(daemon.stop(Duration::from_secs(1)).unwrap());
}

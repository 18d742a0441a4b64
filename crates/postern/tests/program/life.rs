//! Coming up, being there, going down; and what stays behind: nothing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::aws::Aws;
use crate::harness::{Ran, Region, World, eventually, names_in};
use crate::network::Network;

crate::both_ways!(
    says_how_it_is_and_ends_with_down,
    ends_by_signals_with_instances_running,
    nothing_lives_after_a_kill,
    keeps_its_directory_to_itself,
);
crate::one_way!(
    refuses_what_cannot_be,
    ready_only_when_all_is_ready,
    ephemeral_leaves_nothing,
    a_supervisor_is_told,
);

fn with_instance<'w>(world: &'w World, arguments: &[&str]) -> (Region<'w>, String) {
    let region = world.up(arguments);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    (region, instance)
}

fn says_how_it_is_and_ends_with_down(world: &World) {
    let region = world.up(&["--region", "eu-west-1"]);
    let health = Aws::page(region.host(), "GET", "/_postern/health").unwrap();
    assert_eq!(health.status, 200);
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert_eq!((&health["status"], &health["region"]), (&json!("ready"), &json!("eu-west-1")));
    assert_eq!(health["packets"]["move"], true, "{health}");

    let status = region.json(&["status"]);
    assert_eq!(status["url"], region.url);
    assert_eq!(status["pid"], region.pid().as_raw());
    assert_eq!(status["region"], "eu-west-1");
    let text = region.run(&["status"]).stdout;
    assert!(text.contains(&region.url) && text.contains("eu-west-1"), "{text}");

    let environment = region.run(&["env"]).stdout;
    let shell = format!(
        "{environment}\nprintf '%s %s' \"$AWS_ENDPOINT_URL\" \"$AWS_REGION\"; test -r \"$AWS_CA_BUNDLE\""
    );
    let mut command = world.command(Path::new("/bin/sh"));
    command.args(["-c", &shell]);
    let ran = Ran::of(command, b"");
    assert_eq!((ran.code, ran.stdout), (Some(0), format!("{} eu-west-1", region.url)));
    let identity = region.aws().call("sts", "GetCallerIdentity", json!({}));
    assert!(identity["Arn"].as_str().unwrap().ends_with(":root"), "{identity}");

    let state = region.state.clone();
    region.down();
    let left = ["audit.log", "ca.pem", "dynamodb", "instance-identity.pem", "ledger", "run", "s3"];
    assert_eq!(names_in(&state), left);
    let after = Ran::of(world.postern(&state, &["status"]), b"");
    assert!(after.failure().contains("no region runs with the state directory"), "{after:?}");
}

fn ends_by_signals_with_instances_running(world: &World) {
    let (region, instance) = with_instance(world, &[]);
    // A program that does not care for SIGTERM must not hold anything up.
    region.sh(&instance, "trap '' TERM; sleep 600 >/dev/null 2>&1 </dev/null & echo started");
    assert!(region.processes() >= 4, "up, keeper, init, sleep: {}", region.processes());
    region.end_by(Signal::SIGTERM);

    let again = world.up(&[]);
    let aws = again.aws();
    crate::network::becomes(&aws, &instance, "running");
    eventually("the instance is there again", 15, || {
        (again.exec(&instance, &["true"]).code == Some(0)).then_some(())
    });
    again.end_by(Signal::SIGINT);
}

fn nothing_lives_after_a_kill(world: &World) {
    let (region, instance) = with_instance(world, &[]);
    region.sh(&instance, "sleep 600 >/dev/null 2>&1 </dev/null & echo started");
    region.killed();
    // Its socket is left, and nobody minds.
    let again = world.up(&[]);
    again.down();
}

fn keeps_its_directory_to_itself(world: &World) {
    let region = world.up(&[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&region.state), 0o700);
    assert_eq!(mode(&region.state.join("run/control.sock")), 0o600);
    assert_eq!(mode(&region.state.join("audit.log")), 0o600);

    for more in [&[][..], &["--ephemeral"], &["--dev"]] {
        let second = world.try_up(&region.state, more).err().expect("a second region is refused");
        assert!(
            second.contains(region.state.to_str().unwrap()) && second.contains("in use"),
            "{more:?}: {second}"
        );
        assert!(second.contains(&region.pid().to_string()), "it names who holds it: {second}");
    }
    // The first one is unharmed.
    assert_eq!(region.json(&["status"])["pid"], region.pid().as_raw());
    region.aws().ec2("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16" }));
    let restored = Ran::of(world.postern(&region.state, &["restore", "/dev/null"]), b"");
    assert!(
        restored.failure().contains("in use") || restored.failure().contains("not empty"),
        "{restored:?}"
    );
    region.end_by(Signal::SIGTERM);
}

fn refuses_what_cannot_be(world: &World) {
    let region = world.up(&[]);
    let taken = region.host().to_owned();
    let refused = |state: &str, arguments: &[&str]| {
        let began = Instant::now();
        let mut command = world.postern(&world.state(state), &["up"]);
        command.args(arguments);
        let ran = Ran::of(command, b"");
        assert!(began.elapsed() < Duration::from_secs(20), "{arguments:?} took {:?}", began.elapsed());
        ran.failure().to_owned()
    };
    let said = refused("other", &["--listen", &taken]);
    assert!(said.contains(&taken) && said.contains("in use"), "{said}");
    let said = refused("public", &["--dev", "--listen", "0.0.0.0:0"]);
    assert!(said.contains("`0.0.0.0`") && said.contains("loopback"), "{said}");
    let said = refused("named", &["--listen", "127.0.0.1:0", "--region", "Nowhere!"]);
    assert!(said.contains("`Nowhere!`"), "{said}");
    let said = refused("tools", &["--listen", "127.0.0.1:0", "--tools", "/no/such/folder"]);
    assert!(said.contains("`/no/such/folder`"), "{said}");
    region.end_by(Signal::SIGTERM);

    let said = refused("state", &["--listen", "127.0.0.1:0", "--region", "eu-west-1"]);
    assert!(said.contains("`us-east-1`") && said.contains("`eu-west-1`"), "{said}");

    let database = world.state("state").join("ledger/state.redb");
    let whole = std::fs::read(&database).unwrap();
    let mut broken = whole.clone();
    let from = broken.len() / 3;
    broken[from..].fill(0x5a);
    for damage in [broken, whole[..4096].to_vec(), b"not a database".to_vec()] {
        std::fs::write(&database, &damage).unwrap();
        let said = refused("state", &["--listen", "127.0.0.1:0"]);
        assert!(said.contains("/ledger` is damaged at") && !said.contains("panicked"), "{said}");
    }
    // Nothing of it was thrown away.
    std::fs::write(&database, &whole).unwrap();
    world.up(&[]).down();
}

/// From the moment that the API answers at all, a health page that says `ready` must mean it.
fn ready_only_when_all_is_ready(world: &World) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let state = world.state("state");
    let mut command = world.postern(&state, &["up", "--listen", &host]);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = eventually("the health page says something", 30, || {
        let page = Aws::page(&host, "GET", "/_postern/health")?;
        match page.status {
            503 => None,
            status => Some(status),
        }
    });
    assert_eq!(status, 200);
    // At once: the control socket, the API, an instance.
    let aws = Aws::from_environment(&{
        let ran = Ran::of(world.postern(&state, &["--output", "json", "env"]), b"");
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.stdout).unwrap()
    });
    Network::new(&aws).run(&aws, json!({}));
    let down = Ran::of(world.postern(&state, &["down"]), b"");
    assert_eq!(down.code, Some(0), "{down:?}");
    // A moment may pass until we can see what `down` saw.
    let status = eventually("`down` waits for the end", 1, || child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

/// `Type=notify` of systemd: ready when all is ready, and when the end begins.
fn a_supervisor_is_told(world: &World) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let heard = |socket: &UnixDatagram| {
        let mut buffer = [0; 256];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let path = world.home().join("notify.sock");
    let named = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let name = format!("@postern-test-{}", path.display());
    let unnamed = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name[1..]).unwrap()).unwrap();
    for (told, socket) in [(path.to_str().unwrap(), &named), (name.as_str(), &unnamed)] {
        let state = world.state("state");
        let mut command = world.postern(&state, &["up", "--ephemeral", "--listen", "127.0.0.1:0"]);
        command.env("NOTIFY_SOCKET", told);
        let region = world.start(command, &state).unwrap();
        assert!(heard(socket).lines().any(|line| line == "READY=1"), "{told}");
        assert_eq!(Aws::page(region.host(), "GET", "/_postern/health").unwrap().status, 200);
        region.end_by(Signal::SIGTERM);
        assert!(heard(socket).lines().any(|line| line == "STOPPING=1"), "{told}");
    }
}

fn ephemeral_leaves_nothing(world: &World) {
    let (region, _) = with_instance(world, &["--ephemeral"]);
    let state = region.state.clone();
    assert_eq!(region.aws().s3("PUT", "/ephemeral-bucket", "", b"").unwrap().status, 200);
    region.end_by(Signal::SIGTERM);
    assert_eq!(names_in(&state), ["ca.pem", "instance-identity.pem", "run"]);

    let region = world.up(&["--ephemeral"]);
    let aws = region.aws();
    assert_eq!(aws.ec2("DescribeVpcs", json!({}))["Vpcs"], json!([]));
    assert_eq!(aws.s3("HEAD", "/ephemeral-bucket", "", b"").unwrap().status, 404);
    region.killed();
    // What a killed one left goes with the next.
    world.up(&["--ephemeral"]).down();
    assert_eq!(names_in(&state), ["ca.pem", "instance-identity.pem", "run"]);
}

//! The API beyond loopback: TLS alone, with the region's own certificate, for `aws` and curl alike.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Holder, Ran, Region, World, eventually, is_root, tools};
use crate::network::{audit, text};

crate::one_way!(beyond_loopback_it_is_tls_alone, what_makes_no_sense_is_refused_at_the_start);

/// Gives the network namespace that it runs in an address, and becomes the program.
const ADDRESSED: &str = "ip link set lo up && ip address add 10.77.0.1/32 dev lo && exec \"$0\" \"$@\"";

/// A region that listens at 10.77.0.1 in a network namespace of its own.
fn up<'w>(world: &'w World, more: &[&str]) -> Region<'w> {
    let state = world.state("state");
    let tools = tools();
    let arguments = [&["up", "--listen", "10.77.0.1:0", "--tools", tools.to_str().unwrap()], more].concat();
    let postern = world.postern(&state, &arguments);
    let mut command = world.command(Path::new("/usr/bin/unshare"));
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "sh", "-c", ADDRESSED, env!("CARGO_BIN_EXE_postern")]);
    let arguments: Vec<_> = postern.get_args().skip_while(|argument| *argument != "--state-dir").collect();
    command.args(arguments);
    world.start(command, &state).unwrap()
}

/// A program beside the region.
fn beside(region: &Region<'_>, program: &Path, arguments: &[&str], variables: &Value) -> Ran {
    let mut command = region.world.command(Path::new("/usr/bin/nsenter"));
    command.args(["--target", &region.pid().to_string()]);
    if !is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.arg("--net").arg(program).args(arguments);
    for (name, value) in variables.as_object().into_iter().flatten() {
        command.env(name, text(value));
    }
    Ran::of(command, b"")
}

fn beyond_loopback_it_is_tls_alone(world: &World) {
    let region = up(world, &["--listen-name", "region.test", "--listen-name", "10.99.0.9"]);
    let port = region.url.rsplit(':').next().unwrap().to_owned();
    assert_eq!(region.url, format!("https://region.test:{port}"));
    let mut environment = region.json(&["env"]);
    assert_eq!(environment["AWS_ENDPOINT_URL"], format!("https://region.test:{port}"));
    let ca = text(&environment["AWS_CA_BUNDLE"]);
    let curl = |arguments: &[&str]| {
        let common = ["--silent", "--show-error", "--max-time", "10", "--write-out", " %{http_code}"];
        let arguments = [&common[..], arguments].concat();
        beside(&region, Path::new("curl"), &arguments, &Value::Null)
    };

    // Plain HTTP gets a clear answer, and nothing of it is served.
    let plain = curl(&[&format!("http://10.77.0.1:{port}/_postern/health")]);
    assert_eq!(plain.stdout, "plain HTTP is not served at this address: use https://\n 400");

    // The certificate is good for the address and every further name, to whom trusts the region's authority.
    let by_name = format!("https://region.test:{port}/_postern/health");
    let bucket = format!("https://bucket.region.test:{port}/");
    let resolve = format!("region.test:{port}:10.77.0.1");
    let resolve_bucket = format!("bucket.region.test:{port}:10.77.0.1");
    let by_address = format!("https://10.77.0.1:{port}/_postern/health");
    for (arguments, end) in [
        (vec!["--cacert", &ca, &by_address], " 200"),
        (vec!["--cacert", &ca, "--resolve", &resolve, &by_name], " 200"),
        (vec!["--cacert", &ca, "--resolve", &resolve_bucket, &bucket], "404"),
    ] {
        let ran = curl(&arguments);
        assert!(ran.code == Some(0) && ran.stdout.ends_with(end), "{arguments:?}: {ran:?}");
    }
    let further = format!("https://10.99.0.9:{port}/_postern/health");
    let ran =
        curl(&["--cacert", &ca, "--connect-to", &format!("10.99.0.9:{port}:10.77.0.1:{port}"), &further]);
    assert!(ran.stdout.ends_with(" 200"), "{ran:?}");
    assert_eq!(curl(&[&by_address]).code, Some(60), "nobody else trusts it");
    let other = format!("https://elsewhere.test:{port}/");
    let ran = curl(&["--cacert", &ca, "--resolve", &format!("elsewhere.test:{port}:10.77.0.1"), &other]);
    assert_eq!(ran.code, Some(60), "a name that nobody gave it: {ran:?}");

    // The real client, as `postern env` says; the name is in nobody's DNS here.
    environment["AWS_ENDPOINT_URL"] = format!("https://10.77.0.1:{port}").into();
    let aws = |arguments: &[&str]| {
        let ran = beside(&region, &tools().join("bin/aws"), arguments, &environment);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        ran.stdout
    };
    aws(&["s3", "mb", "s3://over-tls"]);
    assert!(aws(&["s3", "ls"]).contains("over-tls"));
    assert!(aws(&["ec2", "describe-vpcs"]).contains("Vpcs"));
    let records = eventually("all is recorded", 10, || {
        let records = audit(&region);
        records.iter().any(|record| record["eventName"] == "DescribeVpcs").then_some(records)
    });
    let of = |name: &str| records.iter().find(|record| record["eventName"] == name).unwrap();
    assert_eq!(of("CreateBucket")["additionalEventData"]["tls"], true);
    assert_eq!(of("CreateBucket")["sourceIPAddress"], "10.77.0.1");
    assert!(records.iter().any(|record| record["errorCode"] == "SecureTransportRequired"), "{records:?}");
    if is_root() {
        pages_are_for_this_machine(&region, &ca, &port);
    }
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Another machine sees the health page, and no page that tells of the accounts.
fn pages_are_for_this_machine(region: &Region<'_>, ca: &str, port: &str) {
    let own = |page: &str| {
        let url = format!("https://10.77.0.1:{port}/_postern/{page}");
        let arguments =
            ["--silent", "--cacert", ca, "--output", "/dev/null", "--write-out", "%{http_code}", &url];
        (arguments.map(str::to_owned), beside(region, Path::new("curl"), &arguments, &Value::Null).stdout)
    };
    assert_eq!(own("metrics").1, "200");
    let machine = Holder::with_network();
    let (here, there) = (region.pid().to_string(), machine.pid().to_string());
    let run = |pid: &str, argv: &[&str]| {
        let mut command = Command::new("/usr/bin/nsenter");
        let output =
            command.args(["--target", pid, "--net"]).args(argv).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let link = format!(
        "ip link add there type veth peer name eth0 netns {there}
         ip address add 10.77.1.1/24 dev there; ip link set there up"
    );
    run(&here, &["sh", "-ec", &link]);
    let link =
        "ip address add 10.77.1.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.77.1.1";
    run(&there, &["sh", "-ec", link]);
    for (page, status) in [("health", "200"), ("metrics", "403"), ("reset", "403")] {
        let (arguments, _) = own(page);
        let curl: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(run(&there, &[&["curl"], &curl[..]].concat()), status, "{page}");
    }
    let url = format!("https://10.77.0.1:{port}/_postern/health");
    let health = run(&there, &["curl", "--silent", "--cacert", ca, &url]);
    assert_eq!(health, "{\"status\":\"ready\"}\n", "and nothing of the machine");
}

fn what_makes_no_sense_is_refused_at_the_start(world: &World) {
    let refused = |arguments: &[&str]| {
        let state = world.state("refused");
        let ran = Ran::of(world.postern(&state, &[&["up"], arguments].concat()), b"");
        ran.failure().to_owned()
    };
    let told = refused(&["--dev", "--listen", "0.0.0.0:0"]);
    assert!(told.contains("--dev") && told.contains("`0.0.0.0`"), "{told}");
    let told = refused(&["--listen-name", "not a name"]);
    assert!(told.contains("`not a name` is neither a host's name nor an address"), "{told}");
    let told = refused(&["--audit-log-files", "0"]);
    assert!(told.contains("--audit-log-files"), "{told}");
}

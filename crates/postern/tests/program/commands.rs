//! What the commands print: for people, and as JSON that programs can rely on.

use std::collections::BTreeSet;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Ran, World};
use crate::network::{Network, private_address};

crate::one_way!(json_has_the_same_fields_always, every_command_explains_itself, refusals_are_one_sentence);

/// The commands, as the help names them.
fn commands(world: &World, group: &[&str]) -> BTreeSet<String> {
    let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_postern")));
    command.args(group).arg("--help");
    let help = Ran::of(command, b"");
    assert_eq!(help.code, Some(0), "{}", help.stderr);
    let listed = help.stdout.split("Commands:\n").nth(1).unwrap_or_default();
    // A command stands behind two blanks; what goes on in the next line, behind more.
    let named =
        listed.lines().take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let names = named.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

/// The fields of an object, or of each object of a list.
#[track_caller]
fn fields(value: &Value, expected: &[&str]) {
    let objects = match value {
        Value::Array(objects) => objects.iter().collect(),
        other => vec![other],
    };
    assert!(!objects.is_empty(), "an empty list shows nothing");
    for object in objects {
        let found: BTreeSet<&str> =
            object.as_object().unwrap_or_else(|| panic!("{object}")).keys().map(String::as_str).collect();
        assert_eq!(found, expected.iter().copied().collect(), "{object}");
    }
}

fn json_has_the_same_fields_always(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.run(&aws, json!({}));
    let address = private_address(&aws, &instance);
    let mut seen = BTreeSet::new();
    let mut check = |name: &str, arguments: &[&str], expected: &[&str]| {
        let printed = region.json(arguments);
        fields(&printed, expected);
        seen.insert(name.to_owned());
        printed
    };
    const KEY: [&str; 3] = ["access_key_id", "account", "secret_access_key"];
    const ENVIRONMENT: [&str; 6] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_CA_BUNDLE",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let status = check(
        "status",
        &["status"],
        &["counts", "linger", "packets", "pid", "region", "revision", "run", "uplink", "url", "version"],
    );
    assert_eq!(status["counts"]["instances"], 1);
    fields(&status["counts"], &["accounts", "endpoints", "instances", "interfaces", "vpcs"]);
    check("env", &["env"], &ENVIRONMENT);
    let made = check("account", &["account", "create", "second"], &KEY);
    check("account", &["account", "key", made["account"].as_str().unwrap()], &KEY);
    check("account", &["account", "list"], &["id", "keys", "name"]);
    check(
        "account",
        &["account", "quota", made["account"].as_str().unwrap()],
        &["limit", "most", "name", "usual"],
    );
    check(
        "service",
        &["service", "list"],
        &["key_id", "name", "owner", "private_dns", "protocol", "served_by", "service_name"],
    );
    check("lab", &["lab", "list"], &["name", "title"]);
    let doctor = region.run(&["--output", "json", "doctor"]);
    fields(&serde_json::from_str(&doctor.stdout).unwrap(), &["detail", "name", "ok", "remedy", "required"]);
    let to = format!("{address}:22");
    let trace =
        check("trace", &["trace", "--from", &instance, "--to", &to], &["arrives", "flow", "stages", "text"]);
    fields(&trace["stages"], &["passed", "remedy", "resource", "rule", "stage", "why"]);
    const JUDGEMENT: [&str; 10] = [
        "action",
        "allowed",
        "context",
        "message",
        "principal",
        "resource",
        "smallest_changes",
        "statements",
        "text",
        "turned_away_by",
    ];
    let root = aws.call("sts", "GetCallerIdentity", json!({}))["Arn"].as_str().unwrap().to_owned();
    let simulate = ["simulate", "--principal", &root, "--action", "ec2:DescribeVpcs"];
    let judgement = check("simulate", &simulate, &JUDGEMENT);
    const STATEMENT: [&str; 8] =
        ["conditions", "decisive", "finding", "place", "policy", "policy_type", "sid", "statement"];
    fields(&judgement["statements"], &STATEMENT);
    let request = crate::harness::eventually("a request is recorded", 10, || {
        let mut records = crate::network::audit(&region).into_iter();
        records.find(|record| record["eventName"] == "DescribeImages")
    });
    check("why", &["why", request["requestID"].as_str().unwrap()], &["record", "requests", "text"]);
    let probed = ["trace", "--from", &instance, "--to", &to, "--probe"];
    let probed = check("trace", &probed, &["arrives", "flow", "probe", "stages", "text"]);
    fields(&probed["probe"], &["agrees", "answered", "dropped", "saw"]);

    region.exec(&instance, &["getent", "hosts", "s3.us-east-1.amazonaws.com"]);
    let flows = region.run(&["--output", "json", "flows"]);
    assert!(!flows.stdout.is_empty(), "a question to the resolver is a flow");
    for line in flows.stdout.lines() {
        let fields_of_flow = ["bytes", "flow", "interface", "packets", "phase", "text", "through"];
        fields(
            &serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")),
            &fields_of_flow,
        );
    }

    region.end_by(Signal::SIGTERM);

    // `policy` needs no region, and has a case of its own.
    seen.extend(["doctor", "flows", "policy"].map(str::to_owned));
    // `up` is what the other cases start; the others print what a program or another machine says, or nothing; `attach`
    // is tried where there is a network to attach.
    seen.extend(
        ["up", "down", "exec", "shell", "completions", "attach", "backup", "restore"].map(str::to_owned),
    );
    assert_eq!(commands(world, &[]), seen, "each command is tried, or named here with a reason");
}

fn every_command_explains_itself(world: &World) {
    let mut paths: Vec<Vec<String>> = vec![Vec::new()];
    let mut tried = 0;
    while let Some(path) = paths.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let help = |option: &str| {
            let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_postern")));
            command.args(&words).arg(option);
            let ran = Ran::of(command, b"");
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{words:?} {option}");
            ran.stdout
        };
        let (short, long) = (help("-h"), help("--help"));
        assert!(short.contains("Usage: postern") && long.contains("Usage: postern"), "{words:?}: {short}");
        // What an option is for stands behind it, after two blanks, or in the next line, further in.
        let lines: Vec<&str> = short.lines().collect();
        for (place, line) in lines.iter().enumerate().filter(|(_, line)| line.trim_start().starts_with('-')) {
            let behind = line.trim_start().contains("  ");
            let below = lines.get(place + 1).is_some_and(|next| next.starts_with("          "));
            assert!(behind || below, "{words:?}: an option without an explanation: {line}");
        }
        tried += 1;
        paths.extend(commands(world, &words).into_iter().map(|name| [path.clone(), vec![name]].concat()));
    }
    assert!(tried > 15, "{tried}");
}

fn refusals_are_one_sentence(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let said = |arguments: &[&str]| {
        let ran = region.run(arguments);
        let said = ran.failure().to_owned();
        assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
        // A cause that is said twice is said in the same words.
        let parts: Vec<&str> = said.trim_end().split(": ").collect();
        let once: BTreeSet<&str> = parts.iter().copied().collect();
        assert_eq!(parts.len(), once.len(), "{arguments:?}: {said}");
        said
    };
    for to in ["::1", "[::1]:443", "fe80::1"] {
        assert!(said(&["trace", "--from", &instance, "--to", to]).contains("is an IPv6 address"));
    }
    assert!(said(&["trace", "--from", &instance, "--to", "host:http"]).contains("`http`"));
    assert!(said(&["trace", "--from", "vpc-1", "--to", "10.0.0.1:1"]).contains("`vpc-1`"));
    assert!(said(&["attach", "--netns", "/proc/self/ns/uts", "--subnet", "subnet-1"]).contains("namespace"));
    assert!(
        said(&["attach", "--netns", "/no/such/netns", "--subnet", "subnet-1"]).contains("`/no/such/netns`")
    );
    assert!(said(&["account", "key", "1"]).contains("`1`"));
    assert!(said(&["backup", "/no/such/folder/file"]).contains("`/no/such/folder/file`"));
    region.end_by(Signal::SIGTERM);
}

//! Labs in a region that outlives them: they leave it as they found it, whatever becomes of them; and what cannot be
//! run is refused before anything is started.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Ran, Region, World, checkout, eventually, names_in, tools};

crate::both_ways!(a_running_region_is_left_as_it_was, ctrl_c_takes_down_what_was_made);
crate::one_way!(
    a_second_ctrl_c_gives_up_and_says_what_is_left,
    ctrl_c_ends_a_region_of_the_labs_own,
    without_the_socket_there_is_the_api,
    arguments_are_checked_before_anything_starts,
    a_shipped_lab_leaves_a_region_as_it_was,
);

/// An instance in a network, then the step that a case is about.
const LAB: &str = r#"
title = "An instance in a network"
summary = "What a case needs."

[variables]
block = "10.0.0.0/16"
command = "true"

[[step]]
id = "vpc"
say = "A network."
call = "ec2:CreateVpc"
with = { CidrBlock = "${block}" }
save = { vpc = "Vpc.VpcId" }

[[step]]
id = "subnet"
say = "A subnet."
call = "ec2:CreateSubnet"
with = { VpcId = "${vpc}", CidrBlock = "10.0.1.0/24" }
save = { subnet = "Subnet.SubnetId" }

[[step]]
id = "key"
say = "A key pair."
call = "ec2:CreateKeyPair"
with = { KeyName = "of-the-lab" }

[[step]]
id = "image"
say = "What is launched."
call = "ec2:DescribeImages"
save = { image = "Images[0].ImageId" }

[[step]]
id = "instance"
say = "An instance."
call = "ec2:RunInstances"
save = { instance = "Instances[0].InstanceId" }
with = { ImageId = "${image}", InstanceType = "t3.micro", MinCount = 1, MaxCount = 1, SubnetId = "${subnet}" }

[[step]]
id = "inside"
say = "What the case is about."
run = { instance = "${instance}", command = "${command}", timeout_seconds = 120 }
within_seconds = 15

[[cleanup]]
id = "delete-vpc"
undoes = "vpc"
call = "ec2:DeleteVpc"
with = { VpcId = "${vpc}" }
within_seconds = 60

[[cleanup]]
id = "delete-subnet"
undoes = "subnet"
call = "ec2:DeleteSubnet"
with = { SubnetId = "${subnet}" }
within_seconds = 30

[[cleanup]]
id = "delete-key"
undoes = "key"
call = "ec2:DeleteKeyPair"
with = { KeyName = "of-the-lab" }

[[cleanup]]
id = "terminated"
undoes = "instance"
call = "ec2:DescribeInstances"
with = { InstanceIds = ["${instance}"] }
expect = { value = { "Reservations[0].Instances[0].State.Name" = "terminated" } }
within_seconds = 60

[[cleanup]]
id = "terminate"
undoes = "instance"
call = "ec2:TerminateInstances"
with = { InstanceIds = ["${instance}"] }
"#;

/// A lab that needs no more than the API.
const API_ONLY: &str = r#"
title = "A network"
summary = "What a case needs."

[[step]]
id = "vpc"
say = "A network."
call = "ec2:CreateVpc"
with = { CidrBlock = "10.0.0.0/16" }
save = { vpc = "Vpc.VpcId" }

[[step]]
id = "outside"
say = "A program here."
run_outside = { command = "test -n \"$AWS_ACCESS_KEY_ID\" && test -z \"$AWS_PROFILE\" && echo \"$AWS_ENDPOINT_URL\"" }
expect = { matches = "https?://(127.0.0.1|localhost):" }

[[cleanup]]
id = "delete-vpc"
undoes = "vpc"
call = "ec2:DeleteVpc"
with = { VpcId = "${vpc}" }
"#;

fn written(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.home().join(name);
    fs::write(&path, text).unwrap();
    path
}

/// `postern lab run` with these arguments, and nothing that says where the region's state directory is.
fn lab(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_postern")));
    command.args(["lab", "run"]).args(arguments).env("POSTERN_TOOLS", tools());
    command
}

/// What there is in a region, but for what AWS shows for a while after it has gone.
fn inventory(aws: &Aws) -> Vec<Value> {
    let plain = [
        "DescribeVpcs",
        "DescribeSubnets",
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeNetworkAcls",
        "DescribeNetworkInterfaces",
        "DescribeInternetGateways",
        "DescribeVpcEndpoints",
        "DescribeAddresses",
        "DescribeKeyPairs",
    ];
    let mut found: Vec<Value> = plain.iter().map(|operation| aws.ec2(operation, json!({}))).collect();
    let lives = json!({ "Filters": [{ "Name": "instance-state-name",
                                      "Values": ["pending", "running", "stopping", "stopped", "shutting-down"] }] });
    found.push(aws.ec2("DescribeInstances", lives)["Reservations"].clone());
    found
        .extend(["ListRoles", "ListInstanceProfiles"].map(|operation| aws.call("iam", operation, json!({}))));
    found.push(json!(aws.s3("GET", "/", "", b"").unwrap().text()));
    found
}

/// A region with something of its own in it, and what there is in it.
fn region_with_something(world: &World) -> (Region<'_>, Vec<Value>) {
    let region = world.up(&[]);
    let aws = region.aws();
    aws.ec2("CreateVpc", json!({ "CidrBlock": "10.9.0.0/16" }));
    aws.ec2("CreateKeyPair", json!({ "KeyName": "of-somebody-else" }));
    let before = inventory(&aws);
    (region, before)
}

fn a_running_region_is_left_as_it_was(world: &World) {
    let (region, before) = region_with_something(world);
    let file = written(world, "lab.toml", LAB);
    let file = file.to_str().unwrap();
    let run = |more: &[&str]| Ran::of(lab(world, &[&[file, "--on", &region.url], more].concat()), b"");

    let ran = run(&["--set", "command=echo from-$(hostname)"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("from-ip-10-0-1-"), "{}", ran.stdout);
    assert!(ran.stdout.contains("ok  delete-vpc"), "{}", ran.stdout);
    assert_eq!(inventory(&region.aws()), before, "after a lab that passed");

    // A step fails: half way, and at the very end.
    for fails in ["block=10.0.0.0/8", "block=192.168.0.0/16", "command=exit 3"] {
        let ran = run(&["--set", fails]);
        assert_eq!(ran.code, Some(1), "{fails}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(inventory(&region.aws()), before, "after a lab that failed: {fails}");
    }
    region.end_by(Signal::SIGTERM);
}

/// A lab under way, of which the lines of standard output are read.
struct Under {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Under {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads on until a line holds this.
    #[track_caller]
    fn until(&mut self, words: &str) {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before `{words}`: {seen}");
            seen.push_str(&line);
            if line.contains(words) {
                return;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// How it ended, and what it said since.
    #[track_caller]
    fn end(mut self, within_seconds: u64) -> (Option<i32>, String, String) {
        let began = Instant::now();
        let status = eventually("it ends", within_seconds, || self.child.try_wait().unwrap());
        assert!(began.elapsed() < Duration::from_secs(within_seconds));
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.lines.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (status.code(), stdout, stderr)
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ctrl_c_takes_down_what_was_made(world: &World) {
    let (region, before) = region_with_something(world);
    let file = written(world, "lab.toml", LAB);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let sleeps = [file.to_str().unwrap(), "--on", &region.url, "--set", "command=sleep 117"];
        let mut under = Under::start(lab(world, &sleeps));
        under.until("] inside");
        // It runs in the instance, and is in the middle of its two minutes.
        let aws = region.aws();
        let instance = eventually("the instance runs", 20, || {
            let running = json!({ "Filters": [{ "Name": "instance-state-name", "Values": ["running"] }] });
            let found = aws.ec2("DescribeInstances", running);
            found["Reservations"][0]["Instances"][0]["InstanceId"].as_str().map(str::to_owned)
        });
        let runs = "grep -lsxz 11[7] /proc/[0-9]*/cmdline | wc -l";
        eventually("the program runs", 20, || (region.sh(&instance, runs).trim() != "0").then_some(()));
        under.signal(signal);
        let (code, stdout, stderr) = under.end(40);
        assert_eq!(code, Some(130), "{stdout}{stderr}");
        assert!(stderr.contains("interrupted: what the lab made is taken down"), "{stderr}");
        assert!(stdout.contains("it was interrupted") && stdout.contains("ok  delete-vpc"), "{stdout}");
        assert_eq!(inventory(&aws), before, "after {signal}");
    }
    region.end_by(Signal::SIGTERM);
}

fn a_second_ctrl_c_gives_up_and_says_what_is_left(world: &World) {
    let (region, _) = region_with_something(world);
    let slow = "\n[[cleanup]]\nid = \"slow\"\nundoes = \"vpc\"\nrun_outside = { command = \"sleep 90\", \
                timeout_seconds = 100 }\n";
    let file = written(world, "slow.toml", &format!("{API_ONLY}{slow}"));
    let mut under = Under::start(lab(world, &[file.to_str().unwrap(), "--on", &region.url]));
    under.until("Clean-up: 2 steps");
    under.signal(Signal::SIGINT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(under.child.try_wait().unwrap().is_none(), "the first one does not cut the clean-up short");
    under.signal(Signal::SIGINT);
    let (code, _, stderr) = under.end(5);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("given up; still to be taken down, in this order:"), "{stderr}");
    // What it says is what there is, and how to be rid of it.
    let vpcs = region.aws().ec2("DescribeVpcs", json!({}));
    let vpcs: Vec<&str> =
        vpcs["Vpcs"].as_array().unwrap().iter().filter_map(|vpc| vpc["VpcId"].as_str()).collect();
    let line =
        stderr.lines().find(|line| line.contains("aws ec2 delete-vpc")).unwrap_or_else(|| panic!("{stderr}"));
    assert!(vpcs.iter().any(|vpc| line.contains(vpc)), "{line}: {vpcs:?}");
    region.end_by(Signal::SIGTERM);
}

fn ctrl_c_ends_a_region_of_the_labs_own(world: &World) {
    let temporary = world.home().join("tmp");
    fs::create_dir(&temporary).unwrap();
    world.hand_over(&temporary);
    let file = written(world, "lab.toml", LAB);
    let mut command = lab(world, &[file.to_str().unwrap(), "--set", "command=sleep 117"]);
    command.env("TMPDIR", &temporary);
    let mut under = Under::start(command);
    under.until("] inside");
    assert_eq!(names_in(&temporary).len(), 1, "the region's directory");
    under.signal(Signal::SIGINT);
    let (code, stdout, stderr) = under.end(20);
    assert_eq!(code, Some(130), "{stdout}{stderr}");
    assert!(stderr.contains("interrupted: the lab's region is taken down"), "{stderr}");
    assert_eq!(names_in(&temporary), Vec::<String>::new(), "{stdout}{stderr}");
}

fn without_the_socket_there_is_the_api(world: &World) {
    let (region, before) = region_with_something(world);
    let (whole, api) = (written(world, "lab.toml", LAB), written(world, "api.toml", API_ONLY));
    let (whole, api) = (whole.to_str().unwrap(), api.to_str().unwrap());
    let environment = region.json(&["env"]);
    let variable = |name: &str| environment[name].as_str().unwrap().to_owned();
    let run = |file: &str, url: &str, more: &[&str], keys: &[&str]| {
        let mut command = lab(world, &[&[file, "--on", url], more].concat());
        command.envs(keys.iter().map(|name| (name, variable(name))));
        Ran::of(command, b"")
    };
    const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

    // TLS is trusted as `aws` is told to.
    let tls = format!("https://localhost:{}", region.url.rsplit(':').next().unwrap());
    let ran = run(api, &tls, &[], &["AWS_CA_BUNDLE"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(run(api, &tls, &[], &[]).failure().contains("AWS_CA_BUNDLE"));

    let socket = region.state.join("run/control.sock");
    let away = region.state.join("run/away.sock");
    fs::rename(&socket, &away).unwrap();
    let path = format!("`{}`", socket.display());
    let said = run(whole, &region.url, &[], &KEYS);
    let said = said.failure();
    assert!(said.contains(&path) && said.contains("step `inside` runs a program"), "{said}");
    assert!(said.contains("No such file"), "{said}");
    let nobody = run(api, &region.url, &[], &[]);
    assert!(nobody.failure().contains("AWS_ACCESS_KEY_ID") && nobody.stderr.contains(&path), "{nobody:?}");
    let ran = run(api, &region.url, &[], &KEYS);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);

    // A profile says who to be, also where there are other keys.
    fs::create_dir_all(world.home().join(".aws")).unwrap();
    let secret = variable("AWS_SECRET_ACCESS_KEY");
    let profiles = format!(
        "[good]\naws_access_key_id = {}\naws_secret_access_key = {secret}\n[bad]\naws_access_key_id = \
         AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = {secret}\n",
        variable("AWS_ACCESS_KEY_ID")
    );
    written(world, ".aws/credentials", &profiles);
    assert_eq!(run(api, &region.url, &["--profile", "good"], &[]).code, Some(0));
    let bad = run(api, &region.url, &["--profile", "bad"], &KEYS);
    assert!(bad.code == Some(1) && bad.stdout.contains("AuthFailure"), "{bad:?}");
    assert!(run(api, &region.url, &["--profile", "absent"], &KEYS).failure().contains("`absent`"));

    // Another region's socket in its place is not taken for this one's.
    let other = world.up_in("other", &[]);
    std::os::unix::fs::symlink(other.state.join("run/control.sock"), &socket).unwrap();
    let said = run(whole, &region.url, &[], &KEYS);
    assert!(said.failure().contains("belongs to another region"), "{said:?}");
    other.end_by(Signal::SIGTERM);
    fs::remove_file(&socket).unwrap();
    fs::rename(&away, &socket).unwrap();
    assert_eq!(inventory(&region.aws()), before);
    region.end_by(Signal::SIGTERM);
}

fn arguments_are_checked_before_anything_starts(world: &World) {
    let file = written(world, "lab.toml", LAB);
    let file = file.to_str().unwrap();
    let refused = |arguments: &[&str], words: &[&str]| {
        let began = Instant::now();
        let ran = Ran::of(lab(world, arguments), b"");
        let said = ran.failure();
        assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
        assert_eq!(ran.stdout, "", "{arguments:?}: nothing was begun");
        assert!(began.elapsed() < Duration::from_secs(5), "{arguments:?} took {:?}", began.elapsed());
    };
    refused(&[file, "--without", "nosuch"], &["no step `nosuch`", "`subnet`, `key`, `image`"]);
    refused(&[file, "--set", "nosuch=1"], &["no variable `nosuch`", "`block`, `command`"]);
    refused(&[file, "--set", "nosuch"], &["not NAME=VALUE"]);
    refused(&[file, "--set", "block=1", "--set", "block=2"], &["`block` is set twice"]);
    refused(&[file, "--omissions", "--set", "nosuch=1"], &["no variable `nosuch`"]);
    refused(&[file, "--on", "4566"], &["`4566` is not the URL of a region"]);
    refused(&[file, "--on", "http://127.0.0.1:9"], &["no region answers at `http://127.0.0.1:9`"]);
    refused(&[file, "--profile", "x"], &["--on"]);
    refused(&["no-such-lab"], &["`no-such-lab` is neither a lab"]);
    let mut command = lab(world, &[file]);
    command.env("POSTERN_TOOLS", "/no/such/folder");
    assert!(Ran::of(command, b"").failure().contains("POSTERN_TOOLS: `/no/such/folder`"));
}

fn a_shipped_lab_leaves_a_region_as_it_was(world: &World) {
    let (region, before) = region_with_something(world);
    let mut command = lab(world, &["gateway-s3", "--on", &region.url]);
    command.current_dir(checkout());
    let (code, stdout, stderr) = Under::start(command).through();
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert_eq!(inventory(&region.aws()), before);
    region.end_by(Signal::SIGTERM);
}

impl Under {
    /// Reads to the end; a lab has its own limits of time.
    fn through(mut self) -> (Option<i32>, String, String) {
        let mut stdout = String::new();
        self.lines.read_to_string(&mut stdout).unwrap();
        let (code, _, stderr) = self.end(20);
        (code, stdout, stderr)
    }
}

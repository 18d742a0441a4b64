//! A thousand instances on one host, by requests to the program as its users run it: each with a network interface,
//! a network namespace and a sandbox of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Options;
use crate::program::{Ec2, Program};
use crate::report::{Goal, Outcome, Table, fixed};

/// How many.
const INSTANCES: usize = 1_000;
/// As many as one request may ask for.
const AT_ONCE: usize = 100;
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What was aimed at, in seconds.
const AIM_SECONDS: f64 = 10.0;

/// What was measured.
struct Launched {
    /// Until the last request was answered.
    answered: Duration,
    /// Until the last instance was running.
    running: Duration,
    /// Until the kernel program stood on every port; none where it carries nothing here.
    in_kernel: Option<Duration>,
    /// The program's own processor time until all were running.
    cpu: Duration,
    /// The machine's memory that all of it took.
    megabytes: f64,
}

/// Measures it once: everything is in it that is there the first time.
pub fn run(place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    eprintln!("scale: launching {INSTANCES} instances");
    let program = Program::start(&options.program()?, &place.join("region-launch"))?;
    let launched = launch(&program)?;
    // Taking a thousand sandboxes down takes its time.
    program.end(PATIENCE)?;
    Ok(outcome(&launched))
}

fn launch(program: &Program) -> anyhow::Result<Launched> {
    let mut ec2 = program.ec2()?;
    let vpc = ec2.make("CreateVpc", &[("CidrBlock", "10.0.0.0/16")], "vpcId")?;
    let subnet = ec2.make("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", "10.0.16.0/20")], "subnetId")?;
    let image = ec2.make("DescribeImages", &[], "imageId")?;
    let (memory, cpu, begun) = (free_megabytes()?, program.cpu()?, Instant::now());
    let count = AT_ONCE.to_string();
    for _ in 0..INSTANCES / AT_ONCE {
        let parameters = [
            ("ImageId", image.as_str()),
            ("InstanceType", "t3.micro"),
            ("MinCount", &count),
            ("MaxCount", &count),
            ("SubnetId", &subnet),
        ];
        ec2.call("RunInstances", &parameters)?;
    }
    let answered = begun.elapsed();
    until(begun, "all instances run", || Ok(pending(&mut ec2)? == 0))?;
    let (running, cpu) = (begun.elapsed(), program.cpu()?.saturating_sub(cpu));
    let megabytes = memory - free_megabytes()?;
    ensure!(count_running(&mut ec2)? == INSTANCES, "some of the instances do not run");
    // The doors' port is there from the start.
    let by_program = ports(program)?.kernel > 0;
    let in_kernel = by_program
        .then(|| {
            until(begun, "the kernel program stands on all ports", || Ok(ports(program)?.forwarder == 0))?;
            anyhow::Ok(begun.elapsed())
        })
        .transpose()?;
    Ok(Launched { answered, running, in_kernel, cpu, megabytes })
}

fn until(begun: Instant, what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    while !done()? {
        ensure!(begun.elapsed() < PATIENCE, "after {} s it is not so that {what}", PATIENCE.as_secs());
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Whether any instance is still pending: at most a page of them.
fn pending(ec2: &mut Ec2) -> anyhow::Result<usize> {
    let parameters =
        [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "pending"), ("MaxResults", "5")];
    Ok(ec2.call("DescribeInstances", &parameters)?.matches("<instanceId>").count())
}

fn count_running(ec2: &mut Ec2) -> anyhow::Result<usize> {
    let parameters = [("Filter.1.Name", "instance-state-name"), ("Filter.1.Value.1", "running")];
    Ok(ec2.call("DescribeInstances", &parameters)?.matches("<privateIpAddress>").count().min(INSTANCES))
}

/// How many ports are whose.
struct Ports {
    kernel: usize,
    forwarder: usize,
}

fn ports(program: &Program) -> anyhow::Result<Ports> {
    let page = program.page("metrics")?;
    let of = |carrier: &str| {
        let name = format!("postern_ports{{carrier=\"{carrier}\"}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name)?.trim().parse().ok());
        value.with_context(|| format!("the metrics have no `{}`", name.trim()))
    };
    Ok(Ports { kernel: of("kernel")?, forwarder: of("forwarder")? })
}

/// The memory that programs could still have.
fn free_megabytes() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kilobytes.context("`/proc/meminfo` does not say what is available")? / 1_024.0)
}

fn outcome(launched: &Launched) -> Outcome {
    let header = [
        "instances",
        "all requests answered, s",
        "all running, s",
        "all on the kernel program, s",
        "the program's CPU, ms each",
        "the machine's memory, MB each",
    ];
    let mut table = Table::new("Scale: instances by requests", header.map(str::to_owned));
    let each = |sum: f64| sum / INSTANCES as f64;
    let seconds = |time: Duration| time.as_secs_f64();
    table.row(vec![
        INSTANCES.to_string(),
        fixed(seconds(launched.answered), 1),
        fixed(seconds(launched.running), 1),
        launched.in_kernel.map_or("–".to_owned(), |time| fixed(seconds(time), 1)),
        fixed(each(seconds(launched.cpu) * 1e3), 2),
        fixed(each(launched.megabytes), 2),
    ]);
    table.note(format!(
        "`RunInstances` with {AT_ONCE} at a time, signed, against the program on a state directory. Each instance is a \
         sandbox of its own (user, mount, PID, IPC, host-name and network namespace, file system, process 1) with a network \
         interface. A running instance's packets are carried by the forwarder until the kernel program stands on its port: \
         the kernel takes a grace period for each, one after the other, while no other interface can be changed."
    ));
    let goal = Goal::below(
        "1,000 instances by requests, until the last one runs",
        seconds(launched.running),
        AIM_SECONDS,
        1,
        " s",
    );
    let raw = serde_json::json!({
        "instances": INSTANCES,
        "answered_s": seconds(launched.answered),
        "running_s": seconds(launched.running),
        "in_kernel_s": launched.in_kernel.map(seconds),
        "program_cpu_s": seconds(launched.cpu),
        "machine_megabytes": launched.megabytes,
    });
    Outcome { tables: vec![table], goals: vec![goal], raw }
}

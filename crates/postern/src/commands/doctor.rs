//! `postern doctor`: what this machine can do, and what to do about what it cannot.

use std::process::{Command, ExitCode, Stdio};

use postern_dataplane::host::{self, Feature, Lingering};
use postern_dataplane::kernel;
use serde::Serialize;

use crate::cli::Output;
use crate::paths::StateDir;

#[derive(Serialize)]
struct Finding {
    name: String,
    ok: bool,
    required: bool,
    detail: String,
    remedy: Option<String>,
}

/// Programs that labs run in instances. Postern itself needs none of them.
const TOOLS: [(&str, &str); 5] = [
    ("aws", "cargo xtask install, or install the AWS CLI"),
    ("ssh", "cargo xtask install, or install openssh-client"),
    ("sshd", "cargo xtask install, or unpack openssh-server"),
    ("traceroute", "cargo xtask install, or install traceroute"),
    ("nslookup", "cargo xtask install, or install dnsutils"),
];

/// Prints what it finds; fails if something that packets need is missing.
pub fn run(state_dir: Option<&StateDir>, output: Output) -> anyhow::Result<ExitCode> {
    let lingering = state_dir.and_then(|state_dir| host::look(&state_dir.keeper_socket())).map(lingering);
    let features = host::probe().into_iter().chain([kernel::probe()]).chain(lingering);
    let mut findings: Vec<Finding> = features.map(finding).collect();
    findings.extend(TOOLS.iter().map(|(name, remedy)| tool(name, remedy)));
    let healthy = findings.iter().all(|finding| finding.ok || !finding.required);
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&findings)?),
        Output::Text => print(&findings),
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a killed region has left.
fn lingering(Lingering { process, left, instances }: Lingering) -> Feature {
    Feature {
        name: "killed region",
        ok: false,
        required: false,
        detail: format!(
            "its keeper, process {process}, holds {instances} instances for {} s more",
            left.as_secs_f64().ceil()
        ),
        remedy: "`postern up` goes on with them, `postern down` ends them".to_owned(),
    }
}

fn finding(feature: Feature) -> Finding {
    let Feature { name, ok, required, detail, remedy } = feature;
    let remedy = Some(remedy.to_string()).filter(|remedy| !ok && !remedy.is_empty());
    Finding { name: name.to_string(), ok, required, detail, remedy }
}

fn tool(name: &str, remedy: &str) -> Finding {
    let found = Command::new("/bin/sh")
        .args(["-c", "command -v \"$0\"", name])
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Finding {
        name: format!("program {name}"),
        ok: found.is_some(),
        required: false,
        detail: found.clone().unwrap_or_else(|| "not on the PATH; only labs need it".to_owned()),
        remedy: found.is_none().then(|| remedy.to_owned()),
    }
}

fn print(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.name.chars().count()).max().unwrap_or_default();
    for finding in findings {
        let mark = match (finding.ok, finding.required) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "absent ",
        };
        println!("{mark}  {:<width$}  {}", finding.name, finding.detail);
        if let Some(remedy) = &finding.remedy {
            println!("{:9}{:<width$}  -> {remedy}", "", "");
        }
    }
}

//! `postern attach`: somebody else's container as a network interface of a subnet.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{AttachArgs, Output};
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// Plugs it in.
pub fn run(state_dir: &StateDir, args: AttachArgs, output: Output) -> anyhow::Result<ExitCode> {
    let AttachArgs { netns, subnet, groups, interface_name } = args;
    let namespace = File::open(&netns).with_context(|| format!("cannot open `{}`", netns.display()))?;
    let request = Request::Attach { subnet, groups, interface_name };
    let reply = Client::connect(state_dir)?.ask(&request, &[namespace.as_fd()])?;
    let Reply::Attached { interface, address } = reply else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Text => println!("{interface} {address}"),
        Output::Json => println!("{}", serde_json::json!({ "interface": interface, "address": address })),
    }
    Ok(ExitCode::SUCCESS)
}

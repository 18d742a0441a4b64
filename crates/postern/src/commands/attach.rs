//! `postern attach`: somebody else's container or virtual machine as a network interface of a subnet.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{AttachArgs, Output};
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// Plugs it in.
pub fn run(state_dir: &StateDir, args: AttachArgs, output: Output) -> anyhow::Result<ExitCode> {
    let AttachArgs { netns, tap, subnet, vpn, addresses, groups, interface_name } = args;
    let open = |path: std::path::PathBuf| {
        File::open(&path).with_context(|| format!("cannot open `{}`", path.display()))
    };
    let what =
        netns.as_ref().map(|path| path.display().to_string()).or_else(|| tap.clone()).unwrap_or_default();
    let namespace = netns.map(open).transpose()?;
    let descriptors: Vec<BorrowedFd<'_>> = namespace.iter().map(AsFd::as_fd).collect();
    let request = match vpn {
        Some(connection) => Request::AttachVpn { tap, connection, addresses, interface_name },
        None => Request::Attach { tap, subnet: subnet.unwrap_or_default(), groups, interface_name },
    };
    let reply = Client::connect(state_dir)?.ask(&request, &descriptors);
    let reply = reply.with_context(|| format!("`{what}` cannot be plugged in"))?;
    let Reply::Attached { interface, address, mac } = reply else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Text => println!("{interface} {address} {mac}"),
        Output::Json => {
            println!("{}", serde_json::json!({ "interface": interface, "address": address, "mac": mac }));
        }
    }
    Ok(ExitCode::SUCCESS)
}

//! `postern flows`: what was decided about flows.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{FlowsArgs, Output};
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// Prints a line for each.
pub fn run(state_dir: &StateDir, args: &FlowsArgs, output: Output) -> anyhow::Result<ExitCode> {
    let client = Client::connect(state_dir)?;
    client.send(&Request::Flows { follow: args.follow }, &[])?;
    loop {
        match client.next()? {
            Some((Reply::Flow(flow), _)) => {
                let interface = flow.get("interface").and_then(|value| value.as_str());
                if args.interface.as_deref().is_some_and(|wanted| Some(wanted) != interface) {
                    continue;
                }
                match output {
                    Output::Json => println!("{flow}"),
                    Output::Text => {
                        println!("{}", flow.get("text").and_then(|text| text.as_str()).unwrap_or_default())
                    }
                }
            }
            Some((Reply::Failed(reason), _)) => bail!(reason),
            Some((Reply::Done, _)) | None => return Ok(ExitCode::SUCCESS),
            Some((other, _)) => bail!("the region gave an answer to another question: {other:?}"),
        }
    }
}

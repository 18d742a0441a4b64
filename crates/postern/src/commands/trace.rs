//! `postern trace`: why packets go where they go.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{Output, TraceArgs};
use crate::control::client::Client;
use crate::control::{Reply, Request, TraceRequest, Wanted};
use crate::paths::StateDir;

/// Explains, and exits with 1 if reality did not agree.
pub fn run(state_dir: &StateDir, args: TraceArgs, output: Output) -> anyhow::Result<ExitCode> {
    let TraceArgs { from, to, protocol, probe, action, resource, principal, context } = args;
    let wanted = action.zip(resource);
    let wanted = wanted.map(|(action, resource)| Wanted { action, resource, principal, context });
    let request = Request::Trace(TraceRequest { from, to, protocol, probe, wanted });
    let Reply::Trace(trace) = Client::connect(state_dir)?.ask(&request, &[])? else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&trace)?),
        Output::Text => print!("{}", trace.get("text").and_then(|text| text.as_str()).unwrap_or_default()),
    }
    let disagrees = trace.pointer("/probe/agrees") == Some(&serde_json::Value::Bool(false));
    Ok(if disagrees { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

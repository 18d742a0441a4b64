//! `postern simulate` and `postern why`: what would become of a request, and what became of one.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{Output, SimulateArgs};
use crate::control::client::Client;
use crate::control::{Reply, Request, SimulateRequest, Wanted};
use crate::paths::StateDir;

/// Supposes a request.
pub fn simulate(state_dir: &StateDir, args: SimulateArgs, output: Output) -> anyhow::Result<ExitCode> {
    let SimulateArgs { action, resource, principal, from, to, context } = args;
    let wanted = Wanted { action, resource, principal, context };
    ask(state_dir, &Request::Simulate(SimulateRequest { wanted, from, to }), output)
}

/// Looks a request up.
pub fn why(state_dir: &StateDir, request_id: String, output: Output) -> anyhow::Result<ExitCode> {
    ask(state_dir, &Request::Why { request_id }, output)
}

fn ask(state_dir: &StateDir, request: &Request, output: Output) -> anyhow::Result<ExitCode> {
    let Reply::Judgement(judgement) = Client::connect(state_dir)?.ask(request, &[])? else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&judgement)?),
        Output::Text => print!("{}", judgement["text"].as_str().unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

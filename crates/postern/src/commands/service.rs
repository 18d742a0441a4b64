//! `postern service`: what other programs answer for.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::{Output, ServiceAddArgs, ServiceCommand};
use crate::control::client::Client;
use crate::control::{NewService, Reply, Request, ServiceInfo};
use crate::paths::StateDir;
use crate::table;

/// Does it, and prints what came of it.
pub fn run(state_dir: &StateDir, command: ServiceCommand, output: Output) -> anyhow::Result<ExitCode> {
    let request = match command {
        ServiceCommand::Add(args) => Request::AddService(new_service(args)?),
        ServiceCommand::List => Request::ListServices,
        ServiceCommand::Remove { name } => Request::RemoveService { name },
    };
    match (Client::connect(state_dir)?.ask(&request, &[])?, output) {
        (Reply::Services(services), Output::Json) => println!("{}", serde_json::to_string_pretty(&services)?),
        (Reply::Services(services), Output::Text) => print(services),
        (Reply::Done, Output::Json | Output::Text) => {}
        (other, _) => bail!("the region gave an answer to another question: {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn new_service(args: ServiceAddArgs) -> anyhow::Result<NewService> {
    let ServiceAddArgs {
        name,
        upstream,
        private_dns,
        protocol,
        signing_name,
        owner,
        key_id,
        secret_file,
        upstream_region,
    } = args;
    let secret = secret_file.as_deref().map(secret).transpose()?;
    Ok(NewService {
        name,
        upstream,
        private_dns,
        protocol,
        signing_name,
        owner,
        key: key_id.zip(secret),
        upstream_region,
    })
}

fn secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let secret = text.trim();
    if secret.is_empty() || secret.contains(char::is_whitespace) {
        bail!("`{}` does not hold one line with a secret", file.display());
    }
    Ok(secret.to_owned())
}

fn print(services: Vec<ServiceInfo>) {
    let mut rows = table::table(&["service", "served by", "protocol", "private names"]);
    for service in services {
        let signed = service.key_id.map(|id| format!(", signed by {id}"));
        let owner = service.owner.map(|owner| format!(", of {owner}"));
        let served = service.served_by.unwrap_or_else(|| "nobody (503)".to_owned());
        let served = format!("{served}{}{}", signed.unwrap_or_default(), owner.unwrap_or_default());
        let protocol = service.protocol.unwrap_or_default();
        rows.add_row([service.service_name, served, protocol, service.private_dns.join(" ")]);
    }
    table::print(&rows);
}

//! A step with its variables filled in: what is really done, and how a person would type it.

use std::time::Duration;

use serde_json::Value;

use super::aws_command::{command_line, quote};
use super::step::{Action, Added, Command, Program, Service};
use super::target::ServiceChange;
use super::template::{Template, UnknownVariable, Variables, plain};

/// What is really done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doing {
    Call { account: Option<String>, service: String, operation: String, parameters: Value },
    Run { instance: String, program: Filled },
    RunOutside { program: Filled },
    Serve { program: Filled },
    Service(ServiceChange),
    Trace { from: String, to: String, protocol: String, probe: bool },
    Record { wanted: Vec<(String, Value)> },
}

/// A program with its variables filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filled {
    pub argv: Vec<String>,
    pub input: Option<String>,
    pub timeout: Duration,
}

impl Doing {
    /// Fills the variables in.
    pub(super) fn fill(action: &Action, variables: &Variables) -> Result<Self, UnknownVariable> {
        let text = |template: &Template| template.text(variables);
        Ok(match action {
            Action::Call { account, service, operation, parameters } => Self::Call {
                account: account.as_ref().map(text).transpose()?,
                service: service.clone(),
                operation: operation.clone(),
                parameters: parameters.value(variables)?,
            },
            Action::Run { instance, program } => {
                Self::Run { instance: text(instance)?, program: Filled::fill(program, variables)? }
            }
            Action::RunOutside { program } => Self::RunOutside { program: Filled::fill(program, variables)? },
            Action::Serve { program } => Self::Serve { program: Filled::fill(program, variables)? },
            Action::Service(service) => Self::Service(change(service, variables)?),
            Action::Trace { from, to, protocol, probe } => {
                Self::Trace { from: text(from)?, to: text(to)?, protocol: text(protocol)?, probe: *probe }
            }
            Action::Record { wanted } => {
                let wanted = wanted.iter().map(|(path, value)| Ok((path.clone(), value.value(variables)?)));
                Self::Record { wanted: wanted.collect::<Result<_, _>>()? }
            }
        })
    }

    /// As a person would type it.
    pub(super) fn typed(&self) -> String {
        match self {
            Self::Call { account, service, operation, parameters } => {
                let line = command_line(service, operation, parameters);
                account.as_ref().map_or(line.clone(), |account| format!("{line}   # as account {account}"))
            }
            Self::Run { instance, program } => program.typed(&["postern", "exec", instance, "--"]),
            Self::RunOutside { program } => match program.argv.as_slice() {
                // The caller's shell is there already.
                [shell, option, line] if shell == "sh" && option == "-c" => program.with_input(line.clone()),
                _ => program.typed(&[]),
            },
            Self::Serve { program } => match program.argv.as_slice() {
                [shell, option, line] if shell == "sh" && option == "-c" => format!("{line} &"),
                _ => format!("{} &", program.typed(&[])),
            },
            Self::Service(change) => typed(change),
            Self::Trace { from, to, protocol, probe } => {
                let mut words = vec!["postern", "trace", "--from", from, "--to", to];
                if protocol != "tcp" {
                    words.extend(["--protocol", protocol]);
                }
                if *probe {
                    words.push("--probe");
                }
                words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
            }
            Self::Record { wanted } => {
                let wanted: Vec<String> =
                    wanted.iter().map(|(path, value)| format!("{path} {}", plain(value))).collect();
                format!("(the front door's records: {})", wanted.join(", "))
            }
        }
    }
}

fn change(service: &Service, variables: &Variables) -> Result<ServiceChange, UnknownVariable> {
    let text = |template: &Template| template.text(variables);
    let optional = |template: &Option<Template>| template.as_ref().map(text).transpose();
    Ok(match service {
        Service::Add(added) => {
            let Added { name, upstream, private_dns, protocol, signing_name, key } = &**added;
            ServiceChange::Add {
                name: text(name)?,
                upstream: text(upstream)?,
                private_dns: private_dns.iter().map(text).collect::<Result<_, _>>()?,
                protocol: optional(protocol)?,
                signing_name: optional(signing_name)?,
                key: key.as_ref().map(|(id, secret)| Ok((text(id)?, text(secret)?))).transpose()?,
            }
        }
        Service::Remove { name } => ServiceChange::Remove { name: text(name)? },
    })
}

/// What is signed with is in a file where a person types it, and not shown.
fn typed(change: &ServiceChange) -> String {
    let mut words = vec!["postern", "service"];
    match change {
        ServiceChange::Add { name, upstream, private_dns, protocol, signing_name, key } => {
            words.extend(["add", name, "--upstream", upstream]);
            words.extend(private_dns.iter().flat_map(|name| ["--private-dns", name]));
            words.extend(protocol.iter().flat_map(|protocol| ["--protocol", protocol]));
            words.extend(signing_name.iter().flat_map(|name| ["--signing-name", name]));
            words.extend(key.iter().flat_map(|(id, _)| ["--key-id", id, "--secret-file", "FILE"]));
        }
        ServiceChange::Remove { name } => words.extend(["remove", name]),
    }
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

impl Filled {
    fn fill(program: &Program, variables: &Variables) -> Result<Self, UnknownVariable> {
        let argv = match &program.command {
            Command::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), line.text(variables)?],
            Command::Words(words) => {
                words.iter().map(|word| word.text(variables)).collect::<Result<_, _>>()?
            }
        };
        let input = program.input.as_ref().map(|input| input.text(variables)).transpose()?;
        Ok(Self { argv, input, timeout: program.timeout })
    }

    fn typed(&self, before: &[&str]) -> String {
        let words = before.iter().copied().chain(self.argv.iter().map(String::as_str));
        self.with_input(words.map(quote).collect::<Vec<_>>().join(" "))
    }

    /// What is read is not shown: it may be a secret.
    fn with_input(&self, line: String) -> String {
        match &self.input {
            None => line,
            Some(input) => format!("{line}   # reads {} bytes", input.len()),
        }
    }
}

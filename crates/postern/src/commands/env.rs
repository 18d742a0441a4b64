//! `postern env`: the variables that point `aws` and the SDKs at the region.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{EnvArgs, Output};
use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;

/// Prints them.
pub fn run(state_dir: &StateDir, args: &EnvArgs, output: Output) -> anyhow::Result<ExitCode> {
    let request = Request::Environment { account: args.account.clone() };
    let Reply::Environment(variables) = Client::connect(state_dir)?.ask(&request, &[])? else {
        bail!("the region gave an answer to another question");
    };
    match output {
        Output::Text => {
            // Left over from some other account, it would not fit the key.
            println!("unset AWS_SESSION_TOKEN");
            for (name, value) in variables {
                println!("export {name}={}", quoted(&value));
            }
        }
        Output::Json => {
            let object: serde_json::Map<_, _> =
                variables.into_iter().map(|(name, value)| (name, value.into())).collect();
            println!("{}", serde_json::to_string_pretty(&object)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The value as a shell reads it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shell_reads_values_back() {
        assert_eq!(super::quoted("http://127.0.0.1:4566"), "http://127.0.0.1:4566");
        assert_eq!(super::quoted("a b'c"), r"'a b'\''c'");
        assert_eq!(super::quoted(""), "''");
    }
}

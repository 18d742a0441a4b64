//! `postern account`: accounts and the first keys of their root users.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::{AccountCommand, Output, QuotaLimit};
use crate::control::client::Client;
use crate::control::{KeyInfo, QuotaChange, Reply, Request};
use crate::paths::StateDir;
use crate::table;

/// Does it, and prints what came of it.
pub fn run(state_dir: &StateDir, command: AccountCommand, output: Output) -> anyhow::Result<ExitCode> {
    let request = match command {
        AccountCommand::Create { name, id } => Request::CreateAccount { name, id },
        AccountCommand::List => Request::ListAccounts,
        AccountCommand::Key { account } => Request::CreateRootKey { account },
        AccountCommand::Quota { account, name, limit } => {
            let change = name.zip(limit).map(|(name, limit)| QuotaChange {
                name,
                limit: match limit {
                    QuotaLimit::Usual => None,
                    QuotaLimit::Of(limit) => Some(limit),
                },
            });
            Request::Quotas { account, change }
        }
    };
    match (Client::connect(state_dir)?.ask(&request, &[])?, output) {
        (Reply::Key(key), Output::Json) => println!("{}", serde_json::to_string_pretty(&key)?),
        (Reply::Key(key), Output::Text) => print_key(&key),
        (Reply::Accounts(accounts), Output::Json) => println!("{}", serde_json::to_string_pretty(&accounts)?),
        (Reply::Accounts(accounts), Output::Text) => {
            let mut rows = table::table(&["account", "name", "root keys"]);
            for account in accounts {
                rows.add_row([account.id, account.name, account.keys.join(" ")]);
            }
            table::print(&rows);
        }
        (Reply::Quotas(quotas), Output::Json) => println!("{}", serde_json::to_string_pretty(&quotas)?),
        (Reply::Quotas(quotas), Output::Text) => {
            let mut rows = table::table(&["quota", "limit", "usual", "at most"]);
            for quota in quotas {
                let numbers = [quota.limit, quota.usual, quota.most].map(|number| number.to_string());
                rows.add_row(std::iter::once(quota.name).chain(numbers));
            }
            table::print(&rows);
        }
        (other, _) => bail!("the region gave an answer to another question: {other:?}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_key(key: &KeyInfo) {
    println!("account            {}", key.account);
    println!("access key id      {}", key.access_key_id);
    println!("secret access key  {}   (shown only now)", key.secret_access_key);
}

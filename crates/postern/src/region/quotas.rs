//! What the operator reads and sets of an account's quotas.

use anyhow::Context;
use postern_model::quota::limit;
use postern_model::{AccountId, Action, Quota};
use postern_services::commands::Commands;

use super::command::RegionCommands;
use super::execute;
use crate::control::{QuotaChange, QuotaInfo};

/// The quotas of an account, after a change if there is one.
pub async fn quotas(
    commands: &RegionCommands,
    account: &str,
    change: Option<QuotaChange>,
) -> anyhow::Result<Vec<QuotaInfo>> {
    let account = account.parse::<AccountId>()?;
    if let Some(QuotaChange { name, limit }) = change {
        let quota = name.parse::<Quota>()?;
        execute(commands, account, Action::SetQuota { quota, limit }).await?;
    }
    let state = commands.state();
    state.accounts.get(&account).with_context(|| format!("there is no account `{account}`"))?;
    let info = |quota: &Quota| QuotaInfo {
        name: quota.name().to_owned(),
        limit: limit(&state, account, *quota),
        usual: quota.usual(),
        most: quota.most(),
    };
    Ok(Quota::ALL.iter().map(info).collect())
}

//! The reconciler of a region in which no packets move: nothing is to be programmed, so gateways and endpoints are
//! ready as soon as they are made; and instances, which cannot run, say so.

use std::sync::Arc;

use postern_model::instance::InstanceState;
use postern_model::{AccountId, Action, State, Timestamp};
use postern_services::commands::Commands;
use tokio::sync::Notify;

use super::machines::PERIOD;
use super::reconcile::{Actual, Task, difference};

/// Keeps the state as it can be without packets, for this reason, until the future is dropped.
pub async fn reconcile(commands: Arc<dyn Commands>, changed: Arc<Notify>, reason: String) {
    // The reason tells of this machine, so it goes to the log and not into the state that the API shows.
    tracing::warn!(reason, "no packets move here, and no programs run");
    loop {
        let state = commands.state();
        let tasks = difference(&state, &Actual::default(), true, Timestamp(commands.now_milliseconds()));
        let mut did = false;
        for (account, action) in tasks.into_iter().filter_map(|task| answer(&state, task)) {
            match commands.execute(account, None, action).await {
                Ok(_) => did = true,
                // The state went on meanwhile; the next look sees how.
                Err(error) => tracing::debug!(%error, "a report came too late"),
            }
        }
        if !did {
            // A change that came meanwhile is not missed: `Notify` keeps one.
            let _ = tokio::time::timeout(PERIOD, changed.notified()).await;
        }
    }
}

/// What is reported instead of doing a task.
fn answer(state: &State, task: Task) -> Option<(AccountId, Action)> {
    let report = |id, to, reason: String| {
        let owner = state.instances.get(&id)?.owner;
        Some((owner, Action::ReportInstance { instance: id, state: to, reason }))
    };
    match task {
        Task::Build(id) => {
            let pending = state.instances.get(&id)?.state == InstanceState::Pending;
            let to = if pending { InstanceState::Terminated } else { InstanceState::Stopped };
            report(id, to, "no packets move here, and no programs run".to_owned())
        }
        Task::Destroy(id, to) => report(id, to?, "User initiated".to_owned()),
        Task::Report(account, action) => Some((account, *action)),
        Task::Plug(_, _) | Task::Unplug(_, _) => None,
    }
}

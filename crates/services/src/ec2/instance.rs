//! Instances: listed, stopped, started, rebooted, terminated, and what they print.

use std::sync::Arc;

use base64::Engine as _;
use postern_model::instance::{Instance, InstanceState};
use postern_model::{Action, InstanceId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters;
use super::instance_filters::Launched;
use super::instance_view::{show, state_of};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::some;
use crate::commands::Done;

/// "GetConsoleOutput: the most recent 64 KB".
const MAX_CONSOLE_BYTES: usize = 65_536;
const NAMED: &[Asked] = &[Asked::Named(By::Id, "InstanceId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeInstances = describe; filters: filters::names::<Launched>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["InstanceId"]],
        only: &[("IncludeManagedResources", &["true", "false"])],
    },
    operation! { write StopInstances = stop;
        honoured: &[DRY_RUN, &["InstanceId"]],
        only: &[("Force", &["false"]), ("Hibernate", &["false"]), ("SkipOsShutdown", &["false"])],
        asked: NAMED,
    },
    operation! { write StartInstances = start; honoured: &[DRY_RUN, &["InstanceId"]], asked: NAMED },
    operation! { write RebootInstances = reboot; honoured: &[DRY_RUN, &["InstanceId"]], asked: NAMED },
    operation! { write TerminateInstances = terminate;
        honoured: &[DRY_RUN, &["InstanceId"]],
        only: &[("Force", &["false"]), ("SkipOsShutdown", &["false"])],
        asked: NAMED,
    },
    operation! { read GetConsoleOutput = console;
        honoured: &[DRY_RUN, &["InstanceId"]],
        // What is kept is always the latest.
        only: &[("Latest", &["true", "false"])],
        asked: NAMED,
    },
];

/// Instances by the launches that they are part of.
pub fn reservations(state: &State, instances: Vec<Arc<Instance>>) -> Vec<ec2::Reservation> {
    let launched = instances.iter().map(|instance| launched(state, instance)).collect();
    grouped(launched)
}

fn launched(state: &State, instance: &Instance) -> Launched {
    Launched {
        reservation: instance.reservation.to_string(),
        owner: instance.owner.to_string(),
        instance: show(state, instance),
    }
}

fn grouped(rows: Vec<Launched>) -> Vec<ec2::Reservation> {
    let mut reservations: Vec<ec2::Reservation> = Vec::new();
    for Launched { reservation, owner, instance } in rows {
        match reservations.last_mut().filter(|last| last.reservation_id.as_ref() == Some(&reservation)) {
            Some(last) => last.instances.get_or_insert_default().push(instance),
            None => reservations.push(ec2::Reservation {
                groups: Some(Vec::new()),
                instances: Some(vec![instance]),
                owner_id: Some(owner),
                requester_id: None,
                reservation_id: Some(reservation),
            }),
        }
    }
    reservations
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeInstancesRequest,
) -> Result<ec2::DescribeInstancesResult, AwsError> {
    if !request.instance_ids.is_empty() && request.max_results.is_some() {
        return Err(parameters::combination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    let instances = call.select::<Instance>(&request.instance_ids)?;
    let rows = instances.iter().map(|instance| launched(&call.state, instance)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (rows, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeInstancesResult { next_token, reservations: rows.map(grouped) })
}

/// The instances of a request, each once. All must be there before any changes.
fn ids(call: &Call<'_>, texts: &[String]) -> Result<Vec<InstanceId>, AwsError> {
    if texts.is_empty() {
        return Err(parameters::missing("InstanceId"));
    }
    Ok(call.select::<Instance>(texts)?.iter().map(|instance| instance.id).collect())
}

/// What became of the instances of a command.
fn changes(call: &Call<'_>, done: &Done, instances: &[InstanceId]) -> Vec<ec2::InstanceStateChange> {
    let state_in = |state: &State, id: &InstanceId| state.instances.get(id).map(|i| state_of(i.state));
    let change = |id: &InstanceId| ec2::InstanceStateChange {
        current_state: state_in(&done.state, id),
        instance_id: some(id),
        previous_state: state_in(&call.state, id),
    };
    instances.iter().map(change).collect()
}

async fn stop(
    call: &Call<'_>,
    request: ec2::StopInstancesRequest,
) -> Result<ec2::StopInstancesResult, AwsError> {
    let instances = ids(call, &request.instance_ids)?;
    let done = call.execute(None, Action::StopInstances { instances: instances.clone() }).await?;
    Ok(ec2::StopInstancesResult { stopping_instances: Some(changes(call, &done, &instances)) })
}

async fn start(
    call: &Call<'_>,
    request: ec2::StartInstancesRequest,
) -> Result<ec2::StartInstancesResult, AwsError> {
    let instances = ids(call, &request.instance_ids)?;
    let done = call.execute(None, Action::StartInstances { instances: instances.clone() }).await?;
    Ok(ec2::StartInstancesResult { starting_instances: Some(changes(call, &done, &instances)) })
}

async fn terminate(
    call: &Call<'_>,
    request: ec2::TerminateInstancesRequest,
) -> Result<ec2::TerminateInstancesResult, AwsError> {
    let instances = ids(call, &request.instance_ids)?;
    let done = call.execute(None, Action::TerminateInstances { instances: instances.clone() }).await?;
    Ok(ec2::TerminateInstancesResult { terminating_instances: Some(changes(call, &done, &instances)) })
}

/// A reboot changes nothing in the state. What is not running is left alone: "if the instance is terminated, the
/// request is ignored"; one that is stopped cannot be rebooted.
async fn reboot(call: &Call<'_>, request: ec2::RebootInstancesRequest) -> Result<(), AwsError> {
    if request.instance_ids.is_empty() {
        return Err(parameters::missing("InstanceId"));
    }
    let mut running = Vec::new();
    for instance in call.select::<Instance>(&request.instance_ids)? {
        match instance.state {
            InstanceState::Pending | InstanceState::Running => running.push(instance.id),
            InstanceState::ShuttingDown | InstanceState::Terminated => {}
            InstanceState::Stopping | InstanceState::Stopped => {
                return Err(call.refuse(postern_model::ModelError::WrongState {
                    resource: instance.id.into(),
                    state: instance.state.name(),
                    needed: "running",
                }));
            }
        }
    }
    running.into_iter().try_for_each(|instance| call.reboot(instance))
}

fn console(
    call: &Call<'_>,
    request: ec2::GetConsoleOutputRequest,
) -> Result<ec2::GetConsoleOutputResult, AwsError> {
    let id = parameters::required(request.instance_id, "InstanceId")?;
    let instance = call.get::<Instance>(&id)?;
    let printed = call.console(instance.id);
    let latest = printed.as_deref().map(|bytes| {
        let start = bytes.len().saturating_sub(MAX_CONSOLE_BYTES);
        bytes.get(start..).unwrap_or_default()
    });
    Ok(ec2::GetConsoleOutputResult {
        instance_id: some(instance.id),
        output: latest.map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
        timestamp: Some(call.now()),
    })
}

//! How instances fare. An instance that the data plane reports as running passes its checks.

use postern_model::State;
use postern_model::instance::{Instance, InstanceState};
use postern_wire::{AwsError, ec2};

use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, none, shown, text};
use super::instance_view::state_of;
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::{some, tags, zone_id};

pub(super) const OPERATIONS: &[Entry] =
    &[operation! { read DescribeInstanceStatus = describe; filters: filters::names::<Status>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["IncludeAllInstances", "InstanceId"]],
        only: &[("IncludeManagedResources", &["true", "false"])],
    }];

/// A status and the tags of its instance.
struct Status {
    status: ec2::InstanceStatus,
    tags: Vec<ec2::Tag>,
}

fn summary(state: InstanceState) -> ec2::InstanceStatusSummary {
    let (status, reachability) = match state {
        InstanceState::Running => ("ok", Some("passed")),
        InstanceState::Pending => ("initializing", Some("initializing")),
        InstanceState::Stopping
        | InstanceState::Stopped
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => ("not-applicable", None),
    };
    let detail = |status: &str| ec2::InstanceStatusDetails {
        impaired_since: None,
        name: some("reachability"),
        status: some(status),
    };
    ec2::InstanceStatusSummary {
        details: reachability.map(|status| vec![detail(status)]),
        status: some(status),
    }
}

fn show(state: &State, instance: &Instance) -> Status {
    let zone = state.subnets.get(&instance.subnet).map(|subnet| subnet.zone.clone());
    let status = ec2::InstanceStatus {
        availability_zone_id: zone.as_deref().and_then(|zone| zone_id(state, zone)),
        availability_zone: zone,
        instance_id: some(instance.id),
        instance_state: Some(state_of(instance.state)),
        instance_status: Some(summary(instance.state)),
        system_status: Some(summary(instance.state)),
        ..Default::default()
    };
    Status { status, tags: tags(&instance.tags).unwrap_or_default() }
}

/// The status, or the reachability, of a summary.
fn of(summary: Option<&ec2::InstanceStatusSummary>, reachability: bool) -> Vec<String> {
    match (summary, reachability) {
        (None, _) => Vec::new(),
        (Some(summary), false) => text(summary.status.as_ref()),
        (Some(summary), true) => {
            summary.details.iter().flatten().filter_map(|detail| detail.status.clone()).collect()
        }
    }
}

impl Row for Status {
    const FILTERS: FilterTable<Self> = &[
        ("attached-ebs-status.status", none),
        ("availability-zone", |s| text(s.status.availability_zone.as_ref())),
        ("availability-zone-id", |s| text(s.status.availability_zone_id.as_ref())),
        ("event.code", none),
        ("event.description", none),
        ("event.instance-event-id", none),
        ("event.not-after", none),
        ("event.not-before", none),
        ("event.not-before-deadline", none),
        ("instance-state-code", |s| shown(s.status.instance_state.as_ref().and_then(|s| s.code))),
        ("instance-state-name", |s| text(s.status.instance_state.as_ref().and_then(|s| s.name.as_ref()))),
        ("instance-status.reachability", |s| of(s.status.instance_status.as_ref(), true)),
        ("instance-status.status", |s| of(s.status.instance_status.as_ref(), false)),
        ("system-status.reachability", |s| of(s.status.system_status.as_ref(), true)),
        ("system-status.status", |s| of(s.status.system_status.as_ref(), false)),
    ];

    fn key(&self) -> String {
        self.status.instance_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        &self.tags
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeInstanceStatusRequest,
) -> Result<ec2::DescribeInstanceStatusResult, AwsError> {
    if !request.instance_ids.is_empty() && request.max_results.is_some() {
        return Err(parameters::combination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    let all = request.include_all_instances.unwrap_or(false);
    let instances = call.select::<Instance>(&request.instance_ids)?;
    let listed = instances.iter().filter(|instance| all || instance.state == InstanceState::Running);
    let rows = listed.map(|instance| show(&call.state, instance)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (rows, next_token) = call.list(rows, listing)?;
    let instance_statuses = rows.map(|rows| rows.into_iter().map(|row| row.status).collect());
    Ok(ec2::DescribeInstanceStatusResult { instance_statuses, next_token })
}

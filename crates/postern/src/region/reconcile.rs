//! From what should be to what is: sandboxes and ports for instances, reports for what has come to be.
//!
//! The difference is computed purely ([`difference`]), from the whole state and all that is there; applying it and
//! reading back is the reconciler's ([`super::machines`]). It takes no input, so running it again does no harm.

use std::collections::{BTreeMap, BTreeSet};

use postern_model::endpoint::{EndpointState, VpcEndpoint};
use postern_model::gateway::NatGatewayState;
use postern_model::instance::InstanceState;
use postern_model::peering::{PeeringAction, PeeringState};
use postern_model::resolver_endpoint::{ResolverAction, ResolverEndpointState};
use postern_model::state::State;
use postern_model::{AccountId, Action, InstanceId, NetworkInterfaceId, Timestamp};

/// How long a terminated instance or a deleted gateway is shown ("Terminate Amazon EC2 instances": about an hour).
const SHOWN_MILLISECONDS: u64 = 60 * 60 * 1_000;
/// How long a deleted endpoint is shown. AWS names no time; its own are gone soon.
const ENDPOINT_SHOWN_MILLISECONDS: u64 = 60 * 1_000;

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actual {
    /// The sandboxes, and the interfaces that are plugged into each.
    pub sandboxes: BTreeMap<InstanceId, BTreeSet<NetworkInterfaceId>>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Make an instance's sandbox with its ports, run its user data, and report it running.
    Build(InstanceId),
    /// Take an instance's sandbox down and report this, if anything.
    Destroy(InstanceId, Option<InstanceState>),
    /// Plug an interface in.
    Plug(InstanceId, NetworkInterfaceId),
    /// Unplug an interface.
    Unplug(InstanceId, NetworkInterfaceId),
    /// Report something to the model.
    Report(AccountId, Box<Action>),
}

impl Task {
    fn report(account: AccountId, action: Action) -> Self {
        Self::Report(account, Box::new(action))
    }

    /// The instance that it is about, if its order among others of that instance counts.
    pub fn instance(&self) -> Option<InstanceId> {
        match self {
            Self::Build(id) | Self::Destroy(id, _) | Self::Plug(id, _) | Self::Unplug(id, _) => Some(*id),
            Self::Report(..) => None,
        }
    }
}

/// What is to be done so that `actual` becomes what `state` says. `planned` is whether packets follow this state.
pub fn difference(state: &State, actual: &Actual, planned: bool, now: Timestamp) -> Vec<Task> {
    let mut tasks = Vec::new();
    let wanted = wanted_interfaces(state);
    for instance in state.instances.values() {
        let there = actual.sandboxes.get(&instance.id);
        let down = |state| Task::Destroy(instance.id, Some(state));
        match instance.state {
            InstanceState::Pending | InstanceState::Running => match there {
                None => tasks.push(Task::Build(instance.id)),
                Some(plugged) => {
                    let wanted = wanted.get(&instance.id).cloned().unwrap_or_default();
                    tasks.extend(plugged.difference(&wanted).map(|x| Task::Unplug(instance.id, *x)));
                    tasks.extend(wanted.difference(plugged).map(|x| Task::Plug(instance.id, *x)));
                    if instance.state == InstanceState::Pending {
                        // Whoever built it did not come to say so.
                        let (state, reason) = (InstanceState::Running, String::new());
                        let report = Action::ReportInstance { instance: instance.id, state, reason };
                        tasks.push(Task::report(instance.owner, report));
                    }
                }
            },
            InstanceState::Stopping => tasks.push(down(InstanceState::Stopped)),
            InstanceState::ShuttingDown => tasks.push(down(InstanceState::Terminated)),
            InstanceState::Stopped if there.is_some() => tasks.push(Task::Destroy(instance.id, None)),
            InstanceState::Terminated if there.is_some() => tasks.push(Task::Destroy(instance.id, None)),
            InstanceState::Terminated if now.0.saturating_sub(instance.state_at.0) > SHOWN_MILLISECONDS => {
                tasks.push(Task::report(instance.owner, Action::ForgetInstance { instance: instance.id }));
            }
            InstanceState::Stopped | InstanceState::Terminated => {}
        }
    }
    let gone = actual.sandboxes.keys().filter(|id| !state.instances.contains_key(*id));
    tasks.extend(gone.map(|id| Task::Destroy(*id, None)));
    if planned {
        tasks.extend(reports(state, now));
    }
    tasks
}

/// Whether [`difference`] reads the same of both states, so that most changes cost nothing here, however large the
/// network is.
pub fn reads_alike(one: &State, other: &State) -> bool {
    one.instances.ptr_eq(&other.instances)
        && one.network_interfaces.ptr_eq(&other.network_interfaces)
        && one.nat_gateways.ptr_eq(&other.nat_gateways)
        && one.vpc_peering_connections.ptr_eq(&other.vpc_peering_connections)
        && one.vpc_endpoints.ptr_eq(&other.vpc_endpoints)
        && one.resolver_endpoints.ptr_eq(&other.resolver_endpoints)
        && one.vpn_connections.ptr_eq(&other.vpn_connections)
}

fn wanted_interfaces(state: &State) -> BTreeMap<InstanceId, BTreeSet<NetworkInterfaceId>> {
    let mut wanted: BTreeMap<InstanceId, BTreeSet<NetworkInterfaceId>> = BTreeMap::new();
    for interface in state.network_interfaces.values() {
        if let Some(instance) = interface.attachment.and_then(|attachment| attachment.instance) {
            wanted.entry(instance).or_default().insert(interface.id);
        }
    }
    wanted
}

/// What packets already follow becomes `available`, and what they no longer know is gone.
fn reports(state: &State, now: Timestamp) -> impl Iterator<Item = Task> + '_ {
    let gateways = state.nat_gateways.values().filter(|gateway| gateway.state == NatGatewayState::Pending);
    let gateways = gateways.map(|x| Task::report(x.owner, Action::ReportNatGatewayReady { gateway: x.id }));
    let endpoints = state.vpc_endpoints.values().filter_map(move |endpoint| {
        report_of(state, endpoint, now).map(|action| Task::report(endpoint.owner, action))
    });
    let peerings =
        state.vpc_peering_connections.values().filter(|peering| peering.state == PeeringState::Provisioning);
    let peerings = peerings.map(|x| {
        let ready = PeeringAction::ReportReady { peering: x.id };
        Task::report(x.requester.owner, Action::Peering(ready))
    });
    let resolvers = state.resolver_endpoints.values().filter_map(|endpoint| {
        let id = endpoint.id;
        let report = match endpoint.state {
            ResolverEndpointState::Creating | ResolverEndpointState::Updating => {
                ResolverAction::ReportReady { endpoint: id }
            }
            ResolverEndpointState::Deleting => ResolverAction::ReportGone { endpoint: id },
            ResolverEndpointState::Operational => return None,
        };
        Some(Task::report(endpoint.owner, Action::Resolver(report)))
    });
    gateways.chain(peerings).chain(endpoints).chain(resolvers)
}

/// What is to be reported of an endpoint.
fn report_of(state: &State, endpoint: &VpcEndpoint, now: Timestamp) -> Option<Action> {
    let id = endpoint.id;
    let own = postern_model::endpoint_service::by_name(state, &endpoint.service_name);
    let carried = own.is_some() || state.services.contains_key(&endpoint.service_name);
    match endpoint.state {
        EndpointState::Pending => carried.then_some(Action::ReportVpcEndpointReady { endpoint: id }),
        EndpointState::Deleting => Some(Action::ReportVpcEndpointGone { endpoint: id }),
        EndpointState::Deleted => {
            let since = endpoint.deleted_at.map_or(u64::MAX, |at| now.0.saturating_sub(at.0));
            (since > ENDPOINT_SHOWN_MILLISECONDS).then_some(Action::ForgetVpcEndpoint { endpoint: id })
        }
        EndpointState::PendingAcceptance
        | EndpointState::Available
        | EndpointState::Rejected
        | EndpointState::Expired
        | EndpointState::Failed => None,
    }
}

//! How targets are: what checks saw of them, and what else makes them get connections or not.
//!
//! States, reasons and sentences from "TargetHealth" in the ELBv2 API reference.

use postern_model::elb::{LoadBalancer, TargetGroup, TargetId, TargetKey, TargetZone};
use postern_model::instance::{Instance, InstanceState};
use postern_model::{State, TargetGroupId};

/// What is known of targets. Whoever checks them implements it.
pub trait Health: Send + Sync {
    /// What the checks of a target saw.
    fn seen(&self, group: TargetGroupId, target: TargetKey) -> Seen;
}

/// What the checks of a target saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nobody has begun to look.
    Nothing,
    /// Not enough yet to say how it is.
    Beginning,
    /// It answered as often as it takes.
    Healthy,
    /// It failed as often as it takes, the last time like this.
    Unhealthy(Failure),
}

/// How a check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer came in time.
    Timeout,
    /// There was no connection, or no answer on it.
    NoConnection,
    /// The answer had this status.
    Status(u16),
}

/// How a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHealth {
    /// It gets connections.
    Healthy,
    /// It is being registered.
    Registering,
    /// It is being checked for the first time.
    Initial,
    /// Its checks failed.
    Unhealthy(Failure),
    /// It is not one of the group's.
    NotRegistered,
    /// No listener leads to the group.
    NotInUse,
    /// It is in a zone that the load balancer has not.
    ZoneNotEnabled,
    /// The instance does not run.
    NotRunning(InstanceState),
    /// It keeps its connections for a while and gets no new ones.
    Draining,
}

impl TargetHealth {
    /// AWS's word for the state.
    pub fn state(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Registering | Self::Initial => "initial",
            Self::Unhealthy(_) => "unhealthy",
            Self::NotRegistered | Self::NotInUse | Self::ZoneNotEnabled | Self::NotRunning(_) => "unused",
            Self::Draining => "draining",
        }
    }

    /// AWS's code for why.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Healthy => None,
            Self::Registering => Some("Elb.RegistrationInProgress"),
            Self::Initial => Some("Elb.InitialHealthChecking"),
            Self::Unhealthy(Failure::Timeout) => Some("Target.Timeout"),
            Self::Unhealthy(Failure::NoConnection) => Some("Target.FailedHealthChecks"),
            Self::Unhealthy(Failure::Status(_)) => Some("Target.ResponseCodeMismatch"),
            Self::NotRegistered => Some("Target.NotRegistered"),
            Self::NotInUse | Self::ZoneNotEnabled => Some("Target.NotInUse"),
            Self::NotRunning(_) => Some("Target.InvalidState"),
            Self::Draining => Some("Target.DeregistrationInProgress"),
        }
    }

    /// The sentence that goes with the reason.
    pub fn description(self) -> Option<String> {
        let text = match self {
            Self::Healthy => return None,
            Self::Registering => "Target registration is in progress",
            Self::Initial => "Initial health checks in progress",
            Self::Unhealthy(Failure::Timeout) => "Request timed out",
            Self::Unhealthy(Failure::NoConnection) => "Health checks failed",
            Self::Unhealthy(Failure::Status(status)) => {
                return Some(format!("Health checks failed with these codes: [{status}]"));
            }
            Self::NotRegistered => "Target is not registered to the target group",
            Self::NotInUse => "Target group is not configured to receive traffic from the load balancer",
            Self::ZoneNotEnabled => {
                "Target is in an Availability Zone that is not enabled for the load balancer"
            }
            Self::NotRunning(state) => return Some(format!("Target is in the {} state", state.name())),
            Self::Draining => "Target deregistration is in progress",
        };
        Some(text.to_owned())
    }
}

/// How a target of a group is, given what its checks saw.
pub fn of(state: &State, group: &TargetGroup, key: TargetKey, seen: Seen) -> TargetHealth {
    let Some(target) = group.targets.get(&key) else { return TargetHealth::NotRegistered };
    if target.deregistered_at.is_some() {
        return TargetHealth::Draining;
    }
    let Some(balancer) = balancer_of(state, group) else { return TargetHealth::NotInUse };
    if let TargetId::Instance(id) = key.id {
        let instance = state.get::<Instance>(group.owner, id).map(|instance| instance.state);
        match instance {
            Ok(InstanceState::Running | InstanceState::Pending) => {}
            Ok(other) => return TargetHealth::NotRunning(other),
            Err(_) => return TargetHealth::NotRegistered,
        }
    }
    let enabled = match &target.zone {
        TargetZone::All => true,
        TargetZone::Zone(zone) => balancer.zones.iter().any(|known| known.zone == *zone),
    };
    match seen {
        _ if !enabled => TargetHealth::ZoneNotEnabled,
        Seen::Nothing => TargetHealth::Registering,
        Seen::Beginning => TargetHealth::Initial,
        Seen::Healthy => TargetHealth::Healthy,
        Seen::Unhealthy(failure) => TargetHealth::Unhealthy(failure),
    }
}

/// The load balancer that hands connections to a group.
pub fn balancer_of<'a>(state: &'a State, group: &TargetGroup) -> Option<&'a LoadBalancer> {
    let listener = state.listeners.values().find(|listener| listener.group == group.id)?;
    state.load_balancers.get(&listener.load_balancer).map(AsRef::as_ref)
}

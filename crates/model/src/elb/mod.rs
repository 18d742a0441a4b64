//! Network load balancers: who takes connections in a VPC's subnets and hands them to targets.
//!
//! Rules from the "Network Load Balancers" guide and the ELBv2 API reference. A load balancer is `provisioning` until
//! the data plane reports that it knows it, then `active`. Whether a target is healthy is no part of the state: it is
//! found out anew by whoever checks it, and told to the plan that packets follow beside the state.

mod attributes;
mod listener;
mod load_balancer;
mod reach;
mod target;
mod target_group;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::txn::Txn;

pub use attributes::{
    CrossZone, DnsRecordClientRouting, GroupAttributes, LoadBalancerAttributes, UnhealthyTargets,
};
pub use listener::{Listener, ListenerChange, ListenerProtocol, NewListener};
pub use load_balancer::{
    LoadBalancer, LoadBalancerState, LoadBalancerZone, MAX_ZONES, NewLoadBalancer, NewLoadBalancerZone,
    Scheme,
};
pub use target::{MalformedTarget, NewTarget, Target, TargetId, TargetKey, TargetZone};
pub use target_group::{
    GroupProtocol, HealthCheck, HealthPort, HealthProtocol, Matcher, NewTargetGroup, TargetGroup, TargetType,
};

pub(crate) use target_group::forget_instance;

/// What can be done with load balancers. Names are AWS's where AWS has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum ElbAction {
    CreateLoadBalancer(NewLoadBalancer),
    DeleteLoadBalancer {
        load_balancer: LoadBalancerId,
    },
    SetSubnets {
        load_balancer: LoadBalancerId,
        zones: Vec<NewLoadBalancerZone>,
    },
    SetSecurityGroups {
        load_balancer: LoadBalancerId,
        groups: Vec<SecurityGroupId>,
        /// Whether the groups filter what comes through endpoints too; none leaves it as it is.
        enforce_on_endpoints: Option<bool>,
    },
    ModifyLoadBalancerAttributes {
        load_balancer: LoadBalancerId,
        attributes: LoadBalancerAttributes,
    },
    /// The data plane knows the load balancer.
    ReportLoadBalancerActive {
        load_balancer: LoadBalancerId,
    },

    CreateListener(NewListener),
    ModifyListener {
        listener: ListenerId,
        change: ListenerChange,
    },
    DeleteListener {
        listener: ListenerId,
    },

    CreateTargetGroup(NewTargetGroup),
    ModifyTargetGroup {
        group: TargetGroupId,
        health_check: HealthCheck,
    },
    ModifyTargetGroupAttributes {
        group: TargetGroupId,
        attributes: GroupAttributes,
    },
    DeleteTargetGroup {
        group: TargetGroupId,
    },
    RegisterTargets {
        group: TargetGroupId,
        targets: Vec<NewTarget>,
    },
    DeregisterTargets {
        group: TargetGroupId,
        /// A port of none means every port that the target is registered with.
        targets: Vec<(TargetId, Option<u16>)>,
    },
    /// What was deregistered has had its delay.
    ForgetTargets {
        group: TargetGroupId,
        targets: Vec<TargetKey>,
    },
}

pub(crate) fn apply(txn: &mut Txn, action: ElbAction) -> Result<(), ModelError> {
    match action {
        ElbAction::CreateLoadBalancer(new) => load_balancer::create(txn, new),
        ElbAction::DeleteLoadBalancer { load_balancer } => load_balancer::delete(txn, load_balancer),
        ElbAction::SetSubnets { load_balancer, zones } => load_balancer::set_zones(txn, load_balancer, zones),
        ElbAction::SetSecurityGroups { load_balancer, groups, enforce_on_endpoints } => {
            load_balancer::set_groups(txn, load_balancer, groups, enforce_on_endpoints)
        }
        ElbAction::ModifyLoadBalancerAttributes { load_balancer, attributes } => {
            txn.update::<LoadBalancer>(load_balancer, |found| found.attributes = attributes)
        }
        ElbAction::ReportLoadBalancerActive { load_balancer } => load_balancer::active(txn, load_balancer),

        ElbAction::CreateListener(new) => listener::create(txn, new),
        ElbAction::ModifyListener { listener, change } => listener::modify(txn, listener, change),
        ElbAction::DeleteListener { listener } => listener::delete(txn, listener),

        ElbAction::CreateTargetGroup(new) => target_group::create(txn, new),
        ElbAction::ModifyTargetGroup { group, health_check } => {
            target_group::set_health_check(txn, group, health_check)
        }
        ElbAction::ModifyTargetGroupAttributes { group, attributes } => {
            txn.update::<TargetGroup>(group, |found| found.attributes = attributes)
        }
        ElbAction::DeleteTargetGroup { group } => target_group::delete(txn, group),
        ElbAction::RegisterTargets { group, targets } => target_group::register(txn, group, targets),
        ElbAction::DeregisterTargets { group, targets } => target_group::deregister(txn, group, &targets),
        ElbAction::ForgetTargets { group, targets } => target_group::forget(txn, group, &targets),
    }
}

//! Target groups: targets that do the same, how they are reached and how they are checked.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::attributes::GroupAttributes;
use super::load_balancer::check_name;
use super::target::{NewTarget, Target, TargetId, TargetKey, TargetZone};
use crate::error::ModelError;
use crate::id::*;
use crate::instance::{Instance, InstanceState};
use crate::quota::Quota;
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// A target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Its id.
    pub id: TargetGroupId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its name, the account's only one.
    pub name: String,
    /// What its targets get.
    pub protocol: GroupProtocol,
    /// The port of targets that are registered without one.
    pub port: u16,
    /// The VPC of its targets.
    pub vpc: VpcId,
    /// What its targets are.
    pub target_type: TargetType,
    /// How they are checked.
    pub health_check: HealthCheck,
    /// What can be set of it.
    pub attributes: GroupAttributes,
    /// Its targets, those included that are draining.
    pub targets: OrdMap<TargetKey, Target>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

impl TargetGroup {
    /// Whether targets see the client's address: as it was set, and where it was not, "enabled for instance type target
    /// groups and for IP type target groups of UDP and TCP_UDP" ("Client IP preservation").
    pub fn preserves_client_address(&self) -> bool {
        let usual = match (self.target_type, self.protocol) {
            (TargetType::Instance, _) | (TargetType::Ip, GroupProtocol::Udp | GroupProtocol::TcpUdp) => true,
            (TargetType::Ip, GroupProtocol::Tcp | GroupProtocol::Tls) => false,
        };
        self.attributes.preserve_client_ip.unwrap_or(usual)
    }
}

/// What the targets of a group get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both.
    TcpUdp,
    /// TLS, from listeners that end it and begin it anew.
    Tls,
}

impl GroupProtocol {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
        }
    }
}

/// What the targets of a group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetType {
    /// Instances.
    Instance,
    /// Addresses.
    Ip,
}

/// How targets are checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is tried.
    pub protocol: HealthProtocol,
    /// Where.
    pub port: HealthPort,
    /// Time from one check to the next.
    pub interval_seconds: u32,
    /// How long an answer may take.
    pub timeout_seconds: u32,
    /// How many checks in a row make a target healthy.
    pub healthy_threshold: u32,
    /// How many failures in a row make it unhealthy.
    pub unhealthy_threshold: u32,
}

/// What a health check tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthProtocol {
    /// A connection.
    Tcp,
    /// A request for this path.
    Http(String, Matcher),
    /// The same within TLS, whatever the certificate.
    Https(String, Matcher),
}

/// Which answers are good: `200-399`, `200,202`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matcher(pub Vec<(u16, u16)>);

impl Matcher {
    /// Whether an answer of this status is good.
    pub fn takes(&self, status: u16) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}

/// Where a health check goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthPort {
    /// The port that the target is registered with.
    Traffic,
    /// This one.
    Port(u16),
}

impl HealthPort {
    /// The port for a target of this one.
    pub fn of(self, target: u16) -> u16 {
        match self {
            Self::Traffic => target,
            Self::Port(port) => port,
        }
    }
}

/// How a target group is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of a target group")]
pub struct NewTargetGroup {
    pub name: String,
    pub protocol: GroupProtocol,
    pub port: u16,
    pub vpc: VpcId,
    pub target_type: TargetType,
    pub health_check: HealthCheck,
    pub tags: TagSet,
}

pub(super) fn create(txn: &mut Txn, new: NewTargetGroup) -> Result<(), ModelError> {
    check_name("target group", &new.name)?;
    if txn.state.visible::<TargetGroup>(txn.account).any(|other| other.name == new.name) {
        return Err(ModelError::BalancingNameTaken { kind: "target group", name: new.name });
    }
    txn.get::<Vpc>(new.vpc)?;
    txn.admit(|_| check_health(&new.health_check))?;
    txn.room_for_one::<TargetGroup>(Quota::TargetGroups)?;
    let id = txn.mint::<TargetGroup>(TargetGroupId::from_number)?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(TargetGroup {
        id,
        owner: txn.account,
        name: new.name,
        protocol: new.protocol,
        port: new.port,
        vpc: new.vpc,
        target_type: new.target_type,
        health_check: new.health_check,
        attributes: GroupAttributes::default(),
        targets: OrdMap::new(),
        created_at: txn.at,
        tags,
    });
    Ok(())
}

/// Bounds from "Health check settings" in the "Network Load Balancers" guide.
fn check_health(check: &HealthCheck) -> Result<(), ModelError> {
    let bounded = [
        ("health check interval", check.interval_seconds, 5, 300),
        ("health check timeout", check.timeout_seconds, 2, 120),
        ("healthy threshold", check.healthy_threshold, 2, 10),
        ("unhealthy threshold", check.unhealthy_threshold, 2, 10),
    ];
    for (what, given, least, most) in bounded {
        if !(least..=most).contains(&given) {
            return Err(ModelError::OutOfRange {
                what,
                given: given.into(),
                least: least.into(),
                most: most.into(),
            });
        }
    }
    // A check must be over before the next one.
    if check.timeout_seconds > check.interval_seconds {
        let (given, most) = (check.timeout_seconds.into(), check.interval_seconds.into());
        return Err(ModelError::OutOfRange { what: "health check timeout", given, least: 2, most });
    }
    Ok(())
}

pub(super) fn set_health_check(
    txn: &mut Txn,
    id: TargetGroupId,
    health_check: HealthCheck,
) -> Result<(), ModelError> {
    txn.get::<TargetGroup>(id)?;
    txn.admit(|_| check_health(&health_check))?;
    txn.update::<TargetGroup>(id, |group| group.health_check = health_check)
}

/// The load balancers whose listeners lead to a group, each once for every such listener.
pub(super) fn load_balancers(state: &State, group: TargetGroupId) -> impl Iterator<Item = LoadBalancerId> {
    state
        .listeners
        .values()
        .filter(move |listener| listener.group == group)
        .map(|listener| listener.load_balancer)
}

pub(super) fn delete(txn: &mut Txn, id: TargetGroupId) -> Result<(), ModelError> {
    txn.get::<TargetGroup>(id)?;
    if let Some(listener) = txn.state.listeners.values().find(|listener| listener.group == id) {
        return Err(ModelError::InUse { resource: id.into(), used_by: listener.id.to_string() });
    }
    txn.remove::<TargetGroup>(id).map(|_| ())
}

pub(super) fn register(txn: &mut Txn, id: TargetGroupId, targets: Vec<NewTarget>) -> Result<(), ModelError> {
    let group = txn.get::<TargetGroup>(id)?;
    let mut all = group.targets.clone();
    for new in targets {
        let key = TargetKey { id: new.id, port: new.port.unwrap_or(group.port) };
        let zone = zone_of(txn, &group, &new)?;
        let there = all.get(&key).filter(|target| target.deregistered_at.is_none()).cloned();
        let registered_at = there.map_or(txn.at, |target| target.registered_at);
        all.insert(key, Target { zone, registered_at, deregistered_at: None });
    }
    txn.within(Quota::TargetsOfGroup, |_| all.len())?;
    txn.within(Quota::TargetsOfLoadBalancer, |txn| targets_beside(txn, &group) + all.len())?;
    txn.update::<TargetGroup>(id, |group| group.targets = all)
}

/// How many targets the group's load balancer has by its other groups.
fn targets_beside(txn: &Txn, group: &TargetGroup) -> usize {
    let Some(balancer) = load_balancers(&txn.state, group.id).next() else { return 0 };
    let listeners = txn.state.listeners.values().filter(|listener| listener.load_balancer == balancer);
    let others: std::collections::BTreeSet<_> = listeners.map(|listener| listener.group).collect();
    let others = others.into_iter().filter(|other| *other != group.id);
    others.filter_map(|other| txn.state.target_groups.get(&other)).map(|other| other.targets.len()).sum()
}

/// Which zone a target is of, if it can be one.
fn zone_of(txn: &Txn, group: &TargetGroup, new: &NewTarget) -> Result<TargetZone, ModelError> {
    let refused = |why: &'static str| ModelError::Target { target: new.id.to_string(), group: group.id, why };
    match (group.target_type, new.id) {
        (TargetType::Instance, TargetId::Instance(id)) => {
            let instance = txn.get::<Instance>(id)?;
            if instance.vpc != group.vpc {
                return Err(refused("is not in the VPC of the group"));
            }
            // INVARIANT: no group has a target that is gone; a new state of an instance takes it out of its groups.
            if matches!(instance.state, InstanceState::ShuttingDown | InstanceState::Terminated) {
                return Err(refused("is not in a state in which it can be registered"));
            }
            txn.admit(|_| match instance.state {
                InstanceState::Running => Ok(()),
                InstanceState::Pending
                | InstanceState::Stopping
                | InstanceState::Stopped
                | InstanceState::ShuttingDown
                | InstanceState::Terminated => Err(refused("is not running")),
            })?;
            if new.zone.is_some() {
                return Err(refused("is an instance, which has the zone of its subnet"));
            }
            Ok(TargetZone::Zone(txn.get::<Subnet>(instance.subnet)?.zone.clone()))
        }
        (TargetType::Ip, TargetId::Address(address)) => {
            let vpc = txn.get::<Vpc>(group.vpc)?;
            let inside = vpc.blocks.iter().any(|block| block.cidr.contains(&address));
            let mut subnets =
                txn.state.visible::<Subnet>(txn.account).filter(|subnet| subnet.vpc == group.vpc);
            let subnet = subnets.find(|subnet| subnet.cidr.contains(&address));
            match (inside, subnet, new.zone.as_deref()) {
                (true, Some(_), Some("all")) => Ok(TargetZone::All),
                (true, Some(subnet), None) => Ok(TargetZone::Zone(subnet.zone.clone())),
                (true, Some(subnet), Some(zone)) if subnet.zone == zone => {
                    Ok(TargetZone::Zone(subnet.zone.clone()))
                }
                (true, Some(_), Some(_)) => Err(refused("is in another zone")),
                (true, None, _) => Err(refused("is in no subnet of the VPC")),
                (false, _, _) => Err(refused("is outside the VPC")),
            }
        }
        (TargetType::Instance, TargetId::Address(_)) | (TargetType::Ip, TargetId::Instance(_)) => {
            Err(refused("is not of the group's target type"))
        }
    }
}

pub(super) fn deregister(
    txn: &mut Txn,
    id: TargetGroupId,
    targets: &[(TargetId, Option<u16>)],
) -> Result<(), ModelError> {
    let group = txn.get::<TargetGroup>(id)?;
    let named = |key: &TargetKey| {
        targets.iter().any(|(id, port)| *id == key.id && port.is_none_or(|port| port == key.port))
    };
    let unknown = targets.iter().find(|(id, port)| {
        !group.targets.keys().any(|key| key.id == *id && port.is_none_or(|port| port == key.port))
    });
    if let Some((target, _)) = unknown {
        let (target, why) = (target.to_string(), "is not registered");
        return Err(ModelError::Target { target, group: id, why });
    }
    let at = txn.at;
    txn.update::<TargetGroup>(id, |group| {
        let named: Vec<_> = group.targets.keys().filter(|key| named(key)).copied().collect();
        for key in named {
            if let Some(target) = group.targets.get_mut(&key) {
                target.deregistered_at.get_or_insert(at);
            }
        }
    })
}

/// What has been deregistered for long enough goes. Whoever was registered again meanwhile stays.
pub(super) fn forget(txn: &mut Txn, id: TargetGroupId, targets: &[TargetKey]) -> Result<(), ModelError> {
    txn.update::<TargetGroup>(id, |group| {
        for key in targets {
            if group.targets.get(key).is_some_and(|target| target.deregistered_at.is_some()) {
                group.targets.remove(key);
            }
        }
    })
}

/// "If a registered instance is terminated, it is deregistered from its target groups", without delay: nobody is there.
pub(crate) fn forget_instance(txn: &mut Txn, instance: InstanceId) -> Result<(), ModelError> {
    let has =
        |group: &&Arc<TargetGroup>| group.targets.keys().any(|key| key.id == TargetId::Instance(instance));
    let groups: Vec<_> =
        txn.state.visible::<TargetGroup>(txn.account).filter(has).map(|group| group.id).collect();
    groups.into_iter().try_for_each(|group| {
        txn.update::<TargetGroup>(group, |group| {
            let gone = |key: &&TargetKey| key.id == TargetId::Instance(instance);
            let gone: Vec<_> = group.targets.keys().filter(gone).copied().collect();
            for key in gone {
                group.targets.remove(&key);
            }
        })
    })
}

//! Which checks a state asks for: of every target that may get connections, from an interface of its load balancer.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use postern_model::elb::{HealthCheck, LoadBalancer, Target, TargetGroup, TargetKey, TargetZone};
use postern_model::{NetworkInterfaceId, State};
use postern_services::elbv2::health::balancer_of;

use super::Id;

/// A check that is to be made again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// By which interface.
    pub from: NetworkInterfaceId,
    /// Where to.
    pub to: SocketAddrV4,
    /// What is tried, and how often.
    pub check: HealthCheck,
}

/// All of them.
pub fn wanted(state: &State) -> BTreeMap<Id, Wanted> {
    let mut all = BTreeMap::new();
    for group in state.target_groups.values() {
        // "Targets of a group that no listener leads to are unused", and not checked.
        let Some(balancer) = balancer_of(state, group) else { continue };
        let checks = group.targets.iter().filter_map(|(key, target)| {
            Some(((group.id, *key), of_target(state, group, balancer, *key, target)?))
        });
        all.extend(checks);
    }
    all
}

fn of_target(
    state: &State,
    group: &TargetGroup,
    balancer: &LoadBalancer,
    key: TargetKey,
    target: &Target,
) -> Option<Wanted> {
    if target.deregistered_at.is_some() {
        return None;
    }
    let from = match &target.zone {
        TargetZone::Zone(zone) => balancer.zones.iter().find(|known| known.zone == *zone)?,
        TargetZone::All => balancer.zones.first()?,
    };
    let place = group.place_of(state, key)?;
    let check = group.health_check.clone();
    let to = SocketAddrV4::new(*place.ip(), check.port.of(key.port));
    Some(Wanted { from: from.interface, to, check })
}

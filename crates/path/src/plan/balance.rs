//! Who gets the connections of load balancers: listeners, their groups' targets, and for each zone the table by which a
//! flow's target is chosen.
//!
//! A listener whose connections begin with a PROXY protocol header is not here: packets alone cannot put one there, so its
//! packets go to the load balancer's interface like anybody's.

use std::net::SocketAddrV4;
use std::sync::Arc;

use imbl::OrdMap;
use postern_model::elb::{GroupProtocol, Listener, LoadBalancer, TargetGroup, TargetKey};
use postern_model::{ListenerId, LoadBalancerId, NetworkInterfaceId, TargetGroupId};

use super::compare::{NO_STAMP, Unstamped};
use super::compile::Compiler;
use super::slots::SlotKey;
use crate::balance::Table;
use crate::balancer_name::NamedBalancer;
use crate::decision::{IdleTimeouts, Stamp};

/// How targets were found to be: whether they are healthy. Nothing is known of those that are not here.
pub type Health = OrdMap<(TargetGroupId, TargetKey), bool>;

/// "Connection idle timeout": UDP flows of a network load balancer, 120 seconds, which cannot be changed.
const UDP_SECONDS: u32 = 120;

/// The targets of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupTargets {
    /// Changes with anything in it but health.
    pub stamp: Stamp,
    /// Whether connections of those that are let go of end with that.
    pub terminates: bool,
    pub targets: Vec<TargetPlan>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetPlan {
    /// Changes with where it is, and whenever it is found to fail.
    pub stamp: Stamp,
    pub key: TargetKey,
    /// None where it does not run.
    pub at: Option<SocketAddrV4>,
    pub healthy: bool,
}

/// A listener whose connections are handed on packet by packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerPlan {
    pub stamp: Stamp,
    pub id: ListenerId,
    pub group: TargetGroupId,
    pub tcp: bool,
    pub udp: bool,
    pub port: u16,
    /// Whether targets see the client.
    pub preserves: bool,
    pub idle: IdleTimeouts,
}

/// An interface of a load balancer: what it does with new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrontPlan {
    /// Changes with anything in it, the health of targets included.
    pub stamp: Stamp,
    pub load_balancer: LoadBalancerId,
    pub listeners: Vec<FrontListener>,
}

/// A listener at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrontListener {
    pub listener: Arc<ListenerPlan>,
    pub group: Arc<GroupTargets>,
    /// Chooses among `eligible`, by their places in it.
    pub table: Arc<Table>,
    /// Those that get new connections here, by their places in the group.
    pub eligible: Vec<usize>,
    /// Whether they are healthy. "If there are no healthy targets", all are tried.
    pub healthy: bool,
}

impl Compiler<'_> {
    pub(super) fn target_group(&mut self, id: TargetGroupId, before: Option<&Health>) {
        let known = self.plan.target_groups.get(&id).cloned();
        let Some(group) = self.state.target_groups.get(&id) else {
            for target in known.iter().flat_map(|known| &known.targets) {
                self.release(SlotKey::Target(id, target.key));
            }
            self.plan.target_groups.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let old = |key: &TargetKey| known.as_ref()?.targets.iter().find(|target| target.key == *key);
        let targets: Vec<_> =
            group.targets.keys().map(|key| self.target(group, *key, old(key), before)).collect();
        for gone in known.iter().flat_map(|known| &known.targets) {
            if !group.targets.contains_key(&gone.key) {
                self.release(SlotKey::Target(id, gone.key));
            }
        }
        let terminates = group.attributes.terminate_on_deregistration;
        let compiled = GroupTargets { stamp: NO_STAMP, terminates, targets };
        let keys = |group: &GroupTargets| group.targets.iter().map(|target| target.key).collect::<Vec<_>>();
        let same = known.filter(|known| known.terminates == terminates && keys(known) == keys(&compiled));
        let stamp = same.map(|known| known.stamp).unwrap_or_else(|| self.resource(id));
        self.plan.target_groups.insert(id, Arc::new(GroupTargets { stamp, ..compiled }));
    }

    fn target(
        &mut self,
        group: &TargetGroup,
        key: TargetKey,
        old: Option<&TargetPlan>,
        before: Option<&Health>,
    ) -> TargetPlan {
        let id = (group.id, key);
        let at = group.place_of(self.state, key);
        let health = self.plan.health.get(&id).copied();
        // "Unhealthy connection termination": whoever is found to fail loses its connections, if the group says so.
        let fails = before.is_some_and(|before| before.get(&id) != Some(&false)) && health == Some(false);
        let cut = fails && group.attributes.unhealthy.terminate;
        let same = old.filter(|old| old.at == at && !cut).map(|old| old.stamp);
        let stamp = same.unwrap_or_else(|| self.stamp(SlotKey::Target(group.id, key)));
        TargetPlan { stamp, key, at, healthy: health == Some(true) }
    }

    pub(super) fn listener(&mut self, id: ListenerId) {
        let state = self.state;
        let listener = state.listeners.get(&id);
        let carried = listener.and_then(|listener| {
            let group = state.target_groups.get(&listener.group)?;
            is_carried(group).then(|| compiled(listener, group))
        });
        let Some(compiled) = carried else {
            self.plan.listeners.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let same = self.plan.listeners.get(&id).filter(|old| *old.unstamped() == compiled);
        let same = same.map(|old| old.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        self.plan.listeners.insert(id, Arc::new(ListenerPlan { stamp, ..compiled }));
    }

    /// What each interface of a load balancer does.
    pub(super) fn fronts(&mut self, balancer: &LoadBalancer) {
        let listeners: Vec<_> = balancer
            .listeners(self.state)
            .filter_map(|listener| {
                let found = self.plan.listeners.get(&listener.id)?;
                Some((Arc::clone(found), Arc::clone(self.plan.target_groups.get(&found.group)?)))
            })
            .collect();
        for zone in &balancer.zones {
            let of_zone = listeners.iter().filter_map(|(listener, targets)| {
                let group = self.state.target_groups.get(&listener.group)?;
                Some(front_listener(listener, targets, group, balancer, &zone.zone))
            });
            let compiled =
                FrontPlan { stamp: NO_STAMP, load_balancer: balancer.id, listeners: of_zone.collect() };
            let old = self.plan.fronts.get(&zone.interface);
            if old.is_some_and(|old| **old == FrontPlan { stamp: old.stamp, ..compiled.clone() }) {
                continue;
            }
            let stamp = self.stamp(SlotKey::Balancing(zone.interface));
            self.plan.fronts.insert(zone.interface, Arc::new(FrontPlan { stamp, ..compiled }));
        }
    }

    /// Where a load balancer's names lead. "If any target group does not have a healthy target in an enabled Availability Zone,
    /// we remove the IP address for the corresponding subnet from DNS".
    pub(super) fn balancer_names(&mut self, id: LoadBalancerId) {
        let state = self.state;
        let named = state.load_balancers.get(&id).and_then(|balancer| {
            let groups: Vec<_> = balancer
                .listeners(state)
                .filter_map(|listener| {
                    let group = state.target_groups.get(&listener.group)?;
                    Some((group, Arc::clone(self.plan.target_groups.get(&group.id)?)))
                })
                .collect();
            NamedBalancer::new(balancer, &state.region.name, |zone| {
                groups.iter().all(|(group, targets)| {
                    let offered = |key: &TargetKey| {
                        let found = group.targets.get(key);
                        found.is_some_and(|target| group.is_offered_in(balancer, &zone.zone, target))
                    };
                    targets.has_healthy(offered)
                })
            })
        });
        match named {
            Some(named) => drop(self.plan.balancer_names.insert(id, Arc::new(named))),
            None => drop(self.plan.balancer_names.remove(&id)),
        }
    }

    /// An interface is no load balancer's any more.
    pub(super) fn no_front(&mut self, interface: NetworkInterfaceId) {
        self.plan.fronts.remove(&interface);
        self.release(SlotKey::Balancing(interface));
    }
}

/// Whether packets alone can hand on what a group gets.
fn is_carried(group: &TargetGroup) -> bool {
    let plain = match group.protocol {
        GroupProtocol::Tcp | GroupProtocol::Udp | GroupProtocol::TcpUdp => true,
        GroupProtocol::Tls => false,
    };
    plain && !group.attributes.proxy_protocol_v2
}

fn compiled(listener: &Listener, group: &TargetGroup) -> ListenerPlan {
    ListenerPlan {
        stamp: NO_STAMP,
        id: listener.id,
        group: group.id,
        tcp: listener.protocol.takes_tcp(),
        udp: listener.protocol.takes_udp(),
        port: listener.port,
        preserves: group.preserves_client_address(),
        idle: IdleTimeouts {
            tcp_established_seconds: listener.tcp_idle_timeout_seconds,
            udp_seconds: UDP_SECONDS,
            udp_stream_seconds: UDP_SECONDS,
            ..IdleTimeouts::GATEWAY
        },
    }
}

fn front_listener(
    listener: &Arc<ListenerPlan>,
    targets: &Arc<GroupTargets>,
    group: &TargetGroup,
    balancer: &LoadBalancer,
    zone: &str,
) -> FrontListener {
    let offered = |target: &TargetPlan| {
        let registered = group.targets.get(&target.key);
        target.at.is_some() && registered.is_some_and(|found| group.is_offered_in(balancer, zone, found))
    };
    let places = || targets.targets.iter().enumerate().filter(|(_, target)| offered(target));
    let mut eligible: Vec<_> = places().filter(|(_, target)| target.healthy).map(|(at, _)| at).collect();
    let healthy = !eligible.is_empty();
    if !healthy {
        eligible = places().map(|(at, _)| at).collect();
    }
    let keys: Vec<_> =
        eligible.iter().filter_map(|at| targets.targets.get(*at)).map(|target| target.key).collect();
    let table = Arc::new(Table::new(&keys, group.attributes.stickiness));
    FrontListener { listener: Arc::clone(listener), group: Arc::clone(targets), table, eligible, healthy }
}

//! What can be set of load balancers and target groups besides what they are made of.
//!
//! Names, defaults and bounds from "Edit attributes" of each in the "Network Load Balancers" guide.

use serde::{Deserialize, Serialize};

/// What can be set of a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerAttributes {
    /// Whether `DeleteLoadBalancer` is refused.
    pub deletion_protection: bool,
    /// Whether a zone's address hands connections to targets of other zones too.
    pub cross_zone: bool,
    /// Which zones' addresses the name gives to a client in a zone.
    pub client_routing: DnsRecordClientRouting,
}

impl Default for LoadBalancerAttributes {
    fn default() -> Self {
        Self {
            deletion_protection: false,
            cross_zone: false,
            client_routing: DnsRecordClientRouting::AnyZone,
        }
    }
}

/// `dns_record.client_routing_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsRecordClientRouting {
    /// `availability_zone_affinity`: the client's own zone if it is healthy there.
    ZoneAffinity,
    /// `partial_availability_zone_affinity`: that for 85 of 100 questions.
    PartialZoneAffinity,
    /// `any_availability_zone`: all of them.
    AnyZone,
}

/// What can be set of a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAttributes {
    /// How long a target that was deregistered keeps its connections.
    pub deregistration_delay_seconds: u32,
    /// Whether they are cut at the end of that.
    pub terminate_on_deregistration: bool,
    /// Whether targets see the client's address. None means what AWS does for the kind of group
    /// ([`crate::elb::TargetGroup::preserves_client_address`]).
    pub preserve_client_ip: Option<bool>,
    /// Whether connections to targets begin with a PROXY protocol header of version 2.
    pub proxy_protocol_v2: bool,
    /// Whether a client address keeps its target.
    pub stickiness: bool,
    /// Whether targets of other zones are used.
    pub cross_zone: CrossZone,
    /// What becomes of connections of targets that become unhealthy.
    pub unhealthy: UnhealthyTargets,
}

impl Default for GroupAttributes {
    fn default() -> Self {
        Self {
            deregistration_delay_seconds: 300,
            terminate_on_deregistration: false,
            preserve_client_ip: None,
            proxy_protocol_v2: false,
            stickiness: false,
            cross_zone: CrossZone::AsLoadBalancer,
            unhealthy: UnhealthyTargets::default(),
        }
    }
}

/// `load_balancing.cross_zone.enabled`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CrossZone {
    /// `use_load_balancer_configuration`.
    AsLoadBalancer,
    /// `true`.
    On,
    /// `false`.
    Off,
}

/// `target_health_state.unhealthy.…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnhealthyTargets {
    /// Whether their connections are cut at once.
    pub terminate: bool,
}

impl Default for UnhealthyTargets {
    fn default() -> Self {
        Self { terminate: true }
    }
}

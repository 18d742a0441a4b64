//! Where targets are, and which of them a zone of a load balancer may hand connections to.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::attributes::CrossZone;
use super::load_balancer::LoadBalancer;
use super::target::{Target, TargetId, TargetKey, TargetZone};
use super::target_group::TargetGroup;
use crate::instance::{Instance, InstanceState};
use crate::state::State;

impl TargetGroup {
    /// Where a target of the group is. None for an instance that does not run.
    pub fn place_of(&self, state: &State, key: TargetKey) -> Option<SocketAddrV4> {
        let address: Ipv4Addr = match key.id {
            TargetId::Address(address) => address,
            TargetId::Instance(id) => {
                let instance = state.get::<Instance>(self.owner, id).ok()?;
                let running = instance.state == InstanceState::Running;
                instance.primary_interface(state).filter(|_| running)?.primary_address()
            }
        };
        Some(SocketAddrV4::new(address, key.port))
    }

    /// Whether a zone's address of a load balancer may hand new connections to a target ("Cross-zone load balancing"),
    /// wherever that is and however it is.
    pub fn is_offered_in(&self, balancer: &LoadBalancer, zone: &str, target: &Target) -> bool {
        let cross_zone = match self.attributes.cross_zone {
            CrossZone::On => true,
            CrossZone::Off => false,
            CrossZone::AsLoadBalancer => balancer.attributes.cross_zone,
        };
        let fits = match &target.zone {
            TargetZone::All => true,
            TargetZone::Zone(own) if own == zone => true,
            TargetZone::Zone(own) => cross_zone && balancer.zones.iter().any(|known| known.zone == *own),
        };
        fits && target.deregistered_at.is_none()
    }
}

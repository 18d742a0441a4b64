//! Names that lead to load balancers: `name-id.elb.region.amazonaws.com`, and one for each zone below that.
//!
//! Rules from the "Network Load Balancers" guide: "DNS name" and "Availability Zone DNS affinity" of the load balancer,
//! and "Target groups for your Network Load Balancers" about the zones that are taken out of the name.

use std::net::Ipv4Addr;

use postern_model::elb::{DnsRecordClientRouting, LoadBalancer, LoadBalancerState, LoadBalancerZone, Scheme};
use postern_model::{LoadBalancerId, NetworkInterfaceId, SubnetId};

use crate::name::{NameSource, Resolution};
use crate::plan::{GroupTargets, Plan};

/// A load balancer, as its names know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedBalancer {
    /// The name's first label, lower case.
    label: String,
    scheme: Scheme,
    routing: DnsRecordClientRouting,
    /// By the names of the zones.
    zones: Vec<NamedZone>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedZone {
    zone: String,
    interface: NetworkInterfaceId,
    private: Ipv4Addr,
    /// Whether every group that the load balancer's listeners lead to has a healthy target for this zone.
    healthy: bool,
}

/// Who asks, for names that say different things to different askers.
#[derive(Debug, Clone, Copy)]
pub struct Viewer {
    /// The interface whose query it is.
    pub interface: NetworkInterfaceId,
    /// Goes up with each query, so that what is to hold for a part of them holds for that part.
    pub number: usize,
}

/// Of how many questions in a hundred `partial_availability_zone_affinity` answers with the client's zone: "85 percent".
const PARTIAL_OF_100: usize = 85;
/// Has no factor in common with a hundred, so that questions in a row are spread over both kinds of answers.
const STRIDE: usize = 61;

impl NamedBalancer {
    /// The names of a load balancer, if it has got far enough to have any. `has_healthy` says whether what its listeners
    /// lead to has a healthy target for a zone.
    pub fn new(
        balancer: &LoadBalancer,
        region: &str,
        has_healthy: impl Fn(&LoadBalancerZone) -> bool,
    ) -> Option<Self> {
        match balancer.state {
            LoadBalancerState::Provisioning => return None,
            LoadBalancerState::Active => {}
        }
        let name = balancer.dns_name(region).to_ascii_lowercase();
        let zones = balancer.zones.iter().map(|zone| NamedZone {
            zone: zone.zone.clone(),
            interface: zone.interface,
            private: zone.address,
            healthy: has_healthy(zone),
        });
        Some(Self {
            label: name.split_once('.').map_or(name.as_str(), |(label, _)| label).to_owned(),
            scheme: balancer.scheme,
            routing: balancer.attributes.client_routing,
            zones: zones.collect(),
        })
    }

    /// The zones that the name leads to: those that are healthy, or all if none is.
    fn open(&self) -> Vec<&NamedZone> {
        let healthy: Vec<_> = self.zones.iter().filter(|zone| zone.healthy).collect();
        if healthy.is_empty() { self.zones.iter().collect() } else { healthy }
    }

    /// Whether this question is one of those that a client's own zone answers.
    fn is_near(&self, number: usize) -> bool {
        match self.routing {
            DnsRecordClientRouting::ZoneAffinity => true,
            DnsRecordClientRouting::PartialZoneAffinity => (number % 100 * STRIDE) % 100 < PARTIAL_OF_100,
            DnsRecordClientRouting::AnyZone => false,
        }
    }
}

impl GroupTargets {
    /// Whether one of the targets that `offered` picks is healthy.
    pub(crate) fn has_healthy(&self, offered: impl Fn(&postern_model::elb::TargetKey) -> bool) -> bool {
        self.targets.iter().any(|target| target.healthy && target.at.is_some() && offered(&target.key))
    }
}

impl Plan {
    /// What a name says that leads to a load balancer. A zone's own name leads there whatever its targets are like: there
    /// is no other address to answer with.
    pub(crate) fn balancer_name(&self, name: &str, viewer: Option<Viewer>) -> Option<Resolution> {
        let name = name.strip_suffix(&self.names.region_domain)?.strip_suffix(".elb.")?;
        let (zone, label) = name.rsplit_once('.').map_or((None, name), |(zone, label)| (Some(zone), label));
        let (_, number) = label.rsplit_once('-')?;
        let id = LoadBalancerId::from_number(u64::from_str_radix(number, 16).ok()?);
        let named = self.balancer_names.get(&id).filter(|named| named.label == label)?;
        let leads_to = match zone {
            Some(zone) => vec![named.zones.iter().find(|known| known.zone == zone)?],
            None => self.near(named, named.open(), viewer),
        };
        let addresses: Vec<_> =
            leads_to.into_iter().filter_map(|zone| self.address_of(named, zone)).collect();
        if addresses.is_empty() {
            return Some(Resolution::NoData);
        }
        Some(Resolution::Addresses { addresses, source: NameSource::LoadBalancer(id) })
    }

    /// "Client DNS queries will favor load balancer IP addresses in their own Availability Zone", and those of other zones
    /// are resolved to where there is none or it is not healthy.
    fn near<'a>(
        &self,
        named: &NamedBalancer,
        open: Vec<&'a NamedZone>,
        viewer: Option<Viewer>,
    ) -> Vec<&'a NamedZone> {
        let viewer = viewer.filter(|viewer| named.is_near(viewer.number));
        let own = viewer.and_then(|viewer| self.zone_of(self.interface(viewer.interface)?.subnet));
        match own.and_then(|own| open.iter().find(|zone| zone.zone == own)) {
            Some(near) => vec![near],
            None => open,
        }
    }

    fn zone_of(&self, subnet: SubnetId) -> Option<&str> {
        self.subnets.get(&subnet).map(|subnet| subnet.zone.as_str())
    }

    /// An internal load balancer's name gives private addresses, that of one for the internet public ones, to everybody.
    fn address_of(&self, named: &NamedBalancer, zone: &NamedZone) -> Option<Ipv4Addr> {
        match named.scheme {
            Scheme::Internal => Some(zone.private),
            Scheme::InternetFacing => self.interface(zone.interface)?.public_of(zone.private),
        }
    }
}

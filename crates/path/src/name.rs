//! What a VPC's resolver says about a name: the first stage of a flow that begins with one.
//!
//! Rules from "DNS attributes for your VPC" and "Amazon DNS server" in the VPC user guide.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::{LoadBalancerId, VpcEndpointId, VpcId};

use crate::balancer_name::Viewer;
use crate::plan::Plan;
use crate::uplink::is_carried;

/// The public names of the region's services and of its instances.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The domain of private instance names, such as `ec2.internal`.
    pub private_domain: String,
    /// The domain of public instance names, such as `compute-1.amazonaws.com`.
    pub public_domain: String,
    /// The domain of the region's services, such as `us-east-1.amazonaws.com`.
    pub region_domain: String,
    /// The domain of its endpoints, such as `us-east-1.vpce.amazonaws.com`.
    pub endpoint_domain: String,
    /// Service names, lower case; a leading `*.` stands for any labels.
    pub services: Vec<(String, Arc<ServiceName>)>,
}

/// What a service's names lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName {
    /// Such as `com.amazonaws.us-east-1.s3`.
    pub service: String,
    /// Its public addresses.
    pub addresses: Vec<Ipv4Addr>,
}

/// What a resolver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// These addresses.
    Addresses {
        /// Never empty.
        addresses: Vec<Ipv4Addr>,
        /// Why.
        source: NameSource,
    },
    /// For an address: this name.
    Pointer(String),
    /// There is such a name, but not with what was asked for.
    NoData,
    /// Nobody has the name.
    Unknown,
    /// The name is not the region's, and there is an uplink: the host's resolvers are asked.
    Elsewhere,
    /// The VPC's resolver is turned off.
    Off,
}

/// Where the addresses of a name come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameSource {
    /// They are the service's public ones.
    Service(String),
    /// The private name of an interface in the VPC.
    PrivateName,
    /// The public name of an interface; inside its own VPC, and in peered ones that may, it leads to the private address.
    PublicName,
    /// They are those of an interface endpoint.
    Endpoint {
        /// Which.
        endpoint: VpcEndpointId,
        /// Whether the name is the service's own.
        private: bool,
    },
    /// They are those of a load balancer.
    LoadBalancer(LoadBalancerId),
    /// The host's resolvers said so.
    Outside,
}

impl NameSource {
    /// How long an answer may be kept, in seconds. AWS says 60 for names of endpoints, and of
    /// load balancers.
    pub const fn ttl_seconds(&self) -> u32 {
        match self {
            Self::Service(_) | Self::PrivateName | Self::PublicName | Self::Outside => TTL_SECONDS,
            Self::Endpoint { .. } | Self::LoadBalancer(_) => ENDPOINT_TTL_SECONDS,
        }
    }
}

/// How long an answer may be kept, in seconds. Short, so that a change of the network shows at once.
pub const TTL_SECONDS: u32 = 5;
/// How long an answer about an endpoint may be kept, in seconds: as long as AWS's.
pub const ENDPOINT_TTL_SECONDS: u32 = 60;

/// Names that mean something on one host or in one network only, so that an answer from outside would tell of the host's
/// own: private names of AWS's, and those of RFC 6761, 6762, 7686 and 8375.
const NOBODYS: [&str; 7] = ["internal", "localhost", "local", "home.arpa", "invalid", "test", "onion"];
/// The reverse of what is no public address of IPv6: loopback and its block, unique local and link-local ones (RFC 6303).
const PRIVATE_REVERSE_IPV6: [&str; 7] = [
    "0.0.ip6.arpa",
    "c.f.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
];

/// From where a VPC's resolver is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// At a link of the VPC.
    Inside,
    /// By an inbound endpoint, from a network outside the VPC as a rule.
    Inbound,
}

/// What is asked about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Its IPv4 addresses.
    Address,
    /// The name of an address (`….in-addr.arpa`).
    Pointer,
    /// Anything else, which nothing here has.
    Other,
}

impl Plan {
    /// The domain of private instance names, such as `ec2.internal`.
    pub fn private_domain(&self) -> &str {
        &self.names.private_domain
    }

    /// What the resolver of `vpc` says about `name`, to nobody in particular.
    pub fn resolve(&self, vpc: VpcId, name: &str, question: Question) -> Resolution {
        self.resolve_for(vpc, None, name, question)
    }

    /// What it says to who asks by one of its inbound endpoints.
    pub fn resolve_inbound(&self, vpc: VpcId, name: &str, question: Question) -> Resolution {
        self.resolve_as(vpc, View::Inbound, None, name, question)
    }

    /// What it says to this viewer, whose zone counts for some names.
    pub fn resolve_for(
        &self,
        vpc: VpcId,
        viewer: Option<Viewer>,
        name: &str,
        question: Question,
    ) -> Resolution {
        self.resolve_as(vpc, View::Inside, viewer, name, question)
    }

    fn resolve_as(
        &self,
        vpc: VpcId,
        view: View,
        viewer: Option<Viewer>,
        name: &str,
        question: Question,
    ) -> Resolution {
        let Some(vpc_plan) = self.vpcs.get(&vpc) else { return Resolution::Off };
        if !vpc_plan.dns_support {
            return Resolution::Off;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let found = match question {
            Question::Pointer => {
                return match self.pointer(vpc, &name) {
                    Resolution::Unknown => self.nobodys(&name),
                    found => found,
                };
            }
            Question::Address | Question::Other => self
                .endpoint_name(vpc, view, &name)
                .or_else(|| self.balancer_name(&name, viewer))
                .or_else(|| self.service_addresses(&name))
                .or_else(|| self.private_name(vpc, &name))
                .or_else(|| self.public_name(vpc, &name)),
        };
        match (found, question) {
            (Some(found), Question::Address) => found,
            (Some(_), Question::Other | Question::Pointer) => Resolution::NoData,
            (None, _) => self.nobodys(&name),
        }
    }

    /// What everybody's resolvers say about a name, outside VPCs: where services are, and load balancers and interface
    /// endpoints by their own names, which "resolve to the private IP addresses" from anywhere.
    pub fn resolve_outside(&self, name: &str) -> Resolution {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let found = self
            .own_endpoint_name(&name)
            .or_else(|| self.balancer_name(&name, None))
            .or_else(|| self.service_addresses(&name));
        found.unwrap_or(Resolution::Unknown)
    }

    /// What is said of a name that nobody in the region has.
    fn nobodys(&self, name: &str) -> Resolution {
        if self.uplink.is_none() || self.is_own_name(name) {
            Resolution::Unknown
        } else {
            Resolution::Elsewhere
        }
    }

    /// Whether a name could only be the region's: nobody outside is asked about it, whether or not it is there.
    fn is_own_name(&self, name: &str) -> bool {
        let Names { private_domain, public_domain, region_domain, endpoint_domain, services } = &*self.names;
        let region = [private_domain, public_domain, region_domain, endpoint_domain].map(String::as_str);
        let services = services.iter().map(|(pattern, _)| pattern.strip_prefix("*.").unwrap_or(pattern));
        region.into_iter().chain(services).chain(NOBODYS).any(|domain| is_under(name, domain))
            || is_private_reverse(name)
    }

    fn service_addresses(&self, name: &str) -> Option<Resolution> {
        let matches = |pattern: &str| match pattern.strip_prefix("*.") {
            Some(suffix) => {
                name.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            None => pattern == name,
        };
        let (_, found) = self.names.services.iter().find(|(pattern, _)| matches(pattern))?;
        let source = NameSource::Service(found.service.clone());
        Some(Resolution::Addresses { addresses: found.addresses.clone(), source })
    }

    fn private_name(&self, vpc: VpcId, name: &str) -> Option<Resolution> {
        let address = parse_name(name, "ip-", &self.names.private_domain)?;
        self.addresses.get(&(vpc, address))?;
        Some(Resolution::Addresses { addresses: vec![address], source: NameSource::PrivateName })
    }

    fn public_name(&self, vpc: VpcId, name: &str) -> Option<Resolution> {
        let public = parse_name(name, "ec2-", &self.names.public_domain)?;
        let (interface, private) = self.public.get(&public)?;
        let holder = self.interface(*interface)?;
        if !self.vpcs.get(&holder.vpc)?.dns_hostnames {
            return None;
        }
        // "Enable DNS resolution for a VPC peering connection".
        let near = holder.vpc == vpc
            || self.peer_names.get(&(vpc, holder.vpc)) == Some(&true)
            || self.names_over_transit(vpc, holder.vpc);
        let address = if near { *private } else { public };
        Some(Resolution::Addresses { addresses: vec![address], source: NameSource::PublicName })
    }

    fn pointer(&self, vpc: VpcId, name: &str) -> Resolution {
        let labels: Option<Vec<u8>> = name
            .strip_suffix(".in-addr.arpa")
            .and_then(|labels| labels.split('.').rev().map(octet).collect());
        let Some(Ok([a, b, c, d])) = labels.map(<[u8; 4]>::try_from) else { return Resolution::Unknown };
        match self.addresses.get(&(vpc, Ipv4Addr::new(a, b, c, d))) {
            Some(_) => Resolution::Pointer(format!("ip-{a}-{b}-{c}-{d}.{}", self.names.private_domain)),
            None => Resolution::Unknown,
        }
    }
}

/// Whether a name is a domain, or in it.
fn is_under(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a name stands for an address, or a block of them, that is nobody's outside the region.
fn is_private_reverse(name: &str) -> bool {
    let Some(labels) = name.strip_suffix(".in-addr.arpa") else {
        return PRIVATE_REVERSE_IPV6.iter().any(|block| is_under(name, block));
    };
    let mut octets = [0; 4];
    // A name below a block's, such as `lb._dns-sd._udp.10.in-addr.arpa`, is of the block.
    for (at, number) in octets.iter_mut().zip(labels.rsplit('.').map_while(octet)) {
        *at = number;
    }
    !is_carried(Ipv4Addr::from(octets))
}

/// A part of an address, in its one spelling: `010` and `+1` are other names.
fn octet(label: &str) -> Option<u8> {
    label.parse().ok().filter(|number: &u8| number.to_string() == label)
}

/// The address in a name such as `ip-10-0-0-5.ec2.internal`.
fn parse_name(name: &str, prefix: &str, domain: &str) -> Option<Ipv4Addr> {
    let host = name.strip_suffix(domain)?.strip_suffix('.')?.strip_prefix(prefix)?;
    let octets: Option<Vec<u8>> = host.split('-').map(|part| part.parse().ok()).collect();
    let [a, b, c, d] = <[u8; 4]>::try_from(octets?).ok()?;
    let address = Ipv4Addr::new(a, b, c, d);
    // One spelling only: `ip-010-…` is another name.
    (format!("{prefix}{a}-{b}-{c}-{d}.{domain}") == name).then_some(address)
}

/// The domain of public instance names.
pub(crate) fn public_domain(region: &str) -> String {
    if region == "us-east-1" {
        "compute-1.amazonaws.com".to_owned()
    } else {
        format!("{region}.compute.amazonaws.com")
    }
}

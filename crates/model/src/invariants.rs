//! What is true of every state, each rule by name. The property tests apply random commands and check them all.

use std::collections::{BTreeMap, BTreeSet};

use crate::connection_notification::Notified;
use crate::elb::{LoadBalancerZone, TargetId, TargetType};
use crate::endpoint::EndpointKind;
use crate::gateway::NatGateway;
use crate::id::*;
use crate::interface::InterfaceKind;
use crate::resolver_endpoint::{LEAST_ADDRESSES, ResolverAddress, ResolverEndpointState};
use crate::route::{RouteDestination, RouteTarget};
use crate::security_group::Peer;
use crate::sns::topic_arn;
use crate::state::State;
use crate::transit::{self, Attached};
use crate::vpc::overlap;
use crate::vpn::VpnEnd;

/// A rule that a state breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name.
    pub invariant: &'static str,
    /// What breaks it.
    pub detail: String,
}

type Check = fn(&State) -> Vec<String>;

const INVARIANTS: &[(&str, Check)] = &[
    ("every VPC has its main table, default group and ACL, of its own", vpc_parts),
    ("blocks of a VPC do not overlap", vpc_blocks),
    ("subnets lie in their VPC's blocks and do not overlap", subnets),
    ("every reference inside a VPC stays inside it", references),
    ("every address of an interface is its alone, in its subnet and not reserved", addresses),
    ("the derived tables say what the others say", derived),
    ("an internet gateway serves one VPC and a VPC has one", gateways),
    ("an endpoint and the route tables that lead to it agree", endpoints),
    ("an interface endpoint has an interface of its own in each subnet, one in a zone", endpoint_interfaces),
    ("an inbound resolver endpoint has its interfaces", resolver_endpoints),
    ("a private name leads to one endpoint of a VPC", private_names),
    ("everything belongs to an account that is there", owners),
    ("an elastic address stands for an address of an interface, and alone", elastic),
    ("a NAT gateway that lives has its interface and its address", nat_gateways),
    ("an interface is plugged into what is there, one at each index", attachments),
    ("rules and routes name groups and prefix lists that are there", named),
    ("an interface has a group unless a gateway made it", groups),
    ("a load balancer has an interface of its own in each of its zones", load_balancers),
    (
        "what comes to a port of a load balancer has one listener, which leads to a group of its VPC",
        listeners,
    ),
    ("targets of kinds that fit their groups are there", targets),
    ("an endpoint service has a load balancer of its owner's", endpoint_services),
    ("organizations have members of their own, in trees", organizations),
    ("a virtual private gateway serves one VPC and a VPC has one, and VPNs have both ends", vpns),
    ("what is attached to a transit gateway is there, once, and follows tables of it", transits),
    ("a connection notification is about something of its owner's, and tells something", notifications),
    ("a topic is where its ARN says", topics),
    ("VPCs that are peered are there, do not overlap, and are so once", peerings),
    ("a user is in groups, and limited by policies, that are there", identities),
];

/// The rules that `state` breaks. Empty for every state that [`crate::apply`] returns.
pub fn check(state: &State) -> Vec<Violation> {
    let broken = INVARIANTS.iter().flat_map(|(invariant, check)| {
        check(state).into_iter().map(move |detail| Violation { invariant, detail })
    });
    broken.collect()
}

/// An account is in one organization at most, and everything in one stands under its root.
fn organizations(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut members = BTreeSet::new();
    for (management, organization) in &state.organizations {
        let is_its_own =
            organization.members.contains_key(management) && organization.management == *management;
        broken.extend((!is_its_own).then(|| format!("{management} is not in its own organization")));
        for account in organization.members.keys() {
            let known = state.accounts.contains_key(account) && members.insert(*account);
            broken.extend((!known).then(|| format!("{account} is in two organizations, or not there")));
        }
        let units = organization.units.keys().cloned();
        let nodes = units.chain(organization.members.keys().map(ToString::to_string));
        for node in nodes {
            let rooted = organization.line(&node).first() == Some(&organization.root);
            broken.extend((!rooted).then(|| format!("{node} is not under the root")));
        }
        for (target, attached) in &organization.attachments {
            let known = organization.node(target).is_some()
                && attached.iter().all(|policy| {
                    organization.kind_of(policy).is_some_and(|kind| organization.enabled.contains(&kind))
                });
            broken.extend((!known).then(|| format!("what is attached to {target} is not there")));
        }
    }
    broken
}

fn identities(state: &State) -> Vec<String> {
    let broken = state.iam.iter().flat_map(|(account, iam)| {
        let of_groups = iam.users.values().flat_map(|user| &user.groups);
        let groups = of_groups.filter(|group| !iam.groups.contains_key(*group)).map(String::as_str);
        let own = |arn: &&str| !arn.starts_with("arn:aws:iam::aws:");
        let boundaries = iam.boundaries().filter(own).filter(|arn| !iam.policies.contains_key(*arn));
        groups.chain(boundaries).map(move |name| format!("{account}: {name}")).collect::<Vec<_>>()
    });
    broken.collect()
}

fn vpc_parts(state: &State) -> Vec<String> {
    let broken = state.vpcs.values().filter(|vpc| {
        let table = state.route_tables.get(&vpc.main_route_table).is_some_and(|x| x.vpc == vpc.id);
        let group = state.security_groups.get(&vpc.default_security_group).is_some_and(|x| x.vpc == vpc.id);
        let acl = state.network_acls.get(&vpc.default_network_acl).is_some_and(|x| x.vpc == vpc.id);
        let options = state.dhcp_options.contains_key(&vpc.dhcp_options);
        !(table && group && acl && options) || vpc.blocks.is_empty()
    });
    broken.map(|vpc| vpc.id.to_string()).collect()
}

fn vpc_blocks(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for vpc in state.vpcs.values() {
        for (n, a) in vpc.blocks.iter().enumerate() {
            broken.extend(
                vpc.blocks.iter().skip(n + 1).filter(|b| overlap(a.cidr, b.cidr)).map(|_| vpc.id.to_string()),
            );
        }
    }
    broken
}

fn subnets(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let all: Vec<_> = state.subnets.values().collect();
    for (n, subnet) in all.iter().enumerate() {
        let inside = state
            .vpcs
            .get(&subnet.vpc)
            .is_some_and(|v| v.blocks.iter().any(|b| b.cidr.contains(&subnet.cidr)));
        if !inside {
            broken.push(format!("{} is outside its VPC", subnet.id));
        }
        let clash = all.iter().skip(n + 1).find(|o| o.vpc == subnet.vpc && overlap(o.cidr, subnet.cidr));
        broken.extend(clash.map(|other| format!("{} overlaps {}", subnet.id, other.id)));
    }
    broken
}

fn references(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for subnet in state.subnets.values() {
        let acl = state.network_acls.get(&subnet.network_acl).is_some_and(|acl| acl.vpc == subnet.vpc);
        let table = subnet
            .route_table
            .is_none_or(|(_, id)| state.route_tables.get(&id).is_some_and(|t| t.vpc == subnet.vpc));
        if !acl || !table {
            broken.push(subnet.id.to_string());
        }
    }
    for interface in state.network_interfaces.values() {
        let subnet = state.subnets.get(&interface.subnet).is_some_and(|subnet| subnet.vpc == interface.vpc);
        let in_vpc = |id: &SecurityGroupId| {
            state.security_groups.get(id).is_some_and(|group| group.vpc == interface.vpc)
        };
        if !subnet || !interface.groups.iter().all(in_vpc) {
            broken.push(interface.id.to_string());
        }
    }
    broken
}

fn addresses(state: &State) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for interface in state.network_interfaces.values() {
        let Some(subnet) = state.subnets.get(&interface.subnet) else { continue };
        for private in &interface.private_addresses {
            let fits = subnet.cidr.contains(&private.address) && !subnet.is_reserved(private.address);
            if !fits || !seen.insert((interface.vpc, private.address)) {
                broken.push(format!("{} has {}", interface.id, private.address));
            }
        }
        if interface.private_addresses.is_empty() {
            broken.push(format!("{} has none", interface.id));
        }
    }
    broken
}

fn derived(state: &State) -> Vec<String> {
    let mut again = state.clone();
    again.reindex();
    let mut broken = Vec::new();
    if again.private_addresses != state.private_addresses {
        broken.push("private addresses".to_owned());
    }
    if again.public_addresses != state.public_addresses {
        broken.push("public addresses".to_owned());
    }
    broken
}

fn gateways(state: &State) -> Vec<String> {
    let mut gateways_of: BTreeMap<VpcId, usize> = BTreeMap::new();
    for vpc in state.internet_gateways.values().filter_map(|gateway| gateway.vpc) {
        *gateways_of.entry(vpc).or_default() += 1;
    }
    let broken = gateways_of.into_iter().filter(|(vpc, count)| *count > 1 || !state.vpcs.contains_key(vpc));
    broken.map(|(vpc, _)| vpc.to_string()).collect()
}

fn endpoints(state: &State) -> Vec<String> {
    let listed: BTreeSet<_> =
        state.vpc_endpoints.values().flat_map(|e| e.route_tables.iter().map(move |t| (e.id, *t))).collect();
    let routed: BTreeSet<_> = state
        .route_tables
        .values()
        .flat_map(|table| {
            table.routes.values().filter_map(|route| match route.target {
                RouteTarget::VpcEndpoint(endpoint) => Some((endpoint, table.id)),
                RouteTarget::InternetGateway(_)
                | RouteTarget::NatGateway(_)
                | RouteTarget::NetworkInterface(_)
                | RouteTarget::VpcPeering(_)
                | RouteTarget::VpnGateway(_)
                | RouteTarget::TransitGateway(_) => None,
            })
        })
        .collect();
    listed.symmetric_difference(&routed).map(|(endpoint, table)| format!("{endpoint} and {table}")).collect()
}

fn load_balancers(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut of_balancers = BTreeSet::new();
    for balancer in state.load_balancers.values() {
        let zones: BTreeSet<_> = balancer.zones.iter().map(|zone| &zone.zone).collect();
        let whole = |zone: &LoadBalancerZone| {
            let subnet = state.subnets.get(&zone.subnet);
            let subnet = subnet.is_some_and(|s| s.zone == zone.zone && s.vpc == balancer.vpc);
            let interface = state.network_interfaces.get(&zone.interface).is_some_and(|interface| {
                interface.kind == InterfaceKind::LoadBalancer
                    && interface.owner == balancer.owner
                    && interface.subnet == zone.subnet
                    && interface.primary_address() == zone.address
                    && interface.groups == balancer.groups
            });
            subnet && interface
        };
        if balancer.zones.is_empty()
            || zones.len() != balancer.zones.len()
            || !balancer.zones.iter().all(whole)
        {
            broken.push(balancer.id.to_string());
        }
        of_balancers.extend(balancer.zones.iter().map(|zone| zone.interface));
    }
    let orphans = state.network_interfaces.values().filter(|interface| {
        (interface.kind == InterfaceKind::LoadBalancer) != of_balancers.contains(&interface.id)
    });
    broken.extend(orphans.map(|interface| interface.id.to_string()));
    broken
}

fn listeners(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let (mut taken, mut balancer_of) = (BTreeSet::new(), BTreeMap::new());
    for listener in state.listeners.values() {
        let balancer = state.load_balancers.get(&listener.load_balancer);
        let group = state.target_groups.get(&listener.group);
        let fits = balancer.zip(group).is_some_and(|(b, g)| b.vpc == g.vpc && b.owner == g.owner);
        let (tcp, udp) = (listener.protocol.takes_tcp(), listener.protocol.takes_udp());
        let mut take =
            |takes: bool, udp: bool| !takes || taken.insert((listener.load_balancer, listener.port, udp));
        let alone = take(tcp, false) & take(udp, true);
        let of = *balancer_of.entry(listener.group).or_insert(listener.load_balancer);
        if !fits || !alone || of != listener.load_balancer {
            broken.push(listener.id.to_string());
        }
    }
    broken
}

fn targets(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for group in state.target_groups.values() {
        let fits = |id: TargetId| match (group.target_type, id) {
            (TargetType::Instance, TargetId::Instance(id)) => {
                state.instances.get(&id).is_some_and(|instance| {
                    instance.vpc == group.vpc
                        && instance.owner == group.owner
                        && instance.state != crate::instance::InstanceState::Terminated
                })
            }
            (TargetType::Ip, TargetId::Address(_)) => true,
            (TargetType::Instance, TargetId::Address(_)) | (TargetType::Ip, TargetId::Instance(_)) => false,
        };
        let strays = group.targets.keys().filter(|key| !fits(key.id));
        broken.extend(strays.map(|key| format!("{} of {}", key, group.id)));
    }
    broken
}

fn endpoint_services(state: &State) -> Vec<String> {
    let broken = state.endpoint_services.values().filter(|service| {
        let own =
            |id: &LoadBalancerId| state.load_balancers.get(id).is_some_and(|b| b.owner == service.owner);
        service.load_balancers.is_empty() || !service.load_balancers.iter().all(own)
    });
    broken.map(|service| service.id.to_string()).collect()
}

fn vpns(state: &State) -> Vec<String> {
    let (mut broken, mut served, mut ports) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for gateway in state.vpn_gateways.values() {
        let Some(vpc) = gateway.vpc else { continue };
        let own = state.vpcs.get(&vpc).is_some_and(|vpc| vpc.owner == gateway.owner);
        if !own || !served.insert(vpc) {
            broken.push(gateway.id.to_string());
        }
    }
    for connection in state.vpn_connections.values() {
        let near = match connection.near {
            VpnEnd::Virtual(id) => state.vpn_gateways.get(&id).map(|gateway| gateway.owner),
            VpnEnd::Transit(id) => transit::attachment_of_vpn(state, connection.id)
                .filter(|attachment| attachment.gateway == id)
                .map(|attachment| attachment.owner),
        };
        let far = state.customer_gateways.get(&connection.customer_gateway);
        let ends = near
            .zip(far)
            .is_some_and(|(near, far)| (near, far.owner) == (connection.owner, connection.owner));
        let port = connection.link.port;
        if !ends || !ports.insert(port) || state.network_interfaces.contains_key(&port) {
            broken.push(connection.id.to_string());
        }
    }
    broken
}

fn transits(state: &State) -> Vec<String> {
    let (mut broken, mut attached) = (Vec::new(), BTreeSet::new());
    let of = |id: TransitGatewayRouteTableId, gateway: TransitGatewayId| {
        state.transit_gateway_route_tables.get(&id).is_some_and(|table| table.gateway == gateway)
    };
    for attachment in state.transit_gateway_attachments.values() {
        let gateway = state.transit_gateways.get(&attachment.gateway);
        let there = match &attachment.to {
            Attached::Vpc { vpc, subnets, .. } => {
                let fits = |(zone, id): (&String, &SubnetId)| {
                    state.subnets.get(id).is_some_and(|subnet| subnet.vpc == *vpc && subnet.zone == *zone)
                };
                state.vpcs.contains_key(vpc) && !subnets.is_empty() && subnets.iter().all(fits)
            }
            Attached::Vpn(id) => state.vpn_connections.contains_key(id),
        };
        let tables = attachment.association.iter().chain(&attachment.propagations);
        let own = tables.copied().all(|table| of(table, attachment.gateway));
        let once = attached.insert((attachment.gateway, attachment.to.resource()));
        if gateway.is_none_or(|gateway| gateway.owner != attachment.owner) || !there || !own || !once {
            broken.push(attachment.id.to_string());
        }
    }
    for gateway in state.transit_gateways.values() {
        let mut defaults = [gateway.association_table, gateway.propagation_table].into_iter().flatten();
        if !defaults.all(|table| of(table, gateway.id)) {
            broken.push(gateway.id.to_string());
        }
    }
    let homeless = state.transit_gateway_route_tables.values();
    let homeless = homeless.filter(|table| !state.transit_gateways.contains_key(&table.gateway));
    broken.extend(homeless.map(|table| table.id.to_string()));
    broken
}

fn notifications(state: &State) -> Vec<String> {
    let broken = state.connection_notifications.values().filter(|found| {
        let there = match found.about {
            Notified::Service(id) => state.endpoint_services.get(&id).is_some_and(|x| x.owner == found.owner),
            Notified::Endpoint(id) => state.vpc_endpoints.get(&id).is_some_and(|x| x.owner == found.owner),
        };
        !there || found.events.is_empty()
    });
    broken.map(|found| found.id.to_string()).collect()
}

fn topics(state: &State) -> Vec<String> {
    let broken = state.topics.iter().filter(|(arn, topic)| {
        let known = state.accounts.contains_key(&topic.owner);
        **arn != topic.arn || topic.arn != topic_arn(state, topic.owner, topic.name()) || !known
    });
    broken.map(|(arn, _)| arn.clone()).collect()
}

fn peerings(state: &State) -> Vec<String> {
    let mut joined = BTreeSet::new();
    let live = state.vpc_peering_connections.values().filter(|peering| peering.state.passes());
    let broken = live.filter(|peering| {
        let sides = peering.sides();
        let there = sides.map(|side| state.vpcs.get(&side.vpc).filter(|vpc| vpc.owner == side.owner));
        let [Some(one), Some(other)] = there else { return true };
        let clash = one.blocks.iter().any(|a| other.blocks.iter().any(|b| overlap(a.cidr, b.cidr)));
        let pair: BTreeSet<VpcId> = sides.map(|side| side.vpc).into();
        clash || !joined.insert(pair)
    });
    broken.map(|peering| peering.id.to_string()).collect()
}

fn endpoint_interfaces(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut of_endpoints = BTreeSet::new();
    for endpoint in state.vpc_endpoints.values() {
        let part = match (endpoint.kind, &endpoint.interface) {
            (EndpointKind::Gateway, None) => continue,
            (EndpointKind::Interface, Some(part)) => part,
            (EndpointKind::Gateway, Some(_)) | (EndpointKind::Interface, None) => {
                broken.push(endpoint.id.to_string());
                continue;
            }
        };
        let own = |(subnet, interface): (&SubnetId, &NetworkInterfaceId)| {
            state.network_interfaces.get(interface).is_some_and(|interface| {
                interface.kind == InterfaceKind::VpcEndpoint(endpoint.id)
                    && (interface.subnet, interface.vpc) == (*subnet, endpoint.vpc)
                    && interface.groups == part.groups
                    && interface.attachment.is_some()
            })
        };
        let zone = |id: &SubnetId| state.subnets.get(id).map(|subnet| &subnet.zone);
        let zones: BTreeSet<_> = part.interfaces.keys().map(zone).collect();
        let live = endpoint.state.is_live() || part.interfaces.is_empty();
        // A deleted one is only remembered.
        let groups = !endpoint.state.is_live()
            || part
                .groups
                .iter()
                .all(|id| state.security_groups.get(id).is_some_and(|g| g.vpc == endpoint.vpc));
        if !part.interfaces.iter().all(own) || zones.len() != part.interfaces.len() || !live || !groups {
            broken.push(endpoint.id.to_string());
        }
        of_endpoints.extend(part.interfaces.values().copied());
    }
    let orphans = state.network_interfaces.values().filter(|interface| {
        matches!(interface.kind, InterfaceKind::VpcEndpoint(_)) != of_endpoints.contains(&interface.id)
    });
    broken.extend(orphans.map(|interface| interface.id.to_string()));
    broken
}

fn resolver_endpoints(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut of_endpoints = BTreeSet::new();
    for endpoint in state.resolver_endpoints.values() {
        let whole = |address: &ResolverAddress| {
            state.network_interfaces.get(&address.interface).is_some_and(|interface| {
                interface.kind == InterfaceKind::ResolverEndpoint(endpoint.id)
                    && (interface.subnet, interface.vpc) == (address.subnet, endpoint.vpc)
                    && interface.owner == endpoint.owner
                    && interface.primary_address() == address.address
                    && interface.groups == endpoint.groups
                    && interface.attachment.is_some()
            })
        };
        let many = match endpoint.state {
            ResolverEndpointState::Creating
            | ResolverEndpointState::Operational
            | ResolverEndpointState::Updating => endpoint.addresses.len() >= LEAST_ADDRESSES,
            ResolverEndpointState::Deleting => endpoint.addresses.is_empty(),
        };
        if !many || !endpoint.addresses.iter().all(whole) {
            broken.push(endpoint.id.to_string());
        }
        of_endpoints.extend(endpoint.addresses.iter().map(|address| address.interface));
    }
    let orphans = state.network_interfaces.values().filter(|interface| {
        matches!(interface.kind, InterfaceKind::ResolverEndpoint(_)) != of_endpoints.contains(&interface.id)
    });
    broken.extend(orphans.map(|interface| interface.id.to_string()));
    broken
}

fn private_names(state: &State) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let live = state.vpc_endpoints.values().filter(|endpoint| endpoint.state.is_live());
    let private = live.filter(|e| e.interface.as_ref().is_some_and(|part| part.private_dns));
    let twice = private.filter(|endpoint| !seen.insert((endpoint.vpc, endpoint.service_name.clone())));
    twice.map(|endpoint| endpoint.id.to_string()).collect()
}

fn owners(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    let mut check = |owner: AccountId, what: String| {
        if !state.accounts.contains_key(&owner) {
            broken.push(what);
        }
    };
    state.vpcs.values().for_each(|x| check(x.owner, x.id.to_string()));
    state.subnets.values().for_each(|x| check(x.owner, x.id.to_string()));
    state.network_interfaces.values().for_each(|x| check(x.owner, x.id.to_string()));
    state.instances.values().for_each(|x| check(x.owner, x.id.to_string()));
    state.vpc_endpoints.values().for_each(|x| check(x.owner, x.id.to_string()));
    broken
}

fn elastic(state: &State) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for address in state.addresses.values() {
        let Some(association) = address.association else { continue };
        let of_interface = state.network_interfaces.get(&association.interface).is_some_and(|interface| {
            interface.owner == address.owner
                && interface.private_addresses.iter().any(|p| p.address == association.private_address)
        });
        if !of_interface || !seen.insert((association.interface, association.private_address)) {
            broken.push(address.id.to_string());
        }
    }
    broken
}

fn nat_gateways(state: &State) -> Vec<String> {
    let whole = |gateway: &NatGateway| {
        let interface = gateway.interface.and_then(|id| state.network_interfaces.get(&id));
        let interface = interface.is_some_and(|interface| {
            interface.kind == InterfaceKind::NatGateway
                && interface.primary_address() == gateway.private_address
        });
        let address = gateway.allocation.is_none_or(|id| {
            let association = state.addresses.get(&id).and_then(|address| address.association);
            association.map(|association| association.interface) == gateway.interface
        });
        interface && address
    };
    let broken = state.nat_gateways.values().filter(|gateway| match gateway.state.is_live() {
        true => !whole(gateway),
        false => gateway.interface.is_some(),
    });
    broken.map(|gateway| gateway.id.to_string()).collect()
}

fn attachments(state: &State) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for interface in state.network_interfaces.values() {
        let Some(attachment) = interface.attachment else { continue };
        let Some(instance) = attachment.instance else { continue };
        let there = state.instances.get(&instance).is_some_and(|found| {
            found.vpc == interface.vpc && found.state != crate::instance::InstanceState::Terminated
        });
        if !there || !seen.insert((instance, attachment.device_index)) {
            broken.push(interface.id.to_string());
        }
    }
    let headless = state.instances.values().filter(|instance| {
        instance.state != crate::instance::InstanceState::Terminated && !seen.contains(&(instance.id, 0))
    });
    broken.extend(headless.map(|instance| instance.id.to_string()));
    broken
}

fn named(state: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for group in state.security_groups.values() {
        let dangling = group.rules.values().any(|rule| match rule.permission.peer {
            Peer::Cidr(_) => false,
            Peer::Group(id) => state.security_groups.get(&id).is_none_or(|other| other.vpc != group.vpc),
            Peer::PrefixList(id) => !state.prefix_lists.contains_key(&id),
        });
        if dangling {
            broken.push(group.id.to_string());
        }
    }
    for table in state.route_tables.values() {
        let dangling = table.routes.keys().any(|destination| match destination {
            RouteDestination::Cidr(_) => false,
            RouteDestination::PrefixList(id) => !state.prefix_lists.contains_key(id),
        });
        if dangling {
            broken.push(table.id.to_string());
        }
    }
    broken
}

fn groups(state: &State) -> Vec<String> {
    let broken = state.network_interfaces.values().filter(|interface| match interface.kind {
        InterfaceKind::Interface | InterfaceKind::VpcEndpoint(_) | InterfaceKind::ResolverEndpoint(_) => {
            interface.groups.is_empty()
        }
        InterfaceKind::NatGateway => !interface.groups.is_empty(),
        InterfaceKind::LoadBalancer => false,
    });
    broken.map(|interface| interface.id.to_string()).collect()
}

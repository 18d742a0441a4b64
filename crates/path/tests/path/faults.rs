//! The comparison with the oracle catches a fault in each stage: the plan is compiled from a state with a fault planted
//! in it, the oracle looks at the true one.

use std::sync::Arc;

use imbl::OrdMap;
use postern_model::interface::InterfaceKind;
use postern_model::network_acl::AclEntry;
use postern_model::route::{Route, RouteDestination};
use postern_model::security_group::{Peer, Traffic};
use postern_model::{IpNet, Ipv4Net, State};
use postern_path::{Decision, Plan, Stage, Uplink};
use postern_testkit::{Random, draw};

use crate::agreement::disagreement;
use postern_testkit::coverage::is_passed;

/// As many as the comparison itself takes.
const TOPOLOGIES: u64 = 400;
const FLOWS: usize = 300;

struct Fault {
    stage: Stage,
    what: &'static str,
    plant: fn(&mut State, &mut Option<Uplink>),
}

fn each<K: Ord + Copy, T: Clone>(table: &mut OrdMap<K, Arc<T>>, change: impl Fn(&mut T)) {
    for id in table.keys().copied().collect::<Vec<_>>() {
        if let Some(found) = table.get_mut(&id) {
            change(Arc::make_mut(found));
        }
    }
}

fn longer(block: IpNet) -> IpNet {
    match block {
        IpNet::V4(v4) => Ipv4Net::new(v4.network(), (v4.prefix_len() + 1).min(32)).map_or(block, IpNet::V4),
        IpNet::V6(_) => block,
    }
}

fn without_first(traffic: Traffic) -> Traffic {
    match traffic {
        Traffic::Tcp(low, high) if low < high => Traffic::Tcp(low + 1, high),
        Traffic::Udp(low, high) if low < high => Traffic::Udp(low + 1, high),
        other => other,
    }
}

fn opened(entries: &OrdMap<u16, AclEntry>) -> OrdMap<u16, AclEntry> {
    entries.iter().map(|(number, entry)| (*number, AclEntry { allow: true, ..*entry })).collect()
}

const FAULTS: &[Fault] = &[
    Fault {
        stage: Stage::Source,
        what: "sources are not checked",
        plant: |state, _| each(&mut state.network_interfaces, |x| x.source_dest_check = false),
    },
    Fault {
        stage: Stage::Link,
        what: "enableDnsSupport is ignored",
        plant: |state, _| each(&mut state.vpcs, |x| x.dns_support = true),
    },
    Fault {
        stage: Stage::EgressSecurityGroup,
        what: "an outbound rule is dropped",
        plant: |state, _| {
            each(&mut state.security_groups, |x| {
                let first = x.rules.values().find(|rule| rule.permission.egress).map(|rule| rule.id);
                first.into_iter().for_each(|id| {
                    x.rules.remove(&id);
                });
            });
        },
    },
    Fault {
        stage: Stage::EgressNetworkAcl,
        what: "outbound entries that deny are taken to allow",
        plant: |state, _| each(&mut state.network_acls, |x| x.egress = opened(&x.egress)),
    },
    Fault {
        stage: Stage::Route,
        what: "routes are one bit too long",
        plant: |state, _| {
            each(&mut state.route_tables, |x| {
                let shifted = x.routes.values().map(|route| match route.destination {
                    RouteDestination::Cidr(block) => {
                        Route { destination: RouteDestination::Cidr(longer(block)), ..*route }
                    }
                    RouteDestination::PrefixList(_) => *route,
                });
                x.routes = shifted.map(|route| (route.destination, route)).collect();
            });
        },
    },
    Fault {
        stage: Stage::NatGateway,
        what: "a NAT gateway's address is the next one",
        plant: |state, _| {
            each(&mut state.nat_gateways, |x| {
                x.private_address = (u32::from(x.private_address) + 1).into();
            });
        },
    },
    Fault {
        stage: Stage::InternetGateway,
        what: "automatic public addresses are forgotten",
        plant: |state, _| each(&mut state.network_interfaces, |x| x.automatic_public_address = None),
    },
    Fault {
        stage: Stage::Uplink,
        what: "echoes are carried where the host sends none, and not where it does",
        plant: |_, uplink| uplink.iter_mut().for_each(|uplink| uplink.echo = !uplink.echo),
    },
    Fault {
        stage: Stage::TransitGateway,
        what: "what attachments propagate is forgotten",
        plant: |state, _| each(&mut state.transit_gateway_attachments, |x| x.propagations.clear()),
    },
    Fault {
        stage: Stage::Remote,
        what: "VPCs are taken to have their first block only, and half of that",
        plant: |state, _| {
            each(&mut state.vpcs, |x| {
                x.blocks.truncate(1);
                for block in &mut x.blocks {
                    block.cidr = Ipv4Net::new(block.cidr.network(), (block.cidr.prefix_len() + 1).min(32))
                        .unwrap_or(block.cidr);
                }
            });
        },
    },
    Fault {
        stage: Stage::TransitGateway,
        what: "what attachments propagate is forgotten",
        plant: |state, _| each(&mut state.transit_gateway_attachments, |x| x.propagations.clear()),
    },
    Fault {
        stage: Stage::Remote,
        what: "a peering is taken to lead where its first side is",
        plant: |state, _| each(&mut state.vpc_peering_connections, |x| x.accepter = x.requester.clone()),
    },
    Fault {
        stage: Stage::Target,
        what: "secondary addresses are forgotten, and attachments",
        plant: |state, _| {
            each(&mut state.network_interfaces, |x| {
                x.private_addresses.truncate(1);
                x.attachment = None;
            });
        },
    },
    Fault {
        stage: Stage::IngressNetworkAcl,
        what: "inbound entries that deny are taken to allow",
        plant: |state, _| each(&mut state.network_acls, |x| x.ingress = opened(&x.ingress)),
    },
    Fault {
        stage: Stage::IngressSecurityGroup,
        what: "an inbound range misses its first port, and blocks are half as large",
        plant: |state, _| {
            each(&mut state.security_groups, |x| {
                for id in x.rules.keys().copied().collect::<Vec<_>>() {
                    let Some(rule) = x.rules.get_mut(&id).filter(|rule| !rule.permission.egress) else {
                        continue;
                    };
                    rule.permission.traffic = without_first(rule.permission.traffic);
                    if let Peer::Cidr(block) = rule.permission.peer {
                        rule.permission.peer = Peer::Cidr(longer(block));
                    }
                }
            });
        },
    },
    Fault {
        stage: Stage::Endpoint,
        what: "an endpoint is taken for another VPC's",
        plant: |state, _| {
            let all: Vec<_> = state.vpcs.keys().copied().collect();
            each(&mut state.vpc_endpoints, |x| {
                x.vpc = all.iter().copied().find(|vpc| *vpc != x.vpc).unwrap_or(x.vpc);
            });
        },
    },
    Fault {
        stage: Stage::Endpoint,
        what: "an interface of an endpoint is taken for anybody's",
        plant: |state, _| {
            each(&mut state.network_interfaces, |x| {
                if let InterfaceKind::VpcEndpoint(_) = x.kind {
                    x.kind = InterfaceKind::Interface;
                }
            });
        },
    },
    Fault {
        stage: Stage::Endpoint,
        what: "an interface of a resolver's endpoint is taken for anybody's",
        plant: |state, _| {
            each(&mut state.network_interfaces, |x| {
                if let InterfaceKind::ResolverEndpoint(_) = x.kind {
                    x.kind = InterfaceKind::Interface;
                }
            });
        },
    },
    Fault {
        stage: Stage::ReturnNetworkAcl,
        what: "ACLs are not asked about answers: what denies a range of ports is gone",
        plant: |state, _| {
            let ranges = |entries: &OrdMap<u16, AclEntry>| {
                let kept = entries.iter().filter(|(_, entry)| matches!(entry.traffic, Traffic::All));
                kept.map(|(number, entry)| (*number, *entry)).collect::<OrdMap<_, _>>()
            };
            each(&mut state.network_acls, |x| {
                x.egress = ranges(&x.egress);
                x.ingress = ranges(&x.ingress);
            });
        },
    },
    Fault {
        stage: Stage::ReturnRoute,
        what: "the default routes of one account are forgotten",
        plant: |state, _| {
            let owner = postern_testkit::world::accounts()[1];
            each(&mut state.route_tables, |x| {
                if x.owner == owner {
                    x.routes.remove(&RouteDestination::Cidr(IpNet::V4(Ipv4Net::default())));
                }
            });
        },
    },
    Fault {
        stage: Stage::LoadBalancer,
        what: "targets never see the client",
        plant: |state, _| each(&mut state.target_groups, |x| x.attributes.preserve_client_ip = Some(false)),
    },
    Fault {
        stage: Stage::LoadBalancer,
        what: "a client address is taken to keep its target",
        plant: |state, _| each(&mut state.target_groups, |x| x.attributes.stickiness = true),
    },
    Fault {
        stage: Stage::Delivered,
        what: "an interface is taken for another account's",
        plant: |state, _| {
            let other = postern_testkit::world::accounts();
            each(&mut state.network_interfaces, |x| {
                x.owner = if x.owner == other[0] { other[1] } else { other[0] };
            });
        },
    },
];

/// Whether what two plans say of a flow parts at this stage.
fn parts_at(stage: Stage, one: &Decision, other: &Decision) -> bool {
    let first = one.steps.iter().zip(&other.steps).find(|(a, b)| a != b);
    match first {
        Some((a, b)) => a.stage == stage || b.stage == stage,
        // The same steps, but not the same is done.
        None => one.steps.iter().chain(&other.steps).any(|step| step.stage == stage),
    }
}

/// Whether a fault is caught where it is, in a topology.
fn is_caught(fault: &Fault, seed: u64) -> bool {
    let random = &mut Random::new(seed);
    let state = draw::topology(random).state;
    let uplink = draw::uplink(random);
    let (mut broken, mut other) = (state.clone(), uplink);
    (fault.plant)(&mut broken, &mut other);
    let health = draw::health(random, &state);
    let plan = Plan::compile_with_uplink(&state, uplink).plan.with_health(&state, &health).plan;
    let faulty = Plan::compile_with_uplink(&broken, other).plan.with_health(&broken, &health).plan;
    (0..FLOWS).filter_map(|_| draw::flow(random, &state)).any(|flow| {
        let disagree = disagreement(&state, (uplink, &health), &faulty, &flow);
        disagree.is_some_and(|(_, said)| parts_at(fault.stage, &plan.decide(&flow), &said))
    })
}

#[test]
fn a_fault_in_each_stage_is_caught() {
    for fault in FAULTS {
        let caught = (0..TOPOLOGIES).any(|seed| is_caught(fault, seed));
        assert!(caught, "{}: {} is not caught", fault.stage.name(), fault.what);
    }
    let stages = Stage::ALL.iter().filter(|stage| is_passed(**stage));
    let without: Vec<_> = stages.filter(|stage| !FAULTS.iter().any(|fault| fault.stage == **stage)).collect();
    assert!(without.is_empty(), "no fault is planted in {without:?}");
}

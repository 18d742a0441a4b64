//! Load balancers, target groups and endpoint services.

use std::net::Ipv4Addr;

use postern_model::elb::*;
use postern_model::endpoint::{EndpointState, VpcEndpoint};
use postern_model::endpoint_service::*;
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about load balancers.
    pub(super) fn elb(&mut self, kind: &str) -> ElbAction {
        match kind {
            "CreateLoadBalancer" => ElbAction::CreateLoadBalancer(NewLoadBalancer {
                name: self.balancing_name(),
                scheme: self.random.of(&[Scheme::Internal, Scheme::Internal, Scheme::InternetFacing]),
                zones: self.zones(),
                groups: if self.random.chance(60) { Vec::new() } else { vec![self.group()] },
                tags: self.tags(),
            }),
            "DeleteLoadBalancer" => ElbAction::DeleteLoadBalancer { load_balancer: self.balancer() },
            "SetSubnets" => {
                let (load_balancer, mut zones) = (self.balancer(), self.zones());
                let found = self.state.load_balancers.get(&load_balancer);
                if self.random.chance(50)
                    && let Some(zone) = found.and_then(|found| found.zones.first())
                {
                    let (subnet, allocation) = (zone.subnet, zone.allocation);
                    zones.push(NewLoadBalancerZone { subnet, address: None, allocation });
                }
                ElbAction::SetSubnets { load_balancer, zones }
            }
            "SetSecurityGroups" => ElbAction::SetSecurityGroups {
                load_balancer: self.balancer(),
                groups: vec![self.group()],
                enforce_on_endpoints: self.random.of(&[None, Some(true), Some(false)]),
            },
            "ModifyLoadBalancerAttributes" => ElbAction::ModifyLoadBalancerAttributes {
                load_balancer: self.balancer(),
                attributes: LoadBalancerAttributes {
                    deletion_protection: self.random.chance(10),
                    cross_zone: self.random.chance(50),
                    client_routing: self.random.of(&[
                        DnsRecordClientRouting::AnyZone,
                        DnsRecordClientRouting::ZoneAffinity,
                        DnsRecordClientRouting::PartialZoneAffinity,
                    ]),
                },
            },
            "ReportLoadBalancerActive" => {
                ElbAction::ReportLoadBalancerActive { load_balancer: self.balancer() }
            }
            "CreateListener" => ElbAction::CreateListener(NewListener {
                load_balancer: self.balancer(),
                protocol: self.listener_protocol(),
                port: self.balanced_port(),
                group: self.target_group(),
                tags: self.tags(),
            }),
            "ModifyListener" => {
                let change = ListenerChange {
                    protocol: if self.random.chance(50) { Some(self.listener_protocol()) } else { None },
                    port: if self.random.chance(50) { Some(self.balanced_port()) } else { None },
                    group: if self.random.chance(50) { Some(self.target_group()) } else { None },
                    tcp_idle_timeout_seconds: self.random.of(&[None, Some(60), Some(6_000)]),
                };
                ElbAction::ModifyListener { listener: self.listener(), change }
            }
            "DeleteListener" => ElbAction::DeleteListener { listener: self.listener() },
            _ => self.target_action(kind),
        }
    }

    fn target_action(&mut self, kind: &str) -> ElbAction {
        match kind {
            "CreateTargetGroup" => ElbAction::CreateTargetGroup(NewTargetGroup {
                name: self.balancing_name(),
                protocol: self.random.of(&[
                    GroupProtocol::Tcp,
                    GroupProtocol::Udp,
                    GroupProtocol::TcpUdp,
                    GroupProtocol::TcpUdp,
                    GroupProtocol::Tls,
                ]),
                port: self.balanced_port(),
                vpc: self.vpc(),
                target_type: self.random.of(&[TargetType::Instance, TargetType::Ip]),
                health_check: self.health_check(),
                tags: self.tags(),
            }),
            "ModifyTargetGroup" => {
                ElbAction::ModifyTargetGroup { group: self.target_group(), health_check: self.health_check() }
            }
            "ModifyTargetGroupAttributes" => ElbAction::ModifyTargetGroupAttributes {
                group: self.target_group(),
                attributes: GroupAttributes {
                    preserve_client_ip: self.random.of(&[None, Some(true), Some(false)]),
                    proxy_protocol_v2: self.random.chance(50),
                    ..GroupAttributes::default()
                },
            },
            "DeleteTargetGroup" => ElbAction::DeleteTargetGroup { group: self.target_group() },
            "RegisterTargets" => {
                let group = self.target_group();
                let target = NewTarget {
                    id: self.some_target(group),
                    port: self.random.of(&[None, Some(8_080)]),
                    zone: self.random.of(&[None, None, Some("all".to_owned())]),
                };
                ElbAction::RegisterTargets { group, targets: vec![target] }
            }
            "DeregisterTargets" => {
                let group = self.target_group();
                let known = self.known_target(group);
                let id = match known {
                    Some(key) => key.id,
                    None => self.some_target(group),
                };
                ElbAction::DeregisterTargets { group, targets: vec![(id, None)] }
            }
            "ForgetTargets" => {
                let group = self.target_group();
                let targets = self.known_target(group).into_iter().collect();
                ElbAction::ForgetTargets { group, targets }
            }
            _ => panic!("no way to draw Elb.{kind}"),
        }
    }

    /// A command about endpoint services.
    pub(super) fn endpoint_service(&mut self, kind: &str) -> EndpointServiceAction {
        let service = |draw: &mut Self| draw.id::<EndpointService>(EndpointServiceId::from_number);
        match kind {
            "Create" => EndpointServiceAction::Create(NewEndpointService {
                acceptance_required: self.random.chance(50),
                load_balancers: vec![self.balancer()],
                private_dns_name: self.private_name(),
                tags: self.tags(),
            }),
            "Modify" => EndpointServiceAction::Modify {
                service: service(self),
                change: EndpointServiceChange {
                    acceptance_required: self.random.of(&[None, Some(true), Some(false)]),
                    add_load_balancers: vec![self.balancer()],
                    remove_load_balancers: if self.random.chance(80) {
                        Vec::new()
                    } else {
                        vec![self.balancer()]
                    },
                    private_dns_name: match (self.random.chance(20), self.private_name()) {
                        (true, _) => PrivateDnsChange::Remove,
                        (false, Some(name)) => PrivateDnsChange::Set(name),
                        (false, None) => PrivateDnsChange::Keep,
                    },
                },
            },
            "Delete" => EndpointServiceAction::Delete { service: service(self) },
            "ModifyPermissions" => {
                let principals = ["*", "arn:aws:iam::222222222222:root", "arn:aws:iam::1:root", "everybody"];
                EndpointServiceAction::ModifyPermissions {
                    service: service(self),
                    add: vec![self.random.of(&principals).to_owned()],
                    add_tags: self.tags(),
                    remove: vec![self.random.of(&principals).to_owned()],
                }
            }
            "AcceptConnections" => {
                let drawn = service(self);
                let fitting = [EndpointState::PendingAcceptance, EndpointState::Rejected];
                let (service, endpoints) = self.connections(drawn, fitting);
                EndpointServiceAction::AcceptConnections { service, endpoints }
            }
            "RejectConnections" => {
                let drawn = service(self);
                let fitting = [EndpointState::PendingAcceptance, EndpointState::Available];
                let (service, endpoints) = self.connections(drawn, fitting);
                EndpointServiceAction::RejectConnections { service, endpoints }
            }
            "SetPayerServiceOwner" => EndpointServiceAction::SetPayerServiceOwner { service: service(self) },
            "StartPrivateDnsVerification" => {
                EndpointServiceAction::StartPrivateDnsVerification { service: service(self) }
            }
            "ReportPrivateDnsVerification" => {
                let service = service(self);
                let found = self.state.endpoint_services.get(&service);
                let value = found.and_then(|found| Some(found.private_dns.as_ref()?.record_value.clone()));
                EndpointServiceAction::ReportPrivateDnsVerification {
                    service,
                    record_value: value.unwrap_or_default(),
                    verified: self.random.chance(70),
                }
            }
            _ => panic!("no way to draw EndpointService.{kind}"),
        }
    }

    /// An endpoint of a service, whoever has it: its owner may name it. Else anything.
    /// A service of the account's with an endpoint in one of these states, or the service that was drawn with any.
    fn connections(
        &mut self,
        drawn: EndpointServiceId,
        states: [EndpointState; 2],
    ) -> (EndpointServiceId, Vec<VpcEndpointId>) {
        let own = self.state.endpoint_services.values().filter(|found| found.owner == self.account);
        let all = own.flat_map(|found| connections(self.state, found).map(|endpoint| (found.id, endpoint)));
        let fitting = all.filter(|(_, endpoint)| states.contains(&endpoint.state));
        let fitting: Vec<_> = fitting.map(|(service, endpoint)| (service, endpoint.id)).collect();
        if fitting.is_empty() || self.random.chance(20) {
            let endpoint = self.id::<VpcEndpoint>(VpcEndpointId::from_number);
            let mut own = self.state.endpoint_services.values().filter(|found| found.owner == self.account);
            // Who has a service may name the endpoints of others to it.
            if own.any(|found| connections(self.state, found).any(|known| known.id == endpoint)) {
                self.foreign.retain(|(named, _)| *named != endpoint.to_string());
            }
            return (drawn, vec![endpoint]);
        }
        let (service, endpoint) = self.random.of(&fitting);
        (service, vec![endpoint])
    }

    fn private_name(&mut self) -> Option<String> {
        let names = [None, Some("api.example.com"), Some("*.example.com"), Some("not a name")];
        self.random.of(&names).map(str::to_owned)
    }

    pub(super) fn balancer(&mut self) -> LoadBalancerId {
        self.id::<LoadBalancer>(LoadBalancerId::from_number)
    }

    fn listener(&mut self) -> ListenerId {
        self.id::<Listener>(ListenerId::from_number)
    }

    fn target_group(&mut self) -> TargetGroupId {
        self.id::<TargetGroup>(TargetGroupId::from_number)
    }

    fn balancing_name(&mut self) -> String {
        let names = ["a", "b", "c", "d", "e", "f", "internal-a", "-", "a_b"];
        self.random.of(&names).to_owned()
    }

    fn balanced_port(&mut self) -> u16 {
        self.random.of(&[53, 80, 443])
    }

    fn listener_protocol(&mut self) -> ListenerProtocol {
        self.random.of(&[ListenerProtocol::Tcp, ListenerProtocol::Udp, ListenerProtocol::TcpUdp])
    }

    fn zones(&mut self) -> Vec<NewLoadBalancerZone> {
        let count = self.random.of(&[1, 1, 1, 2, 0]);
        let zone = |draw: &mut Self| {
            let subnet = draw.subnet();
            NewLoadBalancerZone {
                subnet,
                address: draw.address_in(subnet).filter(|_| draw.random.chance(20)),
                allocation: if draw.random.chance(20) { Some(draw.allocation()) } else { None },
            }
        };
        (0..count).map(|_| zone(self)).collect()
    }

    fn health_check(&mut self) -> HealthCheck {
        HealthCheck {
            protocol: self
                .random
                .of(&[HealthProtocol::Tcp, HealthProtocol::Http("/".to_owned(), Matcher(vec![(200, 399)]))]),
            port: self.random.of(&[HealthPort::Traffic, HealthPort::Port(80)]),
            interval_seconds: self.random.of(&[30, 30, 30, 1]),
            timeout_seconds: 10,
            healthy_threshold: 3,
            unhealthy_threshold: 3,
        }
    }

    /// Something that a group may well take.
    fn some_target(&mut self, group: TargetGroupId) -> TargetId {
        let found = self.state.target_groups.get(&group);
        let by_address = found.is_some_and(|found| found.target_type == TargetType::Ip);
        if by_address != self.random.chance(10) {
            let subnets = self.state.subnets.values().filter(|s| found.is_some_and(|g| g.vpc == s.vpc));
            let subnets: Vec<_> = subnets.map(|subnet| subnet.id).collect();
            let subnet = if subnets.is_empty() { self.subnet() } else { self.random.of(&subnets) };
            return TargetId::Address(self.address_in(subnet).unwrap_or(Ipv4Addr::new(10, 0, 0, 1)));
        }
        TargetId::Instance(self.instance())
    }

    fn known_target(&mut self, group: TargetGroupId) -> Option<TargetKey> {
        let found = self.state.target_groups.get(&group)?;
        let keys: Vec<_> = found.targets.keys().copied().collect();
        if keys.is_empty() { None } else { Some(self.random.of(&keys)) }
    }
}

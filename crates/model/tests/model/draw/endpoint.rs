//! VPC endpoints.

use std::net::Ipv4Addr;

use postern_model::endpoint::{
    DnsChoice, EndpointChange, EndpointState, InterfaceChange, NewGatewayEndpoint, NewInterfaceEndpoint,
    VpcEndpoint,
};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about VPC endpoints, if this is a kind of them.
    pub(super) fn endpoint_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateGatewayEndpoint" => {
                let vpc = self.vpc();
                Action::CreateGatewayEndpoint(NewGatewayEndpoint {
                    vpc,
                    service_name: self.service_name(),
                    route_tables: self.tables_of(vpc),
                    policy: None,
                    tags: self.tags(),
                })
            }
            "CreateInterfaceEndpoint" => self.new_interface_endpoint(),
            "ModifyVpcEndpoint" => {
                let endpoint = self.endpoint();
                Action::ModifyVpcEndpoint { endpoint, change: self.endpoint_change(endpoint) }
            }
            "DeleteVpcEndpoint" => Action::DeleteVpcEndpoint { endpoint: self.endpoint() },
            "ReportVpcEndpointReady" => Action::ReportVpcEndpointReady { endpoint: self.endpoint() },
            "ReportVpcEndpointGone" => {
                Action::ReportVpcEndpointGone { endpoint: self.endpoint_that_is(EndpointState::Deleting) }
            }
            "ForgetVpcEndpoint" => {
                Action::ForgetVpcEndpoint { endpoint: self.endpoint_that_is(EndpointState::Deleted) }
            }
            _ => return None,
        })
    }

    fn endpoint(&mut self) -> VpcEndpointId {
        self.id::<VpcEndpoint>(VpcEndpointId::from_number)
    }

    /// One in this state, if there is one.
    fn endpoint_that_is(&mut self, state: EndpointState) -> VpcEndpointId {
        let account = self.account;
        let all = self.state.vpc_endpoints.values().filter(|endpoint| endpoint.state == state);
        let all: Vec<_> = all.map(|endpoint| (endpoint.owner == account, endpoint.id)).collect();
        self.choose(&all, VpcEndpointId::from_number)
    }

    fn service_name(&mut self) -> String {
        let of_users: Vec<_> = self.state.endpoint_services.values().map(|s| s.name("us-east-1")).collect();
        if !of_users.is_empty() && self.random.chance(40) {
            return self.random.of(&of_users);
        }
        let services = ["s3", "s3", "dynamodb", "ec2", "sts", "none"];
        format!("com.amazonaws.us-east-1.{}", self.random.of(&services))
    }

    fn new_interface_endpoint(&mut self) -> Action {
        let vpc = self.vpc();
        let subnets = self.subnets_of(vpc);
        let chance = self.random.chance(30);
        let addresses = subnets.first().filter(|_| chance).and_then(|subnet| self.choice_in(*subnet));
        Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
            vpc,
            service_name: self.service_name(),
            addresses: addresses.into_iter().collect(),
            subnets,
            groups: self.groups_of(vpc),
            private_dns: self.random.chance(30),
            dns: self.dns_choice(),
            policy: None,
            tags: self.tags(),
        })
    }

    fn endpoint_change(&mut self, endpoint: VpcEndpointId) -> EndpointChange {
        let found = self.state.vpc_endpoints.get(&endpoint).cloned();
        let vpc = found.as_ref().map_or(VpcId::from_number(1 << 40), |found| found.vpc);
        let policy = self.random.of(&[None, Some(None), Some(Some("{}".to_owned()))]);
        let Some(part) = found.as_ref().and_then(|found| found.interface.clone()) else {
            let there = found.as_ref().into_iter().flat_map(|e| e.route_tables.iter());
            return EndpointChange {
                remove_route_tables: there.take(1).copied().collect(),
                add_route_tables: self.tables_of(vpc),
                policy,
                interface: InterfaceChange::default(),
            };
        };
        let mut some = |chance| self.random.chance(chance);
        let there = part.interfaces.keys().next().copied();
        let (remove, group) = (there.filter(|_| some(30)), part.groups.first().copied().filter(|_| some(20)));
        let private_dns = some(30).then(|| some(50));
        let (adds, moves) = (some(50), there.filter(|_| some(30)));
        let interface = InterfaceChange {
            add_subnets: if adds { self.subnets_of(vpc) } else { Vec::new() },
            remove_subnets: remove.into_iter().collect(),
            addresses: moves.and_then(|subnet| self.choice_in(subnet)).into_iter().collect(),
            add_groups: self.groups_of(vpc),
            remove_groups: group.into_iter().collect(),
            private_dns,
            dns: self.dns_choice(),
        };
        EndpointChange { policy, interface, ..EndpointChange::default() }
    }

    fn dns_choice(&mut self) -> DnsChoice {
        DnsChoice {
            record_ip_type: None,
            inbound_only: self.random.of(&[None, None, Some(false), Some(true)]),
        }
    }

    fn choice_in(&mut self, subnet: SubnetId) -> Option<(SubnetId, Ipv4Addr)> {
        Some((subnet, self.address_in(subnet)?))
    }

    /// Subnets of one VPC, for the most part.
    fn subnets_of(&mut self, vpc: VpcId) -> Vec<SubnetId> {
        let of_vpc: Vec<_> = self.state.subnets.values().filter(|s| s.vpc == vpc).map(|s| s.id).collect();
        if of_vpc.is_empty() || self.random.chance(10) {
            return vec![self.subnet()];
        }
        (0..self.random.below(3)).map(|_| self.random.of(&of_vpc)).collect()
    }

    /// Security groups of one VPC, for the most part; often none.
    fn groups_of(&mut self, vpc: VpcId) -> Vec<SecurityGroupId> {
        let of_vpc: Vec<_> =
            self.state.security_groups.values().filter(|g| g.vpc == vpc).map(|g| g.id).collect();
        if of_vpc.is_empty() || self.random.chance(5) {
            return vec![self.group()];
        }
        (0..self.random.below(2)).map(|_| self.random.of(&of_vpc)).collect()
    }
}

//! What happens to a topology after it was made: the lines that begin with `then`.

use postern_model::endpoint::{EndpointChange, InterfaceChange};
use postern_model::instance::InstanceState;
use postern_model::interface::InterfaceChange as ChangeOfInterface;
use postern_model::peering::PeeringAction;
use postern_model::resolver_endpoint::ResolverAction;
use postern_model::route::RouteDestination;
use postern_model::security_group::RuleChoice;
use postern_model::transit::TransitAction;
use postern_model::vpn::VpnAction;
use postern_model::{Action, ResourceId};

use super::TopologyError;
use super::read::{Read, Reader, Statement, at, parse};

impl Reader {
    pub(super) fn then(&mut self, statement: &Statement<'_>) -> Result<(), TopologyError> {
        let result = match statement.head.words.as_slice() {
            ["then", "up", target] => self.found_to_be(target, true),
            ["then", "down", target] => self.found_to_be(target, false),
            ["then", "deregister", target] => self.deregister(target),
            ["then", "stop", name] => self.stop(name),
            ["then", "accept", name] => self.accept(name),
            ["then", "unplug", name] => self.vpn_link(name, false),
            ["then", "plug", name] => self.vpn_link(name, true),
            ["then", "forget-route", name, block] => parse(block).and_then(|block| {
                let connection = self.vpn(name)?;
                self.run(Action::Vpn(VpnAction::DeleteRoute { connection, block }))
            }),
            ["then", "delete", name] => self.delete(name),
            ["then", "detach", name] => self.detach(name),
            ["then", "terminate", name] => self.terminate(name),
            ["then", "groups", interface, groups] => self.change_groups(interface, groups),
            ["then", "check", interface, on] => self.interface(interface).and_then(|interface| {
                let change = ChangeOfInterface::SourceDestCheck(*on == "on");
                self.run(Action::ModifyNetworkInterface { interface, change })
            }),
            ["then", "allow", group, rule @ ..] => {
                let name = format!("{group}#then");
                self.group(group, group).and_then(|id| self.group_rule(&name, group, id, rule))
            }
            ["then", "revoke", rule] => self.revoke(rule),
            ["then", "unroute", table, cidr] => self.unroute(table, cidr),
            ["then", "transit-unroute", table, cidr] => self.transit_unroute(table, cidr),
            ["then", "private", endpoint, on] => self.change_endpoint(
                endpoint,
                InterfaceChange { private_dns: Some(*on == "on"), ..InterfaceChange::default() },
            ),
            ["then", "join", endpoint, subnet] => self.subnet(endpoint, subnet).and_then(|subnet| {
                let change = InterfaceChange { add_subnets: vec![subnet], ..InterfaceChange::default() };
                self.change_endpoint(endpoint, change)
            }),
            ["then", "leave", endpoint, subnet] => self.subnet(endpoint, subnet).and_then(|subnet| {
                let change = InterfaceChange { remove_subnets: vec![subnet], ..InterfaceChange::default() };
                self.change_endpoint(endpoint, change)
            }),
            ["then", "regroup", endpoint, group, into] => self
                .group(group, group)
                .and_then(|gone| Ok((gone, self.group(into, into)?)))
                .and_then(|(gone, new)| {
                    let (add_groups, remove_groups) = (vec![new], vec![gone]);
                    let change = InterfaceChange { add_groups, remove_groups, ..InterfaceChange::default() };
                    self.change_endpoint(endpoint, change)
                }),
            ["then", "block", vpc, cidr] => parse(cidr).and_then(|cidr| {
                let vpc = self.vpc(vpc)?;
                self.run(Action::AssociateVpcCidrBlock { vpc, cidr })
            }),
            ["then", ..] => Err("nothing of that kind can happen".to_owned()),
            _ => Ok(()),
        };
        at(&statement.head, result)
    }

    fn change_endpoint(&mut self, name: &str, interface: InterfaceChange) -> Read<()> {
        let ResourceId::VpcEndpoint(endpoint) = self.find(name)? else {
            return Err("not an endpoint".to_owned());
        };
        let change = EndpointChange { interface, ..EndpointChange::default() };
        self.run(Action::ModifyVpcEndpoint { endpoint, change })?;
        self.name_interfaces(name, endpoint)
    }

    fn stop(&mut self, name: &str) -> Read<()> {
        let ResourceId::Instance(instance) = self.find(&format!("{name}.instance"))? else {
            return Err("not an instance".to_owned());
        };
        self.run(Action::StopInstances { instances: vec![instance] })?;
        self.run(report(instance, InstanceState::Stopped))
    }

    fn terminate(&mut self, name: &str) -> Read<()> {
        let ResourceId::Instance(instance) = self.find(&format!("{name}.instance"))? else {
            return Err("not an instance".to_owned());
        };
        self.run(Action::TerminateInstances { instances: vec![instance] })?;
        self.run(report(instance, InstanceState::Terminated))
    }

    fn change_groups(&mut self, interface: &str, groups: &str) -> Read<()> {
        let interface = self.interface(interface)?;
        let groups = groups.split(',').map(|name| self.group(name, name)).collect::<Read<Vec<_>>>()?;
        let change = ChangeOfInterface::Groups(groups);
        self.run(Action::ModifyNetworkInterface { interface, change })
    }

    fn revoke(&mut self, name: &str) -> Read<()> {
        let ResourceId::SecurityGroupRule(rule) = self.find(name)? else {
            return Err("not a rule".to_owned());
        };
        let mut groups = self.world.state.security_groups.values();
        let found = groups.find_map(|group| Some((group.id, group.rules.get(&rule)?.permission.egress)));
        let (group, egress) = found.ok_or("it is not there")?;
        self.run(Action::RevokeSecurityGroup { group, egress, rules: RuleChoice::Ids(vec![rule]) })
    }

    fn unroute(&mut self, table: &str, cidr: &str) -> Read<()> {
        let ResourceId::RouteTable(table) = self.find(table)? else { return Err("not a table".to_owned()) };
        self.run(Action::DeleteRoute { table, destination: RouteDestination::Cidr(parse(cidr)?) })
    }

    fn delete(&mut self, name: &str) -> Read<()> {
        let action = match self.find(name)? {
            ResourceId::NatGateway(gateway) => Action::DeleteNatGateway { gateway },
            ResourceId::VpcEndpoint(endpoint) => Action::DeleteVpcEndpoint { endpoint },
            ResourceId::TransitGatewayAttachment(attachment) => {
                Action::Transit(TransitAction::DeleteVpcAttachment { attachment })
            }
            ResourceId::VpnConnection(connection) => Action::Vpn(VpnAction::DeleteConnection { connection }),
            ResourceId::VpcPeeringConnection(peering) => Action::Peering(PeeringAction::Delete { peering }),
            ResourceId::ResolverEndpoint(endpoint) => {
                Action::Resolver(ResolverAction::DeleteEndpoint { endpoint })
            }
            ResourceId::NetworkInterface(interface) => Action::DeleteNetworkInterface { interface },
            ResourceId::InternetGateway(gateway) => Action::DeleteInternetGateway { gateway },
            ResourceId::LoadBalancer(balancer) => return self.delete_balancer(balancer),
            other => return Err(format!("{other} cannot be deleted here")),
        };
        self.run(action)
    }

    fn detach(&mut self, name: &str) -> Read<()> {
        match self.find(name)? {
            ResourceId::InternetGateway(gateway) => {
                let found = self.world.state.internet_gateways.get(&gateway);
                let vpc = found.and_then(|gateway| gateway.vpc).ok_or("it is not attached")?;
                self.run(Action::DetachInternetGateway { gateway, vpc })
            }
            ResourceId::VpnGateway(gateway) => {
                let found = self.world.state.vpn_gateways.get(&gateway);
                let vpc = found.and_then(|gateway| gateway.vpc).ok_or("it is not attached")?;
                self.run(Action::Vpn(VpnAction::DetachGateway { gateway, vpc }))
            }
            ResourceId::NetworkInterface(interface) => {
                let found = self.world.state.network_interfaces.get(&interface);
                let attachment = found.and_then(|x| x.attachment).ok_or("it is not attached")?.id;
                self.run(Action::DetachNetworkInterface { attachment })
            }
            other => Err(format!("{other} cannot be detached")),
        }
    }
}

pub(super) fn report(instance: postern_model::InstanceId, state: InstanceState) -> Action {
    Action::ReportInstance { instance, state, reason: String::new() }
}

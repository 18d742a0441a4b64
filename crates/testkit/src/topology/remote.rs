//! Networks beyond a VPC in a topology: peered ones, and those on premises.

use std::net::Ipv4Addr;

use postern_model::peering::PeeringAction;
use postern_model::vpn::{VpnAction, VpnEnd};
use postern_model::{Action, ResourceId, VpcPeeringConnectionId, VpnConnectionId, VpnGatewayId};

use super::read::{Read, Reader, parse};

impl Reader {
    /// A peering that the first VPC's owner asked for; accepted, unless it is `pending`, ready, and with `names` at both
    /// sides where it says so.
    pub(super) fn new_peering(
        &mut self,
        name: &str,
        (one, other): (&str, &str),
        options: &[&str],
    ) -> Read<()> {
        let (vpc, peer) = (self.vpc(one)?, self.vpc(other)?);
        let owner = |id| self.world.state.vpcs.get(&id).map(|vpc| vpc.owner).ok_or("no such VPC");
        let (owner, peer_owner) = (owner(vpc)?, owner(peer)?);
        let ask = Action::Peering(PeeringAction::Create { vpc, peer, peer_owner, tags: Vec::new() });
        let created = self.world.create(owner, ask).map_err(|error| error.to_string())?;
        self.name(name, created.ok_or("nothing was created")?);
        if options.contains(&"pending") {
            return Ok(());
        }
        self.accept(name)?;
        let (peering, on) = (self.peering(name)?, Some(true));
        self.run_as(owner, Action::Peering(PeeringAction::ReportReady { peering }))?;
        if !options.contains(&"names") {
            return Ok(());
        }
        let requesters = PeeringAction::ModifyOptions { peering, requester_dns: on, accepter_dns: None };
        self.run_as(owner, Action::Peering(requesters))?;
        let accepters = PeeringAction::ModifyOptions { peering, requester_dns: None, accepter_dns: on };
        self.run_as(peer_owner, Action::Peering(accepters))
    }

    pub(super) fn peering(&self, name: &str) -> Read<VpcPeeringConnectionId> {
        match self.find(name)? {
            ResourceId::VpcPeeringConnection(id) => Ok(id),
            other => Err(format!("{other} is not a peering")),
        }
    }

    pub(super) fn accept(&mut self, name: &str) -> Read<()> {
        let peering = self.peering(name)?;
        let found = self.world.state.vpc_peering_connections.get(&peering).ok_or("it is not there")?;
        self.run_as(found.accepter.owner, Action::Peering(PeeringAction::Accept { peering }))
    }

    /// A VPN of a VPC's gateway, `VPC.vgw`, which is made with the first. What is no option is a block on premises; flows
    /// from there come from `NAME.link`.
    pub(super) fn new_vpn(&mut self, name: &str, vpc: &str, options: &[&str]) -> Read<()> {
        if self.ids.get(vpc).is_some_and(|id| matches!(id, ResourceId::TransitGateway(_))) {
            let near = self.transit(vpc)?.into();
            self.new_connection(name, near, options)?;
            return self.name_attachment(vpc, name);
        }
        let gateway = format!("{vpc}.vgw");
        if !self.ids.contains_key(&gateway) {
            let new = VpnAction::CreateGateway { amazon_asn: 64_512, tags: Vec::new() };
            self.create(&gateway, Action::Vpn(new))?;
            let (gateway, vpc) = (self.vpn_gateway(&gateway)?, self.vpc(vpc)?);
            if !options.contains(&"detached") {
                self.run(Action::Vpn(VpnAction::AttachGateway { gateway, vpc }))?;
            }
        }
        let near = self.vpn_gateway(&gateway)?.into();
        self.new_connection(name, near, options)
    }

    fn new_connection(&mut self, name: &str, near: VpnEnd, options: &[&str]) -> Read<()> {
        let last = u8::try_from(self.world.state.customer_gateways.len()).unwrap_or(u8::MAX);
        let new = VpnAction::CreateCustomerGateway {
            bgp_asn: 65_000,
            address: Ipv4Addr::new(203, 0, 113, last),
            device_name: None,
            tags: Vec::new(),
        };
        let created = self.create(&format!("{name}.customer"), Action::Vpn(new))?;
        let ResourceId::CustomerGateway(customer_gateway) = created else { return Err("no".to_owned()) };
        let new = VpnAction::CreateConnection { customer_gateway, near, tags: Vec::new() };
        self.create(name, Action::Vpn(new))?;
        let connection = self.vpn(name)?;
        let port = self.world.state.vpn_connections.get(&connection).map(|x| x.link.port);
        self.name(&format!("{name}.link"), port.ok_or("it is not there")?);
        for block in options.iter().filter(|option| option.contains('/')) {
            self.run(Action::Vpn(VpnAction::CreateRoute { connection, block: parse(block)? }))?;
        }
        if options.contains(&"down") { Ok(()) } else { self.vpn_link(name, true) }
    }

    pub(super) fn vpn_link(&mut self, name: &str, up: bool) -> Read<()> {
        let connection = self.vpn(name)?;
        self.run(Action::Vpn(VpnAction::ReportLink { connection, up }))
    }

    pub(super) fn vpn(&self, name: &str) -> Read<VpnConnectionId> {
        match self.find(name)? {
            ResourceId::VpnConnection(id) => Ok(id),
            other => Err(format!("{other} is not a VPN")),
        }
    }

    pub(super) fn vpn_gateway(&self, name: &str) -> Read<VpnGatewayId> {
        match self.find(name)? {
            ResourceId::VpnGateway(id) => Ok(id),
            other => Err(format!("{other} is not a virtual private gateway")),
        }
    }
}

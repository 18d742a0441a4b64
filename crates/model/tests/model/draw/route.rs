//! Route tables and routes.

use postern_model::endpoint::VpcEndpoint;
use postern_model::gateway::InternetGateway;
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::*;

use super::{Draw, net};

impl Draw<'_> {
    /// A command about route tables, if this is a kind of them.
    pub(super) fn route_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateRouteTable" => Action::CreateRouteTable { vpc: self.vpc(), tags: self.tags() },
            "DeleteRouteTable" => Action::DeleteRouteTable { table: self.table() },
            "CreateRoute" => {
                let table = self.table();
                let (destination, target) = (self.destination(table), self.target(table));
                Action::CreateRoute { table, destination, target }
            }
            "ReplaceRoute" => {
                let table = self.table();
                let (destination, target) = (self.destination(table), self.target(table));
                Action::ReplaceRoute { table, destination, target }
            }
            "DeleteRoute" => {
                let table = self.table();
                Action::DeleteRoute { table, destination: self.destination(table) }
            }
            "AssociateRouteTable" => {
                Action::AssociateRouteTable { table: self.table(), subnet: self.subnet() }
            }
            "DisassociateRouteTable" => {
                Action::DisassociateRouteTable { association: self.table_association() }
            }
            "ReplaceRouteTableAssociation" => Action::ReplaceRouteTableAssociation {
                association: self.table_association(),
                table: self.table(),
            },
            _ => return None,
        })
    }

    /// Route tables of one VPC, for the most part.
    pub(super) fn tables_of(&mut self, vpc: VpcId) -> Vec<RouteTableId> {
        let of_vpc: Vec<_> =
            self.state.route_tables.values().filter(|t| t.vpc == vpc).map(|t| t.id).collect();
        if of_vpc.is_empty() || self.random.chance(15) {
            return vec![self.table()];
        }
        (0..self.random.below(3)).map(|_| self.random.of(&of_vpc)).collect()
    }

    pub(super) fn destination(&mut self, table: RouteTableId) -> RouteDestination {
        let table = self.state.route_tables.get(&table).cloned();
        if let Some(table) = table.as_ref().filter(|table| !table.routes.is_empty() && self.random.chance(40))
        {
            let there: Vec<_> = table.routes.keys().copied().collect();
            return self.random.of(&there);
        }
        let inside = table.map_or(net("10.0.0.0/16"), |table| self.block_inside(table.vpc));
        match self.random.below(8) {
            0..3 => RouteDestination::Cidr(IpNet::V4(net("0.0.0.0/0"))),
            3 => RouteDestination::Cidr(IpNet::V4(net("10.77.0.0/16"))),
            4 => RouteDestination::Cidr(IpNet::V4(inside)),
            5 => RouteDestination::Cidr("::/0".parse().unwrap()),
            6 => RouteDestination::Cidr(IpNet::V4(net("169.254.169.0/24"))),
            _ => RouteDestination::PrefixList(self.list()),
        }
    }

    pub(super) fn target(&mut self, table: RouteTableId) -> RouteTargetChoice {
        let vpc = self.state.route_tables.get(&table).map(|table| table.vpc);
        let gateway =
            self.state.internet_gateways.values().find(|x| x.vpc == vpc && vpc.is_some()).map(|x| x.id);
        let nat = self.state.nat_gateways.values().find(|x| Some(x.vpc) == vpc).map(|x| x.id);
        let interface = self.state.network_interfaces.values().find(|x| Some(x.vpc) == vpc).map(|x| x.id);
        let target = match (self.random.below(9), gateway, nat, interface) {
            (8, ..) if self.random.chance(40) => RouteTarget::VpnGateway(self.vpn_gateway()),
            (8, ..) if self.random.chance(50) => RouteTarget::TransitGateway(self.transit()),
            (8, ..) => RouteTarget::VpcPeering(self.any_peering()),
            (0..2, Some(id), ..) => RouteTarget::InternetGateway(id),
            (2..4, _, Some(id), _) => RouteTarget::NatGateway(id),
            (4..6, .., Some(id)) => RouteTarget::NetworkInterface(id),
            (6, ..) => return RouteTargetChoice::Instance(self.instance()),
            (7, ..) => RouteTarget::VpcEndpoint(self.id::<VpcEndpoint>(VpcEndpointId::from_number)),
            _ => RouteTarget::InternetGateway(self.id::<InternetGateway>(InternetGatewayId::from_number)),
        };
        RouteTargetChoice::Target(target)
    }

    pub(super) fn table_association(&mut self) -> RouteTableAssociationId {
        let account = self.account;
        let subnets = self.state.subnets.values();
        let subnets = subnets.filter_map(|x| Some((x.owner == account, x.route_table?.0)));
        let main = self.state.vpcs.values().map(|x| (x.owner == account, x.main_association));
        let all: Vec<_> = subnets.chain(main).collect();
        self.choose(&all, RouteTableAssociationId::from_number)
    }
}

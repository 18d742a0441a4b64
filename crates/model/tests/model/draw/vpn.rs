//! VPNs and their ends.

use std::net::Ipv4Addr;

use postern_model::vpn::{CustomerGateway, VpnAction, VpnConnection, VpnGateway};
use postern_model::*;

use super::{Draw, net};

impl Draw<'_> {
    pub(super) fn vpn(&mut self, kind: &str) -> VpnAction {
        match kind {
            "CreateCustomerGateway" => VpnAction::CreateCustomerGateway {
                bgp_asn: 65_000,
                address: Ipv4Addr::new(203, 0, 113, self.random.below(4) as u8),
                device_name: None,
                tags: self.tags(),
            },
            "DeleteCustomerGateway" => VpnAction::DeleteCustomerGateway { gateway: self.customer_gateway() },
            "CreateGateway" => VpnAction::CreateGateway { amazon_asn: 64_512, tags: self.tags() },
            "DeleteGateway" => VpnAction::DeleteGateway { gateway: self.vpn_gateway() },
            "AttachGateway" => VpnAction::AttachGateway { gateway: self.vpn_gateway(), vpc: self.vpc() },
            "DetachGateway" => {
                let gateway = self.vpn_gateway();
                let attached = self.state.vpn_gateways.get(&gateway).and_then(|gateway| gateway.vpc);
                let own = attached.filter(|_| self.foreign.is_empty() && self.random.chance(80));
                VpnAction::DetachGateway { gateway, vpc: own.unwrap_or_else(|| self.vpc()) }
            }
            "CreateConnection" => VpnAction::CreateConnection {
                customer_gateway: self.customer_gateway(),
                near: if self.random.chance(60) { self.vpn_gateway().into() } else { self.transit().into() },
                tags: self.tags(),
            },
            "DeleteConnection" => VpnAction::DeleteConnection { connection: self.connection() },
            "CreateRoute" => VpnAction::CreateRoute { connection: self.connection(), block: self.premises() },
            "DeleteRoute" => VpnAction::DeleteRoute { connection: self.connection(), block: self.premises() },
            "SetPropagation" => VpnAction::SetPropagation {
                table: self.table(),
                gateway: self.vpn_gateway(),
                on: self.random.chance(70),
            },
            "ReportLink" => {
                VpnAction::ReportLink { connection: self.connection(), up: self.random.chance(60) }
            }
            other => panic!("no way to draw Vpn.{other}"),
        }
    }

    pub(super) fn vpn_gateway(&mut self) -> VpnGatewayId {
        self.id::<VpnGateway>(VpnGatewayId::from_number)
    }

    pub(super) fn customer_gateway(&mut self) -> CustomerGatewayId {
        self.id::<CustomerGateway>(CustomerGatewayId::from_number)
    }

    pub(super) fn connection(&mut self) -> VpnConnectionId {
        self.id::<VpnConnection>(VpnConnectionId::from_number)
    }

    fn premises(&mut self) -> Ipv4Net {
        net(self.random.of(&["192.168.0.0/16", "192.168.7.0/24", "10.0.0.0/8", "192.168.7.1/24"]))
    }
}

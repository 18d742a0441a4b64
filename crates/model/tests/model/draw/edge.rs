//! Gateways and public addresses.

use std::net::Ipv4Addr;

use postern_model::gateway::{InternetGateway, NatGateway};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about gateways or public addresses, if this is a kind of them.
    pub(super) fn edge_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateInternetGateway" => Action::CreateInternetGateway { tags: self.tags() },
            "DeleteInternetGateway" => Action::DeleteInternetGateway {
                gateway: self.id::<InternetGateway>(InternetGatewayId::from_number),
            },
            "AttachInternetGateway" => Action::AttachInternetGateway {
                gateway: self.id::<InternetGateway>(InternetGatewayId::from_number),
                vpc: self.vpc(),
            },
            "DetachInternetGateway" => {
                let gateway = self.id::<InternetGateway>(InternetGatewayId::from_number);
                let attached = self.state.internet_gateways.get(&gateway).and_then(|gateway| gateway.vpc);
                let own = attached.filter(|_| self.foreign.is_empty() && self.random.chance(80));
                Action::DetachInternetGateway { gateway, vpc: own.unwrap_or_else(|| self.vpc()) }
            }
            "AllocateAddress" => Action::AllocateAddress { tags: self.tags() },
            "ReleaseAddress" => Action::ReleaseAddress { allocation: self.allocation() },
            "AssociateAddress" => {
                let interface = self.interface();
                let addresses = self.addresses_of(interface);
                let private_address = match addresses.last() {
                    Some(last) if self.random.chance(30) => Some(*last),
                    _ => None,
                };
                let allow_reassociation = self.random.chance(50);
                Action::AssociateAddress {
                    allocation: self.allocation(),
                    interface,
                    private_address,
                    allow_reassociation,
                }
            }
            "DisassociateAddress" => {
                let account = self.account;
                let all = self.state.addresses.values();
                let all: Vec<_> = all.filter_map(|a| Some((a.owner == account, a.association?.id))).collect();
                Action::DisassociateAddress {
                    association: self.choose(&all, AddressAssociationId::from_number),
                }
            }
            "CreateNatGateway" => {
                let subnet = self.subnet();
                let public = self.random.chance(60);
                let private_address = if self.random.chance(80) { None } else { self.address_in(subnet) };
                Action::CreateNatGateway {
                    subnet,
                    allocation: if public { Some(self.allocation()) } else { None },
                    private_address,
                    tags: self.tags(),
                }
            }
            "DeleteNatGateway" => {
                Action::DeleteNatGateway { gateway: self.id::<NatGateway>(NatGatewayId::from_number) }
            }
            "ReportNatGatewayReady" => {
                Action::ReportNatGatewayReady { gateway: self.id::<NatGateway>(NatGatewayId::from_number) }
            }
            _ => return None,
        })
    }

    pub(super) fn addresses_of(&mut self, interface: NetworkInterfaceId) -> Vec<Ipv4Addr> {
        let found = self.state.network_interfaces.get(&interface);
        found.map_or(Vec::new(), |x| x.private_addresses.iter().map(|p| p.address).collect())
    }

    pub(super) fn address_in(&mut self, subnet: SubnetId) -> Option<Ipv4Addr> {
        let cidr = self.state.subnets.get(&subnet)?.cidr;
        let span = 1_u32 << (32 - cidr.prefix_len());
        Some(Ipv4Addr::from(u32::from(cidr.network()) + self.random.next() as u32 % span))
    }
}

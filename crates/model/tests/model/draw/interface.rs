//! Network interfaces.

use std::net::Ipv4Addr;

use postern_model::interface::{InterfaceChange, InterfaceKind, NewInterface};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about network interfaces, if this is a kind of them.
    pub(super) fn interface_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateNetworkInterface" => {
                let subnet = self.subnet();
                let wanted = self.address_in(subnet);
                Action::CreateNetworkInterface(NewInterface {
                    subnet,
                    description: String::new(),
                    private_address: if self.random.chance(50) { wanted } else { None },
                    secondary_addresses: self
                        .address_in(subnet)
                        .filter(|_| self.random.chance(20))
                        .into_iter()
                        .collect(),
                    secondary_count: self.random.of(&[0, 0, 0, 2, 60]),
                    groups: if self.random.chance(70) { None } else { Some(vec![self.group()]) },
                    kind: self.random.of(&[InterfaceKind::Interface, InterfaceKind::NatGateway]),
                    tags: self.tags(),
                })
            }
            "DeleteNetworkInterface" => Action::DeleteNetworkInterface { interface: self.interface() },
            "AttachNetworkInterface" => {
                let to_instance = self.random.chance(80);
                Action::AttachNetworkInterface {
                    interface: self.interface(),
                    instance: if to_instance { Some(self.instance()) } else { None },
                    device_index: self.random.below(3) as u32,
                }
            }
            "DetachNetworkInterface" => {
                let account = self.account;
                let all = self.state.network_interfaces.values();
                let attached = all.filter_map(|x| Some((x.owner == account, x.attachment?)));
                // An instance's first one stays.
                let mut attached: Vec<_> = attached.collect();
                if self.random.chance(80) {
                    attached.retain(|(_, found)| found.instance.is_some() && found.device_index > 0);
                }
                let all: Vec<_> = attached.into_iter().map(|(own, found)| (own, found.id)).collect();
                Action::DetachNetworkInterface { attachment: self.choose(&all, AttachmentId::from_number) }
            }
            "ModifyNetworkInterface" => {
                let interface = self.interface();
                Action::ModifyNetworkInterface { interface, change: self.interface_change(interface) }
            }
            "AssignPrivateAddresses" => {
                let interface = self.interface();
                let subnet = self.state.network_interfaces.get(&interface).map(|x| x.subnet);
                let wanted = subnet.and_then(|subnet| self.address_in(subnet));
                let count = self.random.below(3);
                let addresses = if count == 0 { wanted.into_iter().collect() } else { Vec::new() };
                Action::AssignPrivateAddresses { interface, addresses, count }
            }
            "UnassignPrivateAddresses" => {
                let interface = self.interface();
                let addresses = self.addresses_of(interface);
                let last = addresses.last().copied().unwrap_or(Ipv4Addr::new(10, 0, 0, 9));
                Action::UnassignPrivateAddresses { interface, addresses: vec![last] }
            }
            _ => return None,
        })
    }

    pub(super) fn interface_change(&mut self, interface: NetworkInterfaceId) -> InterfaceChange {
        let attachment = self.state.network_interfaces.get(&interface).and_then(|x| x.attachment);
        match (self.random.below(4), attachment) {
            (0, _) => InterfaceChange::Description("other".to_owned()),
            (1, _) => InterfaceChange::Groups(vec![self.group()]),
            (2, _) => InterfaceChange::SourceDestCheck(self.random.chance(50)),
            (_, Some(attachment)) => {
                InterfaceChange::DeleteOnTermination(attachment.id, self.random.chance(50))
            }
            (_, None) => InterfaceChange::DeleteOnTermination(AttachmentId::from_number(u64::MAX), true),
        }
    }
}

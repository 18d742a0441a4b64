//! VPCs, their blocks, DHCP options and subnets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use postern_model::vpc::DhcpOptions;
use postern_model::*;

use super::{Draw, net};

impl Draw<'_> {
    /// A command about VPCs, DHCP options or subnets, if this is a kind of them.
    pub(super) fn network_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateVpc" => {
                let blocks = [
                    "10.0.0.0/16",
                    "10.0.0.0/20",
                    "10.0.0.0/28",
                    "172.16.0.0/16",
                    "192.168.0.0/24",
                    "100.64.0.0/16",
                    "10.0.0.0/15",
                    "10.0.0.0/29",
                    "10.0.0.1/16",
                    "169.254.0.0/16",
                ];
                Action::CreateVpc { cidr: net(self.random.of(&blocks)), tags: self.tags() }
            }
            "CreateDefaultVpc" => Action::CreateDefaultVpc,
            "DeleteVpc" => Action::DeleteVpc { vpc: self.vpc() },
            "SetVpcDns" => {
                let on = self.random.chance(50);
                Action::SetVpcDns { vpc: self.vpc(), support: None, hostnames: Some(on) }
            }
            "AssociateVpcCidrBlock" => {
                let blocks = ["10.5.0.0/16", "10.6.0.0/24", "172.20.0.0/16", "100.65.0.0/20", "10.0.0.0/16"];
                Action::AssociateVpcCidrBlock { vpc: self.vpc(), cidr: net(self.random.of(&blocks)) }
            }
            "DisassociateVpcCidrBlock" => {
                let account = self.account;
                // The first block of a VPC stays as long as that does.
                let first = usize::from(self.random.chance(90));
                let blocks = self.state.vpcs.values().flat_map(|vpc| {
                    vpc.blocks.iter().skip(first).map(move |block| (vpc.owner == account, block.association))
                });
                let blocks: Vec<_> = blocks.collect();
                let association = self.choose(&blocks, VpcCidrAssociationId::from_number);
                Action::DisassociateVpcCidrBlock { association }
            }
            "CreateDhcpOptions" => Action::CreateDhcpOptions {
                options: BTreeMap::from([("domain-name".to_owned(), vec![self.name()])]),
                tags: self.tags(),
            },
            "AssociateDhcpOptions" => Action::AssociateDhcpOptions {
                vpc: self.vpc(),
                options: self.id::<DhcpOptions>(DhcpOptionsId::from_number),
            },
            "DeleteDhcpOptions" => {
                Action::DeleteDhcpOptions { options: self.id::<DhcpOptions>(DhcpOptionsId::from_number) }
            }
            "CreateSubnet" => {
                let vpc = self.vpc();
                let zone = self.random.of(&[None, Some("us-east-1b"), Some("use1-az1"), Some("nowhere")]);
                let cidr = self.block_inside(vpc);
                Action::CreateSubnet { vpc, cidr, zone: zone.map(str::to_owned), tags: self.tags() }
            }
            "CreateDefaultSubnet" => {
                let zone = self.random.of(&["us-east-1a", "us-east-1b", "us-east-1c", "nowhere"]);
                Action::CreateDefaultSubnet { zone: zone.to_owned() }
            }
            "DeleteSubnet" => Action::DeleteSubnet { subnet: self.subnet() },
            "SetMapPublicIpOnLaunch" => {
                Action::SetMapPublicIpOnLaunch { subnet: self.subnet(), on: self.random.chance(50) }
            }
            _ => return None,
        })
    }

    pub(super) fn block_inside(&mut self, vpc: VpcId) -> Ipv4Net {
        let Some(found) = self.state.vpcs.get(&vpc) else { return net("10.0.0.0/24") };
        let block = self.random.of(&found.blocks).cidr;
        let length = (24 + self.random.below(5) as u8).max(block.prefix_len());
        let span = 1_u32 << (32 - block.prefix_len());
        let offset = (self.random.next() as u32 % span.min(4_096)) & !((1 << (32 - length)) - 1);
        Ipv4Net::new(Ipv4Addr::from(u32::from(block.network()) + offset), length).unwrap()
    }
}

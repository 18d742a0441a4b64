//! The default VPC: where what names no subnet goes.
//!
//! Rules from "Default VPCs" in the VPC user guide. A new account has none, as an account at AWS whose owner deleted it;
//! `CreateDefaultVpc` makes it.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use crate::error::ModelError;
use crate::id::*;
use crate::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::TagSet;
use crate::txn::Txn;
use crate::vpc::{Vpc, overlap};

/// "A VPC with a size /16 IPv4 CIDR block (172.31.0.0/16)."
const BLOCK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 31, 0, 0), 16);
/// "A size /20 default subnet in each Availability Zone."
const SUBNET_LENGTH: u8 = 20;

/// The default VPC of an account.
pub fn find(state: &State, account: AccountId) -> Option<&std::sync::Arc<Vpc>> {
    state.visible::<Vpc>(account).find(|vpc| vpc.is_default)
}

/// The default subnets of an account, in the order of their zones.
pub fn subnets(state: &State, account: AccountId) -> Vec<&std::sync::Arc<Subnet>> {
    let mut subnets: Vec<_> = state.visible::<Subnet>(account).filter(|s| s.default_for_zone).collect();
    subnets.sort_by(|a, b| a.zone.cmp(&b.zone));
    subnets
}

/// Makes the default VPC and what belongs to it: an internet gateway, the main route table's route to it, and a default
/// subnet in each zone.
pub(crate) fn create(txn: &mut Txn) -> Result<(), ModelError> {
    if let Some(vpc) = find(&txn.state, txn.account) {
        return Err(ModelError::DefaultVpcExists(vpc.id));
    }
    let none = TagSet::new();
    let vpc = crate::vpc::create(txn, BLOCK, &none)?;
    txn.update::<Vpc>(vpc, |vpc| {
        vpc.is_default = true;
        vpc.dns_hostnames = true;
    })?;
    let gateway = crate::gateway::create_internet_gateway(txn, &none)?;
    crate::gateway::attach(txn, gateway, vpc)?;
    let everywhere = RouteDestination::Cidr(IpNet::V4(Ipv4Net::default()));
    let target = RouteTargetChoice::Target(RouteTarget::InternetGateway(gateway));
    let table = txn.get::<Vpc>(vpc)?.main_route_table;
    crate::route::create_route(txn, table, everywhere, target)?;
    let zones: Vec<String> = txn.state.region.zones.iter().map(|zone| zone.name.clone()).collect();
    zones.iter().try_for_each(|zone| create_subnet(txn, zone))
}

/// Makes the default subnet of a zone, in the lowest block of the default VPC that is free.
pub(crate) fn create_subnet(txn: &mut Txn, zone: &str) -> Result<(), ModelError> {
    let vpc = find(&txn.state, txn.account).cloned().ok_or(ModelError::NoDefaultVpc)?;
    let there = subnets(&txn.state, txn.account).into_iter().find(|subnet| subnet.zone == zone);
    if let Some(subnet) = there {
        return Err(ModelError::DefaultSubnetExists { subnet: subnet.id, zone: zone.to_owned() });
    }
    let cidr = free_block(&txn.state, &vpc).ok_or(ModelError::NoBlockForDefaultSubnet(vpc.id))?;
    let subnet = crate::subnet::create(txn, vpc.id, cidr, Some(zone), &TagSet::new())?;
    txn.update::<Subnet>(subnet, |subnet| {
        subnet.default_for_zone = true;
        subnet.map_public_ip_on_launch = true;
    })
}

/// "A size /20 IPv4 CIDR block in the next available contiguous space in your VPC CIDR."
fn free_block(state: &State, vpc: &Vpc) -> Option<Ipv4Net> {
    let candidates = vpc.blocks.iter().filter_map(|block| block.cidr.subnets(SUBNET_LENGTH).ok()).flatten();
    let taken = |cidr: &Ipv4Net| state.subnets.values().any(|s| s.vpc == vpc.id && overlap(s.cidr, *cidr));
    candidates.into_iter().find(|cidr| !taken(cidr))
}

//! What an interface finds at its link: a router that has every address, and DHCP.
//!
//! The router answers ARP for every address of the subnet but the asker's own, and for link-local services, always
//! with its own hardware address, as AWS's mapping service does. So an interface has one neighbour, whatever comes
//! and goes: no stale neighbour entries when an address moves to another interface, no table of neighbours that
//! overflows in a large subnet. An address that nobody has is answered too; the packet is then refused by `decide`,
//! with a reason, in place of a silence in ARP that nothing explains. A probe for the asker's own address is not
//! answered, or it would think that it has a double.

use std::net::Ipv4Addr;

use postern_path::{Door, DropReason};

use super::{Context, Dropped, Fate};
use crate::forward::decider::InterfaceInfo;
use crate::forward::packet::{Ipv4, ROUTER_MAC, arp, dhcp};
use crate::forward::port::Owner;
use crate::forward::tables::Tables;

/// Inside a VPC packets have up to 9,001 bytes ("Network maximum transmission unit" in the EC2 user guide).
const VPC_MTU: u16 = 9_001;

/// An ARP packet came in.
pub(super) fn arp(tables: &mut Tables, context: &mut Context<'_>, frame: &[u8]) -> Result<Fate, Dropped> {
    // Answers are not asked for, and announcements are believed by nobody here.
    let Some(question) = arp::question(frame) else { return Ok(Fate::Answered) };
    let port = tables.ports.get(context.port).ok_or(DropReason::UnknownPort)?;
    if question.sender != port.mac {
        return Err(context.refused(DropReason::SpoofedMac));
    }
    let has_it = match (&port.owner, &port.info) {
        (Owner::Interface(_), Some(info)) => {
            let asker = question.sender_address;
            let own = info.addresses.contains(&asker) || info.proxies;
            if !asker.is_unspecified() && !own {
                return Err(context.refused(DropReason::SpoofedSource));
            }
            router_has(info, question.target)
        }
        (Owner::Interface(_), None) => false,
        (Owner::Doors, _) => is_peer_address(question.target),
    };
    if has_it {
        let answer = arp::answer(&question, ROUTER_MAC);
        context.reply(tables, Some(answer));
    }
    Ok(Fate::Answered)
}

fn router_has(info: &InterfaceInfo, target: Ipv4Addr) -> bool {
    // A network on premises may ask for what is behind the tunnel as if it were there.
    let near = info.cidr.contains(&target) || target.is_link_local() || info.proxies;
    near && !info.addresses.contains(&target)
}

/// Whether the doors reach an address through the fabric: any of 240.0.0.0/4 but their own.
fn is_peer_address(target: Ipv4Addr) -> bool {
    target.octets().first().is_some_and(|first| *first >= 240)
        && !target.is_broadcast()
        && !Door::ALL.iter().any(|door| door.address() == target)
}

/// A DHCP client's message came in.
pub(super) fn dhcp(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
) -> Result<Fate, Dropped> {
    let port = tables.ports.get(context.port).ok_or(DropReason::UnknownPort)?;
    let Some(info) = port.info.clone() else { return Err(DropReason::Multicast.into()) };
    let Some(address) = info.addresses.first().copied() else { return Ok(Fate::Answered) };
    let lease = dhcp::Lease {
        mac: info.mac,
        address,
        cidr: info.cidr,
        router: info.gateway,
        resolver: info.resolver,
        mtu: VPC_MTU,
        hostname: info.hostname.as_deref(),
        domain: info.domain.as_deref(),
    };
    let answer = dhcp::answer(frame, packet, &lease);
    context.reply(tables, answer);
    Ok(Fate::Answered)
}

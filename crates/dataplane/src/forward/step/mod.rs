//! What becomes of one frame: a function of tables, frame and time, without input or output.
//!
//! The order is the order of a router's work: link, addresses, flow (or a decision), time to live, size, rewriting.

mod conversation;
mod icmp;
mod link;
mod opening;

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::{NetworkInterfaceId, ResourceId};
use postern_path::{DropReason, Flow, Refusal, Reply};

use super::decider::{Decider, InterfaceInfo};
use super::key::PortNumber;
use super::log::{FlowOutcome, Logged};
use super::packet::build::{self, Notice};
use super::packet::rewrite::Sum;
use super::packet::{Content, Ethernet, Fragment, Ipv4, ethernet, ipv4, protocol, tcp};
use super::port::Owner;
use super::tables::Tables;
use crate::host::VirtioNetHdr;

pub use opening::opened;

/// A frame as it came in by a port.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Its bytes, which are rewritten in place.
    pub bytes: &'a mut [u8],
    /// Its offload state, which stays as it is.
    pub header: VirtioNetHdr,
    /// Whether it had a VLAN tag that the kernel has taken out.
    pub tagged: bool,
}

/// What is to be done after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effects {
    /// What becomes of the frame itself.
    pub fate: Fate,
    /// Frames that are to be sent besides, or in its place: complete, without offload state.
    pub emitted: Vec<(PortNumber, Vec<u8>)>,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes out by this port, as it now is.
    Deliver(PortNumber),
    /// Its pieces, which are among the emitted frames, go out by this port.
    DeliverPieces(PortNumber),
    /// It was for the forwarder itself (ARP, DHCP).
    Answered,
    /// It waits until the other side of its connection, outside the region, has answered. It is counted when it goes on,
    /// and never if another took its place or there is no connection.
    Held,
    /// It is dropped.
    Drop {
        /// Why.
        reason: DropReason,
        /// What caused it, where that is a resource.
        resource: Option<ResourceId>,
    },
}

/// A frame is dropped: why, and what caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dropped {
    reason: DropReason,
    resource: Option<ResourceId>,
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        Self { reason, resource: None }
    }
}

/// What a step knows besides tables and frame.
struct Context<'a> {
    decider: &'a dyn Decider,
    port: PortNumber,
    /// The interface behind the port; none behind the doors'.
    interface: Option<NetworkInterfaceId>,
    header: VirtioNetHdr,
    sum: Sum,
    now: u64,
    emitted: Vec<(PortNumber, Vec<u8>)>,
}

/// Takes one frame through the forwarder.
pub fn step(
    tables: &mut Tables,
    decider: &dyn Decider,
    port: PortNumber,
    frame: &mut Frame<'_>,
    now: u64,
) -> Effects {
    let bytes = frame.bytes.len().saturating_sub(ethernet::HEADER_BYTES);
    let Some(arrival) = tables.ports.fresh(port, decider) else {
        tables.unknown_port += 1;
        let fate = Fate::Drop { reason: DropReason::UnknownPort, resource: None };
        return Effects { fate, emitted: Vec::new() };
    };
    arrival.counters.received.add(bytes);
    let mut context = Context {
        decider,
        port,
        interface: arrival.interface(),
        header: frame.header,
        sum: Sum::Whole,
        now,
        emitted: Vec::new(),
    };
    let fate = match arrive(tables, &mut context, frame) {
        Ok(fate) => fate,
        Err(Dropped { reason, resource }) => Fate::Drop { reason, resource },
    };
    settle(tables, port, fate, bytes);
    Effects { fate, emitted: context.emitted }
}

/// Counts what became of a frame.
fn settle(tables: &mut Tables, port: PortNumber, fate: Fate, bytes: usize) {
    if let Some(arrival) = tables.ports.get_mut(port) {
        match fate {
            Fate::Deliver(_) | Fate::DeliverPieces(_) => arrival.counters.passed.add(bytes),
            Fate::Answered => arrival.counters.answered += 1,
            Fate::Held => arrival.counters.received.take_back(bytes),
            Fate::Drop { reason, .. } => arrival.counters.drops.count(reason),
        }
    }
    if let Fate::Drop { reason, resource: Some(resource) } = fate {
        tables.resources.count(resource, reason);
    }
    if let Fate::Deliver(exit) | Fate::DeliverPieces(exit) = fate
        && let Some(exit) = tables.ports.get_mut(exit)
    {
        exit.counters.delivered.add(bytes);
    }
}

fn arrive(tables: &mut Tables, context: &mut Context<'_>, frame: &mut Frame<'_>) -> Result<Fate, Dropped> {
    let header = Ethernet::parse(frame.bytes).ok_or(DropReason::Malformed)?;
    let arrival = tables.ports.get(context.port).ok_or(DropReason::UnknownPort)?;
    if arrival.owner != Owner::Doors && arrival.info.is_none() {
        return Err(DropReason::UnknownPort.into());
    }
    if header.source != arrival.mac {
        return Err(context.refused(DropReason::SpoofedMac));
    }
    if frame.tagged {
        return Err(DropReason::Unsupported.into());
    }
    match header.kind {
        ethernet::ARP => link::arp(tables, context, frame.bytes),
        ethernet::IPV4 => {
            let packet = Ipv4::parse(frame.bytes).map_err(|_| DropReason::Malformed)?;
            arrive_ipv4(tables, context, frame, &header, &packet)
        }
        _ => Err(DropReason::Unsupported.into()),
    }
}

fn arrive_ipv4(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &mut Frame<'_>,
    header: &Ethernet,
    packet: &Ipv4,
) -> Result<Fate, Dropped> {
    let arrival = tables.ports.get(context.port).ok_or(DropReason::UnknownPort)?;
    let gateway = arrival.info.as_ref().map(|info| info.gateway);
    let many = header.is_group() || ipv4::is_many(packet.destination);
    if super::packet::dhcp::is_request(packet) && (many || gateway == Some(packet.destination)) {
        return link::dhcp(tables, context, frame.bytes, packet);
    }
    if many {
        return Err(DropReason::Multicast.into());
    }
    check_source(arrival.info.as_ref(), packet.source).map_err(|reason| context.refused(reason))?;
    context.sum = check_offload(&frame.header, packet)?;
    match (packet.fragment, packet.content) {
        (Fragment::Later, _) => conversation::later_fragment(tables, context, frame.bytes, packet),
        (Fragment::Whole, Content::IcmpError) => icmp::error(tables, context, frame.bytes, packet),
        // An error that needs fragments quotes more than any router does.
        (Fragment::First, Content::IcmpError) => Err(DropReason::UnrelatedIcmp.into()),
        (
            Fragment::Whole | Fragment::First,
            Content::Tcp(_) | Content::Udp { .. } | Content::Icmp { .. } | Content::Opaque,
        ) => conversation::packet(tables, context, frame.bytes, packet),
    }
}

/// A sender uses its own addresses, unless its interface is a router's. The doors have fixed ones.
fn check_source(info: Option<&Arc<InterfaceInfo>>, source: Ipv4Addr) -> Result<(), DropReason> {
    let own = match info {
        Some(info) => info.addresses.contains(&source) || (!info.source_dest_check && !is_martian(source)),
        None => postern_path::Door::ALL.iter().any(|door| door.address() == source),
    };
    if own { Ok(()) } else { Err(DropReason::SpoofedSource) }
}

/// Nobody's address, wherever a packet comes from.
fn is_martian(address: Ipv4Addr) -> bool {
    address.octets().first().is_some_and(|first| *first == 0 || *first >= 224) || address.is_loopback()
}

/// Whether the offload state is one that the rest of this understands: what a kernel makes of TCP and UDP.
fn check_offload(header: &VirtioNetHdr, packet: &Ipv4) -> Result<Sum, DropReason> {
    let checksum_at = match packet.content {
        Content::Tcp(_) => Some(tcp::CHECKSUM_AT),
        Content::Udp { .. } => Some(6),
        Content::Icmp { .. } | Content::IcmpError | Content::Opaque => None,
    };
    let expected = match header.gso_type & !VirtioNetHdr::GSO_ECN {
        VirtioNetHdr::GSO_NONE => true,
        VirtioNetHdr::GSO_TCPV4 => packet.protocol == protocol::TCP && checksum_at.is_some(),
        VirtioNetHdr::GSO_UDP_L4 => packet.protocol == protocol::UDP && checksum_at.is_some(),
        _ => false,
    };
    let whole_where_large = !is_large(header) || (packet.fragment == Fragment::Whole && header.gso_size > 0);
    if !expected || !whole_where_large {
        return Err(DropReason::Unsupported);
    }
    match (header.flags & VirtioNetHdr::NEEDS_CSUM != 0, checksum_at) {
        (false, _) | (true, None) => Ok(Sum::Whole),
        (true, Some(offset))
            if usize::from(header.csum_start) == packet.transport_at
                && usize::from(header.csum_offset) == offset
                && packet.fragment == Fragment::Whole =>
        {
            Ok(Sum::Partial)
        }
        (true, Some(_)) => Err(DropReason::Malformed),
    }
}

/// Whether the kernel is still to cut the frame.
const fn is_large(header: &VirtioNetHdr) -> bool {
    header.gso_type & !VirtioNetHdr::GSO_ECN != VirtioNetHdr::GSO_NONE
}

impl Context<'_> {
    /// Dropped for what the sending interface did.
    fn refused(&self, reason: DropReason) -> Dropped {
        Dropped { reason, resource: self.interface.map(ResourceId::from) }
    }

    /// Sends a frame back to where this one came from, unless too many were.
    fn reply(&mut self, tables: &mut Tables, frame: Option<Vec<u8>>) {
        self.reply_at(tables, self.port, frame);
    }

    /// Sends a frame out by another port, because of this one, unless too many were.
    fn reply_at(&mut self, tables: &mut Tables, at: PortNumber, frame: Option<Vec<u8>>) {
        let (Some(port), Some(frame)) = (tables.ports.get_mut(at), frame) else { return };
        if port.replies.take(self.now) {
            port.counters.replies += 1;
            self.emitted.push((at, frame));
        } else {
            port.counters.replies_suppressed += 1;
        }
    }

    /// Sends an ICMP error about a packet to its sender, where one is allowed.
    fn report(&mut self, tables: &mut Tables, frame: &[u8], packet: &Ipv4, notice: Notice, router: Ipv4Addr) {
        if packet.may_be_reported() {
            self.reply(tables, build::notice(frame, packet, notice, router));
        }
    }

    /// Sends a reset to the sender of a TCP segment.
    fn reset(&mut self, tables: &mut Tables, frame: &[u8], packet: &Ipv4) {
        match packet.content {
            Content::Tcp(segment) => self.reply(tables, build::reset(frame, packet, &segment)),
            Content::Udp { .. } | Content::Icmp { .. } | Content::IcmpError | Content::Opaque => {}
        }
    }

    /// A flow does not pass: logs it, and tells its sender what AWS tells.
    fn refuse(
        &mut self,
        tables: &mut Tables,
        frame: &[u8],
        packet: &Ipv4,
        flow: &Flow,
        refusal: &Refusal,
    ) -> Dropped {
        self.log_refusal(tables, flow, refusal.reason, refusal.resource);
        match refusal.reply {
            Reply::Silence => {}
            Reply::NetworkUnreachable(router) => {
                self.report(tables, frame, packet, Notice::NetworkUnreachable, router);
            }
            Reply::Reset => self.reset(tables, frame, packet),
        }
        Dropped { reason: refusal.reason, resource: refusal.resource }
    }

    fn log_refusal(
        &mut self,
        tables: &mut Tables,
        flow: &Flow,
        reason: DropReason,
        resource: Option<ResourceId>,
    ) {
        let Some(port) = tables.ports.get_mut(self.port) else { return };
        if port.logged.take(self.now) {
            tables.log(Logged { flow: *flow, outcome: FlowOutcome::Refused { reason, resource } });
        } else {
            port.counters.unlogged += 1;
        }
    }
}

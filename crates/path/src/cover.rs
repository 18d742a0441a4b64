//! Covers: the boxes of flows about which the same is decided.
//!
//! INVARIANT: a cover always contains the flow that it was made for, and only ever shrinks while predicates are
//! consulted. Each predicate that was true keeps the part of the box in which it is true; each that was false keeps
//! a part in which it is false.

use std::net::{IpAddr, Ipv4Addr};

use postern_model::{IpNet, Ipv4Net};

use crate::flow::Flow;

/// A box of flows of one interface and one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cover {
    /// The sources in it.
    pub source: Ipv4Net,
    /// The destinations in it.
    pub destination: Ipv4Net,
    /// Their protocol.
    pub protocol: u8,
    /// The source ports in it, both ends included.
    pub source_ports: (u16, u16),
    /// The destination ports in it (for ICMP: type and code as one number), both ends included.
    pub destination_ports: (u16, u16),
    point: Point,
}

/// The flow that the box was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Point {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    source_port: u16,
    destination_port: u16,
}

/// Which end of a flow a predicate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// The address as IPv4. Flows of IPv6 never come to a decision yet.
pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

impl Cover {
    /// Everything of the flow's protocol.
    pub fn everything(flow: &Flow) -> Self {
        let (source_port, destination_port) = flow.transport.ports();
        let point = Point {
            source: v4(flow.source),
            destination: v4(flow.destination),
            source_port,
            destination_port,
        };
        Self {
            source: Ipv4Net::default(),
            destination: Ipv4Net::default(),
            protocol: flow.transport.protocol(),
            source_ports: (0, u16::MAX),
            destination_ports: (0, u16::MAX),
            point,
        }
    }

    /// Whether a flow of the same interface is in the box.
    pub fn contains(&self, flow: &Flow) -> bool {
        let (source_port, destination_port) = flow.transport.ports();
        let within = |port: u16, (low, high): (u16, u16)| (low..=high).contains(&port);
        flow.transport.protocol() == self.protocol
            && self.source.contains(&v4(flow.source))
            && self.destination.contains(&v4(flow.destination))
            && within(source_port, self.source_ports)
            && within(destination_port, self.destination_ports)
    }

    /// The predicate "this end is inside `block`" was consulted: keeps the part that answers as the flow does.
    pub fn consult_block(&mut self, end: End, block: IpNet) -> bool {
        let IpNet::V4(block) = block else { return false };
        let (address, side) = self.side(end);
        let inside = block.contains(&address);
        let narrowed = if inside {
            if block.prefix_len() > side.prefix_len() { block } else { *side }
        } else {
            let common = (u32::from(address) ^ u32::from(block.network())).leading_zeros();
            longer(*side, address, common + 1)
        };
        *side = narrowed;
        inside
    }

    /// Keeps only what lies between two addresses, both included. The flow's own address does.
    pub fn keep_interval(&mut self, end: End, low: u32, high: u32) {
        let (address, side) = self.side(end);
        let number = u32::from(address);
        debug_assert!(low <= number && number <= high, "the flow is inside what is kept");
        // The largest aligned block around the address that fits: it may grow while both of its ends fit.
        let mut length = 32;
        while length > u32::from(side.prefix_len()) {
            let mask = if length == 1 { 0 } else { u32::MAX << (33 - length) };
            let (first, last) = (number & mask, number | !mask);
            if first < low || last > high {
                break;
            }
            length -= 1;
        }
        *side = longer(*side, address, length);
    }

    /// Keeps only the flow's own address at this end.
    pub fn pin(&mut self, end: End) {
        let (address, side) = self.side(end);
        *side = longer(*side, address, 32);
    }

    /// The predicate "the port is between `low` and `high`" was consulted.
    pub fn consult_ports(&mut self, end: End, low: u16, high: u16) -> bool {
        let (port, range) = match end {
            End::Source => (self.point.source_port, &mut self.source_ports),
            End::Destination => (self.point.destination_port, &mut self.destination_ports),
        };
        if port < low {
            range.1 = range.1.min(low - 1);
        } else if port > high {
            range.0 = range.0.max(high + 1);
        } else {
            *range = (range.0.max(low), range.1.min(high));
        }
        (low..=high).contains(&port)
    }

    /// The flow's address at this end, and the block to narrow.
    fn side(&mut self, end: End) -> (Ipv4Addr, &mut Ipv4Net) {
        match end {
            End::Source => (self.point.source, &mut self.source),
            End::Destination => (self.point.destination, &mut self.destination),
        }
    }
}

/// `side`, or the block of `length` around the address where that is smaller.
fn longer(side: Ipv4Net, address: Ipv4Addr, length: u32) -> Ipv4Net {
    let length = u8::try_from(length.min(32)).unwrap_or(32);
    if length <= side.prefix_len() {
        return side;
    }
    Ipv4Net::new(address, length).map_or(side, |block| block.trunc())
}

//! DHCP (RFC 2131), the server's side, for one interface whose answer is always the same.

use std::net::Ipv4Addr;

use postern_model::{Ipv4Net, Mac};

use super::bytes::{address_at, array, put, u8_at, u16_at, u32_at};
use super::ipv4::{Content, Ipv4};
use super::{build, checksum, ethernet, protocol};

/// The server's port.
pub const SERVER_PORT: u16 = 67;
/// The client's port.
pub const CLIENT_PORT: u16 = 68;
/// AWS gives leases of an hour.
const LEASE_SECONDS: u32 = 3600;
const COOKIE: u32 = 0x6382_5363;
const FIXED_BYTES: usize = 236;
/// Options that are read of one message at most.
const MOST_OPTIONS: usize = 64;

/// What an interface is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease<'a> {
    /// The interface's hardware address; nobody else is answered.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its subnet.
    pub cidr: Ipv4Net,
    /// The router, which is the server too.
    pub router: Ipv4Addr,
    /// The resolver.
    pub resolver: Ipv4Addr,
    /// The longest packet.
    pub mtu: u16,
    /// The interface's host name.
    pub hostname: Option<&'a str>,
    /// The domain of names without a dot.
    pub domain: Option<&'a str>,
}

/// What a client said, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Request {
    kind: u8,
    transaction: u32,
    broadcast: bool,
    client_address: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

/// Whether a packet is from a DHCP client to a server.
pub fn is_request(packet: &Ipv4) -> bool {
    packet.content == Content::Udp { source_port: CLIENT_PORT, destination_port: SERVER_PORT }
}

/// The frame that answers a client's, if one is due.
pub fn answer(frame: &[u8], packet: &Ipv4, lease: &Lease<'_>) -> Option<Vec<u8>> {
    let message = frame.get(packet.transport_at + 8..packet.end())?;
    let request = parse(message, lease.mac)?;
    let kind = reply_to(&request, lease)?;
    let mut reply = header(&request, lease, kind);
    options(&mut reply, lease, kind, request.kind != INFORM);
    let to_all = kind == NAK || (request.broadcast && request.client_address.is_unspecified());
    let destination = match (to_all, request.client_address.is_unspecified()) {
        (true, _) => Ipv4Addr::BROADCAST,
        (false, true) => lease.address,
        (false, false) => request.client_address,
    };
    let mac = if to_all { ethernet::BROADCAST } else { lease.mac };
    let datagram = datagram(lease.router, destination, &reply)?;
    build::ipv4_frame(mac, lease.router, destination, protocol::UDP, &datagram)
}

/// What kind of reply is due (RFC 2131, 4.3).
fn reply_to(request: &Request, lease: &Lease<'_>) -> Option<u8> {
    match request.kind {
        DISCOVER => Some(OFFER),
        REQUEST if request.server.is_some_and(|server| server != lease.router) => None,
        REQUEST => {
            let wanted = request.requested.unwrap_or(request.client_address);
            Some(if wanted == lease.address { ACK } else { NAK })
        }
        INFORM if request.client_address == lease.address => Some(ACK),
        _ => None,
    }
}

fn parse(message: &[u8], mac: Mac) -> Option<Request> {
    let from_client = u8_at(message, 0)? == 1 && u8_at(message, 1)? == 1 && u8_at(message, 2)? == 6;
    let own = array::<6>(message, 28)? == mac.0 && u32_at(message, FIXED_BYTES)? == COOKIE;
    let mut request = Request {
        kind: 0,
        transaction: u32_at(message, 4)?,
        broadcast: u16_at(message, 10)? & 0x8000 != 0,
        client_address: address_at(message, 12)?,
        requested: None,
        server: None,
    };
    let mut at = FIXED_BYTES + 4;
    for _ in 0..MOST_OPTIONS {
        match u8_at(message, at)? {
            0 => at += 1,
            255 => break,
            option => {
                let length = usize::from(u8_at(message, at + 1)?);
                match (option, length) {
                    (53, 1) => request.kind = u8_at(message, at + 2)?,
                    (50, 4) => request.requested = address_at(message, at + 2),
                    (54, 4) => request.server = address_at(message, at + 2),
                    _ => {}
                }
                at += 2 + length;
            }
        }
    }
    (from_client && own && request.kind != 0).then_some(request)
}

/// The fixed part of a reply, with the cookie.
fn header(request: &Request, lease: &Lease<'_>, kind: u8) -> Vec<u8> {
    let mut reply = vec![0; FIXED_BYTES];
    let yours = if kind == NAK || request.kind == INFORM { Ipv4Addr::UNSPECIFIED } else { lease.address };
    let flags: u16 = if request.broadcast || kind == NAK { 0x8000 } else { 0 };
    let fields: [(usize, &[u8]); 6] = [
        (0, &[2, 1, 6]),
        (4, &request.transaction.to_be_bytes()),
        (10, &flags.to_be_bytes()),
        (16, &yours.octets()),
        (20, &lease.router.octets()),
        (28, &lease.mac.0),
    ];
    for (at, value) in fields {
        // All of them lie inside the fixed part.
        let _ = put(&mut reply, at, value);
    }
    if kind != NAK {
        let _ = put(&mut reply, 12, &request.client_address.octets());
    }
    reply.extend_from_slice(&COOKIE.to_be_bytes());
    reply
}

fn options(reply: &mut Vec<u8>, lease: &Lease<'_>, kind: u8, timed: bool) {
    let mut option = |number: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len())
            && length > 0
        {
            reply.extend_from_slice(&[number, length]);
            reply.extend_from_slice(value);
        }
    };
    option(53, &[kind]);
    option(54, &lease.router.octets());
    if kind != NAK {
        if timed {
            option(51, &LEASE_SECONDS.to_be_bytes());
        }
        option(1, &lease.cidr.netmask().octets());
        option(3, &lease.router.octets());
        option(6, &lease.resolver.octets());
        option(12, lease.hostname.unwrap_or_default().as_bytes());
        option(15, lease.domain.unwrap_or_default().as_bytes());
        option(26, &lease.mtu.to_be_bytes());
    }
    reply.push(255);
    // Old clients want 300 bytes (RFC 1542, 2.1).
    let padded = reply.len().max(300);
    reply.resize(padded, 0);
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let mut datagram = Vec::with_capacity(usize::from(length));
    datagram.extend_from_slice(&SERVER_PORT.to_be_bytes());
    datagram.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    datagram.extend_from_slice(&length.to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    let pseudo = checksum::pseudo_header(source, destination, protocol::UDP, length);
    let sum = match !checksum::fold(pseudo + checksum::sum(&datagram)) {
        0 => 0xffff,
        sum => sum,
    };
    put(&mut datagram, 6, &sum.to_be_bytes())?;
    Some(datagram)
}

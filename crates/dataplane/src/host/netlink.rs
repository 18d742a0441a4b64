//! As much of rtnetlink as ports need, spoken directly: one request, one answer, in the calling thread.
//!
//! A netlink socket belongs to the namespace it was opened in, for good, so it is opened inside and used from
//! anywhere.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

const HEADER_BYTES: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const RTNH_F_ONLINK: u32 = 4;
const VETH_INFO_PEER: u16 = 1;
/// The kernel answers at once; this only bounds a wait for an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// An interface to be made with its peer in another namespace.
pub(super) struct VethPair<'a> {
    pub name: &'a str,
    pub peer_name: &'a str,
    pub peer_namespace: BorrowedFd<'a>,
    pub peer_mac: [u8; 6],
    pub mtu: u32,
}

/// A route to be made.
pub(super) struct RouteRequest {
    pub destination: IpAddr,
    pub prefix_length: u8,
    pub via: Option<IpAddr>,
    pub interface: u32,
    /// The addresses are this namespace's own.
    pub local: bool,
}

/// A routing socket of one namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// A socket of the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let seconds = i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(seconds))?;
        // Errors with a sentence of the kernel's.
        nix::sys::socket::setsockopt(&socket, ExtendedAck, &true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes a veth pair, both ends down; this end does no ARP.
    pub(super) fn create_veth(&mut self, pair: &VethPair<'_>) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.link_header(0, libc::IFF_NOARP as u32, libc::IFF_NOARP as u32);
        request.text(libc::IFLA_IFNAME, pair.name);
        request.number(libc::IFLA_MTU, pair.mtu);
        request.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth");
            info.nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.link_header(0, 0, 0);
                    peer.text(libc::IFLA_IFNAME, pair.peer_name);
                    peer.number(libc::IFLA_MTU, pair.mtu);
                    peer.attribute(libc::IFLA_ADDRESS, &pair.peer_mac);
                    peer.number(libc::IFLA_NET_NS_FD, pair.peer_namespace.as_raw_fd().cast_unsigned());
                });
            });
        });
        self.ask(request)
    }

    /// Takes an interface up.
    pub(super) fn set_up(&mut self, interface: u32) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        request.link_header(interface, libc::IFF_UP as u32, libc::IFF_UP as u32);
        self.ask(request)
    }

    /// Deletes an interface, and with it its peer.
    pub(super) fn delete_link(&mut self, interface: u32) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_DELLINK, 0);
        request.link_header(interface, 0, 0);
        self.ask(request)
    }

    /// Gives an interface an address and the route to its network.
    pub(super) fn add_address(&mut self, interface: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.bytes(&[family(address), prefix, 0, libc::RT_SCOPE_UNIVERSE]);
        request.bytes(&interface.to_ne_bytes());
        request.address(libc::IFA_LOCAL, address);
        request.address(libc::IFA_ADDRESS, address);
        self.ask(request)
    }

    /// Adds a route.
    pub(super) fn add_route(&mut self, route: &RouteRequest) -> io::Result<()> {
        let (table, kind, scope) = if route.local {
            (libc::RT_TABLE_LOCAL, libc::RTN_LOCAL, libc::RT_SCOPE_HOST)
        } else if route.via.is_some() {
            (libc::RT_TABLE_MAIN, libc::RTN_UNICAST, libc::RT_SCOPE_UNIVERSE)
        } else {
            (libc::RT_TABLE_MAIN, libc::RTN_UNICAST, libc::RT_SCOPE_LINK)
        };
        let mut request = Request::new(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        request.bytes(&[
            family(route.destination),
            route.prefix_length,
            0,
            0,
            table,
            libc::RTPROT_STATIC,
            scope,
            kind,
        ]);
        // A gateway need not be in a network of the interface's own.
        let flags: u32 = if route.via.is_some() { RTNH_F_ONLINK } else { 0 };
        request.bytes(&flags.to_ne_bytes());
        if route.prefix_length > 0 {
            request.address(libc::RTA_DST, route.destination);
        }
        if let Some(via) = route.via {
            request.address(libc::RTA_GATEWAY, via);
        }
        request.number(libc::RTA_OIF, route.interface);
        self.ask(request)
    }

    /// Says once and for all which hardware address a neighbour has.
    pub(super) fn add_neighbour(&mut self, interface: u32, address: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        request.bytes(&[family(address), 0, 0, 0]);
        request.bytes(&interface.to_ne_bytes());
        request.bytes(&libc::NUD_PERMANENT.to_ne_bytes());
        request.bytes(&[0, 0]);
        request.address(libc::NDA_DST, address);
        request.attribute(libc::NDA_LLADDR, &mac);
        self.ask(request)
    }

    /// What kind of route the kernel would take to an address (`RTN_UNICAST` and its kin): for any socket, or for one that
    /// is bound to an interface.
    pub(super) fn route_kind(&mut self, address: IpAddr, by: Option<u32>) -> io::Result<u8> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let mut request = Request::new(libc::RTM_GETROUTE, 0);
        request.bytes(&[family(address), bits, 0, 0, 0, 0, 0, 0]);
        request.bytes(&0_u32.to_ne_bytes());
        request.address(libc::RTA_DST, address);
        if let Some(interface) = by {
            request.number(libc::RTA_OIF, interface);
        }
        let mut kind = None;
        self.ask_for(request, |message| {
            if u16_at(message, 4) == Some(libc::RTM_NEWROUTE) {
                kind = message.get(HEADER_BYTES + 7).copied();
            }
        })?;
        kind.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel named no route"))
    }

    /// Sends a request and waits for its acknowledgement.
    fn ask(&mut self, request: Request) -> io::Result<()> {
        self.ask_for(request, |_| ())
    }

    /// The same, with all that is said of it before.
    fn ask_for(&mut self, request: Request, mut heard: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = request.finish(self.sequence);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut buffer = vec![0_u8; 8192];
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::Error::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            messages(&buffer[..length])
                .filter(|message| u32_at(message, 8) == Some(self.sequence))
                .for_each(&mut heard);
            if let Some(answer) = acknowledgement(&buffer[..length], self.sequence) {
                return answer;
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `NETLINK_EXT_ACK`, which `nix` has no name for.
#[derive(Debug, Clone, Copy)]
struct ExtendedAck;

impl nix::sys::socket::SetSockOpt for ExtendedAck {
    type Val = bool;

    fn set<F: AsFd>(&self, fd: &F, value: &bool) -> nix::Result<()> {
        const NETLINK_EXT_ACK: libc::c_int = 11;
        super::sys::set_int_option(fd.as_fd(), libc::SOL_NETLINK, NETLINK_EXT_ACK, libc::c_int::from(*value))
            .map_err(|error| error.raw_os_error().map_or(nix::Error::EINVAL, nix::Error::from_raw))
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

/// A netlink message under construction.
struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(kind: u16, flags: libc::c_int) -> Self {
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK).unwrap_or(u16::MAX);
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The fixed part of a link message: flags and which of them to change.
    fn link_header(&mut self, interface: u32, flags: u32, change: u32) {
        self.bytes(&[0, 0, 0, 0]);
        self.bytes(&interface.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&change.to_ne_bytes());
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |inner| inner.bytes(value));
    }

    fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    fn text(&mut self, kind: u16, value: &str) {
        self.nest(kind, |inner| {
            inner.bytes(value.as_bytes());
            inner.bytes(&[0]);
        });
    }

    fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// An attribute whose value is written by `content`; its length is filled in afterwards.
    fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes(&[0, 0]);
        self.bytes(&kind.to_ne_bytes());
        content(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The answer to the request with this sequence number, where it is in this packet.
fn acknowledgement(packet: &[u8], sequence: u32) -> Option<io::Result<()>> {
    for message in messages(packet) {
        let (kind, flags) = (u16_at(message, 4)?, u16_at(message, 6)?);
        if i32::from(kind) == libc::NLMSG_ERROR && u32_at(message, 8)? == sequence {
            let errno = u32_at(message, HEADER_BYTES)?.cast_signed().checked_neg()?;
            return Some(match errno {
                0 => Ok(()),
                _ => Err(explain(errno, flags, message)),
            });
        }
    }
    None
}

/// The messages in a packet, up to one that is not whole.
fn messages(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(rest, 0)?).ok().filter(|length| *length >= HEADER_BYTES)?;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The system's error; where the kernel added a sentence, with that.
fn explain(errno: i32, flags: u16, message: &[u8]) -> io::Error {
    let error = io::Error::from_raw_os_error(errno);
    match sentence(flags, message) {
        // The number decides what callers do, so it is kept unless there is none to act on.
        Some(text) if !matches!(errno, libc::EEXIST | libc::ENODEV | libc::EPERM) => {
            io::Error::new(error.kind(), format!("{error}: {text}"))
        }
        Some(_) | None => error,
    }
}

fn sentence(flags: u16, message: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // After the error number comes the request's header, and the whole request unless it was capped.
    let request = HEADER_BYTES + 4;
    let echoed = if flags & NLM_F_CAPPED == 0 {
        usize::try_from(u32_at(message, request)?).ok()?
    } else {
        HEADER_BYTES
    };
    let mut at = request + echoed.next_multiple_of(4);
    while let (Some(length), Some(kind)) = (u16_at(message, at), u16_at(message, at + 2)) {
        let length = usize::from(length);
        let value = message.get(at + 4..at + length.max(4))?;
        if kind == NLMSGERR_ATTR_MSG {
            let text = value.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        at += length.max(4).next_multiple_of(4);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_counted() {
        let mut request = Request::new(libc::RTM_NEWLINK, 0);
        request.text(libc::IFLA_IFNAME, "ens5");
        let message = request.finish(7);
        assert_eq!(message.len(), HEADER_BYTES + 12);
        assert_eq!(u32_at(&message, 0), Some(28));
        assert_eq!(u16_at(&message, HEADER_BYTES), Some(9));
        assert_eq!(u32_at(&message, 8), Some(7));
    }

    #[test]
    fn foreign_or_cut_answers_are_no_answers() {
        assert!(acknowledgement(&[], 1).is_none());
        assert!(acknowledgement(&[255; 40], 1).is_none());
        let mut other = Request::new(2, 0);
        other.bytes(&[0; 20]);
        let packet = other.finish(2);
        assert!(acknowledgement(&packet, 1).is_none());
        assert!(matches!(acknowledgement(&packet, 2), Some(Ok(()))));
    }
}

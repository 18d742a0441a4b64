//! What is asked of the host's own network, and of no other: whether an address is the host's, and the sockets that
//! ICMP echo takes. All of it as any program on the host may; nothing of the host's is changed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt};

use super::Namespace;
use super::namespace::NamespaceError;
use super::netlink::Netlink;
use super::sys;

/// Why an interface of the host's leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// There is none of that name.
    #[error("this host has no network interface `{0}`")]
    Missing(String),
    /// It is there, and off.
    #[error("the network interface `{0}` is down")]
    Down(String),
    /// It leads to the host itself.
    #[error("the network interface `{0}` is the host's loopback, which leads nowhere")]
    Loopback(String),
    /// The interfaces could not be read.
    #[error("the host's network interfaces cannot be read: {0}")]
    Unreadable(io::Error),
}

/// Whether packets can leave by an interface of the calling thread's network.
pub fn check_link(name: &str) -> Result<(), LinkError> {
    let all = getifaddrs().map_err(|errno| LinkError::Unreadable(errno.into()))?;
    let flags = all.into_iter().find(|found| found.interface_name == name).map(|found| found.flags);
    let flags = flags.ok_or_else(|| LinkError::Missing(name.to_owned()))?;
    if flags.contains(InterfaceFlags::IFF_LOOPBACK) {
        return Err(LinkError::Loopback(name.to_owned()));
    }
    if !flags.contains(InterfaceFlags::IFF_UP) {
        return Err(LinkError::Down(name.to_owned()));
    }
    Ok(())
}

/// Whether this user can have a socket that is bound to an interface of the calling thread's network.
pub fn check_bound_socket(link: &str) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    Ok(setsockopt(&socket, sockopt::BindToDevice, &link.into())?)
}

/// What the host's kernel would do with packets to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It sends them on to one receiver.
    Elsewhere,
    /// They are the host's own: an address of its, a broadcast of its networks, or a group.
    Host,
    /// It has no route for them.
    Nowhere,
}

/// Asks the host's kernel what it would do with packets that are sent by one of its interfaces.
#[derive(Debug)]
pub struct HostRoutes {
    link: String,
    netlink: Mutex<Netlink>,
}

impl HostRoutes {
    /// Of the calling thread's network, by this interface.
    pub fn open(link: &str) -> io::Result<Self> {
        Ok(Self { link: link.to_owned(), netlink: Mutex::new(Netlink::open()?) })
    }

    /// What becomes of packets to an address, now. Elsewhere they go only if they do so from any socket and from one that
    /// is bound to the interface: rules for the interface, or a VRF that it is in, may have other addresses for the host.
    pub fn reach(&self, address: Ipv4Addr) -> io::Result<Reach> {
        // The interface may be another one of its name by now.
        let link = sys::interface_index(&self.link)?;
        match self.ask(address, None)? {
            Reach::Elsewhere => self.ask(address, Some(link)),
            found @ (Reach::Host | Reach::Nowhere) => Ok(found),
        }
    }

    fn ask(&self, address: Ipv4Addr, by: Option<u32>) -> io::Result<Reach> {
        // A question and its answer are one critical section without a panic in it.
        let mut netlink = self.netlink.lock().unwrap_or_else(PoisonError::into_inner);
        match netlink.route_kind(IpAddr::V4(address), by) {
            Ok(libc::RTN_UNICAST) => Ok(Reach::Elsewhere),
            Ok(libc::RTN_UNREACHABLE | libc::RTN_BLACKHOLE | libc::RTN_PROHIBIT) => Ok(Reach::Nowhere),
            Ok(_) => Ok(Reach::Host),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
                ) =>
            {
                Ok(Reach::Nowhere)
            }
            Err(error) => Err(error),
        }
    }
}

/// A socket for echoes over one interface of the calling thread's network, as the kernel gives it to ordinary users in
/// `net.ipv4.ping_group_range`. It sends and receives ICMP messages whose identifier is its own.
pub fn echo_socket(link: &str) -> io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Icmp)?;
    setsockopt(&socket, sockopt::BindToDevice, &link.into())?;
    Ok(UdpSocket::from(socket))
}

/// A socket that gets the ICMP messages for one address of a namespace, with their IP headers, and answers from it.
pub fn raw_echo_socket(namespace: &Namespace, address: Ipv4Addr) -> Result<UdpSocket, NamespaceError> {
    let open = || -> io::Result<UdpSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let raw = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Icmp)?;
        let at = nix::sys::socket::SockaddrIn::from(std::net::SocketAddrV4::new(address, 0));
        nix::sys::socket::bind(std::os::fd::AsRawFd::as_raw_fd(&raw), &at)?;
        let socket = UdpSocket::from(raw);
        allow_fragments(&socket)?;
        Ok(socket)
    };
    let failed = |source| namespace.socket_error(std::net::SocketAddr::new(address.into(), 0), source);
    namespace.run(open)?.map_err(failed)
}

/// Keeps the kernel of a namespace from answering echo requests, which somebody else does from now on.
pub fn silence_echoes(namespace: &Namespace) -> Result<io::Result<()>, NamespaceError> {
    namespace.run(|| std::fs::write("/proc/sys/net/ipv4/icmp_echo_ignore_all", "1"))
}

/// Lets what a socket sends be cut on its way, where it is larger than a link on it takes.
pub fn allow_fragments(socket: &impl AsFd) -> io::Result<()> {
    sys::set_int_option(socket.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
}

/// How many files this process may have open.
pub fn open_file_limit() -> io::Result<u64> {
    sys::open_file_limit()
}

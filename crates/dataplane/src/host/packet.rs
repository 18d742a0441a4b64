//! A packet socket on the host end of a port: whole frames with their offload state, both ways.
//!
//! With `PACKET_VNET_HDR` a frame comes as the sender's kernel made it: up to 64 KiB of TCP payload in one piece, its
//! checksum still to be filled in. It goes out again in the same state, so no byte of payload is ever looked at.
//! INVARIANT: the socket never reads what was sent through a packet socket on the same interface.
#![expect(unsafe_code, reason = "batched socket calls take raw message headers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::namespace::{Namespace, NamespaceError};
use super::sys;

/// The most bytes a frame has: 64 KiB of IP packet, Ethernet header and a tag.
pub const MAX_FRAME_BYTES: usize = 65_536 + 64;
/// How many frames one call moves at most.
pub const MAX_BATCH: usize = 64;

/// Asked-for socket buffers. The limit of an ordinary user is `net.core.rmem_max`.
const BUFFER_BYTES: libc::c_int = 16 << 20;
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
const PACKET_VNET_HDR: libc::c_int = 15;
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_STATISTICS: libc::c_int = 6;
/// Frames go to the interface without a queue on the way. An interface that has just come up has a queue that drops
/// everything in silence until the kernel gets round to its link event, up to a second later.
const PACKET_QDISC_BYPASS: libc::c_int = 20;
/// The protocol of frames that a program on the interface leaves to user space: IPv4 in a tag of 802.1ad, which the program puts
/// before it.
pub(crate) const HANDED_UP: u16 = 0x88a8;
/// "IEEE Std 802 - Local Experimental Ethertype" (IEEE 802, 9.2.3).
const ETH_P_802_EX1: libc::c_int = 0x88b5;
const TAG_BYTES: usize = 4;
const MACS_BYTES: usize = 12;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
/// Room for one `tpacket_auxdata` control message.
const CONTROL_BYTES: usize = 64;

/// The offload state of a frame (`struct virtio_net_hdr`, of linux/virtio_net.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VirtioNetHdr {
    /// [`VirtioNetHdr::NEEDS_CSUM`], [`VirtioNetHdr::DATA_VALID`].
    pub flags: u8,
    /// One of the `GSO_…` values, with [`VirtioNetHdr::GSO_ECN`].
    pub gso_type: u8,
    /// Bytes of the headers up to the payload.
    pub hdr_len: u16,
    /// Bytes of payload in each segment.
    pub gso_size: u16,
    /// Where the sum to be filled in starts.
    pub csum_start: u16,
    /// Where, from there, its result goes.
    pub csum_offset: u16,
}

impl VirtioNetHdr {
    /// How many bytes it has on the wire.
    pub const BYTES: usize = 10;
    /// The transport checksum holds the pseudo header's sum only.
    pub const NEEDS_CSUM: u8 = 1;
    /// The checksum has been verified.
    pub const DATA_VALID: u8 = 2;
    /// Not to be segmented.
    pub const GSO_NONE: u8 = 0;
    /// TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP segments (since Linux 6.2).
    pub const GSO_UDP_L4: u8 = 5;
    /// The congestion bit is set.
    pub const GSO_ECN: u8 = 0x80;

    /// As the kernel takes it, in the machine's byte order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        bytes
    }

    /// As the kernel gives it.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }
}

/// What came with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameMeta {
    /// Its offload state.
    pub header: VirtioNetHdr,
    /// How many bytes the frame has.
    pub length: usize,
    /// Its VLAN tag (priority and number), which is not in the bytes.
    pub vlan: Option<u16>,
}

/// How many frames came and how many were lost for want of room, since the last time this was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketStatistics {
    /// All that came, lost ones included.
    pub received: u32,
    /// Those lost.
    pub dropped: u32,
}

/// Why a packet socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The system refused: no such interface, or no right to raw packets there.
    #[error("cannot open a packet socket on `{interface}` in `{namespace}`: {source}")]
    Open {
        /// Which interface.
        interface: String,
        /// In which namespace.
        namespace: String,
        /// What the system says.
        source: io::Error,
    },
}

/// A raw packet socket on one interface. It never blocks.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    namespace: Namespace,
    interface: Box<str>,
    index: u32,
    /// Which frames it receives.
    frames: Frames,
}

/// Which frames a packet socket receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// All of them, before a program on the interface sees them.
    All,
    /// IPv4, without those that a program on the interface took.
    Ipv4,
    /// ARP, the same.
    Arp,
    /// IPv4 that a program on the interface left to user space, as it was before.
    HandedUp,
    /// Of an experiment's protocol, which nobody sends: the socket only sends. (Bound to no protocol it would keep the one that
    /// it has.)
    Nothing,
}

impl Frames {
    const fn protocol(self) -> libc::c_int {
        match self {
            Self::All => libc::ETH_P_ALL,
            Self::Ipv4 => libc::ETH_P_IP,
            Self::Arp => libc::ETH_P_ARP,
            Self::HandedUp => HANDED_UP as libc::c_int,
            Self::Nothing => ETH_P_802_EX1,
        }
    }
}

impl PacketSocket {
    /// Opens a socket on an interface of a namespace. For a foreign machine's tap this is the host's own,
    /// [`Namespace::current`], which takes real root.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self, PacketError> {
        Self::open_for(namespace, interface, Frames::All)
    }

    /// Opens one that receives these frames. To change that later waits for the kernel, some hundredths of a second.
    pub fn open_for(namespace: &Namespace, interface: &str, frames: Frames) -> Result<Self, PacketError> {
        let opened = namespace.run(|| Self::open_here(interface, frames))?;
        let (fd, index) = opened.map_err(|source| PacketError::Open {
            interface: interface.to_owned(),
            namespace: namespace.name().to_owned(),
            source,
        })?;
        Ok(Self { fd, namespace: namespace.clone(), interface: interface.into(), index, frames })
    }

    /// From now on only these frames are received. Those that wait already are still received.
    pub(crate) fn narrow(&mut self, frames: Frames) -> io::Result<()> {
        if self.frames != frames {
            bind(self.fd.as_fd(), self.index, frames)?;
            self.frames = frames;
        }
        Ok(())
    }

    /// The same socket once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let (namespace, interface) = (self.namespace.clone(), self.interface.clone());
        Ok(Self { fd: self.fd.try_clone()?, namespace, interface, index: self.index, frames: self.frames })
    }

    /// Another socket on the same interface, for these frames.
    pub(crate) fn another(&self, frames: Frames) -> Result<Self, PacketError> {
        Self::open_for(&self.namespace, &self.interface, frames)
    }

    /// The namespace of its interface.
    pub(crate) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What its interface is called there.
    pub(crate) fn interface(&self) -> &str {
        &self.interface
    }

    /// Its interface's index there.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    fn open_here(interface: &str, frames: Frames) -> io::Result<(OwnedFd, u32)> {
        let index = sys::interface_index(interface)?;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: nothing is received before the socket is bound to its interface.
        // SAFETY: plain values; the result is a new descriptor.
        let fd = sys::check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel has just handed this descriptor out.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        for option in [PACKET_VNET_HDR, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING, PACKET_QDISC_BYPASS] {
            sys::set_int_option(fd.as_fd(), libc::SOL_PACKET, option, 1)?;
        }
        for (force, plain) in
            [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
        {
            let set = |name| sys::set_int_option(fd.as_fd(), libc::SOL_SOCKET, name, BUFFER_BYTES);
            set(force).or_else(|_| set(plain))?;
        }
        bind(fd.as_fd(), index, frames)?;
        Ok((fd, index))
    }

    /// Receives one frame into `buffer`; `None` where there is none now. A frame longer than the buffer is an
    /// error and lost. What was handed up is received with its tag.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<FrameMeta>> {
        let mut header = [0_u8; VirtioNetHdr::BYTES];
        let mut control = Control([0; CONTROL_BYTES]);
        let mut parts = io_parts(header.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len());
        let mut message = message_header(&mut parts, Some(&mut control));
        // SAFETY: the message points to the parts and the control buffer above, which outlive the call.
        let got = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
        frame_meta(got.cast_unsigned(), header, truncated, &message).map(Some)
    }

    /// Receives as many frames as there are and as the batch has room for. Returns how many.
    pub fn recv_batch(&self, batch: &mut FrameBatch) -> io::Result<usize> {
        let received = batch.receive(self.fd.as_raw_fd());
        if self.frames == Frames::HandedUp {
            batch.untag();
        }
        received
    }

    /// Sends one frame. False where the interface's queue is full now.
    pub fn send(&self, header: &VirtioNetHdr, frame: &[u8]) -> io::Result<bool> {
        self.send_batch(&[(*header, frame)]).map(|sent| sent == 1)
    }

    /// Sends frames in order, at most [`MAX_BATCH`] of them. Returns how many went: fewer than given where the
    /// queue is full now. An error is about the first frame that did not go, if none went before it.
    pub fn send_batch(&self, frames: &[(VirtioNetHdr, &[u8])]) -> io::Result<usize> {
        let frames = &frames[..frames.len().min(MAX_BATCH)];
        let mut headers = [[0_u8; VirtioNetHdr::BYTES]; MAX_BATCH];
        // SAFETY: all zeros is a valid message header and a valid part.
        let mut parts: [[libc::iovec; 2]; MAX_BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: the same.
        let mut messages: [libc::mmsghdr; MAX_BATCH] = unsafe { std::mem::zeroed() };
        // Of no protocol, or the kernel would take frames for what the socket receives, and cut them accordingly.
        let mut to = link_address(self.index, 0);
        for (index, (header, frame)) in frames.iter().enumerate() {
            headers[index] = header.to_bytes();
            // The kernel only reads what it sends, whatever the pointer's type says.
            parts[index] = io_parts(headers[index].as_mut_ptr(), frame.as_ptr().cast_mut(), frame.len());
            messages[index].msg_hdr = message_header(&mut parts[index], None);
            messages[index].msg_hdr.msg_name = (&raw mut to).cast();
            messages[index].msg_hdr.msg_namelen = LINK_ADDRESS_BYTES;
        }
        // SAFETY: as many messages as are counted point to parts that outlive the call.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                frames.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        if sent >= 0 {
            return Ok(usize::try_from(sent).unwrap_or(0));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::ENOBUFS) => Ok(0),
            Some(_) | None => Err(error),
        }
    }

    /// What the kernel counted since this was last asked.
    pub fn statistics(&self) -> io::Result<PacketStatistics> {
        let mut counts = [0_u32; 2];
        let mut length = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes into the two counters.
        sys::check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut length,
            )
        })?;
        Ok(PacketStatistics { received: counts[0], dropped: counts[1] })
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn bind(fd: BorrowedFd<'_>, index: u32, frames: Frames) -> io::Result<()> {
    let address = link_address(index, frames.protocol() as u16);
    // SAFETY: the kernel reads the address given, of the length given.
    sys::check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), LINK_ADDRESS_BYTES) })
        .map(drop)
}

const LINK_ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn link_address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    // SAFETY: all zeros is a valid address.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index.cast_signed();
    address
}

/// A control buffer, aligned as control messages are.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

fn io_parts(header: *mut u8, frame: *mut u8, length: usize) -> [libc::iovec; 2] {
    [
        libc::iovec { iov_base: header.cast(), iov_len: VirtioNetHdr::BYTES },
        libc::iovec { iov_base: frame.cast(), iov_len: length },
    ]
}

fn message_header(parts: &mut [libc::iovec; 2], control: Option<&mut Control>) -> libc::msghdr {
    // SAFETY: all zeros is a valid message header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = 2;
    if let Some(control) = control {
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL_BYTES as _;
    }
    message
}

fn frame_meta(
    got: usize,
    header: [u8; VirtioNetHdr::BYTES],
    truncated: bool,
    message: &libc::msghdr,
) -> io::Result<FrameMeta> {
    if truncated || got < VirtioNetHdr::BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of `{got}` bytes or more did not fit"),
        ));
    }
    Ok(FrameMeta {
        header: VirtioNetHdr::from_bytes(header),
        length: got - VirtioNetHdr::BYTES,
        vlan: vlan_tag(message),
    })
}

/// The tag that the kernel took out of the frame.
fn vlan_tag(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel filled the control buffer that the message points to, and set its length; each record is
    // read only within that length, and unaligned.
    unsafe {
        let mut record = libc::CMSG_FIRSTHDR(message);
        while !record.is_null() {
            if (*record).cmsg_level == libc::SOL_PACKET && (*record).cmsg_type == PACKET_AUXDATA {
                let data: libc::tpacket_auxdata = std::ptr::read_unaligned(libc::CMSG_DATA(record).cast());
                return (data.tp_status & TP_STATUS_VLAN_VALID != 0).then_some(data.tp_vlan_tci);
            }
            record = libc::CMSG_NXTHDR(message, record);
        }
    }
    None
}

/// Buffers for one batch of received frames, to be used again and again.
pub struct FrameBatch {
    storage: Vec<u8>,
    headers: Vec<[u8; VirtioNetHdr::BYTES]>,
    controls: Vec<Control>,
    metas: Vec<Option<FrameMeta>>,
    capacity: usize,
    filled: usize,
    /// Where frames begin in their buffers.
    start: usize,
}

impl FrameBatch {
    /// Room for `capacity` frames (at most [`MAX_BATCH`]) of any size.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, MAX_BATCH);
        Self {
            storage: vec![0; capacity * MAX_FRAME_BYTES],
            headers: vec![[0; VirtioNetHdr::BYTES]; capacity],
            controls: vec![Control([0; CONTROL_BYTES]); capacity],
            metas: vec![None; capacity],
            capacity,
            filled: 0,
            start: 0,
        }
    }

    /// The frames of the last call, in order, to be changed in place. One that did not fit is left out.
    pub fn frames(&mut self) -> impl Iterator<Item = (FrameMeta, &mut [u8])> {
        self.storage.chunks_mut(MAX_FRAME_BYTES).zip(&self.metas).take(self.filled).filter_map(
            |(bytes, meta)| {
                let meta = (*meta)?;
                Some((meta, &mut bytes[self.start..self.start + meta.length]))
            },
        )
    }

    /// Takes the tag out of each frame. One without it is left out.
    fn untag(&mut self) {
        self.start = TAG_BYTES;
        let frames = self.storage.chunks_mut(MAX_FRAME_BYTES).zip(&mut self.metas).take(self.filled);
        for (bytes, slot) in frames {
            *slot = slot.and_then(|meta| untag(meta, bytes));
        }
    }

    fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        (self.filled, self.start) = (0, 0);
        // SAFETY: all zeros is a valid part and a valid message header.
        let mut parts: [[libc::iovec; 2]; MAX_BATCH] = unsafe { std::mem::zeroed() };
        // SAFETY: the same.
        let mut messages: [libc::mmsghdr; MAX_BATCH] = unsafe { std::mem::zeroed() };
        let buffers = self.storage.chunks_mut(MAX_FRAME_BYTES).zip(&mut self.headers).zip(&mut self.controls);
        for (index, ((frame, header), control)) in buffers.enumerate() {
            parts[index] = io_parts(header.as_mut_ptr(), frame.as_mut_ptr(), frame.len());
            messages[index].msg_hdr = message_header(&mut parts[index], Some(control));
        }
        // SAFETY: `capacity` messages point to buffers of this batch, which outlive the call.
        let got = unsafe {
            libc::recvmmsg(
                socket,
                messages.as_mut_ptr(),
                self.capacity as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        }
        self.filled = usize::try_from(got).unwrap_or(0);
        for (index, message) in messages[..self.filled].iter().enumerate() {
            let truncated = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let length = message.msg_len as usize;
            self.metas[index] = frame_meta(length, self.headers[index], truncated, &message.msg_hdr).ok();
        }
        Ok(self.filled)
    }
}

/// A frame that was handed up, as it was before: its hardware addresses are moved over its tag. None where it has no such
/// tag.
pub(crate) fn before_tag(frame: &mut [u8]) -> Option<&mut [u8]> {
    if frame.get(MACS_BYTES..MACS_BYTES + TAG_BYTES)?[..2] != HANDED_UP.to_be_bytes() {
        return None;
    }
    frame.copy_within(..MACS_BYTES, TAG_BYTES);
    Some(&mut frame[TAG_BYTES..])
}

fn untag(meta: FrameMeta, bytes: &mut [u8]) -> Option<FrameMeta> {
    let length = before_tag(bytes.get_mut(..meta.length)?)?.len();
    // The length of what is in one piece is counted past 65,535, and begins again at zero.
    let before = |at: u16| at.wrapping_sub(TAG_BYTES as u16);
    let mut header = meta.header;
    if header.gso_type != VirtioNetHdr::GSO_NONE {
        header.hdr_len = before(header.hdr_len);
    }
    if header.flags & VirtioNetHdr::NEEDS_CSUM != 0 {
        header.csum_start = before(header.csum_start);
    }
    Some(FrameMeta { header, length, vlan: None })
}

impl std::fmt::Debug for FrameBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameBatch")
            .field("capacity", &self.capacity)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_wire() {
        let header = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type: VirtioNetHdr::GSO_TCPV4,
            hdr_len: 66,
            gso_size: 1448,
            csum_start: 34,
            csum_offset: 16,
        };
        assert_eq!(VirtioNetHdr::from_bytes(header.to_bytes()), header);
        assert_eq!(size_of::<VirtioNetHdr>(), VirtioNetHdr::BYTES);
    }

    #[test]
    fn a_tag_is_taken_out() {
        let header =
            VirtioNetHdr { flags: 1, gso_type: 1, csum_start: 38, hdr_len: 58, ..Default::default() };
        let meta = FrameMeta { header, length: 20, vlan: Some(1) };
        let mut bytes: Vec<u8> = (0..20).collect();
        bytes[12..14].copy_from_slice(&HANDED_UP.to_be_bytes());
        let mut other = bytes.clone();
        let found = untag(meta, &mut bytes).unwrap();
        assert_eq!(
            (found.length, found.vlan, found.header.csum_start, found.header.hdr_len),
            (16, None, 34, 54)
        );
        assert_eq!(bytes[TAG_BYTES..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18, 19]);
        other[13] = 0;
        assert_eq!(untag(meta, &mut other), None);
        assert_eq!(untag(FrameMeta { length: 13, ..meta }, &mut bytes), None);
    }
}

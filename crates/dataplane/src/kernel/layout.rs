//! What the program and the forwarder share, byte by byte: constants, and the values of the maps.
//!
//! INVARIANT: the definitions here are the only ones. [`header`] writes them out as C with assertions about every size
//! and offset; the header is checked in beside the program, and a test compares it with what this module says.
//!
//! Numbers are in the machine's byte order, addresses in the packet's.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicU64};

use postern_model::Mac;
use postern_path::DropReason;

use crate::forward::packet::{ROUTER_MAC, ipv4, tcp};
use crate::forward::phase::Phase;
use crate::forward::{FlowKey, PortNumber};

/// Ports that the program serves, at most; further ones are the forwarder's alone.
pub const PORTS: u32 = 4_096;
/// Places in which a port is looked up by its interface's index.
pub const INTERFACES: u32 = 65_536;
/// Addresses of an interface that the program knows; packets from further ones go to the forwarder.
pub const ADDRESSES: usize = 8;
/// Stamps that one flow may rest on; a flow with more is the forwarder's alone.
pub const STAMPS: usize = 16;
/// Slots of the generation array that the program sees.
pub const GENERATIONS: u32 = 1 << 18;
/// Gateways and endpoints that the program counts at.
pub const GATEWAYS: u32 = 1_024;
/// Slots of one bucket of the index: a cache line.
pub const SLOTS: usize = 8;
/// A place that is none.
pub const NOWHERE: u32 = u32::MAX;
/// How many processors the counters have room for.
pub const PROCESSORS: u32 = 256;

/// The interface may send from any address: its source is not checked.
pub const ANY_SOURCE: u8 = 1;

/// Reasons for which the program itself drops, in the order in which it counts them.
pub const DROPS: [DropReason; 3] = [DropReason::UnknownPort, DropReason::SpoofedMac, DropReason::Unsupported];

/// A type as C writes it: its name, and its dimensions where it is an array.
trait InC {
    const NAME: &'static str;
    fn dimensions() -> String {
        String::new()
    }
}

macro_rules! in_c {
    ($($rust:ty => $c:expr),* $(,)?) => { $(impl InC for $rust { const NAME: &'static str = $c; })* };
}

in_c! {
    u8 => "__u8", u16 => "__u16", u32 => "__u32", u64 => "__u64",
    AtomicU32 => "__u32", AtomicU64 => "__u64", PortNumber => "__u32", FlowKey => "struct flow_key",
}

impl<T: InC, const N: usize> InC for [T; N] {
    const NAME: &'static str = T::NAME;
    fn dimensions() -> String {
        format!("[{N}]{}", T::dimensions())
    }
}

/// A field as the header has it.
struct Field {
    name: &'static str,
    declared: String,
    offset: usize,
}

/// A structure that is written out as C.
trait Structure {
    const NAME: &'static str;
    const BYTES: usize;
    fn fields() -> Vec<Field>;
}

fn declared<T: InC>(_: fn() -> T, name: &str) -> String {
    format!("{} {name}{}", T::NAME, T::dimensions())
}

macro_rules! layout {
    ($($(#[$doc:meta])* struct $name:ident = $c:literal, $bytes:literal bytes {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty,)*
    })*) => { $(
        $(#[$doc])*
        #[repr(C, align(64))]
        #[derive(Debug)]
        pub struct $name { $($(#[$field_doc])* pub $field: $kind,)* }

        const _: () = assert!(size_of::<$name>() == $bytes, "no gaps, whole cache lines");
        in_c!($name => concat!("struct ", $c));

        impl Structure for $name {
            const NAME: &'static str = $c;
            const BYTES: usize = $bytes;
            fn fields() -> Vec<Field> {
                vec![$(Field {
                    name: stringify!($field),
                    declared: declared::<$kind>(|| unreachable!("only named"), stringify!($field)),
                    offset: std::mem::offset_of!($name, $field),
                },)*]
            }
        }
    )* };
}

layout! {
    /// What holds for all packets.
    struct Settings = "settings", 64 bytes {
        /// Goes up with every change of a generation.
        epoch: AtomicU64,
        /// Goes up with every change of the plan: ports of an older one are to be asked about again.
        revision: AtomicU64,
        /// What is to be added to the kernel's monotonic clock, in nanoseconds.
        clock_offset: AtomicU64,
        /// Secrets of the index's hash.
        secrets: [AtomicU64; 5],
    }

    /// A port.
    struct PortSlot = "port_slot", 64 bytes {
        /// Which plan this was read from; zero is none.
        revision: AtomicU64,
        /// The port, or [`NOWHERE`].
        number: AtomicU32,
        /// The index of its host end.
        interface: AtomicU32,
        /// Addresses that are its own.
        addresses: [AtomicU32; 8],
        /// The hardware address of its inner end: the first four bytes.
        mac_head: AtomicU32,
        /// And the last two.
        mac_tail: AtomicU32,
        /// How many addresses there are; [`ANY_SOURCE`] in the upper half.
        checks: AtomicU32,
        /// Whether the plan knows the interface.
        known: AtomicU32,
    }

    /// What changes with every packet of a flow.
    struct LiveSlot = "live_slot", 64 bytes {
        /// The epoch in which the flow was last found to hold.
        epoch: AtomicU64,
        /// When its last packet passed.
        seen: AtomicU64,
        /// How far it has come.
        phase: AtomicU64,
        /// Packets, forward and reverse.
        packets: [AtomicU64; 2],
        /// Bytes, forward and reverse.
        bytes: [AtomicU64; 2],
        /// Nothing yet.
        spare: [AtomicU64; 1],
    }

    /// A flow. How one direction's packets are rewritten is the other direction's key, read backwards.
    struct FlowSlot = "flow_slot", 384 bytes {
        /// Packets as the first one.
        forward: FlowKey,
        /// Odd while the place is free or being written.
        life: AtomicU32,
        /// The longest packet, in bytes of IP.
        mtu: u16,
        /// How many routers there are on the way.
        hops: u8,
        /// How many stamps there are.
        stamps: u8,
        /// Where its gateway is counted, or [`NOWHERE`].
        gateway: u32,
        /// Nothing yet.
        spare: [u32; 2],
        /// Packets back.
        reverse: FlowKey,
        /// Seconds: TCP established, UDP stream, UDP, other.
        idle: [u32; 4],
        /// Nothing yet.
        spare_too: [u32; 1],
        /// What changes.
        live: LiveSlot,
        /// Slots of the generations that it rests on.
        slots: [u32; 16],
        /// What they were.
        generations: [u64; 16],
    }

    /// Where to look for a flow: the upper half of a slot is the key's hash, the lower half twice the flow's place
    /// plus two, plus one for the reverse direction. Zero is an empty slot.
    struct Bucket = "bucket", 64 bytes {
        /// See there.
        slots: [AtomicU64; 8],
    }

    /// What the program counted at a port, of one processor.
    struct PortTally = "port_tally", 64 bytes {
        /// Packets that came in here and were delivered.
        carried_packets: AtomicU64,
        /// Their bytes.
        carried_bytes: AtomicU64,
        /// Packets that were delivered here.
        delivered_packets: AtomicU64,
        /// Their bytes.
        delivered_bytes: AtomicU64,
        /// Bytes of the packets that came in here and were dropped.
        dropped_bytes: AtomicU64,
        /// How many, by reason as in [`DROPS`].
        drops: [AtomicU64; 3],
    }

    /// What the program counted at a gateway or endpoint, of one processor.
    struct GatewayTally = "gateway_tally", 64 bytes {
        /// Packets, outward and inward.
        packets: [AtomicU64; 2],
        /// Their bytes.
        bytes: [AtomicU64; 2],
        /// Nothing yet.
        spare: [AtomicU64; 4],
    }
}

impl Structure for FlowKey {
    const NAME: &'static str = "flow_key";
    const BYTES: usize = size_of::<Self>();
    fn fields() -> Vec<Field> {
        Self::FIELDS
            .map(|(name, declared, offset)| Field { name, declared: declared.to_owned(), offset })
            .into()
    }
}

/// A hardware address as a packet's first four and last two bytes are read.
#[must_use]
pub const fn mac_halves(mac: Mac) -> (u32, u32) {
    let [a, b, c, d, e, f] = mac.0;
    (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]) as u32)
}

/// The C header.
#[must_use]
pub fn header() -> String {
    let mut text = String::from(
        "// Written by `cargo xtask bpf` from crates/dataplane/src/kernel/layout.rs. Not to be edited.\n\
         #pragma once\n\n",
    );
    constants(&mut text);
    structure::<FlowKey>(&mut text);
    structure::<Settings>(&mut text);
    structure::<PortSlot>(&mut text);
    structure::<LiveSlot>(&mut text);
    structure::<FlowSlot>(&mut text);
    structure::<Bucket>(&mut text);
    structure::<PortTally>(&mut text);
    structure::<GatewayTally>(&mut text);
    text
}

fn constants(text: &mut String) {
    let (mac_head, mac_tail) = mac_halves(ROUTER_MAC);
    let numbers = [
        ("PORTS", PORTS),
        ("INTERFACES", INTERFACES),
        ("ADDRESSES", ADDRESSES as u32),
        ("STAMPS", STAMPS as u32),
        ("GENERATIONS", GENERATIONS),
        ("GATEWAYS", GATEWAYS),
        ("SLOTS", SLOTS as u32),
        ("NOWHERE", NOWHERE),
        ("PROCESSORS", PROCESSORS),
        ("ANY_SOURCE", u32::from(ANY_SOURCE)),
        ("PORT_PLACE_MASK", PortNumber::PLACE_MASK),
        ("ETHERNET_BYTES", crate::forward::packet::ethernet::HEADER_BYTES as u32),
        ("ETHERNET_IPV4", u32::from(crate::forward::packet::ethernet::IPV4)),
        ("ETHERNET_ARP", u32::from(crate::forward::packet::ethernet::ARP)),
        ("IPV4_BYTES", ipv4::HEADER_BYTES as u32),
        ("UDP_BYTES", ipv4::UDP_HEADER_BYTES as u32),
        ("ICMP_BYTES", ipv4::ICMP_HEADER_BYTES as u32),
        ("TCP_BYTES", tcp::HEADER_BYTES as u32),
        ("ROUTER_MAC_HEAD", mac_head),
        ("ROUTER_MAC_TAIL", mac_tail),
        ("TCP_FIN", u32::from(tcp::Flags::FIN)),
        ("TCP_SYN", u32::from(tcp::Flags::SYN)),
        ("TCP_RST", u32::from(tcp::Flags::RST)),
        ("TCP_ACK", u32::from(tcp::Flags::ACK)),
    ];
    for (name, value) in numbers {
        let _ = writeln!(text, "#define {name} {value}u");
    }
    for (name, value) in Phase::NUMBERS {
        let _ = writeln!(text, "#define {name} {value}u");
    }
    for (at, reason) in DROPS.iter().enumerate() {
        let name = reason.name().to_uppercase().replace('-', "_");
        let _ = writeln!(text, "#define DROP_{name} {at}u // code {}", reason.code());
    }
    let _ = writeln!(text, "#define DROPS {}u", DROPS.len());
}

fn structure<S: Structure>(text: &mut String) {
    let name = S::NAME;
    let _ = writeln!(text, "\nstruct {name} {{");
    for field in S::fields() {
        let _ = writeln!(text, "\t{};", field.declared);
    }
    let _ = writeln!(text, "}};\n_Static_assert(sizeof(struct {name}) == {}, \"{name}\");", S::BYTES);
    for field in S::fields() {
        let (field, offset) = (field.name, field.offset);
        let _ = writeln!(
            text,
            "_Static_assert(__builtin_offsetof(struct {name}, {field}) == {offset}, \"{name}.{field}\");"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_beside_the_program_is_what_this_module_says() {
        let checked_in = include_str!("../../bpf/layout.h");
        assert_eq!(checked_in, header(), "run `cargo xtask bpf`");
    }
}

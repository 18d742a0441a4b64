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
use postern_path::balance::{BUCKET_SHIFT, BUCKETS, FACTORS};

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
/// The same of a template: all that was consulted, from the sender through gateways to the receiver and back.
pub const TEMPLATE_STAMPS: usize = 48;
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

/// Templates that the program uses, of all ports; further ones are the forwarder's alone.
pub const TEMPLATES: u32 = 8_192;
/// Buckets in which templates are looked for: half of the slots stay empty.
pub const TEMPLATE_BUCKETS: u32 = 2_048;
/// Tables by which the program chooses targets; templates of further ones are the forwarder's alone.
pub const CHOICE_TABLES: u32 = 1_024;
/// Targets among which the program chooses; among more the forwarder does.
pub const CHOICES: usize = 255;

/// Shapes of a port's templates.
pub const MASKS: usize = crate::forward::MOST_MASKS;
/// Free places that wait for each processor, and notes that wait for the forwarder: powers of two.
pub const RING: usize = 4_096;
/// Codes of drop reasons that there is a counter for.
pub const REASONS: usize = 64;
/// Addresses of a peer among which the destination chooses.
pub const STAND_INS: usize = crate::forward::USUAL_VARIANTS as usize;
/// Ports that the program tries at a NAT gateway before it leaves the search to the forwarder.
pub const NAT_TRIES: u32 = 8;

/// The interface may send from any address: its source is not checked.
pub const ANY_SOURCE: u8 = 1;
/// The plan knows the port.
pub const KNOWN: u32 = 1;
/// Behind the port are the doors, which are no sender that needs bounds.
pub const UNBOUNDED: u32 = 2;

/// A slot of the index that says no more than that a key is the forwarder's.
pub const TAKEN: u32 = 1;

/// A SYN of the flow is to be seen by the forwarder.
pub const SYN_UP: u32 = 1;
/// The flow has a port of a NAT gateway.
pub const HAS_NAT_PORT: u32 = 2;

/// What is kept to a rate at a port: packets that go up to the forwarder.
pub const HANDED_UP: usize = 0;
/// ARP and DHCP, which no other packet can keep from going up.
pub const CONTROL: usize = 1;
/// Packets that a template refuses and that go up all the same, to be logged.
pub const REFUSED: usize = 2;
/// Flows that the program makes.
pub const BEGUN: usize = 3;
/// How many of these rates there are.
pub const RATES: usize = 4;

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
    struct Settings = "settings", 192 bytes {
        /// Goes up with every change of a generation.
        epoch: AtomicU64,
        /// Goes up with every change of the plan: ports of an older one are to be asked about again.
        revision: AtomicU64,
        /// What is to be added to the kernel's monotonic clock, in nanoseconds.
        clock_offset: AtomicU64,
        /// Secrets of the index's hash.
        secrets: [AtomicU64; 5],
        /// Secrets by which ports and addresses are chosen, as the forwarder chooses.
        choice: [AtomicU64; 6],
        /// Another secret of the index's hash: templates of different shapes differ by it.
        shape_secret: AtomicU64,
        /// What one packet takes of a rate, in nanoseconds: handed up, control, refused, begun.
        prices: [AtomicU64; 4],
        /// And how much may be saved up.
        bursts: [AtomicU64; 4],
        /// Whether somebody follows the log of flows.
        logged: AtomicU64,
    }

    /// The shapes of a port's templates, by number.
    struct PortMasks = "port_masks", 128 bytes {
        /// The fixed bits of the source.
        source: [AtomicU32; 8],
        /// Of the destination.
        destination: [AtomicU32; 8],
        /// Of both ports, the source's in the upper half.
        ports: [AtomicU32; 8],
        /// The numbers that are in use, as bits.
        used: AtomicU32,
        /// Nothing yet.
        spare: [AtomicU32; 7],
    }

    /// What changes while a port is used.
    struct PortLive = "port_live", 64 bytes {
        /// When each of the rates is used up until.
        turns: [AtomicU64; 4],
        /// Flows that the program made for the port, ever.
        made: AtomicU32,
        /// How far that may go.
        may_make: AtomicU32,
        /// Flows of the port that the program could not be told of, so that it makes none.
        blocked: AtomicU32,
        /// Nothing yet.
        spare: [AtomicU32; 5],
    }

    /// What the program dropped at a port, by the reason's code.
    struct PortDrops = "port_drops", 512 bytes {
        /// Packets.
        counts: [AtomicU64; 64],
    }

    /// A decision about a box of flows, and what is done with a flow that it is about.
    struct TemplateSlot = "template_slot", 832 bytes {
        /// The box, with its shape's number.
        key: FlowKey,
        /// Odd while the place is free or being written.
        life: AtomicU32,
        /// Its shape: the fixed bits of the source.
        source_mask: u32,
        /// Of the destination.
        destination_mask: u32,
        /// Of both ports.
        port_masks: u32,
        /// How many stamps there are.
        stamps: u8,
        /// How many of them, the first ones, cut the flows.
        cut: u8,
        /// What becomes of the source, or that the box is refused.
        kind: u8,
        /// The code of the reason for which it is refused.
        reason: u8,
        /// The port that packets go out by.
        exit: u32,
        /// The destination that the receiver sees; zero where it stays.
        destination: u32,
        /// The source that the receiver sees, where it is one for all.
        visible: u32,
        /// Where the gateway is counted, or [`NOWHERE`].
        gateway: u32,
        /// The longest packet.
        mtu: u16,
        /// How many routers there are on the way.
        hops: u8,
        /// Whether a refusal is answered.
        answered: u8,
        /// Seconds: TCP established, UDP stream, UDP, other.
        idle: [u32; 4],
        /// By which table a target is chosen, if that is what it says.
        table: u32,
        /// The destination port that the receiver sees; zero where it stays.
        to_port: u16,
        /// How many ports are given out, where the source's becomes one of them.
        ports: u16,
        /// Nothing yet.
        spare: [u32; 5],
        /// The epoch in which it was last found to be current.
        epoch: AtomicU64,
        /// When it was last used, to some seconds.
        used: AtomicU64,
        /// Flows that refer to it.
        users: AtomicU32,
        /// Nothing yet.
        spare_too: AtomicU32,
        /// Addresses that stand for the sender; zero are those that nobody needed yet.
        stand_ins: [AtomicU32; 8],
        /// Packets that were refused by it and went no further.
        refused: AtomicU64,
        /// Flows that were made here with each of them.
        stand_in_users: [AtomicU32; 8],
        /// Nothing yet.
        spare_four: [AtomicU32; 8],
        /// Slots of the generations that it rests on.
        slots: [u32; 48],
        /// What they were.
        generations: [u64; 48],
    }

    /// Which target each bucket of flows belongs to, of one listener in one zone.
    struct ChoiceTable = "choice_table", 1_088 bytes {
        /// Whether the sender's port counts for nothing.
        sticky: AtomicU32,
        /// Nothing: another cache line.
        gap: [AtomicU32; 15],
        /// The target's number and one, four to a word, the first in the lowest byte.
        owners: [AtomicU32; 256],
    }

    /// Free places for flows, of one processor.
    struct PlaceRing = "place_ring", 16_512 bytes {
        /// How many the program took.
        head: AtomicU32,
        /// Nothing: another cache line.
        gap: [AtomicU32; 15],
        /// How many the forwarder gave.
        tail: AtomicU32,
        /// The same.
        gap_too: [AtomicU32; 15],
        /// The places.
        places: [AtomicU32; 4_096],
    }

    /// Flows that the program made, to be logged, of one processor.
    struct NoteRing = "note_ring", 32_896 bytes {
        /// How many the program wrote.
        head: AtomicU64,
        /// How many it had no room for.
        lost: AtomicU64,
        /// Nothing: another cache line.
        gap: [AtomicU64; 6],
        /// How many the forwarder read.
        tail: AtomicU64,
        /// The same.
        gap_too: [AtomicU64; 7],
        /// The hash of the flow's key in the upper half, and its place.
        notes: [AtomicU64; 4_096],
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

    /// What changes with every packet of a flow that goes one way. Of each way, so that two processors with one way each
    /// write to different lines of memory.
    struct WaySlot = "way_slot", 64 bytes {
        /// When its last packet passed.
        seen: AtomicU64,
        /// Packets.
        packets: AtomicU64,
        /// Their bytes.
        bytes: AtomicU64,
        /// Nothing yet.
        spare: [AtomicU64; 5],
    }

    /// What changes while a flow lives.
    struct LiveSlot = "live_slot", 192 bytes {
        /// The epoch in which the flow was last found to hold.
        epoch: AtomicU64,
        /// How far it has come.
        phase: AtomicU64,
        /// When its first packet passed.
        begun: AtomicU64,
        /// Nothing yet.
        spare: [AtomicU64; 5],
        /// Forward and reverse.
        ways: [WaySlot; 2],
    }

    /// A flow. How one direction's packets are rewritten is the other direction's key, read backwards.
    struct FlowSlot = "flow_slot", 512 bytes {
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
        /// The template that it was made of, or [`NOWHERE`].
        template: u32,
        /// What else is known of it.
        flags: u32,
        /// Packets back.
        reverse: FlowKey,
        /// Seconds: TCP established, UDP stream, UDP, other.
        idle: [u32; 4],
        /// Nothing yet.
        spare: [u32; 1],
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
    struct PortTally = "port_tally", 128 bytes {
        /// Packets that came in here and were delivered.
        carried_packets: AtomicU64,
        /// Their bytes.
        carried_bytes: AtomicU64,
        /// Packets that were delivered here.
        delivered_packets: AtomicU64,
        /// Their bytes.
        delivered_bytes: AtomicU64,
        /// Flows that were made here.
        begun: AtomicU64,
        /// Flows from here that were noticed to be over: reset, or begun again.
        ended: AtomicU64,
        /// Bytes of the packets that came in here and were dropped.
        dropped_bytes: AtomicU64,
        /// Packets that a template refused and that are not in the log.
        unlogged: AtomicU64,
        /// Answers to them that were left out.
        suppressed: AtomicU64,
        /// Nothing yet.
        spare: [AtomicU64; 7],
    }

    /// What the program counted at a gateway or endpoint, of one processor.
    struct GatewayTally = "gateway_tally", 64 bytes {
        /// Packets, outward and inward.
        packets: [AtomicU64; 2],
        /// Their bytes.
        bytes: [AtomicU64; 2],
        /// Flows that were made.
        begun: AtomicU64,
        /// Flows that were noticed to be over.
        ended: AtomicU64,
        /// Nothing yet.
        spare: [AtomicU64; 2],
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

/// What a template does with the source of its flows, or that it refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stays.
    Keep,
    /// The address becomes another.
    Address,
    /// The address becomes another, and the port one that is free.
    NatPort,
    /// It becomes an address that stands for the sender.
    StandIn,
    /// The box is refused.
    Refuse,
    /// A target is to be chosen, and another template says what becomes of flows that have it.
    Choose,
}

impl Kind {
    /// As the program knows them.
    pub const NUMBERS: [(&str, u8); 6] = [
        ("KIND_KEEP", Self::Keep.number()),
        ("KIND_ADDRESS", Self::Address.number()),
        ("KIND_NAT_PORT", Self::NatPort.number()),
        ("KIND_STAND_IN", Self::StandIn.number()),
        ("KIND_REFUSE", Self::Refuse.number()),
        ("KIND_CHOOSE", Self::Choose.number()),
    ];

    /// As a slot has it.
    pub const fn number(self) -> u8 {
        match self {
            Self::Keep => 0,
            Self::Address => 1,
            Self::NatPort => 2,
            Self::StandIn => 3,
            Self::Refuse => 4,
            Self::Choose => 5,
        }
    }
}

const _: () = {
    assert!(BUCKETS == 4 * 256 && BUCKETS == 1 << (64 - BUCKET_SHIFT), "as many as a table has");
    assert!(MASKS == 8 && STAND_INS == 8, "as many as there are in the structures above");
    let mut at = 0;
    while at < DropReason::ALL.len() {
        assert!((DropReason::ALL[at].code() as usize) < REASONS, "each reason has a counter");
        at += 1;
    }
};

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
    structure::<PortMasks>(&mut text);
    structure::<PortLive>(&mut text);
    structure::<PortDrops>(&mut text);
    structure::<TemplateSlot>(&mut text);
    structure::<ChoiceTable>(&mut text);
    structure::<PlaceRing>(&mut text);
    structure::<NoteRing>(&mut text);
    structure::<WaySlot>(&mut text);
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
        ("TEMPLATE_STAMPS", TEMPLATE_STAMPS as u32),
        ("GENERATIONS", GENERATIONS),
        ("GATEWAYS", GATEWAYS),
        ("SLOTS", SLOTS as u32),
        ("NOWHERE", NOWHERE),
        ("PROCESSORS", PROCESSORS),
        ("TEMPLATES", TEMPLATES),
        ("TEMPLATE_BUCKETS", TEMPLATE_BUCKETS),
        ("CHOICE_TABLES", CHOICE_TABLES),
        ("BUCKETS", BUCKETS as u32),
        ("BUCKET_SHIFT", BUCKET_SHIFT),
        ("MASKS", MASKS as u32),
        ("RING", RING as u32),
        ("REASONS", REASONS as u32),
        ("STAND_INS", STAND_INS as u32),
        ("NAT_TRIES", NAT_TRIES),
        ("NAT_FIRST_PORT", u32::from(crate::forward::NAT_FIRST_PORT)),
        ("NAT_PORTS", crate::forward::NAT_PORTS as u32),
        ("ANY_SOURCE", u32::from(ANY_SOURCE)),
        ("KNOWN", KNOWN),
        ("UNBOUNDED", UNBOUNDED),
        ("TAKEN", TAKEN),
        ("SYN_UP", SYN_UP),
        ("HAS_NAT_PORT", HAS_NAT_PORT),
        ("HANDED_UP", HANDED_UP as u32),
        ("CONTROL", CONTROL as u32),
        ("REFUSED", REFUSED as u32),
        ("BEGUN", BEGUN as u32),
        ("PORT_PLACE_MASK", PortNumber::PLACE_MASK),
        ("ETHERNET_BYTES", crate::forward::packet::ethernet::HEADER_BYTES as u32),
        ("ETHERNET_IPV4", u32::from(crate::forward::packet::ethernet::IPV4)),
        ("ETHERNET_ARP", u32::from(crate::forward::packet::ethernet::ARP)),
        ("ETHERNET_HANDED_UP", u32::from(crate::host::HANDED_UP)),
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
    for (name, value) in ["PROTOCOL", "SOURCE", "DESTINATION", "PORTS", "SUM"].into_iter().zip(FACTORS) {
        let _ = writeln!(text, "#define FACTOR_{name} {value:#x}ull");
    }
    for (name, value) in Phase::NUMBERS {
        let _ = writeln!(text, "#define {name} {value}u");
    }
    for (name, value) in Kind::NUMBERS {
        let _ = writeln!(text, "#define {name} {value}u");
    }
    for reason in DropReason::ALL {
        let name = reason.name().to_uppercase().replace('-', "_");
        let _ = writeln!(text, "#define DROP_{name} {}u", reason.code());
    }
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
        assert!(checked_in == header(), "it is not: run `cargo xtask bpf`");
    }
}

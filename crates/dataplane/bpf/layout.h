// Written by `cargo xtask bpf` from crates/dataplane/src/kernel/layout.rs. Not to be edited.
#pragma once

#define PORTS 4096u
#define INTERFACES 65536u
#define ADDRESSES 8u
#define STAMPS 16u
#define TEMPLATE_STAMPS 48u
#define GENERATIONS 262144u
#define GATEWAYS 1024u
#define SLOTS 8u
#define NOWHERE 4294967295u
#define PROCESSORS 256u
#define TEMPLATES 8192u
#define TEMPLATE_BUCKETS 2048u
#define CHOICE_TABLES 1024u
#define BUCKETS 1024u
#define BUCKET_SHIFT 54u
#define MASKS 8u
#define RING 4096u
#define REASONS 64u
#define STAND_INS 8u
#define NAT_TRIES 8u
#define NAT_FIRST_PORT 1024u
#define NAT_PORTS 64512u
#define ANY_SOURCE 1u
#define KNOWN 1u
#define UNBOUNDED 2u
#define TAKEN 1u
#define SYN_UP 1u
#define HAS_NAT_PORT 2u
#define HANDED_UP 0u
#define CONTROL 1u
#define REFUSED 2u
#define BEGUN 3u
#define PORT_PLACE_MASK 1048575u
#define ETHERNET_BYTES 14u
#define ETHERNET_IPV4 2048u
#define ETHERNET_ARP 2054u
#define ETHERNET_HANDED_UP 34984u
#define IPV4_BYTES 20u
#define UDP_BYTES 8u
#define ICMP_BYTES 8u
#define TCP_BYTES 20u
#define ROUTER_MAC_HEAD 1397706754u
#define ROUTER_MAC_TAIL 340u
#define TCP_FIN 1u
#define TCP_SYN 2u
#define TCP_RST 4u
#define TCP_ACK 16u
#define FACTOR_PROTOCOL 0x9e3779b97f4a7c15ull
#define FACTOR_SOURCE 0xbf58476d1ce4e5b9ull
#define FACTOR_DESTINATION 0x94d049bb133111ebull
#define FACTOR_PORTS 0xd6e8feb86659fd93ull
#define FACTOR_SUM 0xa0761d6478bd642full
#define PHASE_SHIFT 16u
#define PHASE_SYN_SENT 1u
#define PHASE_SYN_RECEIVED 2u
#define PHASE_ESTABLISHED 3u
#define PHASE_HALF_CLOSED 4u
#define PHASE_CLOSED 5u
#define PHASE_DATAGRAMS 6u
#define PHASE_OTHER 7u
#define PHASE_RESET 8u
#define HALF_OPEN_SECONDS 30u
#define HALF_CLOSED_SECONDS 240u
#define CLOSED_SECONDS 10u
#define KIND_KEEP 0u
#define KIND_ADDRESS 1u
#define KIND_NAT_PORT 2u
#define KIND_STAND_IN 3u
#define KIND_REFUSE 4u
#define KIND_CHOOSE 5u
#define DROP_MALFORMED 1u
#define DROP_UNSUPPORTED 2u
#define DROP_SPOOFED_SOURCE 3u
#define DROP_SPOOFED_MAC 4u
#define DROP_EGRESS_SECURITY_GROUP 5u
#define DROP_EGRESS_NETWORK_ACL 6u
#define DROP_NO_ROUTE 7u
#define DROP_BLACKHOLE 8u
#define DROP_NO_SUCH_ADDRESS 9u
#define DROP_TARGET_DOWN 10u
#define DROP_NO_PUBLIC_ADDRESS 11u
#define DROP_NO_UPLINK 12u
#define DROP_INGRESS_NETWORK_ACL 13u
#define DROP_INGRESS_SECURITY_GROUP 14u
#define DROP_RETURN_NETWORK_ACL 15u
#define DROP_RETURN_ROUTE 16u
#define DROP_DESTINATION_CHECK 17u
#define DROP_RESOLVER_OFF 18u
#define DROP_METADATA_OFF 19u
#define DROP_NO_SUCH_LINK_SERVICE 20u
#define DROP_NAT_PROTOCOL 21u
#define DROP_PORT_ALLOCATION 22u
#define DROP_NO_FLOW 23u
#define DROP_CUT 24u
#define DROP_TTL_EXPIRED 25u
#define DROP_TOO_BIG 26u
#define DROP_FRAGMENT 27u
#define DROP_TABLE_FULL 28u
#define DROP_RATE_LIMITED 29u
#define DROP_MULTICAST 30u
#define DROP_UNRELATED_ICMP 31u
#define DROP_ENDPOINT_NOT_AVAILABLE 32u
#define DROP_UNKNOWN_PORT 33u
#define DROP_SEND_FAILED 34u
#define DROP_NOT_CARRIED 35u
#define DROP_UPLINK_PROTOCOL 36u
#define DROP_ENDPOINT_PROTOCOL 37u
#define DROP_NO_TARGET 38u
#define DROP_TARGET_GONE 39u
#define DROP_HAIRPIN 42u
#define DROP_NOT_TRANSITIVE 40u
#define DROP_NO_NETWORK_BEHIND 43u
#define DROP_REMOTE_TO_GATEWAY_ENDPOINT 41u
#define DROP_NO_TRANSIT_ROUTE 44u
#define DROP_TRANSIT_BLACKHOLE 45u
#define DROP_NO_TRANSIT_ZONE 46u

struct flow_key {
	__u32 source[4];
	__u32 destination[4];
	__u32 port;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 mark;
	__u16 choice;
};
_Static_assert(sizeof(struct flow_key) == 44, "flow_key");
_Static_assert(__builtin_offsetof(struct flow_key, source) == 0, "flow_key.source");
_Static_assert(__builtin_offsetof(struct flow_key, destination) == 16, "flow_key.destination");
_Static_assert(__builtin_offsetof(struct flow_key, port) == 32, "flow_key.port");
_Static_assert(__builtin_offsetof(struct flow_key, source_port) == 36, "flow_key.source_port");
_Static_assert(__builtin_offsetof(struct flow_key, destination_port) == 38, "flow_key.destination_port");
_Static_assert(__builtin_offsetof(struct flow_key, protocol) == 40, "flow_key.protocol");
_Static_assert(__builtin_offsetof(struct flow_key, mark) == 41, "flow_key.mark");
_Static_assert(__builtin_offsetof(struct flow_key, choice) == 42, "flow_key.choice");

struct settings {
	__u64 epoch;
	__u64 revision;
	__u64 clock_offset;
	__u64 secrets[5];
	__u64 choice[6];
	__u64 shape_secret;
	__u64 prices[4];
	__u64 bursts[4];
	__u64 logged;
};
_Static_assert(sizeof(struct settings) == 192, "settings");
_Static_assert(__builtin_offsetof(struct settings, epoch) == 0, "settings.epoch");
_Static_assert(__builtin_offsetof(struct settings, revision) == 8, "settings.revision");
_Static_assert(__builtin_offsetof(struct settings, clock_offset) == 16, "settings.clock_offset");
_Static_assert(__builtin_offsetof(struct settings, secrets) == 24, "settings.secrets");
_Static_assert(__builtin_offsetof(struct settings, choice) == 64, "settings.choice");
_Static_assert(__builtin_offsetof(struct settings, shape_secret) == 112, "settings.shape_secret");
_Static_assert(__builtin_offsetof(struct settings, prices) == 120, "settings.prices");
_Static_assert(__builtin_offsetof(struct settings, bursts) == 152, "settings.bursts");
_Static_assert(__builtin_offsetof(struct settings, logged) == 184, "settings.logged");

struct port_slot {
	__u64 revision;
	__u32 number;
	__u32 interface;
	__u32 addresses[8];
	__u32 mac_head;
	__u32 mac_tail;
	__u32 checks;
	__u32 known;
};
_Static_assert(sizeof(struct port_slot) == 64, "port_slot");
_Static_assert(__builtin_offsetof(struct port_slot, revision) == 0, "port_slot.revision");
_Static_assert(__builtin_offsetof(struct port_slot, number) == 8, "port_slot.number");
_Static_assert(__builtin_offsetof(struct port_slot, interface) == 12, "port_slot.interface");
_Static_assert(__builtin_offsetof(struct port_slot, addresses) == 16, "port_slot.addresses");
_Static_assert(__builtin_offsetof(struct port_slot, mac_head) == 48, "port_slot.mac_head");
_Static_assert(__builtin_offsetof(struct port_slot, mac_tail) == 52, "port_slot.mac_tail");
_Static_assert(__builtin_offsetof(struct port_slot, checks) == 56, "port_slot.checks");
_Static_assert(__builtin_offsetof(struct port_slot, known) == 60, "port_slot.known");

struct port_masks {
	__u32 source[8];
	__u32 destination[8];
	__u32 ports[8];
	__u32 used;
	__u32 spare[7];
};
_Static_assert(sizeof(struct port_masks) == 128, "port_masks");
_Static_assert(__builtin_offsetof(struct port_masks, source) == 0, "port_masks.source");
_Static_assert(__builtin_offsetof(struct port_masks, destination) == 32, "port_masks.destination");
_Static_assert(__builtin_offsetof(struct port_masks, ports) == 64, "port_masks.ports");
_Static_assert(__builtin_offsetof(struct port_masks, used) == 96, "port_masks.used");
_Static_assert(__builtin_offsetof(struct port_masks, spare) == 100, "port_masks.spare");

struct port_live {
	__u64 turns[4];
	__u32 made;
	__u32 may_make;
	__u32 blocked;
	__u32 spare[5];
};
_Static_assert(sizeof(struct port_live) == 64, "port_live");
_Static_assert(__builtin_offsetof(struct port_live, turns) == 0, "port_live.turns");
_Static_assert(__builtin_offsetof(struct port_live, made) == 32, "port_live.made");
_Static_assert(__builtin_offsetof(struct port_live, may_make) == 36, "port_live.may_make");
_Static_assert(__builtin_offsetof(struct port_live, blocked) == 40, "port_live.blocked");
_Static_assert(__builtin_offsetof(struct port_live, spare) == 44, "port_live.spare");

struct port_drops {
	__u64 counts[64];
};
_Static_assert(sizeof(struct port_drops) == 512, "port_drops");
_Static_assert(__builtin_offsetof(struct port_drops, counts) == 0, "port_drops.counts");

struct template_slot {
	struct flow_key key;
	__u32 life;
	__u32 source_mask;
	__u32 destination_mask;
	__u32 port_masks;
	__u8 stamps;
	__u8 cut;
	__u8 kind;
	__u8 reason;
	__u32 exit;
	__u32 destination;
	__u32 visible;
	__u32 gateway;
	__u16 mtu;
	__u8 hops;
	__u8 answered;
	__u32 idle[4];
	__u32 table;
	__u16 to_port;
	__u16 ports;
	__u32 spare[5];
	__u64 epoch;
	__u64 used;
	__u32 users;
	__u32 spare_too;
	__u32 stand_ins[8];
	__u64 refused;
	__u32 stand_in_users[8];
	__u32 spare_four[8];
	__u32 slots[48];
	__u64 generations[48];
};
_Static_assert(sizeof(struct template_slot) == 832, "template_slot");
_Static_assert(__builtin_offsetof(struct template_slot, key) == 0, "template_slot.key");
_Static_assert(__builtin_offsetof(struct template_slot, life) == 44, "template_slot.life");
_Static_assert(__builtin_offsetof(struct template_slot, source_mask) == 48, "template_slot.source_mask");
_Static_assert(__builtin_offsetof(struct template_slot, destination_mask) == 52, "template_slot.destination_mask");
_Static_assert(__builtin_offsetof(struct template_slot, port_masks) == 56, "template_slot.port_masks");
_Static_assert(__builtin_offsetof(struct template_slot, stamps) == 60, "template_slot.stamps");
_Static_assert(__builtin_offsetof(struct template_slot, cut) == 61, "template_slot.cut");
_Static_assert(__builtin_offsetof(struct template_slot, kind) == 62, "template_slot.kind");
_Static_assert(__builtin_offsetof(struct template_slot, reason) == 63, "template_slot.reason");
_Static_assert(__builtin_offsetof(struct template_slot, exit) == 64, "template_slot.exit");
_Static_assert(__builtin_offsetof(struct template_slot, destination) == 68, "template_slot.destination");
_Static_assert(__builtin_offsetof(struct template_slot, visible) == 72, "template_slot.visible");
_Static_assert(__builtin_offsetof(struct template_slot, gateway) == 76, "template_slot.gateway");
_Static_assert(__builtin_offsetof(struct template_slot, mtu) == 80, "template_slot.mtu");
_Static_assert(__builtin_offsetof(struct template_slot, hops) == 82, "template_slot.hops");
_Static_assert(__builtin_offsetof(struct template_slot, answered) == 83, "template_slot.answered");
_Static_assert(__builtin_offsetof(struct template_slot, idle) == 84, "template_slot.idle");
_Static_assert(__builtin_offsetof(struct template_slot, table) == 100, "template_slot.table");
_Static_assert(__builtin_offsetof(struct template_slot, to_port) == 104, "template_slot.to_port");
_Static_assert(__builtin_offsetof(struct template_slot, ports) == 106, "template_slot.ports");
_Static_assert(__builtin_offsetof(struct template_slot, spare) == 108, "template_slot.spare");
_Static_assert(__builtin_offsetof(struct template_slot, epoch) == 128, "template_slot.epoch");
_Static_assert(__builtin_offsetof(struct template_slot, used) == 136, "template_slot.used");
_Static_assert(__builtin_offsetof(struct template_slot, users) == 144, "template_slot.users");
_Static_assert(__builtin_offsetof(struct template_slot, spare_too) == 148, "template_slot.spare_too");
_Static_assert(__builtin_offsetof(struct template_slot, stand_ins) == 152, "template_slot.stand_ins");
_Static_assert(__builtin_offsetof(struct template_slot, refused) == 184, "template_slot.refused");
_Static_assert(__builtin_offsetof(struct template_slot, stand_in_users) == 192, "template_slot.stand_in_users");
_Static_assert(__builtin_offsetof(struct template_slot, spare_four) == 224, "template_slot.spare_four");
_Static_assert(__builtin_offsetof(struct template_slot, slots) == 256, "template_slot.slots");
_Static_assert(__builtin_offsetof(struct template_slot, generations) == 448, "template_slot.generations");

struct choice_table {
	__u32 sticky;
	__u32 gap[15];
	__u32 owners[256];
};
_Static_assert(sizeof(struct choice_table) == 1088, "choice_table");
_Static_assert(__builtin_offsetof(struct choice_table, sticky) == 0, "choice_table.sticky");
_Static_assert(__builtin_offsetof(struct choice_table, gap) == 4, "choice_table.gap");
_Static_assert(__builtin_offsetof(struct choice_table, owners) == 64, "choice_table.owners");

struct place_ring {
	__u32 head;
	__u32 gap[15];
	__u32 tail;
	__u32 gap_too[15];
	__u32 places[4096];
};
_Static_assert(sizeof(struct place_ring) == 16512, "place_ring");
_Static_assert(__builtin_offsetof(struct place_ring, head) == 0, "place_ring.head");
_Static_assert(__builtin_offsetof(struct place_ring, gap) == 4, "place_ring.gap");
_Static_assert(__builtin_offsetof(struct place_ring, tail) == 64, "place_ring.tail");
_Static_assert(__builtin_offsetof(struct place_ring, gap_too) == 68, "place_ring.gap_too");
_Static_assert(__builtin_offsetof(struct place_ring, places) == 128, "place_ring.places");

struct note_ring {
	__u64 head;
	__u64 lost;
	__u64 gap[6];
	__u64 tail;
	__u64 gap_too[7];
	__u64 notes[4096];
};
_Static_assert(sizeof(struct note_ring) == 32896, "note_ring");
_Static_assert(__builtin_offsetof(struct note_ring, head) == 0, "note_ring.head");
_Static_assert(__builtin_offsetof(struct note_ring, lost) == 8, "note_ring.lost");
_Static_assert(__builtin_offsetof(struct note_ring, gap) == 16, "note_ring.gap");
_Static_assert(__builtin_offsetof(struct note_ring, tail) == 64, "note_ring.tail");
_Static_assert(__builtin_offsetof(struct note_ring, gap_too) == 72, "note_ring.gap_too");
_Static_assert(__builtin_offsetof(struct note_ring, notes) == 128, "note_ring.notes");

struct way_slot {
	__u64 seen;
	__u64 packets;
	__u64 bytes;
	__u64 spare[5];
};
_Static_assert(sizeof(struct way_slot) == 64, "way_slot");
_Static_assert(__builtin_offsetof(struct way_slot, seen) == 0, "way_slot.seen");
_Static_assert(__builtin_offsetof(struct way_slot, packets) == 8, "way_slot.packets");
_Static_assert(__builtin_offsetof(struct way_slot, bytes) == 16, "way_slot.bytes");
_Static_assert(__builtin_offsetof(struct way_slot, spare) == 24, "way_slot.spare");

struct live_slot {
	__u64 epoch;
	__u64 phase;
	__u64 begun;
	__u64 spare[5];
	struct way_slot ways[2];
};
_Static_assert(sizeof(struct live_slot) == 192, "live_slot");
_Static_assert(__builtin_offsetof(struct live_slot, epoch) == 0, "live_slot.epoch");
_Static_assert(__builtin_offsetof(struct live_slot, phase) == 8, "live_slot.phase");
_Static_assert(__builtin_offsetof(struct live_slot, begun) == 16, "live_slot.begun");
_Static_assert(__builtin_offsetof(struct live_slot, spare) == 24, "live_slot.spare");
_Static_assert(__builtin_offsetof(struct live_slot, ways) == 64, "live_slot.ways");

struct flow_slot {
	struct flow_key forward;
	__u32 life;
	__u16 mtu;
	__u8 hops;
	__u8 stamps;
	__u32 gateway;
	__u32 template;
	__u32 flags;
	struct flow_key reverse;
	__u32 idle[4];
	__u32 spare[1];
	struct live_slot live;
	__u32 slots[16];
	__u64 generations[16];
};
_Static_assert(sizeof(struct flow_slot) == 512, "flow_slot");
_Static_assert(__builtin_offsetof(struct flow_slot, forward) == 0, "flow_slot.forward");
_Static_assert(__builtin_offsetof(struct flow_slot, life) == 44, "flow_slot.life");
_Static_assert(__builtin_offsetof(struct flow_slot, mtu) == 48, "flow_slot.mtu");
_Static_assert(__builtin_offsetof(struct flow_slot, hops) == 50, "flow_slot.hops");
_Static_assert(__builtin_offsetof(struct flow_slot, stamps) == 51, "flow_slot.stamps");
_Static_assert(__builtin_offsetof(struct flow_slot, gateway) == 52, "flow_slot.gateway");
_Static_assert(__builtin_offsetof(struct flow_slot, template) == 56, "flow_slot.template");
_Static_assert(__builtin_offsetof(struct flow_slot, flags) == 60, "flow_slot.flags");
_Static_assert(__builtin_offsetof(struct flow_slot, reverse) == 64, "flow_slot.reverse");
_Static_assert(__builtin_offsetof(struct flow_slot, idle) == 108, "flow_slot.idle");
_Static_assert(__builtin_offsetof(struct flow_slot, spare) == 124, "flow_slot.spare");
_Static_assert(__builtin_offsetof(struct flow_slot, live) == 128, "flow_slot.live");
_Static_assert(__builtin_offsetof(struct flow_slot, slots) == 320, "flow_slot.slots");
_Static_assert(__builtin_offsetof(struct flow_slot, generations) == 384, "flow_slot.generations");

struct bucket {
	__u64 slots[8];
};
_Static_assert(sizeof(struct bucket) == 64, "bucket");
_Static_assert(__builtin_offsetof(struct bucket, slots) == 0, "bucket.slots");

struct port_tally {
	__u64 carried_packets;
	__u64 carried_bytes;
	__u64 delivered_packets;
	__u64 delivered_bytes;
	__u64 begun;
	__u64 ended;
	__u64 dropped_bytes;
	__u64 unlogged;
	__u64 suppressed;
	__u64 spare[7];
};
_Static_assert(sizeof(struct port_tally) == 128, "port_tally");
_Static_assert(__builtin_offsetof(struct port_tally, carried_packets) == 0, "port_tally.carried_packets");
_Static_assert(__builtin_offsetof(struct port_tally, carried_bytes) == 8, "port_tally.carried_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, delivered_packets) == 16, "port_tally.delivered_packets");
_Static_assert(__builtin_offsetof(struct port_tally, delivered_bytes) == 24, "port_tally.delivered_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, begun) == 32, "port_tally.begun");
_Static_assert(__builtin_offsetof(struct port_tally, ended) == 40, "port_tally.ended");
_Static_assert(__builtin_offsetof(struct port_tally, dropped_bytes) == 48, "port_tally.dropped_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, unlogged) == 56, "port_tally.unlogged");
_Static_assert(__builtin_offsetof(struct port_tally, suppressed) == 64, "port_tally.suppressed");
_Static_assert(__builtin_offsetof(struct port_tally, spare) == 72, "port_tally.spare");

struct gateway_tally {
	__u64 packets[2];
	__u64 bytes[2];
	__u64 begun;
	__u64 ended;
	__u64 spare[2];
};
_Static_assert(sizeof(struct gateway_tally) == 64, "gateway_tally");
_Static_assert(__builtin_offsetof(struct gateway_tally, packets) == 0, "gateway_tally.packets");
_Static_assert(__builtin_offsetof(struct gateway_tally, bytes) == 16, "gateway_tally.bytes");
_Static_assert(__builtin_offsetof(struct gateway_tally, begun) == 32, "gateway_tally.begun");
_Static_assert(__builtin_offsetof(struct gateway_tally, ended) == 40, "gateway_tally.ended");
_Static_assert(__builtin_offsetof(struct gateway_tally, spare) == 48, "gateway_tally.spare");

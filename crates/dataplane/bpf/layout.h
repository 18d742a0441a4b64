// Written by `cargo xtask bpf` from crates/dataplane/src/kernel/layout.rs. Not to be edited.
#pragma once

#define PORTS 4096u
#define INTERFACES 65536u
#define ADDRESSES 8u
#define STAMPS 16u
#define GENERATIONS 262144u
#define GATEWAYS 1024u
#define SLOTS 8u
#define NOWHERE 4294967295u
#define PROCESSORS 256u
#define ANY_SOURCE 1u
#define PORT_PLACE_MASK 1048575u
#define ETHERNET_BYTES 14u
#define ETHERNET_IPV4 2048u
#define ETHERNET_ARP 2054u
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
#define PHASE_SHIFT 16u
#define PHASE_SYN_SENT 1u
#define PHASE_SYN_RECEIVED 2u
#define PHASE_ESTABLISHED 3u
#define PHASE_HALF_CLOSED 4u
#define PHASE_CLOSED 5u
#define PHASE_DATAGRAMS 6u
#define PHASE_OTHER 7u
#define HALF_OPEN_SECONDS 30u
#define HALF_CLOSED_SECONDS 240u
#define CLOSED_SECONDS 10u
#define DROP_UNKNOWN_PORT 0u // code 33
#define DROP_SPOOFED_MAC 1u // code 4
#define DROP_UNSUPPORTED 2u // code 2
#define DROPS 3u

struct flow_key {
	__u32 source[4];
	__u32 destination[4];
	__u32 port;
	__u16 source_port;
	__u16 destination_port;
	__u8 protocol;
	__u8 mark;
	__u8 zero[2];
};
_Static_assert(sizeof(struct flow_key) == 44, "flow_key");
_Static_assert(__builtin_offsetof(struct flow_key, source) == 0, "flow_key.source");
_Static_assert(__builtin_offsetof(struct flow_key, destination) == 16, "flow_key.destination");
_Static_assert(__builtin_offsetof(struct flow_key, port) == 32, "flow_key.port");
_Static_assert(__builtin_offsetof(struct flow_key, source_port) == 36, "flow_key.source_port");
_Static_assert(__builtin_offsetof(struct flow_key, destination_port) == 38, "flow_key.destination_port");
_Static_assert(__builtin_offsetof(struct flow_key, protocol) == 40, "flow_key.protocol");
_Static_assert(__builtin_offsetof(struct flow_key, mark) == 41, "flow_key.mark");
_Static_assert(__builtin_offsetof(struct flow_key, zero) == 42, "flow_key.zero");

struct settings {
	__u64 epoch;
	__u64 revision;
	__u64 clock_offset;
	__u64 secrets[5];
};
_Static_assert(sizeof(struct settings) == 64, "settings");
_Static_assert(__builtin_offsetof(struct settings, epoch) == 0, "settings.epoch");
_Static_assert(__builtin_offsetof(struct settings, revision) == 8, "settings.revision");
_Static_assert(__builtin_offsetof(struct settings, clock_offset) == 16, "settings.clock_offset");
_Static_assert(__builtin_offsetof(struct settings, secrets) == 24, "settings.secrets");

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

struct live_slot {
	__u64 epoch;
	__u64 seen;
	__u64 phase;
	__u64 packets[2];
	__u64 bytes[2];
	__u64 spare[1];
};
_Static_assert(sizeof(struct live_slot) == 64, "live_slot");
_Static_assert(__builtin_offsetof(struct live_slot, epoch) == 0, "live_slot.epoch");
_Static_assert(__builtin_offsetof(struct live_slot, seen) == 8, "live_slot.seen");
_Static_assert(__builtin_offsetof(struct live_slot, phase) == 16, "live_slot.phase");
_Static_assert(__builtin_offsetof(struct live_slot, packets) == 24, "live_slot.packets");
_Static_assert(__builtin_offsetof(struct live_slot, bytes) == 40, "live_slot.bytes");
_Static_assert(__builtin_offsetof(struct live_slot, spare) == 56, "live_slot.spare");

struct flow_slot {
	struct flow_key forward;
	__u32 life;
	__u16 mtu;
	__u8 hops;
	__u8 stamps;
	__u32 gateway;
	__u32 spare[2];
	struct flow_key reverse;
	__u32 idle[4];
	__u32 spare_too[1];
	struct live_slot live;
	__u32 slots[16];
	__u64 generations[16];
};
_Static_assert(sizeof(struct flow_slot) == 384, "flow_slot");
_Static_assert(__builtin_offsetof(struct flow_slot, forward) == 0, "flow_slot.forward");
_Static_assert(__builtin_offsetof(struct flow_slot, life) == 44, "flow_slot.life");
_Static_assert(__builtin_offsetof(struct flow_slot, mtu) == 48, "flow_slot.mtu");
_Static_assert(__builtin_offsetof(struct flow_slot, hops) == 50, "flow_slot.hops");
_Static_assert(__builtin_offsetof(struct flow_slot, stamps) == 51, "flow_slot.stamps");
_Static_assert(__builtin_offsetof(struct flow_slot, gateway) == 52, "flow_slot.gateway");
_Static_assert(__builtin_offsetof(struct flow_slot, spare) == 56, "flow_slot.spare");
_Static_assert(__builtin_offsetof(struct flow_slot, reverse) == 64, "flow_slot.reverse");
_Static_assert(__builtin_offsetof(struct flow_slot, idle) == 108, "flow_slot.idle");
_Static_assert(__builtin_offsetof(struct flow_slot, spare_too) == 124, "flow_slot.spare_too");
_Static_assert(__builtin_offsetof(struct flow_slot, live) == 128, "flow_slot.live");
_Static_assert(__builtin_offsetof(struct flow_slot, slots) == 192, "flow_slot.slots");
_Static_assert(__builtin_offsetof(struct flow_slot, generations) == 256, "flow_slot.generations");

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
	__u64 dropped_bytes;
	__u64 drops[3];
};
_Static_assert(sizeof(struct port_tally) == 64, "port_tally");
_Static_assert(__builtin_offsetof(struct port_tally, carried_packets) == 0, "port_tally.carried_packets");
_Static_assert(__builtin_offsetof(struct port_tally, carried_bytes) == 8, "port_tally.carried_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, delivered_packets) == 16, "port_tally.delivered_packets");
_Static_assert(__builtin_offsetof(struct port_tally, delivered_bytes) == 24, "port_tally.delivered_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, dropped_bytes) == 32, "port_tally.dropped_bytes");
_Static_assert(__builtin_offsetof(struct port_tally, drops) == 40, "port_tally.drops");

struct gateway_tally {
	__u64 packets[2];
	__u64 bytes[2];
	__u64 spare[4];
};
_Static_assert(sizeof(struct gateway_tally) == 64, "gateway_tally");
_Static_assert(__builtin_offsetof(struct gateway_tally, packets) == 0, "gateway_tally.packets");
_Static_assert(__builtin_offsetof(struct gateway_tally, bytes) == 16, "gateway_tally.bytes");
_Static_assert(__builtin_offsetof(struct gateway_tally, spare) == 32, "gateway_tally.spare");

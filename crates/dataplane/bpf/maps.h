// What the program and the forwarder share, and how the program reads it.
#pragma once

#include "kernel.h"

#define array_map(name, kind, entries)                                                                                 \
	struct {                                                                                                           \
		number(type, BPF_MAP_TYPE_ARRAY);                                                                              \
		number(max_entries, entries);                                                                                  \
		number(map_flags, BPF_F_MMAPABLE);                                                                             \
		type(key, __u32);                                                                                              \
		type(value, kind);                                                                                             \
	} name section(".maps")

array_map(settings, struct settings, 1);
array_map(places, __u64, INTERFACES);
array_map(ports, struct port_slot, PORTS);
array_map(port_masks, struct port_masks, PORTS);
array_map(port_lives, struct port_live, PORTS);
array_map(port_drops, struct port_drops, PORTS);
array_map(generations, __u64, GENERATIONS);
array_map(templates, struct template_slot, TEMPLATES);
array_map(template_buckets, struct bucket, TEMPLATE_BUCKETS);
array_map(choice_tables, struct choice_table, CHOICE_TABLES);
// How large these are is said when they are loaded; buckets are a power of two.
array_map(flows, struct flow_slot, 64);
array_map(buckets, struct bucket, 64);
// One part for each processor.
array_map(gateway_tallies, struct gateway_tally, GATEWAYS);
array_map(port_tallies, struct port_tally, PORTS);
array_map(place_rings, struct place_ring, 1);
array_map(note_rings, struct note_ring, 1);

// The number of buckets less one, set when the program is loaded.
const volatile __u32 bucket_mask section(".rodata") = 63;
// Whether the processor may read in another order than the program does, set when the program is loaded.
const volatile __u32 reorders section(".rodata") = 1;

// A packet, as far as it was read.
struct packet {
	struct port_slot *port;
	// The plan by which its sender is checked, and the number of the port it came in by.
	__u64 revision;
	__u32 entry;
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	// Bytes of the frame; of each segment where the kernel is still to cut it, else zero.
	__u32 length;
	__u32 segment;
	__u16 total;
	__u16 transport_bytes;
	__u8 protocol;
	__u8 ttl;
	__u8 flags;
	// Which of the rates it counts for, if it goes up.
	__u8 rate;
};

// Which flow a packet is of, and which way it goes.
struct match {
	struct flow_slot *flow;
	__u32 place;
	__u32 life;
	__u32 reverse;
	// Whether it may be of a flow that only the forwarder knows.
	__u32 taken;
};

// How a packet leaves: read once, before it is known that flow and port were whole meanwhile.
struct way {
	__u32 interface;
	__u32 source;
	__u32 destination;
	__u32 mac_head;
	__u16 mac_tail;
	__u16 source_port;
	__u16 destination_port;
	__u16 mtu;
	__u8 hops;
};

// What was read before this was read before what is read after it.
static always_inline void in_order(void)
{
	asm volatile("" ::: "memory");
	if (reorders) {
		volatile __u64 nothing = 0;
		// An exchange is a full barrier; that nobody else sees it does not matter.
		__sync_lock_test_and_set(&nothing, 1);
	}
	asm volatile("" ::: "memory");
}

// Whether a port is the one, as the plan has it, that was meant. What was read of it before is its own then.
static always_inline int is_still(struct port_slot *port, __u32 number, __u64 revision)
{
	return load(port->number) == number && load(port->revision) == revision;
}

static always_inline void *at(void *map, __u32 index)
{
	return map_lookup_elem(map, &index);
}

static always_inline struct port_tally *tally_of(__u32 port)
{
	return at(&port_tallies, get_smp_processor_id() * PORTS + (port & PORT_PLACE_MASK));
}

static always_inline struct gateway_tally *gateway_tally_of(__u32 place)
{
	return place == NOWHERE ? 0 : at(&gateway_tallies, get_smp_processor_id() * GATEWAYS + place);
}

// Counts a packet that is dropped at a port.
static always_inline void tally_drop(struct __sk_buff *skb, __u32 port, __u32 reason)
{
	struct port_drops *drops = at(&port_drops, port & PORT_PLACE_MASK);
	struct port_tally *tally = tally_of(port);

	if (!drops || !tally)
		return;
	tally->dropped_bytes += skb->len - ETHERNET_BYTES;
	__sync_fetch_and_add(&drops->counts[reason & (REASONS - 1)], 1);
}

// Whether something may happen at a port now that is kept to a rate. If so, it has. Of two processors that ask at the same
// moment, one may not be counted: that is once too often, and no lock for every packet.
static always_inline int may(struct settings *settings, struct port_live *live, __u32 rate, __u64 now)
{
	__u64 price = load(settings->prices[rate]), burst = load(settings->bursts[rate]);
	__u64 due = load(live->turns[rate]);

	if (due < now)
		due = now;
	if (burst < price || due - now > burst - price)
		return 0;
	store(live->turns[rate], due + price);
	return 1;
}

// Whether a port has used up one of its rates. The packet ends here then, and is counted.
static always_inline int is_used_up(struct __sk_buff *skb, struct settings *settings, struct port_slot *port, __u32 rate,
                                    __u64 now)
{
	__u32 number = load(port->number);
	struct port_live *live = at(&port_lives, number & PORT_PLACE_MASK);

	if (!live || load(port->known) & UNBOUNDED || may(settings, live, rate, now))
		return 0;
	tally_drop(skb, number, DROP_RATE_LIMITED);
	return 1;
}

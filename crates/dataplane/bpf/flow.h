// Flows: finding them, and what a packet means for them.
#pragma once

#include "packet.h"

static always_inline int is_key(const struct flow_key *key, const struct packet *packet, __u32 port)
{
	return key->destination[3] == packet->destination && key->source[3] == packet->source &&
	       key->source_port == packet->source_port && key->destination_port == packet->destination_port &&
	       key->port == port && key->protocol == packet->protocol && key->source[2] == 0xffff0000 &&
	       key->destination[2] == 0xffff0000;
}

// Multilinear: for keys that differ, as good as drawn (Lemire and Kaser, "Strongly universal string hashing").
static always_inline __u64 sum_of(const struct settings *settings, __u8 protocol, __u32 source, __u32 destination,
                                  __u32 both_ports, __u32 port)
{
	return settings->secrets[0] * protocol + settings->secrets[1] * source + settings->secrets[2] * destination +
	       settings->secrets[3] * both_ports + settings->secrets[4] * port;
}

static always_inline __u32 both_ports(__u16 source_port, __u16 destination_port)
{
	return (__u32)source_port << 16 | destination_port;
}

static always_inline __u32 hash_of(const struct settings *settings, const struct packet *packet)
{
	__u32 both = both_ports(packet->source_port, packet->destination_port);

	return sum_of(settings, packet->protocol, packet->source, packet->destination, both, packet->entry) >> 32;
}

// The second bucket of a hash.
static always_inline __u32 other(__u32 hash)
{
	return (hash * 0x9e3779b1u) >> 7;
}

// One where a number is not zero, without a branch: the verifier follows every branch on its own.
static always_inline __u64 is_any(__u64 number)
{
	__u64 any = number | -number;

	// The compiler is not to see what it is.
	asm volatile("" : "+r"(any));
	any >>= 63;
	asm volatile("" : "+r"(any));
	return any;
}

// Slots of a bucket, a bit for each.
struct slots {
	__u32 free;
	__u32 same;
};

static always_inline struct slots slots_of(struct bucket *bucket, __u32 hashed)
{
	struct slots slots = {};

	for (__u32 i = 0; i < SLOTS; i++) {
		__u64 slot = load(bucket->slots[i]);
		slots.free |= (is_any(slot) ^ 1) << i;
		slots.same |= (is_any((slot >> 32) ^ hashed) ^ 1) << i;
	}
	// With a hash of zero an empty slot looks the same.
	slots.same &= ~slots.free;
	return slots;
}

// The lowest of some bits.
static always_inline __u32 lowest(__u32 bits)
{
	bits &= -bits;
	return is_any(bits & 0xaa) | is_any(bits & 0xcc) << 1 | is_any(bits & 0xf0) << 2;
}

// How many of eight bits there are.
static always_inline __u32 count(__u32 bits)
{
	bits = (bits & 0x55) + (bits >> 1 & 0x55);
	bits = (bits & 0x33) + (bits >> 2 & 0x33);
	return (bits & 0xf) + (bits >> 4 & 0xf);
}

static always_inline int find_in(struct match *match, __u32 at_bucket, __u32 hash, const struct packet *packet,
                                 __u32 port)
{
	struct bucket *bucket = at(&buckets, at_bucket & bucket_mask);

	if (!bucket)
		return 0;
	for (__u32 i = 0; i < SLOTS; i++) {
		__u64 slot = load(bucket->slots[i]);
		if ((__u32)(slot >> 32) != hash || !slot)
			continue;
		__u32 place = (__u32)slot;
		if (place == TAKEN) {
			match->taken = 1;
			continue;
		}
		struct flow_slot *flow = at(&flows, (place >> 1) - 1);
		if (!flow)
			continue;
		match->flow = flow;
		match->place = (place >> 1) - 1;
		match->life = load(flow->life);
		in_order();
		match->reverse = place & 1;
		if (is_key(match->reverse ? &flow->reverse : &flow->forward, packet, port))
			return 1;
	}
	return 0;
}

// How long a flow may be silent, in nanoseconds.
static always_inline __u64 patience(const struct flow_slot *flow, __u64 phase)
{
	__u64 seconds;

	switch (phase >> PHASE_SHIFT) {
	case PHASE_ESTABLISHED:
		seconds = flow->idle[0];
		break;
	case PHASE_SYN_SENT:
	case PHASE_SYN_RECEIVED:
		seconds = HALF_OPEN_SECONDS;
		break;
	case PHASE_HALF_CLOSED:
		seconds = flow->idle[0] < HALF_CLOSED_SECONDS ? flow->idle[0] : HALF_CLOSED_SECONDS;
		break;
	case PHASE_DATAGRAMS:
		seconds = (phase & 0xffff) == 0x0202 ? flow->idle[1] : flow->idle[2];
		break;
	case PHASE_OTHER:
		seconds = flow->idle[3];
		break;
	default:
		seconds = CLOSED_SECONDS;
	}
	return seconds * 1000000000ull;
}

// Whether a flow was silent for too long. What the other way notes is looked at only where this one's does not say enough:
// another processor writes it all the time.
static always_inline int is_expired(struct flow_slot *flow, __u32 reverse, __u64 phase, __u64 now)
{
	__u64 most = patience(flow, phase);
	__u64 seen = load(flow->live.ways[reverse & 1].seen);

	if (likely(now <= seen || now - seen <= most))
		return 0;
	seen = load(flow->live.ways[~reverse & 1].seen);
	return now > seen && now - seen > most;
}

// Whether the generations in these slots are these.
static always_inline int are_current(const __u32 *slots, const __u64 *values, __u32 count, __u32 most)
{
	// The epoch was read before: it begins when all generations of a change are stored.
	in_order();
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < most; i++) {
		if (i >= count)
			break;
		__u64 *generation = at(&generations, slots[i]);
		if (!generation || load(*generation) != values[i])
			return 0;
	}
	return 1;
}

// The phase after a packet.
static always_inline __u64 phase_after(__u64 phase, __u32 reverse, __u8 flags)
{
	__u64 kind = phase >> PHASE_SHIFT;

	if (kind == PHASE_DATAGRAMS) {
		__u32 shift = reverse ? 0 : 8;
		return ((phase >> shift) & 0xff) < 2 ? phase + (1ull << shift) : phase;
	}
	if (kind == PHASE_RESET || kind == PHASE_OTHER)
		return phase;
	if (flags & TCP_RST)
		return (__u64)PHASE_RESET << PHASE_SHIFT;
	if (kind == PHASE_CLOSED)
		return phase;
	if (flags & TCP_FIN) {
		__u64 done = (kind == PHASE_HALF_CLOSED ? (phase >> 8) & 3 : 0) | (reverse ? 2 : 1);
		if (done == 3)
			return (__u64)PHASE_CLOSED << PHASE_SHIFT;
		return (__u64)PHASE_HALF_CLOSED << PHASE_SHIFT | done << 8;
	}
	if (kind == PHASE_SYN_SENT && reverse && flags & TCP_SYN)
		return (__u64)PHASE_SYN_RECEIVED << PHASE_SHIFT;
	if (kind == PHASE_SYN_RECEIVED && !reverse && flags & TCP_ACK)
		return (__u64)PHASE_ESTABLISHED << PHASE_SHIFT;
	return phase;
}

// A flow is over before its time, or begins again: it is not among those that are known any more.
static always_inline void tally_end(const struct flow_slot *flow)
{
	struct port_tally *tally = tally_of(flow->forward.port);
	struct gateway_tally *gateway = gateway_tally_of(flow->gateway);

	if (tally)
		tally->ended += 1;
	if (gateway)
		gateway->ended += 1;
}

// What a packet that passes means for its flow.
static always_inline void advance(struct match *match, const struct packet *packet, __u64 now)
{
	struct live_slot *live = &match->flow->live;
	struct way_slot *way = &live->ways[match->reverse & 1];
	__u64 phase = load(live->phase);

	if (phase >> PHASE_SHIFT != PHASE_CLOSED && load(way->seen) != now)
		store(way->seen, now);
	// Packets of both directions may meet here; each has its say.
	for (__u32 i = 0; i < 4; i++) {
		__u64 after = phase_after(phase, match->reverse, packet->flags);
		if (after == phase)
			break;
		__u64 found = __sync_val_compare_and_swap(&live->phase, phase, after);
		if (found == phase) {
			if (unlikely(after >> PHASE_SHIFT == PHASE_RESET))
				tally_end(match->flow);
			break;
		}
		phase = found;
	}
	__sync_fetch_and_add(&way->packets, 1);
	__sync_fetch_and_add(&way->bytes, packet->total);
}

// Counts a packet that passes. A processor is in here once at a time, so that its tallies need no lock.
static always_inline void tally(const struct match *match, const struct packet *packet,
                                __u32 entry, __u32 exit)
{
	__u32 bytes = packet->length - ETHERNET_BYTES;
	struct port_tally *in = tally_of(entry);
	struct port_tally *out = tally_of(exit);

	if (in) {
		in->carried_packets += 1;
		in->carried_bytes += bytes;
	}
	if (out) {
		out->delivered_packets += 1;
		out->delivered_bytes += bytes;
	}
	struct gateway_tally *gateway = gateway_tally_of(match->flow->gateway);
	if (!gateway)
		return;
	if (match->reverse) {
		gateway->packets[1] += 1;
		gateway->bytes[1] += packet->total;
	} else {
		gateway->packets[0] += 1;
		gateway->bytes[0] += packet->total;
	}
}

// The way of a packet of a flow, if flow and ports are whole and the same from before the first look at them until now.
// Nothing is read of them afterwards, so that whatever becomes of them, the packet goes as it was decided.
static always_inline int read_way(struct way *way, const struct match *match, const struct packet *packet,
                                  const struct flow_key *back, struct port_slot *exit)
{
	struct flow_slot *flow = match->flow;
	__u32 exit_number = load(back->port);

	if (!is_still(exit, exit_number, packet->revision))
		return 0;
	in_order();
	way->source = load(back->destination[3]);
	way->destination = load(back->source[3]);
	way->source_port = packet->protocol == 1 ? load(back->source_port) : load(back->destination_port);
	way->destination_port = packet->protocol == 1 ? packet->destination_port : load(back->source_port);
	way->hops = load(flow->hops);
	way->mtu = load(flow->mtu);
	way->interface = load(exit->interface);
	way->mac_head = load(exit->mac_head);
	way->mac_tail = load(exit->mac_tail);
	in_order();
	return way->interface && is_still(exit, exit_number, packet->revision) &&
	       is_still(packet->port, packet->entry, packet->revision) && !(match->life & 1) &&
	       load(flow->life) == match->life;
}

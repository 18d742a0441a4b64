// The forwarder's actions in the kernel: packets of flows that are known and still hold are rewritten and handed to
// whoever they are for, without a way through user space.
//
// What the program does not know it does not judge: it lets the packet pass, and so up to the port's packet socket,
// whose reader (`step`) decides. Only frames that no packet socket would get (neither IPv4 nor ARP, or tagged) are
// dropped and counted here, since they are dropped there too.
//
// INVARIANT: a packet leaves here as `step` would send it, byte for byte, and counts as it would count.
//
// User space alone writes flows, ports and the index; the program writes what is in a flow's `live`, and tallies.

#include "kernel.h"
#include "layout.h"

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
array_map(generations, __u64, GENERATIONS);
array_map(gateway_tallies, struct gateway_tally, GATEWAYS);
array_map(port_tallies, struct port_tally, PORTS);
// How large these are is said when they are loaded; buckets are a power of two.
array_map(flows, struct flow_slot, 64);
array_map(buckets, struct bucket, 64);

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
};

// Which flow a packet is of, and which way it goes.
struct match {
	struct flow_slot *flow;
	__u32 life;
	__u32 reverse;
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

static always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

static always_inline __u16 fold16(__u64 sum)
{
	__u32 folded = fold32(sum);
	folded = (folded & 0xffff) + (folded >> 16);
	return (__u16)((folded & 0xffff) + (folded >> 16));
}

static always_inline void *at(void *map, __u32 index)
{
	return map_lookup_elem(map, &index);
}

static always_inline void tally_drop(struct __sk_buff *skb, __u32 place, __u32 reason)
{
	struct port_tally *tally = at(&port_tallies, get_smp_processor_id() * PORTS + place);

	if (tally && reason < DROPS) {
		tally->dropped_bytes += skb->len - ETHERNET_BYTES;
		tally->drops[reason] += 1;
	}
}

// A frame that no packet socket gets.
static always_inline int drop_foreign(struct __sk_buff *skb, struct port_slot *port, const __u8 *frame)
{
	__u32 place = load(port->number) & PORT_PLACE_MASK;
	__u32 reason = DROP_UNSUPPORTED;

	if (!load(port->known))
		reason = DROP_UNKNOWN_PORT;
	else if (*(__u32 *)(frame + 6) != load(port->mac_head) || *(__u16 *)(frame + 10) != load(port->mac_tail))
		reason = DROP_SPOOFED_MAC;
	tally_drop(skb, place, reason);
	return TCX_DROP;
}

// Whether a port may send from an address.
static always_inline int is_own(struct port_slot *port, __u32 source)
{
	__u32 checks = load(port->checks);
	__u32 first = source & 0xff;

	for (__u32 i = 0; i < ADDRESSES; i++) {
		if (i >= (checks & 0xffff))
			break;
		if (load(port->addresses[i]) == source)
			return 1;
	}
	return (checks >> 16) == ANY_SOURCE && first != 0 && first < 224 && first != 127;
}

// Reads the packet behind an IP header. Zero where it is not a plain one.
static always_inline int read_transport(struct packet *packet, const __u8 *transport, const void *end)
{
	__u32 room = packet->total - IPV4_BYTES;

	if (packet->protocol == 6) {
		if (room < TCP_BYTES || transport + TCP_BYTES > (const __u8 *)end)
			return 0;
		packet->transport_bytes = (transport[12] >> 4) * 4;
		packet->flags = transport[13];
		if (packet->transport_bytes < TCP_BYTES || packet->transport_bytes > room)
			return 0;
		if (packet->flags & TCP_RST || (packet->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
			return 0;
	} else if (packet->protocol == 17) {
		if (room < UDP_BYTES || transport + UDP_BYTES > (const __u8 *)end)
			return 0;
		__u16 length = swap16(*(__u16 *)(transport + 4));
		packet->transport_bytes = UDP_BYTES;
		// To the port 67: DHCP.
		if (length < UDP_BYTES || length > room || *(__u16 *)(transport + 2) == swap16(67))
			return 0;
	} else if (packet->protocol == 1) {
		if (room < ICMP_BYTES || transport + ICMP_BYTES > (const __u8 *)end)
			return 0;
		packet->transport_bytes = 0;
		// Echo requests and replies.
		if (transport[0] != 8 && transport[0] != 0)
			return 0;
		packet->source_port = swap16(*(__u16 *)(transport + 4));
		packet->destination_port = swap16(*(__u16 *)transport);
		return 1;
	} else {
		return 0;
	}
	packet->source_port = swap16(*(__u16 *)transport);
	packet->destination_port = swap16(*(__u16 *)(transport + 2));
	return 1;
}

// Reads an IPv4 packet and checks its sender. Zero where somebody else is to judge.
static always_inline int read_packet(struct packet *packet, const __u8 *frame, const void *end)
{
	const __u8 *header = frame + ETHERNET_BYTES;
	struct port_slot *port = packet->port;

	if (header + IPV4_BYTES > (const __u8 *)end || header[0] != 0x45 || frame[0] & 1)
		return 0;
	if (*(__u32 *)(frame + 6) != load(port->mac_head) || *(__u16 *)(frame + 10) != load(port->mac_tail))
		return 0;
	// A fragment, of whatever place.
	if (*(__u16 *)(header + 6) & swap16(0x3fff))
		return 0;
	__u64 sum = 0;
	for (__u32 i = 0; i < 10; i++)
		sum += *(__u16 *)(header + 2 * i);
	packet->total = swap16(*(__u16 *)(header + 2));
	packet->ttl = header[8];
	packet->protocol = header[9];
	packet->source = *(__u32 *)(header + 12);
	packet->destination = *(__u32 *)(header + 16);
	if (fold16(sum) != 0xffff || packet->total < IPV4_BYTES || packet->total + ETHERNET_BYTES > packet->length)
		return 0;
	if ((packet->destination & 0xf0) == 0xe0 || packet->destination == 0xffffffff)
		return 0;
	if (!is_own(port, packet->source))
		return 0;
	if (!read_transport(packet, header + IPV4_BYTES, end))
		return 0;
	return !packet->segment || packet->protocol != 1;
}

static always_inline int is_key(const struct flow_key *key, const struct packet *packet, __u32 port)
{
	return key->destination[3] == packet->destination && key->source[3] == packet->source &&
	       key->source_port == packet->source_port && key->destination_port == packet->destination_port &&
	       key->port == port && key->protocol == packet->protocol && key->source[2] == 0xffff0000 &&
	       key->destination[2] == 0xffff0000;
}

static always_inline __u32 hash(const struct settings *settings, const struct packet *packet, __u32 port)
{
	__u32 both = (__u32)packet->source_port << 16 | packet->destination_port;

	// Multilinear: for keys that differ, as good as drawn (Lemire and Kaser, "Strongly universal string hashing").
	return (settings->secrets[0] * packet->protocol + settings->secrets[1] * packet->source +
	        settings->secrets[2] * packet->destination + settings->secrets[3] * both +
	        settings->secrets[4] * port) >> 32;
}

// The second bucket of a hash.
static always_inline __u32 other(__u32 hash)
{
	return (hash * 0x9e3779b1u) >> 7;
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
		struct flow_slot *flow = at(&flows, (place >> 1) - 1);
		if (!flow)
			continue;
		match->flow = flow;
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

// Whether everything that a flow rests on is as it was.
static always_inline int holds(struct flow_slot *flow)
{
	// The epoch was read before: it begins when all generations of a change are stored.
	in_order();
	for (__u32 i = 0; i < STAMPS; i++) {
		if (i >= flow->stamps)
			break;
		__u64 *generation = at(&generations, flow->slots[i]);
		if (!generation || load(*generation) != flow->generations[i])
			return 0;
	}
	return 1;
}

// The phase after a packet. Resets never come here.
static always_inline __u64 phase_after(__u64 phase, __u32 reverse, __u8 flags)
{
	__u64 kind = phase >> PHASE_SHIFT;

	if (kind == PHASE_DATAGRAMS) {
		__u32 shift = reverse ? 0 : 8;
		return ((phase >> shift) & 0xff) < 2 ? phase + (1ull << shift) : phase;
	}
	if (kind == PHASE_CLOSED || kind == PHASE_OTHER)
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

// What a packet that passes means for its flow.
static always_inline void advance(struct match *match, const struct packet *packet, __u64 now)
{
	struct live_slot *live = &match->flow->live;
	__u64 phase = load(live->phase);

	if (phase >> PHASE_SHIFT != PHASE_CLOSED && load(live->seen) != now)
		store(live->seen, now);
	// Packets of both directions may meet here; each has its say.
	for (__u32 i = 0; i < 4; i++) {
		__u64 after = phase_after(phase, match->reverse, packet->flags);
		if (after == phase)
			break;
		__u64 found = __sync_val_compare_and_swap(&live->phase, phase, after);
		if (found == phase)
			break;
		phase = found;
	}
	if (match->reverse) {
		__sync_fetch_and_add(&live->packets[1], 1);
		__sync_fetch_and_add(&live->bytes[1], packet->total);
	} else {
		__sync_fetch_and_add(&live->packets[0], 1);
		__sync_fetch_and_add(&live->bytes[0], packet->total);
	}
}

// Counts a packet that passes. A processor is in here once at a time, so that its tallies need no lock.
static always_inline void tally(const struct match *match, const struct packet *packet,
                                __u32 entry, __u32 exit)
{
	__u32 processor = get_smp_processor_id();
	__u32 bytes = packet->length - ETHERNET_BYTES;
	struct port_tally *in = at(&port_tallies, processor * PORTS + (entry & PORT_PLACE_MASK));
	struct port_tally *out = at(&port_tallies, processor * PORTS + (exit & PORT_PLACE_MASK));
	__u32 place = match->flow->gateway;

	if (in) {
		in->carried_packets += 1;
		in->carried_bytes += bytes;
	}
	if (out) {
		out->delivered_packets += 1;
		out->delivered_bytes += bytes;
	}
	if (place == NOWHERE)
		return;
	struct gateway_tally *gateway = at(&gateway_tallies, processor * GATEWAYS + place);
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

// Gives the packet its new addresses, ports and time to live. Zero where the packet could not be changed at all.
static always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, const struct way *way)
{
	__u8 *frame = (void *)(__u64)skb->data;
	__u8 *header = frame + ETHERNET_BYTES;
	__u8 *transport = header + IPV4_BYTES;
	void *end = (void *)(__u64)skb->data_end;
	__u32 source = way->source, destination = way->destination;
	__u16 source_port = way->source_port, destination_port = way->destination_port;
	__u32 checksum_at = ETHERNET_BYTES + IPV4_BYTES + (packet->protocol == 6 ? 16 : 6);
	__u64 flags = packet->protocol == 17 ? BPF_F_MARK_MANGLED_0 : 0;
	__u64 ports = 0;

	if (transport + ICMP_BYTES > (__u8 *)end)
		return 0;
	int syn = packet->protocol == 6 && packet->flags & TCP_SYN;
	__u32 announced = 0, most = 0;
	if (syn && packet->transport_bytes > TCP_BYTES) {
		if (transport + TCP_BYTES + 4 > (__u8 *)end || packet->transport_bytes < TCP_BYTES + 4)
			return 0;
		// The segment size is the first option of every kernel that we know. Others are searched for it in user space.
		if (transport[TCP_BYTES] != 2 || transport[TCP_BYTES + 1] != 4)
			return 0;
		__u16 lowered = way->mtu > 40 ? way->mtu - 40 : 0;
		if (swap16(*(__u16 *)(transport + TCP_BYTES + 2)) > lowered) {
			announced = *(__u16 *)(transport + TCP_BYTES + 2);
			most = swap16(lowered);
			*(__u16 *)(transport + TCP_BYTES + 2) = most;
		}
	}
	*(__u32 *)frame = way->mac_head;
	*(__u16 *)(frame + 4) = way->mac_tail;
	*(__u32 *)(frame + 6) = ROUTER_MAC_HEAD;
	*(__u16 *)(frame + 10) = ROUTER_MAC_TAIL;
	__u64 addresses = (__u64)(__u32)~packet->source + source + (__u32)~packet->destination + destination;
	int same_addresses = packet->source == source && packet->destination == destination;
	if (!same_addresses || way->hops) {
		__u16 before = *(__u16 *)(header + 8);
		header[8] = packet->ttl - way->hops;
		__u16 after = *(__u16 *)(header + 8);
		__u16 sum = *(__u16 *)(header + 10);
		*(__u32 *)(header + 12) = source;
		*(__u32 *)(header + 16) = destination;
		*(__u16 *)(header + 10) = ~fold16((__u16)~sum + addresses + (__u16)~before + after);
	}
	int same_ports = packet->source_port == source_port && packet->destination_port == destination_port;
	if (!same_ports) {
		if (packet->protocol == 1) {
			__u16 sum = *(__u16 *)(transport + 2);
			__u64 change = (__u16)~swap16(packet->source_port) + swap16(source_port);
			*(__u16 *)(transport + 4) = swap16(source_port);
			*(__u16 *)(transport + 2) = ~fold16((__u16)~sum + change);
		} else {
			*(__u16 *)transport = swap16(source_port);
			*(__u16 *)(transport + 2) = swap16(destination_port);
			ports = (__u64)(__u16)~swap16(packet->source_port) + swap16(source_port) +
			        (__u16)~swap16(packet->destination_port) + swap16(destination_port);
		}
	}
	// From here on the packet may have moved: no more of the pointers above. The kernel knows whether the checksum is
	// whole, or holds the pseudo header's only.
	if (packet->protocol == 1)
		return 1;
	if (!same_addresses)
		l4_csum_replace(skb, checksum_at, 0, fold32(addresses), flags | BPF_F_PSEUDO_HDR);
	if (!same_ports)
		l4_csum_replace(skb, checksum_at, 0, fold32(ports), flags);
	if (most)
		l4_csum_replace(skb, checksum_at, announced, most, 2);
	return 1;
}

// Bytes of the longest packet that the frame is on the wire.
static always_inline __u32 longest(const struct packet *packet)
{
	__u32 segment = IPV4_BYTES + packet->transport_bytes + packet->segment;

	return packet->segment && segment < packet->total ? segment : packet->total;
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

static always_inline int carry(struct __sk_buff *skb, const struct settings *settings, const struct packet *packet)
{
	__u32 hashed = hash(settings, packet, packet->entry);
	struct match match = {};
	struct way way;

	if (!find_in(&match, hashed, hashed, packet, packet->entry) &&
	    !find_in(&match, other(hashed), hashed, packet, packet->entry))
		return TCX_PASS;
	struct flow_slot *flow = match.flow;
	// Who begins a connection does not answer; what looks like it may have to wait for the other side.
	if (!match.reverse && packet->flags & TCP_SYN)
		return TCX_PASS;
	__u64 now = ktime_get_coarse_ns() + load(settings->clock_offset);
	__u64 seen = load(flow->live.seen);
	if (now > seen && now - seen > patience(flow, load(flow->live.phase)))
		return TCX_PASS;
	__u64 epoch = load(settings->epoch);
	int found_to_hold = load(flow->live.epoch) == epoch;
	if (unlikely(!found_to_hold) && !holds(flow))
		return TCX_PASS;
	const struct flow_key *back = match.reverse ? &flow->forward : &flow->reverse;
	__u32 exit_number = load(back->port);
	struct port_slot *exit = at(&ports, exit_number & PORT_PLACE_MASK);
	if (!exit || !read_way(&way, &match, packet, back, exit))
		return TCX_PASS;
	// It need not be looked at again before the next change.
	if (unlikely(!found_to_hold))
		store(flow->live.epoch, epoch);
	if (packet->ttl <= way.hops || longest(packet) > way.mtu || !rewrite(skb, packet, &way))
		return TCX_PASS;
	advance(&match, packet, now);
	tally(&match, packet, packet->entry, exit_number);
	// It was not for the host end. Before Linux 6.15 the receiver is not told otherwise, and would drop it.
	change_type(skb, PACKET_HOST);
	return redirect_peer(way.interface, 0);
}

section("classifier") int postern(struct __sk_buff *skb)
{
	const __u8 *frame = (void *)(__u64)skb->data;
	const void *end = (void *)(__u64)skb->data_end;
	struct settings *settings_now = at(&settings, 0);
	__u64 *place = at(&places, skb->ifindex & (INTERFACES - 1));
	struct packet packet = {};

	if (!settings_now || !place || frame + ETHERNET_BYTES > (const __u8 *)end)
		return TCX_PASS;
	struct port_slot *port = at(&ports, load(*place) - 1);
	if (!port)
		return TCX_PASS;
	packet.port = port;
	packet.entry = load(port->number);
	packet.revision = load(settings_now->revision);
	if (load(port->interface) != skb->ifindex)
		return TCX_PASS;
	__u16 kind = *(__u16 *)(frame + 12);
	if (unlikely(skb->vlan_present || (kind != swap16(ETHERNET_IPV4) && kind != swap16(ETHERNET_ARP))))
		return drop_foreign(skb, port, frame);
	packet.length = load(skb->len);
	packet.segment = load(skb->gso_size);
	if (kind != swap16(ETHERNET_IPV4) || !is_still(port, packet.entry, packet.revision))
		return TCX_PASS;
	in_order();
	if (!read_packet(&packet, frame, end))
		return TCX_PASS;
	return carry(skb, settings_now, &packet);
}

char license_name[] section("license") = "Apache-2.0";

// Reading packets, and writing what becomes of them.
#pragma once

#include "maps.h"

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
	return checks >> 16 & ANY_SOURCE && first != 0 && first < 224 && first != 127;
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
	} else if (packet->protocol == 17) {
		if (room < UDP_BYTES || transport + UDP_BYTES > (const __u8 *)end)
			return 0;
		__u16 length = swap16(*(__u16 *)(transport + 4));
		packet->transport_bytes = UDP_BYTES;
		// To the port 67: DHCP.
		if (*(__u16 *)(transport + 2) == swap16(67)) {
			packet->rate = CONTROL;
			return 0;
		}
		if (length < UDP_BYTES || length > room)
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
	for (__u32 i = 0; i < 5; i++)
		sum += *(__u32 *)(header + 4 * i);
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

// What lowering a segment size leaves for the checksum to follow: whether it was lowered, and its words, as the checksum
// sees them, before and after.
#define LOWERED (1ull << 32)
// Not all options are at hand.
#define BEYOND (1ull << 33)

// Lowers the segment size among the options of a SYN to what fits the way. Options that make no sense stay as they are:
// the receiver ignores them too.
apart __u64 clamp(struct __sk_buff *skb, __u32 header_bytes, __u32 most)
{
	__u8 *transport = (__u8 *)data_of(skb) + ETHERNET_BYTES + IPV4_BYTES;
	void *end = end_of(skb);
	// Bytes of options that were not looked at yet.
	__u32 left = header_bytes - TCP_BYTES;

	if (transport + (header_bytes & 63) > (__u8 *)end)
		return BEYOND;
	for (__u32 i = 0; i < 40; i++) {
		__u32 option = (header_bytes - left) & 63;
		__u8 *here = transport + option;
		if (here + 4 > (__u8 *)end || !here[0])
			return 0;
		if (here[0] == 2 && here[1] == 4 && left >= 4) {
			__u32 announced = *(__u16 *)(here + 2), lowered = swap16(most);
			if (swap16(announced) <= most)
				return 0;
			*(__u16 *)(here + 2) = lowered;
			// On an odd offset its bytes count in the other halves of their words.
			if (option & 1)
				return LOWERED | (__u64)swap16(announced) << 16 | swap16(lowered);
			return LOWERED | (__u64)announced << 16 | lowered;
		}
		__u32 length = here[0] == 1 ? 1 : here[1] < 2 ? 2 : here[1];
		if (length >= left)
			return 0;
		left -= length;
	}
	return 0;
}

// Gives the packet its new addresses, ports and time to live. Zero where the packet could not be changed at all.
static always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, const struct way *way)
{
	__u64 lowered = 0;
	if (unlikely(packet->protocol == 6 && packet->flags & TCP_SYN && packet->transport_bytes > TCP_BYTES)) {
		lowered = clamp(skb, packet->transport_bytes, way->mtu > 40 ? way->mtu - 40 : 0);
		if (lowered == BEYOND)
			return 0;
	}
	__u8 *frame = data_of(skb);
	__u8 *header = frame + ETHERNET_BYTES;
	__u8 *transport = header + IPV4_BYTES;
	void *end = end_of(skb);
	__u32 source = way->source, destination = way->destination;
	__u16 source_port = way->source_port, destination_port = way->destination_port;
	__u32 checksum_at = ETHERNET_BYTES + IPV4_BYTES + (packet->protocol == 6 ? 16 : 6);
	__u64 flags = packet->protocol == 17 ? BPF_F_MARK_MANGLED_0 : 0;
	__u64 ports = 0;

	if (transport + ICMP_BYTES > (__u8 *)end)
		return 0;
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
	if (lowered)
		l4_csum_replace(skb, checksum_at, (__u16)(lowered >> 16), (__u16)lowered, 2);
	return 1;
}

// Bytes of the longest packet that the frame is on the wire.
static always_inline __u32 longest(const struct packet *packet)
{
	__u32 segment = IPV4_BYTES + packet->transport_bytes + packet->segment;

	return packet->segment && segment < packet->total ? segment : packet->total;
}

// The forwarder's actions in the kernel: packets of flows that are known and still hold are rewritten and handed to
// whoever they are for, without a way through user space; and flows are made of templates that still hold.
//
// What the program does not know it does not judge: it lets the packet pass, tagged, and so up to the port's packet socket for
// those, whose reader (`step`) decides. It keeps that to a rate for each port. Frames that no packet socket would get (neither
// IPv4 nor ARP, or tagged) are dropped and counted here, since they are dropped there too.
//
// INVARIANT: a packet leaves here as `step` would send it, byte for byte, and counts as it would count.
//
// User space alone writes ports and templates. Flows and the index are written by both: see make.h.

#include "make.h"

// A frame that no packet socket gets.
static always_inline int drop_foreign(struct __sk_buff *skb, struct port_slot *port, const __u8 *frame)
{
	__u32 reason = DROP_UNSUPPORTED;

	if (!load(port->known))
		reason = DROP_UNKNOWN_PORT;
	else if (*(__u32 *)(frame + 6) != load(port->mac_head) || *(__u16 *)(frame + 10) != load(port->mac_tail))
		reason = DROP_SPOOFED_MAC;
	tally_drop(skb, load(port->number), reason);
	return TCX_DROP;
}

// Leaves a packet to the forwarder, within what its port may ask of it.
noinline int hand_up(struct __sk_buff *skb, struct settings *settings, struct port_slot *port, __u32 rate)
{
	__u64 now = ktime_get_coarse_ns() + load(settings->clock_offset);

	if (is_used_up(skb, settings, port, rate == CONTROL ? CONTROL : HANDED_UP, now))
		return TCX_DROP;
	int outcome = hand_to_user_space(skb);
	if (unlikely(outcome == TCX_DROP))
		tally_drop(skb, load(port->number), DROP_SEND_FAILED);
	return outcome;
}

// Whether a packet that begins a conversation is of a flow that is over, or of one that goes on. Less than zero where the
// forwarder is to see it.
static always_inline int is_over(const struct match *match, const struct packet *packet, __u64 now)
{
	struct flow_slot *flow = match->flow;
	__u64 phase = load(flow->live.phase), kind = phase >> PHASE_SHIFT;
	int over = kind == PHASE_RESET || is_expired(flow, match->reverse, phase, now);
	int may_begin = !match->reverse && begins(packet);

	if (over)
		return may_begin ? 1 : -1;
	if (packet->protocol != 6 || !(packet->flags & TCP_SYN))
		return 0;
	// Who begins a connection does not answer, and who answers does not begin one.
	if (match->reverse)
		return (packet->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN ? -1 : 0;
	if (!may_begin || flow->flags & SYN_UP)
		return -1;
	if (kind == PHASE_CLOSED)
		return 1;
	// The same SYN once more, or one in the middle of a connection.
	return kind == PHASE_SYN_SENT || kind == PHASE_SYN_RECEIVED ? 0 : -1;
}

// Carries a packet by its flow, if it has one or may begin one.
static always_inline int carry(struct __sk_buff *skb, struct settings *settings, struct packet *packet)
{
	__u32 hashed = hash_of(settings, packet);
	__u64 now = ktime_get_coarse_ns() + load(settings->clock_offset);
	struct match match = {};
	struct way way;

	if (find_in(&match, hashed, hashed, packet, packet->entry) ||
	    find_in(&match, other(hashed), hashed, packet, packet->entry)) {
		int over = is_over(&match, packet, now);
		if (unlikely(over) && (over < 0 || reopen(settings, packet, &match, now) == UP))
			return TCX_PASS;
	} else {
		int outcome = match.taken ? UP : begin(skb, settings, packet, &match, now);
		if (outcome != MADE)
			return outcome == DROPPED ? TCX_DROP : TCX_PASS;
	}
	struct flow_slot *flow = match.flow;
	__u64 epoch = load(settings->epoch);
	int found_to_hold = load(flow->live.epoch) == epoch;
	if (unlikely(!found_to_hold) && !are_current(flow->slots, flow->generations, flow->stamps, STAMPS))
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
	const __u8 *frame = data_of(skb);
	const void *end = end_of(skb);
	struct settings *settings_now = at(&settings, 0);
	__u64 *place = at(&places, skb->ifindex & (INTERFACES - 1));
	struct packet packet = {};

	if (!settings_now || !place || frame + ETHERNET_BYTES > (const __u8 *)end)
		return hand_to_user_space(skb);
	struct port_slot *port = at(&ports, load(*place) - 1);
	if (!port)
		return hand_to_user_space(skb);
	packet.port = port;
	packet.entry = load(port->number);
	packet.revision = load(settings_now->revision);
	packet.rate = HANDED_UP;
	if (load(port->interface) != skb->ifindex)
		return hand_to_user_space(skb);
	__u16 kind = *(__u16 *)(frame + 12);
	if (unlikely(skb->vlan_present || (kind != swap16(ETHERNET_IPV4) && kind != swap16(ETHERNET_ARP))))
		return drop_foreign(skb, port, frame);
	packet.length = load(skb->len);
	packet.segment = load(skb->gso_size);
	if (kind != swap16(ETHERNET_IPV4))
		return hand_up(skb, settings_now, port, CONTROL);
	if (is_still(port, packet.entry, packet.revision)) {
		in_order();
		if (read_packet(&packet, frame, end)) {
			int outcome = carry(skb, settings_now, &packet);
			if (likely(outcome != TCX_PASS))
				return outcome;
		}
	}
	return hand_up(skb, settings_now, port, packet.rate);
}

char license_name[] section("license") = "Apache-2.0";

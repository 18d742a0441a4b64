// Flows that are made here, of templates, as the forwarder makes them.
//
// INVARIANT: a key is one flow's. Nobody locks: whoever wants a key writes it into an empty slot of the index, by one
// exchange, and then looks at both buckets again. Of two who want the same key at the same time at least one sees the
// other, since each writes before it looks; who sees another takes its own back and leaves the packet to the forwarder,
// who does the same and tries again. So there is no lock that a process which was killed could have left behind. Until
// both keys are its own a flow's life is odd, and nobody goes by it.
//
// With a NAT gateway the key of the way back is the claim on the port.
#pragma once

#include "template.h"

#define CLAIMED 0
#define HELD 1
#define UNCLEAR 2

#define UP 0
#define MADE 1
#define DROPPED 2

// Who has a hash, and where there is room: in buckets by their numbers and one, zero being none.
struct look {
	__u32 roomy;
	__u32 slot;
	__u32 free;
	__u32 holders;
	__u32 holder;
};

// Where a key was written.
struct claim {
	__u32 bucket;
	__u32 slot;
};

// Where the packets of the way back come in, and what they look like.
struct back {
	__u32 exit;
	__u32 source;
	__u32 destination;
	__u16 source_port;
	__u16 destination_port;
	// The port that the receiver is spoken to at, and how many there are for the sender's.
	__u16 to_port;
	__u16 ports;
};

static always_inline void look_at(struct look *look, __u32 number, __u32 hashed)
{
	struct bucket *bucket = at(&buckets, number & bucket_mask);

	if (!bucket)
		return;
	struct slots slots = slots_of(bucket, hashed);
	__u32 free = count(slots.free);
	look->holders += count(slots.same);
	if (slots.same)
		look->holder = (__u32)load(bucket->slots[lowest(slots.same) & (SLOTS - 1)]);
	if (free > look->free) {
		look->free = free;
		look->roomy = (number & bucket_mask) + 1;
		look->slot = lowest(slots.free);
	}
}

// Whether somebody has a key. Unclear is what is over, and to be cleared away first.
apart int who_has(struct look *look, __u32 hashed)
{
	if (!look)
		return UNCLEAR;
	look->roomy = 0;
	look->slot = 0;
	look->free = 0;
	look->holders = 0;
	look->holder = TAKEN;
	look_at(look, hashed, hashed);
	look_at(look, other(hashed), hashed);
	if (!look->holders)
		return CLAIMED;
	if (look->holder == TAKEN)
		return HELD;
	struct flow_slot *flow = at(&flows, (look->holder >> 1) - 1);
	return flow && load(flow->live.phase) >> PHASE_SHIFT != PHASE_RESET ? HELD : UNCLEAR;
}

static always_inline void give_back(const struct claim *claim)
{
	struct bucket *bucket = at(&buckets, claim->bucket - 1);

	if (bucket)
		store(bucket->slots[claim->slot & (SLOTS - 1)], 0);
}

// Claims a key for the flow and direction that a slot's lower half names.
apart int claim_key(struct claim *claim, __u32 hashed, __u32 holder)
{
	struct look look;

	if (!claim)
		return UNCLEAR;
	int had = who_has(&look, hashed);
	if (had != CLAIMED)
		return had;
	struct bucket *bucket = at(&buckets, look.roomy - 1);
	__u64 entry = (__u64)hashed << 32 | holder;
	if (!bucket || __sync_val_compare_and_swap(&bucket->slots[look.slot & (SLOTS - 1)], 0, entry))
		return UNCLEAR;
	claim->bucket = look.roomy;
	claim->slot = look.slot;
	in_order();
	who_has(&look, hashed);
	// Where both buckets are one and the same, it was looked at twice.
	__u32 own = (hashed & bucket_mask) == (other(hashed) & bucket_mask) ? 2 : 1;
	if (look.holders == own)
		return CLAIMED;
	give_back(claim);
	return UNCLEAR;
}

static always_inline __u32 hash_back(const struct settings *settings, const struct packet *packet,
                                     const struct back *back)
{
	__u32 both = both_ports(back->source_port, back->destination_port);

	return sum_of(settings, packet->protocol, back->source, back->destination, both, back->exit) >> 32;
}

// The first of so many ports that is tried for a sender's.
static always_inline __u32 first_port(const struct settings *settings, const struct packet *packet, __u32 ports)
{
	__u64 sum = settings->choice[0] * packet->entry + settings->choice[1] * packet->source + settings->choice[2];

	return (packet->source_port + (__u32)(sum >> 32) % ports) % ports;
}

// Which of the addresses that stand for a sender is tried first for a destination.
static always_inline __u32 first_stand_in(const struct settings *settings, const struct packet *packet)
{
	__u64 sum = settings->choice[3] * packet->destination + settings->choice[5];

	return (sum >> 32) % STAND_INS;
}

// The port of the sender, or the identifier of its echoes, as the receiver sees it.
static always_inline void show_port(struct back *back, const struct packet *packet, __u16 port)
{
	if (packet->protocol == 1) {
		back->source_port = port;
		back->destination_port = 0;
	} else {
		back->source_port = back->to_port;
		back->destination_port = port;
	}
}

// The way back by a template, but for the port that a NAT gateway gives. Zero where the forwarder is to find it.
static always_inline int read_back(struct back *back, struct settings *settings, const struct packet *packet,
                                   struct template_slot *template)
{
	__u8 kind = template->kind;

	back->exit = template->exit;
	back->source = template->destination ? template->destination : packet->destination;
	back->destination = packet->source;
	back->to_port = template->to_port ? template->to_port : packet->destination_port;
	back->ports = template->ports;
	if (kind == KIND_ADDRESS || kind == KIND_NAT_PORT)
		back->destination = template->visible;
	else if (kind == KIND_STAND_IN)
		back->destination = load(template->stand_ins[first_stand_in(settings, packet) & (STAND_INS - 1)]);
	show_port(back, packet, packet->source_port);
	return back->destination != 0;
}

// Whether a packet can go the way of a template: it lives long enough and fits, and the other end is there.
static always_inline int can_go(const struct packet *packet, struct template_slot *template)
{
	__u32 exit = template->exit;
	struct port_slot *port = at(&ports, exit & PORT_PLACE_MASK);
	struct port_live *live = at(&port_lives, exit & PORT_PLACE_MASK);

	if (!port || !live || load(live->blocked) || load(port->number) != exit || !load(port->interface))
		return 0;
	return packet->ttl > template->hops && longest(packet) <= template->mtu;
}

// Whether a packet may begin a conversation.
static always_inline int begins(const struct packet *packet)
{
	if (packet->protocol == 6)
		return (packet->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
	// Of ICMP, echo requests.
	return packet->protocol == 17 || packet->destination_port == 8 << 8;
}

static always_inline __u64 first_phase(__u8 protocol)
{
	__u64 kind = protocol == 6 ? PHASE_SYN_SENT : protocol == 17 ? PHASE_DATAGRAMS : PHASE_OTHER;

	return kind << PHASE_SHIFT;
}

// A flow begins: it is counted, and written down for the log if somebody follows that.
static always_inline void tally_begin(struct settings *settings, const struct packet *packet, __u32 gateway_place,
                                      __u32 place)
{
	struct port_tally *tally = tally_of(packet->entry);
	struct gateway_tally *gateway = gateway_tally_of(gateway_place);

	if (tally)
		tally->begun += 1;
	if (gateway)
		gateway->begun += 1;
	if (likely(!load(settings->logged)))
		return;
	struct note_ring *ring = at(&note_rings, get_smp_processor_id());
	if (!ring)
		return;
	__u64 head = load(ring->head);
	if (head - load(ring->tail) >= RING) {
		ring->lost += 1;
		return;
	}
	store(ring->notes[head & (RING - 1)], (__u64)hash_of(settings, packet) << 32 | place);
	in_order();
	store(ring->head, head + 1);
}

static always_inline void write_address(__u32 to[4], __u32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = 0xffff0000;
	to[3] = address;
}

static always_inline void begin_counts(struct flow_slot *flow, __u64 now)
{
	store(flow->live.begun, now);
	for (__u32 i = 0; i < 2; i++) {
		store(flow->live.ways[i].seen, i ? 0 : now);
		store(flow->live.ways[i].packets, 0);
		store(flow->live.ways[i].bytes, 0);
	}
}

// Writes a flow into a free place. Its life is odd: nobody reads it yet.
static always_inline void write_flow(struct flow_slot *flow, const struct packet *packet,
                                     struct template_slot *template, __u32 template_place, const struct back *back,
                                     __u64 epoch, __u64 now)
{
	write_address(flow->forward.source, packet->source);
	write_address(flow->forward.destination, packet->destination);
	flow->forward.port = packet->entry;
	flow->forward.source_port = packet->source_port;
	flow->forward.destination_port = packet->destination_port;
	*(__u32 *)&flow->forward.protocol = packet->protocol;
	write_address(flow->reverse.source, back->source);
	write_address(flow->reverse.destination, back->destination);
	flow->reverse.port = back->exit;
	*(__u32 *)&flow->reverse.protocol = packet->protocol;
	flow->mtu = template->mtu;
	flow->hops = template->hops;
	flow->stamps = template->cut;
	flow->gateway = template->gateway;
	flow->template = template_place;
	flow->flags = template->kind == KIND_NAT_PORT ? HAS_NAT_PORT : 0;
	for (__u32 i = 0; i < 4; i++)
		flow->idle[i] = template->idle[i];
	for (__u32 i = 0; i < STAMPS; i++) {
		if (i >= template->cut)
			break;
		flow->slots[i] = template->slots[i];
		flow->generations[i] = template->generations[i];
	}
	flow->live.epoch = epoch;
	flow->live.phase = first_phase(packet->protocol);
	begin_counts(flow, now);
}

// Claims the way back: at a NAT gateway the first of some ports that is free, elsewhere the only one there is.
static always_inline int claim_back(struct claim *claim, struct settings *settings, const struct packet *packet,
                                    struct back *back, __u8 kind, __u32 holder)
{
	if (kind != KIND_NAT_PORT)
		return claim_key(claim, hash_back(settings, packet, back), holder);
	__u32 first = first_port(settings, packet, back->ports);
	for (__u32 i = 0; i < NAT_TRIES; i++) {
		show_port(back, packet, NAT_FIRST_PORT + (first + i) % back->ports);
		int outcome = claim_key(claim, hash_back(settings, packet, back), holder);
		if (outcome != HELD)
			return outcome;
	}
	return UNCLEAR;
}

// Claims both keys of a flow, the way back first: an answer cannot come before the flow is whole.
static always_inline int claim_both(struct settings *settings, const struct packet *packet, struct flow_slot *flow,
                                    struct back *back, __u8 kind, __u32 place)
{
	struct claim backward = {}, forward = {};

	if (claim_back(&backward, settings, packet, back, kind, (place + 1) << 1 | 1) != CLAIMED)
		return 0;
	flow->reverse.source_port = back->source_port;
	flow->reverse.destination_port = back->destination_port;
	if (claim_key(&forward, hash_of(settings, packet), (place + 1) << 1) == CLAIMED)
		return 1;
	give_back(&backward);
	return 0;
}

// A flow more, or less, refers to a template, and to one of the addresses that stand for its sender.
static always_inline void count_user(struct template_slot *template, __u32 stand_in, int more)
{
	__sync_fetch_and_add(&template->users, more);
	if (template->kind == KIND_STAND_IN)
		__sync_fetch_and_add(&template->stand_in_users[stand_in & (STAND_INS - 1)], more);
}

// Makes the flow that a packet begins, in a free place, if the port may have another.
noinline int make_flow(struct settings *settings, struct packet *packet, struct match *match,
                              struct template_slot *template, __u64 now)
{
	struct place_ring *ring = at(&place_rings, get_smp_processor_id());
	struct port_live *live = at(&port_lives, packet->entry & PORT_PLACE_MASK);
	__u64 epoch = load(settings->epoch);
	struct back back;

	if (!ring || !live || load(live->blocked) || (int)(load(live->may_make) - load(live->made)) <= 0)
		return UP;
	__u32 head = load(ring->head);
	if (head == load(ring->tail))
		return UP;
	in_order();
	__u32 place = load(ring->places[head & (RING - 1)]);
	struct flow_slot *flow = at(&flows, place);
	if (!flow || !(load(flow->life) & 1) || !read_back(&back, settings, packet, template))
		return UP;
	// It would be its own answer.
	if (back.exit == packet->entry && back.source == packet->source && back.destination == packet->destination)
		return UP;
	__u32 life = match->life, stand_in = first_stand_in(settings, packet) & (STAND_INS - 1);
	write_flow(flow, packet, template, match->place, &back, epoch, now);
	count_user(template, stand_in, 1);
	// What was copied of the template is its own, and it was current when the packet was looked up. Who takes an address
	// back does so before it looks at the count.
	if (!is_same(template, life) || load(template->epoch) != epoch ||
	    (template->kind == KIND_STAND_IN && load(template->stand_ins[stand_in]) != back.destination) ||
	    !claim_both(settings, packet, flow, &back, template->kind, place)) {
		count_user(template, stand_in, -1);
		return UP;
	}
	store(ring->head, head + 1);
	__sync_fetch_and_add(&live->made, 1);
	match->flow = flow;
	match->place = place;
	match->life = load(flow->life) + 1;
	match->reverse = 0;
	// Whoever sees the new life sees the whole flow.
	in_order();
	store(flow->life, match->life);
	tally_begin(settings, packet, flow->gateway, place);
	return MADE;
}

// A template refuses: the packet goes up to be logged and answered within a rate, and beyond it ends here.
static always_inline int refuse(struct __sk_buff *skb, struct settings *settings, const struct packet *packet,
                                struct template_slot *template, __u32 life, __u64 now)
{
	struct port_live *live = at(&port_lives, packet->entry & PORT_PLACE_MASK);
	__u8 reason = template->reason, answered = template->answered;

	if (!live || !is_same(template, life) || may(settings, live, REFUSED, now))
		return UP;
	__sync_fetch_and_add(&template->refused, 1);
	struct port_tally *tally = tally_of(packet->entry);
	if (tally) {
		tally->unlogged += 1;
		tally->suppressed += answered;
	}
	tally_drop(skb, packet->entry, reason);
	return DROPPED;
}

// A packet has no flow: it begins one, or is refused, where a template says so.
static always_inline int begin(struct __sk_buff *skb, struct settings *settings, struct packet *packet,
                               struct match *match, __u64 now)
{
	__u32 place = NOWHERE, life = 1;
	struct template_slot *template = find_template(packet, load(settings->epoch), now, &place, &life);

	if (!template)
		return UP;
	if (template->kind == KIND_REFUSE)
		return refuse(skb, settings, packet, template, life, now);
	if (!begins(packet) || !can_go(packet, template))
		return UP;
	// What it would begin costs the forwarder time when it is over, which is not the sender's alone.
	if (is_used_up(skb, settings, packet->port, BEGUN, now))
		return DROPPED;
	match->place = place;
	match->life = life;
	return make_flow(settings, packet, match, template, now);
}

// Whether the forwarder would give a flow that begins again the port that it has.
static always_inline int keeps_port(struct settings *settings, const struct packet *packet, struct back *back,
                                    const struct flow_slot *flow)
{
	__u16 own = packet->protocol == 1 ? flow->reverse.source_port : flow->reverse.destination_port;
	__u32 first = first_port(settings, packet, back->ports);
	struct look look;

	for (__u32 i = 0; i < NAT_TRIES; i++) {
		__u16 port = NAT_FIRST_PORT + (first + i) % back->ports;
		if (port == own)
			return 1;
		show_port(back, packet, port);
		if (who_has(&look, hash_back(settings, packet, back)) != HELD)
			return 0;
	}
	return 0;
}

// Whether a flow that a load balancer hands on would get the same target again.
noinline int is_chosen_again(struct settings *settings, struct packet *packet, __u32 template_place, __u64 now)
{
	__u32 place = NOWHERE, life = 1;

	return find_template(packet, load(settings->epoch), now, &place, &life) && place == template_place;
}

// Begins a flow that is over again, where it is: senders use their ports again and again. It has the keys that a new one
// would have, so that nothing but what it notes of its packets changes.
noinline int reopen(struct settings *settings, struct packet *packet, struct match *match, __u64 now)
{
	__u32 own = match->life, life;
	struct flow_slot *flow = match->flow;
	// It is there as long as a flow refers to it, and its box has not changed.
	struct template_slot *template = at(&templates, load(flow->template));
	struct back back;

	if (!template || !holds(template, load(settings->epoch), now, &life) || template->kind == KIND_REFUSE ||
	    !can_go(packet, template) || !read_back(&back, settings, packet, template))
		return UP;
	if (template->key.choice && !is_chosen_again(settings, packet, load(flow->template), now))
		return UP;
	if (flow->reverse.port != back.exit || flow->reverse.destination[3] != back.destination ||
	    flow->reverse.source[3] != back.source ||
	    (template->kind == KIND_NAT_PORT && !keeps_port(settings, packet, &back, flow)))
		return UP;
	if (!is_same(template, life) || own & 1 || __sync_val_compare_and_swap(&flow->life, own, own + 1) != own)
		return UP;
	__u64 phase = __sync_lock_test_and_set(&flow->live.phase, first_phase(packet->protocol));
	begin_counts(flow, now);
	if (phase >> PHASE_SHIFT != PHASE_RESET)
		tally_end(flow);
	// Unless the forwarder would not wait for this.
	if (__sync_val_compare_and_swap(&flow->life, own + 1, own + 2) != own + 1)
		return UP;
	match->life = own + 2;
	tally_begin(settings, packet, flow->gateway, match->place);
	return MADE;
}

// Templates: what is decided about whole boxes of flows.
#pragma once

#include "balance.h"

// The box of one shape that a point is in, if something is decided about it: its place and one, else zero.
apart __u32 find_shape(struct point *point, __u32 shape)
{
	struct settings *settings_now = at(&settings, 0);

	if (!point || !settings_now)
		return 0;
	shape &= MASKS - 1;
	struct port_masks *masks = at(&port_masks, point->entry & PORT_PLACE_MASK);
	if (!masks)
		return 0;
	__u64 sum = sum_of(settings_now, point->protocol, point->source & load(masks->source[shape]),
	                   point->destination & load(masks->destination[shape]),
	                   point->both_ports & load(masks->ports[shape]), point->entry);
	__u32 hashed = (sum + settings_now->shape_secret * (point->choice << 8 | shape)) >> 32;

	for (__u32 i = 0; i < 2; i++) {
		struct bucket *bucket = at(&template_buckets, (i ? other(hashed) : hashed) & (TEMPLATE_BUCKETS - 1));
		if (!bucket)
			return 0;
		struct slots slots = slots_of(bucket, hashed);
		if (!slots.same)
			continue;
		__u32 place = ((__u32)load(bucket->slots[lowest(slots.same) & (SLOTS - 1)]) >> 1) - 1;
		struct template_slot *found = at(&templates, place);
		// What is said of shapes may change while it is read: the box itself says whether the packet is in it.
		if (found && found->key.port == point->entry && found->key.protocol == point->protocol &&
		    found->key.mark == shape && found->key.choice == point->choice &&
		    found->key.source[3] == (point->source & found->source_mask) &&
		    found->key.destination[3] == (point->destination & found->destination_mask) &&
		    both_ports(found->key.source_port, found->key.destination_port) == (point->both_ports & found->port_masks))
			return place + 1;
	}
	return 0;
}

// Whether a template is whole, and everything that it rests on is as it was.
static always_inline int holds(struct template_slot *template, __u64 epoch, __u64 now, __u32 *life)
{
	*life = load(template->life);
	in_order();
	if (*life & 1)
		return 0;
	if (load(template->epoch) != epoch) {
		if (!are_current(template->slots, template->generations, template->stamps, TEMPLATE_STAMPS))
			return 0;
		store(template->epoch, epoch);
	}
	if (now - load(template->used) > 1000000000ull)
		store(template->used, now);
	return 1;
}

// The template of a box that a point is in, while everything that it rests on is as it was.
static always_inline struct template_slot *find_box(struct point *point, __u64 epoch, __u64 now, __u32 *place,
                                                    __u32 *life)
{
	struct port_masks *masks = at(&port_masks, point->entry & PORT_PLACE_MASK);

	if (!masks)
		return 0;
	__u32 used = load(masks->used);
	for (__u32 shape = 0; shape < MASKS; shape++) {
		if (!(used >> shape & 1))
			continue;
		__u32 found = find_shape(point, shape);
		struct template_slot *template = at(&templates, found - 1);
		if (!found || !template)
			continue;
		if (!holds(template, epoch, now, life))
			continue;
		*place = found - 1;
		return template;
	}
	return 0;
}

// What is decided about a packet, while everything that it rests on is as it was. None where the forwarder is to decide.
static always_inline struct template_slot *find_template(const struct packet *packet, __u64 epoch, __u64 now,
                                                         __u32 *place, __u32 *life)
{
	struct point point = {
		.entry = packet->entry,
		.source = packet->source,
		.destination = packet->destination,
		.both_ports = both_ports(packet->protocol == 1 ? 0 : packet->source_port, packet->destination_port),
		.protocol = packet->protocol,
	};
	struct template_slot *template = find_box(&point, epoch, now, place, life);

	if (likely(!template || template->kind != KIND_CHOOSE))
		return template;
	point.choice = choose(&point, template->table);
	// What was read of it is its own.
	in_order();
	if (!point.choice || load(template->life) != *life)
		return 0;
	template = find_box(&point, epoch, now, place, life);
	return template && template->kind != KIND_CHOOSE ? template : 0;
}

// Whether a template is still the one, as it was, that was found. What was read of it before is its own then.
static always_inline int is_same(struct template_slot *template, __u32 life)
{
	in_order();
	return load(template->life) == life;
}

// Which target of a load balancer's a flow gets, as crates/path/src/balance.rs says.
#pragma once

#include "flow.h"

// What decisions about a packet depend on. The identifier of an echo is no part of it.
struct point {
	__u32 entry;
	__u32 source;
	__u32 destination;
	__u32 both_ports;
	__u32 protocol;
	// The number of the target that was chosen, and one.
	__u32 choice;
};

static always_inline __u64 as_number(__u32 address)
{
	return __builtin_bswap32(address);
}

// The number of a flow's target by a table, and one; zero is none.
apart __u32 choose(struct point *point, __u32 place)
{
	struct choice_table *table = at(&choice_tables, place);

	if (!point || !table)
		return 0;
	__u32 ports = load(table->sticky) ? point->both_ports & 0xffff : point->both_ports;
	__u64 sum = FACTOR_PROTOCOL * point->protocol + FACTOR_SOURCE * as_number(point->source) +
	            FACTOR_DESTINATION * as_number(point->destination) + FACTOR_PORTS * ports;
	__u32 bucket = ((sum ^ sum >> 32) * FACTOR_SUM >> BUCKET_SHIFT) & (BUCKETS - 1);
	return load(table->owners[bucket / 4]) >> bucket % 4 * 8 & 0xff;
}

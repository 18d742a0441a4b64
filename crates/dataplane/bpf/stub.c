// What stands on a port's host end for as long as the port is there. It goes on into the program that is in the slot, so
// that one write there puts another program on all ports at once, between one packet and the next.
//
// INVARIANT: this does nothing else, so that it need never be replaced itself.

#include "kernel.h"

#define BPF_MAP_TYPE_PROG_ARRAY 3

static long (*const tail_call)(struct __sk_buff *, void *map, __u32 index) = (void *)12;

// The program, if there is one.
struct {
	number(type, BPF_MAP_TYPE_PROG_ARRAY);
	number(max_entries, 1);
	type(key, __u32);
	type(value, __u32);
} slot section(".maps");

// A cache line of user space's own.
struct note {
	__u64 words[8];
};

// What user space writes down for the next one about all that is pinned. How many there are is said when it is loaded.
struct {
	number(type, BPF_MAP_TYPE_ARRAY);
	number(max_entries, 1);
	number(map_flags, BPF_F_MMAPABLE);
	type(key, __u32);
	type(value, struct note);
} notes section(".maps");

section("classifier") int stub(struct __sk_buff *skb)
{
	tail_call(skb, &slot, 0);
	// Nothing is in the slot: up to the port's packet socket.
	return hand_to_user_space(skb);
}

char license_name[] section("license") = "Apache-2.0";

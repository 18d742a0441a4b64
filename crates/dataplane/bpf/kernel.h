// What the program needs of the kernel's interface (linux/bpf.h), so that building it depends on no header of the
// machine that it is built on.
#pragma once

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;

#include "layout.h"

#define always_inline inline __attribute__((always_inline))
#define noinline static __attribute__((__noinline__))
// What is called by this is verified once and by itself, whatever the callers know: functions that many ways lead through.
#define apart __attribute__((__noinline__))
#define section(name) __attribute__((section(name), used))

// Fields of a map's definition, as loaders read them out of the type information.
#define number(name, value) int(*name)[value]
#define type(name, value) typeof(value) *name

#define BPF_MAP_TYPE_ARRAY 2
#define BPF_F_MMAPABLE 1024
#define BPF_F_PSEUDO_HDR 16
#define BPF_F_MARK_MANGLED_0 32

#define TCX_PASS 0
#define TCX_DROP 2

#define PACKET_HOST 0

// The beginning of the kernel's own; fields that are not used are named for the place that they take.
struct __sk_buff {
	__u32 len;
	__u32 unused_a[3];
	__u32 protocol;
	__u32 vlan_present;
	__u32 unused_b[4];
	__u32 ifindex;
	__u32 unused_c[8];
	__u32 data;
	__u32 data_end;
	__u32 unused_d[23];
	__u32 gso_size;
};

_Static_assert(__builtin_offsetof(struct __sk_buff, protocol) == 16, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct __sk_buff, vlan_present) == 20, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct __sk_buff, ifindex) == 40, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "as in linux/bpf.h");
_Static_assert(__builtin_offsetof(struct __sk_buff, gso_size) == 176, "as in linux/bpf.h");

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static __u32 (*const get_smp_processor_id)(void) = (void *)8;
static long (*const l4_csum_replace)(struct __sk_buff *, __u32 at, __u64 from, __u64 to, __u64 flags) = (void *)11;
static long (*const vlan_push)(struct __sk_buff *, __u16 protocol, __u16 tag) = (void *)18;
static long (*const change_type)(struct __sk_buff *, __u32 type) = (void *)32;
static long (*const redirect_peer)(__u32 interface, __u64 flags) = (void *)155;
static __u64 (*const ktime_get_coarse_ns)(void) = (void *)160;

#define load(place) (*(volatile typeof(place) *)&(place))
#define store(place, value) (*(volatile typeof(place) *)&(place) = (value))
#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

// The packet's bytes, wherever they are now, and their end. Said in the machine's words, so that the compiler does not take
// the pointers for the 32 bits as which they are declared.
static always_inline void *data_of(struct __sk_buff *skb)
{
	void *data;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(data) : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data)));
	return data;
}

static always_inline void *end_of(struct __sk_buff *skb)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(end) : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data_end)));
	return end;
}

static always_inline __u16 swap16(__u16 value)
{
	return __builtin_bswap16(value);
}

// Leaves a packet to user space. It goes up with a tag, and so to a socket of its own protocol: one that was bound to IPv4 on
// this interface would be given every packet that is redirected from here too, and a copy be made for it to refuse.
//
// The first tag goes into the frame when the second one comes, and the second one is the frame's no more when a socket gets
// it: its number is nobody's.
static always_inline int hand_to_user_space(struct __sk_buff *skb)
{
	if (skb->protocol != swap16(ETHERNET_IPV4))
		return TCX_PASS;
	if (vlan_push(skb, swap16(ETHERNET_HANDED_UP), 1) || vlan_push(skb, swap16(ETHERNET_HANDED_UP), 1))
		return TCX_DROP;
	return TCX_PASS;
}

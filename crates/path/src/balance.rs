//! Which target of a listener a flow gets: by the flow alone, and the same in every executor.
//!
//! A flow falls into one of [`BUCKETS`] buckets, and each bucket belongs to the target that ranks highest there
//! (rendezvous hashing). A target's rank follows from bucket and target alone, so one that comes or goes moves the buckets
//! that become or were its own, and no others.

use std::sync::Arc;

use postern_model::elb::{TargetId, TargetKey};

use crate::cover::{Cover, v4};
use crate::flow::{Flow, Transport};

/// Buckets that flows fall into: so many that a hundred targets still get about the same share.
pub const BUCKETS: usize = 1_024;

/// A flow's bucket is the upper bits of its hash: how many bits are left out.
pub const BUCKET_SHIFT: u32 = 54;

/// What the fields of a flow are multiplied by: protocol, source, destination, both ports, and the sum of it all.
pub const FACTORS: [u64; 5] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
];

/// Who gets which flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    sticky: bool,
    /// The number of the target that each bucket belongs to. Empty where there is no target.
    owners: Vec<u16>,
}

impl Table {
    /// The targets, by number, share all flows. With `sticky` a client address keeps its target, whatever port it speaks
    /// from.
    pub fn new(targets: &[TargetKey], sticky: bool) -> Self {
        let identities: Vec<_> = targets.iter().map(identity).collect();
        let owner = |bucket: u64| {
            let ranks =
                identities.iter().zip(0_u16..).map(|(own, number)| (rank(bucket, *own), *own, number));
            ranks.max().map(|(_, _, number)| number)
        };
        Self { sticky, owners: (0..BUCKETS as u64).map_while(owner).collect() }
    }

    /// The number of a flow's target. None where there is no target, or the flow has no ports.
    pub fn choose(&self, flow: &Flow) -> Option<u16> {
        let ports = match flow.transport {
            Transport::Tcp { source_port, destination_port }
            | Transport::Udp { source_port, destination_port } => (source_port, destination_port),
            Transport::Icmp { .. } | Transport::Other { .. } => return None,
        };
        let own_port = if self.sticky { 0 } else { u64::from(ports.0) };
        let fields = [
            u64::from(flow.transport.protocol()),
            u64::from(u32::from(v4(flow.source))),
            u64::from(u32::from(v4(flow.destination))),
            own_port << 16 | u64::from(ports.1),
        ];
        let [factors @ .., last] = FACTORS;
        let products = fields.iter().zip(factors).map(|(field, factor)| field.wrapping_mul(factor));
        let sum = products.fold(0, u64::wrapping_add);
        let bucket = ((sum ^ (sum >> 32)).wrapping_mul(last) >> BUCKET_SHIFT) as usize;
        self.owners.get(bucket).copied()
    }

    /// Whether a client address keeps its target.
    pub fn is_sticky(&self) -> bool {
        self.sticky
    }

    /// The number of the target that each bucket belongs to; none where there is no target.
    pub fn owners(&self) -> &[u16] {
        &self.owners
    }
}

/// A target as a number of its own.
fn identity(target: &TargetKey) -> u64 {
    let (kind, number) = match target.id {
        TargetId::Instance(id) => (1, id.number()),
        TargetId::Address(address) => (2, u64::from(u32::from(address))),
    };
    mix(mix(number).wrapping_add(kind << 16 | u64::from(target.port)))
}

fn rank(bucket: u64, identity: u64) -> u64 {
    mix(identity.wrapping_add(bucket.wrapping_mul(FACTORS[0])))
}

/// The end of splitmix64: every bit of the number tells in every bit.
const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(FACTORS[1]);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(FACTORS[2]);
    mixed ^ (mixed >> 31)
}

/// A target that was chosen on the way of a decision. The decision is about the flows of its box that have this target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// How it is chosen.
    pub table: Arc<Table>,
    /// Which one.
    pub chosen: u16,
    /// The flows that come as far as this choice. The decision's own box is a part of it.
    pub cover: Cover,
    /// How many of the stamps that the decision consulted were consulted before: the first ones.
    pub consulted: usize,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use postern_model::NetworkInterfaceId;
    use proptest::prelude::*;

    use super::*;

    fn target(number: u8) -> TargetKey {
        TargetKey { id: TargetId::Address(Ipv4Addr::new(10, 0, 0, number)), port: 80 }
    }

    fn flow(number: u32) -> Flow {
        let [a, b, c, d] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        let source_port = 32_768 + (number % 28_000) as u16;
        Flow {
            entry: NetworkInterfaceId::from_number(1 << 40),
            source: Ipv4Addr::new(10, a, b, c).into(),
            destination: Ipv4Addr::new(10, 0, 1, d % 4).into(),
            transport: Transport::Tcp { source_port, destination_port: 443 },
        }
    }

    fn owner(targets: &[TargetKey], number: u32) -> Option<TargetKey> {
        Table::new(targets, false).choose(&flow(number)).map(|at| targets[usize::from(at)])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn who_leaves_or_comes_moves_its_own_flows_alone(numbers in prop::collection::btree_set(any::<u8>(), 2..20), which in any::<usize>()) {
            let all: Vec<_> = numbers.iter().map(|number| target(*number)).collect();
            let gone = all[which % all.len()];
            let rest: Vec<_> = all.iter().copied().filter(|one| *one != gone).collect();
            let (whole, without) = (Table::new(&all, false), Table::new(&rest, false));
            for number in 0..2_000 {
                let at = |targets: &[TargetKey], table: &Table| table.choose(&flow(number)).map(|at| targets[usize::from(at)]);
                let (before, after) = (at(&all, &whole), at(&rest, &without));
                if before == Some(gone) {
                    prop_assert!(after.is_some() && after != before);
                } else {
                    prop_assert_eq!(before, after);
                }
            }
        }
    }

    #[test]
    fn targets_get_about_the_same_share() {
        for count in [2_u8, 3, 10] {
            let targets: Vec<_> = (1..=count).map(target).collect();
            let table = Table::new(&targets, false);
            let mut shares = vec![0_u32; usize::from(count)];
            for number in 0..20_000 {
                shares[usize::from(table.choose(&flow(number)).unwrap())] += 1;
            }
            let fair = 20_000 / u32::from(count);
            assert!(shares.iter().all(|share| share.abs_diff(fair) < fair * 35 / 100), "{shares:?}");
        }
    }

    #[test]
    fn ports_in_a_row_spread_as_well() {
        let targets: Vec<_> = (1..=4).map(target).collect();
        let table = Table::new(&targets, false);
        let of_port = |source_port| {
            let transport = Transport::Tcp { source_port, destination_port: 443 };
            table.choose(&Flow { transport, ..flow(1) }).unwrap()
        };
        let mut shares = [0_u32; 4];
        (40_000..44_000).for_each(|port| shares[usize::from(of_port(port))] += 1);
        assert!(shares.iter().all(|share| (700..1_300).contains(share)), "{shares:?}");
        let sticky = Table::new(&targets, true);
        let sticky_of = |source_port| {
            let transport = Transport::Tcp { source_port, destination_port: 443 };
            sticky.choose(&Flow { transport, ..flow(1) }).unwrap()
        };
        assert!((40_000..44_000).all(|port| sticky_of(port) == sticky_of(1)));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(owner(&[], 1), None);
        assert_eq!(owner(&[target(1)], 1), Some(target(1)));
    }
}

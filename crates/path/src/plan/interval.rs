//! Longest-prefix match as a sorted list of intervals: one binary search finds the match and, at no further cost, how
//! far around the address the answer stays the same.

use postern_model::Ipv4Net;

/// What holds where, over all IPv4 addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntervalMap<T> {
    /// Where each interval begins; it ends before the next one. The first begins at zero.
    starts: Vec<u32>,
    /// What holds in each; none where no prefix matches.
    values: Vec<Option<T>>,
}

/// What was found around an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<T> {
    /// The value of the longest prefix; none where no prefix matches.
    pub value: Option<T>,
    /// The first address of the interval in which this holds.
    pub low: u32,
    /// The last.
    pub high: u32,
}

impl<T: Copy> Default for IntervalMap<T> {
    fn default() -> Self {
        Self { starts: vec![0], values: vec![None] }
    }
}

impl<T: Copy> IntervalMap<T> {
    /// Flattens prefixes: the longest wins, and of equal ones the first that was given.
    pub fn new(prefixes: impl IntoIterator<Item = (Ipv4Net, T)>) -> Self {
        let mut prefixes: Vec<(Ipv4Net, T)> =
            prefixes.into_iter().map(|(block, value)| (block.trunc(), value)).collect();
        // Outer blocks before the ones inside them; the sort is stable, so equal ones keep their order.
        prefixes.sort_by_key(|(block, _)| (u32::from(block.network()), block.prefix_len()));
        prefixes.dedup_by_key(|(block, _)| *block);
        let mut map = Self { starts: Vec::new(), values: Vec::new() };
        map.begin(0, None);
        // The blocks that are open at this point, the innermost last.
        let mut open: Vec<(Ipv4Net, T)> = Vec::new();
        for (block, value) in prefixes {
            map.close_before(&mut open, u32::from(block.network()));
            map.begin(u32::from(block.network()), Some(value));
            open.push((block, value));
        }
        map.close_before(&mut open, u32::MAX);
        map
    }

    /// Ends the open blocks that are over before `address`, innermost first.
    fn close_before(&mut self, open: &mut Vec<(Ipv4Net, T)>, address: u32) {
        while let Some((block, _)) = open.last() {
            let end = u32::from(block.broadcast());
            if end >= address {
                return;
            }
            open.pop();
            self.begin(end + 1, open.last().map(|(_, value)| *value));
        }
    }

    /// From here on this holds.
    fn begin(&mut self, start: u32, value: Option<T>) {
        if self.starts.last() == Some(&start) {
            self.values.pop();
            self.values.push(value);
        } else {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// What holds at an address.
    pub fn find(&self, address: u32) -> Found<T> {
        let after = self.starts.partition_point(|start| *start <= address);
        let at = after.saturating_sub(1);
        Found {
            value: self.values.get(at).copied().flatten(),
            low: self.starts.get(at).copied().unwrap_or(0),
            high: self.starts.get(after).map_or(u32::MAX, |next| next - 1),
        }
    }

    /// How many intervals there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether no prefix was given.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block() -> impl Strategy<Value = Ipv4Net> {
        // Few distinct bits, so that blocks nest and touch often, both ends of the address space included.
        (any::<u8>(), 0..=32u8, any::<bool>()).prop_map(|(bits, length, high)| {
            let address = if high { 0xffff_ff00 | u32::from(bits) } else { u32::from(bits) << 24 };
            Ipv4Net::new(address.into(), length).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_linear_search_finds(blocks in prop::collection::vec(block(), 0..12), probes in prop::collection::vec(any::<u32>(), 8)) {
            let entries: Vec<(Ipv4Net, usize)> = blocks.iter().copied().zip(0..).collect();
            let map = IntervalMap::new(entries.clone());
            let linear = |address: u32| {
                let matching = entries.iter().filter(|(block, _)| block.contains(&std::net::Ipv4Addr::from(address)));
                matching.min_by_key(|(block, n)| (32 - block.prefix_len(), *n)).map(|(_, n)| *n)
            };
            let edges = blocks.iter().flat_map(|b| {
                let (first, last) = (u32::from(b.network()), u32::from(b.broadcast()));
                [first, last, first.saturating_sub(1), last.saturating_add(1)]
            });
            for address in probes.into_iter().chain(edges).chain([0, u32::MAX]) {
                let found = map.find(address);
                prop_assert_eq!(found.value, linear(address), "at {}", address);
                prop_assert!(found.low <= address && address <= found.high);
                prop_assert_eq!(linear(found.low), found.value);
                prop_assert_eq!(linear(found.high), found.value);
            }
        }
    }
}

//! The internet checksum (RFC 1071), whole and by difference (RFC 1624).
//!
//! A transport checksum that the sender's kernel left to its hardware ("partial") holds the sum of the pseudo header
//! only, not inverted; so it follows the addresses and not the ports, and by addition rather than by RFC 1624.

use std::net::Ipv4Addr;

/// The one's complement sum of bytes, not yet folded. An odd last byte counts as the high half of a word.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0_u64;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        // A word of four bytes is congruent to the sum of its halves.
        total += u64::from(word.try_into().map_or(0, u32::from_be_bytes));
    }
    let mut pairs = words.remainder().chunks_exact(2);
    for pair in &mut pairs {
        total += u64::from(pair.try_into().map_or(0, u16::from_be_bytes));
    }
    if let [last] = pairs.remainder() {
        total += u64::from(u16::from_be_bytes([*last, 0]));
    }
    total
}

/// A sum brought down to sixteen bits.
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // The loop leaves sixteen bits.
    sum as u16
}

/// The checksum over bytes whose checksum field is zero.
#[must_use]
pub fn over(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The sum of the pseudo header of TCP and UDP.
#[must_use]
pub fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> u64 {
    sum(&source.octets()) + sum(&destination.octets()) + u64::from(protocol) + u64::from(length)
}

/// What a change of some words does to a sum that covers them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// A word became another.
    #[must_use]
    pub fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// An address became another.
    #[must_use]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        let (old, new) = (u32::from(old), u32::from(new));
        Self(self.0 + u64::from(!old) + u64::from(new))
    }

    /// Bytes whose sum was `old` have the sum `new`.
    #[must_use]
    pub fn sums(self, old: u64, new: u64) -> Self {
        self.word(fold(old), fold(new))
    }

    /// Both changes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change (RFC 1624, equation 3).
    #[must_use]
    pub fn applied(self, checksum: u16) -> u16 {
        !fold(u64::from(!checksum) + self.0)
    }

    /// The partial checksum after the change: a plain sum.
    #[must_use]
    pub fn applied_to_partial(self, checksum: u16) -> u16 {
        fold(u64::from(checksum) + self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the letter of RFC 1071: word by word, carry by carry.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            sum += u32::from(word);
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_rfc_1071(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(over(&bytes), naive(&bytes));
        }

        #[test]
        fn by_difference_is_as_over_again(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..100),
            at in 0_usize..9,
            word in any::<u16>(),
        ) {
            // An all-zero packet is the one case in which the two forms of zero differ, and no packet is all zero.
            bytes[19] |= 1;
            let before = over(&bytes);
            let old = u16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
            bytes[at * 2..at * 2 + 2].copy_from_slice(&word.to_be_bytes());
            prop_assert_eq!(Delta::NONE.word(old, word).applied(before), over(&bytes));
        }

        #[test]
        fn a_partial_sum_follows_the_addresses(a in any::<u32>(), b in any::<u32>(), c in any::<u32>(), length in any::<u16>()) {
            let (a, b, c) = (Ipv4Addr::from(a), Ipv4Addr::from(b), Ipv4Addr::from(c));
            let before = fold(pseudo_header(a, b, 6, length));
            let after = fold(pseudo_header(c, b, 6, length));
            prop_assert_eq!(Delta::NONE.address(a, c).applied_to_partial(before), after);
        }
    }
}

//! A fast hash for lookups whose hits are verified (FNV-1a, 64 bits). Hostile collisions cost time, never an answer.

/// Of the empty text.
pub(crate) const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(BASIS, hash_more)
}

/// Of a text with one more byte.
pub(crate) fn hash_more(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(PRIME)
}

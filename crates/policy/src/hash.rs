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

/// How long the texts are at most whose parts can be hashed by [`Beginnings::part`].
pub(crate) const PART_BYTES: usize = 255;

/// Any odd number would do; this one has its bits well mixed (the golden ratio's).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The factor to the power of each length.
static POWERS: [u64; PART_BYTES + 1] = {
    let mut powers = [1_u64; PART_BYTES + 1];
    let mut at = 1;
    while at <= PART_BYTES {
        powers[at] = powers[at - 1].wrapping_mul(FACTOR);
        at += 1;
    }
    powers
};

/// A hash that the hash of a part of a text can be worked out of (a polynomial over its bytes).
pub(crate) fn part_hash(text: &[u8]) -> u64 {
    text.iter().fold(0, |hash, byte| part_hash_more(hash, *byte))
}

fn part_hash_more(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1)
}

/// What the beginnings of a text hash to, for the hashes of its parts.
#[derive(Debug)]
pub(crate) struct Beginnings {
    hashes: [u64; PART_BYTES + 1],
    /// How many bytes of the text there are hashes of.
    pub(crate) bytes: usize,
}

impl Beginnings {
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut hashes = [0; PART_BYTES + 1];
        let mut running = 0;
        for (hash, byte) in hashes[1..].iter_mut().zip(text) {
            running = part_hash_more(running, *byte);
            *hash = running;
        }
        Self { hashes, bytes: text.len().min(PART_BYTES) }
    }

    /// [`part_hash`] of so many bytes from there on; none where the text is too short, or longer than can be told.
    pub(crate) fn part(&self, from: usize, bytes: usize) -> Option<u64> {
        let to = from.checked_add(bytes).filter(|to| *to <= self.bytes)?;
        Some(self.hashes[to].wrapping_sub(self.hashes[from].wrapping_mul(POWERS[bytes])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_hash_as_they_do_alone() {
        let text: Vec<u8> = (0..=255).chain(0..100).collect();
        let beginnings = Beginnings::of(&text);
        for (from, bytes) in [(0, 0), (0, 255), (255, 0), (17, 100), (100, 1)] {
            assert_eq!(beginnings.part(from, bytes), Some(part_hash(&text[from..from + bytes])));
        }
        assert_eq!(beginnings.part(0, 256), None);
        assert_eq!(beginnings.part(200, 56), None);
        assert_eq!(Beginnings::of(b"abc").part(1, 3), None);
        assert_ne!(part_hash(b"ab"), part_hash(b"ba"));
        assert_ne!(part_hash(b"\0"), part_hash(b"\0\0"));
    }
}

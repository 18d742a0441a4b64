//! SHA-256, HMAC and hexadecimal, over aws-lc-rs.

use aws_lc_rs::{constant_time, digest, hmac};

/// A SHA-256 hash or an HMAC by it.
pub type Digest = [u8; 32];

/// Hashes bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Hashes bytes that come in pieces.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Sha256")
    }
}

impl Sha256 {
    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    pub fn finish(self) -> Digest {
        fixed(self.0.finish().as_ref())
    }
}

/// HMAC-SHA-256.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Digest {
    fixed(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref())
}

/// Compares in a time that does not depend on where the two differ.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// Small hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Reads 64 small hexadecimal digits, AWS's only form of a hash or signature.
pub fn digest_from_hex(text: &str) -> Option<Digest> {
    let bytes = text.as_bytes();
    let mut digest = Digest::default();
    if bytes.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(bytes.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(digest)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Both algorithms give 32 bytes.
fn fixed(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(bytes);
    digest
}

//! What the door draws at random: names of requests.

/// The name of a request, in the form of a random UUID (RFC 9562, version 4).
pub fn request_id() -> String {
    let mut bytes = [0u8; 16];
    // Without randomness all names are alike, which harms nothing but their use.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = postern_wire::crypto::hex(&bytes);
    let group = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32))
}

#[cfg(test)]
mod tests {
    #[test]
    fn request_ids_are_uuids_and_differ() {
        let (a, b) = (super::request_id(), super::request_id());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
    }
}

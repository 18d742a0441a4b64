//! Percent-encoding: strict when reading, AWS's canonical form when writing.

/// What cannot be read as percent-encoded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// `%` without two hexadecimal digits behind it.
    #[error("a percent sign at byte {at} is not followed by two hexadecimal digits")]
    Escape {
        /// Offset of the percent sign.
        at: usize,
    },
    /// A byte that has to be escaped stands bare.
    #[error("byte {at} has to be percent-encoded")]
    Bare {
        /// Offset of the byte.
        at: usize,
    },
    /// The decoded bytes are not UTF-8.
    #[error("the decoded bytes are not UTF-8")]
    NotUtf8,
}

/// How `+` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plus {
    /// As in a form or a query string.
    Space,
    /// As in a path.
    Plus,
}

/// Decodes to bytes. Controls, spaces and bytes beyond ASCII have to be escaped.
///
/// # Errors
/// When an escape is not whole, or a byte stands bare that must not.
pub fn decode_bytes(text: &str, plus: Plus) -> Result<Vec<u8>, PercentError> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = bytes
                    .get(at + 1)
                    .copied()
                    .and_then(nibble)
                    .zip(bytes.get(at + 2).copied().and_then(nibble));
                let (high, low) = digits.ok_or(PercentError::Escape { at })?;
                decoded.push(high << 4 | low);
                at += 3;
                continue;
            }
            b'+' if plus == Plus::Space => decoded.push(b' '),
            0x21..=0x7e => decoded.push(byte),
            _ => return Err(PercentError::Bare { at }),
        }
        at += 1;
    }
    Ok(decoded)
}

/// Decodes to text.
///
/// # Errors
/// As [`decode_bytes`], and when the bytes are not UTF-8.
pub fn decode(text: &str, plus: Plus) -> Result<String, PercentError> {
    String::from_utf8(decode_bytes(text, plus)?).map_err(|_| PercentError::NotUtf8)
}

/// Encodes everything but letters, digits, `-`, `.`, `_` and `~`.
pub fn encode(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    encode_into(bytes, false, &mut encoded);
    encoded
}

/// Encodes as [`encode`] and leaves `/` as it is.
pub fn encode_path(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len());
    encode_into(bytes, true, &mut encoded);
    encoded
}

fn encode_into(bytes: &[u8], keep_slash: bool, encoded: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
            encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PercentError, Plus, decode, decode_bytes, encode, encode_path};

    #[test]
    fn strict_where_others_guess() {
        assert_eq!(decode("a%2Bb+c", Plus::Space).as_deref(), Ok("a+b c"));
        assert_eq!(decode("a+b", Plus::Plus).as_deref(), Ok("a+b"));
        for (text, error) in [
            ("%", PercentError::Escape { at: 0 }),
            ("a%4", PercentError::Escape { at: 1 }),
            ("a%4g", PercentError::Escape { at: 1 }),
            ("a%+1", PercentError::Escape { at: 1 }),
            ("a b", PercentError::Bare { at: 1 }),
            ("a\u{e9}", PercentError::Bare { at: 1 }),
            ("%ff", PercentError::NotUtf8),
        ] {
            assert_eq!(decode(text, Plus::Space), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode_bytes(&encode(&bytes), Plus::Space), Ok(bytes.clone()));
            prop_assert_eq!(decode_bytes(&encode_path(&bytes), Plus::Plus), Ok(bytes));
        }
    }
}

//! CBOR (RFC 8949), as far as "Smithy RPC v2 CBOR" uses it: read into JSON's values, and written.
//!
//! INVARIANT: no bytes make it panic, recurse without bound or take memory for what they only announce.

use serde_json::{Map, Number, Value};

/// How deep values may lie in each other.
const DEPTH_MAX: usize = 32;
/// "Epoch-Based Date/Time" (RFC 8949, 3.4.2).
const TAG_TIME: u64 = 1;

/// Why bytes are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the document cannot be read as CBOR at byte {0}")]
pub(super) struct NotCbor(usize);

/// The one value that the bytes are. A time is the number of its seconds.
pub(super) fn read(bytes: &[u8]) -> Result<Value, NotCbor> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value(DEPTH_MAX)?;
    if reader.at == bytes.len() { Ok(value) } else { Err(NotCbor(reader.at)) }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// What stands at the head of a value.
struct Head {
    major: u8,
    info: u8,
    /// None for what has no stated length.
    number: Option<u64>,
}

impl Reader<'_> {
    fn wrong<T>(&self) -> Result<T, NotCbor> {
        Err(NotCbor(self.at))
    }

    fn take(&mut self, count: u64) -> Result<&[u8], NotCbor> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let start = self.at;
        match end.and_then(|end| Some((end, self.bytes.get(start..end)?))) {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => self.wrong(),
        }
    }

    fn big_endian(&mut self, count: u64) -> Result<u64, NotCbor> {
        Ok(self.take(count)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn head(&mut self) -> Result<Head, NotCbor> {
        let first = self.big_endian(1)?;
        let (major, info) = ((first >> 5) as u8, (first & 31) as u8);
        let number = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => Some(self.big_endian(1 << (info - 24))?),
            31 if matches!(major, 2..=5 | 7) => None,
            _ => return self.wrong(),
        };
        Ok(Head { major, info, number })
    }

    fn is_break(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&0xff);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, NotCbor> {
        let Some(depth) = depth.checked_sub(1) else { return self.wrong() };
        let Head { major, info, number } = self.head()?;
        match (major, number) {
            (0, Some(number)) => Ok(Value::from(number)),
            (1, Some(number)) => match i64::try_from(number) {
                Ok(number) => Ok(Value::from(-1 - number)),
                Err(_) => self.wrong(),
            },
            (3, length) => self.text(length).map(Value::String),
            (4, length) => {
                let mut items = Vec::new();
                while self.goes_on(length, items.len()) {
                    items.push(self.value(depth)?);
                }
                Ok(Value::Array(items))
            }
            (5, length) => self.map(length, depth),
            (6, Some(TAG_TIME)) => match self.value(depth)? {
                time @ Value::Number(_) => Ok(time),
                _ => self.wrong(),
            },
            (7, Some(number)) => self.simple(info, number),
            _ => self.wrong(),
        }
    }

    /// Whether there is one more after so many of a list or map.
    fn goes_on(&mut self, length: Option<u64>, so_far: usize) -> bool {
        match length {
            Some(length) => (so_far as u64) < length,
            None => !self.is_break(),
        }
    }

    fn text(&mut self, length: Option<u64>) -> Result<String, NotCbor> {
        let Some(length) = length else {
            let mut whole = String::new();
            while !self.is_break() {
                match self.head()? {
                    Head { major: 3, number: Some(length), .. } => whole.push_str(&self.text(Some(length))?),
                    _ => return self.wrong(),
                }
            }
            return Ok(whole);
        };
        let start = self.at;
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| NotCbor(start))
    }

    fn map(&mut self, length: Option<u64>, depth: usize) -> Result<Value, NotCbor> {
        let mut map = Map::new();
        while self.goes_on(length, map.len()) {
            let start = self.at;
            let Value::String(name) = self.value(depth)? else { return Err(NotCbor(start)) };
            let value = self.value(depth)?;
            // Readers differ about which of two counts.
            if map.insert(name, value).is_some() {
                return Err(NotCbor(start));
            }
        }
        Ok(Value::Object(map))
    }

    fn simple(&self, info: u8, number: u64) -> Result<Value, NotCbor> {
        let float = match info {
            20 => return Ok(Value::Bool(false)),
            21 => return Ok(Value::Bool(true)),
            22 | 23 => return Ok(Value::Null),
            25 => half(number as u16),
            26 => f64::from(f32::from_bits(number as u32)),
            27 => f64::from_bits(number),
            _ => return self.wrong(),
        };
        Number::from_f64(float).map_or_else(|| self.wrong(), |number| Ok(Value::Number(number)))
    }
}

/// A number of half precision (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let (exponent, mantissa) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

/// Writes the head of a value.
pub(super) fn head(out: &mut Vec<u8>, major: u8, number: u64) {
    let major = major << 5;
    match number {
        0..=23 => out.push(major | number as u8),
        24..=0xff => out.extend([major | 24, number as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((number as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(number.to_be_bytes());
        }
    }
}

/// Writes a text.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    head(out, 3, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Writes a number.
pub(super) fn number(out: &mut Vec<u8>, number: f64) {
    out.push(0xfb);
    out.extend(number.to_be_bytes());
}

/// Writes a time, by its seconds since 1970.
pub(super) fn time(out: &mut Vec<u8>, seconds: i64) {
    head(out, 6, TAG_TIME);
    match u64::try_from(seconds) {
        Ok(seconds) => head(out, 0, seconds),
        Err(_) => head(out, 1, seconds.unsigned_abs() - 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// Examples of RFC 8949, appendix A.
    #[test]
    fn values_are_read_as_the_rfc_has_them() {
        for (bytes, expected) in [
            ("00", json!(0)),
            ("1818", json!(24)),
            ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
            ("3903e7", json!(-1000)),
            ("f93c00", json!(1.0)),
            ("f90001", json!(5.960_464_477_539_063e-8)),
            ("fa47c35000", json!(100_000.0)),
            ("fb3ff199999999999a", json!(1.1)),
            ("f4", json!(false)),
            ("f6", json!(null)),
            ("c11a514b67b0", json!(1_363_896_240)),
            ("c1fb41d452d9ec200000", json!(1_363_896_240.5)),
            ("6449455446", json!("IETF")),
            ("7f657374726561646d696e67ff", json!("streaming")),
            ("8301820203820405", json!([1, [2, 3], [4, 5]])),
            ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
            ("bf6346756ef563416d7421ff", json!({ "Fun": true, "Amt": -2 })),
        ] {
            assert_eq!(read(&hex(bytes)), Ok(expected), "{bytes}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for bytes in [
            "",
            "0000",
            "1c",
            "62ff",
            "9f01",
            "a1",
            "a10102",
            "a2616101616102",
            "5f",
            "c074",
            "f97c00",
            "ff",
            "bb",
        ] {
            assert!(read(&hex(bytes)).is_err(), "{bytes}");
        }
        assert!(read(&[0x81; 100_000]).is_err(), "too deep");
        assert!(read(&hex("9bffffffffffffffff")).is_err(), "announced and not there");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_is_written_is_read(texts in proptest::collection::vec(".*", 0..30), seconds: i32, value: i32) {
            let mut out = Vec::new();
            head(&mut out, 4, texts.len() as u64 + 2);
            texts.iter().for_each(|one| text(&mut out, one));
            time(&mut out, seconds.into());
            number(&mut out, value.into());
            let mut expected: Vec<Value> = texts.into_iter().map(Value::from).collect();
            expected.extend([Value::from(seconds), Value::from(f64::from(value))]);
            prop_assert_eq!(read(&out), Ok(Value::Array(expected)));
        }
    }
}

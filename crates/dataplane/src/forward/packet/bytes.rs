//! Reads and writes that know where the frame ends.

use std::net::Ipv4Addr;

/// The bytes at `at`, as many as asked for.
#[inline]
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// One byte.
#[inline]
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Two bytes, the high one first.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

/// Four bytes, the high one first.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// An IPv4 address.
#[inline]
pub fn address_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    array::<4>(bytes, at).map(Ipv4Addr::from)
}

/// Writes bytes over others. Nothing is written where not all of them fit.
#[inline]
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

/// Writes two bytes, the high one first.
#[inline]
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) -> Option<()> {
    put(bytes, at, &value.to_be_bytes())
}

/// Writes four bytes, the high one first.
#[inline]
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    put(bytes, at, &value.to_be_bytes())
}

//! ICMP echo at the doors. While the uplink carries echoes, the doors' own kernel answers none: what it would answer
//! for the uplink would be a lie. So the other doors are answered for here.

use std::io;

use tokio::net::UdpSocket;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const HEADER_BYTES: usize = 8;

/// An echo request.
pub struct Request<'p> {
    /// What tells one sender's conversations apart.
    pub identifier: u16,
    /// The whole message.
    pub message: &'p [u8],
}

/// The echo request in an IP packet as a raw socket gives it.
pub fn request(packet: &[u8]) -> Option<Request<'_>> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header_bytes..)?;
    let [ECHO_REQUEST, 0, _, _, high, low, _, _] = *message.first_chunk::<HEADER_BYTES>()? else {
        return None;
    };
    Some(Request { identifier: u16::from_be_bytes([high, low]), message })
}

/// Gives an echo reply another identifier; false for any other message.
pub fn readdress(message: &mut [u8], identifier: u16) -> bool {
    let Some([ECHO_REPLY, 0, ..]) = message.first_chunk::<HEADER_BYTES>() else { return false };
    set(message, 4, identifier);
    seal(message);
    true
}

/// Answers echo requests for a door, as its kernel would.
pub async fn answer(door: UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, from) = door.recv_from(&mut buffer).await?;
        let Some(found) = request(buffer.get(..length).unwrap_or_default()) else { continue };
        let mut reply = found.message.to_owned();
        set(&mut reply, 0, u16::from_be_bytes([ECHO_REPLY, 0]));
        seal(&mut reply);
        if let Err(error) = door.send_to(&reply, from).await {
            tracing::debug!(%from, %error, "an echo could not be answered");
        }
    }
}

fn set(message: &mut [u8], at: usize, value: u16) {
    if let Some(place) = message.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes the checksum (RFC 1071).
fn seal(message: &mut [u8]) {
    set(message, 2, 0);
    let words = message.chunks(2).map(|pair| {
        let [high, low] = [pair.first(), pair.get(1)].map(|byte| u32::from(byte.copied().unwrap_or(0)));
        high << 8 | low
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // At most sixteen bits are left.
    set(message, 2, !(sum as u16));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sealed(message: &[u8]) -> bool {
        let mut again = message.to_owned();
        seal(&mut again);
        again == message
    }

    #[test]
    fn only_requests_are_requests() {
        let mut packet = vec![0x46; 24];
        packet.extend([8, 0, 1, 2, 0xab, 0xcd, 0, 1, b'x']);
        let found = request(&packet).unwrap();
        assert_eq!((found.identifier, found.message.len()), (0xabcd, 9));
        packet[24] = 0;
        assert!(request(&packet).is_none(), "a reply");
        for length in 0..32 {
            assert!(request(&packet[..length]).is_none(), "cut");
        }
    }

    #[test]
    fn a_reply_gets_its_asker_back() {
        let mut reply = [0, 0, 0, 0, 1, 2, 0, 1, b'o', b'd', b'd'];
        assert!(readdress(&mut reply, 0xabcd) && is_sealed(&reply));
        assert_eq!(reply[4..8], [0xab, 0xcd, 0, 1]);
        assert!(!readdress(&mut [3, 1, 0, 0, 1, 2, 0, 1], 7), "an error is no reply");
        assert!(!readdress(&mut [0, 0, 0], 7));
    }
}

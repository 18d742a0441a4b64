//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use postern_model::Mac;

use super::bytes::{address_at, array, u8_at, u16_at};
use super::ethernet;

/// A question: who has `target`?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who asks.
    pub sender: Mac,
    /// The asker's address; unspecified in a probe (RFC 5227).
    pub sender_address: Ipv4Addr,
    /// Whose hardware address is wanted.
    pub target: Ipv4Addr,
}

/// The question in a frame; none if it holds an answer, or no sense.
pub fn question(frame: &[u8]) -> Option<Question> {
    let at = ethernet::HEADER_BYTES;
    let ethernet_and_ipv4 = u16_at(frame, at)? == 1
        && u16_at(frame, at + 2)? == ethernet::IPV4
        && u8_at(frame, at + 4)? == 6
        && u8_at(frame, at + 5)? == 4;
    let asks = u16_at(frame, at + 6)? == 1;
    let question = Question {
        sender: Mac(array(frame, at + 8)?),
        sender_address: address_at(frame, at + 14)?,
        target: address_at(frame, at + 24)?,
    };
    (ethernet_and_ipv4 && asks).then_some(question)
}

/// The answer to a question: `target` is at `mac`.
pub fn answer(question: &Question, mac: Mac) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend_from_slice(&question.sender.0);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&ethernet::ARP.to_be_bytes());
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&mac.0);
    frame.extend_from_slice(&question.target.octets());
    frame.extend_from_slice(&question.sender.0);
    frame.extend_from_slice(&question.sender_address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_to_its_asker() {
        let asked = Question {
            sender: Mac([2, 0, 0, 0, 0, 9]),
            sender_address: Ipv4Addr::new(10, 0, 0, 5),
            target: Ipv4Addr::new(10, 0, 0, 1),
        };
        let mut frame = answer(&asked, ethernet::ROUTER_MAC);
        assert_eq!(question(&frame), None, "an answer asks nothing");
        frame[21] = 1;
        let echoed = question(&frame).unwrap();
        assert_eq!((echoed.sender, echoed.sender_address), (ethernet::ROUTER_MAC, asked.target));
        assert_eq!(echoed.target, asked.sender_address);
    }
}

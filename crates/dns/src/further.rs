//! A query that is asked further: what is sent to a resolver of the host's, and what becomes of its answer.
//!
//! INVARIANT: of the client's query only the question and a few flags go on; of the answer everything comes back but
//! its number and the flags that are this resolver's own, so that record types that nobody here knows stay whole.

use hickory_proto::op::{Edns, Header, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};

/// What an answer over UDP may have: small enough for any link ("DNS flag day 2020").
pub(crate) const UDP_BYTES: u16 = 1_232;

/// A query about a name that is not the region's.
#[derive(Debug, Clone)]
pub struct Further {
    pub(crate) query: Message,
    /// How many bytes the answer to the client may have.
    pub(crate) room: u16,
}

/// An answer of a resolver of the host's that belongs to what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    bytes: Vec<u8>,
    pub truncated: bool,
    pub code: ResponseCode,
}

impl Further {
    /// The one question.
    pub(crate) fn question(&self) -> Option<&Query> {
        self.query.queries.first()
    }

    /// What is sent to a resolver.
    pub(crate) fn request(&self, number: u16) -> Option<Vec<u8>> {
        let mut request = Message::new(number, MessageType::Query, OpCode::Query);
        request.metadata.recursion_desired = true;
        request.metadata.checking_disabled = self.query.metadata.checking_disabled;
        request.metadata.authentic_data = self.query.metadata.authentic_data;
        request.add_query(self.question()?.clone());
        // An answer has the extension exactly where its client knows it.
        if let Some(asked) = &self.query.edns {
            let mut own = Edns::new();
            own.set_max_payload(UDP_BYTES);
            own.set_dnssec_ok(asked.flags().dnssec_ok);
            request.set_edns(own);
        }
        request.to_bytes().ok()
    }

    /// What came back, if it is the answer to the request of this number.
    pub(crate) fn heard(&self, number: u16, bytes: &[u8]) -> Option<Heard> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        let answers = header.message_type == MessageType::Response
            && header.op_code == OpCode::Query
            && header.id == number
            && header.counts.queries == 1;
        let question = Query::read(&mut decoder).ok().filter(|_| answers)?;
        (Some(&question) == self.question()).then(|| Heard {
            bytes: bytes.to_owned(),
            truncated: header.truncation,
            code: header.response_code,
        })
    }

    /// The answer to the client.
    pub(crate) fn reply(&self, heard: Heard) -> Option<Vec<u8>> {
        let Heard { mut bytes, truncated: _, code } = heard;
        if bytes.len() > usize::from(self.room) {
            let mut reply = self.blank(code);
            reply.metadata.truncation = true;
            return reply.to_bytes().ok();
        }
        let [high, low] = self.query.metadata.id.to_be_bytes();
        let asked = u8::from(self.query.metadata.recursion_desired);
        let header = bytes.first_chunk_mut::<4>()?;
        // The answer is no longer the authority's own, and recursion is offered.
        let flags = [(header[2] & !0x05) | asked, header[3] | 0x80];
        *header = [high, low, flags[0], flags[1]];
        Some(bytes)
    }

    /// The answer to the client where no resolver gave one.
    pub(crate) fn failure(&self) -> Option<Vec<u8>> {
        self.blank(ResponseCode::ServFail).to_bytes().ok()
    }

    /// An answer that holds nothing but the question.
    fn blank(&self, code: ResponseCode) -> Message {
        let mut reply = Message::response(self.query.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = self.query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.queries.clone_from(&self.query.queries);
        if self.query.edns.is_some() {
            let mut own = Edns::new();
            own.set_max_payload(UDP_BYTES);
            reply.set_edns(own);
        }
        reply
    }
}

//! From the bytes of a query to the bytes of an answer.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use postern_model::VpcId;
use postern_path::name::TTL_SECONDS;
use postern_path::{Plan, Question, Resolution};

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Whose view is answered.
    pub vpc: VpcId,
    /// How many bytes the answer may have: 512 over UDP unless the query says more, 65,535 over TCP.
    pub max_bytes: u16,
    /// Turns the order of addresses, so that clients spread over them.
    pub rotation: usize,
}

/// The answer to a query; none for what is not one, or if the VPC's resolver is off.
pub fn answer(plan: &Plan, asker: Asker, query: &[u8]) -> Option<Vec<u8>> {
    // INVARIANT: only queries are answered, so that two resolvers never answer each other in turns.
    let query = Message::from_bytes(query)
        .ok()
        .filter(|message| message.metadata.message_type == MessageType::Query)?;
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    match (query.metadata.op_code, query.queries.as_slice()) {
        (OpCode::Query, [question]) => {
            reply.add_query(question.clone());
            let resolution = if question.query_class() == DNSClass::IN {
                resolve(plan, asker.vpc, question.name(), question.query_type())
            } else {
                Resolution::Unknown
            };
            fill(&mut reply, question.name(), resolution, asker.rotation)?;
        }
        (OpCode::Query, _) => reply.metadata.response_code = ResponseCode::FormErr,
        (_, _) => reply.metadata.response_code = ResponseCode::NotImp,
    }
    encode(reply, &query, asker.max_bytes)
}

fn resolve(plan: &Plan, vpc: VpcId, name: &Name, record_type: RecordType) -> Resolution {
    let question = match record_type {
        RecordType::A => Question::Address,
        RecordType::PTR => Question::Pointer,
        _ => Question::Other,
    };
    plan.resolve(vpc, &name.to_ascii(), question)
}

/// Puts what was found into the reply; none if there is to be no reply at all.
fn fill(reply: &mut Message, name: &Name, resolution: Resolution, rotation: usize) -> Option<()> {
    match resolution {
        Resolution::Addresses { mut addresses, source: _ } => {
            let by = rotation.checked_rem(addresses.len()).unwrap_or(0);
            addresses.rotate_left(by);
            for address in addresses {
                reply.add_answer(Record::from_rdata(name.clone(), TTL_SECONDS, RData::A(rdata::A(address))));
            }
        }
        Resolution::Pointer(target) => {
            let target = Name::from_ascii(format!("{target}.")).ok()?;
            reply.add_answer(Record::from_rdata(name.clone(), TTL_SECONDS, RData::PTR(rdata::PTR(target))));
        }
        Resolution::NoData => {}
        Resolution::Unknown => reply.metadata.response_code = ResponseCode::NXDomain,
        Resolution::Off => return None,
    }
    Some(())
}

/// The reply as bytes, cut down to its question if it does not fit.
fn encode(mut reply: Message, query: &Message, max_bytes: u16) -> Option<Vec<u8>> {
    let mut room = max_bytes;
    if let Some(edns) = &query.edns {
        room = room.max(edns.max_payload().min(1_232));
        let mut own = hickory_proto::op::Edns::new();
        own.set_max_payload(1_232);
        reply.set_edns(own);
    }
    let bytes = reply.to_bytes().ok()?;
    if bytes.len() <= usize::from(room) {
        return Some(bytes);
    }
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.to_bytes().ok()
}

//! From the bytes of a query to the bytes of an answer.

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, rdata};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use postern_model::{NetworkInterfaceId, VpcId};
use postern_path::name::TTL_SECONDS;
use postern_path::{Plan, Question, Resolution, Viewer};

use crate::further::{Further, UDP_BYTES};
use crate::metrics::QueryResult;

/// Who asks, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// Whose view is answered.
    pub vpc: VpcId,
    /// Whether the VPC's resolver is asked by one of its inbound endpoints.
    pub inbound: bool,
    /// Whose query it is, if that is known: some names answer with what is near.
    pub interface: Option<NetworkInterfaceId>,
    /// How many bytes the answer may have: 512 over UDP unless the query says more, 65,535 over TCP.
    pub max_bytes: u16,
    /// Turns the order of addresses, so that clients spread over them.
    pub rotation: usize,
}

/// What is to be said to a query.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Nothing.
    Silence(QueryResult),
    /// This.
    Reply(Vec<u8>, QueryResult),
    /// What the host's resolvers say.
    Further(Box<Further>),
}

impl Answer {
    /// The bytes that are known already.
    pub fn reply(self) -> Option<Vec<u8>> {
        match self {
            Self::Reply(bytes, _) => Some(bytes),
            Self::Silence(_) | Self::Further(_) => None,
        }
    }
}

/// The answer to a query: silence to what is not one, or if the VPC's resolver is off.
pub fn answer(plan: &Plan, asker: Asker, query: &[u8]) -> Answer {
    // INVARIANT: only queries are answered, so that two resolvers never answer each other in turns.
    let query =
        Message::from_bytes(query).ok().filter(|message| message.metadata.message_type == MessageType::Query);
    let Some(query) = query else { return Answer::Silence(QueryResult::Malformed) };
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let mut result = QueryResult::Malformed;
    match (query.metadata.op_code, query.queries.as_slice()) {
        (OpCode::Query, [question]) => {
            reply.add_query(question.clone());
            let resolution = if question.query_class() == DNSClass::IN {
                resolve(plan, asker, question.name(), question.query_type())
            } else {
                Resolution::Unknown
            };
            result = match &resolution {
                Resolution::Addresses { .. } | Resolution::Pointer(_) => QueryResult::Answered,
                Resolution::NoData => QueryResult::NoData,
                Resolution::Unknown => QueryResult::Unknown,
                Resolution::Elsewhere => {
                    let room = room(&query, asker.max_bytes);
                    return Answer::Further(Box::new(Further { query, room }));
                }
                Resolution::Off => return Answer::Silence(QueryResult::Off),
            };
            fill(&mut reply, question.name(), resolution, asker.rotation);
        }
        (OpCode::Query, _) => reply.metadata.response_code = ResponseCode::FormErr,
        (_, _) => reply.metadata.response_code = ResponseCode::NotImp,
    }
    match encode(reply, &query, asker.max_bytes) {
        Some(bytes) => Answer::Reply(bytes, result),
        None => Answer::Silence(QueryResult::Malformed),
    }
}

fn resolve(plan: &Plan, asker: Asker, name: &Name, record_type: RecordType) -> Resolution {
    let question = match record_type {
        RecordType::A => Question::Address,
        RecordType::PTR => Question::Pointer,
        _ => Question::Other,
    };
    if asker.inbound {
        return plan.resolve_inbound(asker.vpc, &name.to_ascii(), question);
    }
    let viewer = asker.interface.map(|interface| Viewer { interface, number: asker.rotation });
    plan.resolve_for(asker.vpc, viewer, &name.to_ascii(), question)
}

/// Puts what was found into the reply.
fn fill(reply: &mut Message, name: &Name, resolution: Resolution, rotation: usize) {
    match resolution {
        Resolution::Addresses { mut addresses, source } => {
            let by = rotation.checked_rem(addresses.len()).unwrap_or(0);
            addresses.rotate_left(by);
            for address in addresses {
                reply.add_answer(Record::from_rdata(
                    name.clone(),
                    source.ttl_seconds(),
                    RData::A(rdata::A(address)),
                ));
            }
        }
        Resolution::Pointer(target) => match Name::from_ascii(format!("{target}.")) {
            Ok(target) => {
                let data = RData::PTR(rdata::PTR(target));
                reply.add_answer(Record::from_rdata(name.clone(), TTL_SECONDS, data));
            }
            Err(_) => reply.metadata.response_code = ResponseCode::ServFail,
        },
        Resolution::NoData => {}
        Resolution::Unknown => reply.metadata.response_code = ResponseCode::NXDomain,
        Resolution::Elsewhere | Resolution::Off => reply.metadata.response_code = ResponseCode::ServFail,
    }
}

/// How many bytes the answer may have.
fn room(query: &Message, max_bytes: u16) -> u16 {
    query.edns.as_ref().map_or(max_bytes, |edns| max_bytes.max(edns.max_payload().min(UDP_BYTES)))
}

/// The reply as bytes, cut down to its question if it does not fit.
fn encode(mut reply: Message, query: &Message, max_bytes: u16) -> Option<Vec<u8>> {
    if query.edns.is_some() {
        let mut own = hickory_proto::op::Edns::new();
        own.set_max_payload(UDP_BYTES);
        reply.set_edns(own);
    }
    let bytes = reply.to_bytes().ok()?;
    if bytes.len() <= usize::from(room(query, max_bytes)) {
        return Some(bytes);
    }
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.to_bytes().ok()
}

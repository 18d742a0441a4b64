//! The resolver by the bytes of its queries and answers, and over real sockets on loopback.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use postern_dns::{Asker, Resolver, Views, answer};
use postern_model::{AccountId, NetworkInterfaceId, VpcId};
use postern_path::{Peer, PeerLookup, Plan, Through};
use postern_testkit::Topology;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOPOLOGY: &str = "
vpc on 10.0.0.0/16 dns=on hostnames=on
subnet on.one 10.0.1.0/24
instance i1 in on.one ip=10.0.1.10
vpc off 10.1.0.0/16 dns=off
";

/// A plan, and the VPCs with the resolver on and off.
fn plan() -> (Plan, VpcId, VpcId) {
    let topology = Topology::read(TOPOLOGY).unwrap();
    let vpc = |support| topology.state.vpcs.values().find(|vpc| vpc.dns_support == support).unwrap().id;
    (topology.plan.clone(), vpc(true), vpc(false))
}

fn query(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4_711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message.to_bytes().unwrap()
}

fn ask(plan: &Plan, vpc: VpcId, name: &str, record_type: RecordType) -> Option<Message> {
    let asker = Asker { vpc, inbound: false, interface: None, max_bytes: 512, rotation: 0 };
    answer(plan, asker, &query(name, record_type)).reply().map(|bytes| Message::from_bytes(&bytes).unwrap())
}

/// Code and answers, in words.
fn said(message: Option<Message>) -> String {
    let Some(message) = message else { return "silence".to_owned() };
    assert_eq!(message.metadata.id, 4_711, "an answer is known by its query's number");
    let data = |record: &hickory_proto::rr::Record| match &record.data {
        RData::A(address) => address.0.to_string(),
        RData::PTR(name) => name.0.to_string(),
        other => other.to_string(),
    };
    let answers: Vec<String> = message.answers.iter().map(data).collect();
    match message.metadata.response_code {
        ResponseCode::NoError => answers.join(" "),
        code => format!("{code:?} {}", answers.join(" ")).trim().to_owned(),
    }
}

#[test]
fn names_are_answered_as_the_plan_says() {
    let (plan, on, off) = plan();
    for (vpc, name, record_type, expected) in [
        (on, "s3.us-east-1.amazonaws.com.", RecordType::A, "198.19.0.10 198.19.4.10"),
        (on, "Bucket.S3.us-east-1.AmazonAWS.com.", RecordType::A, "198.19.0.10 198.19.4.10"),
        (on, "s3.us-east-1.amazonaws.com.", RecordType::AAAA, ""),
        (on, "ip-10-0-1-10.ec2.internal.", RecordType::A, "10.0.1.10"),
        (on, "ip-10-0-1-11.ec2.internal.", RecordType::A, "NXDomain"),
        (on, "10.1.0.10.in-addr.arpa.", RecordType::PTR, "ip-10-0-1-10.ec2.internal."),
        (on, "example.com.", RecordType::A, "NXDomain"),
        (off, "s3.us-east-1.amazonaws.com.", RecordType::A, "silence"),
    ] {
        assert_eq!(said(ask(&plan, vpc, name, record_type)), expected, "{name} {record_type}");
    }
}

#[test]
fn names_of_endpoints_may_be_kept_for_a_minute() {
    let topology = "
vpc a 10.0.0.0/16 dns=on hostnames=on
subnet a.one 10.0.1.0/24
endpoint a.api ec2 subnets=one ip=10.0.1.99 private
";
    let topology = Topology::read(topology).unwrap();
    let endpoint = topology.state.vpc_endpoints.values().next().unwrap();
    let own = endpoint.dns(&topology.state).own[0].0.clone();
    for (name, expected) in [
        ("ec2.us-east-1.amazonaws.com.".to_owned(), ("10.0.1.99", 60)),
        (format!("{}.", own.to_ascii_uppercase()), ("10.0.1.99", 60)),
        ("sts.us-east-1.amazonaws.com.".to_owned(), ("198.19.129.10 198.19.129.20", 5)),
    ] {
        let answer = ask(&topology.plan, endpoint.vpc, &name, RecordType::A);
        let ttl = answer.as_ref().unwrap().answers[0].ttl;
        assert_eq!((said(answer).as_str(), ttl), expected, "{name}");
    }
    let other = ask(&topology.plan, endpoint.vpc, "ec2.us-east-1.amazonaws.com.", RecordType::AAAA);
    assert_eq!(said(other), "", "there is the name, and no address of IPv6");
}

#[test]
fn who_asks_an_inbound_endpoint_hears_names_that_are_for_those_alone() {
    let topology = "
vpc a 10.0.0.0/16 dns=on hostnames=on
subnet a.one 10.0.1.0/24
endpoint a.s3 s3 tables=main
endpoint a.s3i s3 subnets=one ip=10.0.1.99 private inbound-only
endpoint a.api ec2 subnets=one ip=10.0.1.98 private
";
    let topology = Topology::read(topology).unwrap();
    let vpc = topology.state.vpcs.values().next().unwrap().id;
    let ask = |inbound, name: &str| {
        let asker = Asker { vpc, inbound, interface: None, max_bytes: 512, rotation: 0 };
        let bytes = answer(&topology.plan, asker, &query(name, RecordType::A)).reply().unwrap();
        said(Some(Message::from_bytes(&bytes).unwrap()))
    };
    for name in ["s3.us-east-1.amazonaws.com.", "bucket.s3.us-east-1.amazonaws.com."] {
        assert_eq!(
            (ask(true, name), ask(false, name)),
            ("10.0.1.99".into(), "198.19.0.10 198.19.4.10".into())
        );
    }
    for (name, expected) in [
        ("ec2.us-east-1.amazonaws.com.", "10.0.1.98"),
        ("ip-10-0-1-98.ec2.internal.", "10.0.1.98"),
        ("sts.us-east-1.amazonaws.com.", "198.19.129.10 198.19.129.20"),
        ("ip-10-0-1-7.ec2.internal.", "NXDomain"),
    ] {
        assert_eq!((ask(true, name).as_str(), ask(false, name).as_str()), (expected, expected), "{name}");
    }
}

#[test]
fn addresses_take_turns_at_the_front() {
    let (plan, on, _) = plan();
    let first = |rotation| {
        let asker = Asker { vpc: on, inbound: false, interface: None, max_bytes: 512, rotation };
        let bytes = answer(&plan, asker, &query("s3.amazonaws.com.", RecordType::A)).reply().unwrap();
        said(Some(Message::from_bytes(&bytes).unwrap()))
    };
    assert_eq!(first(0), "198.19.0.10 198.19.4.10");
    assert_eq!(first(1), "198.19.4.10 198.19.0.10");
    assert_eq!(first(2), first(0));
}

#[test]
fn what_is_no_plain_query_is_refused_or_ignored() {
    let (plan, on, _) = plan();
    let asker = Asker { vpc: on, inbound: false, interface: None, max_bytes: 512, rotation: 0 };
    let mut update = Message::query();
    update.metadata.op_code = OpCode::Update;
    let reply = answer(&plan, asker, &update.to_bytes().unwrap()).reply().unwrap();
    assert_eq!(Message::from_bytes(&reply).unwrap().metadata.response_code, ResponseCode::NotImp);
    let empty = answer(&plan, asker, &Message::query().to_bytes().unwrap()).reply().unwrap();
    assert_eq!(Message::from_bytes(&empty).unwrap().metadata.response_code, ResponseCode::FormErr);
    // An answer is never answered, or two resolvers would talk for ever.
    let once = answer(&plan, asker, &query("s3.amazonaws.com.", RecordType::A)).reply().unwrap();
    assert_eq!(answer(&plan, asker, &once).reply(), None);
}

#[test]
fn an_answer_that_does_not_fit_is_cut_to_its_question() {
    let (plan, on, _) = plan();
    let asker = Asker { vpc: on, inbound: false, interface: None, max_bytes: 48, rotation: 0 };
    let reply = answer(&plan, asker, &query("s3.us-east-1.amazonaws.com.", RecordType::A)).reply().unwrap();
    let reply = Message::from_bytes(&reply).unwrap();
    assert!(reply.metadata.truncation && reply.answers.is_empty());
    assert_eq!(reply.queries.len(), 1);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), flip in any::<(u16, u8)>()) {
        let (plan, on, _) = plan();
        let asker = Asker { vpc: on, inbound: false, interface: None, max_bytes: 512, rotation: 3 };
        let _ = answer(&plan, asker, &bytes);
        let mut damaged = query("ip-10-0-1-10.ec2.internal.", RecordType::A);
        let at = usize::from(flip.0) % damaged.len();
        damaged[at] ^= flip.1;
        let _ = answer(&plan, asker, &damaged);
    }
}

/// Loopback stands for an interface of the VPC with the resolver on.
struct Loopback(VpcId);

impl PeerLookup for Loopback {
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        (address == IpAddr::V4(Ipv4Addr::LOCALHOST)).then(|| Peer {
            account: AccountId::from_number(1).unwrap(),
            vpc: self.0,
            interface: NetworkInterfaceId::from_number(1 << 40),
            instance: None,
            address: Ipv4Addr::new(10, 0, 1, 10),
            through: Through::Link,
        })
    }
}

struct Fixed(Arc<Plan>);

impl Views for Fixed {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.0)
    }
}

#[tokio::test]
async fn both_transports_answer_those_they_know() {
    let (plan, on, _) = plan();
    let resolver = Arc::new(Resolver::new(Arc::new(Loopback(on)), Arc::new(Fixed(Arc::new(plan)))));
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (udp_at, tcp_at): (SocketAddr, SocketAddr) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let by_udp = Arc::clone(&resolver);
    tokio::spawn(async move { by_udp.serve_udp(udp).await });
    tokio::spawn(async move { resolver.serve_tcp(tcp).await });
    let question = query("s3.amazonaws.com.", RecordType::A);

    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut buffer = [0; 512];
    client.send_to(b"garbage", udp_at).await.unwrap();
    client.send_to(&question, udp_at).await.unwrap();
    let received = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await;
    let length = received.expect("an answer in time").unwrap();
    assert_eq!(Message::from_bytes(&buffer[..length]).unwrap().answers.len(), 2);

    let mut stream = tokio::net::TcpStream::connect(tcp_at).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(u16::try_from(question.len()).unwrap()).await.unwrap();
        stream.write_all(&question).await.unwrap();
        let length = stream.read_u16().await.unwrap();
        let mut reply = vec![0; usize::from(length)];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(Message::from_bytes(&reply).unwrap().answers.len(), 2);
    }

    // 127.0.0.2 stands for nobody.
    let stranger = tokio::net::UdpSocket::bind("127.0.0.2:0").await.unwrap();
    stranger.send_to(&question, udp_at).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(300), stranger.recv(&mut buffer)).await;
    assert!(waited.is_err(), "strangers get no answer");
}

//! Names that are not the region's: asked of resolvers that answer well, badly, late or not at all.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it has to be")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, NULL, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use postern_dns::{Answer, Asker, Metrics, QueryResult, Resolver, Upstream, Views, answer};
use postern_model::{AccountId, NetworkInterfaceId, VpcId};
use postern_path::{Peer, PeerLookup, Plan, Through};
use postern_testkit::Topology;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

const TOPOLOGY: &str = "
vpc on 10.0.0.0/16 dns=on hostnames=on
subnet on.one 10.0.1.0/24
instance i1 in on.one ip=10.0.1.10
vpc off 10.1.0.0/16 dns=off
uplink up0
";

fn topology() -> Topology {
    Topology::read(TOPOLOGY).unwrap()
}

fn vpc(topology: &Topology, support: bool) -> VpcId {
    topology.state.vpcs.values().find(|vpc| vpc.dns_support == support).unwrap().id
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.id = 4_711;
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

#[test]
fn only_names_that_cannot_be_the_regions_are_asked_further() {
    let topology = topology();
    let further = |support, name: &str, record_type| {
        let asker = Asker {
            vpc: vpc(&topology, support),
            inbound: false,
            interface: None,
            max_bytes: 512,
            rotation: 0,
        };
        match answer(&topology.plan, asker, &query(name, record_type).to_bytes().unwrap()) {
            Answer::Further(_) => "further",
            Answer::Reply(..) => "here",
            Answer::Silence(_) => "silence",
        }
    };
    for name in [
        "s3.us-east-1.amazonaws.com.",
        "bucket.s3.us-east-1.amazonaws.com.",
        "no.such.us-east-1.amazonaws.com.",
        "us-east-1.amazonaws.com.",
        "SQS.US-EAST-1.AMAZONAWS.COM.",
        "s3.amazonaws.com.",
        "a.b.s3.amazonaws.com.",
        "ip-10-0-9-9.ec2.internal.",
        "anything.internal.",
        "internal.",
        "localhost.",
        "a.localhost.",
        "ec2-198-18-9-9.compute-1.amazonaws.com.",
        "vpce-1.s3.us-east-1.vpce.amazonaws.com.",
        "printer.local.",
        "router.home.arpa.",
        "no.such.test.",
        "a.onion.",
        "a.invalid.",
    ] {
        assert_eq!(further(true, name, RecordType::A), "here", "{name}");
        assert_eq!(further(true, name, RecordType::MX), "here", "{name}");
    }
    for name in [
        "9.9.0.10.in-addr.arpa.",
        "1.18.198.in-addr.arpa.",
        "10.in-addr.arpa.",
        "1.0.0.127.in-addr.arpa.",
        "lb._dns-sd._udp.10.in-addr.arpa.",
        "b._dns-sd._udp.0.1.168.192.in-addr.arpa.",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
        "8.b.d.0.0.0.d.f.ip6.arpa.",
        "0.8.e.f.ip6.arpa.",
    ] {
        assert_eq!(further(true, name, RecordType::PTR), "here", "{name}");
    }
    for name in
        ["example.com.", "com.", "notinternal.", "us-east-1.amazonaws.com.example.com.", "amazonaws.com."]
    {
        assert_eq!(further(true, name, RecordType::A), "further", "{name}");
        assert_eq!(further(true, name, RecordType::AAAA), "further", "{name}");
        assert_eq!(further(false, name, RecordType::A), "silence", "{name}: the VPC's resolver is off");
    }
    for name in ["9.113.0.203.in-addr.arpa.", "8.b.d.0.1.0.0.2.ip6.arpa.", "in-addr.arpa."] {
        assert_eq!(further(true, name, RecordType::PTR), "further", "{name}");
    }
}

/// Loopback stands for an interface of this VPC.
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

/// The region's resolver on both transports, in front of these servers.
struct World {
    udp: SocketAddr,
    tcp: SocketAddr,
    metrics: Arc<Metrics>,
}

async fn world(servers: Vec<SocketAddr>) -> World {
    let topology = topology();
    let peers = Arc::new(Loopback(vpc(&topology, true)));
    let resolver = Resolver::new(peers, Arc::new(Fixed(Arc::new(topology.plan.clone()))));
    let resolver = Arc::new(resolver.with_upstream(Some(Arc::new(Upstream::of_servers(servers)))));
    let (udp, tcp) =
        (UdpSocket::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
    let metrics = resolver.metrics();
    tokio::spawn(Arc::clone(&resolver).serve_udp(udp));
    tokio::spawn(resolver.serve_tcp(tcp));
    World { udp: udp_at, tcp: tcp_at, metrics }
}

impl World {
    async fn ask_bytes(&self, query: &Message) -> Vec<u8> {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&query.to_bytes().unwrap(), self.udp).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let length = timeout(Duration::from_secs(8), client.recv(&mut buffer)).await.unwrap().unwrap();
        buffer.truncate(length);
        buffer
    }

    async fn ask(&self, query: &Message) -> Message {
        Message::from_bytes(&self.ask_bytes(query).await).unwrap()
    }

    async fn ask_by_tcp(&self, query: &Message) -> Message {
        let mut stream = tokio::net::TcpStream::connect(self.tcp).await.unwrap();
        let bytes = query.to_bytes().unwrap();
        stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut reply).await.unwrap();
        Message::from_bytes(&reply).unwrap()
    }
}

/// The answer to a request, with these records.
fn reply_to(request: &[u8], records: Vec<Record>) -> Message {
    let mut reply = Message::from_bytes(request).unwrap();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.authoritative = true;
    reply.metadata.recursion_available = true;
    reply.add_answers(records);
    reply
}

fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 77, data)
}

/// A server that says to each request over UDP what `says` says, and nothing where it says nothing.
async fn server(says: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            for answer in says(&buffer[..length]) {
                socket.send_to(&answer, from).await.unwrap();
            }
        }
    });
    at
}

#[tokio::test]
async fn an_answer_comes_back_whole() {
    // A type that nobody here knows, and one that they do.
    let unknown = RecordType::Unknown(65_400);
    let server = server(move |request| {
        let question = Message::from_bytes(request).unwrap().queries[0].query_type();
        let data = match question {
            RecordType::A => RData::A(A::new(203, 0, 113, 9)),
            _ => RData::Unknown { code: unknown, rdata: NULL::with(vec![0xc0, 1, 2, 3]) },
        };
        vec![reply_to(request, vec![record("a.example.com.", data)]).to_bytes().unwrap()]
    });
    let world = world(vec![server.await]).await;
    let plain = world.ask(&query("a.example.com.", RecordType::A)).await;
    assert_eq!(plain.metadata.id, 4_711);
    assert!(plain.metadata.recursion_available && !plain.metadata.authoritative && plain.edns.is_none());
    assert_eq!((plain.answers[0].ttl, plain.answers[0].data.clone()), (77, RData::A(A::new(203, 0, 113, 9))));
    let odd = world.ask_bytes(&query("a.example.com.", unknown)).await;
    assert!(odd.ends_with(&[0, 4, 0xc0, 1, 2, 3]), "the bytes of the record are as they were: {odd:?}");
    let by_tcp = world.ask_by_tcp(&query("a.example.com.", RecordType::A)).await;
    assert_eq!(by_tcp.answers, plain.answers);
    assert_eq!(world.metrics.get(QueryResult::Forwarded), 3);
}

#[tokio::test]
async fn what_does_not_answer_the_question_is_not_taken() {
    let server = server(|request| {
        let right = reply_to(request, vec![record("a.example.com.", RData::A(A::new(203, 0, 113, 9)))]);
        let bad = RData::A(A::new(6, 6, 6, 6));
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut forged = reply_to(request, vec![record("a.example.com.", bad.clone())]);
            change(&mut forged);
            forged.to_bytes().unwrap()
        };
        let other = Query::query(Name::from_ascii("b.example.com.").unwrap(), RecordType::A);
        vec![
            forged(&|m| m.metadata.id ^= 1),
            forged(&|m| m.metadata.message_type = MessageType::Query),
            forged(&|m| m.queries[0] = other.clone()),
            forged(&|m| m.queries[0] = Query::query(m.queries[0].name().clone(), RecordType::TXT)),
            forged(&|m| m.queries.clear()),
            b"garbage".to_vec(),
            right.to_bytes().unwrap(),
        ]
    });
    let world = world(vec![server.await]).await;
    let reply = world.ask(&query("a.example.com.", RecordType::A)).await;
    assert_eq!(reply.answers[0].data, RData::A(A::new(203, 0, 113, 9)));
}

#[tokio::test]
async fn numbers_and_ports_are_never_the_same_for_long() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let reply = reply_to(&buffer[..length], Vec::new());
            noted.lock().unwrap().push((reply.metadata.id, from.port()));
            socket.send_to(&reply.to_bytes().unwrap(), from).await.unwrap();
        }
    });
    let world = world(vec![at]).await;
    for _ in 0..40 {
        world.ask(&query("a.example.com.", RecordType::A)).await;
    }
    let seen = seen.lock().unwrap();
    let distinct =
        |of: fn(&(u16, u16)) -> u16| seen.iter().map(of).collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct(|x| x.0) > 35 && distinct(|x| x.1) > 30, "{seen:?}");
    assert!(seen.iter().all(|(number, _)| *number != 4_711) || distinct(|x| x.0) > 35);
}

#[tokio::test]
async fn what_is_cut_over_udp_is_asked_over_tcp_and_cut_for_who_cannot_take_it() {
    let text = || RData::TXT(TXT::new(vec!["x".repeat(250); 12]));
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let at = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
            let mut reply = reply_to(&buffer[..length], Vec::new());
            reply.metadata.truncation = true;
            udp.send_to(&reply.to_bytes().unwrap(), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let mut request = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut request).await.unwrap();
            let reply = reply_to(&request, vec![record("a.example.com.", text())]).to_bytes().unwrap();
            stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    let world = world(vec![at]).await;
    let by_tcp = world.ask_by_tcp(&query("a.example.com.", RecordType::TXT)).await;
    assert!(!by_tcp.metadata.truncation);
    assert_eq!(by_tcp.answers[0].data, text());
    let by_udp = world.ask(&query("a.example.com.", RecordType::TXT)).await;
    assert!(by_udp.metadata.truncation && by_udp.answers.is_empty() && by_udp.queries.len() == 1);
}

#[tokio::test]
async fn a_server_that_cannot_tell_gives_way_to_the_next() {
    let refusing = server(|request| {
        let mut reply = reply_to(request, Vec::new());
        reply.metadata.response_code = ResponseCode::Refused;
        vec![reply.to_bytes().unwrap()]
    });
    let silent = server(|_| Vec::new());
    let knowing = server(|request| {
        let edns = Message::from_bytes(request).unwrap().edns;
        let mut reply = reply_to(request, vec![record("a.example.com.", RData::A(A::new(203, 0, 113, 9)))]);
        reply.edns = edns;
        vec![reply.to_bytes().unwrap()]
    });
    let (refusing, silent) = (refusing.await, silent.await);
    let world = world(vec![refusing, silent, knowing.await]).await;
    let began = Instant::now();
    let mut asked = query("a.example.com.", RecordType::A);
    asked.set_edns(Edns::new());
    let reply = world.ask(&asked).await;
    assert_eq!(reply.answers.len(), 1);
    assert!(reply.edns.is_some(), "who knows the extension hears it");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test]
async fn where_nobody_answers_the_failure_comes_in_time() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let silent = server(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    });
    let world = world(vec![silent.await]).await;
    let began = Instant::now();
    let reply = world.ask(&query("a.example.com.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(world.metrics.get(QueryResult::Failed), 1);
    // The region's own names are answered whatever is the matter outside.
    let own = world.ask(&query("s3.us-east-1.amazonaws.com.", RecordType::A)).await;
    assert_eq!(own.answers.len(), 2);
}

#[tokio::test]
async fn a_vpc_that_asks_too_much_is_told_at_once() {
    let silent = server(|_| Vec::new()).await;
    let world = world(vec![silent]).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bytes = query("a.example.com.", RecordType::A).to_bytes().unwrap();
    let mut buffer = [0; 512];
    let mut told = 0;
    let began = Instant::now();
    for _ in 0..400 {
        client.send_to(&bytes, world.udp).await.unwrap();
        while let Ok(Ok(length)) = timeout(Duration::from_millis(2), client.recv(&mut buffer)).await {
            let code = Message::from_bytes(&buffer[..length]).unwrap().metadata.response_code;
            assert_eq!(code, ResponseCode::ServFail);
            told += 1;
        }
    }
    assert!(
        began.elapsed() < Duration::from_millis(1_900),
        "too slow to say anything: {:?}",
        began.elapsed()
    );
    assert!(told >= 100, "{told}");
    assert!(world.metrics.get(QueryResult::Busy) >= 100);
}

#[tokio::test]
async fn servers_are_those_that_the_file_names_now() {
    let kept = tempfile::tempdir().unwrap();
    let directory = kept.path();
    let file = directory.join("resolv.conf");
    std::fs::write(&file, "nameserver 192.0.2.1\n").unwrap();
    let upstream = Upstream::of_file(&file);
    let servers = || upstream.servers().iter().map(|at| at.ip().to_string()).collect::<Vec<_>>();
    assert_eq!(servers(), ["192.0.2.1"]);
    // Replaced as resolvconf and NetworkManager replace it.
    std::fs::write(directory.join("new"), "nameserver 192.0.2.2\nnameserver 192.0.2.3\n").unwrap();
    std::fs::rename(directory.join("new"), &file).unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let now = servers();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(now, ["192.0.2.2", "192.0.2.3"]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(servers().is_empty(), "a file that is gone names nobody");
}

//! What somebody tries who wants to be taken for another, to reach another service, or to keep others out.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_frontdoor::*;
use postern_model::{AccountId, NetworkInterfaceId};
use postern_path::{Peer, PeerLookup, Through};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A second request, hidden behind the first one's body.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn where_a_request_ends_is_never_in_doubt() {
    let running = run(OriginSource::Outside, quick()).await;
    for (headers, body, statuses) in [
        ("content-length: 5\r\ncontent-length: 6", "hello", &["400"][..]),
        ("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n", &["200"]),
        ("transfer-encoding: chunked\r\ncontent-length: 5", "0\r\n\r\n", &["200"]),
        ("transfer-encoding: chunked, identity", "0\r\n\r\n", &["400"]),
        ("transfer-encoding: identity", "", &["400"]),
        ("transfer-encoding: xchunked", "0\r\n\r\n", &["400"]),
        ("transfer-encoding : chunked", "0\r\n\r\n", &["400"]),
        ("x-a: b\r\n folded: c", "", &["400"]),
        ("content-length: +5", "hello", &["400"]),
        ("content-length: 0x5", "hello", &["400"]),
        ("content-length: 5, 5", "hello", &["400"]),
        // This is how a second request comes honestly.
        ("content-length: 5", "hello", &["200", "200"]),
        ("transfer-encoding: chunked", "0\r\n\r\n", &["200", "200"]),
    ] {
        let text = format!("POST /b/k HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n{body}{HIDDEN}");
        let answer = talk(running.address, text.as_bytes()).await;
        let found: Vec<&str> =
            answer.split("HTTP/1.1 ").skip(1).map(|rest| rest.get(..3).unwrap_or_default()).collect();
        assert_eq!(found, statuses, "{headers:?}: {answer}");
    }
}

#[tokio::test]
async fn a_request_names_one_host_or_is_refused() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let close = "connection: close\r\n\r\n";
    for (head, status) in [
        ("GET / HTTP/1.1\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\nhost: iam.amazonaws.com\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: iam.amazonaws.com, s3.us-east-1.amazonaws.com\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nhost: s3.us-east-1.amazonaws.com@iam.amazonaws.com\r\n".to_owned(), "400"),
        ("GET http://iam.amazonaws.com/ HTTP/1.1\r\nhost: s3.us-east-1.amazonaws.com\r\n".to_owned(), "400"),
        (
            "GET http://s3.us-east-1.amazonaws.com/k HTTP/1.1\r\nhost: s3.us-east-1.amazonaws.com\r\n"
                .to_owned(),
            "200",
        ),
        ("CONNECT iam.amazonaws.com:443 HTTP/1.1\r\nhost: iam.amazonaws.com:443\r\n".to_owned(), "400"),
    ] {
        let answer = talk(running.address, format!("{head}{close}").as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}: {answer}");
    }
}

#[tokio::test]
async fn a_signature_holds_for_the_host_and_service_that_it_was_made_for() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let bytes = |form: Form<'_>| String::from_utf8(form.bytes()).unwrap();
    let signed = bytes(Form::default());
    assert_eq!(summary(&talk(running.address, signed.as_bytes()).await), "200 served");
    // The same at another host, be it one of the same service.
    let moved = signed.replace("host: localhost:4566", "host: iam.amazonaws.com");
    assert_eq!(summary(&talk(running.address, moved.as_bytes()).await), "403 SignatureDoesNotMatch");
    // A signature for S3 or another service, at a host of this one.
    for service in ["s3", "sts"] {
        let other = bytes(Form { service, ..Form::default() });
        let other = other.replace("host: localhost:4566", "host: iam.amazonaws.com");
        assert_eq!(summary(&talk(running.address, other.as_bytes()).await), "403 SignatureDoesNotMatch");
    }
    // Headers that no signature covers change nothing, or are refused.
    let forged = signed.replace("\r\n\r\n", "\r\nx-amz-target: Another.Operation\r\n\r\n");
    assert_eq!(summary(&talk(running.address, forged.as_bytes()).await), "403 SignatureDoesNotMatch");
    let method = signed.replace("\r\n\r\n", "\r\nx-http-method-override: DELETE\r\n\r\n");
    assert_eq!(summary(&talk(running.address, method.as_bytes()).await), "200 served");
}

#[tokio::test]
async fn where_a_request_comes_from_is_not_what_it_says() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let claims = "x-forwarded-for: 203.0.113.9\r\nforwarded: for=203.0.113.9\r\nx-real-ip: 203.0.113.9\r\n\
                  true-client-ip: 203.0.113.9\r\nvia: 1.1 vpce-0123456789abcdef0\r\naws-sourcevpce: vpce-0123456789abcdef0";
    let signed = String::from_utf8(Form::default().bytes()).unwrap();
    let text = signed.replace("\r\n\r\n", &format!("\r\n{claims}\r\n\r\n"));
    assert_eq!(summary(&talk(running.address, text.as_bytes()).await), "200 served");
    let record = running.records.recv().await.unwrap();
    assert_eq!(record.source_ip_address.as_deref(), Some("127.0.0.1"));
    assert_eq!((record.vpc_endpoint_id, record.additional_event_data.path), (None, "outside"));
}

#[tokio::test]
async fn a_door_that_closes_waits_for_requests_whose_clients_have_gone() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let body = "Action=Slow&Version=2010-05-08";
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&Form { body, ..Form::default() }.bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    running.door.close();
    // Nobody writes records here, so not all of it can be so; but the request has been served by then.
    assert!(!running.door.settled(Duration::from_secs(1)).await);
    assert_eq!(running.records.try_recv().unwrap().http_status, 200);
}

#[tokio::test]
async fn who_does_not_wait_for_the_answer_is_recorded_all_the_same() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let body = "Action=Slow&Version=2010-05-08";
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&Form { body, ..Form::default() }.bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    let record = tokio::time::timeout(Duration::from_secs(5), running.records.recv()).await.unwrap().unwrap();
    assert_eq!((record.http_status, record.additional_event_data.decision), (200, "allowed"));
    // What breaks inside ends its own connection, with an answer that says nothing of the reason.
    let body = "Action=Panic&Version=2010-05-08";
    let answer = talk(running.address, &Form { body, ..Form::default() }.bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.ends_with("\r\n\r\nan internal error has occurred\n"),
        "{answer}"
    );
    assert_eq!(running.metrics.get(Counter::TaskPanicked), 1);
    assert_eq!(Form::default().send(running.address).await, "200 served");
}

/// 127.0.A.I: the interface I of the account A.
struct Accounts;

impl PeerLookup for Accounts {
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        let IpAddr::V4(address) = address else { return None };
        let [_, _, account, interface] = address.octets();
        Some(Peer {
            account: AccountId::from_number(u64::from(account) + 1)?,
            vpc: VPC,
            interface: NetworkInterfaceId::from_number(
                (1 << 42) + u64::from(account) * 1000 + u64::from(interface),
            ),
            instance: None,
            address: Ipv4Addr::new(10, 0, 0, interface),
            through: Through::Endpoint(ENDPOINT, VPC),
        })
    }
}

async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn one_account_cannot_keep_the_others_out() {
    let limits = Limits {
        connections: 300,
        connections_per_account: 150,
        connections_per_interface: 60,
        connections_per_peer: 60,
        ..Limits::default()
    };
    let running = run(OriginSource::Inside { peers: Arc::new(Accounts), tls: false }, limits).await;
    // Idle connections of many interfaces of one account, half of them in the middle of a header.
    let mut idle = Vec::new();
    for n in 0..320u16 {
        let mut stream = connect_from([127, 0, 1, u8::try_from(n % 5).unwrap()], running.address).await;
        if n % 2 == 0 {
            let _ = stream.write_all(b"POST / HTTP/1.1\r\nx-slow: ").await;
        }
        idle.push(stream);
    }
    let started = Instant::now();
    let mut other = connect_from([127, 0, 2, 1], running.address).await;
    other.write_all(&Form::default().bytes()).await.unwrap();
    assert_eq!(summary(&read_out(&mut other).await), "200 served");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(running.metrics.get(Counter::InterfaceOverLimit), 0, "an address is bounded no higher");
    assert!(
        running.metrics.get(Counter::PeerOverLimit) + running.metrics.get(Counter::AccountOverLimit) >= 170
    );
    assert!(running.metrics.get(Counter::AccountOverLimit) > 0);
}

#[tokio::test]
async fn a_body_that_trickles_ends() {
    let running = run(OriginSource::Outside, quick()).await;
    for (target, told) in [("/b/k", "s3 saw: next to nothing of the body came"), ("/?Action=GetUser", "408")]
    {
        let host = if told == "408" { "iam.amazonaws.com" } else { "localhost" };
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let head = format!("PUT {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 100000\r\n\r\n");
        let head = if told == "408" { head.replace("PUT", "POST") } else { head };
        stream.write_all(head.as_bytes()).await.unwrap();
        let started = Instant::now();
        let (mut from, mut to) = stream.into_split();
        let feeding = tokio::spawn(async move {
            while to.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let mut answer = [0; 2048];
        let read =
            tokio::time::timeout(Duration::from_secs(5), from.read(&mut answer)).await.unwrap().unwrap();
        feeding.abort();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(answer.contains(told), "{target}: {answer}");
        assert!(started.elapsed() < Duration::from_secs(3), "{target}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let mut text = String::new();
    for n in 0..40 {
        let body = "x".repeat(n);
        text += &format!("PUT /b/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: {n}\r\n\r\n{body}");
    }
    text += HIDDEN;
    let answer = talk(running.address, text.as_bytes()).await;
    let found: Vec<String> = answer
        .match_indices("s3 got ")
        .map(|(at, _)| answer[at + 7..].split(' ').next().unwrap().to_owned())
        .collect();
    let expected: Vec<String> = (0..40).chain([0]).map(|n: usize| n.to_string()).collect();
    assert_eq!(found, expected);
    assert_eq!(running.metrics.get(Counter::ConnectionAccepted), 1);
}

/// Limits the hops of what answers a PUT.
struct NearOnly;

impl HttpService for NearOnly {
    fn call<'a>(&'a self, request: http::Request<RequestBody>) -> Responding<'a> {
        if request.method() == http::Method::PUT {
            request.extensions().get::<AnswerHops>().unwrap().limit(NonZeroU8::MIN);
        }
        Box::pin(std::future::ready(http::Response::new(postern_frontdoor::body::full("answer"))))
    }
}

#[tokio::test]
async fn an_answer_with_a_limit_is_its_connections_last() {
    let server = Server::new(Arc::new(NearOnly), None, quick(), Arc::new(Metrics::default()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve_tcp(listener, OriginSource::Outside).await });
    let of = |method: &str| format!("{method} / HTTP/1.1\r\nhost: x\r\n\r\n");
    // What comes after it is not answered: it would bring what was not confirmed further than it may go.
    let answer = talk(address, (of("GET") + &of("PUT") + &of("GET")).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
    assert_eq!(answer.matches("connection: close").count(), 1, "{answer}");
}

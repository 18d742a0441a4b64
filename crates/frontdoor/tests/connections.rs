//! Connections that go wrong: garbage, silence, crowds, strangers, TLS that is none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_frontdoor::*;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn silence_ends() {
    let running = run(OriginSource::Outside, quick()).await;
    let started = Instant::now();
    // Nothing at all, half a header, a header line by line, half a TLS record: each is closed in time.
    let (nothing, half, tls) = tokio::join!(
        talk(running.address, b""),
        talk(running.address, b"GET / HTTP/1.1\r\nhost: x"),
        talk(running.address, b"\x16\x03\x01\x02"),
    );
    for answer in [nothing, half, tls] {
        assert!(!answer.starts_with("HUNG"), "{answer}");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    let mut sent = 0;
    for _ in 0..100 {
        if slow.write_all(b"a").await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent < 50, "a header that takes forever was read for {sent} bytes");
}

#[tokio::test]
async fn strangers_and_crowds_are_closed() {
    let nobody = run(OriginSource::Inside { peers: Arc::new(Void), tls: false }, quick()).await;
    assert_eq!(talk(nobody.address, &Form::default().bytes()).await, "");
    assert_eq!(nobody.metrics.get(Counter::PeerUnknown), 1);

    let crowd = run(OriginSource::Inside { peers: Arc::new(Fabric), tls: false }, quick()).await;
    let first = TcpStream::connect(crowd.address).await.unwrap();
    let _second = TcpStream::connect(crowd.address).await.unwrap();
    assert_eq!(talk(crowd.address, &Form::default().bytes()).await, "", "a third connection of one peer");
    assert_eq!(crowd.metrics.get(Counter::PeerOverLimit), 1);
    drop(first);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(Form::default().send(crowd.address).await, "200 served");
}

#[tokio::test]
async fn as_many_connections_as_may_be() {
    let limits = Limits { connections: 2, header: Duration::from_millis(500), ..Limits::default() };
    let running = run(OriginSource::Outside, limits).await;
    let _one = TcpStream::connect(running.address).await.unwrap();
    let _two = TcpStream::connect(running.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _ = (&_one, &_two);
    drop(_one);
    // The third waits for the room that the first left.
    assert_eq!(Form::default().send(running.address).await, "200 served");
}

#[tokio::test]
async fn headers_have_their_bounds() {
    let running = run(OriginSource::Outside, quick()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "a".repeat(1 << 20));
    let answer = talk(running.address, long.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(200));
    let answer = talk(running.address, many.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn keep_alive_serves_one_after_another() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let text = String::from_utf8(Form::default().bytes()).unwrap().replace("connection: close\r\n", "");
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_eq!(summary(&String::from_utf8_lossy(&buffer[..read])), "200 served");
    }
}

#[tokio::test]
async fn closing_lets_requests_end() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let bytes = Form::default().bytes();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&bytes[..bytes.len() - 3]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.door.close();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(&bytes[bytes.len() - 3..]).await.unwrap();
    assert_eq!(summary(&read_out(&mut stream).await), "200 served");
    let ended = tokio::time::timeout(Duration::from_secs(5), running.task).await.unwrap();
    ended.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

fn connector(authority: &Authority) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn over_tls(running: &Running, authority: &Authority, name: &str) -> Result<String, String> {
    let stream = TcpStream::connect(running.address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = connector(authority).connect(name, stream).await;
    let mut stream = stream.map_err(|error| error.to_string())?;
    stream.write_all(&Form::default().bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Ok(summary(&String::from_utf8_lossy(&answer)))
}

#[tokio::test]
async fn tls_and_plain_share_a_port() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    for name in [
        "localhost",
        "127.0.0.1",
        "bucket.localhost",
        "iam.amazonaws.com",
        "iam.us-east-1.amazonaws.com",
        "s3.us-east-1.amazonaws.com",
        "some-bucket.s3.us-east-1.amazonaws.com",
    ] {
        assert_eq!(over_tls(&running, &running.authority, name).await.as_deref(), Ok("200 served"), "{name}");
    }
    assert_eq!(Form::default().send(running.address).await, "200 served");
    for name in ["example.com", "ec2.eu-west-1.amazonaws.com", "a.b.s3.us-east-1.amazonaws.com"] {
        let refused = over_tls(&running, &running.authority, name).await.unwrap_err();
        assert!(refused.contains("not valid for name"), "{name}: {refused}");
    }
    let other = Authority::generate("us-east-1").unwrap();
    let refused = over_tls(&running, &other, "localhost").await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
}

#[tokio::test]
async fn a_tls_door_takes_no_plain_requests() {
    let running = run(OriginSource::Inside { peers: Arc::new(Fabric), tls: true }, quick()).await;
    assert!(!talk(running.address, &Form::default().bytes()).await.contains("served"));
    assert_eq!(running.metrics.get(Counter::TlsFailed), 1);
    assert_eq!(
        over_tls(&running, &running.authority, "iam.amazonaws.com").await.as_deref(),
        Ok("200 served")
    );
}

#[tokio::test]
async fn beyond_loopback_there_is_tls_only() {
    let mut running = run(OriginSource::Outside, quick()).await;
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let address = (Ipv4Addr::LOCALHOST, listener.local_addr().unwrap().port()).into();
    let door = running.door.clone();
    tokio::spawn(async move { door.serve_tcp(listener, OriginSource::Outside).await });
    let told = talk(address, &Form::default().bytes()).await;
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("connection: close"), "{told}");
    assert!(told.ends_with("plain HTTP is not served at this address: use https://\n"), "{told}");
    let record = running.records.recv().await.unwrap();
    assert_eq!(record.error_code.as_deref(), Some("SecureTransportRequired"));
    assert_eq!(record.user_identity.access_key_id.as_deref(), Some("AKIDROOT"));
    let over = Running { address, ..running };
    assert_eq!(over_tls(&over, &over.authority, "localhost").await.as_deref(), Ok("200 served"));
}

/// Bytes that look like a request to some degree.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let valid = Form::default().bytes();
    let touched = (Just(valid), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8))
        .prop_map(|(mut bytes, changes)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        });
    let heads = "(GET|POST|PUT|HEAD|X) [ -~]{0,40} HTTP/1\\.[01]\r\n([a-z-]{1,20}: [ -~]{0,60}\r\n){0,5}\r\n[ -~]{0,80}";
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        touched,
        heads.prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|rest| [b"\x16\x03\x01".to_vec(), rest].concat()),
    ]
}

#[test]
fn whatever_bytes_come_the_door_answers_or_closes() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let limits = Limits { connections_per_peer: 64, ..quick() };
    let running = runtime.block_on(run(OriginSource::Outside, limits));
    let cases = Cases { cases: 12, failure_persistence: None, ..Cases::default() };
    let batches = prop::collection::vec(nearly_requests(), 25);
    TestRunner::new(cases)
        .run(&batches, |batch| {
            let answers = runtime.block_on(async {
                let talks = batch.iter().map(|bytes| {
                    let (address, bytes) = (running.address, bytes.clone());
                    tokio::spawn(async move { talk(address, &bytes).await })
                });
                let mut answers = Vec::new();
                for talk in talks.collect::<Vec<_>>() {
                    answers.push(talk.await.unwrap());
                }
                answers
            });
            for (bytes, answer) in batch.iter().zip(answers) {
                prop_assert!(!answer.starts_with("HUNG"), "{:?}", String::from_utf8_lossy(bytes));
            }
            prop_assert_eq!(running.metrics.get(Counter::TaskPanicked), 0);
            Ok(())
        })
        .unwrap();
    assert_eq!(runtime.block_on(Form::default().send(running.address)), "200 served");
}

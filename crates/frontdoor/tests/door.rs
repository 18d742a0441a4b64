//! Requests through a front door on loopback: who is let in, who is refused, in which words, and what is recorded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_frontdoor::*;
use support::*;

#[tokio::test]
async fn signatures_decide_who_is_served() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let at = running.address;
    let form = Form::default;
    for (form, expected) in [
        (form(), "200 served"),
        (Form { key: "AKIDUSER", ..form() }, "200 served"),
        (
            Form { key: "AKIDUSER", body: "Action=DeleteUser&Version=2010-05-08", ..form() },
            "403 AccessDenied",
        ),
        (Form { secret: "wrong", ..form() }, "403 SignatureDoesNotMatch"),
        (Form { key: "AKIDNOBODY", ..form() }, "403 InvalidClientTokenId"),
        (Form { token: Some("good"), key: "ASIATEMP", ..form() }, "200 served"),
        (Form { token: Some("bad"), key: "ASIATEMP", ..form() }, "403 InvalidClientTokenId"),
        (Form { key: "ASIATEMP", ..form() }, "403 InvalidClientTokenId"),
        (Form { token: Some("good"), key: "ASIAOVER", ..form() }, "403 ExpiredToken"),
        (Form { at: NOON.plus_seconds(-16 * 60), ..form() }, "403 SignatureDoesNotMatch"),
        (Form { at: NOON.plus_seconds(16 * 60), ..form() }, "403 SignatureDoesNotMatch"),
        (Form { at: NOON.plus_seconds(-14 * 60), ..form() }, "200 served"),
        (Form { region: "eu-west-1", ..form() }, "403 SignatureDoesNotMatch"),
        (Form { service: "dynamodb", ..form() }, "503 ServiceUnavailable"),
        (Form { body: "Action=AskNothing&Version=2010-05-08", ..form() }, "500 InternalFailure"),
        (Form { body: "Version=2010-05-08", ..form() }, "400 MissingAction"),
        (Form { body: "Action=GetUser&Action=GetUser", ..form() }, "400 MalformedQueryString"),
    ] {
        assert_eq!(form.send(at).await, expected, "{}", String::from_utf8_lossy(&form.bytes()));
    }
    // Every call of the service left a record, and no record holds a secret.
    let mut lines = String::new();
    while let Ok(record) = running.records.try_recv() {
        lines += &record.line();
    }
    assert_eq!(lines.lines().count(), 17, "{lines}");
    for word in ["secret", "Signature=", "\"good\"", "\"bad\""] {
        assert!(!lines.contains(word), "{word} in {lines}");
    }
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["eventSource"], "iam.amazonaws.com");
    assert_eq!(first["eventName"], "GetUser");
    assert_eq!(first["eventTime"], "2026-01-31T12:00:00.000Z");
    assert_eq!(first["userIdentity"]["type"], "Root");
    assert_eq!(first["userIdentity"]["accessKeyId"], "AKIDROOT");
    assert_eq!(first["sourceIPAddress"], "127.0.0.1");
    assert_eq!(first["readOnly"], true);
    let third: serde_json::Value = serde_json::from_str(lines.lines().nth(2).unwrap()).unwrap();
    assert_eq!(third["errorCode"], "AccessDenied");
    assert_eq!(third["userIdentity"]["arn"], "arn:aws:iam::111122223333:user/ana");
    assert_eq!(third["readOnly"], false);
    let counted =
        "postern_requests_total{service=\"iam\",operation=\"unknown\",code=\"SignatureDoesNotMatch\"} 4";
    assert!(running.metrics.render().contains(counted), "{}", running.metrics.render());
}

#[tokio::test]
async fn what_is_not_signed_is_refused_or_s3s() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let at = running.address;
    let form = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
                content-length: 14\r\nconnection: close\r\n\r\nAction=GetUser";
    assert_eq!(summary(&talk(at, form.as_bytes()).await), "403 MissingAuthenticationToken");
    let get = "GET /bucket/key HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(talk(at, get.as_bytes()).await.ends_with("s3 got 0 bytes"));
    let to_iam = "GET /?Action=GetUser HTTP/1.1\r\nhost: iam.amazonaws.com\r\nconnection: close\r\n\r\n";
    assert_eq!(summary(&talk(at, to_iam.as_bytes()).await), "403 MissingAuthenticationToken");
    let json = "POST / HTTP/1.1\r\nhost: localhost\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
                content-length: 2\r\nconnection: close\r\n\r\n{}";
    assert!(talk(at, json.as_bytes()).await.contains("MissingAuthenticationTokenException"));
}

#[tokio::test]
async fn a_body_has_its_bounds() {
    let running = run(OriginSource::Outside, quick()).await;
    let long = "x".repeat(2 << 20);
    let body = format!("Action=GetUser&Version=2010-05-08&UserName={long}");
    assert_eq!(
        Form { body: &body, ..Form::default() }.send(running.address).await,
        "413 RequestEntityTooLarge"
    );
    // A body that stops coming ends in an answer.
    let mut bytes = Form::default().bytes();
    bytes.truncate(bytes.len() - 5);
    assert_eq!(summary(&talk(running.address, &bytes).await), "408 RequestTimeout");
    let stalled =
        "PUT /b/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\nconnection: close\r\n\r\nabc";
    assert!(
        talk(running.address, stalled.as_bytes()).await.contains("s3 saw: next to nothing of the body came")
    );
}

#[tokio::test]
async fn through_an_endpoint_only_its_service_is_there() {
    let inside = OriginSource::Inside { peers: Arc::new(Fabric), tls: false };
    let mut running = run(inside, Limits::default()).await;
    assert_eq!(Form::default().send(running.address).await, "200 served");
    let record = running.records.recv().await.unwrap();
    assert_eq!(record.vpc_endpoint_id.as_deref(), Some(ENDPOINT.to_string().as_str()));
    assert_eq!(record.vpc_id.as_deref(), Some(VPC.to_string().as_str()));
    assert_eq!(record.source_ip_address.as_deref(), Some("10.0.0.5"));
    *running.directory.endpoint_service.lock().unwrap() = Some("s3".to_owned());
    let answer = talk(running.address, &Form::default().bytes()).await;
    assert!(answer.contains("s3 got"), "{answer}");
    *running.directory.endpoint_service.lock().unwrap() = None;
    assert_eq!(Form::default().send(running.address).await, "503 ServiceUnavailable");
    // Postern's own pages are not for the inside.
    *running.directory.endpoint_service.lock().unwrap() = Some("s3".to_owned());
    let health =
        talk(running.address, b"GET /_postern/health HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(health.contains("s3 got"), "{health}");
}

async fn page(running: &Running, head: &str) -> String {
    let request = format!("{head}\r\nconnection: close\r\n\r\n");
    talk(running.address, request.as_bytes()).await.split(' ').nth(1).unwrap_or("none").to_owned()
}

#[tokio::test]
async fn the_pages_are_for_this_machines_programs() {
    let running = run(OriginSource::Outside, Limits::default()).await;
    let local = "host: localhost:4566";
    for (head, status) in [
        (format!("GET /_postern/health HTTP/1.1\r\n{local}"), "200"),
        (format!("GET /_postern/metrics HTTP/1.1\r\n{local}"), "200"),
        (format!("DELETE /_postern/health HTTP/1.1\r\n{local}"), "405"),
        (format!("GET /_postern/nothing HTTP/1.1\r\n{local}"), "404"),
        (format!("POST /_postern/reset HTTP/1.1\r\n{local}"), "403"),
        ("GET /_postern/health HTTP/1.1\r\nhost: rebound.example".to_owned(), "403"),
        (format!("GET /_postern/health HTTP/1.1\r\n{local}\r\norigin: https://evil.example"), "403"),
        ("GET /_postern/health HTTP/1.1\r\nhost: 127.0.0.1:4566".to_owned(), "200"),
    ] {
        assert_eq!(page(&running, &head).await, status, "{head}");
    }
}

fn dev_keys() -> Arc<TwoKeys> {
    let keys = Arc::into_inner(TwoKeys::new()).unwrap();
    Arc::new(TwoKeys { checks: false, ..keys })
}

#[tokio::test]
async fn a_development_region_checks_no_signatures_and_serves_loopback_only() {
    let (refused, _records) = config(dev_keys(), Limits::default(), false);
    assert!(matches!(FrontDoor::new(refused), Err(FrontDoorError::SignaturesUnchecked)));

    let running = run_with(dev_keys(), OriginSource::Outside, Limits::default(), true).await;
    assert_eq!(Form { secret: "wrong", ..Form::default() }.send(running.address).await, "200 served");
    running.directory.now_seconds.store(0, Ordering::SeqCst);
    assert_eq!(Form::default().send(running.address).await, "200 served");
    assert_eq!(page(&running, "POST /_postern/reset HTTP/1.1\r\nhost: localhost").await, "200");
    let from_page = "POST / HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: cross-site\r\ncontent-length: 0";
    assert_eq!(page(&running, from_page).await, "403");
    let rebound = "POST / HTTP/1.1\r\nhost: elsewhere.example:4566\r\ncontent-length: 0";
    assert_eq!(page(&running, rebound).await, "403", "a name that somebody else's DNS points here");

    let everywhere = tokio::net::TcpListener::bind(("0.0.0.0", 0)).await.unwrap();
    let served = running.door.serve_tcp(everywhere, OriginSource::Outside).await;
    assert!(matches!(served, Err(ServeError::NotLoopback(_))));
}

#[tokio::test]
async fn two_services_of_one_name_are_a_mistake() {
    let (mut config, _records) = config(TwoKeys::new(), Limits::default(), false);
    config.query_services.push(Arc::new(Echo));
    assert!(matches!(FrontDoor::new(config), Err(FrontDoorError::ServiceTwice("iam"))));
}

/// A log in memory, or one that cannot be written.
#[derive(Clone, Default)]
struct Lines {
    text: Arc<std::sync::Mutex<String>>,
    broken: bool,
}

impl audit::Log for Lines {
    fn append(&mut self, lines: &str) -> std::io::Result<()> {
        if self.broken {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.text.lock().unwrap().push_str(lines);
        Ok(())
    }

    fn settle(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn records_are_written_as_lines() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    Form::default().send(running.address).await;
    let record = running.records.recv().await.unwrap();
    let patience = std::time::Duration::from_secs(10);
    for (broken, counter) in [(false, Counter::AuditWritten), (true, Counter::AuditLost)] {
        // A log that cannot be written loses records and says so; calls go on.
        let lines = Lines { broken, ..Lines::default() };
        let metrics = Arc::new(Metrics::default());
        let (audit, records) = Audit::channel(4, Arc::clone(&metrics));
        let writing = tokio::spawn(audit::write(records, lines.clone(), Arc::clone(&metrics)));
        for _ in 0..10 {
            audit.record(record.clone()).await;
        }
        assert!(audit.settled(patience).await);
        assert_eq!(metrics.get(counter), 10);
        let ended = std::time::Instant::now();
        drop(audit);
        writing.await.unwrap();
        assert!(ended.elapsed().as_millis() < 500, "it ends at once: {:?}", ended.elapsed());
        let text = lines.text.lock().unwrap();
        assert_eq!(text.lines().count(), if broken { 0 } else { 10 });
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    }
}

/// What is recorded of requests that reach no service: who, how, what, and how it ended.
fn told(record: &Record) -> String {
    let record: serde_json::Value = serde_json::from_str(&record.line()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    assert!(!text(&record["requestID"]).is_empty(), "{record}");
    let more = &record["additionalEventData"];
    [
        text(&record["userIdentity"]["type"]),
        text(&more["path"]),
        text(&record["eventSource"]),
        text(&record["eventName"]),
        text(&more["decision"]),
        text(&record["errorCode"]),
    ]
    .join(" ")
}

#[tokio::test]
async fn what_reaches_no_service_is_recorded_too() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let at = running.address;
    let form = "content-type: application/x-www-form-urlencoded\r\nconnection: close\r\ncontent-length: 35";
    let json =
        "x-amz-target: DynamoDB_20120810.ListTables\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    let dynamodb = Form { service: "dynamodb", ..Form::default() }.bytes();
    for (bytes, expected) in [
        (
            format!(
                "POST / HTTP/1.1\r\nhost: localhost\r\n{form}\r\n\r\nAction=GetUser&Version=2010-05-08&A=1"
            ),
            "AWSAccount outside iam.amazonaws.com GetUser denied MissingAuthenticationToken",
        ),
        (
            format!("POST / HTTP/1.1\r\nhost: localhost\r\n{json}"),
            "AWSAccount outside unknown.amazonaws.com ListTables failed MissingAuthenticationTokenException",
        ),
        (
            String::from_utf8(dynamodb).unwrap(),
            "Unknown outside dynamodb.amazonaws.com unknown failed ServiceUnavailable",
        ),
        (
            "POST /_postern/reset HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".to_owned(),
            "AWSAccount outside postern Reset denied 403",
        ),
        (
            "GET /_postern/metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".to_owned(),
            "AWSAccount outside postern unknown denied Forbidden",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".to_owned(),
            "AWSAccount outside unknown.amazonaws.com unknown failed BadRequest",
        ),
    ] {
        let answer = talk(at, bytes.as_bytes()).await;
        let record = running.records.recv().await.unwrap();
        assert_eq!(told(&record), expected, "{bytes}");
        assert!(answer.contains(&record.request_id), "the answer carries the record's id: {answer}");
    }
    // What reads requests answers these by itself.
    let long = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(200_000));
    for (text, status, code) in
        [("no request\r\n\r\n", 400, "BadRequest"), (long.as_str(), 431, "HeaderTooLarge")]
    {
        talk(at, text.as_bytes()).await;
        let record = running.records.recv().await.unwrap();
        assert_eq!(record.http_status, status);
        assert_eq!(told(&record), format!("AWSAccount outside unknown.amazonaws.com unknown failed {code}"));
    }
    let dev = run_with(dev_keys(), OriginSource::Outside, Limits::default(), true).await;
    let mut records = dev.records;
    let reset = "POST /_postern/reset HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    talk(dev.address, reset.as_bytes()).await;
    assert_eq!(told(&records.recv().await.unwrap()), "AWSAccount outside postern Reset allowed -");
    let cross =
        "GET / HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\nconnection: close\r\n\r\n";
    talk(dev.address, cross.as_bytes()).await;
    assert_eq!(
        told(&records.recv().await.unwrap()),
        "AWSAccount outside unknown.amazonaws.com unknown denied CrossSiteRequest"
    );
}

#[tokio::test]
async fn a_services_failure_stays_in_the_log() {
    let mut running = run(OriginSource::Outside, Limits::default()).await;
    let body = "Action=Fail&Version=2010-05-08";
    let answer = talk(running.address, &Form { body, ..Form::default() }.bytes()).await;
    assert_eq!(summary(&answer), "500 InternalFailure");
    assert!(!answer.contains("/var/lib"), "{answer}");
    let record = running.records.recv().await.unwrap();
    let told = format!("An internal error has occurred. Request ID: {}", record.request_id);
    assert!(answer.contains(&told), "{answer}");
    assert_eq!(record.error_message.as_deref(), Some(told.as_str()));
}

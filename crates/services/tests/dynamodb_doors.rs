//! DynamoDB's doors: what endpoints let through, what survives, and what a copy holds.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dynamodb_support;
mod iam_support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use dynamodb_support::door;
use http::{HeaderMap, HeaderValue, Request};
use iam_support::{Memory, ONE, TWO, World, account};
use postern_frontdoor::{Audit, HttpService, JsonDoor, Metrics, Origin, Record};
use postern_model::endpoint::NewGatewayEndpoint;
use postern_model::{Action, Event, NetworkInterfaceId, ResourceId, VpcEndpointId, VpcId};
use postern_path::{Peer, Through};
use postern_services::commands::Commands as _;
use postern_services::dynamodb::Store;
use postern_wire::Timestamp;
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

/// DynamoDB over a world, with a place to put requests to and their records.
struct Doors {
    world: World,
    store: Store,
    door: JsonDoor,
    records: Mutex<mpsc::Receiver<Record>>,
}

impl Doors {
    fn over(directory: &std::path::Path) -> Self {
        let world = World::over(Memory::at_real_time(), false);
        let store = Store::open(directory).unwrap();
        let metrics = Arc::new(Metrics::default());
        // Nobody takes the records but the tests that look at them, and all of the others' have room.
        let (audit, records) = Audit::channel(1 << 20, Arc::clone(&metrics));
        let door = door(&store, &world, &audit, &metrics);
        Self { world, store, door, records: Mutex::new(records) }
    }

    /// The document that a request of a root user is answered with, or code and sentence.
    async fn ask(
        &self,
        peer: Option<Peer>,
        key: &str,
        operation: &str,
        document: Json,
    ) -> Result<Json, String> {
        let body = document.to_string();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("dynamodb.us-east-1.amazonaws.com"));
        headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.0"));
        let target = format!("DynamoDB_20120810.{operation}");
        headers.insert("x-amz-target", HeaderValue::from_str(&target).unwrap());
        let secret = SecretAccessKey::new("secret");
        let signer = Signer {
            access_key_id: key,
            secret: &secret,
            session_token: None,
            region: "us-east-1",
            service: "dynamodb",
        };
        let now = i64::try_from(self.world.memory.now_milliseconds()).unwrap();
        let parts = RequestParts { method: "POST", path: "/", query: "", headers: &headers };
        let signed =
            signer.sign(&parts, &Signer::hash(body.as_bytes()), Timestamp::from_millis(now)).unwrap();
        headers.extend(signed.headers);
        let mut request = Request::builder().method("POST").uri("/");
        *request.headers_mut().unwrap() = headers;
        let mut request = request.body(postern_frontdoor::body::full(body)).unwrap();
        let remote = SocketAddr::from(([203, 0, 113, 9], 5));
        request.extensions_mut().insert(Origin { peer, remote, secure: true });
        let response = self.door.call(request).await;
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let document: Json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
        if status == 200 {
            return Ok(document);
        }
        let message = document.get("message").or(document.get("Message")).and_then(Json::as_str);
        Err(format!("{status} {}: {}", document["__type"].as_str().unwrap_or("-"), message.unwrap_or("-")))
    }

    async fn put(&self, key: &str, table: &str, id: &str) -> Result<Json, String> {
        let item = json!({ "TableName": table, "Item": { "id": { "S": id } } });
        self.ask(None, key, "PutItem", item).await
    }

    async fn count(&self, key: &str, table: &str) -> Result<Json, String> {
        let document = json!({ "TableName": table, "Select": "COUNT" });
        self.ask(None, key, "Scan", document).await.map(|counted| counted["Count"].clone())
    }

    async fn create(&self, key: &str, table: &str) {
        let document = json!({
            "TableName": table, "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        });
        self.ask(None, key, "CreateTable", document).await.unwrap();
    }

    fn last_record(&self) -> Record {
        let mut records = self.records.lock().unwrap();
        let mut last = None;
        while let Ok(record) = records.try_recv() {
            last = Some(record);
        }
        last.unwrap()
    }

    /// A gateway endpoint to DynamoDB with this policy, and who comes through it.
    fn endpoint(&self, policy: Json) -> Peer {
        let run = |action| self.world.memory.run(account(ONE), action).unwrap().events;
        let created = |events: Vec<Event>| {
            events.into_iter().find_map(|event| match event {
                Event::Created(id) => Some(id),
                Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
            })
        };
        let vpc = run(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: vec![] });
        let Some(ResourceId::Vpc(vpc)) = created(vpc) else { panic!("a VPC") };
        let service_name = "com.amazonaws.us-east-1.dynamodb".to_owned();
        let policy = Some(policy.to_string());
        let new = NewGatewayEndpoint { vpc, service_name, route_tables: vec![], policy, tags: vec![] };
        let Some(ResourceId::VpcEndpoint(endpoint)) = created(run(Action::CreateGatewayEndpoint(new))) else {
            panic!("an endpoint")
        };
        through(endpoint, vpc)
    }
}

fn through(endpoint: VpcEndpointId, vpc: VpcId) -> Peer {
    Peer {
        account: account(ONE),
        vpc,
        interface: NetworkInterfaceId::from_number(1 << 40),
        instance: None,
        address: Ipv4Addr::new(10, 0, 1, 5),
        through: Through::Endpoint(endpoint, vpc),
    }
}

const ROOT: &str = "AKIAROOT1";
const OTHER: &str = "AKIAROOT2";

fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn refusal(action: &str, table: &str) -> String {
    format!(
        "400 com.amazon.coral.service#AccessDeniedException: User: arn:aws:iam::111122223333:root is not authorized to \
         perform: dynamodb:{action} on resource: arn:aws:dynamodb:us-east-1:111122223333:table/{table} because no VPC \
         endpoint policy allows the dynamodb:{action} action"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_filters_by_table_and_key_and_is_recorded() {
    let disk = disk();
    let doors = Doors::over(disk.path());
    for table in ["open", "shut"] {
        doors.create(ROOT, table).await;
    }
    let arn = "arn:aws:dynamodb:us-east-1:111122223333:table";
    let peer = doors.endpoint(json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "dynamodb:*", "Resource": format!("{arn}/open") },
        { "Effect": "Deny", "Principal": "*", "Action": "dynamodb:GetItem", "Resource": "*",
          "Condition": { "ForAnyValue:StringEquals": { "dynamodb:LeadingKeys": "secret" } } },
    ] }));
    let Through::Endpoint(endpoint, vpc) = peer.through else { panic!("an endpoint") };
    let get = |table: &str, id: &str| json!({ "TableName": table, "Key": { "id": { "S": id } } });
    assert_eq!(doors.ask(Some(peer), ROOT, "GetItem", get("open", "a")).await, Ok(json!({})));
    let record = doors.last_record();
    assert_eq!(record.vpc_endpoint_id, Some(endpoint.to_string()));
    assert_eq!(record.source_ip_address.as_deref(), Some("10.0.1.5"));
    assert_eq!((record.event_name.as_str(), record.read_only), ("GetItem", true));
    let shut = doors.ask(Some(peer), ROOT, "GetItem", get("shut", "a")).await;
    assert_eq!(shut, Err(refusal("GetItem", "shut")));
    let record = doors.last_record();
    assert_eq!(record.additional_event_data.decision, "denied");
    assert_eq!(record.error_code.as_deref(), Some("AccessDeniedException"));
    assert_eq!(doors.ask(None, ROOT, "GetItem", get("shut", "a")).await, Ok(json!({})));
    let secret = doors.ask(Some(peer), ROOT, "GetItem", get("open", "secret")).await.unwrap_err();
    assert!(secret.ends_with("with an explicit deny in a VPC endpoint policy"), "{secret}");
    let tables = doors.ask(Some(peer), ROOT, "ListTables", json!({})).await;
    assert_eq!(tables, Err(refusal("ListTables", "*")));
    let both = json!({ "TransactItems": [{ "Get": get("open", "a") }, { "Get": get("shut", "a") }] });
    assert_eq!(doors.ask(Some(peer), ROOT, "TransactGetItems", both).await, Err(refusal("GetItem", "shut")));
    let gone = through(VpcEndpointId::from_number(1 << 50), vpc);
    let gone = doors.ask(Some(gone), ROOT, "GetItem", get("open", "a")).await.unwrap_err();
    assert!(gone.contains("AccessDeniedException"), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_survive_and_a_copy_holds_every_accounts() {
    let disk = disk();
    let doors = Doors::over(&disk.path().join("tables"));
    for key in [ROOT, OTHER] {
        doors.create(key, "kept").await;
        doors.put(key, "kept", "one").await.unwrap();
    }
    doors.put(OTHER, "kept", "two").await.unwrap();
    // As if the process were killed: nothing is closed, and another one opens what is on the disk.
    let reopened = Doors::over(&disk.path().join("tables"));
    assert_eq!(reopened.count(ROOT, "kept").await, Ok(json!(1)));
    assert_eq!(reopened.count(OTHER, "kept").await, Ok(json!(2)));

    let store = reopened.store.clone();
    let copy = tokio::task::spawn_blocking(move || {
        let frozen = store.freeze().unwrap();
        let mut copy = Vec::new();
        frozen.write(&mut copy).unwrap();
        copy
    })
    .await
    .unwrap();
    reopened.put(ROOT, "kept", "later").await.unwrap();
    let left: Vec<_> = std::fs::read_dir(disk.path().join("tables")).unwrap().flatten().collect();
    assert!(left.iter().all(|file| !file.path().is_dir()), "{left:?}");

    let restored = disk.path().join("restored");
    assert_eq!(Store::restore(&restored, &mut copy.as_slice()).unwrap(), 2);
    let restored = Doors::over(&restored);
    assert_eq!(restored.count(ROOT, "kept").await, Ok(json!(1)));
    assert_eq!(restored.count(OTHER, "kept").await, Ok(json!(2)));
    for (name, damage) in [
        ("short", &copy[..copy.len() - 1]),
        ("empty", &[][..]),
        ("foreign", &b"something else"[..]),
        ("longer", &[&copy[..], b"x"].concat()[..]),
    ] {
        let mut damage = damage;
        let refused = Store::restore(&disk.path().join(name), &mut damage);
        assert!(refused.is_err(), "{name}");
    }

    reopened.store.clear().await.unwrap();
    let absent =
        "400 com.amazonaws.dynamodb.v20120810#ResourceNotFoundException: Requested resource not found";
    assert_eq!(reopened.count(OTHER, "kept").await, Err(absent.to_owned()));
    reopened.create(OTHER, "anew").await;
    assert_eq!(reopened.count(OTHER, "anew").await, Ok(json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_whose_time_is_over_go() {
    let disk = disk();
    let doors = Doors::over(disk.path());
    doors.create(ROOT, "fading").await;
    let ttl = json!({ "TableName": "fading", "TimeToLiveSpecification": { "Enabled": true, "AttributeName": "until" } });
    doors.ask(None, ROOT, "UpdateTimeToLive", ttl).await.unwrap();
    for (id, until) in [("gone", "1000000000"), ("here", "9000000000")] {
        let item = json!({ "TableName": "fading", "Item": { "id": { "S": id }, "until": { "N": until } } });
        doors.ask(None, ROOT, "PutItem", item).await.unwrap();
    }
    assert_eq!(doors.count(ROOT, "fading").await, Ok(json!(2)));
    doors.store.sweep().await;
    assert_eq!(doors.count(ROOT, "fading").await, Ok(json!(1)));
}

/// A policy is about the key of the table that is there, so a table must not become another one between the decision
/// and what was decided. Both are hammered at once: each write lands in a table whose key it was decided by.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_does_not_change_under_a_request() {
    let disk = disk();
    let doors = Arc::new(Doors::over(disk.path()));
    // Through this endpoint nothing with the partition key `x` may be written.
    let peer = doors.endpoint(json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "dynamodb:PutItem", "Resource": "*",
          "Condition": { "ForAnyValue:StringEquals": { "dynamodb:LeadingKeys": "x" } } },
    ] }));
    let create = |key: &str| {
        json!({
            "TableName": "turning", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": key, "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": key, "AttributeType": "S" }],
        })
    };
    let turning = {
        let doors = Arc::clone(&doors);
        tokio::spawn(async move {
            let mut found = 0;
            for round in 0..60 {
                // The item is always the same: by `a` its key is `x`, by `b` it is `y`.
                let key = if round % 2 == 0 { "a" } else { "b" };
                doors.ask(None, ROOT, "CreateTable", create(key)).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(3)).await;
                if key == "a" {
                    assert_eq!(doors.count(ROOT, "turning").await, Ok(json!(0)), "round {round}");
                } else {
                    found += doors.count(ROOT, "turning").await.unwrap().as_u64().unwrap();
                }
                doors.ask(None, ROOT, "DeleteTable", json!({ "TableName": "turning" })).await.unwrap();
            }
            found
        })
    };
    while !turning.is_finished() {
        let item = json!({ "TableName": "turning", "Item": { "a": { "S": "x" }, "b": { "S": "y" } } });
        // Refused, written or no table: each at its time.
        let _ = doors.ask(Some(peer), ROOT, "PutItem", item).await;
    }
    assert!(turning.await.unwrap() > 0, "something was written where it may be");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_have_tables_of_their_own_on_the_disk() {
    let disk = disk();
    let doors = Doors::over(disk.path());
    doors.create(ROOT, "one").await;
    doors.create(OTHER, "two").await;
    for number in [ONE, TWO] {
        assert!(disk.path().join(format!("{number}.sqlite")).exists());
    }
    let listed = doors.ask(None, OTHER, "ListTables", json!({})).await;
    assert_eq!(listed, Ok(json!({ "TableNames": ["two"] })));
}

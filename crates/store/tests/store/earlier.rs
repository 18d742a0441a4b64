//! Stores that an earlier version wrote: they open, whatever has become stricter since.

use std::path::Path;

use crc_fast::{CrcAlgorithm, Digest};
use postern_model::iam::IamAction;
use postern_model::instance::{Launch, LaunchInterface, MetadataOptions};
use postern_model::vpc::Vpc;
use postern_model::{
    Action, Command, Event, ModelError, Quota, ResourceId, State, SubnetId, Timestamp, VpcId, apply, replay,
};
use postern_store::{Ledger, Store, restore};
use redb::{ReadableDatabase, TableDefinition};
use serde_json::Value;

use crate::workload::*;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// What format 1 did not have.
const NEW: &[&str] = &[
    "restarted",
    "least",
    "secondary_count",
    "quotas",
    "quota_requests",
    "customer_gateways",
    "vpn_gateways",
    "vpn_connections",
    "propagating",
    "is_default",
    "default_for_zone",
    "permissions_boundary",
    "organizations",
];

/// A record as the first format has it; the name is part of the checksum.
fn sealed(name: &str, value: &Value) -> Vec<u8> {
    let content = serde_json::to_vec(value).unwrap();
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(name.as_bytes());
    digest.update(&[1]);
    digest.update(&content);
    let mut record = vec![1];
    record.extend_from_slice(&digest.finalize().to_le_bytes());
    record.extend_from_slice(&content);
    record
}

/// The value as format 1 wrote it.
fn earlier(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            // Interfaces have groups of another kind.
            let of_iam = members.contains_key("access_keys") || members.contains_key("unique_id");
            Value::Object(
                members
                    .into_iter()
                    .filter(|(key, _)| !(NEW.contains(&key.as_str()) || key == "groups" && of_iam))
                    .map(|(key, value)| (key, earlier(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(earlier).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Six VPCs, and an instance with a profile that holds no role: accepted once, and not any more.
fn history() -> Vec<(Command, Vec<Event>, State)> {
    let mut state = State::new(options(1_000).region);
    let mut log = Vec::new();
    let mut run = |action: Action| {
        let seed = 7_000 + log.len() as u64;
        let command = Command { account: account(), at: Timestamp(seed), seed, client_token: None, action };
        let (next, events) = replay(&state, &command).unwrap();
        state = next;
        log.push((command, events.clone(), state.clone()));
        events
    };
    run(create_account());
    let created = |events: Vec<Event>| match events.first() {
        Some(Event::Created(id)) => *id,
        other => panic!("the first event is {other:?}"),
    };
    let mut vpc: Option<VpcId> = None;
    for _ in 0..6 {
        let made = created(run(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Vec::new() }));
        let ResourceId::Vpc(made) = made else { panic!("{made} is no VPC") };
        vpc = Some(made);
    }
    let (cidr, vpc) = ("10.0.1.0/24".parse().unwrap(), vpc.unwrap());
    let subnet = created(run(Action::CreateSubnet { vpc, cidr, zone: None, tags: Vec::new() }));
    let ResourceId::Subnet(subnet) = subnet else { panic!("{subnet} is no subnet") };
    let (name, path, tags) = ("bare".to_owned(), "/".to_owned(), Vec::new());
    run(Action::Iam(IamAction::CreateInstanceProfile { name, path, tags }));
    run(launch(subnet));
    log
}

fn launch(subnet: SubnetId) -> Action {
    Action::RunInstances(Launch {
        count: 1,
        least: None,
        image: "ami-1".to_owned(),
        instance_type: "t3.micro".to_owned(),
        interface: LaunchInterface::New {
            subnet,
            groups: None,
            private_address: None,
            public_address: None,
            description: String::new(),
            delete_on_termination: true,
        },
        key_name: None,
        profile: Some("bare".to_owned()),
        user_data: None,
        metadata: MetadataOptions::default(),
        termination_protected: false,
        tags: Vec::new(),
        interface_tags: Vec::new(),
    })
}

/// A store of format 1: the first two commands are behind a snapshot, or all of them.
fn write_first_format(directory: &Path, history: &[(Command, Vec<Event>, State)], snapshot: usize) {
    drop(Store::open(directory, options(1_000)).unwrap());
    let database = redb::Database::open(directory.join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let last = history.last().unwrap().2.revision;
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", br#"{"format":1}"#.as_slice()).unwrap();
        let head = sealed("the head record", &serde_json::json!({ "revision": last }));
        meta.insert("head", head.as_slice()).unwrap();
        let state = &history[snapshot - 1].2;
        let mut snapshots = transaction.open_table(SNAPSHOT).unwrap();
        snapshots.retain(|_, _| false).unwrap();
        let value = serde_json::to_value(state).unwrap();
        assert_ne!(earlier(value.clone()), value);
        let record = sealed(&format!("the snapshot of revision {}", state.revision), &earlier(value));
        snapshots.insert(state.revision, record.as_slice()).unwrap();
        let mut log = transaction.open_table(LOG).unwrap();
        for (command, events, state) in &history[snapshot..] {
            let value = serde_json::json!({ "command": command, "events": events });
            let record = sealed(&format!("the command of revision {}", state.revision), &earlier(value));
            log.insert(state.revision, record.as_slice()).unwrap();
        }
    }
    transaction.commit().unwrap();
}

fn format_of(directory: &Path) -> String {
    let database = redb::Database::open(directory.join("state.redb")).unwrap();
    let transaction = database.begin_read().unwrap();
    let meta = transaction.open_table(META).unwrap();
    String::from_utf8(meta.get("format").unwrap().unwrap().value().to_vec()).unwrap()
}

#[test]
fn it_opens_as_it_was_and_goes_on_in_the_newest_format() {
    let history = history();
    let expected = &history.last().unwrap().2;
    for snapshot in [1, history.len()] {
        let directory = tempfile::tempdir().unwrap();
        write_first_format(directory.path(), &history, snapshot);
        let (store, state) = Store::open(directory.path(), options(1_000)).unwrap();
        assert!(state == *expected, "with {snapshot} commands behind the snapshot");
        drop(store);
        assert_eq!(format_of(directory.path()), r#"{"format":2}"#);
        let ledger = Ledger::open(directory.path(), options(1_000), sources()).unwrap();
        // What is new keeps to the rules of now.
        let create = Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Vec::new() };
        let refused = ledger.execute_blocking(account(), None, create).unwrap_err().to_string();
        assert_eq!(refused, ModelError::Quota { quota: Quota::Vpcs, limit: 5 }.to_string());
        assert_eq!(ledger.state().visible::<Vpc>(account()).count(), 6);
    }
    let (command, _, _) = history.last().unwrap();
    let before = &history[history.len() - 2].2;
    assert!(matches!(apply(before, command), Err(ModelError::ProfileWithoutRole { .. })));
}

#[test]
fn its_backup_is_restored() {
    let history = history();
    let state = &history.last().unwrap().2;
    let region = &state.region.name;
    let mut backup = String::new();
    for line in [
        serde_json::json!({ "postern_backup": 1, "region": region, "revision": state.revision }),
        earlier(serde_json::to_value(state).unwrap()),
        serde_json::json!({ "blobs": 0, "end": state.revision }),
    ] {
        let json = line.to_string();
        let sum = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, json.as_bytes());
        backup.push_str(&format!("{sum:016x} {json}\n"));
    }
    let directory = tempfile::tempdir().unwrap();
    restore(&mut backup.as_bytes(), directory.path()).unwrap();
    let (_, restored) = Store::open(directory.path(), options(1_000)).unwrap();
    assert!(restored == *state);
    assert_eq!(restored.visible::<postern_model::instance::Instance>(account()).count(), 1);
}

//! The object store against a plain map, and on a disk that fails, fills up and loses power at every step.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod disk;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use postern_services::s3::storage::digest::{Algorithm, ChecksumKind, hex, md5_of};
use postern_services::s3::storage::list::ListAsk;
use postern_services::s3::storage::multipart::{ExpectedWhole, ListedPart};
use postern_services::s3::storage::record::{Bucket, Headers, Tags, Upload, Versioning};
use postern_services::s3::storage::version::Which;
use postern_services::s3::storage::{Attributes, Census, Precondition, Store, StoreError, index};
use proptest::prelude::*;

use self::disk::{Mishap, SimDisk};

// ---- Shorthands.

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn bucket() -> Bucket {
    Bucket::new("111122223333", "us-east-1", 1)
}

fn plain() -> Attributes {
    Attributes { headers: Headers::default(), modified: 7, checksum: None, tags: Tags::new() }
}

fn upload() -> Upload {
    Upload {
        initiated: 1,
        initiator: "111122223333".to_owned(),
        headers: Headers::default(),
        tags: Tags::new(),
        algorithm: Algorithm::Crc64Nvme,
        kind: ChecksumKind::FullObject,
        algorithm_named: false,
    }
}

async fn put(store: &Store, key: &str, body: &[u8], condition: Precondition) -> Result<(), StoreError> {
    let mut intake = store.intake(Algorithm::Crc64Nvme);
    for chunk in body.chunks(700_000) {
        intake.push(Bytes::copy_from_slice(chunk)).await?;
    }
    let taken = intake.finish().await?;
    store.put_object("bkt", key, taken, plain(), condition).await.map(|_| ())
}

async fn content(store: &Store, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some((object, source)) = store.read("bkt", key)? else { return Ok(None) };
    let mut stream = source.stream(0..object.size);
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk?);
    }
    assert_eq!(all.len() as u64, object.size, "{key}");
    if object.parts.is_none() && all.len() < 100_000 {
        assert_eq!(hex(&md5_of(&all)), object.etag, "{key}: the content is not what was written");
    }
    Ok(Some(all))
}

fn body(seed: u8, size: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..=255u8).map(|index| index.wrapping_mul(31).wrapping_add(seed)).collect();
    let mut body = period.repeat(size / 256 + 1);
    body.truncate(size);
    body
}

// ---- Against a plain map.

#[derive(Clone, Debug)]
enum Act {
    Put(String, u8, usize, bool),
    Delete(String),
    List(String, String, String, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop_oneof!["a", "b", "/", "//", "é", "\u{10FFFF}", "z"], 1..5)
        .prop_map(|parts| parts.concat())
}

fn act() -> impl Strategy<Value = Act> {
    let some_prefix = || prop_oneof![Just(String::new()), Just("a".to_owned()), Just("a/".to_owned()), key()];
    let delimiter =
        prop_oneof![Just(String::new()), Just("/".to_owned()), Just("//".to_owned()), Just("é".to_owned())];
    prop_oneof![
        6 => (key(), any::<u8>(), prop_oneof![Just(0), Just(5), Just(40_000)], any::<bool>())
            .prop_map(|(key, seed, size, absent)| Act::Put(key, seed, size, absent)),
        2 => key().prop_map(Act::Delete),
        4 => (some_prefix(), delimiter, some_prefix(), 0usize..5).prop_map(|(p, d, a, m)| Act::List(p, d, a, m)),
        1 => Just(Act::Reopen),
    ]
}

/// The listing, computed the slow and obvious way.
fn naive_list<'k>(
    keys: impl Iterator<Item = &'k String>,
    prefix: &str,
    delimiter: &str,
    after: &str,
) -> Vec<(bool, String)> {
    let mut entries = BTreeSet::new();
    for key in keys.filter(|key| key.starts_with(prefix)) {
        let rest = &key[prefix.len()..];
        let rolled = (!delimiter.is_empty())
            .then(|| rest.find(delimiter).map(|at| key[..prefix.len() + at + delimiter.len()].to_owned()))
            .flatten();
        match rolled {
            // After a common prefix comes nothing that it stands for; after a key within it, what follows that key.
            Some(rolled) if rolled == after => {}
            Some(rolled) if key.as_str() > after => drop(entries.insert((rolled, true))),
            None if key.as_str() > after => drop(entries.insert((key.clone(), false))),
            Some(_) | None => {}
        }
    }
    entries.into_iter().map(|(entry, rolled)| (rolled, entry)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_a_map(acts in proptest::collection::vec(act(), 1..40)) {
        runtime().block_on(async {
            let disk = SimDisk::new();
            let mut store = Store::open_on(Arc::new(disk.clone())).unwrap();
            store.create_bucket("bkt", bucket()).await.unwrap();
            store.create_bucket("bkt0", bucket()).await.unwrap();
            let mut map: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            for act in acts {
                match act {
                    Act::Put(key, seed, size, absent) => {
                        let body = body(seed, size);
                        let condition = if absent { Precondition::Absent } else { Precondition::None };
                        let done = put(&store, &key, &body, condition).await;
                        if absent && map.contains_key(&key) {
                            prop_assert_eq!(done, Err(StoreError::PreconditionFailed("If-None-Match")));
                        } else {
                            prop_assert_eq!(done, Ok(()));
                            map.insert(key, body);
                        }
                    }
                    Act::Delete(key) => {
                        store.delete_object("bkt", &key, Precondition::None, 9).await.unwrap();
                        map.remove(&key);
                    }
                    Act::List(prefix, delimiter, after, max) => {
                        let wanted = naive_list(map.keys(), &prefix, &delimiter, &after);
                        let ask = ListAsk { prefix, delimiter, after, max };
                        let page = store.list_objects("bkt", &ask).unwrap();
                        let mut got: Vec<(String, bool)> = page.objects.iter().map(|(key, _)| (key.clone(), false)).collect();
                        got.extend(page.prefixes.iter().map(|prefix| (prefix.clone(), true)));
                        got.sort();
                        let first: Vec<(String, bool)> = wanted.iter().take(max).map(|(rolled, key)| (key.clone(), *rolled)).collect();
                        prop_assert_eq!(&got, &first, "{:?}", ask);
                        let more = max > 0 && wanted.len() > max;
                        prop_assert_eq!(page.next, more.then(|| first[max - 1].0.clone()), "{:?}", ask);
                    }
                    Act::Reopen => {
                        drop(store);
                        store = Store::open_on(Arc::new(disk.clone())).unwrap();
                    }
                }
            }
            for (key, body) in &map {
                let found = content(&store, key).await.unwrap();
                prop_assert_eq!(found.as_ref(), Some(body));
            }
            prop_assert_eq!(store.list_objects("bkt0", &ListAsk { max: 9, ..ListAsk::default() }).unwrap().objects.len(), 0);
            drop(store);
            // No content is left that no object has.
            prop_assert_eq!(disk.blob_count(), map.values().filter(|body| body.len() > 16 << 10).count());
            Ok(())
        })?;
    }
}

// ---- Mishaps at every step.

/// What a key may hold: the last acknowledged content, and those of unacknowledged writes since.
type Allowed = BTreeMap<&'static str, Vec<Option<Vec<u8>>>>;

fn acknowledge(allowed: &mut Allowed, key: &'static str, done: bool, value: Option<Vec<u8>>) {
    let entry = allowed.entry(key).or_insert_with(|| vec![None]);
    if done {
        *entry = vec![value];
    } else {
        entry.push(value);
    }
}

/// A fixed run of writes of every kind. Returns what each key may hold afterwards.
async fn run(store: &Store) -> Allowed {
    let mut allowed = Allowed::new();
    let steps: [(&'static str, Option<(u8, usize)>); 9] = [
        ("small", Some((1, 100))),
        ("large", Some((2, 50_000))),
        ("small", Some((3, 200))),
        ("large", Some((4, 1_200_000))),
        ("small", Some((5, 60_000))),
        ("large", Some((6, 10))),
        ("gone", Some((7, 30_000))),
        ("gone", None),
        ("large", Some((8, 70_000))),
    ];
    for (key, write) in steps {
        match write {
            Some((seed, size)) => {
                let value = body(seed, size);
                let done = put(store, key, &value, Precondition::None).await.is_ok();
                acknowledge(&mut allowed, key, done, Some(value));
            }
            None => {
                let done = store.delete_object("bkt", key, Precondition::None, 9).await.is_ok();
                acknowledge(&mut allowed, key, done, None);
            }
        }
    }
    let joined = multipart(store).await;
    let value = [body(1, 5 << 20), body(2, 9)].concat();
    acknowledge(&mut allowed, "parts", joined.is_ok(), Some(value));
    allowed
}

async fn multipart(store: &Store) -> Result<(), StoreError> {
    let id = store.create_upload("bkt", "parts", upload()).await?;
    let mut listed = Vec::new();
    for (number, data) in [(1, body(1, 5 << 20)), (2, body(2, 9)), (3, body(3, 9))] {
        let mut intake = store.part_intake(Algorithm::Crc32, &upload());
        intake.push(data.into()).await?;
        let part = store.put_part(("bkt", "parts", &id), number, intake.finish().await?, 3).await?;
        if number < 3 {
            listed.push(ListedPart { number, etag: part.etag, checksum: None });
        }
    }
    let at = ("bkt", "parts", id.as_str());
    store.complete_upload(at, listed, ExpectedWhole::default(), Precondition::None, 4).await.map(|_| ())
}

async fn check(store: &Store, allowed: &Allowed, what: &str) {
    for (key, values) in allowed {
        let found = content(store, key).await.unwrap_or_else(|error| panic!("{what}: {key}: {error}"));
        let sizes: Vec<_> = values.iter().map(|value| value.as_ref().map(Vec::len)).collect();
        assert!(
            values.contains(&found),
            "{what}: `{key}` has {:?}, allowed {sizes:?}",
            found.map(|v| v.len())
        );
    }
}

fn steps_of_a_run() -> u64 {
    let disk = SimDisk::new();
    runtime().block_on(async {
        let store = Store::open_on(Arc::new(disk.clone())).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        disk.with(|state| state.steps = 0);
        let allowed = run(&store).await;
        assert!(
            allowed.values().all(|values| values.len() == 1),
            "everything is acknowledged without mishap"
        );
        check(&store, &allowed, "without mishap").await;
        settled(&disk, usize::try_from(store.census().unwrap().files).unwrap()).await;
    });
    disk.with(|state| state.steps)
}

fn mishap_at(step: u64, mishap: Mishap, seed: u64) {
    let what = format!("{mishap:?} at step {step}, seed {seed}");
    runtime().block_on(async {
        let disk = SimDisk::new();
        let store = Store::open_on(Arc::new(disk.clone())).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        disk.with(|state| (state.steps, state.mishap) = (0, Some((step, mishap))));
        let mut allowed = run(&store).await;
        if mishap != Mishap::PowerLoss {
            // The store goes on once the disk does, without being opened anew.
            disk.with(|state| state.mishap = None);
            check(&store, &allowed, &format!("{what}, living on")).await;
            put(&store, "after", b"well", Precondition::None)
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            allowed.insert("after", vec![Some(b"well".to_vec())]);
            check(&store, &allowed, &format!("{what}, living on")).await;
        }
        let after = disk.reboot(seed);
        drop(store);
        let store = Store::open_on(Arc::new(after.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&store, &allowed, &what).await;
        put(&store, "after", b"well", Precondition::None)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        emptied(store, &after, &what).await;
    });
}

/// What interrupted writes left is gone: with the objects and uploads, all content goes.
async fn emptied(store: Store, disk: &SimDisk, what: &str) {
    let census = store.census().unwrap();
    assert_eq!(census.files, disk.blob_count() as u64, "{what}: files, referenced and present");
    for (key, _) in store.list_objects("bkt", &ListAsk { max: 99, ..ListAsk::default() }).unwrap().objects {
        store.delete_object("bkt", &key, Precondition::None, 9).await.unwrap();
    }
    store.delete_bucket("bkt").await.unwrap();
    assert_eq!(store.census().unwrap(), Census::default(), "{what}");
    drop(store);
    assert_eq!(disk.blob_count(), 0, "{what}: content files are left");
}

/// How many of the steps are tried: all of them with `POSTERN_S3_ALL_STEPS=1`, else a spread of them.
fn tried(total: u64, spread: u64) -> impl Iterator<Item = u64> {
    let all = std::env::var_os("POSTERN_S3_ALL_STEPS").is_some();
    (1..=total).step_by(if all { 1 } else { usize::try_from((total / spread).max(1)).unwrap() })
}

#[test]
fn power_loss_at_any_step_keeps_what_was_acknowledged() {
    let total = steps_of_a_run();
    assert!(total > 100, "{total} steps");
    for step in tried(total, 40) {
        mishap_at(step, Mishap::PowerLoss, step);
        mishap_at(step, Mishap::PowerLoss, step ^ 0x5555);
    }
}

#[test]
fn an_error_at_any_step_loses_nothing() {
    let total = steps_of_a_run();
    for step in tried(total, 24) {
        mishap_at(step, Mishap::Once(io::ErrorKind::Other), step);
        mishap_at(step, Mishap::Lasting(io::ErrorKind::StorageFull), step);
    }
}

#[test]
fn a_full_disk_is_said_plainly_and_deletes_still_work() {
    runtime().block_on(async {
        let disk = SimDisk::new();
        let store = Store::open_on(Arc::new(disk.clone())).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        put(&store, "old", &body(1, 50_000), Precondition::None).await.unwrap();
        disk.with(|state| state.free = 1000);
        assert_eq!(put(&store, "old", b"new", Precondition::None).await, Err(StoreError::Full));
        assert_eq!(put(&store, "old", &body(2, 90_000), Precondition::None).await, Err(StoreError::Full));
        assert_eq!(content(&store, "old").await.unwrap(), Some(body(1, 50_000)));
        store.delete_object("bkt", "old", Precondition::None, 9).await.unwrap();
        disk.with(|state| state.free = 1 << 40);
        put(&store, "old", b"new", Precondition::None).await.unwrap();
        // Full only while it writes: the data file's own error.
        // (Removals go on in the background and count as steps: they are waited for.)
        settled(&disk, 0).await;
        let steps = disk.with(|state| state.steps);
        disk.with(|state| state.mishap = Some((steps + 2, Mishap::Once(io::ErrorKind::StorageFull))));
        assert_eq!(put(&store, "old", &body(3, 90_000), Precondition::None).await, Err(StoreError::Full));
        assert_eq!(content(&store, "old").await.unwrap(), Some(b"new".to_vec()));
        drop(store);
        assert_eq!(disk.blob_count(), 0);
    });
}

#[test]
fn readers_finish_what_they_began_though_the_object_goes() {
    runtime().block_on(async {
        let disk = SimDisk::new();
        let store = Store::open_on(Arc::new(disk.clone())).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        multipart(&store).await.unwrap();
        let (object, source) = store.read("bkt", "parts").unwrap().unwrap();
        let mut stream = source.stream(0..object.size);
        drop(source);
        let mut all = stream.next().await.unwrap().unwrap().to_vec();
        store.delete_object("bkt", "parts", Precondition::None, 9).await.unwrap();
        put(&store, "parts", b"other", Precondition::None).await.unwrap();
        // Time for a removal that must not happen.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk.unwrap());
        }
        assert_eq!(all, [body(1, 5 << 20), body(2, 9)].concat());
        drop(stream);
        drop(store);
        assert_eq!(disk.blob_count(), 0, "and then it is removed");
    });
}

#[test]
fn an_upload_given_up_leaves_nothing() {
    runtime().block_on(async {
        let disk = SimDisk::new();
        let store = Store::open_on(Arc::new(disk.clone())).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        let mut intake = store.intake(Algorithm::Sha256);
        intake.push(body(1, 3 << 20).into()).await.unwrap();
        intake.push(body(2, 3 << 20).into()).await.unwrap();
        drop(intake);
        let mut intake = store.intake(Algorithm::Sha256);
        intake.push(body(1, 3 << 20).into()).await.unwrap();
        let taken = intake.finish().await.unwrap();
        assert_eq!(
            store.put_object("no-bucket", "k", taken, plain(), Precondition::None).await.map(|_| ()),
            Err(StoreError::NoSuchBucket("no-bucket".to_owned()))
        );
        settled(&disk, 0).await;
    });
}

/// Waits until so many content files are left.
async fn settled(disk: &SimDisk, files: usize) {
    for _ in 0..500 {
        if disk.blob_count() == files {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} content files are left, not {files}", disk.blob_count());
}

#[test]
fn a_directory_belongs_to_one_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let second = Store::open(directory.path()).map(|_| ()).unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
    drop(store);
    Store::open(directory.path()).unwrap();
}

#[test]
fn a_store_from_before_there_were_versions_is_opened() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.create_bucket("bkt", bucket()).await.unwrap();
        put(&store, "old", b"old", Precondition::None).await.unwrap();
        drop(store);
        // As it was then.
        let index = redb::Database::open(directory.path().join("index.redb")).unwrap();
        let txn = index.begin_write().unwrap();
        txn.delete_table(index::VERSIONS).unwrap();
        txn.delete_table(index::NULLS).unwrap();
        txn.open_table(index::META).unwrap().insert("format", 1).unwrap();
        txn.commit().unwrap();
        drop(index);
        let store = Store::open(directory.path()).unwrap();
        store.change_bucket("bkt", |bucket| bucket.versioning = Some(Versioning::Enabled)).await.unwrap();
        put(&store, "old", b"new", Precondition::None).await.unwrap();
        let looked = store.look("bkt", "old", Which::Null).unwrap().unwrap();
        assert_eq!(looked.found.object().unwrap().0.etag, hex(&md5_of(b"old")));
        drop(store);
        Store::open(directory.path()).unwrap();
        let index = redb::Database::open(directory.path().join("index.redb")).unwrap();
        let txn = index.begin_write().unwrap();
        txn.open_table(index::META).unwrap().insert("format", 3).unwrap();
        txn.commit().unwrap();
        drop(index);
        let refused = Store::open(directory.path()).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("has format `3`"), "{refused}");
    });
}

//! Versions: against a plain list for each key, and through every mishap.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use postern_services::s3::storage::digest::Algorithm;
use postern_services::s3::storage::list::ListAsk;
use postern_services::s3::storage::record::{Version, Versioning};
use postern_services::s3::storage::version::{Found, Which};
use postern_services::s3::storage::{Census, Precondition, Store, StoreError};
use proptest::prelude::*;

use super::disk::{Mishap, SimDisk};
use super::{body, bucket, plain, runtime, settled, tried};

/// Content by its seed and size; `None` for a delete marker.
type Held = Option<(u8, usize)>;

/// The versions of a key, newest first, and whether each is the null version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stack(Vec<(bool, Held)>);

impl Stack {
    fn drop_null(&mut self) {
        self.0.retain(|(null, _)| !null);
    }

    /// What S3's documentation says of a write or of a deletion without a version.
    fn put(&mut self, versioning: Option<Versioning>, held: Held) {
        let null = versioning != Some(Versioning::Enabled);
        if null {
            self.drop_null();
        }
        if held.is_some() || versioning.is_some() {
            self.0.insert(0, (null, held));
        }
    }
}

async fn put(store: &Store, key: &str, seed: u8, size: usize) -> Result<(), StoreError> {
    let mut intake = store.intake(Algorithm::Crc64Nvme);
    intake.push(Bytes::from(body(seed, size))).await?;
    let taken = intake.finish().await?;
    store.put_object("bkt", key, taken, plain(), Precondition::None).await.map(|_| ())
}

async fn content(store: &Store, key: &str, which: Which) -> Result<Option<Vec<u8>>, StoreError> {
    let looked = store.look("bkt", key, which)?.ok_or(StoreError::NoSuchBucket("bkt".to_owned()))?;
    let Found::Object((object, source)) = looked.found else { return Ok(None) };
    let mut stream = source.stream(0..object.size);
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(Some(all))
}

fn which(version: &Version) -> Which {
    version.id().map_or(Which::Null, Which::Id)
}

/// What a listing has: a key with which version it is, whether that is a delete marker and whether it is the newest; or
/// a common prefix.
type Row<W> = (String, Option<(W, bool, bool)>);

/// The whole listing, in pages of `max`.
fn listed(store: &Store, prefix: &str, delimiter: &str, max: usize) -> Vec<Row<Which>> {
    let (mut all, mut after, mut behind) = (Vec::new(), String::new(), None);
    loop {
        let ask = ListAsk { prefix: prefix.to_owned(), delimiter: delimiter.to_owned(), after, max };
        let page = store.list_versions("bkt", &ask, behind).unwrap();
        let versions = page.versions.into_iter().map(|listed| {
            let marker = matches!(listed.version, Version::Marker(_));
            (listed.key, Some((which(&listed.version), marker, listed.latest)))
        });
        all.extend(versions);
        all.extend(page.prefixes.into_iter().map(|prefix| (prefix, None)));
        match page.next {
            Some((key, version)) => (after, behind) = (key, version),
            None => break,
        }
    }
    // Of a page common prefixes come behind the versions; the sort is stable.
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[derive(Clone, Debug)]
enum Act {
    Put(String, u8, usize),
    Delete(String),
    /// Which of the key's versions, counted from the newest.
    Remove(String, usize),
    Versioning(bool),
    List(String, String, usize),
    Reopen,
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["a", "a/b", "a/c", "a/c/d", "b", "é/x"]
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![Just(0usize), Just(5), Just(40_000)];
    let prefix = prop_oneof![Just(String::new()), Just("a".to_owned()), Just("a/".to_owned())];
    let delimiter = prop_oneof![Just(String::new()), Just("/".to_owned())];
    prop_oneof![
        8 => (key(), any::<u8>(), size).prop_map(|(key, seed, size)| Act::Put(key, seed, size)),
        3 => key().prop_map(Act::Delete),
        4 => (key(), 0usize..4).prop_map(|(key, nth)| Act::Remove(key, nth)),
        2 => any::<bool>().prop_map(Act::Versioning),
        3 => (prefix, delimiter, 1usize..5).prop_map(|(p, d, m)| Act::List(p, d, m)),
        1 => Just(Act::Reopen),
    ]
}

/// The listing, computed from the lists.
fn expected(stacks: &BTreeMap<String, Stack>, prefix: &str, delimiter: &str) -> Vec<Row<bool>> {
    let mut all: Vec<Row<bool>> = Vec::new();
    for (key, stack) in stacks.iter().filter(|(key, stack)| key.starts_with(prefix) && !stack.0.is_empty()) {
        let rest = &key[prefix.len()..];
        match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => all.push((key[..prefix.len() + at + 1].to_owned(), None)),
            None => all.extend(
                stack
                    .0
                    .iter()
                    .zip(0..)
                    .map(|((null, held), at)| (key.clone(), Some((*null, held.is_none(), at == 0)))),
            ),
        }
    }
    all.dedup_by(|one, other| one.1.is_none() && one == other);
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn versions_agree_with_lists(acts in proptest::collection::vec(act(), 1..60)) {
        runtime().block_on(async {
            let disk = SimDisk::new();
            let mut store = Store::open_on(Arc::new(disk.clone())).unwrap();
            store.create_bucket("bkt", bucket()).await.unwrap();
            let (mut versioning, mut stacks) = (None, BTreeMap::<String, Stack>::new());
            for act in acts {
                match act {
                    Act::Put(key, seed, size) => {
                        put(&store, &key, seed, size).await.unwrap();
                        stacks.entry(key).or_default().put(versioning, Some((seed, size)));
                    }
                    Act::Delete(key) => {
                        let made = store.delete_object("bkt", &key, Precondition::None, 9).await.unwrap();
                        prop_assert_eq!(made.is_some(), versioning.is_some());
                        stacks.entry(key).or_default().put(versioning, None);
                    }
                    Act::Remove(key, nth) => {
                        let ask = ListAsk { prefix: key.clone(), max: 99, ..ListAsk::default() };
                        let page = store.list_versions("bkt", &ask, None).unwrap();
                        let of_key = page.versions.iter().filter(|listed| listed.key == key).nth(nth);
                        if let Some(listed) = of_key {
                            let which = which(&listed.version);
                            let removed = store.delete_version("bkt", &key, which, Precondition::None);
                            let (_, held) = stacks.get_mut(&key).unwrap().0.remove(nth);
                            prop_assert_eq!(removed.await.unwrap().is_some(), held.is_none());
                            let again = store.delete_version("bkt", &key, which, Precondition::None);
                            prop_assert_eq!(again.await.unwrap(), None);
                        }
                    }
                    Act::Versioning(on) => {
                        let told = if on { Versioning::Enabled } else { Versioning::Suspended };
                        versioning = Some(told);
                        store.change_bucket("bkt", move |bucket| bucket.versioning = Some(told)).await.unwrap();
                    }
                    Act::List(prefix, delimiter, max) => {
                        let got: Vec<_> = listed(&store, &prefix, &delimiter, max).into_iter().map(|(key, version)| {
                            (key, version.map(|(which, marker, latest)| (which == Which::Null, marker, latest)))
                        }).collect();
                        prop_assert_eq!(got, expected(&stacks, &prefix, &delimiter));
                    }
                    Act::Reopen => {
                        drop(store);
                        store = Store::open_on(Arc::new(disk.clone())).unwrap();
                    }
                }
            }
            for (key, stack) in &stacks {
                let current = stack.0.first().and_then(|(_, held)| *held).map(|(seed, size)| body(seed, size));
                prop_assert_eq!(content(&store, key, Which::Latest).await.unwrap(), current);
            }
            let all: Vec<&(bool, Held)> = stacks.values().flat_map(|stack| &stack.0).collect();
            let found = listed(&store, "", "", 99);
            for ((key, version), (_, held)) in found.iter().zip(&all) {
                let (which, ..) = version.unwrap();
                let wanted = held.map(|(seed, size)| body(seed, size));
                prop_assert_eq!(content(&store, key, which).await.unwrap(), wanted);
            }
            let current = stacks.values().filter(|stack| matches!(stack.0.first(), Some((_, Some(_))))).count();
            let census = store.census().unwrap();
            prop_assert_eq!((census.objects, census.versions), (current as u64, (all.len() - current) as u64));
            let refused = Err(StoreError::BucketNotEmpty { versioned: versioning.is_some() });
            prop_assert_eq!(store.delete_bucket("bkt").await, if all.is_empty() { Ok(()) } else { refused });
            drop(store);
            let large = all.iter().filter(|(_, held)| held.is_some_and(|(_, size)| size > 16 << 10)).count();
            prop_assert_eq!(disk.blob_count(), large, "no content is left that no version has");
            Ok(())
        })?;
    }
}

/// What the key may hold after a run: every outcome of what was not acknowledged.
type Possible = Vec<Stack>;

fn happened(possible: &mut Possible, done: bool, change: impl Fn(&mut Stack)) {
    let mut changed = possible.clone();
    changed.iter_mut().for_each(change);
    match done {
        true => *possible = changed,
        false => possible.extend(changed),
    }
}

/// A fixed run of all that happens to versions.
async fn run(store: &Store) -> Possible {
    enum Step {
        Set(Versioning),
        Put(u8, usize),
        Delete,
        /// The newest version, or the oldest.
        Remove(bool),
    }
    use Step::{Delete, Put, Remove, Set};
    let steps = [
        Put(1, 100),
        Set(Versioning::Enabled),
        Put(2, 50_000),
        Put(3, 60_000),
        Delete,
        Put(4, 10),
        Delete,
        Remove(true),
        Set(Versioning::Suspended),
        Put(5, 70_000),
        Delete,
        Put(6, 30),
        Set(Versioning::Enabled),
        Put(7, 80_000),
        Remove(true),
        Remove(false),
        Remove(true),
        Put(8, 90_000),
    ];
    let (mut possible, mut versioning) = (vec![Stack::default()], None);
    for step in steps {
        match step {
            Set(told) => {
                let set = store.change_bucket("bkt", move |bucket| bucket.versioning = Some(told)).await;
                // What was not acknowledged may hold; what the bucket says now does.
                versioning = store.bucket("bkt").map_or(versioning, |found| found.unwrap().versioning);
                assert!(set.is_err() || versioning == Some(told));
            }
            Put(seed, size) => {
                let done = put(store, "k", seed, size).await.is_ok();
                happened(&mut possible, done, |stack| stack.put(versioning, Some((seed, size))));
            }
            Delete => {
                let done = store.delete_object("bkt", "k", Precondition::None, 9).await.is_ok();
                happened(&mut possible, done, |stack| stack.put(versioning, None));
            }
            Remove(newest) => {
                let ask = ListAsk { max: 99, ..ListAsk::default() };
                let Ok(page) = store.list_versions("bkt", &ask, None) else { continue };
                let there = if newest { page.versions.first() } else { page.versions.last() };
                let Some(listed) = there else { continue };
                let which = which(&listed.version);
                let done = store.delete_version("bkt", "k", which, Precondition::None).await.is_ok();
                happened(&mut possible, done, |stack| {
                    let at = if newest { 0 } else { stack.0.len().saturating_sub(1) };
                    if at < stack.0.len() {
                        stack.0.remove(at);
                    }
                });
            }
        }
    }
    possible
}

async fn check(store: &Store, possible: &Possible, what: &str) {
    let ask = ListAsk { max: 99, ..ListAsk::default() };
    let page = store.list_versions("bkt", &ask, None).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = Vec::new();
    for (at, listed) in page.versions.iter().enumerate() {
        assert_eq!(listed.latest, at == 0, "{what}");
        let which = which(&listed.version);
        let content = content(store, "k", which).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(content.is_none(), matches!(listed.version, Version::Marker(_)), "{what}");
        found.push((which == Which::Null, content));
    }
    let as_content = |stack: &Stack| -> Vec<_> {
        let held = |(null, held): &(bool, Held)| (*null, held.map(|(seed, size)| body(seed, size)));
        stack.0.iter().map(held).collect()
    };
    assert!(
        possible.iter().any(|stack| as_content(stack) == found),
        "{what}: {:?} is none of {possible:?}",
        found.iter().map(|(null, content)| (null, content.as_ref().map(Vec::len))).collect::<Vec<_>>()
    );
    let current = content(store, "k", Which::Latest).await.unwrap();
    assert_eq!(current, found.first().and_then(|(_, content)| content.clone()), "{what}");
}

async fn begun(disk: &SimDisk) -> Store {
    let store = Store::open_on(Arc::new(disk.clone())).unwrap();
    store.create_bucket("bkt", bucket()).await.unwrap();
    store
}

fn mishap_at(step: u64, mishap: Mishap, seed: u64) {
    let what = format!("{mishap:?} at step {step}, seed {seed}");
    runtime().block_on(async {
        let disk = SimDisk::new();
        let store = begun(&disk).await;
        disk.with(|state| (state.steps, state.mishap) = (0, Some((step, mishap))));
        let possible = run(&store).await;
        if mishap != Mishap::PowerLoss {
            disk.with(|state| state.mishap = None);
            check(&store, &possible, &format!("{what}, living on")).await;
        }
        let after = disk.reboot(seed);
        drop(store);
        let store = Store::open_on(Arc::new(after.clone())).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(&store, &possible, &what).await;
        assert_eq!(store.census().unwrap().files, after.blob_count() as u64, "{what}");
        for (key, version) in listed(&store, "", "", 99) {
            let (which, ..) = version.unwrap();
            store.delete_version("bkt", &key, which, Precondition::None).await.unwrap();
        }
        store.delete_bucket("bkt").await.unwrap();
        assert_eq!(store.census().unwrap(), Census::default(), "{what}");
        drop(store);
        assert_eq!(after.blob_count(), 0, "{what}: content files are left");
    });
}

#[test]
fn no_mishap_loses_or_mixes_versions() {
    let disk = SimDisk::new();
    runtime().block_on(async {
        let store = begun(&disk).await;
        disk.with(|state| state.steps = 0);
        let possible = run(&store).await;
        assert_eq!(possible.len(), 1, "everything is acknowledged without mishap");
        check(&store, &possible, "without mishap").await;
        settled(&disk, usize::try_from(store.census().unwrap().files).unwrap()).await;
    });
    let total = disk.with(|state| state.steps);
    assert!(total > 100, "{total} steps");
    for step in tried(total, 32) {
        mishap_at(step, Mishap::PowerLoss, step);
        mishap_at(step, Mishap::Once(io::ErrorKind::Other), step ^ 0x5555);
        mishap_at(step, Mishap::Lasting(io::ErrorKind::StorageFull), step);
    }
}

//! Copies of a whole store: of one moment while writers go on, and refused when they are not whole.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use postern_services::s3::storage::digest::{Algorithm, ChecksumKind};
use postern_services::s3::storage::list::ListAsk;
use postern_services::s3::storage::multipart::{ExpectedWhole, ListedPart};
use postern_services::s3::storage::record::{Bucket, Headers, Tags, Upload, Versioning};
use postern_services::s3::storage::version::Which;
use postern_services::s3::storage::{Attributes, Precondition, Store};

const BUCKET: &str = "bucket";
const LARGE: usize = 700_000;

fn bucket() -> Bucket {
    Bucket { policy: Some("{}".to_owned()), ..Bucket::new("111122223333", "us-east-1", 1) }
}

fn upload() -> Upload {
    Upload {
        initiated: 5,
        initiator: "111122223333".to_owned(),
        headers: Headers { content_type: Some("text/x".to_owned()), ..Headers::default() },
        tags: Tags::from([("kind".to_owned(), "parted".to_owned())]),
        algorithm: Algorithm::Crc32,
        kind: ChecksumKind::Composite,
        algorithm_named: true,
    }
}

async fn put(store: &Store, key: &str, body: Vec<u8>) {
    let mut intake = store.intake(Algorithm::Crc64Nvme);
    intake.push(Bytes::from(body)).await.unwrap();
    let taken = intake.finish().await.unwrap();
    let attributes =
        Attributes { headers: Headers::default(), modified: 7, checksum: None, tags: Tags::new() };
    store.put_object(BUCKET, key, taken, attributes, Precondition::None).await.unwrap();
}

async fn put_part(store: &Store, key: &str, id: &str, number: u32, body: Vec<u8>) -> ListedPart {
    let mut intake = store.part_intake(Algorithm::Crc32, &upload());
    intake.push(Bytes::from(body)).await.unwrap();
    let part = store.put_part((BUCKET, key, id), number, intake.finish().await.unwrap(), 6).await.unwrap();
    ListedPart { number, etag: part.etag, checksum: None }
}

/// An object from parts: `first` five mebibytes and `last` a few bytes.
async fn put_parted(store: &Store, key: &str, first: u8, last: &[u8]) {
    let id = store.create_upload(BUCKET, key, upload()).await.unwrap();
    // Two that are not used, one of them empty: neither is content.
    put_part(store, key, &id, 9, vec![9; 50]).await;
    put_part(store, key, &id, 3, Vec::new()).await;
    let parts = vec![
        put_part(store, key, &id, 1, vec![first; 5 << 20]).await,
        put_part(store, key, &id, 2, last.to_vec()).await,
    ];
    let complete =
        store.complete_upload((BUCKET, key, &id), parts, ExpectedWhole::default(), Precondition::None, 8);
    complete.await.unwrap();
}

const KEEPS: &str = "keeps";

/// A null version below others, one of several files, and delete markers of both kinds.
async fn put_versions(store: &Store) -> Vec<String> {
    let put = async |body: Vec<u8>| {
        let mut intake = store.intake(Algorithm::Crc64Nvme);
        intake.push(Bytes::from(body)).await.unwrap();
        let taken = intake.finish().await.unwrap();
        let tags = Tags::from([("a".to_owned(), "b".to_owned())]);
        let attributes = Attributes { headers: Headers::default(), modified: 7, checksum: None, tags };
        store.put_object(KEEPS, "k", taken, attributes, Precondition::None).await.unwrap();
    };
    let versioning =
        async |what| store.change_bucket(KEEPS, move |b| b.versioning = Some(what)).await.unwrap();
    put(b"one".to_vec()).await;
    versioning(Versioning::Suspended).await;
    put(b"nobody".to_vec()).await;
    versioning(Versioning::Enabled).await;
    put(vec![3; LARGE]).await;
    store.delete_object(KEEPS, "k", Precondition::None, 9).await.unwrap();
    put(b"four".to_vec()).await;
    store.delete_object(KEEPS, "l", Precondition::None, 10).await.unwrap();
    versions_of(store)
}

/// All versions of the bucket, in words.
fn versions_of(store: &Store) -> Vec<String> {
    let ask = ListAsk { max: 99, ..ListAsk::default() };
    let page = store.list_versions(KEEPS, &ask, None).unwrap();
    page.versions.iter().map(|listed| format!("{} {:?}", listed.key, listed.version)).collect()
}

async fn content(store: &Store, key: &str) -> Option<Vec<u8>> {
    let (object, source) = store.read(BUCKET, key).unwrap()?;
    let mut stream = source.stream(0..object.size);
    let mut content = Vec::new();
    while let Some(chunk) = stream.next().await {
        content.extend_from_slice(&chunk.unwrap());
    }
    Some(content)
}

fn files(root: &Path) -> usize {
    let shards = std::fs::read_dir(root.join("data")).unwrap();
    shards.map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

#[tokio::test]
async fn a_copy_is_of_its_moment_whatever_comes_after() {
    let (here, there) = (temporary(), temporary());
    let store = Store::open(here.path()).unwrap();
    store.create_bucket(BUCKET, bucket()).await.unwrap();
    put(&store, "short", b"short".to_vec()).await;
    put(&store, "empty", Vec::new()).await;
    put(&store, "large", vec![7; LARGE]).await;
    put_parted(&store, "parted", 1, b"tail").await;
    store.create_bucket(KEEPS, Bucket { versioning: Some(Versioning::Enabled), ..bucket() }).await.unwrap();
    let versions = put_versions(&store).await;
    let pending = store.create_upload(BUCKET, "pending", upload()).await.unwrap();
    put_part(&store, "pending", &pending, 4, vec![4; LARGE]).await;
    let (before, files_before) = (store.census().unwrap(), files(here.path()));

    let frozen = store.freeze().unwrap();
    let reader = store.read(BUCKET, "parted").unwrap().unwrap();
    put(&store, "large", vec![8; LARGE]).await;
    put_parted(&store, "parted", 2, b"other").await;
    store.abort_upload(BUCKET, "pending", &pending).await.unwrap();
    put(&store, "later", vec![9; LARGE]).await;
    drop(reader);
    store.clear().await.unwrap();
    let mut copy = Vec::new();
    assert_eq!(frozen.write(&mut copy).unwrap(), before);
    assert!(files(here.path()) >= files_before, "nothing goes while the copy may still need it");
    drop(frozen);
    // The store removes in a thread of its own; when it is closed, that has ended.
    drop(store);
    assert_eq!(files(here.path()), 0, "what was freed meanwhile goes when the copy is done");

    assert_eq!(Store::restore(there.path(), &mut copy.as_slice()).unwrap(), before);
    let restored = Store::open(there.path()).unwrap();
    assert_eq!(restored.census().unwrap(), before);
    assert_eq!(restored.bucket(BUCKET).unwrap(), Some(bucket()));
    assert_eq!(content(&restored, "short").await.unwrap(), b"short");
    assert_eq!(content(&restored, "empty").await.unwrap(), b"");
    assert_eq!(content(&restored, "large").await.unwrap(), vec![7; LARGE]);
    assert_eq!(content(&restored, "later").await, None);
    assert_eq!(versions_of(&restored), versions);
    let Some(looked) = restored.look(KEEPS, "k", Which::Null).unwrap() else { panic!("a bucket") };
    assert_eq!(looked.found.object().unwrap().0.size, 6, "the null version is found by its name");
    restored.delete_object(KEEPS, "k", Precondition::None, 11).await.unwrap();
    let newer = versions_of(&restored);
    assert_eq!((newer.len(), &newer[1..]), (versions.len() + 1, &versions[..]), "what is new is on top");
    let parted = content(&restored, "parted").await.unwrap();
    assert!(parted.starts_with(&[1; 5 << 20]) && parted.ends_with(b"tail") && parted.len() == (5 << 20) + 4);
    let parted = restored.object(BUCKET, "parted").unwrap().unwrap();
    assert_eq!((parted.parts, parted.tags), (Some(2), upload().tags));
    // An upload goes on where it was.
    let page = restored.list_parts((BUCKET, "pending", &pending), 0, 10).unwrap();
    let (number, part) = &page.parts[0];
    let listed = ListedPart { number: *number, etag: part.etag.clone(), checksum: None };
    let whole = ExpectedWhole::default();
    let at = (BUCKET, "pending", pending.as_str());
    restored.complete_upload(at, vec![listed], whole, Precondition::None, 9).await.unwrap();
    assert_eq!(content(&restored, "pending").await.unwrap(), vec![4; LARGE]);
    put(&restored, "new", b"new".to_vec()).await;
    assert_eq!(content(&restored, "short").await.unwrap(), b"short", "new bodies get new numbers");
    let again = Store::restore(there.path(), &mut copy.as_slice()).unwrap_err();
    assert!(again.to_string().contains("holds objects already"), "{again}");
}

/// Which write of a key this is, as long as the size class says.
fn numbered(writer: u64, number: u64) -> Vec<u8> {
    let line = format!("{writer}-{number}.").into_bytes();
    let times = [1, 3_000, 90_000][(writer % 3) as usize];
    line.repeat(times)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_holds_all_that_was_acknowledged_before_and_nothing_torn() {
    let here = temporary();
    let store = Store::open(here.path()).unwrap();
    store.create_bucket(BUCKET, bucket()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..6).map(|_| AtomicU64::new(0)).collect());
    let writers: Vec<_> = (0..6u64)
        .map(|writer| {
            let (store, stop, acknowledged) = (store.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    put(&store, &format!("k{writer}"), numbered(writer, number)).await;
                    acknowledged[writer as usize].store(number, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut moments: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for round in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        let before: Vec<u64> = acknowledged.iter().map(|number| number.load(Ordering::SeqCst)).collect();
        let copying = store.clone();
        let copied = tokio::task::spawn_blocking(move || {
            let there = temporary();
            let mut copy = Vec::new();
            copying.freeze().unwrap().write(&mut copy).unwrap();
            Store::restore(there.path(), &mut copy.as_slice()).unwrap();
            there
        });
        let there = copied.await.unwrap();
        let restored = Store::open(there.path()).unwrap();
        for (writer, at_least) in (0u64..).zip(&before) {
            let found = content(&restored, &format!("k{writer}")).await;
            let number = match &found {
                None => 0,
                Some(found) => {
                    let line = found.split(|byte| *byte == b'.').next().unwrap();
                    let text = std::str::from_utf8(line).unwrap();
                    let number = text.split_once('-').unwrap().1.parse().unwrap();
                    assert!(*found == numbered(writer, number), "k{writer} is torn");
                    number
                }
            };
            assert!(number >= *at_least, "k{writer}: {number} is copied, {at_least} was acknowledged");
        }
        moments.insert(round, before);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(
        moments[&3].iter().sum::<u64>() > moments[&0].iter().sum::<u64>(),
        "writers went on: {moments:?}"
    );
}

#[tokio::test]
async fn a_copy_that_is_not_whole_is_refused() {
    let here = temporary();
    let store = Store::open(here.path()).unwrap();
    store.create_bucket(BUCKET, bucket()).await.unwrap();
    put(&store, "short", b"short".to_vec()).await;
    put(&store, "large", vec![7; 40_000]).await;
    let mut copy = Vec::new();
    store.freeze().unwrap().write(&mut copy).unwrap();
    let refused = |copy: &[u8]| {
        let there = temporary();
        Store::restore(there.path(), &mut &*copy).unwrap_err().to_string()
    };
    for end in (0..copy.len()).step_by(997).chain([copy.len() - 1]) {
        assert!(refused(&copy[..end]).contains("cannot be read"), "cut at {end}");
    }
    let longer = [copy.as_slice(), b"x"].concat();
    assert!(refused(&longer).contains("goes on behind its end"));
    let text = String::from_utf8_lossy(&copy).into_owned();
    assert!(text.contains(r#"{"Begin":{"format":2}}"#));
    let newer = [&copy[..4], br#"{"Begin":{"format":3}}"#, &copy[26..]].concat();
    assert!(refused(&newer).contains("has format `3`"));
    // One from before there were versions.
    let older = [&copy[..4], br#"{"Begin":{"format":1}}"#, &copy[26..]].concat();
    let there = temporary();
    Store::restore(there.path(), &mut older.as_slice()).unwrap();
    assert_eq!(content(&Store::open(there.path()).unwrap(), "short").await.unwrap(), b"short");
    // A record that is missing: the census tells.
    let record = br#"{"Bucket":"#;
    let at = copy.windows(record.len()).position(|window| window == record).unwrap() - 4;
    let length = u32::from_be_bytes(copy[at..at + 4].try_into().unwrap()) as usize;
    let without = [&copy[..at], &copy[at + 4 + length..]].concat();
    assert!(refused(&without).contains("announces"));
}

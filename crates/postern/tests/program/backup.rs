//! Copies of a region with what S3 holds: whole, of one moment, and refused when they are not what was written.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Ran, Region, World, tools};

crate::one_way!(
    a_copy_made_under_writers_is_whole,
    a_region_that_is_down_is_copied,
    a_damaged_copy_leaves_nothing,
    a_restore_that_was_killed_is_never_served,
    copies_take_no_more_memory_than_there_is,
);

/// What boto3 does: `write` until the region is gone, telling each acknowledged number; `read` and tell each key's.
const CLIENT: &str = r#"
import sys, threading, boto3
from botocore.config import Config
s3 = boto3.client("s3", config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}))
SIZES = [1, 2000, 40000, 900000]
def body(writer, number): return (b"%d-%d." % (writer, number)) * SIZES[writer % 4]
def write(writer):
    for number in range(1, 1 << 30):
        key = f"a b/ü{writer}"
        try:
            if writer % 4 == 3:
                up = {"Bucket": "copied", "Key": key, "UploadId": s3.create_multipart_upload(Bucket="copied", Key=key)["UploadId"]}
                data = body(writer, number)
                pieces = [data[:5 << 20], data[5 << 20:]]
                parts = [{"PartNumber": n, "ETag": s3.upload_part(PartNumber=n, Body=p, **up)["ETag"]} for n, p in enumerate(pieces, 1) if p]
                s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **up)
            else:
                s3.put_object(Bucket="copied", Key=key, Body=body(writer, number), Metadata={"number": str(number)})
        except Exception as error:
            return
        print(writer, number, flush=True)
if sys.argv[1] == "write":
    s3.create_bucket(Bucket="copied")
    for writer in range(5): threading.Thread(target=write, args=(writer,)).start()
elif sys.argv[1] == "read":
    for entry in s3.list_objects_v2(Bucket="copied")["Contents"]:
        got = s3.get_object(Bucket="copied", Key=entry["Key"])
        data = got["Body"].read()
        writer, number = map(int, data.split(b".")[0].split(b"-"))
        assert data == body(writer, number), entry
        assert writer % 4 == 3 or got["Metadata"] == {"number": str(number)}, got
        print(writer, number)
elif sys.argv[1] == "item":
    print(boto3.client("dynamodb").get_item(TableName="copied", Key={"id": {"S": "one"}})["Item"]["arn"]["S"])
else:
    class Zeros:
        def __init__(self, left): self.left = left
        def read(self, n=-1):
            n = min(self.left, n if n >= 0 else self.left); self.left -= n; return bytes(n)
    s3.create_bucket(Bucket="copied")
    s3.upload_fileobj(Zeros(int(sys.argv[2]) << 20), "copied", "large")
    db = boto3.client("dynamodb", config=Config(retries={"max_attempts": 1}))
    db.create_table(TableName="copied", BillingMode="PAY_PER_REQUEST", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}])
    db.put_item(TableName="copied", Item={"id": {"S": "one"}, "arn": {"S": db.describe_table(TableName="copied")["Table"]["TableArn"]}})
    s3.put_object(Bucket="copied", Key="large-single", Body=bytes(32 << 20))
"#;

fn client(region: &Region<'_>, arguments: &[&str]) -> Command {
    let aws = region.aws();
    let mut command = Command::new(tools().join("bin/python3"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("PYTHONUTF8", "1");
    command
        .env("AWS_ENDPOINT_URL", &region.url)
        .env("AWS_DEFAULT_REGION", &aws.region)
        .env("AWS_ACCESS_KEY_ID", &aws.key)
        .env("AWS_SECRET_ACCESS_KEY", &aws.secret);
    command.args(["-c", CLIENT]).args(arguments);
    command
}

/// A line of the client's: which writer, which number.
fn told(line: &str) -> (usize, u64) {
    let (writer, number) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
    (writer.parse().unwrap(), number.parse().unwrap())
}

fn read(region: &Region<'_>) -> Vec<(usize, u64)> {
    let ran = Ran::of(client(region, &["read"]), b"");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.stdout.lines().map(told).collect()
}

fn fill(region: &Region<'_>, mebibytes: &str) {
    let ran = Ran::of(client(region, &["fill", mebibytes]), b"");
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn restore(world: &World, state: &str, file: &Path) -> Ran {
    Ran::of(world.postern(&world.state(state), &["restore", file.to_str().unwrap()]), b"")
}

fn a_copy_made_under_writers_is_whole(world: &World) {
    let region = world.up(&[]);
    let mut writers = client(&region, &["write"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(writers.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut acknowledged = [0; 5];
    for round in 0..3 {
        let from = acknowledged;
        // Everybody has written something new since the last copy.
        while acknowledged.iter().zip(from).any(|(now, from)| *now <= from) {
            let (writer, number) = told(&lines.next().expect("writers go on"));
            acknowledged[writer] = number;
        }
        let file = world.home().join(format!("copy-{round}"));
        let ran = region.run(&["backup", file.to_str().unwrap()]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let state = format!("restored-{round}");
        let ran = restore(world, &state, &file);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains("5 objects in 1 buckets"), "{ran:?}");
        let restored = world.up_in(&state, &[]);
        let found = read(&restored);
        assert_eq!(found.len(), 5);
        for (writer, number) in found {
            let at_least = acknowledged[writer];
            assert!(number >= at_least, "writer {writer}: {number} is there, {at_least} was acknowledged");
        }
        restored.down();
    }
    region.down();
    // They end with the first request that nobody answers.
    assert!(writers.wait().unwrap().success());
}

fn a_region_that_is_down_is_copied(world: &World) {
    let file = world.home().join("copy");
    let path = file.to_str().unwrap();
    let nowhere = Ran::of(world.postern(&world.state("state"), &["backup", path]), b"");
    assert!(nowhere.failure().contains("no region runs"), "{nowhere:?}");
    let region = world.up(&[]);
    fill(&region, "6");
    region.killed();
    let ran = Ran::of(world.postern(&world.state("state"), &["backup", path]), b"");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = restore(world, "restored", &file);
    assert!(ran.stdout.contains("2 objects in 1 buckets, and the tables of 1 accounts"), "{ran:?}");
    let region = world.up_in("restored", &[]);
    let item = Ran::of(client(&region, &["item"]), b"");
    assert!(item.stdout.starts_with("arn:aws:dynamodb:us-east-1:"), "{item:?}");
    assert!(item.stdout.ends_with(":table/copied\n"), "{item:?}");
    let large = region.aws().s3("HEAD", "/copied/large", "", b"").unwrap();
    assert_eq!(large.status, 200);
    region.down();
    // A copy of the state alone, as the ledger makes them, is one too.
    let ledger = world.home().join("state/ledger/last.backup");
    if ledger.exists() {
        let ran = restore(world, "state-alone", &ledger);
        assert!(ran.stdout.contains("what S3 and DynamoDB held is not in this copy"), "{ran:?}");
    }
}

fn a_damaged_copy_leaves_nothing(world: &World) {
    let region = world.up(&[]);
    fill(&region, "6");
    let file = world.home().join("copy");
    let ran = region.run(&["backup", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    region.down();
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    let last = whole.len() - 1_000_000;
    changed[last] ^= 1;
    let newer = [b"postern-archive 7\n", &whole[18..]].concat();
    for (name, content, wanted) in [
        ("cut", whole[..whole.len() - 100].to_vec(), "it is cut short"),
        ("changed", changed, "its checksum does not match its content"),
        ("newer", newer, "has format 7, and this version reads format 1: use a newer version"),
        ("longer", [whole.as_slice(), b"x"].concat(), "there is something behind the end"),
        ("empty", Vec::new(), "is damaged"),
    ] {
        let broken = world.home().join(name);
        std::fs::write(&broken, content).unwrap();
        world.hand_over(&broken);
        let ran = restore(world, "target", &broken);
        assert!(ran.failure().contains(wanted), "{name}: {ran:?}");
        let left: Vec<PathBuf> =
            std::fs::read_dir(world.state("target")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [world.state("target").join("run")], "{name}");
    }
    let ran = restore(world, "target", &file);
    assert_eq!(ran.code, Some(0), "what failed leaves nothing in the way: {ran:?}");
}

fn a_restore_that_was_killed_is_never_served(world: &World) {
    let region = world.up(&[]);
    fill(&region, "200");
    let file = world.home().join("copy");
    let path = file.to_str().unwrap();
    let ran = region.run(&["backup", path]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    region.down();
    let target = world.state("target");
    let mut restoring = Restoring(world.postern(&target, &["restore", path]).spawn().unwrap());
    // In the middle of the objects: the state is whole by then.
    let deadline = Instant::now() + Duration::from_secs(60);
    while !target.join("s3/index.redb").exists() {
        assert!(restoring.0.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    restoring.0.kill().unwrap();
    assert!(!restoring.0.wait().unwrap().success());
    drop(restoring);
    assert!(target.join("ledger").exists());
    let incomplete = |ran: &str| ran.contains("is incomplete: a restore into it was cut short");
    let said = world.try_up(&target, &[]).err().expect("it is served");
    assert!(incomplete(&said), "{said}");
    for command in [["backup", "/nonexistent/copy"], ["restore", path]] {
        let ran = Ran::of(world.postern(&target, &command), b"");
        assert!(incomplete(ran.failure()), "{ran:?}");
    }
    std::fs::remove_dir_all(&target).unwrap();
    let ran = restore(world, "target", &file);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    world.up_in("target", &[]).down();
}

struct Restoring(Child);

impl Drop for Restoring {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The most memory that a process had, in KiB.
fn most_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

fn copies_take_no_more_memory_than_there_is(world: &World) {
    const MOST_KIB: u64 = 64 << 10;
    let region = world.up(&[]);
    fill(&region, "300");
    let pid = u32::try_from(region.pid().as_raw()).unwrap();
    let before = most_memory(pid).unwrap();
    let file = world.home().join("copy");
    let ran = region.run(&["backup", file.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // What the system counts is not exact, and may be less than before.
    let grown = most_memory(pid).unwrap().saturating_sub(before);
    assert!(grown < MOST_KIB, "the region grew by {grown} KiB");
    region.down();
    assert!(std::fs::metadata(&file).unwrap().len() > 300 << 20);
    let target = world.state("target");
    let command = world.postern(&target, &["restore", file.to_str().unwrap()]).spawn();
    let mut restoring = Restoring(command.unwrap());
    let mut most = 0;
    while restoring.0.try_wait().unwrap().is_none() {
        most = most_memory(restoring.0.id()).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(restoring.0.wait().unwrap().success());
    println!("the region grew by {grown} KiB, the restore had {most} KiB");
    assert!((1..MOST_KIB).contains(&most), "the restore had {most} KiB");
}

//! S3 over loopback as its clients see it: boto3, the `aws` command, memory, and `kill -9`.
//!
//! The server is this test program itself, started again with `POSTERN_S3_SERVE` set.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

#[path = "../examples/s3_standalone.rs"]
#[expect(dead_code, reason = "only `serve` is used")]
mod standalone;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Not a test of its own: the server that the others start.
#[test]
fn serve_when_asked() {
    let Some(directory) = std::env::var_os("POSTERN_S3_SERVE") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("PORT={}", listener.local_addr().unwrap().port());
        standalone::serve(Path::new(&directory), "us-east-1", listener).await.unwrap();
    });
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve_when_asked", "--nocapture"])
            .env("POSTERN_S3_SERVE", directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test runner may print before the line, or on it.
        let port = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some((_, port)) = line.split_once("PORT=") {
                break port.trim().parse().unwrap();
            }
        };
        // The test runner says so when a test takes long, and would end if nobody listened.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Server {
    // As `kill -9`: nothing is tidied.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder with the AWS clients, as `cargo xtask install` makes it.
fn clients() -> PathBuf {
    let told = std::env::var_os("POSTERN_TOOLS").map(PathBuf::from);
    let tools = told.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"));
    let tools = tools.canonicalize().unwrap_or(tools);
    for program in ["python3", "aws"] {
        let program = tools.join("bin").join(program);
        assert!(program.exists(), "`{}` is not there: run `cargo xtask install`", program.display());
    }
    tools
}

fn client(tools: &Path, program: &str, home: &Path) -> Command {
    let mut command = Command::new(tools.join("bin").join(program));
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", home)
        .env("AWS_ACCESS_KEY_ID", "AKIAOWNER")
        .env("AWS_SECRET_ACCESS_KEY", "owner-secret")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_MAX_ATTEMPTS", "1");
    command
}

#[test]
fn boto3_is_served_as_by_aws() {
    let tools = clients();
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3_boto3.py");
    let output = client(&tools, "python3", directory.path())
        .arg(script)
        .arg(server.port.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let held = said.lines().last().and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
    assert!(held.is_some_and(|held| held > 300), "{said}");
}

#[test]
fn the_aws_command_works() {
    let tools = clients();
    let directory = tempfile::tempdir().unwrap();
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let aws = |arguments: &str, succeeds: bool| {
        let mut command = client(&tools, "aws", home.path());
        command.args(["--endpoint-url", &server.url()]).args(arguments.split(' ')).current_dir(home.path());
        let output = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), succeeds, "aws {arguments}: {said}");
        said
    };
    std::fs::create_dir(home.path().join("tree")).unwrap();
    std::fs::write(home.path().join("tree/one"), b"one").unwrap();
    std::fs::write(home.path().join("tree/two"), vec![7u8; 20 << 20]).unwrap();
    aws("s3 mb s3://cli-bucket", true);
    aws("s3 sync tree s3://cli-bucket/tree", true);
    let listed = aws("s3 ls --recursive s3://cli-bucket", true);
    assert!(listed.contains("tree/one") && listed.contains("20971520 tree/two"), "{listed}");
    assert!(aws("s3 ls s3://cli-bucket", true).contains("PRE tree/"));
    aws("s3 cp s3://cli-bucket/tree/two back", true);
    assert_eq!(std::fs::read(home.path().join("back")).unwrap(), vec![7u8; 20 << 20]);
    aws("s3 mv s3://cli-bucket/tree/one s3://cli-bucket/moved", true);
    assert!(aws("s3api head-object --bucket cli-bucket --key moved", true).contains("ETag"));
    let refused = aws("s3 cp s3://cli-bucket/none none", false);
    assert!(refused.contains("404"), "{refused}");
    assert!(aws("s3 rb s3://cli-bucket", false).contains("BucketNotEmpty"));
    aws("s3 rb --force s3://cli-bucket", true);
}

/// Puts and gets an object of `mebibytes` and returns by how much the server's memory grew at its highest.
fn grown_by(mebibytes: u64) -> u64 {
    let tools = clients();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(directory.path());
    // Warmed up with a small object first; the client streams, signing no payload.
    let script = r#"
import sys, hashlib, boto3
from botocore.config import Config
url, size = sys.argv[1], int(sys.argv[2]) << 20
class Source:
    def __init__(self): self.at = 0
    def read(self, n=-1):
        n = min(n if n >= 0 else size, size - self.at, 1 << 20); self.at += n; return bytes(n)
    def __len__(self): return size
    def seek(self, at, whence=0):
        self.at = {0: at, 1: self.at + at, 2: size + at}[whence]; return self.at
    def tell(self): return self.at
s3 = boto3.client("s3", endpoint_url=url, config=Config(request_checksum_calculation="when_required", s3={"payload_signing_enabled": False}))
from urllib.request import Request, urlopen
if sys.argv[3] == "warm":
    s3.create_bucket(Bucket="big-bucket"); s3.put_object(Bucket="big-bucket", Key="warm", Body=bytes(3 << 20)); s3.get_object(Bucket="big-bucket", Key="warm")["Body"].read()
else:
    v4 = boto3.client("s3", endpoint_url=url, config=Config(signature_version="s3v4"))
    put = Request(v4.generate_presigned_url("put_object", {"Bucket": "big-bucket", "Key": "big"}), data=Source(), method="PUT", headers={"Content-Length": str(size)})
    urlopen(put).read()
    body, got = s3.get_object(Bucket="big-bucket", Key="big")["Body"], 0
    while chunk := body.read(1 << 20): got += len(chunk)
    assert got == size, got
"#;
    let run = |phase: &str| {
        let mut command = client(&tools, "python3", directory.path());
        let output =
            command.args(["-c", script, &server.url(), &mebibytes.to_string(), phase]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("warm");
    let before = server.resident_bytes();
    run("big");
    server.resident_bytes().saturating_sub(before)
}

#[test]
fn memory_stays_bounded_over_a_large_object() {
    let mebibytes = if std::env::var_os("POSTERN_S3_HUGE").is_some() { 5 << 10 } else { 256 };
    let grown = grown_by(mebibytes);
    println!("{mebibytes} MiB: the server grew by {} KiB", grown >> 10);
    assert!(grown < 64 << 20, "{mebibytes} MiB: the server grew by {grown} bytes");
}

#[test]
fn one_large_piece_takes_no_more_memory_than_small_ones() {
    let tools = clients();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(directory.path());
    // The whole content is one unsigned piece.
    let script = r#"
import base64, http.client, sys, zlib, boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
url, size = sys.argv[1], int(sys.argv[2]) << 20
class Signer(S3SigV4Auth):
    def payload(self, request): return "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
s3 = boto3.client("s3", endpoint_url=url)
if sys.argv[3] == "warm":
    s3.create_bucket(Bucket="piece-bucket"); s3.put_object(Bucket="piece-bucket", Key="warm", Body=bytes(3 << 20)); sys.exit()
headers = {"x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked",
           "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
request = AWSRequest(method="PUT", url=url + "/piece-bucket/piece", data=b"", headers=headers)
Signer(Credentials("AKIAOWNER", "owner-secret"), "s3", "us-east-1").add_auth(request)
crc, block = 0, bytes(1 << 20)
for _ in range(size >> 20): crc = zlib.crc32(block, crc)
head = b"%x\r\n" % size
tail = b"\r\n0\r\nx-amz-checksum-crc32:" + base64.b64encode(crc.to_bytes(4, "big")) + b"\r\n\r\n"
connection = http.client.HTTPConnection(url.split("//")[1])
connection.putrequest("PUT", "/piece-bucket/piece", skip_host=True, skip_accept_encoding=True)
connection.putheader("Host", url.split("//")[1])
for name, value in request.headers.items(): connection.putheader(name, value)
connection.putheader("Content-Length", str(len(head) + size + len(tail)))
connection.endheaders()
connection.send(head)
for _ in range(size >> 20): connection.send(block)
connection.send(tail)
answer = connection.getresponse()
assert answer.status == 200, answer.read()
assert s3.head_object(Bucket="piece-bucket", Key="piece")["ContentLength"] == size
"#;
    let run = |phase: &str| {
        let mut command = client(&tools, "python3", directory.path());
        let output = command.args(["-c", script, &server.url(), "200", phase]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("warm");
    let before = server.resident_bytes();
    run("send");
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "the server grew by {grown} bytes");
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let tools = clients();
    let directory = tempfile::tempdir().unwrap();
    // Each writer overwrites its own key and prints what was acknowledged; the server dies in the middle.
    let script = r#"
import sys, threading, boto3
from botocore.config import Config
s3 = boto3.client("s3", endpoint_url=sys.argv[1], config=Config(retries={"max_attempts": 1}))
def body(n, i): return (b"%d-%d." % (n, i)) * (20 if n % 2 else 9000)
if sys.argv[2] == "write":
    s3.create_bucket(Bucket="kill-bucket") if sys.argv[3] == "0" else None
    print("ready", flush=True)
    def writer(n):
        for i in range(int(sys.argv[3]), int(sys.argv[3]) + 1000):
            try: s3.put_object(Bucket="kill-bucket", Key=f"k{n}", Body=body(n, i))
            except Exception: return
            print(n, i, flush=True)
    for t in [threading.Thread(target=writer, args=(n,)) for n in range(6)]: t.start()
else:
    for line in sys.argv[3].split(","):
        n, i = map(int, line.split(" "))
        got = s3.get_object(Bucket="kill-bucket", Key=f"k{n}")["Body"].read()
        assert got in (body(n, i), body(n, i + 1)), (n, i, got[:20])
    print("held")
"#;
    let mut base = 0;
    for round in 0..4u64 {
        let server = Server::start(directory.path());
        let mut writers = client(&tools, "python3", directory.path())
            .args(["-c", script, &server.url(), "write", &base.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writers.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        let mut acknowledged = std::collections::BTreeMap::new();
        let mut note = |line: String| {
            let (writer, number) = line.split_once(' ').unwrap();
            acknowledged.insert(writer.parse::<u32>().unwrap(), number.parse::<u64>().unwrap());
        };
        for line in lines.by_ref().take(40 + usize::try_from(round).unwrap() * 17) {
            note(line.unwrap());
        }
        drop(server);
        lines.map_while(Result::ok).for_each(&mut note);
        let _ = writers.wait();
        let server = Server::start(directory.path());
        let listed: Vec<String> =
            acknowledged.iter().map(|(writer, number)| format!("{writer} {number}")).collect();
        let output = client(&tools, "python3", directory.path())
            .args(["-c", script, &server.url(), "read", &listed.join(",")])
            .output()
            .unwrap();
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
        base = acknowledged.values().max().unwrap() + 2;
    }
}

#[test]
fn nonsense_is_answered_and_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let long = "x".repeat(60_000);
    let requests = [
        "GET / HTTP/1.1\r\nHost: \u{1}\r\n\r\n".to_owned(),
        "GET /%00%ff HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "PATCH /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /bucket/key HTTP/1.0\r\n\r\n".to_owned(),
        "PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab".to_owned(),
        "PUT /bucket/key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
        "POST /bucket?delete HTTP/1.1\r\nHost: x\r\nContent-MD5: !\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "GET /bucket?X-Amz-Signature=&X-Amz-Credential=/ HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET /b HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=////,Signature=,SignedHeaders=\r\n\r\n"
            .to_owned(),
        "GET /b HTTP/1.1\r\nHost: x\r\nRange: bytes=9-1\r\nx-amz-date: never\r\n\r\n".to_owned(),
        "GET /b/k HTTP/1.1\r\nHost: x\r\nif-match: \"\r\nif-none-match: ,,\r\nif-modified-since: soon\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /bucket?prefix={long} HTTP/1.1\r\nHost: {long}\r\n\r\n"),
    ];
    for request in &requests {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let shown: String = request.chars().take(80).collect();
        // An answer, if there is one, is a refusal, and no internal error.
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.0 4")
                || answer.starts_with("HTTP/1.1 501"),
            "{shown:?}: {answer}"
        );
    }
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "it still serves: {answer}");
}

/// The `aws` command says `Expect: 100-continue` of empty files too, and some versions of it read the next answer on that
/// connection wrongly if they were not told to continue.
#[test]
fn an_upload_after_an_empty_one_is_answered() {
    let tools = clients();
    let (directory, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(directory.path());
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for (name, content) in [("1", ""), ("2", "two"), ("3", ""), ("4", ""), ("5", "five")] {
        std::fs::write(tree.join(name), content).unwrap();
    }
    let aws = |arguments: &str| {
        let mut command = client(&tools, "aws", home.path());
        command.args(["--endpoint-url", &server.url(), "--cli-read-timeout", "30"]);
        let output = command.args(arguments.split(' ')).current_dir(home.path()).output().unwrap();
        assert!(output.status.success(), "aws {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // One upload after the other, so that they share a connection as far as the server lets them.
    aws("configure set default.s3.max_concurrent_requests 1");
    aws("s3 mb s3://hollow");
    aws("s3 sync tree s3://hollow");
    assert_eq!(aws("s3 ls s3://hollow").lines().count(), 5);
}

/// What `aws s3` makes of names that are hard to carry.
#[test]
fn the_aws_command_carries_odd_names() {
    let tools = clients();
    let (directory, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::start(directory.path());
    let aws = |arguments: &[&str]| {
        let mut command = client(&tools, "aws", home.path());
        command.env("PYTHONUTF8", "1").args(["--endpoint-url", &server.url()]);
        let output = command.args(arguments).current_dir(home.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "aws {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let names = [
        "a b",
        "a+b",
        "a%20b",
        "a%2Fb",
        "a&b=c",
        "ü✓",
        "q?x#y",
        "tilde~'(x)!*",
        "semi;colon,comma",
        "<tag>",
        "\"q\"",
    ];
    let tree = home.path().join("tree/dir with space/ünï");
    std::fs::create_dir_all(&tree).unwrap();
    for name in names {
        std::fs::write(tree.join(name), name).unwrap();
    }
    std::fs::write(tree.join("empty"), "").unwrap();
    // As on AWS, which takes no other signatures for buckets of today.
    aws(&["configure", "set", "default.s3.signature_version", "s3v4"]);
    aws(&["s3", "mb", "s3://odd"]);
    aws(&["s3", "sync", "tree", "s3://odd/up"]);
    assert_eq!(aws(&["s3", "sync", "tree", "s3://odd/up"]), "", "nothing is left to do");
    aws(&["s3", "sync", "s3://odd/up", "s3://odd/copy"]);
    aws(&["s3", "mv", "--recursive", "s3://odd/copy", "s3://odd/moved"]);
    aws(&["s3", "sync", "s3://odd/moved", "back"]);
    for name in names {
        let back = home.path().join("back/dir with space/ünï").join(name);
        assert_eq!(std::fs::read_to_string(back).unwrap(), name);
        let url = aws(&["s3", "presign", &format!("s3://odd/up/dir with space/ünï/{name}")]);
        let fetch = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1]).read())";
        let got = client(&tools, "python3", home.path()).args(["-c", fetch, url.trim()]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&got.stdout), name, "{}", String::from_utf8_lossy(&got.stderr));
    }
    assert_eq!(std::fs::read(home.path().join("back/dir with space/ünï/empty")).unwrap(), b"");
    aws(&["s3", "rm", "--recursive", "s3://odd/moved"]);
    let left = aws(&["s3", "ls", "--recursive", "s3://odd"]);
    assert_eq!(left.lines().count(), names.len() + 1, "{left}");
    aws(&["s3", "rb", "--force", "s3://odd"]);
}

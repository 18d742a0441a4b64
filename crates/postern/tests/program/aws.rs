//! AWS's API from outside, spoken by hand so that cases can also speak it wrongly; and boto3, for those that are about
//! what real clients make of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::{Timestamp, client};
use serde_json::{Value, json};

use crate::harness::{Ran, tools};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who calls the API.
#[derive(Clone, Debug)]
pub struct Aws {
    pub host: String,
    pub region: String,
    pub key: String,
    pub secret: String,
    pub token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code and sentence of an error.
    #[track_caller]
    pub fn refusal(&self) -> (String, String) {
        let (code, message, _) = client::decode_error(&self.text())
            .unwrap_or_else(|| panic!("no error: {} {}", self.status, self.text()));
        (code, message)
    }
}

/// A request that did not work, in AWS's words.
#[derive(Debug)]
pub enum Failed {
    /// It was refused.
    Refused(String, String),
    /// Nobody answered.
    Silence,
}

impl Aws {
    /// Runs a script of Python's with boto3, in an environment that has this region and nothing else.
    pub fn boto3(&self, script: &str) -> Ran {
        let mut command = Command::new(tools().join("bin/python3"));
        command.args(["-c", script]).env_clear().envs([
            ("PATH", "/usr/bin:/bin"),
            ("AWS_ENDPOINT_URL", &format!("http://{}", self.host)),
            ("AWS_ACCESS_KEY_ID", &self.key),
            ("AWS_SECRET_ACCESS_KEY", &self.secret),
            ("AWS_DEFAULT_REGION", &self.region),
        ]);
        Ran::of(command, b"")
    }

    /// What `postern env --output json` says.
    pub fn from_environment(variables: &Value) -> Self {
        let variable = |name: &str| {
            variables[name].as_str().unwrap_or_else(|| panic!("no {name}: {variables}")).to_owned()
        };
        Self {
            host: variable("AWS_ENDPOINT_URL").strip_prefix("http://").unwrap().to_owned(),
            region: variable("AWS_DEFAULT_REGION"),
            key: variable("AWS_ACCESS_KEY_ID"),
            secret: variable("AWS_SECRET_ACCESS_KEY"),
            token: None,
        }
    }

    /// Calls an operation of a query service, whatever comes of it.
    pub fn try_call(&self, service: &str, operation: &str, parameters: &Value) -> Result<Value, Failed> {
        let tables =
            postern_wire::SERVICES.iter().find(|known| known.name == service).expect("a query service");
        let form = client::encode(tables, operation, parameters)
            .unwrap_or_else(|error| panic!("{operation}: {error}"));
        let answer = self.send(service, &form.to_body(), now_milliseconds()).ok_or(Failed::Silence)?;
        if answer.status == 200 {
            return Ok(client::decode(tables, operation, &answer.text()).unwrap());
        }
        let (code, message) = answer.refusal();
        Err(Failed::Refused(code, message))
    }

    /// The same, which must work.
    #[track_caller]
    pub fn call(&self, service: &str, operation: &str, parameters: Value) -> Value {
        self.try_call(service, operation, &parameters)
            .unwrap_or_else(|failed| panic!("{operation}: {failed:?}"))
    }

    /// An operation of EC2 that must work.
    #[track_caller]
    pub fn ec2(&self, operation: &str, parameters: Value) -> Value {
        self.call("ec2", operation, parameters)
    }

    /// An operation that must be refused.
    #[track_caller]
    pub fn refused(&self, service: &str, operation: &str, parameters: Value) -> (String, String) {
        match self.try_call(service, operation, &parameters) {
            Err(Failed::Refused(code, message)) => (code, message),
            other => panic!("{operation} was not refused: {other:?}"),
        }
    }

    /// Sends a signed form; none if nobody answers.
    pub fn send(&self, service: &str, form: &str, at_milliseconds: i64) -> Option<Answer> {
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        self.request(service, "POST", "/", "", &headers, form.as_bytes(), at_milliseconds)
    }

    /// A request to S3, in path style.
    pub fn s3(&self, method: &str, path: &str, query: &str, body: &[u8]) -> Option<Answer> {
        self.request("s3", method, path, query, &[], body, now_milliseconds())
    }

    /// A request to S3 with one more header and no body.
    pub fn with_header(&self, method: &str, path: &str, header: (&'static str, &str)) -> Answer {
        let sent = self.request("s3", method, path, "", &[header], b"", now_milliseconds());
        sent.expect("an answer")
    }

    /// What to ask S3 for under this host name, signed in the URL for ten minutes.
    pub fn presigned(&self, host: &str, path: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host).unwrap());
        let secret = SecretAccessKey::new(&self.secret);
        let signer = Signer {
            access_key_id: &self.key,
            secret: &secret,
            session_token: None,
            region: &self.region,
            service: "s3",
        };
        let parts = RequestParts { method: "GET", path, query: "", headers: &headers };
        let query = signer.presign(&parts, 600, Timestamp::from_millis(now_milliseconds())).unwrap();
        format!("{path}?{query}")
    }

    /// A signed request; none if there is no whole answer.
    #[expect(clippy::too_many_arguments, reason = "these are the parts of a request")]
    pub fn request(
        &self,
        service: &str,
        method: &str,
        path: &str,
        query: &str,
        extra: &[(&'static str, &str)],
        body: &[u8],
        at_milliseconds: i64,
    ) -> Option<Answer> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(&self.host).unwrap());
        for (name, value) in extra {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let secret = SecretAccessKey::new(&self.secret);
        let signer = Signer {
            access_key_id: &self.key,
            secret: &secret,
            session_token: self.token.as_deref(),
            region: &self.region,
            service,
        };
        let parts = RequestParts { method, path, query, headers: &headers };
        let signed =
            signer.sign(&parts, &Signer::hash(body), Timestamp::from_millis(at_milliseconds)).unwrap();
        headers.extend(signed.headers);
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let lines: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        exchange(&self.host, method, &target, &lines, body)
    }

    /// The page of Postern's own at this path.
    pub fn page(host: &str, method: &str, path: &str) -> Option<Answer> {
        exchange(host, method, path, &[("host".to_owned(), host.to_owned())], b"")
    }

    /// What instances are launched from.
    pub fn image(&self) -> String {
        let images = self.ec2("DescribeImages", json!({}));
        images["Images"][0]["ImageId"].as_str().expect("an image").to_owned()
    }
}

/// One request and its answer; none if the connection gave out before a whole answer was there.
pub fn exchange(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: &[u8],
) -> Option<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).ok()?;
    // Whoever refuses early may not read all of it.
    let _ = stream.write_all(body);
    read_answer(&mut BufReader::new(stream), method)
}

/// Reads one answer with a length, in pieces, or to the end.
pub fn read_answer(from: &mut impl BufRead, method: &str) -> Option<Answer> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line.to_ascii_lowercase());
    }
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(|value| value.trim().to_owned()))
    };
    let mut body = Vec::new();
    if method == "HEAD" || status == 204 {
        return Some(Answer { status, body });
    }
    if header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let length = usize::from_str_radix(line.trim(), 16).ok()?;
            let mut piece = vec![0; length + 2];
            from.read_exact(&mut piece).ok()?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&piece[..length]);
        }
    } else if let Some(length) = header("content-length") {
        body.resize(length.parse().ok()?, 0);
        from.read_exact(&mut body).ok()?;
    } else {
        from.read_to_end(&mut body).ok()?;
    }
    Some(Answer { status, body })
}

pub fn now_milliseconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// A Python with boto3 that does what it is told, a line of JSON each.
pub struct Boto {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

const DRIVER: &str = include_str!("driver.py");

impl Boto {
    pub fn new(aws: &Aws) -> Self {
        let mut command = Command::new(tools().join("bin/python3"));
        command.args(["-c", DRIVER]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        command
            .env("AWS_ENDPOINT_URL", format!("http://{}", aws.host))
            .env("AWS_DEFAULT_REGION", &aws.region);
        command.env("AWS_ACCESS_KEY_ID", &aws.key).env("AWS_SECRET_ACCESS_KEY", &aws.secret);
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = child.stdin.take();
        let from = BufReader::new(child.stdout.take().unwrap());
        Self { child, to, from }
    }

    /// Calls a method of a client, or waits with one of its waiters ("wait:NAME").
    #[track_caller]
    pub fn call(&mut self, service: &str, method: &str, parameters: Value) -> Value {
        let line = json!({ "service": service, "method": method, "parameters": parameters });
        let to = self.to.as_mut().unwrap();
        writeln!(to, "{line}").unwrap();
        to.flush().unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        let answer: Value = serde_json::from_str(&answer).expect("boto3 answers");
        assert!(answer.get("error").is_none(), "{service}.{method}: {answer}");
        answer["result"].clone()
    }
}

impl Drop for Boto {
    fn drop(&mut self) {
        // It ends at the end of its input.
        drop(self.to.take());
        let _ = self.child.wait();
    }
}

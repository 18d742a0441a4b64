//! A client of one connection that signs its requests beforehand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::timestamp::Timestamp;

/// The region that all servers are in.
pub const REGION: &str = "us-east-1";
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of a response's head.
const MOST_LINES: usize = 100;
/// What the body of an EC2 request is.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");

/// What the body of a DynamoDB request is.
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// As whom, and which service is asked.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Names the key.
    pub access_key: String,
    /// The key.
    pub secret: String,
    /// As signatures have it.
    pub service: &'static str,
}

impl Caller {
    /// The name that the service is asked by.
    fn host(&self) -> String {
        format!("{}.{REGION}.amazonaws.com", self.service)
    }
}

/// The head of a request, signed.
pub struct Prepared(Vec<u8>);

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
    caller: Caller,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr, caller: Caller) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(256 << 10, stream), caller })
    }

    /// Signs a request, body included.
    pub fn prepare(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Prepared> {
        self.sign(method, path, HeaderMap::from_iter([(CONTENT_TYPE, FORM)]), body)
    }

    /// Signs a request of a JSON protocol.
    pub fn prepare_json(&self, target: &str, body: &[u8]) -> anyhow::Result<Prepared> {
        let target = (HeaderName::from_static("x-amz-target"), HeaderValue::from_str(target)?);
        self.sign("POST", "/", HeaderMap::from_iter([(CONTENT_TYPE, JSON), target]), body)
    }

    fn sign(
        &self,
        method: &str,
        path: &str,
        mut headers: HeaderMap,
        body: &[u8],
    ) -> anyhow::Result<Prepared> {
        let host = self.caller.host();
        headers.insert(HOST, HeaderValue::from_str(&host)?);
        let secret = SecretAccessKey::new(&self.caller.secret);
        let signer = Signer {
            access_key_id: &self.caller.access_key,
            secret: &secret,
            session_token: None,
            region: REGION,
            service: self.caller.service,
        };
        let parts = RequestParts { method, path, query: "", headers: &headers };
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let signed = signer.sign(&parts, &Signer::hash(body), Timestamp::from_millis(now))?;
        let length = body.len();
        let mut head = format!("{method} {path} HTTP/1.1\r\ncontent-length: {length}\r\n");
        for (name, value) in headers.iter().chain(&signed.headers) {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        head.push_str("\r\n");
        Ok(Prepared(head.into_bytes()))
    }

    /// Sends a request, and reads its answer to the end. Returns how long its body was.
    pub fn send(&mut self, prepared: &Prepared, body: &[u8]) -> anyhow::Result<usize> {
        self.exchange(prepared, body, &mut std::io::sink())
    }

    /// Sends a request, and returns its answer's body.
    pub fn fetch(&mut self, prepared: &Prepared, body: &[u8]) -> anyhow::Result<String> {
        let mut answer = Vec::new();
        self.exchange(prepared, body, &mut answer)?;
        Ok(String::from_utf8(answer)?)
    }

    /// Signs and sends a request.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let prepared = self.prepare(method, path, body)?;
        self.fetch(&prepared, body)
    }

    fn exchange(&mut self, prepared: &Prepared, body: &[u8], into: &mut impl Write) -> anyhow::Result<usize> {
        let stream = self.reader.get_mut();
        stream.write_all(&prepared.0)?;
        stream.write_all(body)?;
        self.answer(into)
    }

    fn answer(&mut self, into: &mut impl Write) -> anyhow::Result<usize> {
        let mut status = String::new();
        self.reader.read_line(&mut status).context("no answer came")?;
        let mut length = 0;
        let mut chunked = false;
        for _ in 0..MOST_LINES {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length:") {
                length = text.trim().parse()?;
            }
            chunked |= line.starts_with("transfer-encoding:");
        }
        let accepted = status.split_whitespace().nth(1) == Some("200");
        let mut complaint = Vec::new();
        let into: &mut dyn Write = if accepted { into } else { &mut complaint };
        let got = if chunked { self.chunks(into)? } else { self.copy(length, into)? };
        if !accepted {
            bail!("the server answered `{}`: {}", status.trim(), String::from_utf8_lossy(&complaint));
        }
        Ok(got)
    }

    fn chunks(&mut self, into: &mut dyn Write) -> anyhow::Result<usize> {
        let mut sum = 0;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).context("a malformed piece")?;
            sum += self.copy(length, into)?;
            self.copy(2, &mut std::io::sink())?;
            if length == 0 {
                return Ok(sum);
            }
        }
    }

    fn copy(&mut self, length: usize, into: &mut dyn Write) -> anyhow::Result<usize> {
        let copied = std::io::copy(&mut self.reader.by_ref().take(length as u64), into)?;
        anyhow::ensure!(copied == length as u64, "the answer ended early");
        Ok(length)
    }
}

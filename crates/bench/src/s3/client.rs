//! A client of one connection that signs its requests beforehand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use http::header::{HOST, HeaderMap, HeaderValue};
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::timestamp::Timestamp;

use super::server::{ACCESS_KEY, REGION, SECRET};

/// The name that both servers are asked by.
const NAME: &str = "s3.us-east-1.amazonaws.com";
const PATIENCE: Duration = Duration::from_secs(20);
/// Lines of a response's head.
const MOST_LINES: usize = 100;

/// The head of a request, signed.
pub struct Prepared(Vec<u8>);

/// A connection.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::with_capacity(256 << 10, stream) })
    }

    /// Signs a request, body included.
    pub fn prepare(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Prepared> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static(NAME));
        let secret = SecretAccessKey::new(SECRET);
        let signer = Signer {
            access_key_id: ACCESS_KEY,
            secret: &secret,
            session_token: None,
            region: REGION,
            service: "s3",
        };
        let parts = RequestParts { method, path, query: "", headers: &headers };
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let signed = signer.sign(&parts, &Signer::hash(body), Timestamp::from_millis(now))?;
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in &signed.headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        head.push_str("\r\n");
        Ok(Prepared(head.into_bytes()))
    }

    /// Sends a request, and reads its answer to the end. Returns how long its body was.
    pub fn send(&mut self, prepared: &Prepared, body: &[u8]) -> anyhow::Result<usize> {
        let stream = self.reader.get_mut();
        stream.write_all(&prepared.0)?;
        stream.write_all(body)?;
        self.answer()
    }

    /// Both.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<usize> {
        let prepared = self.prepare(method, path, body)?;
        self.send(&prepared, body)
    }

    fn answer(&mut self) -> anyhow::Result<usize> {
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
        let got = if chunked { self.chunks()? } else { self.skip(length)? };
        if status.split_whitespace().nth(1) != Some("200") {
            bail!("the server answered `{}`", status.trim());
        }
        Ok(got)
    }

    fn chunks(&mut self) -> anyhow::Result<usize> {
        let mut sum = 0;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16).context("a malformed piece")?;
            sum += self.skip(length)?;
            self.skip(2)?;
            if length == 0 {
                return Ok(sum);
            }
        }
    }

    fn skip(&mut self, length: usize) -> anyhow::Result<usize> {
        let copied = std::io::copy(&mut self.reader.by_ref().take(length as u64), &mut std::io::sink())?;
        anyhow::ensure!(copied == length as u64, "the answer ended early");
        Ok(length)
    }
}

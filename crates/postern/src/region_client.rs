//! A region as a client sees it: its API over HTTP, and its control socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderValue};
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::{Timestamp, client};
use serde_json::Value;

use crate::control::client::Client;
use crate::control::{Reply, Request};
use crate::paths::StateDir;
use crate::region::now_milliseconds;

/// How long the API may take over an answer.
const API_PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// A running region.
pub struct RegionClient {
    state_dir: StateDir,
    /// What points programs at it.
    environment: Vec<(String, String)>,
}

/// What the API said instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRefusal {
    /// AWS's code.
    pub code: String,
    /// AWS's sentence.
    pub message: String,
}

impl RegionClient {
    /// The region of a state directory, as the root user of its first account.
    pub fn connect(state_dir: &StateDir) -> anyhow::Result<Self> {
        let environment = environment(state_dir, None)?;
        Ok(Self { state_dir: state_dir.clone(), environment })
    }

    /// What points programs at it.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A variable of the environment.
    pub fn variable(&self, name: &str) -> anyhow::Result<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).with_context(|| format!("the region gives no {name}"))
    }

    /// A new connection to the control socket.
    pub fn control(&self) -> anyhow::Result<Client> {
        Client::connect(&self.state_dir)
    }

    /// Calls an operation of a query service as the root user of an account.
    pub fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> anyhow::Result<Result<Value, ApiRefusal>> {
        let tables = postern_wire::SERVICES.iter().find(|known| known.name == service);
        let tables = tables.with_context(|| format!("`{service}` is not a query service of Postern's"))?;
        let form = client::encode(tables, operation, parameters)?;
        let other = account.map(|account| environment(&self.state_dir, Some(account))).transpose()?;
        let (status, body) =
            self.post(other.as_deref().unwrap_or(&self.environment), service, &form.to_body())?;
        if status == 200 {
            return Ok(Ok(client::decode(tables, operation, &body)?));
        }
        let (code, message, _) = client::decode_error(&body)
            .with_context(|| format!("status {status} without an error: {body}"))?;
        Ok(Err(ApiRefusal { code, message }))
    }

    fn post(
        &self,
        environment: &[(String, String)],
        service: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let variable = |name: &str| -> anyhow::Result<&str> {
            let found = environment.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).with_context(|| format!("the region gives no {name}"))
        };
        let url = variable("AWS_ENDPOINT_URL")?;
        let host = url.strip_prefix("http://").with_context(|| format!("`{url}` is not plain HTTP"))?;
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_str(host)?);
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        let secret = SecretAccessKey::new(variable("AWS_SECRET_ACCESS_KEY")?);
        let signer = Signer {
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret: &secret,
            session_token: None,
            region: variable("AWS_DEFAULT_REGION")?,
            service,
        };
        let parts = RequestParts { method: "POST", path: "/", query: "", headers: &headers };
        let now = i64::try_from(now_milliseconds()).unwrap_or(i64::MAX);
        let signed = signer.sign(&parts, &Signer::hash(body.as_bytes()), Timestamp::from_millis(now))?;
        headers.extend(signed.headers);
        exchange(host, &headers, body)
    }
}

fn environment(state_dir: &StateDir, account: Option<&str>) -> anyhow::Result<Vec<(String, String)>> {
    let request = Request::Environment { account: account.map(str::to_owned) };
    match Client::connect(state_dir)?.ask(&request, &[])? {
        Reply::Environment(variables) => Ok(variables),
        other => bail!("the region gave an answer to another question: {other:?}"),
    }
}

/// One request and its answer, on a connection of its own.
fn exchange(host: &str, headers: &HeaderMap, body: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(host).with_context(|| format!("cannot connect to `{host}`"))?;
    stream.set_read_timeout(Some(API_PATIENCE))?;
    let mut head = String::from("POST / HTTP/1.0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    // An answer to HTTP/1.0 ends with its connection.
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).context("the API does not answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the API's answer is not HTTP")?;
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    Ok((status.with_context(|| format!("no status in `{head}`"))?, body.to_owned()))
}

//! One HTTP request at a time to a region's API, over TCP or TLS.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::{HeaderMap, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long the API may take over an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Where AWS's own programs are told whom to trust.
const CA_VARIABLE: &str = "AWS_CA_BUNDLE";

/// Where an API is.
#[derive(Debug, Clone)]
pub struct Api {
    /// Name or address, as it is connected to.
    name: String,
    port: u16,
    /// As the `Host` header says it.
    host: String,
    tls: Option<Trust>,
}

/// Whom to trust.
#[derive(Clone)]
struct Trust {
    file: String,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.host)
    }
}

impl Api {
    /// The API at `http://HOST[:PORT]` or `https://HOST[:PORT]`. For the latter the environment's AWS_CA_BUNDLE says
    /// whom to trust, as it does for `aws`.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let form = || format!("`{url}` is not the URL of a region (such as `http://127.0.0.1:4566`)");
        let uri: Uri = url.parse().with_context(form)?;
        let authority = uri.authority().with_context(form)?;
        let plain = match uri.scheme_str() {
            Some("http") => true,
            Some("https") => false,
            _ => bail!(form()),
        };
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            bail!("{}: it has more than a host and a port", form());
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.port_u16() {
            Some(port) => port,
            // What stands behind the host is no port.
            None if authority.as_str() != authority.host() => bail!(form()),
            None if plain => 80,
            None => 443,
        };
        let tls = if plain { None } else { Some(Trust::from_environment()?) };
        Ok(Self { name, port, host: authority.as_str().to_owned(), tls })
    }

    /// What the `Host` header says.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The file that says whom to trust.
    pub fn ca_bundle(&self) -> Option<&str> {
        self.tls.as_ref().map(|trust| trust.file.as_str())
    }

    /// One request and its answer, on a connection of its own.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let mut head = format!("{method} {path} HTTP/1.0\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let stream = TcpStream::connect((self.name.as_str(), self.port))
            .with_context(|| format!("cannot connect to `{}`", self.host))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let answer = match &self.tls {
            None => speak(stream, &head, body),
            Some(trust) => {
                let name = ServerName::try_from(self.name.clone())
                    .with_context(|| format!("`{}` is no name for a certificate", self.name))?;
                let connection = ClientConnection::new(Arc::clone(&trust.config), name)?;
                let trusted = || format!("over TLS, trusting `{}` ({CA_VARIABLE})", trust.file);
                speak(StreamOwned::new(connection, stream), &head, body).with_context(trusted)
            }
        }?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the API's answer is not HTTP")?;
        let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok());
        Ok((status.with_context(|| format!("no status in `{head}`"))?, body.to_owned()))
    }
}

fn speak(mut stream: impl Read + Write, head: &str, body: &str) -> anyhow::Result<String> {
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()))?;
    let mut answer = String::new();
    // An answer to HTTP/1.0 ends with its connection.
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).context("the API does not answer")?;
    Ok(answer)
}

impl Trust {
    fn from_environment() -> anyhow::Result<Self> {
        let file = std::env::var(CA_VARIABLE).ok().filter(|file| !file.is_empty());
        let file = file.with_context(|| {
            format!(
                "a region's certificate comes from its own CA: set {CA_VARIABLE} to a copy of its `ca.pem`"
            )
        })?;
        let read = || format!("{CA_VARIABLE}: `{file}` cannot be read as certificates");
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&file).with_context(read)? {
            roots.add(certificate.with_context(read)?).with_context(read)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { file, config: Arc::new(config) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_is_a_host_and_a_port() {
        let api = |url: &str| Api::parse(url).map(|api| (api.name, api.port, api.host));
        let all = |name: &str, port, host: &str| (name.to_owned(), port, host.to_owned());
        assert_eq!(api("http://127.0.0.1:4566").unwrap(), all("127.0.0.1", 4566, "127.0.0.1:4566"));
        assert_eq!(api("http://localhost/").unwrap(), all("localhost", 80, "localhost"));
        assert_eq!(api("http://[::1]:4566").unwrap(), all("::1", 4566, "[::1]:4566"));
        for url in [
            "",
            "4566",
            "127.0.0.1:4566",
            "ftp://x",
            "http://a@b",
            "http://x/y",
            "http://x?y",
            "http://x:99999",
        ] {
            let error = format!("{:#}", Api::parse(url).unwrap_err());
            assert!(error.contains(&format!("`{url}` is not the URL of a region")), "{error}");
        }
    }
}

//! One post of a message to an endpoint.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use postern_services::sns::envelope::Envelope;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// "15 seconds", for connection, request and answer together.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of an answer is read to find its status.
const MOST_ANSWER_BYTES: usize = 1_024;
/// Where the host has the authorities that it trusts, and the variable that says otherwise, as OpenSSL knows it.
const TRUSTED: (&str, &str) = ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt");

/// Why a post did not succeed.
pub enum Failure {
    /// It may later.
    Again(String),
    /// It never will.
    Final(String),
}

/// An endpoint.
pub struct Target {
    tls: bool,
    /// Name or address.
    host: String,
    port: u16,
    /// As the `Host` header says it.
    authority: String,
    path: String,
}

impl Target {
    /// The endpoint of a URL.
    pub fn parse(endpoint: &str) -> Result<Self, String> {
        let uri: Uri = endpoint.parse().map_err(|_| format!("`{endpoint}` is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("`{endpoint}` is not a URL of http or https")),
        };
        let authority = uri.authority().ok_or_else(|| format!("`{endpoint}` names no host"))?;
        if authority.as_str().contains('@') {
            return Err("a user's name in a URL is not supported by this endpoint yet".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(format!("`{endpoint}` names no host"));
        }
        let port = match authority.port_u16() {
            Some(port) => port,
            None if authority.as_str() != authority.host() => {
                return Err(format!("`{endpoint}` has no port"));
            }
            None if tls => 443,
            None => 80,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Its address, where no name has to be looked up.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

/// Posts a message, if the endpoint is where it may go to.
pub async fn post(
    target: &Target,
    envelope: &Envelope,
    may_go_to: impl Fn(SocketAddr) -> bool,
) -> Result<(), Failure> {
    let again = |why: &dyn std::fmt::Display| Failure::Again(why.to_string());
    let posted = tokio::time::timeout(PATIENCE, async {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((target.host.as_str(), target.port))
            .await
            .map_err(|error| again(&error))?
            .collect();
        let Some(address) = addresses.into_iter().find(|address| may_go_to(*address)) else {
            return Err(Failure::Final("this region posts no messages there".to_owned()));
        };
        let stream = TcpStream::connect(address).await.map_err(|error| again(&error))?;
        match target.tls {
            true => speak(over_tls(target, stream).await?, target, envelope).await,
            false => speak(stream, target, envelope).await,
        }
    });
    posted.await.unwrap_or_else(|_| Err(again(&"it took more than 15 seconds")))
}

/// "Amazon SNS delivers to HTTPS endpoints whose certificate an authority that it trusts has signed": here one that the
/// host trusts.
async fn over_tls(
    target: &Target,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let failed = |what: &str, why: &dyn std::fmt::Display| Failure::Again(format!("{what}: {why}"));
    let config = tokio::task::spawn_blocking(trust)
        .await
        .map_err(|error| failed("the host's authorities", &error))?
        .map_err(|why| failed("the host's authorities", &why))?;
    let name = ServerName::try_from(target.host.clone())
        .map_err(|error| Failure::Final(format!("no certificate can be for `{}`: {error}", target.host)))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| failed("TLS", &error))
}

/// Read at each delivery: what the host trusts may change.
fn trust() -> Result<ClientConfig, String> {
    let (variable, usual) = TRUSTED;
    let file =
        std::env::var(variable).ok().filter(|file| !file.is_empty()).unwrap_or_else(|| usual.to_owned());
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(&file).map_err(|error| format!("`{file}`: {error}"))?;
    // One that cannot be read vouches for nobody.
    roots.add_parsable_certificates(found.flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn speak(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    target: &Target,
    envelope: &Envelope,
) -> Result<(), Failure> {
    let headers: String =
        envelope.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Amazon Simple Notification Service Agent\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
        target.path,
        target.authority,
        envelope.body.len()
    );
    let broken = |error: std::io::Error| Failure::Again(error.to_string());
    stream.write_all(head.as_bytes()).await.map_err(broken)?;
    stream.write_all(envelope.body.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < MOST_ANSWER_BYTES {
        let mut more = [0; 256];
        let read = stream.read(&mut more).await.map_err(broken)?;
        if read == 0 {
            break;
        }
        answer.extend(more.iter().take(read));
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        // "Client-side errors … are not retried", too many requests apart.
        Some(status @ 400..=499) if status != 429 => {
            Err(Failure::Final(format!("the endpoint answers {status}")))
        }
        Some(status) => Err(Failure::Again(format!("the endpoint answers {status}"))),
        None => Err(Failure::Again("the endpoint's answer is not HTTP".to_owned())),
    }
}

/// The status of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.trim_end().parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http_or_https() {
        let of = |url: &str| Target::parse(url).map(|t| (t.tls, t.host, t.port, t.authority, t.path));
        let all = |tls, host: &str, port, authority: &str, path: &str| {
            Ok((tls, host.to_owned(), port, authority.to_owned(), path.to_owned()))
        };
        assert_eq!(of("http://a.example/x?y=1"), all(false, "a.example", 80, "a.example", "/x?y=1"));
        assert_eq!(of("https://[::1]:8443"), all(true, "::1", 8443, "[::1]:8443", "/"));
        for wrong in
            ["", "a.example", "ftp://a.example/", "http://user@a.example/", "http:///x", "http://a:99999/"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_with_line_ends_is_none() {
        assert!(Target::parse("http://127.0.0.1/x\r\nHost: y").is_err());
        assert!(Target::parse("http://127.0.0.1/x y").is_err());
    }
}

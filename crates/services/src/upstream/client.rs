//! A request to an upstream and its answer: HTTP/1.1 over TCP or TLS, a connection for each.
//!
//! INVARIANT: nothing is waited for without an end, and the answer is handed on as it comes, never kept as a whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an upstream may think about a request before it begins to answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(60);

/// Headers that are about one connection and no other (RFC 9110, section 7.6.1).
const OF_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Headers by which some servers take another method or path than the request has.
const OVERRIDES: [&str; 5] =
    ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];

/// Where certificates are that hosts trust: Debian's and Red Hat's files, unless `SSL_CERT_FILE` names another.
const ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("`{authority}` cannot be connected to")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It takes too long.
    #[error("{what} took longer than {}s", limit.as_secs())]
    Late {
        /// What.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// What came is not an answer.
    #[error("the answer cannot be read")]
    Http(#[from] hyper::Error),
    /// The certificate cannot be asked for, or nobody is trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of certificates cannot be read.
    #[error("no certificates can be read from `{path}`: set SSL_CERT_FILE for `postern up`")]
    Roots {
        /// The file.
        path: String,
    },
    /// The TLS library refuses its own defaults.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The host has no name that a certificate could be for.
    #[error("no certificate can be for that host")]
    Name(#[from] InvalidDnsNameError),
}

/// The certificates that this host trusts.
///
/// # Errors
/// Where there are none.
pub fn host_roots() -> Result<RootCertStore, TrustError> {
    let told = std::env::var("SSL_CERT_FILE").ok();
    let usual =
        || ROOTS.iter().find(|path| std::path::Path::new(path).is_file()).map(|path| (*path).to_owned());
    let path = told.or_else(usual).unwrap_or_else(|| ROOTS[0].to_owned());
    let mut roots = RootCertStore::empty();
    if let Ok(certificates) = CertificateDer::pem_file_iter(&path) {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    if roots.is_empty() { Err(TrustError::Roots { path }) } else { Ok(roots) }
}

/// The way to one upstream.
pub(super) struct Client {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
}

impl Client {
    /// To a URL that the model has checked.
    pub fn new(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = uri.scheme_str() == Some("https");
        let authority = uri.authority()?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(Self { tls, host, port, authority: authority.as_str().to_owned() })
    }

    /// What a request to it has as its host.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks, and gives the answer with its body still to come.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Incoming>, ClientError> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let late = |_| ClientError::Late { what: "connecting", limit: CONNECT_PATIENCE };
        let connected = timeout(CONNECT_PATIENCE, connecting).await.map_err(late)?;
        let stream = connected.map_err(|source| self.unreachable(source))?;
        // Small requests are not held back for more.
        stream.set_nodelay(true).map_err(|source| self.unreachable(source))?;
        if !self.tls {
            return exchange(stream, request).await;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::from)?
            .with_root_certificates(host_roots()?)
            .with_no_client_auth();
        let name = ServerName::try_from(self.host.clone()).map_err(TrustError::from)?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let connected = timeout(CONNECT_PATIENCE, connecting).await.map_err(late)?;
        exchange(connected.map_err(|source| self.unreachable(source))?, request).await
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        ClientError::Connect { authority: self.authority.clone(), source }
    }
}

/// How much of a page is read.
const PAGE_BYTES_MAX: usize = 64 * 1024;

/// What stands at a path of a URL, where there is a page of text.
pub async fn page_at(url: &str, path: &str) -> Option<String> {
    let client = Client::new(url)?;
    let request =
        Request::builder().uri(path).header(header::HOST, client.authority()).body(Bytes::new()).ok()?;
    let answer = client.ask(request).await.ok().filter(|answer| answer.status().is_success())?;
    let body = Limited::new(answer.into_body(), PAGE_BYTES_MAX).collect();
    let body = timeout(CONNECT_PATIENCE, body).await.ok()?.ok()?;
    String::from_utf8(body.to_bytes().into()).ok()
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Bytes>,
) -> Result<Response<Incoming>, ClientError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the body of the answer, or when nobody wants that any more.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an upstream ended early");
        }
    });
    let asking = sender.send_request(request.map(Full::new));
    let late = |_| ClientError::Late { what: "the answer", limit: ANSWER_PATIENCE };
    Ok(timeout(ANSWER_PATIENCE, asking).await.map_err(late)??)
}

/// Takes away what is about the client's connection, or what could make an upstream read another request than was
/// authorised.
pub(super) fn strip(headers: &mut HeaderMap) {
    let overrides = OVERRIDES.map(HeaderName::from_static);
    for name in OF_CONNECTION.iter().chain(&overrides) {
        headers.remove(name);
    }
}

//! One health check, from inside a load balancer's network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_dataplane::host::Namespace;
use postern_model::elb::{HealthProtocol, Matcher};
use postern_services::elbv2::health::Failure;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::check::Outcome;
use super::wanted::Wanted;

/// How much of an answer is read to find its status.
const MOST_ANSWER_BYTES: usize = 1_024;

/// Makes a check and says what came of it, within its timeout.
pub async fn probe(network: Namespace, wanted: &Wanted) -> Outcome {
    // The socket is of the network that it was made in, wherever it is used.
    let socket = tokio::task::spawn_blocking(move || network.run(TcpSocket::new_v4)).await;
    let Ok(Ok(Ok(socket))) = socket else { return Outcome::NotTried };
    let patience = Duration::from_secs(wanted.check.timeout_seconds.into());
    match tokio::time::timeout(patience, attempt(socket, wanted)).await {
        Ok(Ok(())) => Outcome::Success,
        Ok(Err(failure)) => Outcome::Failure(failure),
        Err(_) => Outcome::Failure(Failure::Timeout),
    }
}

async fn attempt(socket: TcpSocket, wanted: &Wanted) -> Result<(), Failure> {
    let stream = socket.connect(SocketAddr::V4(wanted.to)).await.map_err(|_| Failure::NoConnection)?;
    match &wanted.check.protocol {
        HealthProtocol::Tcp => Ok(()),
        HealthProtocol::Http(path, matcher) => ask(stream, wanted, path, matcher).await,
        HealthProtocol::Https(path, matcher) => ask(tls(stream, wanted).await?, wanted, path, matcher).await,
    }
}

/// "The load balancer does not validate the target's certificate."
async fn tls(
    stream: TcpStream,
    wanted: &Wanted,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Failure::NoConnection)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::V4(*wanted.to.ip()));
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|_| Failure::NoConnection)
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    wanted: &Wanted,
    path: &str,
    matcher: &Matcher,
) -> Result<(), Failure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ELB-HealthChecker/2.0\r\nConnection: close\r\n\r\n",
        wanted.to
    );
    stream.write_all(request.as_bytes()).await.map_err(|_| Failure::NoConnection)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < MOST_ANSWER_BYTES {
        let mut more = [0; 256];
        let read = stream.read(&mut more).await.map_err(|_| Failure::NoConnection)?;
        if read == 0 {
            break;
        }
        answer.extend(more.iter().take(read));
    }
    let status = status(&answer).ok_or(Failure::NoConnection)?;
    if matcher.takes(status) { Ok(()) } else { Err(Failure::Status(status)) }
}

/// The status of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.trim_end().parse().ok().filter(|status| (100..600).contains(status))
}

/// Takes every certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn the_status_is_that_of_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nX: HTTP/1.1 500\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in ["", "HTTP/2 200\n", "200 OK\n", "HTTP/1.1 abc\n", "HTTP/1.1 99\n", "HTTP/1.1 2000\n"] {
            assert_eq!(status(bad.as_bytes()), None, "{bad}");
        }
    }
}

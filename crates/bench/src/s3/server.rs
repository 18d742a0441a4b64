//! One object store on loopback, in a process of its own.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use postern_services::s3::storage::Store;
use postern_services::s3::{self, Ask, Gate, Permit, Refusal, S3Service, SecretLookup};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;

/// The one key.
pub const ACCESS_KEY: &str = "AKIABENCH";
/// Its secret.
pub const SECRET: &str = "bench-secret";
/// The region that both are in.
pub const REGION: &str = "us-east-1";

/// Whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Postern's own.
    Postern,
    /// The sample store of the protocol library.
    S3sFs,
}

impl Kind {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postern => "postern",
            Self::S3sFs => "s3s-fs",
        }
    }
}

/// Knows the one key and permits everything.
struct Open;

impl Gate for Open {
    fn secret(&self, access_key: &str) -> Option<SecretLookup> {
        (access_key == ACCESS_KEY).then(|| SecretLookup {
            secret_key: SECRET.to_owned(),
            account: "111122223333".to_owned(),
            session_token: None,
            expired: false,
        })
    }

    fn authorise(&self, _caller: &http::Extensions, _ask: &Ask) -> Result<Permit, Refusal> {
        Ok(Permit::issued_by(self))
    }
}

/// Serves until standard input ends. The address is printed first.
pub fn run(kind: Kind, directory: &Path) -> anyhow::Result<()> {
    std::thread::Builder::new().name("until-the-end".to_owned()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    })?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        std::io::stdout().flush()?;
        match kind {
            Kind::Postern => {
                let service =
                    S3Service::new(Store::open(directory)?, Arc::new(Open), s3::Options::new(REGION));
                serve(listener, move |request| {
                    let service = service.clone();
                    async move { service.call(request).await }
                })
                .await
            }
            Kind::S3sFs => {
                let store = s3s_fs::FileSystem::new(directory)
                    .map_err(|error| anyhow::anyhow!("s3s-fs cannot use its directory: {error:?}"))?;
                let mut builder = S3ServiceBuilder::new(store);
                builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET));
                let service = builder.build();
                serve(listener, move |request: hyper::Request<Incoming>| {
                    let service = service.clone();
                    async move {
                        let failed = |_| hyper::Response::builder().status(500).body(s3s::Body::empty());
                        match service.call(request.map(s3s::Body::from)).await {
                            Ok(response) => response,
                            Err(error) => failed(error).unwrap_or_default(),
                        }
                    }
                })
                .await
            }
        }
    })
}

/// The same loop for both.
async fn serve<F, R>(listener: TcpListener, answer: F) -> anyhow::Result<()>
where
    F: Fn(hyper::Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = hyper::Response<s3s::Body>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            // A client that goes away is no error of ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

//! S3 alone on loopback, behind a small fixed gate: for development and for the tests.
//!
//! `cargo run -p postern-services --example s3_standalone -- DIRECTORY [REGION [PORT]]`
//!
//! Keys (access key id, secret, account):
//! - `AKIAOWNER`, `owner-secret`, 111122223333: may do everything in its own account.
//! - `AKIALIMITED`, `limited-secret`, 111122223333: may get, put and delete objects, but not list.
//! - `AKIAOTHER`, `other-secret`, 444455556666: may do everything in its own account.
//! - `ASIATEMP`, `temp-secret`, token `temp-token`: as `AKIAOWNER`, with temporary credentials.
//! - `ASIAEXPIRED`, `expired-secret`, token `expired-token`: expired.
//!
//! Anybody may get objects of a bucket whose policy holds the word `everybody`.

use std::path::Path;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use postern_services::s3::storage::Store;
use postern_services::s3::{
    Ask, Caller, Enforceable, Gate, Options, Permit, Refusal, S3Service, SecretLookup,
};
use tokio::net::TcpListener;

/// The fixed gate.
pub struct DevGate;

impl Gate for DevGate {
    fn secret(&self, access_key: &str, _token: Option<&str>) -> Option<SecretLookup> {
        let (secret, account, token, expired) = match access_key {
            "AKIAOWNER" => ("owner-secret", "111122223333", None, false),
            "AKIALIMITED" => ("limited-secret", "111122223333", None, false),
            "AKIAOTHER" => ("other-secret", "444455556666", None, false),
            "ASIATEMP" => ("temp-secret", "111122223333", Some("temp-token"), false),
            "ASIAEXPIRED" => ("expired-secret", "111122223333", Some("expired-token"), true),
            _ => return None,
        };
        Some(SecretLookup {
            secret_key: secret.to_owned(),
            account: account.to_owned(),
            session_token: token.map(str::to_owned),
            expired,
        })
    }

    fn authorise(&self, caller: &http::Extensions, ask: &Ask) -> Result<Permit, Refusal> {
        let refusal = |who: &str| Refusal {
            message: format!(
                "User: {who} is not authorized to perform: {} on resource: \"{}\" because no identity-based policy \
                 allows the {} action",
                ask.action, ask.resource, ask.action
            ),
        };
        match caller.get::<Caller>() {
            Some(Caller::Signed { access_key, account }) => {
                let who = format!("arn:aws:iam::{account}:user/{access_key}");
                let own = ask.bucket.as_ref().is_none_or(|bucket| bucket.owner == *account);
                let limited = access_key == "AKIALIMITED"
                    && !matches!(ask.action, "s3:GetObject" | "s3:PutObject" | "s3:DeleteObject");
                if own && !limited { Ok(Permit::issued_by(self)) } else { Err(refusal(&who)) }
            }
            Some(Caller::Anonymous) => {
                let open = ask.bucket.as_ref().and_then(|bucket| bucket.policy.as_deref());
                let open = open.is_some_and(|policy| policy.contains("everybody"));
                if open && ask.action == "s3:GetObject" {
                    Ok(Permit::issued_by(self))
                } else {
                    Err(Refusal { message: "Access Denied".to_owned() })
                }
            }
            None => Err(Refusal { message: "Access Denied".to_owned() }),
        }
    }

    fn name(&self, _: &http::Extensions) -> Option<String> {
        None
    }
}

/// Serves the store in `directory` on `listener` until the process ends.
pub async fn serve(directory: &Path, region: &str, listener: TcpListener) -> std::io::Result<()> {
    let store = Store::open(directory).map_err(std::io::Error::other)?;
    let mut options = Options::new(region);
    options.policy_check = Some(Arc::new(|_bucket, document| {
        let parsed: serde_json::Value = serde_json::from_str(document)
            .map_err(|_| "Policies must be valid JSON and the first byte must be '{'")?;
        if parsed.get("Statement").is_some() {
            Ok(Enforceable { public: false })
        } else {
            Err("Missing required field Statement".to_owned())
        }
    }));
    let service = S3Service::new(store, Arc::new(DevGate), options);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: hyper::Request<Incoming>| {
                let service = service.clone();
                async move { Ok::<_, std::convert::Infallible>(service.call(request).await) }
            });
            // A client that goes away is no error of ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = || std::io::Error::other("usage: s3_standalone DIRECTORY [REGION [PORT]]");
    let directory = arguments.next().ok_or_else(usage)?;
    let region = arguments.next().unwrap_or_else(|| "us-east-1".to_owned());
    let port = arguments.next().map_or(Ok(0), |port| port.parse::<u16>()).map_err(|_| usage())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(Path::new(&directory), &region, listener).await
}

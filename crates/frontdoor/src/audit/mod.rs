//! The record of every API call: one line of JSON each, with CloudTrail's names for its main fields. What was refused
//! before a service was found has its record as well.
//!
//! INVARIANT: a record holds no secret: no signature, no secret key, no session token, no parameter but the bucket
//! and key of an S3 request.
//! Source: "CloudTrail record contents" in the CloudTrail user guide.

mod log;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::request::Parts;
use postern_path::Through;
use postern_policy::Principal;
use postern_wire::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::caller::{Caller, Origin};
use crate::metrics::{Counter, Metrics};
use crate::route::claim;

pub use log::{Log, write};

/// What is asked of Postern itself, and not of a service of AWS's.
pub const OWN_SERVICE: &str = "postern";
/// How long a name of a service may be that only the request knows.
const FOREIGN_NAME_MAX: usize = 64;

/// One API call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it was answered.
    pub event_time: String,
    /// Such as `iam.amazonaws.com`.
    pub event_source: String,
    /// Such as `CreateUser`.
    pub event_name: String,
    /// Where.
    pub aws_region: String,
    /// Who.
    pub user_identity: UserIdentity,
    /// The caller's address: the public one, or through an endpoint the private one, as CloudTrail has it.
    #[serde(rename = "sourceIPAddress", skip_serializing_if = "Option::is_none")]
    pub source_ip_address: Option<String>,
    /// The endpoint that the call came through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_id: Option<String>,
    /// That endpoint's VPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// Whose that endpoint is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_account_id: Option<String>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// What the answer is known by.
    #[serde(rename = "requestID")]
    pub request_id: String,
    /// The HTTP status of the answer.
    pub http_status: u16,
    /// AWS's code, where it was refused or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// AWS's sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Whether the operation changes nothing.
    pub read_only: bool,
    /// The bucket and key of an S3 request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_parameters: Option<BucketAndKey>,
    /// How it came, and what was decided.
    pub additional_event_data: Additional,
}

/// What CloudTrail has no field of its own for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Additional {
    /// `allowed`, `denied` (401 and 403), or `failed` for another reason.
    pub decision: &'static str,
    /// The way: `outside` of every VPC, through an `endpoint`, over the `internet`, or by the `link` of the VPC.
    pub path: &'static str,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The VPC of the interface that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_vpc_id: Option<String>,
    /// The interface that it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_interface_id: Option<String>,
    /// The instance that has that interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Whose that interface is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_account_id: Option<String>,
}

impl Additional {
    fn of(origin: &Origin, status: u16) -> Self {
        let decision = match status {
            401 | 403 => "denied",
            0..=399 => "allowed",
            _ => "failed",
        };
        let path = match origin.peer.map(|peer| peer.through) {
            None => "outside",
            Some(Through::Endpoint(..)) => "endpoint",
            Some(Through::Internet(_)) => "internet",
            Some(Through::Resolver(..) | Through::Link) => "link",
        };
        Self {
            decision,
            path,
            tls: origin.secure,
            source_vpc_id: origin.peer.map(|peer| peer.vpc.to_string()),
            network_interface_id: origin.peer.map(|peer| peer.interface.to_string()),
            instance_id: origin.peer.and_then(|peer| peer.instance).map(|instance| instance.to_string()),
            source_account_id: origin.peer.map(|peer| peer.account.to_string()),
        }
    }
}

/// What an S3 request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BucketAndKey {
    /// The bucket.
    pub bucket_name: String,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Who made a call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserIdentity {
    /// `Root`, `IAMUser`, `AssumedRole`; `Unknown` for who could not be authenticated.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// As in `aws:userid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// As AWS names the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// Its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The key that signed, or claims to have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
}

impl UserIdentity {
    /// Of an authenticated caller.
    pub fn of(caller: &Caller) -> Self {
        let (kind, arn) = match &caller.principal {
            Principal::Anonymous => ("AWSAccount", None),
            Principal::Root { .. } => ("Root", Some(caller.principal.display_name())),
            Principal::User { .. } => ("IAMUser", Some(caller.principal.display_name())),
            Principal::AssumedRole { .. } => ("AssumedRole", Some(caller.principal.display_name())),
            Principal::FederatedUser { .. } => ("FederatedUser", Some(caller.principal.display_name())),
            Principal::Federated { .. } => ("WebIdentityUser", None),
            Principal::Service { .. } => ("AWSService", None),
        };
        let principal_id = match caller.principal {
            Principal::Anonymous => Some("anonymous".to_owned()),
            Principal::Root { .. }
            | Principal::User { .. }
            | Principal::AssumedRole { .. }
            | Principal::FederatedUser { .. }
            | Principal::Federated { .. }
            | Principal::Service { .. } => caller.user_id.clone(),
        };
        Self {
            kind,
            principal_id,
            arn,
            account_id: caller.account.map(|account| account.to_string()),
            access_key_id: caller.access_key.clone(),
        }
    }

    /// Of a request's caller, or where it has none that is known, of who it claims to be from.
    pub fn behind(caller: Option<&Caller>, parts: &Parts) -> Self {
        match caller {
            Some(caller) => Self::of(caller),
            None => Self::unknown(claim(parts).map(|claim| claim.access_key_id)),
        }
    }

    /// Of somebody who claims to have this key and could not show it; without a claim, of an anonymous caller.
    pub fn unknown(access_key_id: Option<String>) -> Self {
        if access_key_id.is_none() {
            return Self::of(&Caller::anonymous());
        }
        // What is claimed is foreign text; a key id is short.
        let access_key_id = access_key_id.map(|id| id.chars().take(128).collect());
        Self { kind: "Unknown", access_key_id, ..Self::default() }
    }
}

/// What a call did, before it is put into a [`Record`].
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// When.
    pub at: Timestamp,
    /// The service, as in credential scopes.
    pub service: &'a str,
    /// The operation.
    pub operation: &'a str,
    /// Where.
    pub region: &'a str,
    /// Who.
    pub identity: UserIdentity,
    /// From where.
    pub origin: &'a Origin,
    /// The client's name for itself.
    pub user_agent: Option<&'a str>,
    /// The answer's name.
    pub request_id: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Code and sentence of a refusal.
    pub error: Option<(String, String)>,
}

impl Record {
    /// The record of a call.
    pub fn of(call: Call<'_>) -> Self {
        let Call { origin, .. } = call;
        let endpoint = origin.peer.and_then(|peer| match peer.through {
            Through::Endpoint(endpoint, vpc) => Some((peer, endpoint, vpc)),
            Through::Internet(_) | Through::Resolver(..) | Through::Link => None,
        });
        let private = origin.peer.map(|peer| peer.address.into());
        let (error_code, error_message) = call.error.unzip();
        Self {
            event_time: call.at.iso_millis(),
            event_source: event_source(call.service),
            event_name: call.operation.to_owned(),
            aws_region: call.region.to_owned(),
            user_identity: call.identity,
            source_ip_address: origin.source_ip().or(private).map(|address| address.to_string()),
            vpc_endpoint_id: endpoint.map(|(_, endpoint, _)| endpoint.to_string()),
            vpc_id: endpoint.map(|(_, _, vpc)| vpc.to_string()),
            vpc_endpoint_account_id: endpoint.map(|(peer, _, _)| peer.account.to_string()),
            user_agent: call.user_agent.map(|agent| agent.chars().take(1024).collect()),
            request_id: call.request_id.to_owned(),
            http_status: call.status,
            error_code,
            error_message: error_message.map(|message| message.chars().take(1024).collect()),
            read_only: is_read_only(call.operation),
            request_parameters: None,
            additional_event_data: Additional::of(origin, call.status),
        }
    }

    /// The record as one line.
    pub fn line(&self) -> String {
        // A record holds texts, numbers and booleans only, which always can be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// `iam.amazonaws.com`. The name of a service that is not served comes from the request, so only what can be a name of
/// one is repeated.
fn event_source(service: &str) -> String {
    let named = !service.is_empty()
        && service.len() <= FOREIGN_NAME_MAX
        && service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    match service {
        OWN_SERVICE => OWN_SERVICE.to_owned(),
        service if named => format!("{service}.amazonaws.com"),
        _ => "unknown".to_owned(),
    }
}

fn is_read_only(operation: &str) -> bool {
    const VERBS: [&str; 10] = [
        "Get",
        "List",
        "Describe",
        "Head",
        "AssumeRole",
        "Search",
        // DynamoDB's.
        "BatchGet",
        "TransactGet",
        "Query",
        "Scan",
    ];
    VERBS.iter().any(|verb| operation.starts_with(verb))
}

/// Where records go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    sender: mpsc::Sender<Record>,
    metrics: Arc<Metrics>,
    /// Records that were handed over.
    handed: Arc<AtomicU64>,
}

impl Audit {
    /// A log of at most `capacity` records on their way; when that many wait, calls wait with their answers. The metrics
    /// count no other log's records.
    pub fn channel(capacity: usize, metrics: Arc<Metrics>) -> (Self, mpsc::Receiver<Record>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender, metrics, handed: Arc::default() }, receiver)
    }

    /// Hands a record over. One that cannot be (nobody writes any more) is counted as lost.
    pub async fn record(&self, record: Record) {
        self.handed.fetch_add(1, Ordering::SeqCst);
        if self.sender.send(record).await.is_err() {
            tracing::error!("an audit record is lost: the audit log is not written any more");
            self.metrics.count(Counter::AuditLost);
        }
    }

    /// Waits until all that was handed over is written or counted as lost, but not longer than this. Says whether it
    /// is.
    pub async fn settled(&self, patience: Duration) -> bool {
        let done = || self.metrics.get(Counter::AuditWritten) + self.metrics.get(Counter::AuditLost);
        tokio::time::timeout(patience, async {
            while done() < self.handed.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .is_ok()
    }
}

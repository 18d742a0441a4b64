//! How the commands of the command line speak to the region that runs: frames of JSON over a socket in the state
//! directory, which only its owner can open, with descriptors beside them where a program needs its own.

pub mod client;
pub mod server;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cli::Protocol;

/// What `exec` and `shell` end with where it is not the program's own status, as `env` and `docker exec` do.
pub mod exit_code {
    /// Postern itself failed: there is no region, no such instance, or something went wrong on the way.
    pub const POSTERN_FAILED: u8 = 125;
    /// The program is there and cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// There is no such program.
    pub const NOT_FOUND: u8 = 127;
}

/// What a command asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// How the region is.
    Status,
    /// Stop.
    Down,
    /// Return everything to the start; for regions started with --dev or --ephemeral.
    Reset,
    /// Run a program in an instance. Its three standard descriptors come with the request.
    Exec {
        /// Where.
        instance: String,
        /// What.
        argv: Vec<String>,
        /// Rows and columns, for a program on a terminal.
        terminal: Option<(u16, u16)>,
    },
    /// Explain a flow, and what would become of a request on it.
    Trace(TraceRequest),
    /// Explain what would become of a request.
    Simulate(SimulateRequest),
    /// Explain what became of a request.
    Why {
        /// What its answer is known by.
        request_id: String,
    },
    /// Show flows.
    Flows {
        /// Whether to go on.
        follow: bool,
    },
    /// Make an account.
    CreateAccount {
        /// What to call it.
        name: String,
        /// Its digits, if they were chosen.
        id: Option<String>,
    },
    /// All accounts.
    ListAccounts,
    /// One more key for an account's root user.
    CreateRootKey {
        /// The account.
        account: String,
    },
    /// The quotas of an account, after a change if there is one.
    Quotas {
        /// The account.
        account: String,
        /// What to change.
        change: Option<QuotaChange>,
    },
    /// Put a service behind the doors.
    AddService(NewService),
    /// All services, and who answers for them.
    ListServices,
    /// Take a service away, or the one who answers for it.
    RemoveService {
        /// Its name: `logs`.
        name: String,
    },
    /// What points clients at the region, with the first key of an account's root user.
    Environment {
        /// The account; the first one if none is named.
        account: Option<String>,
    },
    /// What the front door recorded after a number.
    Records {
        /// The number.
        after: u64,
    },
    /// Plug a network namespace in, whose descriptor comes with the request, or a tap.
    Attach {
        /// The tap; none for a namespace.
        tap: Option<String>,
        /// Where to.
        subnet: String,
        /// The groups.
        groups: Vec<String>,
        /// What the interface is called inside.
        interface_name: String,
    },
    /// Plug the same into the tunnel of a VPN connection, as a network on premises.
    AttachVpn {
        /// The tap; none for a namespace.
        tap: Option<String>,
        /// The connection.
        connection: String,
        /// What the tunnel's end has there, as `ADDRESS/LENGTH`; its own inside address if none.
        addresses: Vec<String>,
        /// What the interface is called inside.
        interface_name: String,
    },
    /// Write a copy of the state. The file's descriptor comes with the request.
    Backup,
}

/// What is to be explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TraceRequest {
    /// From which instance or interface.
    pub from: String,
    /// To which name or address, and port; where the action's service is, if nothing is said.
    pub to: Option<String>,
    /// With which protocol.
    pub protocol: Protocol,
    /// Whether to try it as well.
    pub probe: bool,
    /// The request that would be made.
    #[serde(default)]
    pub wanted: Option<Wanted>,
}

/// A request that nobody has made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wanted {
    /// Such as `s3:GetObject`.
    pub action: String,
    /// An ARN, or `*`.
    pub resource: String,
    /// The ARN of whom; whom the programs of the instance are, if nothing is said.
    pub principal: Option<String>,
    /// Condition keys and their values, instead of those that it would have.
    pub context: Vec<(String, String)>,
}

/// A request that nobody has made, and from where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SimulateRequest {
    /// What.
    pub wanted: Wanted,
    /// From which instance or interface; from outside of every VPC, if nothing is said.
    pub from: Option<String>,
    /// To which name or address, and port; where the action's service is, if nothing is said.
    pub to: Option<String>,
}

/// What the region answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// It could not be done.
    Failed(String),
    /// How the region is.
    Status(Status),
    /// The program could not be started.
    NotStarted {
        /// What the caller ends with: one of [`exit_code`].
        code: u8,
        /// Why.
        reason: String,
    },
    /// The program runs. On a terminal, its master comes with this.
    Started,
    /// The program ended, with this status.
    Exited(u8),
    /// The explanation.
    Trace(serde_json::Value),
    /// The explanation of a request.
    Judgement(serde_json::Value),
    /// One flow.
    Flow(serde_json::Value),
    /// Accounts.
    Accounts(Vec<AccountInfo>),
    /// A new key.
    Key(KeyInfo),
    /// The quotas of an account.
    Quotas(Vec<QuotaInfo>),
    /// Services.
    Services(Vec<ServiceInfo>),
    /// Variables.
    Environment(Vec<(String, String)>),
    /// What was recorded.
    Records(Vec<serde_json::Value>),
    /// What was plugged in.
    Attached {
        /// The interface.
        interface: String,
        /// Its address.
        address: String,
        /// Its hardware address.
        mac: String,
    },
}

/// Another value of a quota.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuotaChange {
    /// What it is called.
    pub name: String,
    /// How many there may be; none for as many as is usual.
    pub limit: Option<usize>,
}

/// How many of something an account may have.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QuotaInfo {
    /// What it is called.
    pub name: String,
    /// How many there may be now.
    pub limit: usize,
    /// How many there may be unless somebody changes it.
    pub usual: usize,
    /// How far it can be raised.
    pub most: usize,
}

/// A service to be put behind the doors.
#[derive(Clone, Serialize, Deserialize)]
pub struct NewService {
    /// The end of its name: `logs`.
    pub name: String,
    /// Who answers for it.
    pub upstream: String,
    /// Its names of its own, if AWS does not have it.
    pub private_dns: Vec<String>,
    /// How clients speak to it; what AWS's of that name speaks, if nothing is said.
    pub protocol: Option<String>,
    /// Its name in credential scopes; as of AWS's, or its own.
    pub signing_name: Option<String>,
    /// The account of the partner whose service it is.
    pub owner: Option<String>,
    /// What requests are signed with anew: an access key's id and what signs.
    pub key: Option<(String, String)>,
    /// The region that they are signed for.
    pub upstream_region: Option<String>,
}

impl std::fmt::Debug for NewService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: a secret never reaches a log.
        f.debug_struct("NewService")
            .field("name", &self.name)
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

/// A service, and who answers for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// The end of its name: `logs`.
    pub name: String,
    /// What endpoints are made to: `com.amazonaws.us-east-1.logs`.
    pub service_name: String,
    /// Who answers: `postern`, a URL, or nobody.
    pub served_by: Option<String>,
    /// How clients speak to it, where somebody else answers.
    pub protocol: Option<String>,
    /// The names that lead to its endpoints.
    pub private_dns: Vec<String>,
    /// The access key that requests are signed with anew.
    pub key_id: Option<String>,
    /// The account of the partner whose service it is.
    pub owner: Option<String>,
}

/// How a region is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// What no other run of a region is called, be it on another machine.
    pub run: String,
    /// Its name.
    pub region: String,
    /// Where the API listens.
    pub url: String,
    /// The state's revision.
    pub revision: u64,
    /// Whether packets move, and how.
    pub packets: String,
    /// How packets leave the region, if they can.
    #[serde(default)]
    pub uplink: Option<String>,
    /// For how many seconds instances and known flows go on if the process ends without a word.
    #[serde(default)]
    pub linger: u32,
    /// How many accounts, VPCs, instances, interfaces and endpoints there are.
    pub counts: BTreeMap<String, usize>,
}

/// An account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Its digits.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// The root user's access keys.
    pub keys: Vec<String>,
}

/// An access key, shown once.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The account.
    pub account: String,
    /// The key's id.
    pub access_key_id: String,
    /// What signs.
    pub secret_access_key: String,
}

impl std::fmt::Debug for KeyInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: a secret never reaches a log.
        f.debug_struct("KeyInfo").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

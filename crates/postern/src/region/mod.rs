//! A region: every part started in order, joined, and taken down.
//!
//! ```text
//!   ledger ──► planner ──► forwarder          machines (sandboxes, ports)
//!     ▲           │                               ▲
//!   commands ◄────┼── services ◄── front door     │ reconcile
//!     │           ├── resolver                    │
//!     └───────────┴───────────────────────────────┘
//! ```

mod ailments;
mod attach;
mod attach_vpn;
mod audit_log;
pub mod backup;
mod balancer;
mod carrier;
mod command;
mod console;
mod control;
mod doors;
mod flows;
mod judge;
mod machines;
mod meters;
mod metrics;
mod pages;
mod planner;
mod quotas;
mod reconcile;
mod recorder;
mod sandbox;
mod services;
mod sns;
mod trace;
mod uplink;
mod verifier;
mod without_packets;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use postern_dataplane::forward::Forwarder;
use postern_dataplane::host::{Host, HostError};
use postern_dns::Upstream;
use postern_frontdoor::audit::Log as _;
use postern_frontdoor::{Authoriser, Authority, FrontDoor, Metrics};
use postern_model::{AccountId, Action, IpNet, Region as RegionName, State};
use postern_path::LinkName;
use postern_services::commands::Commands;
use postern_services::directory::RegionDirectory;
use postern_services::directory::session::SessionKeys;
use postern_services::dynamodb;
use postern_services::imds::identity::{self, IdentitySigner};
use postern_services::monitoring::Monitoring;
use postern_services::s3::storage::Store;
use postern_services::sns::envelope::Signer;
use postern_services::upstream::Upstreams;
use postern_store::{Ledger, Sources};
use tokio::sync::{Notify, watch};

use crate::paths::{StateDir, Taken};
use crate::said::said;
use ailments::Ailments;
use balancer::{Balancers, Checks};
use carrier::{Carrier, How};
use command::RegionCommands;
use console::Consoles;
use machines::Machines;
use planner::{Planned, Planner};
use recorder::Recorder;
use sandbox::Furnishings;
use sns::Posts;
use uplink::Uplink;

pub use audit_log::Rotation;
pub use command::now_milliseconds;

/// How long everything may take to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How often DynamoDB's expired items are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);
/// Where the host's resolvers are named.
const RESOLVERS: &str = "/etc/resolv.conf";

/// How a region is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it keeps things.
    pub state_dir: StateDir,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// What clients call this machine, besides its address.
    pub listen_names: Vec<String>,
    /// Its name.
    pub region: RegionName,
    /// Signatures are not checked.
    pub dev: bool,
    /// Nothing is kept.
    pub ephemeral: bool,
    /// The host's interface by which packets leave it.
    pub uplink: Option<LinkName>,
    /// Where SNS may post messages.
    pub sns_to: Vec<IpNet>,
    /// Who is asked whose domains the private names of endpoint services are in; the host's resolvers, if there is an
    /// uplink, where nobody is named.
    pub verify_dns: Vec<SocketAddr>,
    /// How often they are asked again about names that were verified.
    pub verify_dns_again: Duration,
    /// Programs for instances.
    pub tools: Option<PathBuf>,
    /// How much is kept of the audit log.
    pub audit_log: Rotation,
    /// Packets are carried by the forwarder alone.
    pub forwarder_only: bool,
    /// Seconds for which instances and known flows go on if this process ends without a word; zero is not at all.
    pub linger: u32,
}

/// A running region.
pub struct Region {
    options: Options,
    /// What no other run of a region is called.
    run: String,
    /// Where the API really listens.
    listen: SocketAddr,
    commands: Arc<RegionCommands>,
    planner: Arc<Planner>,
    packets: Result<Packets, String>,
    uplink: Option<Way>,
    front_door: FrontDoor,
    upstreams: Arc<Upstreams>,
    authoriser: Arc<Authoriser>,
    directory: Arc<RegionDirectory>,
    recorder: Recorder,
    ailments: Arc<Ailments>,
    posts: Posts,
    s3: Store,
    tables: dynamodb::Store,
    monitoring: Arc<Monitoring>,
    measuring: tokio::task::AbortHandle,
    stop: watch::Sender<bool>,
    /// INVARIANT: no other region has the state directory.
    _taken: Taken,
}

/// The way out of the region.
struct Way {
    words: String,
    meter: Arc<uplink::Meter>,
    resolvers: Arc<Upstream>,
}

/// What moves packets.
struct Packets {
    host: Arc<Host>,
    forwarder: Arc<Forwarder>,
    how: How,
    machines: Arc<Machines>,
    reconcilers: [tokio::task::AbortHandle; 2],
    dns: Arc<postern_dns::Metrics>,
    /// For how many seconds they go on without this process.
    linger: u32,
}

impl Region {
    /// Starts everything, in a state directory that was taken. Ready when it returns.
    pub async fn start(
        taken: Taken,
        host: Result<Host, HostError>,
        options: Options,
    ) -> anyhow::Result<Arc<Self>> {
        let ledger = open_ledger(&options)?;
        let host = host.map(Arc::new).map_err(|error| error.to_string());
        let uplink = match (&host, options.uplink) {
            (Ok(host), Some(link)) => Some(Uplink::open(host, link)?),
            // Where no packets move, none leave.
            (Err(_), Some(_)) | (_, None) => None,
        };
        let way = uplink.as_ref().map(|uplink| Way {
            words: uplink.in_words(),
            meter: Arc::clone(&uplink.meter),
            resolvers: Arc::new(Upstream::of_file(Path::new(RESOLVERS))),
        });
        let carrier = host.as_ref().ok().map(|host| Carrier::load(host, options.forwarder_only));
        let generation = carrier.as_ref().map_or(0, Carrier::last_generation);
        let planned = Planned::new(ledger.state(), uplink.as_ref().map(Uplink::setting), generation);
        let linger = if carrier.as_ref().is_some_and(|carrier| carrier.lingers) { options.linger } else { 0 };
        let (forwarder, how) = match carrier {
            Some(carrier) => {
                let how = carrier.how.clone();
                (Some(Arc::new(carrier.start(&planned)?)), Some(how))
            }
            None => (None, None),
        };
        let planner = Arc::new(Planner::new(planned, forwarder.clone()));
        let changed = Arc::new(Notify::new());
        let ailments = Arc::new(Ailments::default());
        let commands =
            RegionCommands::new(ledger, Arc::clone(&planner), Arc::clone(&changed), Arc::clone(&ailments));
        let commands = Arc::new(commands);
        let authority = Arc::new(authority(&commands, &options.region.name)?);
        std::fs::write(options.state_dir.ca_bundle(), authority.certificate_pem())
            .context("cannot write the region's CA")?;
        let identity = identity(&commands, &authority, &options)?;
        ensure_account(&commands, options.dev).await?;
        let kept = host.as_ref().map(|host| attach::kept_guests(host)).unwrap_or_default();
        attach::forget_guests(&commands, &kept).await;
        attach_vpn::forget_links(&commands, &kept).await;

        let as_commands: Arc<dyn Commands> = Arc::clone(&commands) as _;
        let sessions = Arc::new(session_keys(&commands)?);
        let directory =
            Arc::new(RegionDirectory::new(Arc::clone(&as_commands), Arc::clone(&sessions), options.dev));
        let authoriser =
            Arc::new(Authoriser::new(Arc::clone(&directory) as _).in_region(&options.region.name));
        let consoles = Consoles::new(Arc::clone(&changed));
        let posts = Posts::new(options.sns_to.clone(), Arc::clone(&as_commands));
        let checks = Arc::new(Checks::default());
        let metrics = Arc::new(Metrics::default());
        let recorder = recorder(&options, &metrics)?;
        let s3_directory = s3_directory(&options)?;
        let s3 = Store::open(&s3_directory)
            .with_context(|| format!("cannot open what S3 holds in `{}`", s3_directory.display()))?;
        let tables = dynamodb::Store::open(&dynamodb_directory(&options)?)?;
        tokio::spawn(delete_expired(tables.clone()));
        let pages = Arc::new(pages::RegionPages::default());
        let meters =
            meters::RegionMeters::new(Arc::clone(&as_commands), Arc::clone(&checks), forwarder.clone());
        let monitoring = Arc::new(Monitoring::new(Arc::new(meters)));
        let measuring = tokio::spawn(meters::measure_on(Arc::clone(&monitoring))).abort_handle();
        let (front_door, upstreams) = doors::front_door(doors::Parts {
            options: &options,
            commands: &as_commands,
            authoriser: &authoriser,
            authority: &authority,
            sessions: &sessions,
            consoles: &consoles,
            checks: &checks,
            monitoring: &monitoring,
            posts: &posts,
            recorder: &recorder,
            pages: Arc::clone(&pages) as _,
            s3: s3.clone(),
            tables: tables.clone(),
            metrics: &metrics,
        })?;
        let listener = tokio::net::TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen at `{}`", options.listen))?;
        let listen = listener.local_addr()?;
        posts.open(url(listen, &options.listen_names), listen, signer(&commands, &authority, &options)?);
        let domains = verifier::resolvers(&options.verify_dns, way.as_ref().map(|way| &way.resolvers));
        let verifier = verifier::Verifier::new(domains, options.verify_dns_again, Arc::clone(&as_commands));
        tokio::spawn(verifier.run(commands.ledger().watch(commands.state().revision)));
        let (ledger, before) = (commands.ledger().clone(), commands.state());
        tokio::spawn(sns::tell_of_connections(ledger, before, posts.clone()));
        doors::serve_outside(&front_door, listener, &ailments);

        let furnishings =
            Furnishings { ca_bundle: authority.certificate_pem().to_owned(), tools: options.tools.clone() };
        let packets = match (host, forwarder.zip(how)) {
            (Ok(host), Some((forwarder, how))) => {
                let dns = doors::open(doors::Inside {
                    host: &host,
                    forwarder: &forwarder,
                    front_door: &front_door,
                    planner: &planner,
                    commands: &as_commands,
                    sessions: &sessions,
                    identity,
                    metrics: &metrics,
                    ailments: &ailments,
                    resolvers: way.as_ref().map(|way| Arc::clone(&way.resolvers)),
                })
                .await?;
                if let Some(uplink) = uplink {
                    uplink.serve(&host, &forwarder, &ailments).await?;
                }
                let machines =
                    Arc::new(Machines::new(Arc::clone(&host), Arc::clone(&forwarder), consoles, furnishings));
                let inheritor = Arc::clone(&machines);
                tokio::task::spawn_blocking(move || inheritor.inherit()).await?;
                let peers = forwarder.peers();
                let balancers = Balancers::new(
                    Arc::clone(&machines),
                    Arc::clone(&as_commands),
                    Arc::clone(&planner),
                    checks,
                    peers,
                );
                let reconcilers = [
                    tokio::spawn(Arc::clone(&machines).reconcile(as_commands, changed)).abort_handle(),
                    tokio::spawn(balancers.run()).abort_handle(),
                ];
                Ok(Packets { host, forwarder, how, machines, reconcilers, dns, linger })
            }
            (Err(reason), _) => {
                tokio::spawn(without_packets::reconcile(as_commands, changed, reason.clone()));
                Err(reason)
            }
            (Ok(_), None) => bail!("the forwarder was not started"),
        };
        let region = Arc::new(Self {
            options,
            run: postern_frontdoor::request_id(),
            listen,
            commands,
            planner,
            packets,
            uplink: way,
            front_door,
            upstreams,
            authoriser,
            directory,
            recorder,
            ailments,
            posts,
            s3,
            tables,
            monitoring,
            measuring,
            stop: watch::Sender::new(false),
            _taken: taken,
        });
        crate::control::server::listen(&region.options.state_dir, control::controlled(&region))?;
        if let Ok(packets) = &region.packets
            && let Err(error) = packets.host.linger(packets.linger)
        {
            tracing::warn!(%error, "if this process is killed, instances end with it");
        }
        // INVARIANT: from here on the health page says `ready`, so all of it is.
        pages.show(&region);
        Ok(region)
    }

    /// Where the API listens.
    ///
    /// Beyond loopback it speaks TLS alone. Where it listens at every address, this machine's own programs find it at
    /// `localhost`.
    pub fn url(&self) -> String {
        url(self.listen, &self.options.listen_names)
    }

    /// Whether packets move, and how; or why not.
    pub fn packets_in_words(&self) -> String {
        match &self.packets {
            Ok(packets) => packets.how.to_string(),
            Err(reason) => format!("none move: {reason}"),
        }
    }

    /// For how many seconds instances and known flows go on if this process ends without a word.
    pub fn lingers(&self) -> u32 {
        self.packets.as_ref().map_or(0, |packets| packets.linger)
    }

    /// How packets leave the region, if they can.
    pub fn uplink_in_words(&self) -> Option<&str> {
        self.uplink.as_ref().map(|way| way.words.as_str())
    }

    /// Waits until somebody asks it to stop.
    pub async fn stopped(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives as long as the region.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Takes everything down.
    pub async fn shutdown(&self) -> anyhow::Result<()> {
        self.front_door.close();
        self.measuring.abort();
        let outcome = match &self.packets {
            Ok(packets) => {
                // Nothing is to be mended from here on.
                packets.reconcilers.iter().for_each(tokio::task::AbortHandle::abort);
                let (host, forwarder) = (Arc::clone(&packets.host), Arc::clone(&packets.forwarder));
                tokio::task::spawn_blocking(move || {
                    forwarder.shutdown();
                    host.shutdown(SHUTDOWN_GRACE)
                })
                .await?
            }
            Err(_) => Ok(()),
        };
        match std::fs::remove_file(self.options.state_dir.control_socket()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the control socket could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
        let state_dir = &self.options.state_dir;
        for path in [state_dir.ephemeral_s3(), state_dir.ephemeral_dynamodb()] {
            if self.options.ephemeral
                && let Err(error) = remove_directory(&path)
            {
                tracing::warn!(error = said(&error), path = %path.display(), "what a service held is left over");
            }
        }
        if !self.front_door.settled(SHUTDOWN_GRACE).await {
            tracing::error!("requests were cut off, or the last audit records not written in time");
        }
        let mut recorder = self.recorder.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || recorder.settle()).await? {
            tracing::error!(%error, "the last audit records may not survive a loss of power");
        }
        outcome.context("taking the host side down")
    }

    /// Returns everything to the start: the state, what S3 and DynamoDB hold, sandboxes, ports and flows.
    async fn reset(&self) -> anyhow::Result<()> {
        let region = self.options.region.clone();
        let ledger = self.commands.ledger().clone();
        let replaced =
            tokio::task::spawn_blocking(move || ledger.replace_blocking(State::new(region))).await??;
        let planner = Arc::clone(&self.planner);
        tokio::task::spawn_blocking(move || planner.follow(&replaced.state)).await??;
        if let Ok(packets) = &self.packets {
            let machines = Arc::clone(&packets.machines);
            tokio::task::spawn_blocking(move || machines.clear()).await?;
        }
        self.s3.clear().await?;
        self.tables.clear().await?;
        // It asks the forwarder for its counters, and waits for them.
        let monitoring = Arc::clone(&self.monitoring);
        tokio::task::spawn_blocking(move || monitoring.clear()).await?;
        ensure_account(&self.commands, self.options.dev).await
    }
}

/// Where the API is, that listens at an address and is called by these names.
fn url(listen: SocketAddr, names: &[String]) -> String {
    let (address, port) = (listen.ip(), listen.port());
    if address.is_loopback() {
        return format!("http://{listen}");
    }
    match names.first() {
        Some(name) => match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => format!("https://[{address}]:{port}"),
            Err(_) => format!("https://{name}:{port}"),
        },
        None if address.is_unspecified() => format!("https://localhost:{port}"),
        None => format!("https://{listen}"),
    }
}

/// What keeps the records: in memory, and on disk unless nothing is kept.
fn recorder(options: &Options, metrics: &Arc<Metrics>) -> anyhow::Result<Recorder> {
    if options.ephemeral {
        return Ok(Recorder::in_memory(Arc::clone(metrics)));
    }
    let path = options.state_dir.audit_log();
    Recorder::appending(&path, options.audit_log, Arc::clone(metrics))
        .with_context(|| format!("cannot open the audit log `{}`", path.display()))
}

fn open_ledger(options: &Options) -> anyhow::Result<Ledger> {
    if options.ephemeral {
        return Ok(Ledger::ephemeral(State::new(options.region.clone()), Sources::system())?);
    }
    let stored = postern_store::Options::new(options.region.clone());
    Ok(Ledger::open(&options.state_dir.ledger(), stored, Sources::system())?)
}

/// The region's CA: the stored one, or a new one at the first start.
fn authority(commands: &RegionCommands, region: &str) -> anyhow::Result<Authority> {
    let ledger = commands.ledger();
    let text = |blob: Arc<[u8]>| String::from_utf8(blob.to_vec()).context("the stored CA is not a text");
    match (ledger.get_blob("ca-certificate"), ledger.get_blob("ca-key")) {
        (Some(certificate), Some(key)) => Ok(Authority::from_pem(region, &text(certificate)?, &text(key)?)?),
        (_, _) => {
            let authority = Authority::generate(region)?;
            ledger.put_blob_blocking("ca-key", authority.key_pem().as_bytes())?;
            ledger.put_blob_blocking("ca-certificate", authority.certificate_pem().as_bytes())?;
            Ok(authority)
        }
    }
}

/// What signs the identity documents of instances: the stored key, or a new one at the first start. Its certificate is
/// beside the region's CA, for whoever verifies them.
fn identity(
    commands: &RegionCommands,
    authority: &Authority,
    options: &Options,
) -> anyhow::Result<IdentitySigner> {
    let ledger = commands.ledger();
    let (key, certificate) = match (ledger.get_blob("identity-key"), ledger.get_blob("identity-certificate"))
    {
        (Some(key), Some(certificate)) => (key.to_vec(), certificate.to_vec()),
        (_, _) => {
            let key = identity::new_key()?;
            let name = format!("Postern {} instance identity", options.region.name);
            let certificate = authority.certify_signer(&name, &key)?;
            ledger.put_blob_blocking("identity-key", &key)?;
            ledger.put_blob_blocking("identity-certificate", &certificate)?;
            (key, certificate)
        }
    };
    std::fs::write(options.state_dir.identity_certificate(), identity::certificate_pem(&certificate))
        .context("cannot write the certificate of instance identities")?;
    Ok(IdentitySigner::new(&key, &certificate)?)
}

/// What signs the messages of topics: the stored key, or a new one at the first start.
fn signer(commands: &RegionCommands, authority: &Authority, options: &Options) -> anyhow::Result<Signer> {
    let ledger = commands.ledger();
    let stored = (ledger.get_blob("sns-key"), ledger.get_blob("sns-certificate"));
    if let (Some(key), Some(certificate)) = stored {
        return Ok(Signer::new(&key, &certificate)?);
    }
    let key = identity::new_key()?;
    let name = format!("sns.{}.amazonaws.com", options.region.name);
    let certificate = authority.certify_signer(&name, &key)?;
    ledger.put_blob_blocking("sns-key", &key)?;
    ledger.put_blob_blocking("sns-certificate", &certificate)?;
    Ok(Signer::new(&key, &certificate)?)
}

/// What session tokens are made with: the stored key, or a new one at the first start.
fn session_keys(commands: &RegionCommands) -> anyhow::Result<SessionKeys> {
    let ledger = commands.ledger();
    if let Some(stored) = ledger.get_blob("session-key") {
        let master: [u8; 32] =
            stored.as_ref().try_into().context("the stored session key has another length")?;
        return Ok(SessionKeys::from_bytes(master)?);
    }
    let keys = SessionKeys::generate()?;
    ledger.put_blob_blocking("session-key", &keys.to_bytes())?;
    Ok(keys)
}

/// A region begins with an account, so that there is somebody to be.
async fn ensure_account(commands: &RegionCommands, dev: bool) -> anyhow::Result<()> {
    if !commands.state().accounts.is_empty() {
        return Ok(());
    }
    let id = if dev { RegionDirectory::dev_account() } else { None };
    control::create_account(commands, "default".to_owned(), id).await.map(|_| ())
}

/// Where S3 keeps things; for an ephemeral region a directory that goes with it, or with the next one if it is killed.
fn s3_directory(options: &Options) -> anyhow::Result<PathBuf> {
    if !options.ephemeral {
        return Ok(options.state_dir.s3());
    }
    let directory = options.state_dir.ephemeral_s3();
    remove_directory(&directory)?;
    Ok(directory)
}

/// Where DynamoDB keeps its tables; for an ephemeral region as with S3.
fn dynamodb_directory(options: &Options) -> anyhow::Result<PathBuf> {
    if !options.ephemeral {
        return Ok(options.state_dir.dynamodb());
    }
    let directory = options.state_dir.ephemeral_dynamodb();
    remove_directory(&directory)?;
    Ok(directory)
}

/// Deletes what has expired in DynamoDB's tables, as long as the region runs.
async fn delete_expired(tables: dynamodb::Store) {
    loop {
        tokio::time::sleep(EXPIRY_PERIOD).await;
        tables.sweep().await;
    }
}

fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs an action as an account, outside the API.
async fn execute(
    commands: &RegionCommands,
    account: AccountId,
    action: Action,
) -> anyhow::Result<Vec<postern_model::Event>> {
    Ok(commands.execute(account, None, action).await?.events)
}

impl Region {
    fn commands_state(&self) -> Arc<State> {
        self.commands.state()
    }
}

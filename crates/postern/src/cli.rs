//! The command line, as a newcomer reads it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use postern_model::IpNet;
use postern_path::LinkName;

/// The heading of what every command takes.
const EVERYWHERE: &str = "Options of every command";
/// What a newcomer tries.
const FIRST_STEPS: &str = "\
First steps:
  postern doctor                what this machine can do, and what to do about what it cannot
  postern lab run gateway-s3    see it work in a region of its own, of which nothing is left
  postern up                    a region of your own; then, in another terminal:
  eval \"$(postern env)\"         and `aws ec2 create-vpc --cidr-block 10.0.0.0/16`";

/// Private doors to services for isolated networks: VPC endpoints on your own machine.
///
/// Start a region with `postern up`, point `aws` at it with `eval "$(postern env)"`, and use AWS's API: VPCs, subnets,
/// endpoints and instances are real networks with real packets. `postern trace` says why a packet goes where it goes.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// Where the region keeps its state.
    ///
    /// Default: /var/lib/postern for root, ~/.local/state/postern otherwise.
    #[arg(long, global = true, env = "POSTERN_STATE_DIR", value_name = "DIR", help_heading = EVERYWHERE)]
    pub state_dir: Option<PathBuf>,

    /// How results are printed: tables for people, or JSON for programs.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, help_heading = EVERYWHERE)]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a region: API, resolver, front door and data plane. Runs until it is told to stop.
    Up(UpArgs),
    /// Print the variables that point `aws` and the SDKs at the region: eval "$(postern env)".
    Env(EnvArgs),
    /// Say whether the region runs, and how: where its API is, whether packets move, how much there is in it.
    Status,
    /// Stop the running region. Its state stays.
    Down,
    /// Make accounts, list them, and give them access keys.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Put a service behind the doors that another program answers for, list the services, and take one away.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Run a program in an instance: postern exec i-… -- aws s3 ls.
    ///
    /// It runs as the instance's user, in its home, with the instance's network, names and credentials, and gets nothing
    /// of your environment but standard input, output and error; on a terminal it gets one of its own.
    ///
    /// Exit status: the program's own (128 and the signal's number if a signal ended it); 125 if Postern itself failed,
    /// 126 if the program cannot be executed, 127 if there is no such program. What the program left running in the
    /// background goes on in the instance.
    ///
    /// With vpn-…, it runs on a host on premises at the end of that VPN, which is made if nothing is plugged in there:
    /// its address is the first one of the connection's first static route, and everything goes over the VPN.
    Exec(ExecArgs),
    /// Open a shell in an instance.
    ///
    /// Exit status: the shell's; 125, 126 and 127 as of `exec`.
    Shell {
        /// The instance: i-….
        #[arg(value_name = "INSTANCE")]
        instance: String,
    },
    /// Plug somebody else's container or virtual machine into a subnet, as a network interface of its own.
    Attach(AttachArgs),
    /// Explain where packets from an instance to a name or address go, stage by stage.
    ///
    /// Each line is a stage: whether the packet passes it, the resource and rule that decide, and why. Of the stage that
    /// refuses it, also what would have to change. Exit status: 0, or 1 where --probe finds that reality does not agree.
    ///
    /// With --action and --resource also what would become of such a request that arrives: every statement that has a say,
    /// the condition values that the way gives it, and the smallest change that would turn the decision round.
    Trace(TraceArgs),
    /// Say what would become of a request that nobody has made, by every statement that has a say.
    Simulate(SimulateArgs),
    /// Say why a request was allowed or refused, and the smallest change that would turn that round.
    ///
    /// What was decided is known of the last requests since the region was started, as they were decided then.
    Why {
        /// What its answer is known by: x-amzn-requestid, or RequestId in what `aws --debug` and SDKs show.
        #[arg(value_name = "REQUEST-ID")]
        request_id: String,
    },
    /// Look a policy document over before anybody relies on it.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// List the flows that live now, or show each flow as it is decided (--follow).
    Flows(FlowsArgs),
    /// Look at this machine: what the kernel can do, which tools are there, and what to do about what is not.
    Doctor,
    /// Run the labs that ship with Postern, or your own.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Write a copy of a region to a file: its state and what S3 holds, without the audit log.
    ///
    /// A running region goes on meanwhile; what was acknowledged before is in the copy, and every object whole. The file
    /// holds keys: keep it safe.
    Backup {
        /// The file to write.
        file: PathBuf,
    },
    /// Make the state directory from a copy. The region must not run, and the directory must be empty.
    Restore {
        /// The file to read.
        file: PathBuf,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// How a region is started.
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Where the API listens, outside every VPC. A port of 0 takes a free one.
    ///
    /// On a loopback address it takes plain HTTP and TLS. On any other it takes TLS alone, with a certificate of the
    /// region's own authority (ca.pem in the state directory), and every request has to be signed: no --dev.
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// A name or address that clients call this machine by; may be given several times.
    ///
    /// The certificate is good for it and, of a name, for the buckets below it; `postern env` says the first one.
    #[arg(long = "listen-name", value_name = "NAME", value_parser = host_name)]
    pub listen_names: Vec<String>,
    /// The region's name.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
    /// For tests of your own: unknown access keys act as an account's root and signatures are not checked. Loopback only.
    #[arg(long)]
    pub dev: bool,
    /// Keep nothing: the state lives in memory and goes with the region.
    #[arg(long)]
    pub ephemeral: bool,
    /// Lead packets for the internet out by this network interface of the host's, and ask the host's resolvers for names
    /// that are not the region's. Without it, nothing leaves the region.
    #[arg(long, value_name = "IFACE")]
    pub uplink: Option<LinkName>,
    /// Let SNS post messages to http and https endpoints at addresses in this block, over the host's network: 127.0.0.0/8
    /// for programs on this machine. May be given several times. Without it, nobody can be subscribed.
    #[arg(long, value_name = "BLOCK")]
    pub sns_to: Vec<IpNet>,
    /// Ask this server for the TXT records that show whose domain the private name of an endpoint service is in. May be
    /// given several times.
    ///
    /// Default: the host's resolvers where there is an --uplink; without one no name can be verified.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub verify_dns: Vec<SocketAddr>,
    /// After how many seconds a name that was verified is looked for again. One that is there no more is not its owner's.
    #[arg(long, default_value = "3600", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub verify_dns_again: u32,
    /// Folder with programs that instances should have on their PATH (`bin` in it), shown read-only.
    #[arg(long, env = "POSTERN_TOOLS", value_name = "DIR")]
    pub tools: Option<PathBuf>,
    /// How long the audit log may get before it is put aside as audit.log.1.
    #[arg(long, default_value = "64", value_name = "MIB")]
    pub audit_log_size: NonZeroU32,
    /// How many audit logs are kept that were put aside; the oldest goes.
    #[arg(long, default_value = "8", value_name = "COUNT")]
    pub audit_log_files: NonZeroU32,
    /// Carry packets by the forwarder alone, also where the kernel program could. `postern status` says which does.
    #[arg(long)]
    pub forwarder: bool,
    /// For how long instances and their known connections go on if this process ends without being told to, be it that it
    /// crashed, was killed or is replaced: another `up` with the same state directory goes on with them, later they end.
    /// 0 ends everything at once.
    ///
    /// Default: 60 where packets are carried by the kernel program and the state is kept, else 0.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub linger: Option<u32>,
}

/// A name in DNS or an address, in small letters.
fn host_name(text: &str) -> Result<String, String> {
    let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(of_label);
    let named = text.len() <= 253 && text.split('.').all(label);
    if named || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("`{text}` is neither a host's name nor an address"))
    }
}

/// What to print of the environment.
#[derive(Debug, Args)]
pub struct EnvArgs {
    /// Which account's root user to be; the first one if none is named.
    #[arg(long, value_name = "ACCOUNT")]
    pub account: Option<String>,
}

/// What to do with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account and its root user's first access key.
    Create {
        /// What to call it.
        name: String,
        /// Its twelve digits; free ones if none are given.
        #[arg(long)]
        id: Option<String>,
    },
    /// List the accounts.
    List,
    /// Make one more access key for an account's root user.
    Key {
        /// The account's twelve digits.
        account: String,
    },
    /// Show how many of each kind of resource an account may have, or set that.
    ///
    /// A new account has AWS's usual quotas: 5 VPCs, 5 Elastic IP addresses and so on. What is there already stays when a
    /// quota gets smaller.
    Quota {
        /// The account's twelve digits.
        account: String,
        /// The quota to set, by its name.
        #[arg(requires = "limit")]
        name: Option<String>,
        /// How many there may be, or `usual`.
        #[arg(value_parser = quota_limit)]
        limit: Option<QuotaLimit>,
    },
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// Let another program answer for a service: one of AWS's (logs, kinesis-streams, lambda), or one with a name of its
    /// own.
    ///
    /// Requests reach it by interface endpoints to com.amazonaws.REGION.NAME, or from outside by its names. Postern checks
    /// who signed them, derives action and resource, and enforces the policies; what is allowed is handed on as it came, or
    /// signed anew with a key of the upstream's. Without an answer from it the service is unavailable (503).
    Add(ServiceAddArgs),
    /// List the services that endpoints can lead to, and who answers for each.
    List,
    /// Take a service away that was added; one of AWS's is unavailable (503) again.
    Remove {
        /// Its name: logs.
        name: String,
    },
}

/// Which service to add.
#[derive(Debug, Args)]
pub struct ServiceAddArgs {
    /// The end of its name: logs, for com.amazonaws.REGION.logs.
    pub name: String,
    /// Who answers for it: http://HOST[:PORT] or https://HOST[:PORT], as this machine reaches it.
    #[arg(long, value_name = "URL")]
    pub upstream: String,
    /// Of a service that AWS does not have, a name that leads to its endpoints inside their VPCs, with `*.` in front for
    /// all names below; may be given several times. NAME.REGION.amazonaws.com if none is given.
    #[arg(long, value_name = "NAME")]
    pub private_dns: Vec<String>,
    /// How clients speak to it: json, query, ec2, rest-json, rest-xml, rpc-v2-cbor or execute-api; as AWS's service of
    /// that name is spoken to, if it says nothing.
    #[arg(long, value_name = "PROTOCOL")]
    pub protocol: Option<String>,
    /// Its name in signatures, where that is another one.
    #[arg(long, value_name = "NAME")]
    pub signing_name: Option<String>,
    /// Of a service that AWS does not have, the account of the partner whose it is.
    #[arg(long, value_name = "ACCOUNT")]
    pub owner: Option<String>,
    /// Sign requests anew with this access key of the upstream's; without it they are handed on as they came.
    #[arg(long, value_name = "ID", requires = "secret_file")]
    pub key_id: Option<String>,
    /// The file with that key's secret, on one line.
    #[arg(long, value_name = "FILE", requires = "key_id")]
    pub secret_file: Option<PathBuf>,
    /// The region that requests are signed anew for; this one if none is given.
    #[arg(long, value_name = "REGION", requires = "key_id")]
    pub upstream_region: Option<String>,
}

/// What a quota is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaLimit {
    /// What it is unless somebody changes it.
    Usual,
    /// So many.
    Of(usize),
}

fn quota_limit(text: &str) -> Result<QuotaLimit, String> {
    match (text, text.parse()) {
        ("usual", _) => Ok(QuotaLimit::Usual),
        (_, Ok(limit)) => Ok(QuotaLimit::Of(limit)),
        (_, Err(_)) => Err(format!("`{text}` is neither a number nor `usual`")),
    }
}

/// What to run in an instance.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The instance: i-…; or a VPN: vpn-…, for a host on premises.
    pub instance: String,
    /// The program and its arguments, after `--`.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What to plug in, and where.
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The network namespace of a container, by path: /run/netns/NAME, or /proc/PID/ns/net.
    #[arg(long, value_name = "PATH", required_unless_present = "tap", conflicts_with = "tap")]
    pub netns: Option<PathBuf>,
    /// The tap interface of a virtual machine, by name. The machine must use the hardware address that is printed; its
    /// address comes by DHCP. Needs root.
    #[arg(long, value_name = "NAME")]
    pub tap: Option<String>,
    /// The subnet: subnet-….
    #[arg(long, value_name = "SUBNET", required_unless_present = "vpn", conflicts_with = "vpn")]
    pub subnet: Option<String>,
    /// In the place of a subnet: the VPN connection whose network on premises it is, vpn-….
    #[arg(long, value_name = "CONNECTION", conflicts_with = "groups")]
    pub vpn: Option<String>,
    /// With --vpn: an address that the interface gets, with its length: 192.168.0.10/24. May be given several times; the
    /// tunnel's own inside address if none is named.
    #[arg(long = "address", value_name = "ADDRESS", requires = "vpn")]
    pub addresses: Vec<String>,
    /// A security group; may be given several times. The VPC's default one if none is named.
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// What the interface is called inside a network namespace.
    #[arg(long, default_value = "ens5")]
    pub interface_name: String,
}

/// What to explain.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// From which instance or interface: i-… or eni-….
    #[arg(long, value_name = "INSTANCE|INTERFACE")]
    pub from: String,
    /// To which name or IPv4 address, with a port unless it is ICMP: s3.us-east-1.amazonaws.com:443, 10.0.1.10:22.
    ///
    /// With --action it is where the action's service is, if nothing is said.
    #[arg(long, value_name = "NAME|ADDRESS[:PORT]", required_unless_present = "action")]
    pub to: Option<String>,
    /// Which protocol.
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    pub protocol: Protocol,
    /// Also try it: open a real socket in the instance and say whether reality agrees.
    #[arg(long)]
    pub probe: bool,
    /// Also what would become of a request for this: s3:GetObject.
    #[arg(long, value_name = "ACTION", requires = "resource")]
    pub action: Option<String>,
    /// On what: an ARN, or `*`.
    #[arg(long, value_name = "ARN", requires = "action")]
    pub resource: Option<String>,
    /// The ARN of who asks; the role of the instance if nobody is named.
    #[arg(long, value_name = "ARN", requires = "action")]
    pub principal: Option<String>,
    /// A condition key with a value that the request has instead of its own; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = name_and_value, requires = "action")]
    pub context: Vec<(String, String)>,
}

/// Which request to suppose.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// For what: s3:GetObject.
    #[arg(long, value_name = "ACTION")]
    pub action: String,
    /// On what: an ARN, or `*`.
    #[arg(long, value_name = "ARN", default_value = "*")]
    pub resource: String,
    /// The ARN of who asks: a root user, user, role or session of a role.
    #[arg(long, value_name = "ARN", required_unless_present = "from")]
    pub principal: Option<String>,
    /// From which instance or interface, by the way that its packets take now; from outside of every VPC if none is named.
    /// Who asks is the role of the instance, if nobody is named.
    #[arg(long, value_name = "INSTANCE|INTERFACE")]
    pub from: Option<String>,
    /// To which name or IPv4 address, with a port; where the action's service is, if nothing is said.
    #[arg(long, value_name = "NAME|ADDRESS:PORT", requires = "from")]
    pub to: Option<String>,
    /// A condition key with a value that the request has instead of its own; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = name_and_value)]
    pub context: Vec<(String, String)>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo.
    Icmp,
}

/// What to do with policy documents.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say why a document would be refused, and what in it is accepted and almost surely a mistake, with line and column.
    ///
    /// It is read by what reads the documents of a region, and needs none to run. Exit status: 0 if the document would be
    /// accepted, 1 if not; with --strict also 1 where there is a warning.
    Check(PolicyCheckArgs),
}

/// Which document to look over, and as what.
#[derive(Debug, Args)]
pub struct PolicyCheckArgs {
    /// The file with the document; `-` is standard input.
    pub file: PathBuf,
    /// What it is to be attached to, which decides what it may contain.
    #[arg(long, value_enum, default_value_t = PolicyKind::Identity)]
    pub kind: PolicyKind,
    /// Fail for warnings, too.
    #[arg(long)]
    pub strict: bool,
}

/// What a policy is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyKind {
    /// A user, group or role.
    Identity,
    /// A resource, such as a bucket.
    Resource,
    /// A role, to say who may assume it.
    Trust,
    /// An interface endpoint.
    Endpoint,
    /// A gateway endpoint.
    GatewayEndpoint,
    /// A user or role, as permissions boundary.
    Boundary,
    /// A session.
    Session,
    /// An organization, over principals.
    ServiceControl,
    /// An organization, over resources.
    ResourceControl,
}

/// Which flows to show.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Show flows as they are decided, from now on, with the reason and the resource behind it.
    #[arg(long, short)]
    pub follow: bool,
    /// Only those of this interface.
    #[arg(long, value_name = "INTERFACE")]
    pub interface: Option<String>,
}

/// What to do with labs.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// List the labs.
    List,
    /// Run a lab: in a region of its own that goes when it is done, or in a running one (--on).
    ///
    /// Exit status: 0 if every step held and all was taken down, 130 if the lab was interrupted, 1 otherwise. Ctrl-C ends
    /// the lab and takes down what it made; a second one gives up at once and says what is left.
    Run(LabRunArgs),
}

/// Which lab to run, and how.
#[derive(Debug, Args)]
pub struct LabRunArgs {
    /// A lab's name (postern lab list), or the path of a lab file.
    #[arg(value_name = "LAB")]
    pub name: String,
    /// Run it in the running region whose API is at this URL, and take down what it made: http://127.0.0.1:4566.
    ///
    /// The lab drives the API. Programs in instances, explanations, the front door's records and other accounts need the
    /// region's control socket, too: the region must be of this machine and of this user (or you are root). Where the
    /// socket can be opened, the lab is the root user of the region's first account; elsewhere who the environment says
    /// (AWS_ACCESS_KEY_ID and so on, or AWS_PROFILE).
    #[arg(long, value_name = "URL")]
    pub on: Option<String>,
    /// With --on: be who this profile of ~/.aws/credentials or ~/.aws/config says.
    #[arg(long, value_name = "PROFILE", requires = "on")]
    pub profile: Option<String>,
    /// Give one of the lab's [variables] another value; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub set: Vec<(String, String)>,
    /// Leave out the step with this id, to see what depends on it.
    #[arg(long, value_name = "STEP")]
    pub without: Option<String>,
    /// Run it once for each API step with that step left out, and require the right step to fail.
    #[arg(long, conflicts_with_all = ["on", "without"])]
    pub omissions: bool,
    /// Which part of the omissions: for the processes that share them.
    #[arg(long, hide = true, requires = "omissions")]
    pub shard: Option<usize>,
    /// Carry packets by the forwarder alone, also where the kernel program could.
    #[arg(long, conflicts_with = "on")]
    pub forwarder: bool,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

//! The command line, as a newcomer reads it.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use postern_path::LinkName;

/// Private doors to services for isolated networks: VPC endpoints on your own machine.
///
/// Start a region with `postern up`, point `aws` at it with `eval "$(postern env)"`, and use AWS's API: VPCs, subnets,
/// endpoints and instances are real networks with real packets. `postern trace` says why a packet goes where it goes.
#[derive(Debug, Parser)]
#[command(name = "postern", version, max_term_width = 100)]
pub struct Cli {
    /// Where the region keeps its state.
    ///
    /// Default: /var/lib/postern for root, ~/.local/state/postern otherwise.
    #[arg(long, global = true, env = "POSTERN_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// How results are printed: tables for people, or JSON for programs.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text)]
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
    /// Say whether the region runs, and how.
    Status,
    /// Stop the running region. Its state stays.
    Down,
    /// Make accounts, list them, and give them access keys.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Run a program in an instance: postern exec i-… -- aws s3 ls.
    Exec(ExecArgs),
    /// Open a shell in an instance.
    Shell {
        /// The instance.
        #[arg(value_name = "INSTANCE")]
        instance: String,
    },
    /// Plug somebody else's container or virtual machine into a subnet, as a network interface of its own.
    Attach(AttachArgs),
    /// Explain where packets from an instance to a name or address go, stage by stage.
    Trace(TraceArgs),
    /// Show what was decided about flows, as it happens.
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
    /// Folder with programs that instances should have on their PATH (`bin` in it), shown read-only.
    #[arg(long, env = "POSTERN_TOOLS", value_name = "DIR")]
    pub tools: Option<PathBuf>,
    /// How long the audit log may get before it is put aside as audit.log.1.
    #[arg(long, default_value = "64", value_name = "MIB")]
    pub audit_log_size: NonZeroU32,
    /// How many audit logs are kept that were put aside; the oldest goes.
    #[arg(long, default_value = "8", value_name = "COUNT")]
    pub audit_log_files: NonZeroU32,
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
    /// The instance.
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
    /// The subnet.
    #[arg(long, value_name = "SUBNET")]
    pub subnet: String,
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
    #[arg(long)]
    pub from: String,
    /// To which name or address, with a port: s3.us-east-1.amazonaws.com:443, 10.0.1.10:22.
    #[arg(long)]
    pub to: String,
    /// Which protocol.
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    pub protocol: Protocol,
    /// Also try it: open a real socket in the instance and say whether reality agrees.
    #[arg(long)]
    pub probe: bool,
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

/// Which flows to show.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Go on showing new ones.
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
    /// Run a lab in a region of its own that goes when it is done.
    Run {
        /// A lab's name, or the path of a lab file.
        name: String,
        /// Run it in the running region of the state directory instead, and take down what it made.
        #[arg(long)]
        on: bool,
        /// Leave out the step with this id, to see what depends on it.
        #[arg(long, value_name = "STEP")]
        without: Option<String>,
        /// Run it once for each API step with that step left out, and require the right step to fail.
        #[arg(long, conflicts_with_all = ["on", "without"])]
        omissions: bool,
        /// Which part of the omissions: for the processes that share them.
        #[arg(long, hide = true, requires = "omissions")]
        shard: Option<usize>,
    },
}

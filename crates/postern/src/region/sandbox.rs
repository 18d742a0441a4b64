//! What an instance's sandbox is made of: host name, resolver, the region's CA, who may log in, what runs first.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use postern_dataplane::host::{FileSpec, InstanceSpec, LOGIN_HOME};
use postern_model::VpcId;
use postern_model::instance::{Instance, find_key_pair};
use postern_model::interface::NetworkInterface;
use postern_model::state::State;
use postern_model::vpn::VpnConnection;
use postern_path::decide::LINK_RESOLVER;

/// Where programs in an instance find the region's CA.
pub const CA_BUNDLE: &str = "/etc/postern/ca.pem";
/// How many names a host on premises knows. The sandbox takes no more.
const MAX_NAMES: usize = 256;
/// Where user data lies, if it is a program.
pub const USER_DATA: &str = "/var/lib/postern/user-data";

/// What every instance of a region shares.
#[derive(Debug, Clone)]
pub struct Furnishings {
    /// The region's CA.
    pub ca_bundle: String,
    /// The folder whose `bin` is on the PATH.
    pub tools: Option<PathBuf>,
}

/// The sandbox of an instance with this primary interface.
pub fn spec(
    state: &State,
    instance: &Instance,
    primary: &NetworkInterface,
    shared: &Furnishings,
) -> InstanceSpec {
    let address = primary.primary_address();
    let [a, b, c, d] = address.octets();
    let mut spec = InstanceSpec::new(&instance.id.to_string(), &format!("ip-{a}-{b}-{c}-{d}"));
    let region = &state.region.name;
    let domain = postern_model::vpc::domain_name(region);
    let short = format!("ip-{a}-{b}-{c}-{d}");
    spec.host_entries =
        vec![(IpAddr::V4(address), format!("{short}.{domain}")), (IpAddr::V4(address), short)];
    spec.domain = Some(domain);
    spec.name_servers = name_servers(state, instance);
    spec.environment = environment(shared.tools.as_deref());
    spec.read_only_binds = shared.tools.iter().cloned().collect();
    spec.files = files(state, instance, region, shared);
    spec
}

/// The sandbox of a host on premises, at the end of a VPN.
pub fn spec_on_premises(state: &State, connection: &VpnConnection, shared: &Furnishings) -> InstanceSpec {
    let mut spec = InstanceSpec::new(&connection.id.to_string(), "on-premises");
    let vpcs = connection.vpcs(state);
    // A network on premises asks the VPC's resolver where that has inbound endpoints when the host is made.
    spec.name_servers = inbound_servers(state, &vpcs);
    if spec.name_servers.is_empty() {
        spec.host_entries = public_names(state, &vpcs);
    }
    spec.environment = environment(shared.tools.as_deref());
    spec.read_only_binds = shared.tools.iter().cloned().collect();
    spec.files = common_files(&state.region.name, shared);
    spec
}

/// The addresses of the VPCs' inbound endpoints, as many as a `resolv.conf` can have.
fn inbound_servers(state: &State, vpcs: &[VpcId]) -> Vec<IpAddr> {
    let all = state.resolver_endpoints.values().filter(|endpoint| vpcs.contains(&endpoint.vpc));
    let addresses = all.flat_map(|endpoint| &endpoint.addresses);
    addresses.map(|one| IpAddr::V4(one.address)).take(3).collect()
}

/// Names that everybody's resolvers know, as they are now: those of services, and interface endpoints' own, which "resolve
/// to the private IP addresses" from anywhere. On premises there is nobody here to ask for them.
fn public_names(state: &State, vpcs: &[VpcId]) -> Vec<(IpAddr, String)> {
    let mut entries = Vec::new();
    for endpoint in state.vpc_endpoints.values().filter(|endpoint| vpcs.contains(&endpoint.vpc)) {
        let dns = endpoint.dns(state);
        let prefixes: &[&str] = if dns.below { &["bucket.", "accesspoint.", "control."] } else { &[""] };
        for (name, addresses) in &dns.own {
            let first = addresses.first().map(|address| IpAddr::V4(*address));
            entries.extend(
                first.iter().flat_map(|at| prefixes.iter().map(|start| (*at, format!("{start}{name}")))),
            );
        }
    }
    for service in state.services.values() {
        let Some(address) = service.public_addresses.first() else { continue };
        let names = service.dns_names.iter().filter(|name| !name.starts_with('*'));
        entries.extend(names.map(|name| (IpAddr::V4(*address), name.clone())));
    }
    entries.truncate(MAX_NAMES);
    entries
}

/// What DHCP would say: the VPC's resolver, unless its DHCP options name others.
fn name_servers(state: &State, instance: &Instance) -> Vec<IpAddr> {
    let vpc = state.vpcs.get(&instance.vpc);
    let resolver = vpc.map_or(LINK_RESOLVER, |vpc| vpc.resolver());
    let options = vpc.and_then(|vpc| state.dhcp_options.get(&vpc.dhcp_options));
    let named = options.and_then(|options| options.options.get("domain-name-servers"));
    let parse = |name: &String| match name.as_str() {
        "AmazonProvidedDNS" => Some(IpAddr::V4(resolver)),
        other => other.parse().ok(),
    };
    let servers: Vec<IpAddr> = named.into_iter().flatten().filter_map(parse).take(3).collect();
    if servers.is_empty() { vec![IpAddr::V4(resolver)] } else { servers }
}

fn search_path(tools: Option<&Path>) -> String {
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    match tools {
        Some(tools) => format!("{}:{system}", tools.join("bin").display()),
        None => system.to_owned(),
    }
}

fn environment(tools: Option<&Path>) -> Vec<(String, String)> {
    let path = search_path(tools);
    // Programs that are not AWS's look for the CA here; `aws` and boto3 read it from the home's own configuration.
    vec![("PATH".to_owned(), path), ("SSL_CERT_FILE".to_owned(), CA_BUNDLE.to_owned())]
}

fn file(path: impl Into<PathBuf>, mode: u32, text: impl Into<Vec<u8>>) -> FileSpec {
    FileSpec { path: path.into(), mode, bytes: text.into() }
}

fn files(state: &State, instance: &Instance, region: &str, shared: &Furnishings) -> Vec<FileSpec> {
    let mut files = common_files(region, shared);
    let home = Path::new(LOGIN_HOME);
    let key = instance.key_name.as_ref().and_then(|name| find_key_pair(state, instance.owner, name).ok());
    if let Some(key) = key {
        files.push(file(
            home.join(".ssh/authorized_keys"),
            0o600,
            format!("{}\n", key.public_key.trim_end()),
        ));
    }
    if let Some(data) = instance.user_data.as_ref().filter(|data| is_program(data)) {
        files.push(file(USER_DATA, 0o755, data.clone()));
    }
    files
}

/// What programs find in every sandbox: the region's CA, and where `aws` finds it.
fn common_files(region: &str, shared: &Furnishings) -> Vec<FileSpec> {
    let home = Path::new(LOGIN_HOME);
    // Without being told, `aws s3 presign` of version 1 signs as S3 did before SigV4, which is not served.
    let config = format!(
        "[default]\nregion = {region}\nca_bundle = {CA_BUNDLE}\nsts_regional_endpoints = regional\n\
         s3 =\n  signature_version = s3v4\n"
    );
    let mut files =
        vec![file(CA_BUNDLE, 0o644, shared.ca_bundle.clone()), file(home.join(".aws/config"), 0o600, config)];
    if shared.tools.is_some() {
        // A login shell begins with the PATH of /etc/profile.
        files.push(file(
            home.join(".profile"),
            0o644,
            format!("PATH={}\n", search_path(shared.tools.as_deref())),
        ));
    }
    files
}

/// Whether user data is a program to run ("User data scripts": it begins with `#!`).
pub fn is_program(user_data: &[u8]) -> bool {
    user_data.starts_with(b"#!")
}

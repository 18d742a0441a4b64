//! The tree of instance metadata: what is at a path, for one instance.

use std::collections::BTreeMap;

use postern_model::gateway::elastic_of;
use postern_model::instance::{Instance, find_key_pair};
use postern_model::interface::NetworkInterface;
use postern_model::security_group::SecurityGroup;
use postern_model::state::Resource as _;
use postern_model::subnet::Subnet;
use postern_model::vpc::{Vpc, domain_name};
use postern_model::{State, VpcId};
use postern_path::Peer;
use serde_json::json;
use std::net::Ipv4Addr;

use super::credentials;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A value.
    Text(String),
    /// Bytes: user data.
    Bytes(Vec<u8>),
    /// More paths.
    Folder(Entries),
    /// A key pair, which is listed by its number and its name.
    KeyPair {
        /// Its name.
        name: String,
        /// The public key.
        public_key: String,
    },
    /// The signature of this document.
    Signature(String),
    /// This document in a signed message.
    Message(String),
    /// `iam/info`.
    ProfileInfo,
    /// The role's credentials.
    Credentials,
}

type Entries = BTreeMap<String, Node>;

/// What is at this path; `/latest/meta-data` and `/latest/meta-data/` are the same, as on AWS.
pub(super) fn find(state: &State, instance: &Instance, peer: &Peer, signs: bool, path: &str) -> Option<Node> {
    let path = path.strip_prefix('/')?;
    let steps = path.strip_suffix('/').unwrap_or(path);
    let root = Node::Folder(BTreeMap::from([("latest".to_owned(), latest(state, instance, peer, signs))]));
    if steps.is_empty() {
        return Some(root);
    }
    let node = steps.split('/').try_fold(root, |node, step| match node {
        Node::Folder(mut entries) => entries.remove(step),
        Node::KeyPair { public_key, .. } => (step == "openssh-key").then_some(Node::Text(public_key)),
        Node::Text(_)
        | Node::Bytes(_)
        | Node::Signature(_)
        | Node::Message(_)
        | Node::ProfileInfo
        | Node::Credentials => None,
    })?;
    let value = match node {
        Node::Folder(_) | Node::KeyPair { .. } => false,
        Node::Text(_)
        | Node::Bytes(_)
        | Node::Signature(_)
        | Node::Message(_)
        | Node::ProfileInfo
        | Node::Credentials => true,
    };
    // A value has nothing below it.
    (!value || !path.ends_with('/')).then_some(node)
}

/// The names in a folder, one a line; folders end with a slash.
pub(super) fn listing(entries: &Entries) -> String {
    let line = |(name, node): (&String, &Node)| match node {
        Node::Folder(_) => format!("{name}/"),
        Node::KeyPair { name: pair, .. } => format!("{name}={pair}"),
        Node::Text(_)
        | Node::Bytes(_)
        | Node::Signature(_)
        | Node::Message(_)
        | Node::ProfileInfo
        | Node::Credentials => name.clone(),
    };
    entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Builds a folder; what is absent stays out.
#[derive(Default)]
struct Folder(Entries);

impl Folder {
    fn text(mut self, name: &str, text: impl Into<Option<String>>) -> Self {
        if let Some(text) = text.into() {
            self.0.insert(name.to_owned(), Node::Text(text));
        }
        self
    }

    fn node(mut self, name: &str, node: impl Into<Option<Node>>) -> Self {
        if let Some(node) = node.into() {
            self.0.insert(name.to_owned(), node);
        }
        self
    }

    fn done(self) -> Node {
        Node::Folder(self.0)
    }
}

fn latest(state: &State, instance: &Instance, peer: &Peer, signs: bool) -> Node {
    let document = identity_document(state, instance);
    let signed = |node: fn(String) -> Node| signs.then(|| node(document.clone()));
    let identity = Folder::default()
        .node("rsa2048", signed(Node::Message))
        .node("signature", signed(Node::Signature))
        .text("document", document.clone())
        .done();
    // Detailed monitoring is refused, so it is off everywhere.
    let fws = Folder::default().text("instance-monitoring", "disabled".to_owned()).done();
    Folder::default()
        .node("dynamic", Folder::default().node("fws", fws).node("instance-identity", identity).done())
        .node("meta-data", meta_data(state, instance, peer))
        .node("user-data", instance.user_data.clone().map(Node::Bytes))
        .done()
}

fn meta_data(state: &State, instance: &Instance, peer: &Peer) -> Node {
    let primary = instance.primary_interface(state).map(AsRef::as_ref);
    let address = primary.map_or(peer.address, NetworkInterface::primary_address);
    let public = primary.and_then(|interface| public_address(state, interface, address));
    let host = host_name(state, address);
    let asking = primary.map(|interface| interface.mac.to_string());
    let groups = primary.map(|interface| group_names(state, interface)).filter(|names| !names.is_empty());
    Folder::default()
        .text("ami-id", instance.image.clone())
        // Of an image that was not made by uploading a manifest.
        .text("ami-manifest-path", "(unknown)".to_owned())
        .text("ami-launch-index", instance.launch_index.to_string())
        .text("hostname", host.clone())
        .node("events", events())
        .node("iam", iam(state, instance))
        .text("instance-action", "none".to_owned())
        .text("instance-id", instance.id.to_string())
        .text("instance-life-cycle", "on-demand".to_owned())
        .text("instance-type", instance.instance_type.clone())
        .text("local-hostname", host)
        .text("local-ipv4", address.to_string())
        .text("mac", asking)
        .node("network", network(state, instance))
        .node("placement", placement(state, instance))
        .text("public-hostname", public.and_then(|public| public_host_name(state, instance.vpc, public)))
        .text("public-ipv4", public.map(|public| public.to_string()))
        .node("public-keys", public_keys(state, instance))
        .text("reservation-id", instance.reservation.to_string())
        .text("security-groups", groups)
        .node(
            "services",
            Folder::default()
                .text("domain", "amazonaws.com".to_owned())
                .text("partition", "aws".to_owned())
                .done(),
        )
        .done()
}

/// Nobody plans maintenance of this machine.
fn events() -> Node {
    let none = || "[]".to_owned();
    let maintenance = Folder::default().text("history", none()).text("scheduled", none()).done();
    Folder::default().node("maintenance", maintenance).done()
}

fn iam(state: &State, instance: &Instance) -> Option<Node> {
    credentials::profile(state, instance)?;
    let mut roles = Folder::default();
    if let Some(role) = credentials::role_name(state, instance) {
        roles = roles.node(role, Node::Credentials);
    }
    Some(Folder::default().node("info", Node::ProfileInfo).node("security-credentials", roles.done()).done())
}

fn public_keys(state: &State, instance: &Instance) -> Option<Node> {
    let pair = find_key_pair(state, instance.owner, instance.key_name.as_deref()?).ok()?;
    let key = Node::KeyPair { name: pair.name.clone(), public_key: pair.public_key.trim_end().to_owned() };
    Some(Folder::default().node("0", key).done())
}

fn subnet<'s>(state: &'s State, interface: &NetworkInterface) -> Option<&'s Subnet> {
    Subnet::table(state).get(&interface.subnet).map(AsRef::as_ref)
}

fn placement(state: &State, instance: &Instance) -> Node {
    let zone = Subnet::table(state).get(&instance.subnet).map(|subnet| subnet.zone.clone());
    let zone_id = state.region.zones.iter().find(|known| Some(&known.name) == zone.as_ref());
    Folder::default()
        .text("availability-zone", zone.clone())
        .text("availability-zone-id", zone_id.map(|zone| zone.id.clone()))
        .text("region", state.region.name.clone())
        .done()
}

fn network(state: &State, instance: &Instance) -> Node {
    let mut macs = Folder::default();
    for interface in instance.interfaces(state) {
        macs = macs.node(&interface.mac.to_string(), one_interface(state, interface));
    }
    let interfaces = Folder::default().node("macs", macs.done()).done();
    Folder::default().node("interfaces", interfaces).done()
}

fn one_interface(state: &State, interface: &NetworkInterface) -> Node {
    let addresses: Vec<Ipv4Addr> =
        interface.private_addresses.iter().map(|private| private.address).collect();
    let lines = |texts: Vec<String>| texts.join("\n");
    let public: Vec<(Ipv4Addr, Ipv4Addr)> = addresses
        .iter()
        .filter_map(|private| Some((public_address(state, interface, *private)?, *private)))
        .collect();
    let associations = public.iter().fold(Folder::default(), |folder, (public, private)| {
        folder.text(&public.to_string(), private.to_string())
    });
    let associations = Some(associations.done()).filter(|_| !public.is_empty());
    let public =
        Some(lines(public.iter().map(|(public, _)| public.to_string()).collect())).filter(|t| !t.is_empty());
    let vpc = Vpc::table(state).get(&interface.vpc);
    let public_host = public_address(state, interface, interface.primary_address())
        .and_then(|public| public_host_name(state, interface.vpc, public));
    let blocks: Vec<String> =
        vpc.map(|vpc| vpc.blocks.iter().map(|block| block.cidr.to_string()).collect()).unwrap_or_default();
    Folder::default()
        .text("device-number", interface.attachment.map(|plug| plug.device_index.to_string()))
        .text("interface-id", interface.id.to_string())
        .node("ipv4-associations", associations)
        .text("local-hostname", host_name(state, interface.primary_address()))
        .text("local-ipv4s", lines(addresses.iter().map(Ipv4Addr::to_string).collect()))
        .text("mac", interface.mac.to_string())
        .text("owner-id", interface.owner.to_string())
        .text("public-hostname", public_host)
        .text("public-ipv4s", public)
        .text("security-group-ids", lines(interface.groups.iter().map(ToString::to_string).collect()))
        .text("security-groups", group_names(state, interface))
        .text("subnet-id", interface.subnet.to_string())
        .text("subnet-ipv4-cidr-block", subnet(state, interface).map(|subnet| subnet.cidr.to_string()))
        .text("vpc-id", interface.vpc.to_string())
        .text("vpc-ipv4-cidr-block", blocks.first().cloned())
        .text("vpc-ipv4-cidr-blocks", lines(blocks))
        .done()
}

fn group_names(state: &State, interface: &NetworkInterface) -> String {
    let groups = interface.groups.iter().filter_map(|id| SecurityGroup::table(state).get(id));
    groups.map(|group| group.name.clone()).collect::<Vec<_>>().join("\n")
}

/// The public address that stands for a private one: an Elastic IP address, or the automatic one of the primary.
fn public_address(state: &State, interface: &NetworkInterface, private: Ipv4Addr) -> Option<Ipv4Addr> {
    let elastic = elastic_of(state, interface.id, private).map(|address| address.public_address);
    let automatic = interface.automatic_public_address.filter(|_| private == interface.primary_address());
    elastic.or(automatic)
}

/// `ip-10-0-0-5.ec2.internal` ("EC2 instance hostnames and domains").
fn host_name(state: &State, address: Ipv4Addr) -> String {
    let dashed = address.to_string().replace('.', "-");
    format!("ip-{dashed}.{}", domain_name(&state.region.name))
}

/// There is one only where the VPC gives out host names.
fn public_host_name(state: &State, vpc: VpcId, public: Ipv4Addr) -> Option<String> {
    Vpc::table(state).get(&vpc).filter(|vpc| vpc.dns_hostnames)?;
    let dashed = public.to_string().replace('.', "-");
    let region = state.region.name.as_str();
    let zone = if region == "us-east-1" { "compute-1".to_owned() } else { format!("{region}.compute") };
    Some(format!("ec2-{dashed}.{zone}.amazonaws.com"))
}

fn identity_document(state: &State, instance: &Instance) -> String {
    let zone = Subnet::table(state).get(&instance.subnet).map(|subnet| subnet.zone.clone());
    let address = instance.primary_interface(state).map(|interface| interface.primary_address().to_string());
    let at = i64::try_from(instance.launched_at.0).unwrap_or(i64::MAX);
    let document = json!({
        "accountId": instance.owner.to_string(),
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
        "availabilityZone": zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "imageId": instance.image,
        "instanceId": instance.id.to_string(),
        "instanceType": instance.instance_type,
        "kernelId": null,
        "marketplaceProductCodes": null,
        "pendingTime": postern_wire::Timestamp::from_millis(at).iso_seconds(),
        "privateIp": address,
        "ramdiskId": null,
        "region": state.region.name,
        "version": "2017-09-30",
    });
    // Texts only, which always can be written.
    serde_json::to_string_pretty(&document).unwrap_or_default()
}

//! `postern trace`: from a name to where its packets end, by the plan that packets follow, and by trying.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use postern_dataplane::forward::Drops;
use postern_dataplane::host::Namespace;
use postern_model::{InstanceId, NetworkInterfaceId, VpcId, VpnConnectionId};
use postern_path::explain::{Explanation, explain, name_line};
use postern_path::{DropReason, Flow, InterfacePlan, Plan, Question, Resolution, Transport, Viewer};
use serde::Serialize;

use super::planner::Planned;
use crate::cli::Protocol;

/// How long a probe waits for an answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);
/// The port that a flow is explained with: the first of those that Linux picks from.
const SOURCE_PORT: u16 = 32_768;

/// An explanation, and what happened when it was tried.
#[derive(Debug, Clone, Serialize)]
pub struct Trace {
    /// The stages.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// What a real socket saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// What a real socket saw, and what the interface's counters say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What the socket saw, in words.
    pub saw: String,
    /// Whether something answered.
    pub answered: bool,
    /// Why packets of the interface were dropped meanwhile.
    pub dropped: Vec<&'static str>,
    /// Whether that is what the explanation says: a flow that arrives is answered or at least not dropped, one that
    /// does not is dropped by the stage that was named.
    pub agrees: bool,
}

/// Explains a flow. `look_up` asks the host's resolvers, as the VPC's resolver does for names that are not the region's.
pub fn trace(
    planned: &Planned,
    from: &str,
    to: &str,
    protocol: Protocol,
    look_up: impl FnOnce(VpcId, &str) -> Resolution,
) -> anyhow::Result<(Explanation, Option<Flow>)> {
    let plan = &planned.plan;
    let source = find_source(planned, from)?;
    let (host, port) = split_target(to, protocol)?;
    let mut stages = Vec::new();
    let destination = match host.parse::<Ipv4Addr>() {
        Ok(address) => address,
        Err(_) => {
            let viewer = Some(Viewer { interface: source.id, number: 0 });
            let resolution = match source.remote {
                Some(_) => plan.resolve_outside(host),
                None => match plan.resolve_for(source.vpc, viewer, host, Question::Address) {
                    Resolution::Elsewhere => look_up(source.vpc, host),
                    known => known,
                },
            };
            stages.push(name_line(host, &resolution));
            match resolution {
                Resolution::Addresses { addresses, source: _ } => {
                    addresses.first().copied().context("the name has no address")?
                }
                Resolution::Pointer(_)
                | Resolution::NoData
                | Resolution::Unknown
                | Resolution::Elsewhere
                | Resolution::Off => {
                    let flow = format!("{} -> {host}", source.id);
                    return Ok((Explanation { flow, arrives: false, stages }, None));
                }
            }
        }
    };
    let from = on_premises(planned, source).or(source.addresses.first().copied());
    let from = from.context("the interface has no address")?;
    let transport = match protocol {
        Protocol::Tcp => Transport::Tcp { source_port: SOURCE_PORT, destination_port: port },
        Protocol::Udp => Transport::Udp { source_port: SOURCE_PORT, destination_port: port },
        Protocol::Icmp => Transport::Icmp { kind: 8, code: 0, identifier: 1 },
    };
    let flow = Flow { entry: source.id, source: from.into(), destination: destination.into(), transport };
    let explained = explain(&flow, &plan.decide(&flow));
    stages.extend(explained.stages);
    Ok((Explanation { flow: explained.flow, arrives: explained.arrives, stages }, Some(flow)))
}

/// An address of the network on premises, for the end of a VPN.
fn on_premises(planned: &Planned, source: &InterfacePlan) -> Option<Ipv4Addr> {
    let connection = planned.state.vpn_connections.get(&source.remote?.connection)?;
    super::attach_vpn::on_premises(&planned.state, connection).map(|(_, address)| address)
}

fn find_source<'a>(planned: &'a Planned, from: &str) -> anyhow::Result<&'a InterfacePlan> {
    let plan: &Plan = &planned.plan;
    let id: NetworkInterfaceId = match from.parse::<InstanceId>() {
        Ok(instance) => {
            let instance =
                planned.state.instances.get(&instance).with_context(|| format!("there is no `{from}`"))?;
            let primary = instance.primary_interface(&planned.state);
            primary.with_context(|| format!("`{from}` has no network interface"))?.id
        }
        Err(_) if from.starts_with("vpn-") => {
            let connection = from.parse::<VpnConnectionId>()?;
            let found = planned.state.vpn_connections.get(&connection);
            found.with_context(|| format!("there is no `{from}`"))?.link.port
        }
        Err(_) => from
            .parse()
            .map_err(|_| anyhow!("`{from}` is neither an instance (i-…) nor a network interface (eni-…)"))?,
    };
    plan.interface(id).with_context(|| format!("there is no `{from}`"))
}

/// `name:port`, `address:port`, or either without a port where the protocol has none.
fn split_target(to: &str, protocol: Protocol) -> anyhow::Result<(&str, u16)> {
    if is_ipv6(to) {
        bail!("`{to}` is an IPv6 address, and the networks here have IPv4 only");
    }
    if to.contains("://") {
        bail!("`{to}` is a URL: write its host and a port, such as `s3.us-east-1.amazonaws.com:443`");
    }
    let (host, port) = match (to.rsplit_once(':'), protocol) {
        (Some((host, port)), Protocol::Tcp | Protocol::Udp) => match port.parse() {
            Ok(number @ 1..) => (host, number),
            Ok(0) | Err(_) => bail!("`{port}`, the port of `{to}`, is not a number from 1 to 65535"),
        },
        (None, Protocol::Icmp) => (to, 0),
        (None, Protocol::Tcp | Protocol::Udp) => bail!("`{to}` names no port: write `{to}:443`"),
        (Some(_), Protocol::Icmp) => bail!("`{to}` names a port, and ICMP has none"),
    };
    if !is_name_or_address(host) {
        bail!("`{host}` is neither a name nor an IPv4 address");
    }
    Ok((host, port))
}

/// Whether a target is an IPv6 address: alone, or in brackets, behind which there may be a port.
fn is_ipv6(to: &str) -> bool {
    let bracketed = to.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(address, _)| address);
    let address = bracketed.unwrap_or(to);
    // A zone may stand behind it: `fe80::1%eth0`.
    address.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

/// Whether it can be a name in DNS (RFC 1123; underscores are in use) or is an address. What has a number at its end is
/// no name (RFC 3696, section 2), so it must be an address.
fn is_name_or_address(host: &str) -> bool {
    if host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

/// Tries a flow from inside the source's network namespace, and says what the socket saw and what `drops` counted for
/// the interface. It never asks the plan.
pub fn probe(
    network: &Namespace,
    flow: &Flow,
    explanation: &Explanation,
    drops: impl Fn() -> anyhow::Result<Drops>,
) -> anyhow::Result<Probe> {
    let before = drops()?;
    let target = |port| SocketAddr::new(flow.destination, port);
    let (saw, answered) = match flow.transport {
        Transport::Tcp { destination_port, .. } => network.run(|| try_tcp(target(destination_port)))?,
        Transport::Udp { destination_port, .. } => network.run(|| try_udp(target(destination_port)))?,
        Transport::Icmp { .. } => network.run(|| try_echo(flow.destination))?,
        Transport::Other { protocol } => bail!("protocol `{protocol}` cannot be tried"),
    };
    let after = drops()?;
    let dropped: Vec<DropReason> = after
        .iter()
        .filter(|(reason, count)| *count > before.get(*reason))
        .map(|(reason, _)| reason)
        .collect();
    let agrees = match explanation.stages.iter().find(|line| !line.passed) {
        // Nothing but an answer shows that TCP arrived; other protocols may go unanswered.
        None => answered || (dropped.is_empty() && !matches!(flow.transport, Transport::Tcp { .. })),
        Some(refusal) => !answered && dropped.iter().any(|reason| reason.stage().name() == refusal.stage),
    };
    Ok(Probe { saw, answered, dropped: dropped.into_iter().map(DropReason::name).collect(), agrees })
}

fn try_tcp(target: SocketAddr) -> (String, bool) {
    match TcpStream::connect_timeout(&target, PROBE_PATIENCE) {
        Ok(_) => (format!("connected to {target}"), true),
        // Whoever refuses was reached.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            (format!("{target} refused the connection"), true)
        }
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            (format!("no answer from {target} in 3 s"), false)
        }
        Err(error) => (format!("{target}: {error}"), false),
    }
}

fn try_udp(target: SocketAddr) -> (String, bool) {
    let attempt = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PROBE_PATIENCE))?;
        socket.connect(target)?;
        // A DNS query for the root's name servers: something that a resolver answers and others may.
        socket.send(&[0x70, 0x6e, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1])?;
        socket.recv(&mut [0; 512])
    };
    match attempt() {
        Ok(_) => (format!("{target} answered"), true),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            (format!("nothing listens at {target}"), true)
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            (format!("no answer from {target} in 3 s"), false)
        }
        Err(error) => (format!("{target}: {error}"), false),
    }
}

/// An echo over a raw socket: one for ordinary users would be for the instance's own, and we are none of them.
fn try_echo(target: IpAddr) -> (String, bool) {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrIn, connect, socket};
    use std::os::fd::AsRawFd;
    let IpAddr::V4(address) = target else { return (format!("`{target}` is not an IPv4 address"), false) };
    let request = echo_request(std::process::id().to_le_bytes());
    let attempt = || -> std::io::Result<()> {
        let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
        connect(raw.as_raw_fd(), &SockaddrIn::from(std::net::SocketAddrV4::new(address, 0)))?;
        let socket = UdpSocket::from(raw);
        socket.send(&request)?;
        let deadline = Instant::now() + PROBE_PATIENCE;
        loop {
            // It gets every ICMP message of that sender; zero would mean no time limit.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left))?;
            let mut packet = [0; 256];
            let length = socket.recv(&mut packet)?;
            if is_echo_reply(packet.get(..length).unwrap_or_default(), &request) {
                return Ok(());
            }
        }
    };
    match attempt() {
        Ok(()) => (format!("{target} answered the echo"), true),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            (format!("no echo from {target} in 3 s"), false)
        }
        Err(error) => (format!("{target}: {error}"), false),
    }
}

/// Echo request, code 0, sequence number 1, with a few bytes to know it by.
fn echo_request(who: [u8; 4]) -> [u8; 12] {
    let [a, b, c, d] = who;
    let mut message = [8, 0, 0, 0, a, b, 0, 1, b'p', c, d, b'n'];
    let words = message.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(folded as u16);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// Whether an IPv4 packet is the answer to that request: the same bytes but type and checksum.
fn is_echo_reply(packet: &[u8], request: &[u8]) -> bool {
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let Some(message) = packet.get(header..) else { return false };
    message.first() == Some(&0) && message.get(4..) == request.get(4..)
}

/// The trace as people read it.
pub fn text(explanation: &Explanation, probe: Option<&Probe>) -> String {
    let mut text = explanation.to_string();
    text.push_str(if explanation.arrives { "=> it arrives\n" } else { "=> it does not arrive\n" });
    if let Some(probe) = probe {
        let verdict = if probe.agrees { "as explained" } else { "NOT as explained" };
        let dropped = if probe.dropped.is_empty() {
            "nothing was dropped".to_owned()
        } else {
            format!("dropped: {}", probe.dropped.join(", "))
        };
        text.push_str(&format!("=> tried it: {}; {dropped} ({verdict})\n", probe.saw));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_an_address_with_a_port() {
        let split = |to: &'static str, protocol| {
            split_target(to, protocol).map_err(|error| crate::said::said(&error))
        };
        let s3 = "s3.us-east-1.amazonaws.com";
        assert_eq!(split("s3.us-east-1.amazonaws.com:443", Protocol::Tcp), Ok((s3, 443)));
        assert_eq!(split("10.0.1.10:53", Protocol::Udp), Ok(("10.0.1.10", 53)));
        assert_eq!(
            split("ip-10-0-1-10.ec2.internal.", Protocol::Icmp),
            Ok(("ip-10-0-1-10.ec2.internal.", 0))
        );
        let refusals = [
            ("::1", "IPv6"),
            ("[::1]:443", "IPv6"),
            ("[fe80::1%eth0]:443", "IPv6"),
            ("2001:db8::1", "IPv6"),
            ("https://example.com/", "is a URL"),
            ("", "names no port"),
            (":443", "``"),
            ("host:", "the port of `host:`"),
            ("host:0", "`0`"),
            ("host:65536", "`65536`"),
            ("host:http", "`http`"),
            ("a:b:443", "`a:b`"),
            ("300.1.1.1:443", "`300.1.1.1`"),
            ("10.0.0:443", "`10.0.0`"),
            ("two words:443", "`two words`"),
            ("a..b:443", "`a..b`"),
        ];
        for (to, words) in refusals {
            let said = split(to, Protocol::Tcp).unwrap_err();
            assert!(said.contains(words) && !said.contains("invalid"), "{to}: {said}");
        }
        assert!(split("10.0.1.10:443", Protocol::Icmp).unwrap_err().contains("ICMP has none"));
    }

    #[test]
    fn an_echo_is_known_by_its_answer() {
        let request = echo_request([1, 2, 3, 4]);
        let words = request.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum = words.sum::<u32>();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum makes the sum all ones");
        let mut packet = [0x45_u8; 20].to_vec();
        packet.extend(request);
        assert!(!is_echo_reply(&packet, &request), "the request itself is no answer");
        packet[20] = 0;
        assert!(is_echo_reply(&packet, &request));
        assert!(!is_echo_reply(&packet, &echo_request([1, 2, 3, 5])));
        assert!(!is_echo_reply(&packet[..25], &request) && !is_echo_reply(&[], &request));
    }
}

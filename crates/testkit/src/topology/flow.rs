//! Flows as text, and their decisions as text.

use std::fmt::Write;
use std::net::Ipv4Addr;

use postern_model::{NetworkInterfaceId, ResourceId, VpcId};
use postern_path::explain::{Explanation, action_words, explain, name_line};
use postern_path::{
    Decision, Flow, NameSource, Outcome, Question, Reply, Resolution, SourceRewrite, Through, Transport,
};

use super::Topology;

/// What came of a flow that was written as text.
#[derive(Debug, Clone)]
pub struct Probe {
    /// What the VPC's resolver said, for a flow that begins with a name.
    pub resolution: Option<Resolution>,
    /// The flow and its decision; none where its name led nowhere.
    pub decided: Option<(Flow, Decision)>,
    /// All of it in words, with names in the place of ids.
    pub text: String,
}

/// Where a flow goes, before names are looked up.
enum Destination {
    Address(Ipv4Addr),
    Host(String),
}

impl Topology {
    /// Decides about a flow, such as `i1 -> s3:443 tcp`.
    pub fn probe(&self, text: &str) -> Result<Probe, String> {
        let (left, right) = text.split_once("->").ok_or("a flow is `FROM -> TO:PORT PROTOCOL`")?;
        let (from, words) = (left.trim(), right.split_whitespace().collect::<Vec<_>>());
        let (to, rest) = words.split_first().ok_or("to where?")?;
        // A name that stands for nothing is an interface that is not there.
        let entry = self.interface(from).unwrap_or(NetworkInterfaceId::from_number(0xdead_0000_0000));
        let found = self.state.network_interfaces.get(&entry);
        let (vpc, own) =
            found.map_or((None, Ipv4Addr::new(10, 0, 0, 99)), |x| (Some(x.vpc), x.primary_address()));
        let value = |key: &str| rest.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let source = value("from").map_or(Ok(own), |text| text.parse().map_err(|_| format!("`{text}`?")))?;
        let sport =
            value("sport").map_or(Ok(40_000), |text| text.parse().map_err(|_| format!("`{text}`?")))?;
        let (target, port) = match to.rsplit_once(':') {
            Some((target, port)) => (target, port.parse().map_err(|_| format!("`{port}` is not a port"))?),
            None => (*to, 0),
        };
        let transport = transport(rest, sport, port)?;
        let flow = |destination: Ipv4Addr| Flow {
            entry,
            source: source.into(),
            destination: destination.into(),
            transport,
        };
        Ok(match self.destination(vpc, target)? {
            Destination::Address(address) => self.decided(None, flow(address)),
            Destination::Host(host) => self.by_name(vpc.ok_or("no VPC")?, &host, flow),
        })
    }

    fn destination(&self, vpc: Option<VpcId>, target: &str) -> Result<Destination, String> {
        if let Some(host) = target.strip_prefix("dns=") {
            return Ok(Destination::Host(host.to_owned()));
        }
        if let Some(service) = self.state.services.get(&format!("com.amazonaws.us-east-1.{target}")) {
            return service.dns_names.first().cloned().map(Destination::Host).ok_or("no name".to_owned());
        }
        if let Some(name) = target.strip_prefix("public(").and_then(|rest| rest.strip_suffix(')')) {
            let label = format!("public({name})");
            let address = self.words.iter().find(|(_, word)| *word == label).map(|(id, _)| id);
            let address = address.and_then(|address| address.parse().ok());
            return address.map(Destination::Address).ok_or(format!("`{name}` has no public address"));
        }
        if let Some(name) = target.strip_prefix("vpce(").and_then(|rest| rest.strip_suffix(')')) {
            return self.endpoint_name(name).map(Destination::Host).ok_or(format!("`{name}` has no name"));
        }
        if target == "resolver" {
            let found = vpc.and_then(|vpc| self.state.vpcs.get(&vpc)).ok_or("no VPC")?;
            return Ok(Destination::Address(found.resolver()));
        }
        if let Some(interface) = self.interface(target) {
            let found = self.state.network_interfaces.get(&interface).ok_or("it is gone")?;
            return Ok(Destination::Address(found.primary_address()));
        }
        target.parse().map(Destination::Address).map_err(|_| format!("there is no `{target}`"))
    }

    /// The own name of an interface endpoint, or what is written before it and a dot below it.
    fn endpoint_name(&self, name: &str) -> Option<String> {
        let (front, name) = name.split_once('/').map_or((None, name), |(front, name)| (Some(front), name));
        let (name, zone) = name.split_once('@').map_or((name, None), |(name, zone)| (name, Some(zone)));
        let ResourceId::VpcEndpoint(id) = self.id(name)? else { return None };
        let own = self.state.vpc_endpoints.get(&id)?.dns(&self.state).own;
        let found = own.iter().find(|(name, _)| match zone {
            Some(zone) => name.split('.').next().is_some_and(|first| first.ends_with(zone)),
            None => true,
        });
        let (found, _) = found?;
        Some(front.map_or_else(|| found.clone(), |front| format!("{front}.{found}")))
    }

    fn by_name(&self, vpc: VpcId, host: &str, flow: impl Fn(Ipv4Addr) -> Flow) -> Probe {
        let resolution = self.plan.resolve(vpc, host, Question::Address);
        let mut line = name_line(host, &resolution);
        if let Resolution::Addresses { addresses, source: NameSource::Service(_) } = &resolution {
            // How many addresses a service has is nothing that a fixture is about.
            let all = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            line.why = line.why.replace(&all, "one of its addresses");
        }
        let first = match &resolution {
            Resolution::Addresses { addresses, source: _ } => addresses.first().copied(),
            Resolution::Pointer(_)
            | Resolution::NoData
            | Resolution::Unknown
            | Resolution::Elsewhere
            | Resolution::Off => None,
        };
        match first {
            Some(address) => {
                let flow = flow(address);
                let decision = self.plan.decide(&flow);
                let mut explanation = explain(&flow, &decision);
                explanation.stages.insert(0, line);
                let text = self.words_of(&explanation, Some(&decision));
                Probe { resolution: Some(resolution), decided: Some((flow, decision)), text }
            }
            None => {
                let explanation = Explanation { flow: host.to_owned(), arrives: false, stages: vec![line] };
                let text = self.words_of(&explanation, None);
                Probe { resolution: Some(resolution), decided: None, text }
            }
        }
    }

    fn decided(&self, resolution: Option<Resolution>, flow: Flow) -> Probe {
        let decision = self.plan.decide(&flow);
        let text = self.words_of(&explain(&flow, &decision), Some(&decision));
        Probe { resolution, decided: Some((flow, decision)), text }
    }

    fn words_of(&self, explanation: &Explanation, decision: Option<&Decision>) -> String {
        let mut text = explanation.to_string();
        if let Some(decision) = decision {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  => {}", outcome_words(decision));
        }
        self.with_names(&text)
    }
}

fn transport(rest: &[&str], source_port: u16, destination_port: u16) -> Result<Transport, String> {
    let number = |text: &str| text.parse::<u8>().map_err(|_| format!("`{text}` is not a number"));
    Ok(match rest {
        ["tcp", ..] => Transport::Tcp { source_port, destination_port },
        ["udp", ..] => Transport::Udp { source_port, destination_port },
        ["icmp", kind, ..] if !kind.contains('=') => {
            let (kind, code) = kind.split_once('.').unwrap_or((kind, "0"));
            Transport::Icmp { kind: number(kind)?, code: number(code)?, identifier: 7 }
        }
        ["icmp", ..] => Transport::Icmp { kind: 8, code: 0, identifier: 7 },
        ["proto", protocol, ..] => Transport::Other { protocol: number(protocol)? },
        _ => return Err("which protocol?".to_owned()),
    })
}

/// What is done to the packets, in one line.
fn outcome_words(decision: &Decision) -> String {
    let action = match &decision.outcome {
        Outcome::Refuse(refusal) => {
            let by = refusal.resource.map_or(String::new(), |resource| format!(" by {resource}"));
            let reply = match refusal.reply {
                Reply::Silence => String::new(),
                Reply::NetworkUnreachable(from) => format!(", answered by {from}"),
                Reply::Reset => ", answered by a reset".to_owned(),
            };
            return format!("dropped: {}{by}{reply}", refusal.reason.name());
        }
        Outcome::Forward(action) => action,
    };
    let mut text = action_words(action);
    if let Some(destination) = action.destination {
        let _ = write!(text, ", destination {destination}");
    }
    match action.source {
        SourceRewrite::Keep | SourceRewrite::Address(_) => {}
        SourceRewrite::Port { private_address, .. } => {
            let _ = write!(text, ", private side {private_address}");
        }
        SourceRewrite::Identity { peer, gateway } => {
            let _ = write!(text, ", as {} of {} in {}", peer.address, peer.interface, peer.vpc);
            match peer.through {
                Through::Endpoint(_, vpc) => {
                    let _ = write!(text, ", endpoint's VPC {vpc}");
                }
                Through::Resolver(_, vpc) => {
                    let _ = write!(text, ", resolver of {vpc}");
                }
                Through::Internet(_) | Through::Link => {}
            }
            if let Some(gateway) = gateway {
                let _ = write!(text, ", ports of {gateway}");
            }
        }
    }
    for hop in action.hops.addresses.iter().flatten() {
        let _ = write!(text, ", hop {hop}");
    }
    let reported = if action.mtu_reported { "" } else { " (silent)" };
    let _ = write!(text, ", MTU {}{reported}", action.mtu);
    let idle = action.idle.tcp_established_seconds;
    let _ = write!(text, ", idle {idle} s");
    text
}

//! A decision in words: each stage with the resource and rule that decided, why, and what would have to change.
//!
//! It reads the steps that the decision itself left behind and adds nothing to them.

use std::fmt;
use std::net::{IpAddr, SocketAddrV4};

use postern_model::ResourceId;
use serde::Serialize;

use crate::decision::{Action, Decision, Deliver, Outcome, Rule, SourceRewrite, Step, Verdict, Why};
use crate::flow::{Flow, Transport};
use crate::name::{NameSource, Resolution};
use crate::stage::{DropReason, Stage};

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The flow, in words.
    pub flow: String,
    /// Whether it arrives.
    pub arrives: bool,
    /// Each stage, in order.
    pub stages: Vec<Line>,
}

/// One stage in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The stage's name.
    pub stage: &'static str,
    /// Whether it let the flow pass.
    pub passed: bool,
    /// What decided.
    pub resource: Option<String>,
    /// Which of its rules.
    pub rule: Option<String>,
    /// Why.
    pub why: String,
    /// What would have to change for the flow to pass.
    pub remedy: Option<String>,
}

/// The stage in which a name was looked up, for a flow that begins with one.
pub fn name_line(name: &str, resolution: &Resolution) -> Line {
    let (passed, why, remedy) = match resolution {
        Resolution::Addresses { addresses, source } => {
            let list = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let source = match source {
                NameSource::Service(service) => format!("public addresses of {service}"),
                NameSource::PrivateName => "the private name of an interface in the VPC".to_owned(),
                NameSource::PublicName => "the public name of an interface".to_owned(),
                NameSource::Endpoint { endpoint, private: true } => {
                    format!("a private name, which leads to {endpoint}")
                }
                NameSource::Endpoint { endpoint, private: false } => format!("a name of {endpoint}"),
                NameSource::LoadBalancer(id) => format!("a name of {id}"),
                NameSource::Outside => "what the host's resolvers say".to_owned(),
            };
            (true, format!("`{name}` is {list}: {source}"), None)
        }
        Resolution::Pointer(target) => (true, format!("`{name}` is {target}"), None),
        Resolution::NoData => (false, format!("`{name}` has no IPv4 address"), None),
        Resolution::Unknown => (
            false,
            format!("`{name}` is not a name that the VPC's resolver knows"),
            Some("use the name of a service of this region, or of an instance in the VPC".to_owned()),
        ),
        Resolution::Elsewhere => (
            false,
            format!(
                "`{name}` is not a name of the region's, and the host's resolvers gave no address for it"
            ),
            None,
        ),
        Resolution::Off => (
            false,
            "the VPC's resolver is turned off".to_owned(),
            Some("set the VPC's attribute enableDnsSupport to true".to_owned()),
        ),
    };
    Line { stage: Stage::Name.name(), passed, resource: None, rule: None, why, remedy }
}

/// Puts a decision into words.
pub fn explain(flow: &Flow, decision: &Decision) -> Explanation {
    // Each stage speaks of the addresses that it saw.
    let mut seen = *flow;
    let stages = decision.steps.iter().map(|step| {
        match step.verdict {
            Verdict::Pass(Why::SourceBecomes(address)) => seen.source = address,
            Verdict::Pass(Why::DestinationBecomes(address)) => seen.destination = address,
            Verdict::Pass(Why::HandedTo { to, .. } | Why::StaysWith(to)) => seen = handed_to(&seen, to),
            Verdict::Pass(_) | Verdict::Refuse(_) => {}
        }
        line(&seen, step)
    });
    let stages = stages.collect();
    let arrives = matches!(decision.outcome, Outcome::Forward(_));
    Explanation { flow: flow.to_string(), arrives, stages }
}

fn line(flow: &Flow, step: &Step) -> Line {
    let (passed, why, remedy) = match step.verdict {
        Verdict::Pass(why) => (true, pass_words(why), None),
        Verdict::Refuse(DropReason::ReturnRoute) => {
            let (why, remedy) = lost_answer(flow, step.resource);
            (false, why, Some(remedy))
        }
        Verdict::Refuse(reason) => (false, refusal_words(flow, reason), remedy(flow, reason)),
    };
    let resource = step.resource.map(|resource| resource.to_string());
    Line { stage: step.stage.name(), passed, resource, rule: step.rule.map(rule_words), why, remedy }
}

fn rule_words(rule: Rule) -> String {
    match rule {
        Rule::SecurityGroup(id) => id.to_string(),
        Rule::NetworkAcl(Some(number)) => format!("rule {number}"),
        Rule::NetworkAcl(None) => "rule *".to_owned(),
        Rule::Route(block, None) => format!("route {block}"),
        Rule::Route(block, Some(list)) => format!("route {list} ({block})"),
        Rule::Local(block) => format!("local route {block}"),
    }
}

fn pass_words(why: Why) -> String {
    match why {
        Why::OwnAddress => "the source is one of the interface's own addresses".to_owned(),
        Why::SourceCheckOff => "the interface does not check sources".to_owned(),
        Why::RuleAllows => "the rule allows it".to_owned(),
        Why::NoGroups => "it is a load balancer's, which has no security groups".to_owned(),
        Why::Tracked => "the connection was allowed before and is tracked".to_owned(),
        Why::SameSubnet => "sender and receiver are in the same subnet".to_owned(),
        Why::TransitSubnet => "the transit gateway is in the receiver's subnet".to_owned(),
        Why::LongestPrefix => "the longest prefix that matches".to_owned(),
        Why::SourceBecomes(address) => format!("the source becomes {address}"),
        Why::DestinationBecomes(address) => format!("the destination becomes {address}"),
        Why::InterfaceHas(id) => format!("{id} has the address"),
        Why::ServiceAddress => "a public address of an AWS service".to_owned(),
        Why::LeadsTo(vpc) => format!("its other side is {vpc}"),
        Why::OnPremises => "the connection leads to the network on premises".to_owned(),
        Why::LeavesBy(link) => {
            format!("leaves the region by {link}; outside, the source is the host's own address there")
        }
        Why::EndpointAvailable => {
            "requests carry this endpoint as aws:SourceVpce, and no aws:SourceIp".to_owned()
        }
        Why::AnsweredFor(vpc) => format!("answers as the resolver of {vpc} does for networks outside it"),
        Why::HandedTo { target, to, of, healthy: true } => {
            format!("target {target} of {of} healthy, at {to}")
        }
        Why::HandedTo { target, to, of, healthy: false } => {
            format!("target {target} of {of}, none of which is healthy, at {to}")
        }
        Why::StaysWith(to) => format!("the connection stays with its target at {to}"),
        Why::LinkService => "neither security groups nor ACLs filter this service".to_owned(),
        Why::AnswerPasses => "the answer passes".to_owned(),
        Why::Arrives(Deliver::Interface(id)) => format!("arrives at {id}"),
        Why::Arrives(Deliver::Door(door)) => format!("arrives at the {}", door.name()),
    }
}

/// The flow as a target sees it, but for its source.
fn handed_to(flow: &Flow, to: SocketAddrV4) -> Flow {
    let transport = match flow.transport {
        Transport::Tcp { source_port, .. } => Transport::Tcp { source_port, destination_port: to.port() },
        Transport::Udp { source_port, .. } => Transport::Udp { source_port, destination_port: to.port() },
        other @ (Transport::Icmp { .. } | Transport::Other { .. }) => other,
    };
    Flow { destination: IpAddr::V4(*to.ip()), transport, ..*flow }
}

/// Why the answer does not come back, and what would have to change: it depends on what loses it.
fn lost_answer(flow: &Flow, by: Option<ResourceId>) -> (String, String) {
    let source = flow.source;
    match by {
        Some(ResourceId::VpcEndpoint(_)) => (
            format!("{source} is not the interface's own: the endpoint's answer goes to who has it"),
            "send from an address of the interface's own, or translate to one".to_owned(),
        ),
        Some(ResourceId::TransitGatewayAttachment(_) | ResourceId::TransitGatewayRouteTable(_)) => (
            format!("the transit gateway does not take the answer to {source} back"),
            "give the receiver's attachment a subnet in the receiver's zone, associate it with a route table, and have \
             that lead to the sender's attachment (by propagation, or by a static route)"
                .to_owned(),
        ),
        Some(ResourceId::Vpc(_)) => (
            format!("nobody in the VPC has {source}, so the answer goes nowhere"),
            "send from an address that an interface in the VPC has".to_owned(),
        ),
        Some(
            ResourceId::Subnet(_)
            | ResourceId::RouteTable(_)
            | ResourceId::InternetGateway(_)
            | ResourceId::NatGateway(_)
            | ResourceId::VpcPeeringConnection(_)
            | ResourceId::CustomerGateway(_)
            | ResourceId::VpnGateway(_)
            | ResourceId::VpnConnection(_)
            | ResourceId::TransitGateway(_)
            | ResourceId::Address(_)
            | ResourceId::NetworkInterface(_)
            | ResourceId::SecurityGroup(_)
            | ResourceId::SecurityGroupRule(_)
            | ResourceId::NetworkAcl(_)
            | ResourceId::PrefixList(_)
            | ResourceId::EndpointService(_)
            | ResourceId::ConnectionNotification(_)
            | ResourceId::LoadBalancer(_)
            | ResourceId::Listener(_)
            | ResourceId::TargetGroup(_)
            | ResourceId::ResolverEndpoint(_)
            | ResourceId::Instance(_)
            | ResourceId::DhcpOptions(_)
            | ResourceId::KeyPair(_),
        )
        | None => (
            format!("the answer to {source} would not find its way back"),
            "in the receiver's route table, route answers to where the packets come from (over the internet, to the \
             internet gateway)"
                .to_owned(),
        ),
    }
}

fn refusal_words(flow: &Flow, reason: DropReason) -> String {
    let Flow { source, destination, transport, .. } = flow;
    match reason {
        DropReason::SpoofedSource => format!("{source} is none of the interface's addresses"),
        DropReason::EgressSecurityGroup => format!("no outbound rule allows {transport} to {destination}"),
        DropReason::IngressSecurityGroup => format!("no inbound rule allows {transport} from {source}"),
        DropReason::EgressNetworkAcl | DropReason::IngressNetworkAcl => format!("the ACL denies {transport}"),
        DropReason::ReturnNetworkAcl => format!("the ACL denies the answer to {transport}"),
        DropReason::NoRoute => format!("no route to {destination}"),
        DropReason::Blackhole => format!("the route to {destination} leads to something that is gone"),
        DropReason::NoSuchAddress => {
            format!("nobody in the VPC has {destination} or takes connections there")
        }
        DropReason::TargetDown => format!("{destination} is not plugged into anything that runs"),
        DropReason::NoPublicAddress => format!("{source} has no public address"),
        DropReason::NoUplink => format!("this region has no way to {destination} on the internet"),
        DropReason::NotCarried => {
            format!(
                "{destination} is no address that the internet carries packets to, and nobody's in the region"
            )
        }
        DropReason::UplinkProtocol => format!("the uplink does not carry {transport}"),
        DropReason::DestinationCheck => {
            "the interface checks destinations and the packet is not for it".to_owned()
        }
        DropReason::ResolverOff => "the VPC's resolver is turned off".to_owned(),
        DropReason::MetadataOff => "instance metadata is turned off".to_owned(),
        DropReason::NoSuchLinkService => format!("no link service takes {transport} at {destination}"),
        DropReason::NatProtocol => format!("a NAT gateway does not take {transport}"),
        DropReason::EndpointNotAvailable => "the endpoint is not available".to_owned(),
        DropReason::EndpointProtocol => format!("the endpoint does not take {transport}"),
        DropReason::NoTarget => {
            "its target group has no target that the zone may hand connections to".to_owned()
        }
        DropReason::TargetGone => "the target of the connection has failed or was let go of".to_owned(),
        DropReason::Hairpin => "the target is the client itself, and would see its own address".to_owned(),
        DropReason::NotTransitive => format!(
            "it takes what is from an address of the one network and for one of the other: {source} to \
             {destination} is not"
        ),
        DropReason::NoNetworkBehind => {
            format!("no VPC or network on premises is behind it that has {destination}")
        }
        DropReason::RemoteToGatewayEndpoint => {
            "a gateway endpoint serves its own VPC only, and this comes from elsewhere".to_owned()
        }
        DropReason::NoTransitRoute => {
            format!("the sender's attachment follows no route to {destination}")
        }
        DropReason::TransitBlackhole => {
            format!("the transit gateway's route to {destination} leads nowhere")
        }
        DropReason::NoTransitZone => {
            "the attachment has no subnet in the sender's availability zone".to_owned()
        }
        DropReason::UnknownPort => "the interface is not there".to_owned(),
        DropReason::Malformed
        | DropReason::Unsupported
        | DropReason::SpoofedMac
        | DropReason::ReturnRoute
        | DropReason::PortAllocation
        | DropReason::NoFlow
        | DropReason::Cut
        | DropReason::TtlExpired
        | DropReason::TooBig
        | DropReason::Fragment
        | DropReason::TableFull
        | DropReason::RateLimited
        | DropReason::Multicast
        | DropReason::UnrelatedIcmp
        | DropReason::SendFailed => reason.name().replace('-', " "),
    }
}

fn remedy(flow: &Flow, reason: DropReason) -> Option<String> {
    let Flow { source, destination, transport, .. } = flow;
    let words = match reason {
        DropReason::EgressSecurityGroup => {
            format!(
                "authorize an outbound rule for {transport} to {destination}, or to a prefix list that holds it"
            )
        }
        DropReason::IngressSecurityGroup => {
            format!("authorize an inbound rule for {transport} from {source}")
        }
        DropReason::EgressNetworkAcl | DropReason::IngressNetworkAcl => {
            "add an allow entry with a lower number to the ACL".to_owned()
        }
        DropReason::ReturnNetworkAcl => {
            format!("allow the answer's ports too: ACLs keep no state (the answer goes to {source})")
        }
        DropReason::NoRoute => {
            format!("add a route for {destination}, or associate a gateway endpoint with the route table")
        }
        DropReason::Blackhole => "replace or delete the route".to_owned(),
        DropReason::TargetDown => {
            "start the instance, or plug in what is at the other end (postern attach)".to_owned()
        }
        DropReason::NoPublicAddress => {
            "associate an Elastic IP address, or route through a NAT gateway".to_owned()
        }
        DropReason::DestinationCheck => "turn the interface's source/destination check off".to_owned(),
        DropReason::SpoofedSource => {
            "turn the interface's source/destination check off, if it routes".to_owned()
        }
        DropReason::ResolverOff => "set the VPC's attribute enableDnsSupport to true".to_owned(),
        DropReason::NoTarget => {
            "register a target, or let the zone use those of other zones (load_balancing.cross_zone.enabled)"
                .to_owned()
        }
        DropReason::Hairpin => {
            "set the target group's attribute preserve_client_ip.enabled to false".to_owned()
        }
        DropReason::NoUplink => "start the region with an uplink (postern up --uplink IFACE)".to_owned(),
        DropReason::NotTransitive => {
            "join the two networks themselves: what comes into a VPC from another network goes on to no third one".to_owned()
        }
        DropReason::NoNetworkBehind => {
            "attach the virtual private gateway to the VPC, and add a static route to the VPN connection".to_owned()
        }
        DropReason::NoTransitRoute => {
            "associate the attachment with a route table of the transit gateway, and have the other network's attachment \
             propagate to that, or create a static route in it"
                .to_owned()
        }
        DropReason::TransitBlackhole => {
            "replace or delete the static route of the transit gateway's route table".to_owned()
        }
        DropReason::NoTransitZone => {
            "add a subnet of that zone to the attachment (ModifyTransitGatewayVpcAttachment)".to_owned()
        }
        DropReason::RemoteToGatewayEndpoint => {
            "create a gateway endpoint in the sender's own VPC, or an interface endpoint, which serves others too"
                .to_owned()
        }
        DropReason::NoSuchAddress
        | DropReason::NotCarried
        | DropReason::UplinkProtocol
        | DropReason::MetadataOff
        | DropReason::NoSuchLinkService
        | DropReason::NatProtocol
        | DropReason::EndpointNotAvailable
        | DropReason::EndpointProtocol
        | DropReason::TargetGone
        | DropReason::UnknownPort
        | DropReason::Malformed
        | DropReason::Unsupported
        | DropReason::SpoofedMac
        | DropReason::ReturnRoute
        | DropReason::PortAllocation
        | DropReason::NoFlow
        | DropReason::Cut
        | DropReason::TtlExpired
        | DropReason::TooBig
        | DropReason::Fragment
        | DropReason::TableFull
        | DropReason::RateLimited
        | DropReason::Multicast
        | DropReason::UnrelatedIcmp
        | DropReason::SendFailed => return None,
    };
    Some(words)
}

/// What is done to the packets, in a few words, for flow logs.
pub fn action_words(action: &Action) -> String {
    let source = match action.source {
        SourceRewrite::Keep => String::new(),
        SourceRewrite::Address(address) => format!("from {address} "),
        SourceRewrite::Port { gateway, visible_address, .. } => {
            format!("through {gateway} from {visible_address} ")
        }
        SourceRewrite::Identity { peer, gateway: _ } => match peer.through {
            crate::Through::Internet(address) => format!("over the internet from {address} "),
            crate::Through::Endpoint(endpoint, _) => format!("through {endpoint} "),
            crate::Through::Resolver(endpoint, _) => format!("through {endpoint} "),
            crate::Through::Link => String::new(),
        },
    };
    let source = match (action.balanced, action.present()) {
        (Some(balanced), Some(present)) => {
            format!("{source}by {} to {} ", balanced.load_balancer, present.to)
        }
        (Some(_), None) | (None, _) => source,
    };
    match action.deliver {
        Deliver::Interface(id) => format!("{source}to {id}"),
        Deliver::Door(door) => format!("{source}to the {}", door.name()),
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.flow)?;
        for (number, line) in (1..).zip(&self.stages) {
            let mark = if line.passed { "ok" } else { "NO" };
            write!(f, "{number:>3}  {mark}  {:<22}", line.stage)?;
            let by = [line.resource.as_deref(), line.rule.as_deref()];
            for part in by.into_iter().flatten() {
                write!(f, " {part}")?;
            }
            let separator = if line.resource.is_some() || line.rule.is_some() { ":" } else { "" };
            writeln!(f, "{separator} {}", line.why)?;
            if let Some(remedy) = &line.remedy {
                writeln!(f, "{:>32}to change it: {remedy}", "")?;
            }
        }
        Ok(())
    }
}

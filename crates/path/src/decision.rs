//! What was decided about a flow: whether it passes, what is done to its packets, why, for which other flows the
//! same holds, and on what it depends.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use postern_model::elb::TargetKey;
use postern_model::{
    AccountId, InstanceId, LoadBalancerId, NatGatewayId, NetworkInterfaceId, ResolverEndpointId, ResourceId,
    SecurityGroupRuleId, VpcEndpointId, VpcId,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::balance::Choice;
use crate::cover::Cover;
use crate::flow::Flow;
use crate::stage::{DropReason, Stage};
use crate::uplink::LinkName;

/// What was decided about a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// How it went, stage by stage, up to the one that refused.
    pub steps: Steps,
    /// Whether it passes.
    pub outcome: Outcome,
    /// The box of flows about which the same is decided, while everything in `consulted` stays as it is.
    pub cover: Cover,
    /// Everything that was looked at. A change of any of these makes the decision void.
    pub consulted: Stamps,
    /// The part of `consulted` whose change ends connections that are already there: routes, ACLs, endpoints,
    /// gateways, targets and the life of interfaces. Security groups are not among it, unless the flow is one that
    /// AWS does not track.
    pub cut: Stamps,
    /// The target that was chosen for the flow, where one was: another flow of the box may have another, about which
    /// something else is decided.
    pub choice: Option<Box<Choice>>,
}

impl Decision {
    /// Whether the same is decided about another flow of the same interface.
    pub fn covers(&self, flow: &Flow) -> bool {
        let same_target = |choice: &Choice| choice.table.choose(flow) == Some(choice.chosen);
        self.cover.contains(flow) && self.choice.as_deref().is_none_or(same_target)
    }
}

/// What is known of a flow that passed before, when it is decided about again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    /// What it was cut by. None asks as for a new flow: security groups too.
    pub cut: Option<&'a [Stamp]>,
    /// The target that it has.
    pub present: Option<Present>,
}

/// The target that a flow has, whoever would be chosen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    /// Where it is.
    pub to: SocketAddrV4,
    /// Whether it sees the client's address.
    pub preserves: bool,
    /// How long the flow is remembered.
    pub idle: IdleTimeouts,
}

/// How a decision went, stage by stage.
pub type Steps = SmallVec<[Step; 16]>;
/// Which versions of which resources a decision rests on.
pub type Stamps = SmallVec<[Stamp; 16]>;

/// One version of one resource: a slot in the generation array and the value that was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Where the resource's generation is kept.
    pub slot: u32,
    /// What it was. It only goes up.
    pub generation: u64,
}

/// Whether a flow passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does, and this is done to its packets.
    Forward(Action),
    /// It does not.
    Refuse(Refusal),
}

/// Why a flow does not pass, and what its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: DropReason,
    /// What caused it: the ACL, the group, the route table, the endpoint.
    pub resource: Option<ResourceId>,
    /// What the sender is told.
    pub reply: Reply,
}

/// What the sender of a refused packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Nothing, as AWS does nearly everywhere.
    Silence,
    /// That the network cannot be reached (ICMP type 3 code 0), from this address.
    NetworkUnreachable(Ipv4Addr),
    /// That there is no connection: a TCP reset.
    Reset,
}

/// What is done to the packets of a flow that passes. The reverse direction is its exact inverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// What becomes of the source.
    pub source: SourceRewrite,
    /// What becomes of the destination address; none means it stays.
    pub destination: Option<IpAddr>,
    /// Where the packets go.
    pub deliver: Deliver,
    /// How many routers AWS shows on this way: the time to live goes down by as many.
    pub hops: Hops,
    /// The largest packet that passes, in bytes of IP.
    pub mtu: u16,
    /// Whether AWS tells a sender of larger packets, by ICMP "fragmentation needed". Endpoints drop them silently.
    pub mtu_reported: bool,
    /// How long an idle flow is remembered.
    pub idle: IdleTimeouts,
    /// Whether a TCP sender is told by a reset that its connection is not known: NAT gateways, endpoints and load
    /// balancers do, connection tracking of interfaces does not.
    pub resets: bool,
    /// The load balancer that handed the flow on, and to which port.
    pub balanced: Option<Balanced>,
}

impl Action {
    /// The target that a load balancer handed the flow to.
    pub fn present(&self) -> Option<Present> {
        let to = match (self.balanced, self.destination) {
            (Some(balanced), Some(IpAddr::V4(address))) => SocketAddrV4::new(address, balanced.port),
            (Some(_), Some(IpAddr::V6(_)) | None) | (None, _) => return None,
        };
        let preserves = self.balanced.is_some_and(|balanced| balanced.preserves);
        Some(Present { to, preserves, idle: self.idle })
    }
}

/// What a load balancer does to packets besides their addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Balanced {
    /// Which one.
    pub load_balancer: LoadBalancerId,
    /// What the destination port becomes.
    pub port: u16,
    /// Whether the target sees the client's address.
    pub preserves: bool,
}

/// What becomes of the source of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceRewrite {
    /// It stays.
    Keep,
    /// The address becomes this one; the port stays (one-to-one, internet gateway).
    Address(IpAddr),
    /// The address becomes this one and the port one that is free (port translation: NAT gateway, load balancer).
    Port {
        /// Who counts the flow: the NAT gateway, the endpoint that leads to a load balancer, or the load balancer.
        gateway: ResourceId,
        /// The address of whose ports they are, in its own subnet.
        private_address: IpAddr,
        /// The address that targets see. The same as the private one for a private gateway or a load balancer.
        visible_address: IpAddr,
    },
    /// The address becomes one that stands for the sender (Postern's own doors).
    Identity {
        /// Who the sender is.
        peer: Peer,
        /// The gateway whose ports are used on the way, if there is one; the port is still the sender's own.
        gateway: Option<NatGatewayId>,
    },
}

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deliver {
    /// To an interface.
    Interface(NetworkInterfaceId),
    /// To a door of Postern's own.
    Door(Door),
}

/// A door of Postern's own. Each has one fixed address in the doors' namespace, which packets are rewritten to; the
/// ports stay, but for [`Door::port`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Door {
    /// Where AWS's services are: S3, the EC2 API and the others.
    FrontDoor,
    /// The VPC's resolver.
    Resolver,
    /// Instance metadata.
    Metadata,
    /// The way out of the region, over an interface of the host's.
    Uplink,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FrontDoor, Self::Resolver, Self::Metadata, Self::Uplink];

    /// The door's own address. 240.0.0.0/4 is reserved (RFC 1112) and no VPC can have it; the lowest /24 of it is
    /// the doors', the rest are peers'.
    pub const fn address(self) -> Ipv4Addr {
        match self {
            Self::FrontDoor => Ipv4Addr::new(240, 0, 0, 1),
            Self::Resolver => Ipv4Addr::new(240, 0, 0, 2),
            Self::Metadata => Ipv4Addr::new(240, 0, 0, 3),
            Self::Uplink => Ipv4Addr::new(240, 0, 0, 4),
        }
    }

    /// The port that TCP and UDP of all ports are rewritten to, for a door that takes any; none where ports stay.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::FrontDoor | Self::Resolver | Self::Metadata => None,
            Self::Uplink => Some(1),
        }
    }

    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrontDoor => "front door",
            Self::Resolver => "resolver",
            Self::Metadata => "instance metadata",
            Self::Uplink => "uplink",
        }
    }
}

/// Who is behind a connection to one of Postern's own doors. It follows from the flow alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Whose interface.
    pub account: AccountId,
    /// The VPC of the interface.
    pub vpc: VpcId,
    /// The interface that sent the packets.
    pub interface: NetworkInterfaceId,
    /// The instance that it is plugged into.
    pub instance: Option<InstanceId>,
    /// The address that the packets are from, as the door's side of the VPC sees it.
    pub address: Ipv4Addr,
    /// How they came.
    pub through: Through,
}

/// How packets came to a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Through {
    /// Over the internet, from this public address.
    Internet(Ipv4Addr),
    /// Through a VPC endpoint: `aws:SourceVpce`, and the VPC of that endpoint.
    Endpoint(VpcEndpointId, VpcId),
    /// Through an inbound endpoint of the resolver of this VPC.
    Resolver(ResolverEndpointId, VpcId),
    /// At the link itself: the resolver and instance metadata.
    Link,
}

/// Whose identity a fabric address is. The data plane implements it; the doors ask.
pub trait PeerLookup: Send + Sync {
    /// Who sends from this address of 240.0.0.0/4; none for an address that stands for nobody.
    fn peer(&self, address: IpAddr) -> Option<Peer>;
}

/// The routers that AWS shows on a way, at most two here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Hops {
    /// Their addresses, nearest first; none ends the list.
    pub addresses: [Option<Ipv4Addr>; 2],
}

impl Hops {
    /// No router.
    pub const NONE: Self = Self { addresses: [None, None] };

    /// How many there are.
    pub fn count(&self) -> u8 {
        self.addresses.iter().map(|address| u8::from(address.is_some())).sum()
    }

    /// One more router, the farthest so far.
    pub fn push(&mut self, address: Ipv4Addr) {
        if let Some(free) = self.addresses.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(address);
        }
    }
}

/// How long an idle flow is remembered, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdleTimeouts {
    /// An established TCP connection.
    pub tcp_established_seconds: u32,
    /// UDP that went one way, or one question and one answer.
    pub udp_seconds: u32,
    /// UDP that went both ways more than once.
    pub udp_stream_seconds: u32,
    /// Anything else.
    pub other_seconds: u32,
}

impl IdleTimeouts {
    /// Connection tracking of interfaces ("Idle connection tracking timeout" in the EC2 user guide).
    pub const INTERFACE: Self = Self {
        tcp_established_seconds: 432_000,
        udp_seconds: 30,
        udp_stream_seconds: 180,
        other_seconds: 30,
    };
    /// NAT gateways and endpoints: 350 seconds ("NAT gateway basics", "Access AWS services through AWS PrivateLink").
    pub const GATEWAY: Self =
        Self { tcp_established_seconds: 350, udp_seconds: 350, udp_stream_seconds: 350, other_seconds: 350 };
}

/// One stage of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// What decided.
    pub resource: Option<ResourceId>,
    /// Which of its rules.
    pub rule: Option<Rule>,
    /// How it decided, and why.
    pub verdict: Verdict,
}

/// A rule inside a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A rule of a security group.
    SecurityGroup(SecurityGroupRuleId),
    /// A rule of a network ACL, by its number; none is the last one, `*`.
    NetworkAcl(Option<u16>),
    /// A route, by the block that matched, and the prefix list that it is of.
    Route(postern_model::IpNet, Option<postern_model::PrefixListId>),
    /// The local route, by the VPC's block.
    Local(postern_model::IpNet),
}

/// How a stage decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The flow goes on.
    Pass(Why),
    /// The flow ends here.
    Refuse(DropReason),
}

/// Why a stage let a flow pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The source is one of the interface's own addresses.
    OwnAddress,
    /// The interface does not check sources.
    SourceCheckOff,
    /// The rule named allows it.
    RuleAllows,
    /// The flow passed before and is tracked.
    Tracked,
    /// The interface is of a load balancer without security groups, and nothing filters it.
    NoGroups,
    /// Sender and receiver are in the same subnet, where ACLs do not apply.
    SameSubnet,
    /// The transit gateway is in the receiver's own subnet, where ACLs do not apply to what it lets in.
    TransitSubnet,
    /// The route named is the longest that matches.
    LongestPrefix,
    /// The source becomes this address.
    SourceBecomes(IpAddr),
    /// The destination becomes this address.
    DestinationBecomes(IpAddr),
    /// This interface has the address.
    InterfaceHas(NetworkInterfaceId),
    /// A public address of a service.
    ServiceAddress,
    /// The other side is this VPC.
    LeadsTo(VpcId),
    /// The connection leads to it, on premises.
    OnPremises,
    /// Nobody in the region has the address, and this interface of the host's leads on.
    LeavesBy(LinkName),
    /// The endpoint is available; requests carry it as `aws:SourceVpce`.
    EndpointAvailable,
    /// It is answered as the resolver of this VPC does.
    AnsweredFor(VpcId),
    /// The load balancer hands it to a target.
    HandedTo {
        /// The target.
        target: TargetKey,
        /// Where that is.
        to: SocketAddrV4,
        /// Among how many it was chosen.
        of: u16,
        /// Whether those are healthy; else nobody is, and all are tried.
        healthy: bool,
    },
    /// The load balancer handed it to this target before.
    StaysWith(SocketAddrV4),
    /// Security groups and ACLs do not apply to link services.
    LinkService,
    /// The answer passes.
    AnswerPasses,
    /// It arrives here.
    Arrives(Deliver),
}

//! The one list of stages, and why each of them refuses.

use serde::{Deserialize, Serialize};

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A stage of a flow's way, in the order in which they come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Stage { $($(#[$doc])* $name,)* }

        impl Stage {
            /// All of them, in order.
            pub const ALL: &'static [Stage] = &[$(Stage::$name,)*];

            /// As it is printed.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

stages! {
    /// The name was looked up in the VPC's resolver.
    Name = "name",
    /// The packet is from one of the interface's own addresses.
    Source = "source check",
    /// A service at the link itself: the resolver, the clock, instance metadata.
    Link = "link service",
    /// A rule of the sender's security groups lets it out.
    EgressSecurityGroup = "egress security group",
    /// The ACL of the sender's subnet lets it out.
    EgressNetworkAcl = "egress network ACL",
    /// The route table of the sender's subnet says where it goes.
    Route = "route",
    /// The NAT gateway takes it.
    NatGateway = "NAT gateway",
    /// The internet gateway takes it.
    InternetGateway = "internet gateway",
    /// The transit gateway's route table says to which attachment it goes.
    TransitGateway = "transit gateway",
    /// A peering or an attachment takes it to another VPC, or a VPN from or to a network on premises.
    Remote = "remote network",
    /// The host's uplink takes it.
    Uplink = "uplink",
    /// Somebody has the address that it is for.
    Target = "target",
    /// The ACL of the receiver's subnet lets it in.
    IngressNetworkAcl = "ingress network ACL",
    /// A rule of the receiver's security groups lets it in.
    IngressSecurityGroup = "ingress security group",
    /// The VPC endpoint takes it, or the inbound endpoint of a resolver.
    Endpoint = "endpoint",
    /// The load balancer hands it to a target.
    LoadBalancer = "load balancer",
    /// The ACLs on the way back let the answer pass.
    ReturnNetworkAcl = "return network ACL",
    /// The answer finds its way back.
    ReturnRoute = "return route",
    /// The endpoint's policy allows the request.
    EndpointPolicy = "endpoint policy",
    /// The resource's policy allows the request.
    ResourcePolicy = "resource policy",
    /// The caller's policies allow the request.
    IdentityPolicy = "identity policy",
    /// It arrives.
    Delivered = "delivered",
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a packet was dropped. The numbers are the data plane's reason codes and never change their meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name = $number,)* }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// As it is printed, and as metrics label it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code on the wire of flow logs and counters.
            pub const fn code(self) -> u8 { self as u8 }
        }
    };
}

reasons! {
    /// The packet's headers make no sense.
    Malformed = 1, "malformed";
    /// IPv6, VLAN tags and other things that are not supported.
    Unsupported = 2, "unsupported";
    /// The source is none of the interface's addresses.
    SpoofedSource = 3, "spoofed-source";
    /// The sender's hardware address is not the interface's.
    SpoofedMac = 4, "spoofed-mac";
    /// No rule of the sender's groups allows it.
    EgressSecurityGroup = 5, "egress-security-group";
    /// The ACL of the sender's subnet denies it.
    EgressNetworkAcl = 6, "egress-network-acl";
    /// The route table has no route.
    NoRoute = 7, "no-route";
    /// The route's target is gone.
    Blackhole = 8, "blackhole";
    /// Nobody in the VPC has the address.
    NoSuchAddress = 9, "no-such-address";
    /// The interface is attached to nothing that runs.
    TargetDown = 10, "target-down";
    /// The sender has no public address and the route leads to an internet gateway.
    NoPublicAddress = 11, "no-public-address";
    /// Beyond the internet gateway there is nothing that is known here.
    NoUplink = 12, "no-uplink";
    /// The ACL of the receiver's subnet denies it.
    IngressNetworkAcl = 13, "ingress-network-acl";
    /// No rule of the receiver's groups allows it.
    IngressSecurityGroup = 14, "ingress-security-group";
    /// An ACL denies the answer.
    ReturnNetworkAcl = 15, "return-network-acl";
    /// The answer would go another way.
    ReturnRoute = 16, "return-route";
    /// The interface that the route leads to checks destinations.
    DestinationCheck = 17, "destination-check";
    /// The VPC's resolver is turned off.
    ResolverOff = 18, "resolver-off";
    /// Instance metadata is turned off.
    MetadataOff = 19, "metadata-off";
    /// The link service does not take this protocol or port.
    NoSuchLinkService = 20, "no-such-link-service";
    /// A NAT gateway takes TCP, UDP and ICMP echo only.
    NatProtocol = 21, "nat-protocol";
    /// No port is left for this target.
    PortAllocation = 22, "port-allocation";
    /// A TCP packet that begins no connection, and none is known.
    NoFlow = 23, "no-flow";
    /// The flow was cut by a change.
    Cut = 24, "cut";
    /// The packet's time to live ran out.
    TtlExpired = 25, "ttl-expired";
    /// The packet is larger than the way allows.
    TooBig = 26, "too-big";
    /// A fragment whose first part is not known.
    Fragment = 27, "fragment";
    /// A table of the interface is full.
    TableFull = 28, "table-full";
    /// The interface asks for more decisions than it may.
    RateLimited = 29, "rate-limited";
    /// Multicast and broadcast are not carried.
    Multicast = 30, "multicast";
    /// An ICMP error about no known flow.
    UnrelatedIcmp = 31, "unrelated-icmp";
    /// The endpoint is not available.
    EndpointNotAvailable = 32, "endpoint-not-available";
    /// The packet came in by a port that belongs to no interface.
    UnknownPort = 33, "unknown-port";
    /// The receiving port could not take the packet.
    SendFailed = 34, "send-failed";
    /// No internet gateway carries packets to the address: it is private, reserved, or the region's own and nobody's.
    NotCarried = 35, "not-carried";
    /// The uplink takes TCP, UDP and, where the host lets it, ICMP echo only.
    UplinkProtocol = 36, "uplink-protocol";
    /// An interface endpoint of a service takes TCP only, and an inbound endpoint of a resolver DNS.
    EndpointProtocol = 37, "endpoint-protocol";
    /// The listener's target group has no target that the zone may use.
    NoTarget = 38, "no-target";
    /// The target has failed since, or was let go of.
    TargetGone = 39, "target-gone";
    /// The target is the client itself, whose address it would see.
    Hairpin = 42, "hairpin";
    /// What comes over a peering is neither from nor for an address of the two VPCs.
    NotTransitive = 40, "not-transitive";
    /// The virtual private gateway leads to no VPC, or to no such network on premises.
    NoNetworkBehind = 43, "no-network-behind";
    /// A gateway endpoint serves its own VPC alone.
    RemoteToGatewayEndpoint = 41, "remote-to-gateway-endpoint";
    /// The attachment's route table has no route, or it follows none.
    NoTransitRoute = 44, "no-transit-route";
    /// The route of the transit gateway's table leads nowhere.
    TransitBlackhole = 45, "transit-blackhole";
    /// The transit gateway has no attachment in the sender's zone.
    NoTransitZone = 46, "no-transit-zone";
}

impl DropReason {
    /// The stage that refuses for this reason.
    pub const fn stage(self) -> Stage {
        match self {
            Self::Malformed
            | Self::Unsupported
            | Self::SpoofedSource
            | Self::SpoofedMac
            | Self::Fragment
            | Self::TableFull
            | Self::RateLimited
            | Self::Multicast
            | Self::UnknownPort => Stage::Source,
            Self::EgressSecurityGroup => Stage::EgressSecurityGroup,
            Self::EgressNetworkAcl => Stage::EgressNetworkAcl,
            Self::NoRoute | Self::Blackhole => Stage::Route,
            Self::NoSuchAddress | Self::TargetDown | Self::DestinationCheck | Self::SendFailed => {
                Stage::Target
            }
            Self::NoPublicAddress | Self::NoUplink => Stage::InternetGateway,
            Self::NotCarried | Self::UplinkProtocol => Stage::Uplink,
            Self::IngressNetworkAcl => Stage::IngressNetworkAcl,
            Self::IngressSecurityGroup => Stage::IngressSecurityGroup,
            Self::ReturnNetworkAcl => Stage::ReturnNetworkAcl,
            Self::ReturnRoute => Stage::ReturnRoute,
            Self::ResolverOff | Self::MetadataOff | Self::NoSuchLinkService => Stage::Link,
            Self::NatProtocol | Self::PortAllocation => Stage::NatGateway,
            Self::NoTarget | Self::TargetGone | Self::Hairpin => Stage::LoadBalancer,
            Self::EndpointNotAvailable | Self::EndpointProtocol | Self::RemoteToGatewayEndpoint => {
                Stage::Endpoint
            }
            Self::NotTransitive | Self::NoNetworkBehind => Stage::Remote,
            Self::NoTransitRoute | Self::TransitBlackhole | Self::NoTransitZone => Stage::TransitGateway,
            Self::NoFlow | Self::Cut | Self::TtlExpired | Self::TooBig | Self::UnrelatedIcmp => {
                Stage::Delivered
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_and_names_are_their_own() {
        let codes: BTreeSet<u8> = DropReason::ALL.iter().map(|reason| reason.code()).collect();
        let names: BTreeSet<&str> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(codes.len(), DropReason::ALL.len());
        assert_eq!(names.len(), DropReason::ALL.len());
        assert!(!codes.contains(&0), "zero means no reason");
    }
}

//! Names of things: one newtype for each kind of resource, so that a `SubnetId` never meets a `VpcId`.
//!
//! Ids print as AWS prints them, a prefix and seventeen hexadecimal digits (`vpc-0a1b2c3d4e5f60718`), and are a
//! single machine word inside, so that they are cheap to compare, hash and copy on a packet's way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id of the form `{prefix}-` and 8 or 17 hexadecimal digits")]
pub struct MalformedId {
    /// What was given.
    pub text: String,
    /// The prefix that was expected, without the hyphen.
    pub prefix: &'static str,
}

fn parse_id(text: &str, prefix: &'static str) -> Result<u64, MalformedId> {
    let malformed = || MalformedId { text: text.to_owned(), prefix };
    let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).ok_or_else(malformed)?;
    let lower_hex = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !lower_hex || !matches!(digits.len(), 8 | 17) {
        return Err(malformed());
    }
    // INVARIANT: an id of eight digits (AWS's own prefix lists) lives below 2^32, one of seventeen above it, so the
    // number alone says how to print it.
    let value = u64::from_str_radix(digits, 16).map_err(|_| malformed())?;
    let short = digits.len() == 8;
    if short == (value < 1 << 32) { Ok(value) } else { Err(malformed()) }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// What the id starts with, without the hyphen.
            pub const PREFIX: &'static str = $prefix;

            /// The id of this number. Numbers below 2^32 print in AWS's old form of eight digits.
            pub const fn from_number(number: u64) -> Self { Self(number) }

            /// The number inside.
            pub const fn number(self) -> u64 { self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.0 < 1 << 32 { write!(f, concat!($prefix, "-{:08x}"), self.0) }
                else { write!(f, concat!($prefix, "-{:017x}"), self.0) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }

        impl FromStr for $name {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> { parse_id(text, $prefix).map(Self) }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> { serializer.collect_str(self) }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A virtual private cloud.
    VpcId = "vpc";
    /// A subnet of a VPC, in one zone.
    SubnetId = "subnet";
    /// A route table.
    RouteTableId = "rtb";
    /// The link of a route table to a subnet, or to its VPC as the main one.
    RouteTableAssociationId = "rtbassoc";
    /// An internet gateway.
    InternetGatewayId = "igw";
    /// A NAT gateway.
    NatGatewayId = "nat";
    /// An Elastic IP address.
    AllocationId = "eipalloc";
    /// A peering connection of two VPCs, or the request for one.
    VpcPeeringConnectionId = "pcx";
    /// The end of a VPN on premises.
    CustomerGatewayId = "cgw";
    /// A VPC's end of VPNs.
    VpnGatewayId = "vgw";
    /// A VPN.
    VpnConnectionId = "vpn";
    /// A transit gateway.
    TransitGatewayId = "tgw";
    /// What is attached to a transit gateway.
    TransitGatewayAttachmentId = "tgw-attach";
    /// A route table of a transit gateway's.
    TransitGatewayRouteTableId = "tgw-rtb";
    /// The link of an Elastic IP address to a private address.
    AddressAssociationId = "eipassoc";
    /// A network interface.
    NetworkInterfaceId = "eni";
    /// The link of a network interface to what it is plugged into.
    AttachmentId = "eni-attach";
    /// A security group.
    SecurityGroupId = "sg";
    /// A rule of a security group.
    SecurityGroupRuleId = "sgr";
    /// A network ACL.
    NetworkAclId = "acl";
    /// The link of a network ACL to a subnet.
    NetworkAclAssociationId = "aclassoc";
    /// A managed prefix list.
    PrefixListId = "pl";
    /// A VPC endpoint.
    VpcEndpointId = "vpce";
    /// A service that an account offers to endpoints of others.
    EndpointServiceId = "vpce-svc";
    /// A principal's permission to have endpoints to a service.
    ServicePermissionId = "vpce-svc-perm";
    /// What a topic is told of the connections of an endpoint or a service.
    ConnectionNotificationId = "vpce-nfn";
    /// A network load balancer. AWS shows its number in ARNs alone.
    LoadBalancerId = "net";
    /// A listener of a load balancer. AWS shows its number in ARNs alone.
    ListenerId = "listener";
    /// A target group. AWS shows its number in ARNs alone.
    TargetGroupId = "targetgroup";
    /// An inbound endpoint of Route 53 Resolver.
    ResolverEndpointId = "rslvr-in";
    /// One address of such an endpoint.
    ResolverAddressId = "rni";
    /// An instance.
    InstanceId = "i";
    /// A launch of instances.
    ReservationId = "r";
    /// A set of DHCP options.
    DhcpOptionsId = "dopt";
    /// A key pair.
    KeyPairId = "key";
    /// One address block of a VPC.
    VpcCidrAssociationId = "vpc-cidr-assoc";
    /// The link of an instance profile to an instance.
    IamInstanceProfileAssociationId = "iip-assoc";
}

/// An account: twelve digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// The account of this number, if it has at most twelve digits.
    pub const fn from_number(number: u64) -> Option<Self> {
        if number < 1_000_000_000_000 { Some(Self(number)) } else { None }
    }

    /// The number inside.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an account id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an account id of twelve digits")]
pub struct MalformedAccountId(pub String);

impl FromStr for AccountId {
    type Err = MalformedAccountId;
    fn from_str(text: &str) -> Result<Self, MalformedAccountId> {
        let digits = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        number.and_then(Self::from_number).ok_or_else(|| MalformedAccountId(text.to_owned()))
    }
}

impl Serialize for AccountId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Timestamp(pub u64);

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2);
            *byte = part
                .and_then(|p| u8::from_str_radix(p, 16).ok())
                .ok_or_else(|| format!("`{text}` is not a MAC"))?;
        }
        if parts.next().is_some() { Err(format!("`{text}` is not a MAC")) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

macro_rules! resource_ids {
    ($($variant:ident($id:ident),)*) => {
        /// The id of any resource that can be tagged, depended on or reported as changed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ResourceId {
            $(#[doc = concat!("See [`", stringify!($id), "`].")] $variant($id),)*
        }

        $(impl From<$id> for ResourceId {
            fn from(id: $id) -> Self { Self::$variant(id) }
        })*

        impl fmt::Display for ResourceId {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$variant(id) => fmt::Display::fmt(id, f),)* }
            }
        }

        impl FromStr for ResourceId {
            type Err = MalformedId;
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let prefix = text.rsplit_once('-').map_or(text, |(prefix, _)| prefix);
                $(if prefix == $id::PREFIX { return text.parse().map(Self::$variant); })*
                Err(MalformedId { text: text.to_owned(), prefix: "<resource>" })
            }
        }
    };
}

resource_ids! {
    Vpc(VpcId),
    Subnet(SubnetId),
    RouteTable(RouteTableId),
    InternetGateway(InternetGatewayId),
    NatGateway(NatGatewayId),
    VpcPeeringConnection(VpcPeeringConnectionId),
    CustomerGateway(CustomerGatewayId),
    VpnGateway(VpnGatewayId),
    VpnConnection(VpnConnectionId),
    TransitGateway(TransitGatewayId),
    TransitGatewayAttachment(TransitGatewayAttachmentId),
    TransitGatewayRouteTable(TransitGatewayRouteTableId),
    Address(AllocationId),
    NetworkInterface(NetworkInterfaceId),
    SecurityGroup(SecurityGroupId),
    SecurityGroupRule(SecurityGroupRuleId),
    NetworkAcl(NetworkAclId),
    PrefixList(PrefixListId),
    VpcEndpoint(VpcEndpointId),
    EndpointService(EndpointServiceId),
    ConnectionNotification(ConnectionNotificationId),
    LoadBalancer(LoadBalancerId),
    Listener(ListenerId),
    TargetGroup(TargetGroupId),
    ResolverEndpoint(ResolverEndpointId),
    Instance(InstanceId),
    DhcpOptions(DhcpOptionsId),
    KeyPair(KeyPairId),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_aws_prints_them_and_parse_back() {
        let id = VpcId::from_number(0x0a1b_2c3d_4e5f_6071);
        assert_eq!(id.to_string(), "vpc-00a1b2c3d4e5f6071");
        assert_eq!("vpc-00a1b2c3d4e5f6071".parse(), Ok(id));
        let short: PrefixListId = "pl-63a5400a".parse().unwrap();
        assert_eq!(short.to_string(), "pl-63a5400a");
    }

    #[test]
    fn what_is_not_an_id_is_refused_by_name() {
        for text in [
            "",
            "vpc",
            "vpc-",
            "vpc-xyz",
            "subnet-00a1b2c3d4e5f6071",
            "vpc-00A1b2c3d4e5f6071",
            "vpc-00000000000000001",
        ] {
            let error = text.parse::<VpcId>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    #[test]
    fn any_resource_id_is_told_by_its_prefix() {
        let id: ResourceId = "eni-0a1b2c3d4e5f60718".parse().unwrap();
        assert!(matches!(id, ResourceId::NetworkInterface(_)));
        assert!("dog-0a1b2c3d4e5f60718".parse::<ResourceId>().is_err());
    }
}

//! Why a command was refused, in the model's words. The API edge gives AWS's code and sentence for each.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use crate::endpoint::EndpointKind;
use crate::id::*;
use crate::quota::Quota;
use crate::route::RouteDestination;

/// Why a command was not applied. The state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's sentence says what it is, and its fields are the values in it"
)]
pub enum ModelError {
    #[error("there is no account `{0}`")]
    AccountNotFound(AccountId),
    #[error("account `{0}` is there already")]
    AccountExists(AccountId),
    #[error("there is no `{0}` in this account")]
    NotFound(ResourceId),
    #[error("there is no association `{0}` in this account")]
    AssociationNotFound(String),
    #[error("there is no attachment `{0}` in this account")]
    AttachmentNotFound(AttachmentId),
    #[error("`{value}` is not {what}")]
    UpstreamValue { what: &'static str, value: String },
    #[error("there is an upstream for `{service}` already: remove it first")]
    UpstreamExists { service: String },
    #[error("`{service}` was not added by anybody")]
    UpstreamNotFound { service: String },
    #[error("`{service}` is a service of AWS's, whose private names and owner are AWS's own")]
    UpstreamOfAws { service: String },
    #[error("the name `{name}` is another service's")]
    UpstreamNameTaken { name: String },
    #[error("`{endpoint}` leads to `{service}`: delete it first")]
    UpstreamInUse { service: String, endpoint: VpcEndpointId },
    #[error("`{resource}` is in use by `{used_by}`")]
    InUse { resource: ResourceId, used_by: String },
    #[error("`{resource}` is `{state}`, and this needs `{needed}`")]
    WrongState { resource: ResourceId, state: &'static str, needed: &'static str },
    #[error("`{a}` and `{b}` are of different VPCs")]
    DifferentVpcs { a: ResourceId, b: ResourceId },
    #[error("`{a}` and `{b}` are in different zones")]
    DifferentZones { a: ResourceId, b: ResourceId },
    #[error("`{0}` is not a block: its host bits are set")]
    HostBits(IpNet),
    #[error("block `{cidr}` is not between /{longest} and /{shortest}")]
    BlockSize { cidr: Ipv4Net, shortest: u8, longest: u8 },
    #[error("block `{cidr}` is not of a range that a VPC may have")]
    BlockRestricted { cidr: Ipv4Net },
    #[error("block `{cidr}` overlaps `{other}`")]
    BlockOverlap { cidr: Ipv4Net, other: Ipv4Net },
    #[error("block `{cidr}` is not inside a block of `{vpc}`")]
    BlockOutsideVpc { cidr: Ipv4Net, vpc: VpcId },
    #[error("block `{cidr}` of `{vpc}` has subnets in it")]
    BlockHasSubnets { cidr: Ipv4Net, vpc: VpcId },
    #[error("block `{cidr}` is the first of `{vpc}` and stays")]
    PrimaryBlock { cidr: Ipv4Net, vpc: VpcId },
    #[error("there is no zone `{0}` in this region")]
    ZoneNotFound(String),
    #[error("subnet `{subnet}` has no free address")]
    SubnetFull { subnet: SubnetId },
    #[error("address `{address}` is not inside `{subnet}`")]
    AddressOutsideSubnet { address: IpAddr, subnet: SubnetId },
    #[error("address `{address}` is one of the five that are reserved in `{subnet}`")]
    AddressReserved { address: IpAddr, subnet: SubnetId },
    #[error("address `{address}` is taken in `{subnet}`")]
    AddressInUse { address: IpAddr, subnet: SubnetId },
    #[error("address `{address}` is not one of `{interface}`'s")]
    AddressNotAssigned { address: IpAddr, interface: NetworkInterfaceId },
    #[error("no public address is left")]
    PublicAddressesExhausted,
    #[error("`{peering}` joins these two VPCs already")]
    PeeringExists { peering: VpcPeeringConnectionId },
    #[error("account `{account}` cannot {verb} `{peering}`")]
    PeeringNotYours { peering: VpcPeeringConnectionId, account: AccountId, verb: &'static str },
    #[error("`{peering}` is `{from}` and cannot become `{to}`")]
    PeeringTransition { peering: VpcPeeringConnectionId, from: &'static str, to: &'static str },
    #[error("`{gateway}` is attached to `{vpc}`")]
    VpnGatewayAttached { gateway: VpnGatewayId, vpc: VpcId },
    #[error("`{gateway}` is not attached to `{vpc}`")]
    VpnGatewayNotAttached { gateway: VpnGatewayId, vpc: VpcId },
    #[error("`{vpc}` has the virtual private gateway `{gateway}` already")]
    VpcHasVpnGateway { vpc: VpcId, gateway: VpnGatewayId },
    #[error("`{connection}` has no route to `{block}`")]
    VpnRouteNotFound { connection: VpnConnectionId, block: Ipv4Net },
    #[error("`{resource}` is attached by `{attachment}` already")]
    TransitAttached { attachment: TransitGatewayAttachmentId, resource: ResourceId },
    #[error("`{vpc}` is not attached to `{gateway}`")]
    TransitNotAttached { gateway: TransitGatewayId, vpc: VpcId },
    #[error("an attachment of `{vpc}` needs a subnet")]
    TransitWithoutSubnet { vpc: VpcId },
    #[error("`{subnet}` is in `{zone}`, where the attachment has a subnet already")]
    TransitZoneTaken { subnet: SubnetId, zone: String },
    #[error("`{attachment}` is associated with `{table}` already")]
    TransitAssociated { attachment: TransitGatewayAttachmentId, table: TransitGatewayRouteTableId },
    #[error("`{attachment}` is not associated with `{table}`")]
    TransitNotAssociated { attachment: TransitGatewayAttachmentId, table: TransitGatewayRouteTableId },
    #[error("`{attachment}` propagates to `{table}` already")]
    TransitPropagates { attachment: TransitGatewayAttachmentId, table: TransitGatewayRouteTableId },
    #[error("`{attachment}` does not propagate to `{table}`")]
    TransitNotPropagating { attachment: TransitGatewayAttachmentId, table: TransitGatewayRouteTableId },
    #[error("`{table}` has a static route to `{block}` already")]
    TransitRouteExists { table: TransitGatewayRouteTableId, block: Ipv4Net },
    #[error("`{table}` has no static route to `{block}`")]
    TransitRouteNotFound { table: TransitGatewayRouteTableId, block: Ipv4Net },
    #[error("`{connection}` ends at a transit gateway, whose route tables have its routes")]
    TransitConnection { connection: VpnConnectionId },
    #[error("`{table}` has a route to `{destination}` already")]
    RouteExists { table: RouteTableId, destination: RouteDestination },
    #[error("`{table}` has no route to `{destination}`")]
    RouteNotFound { table: RouteTableId, destination: RouteDestination },
    #[error("the route to `{destination}` of `{table}` cannot be changed by hand")]
    RouteManaged { table: RouteTableId, destination: RouteDestination },
    #[error(
        "a route to `{destination}` lies in the local route `{local}` and is not to the block of a subnet"
    )]
    RouteShadowsLocal { destination: RouteDestination, local: Ipv4Net },
    #[error("a route to `{destination}` cannot be had: the addresses are for AWS's own use")]
    RouteRestricted { destination: RouteDestination },
    #[error("a route cannot lead to `{0}`")]
    RouteTargetUnsupported(ResourceId),
    #[error("`{0}` is the main route table of its VPC")]
    MainRouteTable(RouteTableId),
    #[error("`{subnet}` is associated with a route table already")]
    SubnetAssociated { subnet: SubnetId },
    #[error("`{gateway}` is attached to `{vpc}`")]
    GatewayAttached { gateway: InternetGatewayId, vpc: VpcId },
    #[error("`{vpc}` has the internet gateway `{gateway}` already")]
    VpcHasGateway { vpc: VpcId, gateway: InternetGatewayId },
    #[error("`{gateway}` is not attached to `{vpc}`")]
    GatewayNotAttached { gateway: InternetGatewayId, vpc: VpcId },
    #[error("`{vpc}` has no internet gateway")]
    VpcWithoutGateway { vpc: VpcId },
    #[error("`{vpc}` still has mapped public addresses")]
    PublicAddressesMapped { vpc: VpcId },
    #[error("`{allocation}` is associated with `{interface}`")]
    AddressAssociated { allocation: AllocationId, interface: NetworkInterfaceId },
    #[error("a security group named `{name}` is in `{vpc}` already")]
    GroupNameTaken { name: String, vpc: VpcId },
    #[error("`{0}` is the default of its VPC and stays")]
    DefaultResource(ResourceId),
    #[error("the rule `{rule}` is in `{group}` already")]
    RuleExists { rule: String, group: SecurityGroupId },
    #[error("there is no rule `{rule}` in `{group}`")]
    RuleNotFound { rule: String, group: SecurityGroupId },
    #[error("ports `{from}` to `{to}` are not a range")]
    PortRange { from: i32, to: i32 },
    #[error("`{0}` is not a protocol")]
    InvalidProtocol(i32),
    #[error("rule number `{0}` is not between 1 and 32766")]
    RuleNumber(i32),
    #[error("`{acl}` has a rule {number} in this direction already")]
    AclEntryExists { acl: NetworkAclId, number: u16 },
    #[error("`{acl}` has no rule {number} in this direction")]
    AclEntryNotFound { acl: NetworkAclId, number: u16 },
    #[error("prefix list `{0}` is AWS's and cannot be changed")]
    PrefixListManaged(PrefixListId),
    #[error("prefix list name `{0}` cannot be used")]
    PrefixListName(String),
    #[error("prefix list `{list}` is at version {current}, not {given}")]
    PrefixListVersion { list: PrefixListId, current: u64, given: u64 },
    #[error("prefix list `{list}` has no version {version}")]
    PrefixListNoVersion { list: PrefixListId, version: u64 },
    #[error("prefix list `{list}` may have {limit} entries")]
    PrefixListFull { list: PrefixListId, limit: u32 },
    #[error("prefix list `{list}` has no entry `{cidr}`")]
    PrefixListEntryNotFound { list: PrefixListId, cidr: IpNet },
    #[error("the entries and the size of a prefix list cannot change together")]
    PrefixListMixedChange,
    #[error("`{0}` entries of a prefix list is not between 1 and 1000")]
    PrefixListSize(u32),
    #[error("there is no endpoint service `{0}`")]
    ServiceNotFound(String),
    #[error("service `{service}` cannot be had by a {kind} endpoint, but by these: `{offered}`")]
    EndpointType { service: String, kind: &'static str, offered: String },
    #[error("`{endpoint}`, a {} endpoint, has nothing of that kind", .kind.name())]
    EndpointPart { endpoint: VpcEndpointId, kind: EndpointKind },
    #[error("an endpoint has one subnet in each zone, and has `{existing}` in this one")]
    EndpointZoneTaken { existing: SubnetId },
    #[error("`{subnet}` is not a subnet of the endpoint, or is there twice")]
    EndpointSubnet { subnet: SubnetId },
    #[error("`{endpoint}` needs a security group")]
    EndpointWithoutGroup { endpoint: VpcEndpointId },
    #[error("`{service}` has no private name")]
    NoPrivateName { service: String, unverified: bool },
    #[error("private names need both DNS attributes of `{vpc}`")]
    PrivateDnsAttributes { vpc: VpcId },
    #[error("`{name}` leads to another endpoint in `{vpc}` already")]
    PrivateNameTaken { name: String, vpc: VpcId },
    #[error("an inbound endpoint needs at least {least} addresses")]
    ResolverAddressesTooFew { least: usize },
    #[error("the request `{request}` made `{endpoint}` already")]
    CreatorRequestTaken { request: String, endpoint: ResolverEndpointId },
    #[error("`{endpoint}` has no address `{address}`")]
    ResolverAddressNotFound { endpoint: ResolverEndpointId, address: ResolverAddressId },
    #[error("private names for inbound resolvers alone cannot be had with `{service}` here")]
    InboundOnly { service: String },
    #[error("private names for inbound resolvers alone need a gateway endpoint in `{vpc}`")]
    InboundOnlyWithoutGateway { vpc: VpcId },
    #[error("`{table}` is associated with `{endpoint}` already")]
    EndpointAssociated { endpoint: VpcEndpointId, table: RouteTableId },
    #[error("service `{service}` is not offered in the zone of `{subnet}`")]
    EndpointZoneUnsupported { service: String, subnet: SubnetId },
    #[error("endpoints of `{service}` have no policies")]
    EndpointPolicyUnsupported { service: String },
    #[error("`{0}` still has endpoints")]
    ServiceConnected(EndpointServiceId),
    #[error("an endpoint service needs a load balancer")]
    NoLoadBalancers,
    #[error("`{0}` is not a domain name that a service can have")]
    PrivateDnsName(String),
    #[error("`{0}` has no private name")]
    NoPrivateDnsName(EndpointServiceId),
    #[error("`{0}` is not a principal that can be allowed")]
    Principal(String),
    #[error("a connection notification needs an event")]
    NoConnectionEvents,
    #[error("there is no topic `{0}`")]
    TopicNotFound(String),
    #[error("`{0}` is not a name for a topic")]
    TopicName(String),
    #[error("topic `{0}` is there already, and is another one than this")]
    TopicDiffers(String),
    #[error("there is no subscription `{0}`")]
    SubscriptionNotFound(String),
    #[error("`{name}` is not a name for a {kind}")]
    BalancingName { kind: &'static str, name: String },
    #[error("a {kind} named `{name}` is there already")]
    BalancingNameTaken { kind: &'static str, name: String },
    #[error("a load balancer needs a subnet")]
    NoZones,
    #[error("`{subnet}` is in `{zone}`, as another one of these subnets is")]
    ZoneTwice { subnet: SubnetId, zone: String },
    #[error("`{allocation}` cannot be given to an internal load balancer")]
    AddressNotForInternal { allocation: AllocationId },
    #[error("a private address in `{subnet}` cannot be chosen for a load balancer that faces the internet")]
    PrivateAddressNotForInternet { subnet: SubnetId },
    #[error("the security groups of `{load_balancer}` cannot be changed from none or to none")]
    GroupsOfLoadBalancer { load_balancer: LoadBalancerId, made_without: bool },
    #[error("`{0}` is protected from deletion")]
    DeletionProtected(ResourceId),
    #[error("`{listener}` takes what comes to port {port} already")]
    ListenerExists { listener: ListenerId, port: u16 },
    #[error("a {listener} listener cannot lead to `{group}`, which is of {group_protocol}")]
    ListenerProtocol { listener: &'static str, group: TargetGroupId, group_protocol: &'static str },
    #[error("`{target}` {why}, so `{group}` cannot do this with it")]
    Target { target: String, group: TargetGroupId, why: &'static str },
    #[error("`{given}` is not a {what}: it is {least} to {most}")]
    OutOfRange { what: &'static str, given: u64, least: u64, most: u64 },
    #[error("{limit} {what} are allowed")]
    Limit { what: &'static str, limit: usize },
    #[error("quota `{quota}` is {limit}")]
    Quota { quota: Quota, limit: usize },
    #[error("quota `{quota}` is {there}, which `{given}` is not more than")]
    QuotaNotRaised { quota: Quota, given: usize, there: usize },
    #[error("quota `{quota}` can be {most} at most, not `{given}`")]
    QuotaTooHigh { quota: Quota, given: usize, most: usize },
    #[error(
        "quota `{quota}` cannot be `{given}`: multiplied with `{other}`, which is {there}, it is {most} at most"
    )]
    QuotasTooHigh { quota: Quota, given: usize, other: Quota, there: usize, most: usize },
    #[error("key pair `{0}` is there already")]
    KeyPairExists(String),
    #[error("there is no key pair `{0}`")]
    KeyPairNotFound(String),
    #[error("an instance needs 1 to {limit} of these at once, not `{given}`")]
    InstanceCount { given: usize, limit: usize },
    #[error("the instance `{0}` cannot be terminated: it is protected")]
    TerminationProtected(InstanceId),
    #[error("device index {index} of `{instance}` is in use")]
    DeviceIndexTaken { instance: InstanceId, index: u32 },
    #[error("the primary interface of `{0}` cannot be detached")]
    PrimaryInterface(InstanceId),
    #[error("`{interface}` is managed by AWS")]
    InterfaceManaged { interface: NetworkInterfaceId },
    #[error("there is no {kind} named `{name}`")]
    IdentityNotFound { kind: &'static str, name: String },
    #[error("a {kind} named `{name}` is there already")]
    IdentityExists { kind: &'static str, name: String },
    #[error("the {kind} `{name}` still has {what}")]
    IdentityInUse { kind: &'static str, name: String, what: &'static str },
    #[error("`{name}` is not a name for a {kind}")]
    IdentityName { kind: &'static str, name: String },
    #[error(transparent)]
    Organization(#[from] crate::organization::OrganizationRefusal),
    #[error("an instance profile holds one role")]
    ProfileHasRole,
    #[error("instance profile `{path}{name}` of `{account}` holds no role")]
    ProfileWithoutRole { account: AccountId, path: String, name: String },
    #[error("there is a default VPC already: `{0}`")]
    DefaultVpcExists(VpcId),
    #[error("there is no default VPC")]
    NoDefaultVpc,
    #[error("`{subnet}` is the default subnet of `{zone}` already")]
    DefaultSubnetExists { subnet: SubnetId, zone: String },
    #[error("no block is left for a default subnet in `{0}`")]
    NoBlockForDefaultSubnet(VpcId),
    #[error("tag key `{0}` is not between 1 and 128 characters or starts with `aws:`")]
    InvalidTagKey(String),
    #[error("tag value `{0}` is longer than 256 characters")]
    InvalidTagValue(String),
    #[error("a resource may have {limit} tags")]
    TooManyTags { limit: usize },
    #[error("`{what}` is not one of `{resource}`'s modes that can change now")]
    Unchangeable { resource: ResourceId, what: &'static str },
    #[error("client token `{token}` was used for another request")]
    TokenReused { token: String },
    #[error("no free id could be made")]
    IdsExhausted,
}

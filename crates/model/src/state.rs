//! The whole of a region as one value. Cloning it is a few pointer copies, so a snapshot costs nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::command::TokenRecord;
use crate::connection_notification::ConnectionNotification;
use crate::elb::{Listener, LoadBalancer, TargetGroup};
use crate::endpoint::{Service, Upstream, VpcEndpoint};
use crate::endpoint_service::EndpointService;
use crate::error::ModelError;
use crate::gateway::{Address, InternetGateway, NatGateway};
use crate::iam::Iam;
use crate::id::*;
use crate::instance::{Instance, KeyPair};
use crate::interface::NetworkInterface;
use crate::network_acl::NetworkAcl;
use crate::organization::Organization;
use crate::peering::{PeeringState, VpcPeeringConnection};
use crate::prefix_list::PrefixList;
use crate::quota::{QuotaRequest, Quotas};
use crate::resolver_endpoint::ResolverEndpoint;
use crate::route::RouteTable;
use crate::security_group::SecurityGroup;
use crate::sns::Topic;
use crate::subnet::Subnet;
use crate::transit::{TransitGateway, TransitGatewayAttachment, TransitGatewayRouteTable};
use crate::vpc::{DhcpOptions, Vpc};
use crate::vpn::{CustomerGateway, VpnConnection, VpnGateway};

/// A region: a name and its zones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// For example `us-east-1`.
    pub name: String,
    /// In order of their letters.
    pub zones: Vec<Zone>,
}

/// An availability zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// For example `us-east-1a`.
    pub name: String,
    /// The zone's id, the same for all accounts, for example `use1-az1`.
    pub id: String,
}

/// Why a text is not the name of a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region's name (such as `us-east-1`)")]
pub struct MalformedRegion(pub String);

impl Region {
    /// A region of three zones.
    pub fn new(name: &str) -> Result<Self, MalformedRegion> {
        let malformed = || MalformedRegion(name.to_owned());
        let parts: Vec<&str> = name.split('-').collect();
        let (Some((number, words)), true) = (parts.split_last(), parts.len() >= 3) else {
            return Err(malformed());
        };
        let words_fit = words.iter().all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase()));
        if !words_fit || number.is_empty() || number.len() > 2 || !number.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(malformed());
        }
        // The short form AWS uses in zone ids: `us-east-1` is `use1`, `ap-southeast-2` is `apse2`.
        let letters = |word: &str| match word {
            "northeast" => "ne".to_owned(),
            "northwest" => "nw".to_owned(),
            "southeast" => "se".to_owned(),
            "southwest" => "sw".to_owned(),
            short if short.len() <= 2 => short.to_owned(),
            long => long.chars().take(1).collect(),
        };
        let short: String = words.iter().map(|w| letters(w)).collect();
        let zone = |(n, letter): (usize, char)| Zone {
            name: format!("{name}{letter}"),
            id: format!("{short}{number}-az{}", n + 1),
        };
        Ok(Self { name: name.to_owned(), zones: ['a', 'b', 'c'].into_iter().enumerate().map(zone).collect() })
    }
}

/// What holds a public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicAddress {
    /// An Elastic IP address, associated or not.
    Elastic(AllocationId),
    /// An address that an interface got at launch and keeps until its instance stops.
    Automatic(NetworkInterfaceId),
}

/// Everything that is so in a region at one revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each table is named after what it holds")]
pub struct State {
    /// How many commands made this state.
    pub revision: u64,
    pub region: Region,
    pub accounts: OrdMap<AccountId, Arc<Account>>,
    pub iam: OrdMap<AccountId, Arc<Iam>>,
    pub vpcs: OrdMap<VpcId, Arc<Vpc>>,
    pub dhcp_options: OrdMap<DhcpOptionsId, Arc<DhcpOptions>>,
    pub subnets: OrdMap<SubnetId, Arc<Subnet>>,
    pub route_tables: OrdMap<RouteTableId, Arc<RouteTable>>,
    pub internet_gateways: OrdMap<InternetGatewayId, Arc<InternetGateway>>,
    pub nat_gateways: OrdMap<NatGatewayId, Arc<NatGateway>>,
    #[serde(default)]
    pub vpc_peering_connections: OrdMap<VpcPeeringConnectionId, Arc<VpcPeeringConnection>>,
    #[serde(default)]
    pub customer_gateways: OrdMap<CustomerGatewayId, Arc<CustomerGateway>>,
    #[serde(default)]
    pub vpn_gateways: OrdMap<VpnGatewayId, Arc<VpnGateway>>,
    #[serde(default)]
    pub vpn_connections: OrdMap<VpnConnectionId, Arc<VpnConnection>>,
    #[serde(default)]
    pub transit_gateways: OrdMap<TransitGatewayId, Arc<TransitGateway>>,
    #[serde(default)]
    pub transit_gateway_attachments: OrdMap<TransitGatewayAttachmentId, Arc<TransitGatewayAttachment>>,
    #[serde(default)]
    pub transit_gateway_route_tables: OrdMap<TransitGatewayRouteTableId, Arc<TransitGatewayRouteTable>>,
    pub addresses: OrdMap<AllocationId, Arc<Address>>,
    pub network_interfaces: OrdMap<NetworkInterfaceId, Arc<NetworkInterface>>,
    pub security_groups: OrdMap<SecurityGroupId, Arc<SecurityGroup>>,
    pub network_acls: OrdMap<NetworkAclId, Arc<NetworkAcl>>,
    pub prefix_lists: OrdMap<PrefixListId, Arc<PrefixList>>,
    /// What endpoints can lead to, by service name.
    pub services: OrdMap<String, Arc<Service>>,
    /// Who answers for services that the operator added, by service name.
    #[serde(default)]
    pub upstreams: OrdMap<String, Arc<Upstream>>,
    pub vpc_endpoints: OrdMap<VpcEndpointId, Arc<VpcEndpoint>>,
    #[serde(default)]
    pub endpoint_services: OrdMap<EndpointServiceId, Arc<EndpointService>>,
    #[serde(default)]
    pub connection_notifications: OrdMap<ConnectionNotificationId, Arc<ConnectionNotification>>,
    /// By ARN.
    #[serde(default)]
    pub topics: OrdMap<String, Arc<Topic>>,
    #[serde(default)]
    pub load_balancers: OrdMap<LoadBalancerId, Arc<LoadBalancer>>,
    #[serde(default)]
    pub listeners: OrdMap<ListenerId, Arc<Listener>>,
    #[serde(default)]
    pub target_groups: OrdMap<TargetGroupId, Arc<TargetGroup>>,
    #[serde(default)]
    pub resolver_endpoints: OrdMap<ResolverEndpointId, Arc<ResolverEndpoint>>,
    pub instances: OrdMap<InstanceId, Arc<Instance>>,
    pub key_pairs: OrdMap<KeyPairId, Arc<KeyPair>>,
    /// What the operator made of an account's quotas.
    #[serde(default)]
    pub quotas: OrdMap<AccountId, Arc<Quotas>>,
    /// What an account asked for of its quotas, the latest last.
    #[serde(default)]
    pub quota_requests: OrdMap<AccountId, Arc<Vec<QuotaRequest>>>,
    /// Organizations, by their management accounts.
    #[serde(default)]
    pub organizations: OrdMap<AccountId, Arc<Organization>>,
    /// Requests that may be repeated, by account, and the token that names them.
    pub client_tokens: OrdMap<String, Arc<TokenRecord>>,
    /// Who has an address of a VPC. Derived from `network_interfaces`.
    #[serde(skip)]
    pub private_addresses: OrdMap<(VpcId, IpAddr), NetworkInterfaceId>,
    /// Who has a public address. Derived from `addresses` and `network_interfaces`.
    #[serde(skip)]
    pub public_addresses: OrdMap<Ipv4Addr, PublicAddress>,
}

/// A resource with a table of its own.
pub trait Resource: Clone + 'static {
    /// Its id.
    type Id: Copy + Ord + Into<ResourceId> + 'static;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// Whether this account may see it.
    fn visible_to(&self, account: AccountId) -> bool;
    /// Where all of them are.
    fn table(state: &State) -> &OrdMap<Self::Id, Arc<Self>>;
    /// Where all of them are.
    fn table_mut(state: &mut State) -> &mut OrdMap<Self::Id, Arc<Self>>;
    /// What people wrote on it.
    fn tags_mut(&mut self) -> &mut crate::tag::Tags;
    /// What people wrote on it.
    fn tags(&self) -> &crate::tag::Tags;
}

macro_rules! resources {
    ($($name:ident($id:ident) in $table:ident;)*) => {$(
        impl Resource for $name {
            type Id = $id;
            fn id(&self) -> $id { self.id }
            fn visible_to(&self, account: AccountId) -> bool { self.owner == account }
            fn table(state: &State) -> &OrdMap<$id, Arc<Self>> { &state.$table }
            fn table_mut(state: &mut State) -> &mut OrdMap<$id, Arc<Self>> { &mut state.$table }
            fn tags_mut(&mut self) -> &mut crate::tag::Tags { &mut self.tags }
            fn tags(&self) -> &crate::tag::Tags { &self.tags }
        }
    )*};
}

resources! {
    Vpc(VpcId) in vpcs;
    DhcpOptions(DhcpOptionsId) in dhcp_options;
    Subnet(SubnetId) in subnets;
    RouteTable(RouteTableId) in route_tables;
    InternetGateway(InternetGatewayId) in internet_gateways;
    NatGateway(NatGatewayId) in nat_gateways;
    CustomerGateway(CustomerGatewayId) in customer_gateways;
    VpnGateway(VpnGatewayId) in vpn_gateways;
    VpnConnection(VpnConnectionId) in vpn_connections;
    TransitGateway(TransitGatewayId) in transit_gateways;
    TransitGatewayAttachment(TransitGatewayAttachmentId) in transit_gateway_attachments;
    TransitGatewayRouteTable(TransitGatewayRouteTableId) in transit_gateway_route_tables;
    Address(AllocationId) in addresses;
    NetworkInterface(NetworkInterfaceId) in network_interfaces;
    SecurityGroup(SecurityGroupId) in security_groups;
    NetworkAcl(NetworkAclId) in network_acls;
    VpcEndpoint(VpcEndpointId) in vpc_endpoints;
    EndpointService(EndpointServiceId) in endpoint_services;
    ConnectionNotification(ConnectionNotificationId) in connection_notifications;
    LoadBalancer(LoadBalancerId) in load_balancers;
    Listener(ListenerId) in listeners;
    TargetGroup(TargetGroupId) in target_groups;
    ResolverEndpoint(ResolverEndpointId) in resolver_endpoints;
    Instance(InstanceId) in instances;
    KeyPair(KeyPairId) in key_pairs;
}

impl Resource for PrefixList {
    type Id = PrefixListId;
    fn id(&self) -> PrefixListId {
        self.id
    }
    fn visible_to(&self, account: AccountId) -> bool {
        self.owner.is_none_or(|owner| owner == account)
    }
    fn table(state: &State) -> &OrdMap<PrefixListId, Arc<Self>> {
        &state.prefix_lists
    }
    fn table_mut(state: &mut State) -> &mut OrdMap<PrefixListId, Arc<Self>> {
        &mut state.prefix_lists
    }
    fn tags_mut(&mut self) -> &mut crate::tag::Tags {
        &mut self.tags
    }
    fn tags(&self) -> &crate::tag::Tags {
        &self.tags
    }
}

impl Resource for VpcPeeringConnection {
    type Id = VpcPeeringConnectionId;
    fn id(&self) -> VpcPeeringConnectionId {
        self.id
    }
    /// Both owners, but for a request that never came to the other one.
    fn visible_to(&self, account: AccountId) -> bool {
        let asked = self.accepter.owner == account && self.state != PeeringState::Failed;
        self.requester.owner == account || asked
    }
    fn table(state: &State) -> &OrdMap<VpcPeeringConnectionId, Arc<Self>> {
        &state.vpc_peering_connections
    }
    fn table_mut(state: &mut State) -> &mut OrdMap<VpcPeeringConnectionId, Arc<Self>> {
        &mut state.vpc_peering_connections
    }
    fn tags_mut(&mut self) -> &mut crate::tag::Tags {
        &mut self.tags
    }
    fn tags(&self) -> &crate::tag::Tags {
        &self.tags
    }
}

impl State {
    /// A region with nothing in it but AWS's own services and their prefix lists.
    pub fn new(region: Region) -> Self {
        let (services, prefix_lists) = crate::endpoint::catalogue(&region);
        Self {
            revision: 0,
            region,
            accounts: OrdMap::new(),
            iam: OrdMap::new(),
            vpcs: OrdMap::new(),
            dhcp_options: OrdMap::new(),
            subnets: OrdMap::new(),
            route_tables: OrdMap::new(),
            internet_gateways: OrdMap::new(),
            nat_gateways: OrdMap::new(),
            vpc_peering_connections: OrdMap::new(),
            customer_gateways: OrdMap::new(),
            vpn_gateways: OrdMap::new(),
            vpn_connections: OrdMap::new(),
            transit_gateways: OrdMap::new(),
            transit_gateway_attachments: OrdMap::new(),
            transit_gateway_route_tables: OrdMap::new(),
            addresses: OrdMap::new(),
            network_interfaces: OrdMap::new(),
            security_groups: OrdMap::new(),
            network_acls: OrdMap::new(),
            prefix_lists,
            services,
            upstreams: OrdMap::new(),
            vpc_endpoints: OrdMap::new(),
            endpoint_services: OrdMap::new(),
            connection_notifications: OrdMap::new(),
            topics: OrdMap::new(),
            load_balancers: OrdMap::new(),
            listeners: OrdMap::new(),
            target_groups: OrdMap::new(),
            resolver_endpoints: OrdMap::new(),
            instances: OrdMap::new(),
            key_pairs: OrdMap::new(),
            quotas: OrdMap::new(),
            quota_requests: OrdMap::new(),
            organizations: OrdMap::new(),
            client_tokens: OrdMap::new(),
            private_addresses: OrdMap::new(),
            public_addresses: OrdMap::new(),
        }
    }

    /// The resource, if `account` may see it.
    pub fn get<R: Resource>(&self, account: AccountId, id: R::Id) -> Result<Arc<R>, ModelError> {
        let found = R::table(self).get(&id).filter(|resource| resource.visible_to(account));
        found.cloned().ok_or_else(|| ModelError::NotFound(id.into()))
    }

    /// All of `account`'s resources of one kind, in the order of their ids.
    pub fn visible<R: Resource>(&self, account: AccountId) -> impl Iterator<Item = &Arc<R>> {
        R::table(self).values().filter(move |resource| resource.visible_to(account))
    }

    /// How many VPC endpoints there are that nobody has deleted: deleted ones are remembered for a while.
    pub fn live_endpoint_count(&self) -> usize {
        self.vpc_endpoints.values().filter(|endpoint| endpoint.state.is_live()).count()
    }

    /// Makes the derived tables anew, after the rest was read from a store. AWS's own services and prefix lists belong to
    /// this version of the program.
    pub fn reindex(&mut self) {
        crate::endpoint::restore_services(self);
        self.prefix_lists.extend(crate::endpoint::catalogue(&self.region).1);
        self.private_addresses = OrdMap::new();
        self.public_addresses = OrdMap::new();
        for interface in self.network_interfaces.values() {
            for private in &interface.private_addresses {
                self.private_addresses.insert((interface.vpc, private.address.into()), interface.id);
            }
            if let Some(public) = interface.automatic_public_address {
                self.public_addresses.insert(public, PublicAddress::Automatic(interface.id));
            }
        }
        for address in self.addresses.values() {
            self.public_addresses.insert(address.public_address, PublicAddress::Elastic(address.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_zones_named_as_aws_names_them() {
        let names = |region: &str| {
            let region = Region::new(region).unwrap();
            region.zones.iter().map(|z| format!("{} {}", z.name, z.id)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names("us-east-1"), "us-east-1a use1-az1, us-east-1b use1-az2, us-east-1c use1-az3");
        assert_eq!(names("ap-southeast-2").split(',').next(), Some("ap-southeast-2a apse2-az1"));
        assert_eq!(names("eu-central-1").split(',').next(), Some("eu-central-1a euc1-az1"));
        for bad in ["", "us", "us-east", "US-east-1", "us-east-x", "us--1", "us-east-111"] {
            assert!(Region::new(bad).is_err(), "{bad}");
        }
    }
}

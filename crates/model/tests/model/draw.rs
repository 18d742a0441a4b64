//! Random commands, drawn so that most of them can succeed: ids mostly of the account itself, some of the other one,
//! some of nobody.
//!
//! INVARIANT: every variant of `Action` has its line in `kinds!`, so a new one does not compile until it is drawn.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::Ipv4Addr;

use postern_model::endpoint::{EndpointChange, NewGatewayEndpoint, VpcEndpoint};
use postern_model::gateway::{Address, InternetGateway, NatGateway};
use postern_model::iam::{IamAction, Identity, KeyOwner, Secret};
use postern_model::instance::{
    Instance, InstanceChange, InstanceState, KeyPair, Launch, LaunchInterface, MetadataOptions, NewKeyPair,
};
use postern_model::interface::{InterfaceChange, InterfaceKind, NetworkInterface, NewInterface};
use postern_model::network_acl::{AclEntry, NetworkAcl};
use postern_model::prefix_list::{NewPrefixList, PrefixList, PrefixListChange};
use postern_model::route::{RouteDestination, RouteTable, RouteTarget, RouteTargetChoice};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, SecurityGroup, Traffic};
use postern_model::state::Resource;
use postern_model::subnet::Subnet;
use postern_model::vpc::{DhcpOptions, Vpc};
use postern_model::*;

macro_rules! kinds {
    ($($pattern:pat => $name:literal,)*) => {
        /// The name of every kind of command.
        pub const KINDS: &[&str] = &[$($name),*];

        /// What kind of command this is.
        pub fn kind(action: &Action) -> &'static str {
            match action { $($pattern => $name,)* }
        }
    };
}

kinds! {
    Action::CreateAccount { .. } => "CreateAccount",
    Action::CreateRootKey { .. } => "CreateRootKey",
    Action::Iam(IamAction::CreateUser { .. }) => "Iam.CreateUser",
    Action::Iam(IamAction::DeleteUser { .. }) => "Iam.DeleteUser",
    Action::Iam(IamAction::CreateRole { .. }) => "Iam.CreateRole",
    Action::Iam(IamAction::DeleteRole { .. }) => "Iam.DeleteRole",
    Action::Iam(IamAction::UpdateTrustPolicy { .. }) => "Iam.UpdateTrustPolicy",
    Action::Iam(IamAction::PutInlinePolicy { .. }) => "Iam.PutInlinePolicy",
    Action::Iam(IamAction::DeleteInlinePolicy { .. }) => "Iam.DeleteInlinePolicy",
    Action::Iam(IamAction::AttachPolicy { .. }) => "Iam.AttachPolicy",
    Action::Iam(IamAction::DetachPolicy { .. }) => "Iam.DetachPolicy",
    Action::Iam(IamAction::CreatePolicy { .. }) => "Iam.CreatePolicy",
    Action::Iam(IamAction::DeletePolicy { .. }) => "Iam.DeletePolicy",
    Action::Iam(IamAction::CreateInstanceProfile { .. }) => "Iam.CreateInstanceProfile",
    Action::Iam(IamAction::DeleteInstanceProfile { .. }) => "Iam.DeleteInstanceProfile",
    Action::Iam(IamAction::AddRoleToInstanceProfile { .. }) => "Iam.AddRoleToInstanceProfile",
    Action::Iam(IamAction::RemoveRoleFromInstanceProfile { .. }) => "Iam.RemoveRoleFromInstanceProfile",
    Action::Iam(IamAction::CreateAccessKey { .. }) => "Iam.CreateAccessKey",
    Action::Iam(IamAction::SetAccessKey { .. }) => "Iam.SetAccessKey",
    Action::Iam(IamAction::DeleteAccessKey { .. }) => "Iam.DeleteAccessKey",
    Action::Iam(IamAction::TagRole { .. }) => "Iam.TagRole",
    Action::Iam(IamAction::UntagRole { .. }) => "Iam.UntagRole",
    Action::CreateVpc { .. } => "CreateVpc",
    Action::DeleteVpc { .. } => "DeleteVpc",
    Action::SetVpcDns { .. } => "SetVpcDns",
    Action::AssociateVpcCidrBlock { .. } => "AssociateVpcCidrBlock",
    Action::DisassociateVpcCidrBlock { .. } => "DisassociateVpcCidrBlock",
    Action::CreateDhcpOptions { .. } => "CreateDhcpOptions",
    Action::AssociateDhcpOptions { .. } => "AssociateDhcpOptions",
    Action::DeleteDhcpOptions { .. } => "DeleteDhcpOptions",
    Action::CreateSubnet { .. } => "CreateSubnet",
    Action::DeleteSubnet { .. } => "DeleteSubnet",
    Action::SetMapPublicIpOnLaunch { .. } => "SetMapPublicIpOnLaunch",
    Action::CreateRouteTable { .. } => "CreateRouteTable",
    Action::DeleteRouteTable { .. } => "DeleteRouteTable",
    Action::CreateRoute { .. } => "CreateRoute",
    Action::ReplaceRoute { .. } => "ReplaceRoute",
    Action::DeleteRoute { .. } => "DeleteRoute",
    Action::AssociateRouteTable { .. } => "AssociateRouteTable",
    Action::DisassociateRouteTable { .. } => "DisassociateRouteTable",
    Action::ReplaceRouteTableAssociation { .. } => "ReplaceRouteTableAssociation",
    Action::CreateInternetGateway { .. } => "CreateInternetGateway",
    Action::DeleteInternetGateway { .. } => "DeleteInternetGateway",
    Action::AttachInternetGateway { .. } => "AttachInternetGateway",
    Action::DetachInternetGateway { .. } => "DetachInternetGateway",
    Action::AllocateAddress { .. } => "AllocateAddress",
    Action::ReleaseAddress { .. } => "ReleaseAddress",
    Action::AssociateAddress { .. } => "AssociateAddress",
    Action::DisassociateAddress { .. } => "DisassociateAddress",
    Action::CreateNatGateway { .. } => "CreateNatGateway",
    Action::DeleteNatGateway { .. } => "DeleteNatGateway",
    Action::ReportNatGatewayReady { .. } => "ReportNatGatewayReady",
    Action::CreateNetworkInterface(_) => "CreateNetworkInterface",
    Action::DeleteNetworkInterface { .. } => "DeleteNetworkInterface",
    Action::AttachNetworkInterface { .. } => "AttachNetworkInterface",
    Action::DetachNetworkInterface { .. } => "DetachNetworkInterface",
    Action::ModifyNetworkInterface { .. } => "ModifyNetworkInterface",
    Action::AssignPrivateAddresses { .. } => "AssignPrivateAddresses",
    Action::UnassignPrivateAddresses { .. } => "UnassignPrivateAddresses",
    Action::CreateSecurityGroup { .. } => "CreateSecurityGroup",
    Action::DeleteSecurityGroup { .. } => "DeleteSecurityGroup",
    Action::AuthorizeSecurityGroup { .. } => "AuthorizeSecurityGroup",
    Action::RevokeSecurityGroup { .. } => "RevokeSecurityGroup",
    Action::ModifySecurityGroupRule { .. } => "ModifySecurityGroupRule",
    Action::CreateNetworkAcl { .. } => "CreateNetworkAcl",
    Action::DeleteNetworkAcl { .. } => "DeleteNetworkAcl",
    Action::CreateNetworkAclEntry { .. } => "CreateNetworkAclEntry",
    Action::ReplaceNetworkAclEntry { .. } => "ReplaceNetworkAclEntry",
    Action::DeleteNetworkAclEntry { .. } => "DeleteNetworkAclEntry",
    Action::ReplaceNetworkAclAssociation { .. } => "ReplaceNetworkAclAssociation",
    Action::CreateManagedPrefixList(_) => "CreateManagedPrefixList",
    Action::ModifyManagedPrefixList { .. } => "ModifyManagedPrefixList",
    Action::RestoreManagedPrefixListVersion { .. } => "RestoreManagedPrefixListVersion",
    Action::DeleteManagedPrefixList { .. } => "DeleteManagedPrefixList",
    Action::CreateGatewayEndpoint(_) => "CreateGatewayEndpoint",
    Action::ModifyVpcEndpoint { .. } => "ModifyVpcEndpoint",
    Action::DeleteVpcEndpoint { .. } => "DeleteVpcEndpoint",
    Action::ReportVpcEndpointReady { .. } => "ReportVpcEndpointReady",
    Action::RunInstances(_) => "RunInstances",
    Action::StopInstances { .. } => "StopInstances",
    Action::StartInstances { .. } => "StartInstances",
    Action::TerminateInstances { .. } => "TerminateInstances",
    Action::ModifyInstance { .. } => "ModifyInstance",
    Action::ReportInstance { .. } => "ReportInstance",
    Action::ForgetInstance { .. } => "ForgetInstance",
    Action::CreateKeyPair(_) => "CreateKeyPair",
    Action::DeleteKeyPair { .. } => "DeleteKeyPair",
    Action::CreateTags { .. } => "CreateTags",
    Action::DeleteTags { .. } => "DeleteTags",
}

/// A small generator of pseudo-random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// One command being drawn.
pub struct Draw<'a> {
    pub random: &'a mut Random,
    pub state: &'a State,
    pub account: AccountId,
    /// What was named that is another account's, and what to name in its stead that is nobody's.
    pub foreign: Vec<(String, String)>,
}

/// What was drawn.
pub struct Drawn {
    pub action: Action,
    pub foreign: Vec<(String, String)>,
}

/// What worlds are built of. Drawn more often, so that the rest finds something to work on.
const BUILDERS: &[&str] = &[
    "CreateVpc",
    "CreateSubnet",
    "CreateSubnet",
    "CreateInternetGateway",
    "AttachInternetGateway",
    "AllocateAddress",
    "AssociateAddress",
    "CreateNatGateway",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "CreateRoute",
    "CreateRouteTable",
    "CreateGatewayEndpoint",
    "RunInstances",
    "RunInstances",
    "ReportInstance",
    "ReportInstance",
    "ReportInstance",
    "CreateNetworkAclEntry",
    "ModifyManagedPrefixList",
    "Iam.CreateRole",
    "Iam.CreateInstanceProfile",
    "Iam.AddRoleToInstanceProfile",
    "Iam.AttachPolicy",
    "Iam.PutInlinePolicy",
];

/// A random command of `account`.
pub fn draw(random: &mut Random, state: &State, account: AccountId) -> Drawn {
    let kind = if random.chance(50) { random.of(BUILDERS) } else { random.of(KINDS) };
    let mut draw = Draw { random, state, account, foreign: Vec::new() };
    let action = draw.action(kind);
    Drawn { action, foreign: draw.foreign }
}

impl Draw<'_> {
    /// One of these: mostly the account's own, sometimes another's, sometimes nobody's.
    fn choose<Id: Copy + Display>(&mut self, all: &[(bool, Id)], made_up: fn(u64) -> Id) -> Id {
        let roll = self.random.below(100);
        let wanted: Vec<Id> = match roll {
            0..92 => all.iter().filter(|(own, _)| *own).map(|(_, id)| *id).collect(),
            92..97 => all.iter().filter(|(own, _)| !*own).map(|(_, id)| *id).collect(),
            _ => Vec::new(),
        };
        let nobodys = made_up((0xf_u64 << 60) | (self.random.next() >> 4));
        if wanted.is_empty() {
            return nobodys;
        }
        let chosen = self.random.of(&wanted);
        if (92..97).contains(&roll) {
            self.foreign.push((chosen.to_string(), nobodys.to_string()));
        }
        chosen
    }

    fn id<R: Resource>(&mut self, made_up: fn(u64) -> R::Id) -> R::Id
    where
        R::Id: Display,
    {
        let account = self.account;
        let all: Vec<_> = R::table(self.state).values().map(|r| (r.visible_to(account), r.id())).collect();
        self.choose(&all, made_up)
    }

    fn vpc(&mut self) -> VpcId {
        self.id::<Vpc>(VpcId::from_number)
    }

    fn subnet(&mut self) -> SubnetId {
        self.id::<Subnet>(SubnetId::from_number)
    }

    fn table(&mut self) -> RouteTableId {
        self.id::<RouteTable>(RouteTableId::from_number)
    }

    fn interface(&mut self) -> NetworkInterfaceId {
        self.id::<NetworkInterface>(NetworkInterfaceId::from_number)
    }

    fn group(&mut self) -> SecurityGroupId {
        self.id::<SecurityGroup>(SecurityGroupId::from_number)
    }

    fn acl(&mut self) -> NetworkAclId {
        self.id::<NetworkAcl>(NetworkAclId::from_number)
    }

    fn list(&mut self) -> PrefixListId {
        self.id::<PrefixList>(PrefixListId::from_number)
    }

    fn allocation(&mut self) -> AllocationId {
        self.id::<Address>(AllocationId::from_number)
    }

    fn instance(&mut self) -> InstanceId {
        self.id::<Instance>(InstanceId::from_number)
    }

    fn instances(&mut self) -> Vec<InstanceId> {
        let count = 1 + self.random.below(2);
        (0..count).map(|_| self.instance()).collect()
    }

    /// Route tables of one VPC, for the most part.
    fn tables_of(&mut self, vpc: VpcId) -> Vec<RouteTableId> {
        let of_vpc: Vec<_> =
            self.state.route_tables.values().filter(|t| t.vpc == vpc).map(|t| t.id).collect();
        if of_vpc.is_empty() || self.random.chance(15) {
            return vec![self.table()];
        }
        (0..self.random.below(3)).map(|_| self.random.of(&of_vpc)).collect()
    }

    fn tags(&mut self) -> TagSet {
        match self.random.below(10) {
            0..6 => Vec::new(),
            6..9 => (0..1 + self.random.below(3)).map(|n| (format!("k{n}"), format!("v{n}"))).collect(),
            _ => vec![("aws:reserved".to_owned(), String::new())],
        }
    }

    fn name(&mut self) -> String {
        let names = ["alpha", "alpha", "beta", "Alpha", "default", "no such name!"];
        self.random.of(&names).to_owned()
    }

    fn block_inside(&mut self, vpc: VpcId) -> Ipv4Net {
        let Some(found) = self.state.vpcs.get(&vpc) else { return net("10.0.0.0/24") };
        let block = self.random.of(&found.blocks).cidr;
        let length = (24 + self.random.below(5) as u8).max(block.prefix_len());
        let span = 1_u32 << (32 - block.prefix_len());
        let offset = (self.random.next() as u32 % span.min(4_096)) & !((1 << (32 - length)) - 1);
        Ipv4Net::new(Ipv4Addr::from(u32::from(block.network()) + offset), length).unwrap()
    }

    fn destination(&mut self, table: RouteTableId) -> RouteDestination {
        let table = self.state.route_tables.get(&table).cloned();
        if let Some(table) = table.as_ref().filter(|table| !table.routes.is_empty() && self.random.chance(40))
        {
            let there: Vec<_> = table.routes.keys().copied().collect();
            return self.random.of(&there);
        }
        let inside = table.map_or(net("10.0.0.0/16"), |table| self.block_inside(table.vpc));
        match self.random.below(8) {
            0..3 => RouteDestination::Cidr(IpNet::V4(net("0.0.0.0/0"))),
            3 => RouteDestination::Cidr(IpNet::V4(net("10.77.0.0/16"))),
            4 => RouteDestination::Cidr(IpNet::V4(inside)),
            5 => RouteDestination::Cidr("::/0".parse().unwrap()),
            6 => RouteDestination::Cidr(IpNet::V4(net("169.254.169.0/24"))),
            _ => RouteDestination::PrefixList(self.list()),
        }
    }

    fn target(&mut self, table: RouteTableId) -> RouteTargetChoice {
        let vpc = self.state.route_tables.get(&table).map(|table| table.vpc);
        let gateway =
            self.state.internet_gateways.values().find(|x| x.vpc == vpc && vpc.is_some()).map(|x| x.id);
        let nat = self.state.nat_gateways.values().find(|x| Some(x.vpc) == vpc).map(|x| x.id);
        let interface = self.state.network_interfaces.values().find(|x| Some(x.vpc) == vpc).map(|x| x.id);
        let target = match (self.random.below(8), gateway, nat, interface) {
            (0..2, Some(id), ..) => RouteTarget::InternetGateway(id),
            (2..4, _, Some(id), _) => RouteTarget::NatGateway(id),
            (4..6, .., Some(id)) => RouteTarget::NetworkInterface(id),
            (6, ..) => return RouteTargetChoice::Instance(self.instance()),
            (7, ..) => RouteTarget::VpcEndpoint(self.id::<VpcEndpoint>(VpcEndpointId::from_number)),
            _ => RouteTarget::InternetGateway(self.id::<InternetGateway>(InternetGatewayId::from_number)),
        };
        RouteTargetChoice::Target(target)
    }

    fn traffic(&mut self) -> Traffic {
        let from = self.random.of(&[22, 80, 443]);
        match self.random.below(6) {
            0 => Traffic::All,
            1 => Traffic::Tcp(from, from),
            2 => Traffic::Udp(53, 53),
            3 => Traffic::Icmp(None, None),
            4 => Traffic::Protocol(47),
            _ => Traffic::Tcp(from, 100),
        }
    }

    fn permission(&mut self, group: SecurityGroupId) -> Permission {
        let vpc = self.state.security_groups.get(&group).map(|group| group.vpc);
        let sibling = self.state.security_groups.values().find(|g| Some(g.vpc) == vpc).map(|g| g.id);
        let peer = match (self.random.below(5), sibling) {
            (0..2, Some(id)) => Peer::Group(id),
            (2, _) => Peer::Group(self.group()),
            (3, _) => Peer::PrefixList(self.list()),
            _ => Peer::Cidr(
                self.random.of(&["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/8", "::/0"]).parse().unwrap(),
            ),
        };
        Permission { egress: self.random.chance(50), traffic: self.traffic(), peer }
    }

    fn existing_rule(&mut self, group: SecurityGroupId) -> (SecurityGroupRuleId, Option<Permission>) {
        let rules: Vec<_> =
            self.state.security_groups.values().flat_map(|g| g.rules.values().map(move |r| (g, r))).collect();
        let of_group: Vec<_> =
            rules.iter().filter(|(g, _)| g.id == group).map(|(_, r)| (r.id, Some(r.permission))).collect();
        if !of_group.is_empty() && self.random.chance(80) {
            return self.random.of(&of_group);
        }
        let account = self.account;
        let all: Vec<_> = rules.iter().map(|(g, r)| (g.owner == account, r.id)).collect();
        (self.choose(&all, SecurityGroupRuleId::from_number), None)
    }

    fn entries(&mut self) -> Vec<(IpNet, String)> {
        let count = self.random.below(4);
        (0..count)
            .map(|_| {
                let third = self.random.below(6);
                (format!("10.{third}.0.0/16").parse().unwrap(), String::new())
            })
            .collect()
    }

    fn identity(&mut self) -> Identity {
        let name = self.name();
        if self.random.chance(50) { Identity::User(name) } else { Identity::Role(name) }
    }

    fn policy_arn(&mut self) -> String {
        let (state, account) = (self.state, self.account);
        let of = |own: bool| {
            let iam = state.iam.iter().filter(move |(owner, _)| (**owner == account) == own);
            iam.flat_map(|(_, iam)| iam.policies.keys().cloned()).collect::<Vec<_>>()
        };
        let (own, foreign) = (of(true), of(false));
        match self.random.below(20) {
            0..15 if !own.is_empty() => self.random.of(&own),
            15 if !foreign.is_empty() => {
                let chosen = self.random.of(&foreign);
                let nobodys = "arn:aws:iam::999999999999:policy/nobodys".to_owned();
                self.foreign.push((chosen.clone(), nobodys));
                chosen
            }
            16 => "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned(),
            _ => "arn:aws:iam::999999999999:policy/none".to_owned(),
        }
    }

    /// A key and, if it is the account's own, whose.
    fn key(&mut self) -> (Option<String>, String) {
        let mut own = Vec::new();
        let mut foreign = Vec::new();
        for (account, iam) in &self.state.iam {
            for key in iam.access_keys.values() {
                let user = match &key.owner {
                    KeyOwner::Root => None,
                    KeyOwner::User(name) => Some(name.clone()),
                };
                if *account == self.account { &mut own } else { &mut foreign }.push((user, key.id.clone()));
            }
        }
        match self.random.below(10) {
            0..8 if !own.is_empty() => self.random.of(&own),
            8 if !foreign.is_empty() => {
                let chosen = self.random.of(&foreign);
                self.foreign.push((chosen.1.clone(), "AKIANOBODYS".to_owned()));
                chosen
            }
            _ => (None, "AKIANOBODYS".to_owned()),
        }
    }

    fn new_key(&mut self) -> (String, Secret) {
        (format!("AKIA{:016X}", self.random.next()), Secret("secret".to_owned()))
    }

    fn document(&mut self) -> String {
        format!(r#"{{"Version":"2012-10-17","Id":"{}"}}"#, self.random.below(3))
    }

    fn resource(&mut self) -> ResourceId {
        match self.random.below(9) {
            0 => self.vpc().into(),
            1 => self.subnet().into(),
            2 => self.table().into(),
            3 => self.interface().into(),
            4 => self.group().into(),
            5 => self.acl().into(),
            6 => self.list().into(),
            7 => self.instance().into(),
            _ => {
                let group = self.group();
                self.existing_rule(group).0.into()
            }
        }
    }

    fn next_instance_state(&mut self, instance: InstanceId) -> InstanceState {
        use InstanceState::*;
        let current = self.state.instances.get(&instance).map(|instance| instance.state);
        match (current, self.random.below(10)) {
            (Some(Pending), 0..8) => Running,
            (Some(Stopping), 0..8) => Stopped,
            (Some(ShuttingDown), 0..8) => Terminated,
            _ => self.random.of(&[Pending, Running, Stopping, Stopped, ShuttingDown, Terminated]),
        }
    }

    fn launch(&mut self) -> Launch {
        let interface = if self.random.chance(15) {
            LaunchInterface::Existing(self.interface())
        } else {
            LaunchInterface::New {
                subnet: self.subnet(),
                groups: if self.random.chance(80) { None } else { Some(vec![self.group()]) },
                private_address: None,
                public_address: self.random.of(&[None, None, Some(true), Some(false)]),
                description: String::new(),
                delete_on_termination: self.random.chance(70),
            }
        };
        Launch {
            count: self.random.of(&[1, 1, 1, 2, 0]),
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface,
            key_name: if self.random.chance(90) { None } else { Some(self.name()) },
            profile: if self.random.chance(90) { None } else { Some(self.name()) },
            user_data: None,
            metadata: MetadataOptions::default(),
            termination_protected: self.random.chance(5),
            tags: self.tags(),
            interface_tags: Vec::new(),
        }
    }

    fn interface_change(&mut self, interface: NetworkInterfaceId) -> InterfaceChange {
        let attachment = self.state.network_interfaces.get(&interface).and_then(|x| x.attachment);
        match (self.random.below(4), attachment) {
            (0, _) => InterfaceChange::Description("other".to_owned()),
            (1, _) => InterfaceChange::Groups(vec![self.group()]),
            (2, _) => InterfaceChange::SourceDestCheck(self.random.chance(50)),
            (_, Some(attachment)) => {
                InterfaceChange::DeleteOnTermination(attachment.id, self.random.chance(50))
            }
            (_, None) => InterfaceChange::DeleteOnTermination(AttachmentId::from_number(u64::MAX), true),
        }
    }

    fn instance_change(&mut self) -> InstanceChange {
        match self.random.below(6) {
            0 => InstanceChange::TerminationProtection(self.random.chance(30)),
            1 => InstanceChange::InstanceType("t3.large".to_owned()),
            2 => InstanceChange::UserData(b"echo".to_vec()),
            3 => InstanceChange::Metadata(MetadataOptions { enabled: true, hop_limit: 2 }),
            4 => InstanceChange::Profile(Some(self.name())),
            _ => InstanceChange::Profile(None),
        }
    }

    fn addresses_of(&mut self, interface: NetworkInterfaceId) -> Vec<Ipv4Addr> {
        let found = self.state.network_interfaces.get(&interface);
        found.map_or(Vec::new(), |x| x.private_addresses.iter().map(|p| p.address).collect())
    }

    fn address_in(&mut self, subnet: SubnetId) -> Option<Ipv4Addr> {
        let cidr = self.state.subnets.get(&subnet)?.cidr;
        let span = 1_u32 << (32 - cidr.prefix_len());
        Some(Ipv4Addr::from(u32::from(cidr.network()) + self.random.next() as u32 % span))
    }

    fn acl_entry(&mut self) -> AclEntry {
        AclEntry {
            number: self.random.of(&[0, 1, 2, 3, 32_766, 32_767]),
            allow: self.random.chance(50),
            traffic: self.traffic(),
            cidr: self.random.of(&["0.0.0.0/0", "10.0.0.5/8", "::/0"]).parse().unwrap(),
        }
    }

    fn iam(&mut self, kind: &str) -> IamAction {
        let (name, other) = (self.name(), self.name());
        match kind {
            "CreateUser" => IamAction::CreateUser { name, path: "/".to_owned(), tags: self.tags() },
            "DeleteUser" => IamAction::DeleteUser { name },
            "CreateRole" => IamAction::CreateRole {
                name,
                path: "/".to_owned(),
                trust_policy: self.document(),
                description: String::new(),
                max_session_seconds: 3_600,
                tags: self.tags(),
            },
            "DeleteRole" => IamAction::DeleteRole { name },
            "UpdateTrustPolicy" => IamAction::UpdateTrustPolicy { role: name, document: self.document() },
            "PutInlinePolicy" => IamAction::PutInlinePolicy {
                identity: self.identity(),
                policy: name,
                document: self.document(),
            },
            "DeleteInlinePolicy" => IamAction::DeleteInlinePolicy { identity: self.identity(), policy: name },
            "AttachPolicy" => IamAction::AttachPolicy { identity: self.identity(), arn: self.policy_arn() },
            "DetachPolicy" => IamAction::DetachPolicy { identity: self.identity(), arn: self.policy_arn() },
            "CreatePolicy" => IamAction::CreatePolicy {
                name,
                path: self.random.of(&["/", "/a/"]).to_owned(),
                description: String::new(),
                document: self.document(),
                tags: self.tags(),
            },
            "DeletePolicy" => IamAction::DeletePolicy { arn: self.policy_arn() },
            "CreateInstanceProfile" => {
                IamAction::CreateInstanceProfile { name, path: "/".to_owned(), tags: self.tags() }
            }
            "DeleteInstanceProfile" => IamAction::DeleteInstanceProfile { name },
            "AddRoleToInstanceProfile" => IamAction::AddRoleToInstanceProfile { profile: name, role: other },
            "RemoveRoleFromInstanceProfile" => {
                IamAction::RemoveRoleFromInstanceProfile { profile: name, role: other }
            }
            "CreateAccessKey" => {
                let (id, secret) = self.new_key();
                IamAction::CreateAccessKey { user: name, id, secret }
            }
            "SetAccessKey" => {
                let (user, id) = self.key();
                IamAction::SetAccessKey { user, id, active: self.random.chance(50) }
            }
            "DeleteAccessKey" => {
                let (user, id) = self.key();
                IamAction::DeleteAccessKey { user, id }
            }
            "TagRole" => IamAction::TagRole { role: name, tags: self.tags() },
            "UntagRole" => IamAction::UntagRole { role: name, keys: vec!["k0".to_owned()] },
            other => panic!("no way to draw Iam.{other}"),
        }
    }

    fn action(&mut self, kind: &str) -> Action {
        if let Some(kind) = kind.strip_prefix("Iam.") {
            return Action::Iam(self.iam(kind));
        }
        match kind {
            "CreateAccount" => Action::CreateAccount { name: self.name(), root_key: Some(self.new_key()) },
            "CreateRootKey" => {
                let (id, secret) = self.new_key();
                Action::CreateRootKey { id, secret }
            }
            "CreateVpc" => {
                let blocks = [
                    "10.0.0.0/16",
                    "10.0.0.0/20",
                    "10.0.0.0/28",
                    "172.16.0.0/16",
                    "192.168.0.0/24",
                    "100.64.0.0/16",
                    "10.0.0.0/15",
                    "10.0.0.0/29",
                    "10.0.0.1/16",
                    "169.254.0.0/16",
                ];
                Action::CreateVpc { cidr: net(self.random.of(&blocks)), tags: self.tags() }
            }
            "DeleteVpc" => Action::DeleteVpc { vpc: self.vpc() },
            "SetVpcDns" => {
                let on = self.random.chance(50);
                Action::SetVpcDns { vpc: self.vpc(), support: None, hostnames: Some(on) }
            }
            "AssociateVpcCidrBlock" => {
                let blocks = ["10.5.0.0/16", "10.6.0.0/24", "172.20.0.0/16", "100.65.0.0/20", "10.0.0.0/16"];
                Action::AssociateVpcCidrBlock { vpc: self.vpc(), cidr: net(self.random.of(&blocks)) }
            }
            "DisassociateVpcCidrBlock" => {
                let account = self.account;
                let blocks = self.state.vpcs.values().flat_map(|vpc| {
                    vpc.blocks.iter().map(move |block| (vpc.owner == account, block.association))
                });
                let blocks: Vec<_> = blocks.collect();
                let association = self.choose(&blocks, VpcCidrAssociationId::from_number);
                Action::DisassociateVpcCidrBlock { association }
            }
            "CreateDhcpOptions" => Action::CreateDhcpOptions {
                options: BTreeMap::from([("domain-name".to_owned(), vec![self.name()])]),
                tags: self.tags(),
            },
            "AssociateDhcpOptions" => Action::AssociateDhcpOptions {
                vpc: self.vpc(),
                options: self.id::<DhcpOptions>(DhcpOptionsId::from_number),
            },
            "DeleteDhcpOptions" => {
                Action::DeleteDhcpOptions { options: self.id::<DhcpOptions>(DhcpOptionsId::from_number) }
            }
            "CreateSubnet" => {
                let vpc = self.vpc();
                let zone = self.random.of(&[None, Some("us-east-1b"), Some("use1-az1"), Some("nowhere")]);
                let cidr = self.block_inside(vpc);
                Action::CreateSubnet { vpc, cidr, zone: zone.map(str::to_owned), tags: self.tags() }
            }
            "DeleteSubnet" => Action::DeleteSubnet { subnet: self.subnet() },
            "SetMapPublicIpOnLaunch" => {
                Action::SetMapPublicIpOnLaunch { subnet: self.subnet(), on: self.random.chance(50) }
            }
            "CreateRouteTable" => Action::CreateRouteTable { vpc: self.vpc(), tags: self.tags() },
            "DeleteRouteTable" => Action::DeleteRouteTable { table: self.table() },
            "CreateRoute" => {
                let table = self.table();
                let (destination, target) = (self.destination(table), self.target(table));
                Action::CreateRoute { table, destination, target }
            }
            "ReplaceRoute" => {
                let table = self.table();
                let (destination, target) = (self.destination(table), self.target(table));
                Action::ReplaceRoute { table, destination, target }
            }
            "DeleteRoute" => {
                let table = self.table();
                Action::DeleteRoute { table, destination: self.destination(table) }
            }
            "AssociateRouteTable" => {
                Action::AssociateRouteTable { table: self.table(), subnet: self.subnet() }
            }
            "DisassociateRouteTable" => {
                Action::DisassociateRouteTable { association: self.table_association() }
            }
            "ReplaceRouteTableAssociation" => Action::ReplaceRouteTableAssociation {
                association: self.table_association(),
                table: self.table(),
            },
            "CreateInternetGateway" => Action::CreateInternetGateway { tags: self.tags() },
            "DeleteInternetGateway" => Action::DeleteInternetGateway {
                gateway: self.id::<InternetGateway>(InternetGatewayId::from_number),
            },
            "AttachInternetGateway" => Action::AttachInternetGateway {
                gateway: self.id::<InternetGateway>(InternetGatewayId::from_number),
                vpc: self.vpc(),
            },
            "DetachInternetGateway" => {
                let gateway = self.id::<InternetGateway>(InternetGatewayId::from_number);
                let attached = self.state.internet_gateways.get(&gateway).and_then(|gateway| gateway.vpc);
                let own = attached.filter(|_| self.foreign.is_empty() && self.random.chance(80));
                Action::DetachInternetGateway { gateway, vpc: own.unwrap_or_else(|| self.vpc()) }
            }
            "AllocateAddress" => Action::AllocateAddress { tags: self.tags() },
            "ReleaseAddress" => Action::ReleaseAddress { allocation: self.allocation() },
            "AssociateAddress" => {
                let interface = self.interface();
                let addresses = self.addresses_of(interface);
                let private_address = match addresses.last() {
                    Some(last) if self.random.chance(30) => Some(*last),
                    _ => None,
                };
                let allow_reassociation = self.random.chance(50);
                Action::AssociateAddress {
                    allocation: self.allocation(),
                    interface,
                    private_address,
                    allow_reassociation,
                }
            }
            "DisassociateAddress" => {
                let account = self.account;
                let all = self.state.addresses.values();
                let all: Vec<_> = all.filter_map(|a| Some((a.owner == account, a.association?.id))).collect();
                Action::DisassociateAddress {
                    association: self.choose(&all, AddressAssociationId::from_number),
                }
            }
            "CreateNatGateway" => {
                let subnet = self.subnet();
                let public = self.random.chance(60);
                let private_address = if self.random.chance(80) { None } else { self.address_in(subnet) };
                Action::CreateNatGateway {
                    subnet,
                    allocation: if public { Some(self.allocation()) } else { None },
                    private_address,
                    tags: self.tags(),
                }
            }
            "DeleteNatGateway" => {
                Action::DeleteNatGateway { gateway: self.id::<NatGateway>(NatGatewayId::from_number) }
            }
            "ReportNatGatewayReady" => {
                Action::ReportNatGatewayReady { gateway: self.id::<NatGateway>(NatGatewayId::from_number) }
            }
            "CreateNetworkInterface" => {
                let subnet = self.subnet();
                let wanted = self.address_in(subnet);
                Action::CreateNetworkInterface(NewInterface {
                    subnet,
                    description: String::new(),
                    private_address: if self.random.chance(50) { wanted } else { None },
                    secondary_addresses: self
                        .address_in(subnet)
                        .filter(|_| self.random.chance(20))
                        .into_iter()
                        .collect(),
                    groups: if self.random.chance(70) { None } else { Some(vec![self.group()]) },
                    kind: self.random.of(&[InterfaceKind::Interface, InterfaceKind::NatGateway]),
                    tags: self.tags(),
                })
            }
            "DeleteNetworkInterface" => Action::DeleteNetworkInterface { interface: self.interface() },
            "AttachNetworkInterface" => {
                let to_instance = self.random.chance(80);
                Action::AttachNetworkInterface {
                    interface: self.interface(),
                    instance: if to_instance { Some(self.instance()) } else { None },
                    device_index: self.random.below(3) as u32,
                }
            }
            "DetachNetworkInterface" => {
                let account = self.account;
                let all = self.state.network_interfaces.values();
                let all: Vec<_> = all.filter_map(|x| Some((x.owner == account, x.attachment?.id))).collect();
                Action::DetachNetworkInterface { attachment: self.choose(&all, AttachmentId::from_number) }
            }
            "ModifyNetworkInterface" => {
                let interface = self.interface();
                Action::ModifyNetworkInterface { interface, change: self.interface_change(interface) }
            }
            "AssignPrivateAddresses" => {
                let interface = self.interface();
                let subnet = self.state.network_interfaces.get(&interface).map(|x| x.subnet);
                let wanted = subnet.and_then(|subnet| self.address_in(subnet));
                let count = self.random.below(3);
                let addresses = if count == 0 { wanted.into_iter().collect() } else { Vec::new() };
                Action::AssignPrivateAddresses { interface, addresses, count }
            }
            "UnassignPrivateAddresses" => {
                let interface = self.interface();
                let addresses = self.addresses_of(interface);
                let last = addresses.last().copied().unwrap_or(Ipv4Addr::new(10, 0, 0, 9));
                Action::UnassignPrivateAddresses { interface, addresses: vec![last] }
            }
            "CreateSecurityGroup" => Action::CreateSecurityGroup {
                vpc: self.vpc(),
                name: self.name(),
                description: "a group".to_owned(),
                tags: self.tags(),
            },
            "DeleteSecurityGroup" => Action::DeleteSecurityGroup { group: self.group() },
            "AuthorizeSecurityGroup" => {
                let group = self.group();
                let rules = (0..1 + self.random.below(2))
                    .map(|_| NewRule { permission: self.permission(group), description: String::new() })
                    .collect();
                Action::AuthorizeSecurityGroup { group, rules, tags: self.tags() }
            }
            "RevokeSecurityGroup" => {
                let group = self.group();
                let (id, permission) = self.existing_rule(group);
                let permission = permission.unwrap_or_else(|| self.permission(group));
                let rules = if self.random.chance(50) {
                    RuleChoice::Ids(vec![id])
                } else {
                    RuleChoice::Permissions(vec![permission])
                };
                Action::RevokeSecurityGroup { group, egress: permission.egress, rules }
            }
            "ModifySecurityGroupRule" => {
                let group = self.group();
                let (rule, current) = self.existing_rule(group);
                let mut permission = self.permission(group);
                permission.egress = current.map_or(permission.egress, |current| current.egress);
                let new = NewRule { permission, description: "new".to_owned() };
                Action::ModifySecurityGroupRule { group, rule, new }
            }
            "CreateNetworkAcl" => Action::CreateNetworkAcl { vpc: self.vpc(), tags: self.tags() },
            "DeleteNetworkAcl" => Action::DeleteNetworkAcl { acl: self.acl() },
            "CreateNetworkAclEntry" => Action::CreateNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                entry: self.acl_entry(),
            },
            "ReplaceNetworkAclEntry" => Action::ReplaceNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                entry: self.acl_entry(),
            },
            "DeleteNetworkAclEntry" => Action::DeleteNetworkAclEntry {
                acl: self.acl(),
                egress: self.random.chance(50),
                number: self.random.of(&[1, 2, 3, 100]),
            },
            "ReplaceNetworkAclAssociation" => {
                let account = self.account;
                let all = self.state.subnets.values();
                let all: Vec<_> = all.map(|x| (x.owner == account, x.network_acl_association)).collect();
                let association = self.choose(&all, NetworkAclAssociationId::from_number);
                Action::ReplaceNetworkAclAssociation { association, acl: self.acl() }
            }
            "CreateManagedPrefixList" => Action::CreateManagedPrefixList(NewPrefixList {
                name: self.name(),
                ipv6: self.random.chance(5),
                max_entries: self.random.of(&[1, 5, 10, 0]),
                entries: self.entries(),
                tags: self.tags(),
            }),
            "ModifyManagedPrefixList" => {
                let list = self.list();
                let current_version = self.state.prefix_lists.get(&list).map(|list| list.version);
                let resize = self.random.chance(30);
                let change = PrefixListChange {
                    current_version,
                    name: None,
                    max_entries: resize.then_some(8),
                    add: if resize { Vec::new() } else { self.entries() },
                    remove: Vec::new(),
                };
                Action::ModifyManagedPrefixList { list, change }
            }
            "RestoreManagedPrefixListVersion" => {
                let list = self.list();
                let current = self.state.prefix_lists.get(&list).map_or(1, |list| list.version);
                Action::RestoreManagedPrefixListVersion { list, previous: 1, current }
            }
            "DeleteManagedPrefixList" => Action::DeleteManagedPrefixList { list: self.list() },
            "CreateGatewayEndpoint" => {
                let vpc = self.vpc();
                let services = ["s3", "s3", "dynamodb", "ec2", "none"];
                Action::CreateGatewayEndpoint(NewGatewayEndpoint {
                    vpc,
                    service_name: format!("com.amazonaws.us-east-1.{}", self.random.of(&services)),
                    route_tables: self.tables_of(vpc),
                    policy: None,
                    tags: self.tags(),
                })
            }
            "ModifyVpcEndpoint" => {
                let endpoint = self.id::<VpcEndpoint>(VpcEndpointId::from_number);
                let found = self.state.vpc_endpoints.get(&endpoint);
                let vpc = found.map_or(VpcId::from_number(1 << 40), |found| found.vpc);
                let remove_route_tables =
                    found.map_or(Vec::new(), |e| e.route_tables.iter().take(1).copied().collect());
                let change = EndpointChange {
                    add_route_tables: self.tables_of(vpc),
                    remove_route_tables,
                    policy: self.random.of(&[None, Some(None), Some(Some("{}".to_owned()))]),
                };
                Action::ModifyVpcEndpoint { endpoint, change }
            }
            "DeleteVpcEndpoint" => {
                Action::DeleteVpcEndpoint { endpoint: self.id::<VpcEndpoint>(VpcEndpointId::from_number) }
            }
            "ReportVpcEndpointReady" => Action::ReportVpcEndpointReady {
                endpoint: self.id::<VpcEndpoint>(VpcEndpointId::from_number),
            },
            "RunInstances" => Action::RunInstances(self.launch()),
            "StopInstances" => Action::StopInstances { instances: self.instances() },
            "StartInstances" => Action::StartInstances { instances: self.instances() },
            "TerminateInstances" => Action::TerminateInstances { instances: self.instances() },
            "ModifyInstance" => {
                Action::ModifyInstance { instance: self.instance(), change: self.instance_change() }
            }
            "ReportInstance" => {
                let instance = self.instance();
                let state = self.next_instance_state(instance);
                Action::ReportInstance { instance, state, reason: String::new() }
            }
            "ForgetInstance" => Action::ForgetInstance { instance: self.instance() },
            "CreateKeyPair" => Action::CreateKeyPair(NewKeyPair {
                name: self.name(),
                key_type: "ed25519".to_owned(),
                public_key: "ssh-ed25519 AAAA".to_owned(),
                fingerprint: "00:11".to_owned(),
                tags: self.tags(),
            }),
            "DeleteKeyPair" => Action::DeleteKeyPair { key_pair: self.id::<KeyPair>(KeyPairId::from_number) },
            "CreateTags" => {
                let resources = (0..1 + self.random.below(2)).map(|_| self.resource()).collect();
                Action::CreateTags { resources, tags: self.tags() }
            }
            "DeleteTags" => {
                Action::DeleteTags { resources: vec![self.resource()], tags: vec![("k0".to_owned(), None)] }
            }
            other => panic!("no way to draw {other}"),
        }
    }

    fn table_association(&mut self) -> RouteTableAssociationId {
        let account = self.account;
        let subnets = self.state.subnets.values();
        let subnets = subnets.filter_map(|x| Some((x.owner == account, x.route_table?.0)));
        let main = self.state.vpcs.values().map(|x| (x.owner == account, x.main_association));
        let all: Vec<_> = subnets.chain(main).collect();
        self.choose(&all, RouteTableAssociationId::from_number)
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

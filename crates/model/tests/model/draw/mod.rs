//! Random commands, drawn so that most of them can succeed: ids mostly of the account itself, some of the other one,
//! some of nobody.
//!
//! Here is what all of them need; each file draws the commands about one part of the model.

mod balance;
mod compute;
mod edge;
mod endpoint;
mod identity;
mod interface;
mod kinds;
mod network;
mod notification;
mod organization;
mod peering;
mod resolver;
mod route;
mod security;
mod transit;
mod vpn;

use std::fmt::Display;

use postern_model::gateway::Address;
use postern_model::instance::Instance;
use postern_model::interface::NetworkInterface;
use postern_model::network_acl::NetworkAcl;
use postern_model::prefix_list::PrefixList;
use postern_model::route::RouteTable;
use postern_model::security_group::SecurityGroup;
use postern_model::state::Resource;
use postern_model::subnet::Subnet;
use postern_model::vpc::Vpc;
use postern_model::*;

pub use kinds::{KINDS, kind};

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
    "CreateInterfaceEndpoint",
    "CreateInterfaceEndpoint",
    "ModifyVpcEndpoint",
    "SetVpcDns",
    "RunInstances",
    "RunInstances",
    "ReportInstance",
    "ReportInstance",
    "ReportInstance",
    "CreateNetworkAclEntry",
    "ModifyManagedPrefixList",
    "Batch",
    "Elb.CreateLoadBalancer",
    "Elb.CreateTargetGroup",
    "Elb.CreateListener",
    "Elb.DeleteListener",
    "Elb.ModifyListener",
    "Elb.RegisterTargets",
    "Elb.RegisterTargets",
    "EndpointService.Create",
    "EndpointService.ModifyPermissions",
    "EndpointService.AcceptConnections",
    "EndpointService.RejectConnections",
    "Organization.Invite",
    "Organization.Accept",
    "Organization.CreateUnit",
    "Organization.CreatePolicy",
    "Organization.AttachPolicy",
    "Notification.Create",
    "Sns.CreateTopic",
    "Sns.Subscribe",
    "Peering.Create",
    "Resolver.CreateEndpoint",
    "Resolver.ReportReady",
    "Vpn.CreateCustomerGateway",
    "Vpn.CreateGateway",
    "Vpn.AttachGateway",
    "Vpn.CreateConnection",
    "Vpn.CreateRoute",
    "Transit.Create",
    "Transit.AttachVpc",
    "Transit.AttachVpc",
    "Transit.CreateRoute",
    "Peering.Accept",
    "Iam.CreateRole",
    "Iam.CreateInstanceProfile",
    "Iam.AddRoleToInstanceProfile",
    "Iam.AttachPolicy",
    "Iam.CreatePolicyVersion",
    "Iam.PutInlinePolicy",
    "Iam.DeleteInlinePolicy",
    "Iam.DeleteInlinePolicy",
];

/// A random command of `account`.
pub fn draw(random: &mut Random, state: &State, account: AccountId) -> Drawn {
    let kind = if random.chance(50) { random.of(BUILDERS) } else { random.of(KINDS) };
    let mut draw = Draw { random, state, account, foreign: Vec::new() };
    let action = draw.action(kind);
    Drawn { action, foreign: draw.foreign }
}

impl Draw<'_> {
    fn action(&mut self, kind: &str) -> Action {
        if let Some(kind) = kind.strip_prefix("Iam.") {
            return Action::Iam(self.iam(kind));
        }
        if let Some(kind) = kind.strip_prefix("Organization.") {
            return Action::Organization(self.organization(kind));
        }
        if let Some(kind) = kind.strip_prefix("Elb.") {
            return Action::Elb(self.elb(kind));
        }
        if let Some(kind) = kind.strip_prefix("EndpointService.") {
            return Action::EndpointService(self.endpoint_service(kind));
        }
        if let Some(kind) = kind.strip_prefix("Vpn.") {
            return Action::Vpn(self.vpn(kind));
        }
        if let Some(kind) = kind.strip_prefix("Transit.") {
            return Action::Transit(self.transit_action(kind));
        }
        if let Some(kind) = kind.strip_prefix("Notification.") {
            return Action::ConnectionNotification(self.notification(kind));
        }
        if let Some(kind) = kind.strip_prefix("Sns.") {
            return Action::Sns(self.sns(kind));
        }
        if let Some(kind) = kind.strip_prefix("Peering.") {
            return Action::Peering(self.peering(kind));
        }
        if let Some(kind) = kind.strip_prefix("Resolver.") {
            return Action::Resolver(self.resolver(kind));
        }
        let families = [
            Self::account_action,
            Self::network_action,
            Self::route_action,
            Self::endpoint_action,
            Self::edge_action,
            Self::interface_action,
            Self::security_action,
            Self::compute_action,
            Self::action_on_any,
        ];
        let drawn = families.iter().find_map(|family| family(self, kind));
        drawn.unwrap_or_else(|| panic!("no way to draw {kind}"))
    }

    /// A command about resources of any kind, or several commands.
    fn action_on_any(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateTags" => {
                let resources = (0..1 + self.random.below(2)).map(|_| self.resource()).collect();
                Action::CreateTags { resources, tags: self.tags() }
            }
            "DeleteTags" => {
                Action::DeleteTags { resources: vec![self.resource()], tags: vec![("k0".to_owned(), None)] }
            }
            "Batch" => Action::Batch((0..self.random.below(4)).map(|_| self.part()).collect()),
            _ => return None,
        })
    }

    /// A part of a batch: drawn for the state before all of it, so some can only be refused.
    fn part(&mut self) -> Action {
        let kind = if self.random.chance(50) { self.random.of(BUILDERS) } else { self.random.of(KINDS) };
        if kind == "Batch" { Action::Batch(Vec::new()) } else { self.action(kind) }
    }

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

    fn resource(&mut self) -> ResourceId {
        match self.random.below(10) {
            9 if self.random.chance(30) => self.any_peering().into(),
            9 if self.random.chance(30) => self.connection().into(),
            9 if self.random.chance(30) => self.attachment_of_transit().into(),
            9 => self.balancer().into(),
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
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

//! A small region to try rules in: one account, commands one after the other, ids of what they made.
//!
//! INVARIANT: every state on the way keeps the model's invariants; every refusal leaves the state as it was.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use postern_model::endpoint::NewGatewayEndpoint;
use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
use postern_model::interface::{InterfaceKind, NetworkInterface, NewInterface};
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::state::Resource;
use postern_model::vpc::Vpc;
use postern_model::*;

pub struct World {
    pub state: State,
    pub account: AccountId,
    pub now: u64,
    pub events: Vec<Event>,
}

impl World {
    pub fn new() -> Self {
        let account = AccountId::from_number(123_456_789_012).unwrap();
        let state = State::new(Region::new("us-east-1").unwrap());
        let mut world = Self { state, account, now: 1_000, events: Vec::new() };
        world.run(Action::CreateAccount { name: "ours".to_owned(), root_key: None });
        world
    }

    /// A world with a VPC of 10.0.0.0/16 and a subnet of 10.0.1.0/24.
    pub fn with_subnet() -> (Self, VpcId, SubnetId) {
        let mut world = Self::new();
        let vpc = world.vpc("10.0.0.0/16");
        let subnet = world.subnet(vpc, "10.0.1.0/24");
        (world, vpc, subnet)
    }

    /// What a command gives.
    pub fn attempt(&mut self, action: Action) -> Result<(), ModelError> {
        self.now += 1_000;
        let (account, at) = (self.account, Timestamp(self.now));
        let command = Command { account, at, seed: self.now, client_token: None, action };
        let before = self.state.clone();
        let outcome = apply(&self.state, &command);
        assert!(before == self.state);
        let (state, events) = outcome?;
        assert_eq!(invariants::check(&state), []);
        (self.state, self.events) = (state, events);
        Ok(())
    }

    /// A command that succeeds.
    pub fn run(&mut self, action: Action) {
        self.attempt(action).unwrap();
    }

    /// A command that makes something, whose id is given back.
    pub fn make<Id: FromStr<Err: Debug>>(&mut self, action: Action) -> Id {
        self.run(action);
        match self.events.first() {
            Some(Event::Created(id)) => id.to_string().parse().unwrap(),
            other => panic!("the first event is {other:?}"),
        }
    }

    /// A command that is refused, with the reason.
    pub fn refusal(&mut self, action: Action) -> ModelError {
        self.attempt(action).unwrap_err()
    }

    /// Raises a quota as far as it goes.
    pub fn raise(&mut self, quota: Quota) {
        self.run(Action::SetQuota { quota, limit: Some(quota.most()) });
    }

    pub fn get<R: Resource>(&self, id: R::Id) -> Arc<R> {
        self.state.get::<R>(self.account, id).unwrap()
    }

    pub fn vpc(&mut self, cidr: &str) -> VpcId {
        self.make(Action::CreateVpc { cidr: net(cidr), tags: Vec::new() })
    }

    pub fn subnet(&mut self, vpc: VpcId, cidr: &str) -> SubnetId {
        self.make(Action::CreateSubnet { vpc, cidr: net(cidr), zone: None, tags: Vec::new() })
    }

    pub fn main_table(&self, vpc: VpcId) -> RouteTableId {
        self.get::<Vpc>(vpc).main_route_table
    }

    pub fn table(&mut self, vpc: VpcId) -> RouteTableId {
        self.make(Action::CreateRouteTable { vpc, tags: Vec::new() })
    }

    pub fn internet_gateway(&mut self, vpc: VpcId) -> InternetGatewayId {
        let gateway = self.make(Action::CreateInternetGateway { tags: Vec::new() });
        self.run(Action::AttachInternetGateway { gateway, vpc });
        gateway
    }

    pub fn address(&mut self) -> AllocationId {
        self.make(Action::AllocateAddress { tags: Vec::new() })
    }

    pub fn interface(&mut self, subnet: SubnetId) -> NetworkInterfaceId {
        self.make(Action::CreateNetworkInterface(new_interface(subnet)))
    }

    pub fn group(&mut self, vpc: VpcId, name: &str) -> SecurityGroupId {
        let (name, description) = (name.to_owned(), String::new());
        self.make(Action::CreateSecurityGroup { vpc, name, description, tags: Vec::new() })
    }

    /// A running instance.
    pub fn instance(&mut self, subnet: SubnetId) -> InstanceId {
        let instance = self.make(Action::RunInstances(launch(subnet)));
        self.report(instance, InstanceState::Running);
        instance
    }

    pub fn report(&mut self, instance: InstanceId, state: InstanceState) {
        self.run(Action::ReportInstance { instance, state, reason: String::new() });
    }

    pub fn primary_interface(&self, instance: InstanceId) -> Arc<NetworkInterface> {
        self.get::<instance::Instance>(instance).primary_interface(&self.state).unwrap().clone()
    }

    pub fn endpoint(&mut self, vpc: VpcId, service: &str, route_tables: &[RouteTableId]) -> VpcEndpointId {
        self.make(new_endpoint(vpc, service, route_tables))
    }
}

pub fn new_endpoint(vpc: VpcId, service: &str, route_tables: &[RouteTableId]) -> Action {
    Action::CreateGatewayEndpoint(NewGatewayEndpoint {
        vpc,
        service_name: format!("com.amazonaws.us-east-1.{service}"),
        route_tables: route_tables.to_vec(),
        policy: None,
        tags: Vec::new(),
    })
}

pub fn new_interface(subnet: SubnetId) -> NewInterface {
    NewInterface {
        subnet,
        description: String::new(),
        private_address: None,
        secondary_addresses: Vec::new(),
        secondary_count: 0,
        groups: None,
        kind: InterfaceKind::Interface,
        tags: Vec::new(),
    }
}

pub fn launch(subnet: SubnetId) -> Launch {
    Launch {
        count: 1,
        least: None,
        image: "ami-1".to_owned(),
        instance_type: "t3.micro".to_owned(),
        interface: LaunchInterface::New {
            subnet,
            groups: None,
            private_address: None,
            public_address: None,
            description: String::new(),
            delete_on_termination: true,
        },
        key_name: None,
        profile: None,
        user_data: None,
        metadata: MetadataOptions::default(),
        termination_protected: false,
        tags: Vec::new(),
        interface_tags: Vec::new(),
    }
}

pub fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

pub fn cidr(text: &str) -> RouteDestination {
    RouteDestination::Cidr(text.parse().unwrap())
}

pub fn create_route(table: RouteTableId, destination: RouteDestination, target: RouteTarget) -> Action {
    Action::CreateRoute { table, destination, target: RouteTargetChoice::Target(target) }
}

/// The prefix list of S3 in us-east-1.
pub fn s3_list() -> PrefixListId {
    "pl-63a5400a".parse().unwrap()
}

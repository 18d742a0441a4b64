//! Reads a topology line by line, and makes each by the model's own commands.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use postern_model::endpoint::{DnsChoice, NewGatewayEndpoint, NewInterfaceEndpoint};
use postern_model::endpoint_service::{EndpointServiceAction, NewEndpointService};
use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
use postern_model::interface::{InterfaceChange as ChangeOfInterface, InterfaceKind, NewInterface};
use postern_model::network_acl::AclEntry;
use postern_model::prefix_list::NewPrefixList;
use postern_model::resolver_endpoint::{NewResolverEndpoint, ResolverAction};
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, Traffic};
use postern_model::vpn::VpnAction;
use postern_model::{
    AccountId, Action, IpNet, NetworkInterfaceId, PrefixListId, ResourceId, SecurityGroupId, SubnetId,
    VpcEndpointId, VpcId,
};
use postern_path::{Health, Plan, Uplink};

use super::change::report;
use super::{Topology, TopologyError};
use crate::world::{World, accounts};

pub(super) type Read<T> = Result<T, String>;
type Pass = fn(&mut Reader, &Statement<'_>) -> Result<(), TopologyError>;

pub(super) struct Line<'t> {
    number: usize,
    text: &'t str,
    pub(super) words: Vec<&'t str>,
}

pub(super) struct Statement<'t> {
    pub(super) head: Line<'t>,
    pub(super) body: Vec<Line<'t>>,
}

pub(super) struct Reader {
    pub(super) world: World,
    account: AccountId,
    uplink: Option<Uplink>,
    pub(super) health: Health,
    pub(super) ids: BTreeMap<String, ResourceId>,
    pub(super) words: Vec<(String, String)>,
}

pub(super) fn read(text: &str) -> Result<Topology, TopologyError> {
    let statements = statements(text);
    let mut reader = Reader {
        world: World::new(7),
        account: accounts()[0],
        uplink: None,
        health: Health::new(),
        ids: BTreeMap::new(),
        words: vec![
            ("pl-63a5400a".to_owned(), "pl:s3".to_owned()),
            ("pl-02cd2c6b".to_owned(), "pl:dynamodb".to_owned()),
        ],
    };
    // Everything that is there, then what is in it, then what happens to it.
    let passes: [Pass; 3] = [Reader::head, Reader::body, Reader::then];
    for pass in passes {
        reader.account = accounts()[0];
        for statement in &statements {
            match statement.head.words.as_slice() {
                ["account", "one"] => reader.account = accounts()[0],
                ["account", "two"] => reader.account = accounts()[1],
                _ => pass(&mut reader, statement)?,
            }
        }
    }
    // Longer ids first, so that none is found inside another.
    reader.words.sort_by_key(|(id, _)| std::cmp::Reverse(id.len()));
    let plan = Plan::compile_with_uplink(&reader.world.state, reader.uplink).plan;
    let plan = plan.with_health(&reader.world.state, &reader.health).plan;
    Ok(Topology { state: reader.world.state, plan, ids: reader.ids, words: reader.words })
}

fn statements(text: &str) -> Vec<Statement<'_>> {
    let mut all: Vec<Statement<'_>> = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        // A comment begins a line or follows a space: the rules of `a.web` are called `a.web#1`.
        let code = if text.starts_with('#') { "" } else { text.split(" #").next().unwrap_or("") };
        let words: Vec<&str> = code.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let line = Line { number, text: code.trim(), words };
        match all.last_mut() {
            Some(statement) if code.starts_with(' ') => statement.body.push(line),
            _ => all.push(Statement { head: line, body: Vec::new() }),
        }
    }
    all
}

pub(super) fn at<T>(line: &Line<'_>, result: Read<T>) -> Result<T, TopologyError> {
    result.map_err(|problem| TopologyError { line: line.number, text: line.text.to_owned(), problem })
}

/// The value of `key=value` among the words.
pub(super) fn option<'t>(words: &[&'t str], key: &str) -> Option<&'t str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

pub(super) fn parse<T: std::str::FromStr>(text: &str) -> Read<T> {
    text.parse().map_err(|_| format!("`{text}` is not what is wanted here"))
}

/// `b` in a statement about `a.x` is `a.b`.
fn qualified(scope: &str, name: &str) -> String {
    let vpc = scope.split('.').next().unwrap_or(scope);
    if name.contains('.') { name.to_owned() } else { format!("{vpc}.{name}") }
}

impl Reader {
    pub(super) fn create(&mut self, name: &str, action: Action) -> Read<ResourceId> {
        let created = self.world.create(self.account, action).map_err(|error| error.to_string())?;
        let id = created.ok_or("nothing was created")?;
        self.name(name, id);
        Ok(id)
    }

    pub(super) fn run(&mut self, action: Action) -> Read<()> {
        self.world.run(self.account, action).map(|_| ()).map_err(|error| error.to_string())
    }

    pub(super) fn name(&mut self, name: &str, id: impl Into<ResourceId>) {
        let id = id.into();
        self.ids.insert(name.to_owned(), id);
        self.words.push((id.to_string(), name.to_owned()));
    }

    pub(super) fn find(&self, name: &str) -> Read<ResourceId> {
        self.ids.get(name).copied().ok_or_else(|| format!("there is no `{name}`"))
    }

    pub(super) fn vpc(&self, name: &str) -> Read<VpcId> {
        match self.find(name)? {
            ResourceId::Vpc(id) => Ok(id),
            other => Err(format!("{other} is not a VPC")),
        }
    }

    pub(super) fn subnet(&self, scope: &str, name: &str) -> Read<SubnetId> {
        match self.find(&qualified(scope, name))? {
            ResourceId::Subnet(id) => Ok(id),
            other => Err(format!("{other} is not a subnet")),
        }
    }

    pub(super) fn group(&self, scope: &str, name: &str) -> Read<SecurityGroupId> {
        match self.find(&qualified(scope, name))? {
            ResourceId::SecurityGroup(id) => Ok(id),
            other => Err(format!("{other} is not a group")),
        }
    }

    pub(super) fn interface(&self, name: &str) -> Read<NetworkInterfaceId> {
        match self.find(name)? {
            ResourceId::NetworkInterface(id) => Ok(id),
            other => Err(format!("{other} is not an interface")),
        }
    }

    fn list(&self, scope: &str, name: &str) -> Read<PrefixListId> {
        if let "s3" | "dynamodb" = name {
            let service = self.world.state.services.get(&format!("com.amazonaws.us-east-1.{name}"));
            return service.and_then(|service| service.prefix_list).ok_or_else(|| "no such list".to_owned());
        }
        match self.find(&qualified(scope, name))? {
            ResourceId::PrefixList(id) => Ok(id),
            other => Err(format!("{other} is not a prefix list")),
        }
    }

    // ---- what is there

    fn head(&mut self, statement: &Statement<'_>) -> Result<(), TopologyError> {
        let words = statement.head.words.as_slice();
        let result = match words {
            ["vpc", name, cidr, options @ ..] => self.new_vpc(name, cidr, options),
            ["block", vpc, cidr] => parse(cidr).and_then(|cidr| {
                let vpc = self.vpc(vpc)?;
                self.run(Action::AssociateVpcCidrBlock { vpc, cidr })
            }),
            ["subnet", name, cidr, options @ ..] => self.new_subnet(name, cidr, options),
            ["igw", vpc, options @ ..] => self.new_internet_gateway(vpc, options),
            ["list", name, cidrs @ ..] => self.new_list(name, cidrs),
            ["group", name] => self.new_group(name),
            ["acl", name, options @ ..] => self.new_acl(name, options),
            ["instance", name, "in", subnet, options @ ..] => self.new_instance(name, subnet, options),
            ["interface", name, "in", subnet, options @ ..] => self.new_interface(name, subnet, options),
            ["address", interface, address] => parse(address).and_then(|address| {
                let interface = self.interface(interface)?;
                self.run(Action::AssignPrivateAddresses { interface, addresses: vec![address], count: 0 })
            }),
            ["eip", interface, options @ ..] => self.new_elastic(interface, options),
            ["nat", name, "in", subnet, options @ ..] => self.new_nat(name, subnet, options),
            ["table", name, options @ ..] => self.new_table(name, options),
            ["endpoint", name, service, options @ ..] => self.new_endpoint(name, service, options),
            ["inbound", name, subnets, options @ ..] => self.new_inbound(name, subnets, options),
            ["balancer", name, "in", subnets, options @ ..] => self.new_balancer(name, subnets, options),
            ["peering", name, one, other, options @ ..] => self.new_peering(name, (one, other), options),
            ["transit", name, options @ ..] => self.new_transit(name, options),
            ["attach", gateway, vpc, options @ ..] => self.attach_to_transit(gateway, vpc, options),
            ["transit-table", ..] => Ok(()),
            ["vpn", name, vpc, options @ ..] => self.new_vpn(name, vpc, options),
            ["uplink", link, options @ ..] => parse(link).map(|link| {
                self.uplink = Some(Uplink { link, echo: options.contains(&"echo") });
            }),
            ["then", ..] => Ok(()),
            _ => Err("no such statement".to_owned()),
        };
        at(&statement.head, result)
    }

    fn new_vpc(&mut self, name: &str, cidr: &str, options: &[&str]) -> Read<()> {
        let id = self.create(name, Action::CreateVpc { cidr: parse(cidr)?, tags: Vec::new() })?;
        let ResourceId::Vpc(id) = id else { return Err("not a VPC".to_owned()) };
        let on = |key| option(options, key).map(|value| value == "on");
        self.run(Action::SetVpcDns { vpc: id, support: on("dns"), hostnames: on("hostnames") })?;
        let found = self.world.state.vpcs.get(&id).cloned().ok_or("it is not there")?;
        self.name(&format!("{name}.main"), found.main_route_table);
        self.name(&format!("{name}.acl"), found.default_network_acl);
        self.name(&format!("{name}.default"), found.default_security_group);
        self.name_rules(&format!("{name}.default"), found.default_security_group);
        Ok(())
    }

    fn new_subnet(&mut self, name: &str, cidr: &str, options: &[&str]) -> Read<()> {
        let vpc = self.vpc(name.split('.').next().unwrap_or(name))?;
        let zone = option(options, "zone").map(str::to_owned);
        let action = Action::CreateSubnet { vpc, cidr: parse(cidr)?, zone, tags: Vec::new() };
        let id = self.create(name, action)?;
        match id {
            ResourceId::Subnet(subnet) if options.contains(&"public-ip") => {
                self.run(Action::SetMapPublicIpOnLaunch { subnet, on: true })
            }
            _ => Ok(()),
        }
    }

    fn new_internet_gateway(&mut self, vpc: &str, options: &[&str]) -> Read<()> {
        let id = self.create(&format!("{vpc}.igw"), Action::CreateInternetGateway { tags: Vec::new() })?;
        match id {
            ResourceId::InternetGateway(gateway) if !options.contains(&"detached") => {
                let vpc = self.vpc(vpc)?;
                self.run(Action::AttachInternetGateway { gateway, vpc })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn run_as(&mut self, account: AccountId, action: Action) -> Read<()> {
        self.world.run(account, action).map(|_| ()).map_err(|error| error.to_string())
    }

    fn new_list(&mut self, name: &str, cidrs: &[&str]) -> Read<()> {
        let entries = cidrs.iter().map(|cidr| Ok((parse::<IpNet>(cidr)?, String::new())));
        let entries = entries.collect::<Read<Vec<_>>>()?;
        let (ipv6, max_entries) = (false, 10);
        let new = NewPrefixList { name: name.to_owned(), ipv6, max_entries, entries, tags: Vec::new() };
        self.create(name, Action::CreateManagedPrefixList(new)).map(|_| ())
    }

    fn new_group(&mut self, name: &str) -> Read<()> {
        let (vpc, short) = name.split_once('.').ok_or("a group is named VPC.NAME")?;
        let vpc = self.vpc(vpc)?;
        let (short, description) = (short.to_owned(), String::new());
        let action = Action::CreateSecurityGroup { vpc, name: short, description, tags: Vec::new() };
        self.create(name, action).map(|_| ())
    }

    fn new_acl(&mut self, name: &str, options: &[&str]) -> Read<()> {
        let vpc = self.vpc(name.split('.').next().unwrap_or(name))?;
        let id = self.create(name, Action::CreateNetworkAcl { vpc, tags: Vec::new() })?;
        let ResourceId::NetworkAcl(acl) = id else { return Err("not an ACL".to_owned()) };
        for subnet in option(options, "subnets").into_iter().flat_map(|list| list.split(',')) {
            let subnet = self.subnet(name, subnet)?;
            let found = self.world.state.subnets.get(&subnet).ok_or("no such subnet")?;
            let association = found.network_acl_association;
            self.run(Action::ReplaceNetworkAclAssociation { association, acl })?;
        }
        Ok(())
    }

    pub(super) fn groups(&self, scope: &str, options: &[&str]) -> Read<Option<Vec<SecurityGroupId>>> {
        let Some(list) = option(options, "groups") else { return Ok(None) };
        list.split(',').map(|name| self.group(scope, name)).collect::<Read<Vec<_>>>().map(Some)
    }

    fn new_instance(&mut self, name: &str, subnet: &str, options: &[&str]) -> Read<()> {
        let interface = LaunchInterface::New {
            subnet: self.subnet(subnet, subnet)?,
            groups: self.groups(subnet, options)?,
            private_address: option(options, "ip").map(parse).transpose()?,
            public_address: options.contains(&"public").then_some(true),
            description: String::new(),
            delete_on_termination: true,
        };
        let launch = Launch {
            count: 1,
            least: None,
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface,
            key_name: None,
            profile: None,
            user_data: None,
            metadata: MetadataOptions::default(),
            termination_protected: false,
            tags: Vec::new(),
            interface_tags: Vec::new(),
        };
        let id = self.create(&format!("{name}.instance"), Action::RunInstances(launch))?;
        let ResourceId::Instance(instance) = id else { return Err("not an instance".to_owned()) };
        self.run(report(instance, InstanceState::Running))?;
        let found = self.world.state.instances.get(&instance).ok_or("it is not there")?;
        let primary = found.primary_interface(&self.world.state).cloned().ok_or("it has no interface")?;
        self.name(name, primary.id);
        if let Some(public) = primary.automatic_public_address {
            self.words.push((public.to_string(), format!("public({name})")));
        }
        self.check_off(primary.id, options)
    }

    fn check_off(&mut self, interface: NetworkInterfaceId, options: &[&str]) -> Read<()> {
        if !options.contains(&"no-check") {
            return Ok(());
        }
        let change = ChangeOfInterface::SourceDestCheck(false);
        self.run(Action::ModifyNetworkInterface { interface, change })
    }

    fn new_interface(&mut self, name: &str, subnet: &str, options: &[&str]) -> Read<()> {
        let new = NewInterface {
            subnet: self.subnet(subnet, subnet)?,
            description: String::new(),
            private_address: option(options, "ip").map(parse).transpose()?,
            secondary_addresses: Vec::new(),
            secondary_count: 0,
            groups: self.groups(subnet, options)?,
            kind: InterfaceKind::Interface,
            tags: Vec::new(),
        };
        self.create(name, Action::CreateNetworkInterface(new))?;
        let interface = self.interface(name)?;
        if options.contains(&"attached") {
            self.run(Action::AttachNetworkInterface { interface, instance: None, device_index: 0 })?;
        }
        self.check_off(interface, options)
    }

    fn new_elastic(&mut self, name: &str, options: &[&str]) -> Read<()> {
        let interface = self.interface(name)?;
        let of = option(options, "of");
        let label = of.map_or(name.to_owned(), |address| format!("{name}/{address}"));
        let id = self.create(&format!("{label}.eip"), Action::AllocateAddress { tags: Vec::new() })?;
        let ResourceId::Address(allocation) = id else { return Err("not an address".to_owned()) };
        let private_address = of.map(parse::<Ipv4Addr>).transpose()?;
        let allow_reassociation = false;
        self.run(Action::AssociateAddress { allocation, interface, private_address, allow_reassociation })?;
        let public = self.world.state.addresses.get(&allocation).map(|address| address.public_address);
        let public = public.ok_or("it is not there")?;
        self.words.push((public.to_string(), format!("public({label})")));
        Ok(())
    }

    fn new_nat(&mut self, name: &str, subnet: &str, options: &[&str]) -> Read<()> {
        let subnet = self.subnet(name, subnet)?;
        let allocation = if options.contains(&"private") {
            None
        } else {
            let id = self.create(&format!("{name}.eip"), Action::AllocateAddress { tags: Vec::new() })?;
            let ResourceId::Address(id) = id else { return Err("not an address".to_owned()) };
            Some(id)
        };
        let private_address = option(options, "ip").map(parse).transpose()?;
        let action = Action::CreateNatGateway { subnet, allocation, private_address, tags: Vec::new() };
        let id = self.create(name, action)?;
        let ResourceId::NatGateway(gateway) = id else { return Err("not a NAT gateway".to_owned()) };
        self.run(Action::ReportNatGatewayReady { gateway })?;
        let found = self.world.state.nat_gateways.get(&gateway).cloned().ok_or("it is not there")?;
        if let Some(public) = found.public_address {
            self.words.push((public.to_string(), format!("public({name})")));
        }
        if let Some(interface) = found.interface {
            self.name(&format!("{name}.eni"), interface);
        }
        Ok(())
    }

    fn new_table(&mut self, name: &str, options: &[&str]) -> Read<()> {
        let (vpc, short) = name.split_once('.').ok_or("a table is named VPC.NAME")?;
        let vpc = self.vpc(vpc)?;
        if short != "main" {
            self.create(name, Action::CreateRouteTable { vpc, tags: Vec::new() })?;
        }
        let ResourceId::RouteTable(table) = self.find(name)? else { return Err("not a table".to_owned()) };
        for subnet in option(options, "subnets").into_iter().flat_map(|list| list.split(',')) {
            let subnet = self.subnet(name, subnet)?;
            self.run(Action::AssociateRouteTable { table, subnet })?;
        }
        Ok(())
    }

    fn new_endpoint(&mut self, name: &str, service: &str, options: &[&str]) -> Read<()> {
        if let Some(subnets) = option(options, "subnets") {
            return self.new_interface_endpoint(name, service, subnets, options);
        }
        let vpc = self.vpc(name.split('.').next().unwrap_or(name))?;
        let tables = option(options, "tables").unwrap_or("main");
        let tables = tables.split(',').map(|table| match self.find(&qualified(name, table))? {
            ResourceId::RouteTable(id) => Ok(id),
            other => Err(format!("{other} is not a table")),
        });
        let route_tables = tables.collect::<Read<Vec<_>>>()?;
        let service_name = format!("com.amazonaws.us-east-1.{service}");
        let new = NewGatewayEndpoint { vpc, service_name, route_tables, policy: None, tags: Vec::new() };
        let id = self.create(name, Action::CreateGatewayEndpoint(new))?;
        let ResourceId::VpcEndpoint(endpoint) = id else { return Err("not an endpoint".to_owned()) };
        self.run(Action::ReportVpcEndpointReady { endpoint })
    }

    fn new_interface_endpoint(
        &mut self,
        name: &str,
        service: &str,
        subnets: &str,
        options: &[&str],
    ) -> Read<()> {
        let names: Vec<&str> = subnets.split(',').filter(|subnet| !subnet.is_empty()).collect();
        let subnets = names.iter().map(|subnet| self.subnet(name, subnet)).collect::<Read<Vec<_>>>()?;
        let address = option(options, "ip").map(parse).transpose()?;
        let own = service.strip_prefix("service(").and_then(|rest| rest.strip_suffix(')'));
        let service_name = match own {
            Some(balancer) => self.service_of(name, balancer)?,
            None => format!("com.amazonaws.us-east-1.{service}"),
        };
        let new = NewInterfaceEndpoint {
            vpc: self.vpc(name.split('.').next().unwrap_or(name))?,
            service_name,
            addresses: subnets.first().copied().zip(address).into_iter().collect(),
            subnets,
            groups: self.groups(name, options)?.unwrap_or_default(),
            private_dns: options.contains(&"private"),
            dns: DnsChoice { record_ip_type: None, inbound_only: Some(options.contains(&"inbound-only")) },
            policy: None,
            tags: Vec::new(),
        };
        let id = self.create(name, Action::CreateInterfaceEndpoint(new))?;
        let ResourceId::VpcEndpoint(endpoint) = id else { return Err("not an endpoint".to_owned()) };
        self.name_interfaces(name, endpoint)?;
        let label = self.world.state.vpc_endpoints.get(&endpoint).and_then(|e| e.interface.as_ref());
        let label = label.map(|part| part.label.clone()).unwrap_or_default();
        self.words.push((format!("{endpoint}-{label}"), name.to_owned()));
        self.run(Action::ReportVpcEndpointReady { endpoint })
    }

    /// An inbound endpoint of the resolver of `a`: `inbound a.in one,two`.
    fn new_inbound(&mut self, name: &str, subnets: &str, options: &[&str]) -> Read<()> {
        let names: Vec<&str> = subnets.split(',').collect();
        let subnets = names.iter().map(|subnet| self.subnet(name, subnet)).collect::<Read<Vec<_>>>()?;
        let mut chosen = option(options, "ip").map(parse).transpose()?;
        let new = NewResolverEndpoint {
            creator_request_id: name.to_owned(),
            name: None,
            groups: self.groups(name, options)?.unwrap_or_default(),
            addresses: subnets.into_iter().map(|subnet| (subnet, chosen.take())).collect(),
            tags: Vec::new(),
        };
        let made = self.create(name, Action::Resolver(ResolverAction::CreateEndpoint(new)))?;
        let ResourceId::ResolverEndpoint(endpoint) = made else {
            return Err("not an endpoint".to_owned());
        };
        let found = self.world.state.resolver_endpoints.get(&endpoint).cloned().ok_or("it is not there")?;
        for (number, address) in (1..).zip(&found.addresses) {
            self.name(&format!("{name}.{number}"), address.interface);
        }
        self.run(Action::Resolver(ResolverAction::ReportReady { endpoint }))
    }

    /// The name of an endpoint service, made for this endpoint, whose connections a load balancer takes.
    fn service_of(&mut self, name: &str, balancer: &str) -> Read<String> {
        let ResourceId::LoadBalancer(balancer) = self.find(balancer)? else {
            return Err(format!("`{balancer}` is not a load balancer"));
        };
        let new = NewEndpointService {
            acceptance_required: false,
            load_balancers: vec![balancer],
            private_dns_name: None,
            tags: Vec::new(),
        };
        let action = Action::EndpointService(EndpointServiceAction::Create(new));
        match self.create(&format!("{name}.service"), action)? {
            ResourceId::EndpointService(id) => Ok(format!("com.amazonaws.vpce.us-east-1.{id}")),
            other => Err(format!("{other} is not an endpoint service")),
        }
    }

    /// The interface of the endpoint `a.e` in the subnet `a.s` is `a.e.s`.
    pub(super) fn name_interfaces(&mut self, name: &str, endpoint: VpcEndpointId) -> Read<()> {
        let found = self.world.state.vpc_endpoints.get(&endpoint).cloned().ok_or("it is not there")?;
        let interfaces = found.interface.as_ref().map(|part| part.interfaces.clone()).unwrap_or_default();
        for (subnet, interface) in interfaces {
            let subnet = self.ids.iter().find(|(_, id)| **id == subnet.into()).map(|(name, _)| name.clone());
            let subnet = subnet.ok_or("a subnet without a name")?;
            let short = subnet.rsplit('.').next().unwrap_or_default();
            self.name(&format!("{name}.{short}"), interface);
        }
        Ok(())
    }

    // ---- what is in it

    fn body(&mut self, statement: &Statement<'_>) -> Result<(), TopologyError> {
        match statement.head.words.as_slice() {
            ["group", name] => self.group_body(name, statement),
            ["acl", name, ..] => self.acl_body(name, statement),
            ["table", name, ..] => self.table_body(name, statement),
            ["transit-table", name] => self.transit_table_body(name, statement),
            ["balancer", name, ..] => {
                statement.body.iter().try_for_each(|line| at(line, self.listen(name, &line.words)))
            }
            _ => match statement.body.first() {
                None => Ok(()),
                Some(line) => at(line, Err("nothing can be in this".to_owned())),
            },
        }
    }

    fn group_body(&mut self, name: &str, statement: &Statement<'_>) -> Result<(), TopologyError> {
        let group = at(&statement.head, self.group(name, name))?;
        let has_out = statement.body.iter().any(|line| line.words.first() == Some(&"out"));
        let found = self.world.state.security_groups.get(&group).cloned();
        if has_out {
            let rules = found.iter().flat_map(|group| group.rules.values());
            let ids = rules.filter(|rule| rule.permission.egress).map(|rule| rule.id).collect();
            let rules = RuleChoice::Ids(ids);
            at(&statement.head, self.run(Action::RevokeSecurityGroup { group, egress: true, rules }))?;
        } else {
            self.name_rules(name, group);
        }
        for (n, line) in (1..).zip(&statement.body) {
            at(line, self.group_rule(&format!("{name}#{n}"), name, group, &line.words))?;
        }
        Ok(())
    }

    /// The rules that a group came with.
    fn name_rules(&mut self, name: &str, group: SecurityGroupId) {
        let found = self.world.state.security_groups.get(&group).cloned();
        for rule in found.iter().flat_map(|group| group.rules.values()) {
            let way = if rule.permission.egress { "out" } else { "in" };
            self.name(&format!("{name}#{way}"), rule.id);
        }
    }

    pub(super) fn group_rule(
        &mut self,
        rule: &str,
        scope: &str,
        group: SecurityGroupId,
        words: &[&str],
    ) -> Read<()> {
        let (egress, rest) = match words {
            ["in", rest @ ..] => (false, rest),
            ["out", rest @ ..] => (true, rest),
            _ => return Err("a rule begins with `in` or `out`".to_owned()),
        };
        let (traffic, rest) = traffic(rest)?;
        let peer = match rest {
            ["from" | "to", "group", name] => Peer::Group(self.group(scope, name)?),
            ["from" | "to", "pl", name] => Peer::PrefixList(self.list(scope, name)?),
            ["from" | "to", cidr] => Peer::Cidr(parse(cidr)?),
            _ => return Err("with whom?".to_owned()),
        };
        let permission = Permission { egress, traffic, peer };
        let rules = vec![NewRule { permission, description: String::new() }];
        self.create(rule, Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() }).map(|_| ())
    }

    fn acl_body(&mut self, name: &str, statement: &Statement<'_>) -> Result<(), TopologyError> {
        let ResourceId::NetworkAcl(acl) = at(&statement.head, self.find(name))? else {
            return at(&statement.head, Err("not an ACL".to_owned()));
        };
        for line in &statement.body {
            let entry = match line.words.as_slice() {
                [way @ ("in" | "out"), number, verdict @ ("allow" | "deny"), rest @ ..] => {
                    acl_entry(number, *verdict == "allow", rest).map(|entry| (*way == "out", entry))
                }
                _ => Err("an entry is `in|out NUMBER allow|deny TRAFFIC from|to BLOCK`".to_owned()),
            };
            let (egress, entry) = at(line, entry)?;
            at(line, self.run(Action::CreateNetworkAclEntry { acl, egress, entry }))?;
        }
        Ok(())
    }

    fn table_body(&mut self, name: &str, statement: &Statement<'_>) -> Result<(), TopologyError> {
        for line in &statement.body {
            at(line, self.route(name, &line.words))?;
        }
        Ok(())
    }

    fn route(&mut self, name: &str, words: &[&str]) -> Read<()> {
        let ResourceId::RouteTable(table) = self.find(name)? else { return Err("not a table".to_owned()) };
        if let ["propagate"] = words {
            let gateway = self.vpn_gateway(&qualified(name, "vgw"))?;
            return self.run(Action::Vpn(VpnAction::SetPropagation { table, gateway, on: true }));
        }
        let (destination, target) = match words {
            ["pl", list, "->", target @ ..] => (RouteDestination::PrefixList(self.list(name, list)?), target),
            [cidr, "->", target @ ..] => (RouteDestination::Cidr(parse(cidr)?), target),
            _ => return Err("a route is `BLOCK|pl NAME -> TARGET`".to_owned()),
        };
        let target = match target {
            ["igw"] => match self.find(&qualified(name, "igw"))? {
                ResourceId::InternetGateway(id) => RouteTarget::InternetGateway(id),
                other => return Err(format!("{other} is not an internet gateway")),
            },
            ["nat", nat] => match self.find(&qualified(name, nat))? {
                ResourceId::NatGateway(id) => RouteTarget::NatGateway(id),
                other => return Err(format!("{other} is not a NAT gateway")),
            },
            ["peering", name] => RouteTarget::VpcPeering(self.peering(name)?),
            ["transit", name] => RouteTarget::TransitGateway(self.transit(name)?),
            ["vgw"] => RouteTarget::VpnGateway(self.vpn_gateway(&qualified(name, "vgw"))?),
            [interface] => RouteTarget::NetworkInterface(self.interface(interface)?),
            _ => return Err("no such target".to_owned()),
        };
        self.run(Action::CreateRoute { table, destination, target: RouteTargetChoice::Target(target) })
    }
}

fn acl_entry(number: &str, allow: bool, rest: &[&str]) -> Read<AclEntry> {
    let number = parse(number)?;
    match traffic(rest)? {
        (traffic, ["from" | "to", cidr]) => Ok(AclEntry { number, allow, traffic, cidr: parse(cidr)? }),
        _ => Err("from or to which block?".to_owned()),
    }
}

/// Which packets, and the words after that.
fn traffic<'w, 't>(words: &'w [&'t str]) -> Read<(Traffic, &'w [&'t str])> {
    let ports = |text: &str| -> Read<(u16, u16)> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        Ok((parse(low)?, parse(high)?))
    };
    let numbered = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
    Ok(match words {
        ["all", rest @ ..] => (Traffic::All, rest),
        ["tcp", range, rest @ ..] if numbered(range) => {
            let (low, high) = ports(range)?;
            (Traffic::Tcp(low, high), rest)
        }
        ["udp", range, rest @ ..] if numbered(range) => {
            let (low, high) = ports(range)?;
            (Traffic::Udp(low, high), rest)
        }
        ["icmp", kind, rest @ ..] if numbered(kind) => match kind.split_once('.') {
            Some((kind, code)) => (Traffic::Icmp(Some(parse(kind)?), Some(parse(code)?)), rest),
            None => (Traffic::Icmp(Some(parse(kind)?), None), rest),
        },
        ["proto", number, rest @ ..] => (Traffic::Protocol(parse(number)?), rest),
        ["tcp", rest @ ..] => (Traffic::Tcp(0, u16::MAX), rest),
        ["udp", rest @ ..] => (Traffic::Udp(0, u16::MAX), rest),
        ["icmp", rest @ ..] => (Traffic::Icmp(None, None), rest),
        _ => return Err("which packets?".to_owned()),
    })
}

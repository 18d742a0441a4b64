//! Load balancers of a topology, their listeners, and how their targets are found to be.

use postern_model::elb::*;
use postern_model::{Action, LoadBalancerId, ResourceId, VpcId};

use super::read::{Read, Reader, option, parse};

impl Reader {
    pub(super) fn new_balancer(&mut self, name: &str, subnets: &str, options: &[&str]) -> Read<()> {
        let address = option(options, "ip").map(parse).transpose()?;
        let zones = subnets.split(',').zip(std::iter::once(address).chain(std::iter::repeat(None)));
        let zones = zones.map(|(subnet, address)| {
            Ok(NewLoadBalancerZone { subnet: self.subnet(name, subnet)?, address, allocation: None })
        });
        let new = NewLoadBalancer {
            name: name.replace('.', "-"),
            scheme: if options.contains(&"public") { Scheme::InternetFacing } else { Scheme::Internal },
            zones: zones.collect::<Read<_>>()?,
            groups: self.groups(name, options)?.unwrap_or_default(),
            tags: Vec::new(),
        };
        let id = self.create(name, Action::Elb(ElbAction::CreateLoadBalancer(new)))?;
        let ResourceId::LoadBalancer(id) = id else { return Err("not a load balancer".to_owned()) };
        let load_balancer = id;
        self.run(Action::Elb(ElbAction::ReportLoadBalancerActive { load_balancer }))?;
        let client_routing = match option(options, "routing") {
            Some("zone") => DnsRecordClientRouting::ZoneAffinity,
            Some("partial") => DnsRecordClientRouting::PartialZoneAffinity,
            Some(other) => return Err(format!("`{other}` is no routing of clients")),
            None => DnsRecordClientRouting::AnyZone,
        };
        let cross_zone = options.contains(&"cross-zone");
        if cross_zone || client_routing != DnsRecordClientRouting::AnyZone {
            let attributes =
                LoadBalancerAttributes { cross_zone, client_routing, ..LoadBalancerAttributes::default() };
            self.run(Action::Elb(ElbAction::ModifyLoadBalancerAttributes { load_balancer, attributes }))?;
        }
        let zones = self.world.state.load_balancers.get(&id).map(|x| x.zones.clone()).unwrap_or_default();
        for (zone, subnet) in zones.iter().flat_map(|zone| subnets.split(',').map(move |name| (zone, name))) {
            if self.subnet(name, subnet)? == zone.subnet {
                self.name(&format!("{name}.{subnet}"), zone.interface);
                let public = self.world.state.network_interfaces.get(&zone.interface);
                if let Some(public) = public.and_then(|found| found.automatic_public_address) {
                    self.words.push((public.to_string(), format!("public({name}.{subnet})")));
                }
            }
        }
        Ok(())
    }

    /// `listen tcp 80 -> 8080 i1 i2:9090 10.0.1.7 [preserve|hide] [sticky] [proxy] [terminate]`
    pub(super) fn listen(&mut self, name: &str, words: &[&str]) -> Read<()> {
        let ["listen", protocol, port, "->", target_port, rest @ ..] = words else {
            return Err("listen PROTOCOL PORT -> PORT TARGETS".to_owned());
        };
        let ResourceId::LoadBalancer(balancer) = self.find(name)? else {
            return Err("not a load balancer".to_owned());
        };
        let vpc = self.world.state.load_balancers.get(&balancer).map(|found| found.vpc);
        let vpc = vpc.ok_or("it is not there")?;
        let (listens, group) = match *protocol {
            "tcp" => (ListenerProtocol::Tcp, GroupProtocol::Tcp),
            "udp" => (ListenerProtocol::Udp, GroupProtocol::Udp),
            "both" => (ListenerProtocol::TcpUdp, GroupProtocol::TcpUdp),
            other => return Err(format!("`{other}` is no protocol of a listener")),
        };
        let is_option = |word: &&&str| OPTIONS.contains(*word);
        let (options, targets): (Vec<_>, Vec<_>) = rest.iter().partition(is_option);
        let group = self.new_target_group(name, (vpc, parse(target_port)?, group), &targets, &options)?;
        let (tags, port) = (Vec::new(), parse(port)?);
        let new = NewListener { load_balancer: balancer, protocol: listens, port, group, tags };
        let id = self.create(&format!("{name}:{port}"), Action::Elb(ElbAction::CreateListener(new)))?;
        if let ResourceId::Listener(_) = id { Ok(()) } else { Err("not a listener".to_owned()) }
    }

    fn new_target_group(
        &mut self,
        name: &str,
        (vpc, port, protocol): (VpcId, u16, GroupProtocol),
        targets: &[&&str],
        options: &[&&str],
    ) -> Read<postern_model::TargetGroupId> {
        let targets = targets.iter().map(|word| self.target(word)).collect::<Read<Vec<_>>>()?;
        let is_address = |target: &NewTarget| matches!(target.id, TargetId::Address(_));
        let target_type = if targets.iter().any(is_address) { TargetType::Ip } else { TargetType::Instance };
        let named = format!("{}-{}", name.replace('.', "-"), self.world.state.target_groups.len());
        let new = NewTargetGroup {
            name: named,
            protocol,
            port,
            vpc,
            target_type,
            health_check: usual_check(),
            tags: Vec::new(),
        };
        let id = self.create(
            &format!("{name}.targets{}", self.world.state.target_groups.len()),
            Action::Elb(ElbAction::CreateTargetGroup(new)),
        )?;
        let ResourceId::TargetGroup(group) = id else { return Err("not a target group".to_owned()) };
        let has = |option: &str| options.iter().any(|word| **word == option);
        let attributes = GroupAttributes {
            preserve_client_ip: has("preserve").then_some(true).or(has("hide").then_some(false)),
            proxy_protocol_v2: has("proxy"),
            stickiness: has("sticky"),
            terminate_on_deregistration: has("terminate"),
            ..GroupAttributes::default()
        };
        self.run(Action::Elb(ElbAction::ModifyTargetGroupAttributes { group, attributes }))?;
        if !targets.is_empty() {
            self.run(Action::Elb(ElbAction::RegisterTargets { group, targets }))?;
        }
        Ok(group)
    }

    fn target(&self, word: &str) -> Read<NewTarget> {
        let (who, port) = match word.rsplit_once(':') {
            Some((who, port)) => (who, Some(parse(port)?)),
            None => (word, None),
        };
        let id = match who.parse() {
            Ok(address) => TargetId::Address(address),
            Err(_) => match self.find(&format!("{who}.instance"))? {
                ResourceId::Instance(id) => TargetId::Instance(id),
                other => return Err(format!("{other} is not an instance")),
            },
        };
        Ok(NewTarget { id, port, zone: None })
    }

    /// Each target of this name is found to be healthy, or not.
    pub(super) fn found_to_be(&mut self, name: &str, healthy: bool) -> Read<()> {
        let wanted = self.target(name)?.id;
        let groups = self.world.state.target_groups.values();
        let all = groups.flat_map(|group| group.targets.keys().map(|key| (group.id, *key)));
        let found: Vec<_> = all.filter(|(_, key)| key.id == wanted).collect();
        if found.is_empty() {
            return Err(format!("`{name}` is no target"));
        }
        self.health.extend(found.into_iter().map(|id| (id, healthy)));
        Ok(())
    }

    pub(super) fn deregister(&mut self, name: &str) -> Read<()> {
        let wanted = self.target(name)?.id;
        let groups = self.world.state.target_groups.values();
        let has = |group: &&std::sync::Arc<TargetGroup>| group.targets.keys().any(|key| key.id == wanted);
        let groups: Vec<_> = groups.filter(has).map(|group| group.id).collect();
        groups.into_iter().try_for_each(|group| {
            self.run(Action::Elb(ElbAction::DeregisterTargets { group, targets: vec![(wanted, None)] }))
        })
    }

    pub(super) fn delete_balancer(&mut self, load_balancer: LoadBalancerId) -> Read<()> {
        self.run(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer }))
    }
}

const OPTIONS: [&str; 5] = ["preserve", "hide", "sticky", "proxy", "terminate"];

/// Checks of targets that nobody makes.
pub(crate) fn usual_check() -> HealthCheck {
    HealthCheck {
        protocol: HealthProtocol::Tcp,
        port: HealthPort::Traffic,
        interval_seconds: 30,
        timeout_seconds: 10,
        healthy_threshold: 3,
        unhealthy_threshold: 3,
    }
}

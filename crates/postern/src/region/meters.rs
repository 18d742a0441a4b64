//! What CloudWatch is told of endpoints, endpoint services and load balancers: the data plane's own counters, and what health
//! checks found.
//!
//! Names, dimensions and when there is something to say from "CloudWatch metrics for AWS PrivateLink" and "CloudWatch metrics
//! for your Network Load Balancer".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_dataplane::forward::{Counters, Forwarder, GatewayCounters};
use postern_model::elb::{ListenerProtocol, LoadBalancer, TargetGroup, TargetZone};
use postern_model::endpoint::VpcEndpoint;
use postern_model::endpoint_service::EndpointService;
use postern_model::{AccountId, LoadBalancerId, ResourceId, State};
use postern_services::commands::Commands;
use postern_services::elbv2::health::{Health, TargetHealth, balancer_of, of as health_of};
use postern_services::monitoring::{Meters, Metric, Monitoring, Reading, Unit, Value};

use super::balancer::Checks;

/// How often is measured what nobody asks for.
const PERIOD: Duration = Duration::from_secs(10);

const ENDPOINTS: &str = "AWS/PrivateLinkEndpoints";
const SERVICES: &str = "AWS/PrivateLinkServices";
const BALANCERS: &str = "AWS/NetworkELB";

/// Measures by the data plane's counters.
pub struct RegionMeters {
    commands: Arc<dyn Commands>,
    checks: Arc<Checks>,
    /// None where no packets move.
    forwarder: Option<Arc<Forwarder>>,
    /// What was counted at the last time; none before the first.
    last: Mutex<Option<HashMap<ResourceId, Counted>>>,
}

/// What was counted of an endpoint or load balancer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    bytes: u64,
    packets: u64,
    begun: u64,
    dropped: u64,
    without_port: u64,
    /// How many there are now, unlike all others.
    active: u64,
}

impl Counted {
    fn of(counters: &GatewayCounters) -> Self {
        Self {
            bytes: counters.outward.bytes + counters.inward.bytes,
            packets: counters.outward.packets + counters.inward.packets,
            begun: counters.attempts,
            dropped: 0,
            without_port: counters.port_allocation_errors,
            active: counters.active,
        }
    }

    /// What is more than at another time.
    fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            packets: self.packets.saturating_sub(before.packets),
            begun: self.begun.saturating_sub(before.begun),
            dropped: self.dropped.saturating_sub(before.dropped),
            without_port: self.without_port.saturating_sub(before.without_port),
            active: self.active,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            packets: self.packets + other.packets,
            begun: self.begun + other.begun,
            dropped: self.dropped + other.dropped,
            without_port: self.without_port + other.without_port,
            active: self.active + other.active,
        }
    }

    /// "Reporting criteria: The endpoint received traffic during the one-minute period."
    fn has_traffic(self) -> bool {
        self.bytes > 0 || self.begun > 0 || self.dropped > 0
    }
}

impl RegionMeters {
    /// Over these counters, and what these checks find.
    pub fn new(commands: Arc<dyn Commands>, checks: Arc<Checks>, forwarder: Option<Arc<Forwarder>>) -> Self {
        Self { commands, checks, forwarder, last: Mutex::default() }
    }

    /// What was counted of each since the last time.
    fn counted(&self) -> HashMap<ResourceId, Counted> {
        let counters = match self.forwarder.as_ref().map(|forwarder| forwarder.counters().wait()) {
            Some(Ok(counters)) => counters,
            Some(Err(error)) => {
                tracing::warn!(%error, "the forwarder's counters are not to be had");
                return HashMap::new();
            }
            None => return HashMap::new(),
        };
        let now = totals(&counters);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // What was counted before this process began was told by the one before.
        let before = last.replace(now.clone()).unwrap_or_else(|| now.clone());
        now.into_iter()
            .map(|(id, counted)| (id, counted.since(before.get(&id).copied().unwrap_or_default())))
            .collect()
    }
}

fn totals(counters: &Counters) -> HashMap<ResourceId, Counted> {
    let mut all: HashMap<ResourceId, Counted> =
        counters.gateways.iter().map(|(id, counters)| (*id, Counted::of(counters))).collect();
    for drops in &counters.resources {
        if matches!(drops.resource, ResourceId::VpcEndpoint(_)) {
            all.entry(drops.resource).or_default().dropped += drops.packets;
        }
    }
    all
}

impl Meters for RegionMeters {
    fn measure(&self) -> Vec<Reading> {
        let (state, counted) = (self.commands.state(), self.counted());
        let mut told = Told { state: &state, readings: Vec::new() };
        let of = |id: ResourceId| counted.get(&id).copied().unwrap_or_default();
        for endpoint in state.vpc_endpoints.values().filter(|endpoint| endpoint.interface.is_some()) {
            told.endpoint(endpoint, of(endpoint.id.into()));
        }
        let by_service = endpoints_by_service(&state);
        // What came through endpoints, by the load balancer that got all of it. Where a service has several, by zone,
        // nobody counted which got what.
        let mut through = HashMap::<LoadBalancerId, Counted>::new();
        for service in state.endpoint_services.values() {
            let endpoints = by_service.get(service.name(&state.region.name).as_str());
            let endpoints = endpoints.into_iter().flatten();
            let each: Vec<_> = endpoints.map(|endpoint| (*endpoint, of(endpoint.id.into()))).collect();
            told.service(service, &each);
            let mut balancers = service.load_balancers.iter();
            if let Some(only) = balancers.next().filter(|_| balancers.next().is_none()) {
                let sum = through.entry(*only).or_default();
                *sum = each.iter().fold(*sum, |sum, (_, counted)| sum.and(*counted));
            }
        }
        for balancer in state.load_balancers.values() {
            let through = through.get(&balancer.id).copied().unwrap_or_default();
            told.balancer(balancer, of(balancer.id.into()).and(through));
        }
        for group in state.target_groups.values() {
            let checks = &self.checks;
            told.group(group, |group, key| health_of(&state, group, key, checks.seen(group.id, key)));
        }
        told.readings
    }

    fn now_seconds(&self) -> i64 {
        i64::try_from(self.commands.now_milliseconds() / 1_000).unwrap_or(i64::MAX)
    }
}

/// All endpoints, by the name of the service that they lead to.
fn endpoints_by_service(state: &State) -> HashMap<&str, Vec<&VpcEndpoint>> {
    let mut all = HashMap::<_, Vec<_>>::new();
    for endpoint in state.vpc_endpoints.values() {
        all.entry(endpoint.service_name.as_str()).or_default().push(&**endpoint);
    }
    all
}

type Dimensions = Vec<(&'static str, String)>;

/// The readings so far.
struct Told<'a> {
    state: &'a State,
    readings: Vec<Reading>,
}

impl Told<'_> {
    fn tell(
        &mut self,
        account: AccountId,
        (namespace, name): (&'static str, &'static str),
        dimensions: &Dimensions,
        (unit, value): (Unit, Value),
    ) {
        let metric = Metric::new(namespace, name, dimensions.clone());
        self.readings.push(Reading { account, metric, unit, value });
    }

    /// What endpoints and services have in common.
    fn connections(
        &mut self,
        account: AccountId,
        namespace: &'static str,
        dimensions: &Dimensions,
        counted: Counted,
    ) {
        let metrics = [
            ("ActiveConnections", Unit::Count, Value::Now(counted.active)),
            ("NewConnections", Unit::Count, Value::More(counted.begun)),
            ("BytesProcessed", Unit::Bytes, Value::More(counted.bytes)),
        ];
        for (name, unit, value) in metrics {
            self.tell(account, (namespace, name), dimensions, (unit, value));
        }
    }

    fn endpoint(&mut self, endpoint: &VpcEndpoint, counted: Counted) {
        if !counted.has_traffic() {
            return;
        }
        let whole = vec![
            ("Endpoint Type", endpoint.kind.name().to_owned()),
            ("Service Name", endpoint.service_name.clone()),
            ("VPC Endpoint Id", endpoint.id.to_string()),
            ("VPC Id", endpoint.vpc.to_string()),
        ];
        let mut subnets = endpoint.interface.iter().flat_map(|part| part.interfaces.keys());
        // Nobody counts the interfaces of an endpoint apart; of one that has one there is nothing to tell apart.
        let only = subnets.next().filter(|_| subnets.next().is_none());
        let of_subnet = only.map(|subnet| {
            whole.iter().cloned().chain([("Subnet Id", subnet.to_string())]).collect::<Dimensions>()
        });
        for dimensions in [Some(whole), of_subnet].into_iter().flatten() {
            self.connections(endpoint.owner, ENDPOINTS, &dimensions, counted);
            let dropped = (Unit::Count, Value::More(counted.dropped));
            self.tell(endpoint.owner, (ENDPOINTS, "PacketsDropped"), &dimensions, dropped);
        }
    }

    fn service(&mut self, service: &EndpointService, endpoints: &[(&VpcEndpoint, Counted)]) {
        let id = || ("Service Id", service.id.to_string());
        let connected = endpoints.iter().filter(|(endpoint, _)| endpoint.state.passes()).count();
        // "Reporting criteria: There is a nonzero value".
        if connected > 0 {
            let connected = (Unit::Count, Value::Now(connected as u64));
            self.tell(service.owner, (SERVICES, "EndpointsCount"), &vec![id()], connected);
        }
        for (endpoint, counted) in endpoints.iter().filter(|(_, counted)| counted.has_traffic()) {
            let dimensions = vec![id(), ("VPC Endpoint Id", endpoint.id.to_string())];
            self.connections(service.owner, SERVICES, &dimensions, *counted);
        }
        let all = endpoints.iter().fold(Counted::default(), |all, (_, counted)| all.and(*counted));
        if !all.has_traffic() {
            return;
        }
        self.connections(service.owner, SERVICES, &vec![id()], all);
        let mut balancers = service.load_balancers.iter();
        let only = balancers.next().filter(|_| balancers.next().is_none());
        if let Some(balancer) = only.and_then(|only| self.state.load_balancers.get(only)) {
            let (region, owner) = (&self.state.region.name, balancer.owner);
            let arn =
                format!("arn:aws:elasticloadbalancing:{region}:{owner}:loadbalancer/{}", short(balancer));
            self.connections(service.owner, SERVICES, &vec![id(), ("Load Balancer Arn", arn)], all);
        }
    }

    fn balancer(&mut self, balancer: &LoadBalancer, counted: Counted) {
        let dimensions = vec![("LoadBalancer", short(balancer))];
        let mut metrics = vec![
            ("ActiveFlowCount", Unit::Count, Value::Now(counted.active)),
            ("NewFlowCount", Unit::Count, Value::More(counted.begun)),
            ("ProcessedBytes", Unit::Bytes, Value::More(counted.bytes)),
            ("ProcessedPackets", Unit::Count, Value::More(counted.packets)),
            ("PortAllocationErrorCount", Unit::Count, Value::More(counted.without_port)),
        ];
        let mut protocols = balancer.listeners(self.state).map(|listener| listener.protocol).peekable();
        // Protocols are not counted apart: where there is one, all is its.
        if protocols.peek().is_some() && protocols.all(|protocol| protocol == ListenerProtocol::Tcp) {
            metrics.extend([
                ("ActiveFlowCount_TCP", Unit::Count, Value::Now(counted.active)),
                ("NewFlowCount_TCP", Unit::Count, Value::More(counted.begun)),
                ("ProcessedBytes_TCP", Unit::Bytes, Value::More(counted.bytes)),
            ]);
        }
        for (name, unit, value) in metrics {
            self.tell(balancer.owner, (BALANCERS, name), &dimensions, (unit, value));
        }
    }

    /// How many targets of a group are healthy, and how many are not: in all, and in each zone of the load balancer.
    fn group(
        &mut self,
        group: &TargetGroup,
        health: impl Fn(&TargetGroup, postern_model::elb::TargetKey) -> TargetHealth,
    ) {
        let Some(balancer) = balancer_of(self.state, group) else { return };
        let whole = vec![
            ("LoadBalancer", short(balancer)),
            ("TargetGroup", format!("targetgroup/{}/{:016x}", group.name, group.id.number())),
        ];
        let found: Vec<_> =
            group.targets.iter().map(|(key, target)| (&target.zone, health(group, *key))).collect();
        let zones = balancer.zones.iter().map(|zone| Some(zone.zone.as_str()));
        for zone in std::iter::once(None).chain(zones) {
            let mut dimensions = whole.clone();
            dimensions.extend(zone.map(|zone| ("AvailabilityZone", zone.to_owned())));
            let near = |own: &TargetZone| match own {
                TargetZone::All => true,
                TargetZone::Zone(own) => zone.is_none_or(|zone| zone == own),
            };
            let count = |wanted: fn(&TargetHealth) -> bool| {
                found.iter().filter(|(own, health)| near(own) && wanted(health)).count() as u64
            };
            let healthy = count(|health| matches!(health, TargetHealth::Healthy));
            let unhealthy = count(|health| matches!(health, TargetHealth::Unhealthy(_)));
            // "Reported if there are registered targets."
            if found.iter().any(|(own, _)| near(own)) {
                for (name, value) in [("HealthyHostCount", healthy), ("UnHealthyHostCount", unhealthy)] {
                    let value = (Unit::Count, Value::Now(value));
                    self.tell(group.owner, (BALANCERS, name), &dimensions, value);
                }
            }
        }
    }
}

/// What a load balancer is called among dimensions: the last parts of its ARN.
fn short(balancer: &LoadBalancer) -> String {
    format!("net/{}/{:016x}", balancer.name, balancer.id.number())
}

/// Measures from time to time, until the future is dropped.
pub async fn measure_on(monitoring: Arc<Monitoring>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let monitoring = Arc::clone(&monitoring);
        if let Err(error) = tokio::task::spawn_blocking(move || monitoring.measure()).await {
            tracing::error!(%error, "what CloudWatch is asked for is not measured");
        }
    }
}

//! Load balancers' interfaces, the health checks that go out by them, what becomes of targets that leave, and what carries
//! the connections that packets alone cannot hand on: those that begin with a PROXY protocol header. All others the plan
//! hands on, which is told here what checks find.
//!
//! Each interface of a load balancer has a network namespace of its own behind a port of the fabric, as an instance's has:
//! what is sent from there passes security groups, ACLs and routes like anybody's packets. Checks are bounded in number;
//! one that is due while all are under way waits.

mod check;
mod choice;
mod probe;
mod relay;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_dataplane::forward::OWN_PORTS;
use postern_dataplane::host::Namespace;
use postern_model::elb::TargetKey;
use postern_model::{AccountId, Action, NetworkInterfaceId, State, TargetGroupId, Timestamp};
use postern_path::{Health as Found, PeerLookup};
use postern_services::commands::Commands;
use postern_services::elbv2::health::{Health, Seen};
use tokio::sync::{Semaphore, mpsc};

use self::check::{Outcome, Record};
use self::relay::Carrier;
use self::wanted::{Wanted, wanted};
use super::attach::Guest;
use super::machines::Machines;
use super::planner::Planner;

/// How many checks may be under way at once.
const MOST_CHECKS: usize = 256;
/// How often the state is compared with what was done for it.
const PERIOD: Duration = Duration::from_millis(200);
/// What an interface is called in its namespace.
const INSIDE_NAME: &str = "ens5";

/// A target of a group.
pub type Id = (TargetGroupId, TargetKey);

/// What checks saw of targets.
#[derive(Default)]
pub struct Checks(Mutex<BTreeMap<Id, Record>>);

impl Checks {
    fn table(&self) -> MutexGuard<'_, BTreeMap<Id, Record>> {
        // Each change of it is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Checks {
    /// What checks found of targets, as the plan is told.
    fn found(&self) -> Found {
        let is_healthy = |seen| match seen {
            Seen::Healthy => Some(true),
            Seen::Unhealthy(_) => Some(false),
            Seen::Nothing | Seen::Beginning => None,
        };
        self.table().iter().filter_map(|(id, record)| Some((*id, is_healthy(record.seen())?))).collect()
    }
}

impl Health for Checks {
    fn seen(&self, group: TargetGroupId, target: TargetKey) -> Seen {
        self.table().get(&(group, target)).map_or(Seen::Nothing, Record::seen)
    }
}

/// A check that ended: of which target, where it went, when it began, what came of it.
type Ended = (Id, Wanted, Instant, Outcome);

/// The task that keeps load balancers.
pub struct Balancers {
    machines: Arc<Machines>,
    commands: Arc<dyn Commands>,
    planner: Arc<Planner>,
    checks: Arc<Checks>,
    /// What the plan was told last.
    told: Found,
    plugged: BTreeSet<NetworkInterfaceId>,
    wanted: BTreeMap<Id, Wanted>,
    due: BTreeSet<(Instant, Id)>,
    carrier: Arc<Carrier>,
    /// Where connections are taken, and what takes them.
    listening: BTreeMap<Listening, Task>,
    permits: Arc<Semaphore>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    known: Option<Arc<State>>,
}

impl Balancers {
    /// Over these machines' ports; what checks see goes into `checks`.
    /// `peers` tells who comes through endpoints.
    pub fn new(
        machines: Arc<Machines>,
        commands: Arc<dyn Commands>,
        planner: Arc<Planner>,
        checks: Arc<Checks>,
        peers: Arc<dyn PeerLookup>,
    ) -> Self {
        let (commands_for_carrier, checks_for_carrier) = (Arc::clone(&commands), Arc::clone(&checks));
        Self {
            machines,
            commands,
            planner,
            checks,
            told: Found::new(),
            plugged: BTreeSet::new(),
            wanted: BTreeMap::new(),
            due: BTreeSet::new(),
            carrier: Arc::new(Carrier::new(commands_for_carrier, checks_for_carrier, peers)),
            listening: BTreeMap::new(),
            permits: Arc::new(Semaphore::new(MOST_CHECKS)),
            // INVARIANT: never longer than `MOST_CHECKS`, as each check that is under way sends one.
            ended: mpsc::unbounded_channel(),
            known: None,
        }
    }

    /// Keeps them as the state says, until the future is dropped.
    pub async fn run(mut self) {
        loop {
            let state = self.commands.state();
            if !self.known.as_ref().is_some_and(|known| reads_alike(known, &state))
                || self.is_unplugged(&state)
            {
                self.plug(&state).await;
                self.want(&state);
                self.listen(&state).await;
                self.known = Some(Arc::clone(&state));
            }
            let now = Timestamp(self.commands.now_milliseconds());
            for (account, action) in reports(&state, now, |id| self.plugged.contains(&id)) {
                let let_go = cut_by(&state, &action);
                if let Err(error) = self.commands.execute(account, None, action).await {
                    tracing::debug!(%error, "a report came too late");
                }
                let_go.into_iter().for_each(|target| self.carrier.cut(target));
            }
            self.tell().await;
            self.begin_due();
            let next =
                self.due.first().map_or(PERIOD, |(at, _)| at.saturating_duration_since(Instant::now()));
            if let Ok(Some(ended)) =
                tokio::time::timeout(next.clamp(Duration::from_millis(5), PERIOD), self.ended.1.recv()).await
            {
                self.note(ended);
                while let Ok(ended) = self.ended.1.try_recv() {
                    self.note(ended);
                }
                self.tell().await;
            }
        }
    }

    /// Whether a reset took ports away that the state still asks for.
    fn is_unplugged(&self, state: &State) -> bool {
        interfaces(state).any(|id| self.plugged.contains(&id) && self.machines.network_of(id).is_none())
    }

    /// Makes the ports that are missing, and takes those away that belong to nobody.
    async fn plug(&mut self, state: &Arc<State>) {
        let there: BTreeSet<_> = interfaces(state).collect();
        let (machines, for_task, plugged) =
            (Arc::clone(&self.machines), Arc::clone(state), self.plugged.clone());
        let done = tokio::task::spawn_blocking(move || {
            for gone in plugged.difference(&there) {
                machines.detach(*gone);
            }
            let plugs = there
                .into_iter()
                .filter(|id| machines.network_of(*id).is_some() || plug(&machines, &for_task, *id));
            plugs.collect::<BTreeSet<_>>()
        });
        match done.await {
            Ok(plugged) => self.plugged = plugged,
            Err(error) => tracing::error!(%error, "load balancers could not be plugged in"),
        }
    }

    /// Takes over which checks the state asks for. Those that go on keep what was seen, and their time.
    fn want(&mut self, state: &State) {
        let wanted = wanted(state);
        let now = Instant::now();
        self.due.retain(|(_, id)| wanted.contains_key(id));
        self.checks.table().retain(|id, _| wanted.contains_key(id));
        for (id, new) in &wanted {
            let before = self.wanted.get(id);
            if before.is_none_or(|before| before.to != new.to) {
                self.checks.table().insert(*id, Record::default());
            }
            // A check that is under way is told by its absence among those that are due.
            if before.is_none_or(|before| before != new) {
                self.due.retain(|(_, known)| known != id);
                self.due.insert((now, *id));
            }
        }
        self.wanted = wanted;
    }

    /// Takes connections where the state has listeners, and nowhere else.
    async fn listen(&mut self, state: &State) {
        let wanted: BTreeSet<_> = listening(state).collect();
        self.listening
            .retain(|at, _| wanted.contains(at) && self.machines.network_of(at.interface).is_some());
        for at in wanted {
            let Some(network) = self.machines.network_of(at.interface) else { continue };
            if self.listening.contains_key(&at) {
                continue;
            }
            let (inside, address) = (network.clone(), std::net::SocketAddr::from((at.address, at.port)));
            let bound = tokio::task::spawn_blocking(move || inside.listen_tcp(address)).await;
            let bound = bound.map_err(anyhow::Error::from).and_then(|bound| {
                let listener = bound?;
                listener.set_nonblocking(true)?;
                Ok(tokio::net::TcpListener::from_std(listener)?)
            });
            match bound {
                Ok(listener) => {
                    let carrier = Arc::clone(&self.carrier);
                    let serving = carrier.serve(listener, at.listener, at.zone.clone(), network);
                    self.listening.insert(at, Task(tokio::spawn(serving).abort_handle()));
                }
                Err(error) => {
                    tracing::error!(listener = %at.listener, error = crate::said::said(&error), "nobody listens there");
                }
            }
        }
    }

    /// Tells the plan what checks found, if it is news.
    async fn tell(&mut self) {
        let found = self.checks.found();
        if found == self.told {
            return;
        }
        let (planner, news) = (Arc::clone(&self.planner), found.clone());
        match tokio::task::spawn_blocking(move || planner.follow_health(&news)).await {
            Ok(Ok(())) => self.told = found,
            Ok(Err(stopped)) => tracing::error!(%stopped, "packets do not follow what health checks find"),
            Err(error) => tracing::error!(%error, "packets do not follow what health checks find"),
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
                tracing::debug!(most = MOST_CHECKS, "a health check waits until others end");
                return;
            };
            self.due.remove(&(at, id));
            let Some(wanted) = self.wanted.get(&id).cloned() else { continue };
            let network = self.machines.network_of(wanted.from);
            let ended = self.ended.0.clone();
            tokio::spawn(async move {
                let outcome = match network {
                    Some(network) => probe::probe(network, &wanted).await,
                    // It is there at the next look.
                    None => Outcome::NotTried,
                };
                drop(permit);
                let _ = ended.send((id, wanted, now, outcome));
            });
        }
    }

    /// Counts a check that ended, and says when the next one is due.
    fn note(&mut self, (id, tried, began, outcome): Ended) {
        // What is checked otherwise since then is due already.
        let Some(wanted) = self.wanted.get(&id).filter(|wanted| **wanted == tried) else { return };
        let mut table = self.checks.table();
        let record = table.entry(id).or_default();
        let before = record.seen();
        record.after(outcome, &wanted.check);
        if record.seen() != before {
            tracing::info!(group = %id.0, target = %id.1, seen = ?record.seen(), "the health of a target changed");
            let groups = self.known.as_ref().map(|state| &state.target_groups);
            let terminates =
                groups.and_then(|groups| groups.get(&id.0)).is_some_and(|g| g.attributes.unhealthy.terminate);
            if matches!(record.seen(), Seen::Unhealthy(_)) && terminates {
                self.carrier.cut(id);
            }
        }
        let interval = match outcome {
            Outcome::NotTried => PERIOD,
            Outcome::Success | Outcome::Failure(_) => {
                Duration::from_secs(wanted.check.interval_seconds.into())
            }
        };
        self.due.insert((began + interval, id));
    }
}

/// Where connections of a listener are taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Listening {
    listener: postern_model::ListenerId,
    interface: NetworkInterfaceId,
    zone: String,
    address: std::net::Ipv4Addr,
    port: u16,
}

/// A task that ends when nobody has it.
struct Task(tokio::task::AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Every place where the state has a TCP listener whose connections begin with a PROXY protocol header.
fn listening(state: &State) -> impl Iterator<Item = Listening> + '_ {
    let carried = state.listeners.values().filter(|listener| {
        let group = state.target_groups.get(&listener.group);
        let introduces = |group: &std::sync::Arc<postern_model::elb::TargetGroup>| {
            group.attributes.proxy_protocol_v2 && !group.preserves_client_address()
        };
        listener.protocol.takes_tcp() && group.is_some_and(introduces)
    });
    carried
        .filter_map(|listener| Some((listener, state.load_balancers.get(&listener.load_balancer)?)))
        .flat_map(|(listener, balancer)| {
            balancer.zones.iter().map(move |zone| Listening {
                listener: listener.id,
                interface: zone.interface,
                zone: zone.zone.clone(),
                address: zone.address,
                port: listener.port,
            })
        })
}

/// The targets whose connections end with an action.
fn cut_by(state: &State, action: &Action) -> Vec<Id> {
    match action {
        Action::Elb(postern_model::elb::ElbAction::ForgetTargets { group, targets }) => {
            let found = state.target_groups.get(group);
            let terminates = found.is_some_and(|group| group.attributes.terminate_on_deregistration);
            targets.iter().filter(|_| terminates).map(|key| (*group, *key)).collect()
        }
        _ => Vec::new(),
    }
}

/// Every interface of a load balancer.
fn interfaces(state: &State) -> impl Iterator<Item = NetworkInterfaceId> {
    state.load_balancers.values().flat_map(|balancer| balancer.zones.iter().map(|zone| zone.interface))
}

fn plug(machines: &Machines, state: &State, interface: NetworkInterfaceId) -> bool {
    let made = Namespace::create(&interface.to_string()).map_err(anyhow::Error::from);
    let plugged = made.and_then(|network| {
        // The other ports of its address are for the connections that are handed on packet by packet.
        let (first, last) = OWN_PORTS;
        let range = format!("{first} {last}");
        network.run(|| std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range))??;
        machines.attach(state, interface, Guest::Namespace(network, INSIDE_NAME.to_owned()))
    });
    if let Err(error) = &plugged {
        tracing::error!(%interface, error = crate::said::said(error), "a load balancer cannot be plugged in");
    }
    plugged.is_ok()
}

/// Whether both states say the same of load balancers.
fn reads_alike(one: &State, other: &State) -> bool {
    one.load_balancers.ptr_eq(&other.load_balancers)
        && one.listeners.ptr_eq(&other.listeners)
        && one.target_groups.ptr_eq(&other.target_groups)
        && one.instances.ptr_eq(&other.instances)
        && one.network_interfaces.ptr_eq(&other.network_interfaces)
}

/// What has come to be: load balancers whose interfaces are all there, and targets that had their deregistration delay.
pub fn reports(
    state: &State,
    now: Timestamp,
    is_plugged: impl Fn(NetworkInterfaceId) -> bool,
) -> Vec<(AccountId, Action)> {
    use postern_model::elb::{ElbAction, LoadBalancerState};
    let mut reports = Vec::new();
    for balancer in state.load_balancers.values() {
        let provisioning = balancer.state == LoadBalancerState::Provisioning;
        if provisioning && balancer.zones.iter().all(|zone| is_plugged(zone.interface)) {
            let action = ElbAction::ReportLoadBalancerActive { load_balancer: balancer.id };
            reports.push((balancer.owner, Action::Elb(action)));
        }
    }
    for group in state.target_groups.values() {
        let delay = u64::from(group.attributes.deregistration_delay_seconds) * 1_000;
        let over = |at: Timestamp| now.0.saturating_sub(at.0) >= delay;
        let gone = group.targets.iter().filter(|(_, target)| target.deregistered_at.is_some_and(over));
        let targets: Vec<_> = gone.map(|(key, _)| *key).collect();
        if !targets.is_empty() {
            reports.push((group.owner, Action::Elb(ElbAction::ForgetTargets { group: group.id, targets })));
        }
    }
    reports
}

//! Whose domains the private names of endpoint services are in: the TXT records that show it are looked for.
//!
//! From "Manage DNS names for VPC endpoint services" in the AWS PrivateLink guide: the owner puts a record with a value
//! that nobody else knows into the domain, and has it looked for. AWS looks for up to ten minutes; here it is a few
//! seconds, since who asks can be asked to ask again.
//!
//! INVARIANT: a name is its owner's only after some server said that the record is there with that very value, and stops
//! being so only after one said that it is not. A server that does not answer, or cannot tell, changes nothing of a name
//! that was verified.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_dns::Upstream;
use postern_model::endpoint_service::{
    EndpointService, EndpointServiceAction, PrivateDnsName, PrivateDnsState,
};
use postern_model::{Action, EndpointServiceId};
use postern_services::commands::Commands;
use postern_store::{WatchError, Watcher};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How often a record is looked for that is to be found.
const LOOKS: u32 = 4;
/// The pause in between.
const PAUSE: Duration = Duration::from_secs(2);
/// Looks at the same time.
const MOST: usize = 16;

/// Who is asked: those whom the operator names, else the host's resolvers if packets may leave.
pub fn resolvers(named: &[SocketAddr], uplink: Option<&Arc<Upstream>>) -> Option<Arc<Upstream>> {
    match named {
        [] => uplink.cloned(),
        named => Some(Arc::new(Upstream::of_servers(named.to_vec()))),
    }
}

/// Looks for records.
pub struct Verifier {
    resolvers: Option<Arc<Upstream>>,
    again: Duration,
    commands: Arc<dyn Commands>,
    places: Arc<Semaphore>,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Record,
    /// Somebody said that it is not there.
    Nothing,
    /// Nobody could tell.
    Silence,
}

/// A name to look for.
#[derive(Debug, Clone)]
struct Wanted {
    service: EndpointServiceId,
    record: String,
    value: String,
}

impl Wanted {
    fn of(service: &EndpointService, which: impl Fn(&PrivateDnsName) -> bool) -> Option<Self> {
        let private = service.private_dns.as_ref().filter(|private| which(private))?;
        let (record, value) = (private.record(), private.record_value.clone());
        Some(Self { service: service.id, record, value })
    }
}

impl Verifier {
    /// One that asks these servers, if there are any, and again after so long.
    pub fn new(resolvers: Option<Arc<Upstream>>, again: Duration, commands: Arc<dyn Commands>) -> Arc<Self> {
        Arc::new(Self { resolvers, again, commands, places: Arc::new(Semaphore::new(MOST)) })
    }

    /// Looks for what is to be looked for, as long as the region runs.
    pub async fn run(self: Arc<Self>, mut changes: Watcher) {
        let mut under_way: BTreeSet<EndpointServiceId> = BTreeSet::new();
        let mut looks = JoinSet::new();
        let mut again = tokio::time::interval(self.again);
        again.tick().await;
        loop {
            for wanted in self.asked_for() {
                if under_way.insert(wanted.service) {
                    looks.spawn(Arc::clone(&self).verify(wanted));
                }
            }
            tokio::select! {
                Some(done) = looks.join_next() => match done {
                    Ok(service) => { under_way.remove(&service); }
                    Err(error) => tracing::error!(%error, "a look for a name ended early"),
                },
                _ = again.tick() => for wanted in self.verified() {
                    if under_way.insert(wanted.service) {
                        looks.spawn(Arc::clone(&self).verify_again(wanted));
                    }
                },
                change = changes.next() => if matches!(change, Err(WatchError::Closed)) { return },
            }
        }
    }

    fn asked_for(&self) -> Vec<Wanted> {
        let state = self.commands.state();
        let services = state.endpoint_services.values();
        services.filter_map(|service| Wanted::of(service, |private| private.look)).collect()
    }

    fn verified(&self) -> Vec<Wanted> {
        let state = self.commands.state();
        let is = |private: &PrivateDnsName| private.state == PrivateDnsState::Verified;
        state.endpoint_services.values().filter_map(|service| Wanted::of(service, is)).collect()
    }

    /// Whether it is still that record which is to be seen.
    fn is_current(&self, wanted: &Wanted) -> bool {
        let state = self.commands.state();
        let service = state.endpoint_services.get(&wanted.service);
        let private = service.and_then(|service| service.private_dns.as_ref());
        private.is_some_and(|private| private.record_value == wanted.value)
    }

    async fn look(&self, wanted: &Wanted) -> Found {
        let Some(resolvers) = &self.resolvers else { return Found::Silence };
        // Nobody closes it.
        let _place = self.places.acquire().await;
        match resolvers.texts(&wanted.record).await {
            Some(texts) if texts.contains(&wanted.value) => Found::Record,
            Some(_) => Found::Nothing,
            None => Found::Silence,
        }
    }

    /// Somebody asked for it: after a few looks it was there, or it was not.
    async fn verify(self: Arc<Self>, wanted: Wanted) -> EndpointServiceId {
        let looks = if self.resolvers.is_some() { LOOKS } else { 1 };
        let mut found = self.look(&wanted).await;
        for _ in 1..looks {
            if found == Found::Record || !self.is_current(&wanted) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            found = self.look(&wanted).await;
        }
        self.report(&wanted, found == Found::Record).await;
        wanted.service
    }

    /// It was there once.
    async fn verify_again(self: Arc<Self>, wanted: Wanted) -> EndpointServiceId {
        if self.look(&wanted).await == Found::Nothing {
            self.report(&wanted, false).await;
        }
        wanted.service
    }

    async fn report(&self, wanted: &Wanted, verified: bool) {
        let owner = self.commands.state().endpoint_services.get(&wanted.service).map(|service| service.owner);
        // Whoever deleted it needs to know nothing.
        let Some(owner) = owner else { return };
        tracing::info!(service = %wanted.service, record = wanted.record, verified, "a private name was looked for");
        let record_value = wanted.value.clone();
        let action = EndpointServiceAction::ReportPrivateDnsVerification {
            service: wanted.service,
            record_value,
            verified,
        };
        if let Err(error) = self.commands.execute(owner, None, Action::EndpointService(action)).await {
            tracing::error!(service = %wanted.service, %error, "what was found of a private name is not kept");
            // It is looked for again at once.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

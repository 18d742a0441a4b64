//! What is published to topics, on its way to subscribers.
//!
//! Messages go over the host's network, and only to the blocks that the operator named (`up --sns-to`): whoever has an
//! account here could otherwise make the host post to whatever it reaches.
//!
//! INVARIANT: where a message goes is decided by the address that is connected to, at each attempt. A name that leads
//! elsewhere than it did, and an answer that says to go elsewhere, change nothing.
//! INVARIANT: messages that are under way are bounded, in all and for each owner of topics; what finds no room is
//! counted and not delivered. They do not outlive this process.

mod connections;
mod post;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use postern_model::sns::{Confirmation, Topic};
use postern_model::{AccountId, IpNet};
use postern_services::commands::Commands;
use postern_services::sns::envelope::{Envelope, Sender, Signer};
use postern_services::sns::retry::RetryPolicy;
use postern_services::sns::{Deliveries, Message};

pub use connections::tell_of_connections;
use post::{Failure, Target};

/// Deliveries under way.
const MOST: usize = 4_096;
/// Those of one owner's topics, so that none keeps the others from delivering.
const MOST_OF_ACCOUNT: usize = 1_024;

/// How deliveries ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The endpoint took the message.
    Delivered,
    /// It did not, however often it was asked.
    Failed,
    /// There was no room for it.
    Crowded,
    /// Nobody wants it any more.
    Unwanted,
    /// The topic does not let itself be told by who wanted to.
    Refused,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Delivered, Self::Failed, Self::Crowded, Self::Unwanted, Self::Refused];

    /// What the metric calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Crowded => "crowded",
            Self::Unwanted => "unwanted",
            Self::Refused => "refused",
        }
    }
}

/// Takes messages to subscribers. Cheap to clone.
#[derive(Clone)]
pub struct Posts(Arc<Inner>);

struct Inner {
    /// Where messages may go.
    blocks: Vec<IpNet>,
    commands: Arc<dyn Commands>,
    /// Known once the region listens.
    ready: OnceLock<Ready>,
    under_way: Mutex<UnderWay>,
    ended: [AtomicU64; Ended::ALL.len()],
}

struct Ready {
    sender: Sender,
    /// Where the region itself listens: its pages are for people, not for posts.
    listen: SocketAddr,
}

#[derive(Default)]
struct UnderWay {
    all: usize,
    of_account: HashMap<AccountId, usize>,
}

/// A place among the deliveries under way.
struct Place {
    posts: Posts,
    account: AccountId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.posts.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.all = under_way.all.saturating_sub(1);
        if let Some(count) = under_way.of_account.get_mut(&self.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                under_way.of_account.remove(&self.account);
            }
        }
    }
}

impl Posts {
    /// To endpoints in these blocks.
    pub fn new(blocks: Vec<IpNet>, commands: Arc<dyn Commands>) -> Self {
        Self(Arc::new(Inner {
            blocks,
            commands,
            ready: OnceLock::new(),
            under_way: Mutex::default(),
            ended: Default::default(),
        }))
    }

    /// From here on messages go out, and say that the API is at `api`.
    pub fn open(&self, api: String, listen: SocketAddr, signer: Signer) {
        // A region opens once.
        let _ = self.0.ready.set(Ready { sender: Sender { api, signer }, listen });
    }

    /// The certificate of that name, for whoever verifies messages.
    pub fn certificate(&self, name: &str) -> Option<&str> {
        let signer = &self.0.ready.get()?.sender.signer;
        (signer.certificate_name() == name).then(|| signer.certificate_pem())
    }

    /// How many deliveries ended so.
    pub fn ended(&self, how: Ended) -> u64 {
        self.0.ended.get(how as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).all
    }

    fn count(&self, how: Ended) {
        if let Some(count) = self.0.ended.get(how as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn place(&self, account: AccountId) -> Option<Place> {
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let own = under_way.of_account.get(&account).copied().unwrap_or(0);
        if under_way.all >= MOST || own >= MOST_OF_ACCOUNT {
            return None;
        }
        under_way.all += 1;
        under_way.of_account.insert(account, own + 1);
        Some(Place { posts: self.clone(), account })
    }

    /// Whether a message may go to an address.
    fn may_go_to(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let own = self.0.ready.get().is_some_and(|ready| {
            let at = ready.listen.ip();
            ready.listen.port() == address.port() && (at == ip || at.is_unspecified() || ip.is_unspecified())
        });
        !own && self.is_named(ip)
    }

    fn is_named(&self, ip: IpAddr) -> bool {
        self.0.blocks.iter().any(|block| block.contains(&ip))
    }

    /// Takes a message to one subscriber, in the background.
    fn send(&self, topic: &Arc<Topic>, id: &str, envelope: Envelope, retries: RetryPolicy, wanted: Wanted) {
        let Some(place) = self.place(topic.owner) else {
            self.count(Ended::Crowded);
            return;
        };
        let Some(endpoint) = topic.subscriptions.get(id).map(|found| found.endpoint.clone()) else { return };
        let (posts, topic, id) = (self.clone(), topic.arn.clone(), id.to_owned());
        tokio::spawn(async move {
            let _place = place;
            let still = || posts.still_wants(&topic, &id, wanted);
            let ended = posts.deliver(&endpoint, &envelope, retries, still).await;
            posts.count(ended);
        });
    }

    fn still_wants(&self, topic: &str, id: &str, wanted: Wanted) -> bool {
        let state = self.0.commands.state();
        let found = state.topics.get(topic).and_then(|topic| topic.subscriptions.get(id));
        found.is_some_and(|found| match wanted {
            Wanted::Messages => found.is_confirmed(),
            Wanted::Question => !found.is_confirmed(),
        })
    }

    async fn deliver(
        &self,
        endpoint: &str,
        envelope: &Envelope,
        retries: RetryPolicy,
        still_wanted: impl Fn() -> bool,
    ) -> Ended {
        let Ok(target) = Target::parse(endpoint) else { return Ended::Failed };
        let mut delays = retries.delays_seconds();
        loop {
            if !still_wanted() {
                return Ended::Unwanted;
            }
            match post::post(&target, envelope, |address| self.may_go_to(address)).await {
                Ok(()) => return Ended::Delivered,
                Err(Failure::Final(why)) => {
                    tracing::info!(endpoint, why, "a message is not delivered");
                    return Ended::Failed;
                }
                Err(Failure::Again(why)) => match delays.next() {
                    Some(seconds) => {
                        tracing::debug!(endpoint, why, seconds, "a message is delivered later");
                        tokio::time::sleep(Duration::from_secs(seconds.into())).await;
                    }
                    None => {
                        tracing::info!(endpoint, why, "a message is not delivered");
                        return Ended::Failed;
                    }
                },
            }
        }
    }
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Messages,
    Question,
}

impl Deliveries for Posts {
    fn check_endpoint(&self, endpoint: &str) -> Result<(), String> {
        let target = Target::parse(endpoint)?;
        if self.0.blocks.is_empty() {
            return Err(
                "this region posts messages nowhere: `postern up --sns-to` says where it may".to_owned()
            );
        }
        match target.address() {
            // Where a name leads is seen when something goes there.
            None => Ok(()),
            Some(ip) if self.is_named(ip.to_canonical()) => Ok(()),
            Some(ip) => {
                Err(format!("this region posts no messages to {ip}: `postern up --sns-to` says where it may"))
            }
        }
    }

    fn publish(&self, topic: &Arc<Topic>, message: Message) {
        let Some(ready) = self.0.ready.get() else { return };
        for (id, subscription) in topic.subscriptions.iter().filter(|(_, found)| found.is_confirmed()) {
            let retries = RetryPolicy::of(subscription.delivery_policy.as_deref());
            match ready.sender.notification(topic, id, subscription, &message) {
                Some(envelope) => self.send(topic, id, envelope, retries, Wanted::Messages),
                None => self.count(Ended::Failed),
            }
        }
    }

    fn ask_for_confirmation(&self, topic: &Arc<Topic>, subscription: &str) {
        let Some(ready) = self.0.ready.get() else { return };
        let Some(found) = topic.subscriptions.get(subscription) else { return };
        let Confirmation::Pending { token } = &found.confirmation else { return };
        let (id, at) = (postern_frontdoor::request_id(), self.0.commands.now_milliseconds());
        let retries = RetryPolicy::of(found.delivery_policy.as_deref());
        match ready.sender.confirmation(topic, &id, &token.0, at) {
            Some(envelope) => self.send(topic, subscription, envelope, retries, Wanted::Question),
            None => self.count(Ended::Failed),
        }
    }
}

//! Where time and the seeds of new ids come from: the only impure inputs of a command.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use postern_model::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Gives seeds, a different one each time.
pub trait Entropy: Send + Sync + 'static {
    /// The next seed.
    fn seed(&self) -> u64;
}

impl<F: Fn() -> Timestamp + Send + Sync + 'static> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

impl<F: Fn() -> u64 + Send + Sync + 'static> Entropy for F {
    fn seed(&self) -> u64 {
        self()
    }
}

/// The clock and the entropy that a ledger stamps commands with.
pub struct Sources {
    pub(crate) clock: Box<dyn Clock>,
    pub(crate) entropy: Box<dyn Entropy>,
}

impl Sources {
    /// These two.
    pub fn new(clock: impl Clock, entropy: impl Entropy) -> Self {
        Self { clock: Box::new(clock), entropy: Box::new(entropy) }
    }

    /// The machine's clock and its randomness. Ids need to differ, not to be secret: nothing may rest on their being
    /// hard to guess.
    pub fn system() -> Self {
        let now = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        };
        // Each `RandomState` is keyed from the operating system's randomness.
        Self::new(now, || RandomState::new().build_hasher().finish())
    }
}

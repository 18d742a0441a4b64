//! How much of the forwarder's time one interface may take, where the kernel program carries what is known.
//!
//! What goes up then is beginnings and oddities. An interface that sends more of them than its share pays for is not
//! read for a while: its own socket fills, and the kernel drops the rest in the sender's time. Nobody else waits for it,
//! neither for the forwarder nor for the processor.
//!
//! What a frame costs is measured all the time, by the thread's own processor clock, so that a share is one of time
//! however fast the machine is.

use std::time::{Duration, Instant};

use nix::time::ClockId;

use super::key::PortNumber;

/// One part in so many of a processor's time, in the long run: some twenty thousand beginnings a second, and less than others
/// notice.
const PART: u32 = 16;
/// What may be saved up.
const SAVED: Duration = Duration::from_millis(20);
/// A port that is out of time has this much again before it is read.
const ENOUGH: Duration = Duration::from_micros(500);
/// Frames after which their price is worked out anew.
const PRICED: u64 = 2_048;
/// What a frame is taken to cost before that, and at least and at most, in nanoseconds.
const FIRST_PRICE: u64 = 3_000;
const PRICES: std::ops::RangeInclusive<u64> = 200..=100_000;

/// The shares of all ports.
#[derive(Debug)]
pub(super) struct Shares {
    /// By the place of a port's number.
    of: Vec<Share>,
    /// Ports that are not read, and until when.
    waiting: Vec<(Instant, PortNumber)>,
    price: Price,
    /// How often a port had to wait.
    waits: u64,
}

/// What one port has left.
#[derive(Debug, Clone, Copy)]
struct Share {
    /// In nanoseconds; below zero is a debt.
    credit: i64,
    last: Instant,
}

impl Share {
    fn new(now: Instant) -> Self {
        Self { credit: nanoseconds(SAVED), last: now }
    }

    /// Takes so much; gives how long the port is to wait, if it has nothing left.
    fn spend(&mut self, cost: i64, now: Instant) -> Option<Duration> {
        let earned = nanoseconds(now.saturating_duration_since(self.last) / PART);
        self.credit = self.credit.saturating_add(earned).min(nanoseconds(SAVED)).saturating_sub(cost);
        self.last = now;
        let missing = u64::try_from(self.credit.checked_neg()?).ok().filter(|missing| *missing > 0)?;
        Some((Duration::from_nanos(missing) + ENOUGH) * PART)
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What a frame costs.
#[derive(Debug)]
struct Price {
    each: u64,
    frames: u64,
    used: Duration,
}

impl Price {
    /// So many frames more.
    fn count(&mut self, frames: u64, used: impl FnOnce() -> Option<Duration>) {
        self.frames += frames;
        if self.frames < PRICED {
            return;
        }
        if let Some(used) = used() {
            let spent = u64::try_from(used.saturating_sub(self.used).as_nanos()).unwrap_or(u64::MAX);
            self.each = (spent / self.frames).clamp(*PRICES.start(), *PRICES.end());
            self.used = used;
        }
        self.frames = 0;
    }
}

/// The processor time of the calling thread.
fn used() -> Option<Duration> {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().ok().map(Duration::from)
}

impl Shares {
    pub fn new() -> Self {
        let price = Price { each: FIRST_PRICE, frames: 0, used: Duration::ZERO };
        Self { of: Vec::new(), waiting: Vec::new(), price, waits: 0 }
    }

    /// A port begins with all that can be saved up.
    pub fn begin(&mut self, port: PortNumber) {
        let now = Instant::now();
        if self.of.len() <= port.place() {
            self.of.resize(port.place() + 1, Share::new(now));
        }
        if let Some(share) = self.of.get_mut(port.place()) {
            *share = Share::new(now);
        }
        self.waiting.retain(|(_, waits)| waits.place() != port.place());
    }

    /// Frames of a port were taken. Whether it is not to be read until [`Shares::due`] gives it.
    pub fn spend(&mut self, port: PortNumber, frames: usize) -> bool {
        let frames = frames as u64;
        self.price.count(frames, used);
        let Some(share) = self.of.get_mut(port.place()) else { return false };
        let (cost, now) = (i64::try_from(frames * self.price.each).unwrap_or(i64::MAX), Instant::now());
        let Some(wait) = share.spend(cost, now) else { return false };
        self.waiting.push((now + wait, port));
        self.waits += 1;
        true
    }

    /// How often a port had to wait.
    pub const fn waits(&self) -> u64 {
        self.waits
    }

    /// A port that may be read again.
    pub fn due(&mut self) -> Option<PortNumber> {
        if self.waiting.is_empty() {
            return None;
        }
        let now = Instant::now();
        let at = self.waiting.iter().position(|(until, _)| *until <= now)?;
        Some(self.waiting.swap_remove(at).1)
    }

    /// How long until there is one, at most `rest`.
    pub fn patience(&self, rest: Duration) -> Duration {
        let Some(next) = self.waiting.iter().map(|(until, _)| *until).min() else { return rest };
        next.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_gets_its_part_and_no_more() {
        let begun = Instant::now();
        let mut share = Share::new(begun);
        let (mut now, mut spent) = (begun, Duration::ZERO);
        let each = Duration::from_micros(100);
        while now - begun < Duration::from_secs(10) {
            spent += each;
            now += share.spend(nanoseconds(each), now).unwrap_or(each);
        }
        let part = (now - begun) / PART + SAVED;
        assert!(spent <= part + ENOUGH && spent >= part - 2 * ENOUGH, "{spent:?} of {part:?}");
    }

    #[test]
    fn who_takes_less_never_waits() {
        let begun = Instant::now();
        let mut share = Share::new(begun);
        let each = Duration::from_micros(100);
        let waits =
            (1..100_000).filter(|n| share.spend(nanoseconds(each), begun + each * PART * *n).is_some());
        assert_eq!(waits.count(), 0);
    }

    #[test]
    fn a_frame_costs_what_frames_have_cost() {
        let mut price = Price { each: FIRST_PRICE, frames: 0, used: Duration::ZERO };
        price.count(PRICED - 1, || panic!("not yet"));
        price.count(1, || Some(Duration::from_nanos(PRICED * 700)));
        assert_eq!(price.each, 700);
        price.count(PRICED, || Some(Duration::from_secs(1_000)));
        assert_eq!(price.each, *PRICES.end());
    }

    #[test]
    fn a_port_waits_alone_and_is_due_again() {
        let mut shares = Shares::new();
        let [flood, other] = [0, 1].map(|place| PortNumber::new(place, 0));
        shares.begin(flood);
        shares.begin(other);
        // However little a frame costs, so many cost more than can be saved up.
        assert!(shares.spend(flood, 4 * (SAVED.as_nanos() / u128::from(*PRICES.start())) as usize));
        assert_eq!(shares.waits(), 1);
        assert!(!shares.spend(other, 1));
        assert!(shares.patience(Duration::from_secs(9)) < Duration::from_secs(9));
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(due) = shares.due() {
                assert_eq!(due, flood);
                return;
            }
        }
        panic!("it waits for ever");
    }
}

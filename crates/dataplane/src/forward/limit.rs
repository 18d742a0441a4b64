//! How much is kept and done at most, and how often.

/// The bounds of the forwarder's tables and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Flows in all.
    pub flows: usize,
    /// Flows that one interface began.
    pub flows_per_port: usize,
    /// Templates of one interface.
    pub templates_per_port: usize,
    /// Packets of one interface whose fragments are remembered.
    pub fragments_per_port: usize,
    /// Addresses that stand for peers.
    pub peers: usize,
    /// Those of them that stand for one interface.
    pub peers_per_port: usize,
    /// Decisions that one interface may ask for.
    pub upcalls: Rate,
    /// Packets of one interface that the kernel program hands up to the forwarder.
    pub handed_up: Rate,
    /// The same of ARP and DHCP, which nothing else keeps from being answered.
    pub control: Rate,
    /// Flows that the kernel program makes for one interface: each costs the forwarder some time when it is over.
    pub begun: Rate,
    /// ICMP errors, resets and answers sent to one interface.
    pub replies: Rate,
    /// Refusals of one interface that are logged.
    pub logged_refusals: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            flows_per_port: 1 << 17,
            templates_per_port: 4_096,
            fragments_per_port: 256,
            peers: 1 << 20,
            peers_per_port: 1 << 14,
            upcalls: Rate { per_second: 20_000, burst: 5_000 },
            handed_up: Rate { per_second: 100_000, burst: 20_000 },
            control: Rate { per_second: 2_000, burst: 1_000 },
            begun: Rate { per_second: 100_000, burst: 100_000 },
            replies: Rate { per_second: 1_000, burst: 200 },
            logged_refusals: Rate { per_second: 1_000, burst: 1_000 },
        }
    }
}

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run. Zero is never.
    pub per_second: u32,
    /// At once, after a rest.
    pub burst: u32,
}

/// Keeps something to a rate.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Time saved up, in nanoseconds.
    credit: u64,
    price: u64,
    most: u64,
    last: u64,
}

impl Rate {
    /// What one takes of the time that is saved up, and how much that is at most, in nanoseconds. One that never may
    /// takes more than there can be.
    pub(crate) fn terms(self) -> (u64, u64) {
        let price = 1_000_000_000_u64.checked_div(u64::from(self.per_second)).unwrap_or(u64::MAX);
        (price, price.saturating_mul(u64::from(self.burst)).min(u64::MAX - 1))
    }
}

impl Bucket {
    /// A bucket that is full.
    pub fn new(rate: Rate, now: u64) -> Self {
        let (price, most) = rate.terms();
        Self { credit: most, price, most, last: now }
    }

    /// Whether it may happen now. If so, it has.
    #[inline]
    pub fn take(&mut self, now: u64) -> bool {
        self.credit = self.credit.saturating_add(now.saturating_sub(self.last)).min(self.most);
        self.last = self.last.max(now);
        let enough = self.credit >= self.price;
        if enough {
            self.credit -= self.price;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(Rate { per_second: 10, burst: 3 }, 0);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, 0), 3);
        assert_eq!(taken(&mut bucket, 99_999_999), 0);
        assert_eq!(taken(&mut bucket, 200_000_000), 2);
        assert_eq!(taken(&mut bucket, 1 << 60), 3);
        let mut never = Bucket::new(Rate { per_second: 0, burst: 9 }, 0);
        assert_eq!(taken(&mut never, u64::MAX), 0);
    }
}

//! Which random topologies are tried, and which one failed.

use postern_testkit::Random;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// Says which seed failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with POSTERN_SEED={}", self.0);
        }
    }
}

/// Runs a case for each seed, on both halves at once. A thread per half: the cases are independent.
pub fn each<T: Send>(usual: u64, case: impl Fn(u64, &mut Random) -> T + Sync) -> Vec<T> {
    if let Some(seed) = from_env("POSTERN_SEED") {
        let _seed = Seed(seed);
        return vec![case(seed, &mut Random::new(seed))];
    }
    let count = from_env("POSTERN_CASES").unwrap_or(usual);
    let half = |odd: u64| {
        let case = &case;
        move || {
            let mine = (0..count).filter(|seed| seed % 2 == odd);
            mine.map(|seed| {
                let _seed = Seed(seed);
                case(seed, &mut Random::new(seed))
            })
            .collect::<Vec<T>>()
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(half(1));
        let mut all = half(0)();
        all.extend(other.join().expect("the other half failed too"));
        all
    })
}

/// Whether only one seed is tried, so that counts over all of them say nothing.
pub fn is_single() -> bool {
    from_env("POSTERN_SEED").is_some()
}

//! A real process is killed (SIGKILL) while eight callers commit: everything that it acknowledged is there.
//!
//! `POSTERN_STORE_KILLS` sets how often.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use postern_store::{Ledger, Sources, Store};

use crate::disk::Random;
use crate::workload::*;

const DIRECTORY: &str = "POSTERN_STORE_CHILD_DIRECTORY";
const KILLS: u64 = 30;
const CALLERS: usize = 8;

/// The child: not a test of its own, it runs when the other one starts this program again.
#[test]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let ledger = Ledger::open(Path::new(&directory), options(50), Sources::system()).unwrap();
    if ledger.state().accounts.is_empty() {
        ledger.execute_blocking(account(), None, create_account()).unwrap();
    }
    let life = ledger.state().revision;
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let ledger = &ledger;
            scope.spawn(move || {
                for n in 0.. {
                    put(ledger, &format!("{life}/{caller}/{n}"));
                    // One write each, so that no line is cut.
                    std::io::stderr().write_all(format!("done {life} {caller} {n}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

#[test]
fn what_a_killed_process_acknowledged_is_there() {
    let kills: u64 = std::env::var("POSTERN_STORE_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut random = Random(std::process::id().into());
    let (mut lives, mut commands) = (0, 0);
    // A new directory now and then, so that the state stays small and the lives many.
    for first in (0..kills).step_by(10) {
        let directory = tempfile::tempdir().unwrap();
        let mut acknowledged = Acknowledged::new();
        for _ in first..kills.min(first + 10) {
            one_life(directory.path(), &mut random, &mut acknowledged);
            check(directory.path(), &acknowledged);
        }
        lives += acknowledged.len() as u64;
        commands += acknowledged.values().map(|last| last + 1).sum::<u64>();
    }
    println!("{lives} lives of callers, {commands} commands acknowledged");
    assert!(lives > kills, "hardly anything was committed");
}

/// The last command that was acknowledged, by life and caller.
type Acknowledged = BTreeMap<(u64, usize), u64>;

fn check(directory: &Path, acknowledged: &Acknowledged) {
    let (_, state) = Store::open(directory, options(1_000)).unwrap();
    let mut found: BTreeMap<(u64, usize), Vec<u64>> = BTreeMap::new();
    for name in names(&state) {
        let mut parts = name.split('/').map(|part| part.parse::<u64>().unwrap());
        let mut part = || parts.next().unwrap();
        let (life, caller, n) = (part(), part() as usize, part());
        found.entry((life, caller)).or_default().push(n);
    }
    for numbers in found.values_mut() {
        numbers.sort_unstable();
        // In order, without a gap: a later one is never there without an earlier one.
        assert!(numbers.iter().enumerate().all(|(at, n)| at as u64 == *n), "{numbers:?}");
    }
    for (key, last) in acknowledged {
        let there = found.get(key).and_then(|numbers| numbers.last());
        assert!(there.is_some_and(|n| n >= last), "{key:?}: {last} was acknowledged, {there:?} is there");
    }
    // A caller has one command under way, so at most one more than was acknowledged can be there.
    for (key, numbers) in &found {
        let last = acknowledged.get(key).map_or(0, |last| last + 1);
        assert!(numbers.last().is_none_or(|n| *n <= last), "{key:?}: {numbers:?}");
    }
}

fn one_life(directory: &Path, random: &mut Random, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap());
    let (committed, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let done = lines.lines().map_while(Result::ok).filter_map(|line| {
            let numbers: Vec<u64> =
                line.strip_prefix("done ")?.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>()?;
            let [life, caller, n] = numbers[..] else { return None };
            let _ = committed.send(());
            Some(((life, caller as usize), n))
        });
        done.collect::<Vec<_>>()
    });
    // Mostly in the middle of work, sometimes while the store is being opened.
    if random.chance(80) {
        first.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    std::thread::sleep(Duration::from_micros(random.below(60_000) as u64));
    child.kill().unwrap();
    child.wait().unwrap();
    for (key, n) in reader.join().unwrap() {
        let last = acknowledged.entry(key).or_default();
        *last = n.max(*last);
    }
}

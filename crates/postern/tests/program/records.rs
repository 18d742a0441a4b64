//! The audit log of a running region: every request is in it, whatever its length and however the region ends.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::aws::read_answer;
use crate::harness::{World, names_in};

crate::one_way!(every_request_is_in_one_of_the_files);

/// Requests that nobody signed, on one connection.
fn send(host: &str, from: usize, count: usize) {
    let mut to = TcpStream::connect(host).unwrap();
    let mut answers = BufReader::new(to.try_clone().unwrap());
    for n in from..from + count {
        let request = format!(
            "GET /?Action=DescribeVpcs&Version=2016-11-15 HTTP/1.1\r\nhost: localhost\r\nuser-agent: request-{n}\r\n\r\n"
        );
        to.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut answers, "GET").expect("an answer");
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
}

fn every_request_is_in_one_of_the_files(world: &World) {
    const REQUESTS: usize = 3_000;
    let size = ["--audit-log-size", "1", "--audit-log-files", "5"];
    let region = world.up(&size);
    let state = region.state.clone();
    send(region.host(), 0, REQUESTS);
    // It is told to end the moment that the last one is answered.
    region.end_by(Signal::SIGTERM);
    let region = world.up(&size);
    send(region.host(), REQUESTS, 10);
    region.end_by(Signal::SIGTERM);

    let files: Vec<String> =
        names_in(&state).into_iter().filter(|name| name.starts_with("audit.log")).collect();
    assert!(files.len() > 1 && files.len() <= 6, "{files:?}");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let path = state.join(file);
        let facts = std::fs::metadata(&path).unwrap();
        assert!(facts.len() <= 1 << 20, "{file} has {} bytes", facts.len());
        assert_eq!(facts.permissions().mode() & 0o777, 0o600, "{file}");
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["eventName"], "DescribeVpcs", "{line}");
            assert_eq!(record["additionalEventData"]["decision"], "denied", "{line}");
            *seen.entry(record["userAgent"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let missing: Vec<usize> =
        (0..REQUESTS + 10).filter(|n| seen.get(&format!("request-{n}")) != Some(&1)).collect();
    assert!(missing.is_empty(), "not once in the files: {missing:?}");
}

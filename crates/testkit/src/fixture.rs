//! Fixture files: a topology, then flows, each with the explanation that is expected of it.
//!
//! ```text
//! vpc a 10.0.0.0/16
//! …
//! == i1 -> i2:443 tcp
//! …
//! ```

use std::fmt::Write;

use crate::topology::{Probe, Topology};

/// A flow of a fixture, what is expected of it, and what came of it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The flow, as written.
    pub flow: String,
    /// The text that is expected.
    pub expected: String,
    /// What came of it.
    pub probe: Probe,
}

/// Runs a fixture. The second value is the whole file as it would be if what came were what is expected.
pub fn run(text: &str) -> Result<(Vec<Case>, String), String> {
    let mut parts = text.split("\n== ");
    let head = parts.next().unwrap_or("");
    let topology = Topology::read(head).map_err(|error| error.to_string())?;
    let mut cases = Vec::new();
    let mut renewed = format!("{}\n", head.trim_end());
    for part in parts {
        let (flow, expected) = part.split_once('\n').unwrap_or((part, ""));
        let probe = topology.probe(flow).map_err(|problem| format!("`{flow}`: {problem}"))?;
        // Writing to a string cannot fail.
        let _ = write!(renewed, "\n== {flow}\n{}", probe.text);
        let (flow, expected) = (flow.to_owned(), expected.trim().to_owned());
        cases.push(Case { flow, expected, probe });
    }
    Ok((cases, renewed))
}

/// Checks one flow of a topology against the explanation that is expected of it.
///
/// # Panics
/// If they differ, or the topology cannot be read.
pub fn check(topology: &str, flow: &str, expected: &str) {
    let text = format!("{topology}\n== {flow}\n{expected}");
    match run(&text) {
        Err(problem) => panic!("{problem}"),
        Ok((cases, _)) => {
            for case in cases {
                let got = case.probe.text.trim();
                assert!(got == case.expected, "{}: expected\n{}\n\ngot\n{got}\n", case.flow, case.expected);
            }
        }
    }
}

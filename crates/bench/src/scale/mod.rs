//! How large it may get: a thousand instances made by requests, a hundred thousand flows, a million prefixes; and that
//! a packet costs what it costs however large it is.

mod growth;
mod launch;
mod prefixes;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use postern_dataplane::host::Host;

use crate::Options;
use crate::cpu::Pinning;
use crate::report::Outcome;

/// Measures all of it.
pub fn run(host: &Arc<Host>, pinning: &Pinning, place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let parts = [
        ("launch", launch::run(place, options).context("launching instances")?),
        ("growth", growth::run(host, pinning, options).context("growing")?),
        ("prefixes", prefixes::run(pinning, options).context("deciding with many prefixes")?),
    ];
    let mut whole = Outcome { tables: Vec::new(), goals: Vec::new(), raw: serde_json::json!({}) };
    for (name, part) in parts {
        whole.tables.extend(part.tables);
        whole.goals.extend(part.goals);
        whole.raw[name] = part.raw;
    }
    Ok(whole)
}

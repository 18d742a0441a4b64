//! `postern flows`: the flows that live, and those that are decided from now on.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use postern_dataplane::forward::{FlowOutcome, FlowRecord, LiveFlow};
use postern_path::Deliver;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::TryRecvError;

use super::Region;
use crate::control::Reply;
use crate::control::server::Caller;

/// How many live flows are listed at most.
const MOST: usize = 10_000;
/// How long an idle log is left alone.
const LOOK: Duration = Duration::from_millis(100);

/// Sends the live flows, or follows the log until the caller goes.
pub fn send(region: &Arc<Region>, follow: bool, caller: &Caller) -> anyhow::Result<Reply> {
    let forwarder = Arc::clone(&region.packets()?.forwarder);
    if !follow {
        for flow in forwarder.flows(MOST).wait()? {
            caller.send(&Reply::Flow(live(&flow)), &[])?;
        }
        return Ok(Reply::Done);
    }
    let mut log = forwarder.subscribe();
    loop {
        let line = match log.try_recv() {
            Ok(record) => decided(&record),
            Err(TryRecvError::Lagged(lost)) => {
                json!({ "text": format!("({lost} lines were lost)"), "lost": lost })
            }
            Err(TryRecvError::Closed) => return Ok(Reply::Done),
            // INVARIANT: a caller that has gone is noticed, whether or not there is anything to send.
            Err(TryRecvError::Empty) if caller.has_gone(LOOK)? => return Ok(Reply::Done),
            Err(TryRecvError::Empty) => continue,
        };
        caller.send(&Reply::Flow(line), &[])?;
    }
}

fn live(flow: &LiveFlow) -> Value {
    let [there, back] = flow.volumes;
    let through = flow.through.map(|through| format!(" through {through}")).unwrap_or_default();
    let text = format!(
        "{}{through}  {}  {} packets {} bytes out, {} packets {} bytes back",
        flow.flow, flow.phase, there.packets, there.bytes, back.packets, back.bytes
    );
    json!({
        "interface": flow.flow.entry,
        "flow": flow.flow,
        "phase": flow.phase,
        "through": flow.through.map(|through| through.to_string()),
        "packets": [there.packets, back.packets],
        "bytes": [there.bytes, back.bytes],
        "text": text,
    })
}

fn decided(record: &FlowRecord) -> Value {
    let milliseconds = record.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let (verdict, words, reason, resource) = outcome(&record.outcome);
    json!({
        "interface": record.flow.entry,
        "time": u64::try_from(milliseconds).unwrap_or(u64::MAX),
        "flow": record.flow,
        "verdict": verdict,
        "reason": reason,
        "resource": resource,
        "text": format!("{verdict}  {}  {words}", record.flow),
    })
}

/// Verdict, words, and for a refusal its reason and what caused it.
fn outcome(outcome: &FlowOutcome) -> (&'static str, String, Option<&'static str>, Option<String>) {
    match outcome {
        FlowOutcome::Accepted { deliver, source, destination, hops: _, peer: _, through } => {
            let through = through.map(|through| format!(" through {through}")).unwrap_or_default();
            let to = match deliver {
                Deliver::Interface(id) => id.to_string(),
                Deliver::Door(door) => format!("the {}", door.name()),
            };
            let words = format!(
                "to {to}{through} as {}:{} -> {}:{}",
                source.0, source.1, destination.0, destination.1
            );
            ("ACCEPT", words, None, None)
        }
        FlowOutcome::Refused { reason, resource } => {
            let resource = resource.map(|resource| resource.to_string());
            let by = resource.as_deref().map(|resource| format!(" by {resource}")).unwrap_or_default();
            ("REFUSE", format!("{}{by}", reason.name()), Some(reason.name()), resource)
        }
        FlowOutcome::NotOpened(why) => ("REFUSE", why.name().to_owned(), Some(why.name()), None),
    }
}

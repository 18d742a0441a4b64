//! Connections that leave the region: their first packet waits until the other side has answered, so that what its
//! sender hears is what came of it there.
//!
//! INVARIANT: one packet waits for each connection, and it goes with its flow: what waits is bounded as flows are.

use postern_path::DropReason;

use super::{Context, Dropped, Effects, Frame, Notice, Sum, step};
use crate::forward::decider::Decider;
use crate::forward::flow::{FlowId, Held, Opening};
use crate::forward::key::PortNumber;
use crate::forward::log::{FlowOutcome, Logged};
use crate::forward::packet::Ipv4;
use crate::forward::tables::Tables;
use crate::forward::uplink::{NotOpened, Wanted};

/// Whether a packet that begins a connection waits. The first one asks for the other side.
pub(super) fn holds(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    id: FlowId,
) -> Result<bool, Dropped> {
    let Some(flow) = tables.flows.get_mut(id) else { return Err(DropReason::NoFlow.into()) };
    let held = || Held { frame: frame.to_owned(), header: context.header };
    match (&mut flow.opening, flow.uplink, &tables.opener) {
        (Opening::Done, _, _) => return Ok(false),
        // The same one again, or another one by which its sender begins anew: the last one counts.
        (Opening::Asked(before), _, _) => {
            **before = held();
            return Ok(true);
        }
        (Opening::Wanted, Some(key), Some(opener)) => {
            let leaving = tables.uplink.flow(&key);
            let asked = leaving.is_some_and(|flow| opener.try_send(Wanted { key, flow, id }).is_ok());
            if asked {
                flow.opening = Opening::Asked(Box::new(held()));
                return Ok(true);
            }
        }
        (Opening::Wanted, None, _) | (Opening::Wanted, _, None) => {}
    }
    // More are asked for than can be: its sender tries again.
    let refused = flow.forward.flow(flow.interface);
    context.log_refusal(tables, &refused, DropReason::RateLimited, None);
    tables.end(id, context.now);
    Err(DropReason::RateLimited.into())
}

/// The other side of a connection has answered, or there is none. Gives the port that the packet came in by, the packet
/// as it now is, and what is to be done.
pub fn opened(
    tables: &mut Tables,
    decider: &dyn Decider,
    id: FlowId,
    outcome: Result<(), NotOpened>,
    now: u64,
) -> Option<(PortNumber, Held, Effects)> {
    let flow = tables.flows.get_mut(id)?;
    let (port, interface) = (flow.forward.port, flow.interface);
    let begun = flow.forward.flow(interface);
    let Opening::Asked(held) = std::mem::take(&mut flow.opening) else { return None };
    let mut held = *held;
    let Err(why) = outcome else {
        let mut frame = Frame { bytes: &mut held.frame, header: held.header, tagged: false };
        let effects = step(tables, decider, port, &mut frame, now);
        return Some((port, held, effects));
    };
    tables.end(id, now);
    tables.log(Logged { flow: begun, outcome: FlowOutcome::NotOpened(why) });
    let interface = Some(interface);
    let mut context =
        Context { decider, port, interface, header: held.header, sum: Sum::Whole, now, emitted: Vec::new() };
    let packet = Ipv4::parse(&held.frame).ok()?;
    match why {
        NotOpened::Silent => {}
        NotOpened::Refused => context.reset(tables, &held.frame, &packet),
        NotOpened::Unreachable => {
            let router = tables.ports.get(port).and_then(|port| Some(port.info.as_ref()?.gateway));
            if let Some(router) = router {
                context.report(tables, &held.frame, &packet, Notice::NetworkUnreachable, router);
            }
        }
    }
    let effects = Effects { fate: super::Fate::Held, emitted: context.emitted };
    Some((port, held, effects))
}

//! ICMP errors: they are about a packet of a flow, and follow that flow back to the packet's sender.
//!
//! INVARIANT: an error makes no flow and refreshes none.

use postern_path::DropReason;

use super::conversation::{self, Forwarded};
use super::{Context, Dropped, Fate};
use crate::forward::key::FlowKey;
use crate::forward::packet::embedded::Embedded;
use crate::forward::packet::{Ipv4, Tuple, ipv4, rewrite};
use crate::forward::tables::Tables;

/// An ICMP error came in. Its sender received (or would have) the packet that it is about, so that packet's answers
/// are what names the flow here.
pub(super) fn error(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &mut [u8],
    packet: &Ipv4,
) -> Result<Fate, Dropped> {
    // There is one router for everybody, and it never names another; an instance that does lies.
    if frame.get(packet.transport_at) == Some(&ipv4::REDIRECT) {
        return Err(DropReason::UnrelatedIcmp.into());
    }
    let about = Embedded::parse(frame, packet).ok_or(DropReason::UnrelatedIcmp)?;
    let seen = FlowKey::new(context.port, about.source, about.destination, about.transport);
    let key = seen.answer(context.port);
    let (id, direction) = tables.find(&key, context.now).ok_or(DropReason::UnrelatedIcmp)?;
    if packet.destination != about.source {
        return Err(DropReason::UnrelatedIcmp.into());
    }
    conversation::recheck(tables, context, frame, packet, id)?;
    let Forwarded { to, ttl, exit, mtu: _ } =
        conversation::route(tables, context, frame, packet, id, direction)?;
    let was = key.tuple();
    // A router on the sender's side keeps its own address, unless the flow's own addresses are hidden.
    let hidden = to.source != was.source;
    let source = if hidden || packet.source == was.source { to.source } else { packet.source };
    let inner = Tuple {
        source: to.destination,
        destination: to.source,
        source_port: match about.transport {
            postern_path::Transport::Icmp { .. } => to.source_port,
            postern_path::Transport::Tcp { .. }
            | postern_path::Transport::Udp { .. }
            | postern_path::Transport::Other { .. } => to.destination_port,
        },
        destination_port: to.source_port,
    };
    rewrite::rewrite_error(frame, packet, (source, to.destination), &inner, ttl)
        .map_err(|_| DropReason::Malformed)?;
    conversation::send(tables, context, frame, exit)
}

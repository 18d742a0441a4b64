//! Packets of conversations: finding their flow, or making one, and sending them on by it.

use std::sync::Arc;

use postern_path::{Action, Before, DropReason, Outcome, Refusal, Reply, Transport};

use super::{Context, Dropped, Fate, is_large, opening};
use crate::forward::flow::FlowId;
use crate::forward::fragment::FragmentKey;
use crate::forward::key::{FlowKey, PortNumber};
use crate::forward::packet::build::{self, Notice};
use crate::forward::packet::tcp::Flags;
use crate::forward::packet::{
    Content, Fragment, Ipv4, ROUTER_MAC, Tuple, ethernet, fragment, mss, protocol, rewrite,
};
use crate::forward::phase::{Direction, Phase};
use crate::forward::tables::{self, NewFlow, Tables};
use crate::forward::template::{Found, Installed};
use crate::forward::verdict::Verdict;

/// The IP and TCP headers that a segment size does not count.
const MSS_HEADERS: u16 = 40;

/// A packet with a transport header, or of a protocol without ports.
pub(super) fn packet(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &mut [u8],
    packet: &Ipv4,
) -> Result<Fate, Dropped> {
    let transport = transport(packet);
    let key = FlowKey::new(context.port, packet.source, packet.destination, transport);
    let (id, direction) = match known(tables, &key, flags(packet), context.now) {
        Some(found) => {
            recheck(tables, context, frame, packet, found.0)?;
            found
        }
        None => (begin(tables, context, frame, packet, &key)?, Direction::Forward),
    };
    if packet.is_syn() && opening::holds(tables, context, frame, id)? {
        return Ok(Fate::Held);
    }
    let fate = forward(tables, context, frame, packet, id, direction)?;
    if packet.fragment == Fragment::First
        && let Some(port) = tables.ports.get_mut(context.port)
    {
        port.fragments.learn(fragment_key(packet), (key.source_port, key.destination_port), context.now);
    }
    Ok(fate)
}

/// A fragment without a transport header goes the way of its packet's first.
pub(super) fn later_fragment(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &mut [u8],
    packet: &Ipv4,
) -> Result<Fate, Dropped> {
    let port = tables.ports.get_mut(context.port).ok_or(DropReason::UnknownPort)?;
    let ports = port.fragments.ports(&fragment_key(packet), context.now).ok_or(DropReason::Fragment)?;
    let key = FlowKey::from_parts(
        context.port,
        packet.source.into(),
        packet.destination.into(),
        packet.protocol,
        ports.0,
        ports.1,
    );
    let (id, direction) = tables.find(&key, context.now).ok_or(DropReason::Fragment)?;
    recheck(tables, context, frame, packet, id)?;
    forward(tables, context, frame, packet, id, direction)
}

fn fragment_key(packet: &Ipv4) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        identification: packet.identification,
        protocol: packet.protocol,
    }
}

fn transport(packet: &Ipv4) -> Transport {
    match packet.content {
        Content::Tcp(tcp) => {
            Transport::Tcp { source_port: tcp.source_port, destination_port: tcp.destination_port }
        }
        Content::Udp { source_port, destination_port } => Transport::Udp { source_port, destination_port },
        Content::Icmp { kind, code, identifier } => Transport::Icmp { kind, code, identifier },
        Content::IcmpError | Content::Opaque => Transport::Other { protocol: packet.protocol },
    }
}

fn flags(packet: &Ipv4) -> Flags {
    match packet.content {
        Content::Tcp(tcp) => tcp.flags,
        Content::Udp { .. } | Content::Icmp { .. } | Content::IcmpError | Content::Opaque => Flags::default(),
    }
}

/// The flow of a packet, if it has one. A SYN on what was a connection begins a new one, which is decided anew: it
/// must not pass because another one did.
#[inline]
fn known(tables: &mut Tables, key: &FlowKey, flags: Flags, now: u64) -> Option<(FlowId, Direction)> {
    let (id, direction) = tables.find(key, now)?;
    if flags.begins() && key.protocol == protocol::TCP {
        let generations = &tables.generations;
        let over = tables.flows.get(id).is_some_and(|flow| {
            let phase = flow.live.phase();
            !phase.is_half_open()
                && (phase == Phase::Closed
                    || direction == Direction::Reverse
                    || !flow.verdict.is_current(generations))
        });
        if over {
            tables.end(id, now);
            return None;
        }
    }
    Some((id, direction))
}

/// Makes sure that a flow may still pass. After a change of what it rests on it is decided again.
#[inline]
pub(super) fn recheck(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    id: FlowId,
) -> Result<(), Dropped> {
    let epoch = tables.generations.epoch();
    let Some(flow) = tables.flows.get(id) else { return Err(DropReason::NoFlow.into()) };
    if flow.live.epoch() == epoch {
        return Ok(());
    }
    if flow.verdict.holds(&tables.generations) {
        flow.live.found_to_hold(epoch);
        return Ok(());
    }
    decide_again(tables, context, frame, packet, id)
}

fn decide_again(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    id: FlowId,
) -> Result<(), Dropped> {
    let Some(flow) = tables.flows.get(id) else { return Err(DropReason::NoFlow.into()) };
    let (entry, before) = (flow.forward.port, Arc::clone(&flow.verdict));
    let begun = flow.forward.flow(flow.interface);
    // What a load balancer would choose now says nothing about a flow that has its target.
    let present = before.action().and_then(Action::present);
    let known = match present {
        None => same_by_template(tables, entry, &begun, &before, context.now),
        Some(_) => None,
    };
    let verdict = match known {
        Some(verdict) => verdict,
        None => {
            let asker = tables.ports.get_mut(entry).ok_or(DropReason::UnknownPort)?;
            if !asker.upcalls.take(context.now) {
                return Err(DropReason::RateLimited.into());
            }
            asker.counters.upcalls += 1;
            let known = Before { cut: Some(&before.cut), present };
            Arc::new(Verdict::from(&context.decider.decide_again(&begun, known)))
        }
    };
    if verdict.outcome == before.outcome {
        tables.confirm(id, verdict, context.now);
        return Ok(());
    }
    let (reason, resource) = match verdict.outcome {
        Outcome::Refuse(refusal) => (refusal.reason, refusal.resource),
        Outcome::Forward(_) => (DropReason::Cut, before.action().and_then(tables::through)),
    };
    if present.is_some() {
        reset_other_end(tables, context, packet, id);
    }
    tables.end(id, context.now);
    context.log_refusal(tables, &begun, reason, resource);
    if before.action().is_some_and(|action| action.resets) {
        context.reset(tables, frame, packet);
    }
    Err(Dropped { reason: DropReason::Cut, resource })
}

/// Tells the other end of a connection by a load balancer that it is over: it may be the one that waits.
fn reset_other_end(tables: &mut Tables, context: &mut Context<'_>, packet: &Ipv4, id: FlowId) {
    let (Content::Tcp(segment), Some(flow)) = (packet.content, tables.flows.get(id)) else { return };
    let sent_as = (packet.source.into(), segment.source_port);
    let forward =
        flow.forward.port == context.port && (flow.forward.source, flow.forward.source_port) == sent_as;
    let direction = if forward { Direction::Forward } else { Direction::Reverse };
    let (to, exit) = (flow.rewritten(direction), flow.exit(direction));
    let Some(receiver) = tables.ports.fresh(exit, context.decider).map(|port| port.mac) else { return };
    context.reply_at(tables, exit, build::reset_receiver(&segment, &to, receiver));
}

/// What a template says about a flow, if it says the same as before.
fn same_by_template(
    tables: &mut Tables,
    entry: PortNumber,
    begun: &postern_path::Flow,
    before: &Verdict,
    now: u64,
) -> Option<Arc<Verdict>> {
    let port = tables.ports.get_mut(entry)?;
    let found = port.templates.find(entry, begun, &tables.generations, now);
    tables.retire_templates(entry, now);
    let verdict = found?.verdict;
    (verdict.outcome == before.outcome).then_some(verdict)
}

/// Makes the flow that a packet begins, if it may.
fn begin(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    key: &FlowKey,
) -> Result<FlowId, Dropped> {
    let Some(interface) = context.interface else {
        // The doors only answer.
        context.reset(tables, frame, packet);
        return Err(DropReason::NoFlow.into());
    };
    let flow = key.flow(interface);
    let (verdict, template) = decided(tables, context, &flow)?;
    let action = match &verdict.outcome {
        Outcome::Forward(action) => action,
        Outcome::Refuse(refusal) => return Err(context.refuse(tables, frame, packet, &flow, refusal)),
    };
    // Whatever does not get through makes no flow and takes no port.
    check_ttl(tables, context, frame, packet, action, Direction::Forward)?;
    check_size(tables, context, frame, packet, action, Direction::Forward)?;
    if key.protocol == protocol::TCP && !flags(packet).begins() {
        if action.resets {
            context.reset(tables, frame, packet);
        }
        let refusal =
            Refusal { reason: DropReason::NoFlow, resource: tables::through(action), reply: Reply::Silence };
        return Err(context.refuse(tables, frame, packet, &flow, &refusal));
    }
    let new = NewFlow { key: *key, interface, verdict: &verdict, action, template };
    tables.begin(&new, context.now).map_err(|reason| {
        let refusal = Refusal { reason, resource: tables::through(action), reply: Reply::Silence };
        context.refuse(tables, frame, packet, &flow, &refusal)
    })
}

/// What is decided about a flow, and by which template, as the kernel program knows it: the next flow of its kind need
/// not come here.
fn decided(
    tables: &mut Tables,
    context: &mut Context<'_>,
    flow: &postern_path::Flow,
) -> Result<(Arc<Verdict>, Option<u32>), Dropped> {
    let decided = verdict(tables, context, flow);
    tables.retire_templates(context.port, context.now);
    let (verdict, found) = decided?;
    let template = found.and_then(|found| tables.share_template(context.port, &found, context.now));
    Ok((verdict, template))
}

/// What is decided about a flow: by a template, or else by asking. Gives the place of the template that says so now.
fn verdict(
    tables: &mut Tables,
    context: &mut Context<'_>,
    flow: &postern_path::Flow,
) -> Result<(Arc<Verdict>, Option<Found>), Dropped> {
    let generations = Arc::clone(&tables.generations);
    let port = tables.ports.get_mut(context.port).ok_or(DropReason::UnknownPort)?;
    if let Some(found) = port.templates.find(context.port, flow, &generations, context.now) {
        port.counters.template_hits += 1;
        return Ok((Arc::clone(&found.verdict), Some(found)));
    }
    if !port.upcalls.take(context.now) {
        return Err(context.refused(DropReason::RateLimited));
    }
    port.counters.upcalls += 1;
    let decision = context.decider.decide(flow);
    let verdict = Arc::new(Verdict::from(&decision));
    // Where it cannot be kept, the next flow is decided on its own.
    let kernel = tables.kernel.as_ref();
    let used = |place| kernel.map_or(0, |kernel| kernel.template_used(place));
    let decided = (&decision.cover, &verdict, decision.choice.as_deref());
    let installed = port.templates.install(context.port, flow, decided, &generations, used, context.now);
    let found = match installed {
        Installed::Yes => port.templates.find(context.port, flow, &generations, context.now),
        Installed::NoMask | Installed::NoRoom | Installed::Void => None,
    };
    Ok((verdict, found))
}

/// Where a packet of a flow goes, and how it then looks.
pub(super) struct Forwarded {
    /// Its addresses and ports.
    pub to: Tuple,
    /// Its time to live.
    pub ttl: u8,
    /// The port that it goes out by.
    pub exit: PortNumber,
    /// The longest packet on the way.
    pub mtu: u16,
}

/// The way of a packet of a flow, if the packet can go it.
#[inline]
pub(super) fn route(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    id: FlowId,
    direction: Direction,
) -> Result<Forwarded, Dropped> {
    let flow = tables.flows.get(id).ok_or(DropReason::NoFlow)?;
    let to = flow.rewritten(direction);
    let exit = flow.exit(direction);
    let action = flow.verdict.action().ok_or(DropReason::Cut)?;
    let (hops, mtu) = (action.hops.count(), action.mtu);
    if packet.ttl <= hops || largest(context, packet) > usize::from(mtu) {
        let action = *action;
        check_ttl(tables, context, frame, packet, &action, direction)?;
        check_size(tables, context, frame, packet, &action, direction)?;
    }
    Ok(Forwarded { to, ttl: packet.ttl.saturating_sub(hops), exit, mtu })
}

/// Bytes of the longest packet that the frame is on the wire.
#[inline]
fn largest(context: &Context<'_>, packet: &Ipv4) -> usize {
    if !is_large(&context.header) {
        return packet.total_bytes;
    }
    let transport = match packet.content {
        Content::Tcp(tcp) => tcp.header_bytes,
        Content::Udp { .. } => 8,
        Content::Icmp { .. } | Content::IcmpError | Content::Opaque => 0,
    };
    (packet.header_bytes() + transport + usize::from(context.header.gso_size)).min(packet.total_bytes)
}

/// Whether a packet may pass all routers on its way. If not, the one at which it ends says so.
fn check_ttl(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    action: &Action,
    direction: Direction,
) -> Result<(), Dropped> {
    let hops = action.hops.count();
    if packet.ttl > hops {
        return Ok(());
    }
    // The first router gets the packet as it was sent; on the way back the last one is the first.
    let met = usize::from(packet.ttl.saturating_sub(1));
    let known = action.hops.addresses.iter().flatten();
    let router = match direction {
        Direction::Forward => known.copied().nth(met),
        Direction::Reverse => known.rev().copied().nth(met),
    };
    if let Some(router) = router {
        context.report(tables, frame, packet, Notice::TimeExceeded, router);
    }
    Err(Dropped { reason: DropReason::TtlExpired, resource: tables::through(action) })
}

/// Whether a packet fits, or may be cut so that it does. If not, its sender is told where AWS tells it.
fn check_size(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &[u8],
    packet: &Ipv4,
    action: &Action,
    direction: Direction,
) -> Result<(), Dropped> {
    if largest(context, packet) <= usize::from(action.mtu) {
        return Ok(());
    }
    let cut = action.mtu_reported && !packet.dont_fragment && !is_large(&context.header);
    if cut {
        return Ok(());
    }
    if action.mtu_reported && packet.dont_fragment {
        let known = action.hops.addresses.iter().flatten();
        let router = match direction {
            Direction::Forward => known.copied().next(),
            Direction::Reverse => known.rev().copied().next(),
        };
        let gateway = || tables.ports.get(context.port)?.info.as_ref().map(|info| info.gateway);
        if let Some(router) = router.or_else(gateway) {
            let notice = Notice::FragmentationNeeded(action.mtu);
            context.report(tables, frame, packet, notice, router);
        }
    }
    Err(Dropped { reason: DropReason::TooBig, resource: tables::through(action) })
}

/// Sends a packet on by its flow.
#[inline]
fn forward(
    tables: &mut Tables,
    context: &mut Context<'_>,
    frame: &mut [u8],
    packet: &Ipv4,
    id: FlowId,
    direction: Direction,
) -> Result<Fate, Dropped> {
    let Forwarded { to, ttl, exit, mtu } = route(tables, context, frame, packet, id, direction)?;
    rewrite::rewrite(frame, packet, &to, ttl, context.sum).map_err(|_| DropReason::Malformed)?;
    if packet.is_syn() {
        mss::clamp(frame, packet, mtu.saturating_sub(MSS_HEADERS), context.sum);
    }
    let fate = send(tables, context, frame, exit)?;
    advance(tables, context, packet, id, direction);
    if packet.total_bytes > usize::from(mtu) && !is_large(&context.header) {
        let pieces =
            fragment::fragments(frame, packet, mtu, context.sum).map_err(|_| DropReason::Malformed)?;
        context.emitted.extend(pieces.into_iter().map(|piece| (exit, piece)));
        return Ok(Fate::DeliverPieces(exit));
    }
    Ok(fate)
}

/// What a packet that passed means for its flow.
#[inline]
fn advance(tables: &mut Tables, context: &Context<'_>, packet: &Ipv4, id: FlowId, direction: Direction) {
    let Some(flow) = tables.flows.get(id) else { return };
    let flags = flags(packet);
    let bytes = packet.total_bytes;
    flow.live.count(direction, bytes);
    let gateway = flow.gateway;
    let said = (packet.fragment != Fragment::Later).then_some(flags);
    let (before, after) = flow.live.advance(direction, said, context.now);
    tables.count_at_gateway(gateway, direction, bytes);
    if flags.has(Flags::RST) {
        tables.end(id, context.now);
    } else if after == Phase::Closed && before != Phase::Closed {
        tables.closed(id, context.now);
    }
}

/// Addresses a frame to whoever is behind a port.
#[inline]
pub(super) fn send(
    tables: &mut Tables,
    context: &Context<'_>,
    frame: &mut [u8],
    exit: PortNumber,
) -> Result<Fate, Dropped> {
    let port = tables.ports.fresh(exit, context.decider).ok_or(DropReason::TargetDown)?;
    ethernet::address(frame, port.mac, ROUTER_MAC).ok_or(DropReason::Malformed)?;
    Ok(Fate::Deliver(exit))
}

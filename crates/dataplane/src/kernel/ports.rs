//! What the program is told of ports, and what it counted there.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use postern_model::Mac;
use postern_path::DropReason;

use super::layout::{
    ANY_SOURCE, BEGUN, CONTROL, HANDED_UP, KNOWN, NOWHERE, RATES, REFUSED, UNBOUNDED, mac_halves,
};
use super::maps::Maps;
use crate::forward::{
    Choice, GatewayCounters, InterfaceInfo, Limits, PortCounters, PortNumber, Rate, Volume,
};

impl Maps {
    /// A port begins at a place where nothing was counted yet.
    pub(crate) fn begin_port(&self, number: PortNumber) {
        for tally in self.port_tallies(number.place()) {
            let counts = [
                &tally.carried_packets,
                &tally.carried_bytes,
                &tally.delivered_packets,
                &tally.delivered_bytes,
                &tally.begun,
                &tally.ended,
                &tally.dropped_bytes,
                &tally.unlogged,
                &tally.suppressed,
            ];
            counts.into_iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        if let Some(drops) = self.port_drops.get(number.place()) {
            drops.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        }
        if let Some(masks) = self.masks.get(number.place()) {
            masks.used.store(0, Ordering::Relaxed);
        }
        if let Some(live) = self.port_lives.get(number.place()) {
            live.may_make.store(live.made.load(Ordering::Relaxed), Ordering::Relaxed);
            live.blocked.store(0, Ordering::Relaxed);
            live.turns.iter().for_each(|turn| turn.store(0, Ordering::Relaxed));
        }
    }

    /// The program stands on the host end with this index, which is the port's from now on.
    pub(crate) fn attach_port(&self, number: PortNumber, interface: u32) {
        let Some(slot) = self.port(number.place()) else { return };
        slot.revision.store(0, Ordering::Release);
        slot.known.store(0, Ordering::Relaxed);
        slot.checks.store(0, Ordering::Relaxed);
        slot.number.store(number.0, Ordering::Release);
        slot.interface.store(interface, Ordering::Release);
        if let Some(place) = self.place_of(interface) {
            place.store(number.place() as u64 + 1, Ordering::Release);
        }
    }

    /// The port is gone.
    pub(crate) fn detach_port(&self, number: PortNumber) {
        let Some(slot) = self.port(number.place()) else { return };
        if slot.number.load(Ordering::Relaxed) != number.0 {
            return;
        }
        slot.revision.store(0, Ordering::Release);
        slot.number.store(NOWHERE, Ordering::Release);
        let interface = slot.interface.swap(0, Ordering::AcqRel);
        if let Some(place) = self.place_of(interface)
            && place.load(Ordering::Relaxed) == number.place() as u64 + 1
        {
            place.store(0, Ordering::Release);
        }
    }

    pub(super) fn place_of(&self, interface: u32) -> Option<&AtomicU64> {
        self.places.get(interface as usize % self.places.len())
    }

    /// Writes what a plan says of a port. `info` is none where the plan does not know it.
    pub(crate) fn describe_port(
        &self,
        number: PortNumber,
        mac: Mac,
        info: Option<&Checks<'_>>,
        revision: u64,
    ) {
        let Some(slot) = self.port(number.place()) else { return };
        if slot.number.load(Ordering::Relaxed) != number.0 {
            return;
        }
        // While it is written it is of no plan, and its packets go to the forwarder.
        slot.revision.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let (head, tail) = mac_halves(mac);
        slot.mac_head.store(head, Ordering::Relaxed);
        slot.mac_tail.store(tail, Ordering::Relaxed);
        let known = info.map_or(0, |checks| KNOWN | if checks.bounded { 0 } else { UNBOUNDED });
        slot.known.store(known, Ordering::Relaxed);
        let addresses = info.map_or(&[][..], |checks| checks.addresses);
        for (to, from) in slot.addresses.iter().zip(addresses) {
            to.store(u32::from_ne_bytes(from.octets()), Ordering::Relaxed);
        }
        // As many as there is room for. Packets from further ones are left to the forwarder.
        let count = addresses.len().min(slot.addresses.len()) as u32;
        let any = info.is_some_and(|checks| checks.any_source);
        let any = if any { u32::from(ANY_SOURCE) << 16 } else { 0 };
        slot.checks.store(count | any, Ordering::Relaxed);
        slot.revision.store(revision, Ordering::SeqCst);
    }

    /// Adds what the program counted at a port.
    pub(crate) fn add_port_counts(&self, number: PortNumber, counters: &mut PortCounters) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for tally in self.port_tallies(number.place()) {
            let carried = Volume { packets: read(&tally.carried_packets), bytes: read(&tally.carried_bytes) };
            counters.received.add_all(carried);
            counters.passed.add_all(carried);
            counters.in_kernel.add_all(carried);
            counters.delivered.add_all(Volume {
                packets: read(&tally.delivered_packets),
                bytes: read(&tally.delivered_bytes),
            });
            counters.received.bytes += read(&tally.dropped_bytes);
            let (begun, unlogged) = (read(&tally.begun), read(&tally.unlogged));
            // The forwarder takes away one for each that it ends, whoever began it.
            counters.flows = counters.flows.wrapping_add(begun).wrapping_sub(read(&tally.ended));
            counters.new_flows += begun;
            counters.new_in_kernel += begun;
            counters.template_hits += begun + unlogged;
            counters.unlogged += unlogged;
            counters.replies_suppressed += read(&tally.suppressed);
        }
        let Some(drops) = self.port_drops.get(number.place()) else { return };
        for reason in DropReason::ALL {
            let count = drops.counts.get(usize::from(reason.code())).map_or(0, read);
            counters.drops.count_many(*reason, count);
            counters.received.packets += count;
        }
    }

    /// Adds what the program counted at a gateway.
    pub(crate) fn add_gateway_counts(&self, place: usize, counters: &mut GatewayCounters) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for tally in self.gateway_tallies(place) {
            let volumes = [&mut counters.outward, &mut counters.inward];
            for ((all, packets), bytes) in volumes.into_iter().zip(&tally.packets).zip(&tally.bytes) {
                all.add_all(Volume { packets: read(packets), bytes: read(bytes) });
            }
            let begun = read(&tally.begun);
            counters.attempts += begun;
            counters.active = counters.active.wrapping_add(begun).wrapping_sub(read(&tally.ended));
        }
    }

    /// How many flows more the program began for a port than it noticed the end of.
    pub(crate) fn port_balance(&self, number: PortNumber) -> u64 {
        let tallies = self.port_tallies(number.place()).map(|tally| (&tally.begun, &tally.ended));
        balance(tallies)
    }

    /// The same for a gateway.
    pub(crate) fn gateway_balance(&self, place: usize) -> u64 {
        balance(self.gateway_tallies(place).map(|tally| (&tally.begun, &tally.ended)))
    }

    /// By what the program chooses, if it was told.
    pub(crate) fn choice(&self) -> Option<Choice> {
        let secrets = self.settings().choice.each_ref().map(|secret| secret.load(Ordering::Relaxed));
        // Secrets are odd.
        (!secrets.contains(&0)).then_some(Choice::with_secrets(secrets))
    }

    /// Tells the program by what it chooses, and to what it keeps its ports.
    pub(crate) fn configure(&self, choice: &Choice, limits: &Limits) {
        let settings = self.settings();
        for (to, from) in settings.choice.iter().zip(choice.secrets()) {
            to.store(*from, Ordering::Relaxed);
        }
        let mut rates = [Rate { per_second: 0, burst: 0 }; RATES];
        rates[HANDED_UP] = limits.handed_up;
        rates[CONTROL] = limits.control;
        rates[REFUSED] = limits.logged_refusals;
        rates[BEGUN] = limits.begun;
        for ((price, burst), rate) in settings.prices.iter().zip(&settings.bursts).zip(rates) {
            let (one, most) = rate.terms();
            price.store(one, Ordering::Relaxed);
            burst.store(most, Ordering::Relaxed);
        }
    }

    /// Whether somebody follows the log of flows, so that the program is to write down those that it makes.
    pub(crate) fn log_flows(&self, wanted: bool) {
        self.settings().logged.store(u64::from(wanted), Ordering::SeqCst);
    }

    /// How many of them it had no room for, ever.
    pub(crate) fn notes_lost(&self) -> u64 {
        let rings = (0..self.note_rings.len()).filter_map(|at| self.note_rings.get(at));
        rings.map(|ring| ring.lost.load(Ordering::Relaxed)).sum()
    }

    /// Whether it does so.
    pub(crate) fn logs_flows(&self) -> bool {
        self.settings().logged.load(Ordering::SeqCst) != 0
    }
}

fn balance<'a>(tallies: impl Iterator<Item = (&'a AtomicU64, &'a AtomicU64)>) -> u64 {
    tallies.fold(0_u64, |sum, (begun, ended)| {
        sum.wrapping_add(begun.load(Ordering::Relaxed)).wrapping_sub(ended.load(Ordering::Relaxed))
    })
}

/// From which addresses a port may send, and whether to a bound.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    pub addresses: &'a [Ipv4Addr],
    pub any_source: bool,
    pub bounded: bool,
}

impl<'a> From<&'a InterfaceInfo> for Checks<'a> {
    fn from(info: &'a InterfaceInfo) -> Self {
        Self { addresses: &info.addresses, any_source: !info.source_dest_check, bounded: true }
    }
}

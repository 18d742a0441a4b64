//! What the tables tell others: the flow log, the counters, and the flows that there are.

use postern_model::NetworkInterfaceId;
use postern_path::{Action, DropReason};

use super::counters::{Counters, GatewayReport, PortCounters, PortReport, ResourceDrops};
use super::flow::FlowEntry;
use super::key::{FlowKey, PortNumber};
use super::live::Live;
use super::log::{FlowOutcome, LiveFlow, Logged};
use super::port::Port;
use super::tables::{Tables, peer, through};
use crate::kernel::KernelTables;

/// Log records that wait to be fetched.
const MOST_LOGGED: usize = 4_096;

impl Tables {
    /// Logs that a flow begins, by both of its keys.
    pub(super) fn log_begun(
        &mut self,
        forward: FlowKey,
        reverse: &FlowKey,
        interface: NetworkInterfaceId,
        action: &Action,
    ) {
        let seen = reverse.answer(reverse.port).tuple();
        let record = Logged {
            flow: forward.flow(interface),
            outcome: FlowOutcome::Accepted {
                deliver: action.deliver,
                source: (seen.source.into(), seen.source_port),
                destination: (seen.destination.into(), seen.destination_port),
                hops: action.hops,
                peer: peer(action),
                through: through(action),
            },
        };
        self.log(record);
    }

    /// Logs what became of a flow.
    pub(crate) fn log(&mut self, record: Logged) {
        if self.logged.len() < MOST_LOGGED {
            self.logged.push(record);
        } else {
            self.log_lost += 1;
        }
    }

    /// Log records are lost that are not here.
    pub(super) const fn lose(&mut self, lost: u64) {
        self.log_lost += lost;
    }

    /// The log since this was last called, and how many records it had no room for.
    pub fn take_log(&mut self) -> (std::vec::Drain<'_, Logged>, u64) {
        (self.logged.drain(..), std::mem::take(&mut self.log_lost))
    }

    /// Whether there is anything in the log.
    pub fn has_log(&self) -> bool {
        !self.logged.is_empty() || self.log_lost > 0
    }

    /// All counters as they are.
    pub fn counters(&self) -> Counters {
        let report = |(number, port): (PortNumber, &Port)| PortReport {
            interface: port.interface(),
            counters: self.port_counters(number, port.counters),
            templates: port.templates.len(),
            by_program: port.by_program,
        };
        let ports: Vec<PortReport> = self.ports.iter().map(report).collect();
        let flows = match &self.kernel {
            None => self.flows.len(),
            Some(_) => ports.iter().map(|port| port.counters.flows as usize).sum(),
        };
        Counters {
            ports,
            gateways: self.gateway_counters(),
            resources: self.resource_counters(),
            further_resources: self.resources.further(),
            unknown_port: self.unknown_port,
            flows,
            peers: self.peers.len(),
            waits: 0,
            log_lost: self.log_lost,
        }
    }

    /// What was dropped because of each resource, by the forwarder and in the kernel.
    fn resource_counters(&self) -> Vec<ResourceDrops> {
        let in_kernel = self.ports.iter().flat_map(|(number, port)| self.drops_of_sender(number, port));
        let refused = self.kernel.iter().flat_map(KernelTables::refused);
        self.resources.report(in_kernel.chain(refused))
    }

    /// What the kernel dropped for what the sending interface did, of which that interface is the cause.
    pub(super) fn drops_of_sender(&self, number: PortNumber, port: &Port) -> Vec<ResourceDrops> {
        let Some(interface) = port.interface().filter(|_| self.kernel.is_some()) else { return Vec::new() };
        let all = self.port_counters(number, port.counters);
        let of = |reason| {
            let packets = all.drops.get(reason).saturating_sub(port.counters.drops.get(reason));
            ResourceDrops { resource: interface.into(), reason, packets }
        };
        let reasons = [DropReason::SpoofedMac, DropReason::SpoofedSource];
        reasons.map(of).into_iter().filter(|drops| drops.packets > 0).collect()
    }

    /// What was counted at a port, by the forwarder and in the kernel.
    pub(super) fn port_counters(&self, number: PortNumber, mut counters: PortCounters) -> PortCounters {
        if let Some(kernel) = &self.kernel {
            kernel.maps().add_port_counts(number, &mut counters);
        }
        counters
    }

    /// What was counted at gateways and endpoints, by the forwarder and in the kernel.
    fn gateway_counters(&self) -> Vec<GatewayReport> {
        let mut report = self.gateways.report();
        if let Some(kernel) = &self.kernel {
            for (place, (_, counters)) in report.iter_mut().enumerate() {
                kernel.maps().add_gateway_counts(place, counters);
            }
        }
        report
    }

    /// The flows that are known, at most so many.
    pub fn live_flows(&self, now: u64, most: usize) -> Vec<LiveFlow> {
        self.flows
            .iter()
            .filter(|flow| !flow.is_expired(now))
            .filter_map(|flow| self.live(flow, now))
            .chain(self.strangers(now))
            .take(most)
            .collect()
    }

    fn live(&self, flow: &FlowEntry, now: u64) -> Option<LiveFlow> {
        let changes = (&flow.live, flow.patience());
        self.listed(flow.forward, &flow.reverse, flow.interface, flow.verdict.action()?, changes, now)
    }

    /// A flow as it is listed: its keys, who began it, what is done with it, and what changes, with how long it may be
    /// silent.
    pub(super) fn listed(
        &self,
        forward: FlowKey,
        reverse: &FlowKey,
        interface: NetworkInterfaceId,
        action: &Action,
        (live, patience): (&Live, u64),
        now: u64,
    ) -> Option<LiveFlow> {
        // Whoever began it may have been unplugged, and plugged in again since.
        self.ports.get(forward.port)?;
        let seen = reverse.answer(reverse.port).tuple();
        Some(LiveFlow {
            flow: forward.flow(interface),
            deliver: action.deliver,
            exit: self.ports.get(reverse.port)?.interface(),
            source: (seen.source.into(), seen.source_port),
            destination: (seen.destination.into(), seen.destination_port),
            phase: live.phase().name(),
            volumes: live.volumes(),
            age: now.saturating_sub(live.begun()),
            idle: now.saturating_sub(live.seen()),
            patience,
            peer: peer(action),
            through: through(action),
        })
    }
}

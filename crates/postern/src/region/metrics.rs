//! The data plane's counters, in Prometheus's text format.

use std::fmt::Write;

use super::Region;
use super::uplink::{Carried, Meter, Refused};

/// All of them, read now.
pub fn render(region: &Region) -> String {
    let mut text = String::new();
    let state = region.commands_state();
    let gauges = [
        ("postern_state_revision", "Commands that made the state.", state.revision),
        ("postern_instances", "Instances.", count(state.instances.len())),
        ("postern_interfaces", "Network interfaces.", count(state.network_interfaces.len())),
        ("postern_vpc_endpoints", "VPC endpoints.", count(state.live_endpoint_count())),
    ];
    for (name, help, value) in gauges {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    }
    if let Some(way) = &region.uplink {
        uplink(&mut text, &way.meter);
    }
    if let Ok(packets) = &region.packets {
        resolver(&mut text, &packets.dns);
        // Waiting for the forwarder must not hold up the runtime's other tasks.
        match tokio::task::block_in_place(|| packets.forwarder.counters().wait()) {
            Ok(counters) => data_plane(&mut text, &counters),
            Err(error) => tracing::warn!(%error, "the forwarder's counters are not to be had"),
        }
    }
    text
}

/// A family of one label.
fn family<'a>(
    text: &mut String,
    (name, kind, help): (&str, &str, &str),
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labelled, value) in values {
        let _ = writeln!(text, "{name}{{{label}=\"{labelled}\"}} {value}");
    }
}

fn resolver(text: &mut String, metrics: &postern_dns::Metrics) {
    let results = postern_dns::QueryResult::ALL.iter().map(|result| (result.name(), metrics.get(*result)));
    let of = ("postern_dns_queries_total", "counter", "DNS queries, by what became of them.");
    family(text, of, "result", results);
}

fn uplink(text: &mut String, meter: &Meter) {
    let each = |value: fn(&Meter, Carried) -> u64| Carried::ALL.map(|what| (what.name(), value(meter, what)));
    let begun = ("postern_uplink_flows_total", "counter", "Connections and flows that left the region.");
    family(text, begun, "protocol", each(Meter::begun));
    let open = ("postern_uplink_flows", "gauge", "Connections and flows that are carried now.");
    family(text, open, "protocol", each(Meter::open));
    let [out, back] = meter.bytes();
    let bytes = ("postern_uplink_bytes_total", "counter", "Bytes that left the region, and that came back.");
    family(text, bytes, "direction", [("out", out), ("in", back)]);
    let refused = ("postern_uplink_refusals_total", "counter", "What was not carried, by reason.");
    family(text, refused, "reason", Refused::ALL.map(|why| (why.name(), meter.refused(why))));
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn data_plane(text: &mut String, counters: &postern_dataplane::forward::Counters) {
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let ports = || {
        counters.ports.iter().map(|port| {
            let label = port.interface.map_or_else(|| "doors".to_owned(), |id| id.to_string());
            (label, &port.counters)
        })
    };
    let each = |value: fn(&postern_dataplane::forward::PortCounters) -> u64| -> Vec<(String, u64)> {
        ports().map(|(interface, port)| (format!("{{interface=\"{interface}\"}}"), value(port))).collect()
    };
    family(
        "postern_packets_received_total",
        "counter",
        "Packets from an interface.",
        each(|p| p.received.packets),
    );
    family("postern_bytes_received_total", "counter", "Bytes from an interface.", each(|p| p.received.bytes));
    family(
        "postern_packets_delivered_total",
        "counter",
        "Packets to an interface.",
        each(|p| p.delivered.packets),
    );
    family("postern_bytes_delivered_total", "counter", "Bytes to an interface.", each(|p| p.delivered.bytes));
    family(
        "postern_packets_in_kernel_total",
        "counter",
        "Packets from an interface that the kernel program carried.",
        each(|p| p.in_kernel.packets),
    );
    family("postern_flows", "gauge", "Live flows that entered by an interface.", each(|p| p.flows));
    family("postern_new_flows_total", "counter", "Flows that were made.", each(|p| p.new_flows));
    family("postern_upcalls_total", "counter", "Packets that asked for a decision.", each(|p| p.upcalls));
    let drops = ports().flat_map(|(interface, port)| {
        let line = move |(reason, value): (postern_path::DropReason, u64)| {
            (format!("{{interface=\"{interface}\",reason=\"{}\"}}", reason.name()), value)
        };
        port.drops.iter().filter(|(_, value)| *value > 0).map(line).collect::<Vec<_>>()
    });
    family("postern_drops_total", "counter", "Packets that were dropped.", drops.collect());
    let gateways = |value: fn(&postern_dataplane::forward::GatewayCounters) -> u64| -> Vec<(String, u64)> {
        let each = counters.gateways.iter();
        each.map(|(resource, gateway)| (format!("{{resource=\"{resource}\"}}"), value(gateway))).collect()
    };
    family(
        "postern_gateway_bytes_out_total",
        "counter",
        "Bytes through a gateway or endpoint.",
        gateways(|g| g.outward.bytes),
    );
    family(
        "postern_gateway_bytes_in_total",
        "counter",
        "Bytes back through it.",
        gateways(|g| g.inward.bytes),
    );
    family("postern_gateway_active_flows", "gauge", "Live flows through it.", gateways(|g| g.active));
    family(
        "postern_port_allocation_errors_total",
        "counter",
        "Flows that found no free port.",
        gateways(|g| g.port_allocation_errors),
    );
}

//! The data plane's counters, in Prometheus's text format.

use std::fmt::Write;

use postern_dataplane::forward::{Counters, GatewayCounters, PortCounters, PortReport};

use super::sns::{Ended, Posts};
use super::uplink::{Carried, Meter, Refused};
use super::{Packets, Region};

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
    messages(&mut text, &region.posts);
    if let Some(way) = &region.uplink {
        uplink(&mut text, &way.meter);
    }
    if let Ok(packets) = &region.packets {
        resolver(&mut text, &packets.dns);
        outliving(&mut text, packets);
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

/// What goes on without this process, and what did before it.
fn outliving(text: &mut String, packets: &Packets) {
    let (name, help) =
        ("postern_linger_seconds", "How long instances and flows go on if this process is killed.");
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}", packets.linger);
    let adopted = packets.forwarder.adopted().unwrap_or_default();
    let counted = [("ports", adopted.ports), ("flows", adopted.flows), ("ended_flows", adopted.ended)];
    let of =
        ("postern_adopted", "gauge", "What this process went on with when it started, and what of it ended.");
    family(text, of, "what", counted.map(|(what, number)| (what, count(number))));
}

/// What was published to topics, on its way to subscribers.
fn messages(text: &mut String, posts: &Posts) {
    let (name, help) = ("postern_sns_deliveries", "Messages that are on their way to a subscriber.");
    let under_way = count(posts.under_way());
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {under_way}");
    let of =
        ("postern_sns_deliveries_total", "counter", "Messages for a subscriber, by what became of them.");
    family(text, of, "result", Ended::ALL.map(|how| (how.name(), posts.ended(how))));
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

fn data_plane(text: &mut String, counters: &Counters) {
    interfaces(text, counters);
    drops(text, counters);
    gateways(text, counters);
    let ports = |by_program| counters.ports.iter().filter(|port| port.by_program == by_program).count();
    let carried = [("kernel", count(ports(true))), ("forwarder", count(ports(false)))];
    let of = ("postern_ports", "gauge", "Ports, by who carries the packets of known flows there.");
    family(text, of, "carrier", carried);
    let single: [Single; 5] = [
        ("postern_known_flows", "gauge", "Flows known.", count(counters.flows)),
        ("postern_peers", "gauge", "Addresses that stand for peers.", count(counters.peers)),
        ("postern_unknown_port_total", "counter", "Frames that came in by no port.", counters.unknown_port),
        (
            "postern_port_waits_total",
            "counter",
            "How often a port was not read for a while, having taken more than its share of the forwarder's time.",
            counters.waits,
        ),
        (
            "postern_flow_log_lost_total",
            "counter",
            "Flow log records that there was no room for.",
            counters.log_lost,
        ),
    ];
    for (name, kind, help, value) in single {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    }
}

/// Name, kind, help and value.
type Single = (&'static str, &'static str, &'static str, u64);
/// Name, kind, help, and where the value is.
type Of<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// What is counted of each interface.
///
/// What an interface sent is received or lost; what was received is passed, answered or dropped, or waits for a
/// connection outside the region.
const INTERFACE: [Of<PortCounters>; 16] = [
    ("postern_packets_received_total", "counter", "Packets from an interface.", |p| p.received.packets),
    ("postern_bytes_received_total", "counter", "Bytes from an interface.", |p| p.received.bytes),
    ("postern_packets_passed_total", "counter", "Packets from an interface that went on.", |p| {
        p.passed.packets
    }),
    (
        "postern_packets_answered_total",
        "counter",
        "Packets from an interface that were answered: ARP and DHCP.",
        |p| p.answered,
    ),
    ("postern_packets_delivered_total", "counter", "Packets to an interface.", |p| p.delivered.packets),
    ("postern_bytes_delivered_total", "counter", "Bytes to an interface.", |p| p.delivered.bytes),
    (
        "postern_packets_in_kernel_total",
        "counter",
        "Packets from an interface that the kernel program carried.",
        |p| p.in_kernel.packets,
    ),
    (
        "postern_packets_lost_total",
        "counter",
        "Packets from an interface that the kernel could not keep for the forwarder.",
        |p| p.overruns,
    ),
    ("postern_flows", "gauge", "Live flows that entered by an interface.", |p| p.flows),
    ("postern_new_flows_total", "counter", "Flows that were made.", |p| p.new_flows),
    ("postern_new_flows_in_kernel_total", "counter", "Flows that the kernel program made.", |p| {
        p.new_in_kernel
    }),
    ("postern_upcalls_total", "counter", "Packets that asked for a decision.", |p| p.upcalls),
    ("postern_template_hits_total", "counter", "Flows that a template decided.", |p| p.template_hits),
    ("postern_replies_total", "counter", "Resets, ICMP errors and answers to an interface.", |p| p.replies),
    ("postern_replies_suppressed_total", "counter", "Replies that were too many.", |p| p.replies_suppressed),
    ("postern_refusals_unlogged_total", "counter", "Refusals that were too many to be logged.", |p| {
        p.unlogged
    }),
];

fn interfaces(text: &mut String, counters: &Counters) {
    for (name, kind, help, value) in INTERFACE {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for port in &counters.ports {
            let _ = writeln!(text, "{name}{{interface=\"{}\"}} {}", whose(port), value(&port.counters));
        }
    }
}

fn whose(port: &PortReport) -> String {
    port.interface.map_or_else(|| "doors".to_owned(), |id| id.to_string())
}

fn drops(text: &mut String, counters: &Counters) {
    let name = "postern_drops_total";
    let _ = writeln!(text, "# HELP {name} Packets that were dropped.\n# TYPE {name} counter");
    for port in &counters.ports {
        for (reason, packets) in port.counters.drops.iter() {
            let (interface, reason) = (whose(port), reason.name());
            let _ = writeln!(text, "{name}{{interface=\"{interface}\",reason=\"{reason}\"}} {packets}");
        }
    }
    let name = "postern_drops_by_resource_total";
    let help = "Packets that were dropped because of a resource: a group, a route, a gateway.";
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
    for drops in &counters.resources {
        let (resource, reason, packets) = (drops.resource, drops.reason.name(), drops.packets);
        let _ = writeln!(text, "{name}{{resource=\"{resource}\",reason=\"{reason}\"}} {packets}");
    }
    if counters.further_resources > 0 {
        let _ =
            writeln!(text, "{name}{{resource=\"further\",reason=\"any\"}} {}", counters.further_resources);
    }
}

/// What is counted of each gateway and endpoint.
const GATEWAY: [Of<GatewayCounters>; 7] = [
    ("postern_gateway_packets_out_total", "counter", "Packets through a gateway or endpoint.", |g| {
        g.outward.packets
    }),
    ("postern_gateway_packets_in_total", "counter", "Packets back through it.", |g| g.inward.packets),
    ("postern_gateway_bytes_out_total", "counter", "Bytes through a gateway or endpoint.", |g| {
        g.outward.bytes
    }),
    ("postern_gateway_bytes_in_total", "counter", "Bytes back through it.", |g| g.inward.bytes),
    ("postern_gateway_active_flows", "gauge", "Live flows through it.", |g| g.active),
    ("postern_gateway_flows_total", "counter", "Flows that were made through it.", |g| g.attempts),
    ("postern_port_allocation_errors_total", "counter", "Flows that found no free port.", |g| {
        g.port_allocation_errors
    }),
];

fn gateways(text: &mut String, counters: &Counters) {
    for (name, kind, help, value) in GATEWAY {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (resource, gateway) in &counters.gateways {
            let _ = writeln!(text, "{name}{{resource=\"{resource}\"}} {}", value(gateway));
        }
    }
}

//! From a consumer through an endpoint to the provider's load balancer, and on to one of several targets: source
//! translation and balancing, beside what else does both.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use postern_dataplane::host::Host;
use postern_dataplane::kernel::{KernelProgram, Size};

use super::{Contender, DIRECT, Field, Figure, Figures, ratios};
use crate::cpu::Pinning;
use crate::load::{FIRST_PORT, PORTS, Route, STREAM_PORT, Servers};
use crate::middle::{self, TARGETS};
use crate::region::Region;
use crate::report::Goal;
use crate::stats::median;

const NFTABLES: &str = "nftables DNAT and SNAT, 4 targets";
const HAPROXY: &str = "HAProxy, tcp, 4 targets";
const NGINX: &str = "nginx stream, 4 targets";
const POSTERN: &str = "Postern, endpoint and load balancer, 4 targets";
const KERNEL: &str = "Postern, kernel program, endpoint and load balancer, 4 targets";

/// Where the endpoint is, in networks of the same addresses.
const ENDPOINT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 50);

/// A consumer and a provider; the targets are addresses of one interface, as the others' are.
fn topology() -> String {
    let mut text = "\
vpc b 10.0.0.0/16
subnet b.front 10.0.1.0/24
subnet b.back 10.0.2.0/24
group b.servers
  in tcp 5000-5999 from 10.0.1.0/24
interface target in b.back attached groups=servers ip=10.0.2.10
"
    .to_owned();
    let targets: Vec<_> = (10..10 + TARGETS).map(|last| format!("10.0.2.{last}")).collect();
    for address in targets.iter().skip(1) {
        text.push_str(&format!("address target {address}\n"));
    }
    text.push_str("balancer b.lb in front\n");
    for port in (FIRST_PORT..FIRST_PORT + PORTS).chain([STREAM_PORT]) {
        text.push_str(&format!("  listen tcp {port} -> {port} {}\n", targets.join(" ")));
    }
    text.push_str(&format!(
        "vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
subnet a.two 10.0.2.0/24
group a.all
  in tcp 5000-5999 from 10.0.0.0/16
interface client in a.two attached groups=all ip=10.0.2.10
endpoint a.door service(b.lb) subnets=one groups=all ip={ENDPOINT}
"
    ));
    text
}

fn contender(name: &'static str, region: &Region, pinning: &Pinning) -> anyhow::Result<Contender> {
    let (client, target) = (region.plug("client")?, region.plug("target")?);
    let servers = Servers::start(&target, pinning)?;
    let route = Route { client, target: ENDPOINT, through: None };
    Ok(Contender { name, route, servers, others: Vec::new() })
}

pub(super) fn field(host: &Arc<Host>, pinning: &Pinning, place: &Path) -> anyhow::Result<Field> {
    let plain = |name, (route, servers)| Contender { name, route, servers, others: Vec::new() };
    let mut contenders =
        vec![plain(DIRECT, middle::direct(pinning)?), plain(NFTABLES, middle::nftables_balancing(pinning)?)];
    let mut proxies = Vec::new();
    for (name, (route, servers, proxy)) in [
        (HAPROXY, middle::haproxy_balancing(pinning, place)?),
        (NGINX, middle::nginx_balancing(pinning, place)?),
    ] {
        // Workers are there once somebody was served.
        crate::load::requests::until_ready(&route, pinning.client)?;
        contenders.push(Contender { name, route, servers, others: proxy.processes() });
        proxies.push(proxy);
    }
    let text = topology();
    let region = Region::start(host, &text)?;
    contenders.push(contender(POSTERN, &region, pinning)?);
    let in_kernel = match KernelProgram::load(host.fabric(), Size::default(), RandomState::new().hash_one(0))
    {
        Ok(program) => {
            let region = Region::start_in_kernel(host, &text, program)?;
            contenders.push(contender(KERNEL, &region, pinning)?);
            Some(region)
        }
        Err(error) => {
            eprintln!("private link: without the kernel program: {error}");
            None
        }
    };
    let field = Field::of(contenders, (region, in_kernel), proxies);
    Ok(Field { title: "PrivateLink", goals, ..field })
}

/// What the path with the kernel program is to reach.
fn goals(field: &Field, rounds: &[Vec<Figures>]) -> Vec<Goal> {
    let place = |name| field.contenders.iter().position(|contender| contender.name == name);
    let Some(at) = place(KERNEL) else { return Vec::new() };
    let figures: [(&str, Figure, [f64; 3]); 3] = [
        ("one stream", |f| f.one_stream_gbit_s, [0.95, 1.0, 2.0]),
        ("requests", |f| f.requests_s, [0.92, 1.0, 1.7]),
        ("new connections", |f| f.connections_s, [0.92, 1.0, 1.0]),
    ];
    let mut goals = Vec::new();
    for (what, figure, [direct, nftables, proxy]) in figures {
        for (whose, aim) in [(DIRECT, direct), (NFTABLES, nftables), (HAPROXY, proxy), (NGINX, proxy)] {
            let Some(to) = place(whose) else { continue };
            let all = ratios(rounds, at, to, figure);
            let what = format!("{KERNEL}: {what}, to {whose}");
            goals.push(Goal::at_least(&what, median(all.iter().copied()), aim, 2, "").over(&all));
        }
    }
    goals
}

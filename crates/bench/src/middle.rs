//! The contenders that are not Postern: a veth pair, Linux as a router, nftables, HAProxy.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use nix::unistd::Pid;
use postern_dataplane::host::Namespace;

use crate::cpu::Pinning;
use crate::load::{FIRST_PORT, PORTS, Route, STREAM_PORT, Servers};
use crate::netns::{self, End};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 2);
const MIDDLE_NEAR: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 1);
const MIDDLE_FAR: Ipv4Addr = Ipv4Addr::new(10, 200, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 200, 2, 2);

/// Client and server on one link.
pub fn direct(pinning: &Pinning) -> anyhow::Result<(Route, Servers)> {
    let (client, server) = (netns::create()?, netns::create()?);
    let near = End { namespace: &client, name: "eth0", address: &format!("{CLIENT}/24") };
    let far = End { namespace: &server, name: "eth0", address: &format!("{MIDDLE_NEAR}/24") };
    netns::join(&near, &far)?;
    Ok((Route { client, target: MIDDLE_NEAR, through: None }, Servers::start(&server, pinning)?))
}

/// Client, something in the middle, server.
struct Three {
    client: Namespace,
    middle: Namespace,
    server: Namespace,
}

impl Three {
    fn route(&self, target: Ipv4Addr) -> Route {
        Route { client: self.client.clone(), target, through: Some(self.middle.clone()) }
    }
}

fn three() -> anyhow::Result<Three> {
    let three = Three { client: netns::create()?, middle: netns::create()?, server: netns::create()? };
    let Three { client, middle, server } = &three;
    let end = |namespace, name, address: Ipv4Addr| (namespace, name, format!("{address}/24"));
    let links = [
        (end(client, "eth0", CLIENT), end(middle, "near", MIDDLE_NEAR)),
        (end(server, "eth0", SERVER), end(middle, "far", MIDDLE_FAR)),
    ];
    for ((namespace, name, address), (in_middle, in_middle_name, in_middle_address)) in &links {
        let outer = End { namespace, name, address };
        netns::join(&outer, &End { namespace: in_middle, name: in_middle_name, address: in_middle_address })?;
    }
    netns::ip(client, &format!("route add default via {MIDDLE_NEAR}"))?;
    netns::ip(server, &format!("route add default via {MIDDLE_FAR}"))?;
    Ok(three)
}

/// The kernel's own forwarding between two links.
pub fn routed(pinning: &Pinning) -> anyhow::Result<(Route, Servers)> {
    let three = three()?;
    netns::set(&three.middle, "net/ipv4/ip_forward", "1")?;
    Ok((three.route(SERVER), Servers::start(&three.server, pinning)?))
}

/// The kernel's forwarding with both addresses rewritten, as a NAT gateway and a load balancer do.
pub fn nftables(pinning: &Pinning) -> anyhow::Result<(Route, Servers)> {
    let three = three()?;
    netns::set(&three.middle, "net/ipv4/ip_forward", "1")?;
    let rules = format!(
        "table ip bench {{\n\
         chain before {{ type nat hook prerouting priority dstnat; ip daddr {MIDDLE_NEAR} tcp dport 5000-5999 dnat to {SERVER}; }}\n\
         chain after {{ type nat hook postrouting priority srcnat; oifname \"far\" snat to {MIDDLE_FAR}; }}\n\
         }}\n"
    );
    netns::feed(&three.middle, "nft", &["-f", "-"], &rules)?;
    // Connections that are over do not fill the table from round to round.
    netns::set(&three.middle, "net/netfilter/nf_conntrack_tcp_timeout_time_wait", "5")?;
    Ok((three.route(MIDDLE_NEAR), Servers::start(&three.server, pinning)?))
}

/// HAProxy passing bytes on.
pub fn haproxy(pinning: &Pinning, place: &Path) -> anyhow::Result<(Route, Servers, HaProxy)> {
    let three = three()?;
    let servers = Servers::start(&three.server, pinning)?;
    let file = place.join("haproxy.cfg");
    std::fs::write(&file, configuration(pinning.all.len()))?;
    let haproxy = HaProxy::start(three.middle.clone(), &file)?;
    Ok((three.route(MIDDLE_NEAR), servers, haproxy))
}

fn configuration(threads: usize) -> String {
    let mut text = format!(
        "global\n  maxconn 4096\n  nbthread {threads}\n\
         defaults\n  mode tcp\n  maxconn 4096\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
    );
    for port in (FIRST_PORT..FIRST_PORT + PORTS).chain([STREAM_PORT]) {
        text.push_str(&format!("listen p{port}\n  bind {MIDDLE_NEAR}:{port}\n  server s {SERVER}:{port}\n"));
    }
    text
}

/// A running HAProxy. It ends when this is dropped, and when this process does.
pub struct HaProxy {
    /// Its process.
    pub pid: Pid,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl HaProxy {
    fn start(namespace: Namespace, file: &Path) -> anyhow::Result<Self> {
        let file = file.to_owned();
        let (started, child) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        // The kernel kills it when the thread that started it ends, so that thread stays.
        let keeper = std::thread::Builder::new().name("haproxy".to_owned()).spawn(move || {
            let kept = namespace.run(move || match spawn(&file) {
                Ok(mut child) => {
                    let _ = started.send(Ok(child.id()));
                    let _ = stopped.recv();
                    let _ = child.kill();
                    let _ = child.wait();
                }
                Err(error) => drop(started.send(Err(error))),
            });
            if let Err(error) = kept {
                eprintln!("error: {error}");
            }
        })?;
        let pid = child.recv().map_err(|_| anyhow!("HAProxy was not started"))??;
        Ok(Self { pid: Pid::from_raw(i32::try_from(pid)?), stop: Some(stop), keeper: Some(keeper) })
    }
}

fn spawn(file: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "haproxy", "-db", "-f"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("`setpriv` or `haproxy` cannot be started")
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

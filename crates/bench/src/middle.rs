//! The contenders that are not Postern: a veth pair, Linux as a router, nftables, HAProxy, nginx.

use std::ffi::{OsStr, OsString};
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
/// How many targets are balanced over. They are addresses of one server, so that the machine has the same to do as with one.
pub const TARGETS: u8 = 4;

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
pub fn haproxy(pinning: &Pinning, place: &Path) -> anyhow::Result<(Route, Servers, Proxy)> {
    let three = three()?;
    let servers = Servers::start(&three.server, pinning)?;
    let file = place.join("haproxy.cfg");
    std::fs::write(&file, configuration(pinning.all.len()))?;
    let haproxy =
        Proxy::start(three.middle.clone(), "haproxy", &["-db".as_ref(), "-f".as_ref(), file.as_os_str()])?;
    Ok((three.route(MIDDLE_NEAR), servers, haproxy))
}

/// The addresses of as many targets as are balanced over, all of one server.
fn targets() -> impl Iterator<Item = Ipv4Addr> + Clone {
    (2..2 + TARGETS).map(|last| Ipv4Addr::new(10, 200, 2, last))
}

/// The same with a server that has the addresses of several targets.
fn three_with_targets() -> anyhow::Result<Three> {
    let three = three()?;
    for address in targets().skip(1) {
        netns::ip(&three.server, &format!("address add {address}/24 dev eth0"))?;
    }
    Ok(three)
}

/// The kernel's forwarding with both addresses rewritten, each connection to one of several targets.
pub fn nftables_balancing(pinning: &Pinning) -> anyhow::Result<(Route, Servers)> {
    let three = three_with_targets()?;
    netns::set(&three.middle, "net/ipv4/ip_forward", "1")?;
    let map: Vec<_> = targets().enumerate().map(|(at, address)| format!("{at} : {address}")).collect();
    let rules = format!(
        "table ip bench {{\n\
         chain before {{ type nat hook prerouting priority dstnat; ip daddr {MIDDLE_NEAR} tcp dport 5000-5999 \
         dnat to jhash ip saddr . tcp sport mod {TARGETS} map {{ {} }}; }}\n\
         chain after {{ type nat hook postrouting priority srcnat; oifname \"far\" snat to {MIDDLE_FAR}; }}\n\
         }}\n",
        map.join(", ")
    );
    netns::feed(&three.middle, "nft", &["-f", "-"], &rules)?;
    netns::set(&three.middle, "net/netfilter/nf_conntrack_tcp_timeout_time_wait", "5")?;
    Ok((three.route(MIDDLE_NEAR), Servers::start(&three.server, pinning)?))
}

/// HAProxy passing bytes on to several targets.
pub fn haproxy_balancing(pinning: &Pinning, place: &Path) -> anyhow::Result<(Route, Servers, Proxy)> {
    let three = three_with_targets()?;
    let servers = Servers::start(&three.server, pinning)?;
    let file = place.join("haproxy-balancing.cfg");
    let mut text = haproxy_head(pinning.all.len());
    for port in ports() {
        text.push_str(&format!("listen p{port}\n  bind {MIDDLE_NEAR}:{port}\n  balance roundrobin\n"));
        for (at, address) in targets().enumerate() {
            text.push_str(&format!("  server s{at} {address}:{port}\n"));
        }
    }
    std::fs::write(&file, text)?;
    let haproxy =
        Proxy::start(three.middle.clone(), "haproxy", &["-db".as_ref(), "-f".as_ref(), file.as_os_str()])?;
    Ok((three.route(MIDDLE_NEAR), servers, haproxy))
}

/// nginx's stream module passing bytes on to several targets.
pub fn nginx_balancing(pinning: &Pinning, place: &Path) -> anyhow::Result<(Route, Servers, Proxy)> {
    let three = three_with_targets()?;
    let servers = Servers::start(&three.server, pinning)?;
    let file = place.join("nginx.conf");
    let mut text = format!(
        "daemon off;\nuser root;\nmaster_process on;\nworker_processes {};\nworker_rlimit_nofile 16384;\npid {1}/nginx.pid;\n\
         error_log {1}/nginx.log crit;\n{2}events {{ worker_connections 4096; }}\nstream {{\n",
        pinning.all.len(),
        place.display(),
        stream_module()?
    );
    for port in ports() {
        let all: String = targets().map(|address| format!(" server {address}:{port};")).collect();
        text.push_str(&format!(
            "upstream u{port} {{{all} }}\nserver {{ listen {MIDDLE_NEAR}:{port}; proxy_pass u{port}; }}\n"
        ));
    }
    text.push_str("}\n");
    std::fs::write(&file, text)?;
    let log = place.join("nginx.log");
    let arguments =
        ["-p".as_ref(), place.as_os_str(), "-e".as_ref(), log.as_os_str(), "-c".as_ref(), file.as_os_str()];
    let nginx = Proxy::start(three.middle.clone(), "nginx", &arguments)?;
    Ok((three.route(MIDDLE_NEAR), servers, nginx))
}

/// The line by which nginx loads its module for streams: nothing where that is built in. It is looked for beside the
/// program, where a package below another root has it, and at its place on the host.
fn stream_module() -> anyhow::Result<String> {
    const MODULE: &str = "usr/lib/nginx/modules/ngx_stream_module.so";
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let roots = std::env::split_paths(&folders)
        .filter_map(|folder| Some(folder.parent()?.join("root")))
        .chain([std::path::PathBuf::from("/")]);
    let found = roots.map(|root| root.join(MODULE)).find(|path| path.is_file());
    let found = found.context("nginx's module for streams (libnginx-mod-stream) is not there")?;
    Ok(format!("load_module {};\n", found.display()))
}

fn ports() -> impl Iterator<Item = u16> {
    (FIRST_PORT..FIRST_PORT + PORTS).chain([STREAM_PORT])
}

fn haproxy_head(threads: usize) -> String {
    format!(
        "global\n  maxconn 4096\n  nbthread {threads}\n\
         defaults\n  mode tcp\n  maxconn 4096\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
    )
}

fn configuration(threads: usize) -> String {
    let mut text = haproxy_head(threads);
    for port in ports() {
        text.push_str(&format!("listen p{port}\n  bind {MIDDLE_NEAR}:{port}\n  server s {SERVER}:{port}\n"));
    }
    text
}

/// A running proxy. It ends when this is dropped, and when this process does.
pub struct Proxy {
    /// Its process, and those that it may have started.
    pub pid: Pid,
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl Proxy {
    fn start(namespace: Namespace, program: &'static str, arguments: &[&OsStr]) -> anyhow::Result<Self> {
        let arguments: Vec<OsString> = arguments.iter().map(|one| (*one).to_owned()).collect();
        let (started, child) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        // The kernel kills it when the thread that started it ends, so that thread stays.
        let keeper = std::thread::Builder::new().name(program.to_owned()).spawn(move || {
            let kept = namespace.run(move || match spawn(program, &arguments) {
                Ok(mut child) => {
                    let _ = started.send(Ok(child.id()));
                    let _ = stopped.recv();
                    end(&mut child);
                }
                Err(error) => drop(started.send(Err(error))),
            });
            if let Err(error) = kept {
                eprintln!("error: {error}");
            }
        })?;
        let pid = child.recv().map_err(|_| anyhow!("`{program}` was not started"))??;
        Ok(Self { pid: Pid::from_raw(i32::try_from(pid)?), stop: Some(stop), keeper: Some(keeper) })
    }

    /// Everybody that carries its bytes: itself, and its workers.
    pub fn processes(&self) -> Vec<Pid> {
        let own = self.pid;
        let file = format!("/proc/{own}/task/{own}/children");
        let workers = std::fs::read_to_string(file).unwrap_or_default();
        let workers = workers.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw));
        std::iter::once(own).chain(workers).collect()
    }
}

fn spawn(program: &str, arguments: &[OsString]) -> anyhow::Result<Child> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("`setpriv` or `{program}` cannot be started"))
}

/// Workers end with a master that is told to, and only with one that is.
fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    for _ in 0..100 {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

//! Links as packet ports: a veth pair whose host end is in the fabric and whose inner end is an instance's
//! interface, a container's, or the doors'.
//!
//! INVARIANT: a host end has no address and does no ARP; what arrives there is read by a packet socket and by nobody
//! else.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::namespace::{Namespace, NamespaceError};
use super::netlink::{Netlink, RouteRequest, VethPair};
use super::{ethtool, sys};
use std::os::fd::AsFd;

/// A hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An address with the length of its network's prefix, or a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// How many leading bits name the network.
    pub length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A route inside a port's target namespace, over the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRoute {
    /// Where to.
    pub destination: Prefix,
    /// By which neighbour; directly where there is none.
    pub via: Option<IpAddr>,
}

/// A port to be made.
#[derive(Debug, Clone)]
pub struct PortSpec {
    /// In which namespace the inner end appears.
    pub target: Namespace,
    /// What the inner end is called there, `ens5`.
    pub inside_name: String,
    /// The inner end's hardware address.
    pub mac: Mac,
    /// Of both ends.
    pub mtu: u32,
    /// The inner end's addresses.
    pub addresses: Vec<Prefix>,
    /// The target's default gateway.
    pub gateway: Option<IpAddr>,
    /// Hardware addresses that need not be asked for.
    pub neighbours: Vec<(IpAddr, Mac)>,
    /// Further routes.
    pub routes: Vec<PortRoute>,
}

/// A port that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The host end's name in the fabric.
    pub name: String,
    /// The host end's index in the fabric.
    pub index: u32,
    /// The inner end's index in its namespace.
    pub inside_index: u32,
}

/// Why a port could not be made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A step in the fabric or in the target failed.
    #[error("{step} failed for the port to `{target}`: {source}")]
    Step {
        /// What was being done, with its value.
        step: String,
        /// In which namespace the inner end was to be.
        target: String,
        /// What the system says.
        source: io::Error,
    },
    /// The target (or the fabric) could not be entered.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// The fabric as the maker of ports.
#[derive(Debug)]
pub(super) struct PortMaker {
    fabric: Namespace,
    netlink: Mutex<Netlink>,
    next: AtomicU32,
}

impl PortMaker {
    pub(super) fn new(fabric: Namespace) -> Result<Self, PortError> {
        let netlink = open_netlink(&fabric)?;
        Ok(Self { fabric, netlink: Mutex::new(netlink), next: AtomicU32::new(1) })
    }

    /// Ports of an earlier maker of the same fabric are these: names go on after theirs, and whatever else is there is
    /// half of something, and deleted.
    pub(super) fn go_on<'a>(&self, ports: impl Iterator<Item = &'a Port>) -> Result<(), PortError> {
        let known: BTreeMap<u32, &str> = ports.map(|port| (port.index, port.name.as_str())).collect();
        let number = |name: &str| name.strip_prefix('p')?.parse::<u32>().ok();
        let last = known.values().copied().filter_map(number).max().unwrap_or(0);
        let fail = |step: &str| {
            let (step, target) = (step.to_owned(), self.fabric.name().to_owned());
            move |source| PortError::Step { step, target, source }
        };
        let there = self.fabric.run(sys::interfaces)?.map_err(fail("listing the ports"))?;
        let last = there.iter().filter_map(|(_, name)| number(name)).fold(last, u32::max);
        self.next.store(last + 1, Ordering::Relaxed);
        for (index, name) in there.iter().filter(|(_, name)| number(name).is_some()) {
            if known.get(index) == Some(&name.as_str()) {
                continue;
            }
            match self.netlink().delete_link(*index) {
                Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                    return Err(fail("deleting a port that nobody knows")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn create(&self, spec: &PortSpec) -> Result<Port, PortError> {
        let name = format!("p{}", self.next.fetch_add(1, Ordering::Relaxed));
        let pair = VethPair {
            name: &name,
            peer_name: &spec.inside_name,
            peer_namespace: spec.target.as_fd(),
            peer_mac: spec.mac.0,
            mtu: spec.mtu,
        };
        self.netlink()
            .create_veth(&pair)
            .map_err(step(spec, || format!("making the interface `{}`", spec.inside_name)))?;
        let finished = self.host_end(&name, spec).and_then(|index| {
            let inside_index = inner_end(spec)?;
            Ok(Port { name: name.clone(), index, inside_index })
        });
        if finished.is_err() {
            // Half a port is none. The error to report is the first one.
            let _ = self.delete_by_name(&name);
        }
        finished
    }

    /// Deletes a port; one that went with its namespace is deleted already.
    pub(super) fn delete(&self, port: &Port) -> Result<(), PortError> {
        match self.netlink().delete_link(port.index) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            Err(source) => Err(PortError::Step {
                step: format!("deleting `{}`", port.name),
                target: self.fabric.name().to_owned(),
                source,
            }),
        }
    }

    fn delete_by_name(&self, name: &str) -> io::Result<()> {
        let index = self.fabric.run(|| sys::interface_index(name)).map_err(io::Error::other)??;
        self.netlink().delete_link(index)
    }

    fn netlink(&self) -> std::sync::MutexGuard<'_, Netlink> {
        // Each request is answered before the next is sent, so a panic elsewhere leaves nothing half done.
        self.netlink.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn host_end(&self, name: &str, spec: &PortSpec) -> Result<u32, PortError> {
        let prepared = self.fabric.run(|| {
            ethtool::disable_uncarried_offloads(name)?;
            sys::interface_index(name)
        })?;
        let index = prepared.map_err(step(spec, || format!("preparing the host end `{name}`")))?;
        self.netlink().set_up(index).map_err(step(spec, || format!("taking the host end `{name}` up")))?;
        Ok(index)
    }
}

/// Everything inside the target: offloads, addresses, routes. Returns the inner end's index.
fn inner_end(spec: &PortSpec) -> Result<u32, PortError> {
    let name = &spec.inside_name;
    let prepared = spec.target.run(|| {
        ethtool::disable_uncarried_offloads(name)?;
        Ok((sys::interface_index(name)?, Netlink::open()?))
    })?;
    let (index, mut netlink) =
        prepared.map_err(step(spec, || format!("preparing the interface `{name}`")))?;
    for prefix in &spec.addresses {
        netlink
            .add_address(index, prefix.address, prefix.length)
            .map_err(step(spec, || format!("adding the address `{prefix}`")))?;
    }
    netlink.set_up(index).map_err(step(spec, || format!("taking the interface `{name}` up")))?;
    for (address, mac) in &spec.neighbours {
        netlink
            .add_neighbour(index, *address, mac.0)
            .map_err(step(spec, || format!("adding the neighbour `{address}` at `{mac}`")))?;
    }
    let default = spec.gateway.map(default_route);
    for route in spec.routes.iter().copied().chain(default) {
        netlink.add_route(&route.request(index, false)).map_err(step(spec, || {
            let via = route.via.map(|via| format!(" by `{via}`")).unwrap_or_default();
            format!("adding the route to `{}`{via}", route.destination)
        }))?;
    }
    Ok(index)
}

fn default_route(gateway: IpAddr) -> PortRoute {
    let address = match gateway {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    PortRoute { destination: Prefix { address, length: 0 }, via: Some(gateway) }
}

impl PortRoute {
    fn request(&self, interface: u32, local: bool) -> RouteRequest {
        RouteRequest {
            destination: self.destination.address,
            prefix_length: self.destination.length,
            via: self.via,
            interface,
            local,
        }
    }
}

/// Makes every address of a network one of the namespace's own (AnyIP): a listener on the wildcard address then
/// serves them all.
pub(super) fn own_prefix(namespace: &Namespace, prefix: Prefix) -> Result<(), PortError> {
    let fail = |source| PortError::Step {
        step: format!("taking the addresses `{prefix}`"),
        target: namespace.name().to_owned(),
        source,
    };
    let (loopback, mut netlink) =
        namespace.run(|| Ok((sys::interface_index("lo")?, Netlink::open()?)))?.map_err(fail)?;
    let route = PortRoute { destination: prefix, via: None };
    match netlink.add_route(&route.request(loopback, true)) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other.map_err(fail),
    }
}

fn open_netlink(namespace: &Namespace) -> Result<Netlink, PortError> {
    namespace.run(Netlink::open)?.map_err(|source| PortError::Step {
        step: "opening a netlink socket".to_owned(),
        target: namespace.name().to_owned(),
        source,
    })
}

fn step<'a>(
    spec: &'a PortSpec,
    step: impl FnOnce() -> String + 'a,
) -> impl FnOnce(io::Error) -> PortError + 'a {
    move |source| PortError::Step { step: step(), target: spec.target.name().to_owned(), source }
}

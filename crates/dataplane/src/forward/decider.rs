//! What the forwarder asks: where a flow goes, and what an interface is.

use std::net::Ipv4Addr;

use postern_model::{Ipv4Net, Mac, NetworkInterfaceId};
use postern_path::{Before, Decision, Flow, InterfacePlan, Plan};
use smallvec::SmallVec;

/// One consistent picture of the network. It never changes; a change is another one.
pub trait Decider: Send + Sync {
    /// Where a flow goes.
    fn decide(&self, flow: &Flow) -> Decision;

    /// The same about a flow that was let pass before, after something in `cut`, on which it rested, has changed.
    ///
    /// AWS does not ask security groups again about connections that it tracks; an implementation that knows which
    /// stamps are security groups' leaves them out of this, except those in `cut`. Asking everything again, as this
    /// does, may end a connection that AWS would keep, and never keeps one that AWS would end.
    fn decide_again(&self, flow: &Flow, before: Before<'_>) -> Decision {
        let _ = before;
        self.decide(flow)
    }

    /// An interface; none if there is no such.
    fn interface(&self, id: NetworkInterfaceId) -> Option<InterfaceInfo>;
}

impl Decider for Plan {
    fn decide(&self, flow: &Flow) -> Decision {
        Plan::decide(self, flow)
    }

    fn decide_again(&self, flow: &Flow, before: Before<'_>) -> Decision {
        Plan::decide_again(self, flow, before)
    }

    fn interface(&self, id: NetworkInterfaceId) -> Option<InterfaceInfo> {
        let plan = Plan::interface(self, id)?;
        let [a, b, c, d] = plan.addresses.first()?.octets();
        let hostname = Some(format!("ip-{a}-{b}-{c}-{d}").into());
        let domain = Some(self.private_domain().into());
        Some(InterfaceInfo { hostname, domain, ..InterfaceInfo::from(plan) })
    }
}

/// What the link of an interface depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses, the primary one first.
    pub addresses: SmallVec<[Ipv4Addr; 2]>,
    /// Whether packets must be from or for itself.
    pub source_dest_check: bool,
    /// Whether the router answers for every address, and to every asker: at the end of a VPN.
    pub proxies: bool,
    /// The subnet router's address.
    pub gateway: Ipv4Addr,
    /// The subnet's block.
    pub cidr: Ipv4Net,
    /// The VPC's resolver.
    pub resolver: Ipv4Addr,
    /// What DHCP tells the machine its name is.
    pub hostname: Option<Box<str>>,
    /// And the domain of names without a dot.
    pub domain: Option<Box<str>>,
}

impl From<&InterfacePlan> for InterfaceInfo {
    fn from(plan: &InterfacePlan) -> Self {
        Self {
            mac: plan.mac,
            addresses: plan.addresses.clone(),
            source_dest_check: plan.source_dest_check,
            proxies: plan.remote.is_some(),
            gateway: plan.gateway,
            cidr: plan.cidr,
            resolver: plan.resolver,
            hostname: None,
            domain: None,
        }
    }
}

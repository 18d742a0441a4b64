//! The language that fixtures are written in: a topology as text, and flows as text.
//!
//! ```text
//! vpc a 10.0.0.0/16 dns=on hostnames=off
//! block a 10.1.0.0/16
//! subnet a.pub 10.0.0.0/24 zone=us-east-1b public-ip
//! igw a
//! list a.corp 10.9.0.0/16 192.168.0.0/24
//! group a.web
//!   in tcp 443 from 0.0.0.0/0
//!   out all to pl s3
//! acl a.tight subnets=pub,priv
//!   in 100 allow tcp 1024-65535 from 10.0.0.0/8
//! instance i1 in a.pub groups=web ip=10.0.0.10 public no-check
//! interface e1 in a.pub attached
//! address i1 10.0.0.11
//! eip i1 of=10.0.0.11
//! nat a.n in a.pub private
//! table a.t1 subnets=priv
//!   0.0.0.0/0 -> nat n
//!   pl corp -> i1
//! endpoint a.s3 s3 tables=t1,main
//! endpoint a.api ec2 subnets=pub,priv groups=web ip=10.0.0.9 private inbound-only
//! inbound a.in pub,priv groups=web ip=10.0.0.53
//! balancer a.lb in pub,priv groups=web ip=10.0.0.9 cross-zone
//!   listen tcp 80 -> 8080 i1 i2:9090 hide
//! transit t
//! attach t a subnets=pub
//! transit-table t.other
//!   10.0.0.0/8 -> a
//!   172.16.0.0/12 -> blackhole
//! uplink eth0 echo
//! then stop i1
//! account two
//! ```
//!
//! An endpoint to `service(a.lb)` leads to a service that is made for it, behind that load balancer.
//!
//! An endpoint with `subnets` is an interface endpoint; its interface in `a.pub` is `a.api.pub`, and `ip` is the address
//! of the first one.
//!
//! A transit gateway `t` comes with `t.main`, its default route table, unless it is made with `manual`. `attach t a` attaches a
//! VPC, as `t.a`, by the subnets named or by the first of each zone; `vpn v t …` a network on premises, as `t.v`. In its tables,
//! routes lead to what is attached, `associate` and `propagate` name it.
//!
//! `inbound` is an inbound endpoint of the VPC's resolver; its interfaces are `a.in.1`, `a.in.2` in the order of the subnets, and
//! `ip` is the address of the first one.
//!
//! A load balancer's interface in `a.pub` is `a.lb.pub`. A listener is followed by the port and the targets of its group, which
//! are instances or addresses, and by `preserve` or `hide` (of the client's address), `sticky`, `proxy` or `terminate` (when
//! a target is let go of). `then up i1` and `then down i1` say how a target is found to be, `then plug v1` and
//! `then unplug v1` whether something is plugged into a VPN. `routing=zone` and `routing=partial` say to whom the load
//! balancer's name gives the address of the asker's own zone.
//!
//! A VPC comes with `a.main`, `a.default` and `a.acl`, as AWS's do. A group without `out` lines keeps the rule that
//! lets everything out; one with them has only those. An ACL made here has only its own entries. Rules of groups and
//! routes come after everything else, so they may name what is written below them; `then` comes last of all.
//!
//! A flow is `i1 -> TARGET[:PORT] tcp|udp|icmp|proto [N] [from=ADDRESS] [sport=N]`. A target is the name of an
//! instance or interface, `public(NAME)`, an address, `resolver`, a service (`s3`), `dns=HOST`, or an interface
//! endpoint's own name: `vpce(a.api)`, `vpce(a.api@us-east-1b)` for a zone's, `vpce(bucket/a.s3i)` for one below it. The
//! last three are looked up in the VPC's resolver first.

pub(crate) mod balancer;
mod change;
mod flow;
mod read;
mod remote;
mod transit;

use std::collections::BTreeMap;

use postern_model::{NetworkInterfaceId, ResourceId, State};
use postern_path::Plan;

pub use flow::Probe;

/// A topology, with what its parts are called.
#[derive(Debug, Clone)]
pub struct Topology {
    /// What is so.
    pub state: State,
    /// The same, compiled.
    pub plan: Plan,
    ids: BTreeMap<String, ResourceId>,
    /// What to print for each id and public address.
    words: Vec<(String, String)>,
}

/// A line that cannot be read, or that the model refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, `{text}`: {problem}")]
pub struct TopologyError {
    /// Which line, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Topology {
    /// Reads a topology.
    pub fn read(text: &str) -> Result<Self, TopologyError> {
        read::read(text)
    }

    /// What a name stands for.
    pub fn id(&self, name: &str) -> Option<ResourceId> {
        self.ids.get(name).copied()
    }

    /// The interface of this name; an instance's name is its first interface's too.
    pub fn interface(&self, name: &str) -> Option<NetworkInterfaceId> {
        match self.id(name)? {
            ResourceId::NetworkInterface(id) => Some(id),
            _ => None,
        }
    }

    /// The text with names in the place of ids and public addresses.
    pub fn with_names(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (id, name)| replace_whole(&text, id, name))
    }
}

/// Replaces a word where no letter or digit follows it.
fn replace_whole(text: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, found) = rest.split_at(at);
        let after = found.get(from.len()..).unwrap_or("");
        let whole = !after.chars().next().is_some_and(|next| next.is_ascii_alphanumeric());
        out.push_str(before);
        out.push_str(if whole { to } else { from });
        rest = after;
    }
    out.push_str(rest);
    out
}

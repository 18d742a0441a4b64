//! Listeners: a protocol and a port of a load balancer, and the target group that gets its connections.

use serde::{Deserialize, Serialize};

use super::load_balancer::LoadBalancer;
use super::target_group::{self, GroupProtocol, TargetGroup};
use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// What a TCP connection may be idle for ("Connection idle timeout" in the "Network Load Balancers" guide).
pub const USUAL_IDLE_TIMEOUT_SECONDS: u32 = 350;

/// A listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its id.
    pub id: ListenerId,
    /// Whose it is.
    pub owner: AccountId,
    /// Whose connections it takes.
    pub load_balancer: LoadBalancerId,
    /// Which ones.
    pub protocol: ListenerProtocol,
    /// Which ones.
    pub port: u16,
    /// Who gets them.
    pub group: TargetGroupId,
    /// How long a TCP connection may be idle.
    pub tcp_idle_timeout_seconds: u32,
    /// What people wrote on it.
    pub tags: Tags,
}

/// What a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListenerProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both at one port.
    TcpUdp,
}

impl ListenerProtocol {
    /// Whether it takes TCP.
    pub fn takes_tcp(self) -> bool {
        match self {
            Self::Tcp | Self::TcpUdp => true,
            Self::Udp => false,
        }
    }

    /// Whether it takes UDP.
    pub fn takes_udp(self) -> bool {
        match self {
            Self::Udp | Self::TcpUdp => true,
            Self::Tcp => false,
        }
    }

    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
        }
    }

    /// Whether a group of this protocol can get what it takes ("Listener configuration": TCP to TCP or TCP_UDP, UDP to
    /// UDP or TCP_UDP, TCP_UDP to TCP_UDP alone).
    fn fits(self, group: GroupProtocol) -> bool {
        match (self, group) {
            (_, GroupProtocol::TcpUdp)
            | (Self::Tcp, GroupProtocol::Tcp)
            | (Self::Udp, GroupProtocol::Udp) => true,
            (Self::Tcp, GroupProtocol::Udp | GroupProtocol::Tls)
            | (Self::Udp, GroupProtocol::Tcp | GroupProtocol::Tls)
            | (Self::TcpUdp, GroupProtocol::Tcp | GroupProtocol::Udp | GroupProtocol::Tls) => false,
        }
    }
}

/// How a listener is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewListener {
    /// Whose connections it will take.
    pub load_balancer: LoadBalancerId,
    /// Which ones.
    pub protocol: ListenerProtocol,
    /// Which ones.
    pub port: u16,
    /// Who will get them.
    pub group: TargetGroupId,
    /// Its tags.
    pub tags: TagSet,
}

/// What can change of a listener; none stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of a listener")]
pub struct ListenerChange {
    pub protocol: Option<ListenerProtocol>,
    pub port: Option<u16>,
    pub group: Option<TargetGroupId>,
    pub tcp_idle_timeout_seconds: Option<u32>,
}

pub(super) fn create(txn: &mut Txn, new: NewListener) -> Result<(), ModelError> {
    let balancer = txn.get::<LoadBalancer>(new.load_balancer)?;
    txn.within(Quota::Listeners, |txn| balancer.listeners(&txn.state).count() + 1)?;
    check_port(txn, &balancer, None, new.port, new.protocol)?;
    check_group(txn, &balancer, new.protocol, new.group)?;
    let id = txn.mint::<Listener>(ListenerId::from_number)?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(Listener {
        id,
        owner: txn.account,
        load_balancer: new.load_balancer,
        protocol: new.protocol,
        port: new.port,
        group: new.group,
        tcp_idle_timeout_seconds: USUAL_IDLE_TIMEOUT_SECONDS,
        tags,
    });
    Ok(())
}

/// INVARIANT: what comes to a port of a load balancer has at most one listener.
fn check_port(
    txn: &Txn,
    balancer: &LoadBalancer,
    except: Option<ListenerId>,
    port: u16,
    protocol: ListenerProtocol,
) -> Result<(), ModelError> {
    let clashes = |other: &&std::sync::Arc<Listener>| {
        let tcp = other.protocol.takes_tcp() && protocol.takes_tcp();
        let udp = other.protocol.takes_udp() && protocol.takes_udp();
        other.port == port && Some(other.id) != except && (tcp || udp)
    };
    match balancer.listeners(&txn.state).find(clashes) {
        None => Ok(()),
        Some(listener) => Err(ModelError::ListenerExists { listener: listener.id, port }),
    }
}

fn check_group(
    txn: &Txn,
    balancer: &LoadBalancer,
    protocol: ListenerProtocol,
    group: TargetGroupId,
) -> Result<(), ModelError> {
    let group = txn.get::<TargetGroup>(group)?;
    if group.vpc != balancer.vpc {
        return Err(ModelError::DifferentVpcs { a: group.id.into(), b: balancer.vpc.into() });
    }
    if !protocol.fits(group.protocol) {
        let (listener, group_protocol) = (protocol.name(), group.protocol.name());
        return Err(ModelError::ListenerProtocol { listener, group: group.id, group_protocol });
    }
    // "A target group can be associated with one load balancer" ("TargetGroupAssociationLimit").
    let other = target_group::load_balancers(&txn.state, group.id).find(|other| *other != balancer.id);
    match other {
        None => Ok(()),
        Some(other) => Err(ModelError::InUse { resource: group.id.into(), used_by: other.to_string() }),
    }
}

pub(super) fn modify(txn: &mut Txn, id: ListenerId, change: ListenerChange) -> Result<(), ModelError> {
    let listener = txn.get::<Listener>(id)?;
    let balancer = txn.get::<LoadBalancer>(listener.load_balancer)?;
    let (protocol, port) =
        (change.protocol.unwrap_or(listener.protocol), change.port.unwrap_or(listener.port));
    let group = change.group.unwrap_or(listener.group);
    check_port(txn, &balancer, Some(id), port, protocol)?;
    check_group(txn, &balancer, protocol, group)?;
    txn.update::<Listener>(id, |listener| {
        (listener.protocol, listener.port, listener.group) = (protocol, port, group);
        let seconds = change.tcp_idle_timeout_seconds.unwrap_or(listener.tcp_idle_timeout_seconds);
        listener.tcp_idle_timeout_seconds = seconds;
    })
}

pub(super) fn delete(txn: &mut Txn, id: ListenerId) -> Result<(), ModelError> {
    txn.remove::<Listener>(id).map(|_| ())
}

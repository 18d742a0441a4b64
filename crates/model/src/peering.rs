//! VPC peering connections: two VPCs whose private addresses reach each other, and nothing beyond them.
//!
//! Rules from "How VPC peering connections work" and "VPC peering connection lifecycle" in the VPC peering guide. A
//! request that nobody accepts in time has expired by the clock alone, so nothing stored says so
//! ([`VpcPeeringConnection::status`]).
//!
//! INVARIANT: two VPCs have at most one connection that carries packets, and their blocks do not overlap then.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
use crate::id::*;
use crate::quota::{self, Quota};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::{Vpc, overlap};

/// How long a request waits: "Expiry time for an unaccepted VPC peering connection request: 1 week (168 hours)".
pub const WAITS_MILLISECONDS: u64 = 168 * HOUR_MILLISECONDS;
const HOUR_MILLISECONDS: u64 = 3_600_000;
/// How long one that has ended is shown to who ended it, and a failed one to its requester.
const SHOWN_BRIEFLY_MILLISECONDS: u64 = 2 * HOUR_MILLISECONDS;
/// How long one that has ended is shown to the other.
const SHOWN_LONG_MILLISECONDS: u64 = 48 * HOUR_MILLISECONDS;

/// A connection of two VPCs, or the request for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcPeeringConnection {
    /// Its id.
    pub id: VpcPeeringConnectionId,
    /// Whose VPC asked.
    pub requester: PeeredVpc,
    /// Whose VPC was asked.
    pub accepter: PeeredVpc,
    /// How far it is, the clock aside.
    pub state: PeeringState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Since when it is over, and who ended it.
    pub ended: Option<(Timestamp, AccountId)>,
    /// What the requester wrote on it. "The tags … are only visible to the account that made them."
    pub tags: Tags,
    /// What the accepter wrote on it.
    pub accepter_tags: Tags,
}

/// One side of a peering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeeredVpc {
    /// The VPC.
    pub vpc: VpcId,
    /// Whose it is, as the request says.
    pub owner: AccountId,
    /// Whether public names of its instances lead to private addresses in the other VPC
    /// (`AllowDnsResolutionFromRemoteVpc`).
    pub dns_from_remote: bool,
}

/// How far a peering is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PeeringState {
    /// The accepter has not answered.
    PendingAcceptance,
    /// The request could not be: "incorrect account ID or VPC ID, or overlapping CIDR blocks".
    Failed,
    /// Nobody answered in time.
    Expired,
    /// The accepter did not want it.
    Rejected,
    /// Accepted, and not yet known to the data plane.
    Provisioning,
    /// Working.
    Active,
    /// Ended by either side, or taken back.
    Deleted,
}

impl PeeringState {
    /// AWS's word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PendingAcceptance => "pending-acceptance",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Deleted => "deleted",
        }
    }

    /// Whether packets pass.
    pub const fn passes(self) -> bool {
        match self {
            Self::Provisioning | Self::Active => true,
            Self::PendingAcceptance | Self::Failed | Self::Expired | Self::Rejected | Self::Deleted => false,
        }
    }

    /// Whether it is over for good.
    const fn is_over(self) -> bool {
        match self {
            Self::Failed | Self::Expired | Self::Rejected | Self::Deleted => true,
            Self::PendingAcceptance | Self::Provisioning | Self::Active => false,
        }
    }
}

impl VpcPeeringConnection {
    /// Both sides, who asked first.
    pub fn sides(&self) -> [&PeeredVpc; 2] {
        [&self.requester, &self.accepter]
    }

    /// What an account wrote on it: each side has tags of its own, and one account that is both has one set.
    pub fn tags_of(&self, account: AccountId) -> &Tags {
        if account == self.requester.owner { &self.tags } else { &self.accepter_tags }
    }

    /// See [`VpcPeeringConnection::tags_of`].
    pub(crate) fn tags_of_mut(&mut self, account: AccountId) -> &mut Tags {
        if account == self.requester.owner { &mut self.tags } else { &mut self.accepter_tags }
    }

    /// How far it is at this time: a request that waited too long has expired.
    pub fn status(&self, at: Timestamp) -> PeeringState {
        match self.state {
            PeeringState::PendingAcceptance if at >= self.expires_at() => PeeringState::Expired,
            other => other,
        }
    }

    /// Until when the request waits.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp(self.created_at.0 + WAITS_MILLISECONDS)
    }

    /// AWS's sentence about its state.
    pub fn message(&self, at: Timestamp) -> String {
        match self.status(at) {
            PeeringState::PendingAcceptance => format!("Pending Acceptance by {}", self.accepter.owner),
            PeeringState::Failed => {
                "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range".to_owned()
            }
            PeeringState::Expired => "Expired".to_owned(),
            PeeringState::Rejected => format!("Rejected by {}", self.accepter.owner),
            PeeringState::Provisioning => "Provisioning".to_owned(),
            PeeringState::Active => "Active".to_owned(),
            PeeringState::Deleted => match self.ended {
                Some((_, by)) => format!("Deleted by {by}"),
                None => "Deleted".to_owned(),
            },
        }
    }

    /// Whether an account is still shown it ("VPC peering connection lifecycle"): what has ended, two hours to who ended
    /// it and two days to the other; within an account two hours; what expired, two days to both; what failed, two
    /// hours to the requester.
    pub fn is_shown(&self, account: AccountId, at: Timestamp) -> bool {
        let within_account = self.requester.owner == self.accepter.owner;
        let requester = account == self.requester.owner;
        let (since, by) = self.ended.unwrap_or((self.created_at, self.requester.owner));
        let brief = within_account || account == by;
        let shown = match self.status(at) {
            PeeringState::PendingAcceptance | PeeringState::Provisioning | PeeringState::Active => {
                return true;
            }
            PeeringState::Failed if !requester => return false,
            PeeringState::Failed => SHOWN_BRIEFLY_MILLISECONDS,
            PeeringState::Expired => WAITS_MILLISECONDS + SHOWN_LONG_MILLISECONDS,
            PeeringState::Rejected | PeeringState::Deleted if brief => SHOWN_BRIEFLY_MILLISECONDS,
            PeeringState::Rejected | PeeringState::Deleted => SHOWN_LONG_MILLISECONDS,
        };
        at.0.saturating_sub(since.0) <= shown
    }
}

/// What can be done with peerings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum PeeringAction {
    Create {
        vpc: VpcId,
        peer: VpcId,
        peer_owner: AccountId,
        tags: TagSet,
    },
    Accept {
        peering: VpcPeeringConnectionId,
    },
    Reject {
        peering: VpcPeeringConnectionId,
    },
    Delete {
        peering: VpcPeeringConnectionId,
    },
    /// What each side lets the other's resolver say; none where it stays.
    ModifyOptions {
        peering: VpcPeeringConnectionId,
        requester_dns: Option<bool>,
        accepter_dns: Option<bool>,
    },
    /// The data plane knows of it.
    ReportReady {
        peering: VpcPeeringConnectionId,
    },
}

pub(crate) fn apply(txn: &mut Txn, action: PeeringAction) -> Result<(), ModelError> {
    use PeeringAction::*;
    match action {
        Create { vpc, peer, peer_owner, tags } => create(txn, vpc, (peer, peer_owner), &tags),
        Accept { peering } => accept(txn, peering),
        Reject { peering } => reject(txn, peering),
        Delete { peering } => delete(txn, peering),
        ModifyOptions { peering, requester_dns, accepter_dns } => {
            modify_options(txn, peering, requester_dns, accepter_dns)
        }
        ReportReady { peering } => ready(txn, peering),
    }
}

/// The connection that carries packets between two VPCs.
pub fn between(state: &State, a: VpcId, b: VpcId) -> Option<&Arc<VpcPeeringConnection>> {
    let joins = |peering: &&Arc<VpcPeeringConnection>| {
        let [one, other] = peering.sides().map(|side| side.vpc);
        peering.state.passes() && ((one, other) == (a, b) || (one, other) == (b, a))
    };
    state.vpc_peering_connections.values().find(joins)
}

fn create(
    txn: &mut Txn,
    vpc: VpcId,
    (peer, peer_owner): (VpcId, AccountId),
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.get::<Vpc>(vpc)?;
    let joins = |peering: &&Arc<VpcPeeringConnection>| {
        let [one, other] = peering.sides().map(|side| side.vpc);
        let live = !peering.status(txn.at).is_over();
        live && ((one, other) == (vpc, peer) || (one, other) == (peer, vpc))
    };
    // "You cannot have more than one VPC peering connection between two VPCs at the same time."
    if let Some(known) = txn.state.vpc_peering_connections.values().find(joins) {
        return Err(ModelError::PeeringExists { peering: known.id });
    }
    txn.within(Quota::PendingPeerings, |txn| {
        let all = txn.state.visible::<VpcPeeringConnection>(txn.account);
        let waits = |x: &&Arc<VpcPeeringConnection>| {
            x.requester.owner == txn.account && x.status(txn.at) == PeeringState::PendingAcceptance
        };
        all.filter(waits).count() + 1
    })?;
    let id = txn.mint::<VpcPeeringConnection>(VpcPeeringConnectionId::from_number)?;
    let possible = can_peer(&txn.state, vpc, (peer, peer_owner));
    let side = |vpc, owner| PeeredVpc { vpc, owner, dns_from_remote: false };
    let (requester, tags) = (side(vpc, txn.account), tag::collect(tags)?);
    txn.insert(VpcPeeringConnection {
        id,
        requester,
        accepter: side(peer, peer_owner),
        state: if possible { PeeringState::PendingAcceptance } else { PeeringState::Failed },
        created_at: txn.at,
        ended: (!possible).then_some((txn.at, txn.account)),
        tags,
        accepter_tags: Tags::new(),
    });
    forget_old(txn);
    Ok(())
}

/// Whether the other VPC is there, of that account, and none of the blocks of the two overlap: "If any of the VPCs have
/// multiple IPv4 CIDR blocks, you can't create a VPC peering connection if any of the CIDR blocks overlap".
fn can_peer(state: &State, vpc: VpcId, (peer, owner): (VpcId, AccountId)) -> bool {
    let (Some(one), Some(other)) = (state.vpcs.get(&vpc), state.vpcs.get(&peer)) else { return false };
    let apart = one.blocks.iter().all(|a| other.blocks.iter().all(|b| !overlap(a.cidr, b.cidr)));
    other.owner == owner && vpc != peer && apart
}

/// What nobody is shown any more goes when somebody makes a new one.
fn forget_old(txn: &mut Txn) {
    let shown = |x: &VpcPeeringConnection| x.sides().iter().any(|side| x.is_shown(side.owner, txn.at));
    let all = txn.state.vpc_peering_connections.values();
    // Routes that still lead to it name nothing that anybody misses: they are black holes either way.
    let gone: Vec<_> = all.filter(|x| !shown(x)).map(|x| x.id).collect();
    for id in gone {
        txn.state.vpc_peering_connections.remove(&id);
        txn.events.push(Event::Deleted(id.into()));
    }
}

fn invalid_transition(peering: &VpcPeeringConnection, at: Timestamp, to: &'static str) -> ModelError {
    ModelError::PeeringTransition { peering: peering.id, from: peering.status(at).name(), to }
}

/// Changes a connection, which either side may do.
fn change(
    txn: &mut Txn,
    id: VpcPeeringConnectionId,
    change: impl FnOnce(&mut VpcPeeringConnection),
) -> Result<(), ModelError> {
    txn.update::<VpcPeeringConnection>(id, change)
}

/// One that waits for the answer of this account.
fn asked_of(
    txn: &Txn,
    id: VpcPeeringConnectionId,
    verb: &'static str,
    to: PeeringState,
) -> Result<Arc<VpcPeeringConnection>, ModelError> {
    let peering = txn.get::<VpcPeeringConnection>(id)?;
    if peering.accepter.owner != txn.account {
        return Err(ModelError::PeeringNotYours { peering: id, account: txn.account, verb });
    }
    match peering.status(txn.at) {
        PeeringState::PendingAcceptance => Ok(peering),
        PeeringState::Failed
        | PeeringState::Expired
        | PeeringState::Rejected
        | PeeringState::Provisioning
        | PeeringState::Active
        | PeeringState::Deleted => Err(invalid_transition(&peering, txn.at, to.name())),
    }
}

fn accept(txn: &mut Txn, id: VpcPeeringConnectionId) -> Result<(), ModelError> {
    let peering = asked_of(txn, id, "accept", PeeringState::Provisioning)?;
    let (vpc, accepter) = (peering.requester.vpc, &peering.accepter);
    // Blocks may have been added since, and the VPC may have gone.
    if !can_peer(&txn.state, vpc, (accepter.vpc, accepter.owner)) {
        let by = txn.account;
        return change_to_end(txn, id, PeeringState::Failed, by);
    }
    for side in peering.sides() {
        let limit = quota::limit(&txn.state, side.owner, Quota::PeeringsPerVpc);
        txn.admit(|txn| {
            let count = of_vpc(&txn.state, side.vpc).filter(|x| x.state.passes()).count();
            if count < limit {
                Ok(())
            } else {
                Err(ModelError::Quota { quota: Quota::PeeringsPerVpc, limit })
            }
        })?;
    }
    change(txn, id, |peering| peering.state = PeeringState::Provisioning)
}

/// The connections that a VPC is a side of.
fn of_vpc(state: &State, vpc: VpcId) -> impl Iterator<Item = &Arc<VpcPeeringConnection>> {
    state.vpc_peering_connections.values().filter(move |x| x.sides().iter().any(|side| side.vpc == vpc))
}

fn change_to_end(
    txn: &mut Txn,
    id: VpcPeeringConnectionId,
    to: PeeringState,
    by: AccountId,
) -> Result<(), ModelError> {
    let at = txn.at;
    change(txn, id, |peering| {
        peering.state = to;
        peering.ended = Some((at, by));
    })
}

fn reject(txn: &mut Txn, id: VpcPeeringConnectionId) -> Result<(), ModelError> {
    let by = asked_of(txn, id, "reject", PeeringState::Rejected)?.accepter.owner;
    change_to_end(txn, id, PeeringState::Rejected, by)
}

/// "Either the owner of the requester VPC or the owner of the accepter VPC can delete the VPC peering connection if it's
/// in the active state. The owner of the requester VPC can delete a VPC peering connection in the pending-acceptance
/// state."
fn delete(txn: &mut Txn, id: VpcPeeringConnectionId) -> Result<(), ModelError> {
    let peering = txn.get::<VpcPeeringConnection>(id)?;
    match peering.status(txn.at) {
        PeeringState::Provisioning | PeeringState::Active => {}
        PeeringState::PendingAcceptance if peering.requester.owner == txn.account => {}
        PeeringState::PendingAcceptance => {
            let (account, verb) = (txn.account, "delete");
            return Err(ModelError::PeeringNotYours { peering: id, account, verb });
        }
        PeeringState::Failed | PeeringState::Expired | PeeringState::Rejected | PeeringState::Deleted => {
            return Err(invalid_transition(&peering, txn.at, PeeringState::Deleted.name()));
        }
    }
    let by = txn.account;
    change_to_end(txn, id, PeeringState::Deleted, by)
}

fn modify_options(
    txn: &mut Txn,
    id: VpcPeeringConnectionId,
    requester_dns: Option<bool>,
    accepter_dns: Option<bool>,
) -> Result<(), ModelError> {
    let peering = txn.get::<VpcPeeringConnection>(id)?;
    // "The VPC peering connection must be in the active state."
    match peering.status(txn.at) {
        PeeringState::Provisioning | PeeringState::Active => {}
        other @ (PeeringState::PendingAcceptance
        | PeeringState::Failed
        | PeeringState::Expired
        | PeeringState::Rejected
        | PeeringState::Deleted) => {
            let (resource, state) = (id.into(), other.name());
            return Err(ModelError::WrongState { resource, state, needed: "active" });
        }
    }
    for (side, dns) in peering.sides().into_iter().zip([requester_dns, accepter_dns]) {
        // "You can modify the requester options … if you own the requester VPC", and so with the accepter's.
        if dns.is_some() && side.owner != txn.account {
            let (account, verb) = (txn.account, "modify the options of");
            return Err(ModelError::PeeringNotYours { peering: id, account, verb });
        }
        // "Both VPCs must be enabled for DNS hostnames and DNS resolution."
        if dns == Some(true) {
            for side in peering.sides() {
                let names =
                    txn.state.vpcs.get(&side.vpc).is_some_and(|vpc| vpc.dns_support && vpc.dns_hostnames);
                if !names {
                    return Err(ModelError::PrivateDnsAttributes { vpc: side.vpc });
                }
            }
        }
    }
    change(txn, id, |peering| {
        peering.requester.dns_from_remote = requester_dns.unwrap_or(peering.requester.dns_from_remote);
        peering.accepter.dns_from_remote = accepter_dns.unwrap_or(peering.accepter.dns_from_remote);
    })
}

fn ready(txn: &mut Txn, id: VpcPeeringConnectionId) -> Result<(), ModelError> {
    let peering = txn.get::<VpcPeeringConnection>(id)?;
    match peering.state {
        PeeringState::Provisioning => change(txn, id, |peering| peering.state = PeeringState::Active),
        // The report of something that went on meanwhile.
        PeeringState::Active | PeeringState::Deleted => Ok(()),
        other @ (PeeringState::PendingAcceptance
        | PeeringState::Failed
        | PeeringState::Expired
        | PeeringState::Rejected) => {
            let (resource, state) = (id.into(), other.name());
            Err(ModelError::WrongState { resource, state, needed: "provisioning" })
        }
    }
}

/// The connection that keeps a VPC from going: one that works.
pub(crate) fn holds_vpc(state: &State, vpc: VpcId) -> Option<VpcPeeringConnectionId> {
    of_vpc(state, vpc).find(|x| x.state.passes()).map(|x| x.id)
}

/// Refuses a new block of a VPC that overlaps one of a peered VPC: "If the VPC has a peering connection, the CIDR block
/// must not overlap with that of the peer VPC."
pub(crate) fn check_new_block(txn: &Txn, vpc: VpcId, cidr: ipnet::Ipv4Net) -> Result<(), ModelError> {
    let live = of_vpc(&txn.state, vpc).filter(|x| x.state.passes());
    let peers = live.flat_map(|x| x.sides().map(|side| side.vpc)).filter(|peer| *peer != vpc);
    let blocks = peers.filter_map(|peer| txn.state.vpcs.get(&peer)).flat_map(|peer| peer.blocks.iter());
    match blocks.map(|block| block.cidr).find(|block| overlap(*block, cidr)) {
        Some(other) => Err(ModelError::BlockOverlap { cidr, other }),
        None => Ok(()),
    }
}

//! Invitations of accounts that are there already.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Member, Node, Organization, OrganizationRefusal, keep, managed, member, new_id};
use crate::error::ModelError;
use crate::id::{AccountId, Timestamp};
use crate::tag::{self, TagSet};
use crate::txn::Txn;

/// How long an invitation can be accepted: fifteen days.
const VALID_MILLISECONDS: u64 = 15 * 24 * 3_600 * 1_000;
/// How many invitations an organization remembers; settled ones go first.
const MAX_HANDSHAKES: usize = 1_000;

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshake {
    /// `h-…`.
    pub id: String,
    /// Who is invited.
    pub account: AccountId,
    /// What the invitation says.
    pub notes: String,
    /// What became of it.
    pub state: HandshakeState,
    /// When it was made.
    pub requested_at: Timestamp,
    /// Until when it can be accepted.
    pub expires_at: Timestamp,
    /// Tags that the account gets when it accepts.
    pub tags: TagSet,
}

/// What became of an invitation, apart from the time that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are AWS's")]
pub enum HandshakeState {
    Open,
    Accepted,
    Declined,
    Canceled,
}

impl Handshake {
    /// Whether it can still be accepted.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state == HandshakeState::Open && now < self.expires_at
    }
}

/// Whether an account of the region is invited or not is told to nobody: an invitation of one that is not there waits until
/// its time is over, as one that nobody answers.
pub(super) fn invite(
    txn: &mut Txn,
    account: AccountId,
    notes: String,
    tags: &TagSet,
) -> Result<(), ModelError> {
    // Made sure of before the account has them.
    tag::collect(tags)?;
    managed(txn, |organization, txn| {
        if organization.members.contains_key(&account) {
            return Err(OrganizationRefusal::AlreadyIn(account).into());
        }
        let mut all = organization.handshakes.values();
        if all.any(|handshake| handshake.account == account && handshake.is_open(txn.at)) {
            return Err(OrganizationRefusal::InvitedAlready(account).into());
        }
        make_room(organization, txn.at)?;
        let handshake = Handshake {
            id: new_id(txn, "h-", 10),
            account,
            notes,
            state: HandshakeState::Open,
            requested_at: txn.at,
            expires_at: Timestamp(txn.at.0.saturating_add(VALID_MILLISECONDS)),
            tags: tags.clone(),
        };
        organization.handshakes.insert(handshake.id.clone(), Arc::new(handshake));
        Ok(())
    })
}

fn make_room(organization: &mut Organization, now: Timestamp) -> Result<(), ModelError> {
    if organization.handshakes.len() < MAX_HANDSHAKES {
        return Ok(());
    }
    let settled = organization.handshakes.values().filter(|handshake| !handshake.is_open(now));
    let oldest = settled.min_by_key(|handshake| handshake.requested_at).map(|found| found.id.clone());
    match oldest {
        Some(id) => {
            organization.handshakes.remove(&id);
            Ok(())
        }
        None => Err(OrganizationRefusal::Full { what: "open handshakes", limit: MAX_HANDSHAKES }.into()),
    }
}

fn settle(
    organization: &mut Organization,
    id: &str,
    now: Timestamp,
    state: HandshakeState,
) -> Result<Arc<Handshake>, ModelError> {
    let found = organization.handshakes.get(id).cloned();
    let found =
        found.ok_or_else(|| OrganizationRefusal::NotFound { node: Node::Handshake, id: id.to_owned() })?;
    if !found.is_open(now) {
        return Err(OrganizationRefusal::HandshakeSettled(id.to_owned()).into());
    }
    let settled = Arc::new(Handshake { state, ..(*found).clone() });
    organization.handshakes.insert(id.to_owned(), Arc::clone(&settled));
    Ok(settled)
}

/// The organization that invited the command's account by this handshake.
fn inviting(txn: &Txn, id: &str) -> Result<Organization, ModelError> {
    let invited = |organization: &&Arc<Organization>| {
        organization.handshakes.get(id).is_some_and(|handshake| handshake.account == txn.account)
    };
    let found = txn.state.organizations.values().find(invited);
    let found =
        found.ok_or_else(|| OrganizationRefusal::NotFound { node: Node::Handshake, id: id.to_owned() })?;
    Ok((**found).clone())
}

pub(super) fn accept(txn: &mut Txn, id: &str) -> Result<(), ModelError> {
    let account = txn.account;
    let mut organization = inviting(txn, id)?;
    if txn.state.organization_of(account).is_some() {
        return Err(OrganizationRefusal::AlreadyIn(account).into());
    }
    let handshake = settle(&mut organization, id, txn.at, HandshakeState::Accepted)?;
    let name = txn.state.accounts.get(&account).map_or_else(String::new, |found| found.name.clone());
    let member = Member {
        parent: organization.root.clone(),
        name,
        // Accounts that no organization made have no address here.
        email: String::new(),
        created: false,
        joined_at: txn.at,
    };
    member::join(&mut organization, txn, account, member, &handshake.tags)?;
    keep(txn, organization);
    Ok(())
}

pub(super) fn decline(txn: &mut Txn, id: &str) -> Result<(), ModelError> {
    let mut organization = inviting(txn, id)?;
    settle(&mut organization, id, txn.at, HandshakeState::Declined)?;
    keep(txn, organization);
    Ok(())
}

pub(super) fn cancel(txn: &mut Txn, id: &str) -> Result<(), ModelError> {
    managed(txn, |organization, txn| settle(organization, id, txn.at, HandshakeState::Canceled).map(|_| ()))
}

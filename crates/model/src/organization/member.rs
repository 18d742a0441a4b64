//! Accounts that come into organizations, move in them and leave them.

use std::sync::Arc;

use super::{Creation, Member, NewAccount, Node, Organization, OrganizationRefusal, keep, managed, new_id};
use crate::account;
use crate::error::ModelError;
use crate::iam::{IamAction, Identity};
use crate::id::AccountId;
use crate::tag::{self, TagSet};
use crate::txn::Txn;

/// How many accounts an organization may have.
const MAX_MEMBERS: usize = 1_000;
/// How many numbers are drawn for a new account before it is given up.
const MAX_DRAWS: usize = 64;

/// Makes an account, with a role by which the management account gets in, under the root.
pub(super) fn create(txn: &mut Txn, new: NewAccount) -> Result<(), ModelError> {
    managed(txn, |organization, txn| {
        let mut members = txn.state.organizations.values().flat_map(|other| other.members.values());
        if members.any(|member| member.email.eq_ignore_ascii_case(&new.email)) {
            return Err(OrganizationRefusal::EmailTaken(new.email).into());
        }
        let account = free_number(txn)?;
        make(txn, account, &new)?;
        let member = Member {
            parent: organization.root.clone(),
            name: new.name.clone(),
            email: new.email,
            created: true,
            joined_at: txn.at,
        };
        join(organization, txn, account, member, &new.tags)?;
        let creation = Creation { id: new_id(txn, "car-", 32), name: new.name, account, at: txn.at };
        organization.creations.insert(creation.id.clone(), Arc::new(creation));
        Ok(())
    })
}

/// Twelve digits that no account has and that do not begin with a zero.
fn free_number(txn: &mut Txn) -> Result<AccountId, ModelError> {
    for _ in 0..MAX_DRAWS {
        let number = 100_000_000_000 + txn.next_random() % 900_000_000_000;
        let free = AccountId::from_number(number).filter(|id| !txn.state.accounts.contains_key(id));
        if let Some(account) = free {
            return Ok(account);
        }
    }
    Err(ModelError::IdsExhausted)
}

/// The account with its role, as the account itself would make it.
fn make(txn: &mut Txn, account: AccountId, new: &NewAccount) -> Result<(), ModelError> {
    let management = std::mem::replace(&mut txn.account, account);
    let (policy, document) = new.role_policy.clone();
    let role = IamAction::CreateRole {
        name: new.role.clone(),
        path: "/".to_owned(),
        trust_policy: new.role_trust.clone(),
        description: String::new(),
        max_session_seconds: 3_600,
        permissions_boundary: None,
        tags: TagSet::new(),
    };
    let identity = Identity::Role(new.role.clone());
    let policy = IamAction::PutInlinePolicy { identity, policy, document };
    let made = account::create(txn, new.name.clone(), None)
        .and_then(|()| crate::iam::apply(txn, role))
        .and_then(|()| crate::iam::apply(txn, policy));
    txn.account = management;
    made
}

pub(super) fn join(
    organization: &mut Organization,
    txn: &Txn,
    account: AccountId,
    member: Member,
    tags: &TagSet,
) -> Result<(), ModelError> {
    let count = organization.members.len();
    txn.admit(|_| match count < MAX_MEMBERS {
        true => Ok(()),
        false => Err(OrganizationRefusal::Full { what: "accounts", limit: MAX_MEMBERS }.into()),
    })?;
    let tags = tag::collect(tags)?;
    organization.members.insert(account, Arc::new(member));
    organization.attach_usual(&account.to_string());
    if !tags.is_empty() {
        organization.tags.insert(account.to_string(), tags);
    }
    Ok(())
}

fn missing(account: AccountId) -> ModelError {
    OrganizationRefusal::NotFound { node: Node::Account, id: account.to_string() }.into()
}

pub(super) fn remove(organization: &mut Organization, account: AccountId) -> Result<(), ModelError> {
    if account == organization.management {
        return Err(OrganizationRefusal::ManagementStays.into());
    }
    organization.members.remove(&account).ok_or_else(|| missing(account))?;
    organization.forget(&account.to_string());
    Ok(())
}

pub(super) fn leave(txn: &mut Txn) -> Result<(), ModelError> {
    let account = txn.account;
    let found = txn.state.organization_of(account).ok_or(OrganizationRefusal::NotInUse)?;
    let mut organization = (**found).clone();
    remove(&mut organization, account)?;
    keep(txn, organization);
    Ok(())
}

pub(super) fn relocate(
    organization: &mut Organization,
    account: AccountId,
    from: &str,
    to: String,
) -> Result<(), ModelError> {
    let member = organization.members.get(&account).cloned().ok_or_else(|| missing(account))?;
    let is_parent = |id: &str| matches!(organization.node(id), Some(Node::Root | Node::Unit));
    if !is_parent(from) || member.parent != from {
        return Err(OrganizationRefusal::NotThere { account, parent: from.to_owned() }.into());
    }
    if !is_parent(&to) {
        return Err(OrganizationRefusal::NotFound { node: Node::Destination, id: to }.into());
    }
    if member.parent == to {
        return Err(OrganizationRefusal::ThereAlready { account, parent: to }.into());
    }
    organization.members.insert(account, Arc::new(Member { parent: to, ..(*member).clone() }));
    Ok(())
}

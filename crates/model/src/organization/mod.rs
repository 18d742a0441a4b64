//! Organizations: accounts under one management account, in a tree of units, and the policies attached along it.
//!
//! Rules and limits from "Quotas and service limits for AWS Organizations" and the Organizations API reference. What a
//! policy says is a text here; the policy language knows what it means.

mod handshake;
mod member;
mod policy;
mod refusal;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

pub use self::handshake::{Handshake, HandshakeState};
pub use self::refusal::{Node, OrganizationRefusal};
use crate::error::ModelError;
use crate::event::Event;
use crate::id::{AccountId, Timestamp};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// AWS's own service control policy, which is attached everywhere when the type is enabled.
pub const FULL_ACCESS: &str = "p-FullAWSAccess";
/// AWS's own resource control policy, which is always attached everywhere while the type is enabled.
pub const RCP_FULL_ACCESS: &str = "p-RCPFullAWSAccess";

/// An organization.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Organization {
    /// `o-…`.
    pub id: String,
    /// The id of its root: `r-…`.
    pub root: String,
    /// Who made it, pays for it and is not bound by its policies.
    pub management: AccountId,
    /// Whether policies can be used; without, it is for billing only.
    pub all_features: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// The types of policies that are enabled.
    pub enabled: BTreeSet<ControlKind>,
    /// Units, by id.
    pub units: OrdMap<String, Arc<Unit>>,
    /// Accounts, the management account among them.
    pub members: OrdMap<AccountId, Arc<Member>>,
    /// Policies of its own, by id.
    pub policies: OrdMap<String, Arc<ControlPolicy>>,
    /// The ids of the policies attached to the root, units and accounts, by the ids of these; what nothing is attached to
    /// is not there.
    pub attachments: BTreeMap<String, BTreeSet<String>>,
    /// Invitations, by id.
    pub handshakes: OrdMap<String, Arc<Handshake>>,
    /// Accounts that it made, by the id of the request.
    pub creations: OrdMap<String, Arc<Creation>>,
    /// Tags of the root, units, accounts and policies, by their ids.
    pub tags: BTreeMap<String, Tags>,
}

/// A type of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ControlKind {
    /// `SERVICE_CONTROL_POLICY`.
    Service,
    /// `RESOURCE_CONTROL_POLICY`.
    Resource,
}

/// An organizational unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `ou-…`.
    pub id: String,
    /// Its name, unique under its parent.
    pub name: String,
    /// The root or another unit.
    pub parent: String,
}

/// An account in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The root or a unit.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// Where its owner is written to; empty for an account that no organization made.
    pub email: String,
    /// Whether the organization made it; else it was invited.
    pub created: bool,
    /// Since when.
    pub joined_at: Timestamp,
}

/// A policy of an organization's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlPolicy {
    /// `p-…`.
    pub id: String,
    /// Its type.
    pub kind: ControlKind,
    /// Its name, unique among those of its type.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it says.
    pub document: String,
}

/// An account that an organization made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Creation {
    /// `car-…`.
    pub id: String,
    /// What the account is called.
    pub name: String,
    /// The account.
    pub account: AccountId,
    /// When.
    pub at: Timestamp,
}

/// An account to be made by an organization, with the role by which the management account gets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAccount {
    /// What it is called.
    pub name: String,
    /// Where its owner is written to; no other account of the region has it.
    pub email: String,
    /// The role's name.
    pub role: String,
    /// Who may assume the role.
    pub role_trust: String,
    /// The name and text of the role's one policy.
    pub role_policy: (String, String),
    /// Tags of the account.
    pub tags: TagSet,
}

/// A change to the organization that the command's account manages; or is invited to or in, where it says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum OrganizationAction {
    Create {
        all_features: bool,
    },
    Delete,
    CreateAccount(Box<NewAccount>),
    Invite {
        account: AccountId,
        notes: String,
        tags: TagSet,
    },
    /// By the invited account.
    Accept {
        handshake: String,
    },
    /// By the invited account.
    Decline {
        handshake: String,
    },
    Cancel {
        handshake: String,
    },
    RemoveAccount {
        account: AccountId,
    },
    /// By a member.
    Leave,
    MoveAccount {
        account: AccountId,
        from: String,
        to: String,
    },
    CreateUnit {
        parent: String,
        name: String,
        tags: TagSet,
    },
    RenameUnit {
        unit: String,
        name: String,
    },
    DeleteUnit {
        unit: String,
    },
    SetPolicyType {
        kind: ControlKind,
        enabled: bool,
    },
    CreatePolicy {
        kind: ControlKind,
        name: String,
        description: String,
        document: String,
        tags: TagSet,
    },
    UpdatePolicy {
        policy: String,
        name: Option<String>,
        description: Option<String>,
        document: Option<String>,
    },
    DeletePolicy {
        policy: String,
    },
    AttachPolicy {
        policy: String,
        target: String,
    },
    DetachPolicy {
        policy: String,
        target: String,
    },
    Tag {
        resource: String,
        tags: TagSet,
    },
    Untag {
        resource: String,
        keys: Vec<String>,
    },
}

impl State {
    /// The organization that an account is in, as its manager or another member.
    pub fn organization_of(&self, account: AccountId) -> Option<&Arc<Organization>> {
        let managed = self.organizations.get(&account);
        let all = || self.organizations.values();
        managed.or_else(|| all().find(|organization| organization.members.contains_key(&account)))
    }
}

impl Organization {
    /// What has this id: the root, a unit or an account.
    pub fn node(&self, id: &str) -> Option<Node> {
        if id == self.root {
            return Some(Node::Root);
        }
        if self.units.contains_key(id) {
            return Some(Node::Unit);
        }
        let account = id.parse::<AccountId>().ok()?;
        self.members.contains_key(&account).then_some(Node::Account)
    }

    /// What stands directly over a unit or an account.
    pub fn parent(&self, id: &str) -> Option<&str> {
        if let Some(unit) = self.units.get(id) {
            return Some(&unit.parent);
        }
        let member = self.members.get(&id.parse::<AccountId>().ok()?)?;
        Some(&member.parent)
    }

    /// The way from the root down to the root, a unit or an account, both ends included.
    pub fn line(&self, id: &str) -> Vec<String> {
        let mut line = vec![id.to_owned()];
        let mut at = id;
        while let Some(parent) = self.parent(at) {
            line.push(parent.to_owned());
            at = parent;
        }
        line.reverse();
        line
    }

    /// The type of a policy, AWS's own included.
    pub fn kind_of(&self, policy: &str) -> Option<ControlKind> {
        match policy {
            FULL_ACCESS => Some(ControlKind::Service),
            RCP_FULL_ACCESS => Some(ControlKind::Resource),
            own => self.policies.get(own).map(|policy| policy.kind),
        }
    }

    /// What is attached to a root, unit or account, of one type.
    pub fn attached(&self, target: &str, kind: ControlKind) -> impl Iterator<Item = &str> {
        let all = self.attachments.get(target).into_iter().flatten();
        all.map(String::as_str).filter(move |policy| self.kind_of(policy) == Some(kind))
    }

    /// What AWS attaches to what is new in the tree, or everywhere when a type is enabled.
    fn attach_usual(&mut self, target: &str) {
        for kind in self.enabled.clone() {
            let policy = usual_policy(kind).to_owned();
            self.attachments.entry(target.to_owned()).or_default().insert(policy);
        }
    }

    /// Takes away what hangs on something that goes.
    fn forget(&mut self, id: &str) {
        self.attachments.remove(id);
        self.tags.remove(id);
    }
}

/// AWS's own policy of a type.
pub fn usual_policy(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::Service => FULL_ACCESS,
        ControlKind::Resource => RCP_FULL_ACCESS,
    }
}

/// Small letters and digits, as AWS's ids have after their prefix.
fn new_id(txn: &mut Txn, prefix: &str, length: usize) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = prefix.to_owned();
    for _ in 0..length {
        let index = usize::try_from(txn.next_random() % 36).unwrap_or_default();
        id.push(char::from(ALPHABET.get(index).copied().unwrap_or(b'a')));
    }
    id
}

/// Changes the organization that the command's account manages.
fn managed(
    txn: &mut Txn,
    change: impl FnOnce(&mut Organization, &mut Txn) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let manager = txn.account;
    let Some(found) = txn.state.organizations.get(&manager) else {
        let member = txn.state.organization_of(manager).is_some();
        let refusal = if member { OrganizationRefusal::NotManagement } else { OrganizationRefusal::NotInUse };
        return Err(refusal.into());
    };
    let mut organization = (**found).clone();
    change(&mut organization, txn)?;
    keep(txn, organization);
    Ok(())
}

fn keep(txn: &mut Txn, organization: Organization) {
    txn.state.organizations.insert(organization.management, Arc::new(organization));
    txn.events.push(Event::IdentityChanged);
}

fn create(txn: &mut Txn, all_features: bool) -> Result<(), ModelError> {
    let management = txn.account;
    if txn.state.organization_of(management).is_some() {
        return Err(OrganizationRefusal::AlreadyIn(management).into());
    }
    let (id, root) = (new_id(txn, "o-", 10), new_id(txn, "r-", 4));
    let name = txn.state.accounts.get(&management).map_or_else(String::new, |account| account.name.clone());
    let email = String::new();
    let member = Member { parent: root.clone(), name, email, created: false, joined_at: txn.at };
    let mut organization = Organization {
        id,
        root: root.clone(),
        management,
        all_features,
        created_at: txn.at,
        // "… with all features enabled and service control policies automatically enabled in the root."
        enabled: all_features.then_some(ControlKind::Service).into_iter().collect(),
        units: OrdMap::new(),
        members: OrdMap::unit(management, Arc::new(member)),
        policies: OrdMap::new(),
        attachments: BTreeMap::new(),
        handshakes: OrdMap::new(),
        creations: OrdMap::new(),
        tags: BTreeMap::new(),
    };
    organization.attach_usual(&root);
    organization.attach_usual(&management.to_string());
    keep(txn, organization);
    Ok(())
}

fn delete(txn: &mut Txn) -> Result<(), ModelError> {
    managed(txn, |organization, _| {
        if organization.members.len() > 1 {
            return Err(OrganizationRefusal::NotEmpty.into());
        }
        Ok(())
    })?;
    txn.state.organizations.remove(&txn.account);
    Ok(())
}

pub(crate) fn apply(txn: &mut Txn, action: OrganizationAction) -> Result<(), ModelError> {
    match action {
        OrganizationAction::Create { all_features } => create(txn, all_features),
        OrganizationAction::Delete => delete(txn),
        OrganizationAction::CreateAccount(new) => member::create(txn, *new),
        OrganizationAction::Invite { account, notes, tags } => handshake::invite(txn, account, notes, &tags),
        OrganizationAction::Accept { handshake } => handshake::accept(txn, &handshake),
        OrganizationAction::Decline { handshake } => handshake::decline(txn, &handshake),
        OrganizationAction::Cancel { handshake } => handshake::cancel(txn, &handshake),
        OrganizationAction::RemoveAccount { account } => {
            managed(txn, |organization, _| member::remove(organization, account))
        }
        OrganizationAction::Leave => member::leave(txn),
        OrganizationAction::MoveAccount { account, from, to } => {
            managed(txn, |organization, _| member::relocate(organization, account, &from, to))
        }
        OrganizationAction::CreateUnit { parent, name, tags } => {
            managed(txn, |organization, txn| unit::create(organization, txn, parent, name, &tags))
        }
        OrganizationAction::RenameUnit { unit, name } => {
            managed(txn, |organization, _| unit::rename(organization, &unit, name))
        }
        OrganizationAction::DeleteUnit { unit } => {
            managed(txn, |organization, _| unit::delete(organization, &unit))
        }
        OrganizationAction::SetPolicyType { kind, enabled } => {
            managed(txn, |organization, _| policy::set_type(organization, kind, enabled))
        }
        OrganizationAction::CreatePolicy { kind, name, description, document, tags } => {
            managed(txn, |organization, txn| {
                let new = ControlPolicy { id: String::new(), kind, name, description, document };
                policy::create(organization, txn, new, &tags)
            })
        }
        OrganizationAction::UpdatePolicy { policy, name, description, document } => {
            managed(txn, |organization, _| policy::update(organization, &policy, name, description, document))
        }
        OrganizationAction::DeletePolicy { policy } => {
            managed(txn, |organization, _| policy::delete(organization, &policy))
        }
        OrganizationAction::AttachPolicy { policy, target } => {
            managed(txn, |organization, txn| policy::attach(organization, txn, policy, &target))
        }
        OrganizationAction::DetachPolicy { policy, target } => {
            managed(txn, |organization, _| policy::detach(organization, &policy, &target))
        }
        OrganizationAction::Tag { resource, tags } => {
            managed(txn, |organization, _| edit_tags(organization, &resource, |old| tag::put(old, &tags)))
        }
        OrganizationAction::Untag { resource, keys } => managed(txn, |organization, _| {
            edit_tags(organization, &resource, |existing| {
                existing.retain(|key, _| !keys.contains(key));
                Ok(())
            })
        }),
    }
}

fn edit_tags(
    organization: &mut Organization,
    resource: &str,
    change: impl FnOnce(&mut Tags) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let known = organization.node(resource).is_some() || organization.policies.contains_key(resource);
    if !known {
        return Err(OrganizationRefusal::NotFound { node: Node::Target, id: resource.to_owned() }.into());
    }
    change(organization.tags.entry(resource.to_owned()).or_default())
}

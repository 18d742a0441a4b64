//! Organizations. Both accounts of a history may have one, or one of them be in the other's.

use std::sync::Arc;

use postern_model::organization::{
    ControlKind, Handshake, HandshakeState, NewAccount, Organization, OrganizationAction,
};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    fn own_organization(&self) -> Option<Arc<Organization>> {
        self.state.organization_of(self.account).cloned()
    }

    /// One of these, or what nobody has.
    fn one_of(&mut self, all: Vec<String>, nobodys: &str) -> String {
        if all.is_empty() || self.random.chance(5) { nobodys.to_owned() } else { self.random.of(&all) }
    }

    /// The root or a unit.
    fn parent_node(&mut self) -> String {
        let all = self.own_organization().into_iter().flat_map(|found| {
            std::iter::once(found.root.clone()).chain(found.units.keys().cloned()).collect::<Vec<_>>()
        });
        self.one_of(all.collect(), "r-none")
    }

    fn unit(&mut self) -> String {
        let all = self
            .own_organization()
            .into_iter()
            .flat_map(|found| found.units.keys().cloned().collect::<Vec<_>>());
        self.one_of(all.collect(), "ou-none-00000000")
    }

    fn member(&mut self) -> AccountId {
        let all = self
            .own_organization()
            .into_iter()
            .flat_map(|found| found.members.keys().map(ToString::to_string).collect::<Vec<_>>());
        self.one_of(all.collect(), "999999999999").parse().unwrap()
    }

    fn control_policy(&mut self) -> String {
        let all = self.own_organization().into_iter().flat_map(|found| {
            let own = found.policies.keys().cloned();
            own.chain(["p-FullAWSAccess".to_owned(), "p-RCPFullAWSAccess".to_owned()]).collect::<Vec<_>>()
        });
        self.one_of(all.collect(), "p-none")
    }

    /// A handshake of anybody's: mostly one that waits for the account, so that there are members that nobody made.
    fn handshake(&mut self) -> String {
        let all = self.state.organizations.values().flat_map(|found| found.handshakes.values());
        let all: Vec<_> = all.collect();
        let waits =
            |found: &&&Arc<Handshake>| found.account == self.account && found.state == HandshakeState::Open;
        let waiting: Vec<String> = all.iter().filter(waits).map(|found| found.id.clone()).collect();
        if !waiting.is_empty() && self.random.chance(80) {
            return self.random.of(&waiting);
        }
        let all = all.iter().map(|found| found.id.clone()).collect();
        self.one_of(all, "h-none")
    }

    fn node_or_account(&mut self) -> String {
        match self.random.below(2) {
            0 => self.parent_node(),
            _ => self.member().to_string(),
        }
    }

    fn control_kind(&mut self) -> ControlKind {
        self.random.of(&[ControlKind::Service, ControlKind::Resource])
    }

    pub(super) fn organization(&mut self, kind: &str) -> OrganizationAction {
        let name = self.name();
        match kind {
            "Create" => OrganizationAction::Create { all_features: self.random.chance(90) },
            "Delete" => OrganizationAction::Delete,
            "CreateAccount" => OrganizationAction::CreateAccount(Box::new(NewAccount {
                email: format!("{}@example.com", self.random.below(30)),
                name,
                role: "in".to_owned(),
                role_trust: self.document(),
                role_policy: ("all".to_owned(), self.document()),
                tags: self.tags(),
            })),
            "Invite" => {
                // Accounts that organizations made never answer.
                let made = |account: &AccountId| {
                    self.state.organization_of(*account).is_some_and(|found| found.members[account].created)
                };
                let others = self.state.accounts.keys().copied().filter(|account| !made(account));
                let others: Vec<AccountId> = others.collect();
                let account = self.random.of(&others);
                OrganizationAction::Invite { account, notes: name, tags: self.tags() }
            }
            "Accept" => OrganizationAction::Accept { handshake: self.handshake() },
            "Decline" => OrganizationAction::Decline { handshake: self.handshake() },
            "Cancel" => OrganizationAction::Cancel { handshake: self.handshake() },
            "RemoveAccount" => OrganizationAction::RemoveAccount { account: self.member() },
            "Leave" => OrganizationAction::Leave,
            "MoveAccount" => {
                let account = self.member();
                let organization = self.own_organization();
                let from =
                    organization.and_then(|found| found.parent(&account.to_string()).map(str::to_owned));
                let from = from.unwrap_or_else(|| self.parent_node());
                OrganizationAction::MoveAccount { account, from, to: self.parent_node() }
            }
            "CreateUnit" => {
                OrganizationAction::CreateUnit { parent: self.parent_node(), name, tags: self.tags() }
            }
            "RenameUnit" => OrganizationAction::RenameUnit { unit: self.unit(), name },
            "DeleteUnit" => OrganizationAction::DeleteUnit { unit: self.unit() },
            "SetPolicyType" => OrganizationAction::SetPolicyType {
                kind: self.control_kind(),
                enabled: self.random.chance(60),
            },
            "CreatePolicy" => OrganizationAction::CreatePolicy {
                kind: self.control_kind(),
                name,
                description: String::new(),
                document: self.document(),
                tags: self.tags(),
            },
            "UpdatePolicy" => OrganizationAction::UpdatePolicy {
                policy: self.control_policy(),
                name: self.random.of(&[None, Some(name)]),
                description: None,
                document: Some(self.document()),
            },
            "DeletePolicy" => OrganizationAction::DeletePolicy { policy: self.control_policy() },
            "AttachPolicy" => OrganizationAction::AttachPolicy {
                policy: self.control_policy(),
                target: self.node_or_account(),
            },
            "DetachPolicy" => {
                // Mostly what is attached: of so many pairs, one would hardly ever fit.
                let attached = self.own_organization().into_iter().flat_map(|found| {
                    let pairs = found.attachments.clone().into_iter();
                    pairs
                        .flat_map(|(target, all)| all.into_iter().map(move |policy| (policy, target.clone())))
                });
                // AWS's own are the last ones at most places.
                let mut attached: Vec<_> = attached.collect();
                if attached.iter().any(|(policy, _)| !policy.ends_with("AWSAccess")) {
                    attached.retain(|(policy, _)| !policy.ends_with("AWSAccess"));
                }
                let fits = !attached.is_empty() && self.random.chance(80);
                let drawn = (self.control_policy(), self.node_or_account());
                let (policy, target) = if fits { self.random.of(&attached) } else { drawn };
                OrganizationAction::DetachPolicy { policy, target }
            }
            "Tag" => OrganizationAction::Tag { resource: self.node_or_account(), tags: self.tags() },
            "Untag" => {
                OrganizationAction::Untag { resource: self.node_or_account(), keys: vec!["k0".to_owned()] }
            }
            other => panic!("no way to draw Organization.{other}"),
        }
    }
}

//! Accounts and identities.

use postern_model::endpoint::{NewUpstream, UpstreamProtocol};
use postern_model::iam::{Bounded, IamAction, Identity, KeyOwner, Secret, Tagged};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about accounts, or the quotas of one, if this is a kind of them.
    pub(super) fn account_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "CreateAccount" => Action::CreateAccount { name: self.name(), root_key: Some(self.new_key()) },
            "CreateRootKey" => {
                let (id, secret) = self.new_key();
                Action::CreateRootKey { id, secret }
            }
            "SetQuota" => {
                let quota = self.random.of(Quota::ALL);
                let limits = [None, Some(quota.usual()), Some(quota.most()), Some(quota.most() + 1)];
                Action::SetQuota { quota, limit: self.random.of(&limits) }
            }
            "RequestQuotaIncrease" => {
                let quota = self.random.of(Quota::ALL);
                let desired = self.random.of(&[quota.usual(), quota.most(), quota.most() + 1, 0]);
                let (code, id) = ("L-00000000".to_owned(), self.random.next().to_string());
                Action::RequestQuotaIncrease { quota, code, id, desired, requester: String::new() }
            }
            "AddService" => Action::AddService(self.new_upstream()),
            "RemoveService" => Action::RemoveService { name: self.upstream_name() },
            _ => return None,
        })
    }

    fn upstream_name(&mut self) -> String {
        self.random.of(&["logs", "kinesis-streams", "partner", "partner.two", "none"]).to_owned()
    }

    fn new_upstream(&mut self) -> NewUpstream {
        let name = self.upstream_name();
        let own = name.starts_with("partner");
        let private = [vec![], vec!["api.partner.example".to_owned()], vec!["*.partner.example".to_owned()]];
        NewUpstream {
            name,
            url: self.random.of(&["http://127.0.0.1:1", "https://partner.example", "partner"]).to_owned(),
            protocol: self.random.of(&UpstreamProtocol::ALL),
            signing_name: "partner".to_owned(),
            action_prefix: "partner".to_owned(),
            key: None,
            private_dns_names: if own { self.random.of(&private) } else { Vec::new() },
            owner: (own && self.random.chance(20)).then_some(self.account),
        }
    }

    pub(super) fn identity(&mut self) -> Identity {
        let name = self.name();
        match self.random.below(3) {
            0 => Identity::User(name),
            1 => Identity::Group(name),
            _ => Identity::Role(name),
        }
    }

    fn boundary(&mut self) -> Option<String> {
        self.random.chance(30).then(|| self.policy_arn())
    }

    fn tagged(&mut self) -> Tagged {
        match self.random.below(3) {
            0 => Tagged::User(self.name()),
            1 => Tagged::Policy(self.policy_arn()),
            _ => Tagged::InstanceProfile(self.name()),
        }
    }

    pub(super) fn policy_arn(&mut self) -> String {
        let (state, account) = (self.state, self.account);
        let of = |own: bool| {
            let iam = state.iam.iter().filter(move |(owner, _)| (**owner == account) == own);
            iam.flat_map(|(_, iam)| iam.policies.keys().cloned()).collect::<Vec<_>>()
        };
        let (own, foreign) = (of(true), of(false));
        match self.random.below(20) {
            0..15 if !own.is_empty() => self.random.of(&own),
            15 if !foreign.is_empty() => {
                let chosen = self.random.of(&foreign);
                let nobodys = "arn:aws:iam::999999999999:policy/nobodys".to_owned();
                self.foreign.push((chosen.clone(), nobodys));
                chosen
            }
            16 => "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned(),
            _ => "arn:aws:iam::999999999999:policy/none".to_owned(),
        }
    }

    /// A key and, if it is the account's own, whose.
    pub(super) fn key(&mut self) -> (Option<String>, String) {
        let mut own = Vec::new();
        let mut foreign = Vec::new();
        for (account, iam) in &self.state.iam {
            for key in iam.access_keys.values() {
                let user = match &key.owner {
                    KeyOwner::Root => None,
                    KeyOwner::User(name) => Some(name.clone()),
                };
                if *account == self.account { &mut own } else { &mut foreign }.push((user, key.id.clone()));
            }
        }
        match self.random.below(10) {
            0..8 if !own.is_empty() => self.random.of(&own),
            8 if !foreign.is_empty() => {
                let chosen = self.random.of(&foreign);
                self.foreign.push((chosen.1.clone(), "AKIANOBODYS".to_owned()));
                chosen
            }
            _ => (None, "AKIANOBODYS".to_owned()),
        }
    }

    pub(super) fn new_key(&mut self) -> (String, Secret) {
        (format!("AKIA{:016X}", self.random.next()), Secret("secret".to_owned()))
    }

    pub(super) fn document(&mut self) -> String {
        format!(r#"{{"Version":"2012-10-17","Id":"{}"}}"#, self.random.below(3))
    }

    pub(super) fn iam(&mut self, kind: &str) -> IamAction {
        let (name, other) = (self.name(), self.name());
        match kind {
            "CreateUser" => IamAction::CreateUser {
                name,
                path: "/".to_owned(),
                permissions_boundary: self.boundary(),
                tags: self.tags(),
            },
            "DeleteUser" => IamAction::DeleteUser { name },
            "CreateRole" => IamAction::CreateRole {
                name,
                path: "/".to_owned(),
                trust_policy: self.document(),
                description: String::new(),
                max_session_seconds: 3_600,
                permissions_boundary: self.boundary(),
                tags: self.tags(),
            },
            "DeleteRole" => IamAction::DeleteRole { name },
            "UpdateTrustPolicy" => IamAction::UpdateTrustPolicy { role: name, document: self.document() },
            "SetPermissionsBoundary" => {
                let own = self.state.iam.get(&self.account);
                let users = own.iter().flat_map(|iam| iam.users.keys().cloned().map(Bounded::User));
                let roles = own.iter().flat_map(|iam| iam.roles.keys().cloned().map(Bounded::Role));
                let mut all: Vec<_> = users.chain(roles).collect();
                if all.is_empty() || self.random.chance(20) {
                    all = vec![Bounded::User(name.clone()), Bounded::Role(name)];
                }
                let identity = self.random.of(&all);
                IamAction::SetPermissionsBoundary { identity, arn: self.boundary() }
            }
            "CreateGroup" => IamAction::CreateGroup { name, path: "/".to_owned() },
            "UpdateGroup" => IamAction::UpdateGroup {
                name,
                new_name: self.random.of(&[None, Some(other)]),
                new_path: self.random.of(&[None, Some("/a/".to_owned())]),
            },
            "DeleteGroup" => IamAction::DeleteGroup { name },
            "AddUserToGroup" | "RemoveUserFromGroup" => {
                // Mostly of those that are there: of so many names, two would hardly ever fit.
                let iam = self.state.iam.get(&self.account).cloned().unwrap_or_default();
                let groups: Vec<String> = iam.groups.keys().cloned().collect();
                let users: Vec<String> = iam.users.keys().cloned().collect();
                let fits = !groups.is_empty() && !users.is_empty() && self.random.chance(80);
                let there = (
                    self.random.of(&[groups, vec![name.clone()]].concat()),
                    self.random.of(&[users, vec![other.clone()]].concat()),
                );
                let (group, user) = if fits { there } else { (name, other) };
                if kind == "AddUserToGroup" {
                    IamAction::AddUserToGroup { group, user }
                } else {
                    IamAction::RemoveUserFromGroup { group, user }
                }
            }
            "PutInlinePolicy" => IamAction::PutInlinePolicy {
                identity: self.identity(),
                policy: name,
                document: self.document(),
            },
            "DeleteInlinePolicy" => {
                // Mostly one that is there: of so many pairs, one would hardly ever fit.
                let iam = self.state.iam.get(&self.account).cloned().unwrap_or_default();
                let users =
                    iam.users.values().map(|user| (Identity::User(user.name.clone()), &user.policies));
                let roles =
                    iam.roles.values().map(|role| (Identity::Role(role.name.clone()), &role.policies));
                let there: Vec<_> = users
                    .chain(roles)
                    .flat_map(|(of, policies)| {
                        policies.inline.keys().map(move |name| (of.clone(), name.clone()))
                    })
                    .collect();
                let fits = !there.is_empty() && self.random.chance(70);
                let drawn = (self.identity(), name);
                let (identity, policy) = if fits { self.random.of(&there) } else { drawn };
                IamAction::DeleteInlinePolicy { identity, policy }
            }
            "AttachPolicy" => IamAction::AttachPolicy { identity: self.identity(), arn: self.policy_arn() },
            "DetachPolicy" => {
                // Mostly one that is attached, for the same reason.
                let iam = self.state.iam.get(&self.account).cloned().unwrap_or_default();
                let users =
                    iam.users.values().map(|user| (Identity::User(user.name.clone()), &user.policies));
                let groups = iam.groups.values();
                let groups = groups.map(|group| (Identity::Group(group.name.clone()), &group.policies));
                let roles =
                    iam.roles.values().map(|role| (Identity::Role(role.name.clone()), &role.policies));
                let attached: Vec<_> = users
                    .chain(groups)
                    .chain(roles)
                    .flat_map(|(of, policies)| {
                        policies.attached.iter().map(move |arn| (of.clone(), arn.clone()))
                    })
                    .collect();
                let fits = !attached.is_empty() && self.random.chance(70);
                let drawn = (self.identity(), self.policy_arn());
                let (identity, arn) = if fits { self.random.of(&attached) } else { drawn };
                IamAction::DetachPolicy { identity, arn }
            }
            "CreatePolicy" => IamAction::CreatePolicy {
                name,
                path: self.random.of(&["/", "/a/"]).to_owned(),
                description: String::new(),
                document: self.document(),
                tags: self.tags(),
            },
            "CreatePolicyVersion" => IamAction::CreatePolicyVersion {
                arn: self.policy_arn(),
                document: self.document(),
                set_default: self.random.chance(50),
            },
            "SetDefaultPolicyVersion" => IamAction::SetDefaultPolicyVersion {
                arn: self.policy_arn(),
                version: self.random.of(&[1, 2, 3]),
            },
            "DeletePolicyVersion" => {
                IamAction::DeletePolicyVersion { arn: self.policy_arn(), version: self.random.of(&[1, 2, 3]) }
            }
            "UpdateRole" => IamAction::UpdateRole {
                role: name,
                description: self.random.of(&[None, Some("new".to_owned())]),
                max_session_seconds: self.random.of(&[None, Some(7_200)]),
            },
            "DeletePolicy" => IamAction::DeletePolicy { arn: self.policy_arn() },
            "CreateInstanceProfile" => {
                IamAction::CreateInstanceProfile { name, path: "/".to_owned(), tags: self.tags() }
            }
            "DeleteInstanceProfile" => IamAction::DeleteInstanceProfile { name },
            "AddRoleToInstanceProfile" => IamAction::AddRoleToInstanceProfile { profile: name, role: other },
            "RemoveRoleFromInstanceProfile" => {
                // Mostly the role that it holds: of so many names, two would hardly ever fit.
                let iam = self.state.iam.get(&self.account);
                let profiles = iam.into_iter().flat_map(|iam| iam.instance_profiles.values());
                let held: Vec<_> = profiles
                    .filter_map(|profile| Some((profile.name.clone(), profile.role.clone()?)))
                    .collect();
                let fits = !held.is_empty() && self.random.chance(70);
                let (profile, role) = if fits { self.random.of(&held) } else { (name, other) };
                IamAction::RemoveRoleFromInstanceProfile { profile, role }
            }
            "CreateAccessKey" => {
                let (id, secret) = self.new_key();
                IamAction::CreateAccessKey { user: name, id, secret }
            }
            "SetAccessKey" => {
                let (user, id) = self.key();
                IamAction::SetAccessKey { user, id, active: self.random.chance(50) }
            }
            "DeleteAccessKey" => {
                let (user, id) = self.key();
                IamAction::DeleteAccessKey { user, id }
            }
            "TagRole" => IamAction::TagRole { role: name, tags: self.tags() },
            "UntagRole" => IamAction::UntagRole { role: name, keys: vec!["k0".to_owned()] },
            "Tag" => IamAction::Tag { what: self.tagged(), tags: self.tags() },
            "Untag" => IamAction::Untag { what: self.tagged(), keys: vec!["k0".to_owned()] },
            other => panic!("no way to draw Iam.{other}"),
        }
    }
}

//! What a request asks for: `iam:<Operation>` on the ARN of what it names.
//!
//! Resource types and condition keys from "Actions, resources, and condition keys for AWS Identity and Access
//! Management" in the service authorization reference.

use postern_frontdoor::caller::Identity;
use postern_frontdoor::{Ask, Caller};
use postern_model::iam::Iam;
use postern_model::{AccountId, State, Tags};
use postern_policy::Context;
use postern_wire::iam::{Request, Tag, UpdateGroupRequest};

use super::shape::profile_arn;
use crate::directory::{group_arn, role_arn, user_arn};

struct Namer<'a> {
    account: AccountId,
    iam: Option<&'a Iam>,
    caller: &'a Caller,
}

/// What is asked on, and the keys that go with it.
type Target = (String, Context);

/// Everything that a request asks for.
pub(super) fn asks(state: &State, account: AccountId, caller: &Caller, request: &Request) -> Vec<Ask> {
    let namer = Namer { account, iam: state.iam.get(&account).map(AsRef::as_ref), caller };
    let ask = |action: String, (resource, context): Target| Ask {
        action,
        resource,
        resource_account: None,
        resource_policy: None,
        context,
    };
    let mut asks = vec![ask(format!("iam:{}", request.name()), namer.target(request))];
    if let Request::AddRoleToInstanceProfile(request) = request {
        // Whoever puts a role into a profile hands it to instances.
        let (role, context) = namer.role(request.role_name.as_deref());
        asks.push(ask(
            "iam:PassRole".to_owned(),
            (role, context.with("iam:PassedToService", "ec2.amazonaws.com")),
        ));
    }
    if let Request::UpdateGroup(request) = request {
        // Who renames a group needs to be allowed to under both names ("UpdateGroup" in the IAM API reference).
        let renamed = namer.renamed_group(request);
        asks.extend(renamed.map(|arn| ask("iam:UpdateGroup".to_owned(), (arn, Context::new()))));
    }
    asks
}

impl Namer<'_> {
    fn target(&self, request: &Request) -> Target {
        match request {
            Request::CreateRole(r) => bounded(
                self.made("role", r.path.as_deref(), r.role_name.as_deref(), &r.tags),
                r.permissions_boundary.as_deref(),
            ),
            Request::CreatePolicy(r) => {
                self.made("policy", r.path.as_deref(), r.policy_name.as_deref(), &r.tags)
            }
            Request::CreateInstanceProfile(r) => {
                self.made("instance-profile", r.path.as_deref(), r.instance_profile_name.as_deref(), &r.tags)
            }
            Request::CreateUser(r) => bounded(
                self.made("user", r.path.as_deref(), r.user_name.as_deref(), &r.tags),
                r.permissions_boundary.as_deref(),
            ),
            Request::CreateGroup(r) => self.made("group", r.path.as_deref(), r.group_name.as_deref(), &[]),

            Request::GetRole(r) => self.role(r.role_name.as_deref()),
            Request::DeleteRole(r) => self.role(r.role_name.as_deref()),
            Request::UpdateAssumeRolePolicy(r) => self.role(r.role_name.as_deref()),
            Request::PutRolePolicy(r) => self.bounded_role(r.role_name.as_deref()),
            Request::GetRolePolicy(r) => self.role(r.role_name.as_deref()),
            Request::DeleteRolePolicy(r) => self.bounded_role(r.role_name.as_deref()),
            Request::ListRolePolicies(r) => self.role(r.role_name.as_deref()),
            Request::AttachRolePolicy(r) => {
                with_policy(self.bounded_role(r.role_name.as_deref()), r.policy_arn.as_deref())
            }
            Request::DetachRolePolicy(r) => {
                with_policy(self.bounded_role(r.role_name.as_deref()), r.policy_arn.as_deref())
            }
            Request::ListAttachedRolePolicies(r) => self.role(r.role_name.as_deref()),
            Request::ListInstanceProfilesForRole(r) => self.role(r.role_name.as_deref()),
            Request::TagRole(r) => tagged(self.role(r.role_name.as_deref()), &r.tags),
            Request::UntagRole(r) => untagged(self.role(r.role_name.as_deref()), &r.tag_keys),
            Request::ListRoleTags(r) => self.role(r.role_name.as_deref()),
            Request::TagUser(r) => tagged(self.user(r.user_name.as_deref()), &r.tags),
            Request::UntagUser(r) => untagged(self.user(r.user_name.as_deref()), &r.tag_keys),
            Request::ListUserTags(r) => self.user(r.user_name.as_deref()),
            Request::TagPolicy(r) => tagged(self.policy(r.policy_arn.as_deref()), &r.tags),
            Request::UntagPolicy(r) => untagged(self.policy(r.policy_arn.as_deref()), &r.tag_keys),
            Request::ListPolicyTags(r) => self.policy(r.policy_arn.as_deref()),
            Request::TagInstanceProfile(r) => {
                tagged(self.profile(r.instance_profile_name.as_deref()), &r.tags)
            }
            Request::UntagInstanceProfile(r) => {
                untagged(self.profile(r.instance_profile_name.as_deref()), &r.tag_keys)
            }
            Request::ListInstanceProfileTags(r) => self.profile(r.instance_profile_name.as_deref()),

            Request::GetGroup(r) => self.group(r.group_name.as_deref()),
            Request::UpdateGroup(r) => self.group(r.group_name.as_deref()),
            Request::DeleteGroup(r) => self.group(r.group_name.as_deref()),
            Request::AddUserToGroup(r) => self.group(r.group_name.as_deref()),
            Request::RemoveUserFromGroup(r) => self.group(r.group_name.as_deref()),
            Request::PutGroupPolicy(r) => self.group(r.group_name.as_deref()),
            Request::GetGroupPolicy(r) => self.group(r.group_name.as_deref()),
            Request::DeleteGroupPolicy(r) => self.group(r.group_name.as_deref()),
            Request::ListGroupPolicies(r) => self.group(r.group_name.as_deref()),
            Request::ListAttachedGroupPolicies(r) => self.group(r.group_name.as_deref()),
            Request::AttachGroupPolicy(r) => {
                with_policy(self.group(r.group_name.as_deref()), r.policy_arn.as_deref())
            }
            Request::DetachGroupPolicy(r) => {
                with_policy(self.group(r.group_name.as_deref()), r.policy_arn.as_deref())
            }

            Request::ListEntitiesForPolicy(r) => self.policy(r.policy_arn.as_deref()),
            Request::GetPolicy(r) => self.policy(r.policy_arn.as_deref()),
            Request::GetPolicyVersion(r) => self.policy(r.policy_arn.as_deref()),
            Request::DeletePolicy(r) => self.policy(r.policy_arn.as_deref()),
            Request::ListPolicyVersions(r) => self.policy(r.policy_arn.as_deref()),
            Request::CreatePolicyVersion(r) => self.policy(r.policy_arn.as_deref()),
            Request::DeletePolicyVersion(r) => self.policy(r.policy_arn.as_deref()),
            Request::SetDefaultPolicyVersion(r) => self.policy(r.policy_arn.as_deref()),
            Request::UpdateRole(r) => self.role(r.role_name.as_deref()),

            Request::PutRolePermissionsBoundary(r) => {
                bounded(self.role(r.role_name.as_deref()), r.permissions_boundary.as_deref())
            }
            Request::DeleteRolePermissionsBoundary(r) => self.bounded_role(r.role_name.as_deref()),
            Request::PutUserPermissionsBoundary(r) => {
                bounded(self.user(r.user_name.as_deref()), r.permissions_boundary.as_deref())
            }
            Request::DeleteUserPermissionsBoundary(r) => self.bounded_user(r.user_name.as_deref()),
            Request::GetInstanceProfile(r) => self.profile(r.instance_profile_name.as_deref()),
            Request::DeleteInstanceProfile(r) => self.profile(r.instance_profile_name.as_deref()),
            Request::AddRoleToInstanceProfile(r) => self.profile(r.instance_profile_name.as_deref()),
            Request::RemoveRoleFromInstanceProfile(r) => self.profile(r.instance_profile_name.as_deref()),

            Request::GetUser(r) => self.user(r.user_name.as_deref()),
            Request::DeleteUser(r) => self.user(r.user_name.as_deref()),
            Request::PutUserPolicy(r) => self.bounded_user(r.user_name.as_deref()),
            Request::GetUserPolicy(r) => self.user(r.user_name.as_deref()),
            Request::DeleteUserPolicy(r) => self.bounded_user(r.user_name.as_deref()),
            Request::ListGroupsForUser(r) => self.user(r.user_name.as_deref()),
            Request::ListUserPolicies(r) => self.user(r.user_name.as_deref()),
            Request::AttachUserPolicy(r) => {
                with_policy(self.bounded_user(r.user_name.as_deref()), r.policy_arn.as_deref())
            }
            Request::DetachUserPolicy(r) => {
                with_policy(self.bounded_user(r.user_name.as_deref()), r.policy_arn.as_deref())
            }
            Request::ListAttachedUserPolicies(r) => self.user(r.user_name.as_deref()),
            Request::CreateAccessKey(r) => self.user(r.user_name.as_deref()),
            Request::DeleteAccessKey(r) => self.user(r.user_name.as_deref()),
            Request::ListAccessKeys(r) => self.user(r.user_name.as_deref()),
            Request::UpdateAccessKey(r) => self.user(r.user_name.as_deref()),

            Request::ListGroups(r) => self.list("group", r.path_prefix.as_deref()),
            Request::ListRoles(r) => self.list("role", r.path_prefix.as_deref()),
            Request::ListUsers(r) => self.list("user", r.path_prefix.as_deref()),
            Request::ListInstanceProfiles(r) => self.list("instance-profile", r.path_prefix.as_deref()),
            Request::ListPolicies(_)
            | Request::SimulateCustomPolicy(_)
            | Request::GetContextKeysForCustomPolicy(_) => ("*".to_owned(), Context::new()),
            Request::SimulatePrincipalPolicy(r) => self.principal(r.policy_source_arn.as_deref()),
            Request::GetContextKeysForPrincipalPolicy(r) => self.principal(r.policy_source_arn.as_deref()),
        }
    }

    fn arn(&self, kind: &str, path: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:{kind}{path}{name}", self.account)
    }

    /// What is about to be made.
    fn made(&self, kind: &str, path: Option<&str>, name: Option<&str>, tags: &[Tag]) -> Target {
        let arn = self.arn(kind, path.unwrap_or("/"), name.unwrap_or_default());
        (arn, with_request_tags(Context::new(), tags))
    }

    fn list(&self, kind: &str, prefix: Option<&str>) -> Target {
        (self.arn(kind, prefix.unwrap_or("/"), ""), Context::new())
    }

    /// What is not there is asked for under the name that it would have.
    fn role(&self, name: Option<&str>) -> Target {
        let name = name.unwrap_or_default();
        match self.iam.and_then(|iam| iam.roles.get(name)) {
            Some(role) => (role_arn(self.account, role), resource_tags(&role.tags)),
            None => (self.arn("role", "/", name), Context::new()),
        }
    }

    /// With `iam:PermissionsBoundary` for the boundary that it has: who changes its policies may be held to have one.
    fn bounded_role(&self, name: Option<&str>) -> Target {
        let found = name.and_then(|name| self.iam?.roles.get(name));
        bounded(self.role(name), found.and_then(|role| role.permissions_boundary.as_deref()))
    }

    fn bounded_user(&self, name: Option<&str>) -> Target {
        let found = name.and_then(|name| self.iam?.users.get(name));
        bounded(self.user(name), found.and_then(|user| user.permissions_boundary.as_deref()))
    }

    /// A group has no tags.
    fn group(&self, name: Option<&str>) -> Target {
        let name = name.unwrap_or_default();
        let found = self.iam.and_then(|iam| iam.groups.get(name));
        let arn = found.map(|group| group_arn(self.account, group));
        (arn.unwrap_or_else(|| self.arn("group", "/", name)), Context::new())
    }

    /// What a group will be called, where that changes.
    fn renamed_group(&self, request: &UpdateGroupRequest) -> Option<String> {
        let found = self.iam?.groups.get(request.group_name.as_deref()?)?;
        let path = request.new_path.as_deref().unwrap_or(&found.path);
        let name = request.new_group_name.as_deref().unwrap_or(&found.name);
        let renamed = path != found.path || name != found.name;
        renamed.then(|| self.arn("group", path, name))
    }

    fn user(&self, name: Option<&str>) -> Target {
        let own = match &self.caller.identity {
            Identity::User(name) => Some(name.as_str()),
            Identity::Root | Identity::Role(_) | Identity::Anonymous => None,
        };
        let Some(name) = name.or(own) else {
            return (format!("arn:aws:iam::{}:root", self.account), Context::new());
        };
        match self.iam.and_then(|iam| iam.users.get(name)) {
            Some(user) => (user_arn(self.account, user), resource_tags(&user.tags)),
            None => (self.arn("user", "/", name), Context::new()),
        }
    }

    /// A user, group or role by its ARN.
    fn principal(&self, arn: Option<&str>) -> Target {
        let arn = arn.unwrap_or_default();
        let account = self.account;
        let tags = self.iam.and_then(|iam| {
            let user = iam.users.values().find(|user| user_arn(account, user) == arn).map(|user| &user.tags);
            user.or_else(|| {
                iam.roles.values().find(|role| role_arn(account, role) == arn).map(|role| &role.tags)
            })
        });
        (arn.to_owned(), tags.map_or_else(Context::new, resource_tags))
    }

    fn profile(&self, name: Option<&str>) -> Target {
        let name = name.unwrap_or_default();
        match self.iam.and_then(|iam| iam.instance_profiles.get(name)) {
            Some(profile) => (profile_arn(self.account, profile), resource_tags(&profile.tags)),
            None => (self.arn("instance-profile", "/", name), Context::new()),
        }
    }

    fn policy(&self, arn: Option<&str>) -> Target {
        let arn = arn.unwrap_or_default();
        let found = self.iam.and_then(|iam| iam.policies.get(arn));
        (arn.to_owned(), found.map_or_else(Context::new, |policy| resource_tags(&policy.tags)))
    }
}

fn bounded((resource, context): Target, boundary: Option<&str>) -> Target {
    match boundary {
        Some(arn) => (resource, context.with("iam:PermissionsBoundary", arn.to_owned())),
        None => (resource, context),
    }
}

fn with_policy((resource, context): Target, arn: Option<&str>) -> Target {
    (resource, context.with("iam:PolicyARN", arn.unwrap_or_default().to_owned()))
}

fn tagged((resource, context): Target, tags: &[Tag]) -> Target {
    (resource, with_request_tags(context, tags))
}

fn untagged((resource, mut context): Target, keys: &[String]) -> Target {
    context.insert_many("aws:TagKeys", keys.iter().cloned());
    (resource, context)
}

fn with_request_tags(mut context: Context, tags: &[Tag]) -> Context {
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        context.insert(&format!("aws:RequestTag/{key}"), tag.value.clone().unwrap_or_default());
    }
    context.insert_many("aws:TagKeys", tags.iter().filter_map(|tag| tag.key.clone()));
    context
}

fn resource_tags(tags: &Tags) -> Context {
    let mut context = Context::new();
    for (key, value) in tags {
        context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
        context.insert(&format!("iam:ResourceTag/{key}"), value.clone());
    }
    context
}

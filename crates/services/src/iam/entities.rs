//! Who a managed policy is attached to, or limits.

use postern_model::iam::IdentityPolicies;
use postern_wire::iam::*;

use super::page::page;
use super::{Call, Outcome, required};

/// One of the three lists of `ListEntitiesForPolicy`.
enum Entity {
    Group(PolicyGroup),
    Role(PolicyRole),
    User(PolicyUser),
}

/// What of the uses of a policy is asked for.
struct Wanted {
    arn: String,
    kind: Option<String>,
    prefix: String,
    as_permissions: bool,
    as_boundary: bool,
}

impl Wanted {
    fn is_used(
        &self,
        kind: &str,
        path: &str,
        policies: &IdentityPolicies,
        boundary: Option<&String>,
    ) -> bool {
        let used = (self.as_permissions && policies.attached.contains(&self.arn))
            || (self.as_boundary && boundary == Some(&self.arn));
        used && path.starts_with(&self.prefix) && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

impl Call<'_> {
    /// Users and roles that have it as their boundary count too, unless the request asks otherwise.
    pub(super) fn list_entities_for_policy(
        &self,
        request: ListEntitiesForPolicyRequest,
    ) -> Outcome<ListEntitiesForPolicyResponse> {
        let ListEntitiesForPolicyRequest {
            entity_filter,
            marker,
            max_items,
            path_prefix,
            policy_arn,
            policy_usage_filter,
        } = request;
        let arn = required(policy_arn, "PolicyArn")?;
        self.policy(&arn)?;
        let usage = policy_usage_filter.as_deref();
        let wanted = Wanted {
            arn,
            kind: entity_filter,
            prefix: path_prefix.unwrap_or_default(),
            as_permissions: usage != Some("PermissionsBoundary"),
            as_boundary: usage != Some("PermissionsPolicy"),
        };
        let all = self.entities(&wanted);
        let rows = all.into_iter().collect::<Vec<_>>();
        let keys: Vec<String> = rows.iter().map(|(key, _)| key.clone()).collect();
        let entities = keys.iter().map(String::as_str).zip(rows.into_iter().map(|(_, entity)| entity));
        let page = page(entities, marker.as_deref(), max_items)?;
        let (mut groups, mut roles, mut users) = (Vec::new(), Vec::new(), Vec::new());
        for entity in page.items {
            match entity {
                Entity::Group(group) => groups.push(group),
                Entity::Role(role) => roles.push(role),
                Entity::User(user) => users.push(user),
            }
        }
        Ok(ListEntitiesForPolicyResponse {
            is_truncated: page.is_truncated,
            marker: page.marker,
            policy_groups: Some(groups),
            policy_roles: Some(roles),
            policy_users: Some(users),
        })
    }

    /// By kind and name, which is the order of pages.
    fn entities(&self, wanted: &Wanted) -> Vec<(String, Entity)> {
        let iam = self.iam();
        let named = |kind: &str, name: &str| format!("{kind}/{name}");
        let id_and_name = |id: &String, name: &String| (Some(id.clone()), Some(name.clone()));
        let groups = iam
            .groups
            .values()
            .filter(|group| wanted.is_used("Group", &group.path, &group.policies, None))
            .map(|group| {
                let (group_id, group_name) = id_and_name(&group.unique_id, &group.name);
                (named("group", &group.name), Entity::Group(PolicyGroup { group_id, group_name }))
            });
        let roles = iam
            .roles
            .values()
            .filter(|role| {
                wanted.is_used("Role", &role.path, &role.policies, role.permissions_boundary.as_ref())
            })
            .map(|role| {
                let (role_id, role_name) = id_and_name(&role.unique_id, &role.name);
                (named("role", &role.name), Entity::Role(PolicyRole { role_id, role_name }))
            });
        let users = iam
            .users
            .values()
            .filter(|user| {
                wanted.is_used("User", &user.path, &user.policies, user.permissions_boundary.as_ref())
            })
            .map(|user| {
                let (user_id, user_name) = id_and_name(&user.unique_id, &user.name);
                (named("user", &user.name), Entity::User(PolicyUser { user_id, user_name }))
            });
        groups.chain(roles).chain(users).collect()
    }
}

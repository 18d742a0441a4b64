//! "IAM identifiers", "IAM and AWS STS quotas" and the delete conflicts in the IAM user guide.

use postern_model::iam::{Bounded, IamAction, Identity, Secret, find_key};
use postern_model::instance::{InstanceChange, Launch};
use postern_model::*;

use crate::world::{World, launch};

fn user(name: &str) -> Action {
    Action::Iam(IamAction::CreateUser {
        name: name.to_owned(),
        path: "/".to_owned(),
        permissions_boundary: None,
        tags: Vec::new(),
    })
}

fn role(name: &str) -> Action {
    Action::Iam(IamAction::CreateRole {
        name: name.to_owned(),
        path: "/".to_owned(),
        trust_policy: "{}".to_owned(),
        description: String::new(),
        max_session_seconds: 3_600,
        permissions_boundary: None,
        tags: Vec::new(),
    })
}

fn group(name: &str) -> Action {
    Action::Iam(IamAction::CreateGroup { name: name.to_owned(), path: "/".to_owned() })
}

fn member(group: &str, user: &str) -> Action {
    Action::Iam(IamAction::AddUserToGroup { group: group.to_owned(), user: user.to_owned() })
}

fn policy(name: &str, path: &str) -> Action {
    Action::Iam(IamAction::CreatePolicy {
        name: name.to_owned(),
        path: path.to_owned(),
        description: String::new(),
        document: "{}".to_owned(),
        tags: Vec::new(),
    })
}

fn profile(name: &str) -> Action {
    Action::Iam(IamAction::CreateInstanceProfile {
        name: name.to_owned(),
        path: "/".to_owned(),
        tags: Vec::new(),
    })
}

fn key(user: &str, id: &str) -> Action {
    let secret = Secret("s3cret".to_owned());
    Action::Iam(IamAction::CreateAccessKey { user: user.to_owned(), id: id.to_owned(), secret })
}

fn missing(kind: &'static str, name: &str) -> ModelError {
    ModelError::IdentityNotFound { kind, name: name.to_owned() }
}

fn in_use(kind: &'static str, name: &str, what: &'static str) -> ModelError {
    ModelError::IdentityInUse { kind, name: name.to_owned(), what }
}

#[test]
fn names_are_unique_whatever_their_case() {
    let mut world = World::new();
    for (kind, make) in [
        ("user", user as fn(&str) -> Action),
        ("role", role),
        ("group", group),
        ("instance profile", profile),
        ("policy", |name| policy(name, "/")),
    ] {
        world.run(make("Admin"));
        for name in ["Admin", "admin"] {
            let exists = ModelError::IdentityExists { kind, name: name.to_owned() };
            assert_eq!(world.refusal(make(name)), exists);
        }
        for name in ["", "a b", "a/b"] {
            assert_eq!(world.refusal(make(name)), ModelError::IdentityName { kind, name: name.to_owned() });
        }
    }
    // A policy of another path has another ARN, but the name is taken all the same.
    let exists = ModelError::IdentityExists { kind: "policy", name: "Admin".to_owned() };
    assert_eq!(world.refusal(policy("Admin", "/team/")), exists);
    assert!(world.attempt(user(&"u".repeat(65))).is_err());
}

#[test]
fn a_policy_is_there_to_be_attached_and_stays_while_it_is() {
    let mut world = World::new();
    world.run(role("web"));
    world.run(policy("read", "/team/"));
    let arn = format!("arn:aws:iam::{}:policy/team/read", world.account);
    let identity = || Identity::Role("web".to_owned());
    let attach =
        |arn: &str| Action::Iam(IamAction::AttachPolicy { identity: identity(), arn: arn.to_owned() });
    let detach =
        |arn: &str| Action::Iam(IamAction::DetachPolicy { identity: identity(), arn: arn.to_owned() });
    let foreign = "arn:aws:iam::000000000001:policy/read";
    assert_eq!(world.refusal(attach(foreign)), missing("policy", foreign));
    world.run(attach("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"));
    world.run(attach(&arn));
    world.run(attach(&arn));
    let delete = || Action::Iam(IamAction::DeletePolicy { arn: arn.clone() });
    assert_eq!(world.refusal(delete()), in_use("policy", &arn, "identities attached"));
    world.run(detach(&arn));
    assert_eq!(world.refusal(detach(&arn)), missing("attached policy", &arn));
    world.run(delete());
    assert_eq!(world.refusal(delete()), missing("policy", &arn));
}

#[test]
fn a_user_with_policies_or_keys_stays() {
    let mut world = World::new();
    world.run(user("ann"));
    let delete = || Action::Iam(IamAction::DeleteUser { name: "ann".to_owned() });
    let (identity, name) = (Identity::User("ann".to_owned()), "inline".to_owned());
    let document = "{}".to_owned();
    world.run(Action::Iam(IamAction::PutInlinePolicy {
        identity: identity.clone(),
        policy: name.clone(),
        document,
    }));
    assert_eq!(world.refusal(delete()), in_use("user", "ann", "policies"));
    world.run(Action::Iam(IamAction::DeleteInlinePolicy { identity, policy: name }));
    world.run(key("ann", "AKIA1"));
    assert_eq!(world.refusal(delete()), in_use("user", "ann", "access keys"));
    let (user, id) = (Some("ann".to_owned()), "AKIA1".to_owned());
    world.run(Action::Iam(IamAction::DeleteAccessKey { user, id }));
    world.run(delete());
    assert_eq!(world.refusal(delete()), missing("user", "ann"));
}

#[test]
fn two_keys_a_user_and_each_is_its_owners() {
    let mut world = World::new();
    world.run(user("ann"));
    world.run(user("ben"));
    world.run(key("ann", "AKIA1"));
    world.run(key("ann", "AKIA2"));
    assert_eq!(
        world.refusal(key("ann", "AKIA3")),
        ModelError::Limit { what: "access keys of a user", limit: 2 }
    );
    let set = |user: Option<&str>| {
        let (user, id) = (user.map(str::to_owned), "AKIA1".to_owned());
        Action::Iam(IamAction::SetAccessKey { user, id, active: false })
    };
    for not_owner in [Some("ben"), None] {
        assert_eq!(world.refusal(set(not_owner)), missing("access key", "AKIA1"));
    }
    world.run(set(Some("ann")));
    let (account, found) = find_key(&world.state, "AKIA1").unwrap();
    assert_eq!((account, found.active), (world.account, false));
    assert!(!format!("{found:?}").contains("s3cret"));
}

#[test]
fn a_profile_holds_one_role_and_keeps_it() {
    let (mut world, _, subnet) = World::with_subnet();
    world.run(role("web"));
    world.run(role("db"));
    world.run(profile("box"));
    let add = |role: &str| {
        let (profile, role) = ("box".to_owned(), role.to_owned());
        Action::Iam(IamAction::AddRoleToInstanceProfile { profile, role })
    };
    let remove = |role: &str| {
        let (profile, role) = ("box".to_owned(), role.to_owned());
        Action::Iam(IamAction::RemoveRoleFromInstanceProfile { profile, role })
    };
    assert_eq!(world.refusal(add("none")), missing("role", "none"));
    let with_profile = || Action::RunInstances(Launch { profile: Some("box".to_owned()), ..launch(subnet) });
    let unused: InstanceId = world.make(Action::RunInstances(launch(subnet)));
    let give = |change| Action::ModifyInstance { instance: unused, change };
    // An instance gets no profile that has no role, by whatever way.
    for action in [
        with_profile(),
        give(InstanceChange::Profile(Some("box".to_owned()))),
        give(InstanceChange::ReplaceProfile("box".to_owned())),
    ] {
        let (account, path, name) = (world.account, "/".to_owned(), "box".to_owned());
        assert_eq!(world.refusal(action), ModelError::ProfileWithoutRole { account, path, name });
    }
    world.run(add("web"));
    let instance: InstanceId = world.make(with_profile());
    assert_eq!(world.refusal(add("db")), ModelError::ProfileHasRole);
    let delete_role = || Action::Iam(IamAction::DeleteRole { name: "web".to_owned() });
    let delete = || Action::Iam(IamAction::DeleteInstanceProfile { name: "box".to_owned() });
    assert_eq!(world.refusal(delete_role()), in_use("role", "web", "instance profiles"));
    assert_eq!(world.refusal(delete()), in_use("instance profile", "box", "a role"));
    assert_eq!(world.refusal(remove("db")), missing("role", "db"));
    world.run(remove("web"));
    world.run(delete_role());

    assert_eq!(world.refusal(delete()), in_use("instance profile", "box", "instances"));
    world.run(Action::TerminateInstances { instances: vec![instance] });
    world.run(delete());
}

#[test]
fn a_role_with_policies_stays() {
    let mut world = World::new();
    world.run(role("web"));
    let identity = Identity::Role("web".to_owned());
    let arn = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess".to_owned();
    world.run(Action::Iam(IamAction::AttachPolicy { identity: identity.clone(), arn: arn.clone() }));
    let delete = || Action::Iam(IamAction::DeleteRole { name: "web".to_owned() });
    assert_eq!(world.refusal(delete()), in_use("role", "web", "policies"));
    world.run(Action::Iam(IamAction::DetachPolicy { identity, arn }));
    world.run(delete());
}

#[test]
fn an_account_that_is_not_there_can_do_nothing() {
    let mut world = World::new();
    let stranger = AccountId::from_number(7).unwrap();
    world.account = stranger;
    assert_eq!(world.refusal(user("ann")), ModelError::AccountNotFound(stranger));
    let create = || Action::CreateAccount { name: String::new(), root_key: None };
    world.run(create());
    assert_eq!(world.refusal(create()), ModelError::AccountExists(stranger));
}

#[test]
fn a_group_keeps_its_users_under_a_new_name_and_stays_while_it_has_any() {
    let mut world = World::new();
    for action in [user("ana"), user("bob"), group("old"), group("other"), member("old", "ana")] {
        world.run(action);
    }
    let rename = |from: &str, to: &str| {
        let (name, new_name) = (from.to_owned(), Some(to.to_owned()));
        Action::Iam(IamAction::UpdateGroup { name, new_name, new_path: Some("/team/".to_owned()) })
    };
    let exists = ModelError::IdentityExists { kind: "group", name: "OTHER".to_owned() };
    assert_eq!(world.refusal(rename("old", "OTHER")), exists);
    world.run(rename("old", "New"));
    // Another spelling of its own name is no other group's.
    world.run(rename("New", "new"));
    let groups_of = |world: &World, name: &str| {
        let iam = world.state.iam.values().find(|iam| iam.users.contains_key(name)).cloned();
        iam.and_then(|iam| iam.users.get(name).map(|user| user.groups.iter().cloned().collect::<Vec<_>>()))
    };
    assert_eq!(groups_of(&world, "ana"), Some(vec!["new".to_owned()]));

    assert_eq!(world.refusal(member("old", "ana")), missing("group", "old"));
    assert_eq!(world.refusal(member("new", "eve")), missing("user", "eve"));
    let delete = || Action::Iam(IamAction::DeleteGroup { name: "new".to_owned() });
    assert_eq!(world.refusal(delete()), in_use("group", "new", "users"));
    let delete_user = || Action::Iam(IamAction::DeleteUser { name: "ana".to_owned() });
    assert_eq!(world.refusal(delete_user()), in_use("user", "ana", "groups"));
    let remove = |user: &str| {
        Action::Iam(IamAction::RemoveUserFromGroup { group: "new".to_owned(), user: user.to_owned() })
    };
    world.run(remove("bob"));
    world.run(remove("ana"));
    world.run(delete_user());
    let identity = || Identity::Group("new".to_owned());
    let document = "{}".to_owned();
    world.run(Action::Iam(IamAction::PutInlinePolicy {
        identity: identity(),
        policy: "p".to_owned(),
        document,
    }));
    assert_eq!(world.refusal(delete()), in_use("group", "new", "policies"));
    world.run(Action::Iam(IamAction::DeleteInlinePolicy { identity: identity(), policy: "p".to_owned() }));
    world.run(delete());
}

#[test]
fn a_user_is_in_ten_groups_at_most() {
    let mut world = World::new();
    world.run(user("ana"));
    for number in 0..=10 {
        world.run(group(&format!("g{number}")));
    }
    for number in 0..10 {
        world.run(member(&format!("g{number}"), "ana"));
    }
    let limit = ModelError::Limit { what: "groups of a user", limit: 10 };
    assert_eq!(world.refusal(member("g10", "ana")), limit);
    // Being there already is no more.
    world.run(member("g9", "ana"));
}

#[test]
fn a_boundary_is_a_policy_that_is_there_and_stays_while_it_limits() {
    let mut world = World::new();
    world.run(user("ana"));
    world.run(role("app"));
    world.run(policy("limit", "/"));
    let iam = world.state.iam.values().find(|iam| !iam.policies.is_empty()).cloned().unwrap();
    let arn = iam.policies.keys().next().unwrap().clone();
    let set = |identity: Bounded, arn: Option<&str>| {
        Action::Iam(IamAction::SetPermissionsBoundary { identity, arn: arn.map(str::to_owned) })
    };
    let (ana, app) = (|| Bounded::User("ana".to_owned()), || Bounded::Role("app".to_owned()));
    let none = "arn:aws:iam::999999999999:policy/none";
    assert_eq!(world.refusal(set(ana(), Some(none))), missing("boundary", none));
    assert_eq!(world.refusal(set(ana(), None)), missing("user boundary", "ana"));
    assert_eq!(world.refusal(set(app(), None)), missing("role boundary", "app"));
    world.run(set(ana(), Some(&arn)));
    world.run(set(app(), Some(&arn)));
    let delete = || Action::Iam(IamAction::DeletePolicy { arn: arn.clone() });
    world.run(set(ana(), None));
    assert_eq!(world.refusal(delete()), in_use("policy", &arn, "identities attached"));
    world.run(set(app(), None));
    world.run(delete());
}

//! IAM's operations: what they do, what they refuse, and that no parameter of any is ignored.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iam_support::*;
use postern_services::commands::Commands as _;
use postern_wire::shape::{Kind, Member, OperationInfo};
use serde_json::{Value as Json, json};

const EC2: &str = r#"{"Service":"ec2.amazonaws.com"}"#;

#[tokio::test]
async fn a_role_with_everything_lives_and_goes() {
    let world = World::new();
    let root = world.root();
    let call = |operation: &'static str, parameters: Json| {
        let (world, root) = (&world, &root);
        async move { world.iam(root, operation, parameters).await }
    };
    let made = call(
        "CreateRole",
        json!({ "RoleName": "app", "Path": "/team/", "AssumeRolePolicyDocument": trust(EC2, "{}"),
                "Description": "for the app", "Tags": [{ "Key": "k", "Value": "v" }] }),
    );
    let role = &made.await.unwrap()["Role"];
    assert_eq!(role["Arn"], "arn:aws:iam::111122223333:role/team/app");
    assert_eq!(role["MaxSessionDuration"], 3600);
    assert_eq!(role["CreateDate"], "2026-01-31T12:00:00Z");
    assert!(role["RoleId"].as_str().unwrap().starts_with("AROA"));
    let document = role["AssumeRolePolicyDocument"].as_str().unwrap();
    assert!(document.starts_with("%7B%22Version%22%3A%222012-10-17%22"), "{document}");

    let text = allow(r#""s3:*""#);
    let put = json!({ "RoleName": "app", "PolicyName": "inline", "PolicyDocument": text });
    call("PutRolePolicy", put).await.unwrap();
    let got = call("GetRolePolicy", json!({ "RoleName": "app", "PolicyName": "inline" })).await.unwrap();
    let decoded = postern_wire::query::percent::decode(
        got["PolicyDocument"].as_str().unwrap(),
        postern_wire::query::percent::Plus::Plus,
    );
    assert_eq!(decoded.unwrap(), text);
    let s3 = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess";
    call("AttachRolePolicy", json!({ "RoleName": "app", "PolicyArn": s3 })).await.unwrap();
    let attached = call("ListAttachedRolePolicies", json!({ "RoleName": "app" })).await.unwrap();
    assert_eq!(attached["AttachedPolicies"][0]["PolicyName"], "AmazonS3ReadOnlyAccess");
    call("CreateInstanceProfile", json!({ "InstanceProfileName": "app" })).await.unwrap();
    let both = json!({ "InstanceProfileName": "app", "RoleName": "app" });
    call("AddRoleToInstanceProfile", both.clone()).await.unwrap();
    let profile = call("GetInstanceProfile", json!({ "InstanceProfileName": "app" })).await.unwrap();
    assert_eq!(profile["InstanceProfile"]["Roles"][0]["RoleName"], "app");

    let delete = || call("DeleteRole", json!({ "RoleName": "app" }));
    let conflict = |sentence: &str| format!("DeleteConflict: Cannot delete entity, {sentence}");
    assert_eq!(refusal(delete().await), conflict("must detach all policies first."));
    call("DetachRolePolicy", json!({ "RoleName": "app", "PolicyArn": s3 })).await.unwrap();
    assert_eq!(refusal(delete().await), conflict("must delete policies first."));
    call("DeleteRolePolicy", json!({ "RoleName": "app", "PolicyName": "inline" })).await.unwrap();
    assert_eq!(refusal(delete().await), conflict("must remove roles from instance profile first."));
    call("RemoveRoleFromInstanceProfile", both).await.unwrap();
    delete().await.unwrap();
    let gone = call("GetRole", json!({ "RoleName": "app" })).await;
    assert_eq!(refusal(gone), "NoSuchEntity: The role with name app cannot be found.");
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_iams_words() {
    let world = World::new();
    let root = world.root();
    prepare(&world).await;
    let user = |name: &str| json!({ "UserName": name });
    let good = trust(EC2, "{}");
    let arn = "arn:aws:iam::111122223333:policy/own";
    for (operation, parameters, expected) in [
        ("CreateUser", user("ANA"), "EntityAlreadyExists: User with name ANA already exists."),
        ("GetUser", user("nobody"), "NoSuchEntity: The user with name nobody cannot be found."),
        ("DeleteUser", user("ana"), "DeleteConflict: Cannot delete entity, must detach all policies first."),
        (
            "CreateRole",
            json!({ "RoleName": "app", "AssumeRolePolicyDocument": good }),
            "EntityAlreadyExists: Role with name app already exists.",
        ),
        (
            "CreateRole",
            json!({ "RoleName": "x", "AssumeRolePolicyDocument": "{" }),
            "MalformedPolicyDocument",
        ),
        (
            "CreateRole",
            json!({ "RoleName": "x", "AssumeRolePolicyDocument": allow(r#""sts:AssumeRole""#) }),
            "MalformedPolicyDocument: Missing required field Principal (Statement[0]: missing `Principal` (line 1, column 37))",
        ),
        (
            "PutRolePolicy",
            json!({ "RoleName": "app", "PolicyName": "x", "PolicyDocument": good }),
            "MalformedPolicyDocument",
        ),
        (
            "CreateRole",
            json!({ "RoleName": "x", "AssumeRolePolicyDocument":
                    trust(EC2, r#"{"StringEquals":{"aws:CalledViaFirst":"b"}}"#) }),
            "MalformedPolicyDocument: The condition key aws:CalledViaFirst cannot be enforced by this endpoint, so \
             the policy is not stored.",
        ),
        (
            "GetPolicy",
            json!({ "PolicyArn": format!("{arn}x") }),
            "NoSuchEntity: Policy arn:aws:iam::111122223333:policy/ownx was not found.",
        ),
        (
            "DeletePolicy",
            json!({ "PolicyArn": arn }),
            "DeleteConflict: Cannot delete a policy attached to entities.",
        ),
        (
            "AttachUserPolicy",
            json!({ "UserName": "ana", "PolicyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess" }),
            "NoSuchEntity: Policy arn:aws:iam::aws:policy/ReadOnlyAccess does not exist or is not attachable.",
        ),
        (
            "CreatePolicy",
            json!({ "PolicyName": "own", "PolicyDocument": allow(r#""*""#) }),
            "EntityAlreadyExists: A policy called own already exists. Duplicate names are not allowed.",
        ),
        (
            "AddRoleToInstanceProfile",
            json!({ "InstanceProfileName": "app", "RoleName": "app" }),
            "LimitExceeded: Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
        ),
        (
            "DeleteInstanceProfile",
            json!({ "InstanceProfileName": "app" }),
            "DeleteConflict: Cannot delete entity, must remove roles from instance profile first.",
        ),
        (
            "DeleteAccessKey",
            json!({ "UserName": "ana", "AccessKeyId": "AKIAAAAAAAAAAAAAAAAA" }),
            "NoSuchEntity: The Access Key with id AKIAAAAAAAAAAAAAAAAA cannot be found.",
        ),
        ("CreateUser", user(&"x".repeat(65)), "ValidationError"),
        ("ListUsers", json!({ "Marker": "*" }), "ValidationError: Invalid Marker: *"),
        (
            "TagRole",
            json!({ "RoleName": "app", "Tags": [{ "Key": "a", "Value": "" }, { "Key": "A", "Value": "" }] }),
            "InvalidInput: Duplicate tag keys found. Please note that Tag keys are case insensitive.",
        ),
        (
            "PutUserPolicy",
            json!({ "UserName": "ana", "PolicyName": "x", "PolicyDocument":
                    allow(&format!("\"s3:{}\"", "a".repeat(2048))) }),
            "LimitExceeded: Maximum policy size of 2048 bytes exceeded for user ana",
        ),
    ] {
        let refused = refusal(world.iam(&root, operation, parameters.clone()).await);
        let whole = expected.contains(": ");
        assert!(
            if whole { refused == expected } else { refused.starts_with(expected) },
            "{operation} {parameters}: {refused}"
        );
    }
}

#[tokio::test]
async fn keys_are_two_at_most_and_work_while_active() {
    let world = World::new();
    let root = world.root();
    let ana = world.user("ana", None).await;
    let key = ana.access_key.clone().unwrap();
    world.iam(&root, "CreateAccessKey", json!({ "UserName": "ana" })).await.unwrap();
    let third = world.iam(&root, "CreateAccessKey", json!({ "UserName": "ana" })).await;
    assert_eq!(refusal(third), "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2");
    let of = |status: &str| json!({ "UserName": "ana", "AccessKeyId": key, "Status": status });
    world.iam(&root, "UpdateAccessKey", of("Inactive")).await.unwrap();
    assert!(world.caller(&key, None).is_err());
    world.iam(&root, "UpdateAccessKey", of("Active")).await.unwrap();
    assert!(world.caller(&key, None).is_ok());
    assert!(refusal(world.iam(&root, "UpdateAccessKey", of("Expired")).await).starts_with("ValidationError"));
    world.iam(&root, "DeleteAccessKey", json!({ "UserName": "ana", "AccessKeyId": key })).await.unwrap();
    assert!(world.caller(&key, None).is_err());
    // Without a name, the root user's own.
    let own = world.iam(&root, "CreateAccessKey", json!({})).await.unwrap();
    assert!(world.caller(own["AccessKey"]["AccessKeyId"].as_str().unwrap(), None).is_ok());
    let keys = world.iam(&root, "ListAccessKeys", json!({})).await.unwrap();
    assert_eq!(keys["AccessKeyMetadata"].as_array().unwrap().len(), 2);
    let third = world.iam(&root, "CreateAccessKey", json!({})).await;
    assert_eq!(refusal(third), "LimitExceeded: Cannot exceed quota for AccessKeysPerUser: 2");
}

#[tokio::test]
async fn users_may_do_what_their_policies_say() {
    let world = World::new();
    let nobody = world.user("nobody", None).await;
    let refused = refusal(world.iam(&nobody, "CreateUser", json!({ "UserName": "x" })).await);
    assert_eq!(
        refused,
        "AccessDenied: User: arn:aws:iam::111122223333:user/nobody is not authorized to perform: iam:CreateUser on \
         resource: arn:aws:iam::111122223333:user/x because no identity-based policy allows the iam:CreateUser action"
    );
    let own = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:*AccessKey*",
        "Resource":"arn:aws:iam::111122223333:user/${aws:username}"}}"#;
    let self_made = world.user("self", Some(own)).await;
    assert!(world.iam(&self_made, "ListAccessKeys", json!({})).await.is_ok());
    assert!(world.iam(&self_made, "ListAccessKeys", json!({ "UserName": "self" })).await.is_ok());
    let other = world.iam(&self_made, "ListAccessKeys", json!({ "UserName": "nobody" })).await;
    assert!(refusal(other).starts_with("AccessDenied"));
    // Whoever may fill profiles may not hand out any role.
    prepare(&world).await;
    let filler = world.user("filler", Some(&allow(r#"["iam:AddRoleToInstanceProfile"]"#))).await;
    let fill = json!({ "InstanceProfileName": "empty", "RoleName": "app" });
    let refused = refusal(world.iam(&filler, "AddRoleToInstanceProfile", fill).await);
    assert!(
        refused.contains(
            "not authorized to perform: iam:PassRole on resource: arn:aws:iam::111122223333:role/app"
        )
    );
}

#[tokio::test]
async fn accounts_do_not_see_each_other() {
    let world = World::new();
    prepare(&world).await;
    let other = world.caller("AKIAROOT2", None).unwrap();
    for operation in postern_wire::iam::OPERATIONS {
        let name = operation.name;
        if name.starts_with("Create") {
            continue;
        }
        let mut parameters = baseline(&world, name);
        if name == "GetUser" || name == "ListAccessKeys" {
            parameters = json!({ "UserName": "ana" });
        }
        match world.iam(&other, name, parameters).await {
            Ok(listed) => {
                let shown = listed.to_string();
                assert!(!shown.contains("111122223333") && !shown.contains("ana"), "{name}: {shown}");
            }
            Err(error) => assert_eq!(error.code, "NoSuchEntity", "{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_policy_says_what_its_default_version_says_and_has_five_at_most() {
    let world = World::new();
    let root = world.root();
    let policy = "arn:aws:iam::111122223333:policy/own";
    let call = async |operation: &str, parameters: Json| world.iam(&root, operation, parameters).await;
    let version = |version: &str| json!({ "PolicyArn": policy, "VersionId": version });
    let text = |action: &str| allow(&format!("\"s3:{action}\""));
    let create = |action: &str, default: bool| json!({ "PolicyArn": policy, "PolicyDocument": text(action), "SetAsDefault": default });
    call("CreatePolicy", json!({ "PolicyName": "own", "PolicyDocument": text("GetObject") })).await.unwrap();
    // What the policies of a user say follows the default version.
    let user = world.user("ana", None).await;
    call("AttachUserPolicy", json!({ "UserName": "ana", "PolicyArn": policy })).await.unwrap();
    let made = call(
        "CreatePolicyVersion",
        json!({ "PolicyArn": policy, "PolicyDocument": allow(r#""iam:ListUsers""#) }),
    );
    assert_eq!(made.await.unwrap()["PolicyVersion"]["IsDefaultVersion"], false);
    assert!(refusal(world.iam(&user, "ListUsers", json!({})).await).starts_with("AccessDenied"));
    call("SetDefaultPolicyVersion", version("v2")).await.unwrap();
    world.iam(&user, "ListUsers", json!({})).await.unwrap();
    let shown = call("GetPolicy", json!({ "PolicyArn": policy })).await.unwrap();
    assert_eq!(shown["Policy"]["DefaultVersionId"], "v2");
    let first = call("GetPolicyVersion", version("v1")).await.unwrap();
    assert_eq!(first["PolicyVersion"]["IsDefaultVersion"], false);
    for action in ["PutObject", "DeleteObject", "ListBucket"] {
        call("CreatePolicyVersion", create(action, true)).await.unwrap();
    }
    let listed = call("ListPolicyVersions", json!({ "PolicyArn": policy })).await.unwrap();
    let ids: Vec<_> = listed["Versions"].as_array().unwrap().iter().map(|v| v["VersionId"].clone()).collect();
    assert_eq!(ids, ["v5", "v4", "v3", "v2", "v1"]);
    for (operation, parameters, expected) in [
        (
            "CreatePolicyVersion",
            create("PutObject", false),
            "LimitExceeded: A managed policy can have up to 5 versions. Before you create a new version, you must \
             delete an existing version.",
        ),
        (
            "DeletePolicyVersion",
            version("v5"),
            "DeleteConflict: Cannot delete the default version of a policy.",
        ),
        (
            "DeletePolicyVersion",
            version("v9"),
            "NoSuchEntity: Policy arn:aws:iam::111122223333:policy/own version v9 does not exist or is not attachable.",
        ),
    ] {
        let error = call(operation, parameters).await.unwrap_err();
        assert_eq!(format!("{}: {}", error.code, error.message), expected, "{operation}");
    }
    call("DetachUserPolicy", json!({ "UserName": "ana", "PolicyArn": policy })).await.unwrap();
    let error = call("DeletePolicy", json!({ "PolicyArn": policy })).await.unwrap_err();
    assert!(error.message.starts_with("This policy has more than one version."), "{error}");
    for old in ["v1", "v2", "v3", "v4"] {
        call("DeletePolicyVersion", version(old)).await.unwrap();
    }
    // A number is never used again.
    let made = call("CreatePolicyVersion", create("PutObject", false)).await.unwrap();
    assert_eq!(made["PolicyVersion"]["VersionId"], "v6");
    call("DeletePolicyVersion", version("v6")).await.unwrap();
    call("DeletePolicy", json!({ "PolicyArn": policy })).await.unwrap();
}

#[tokio::test]
async fn tags_are_put_shown_and_removed() {
    let world = World::new();
    let root = world.root();
    let call =
        async |operation: &str, parameters: Json| world.iam(&root, operation, parameters).await.unwrap();
    let arn = "arn:aws:iam::111122223333:policy/own";
    call("CreateUser", json!({ "UserName": "ana" })).await;
    call("CreatePolicy", json!({ "PolicyName": "own", "PolicyDocument": allow(r#""s3:*""#) })).await;
    call("CreateInstanceProfile", json!({ "InstanceProfileName": "app" })).await;
    let two = json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]);
    for (kind, member, name) in [
        ("User", "UserName", "ana"),
        ("Policy", "PolicyArn", arn),
        ("InstanceProfile", "InstanceProfileName", "app"),
    ] {
        let named = json!({ member: name });
        let with = |key: &str, value: Json| {
            let mut parameters = named.clone();
            parameters[key] = value;
            parameters
        };
        call(&format!("Tag{kind}"), with("Tags", two.clone())).await;
        assert_eq!(call(&format!("List{kind}Tags"), named.clone()).await["Tags"], two, "{kind}");
        assert_eq!(call(&format!("Get{kind}"), named.clone()).await[kind]["Tags"], two, "{kind}");
        call(&format!("Untag{kind}"), with("TagKeys", json!(["a"]))).await;
        let left = json!([{ "Key": "b", "Value": "2" }]);
        assert_eq!(call(&format!("List{kind}Tags"), named.clone()).await["Tags"], left, "{kind}");
    }
}

/// "If you have tagged a user with the `Department=finance` tag and you add the `department=hr` tag, it replaces the first
/// tag" ("Tags for AWS Identity and Access Management resources"): were both there, a condition on it would see either.
#[tokio::test]
async fn the_tags_of_users_and_roles_have_keys_in_any_case() {
    let world = World::new();
    let root = world.root();
    let call =
        async |operation: &str, parameters: Json| world.iam(&root, operation, parameters).await.unwrap();
    let finance = json!([{ "Key": "Department", "Value": "finance" }]);
    call("CreateUser", json!({ "UserName": "ana", "Tags": finance })).await;
    let trusted = trust(EC2, "{}");
    call("CreateRole", json!({ "RoleName": "app", "AssumeRolePolicyDocument": trusted, "Tags": finance }))
        .await;
    call("CreateInstanceProfile", json!({ "InstanceProfileName": "ip", "Tags": finance })).await;
    let hr = json!([{ "Key": "department", "Value": "hr" }]);
    for (kind, member, name) in [("User", "UserName", "ana"), ("Role", "RoleName", "app")] {
        call(&format!("Tag{kind}"), json!({ member: name, "Tags": hr })).await;
        assert_eq!(call(&format!("List{kind}Tags"), json!({ member: name })).await["Tags"], hr, "{kind}");
        call(&format!("Untag{kind}"), json!({ member: name, "TagKeys": ["DEPARTMENT"] })).await;
        assert_eq!(
            call(&format!("List{kind}Tags"), json!({ member: name })).await["Tags"],
            json!([]),
            "{kind}"
        );
    }
    call("TagInstanceProfile", json!({ "InstanceProfileName": "ip", "Tags": hr })).await;
    let both = call("ListInstanceProfileTags", json!({ "InstanceProfileName": "ip" })).await;
    assert_eq!(both["Tags"].as_array().unwrap().len(), 2, "those of others are as they are written");
}

/// A user, two roles, a policy, two profiles, all with something in them.
async fn prepare(world: &World) {
    let root = world.root();
    let own = "arn:aws:iam::111122223333:policy/own";
    let text = allow(r#""s3:GetObject""#);
    let two = json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }]);
    for (operation, parameters) in [
        ("CreateUser", json!({ "UserName": "ana" })),
        ("CreateUser", json!({ "UserName": "bob", "Path": "/sub/" })),
        ("CreateUser", json!({ "UserName": "bare" })),
        ("CreateRole", json!({ "RoleName": "app", "AssumeRolePolicyDocument": trust(EC2, "{}") })),
        ("CreateRole", json!({ "RoleName": "bare", "AssumeRolePolicyDocument": trust(EC2, "{}") })),
        (
            "CreateRole",
            json!({ "RoleName": "zoo", "Path": "/sub/", "AssumeRolePolicyDocument": trust(EC2, "{}") }),
        ),
        ("CreatePolicy", json!({ "PolicyName": "own", "PolicyDocument": text })),
        ("CreatePolicy", json!({ "PolicyName": "free", "Path": "/sub/", "PolicyDocument": text })),
        ("CreatePolicyVersion", json!({ "PolicyArn": own, "PolicyDocument": text })),
        ("CreateInstanceProfile", json!({ "InstanceProfileName": "app" })),
        ("CreateInstanceProfile", json!({ "InstanceProfileName": "second", "Path": "/sub/" })),
        ("CreateInstanceProfile", json!({ "InstanceProfileName": "empty" })),
        ("AddRoleToInstanceProfile", json!({ "InstanceProfileName": "app", "RoleName": "app" })),
        ("AddRoleToInstanceProfile", json!({ "InstanceProfileName": "second", "RoleName": "app" })),
        (
            "TagRole",
            json!({ "RoleName": "app", "Tags": [{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "2" }] }),
        ),
        ("TagUser", json!({ "UserName": "ana", "Tags": two })),
        ("CreateGroup", json!({ "GroupName": "staff" })),
        ("CreateGroup", json!({ "GroupName": "zoo", "Path": "/sub/" })),
        ("CreateGroup", json!({ "GroupName": "bare" })),
        ("AddUserToGroup", json!({ "GroupName": "staff", "UserName": "ana" })),
        ("AddUserToGroup", json!({ "GroupName": "staff", "UserName": "bob" })),
        ("AddUserToGroup", json!({ "GroupName": "zoo", "UserName": "ana" })),
        ("CreateUser", json!({ "UserName": "limited", "PermissionsBoundary": own })),
        (
            "CreateRole",
            json!({ "RoleName": "limited", "PermissionsBoundary": own,
                    "AssumeRolePolicyDocument": trust(EC2, "{}") }),
        ),
        ("PutUserPermissionsBoundary", json!({ "UserName": "bob", "PermissionsBoundary": own })),
        ("PutRolePermissionsBoundary", json!({ "RoleName": "zoo", "PermissionsBoundary": own })),
        ("TagPolicy", json!({ "PolicyArn": own, "Tags": two })),
        ("TagInstanceProfile", json!({ "InstanceProfileName": "app", "Tags": two })),
    ] {
        world.iam(&root, operation, parameters).await.unwrap();
    }
    let aws = "arn:aws:iam::aws:policy/AmazonS3FullAccess";
    for (kind, name) in [
        ("User", "ana"),
        ("Role", "app"),
        ("Group", "staff"),
        ("User", "bob"),
        ("Role", "zoo"),
        ("Group", "zoo"),
    ] {
        let named = format!("{kind}Name");
        let free = "arn:aws:iam::111122223333:policy/sub/free";
        let whole = ["ana", "app", "staff"].contains(&name);
        for arn in [own, free, aws].into_iter().skip(usize::from(!whole)) {
            let attach = json!({ &named: name, "PolicyArn": arn });
            world.iam(&root, &format!("Attach{kind}Policy"), attach).await.unwrap();
        }
        for policy in ["one", "two", name] {
            let put = json!({ &named: name, "PolicyName": policy, "PolicyDocument": text });
            world.iam(&root, &format!("Put{kind}Policy"), put).await.unwrap();
        }
    }
    for (id, user) in
        [("AKIAFIRSTFIRSTFIRST1", "ana"), ("AKIASECONDSECONDSEC2", "ana"), ("AKIABOBBOBBOBBOBBOB1", "bob")]
    {
        let secret = postern_model::iam::Secret("s".to_owned());
        let create = postern_model::iam::IamAction::CreateAccessKey {
            user: user.to_owned(),
            id: id.to_owned(),
            secret,
        };
        world.memory.run(account(ONE), postern_model::Action::Iam(create)).unwrap();
    }
}

/// Parameters with which an operation succeeds in the prepared region.
fn baseline(_: &World, operation: &str) -> Json {
    let own = "arn:aws:iam::111122223333:policy/own";
    let document = allow(r#""s3:ListBucket""#);
    match operation {
        "CreateUser" => json!({ "UserName": "new" }),
        "CreateRole" => json!({ "RoleName": "new", "AssumeRolePolicyDocument": trust(EC2, "{}") }),
        "CreatePolicy" => json!({ "PolicyName": "new", "PolicyDocument": document }),
        "CreateInstanceProfile" => json!({ "InstanceProfileName": "new" }),
        "CreateAccessKey" => json!({ "UserName": "bare" }),
        "CreateGroup" => json!({ "GroupName": "new" }),
        "GetGroup" | "ListGroupPolicies" | "ListAttachedGroupPolicies" => json!({ "GroupName": "staff" }),
        "UpdateGroup" => json!({ "GroupName": "staff", "NewGroupName": "renamed" }),
        "DeleteGroup" => json!({ "GroupName": "bare" }),
        "AddUserToGroup" => json!({ "GroupName": "bare", "UserName": "ana" }),
        "RemoveUserFromGroup" => json!({ "GroupName": "staff", "UserName": "ana" }),
        "GetGroupPolicy" | "DeleteGroupPolicy" => json!({ "GroupName": "staff", "PolicyName": "one" }),
        "PutGroupPolicy" => json!({ "GroupName": "staff", "PolicyName": "new", "PolicyDocument": document }),
        "AttachGroupPolicy" => json!({ "GroupName": "bare", "PolicyArn": own }),
        "DetachGroupPolicy" => json!({ "GroupName": "staff", "PolicyArn": own }),
        "PutUserPermissionsBoundary" => json!({ "UserName": "ana", "PermissionsBoundary": own }),
        "PutRolePermissionsBoundary" => json!({ "RoleName": "app", "PermissionsBoundary": own }),
        "DeleteUserPermissionsBoundary" => json!({ "UserName": "limited" }),
        "DeleteRolePermissionsBoundary" => json!({ "RoleName": "limited" }),
        "ListEntitiesForPolicy" => json!({ "PolicyArn": own }),
        "GetUser" | "DeleteUser" => json!({ "UserName": "bare" }),
        "ListUserPolicies" | "ListAttachedUserPolicies" | "ListAccessKeys" => json!({ "UserName": "ana" }),
        "GetUserPolicy" | "DeleteUserPolicy" => json!({ "UserName": "ana", "PolicyName": "one" }),
        "PutUserPolicy" => json!({ "UserName": "ana", "PolicyName": "new", "PolicyDocument": document }),
        "AttachUserPolicy" => json!({ "UserName": "bare", "PolicyArn": own }),
        "DetachUserPolicy" => json!({ "UserName": "ana", "PolicyArn": own }),
        "GetRole" | "DeleteRole" => json!({ "RoleName": "bare" }),
        "ListRolePolicies" | "ListAttachedRolePolicies" | "ListInstanceProfilesForRole" | "ListRoleTags" => {
            json!({ "RoleName": "app" })
        }
        "GetRolePolicy" | "DeleteRolePolicy" => json!({ "RoleName": "app", "PolicyName": "one" }),
        "PutRolePolicy" => json!({ "RoleName": "app", "PolicyName": "new", "PolicyDocument": document }),
        "AttachRolePolicy" => json!({ "RoleName": "bare", "PolicyArn": own }),
        "DetachRolePolicy" => json!({ "RoleName": "app", "PolicyArn": own }),
        "UpdateAssumeRolePolicy" => {
            json!({ "RoleName": "app", "PolicyDocument": trust(r#"{"Service":"lambda.amazonaws.com"}"#, "{}") })
        }
        "TagRole" => json!({ "RoleName": "app", "Tags": [{ "Key": "c", "Value": "3" }] }),
        "UntagRole" => json!({ "RoleName": "app", "TagKeys": ["a"] }),
        "TagUser" => json!({ "UserName": "ana", "Tags": [{ "Key": "c", "Value": "3" }] }),
        "UntagUser" => json!({ "UserName": "ana", "TagKeys": ["a"] }),
        "ListUserTags" | "ListGroupsForUser" => json!({ "UserName": "ana" }),
        "TagPolicy" => json!({ "PolicyArn": own, "Tags": [{ "Key": "c", "Value": "3" }] }),
        "UntagPolicy" => json!({ "PolicyArn": own, "TagKeys": ["a"] }),
        "ListPolicyTags" => json!({ "PolicyArn": own }),
        "TagInstanceProfile" => {
            json!({ "InstanceProfileName": "app", "Tags": [{ "Key": "c", "Value": "3" }] })
        }
        "UntagInstanceProfile" => json!({ "InstanceProfileName": "app", "TagKeys": ["a"] }),
        "ListInstanceProfileTags" => json!({ "InstanceProfileName": "app" }),
        "GetPolicy" | "ListPolicyVersions" => json!({ "PolicyArn": own }),
        "GetPolicyVersion" => json!({ "PolicyArn": own, "VersionId": "v1" }),
        "CreatePolicyVersion" => json!({ "PolicyArn": own, "PolicyDocument": document }),
        "DeletePolicyVersion" | "SetDefaultPolicyVersion" => json!({ "PolicyArn": own, "VersionId": "v2" }),
        "UpdateRole" => json!({ "RoleName": "app", "Description": "changed" }),
        "DeletePolicy" => json!({ "PolicyArn": "arn:aws:iam::111122223333:policy/lone" }),
        "GetInstanceProfile" => json!({ "InstanceProfileName": "app" }),
        "DeleteInstanceProfile" => json!({ "InstanceProfileName": "empty" }),
        "AddRoleToInstanceProfile" => json!({ "InstanceProfileName": "empty", "RoleName": "bare" }),
        "RemoveRoleFromInstanceProfile" => json!({ "InstanceProfileName": "app", "RoleName": "app" }),
        "DeleteAccessKey" => json!({ "UserName": "ana", "AccessKeyId": "AKIAFIRSTFIRSTFIRST1" }),
        "UpdateAccessKey" => {
            json!({ "UserName": "ana", "AccessKeyId": "AKIAFIRSTFIRSTFIRST1", "Status": "Inactive" })
        }
        "ListUsers" | "ListGroups" | "ListRoles" | "ListPolicies" | "ListInstanceProfiles" => json!({}),
        "SimulateCustomPolicy" => {
            json!({ "PolicyInputList": [simulated()], "ActionNames": ["s3:GetObject", "s3:PutObject"] })
        }
        "SimulatePrincipalPolicy" => json!({ "PolicySourceArn": "arn:aws:iam::111122223333:user/keyed",
            "ActionNames": ["s3:GetObject", "s3:PutObject"] }),
        "GetContextKeysForCustomPolicy" => json!({ "PolicyInputList": [simulated()] }),
        "GetContextKeysForPrincipalPolicy" => {
            json!({ "PolicySourceArn": "arn:aws:iam::111122223333:user/keyed" })
        }
        other => panic!("`{other}` has no baseline: it is new here"),
    }
}

/// Allows reading, and has a key.
fn simulated() -> String {
    r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*",
        "Condition":{"StringLikeIfExists":{"aws:username":"*"}}}}"#
        .to_owned()
}

/// Another value of a parameter, which is not the one of the baseline.
fn another(operation: &str, member: &Member) -> Json {
    let sorted_first = |name: &str| json!(STANDARD.encode(name));
    match (operation, member.name) {
        (_, "UserName") if operation.starts_with("Create") && operation != "CreateAccessKey" => {
            json!("other")
        }
        (_, "RoleName") if operation.starts_with("Create") => json!("other"),
        ("CreateGroup", "GroupName") => json!("other"),
        ("AddUserToGroup", "GroupName") => json!("staff"),
        (_, "GroupName") => json!("zoo"),
        (_, "NewGroupName") => json!("other"),
        (_, "NewPath") => json!("/elsewhere/"),
        (_, "EntityFilter") => json!("Role"),
        ("ListGroupsForUser", "UserName") => json!("nobody"),
        (_, "UserName") => json!("bob"),
        (_, "RoleName") => json!("zoo"),
        ("CreateInstanceProfile", "InstanceProfileName") => json!("other"),
        (_, "InstanceProfileName") => json!("second"),
        ("CreatePolicy", "PolicyName") => json!("other"),
        (_, "PolicyName") => json!("two"),
        ("DeletePolicy", "PolicyArn") => json!("arn:aws:iam::111122223333:policy/own"),
        (_, "PolicyArn") => json!("arn:aws:iam::aws:policy/AmazonS3FullAccess"),
        ("UpdateAssumeRolePolicy", "PolicyDocument") | (_, "AssumeRolePolicyDocument") => {
            json!(trust(r#"{"Service":"states.amazonaws.com"}"#, "{}"))
        }
        (_, "PolicyInputList") => {
            let text = simulated().replace("aws:username", "aws:SourceVpce").replace("Get", "Put");
            json!([text])
        }
        (_, "PermissionsBoundaryPolicyInputList") => json!([allow(r#""ec2:*""#)]),
        (_, "OrderedOrganizationPolicyInputList") => {
            json!([{ "ServiceControlPolicyInputList": [allow(r#""ec2:*""#)] }])
        }
        (_, "PolicyExclusionList") => json!([{ "PolicyType": "inline" }]),
        (_, "PolicySourceArn") => json!("arn:aws:iam::111122223333:user/bare"),
        (_, "CallerArn") => json!("arn:aws:iam::444455556666:user/bob"),
        (_, "ContextEntries") => json!([{ "ContextKeyName": "aws:username",
            "ContextKeyValues": ["x"], "ContextKeyType": "string" }]),
        (_, "ActionNames") => json!(["s3:DeleteObject"]),
        (_, "ResourceArns") => json!(["arn:aws:s3:::b/k"]),
        (_, "ResourcePolicy") => {
            json!(r#"{"Statement":{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}}"#)
        }
        (_, "ResourceOwner") => json!("444455556666"),
        (_, "ResourceHandlingOption") => json!("EC2-VPC-EBS"),
        (_, "PolicyDocument") => json!(allow(r#""s3:DeleteObject""#)),
        (_, "Path") => json!("/elsewhere/"),
        (_, "PathPrefix") => json!("/sub/"),
        (_, "Description") => json!("another"),
        (_, "MaxSessionDuration") => json!(7200),
        (_, "PermissionsBoundary") => json!("arn:aws:iam::aws:policy/AmazonS3FullAccess"),
        (_, "Tags") => json!([{ "Key": "z", "Value": "26" }]),
        (_, "TagKeys") => json!(["b"]),
        // Versions are paged by what sorts the newest first.
        ("ListPolicyVersions", "Marker") => sorted_first("9999999999"),
        (_, "Marker") => sorted_first("zzz"),
        (_, "MaxItems") => json!(1),
        ("GetPolicyVersion", "VersionId") => json!("v2"),
        (_, "VersionId") => json!("v3"),
        (_, "SetAsDefault") => json!(true),
        (_, "AccessKeyId") => json!("AKIASECONDSECONDSEC2"),
        (_, "Status") => json!("Active"),
        (_, "OnlyAttached") => json!(true),
        (_, "PolicyUsageFilter") => json!("PermissionsBoundary"),
        (_, "Scope") => json!("Local"),
        (operation, name) => panic!("`{name}` of `{operation}` has no other value: it is new here"),
    }
}

/// What a call answered and left behind, without what is random.
async fn effect(operation: &str, parameters: Json) -> String {
    let world = World::new();
    prepare(&world).await;
    let lone = json!({ "PolicyName": "lone", "PolicyDocument": allow(r#""s3:*""#) });
    world.iam(&world.root(), "CreatePolicy", lone).await.unwrap();
    if operation.starts_with("Simulate") || operation.starts_with("GetContextKeys") {
        let keyed = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*",
            "Condition":{"StringEquals":{"aws:username":"keyed"}}}}"#;
        world.user("keyed", Some(keyed)).await;
    }
    let answer = world.iam(&world.root(), operation, parameters).await;
    let mut answer = answer.map_err(|error| error.to_string());
    let state = world.memory.state();
    let mut iam = serde_json::to_value(state.iam.get(&account(ONE)).unwrap().as_ref()).unwrap();
    if operation == "CreateAccessKey" {
        for field in ["AccessKeyId", "SecretAccessKey"] {
            if let Ok(answer) = &mut answer {
                answer["AccessKey"][field] = Json::Null;
            }
        }
        let owners: BTreeMap<String, usize> =
            state.iam.get(&account(ONE)).unwrap().access_keys.values().fold(
                BTreeMap::new(),
                |mut owners, key| {
                    *owners.entry(format!("{:?}", key.owner)).or_default() += 1;
                    owners
                },
            );
        iam = json!(owners);
    }
    format!("{answer:?}\n{iam}")
}

async fn check_member(operation: &OperationInfo, member: &Member) {
    let world = World::new();
    let plain = baseline(&world, operation.name);
    let mut changed = plain.clone();
    changed[member.name] = another(operation.name, member);
    assert_ne!(plain, changed, "{} of {}", member.name, operation.name);
    let (before, after) = (effect(operation.name, plain).await, effect(operation.name, changed).await);
    assert!(before.starts_with("Ok"), "{}: {}", operation.name, before.lines().next().unwrap());
    assert!(before != after, "the parameter {} of {} makes no difference", member.name, operation.name);
    if after.starts_with("Err") && !member.required && member.name != "UserName" {
        let first = after.lines().next().unwrap();
        assert!(first.contains(member.name) || first.contains("maxItems"), "{}: {first}", operation.name);
    }
}

#[tokio::test]
async fn no_parameter_of_any_operation_is_ignored() {
    let mut seen = 0;
    for operation in postern_wire::iam::OPERATIONS {
        for member in operation.input.members {
            check_member(operation, member).await;
            seen += 1;
            // A list of structures has members of its own: those of tags are both required, and those of the simulator
            // have tests of their own.
            if let Kind::List(list) = member.kind
                && let Kind::Structure(shape) = list.item
            {
                let others = ["ContextEntry", "PolicyIdentifier", "OrderedOrganizationPolicyType"];
                assert!(shape.name == "Tag" || others.contains(&shape.name), "{}", shape.name);
            }
        }
    }
    assert!(seen > 130, "{seen}");
}

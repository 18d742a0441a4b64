//! What groups and permissions boundaries do to requests, and what the simulator and the lists say of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use serde_json::{Value as Json, json};

/// A call of the root user's that works.
async fn root(world: &World, operation: &str, parameters: Json) -> Json {
    world.iam(&world.root(), operation, parameters).await.unwrap()
}

async fn staff_of_ana(world: &World) -> postern_frontdoor::Caller {
    let ana = world.user("ana", None).await;
    root(world, "CreateGroup", json!({ "GroupName": "staff", "Path": "/team/" })).await;
    root(world, "AddUserToGroup", json!({ "GroupName": "staff", "UserName": "ana" })).await;
    ana
}

#[tokio::test]
async fn what_a_group_may_do_its_users_may_do_while_they_are_in_it() {
    let world = World::new();
    let ana = staff_of_ana(&world).await;
    let list = async || world.iam(&ana, "ListUsers", json!({})).await;
    let refused = "AccessDenied: User: arn:aws:iam::111122223333:user/ana is not authorized to perform: \
                   iam:ListUsers on resource: arn:aws:iam::111122223333:user/ because no identity-based policy \
                   allows the iam:ListUsers action";
    assert_eq!(refusal(list().await), refused);
    let put = |effect: &str| {
        json!({ "GroupName": "staff", "PolicyName": "lists", "PolicyDocument": format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"{effect}","Action":"iam:List*","Resource":"*"}}}}"#) })
    };
    root(&world, "PutGroupPolicy", put("Allow")).await;
    assert!(list().await.is_ok());
    root(&world, "RemoveUserFromGroup", json!({ "GroupName": "staff", "UserName": "ana" })).await;
    assert_eq!(refusal(list().await), refused);
    // Twice is once.
    root(&world, "RemoveUserFromGroup", json!({ "GroupName": "staff", "UserName": "ana" })).await;
    for _ in 0..2 {
        root(&world, "AddUserToGroup", json!({ "GroupName": "staff", "UserName": "ana" })).await;
    }
    root(&world, "UpdateGroup", json!({ "GroupName": "staff", "NewGroupName": "crew" })).await;
    assert!(list().await.is_ok());

    let own = json!({ "UserName": "ana", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
    root(&world, "AttachUserPolicy", own).await;
    let mut deny = put("Deny");
    deny["GroupName"] = json!("crew");
    root(&world, "PutGroupPolicy", deny).await;
    assert_eq!(
        refusal(list().await),
        refused.replace(
            "because no identity-based policy allows the iam:ListUsers action",
            "with an explicit deny in an identity-based policy"
        )
    );
    root(&world, "DeleteGroupPolicy", json!({ "GroupName": "crew", "PolicyName": "lists" })).await;
    root(
        &world,
        "DetachUserPolicy",
        json!({ "UserName": "ana",
        "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" }),
    )
    .await;
    assert_eq!(refusal(list().await), refused);
    let attach = json!({ "GroupName": "crew", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
    root(&world, "AttachGroupPolicy", attach).await;
    assert!(list().await.is_ok());
}

#[tokio::test]
async fn groups_are_shown_as_iam_shows_them() {
    let world = World::new();
    staff_of_ana(&world).await;
    let got = root(&world, "GetGroup", json!({ "GroupName": "staff" })).await;
    let group = &got["Group"];
    assert_eq!(group["Arn"], "arn:aws:iam::111122223333:group/team/staff");
    assert!(group["GroupId"].as_str().unwrap().starts_with("AGPA"));
    assert_eq!(got["Users"][0]["UserName"], "ana");
    let of_ana = root(&world, "ListGroupsForUser", json!({ "UserName": "ana" })).await;
    assert_eq!(of_ana["Groups"], json!([group]));
    let listed = root(&world, "ListGroups", json!({ "PathPrefix": "/team/" })).await;
    assert_eq!(listed["Groups"], json!([group]));

    let conflict = "DeleteConflict: Cannot delete entity, must remove users from group first.";
    let by_root = world.root();
    let user = json!({ "UserName": "ana" });
    let key = root(&world, "ListAccessKeys", user.clone()).await;
    let key = key["AccessKeyMetadata"][0]["AccessKeyId"].clone();
    root(&world, "DeleteAccessKey", json!({ "UserName": "ana", "AccessKeyId": key })).await;
    assert_eq!(refusal(world.iam(&by_root, "DeleteUser", user).await), conflict);
    let named = json!({ "GroupName": "staff" });
    assert_eq!(refusal(world.iam(&by_root, "DeleteGroup", named).await), conflict);
    for (operation, parameters, sentence) in [
        (
            "GetGroup",
            json!({ "GroupName": "none" }),
            "NoSuchEntity: The group with name none cannot be found.",
        ),
        (
            "CreateGroup",
            json!({ "GroupName": "STAFF" }),
            "EntityAlreadyExists: Group with name STAFF already exists.",
        ),
        (
            "GetGroupPolicy",
            json!({ "GroupName": "staff", "PolicyName": "none" }),
            "NoSuchEntity: The group policy with name none cannot be found.",
        ),
    ] {
        assert_eq!(refusal(world.iam(&by_root, operation, parameters).await), sentence);
    }
    for number in 0..10 {
        let name = format!("g{number}");
        root(&world, "CreateGroup", json!({ "GroupName": name })).await;
        let add = json!({ "GroupName": name, "UserName": "ana" });
        let added = world.iam(&by_root, "AddUserToGroup", add).await;
        if number < 9 {
            added.unwrap();
        } else {
            assert_eq!(refusal(added), "LimitExceeded: Cannot exceed quota for GroupsPerUser: 10");
        }
    }
}

#[tokio::test]
async fn who_renames_a_group_is_allowed_to_under_both_names() {
    let world = World::new();
    let keeper = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:UpdateGroup",
        "Resource":"arn:aws:iam::111122223333:group/old*"}}"#;
    let ana = world.user("ana", Some(keeper)).await;
    root(&world, "CreateGroup", json!({ "GroupName": "old" })).await;
    let rename = |to: &str| json!({ "GroupName": "old", "NewGroupName": to });
    let refused = world.iam(&ana, "UpdateGroup", rename("new")).await;
    assert!(refusal(refused).contains("on resource: arn:aws:iam::111122223333:group/new because"));
    world.iam(&ana, "UpdateGroup", rename("older")).await.unwrap();
}

#[tokio::test]
async fn a_boundary_limits_a_user_and_the_sessions_of_a_role() {
    let world = World::new();
    let ana = world.user("ana", Some(&allow(r#""*""#))).await;
    let limit = json!({ "PolicyName": "limit", "PolicyDocument": allow(r#"["iam:ListRoles","sts:*"]"#) });
    let limit = root(&world, "CreatePolicy", limit).await["Policy"]["Arn"].clone();
    assert!(world.iam(&ana, "ListUsers", json!({})).await.is_ok());
    let put = json!({ "UserName": "ana", "PermissionsBoundary": limit });
    root(&world, "PutUserPermissionsBoundary", put).await;
    assert_eq!(
        refusal(world.iam(&ana, "ListUsers", json!({})).await),
        "AccessDenied: User: arn:aws:iam::111122223333:user/ana is not authorized to perform: iam:ListUsers on \
         resource: arn:aws:iam::111122223333:user/ because no permissions boundary allows the iam:ListUsers action"
    );
    assert!(world.iam(&ana, "ListRoles", json!({})).await.is_ok());

    let trusted = trust(r#"{"AWS":"arn:aws:iam::111122223333:user/ana"}"#, "{}");
    let role =
        json!({ "RoleName": "app", "AssumeRolePolicyDocument": trusted, "PermissionsBoundary": limit });
    let role = root(&world, "CreateRole", role).await["Role"].clone();
    assert_eq!(
        role["PermissionsBoundary"],
        json!({ "PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": limit })
    );
    let attach = json!({ "RoleName": "app", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
    root(&world, "AttachRolePolicy", attach).await;
    let assume = json!({ "RoleArn": role["Arn"], "RoleSessionName": "here" });
    let given = world.sts(&ana, "AssumeRole", assume).await.unwrap();
    let session = world.holder(&given["Credentials"]).unwrap();
    assert!(world.iam(&session, "ListRoles", json!({})).await.is_ok());
    let refused = refusal(world.iam(&session, "ListUsers", json!({})).await);
    assert!(refused.contains("because no permissions boundary allows"), "{refused}");
    root(&world, "DeleteRolePermissionsBoundary", json!({ "RoleName": "app" })).await;
    assert!(world.iam(&session, "ListUsers", json!({})).await.is_ok());

    // The boundary says what its policy says now.
    let wider = json!({ "PolicyArn": limit, "PolicyDocument": allow(r#""iam:*""#), "SetAsDefault": true });
    root(&world, "CreatePolicyVersion", wider).await;
    assert!(world.iam(&ana, "ListUsers", json!({})).await.is_ok());
    let by_root = world.root();
    let delete = json!({ "PolicyArn": limit, "VersionId": "v1" });
    root(&world, "DeletePolicyVersion", delete).await;
    let deleted = world.iam(&by_root, "DeletePolicy", json!({ "PolicyArn": limit })).await;
    assert_eq!(refusal(deleted), "DeleteConflict: Cannot delete a policy attached to entities.");
    let none = "arn:aws:iam::111122223333:policy/none";
    let create = json!({ "UserName": "bob", "PermissionsBoundary": none });
    assert_eq!(
        refusal(world.iam(&by_root, "CreateUser", create).await),
        format!("NoSuchEntity: Scope ARN: {none} does not exist or is not attachable.")
    );
}

/// "Delegating responsibility to others using permissions boundaries" in the IAM user guide.
#[tokio::test]
async fn who_may_make_users_can_be_held_to_a_boundary() {
    let world = World::new();
    let limit = json!({ "PolicyName": "limit", "PolicyDocument": allow(r#""s3:*""#) });
    let limit = root(&world, "CreatePolicy", limit).await["Policy"]["Arn"].clone();
    let delegated = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Resource":"*",
            "Action":["iam:CreateUser","iam:AttachUserPolicy","iam:PutUserPermissionsBoundary"],
            "Condition":{{"StringEquals":{{"iam:PermissionsBoundary":{limit}}}}}}}}}"#
    );
    let ana = world.user("ana", Some(&delegated)).await;
    let refused = refusal(world.iam(&ana, "CreateUser", json!({ "UserName": "free" })).await);
    assert!(refused.starts_with("AccessDenied"), "{refused}");
    let bob = json!({ "UserName": "bob", "PermissionsBoundary": limit });
    world.iam(&ana, "CreateUser", bob.clone()).await.unwrap();
    let admin = "arn:aws:iam::aws:policy/AdministratorAccess";
    let attach = |name: &str| json!({ "UserName": name, "PolicyArn": admin });
    world.iam(&ana, "AttachUserPolicy", attach("bob")).await.unwrap();
    assert!(world.iam(&ana, "AttachUserPolicy", attach("ana")).await.is_err());
    let wider = json!({ "UserName": "bob", "PermissionsBoundary": admin });
    assert!(world.iam(&ana, "PutUserPermissionsBoundary", wider).await.is_err());
    world.iam(&ana, "PutUserPermissionsBoundary", bob).await.unwrap();
    assert!(world.iam(&ana, "DeleteUserPermissionsBoundary", json!({ "UserName": "bob" })).await.is_err());
}

#[tokio::test]
async fn the_simulator_knows_groups_and_boundaries() {
    let world = World::new();
    staff_of_ana(&world).await;
    let put = json!({ "GroupName": "staff", "PolicyName": "reads", "PolicyDocument": allow(r#""s3:Get*""#) });
    root(&world, "PutGroupPolicy", put).await;
    let limit = json!({ "PolicyName": "limit", "PolicyDocument": allow(r#""s3:GetObject""#) });
    let limit = root(&world, "CreatePolicy", limit).await["Policy"]["Arn"].clone();
    let put = json!({ "UserName": "ana", "PermissionsBoundary": limit });
    root(&world, "PutUserPermissionsBoundary", put).await;
    let simulate = async |source: &str, more: Json| {
        let mut asked = json!({ "PolicySourceArn": format!("arn:aws:iam::111122223333:{source}"),
            "ActionNames": ["s3:GetObject", "s3:GetObjectAcl"] });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let results = root(&world, "SimulatePrincipalPolicy", asked).await["EvaluationResults"].clone();
        let decisions = results.as_array().unwrap().iter().map(|one| one["EvalDecision"].clone()).collect();
        (Json::Array(decisions), results[0].clone())
    };
    let (decisions, first) = simulate("user/ana", json!({})).await;
    assert_eq!(decisions, json!(["allowed", "implicitDeny"]));
    let sources: Vec<_> =
        first["MatchedStatements"].as_array().unwrap().iter().map(|one| &one["SourcePolicyType"]).collect();
    assert_eq!(sources, ["group", "user-managed"]);
    assert_eq!(first["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"], true);
    let (decisions, _) = simulate("group/team/staff", json!({})).await;
    assert_eq!(decisions, json!(["allowed", "allowed"]));
    let free = json!({ "PolicyExclusionList": [{ "PolicyType": "permission-boundary" }] });
    assert_eq!(simulate("user/ana", free).await.0, json!(["allowed", "allowed"]));
    let other = json!({ "PermissionsBoundaryPolicyInputList": [allow(r#""s3:GetObjectAcl""#)] });
    assert_eq!(simulate("user/ana", other).await.0, json!(["implicitDeny", "allowed"]));
    let inline = json!({ "PolicyName": "reads", "AttachmentType": "group", "AttachmentName": "staff" });
    let without = json!({ "PolicyExclusionList": [{ "InlinePolicyIdentifier": inline.clone() }] });
    let (decisions, _) = simulate("user/ana", without).await;
    assert_eq!(decisions, json!(["implicitDeny", "implicitDeny"]));
}

#[tokio::test]
async fn the_uses_of_a_policy_are_told_apart() {
    let world = World::new();
    staff_of_ana(&world).await;
    let arn = "arn:aws:iam::aws:policy/AmazonS3FullAccess";
    root(&world, "AttachGroupPolicy", json!({ "GroupName": "staff", "PolicyArn": arn })).await;
    root(&world, "PutUserPermissionsBoundary", json!({ "UserName": "ana", "PermissionsBoundary": arn }))
        .await;
    let uses = async |filter: Option<&str>| {
        let mut asked = json!({ "PolicyArn": arn });
        if let Some(filter) = filter {
            asked["PolicyUsageFilter"] = json!(filter);
        }
        let found = root(&world, "ListEntitiesForPolicy", asked).await;
        ["PolicyGroups", "PolicyUsers", "PolicyRoles"].map(|kind| found[kind].as_array().unwrap().len())
    };
    assert_eq!(uses(None).await, [1, 1, 0]);
    assert_eq!(uses(Some("PermissionsPolicy")).await, [1, 0, 0]);
    assert_eq!(uses(Some("PermissionsBoundary")).await, [0, 1, 0]);
    let policy = root(&world, "GetPolicy", json!({ "PolicyArn": arn })).await["Policy"].clone();
    assert_eq!(
        (&policy["AttachmentCount"], &policy["PermissionsBoundaryUsageCount"]),
        (&json!(1), &json!(1))
    );
    let limits = json!({ "PolicyUsageFilter": "PermissionsBoundary" });
    assert_eq!(root(&world, "ListPolicies", limits).await["Policies"].as_array().unwrap().len(), 1);
}

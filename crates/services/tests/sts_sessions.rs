//! Temporary credentials: who may have them, what they may do, and when they end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use postern_frontdoor::{Ask, Caller, CredentialError, Origin};
use postern_policy::Context;
use serde_json::{Value as Json, json};

const ROLE: &str = "arn:aws:iam::111122223333:role/app";
const TRUSTS_ACCOUNT: &str = r#"{"AWS":"111122223333"}"#;

async fn role(world: &World, name: &str, principal: &str, condition: &str, policy: &str) {
    let root = world.root();
    let make = json!({ "RoleName": name, "AssumeRolePolicyDocument": trust(principal, condition) });
    world.iam(&root, "CreateRole", make).await.unwrap();
    let put = json!({ "RoleName": name, "PolicyName": "p", "PolicyDocument": allow(policy) });
    world.iam(&root, "PutRolePolicy", put).await.unwrap();
}

fn assume(more: Json) -> Json {
    let mut parameters = json!({ "RoleArn": ROLE, "RoleSessionName": "tests" });
    parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parameters
}

/// Whether the caller may do this, from the internet.
fn may(world: &World, caller: &Caller, action: &str) -> bool {
    let origin = Origin { peer: None, remote: ([203, 0, 113, 9], 5).into(), secure: true };
    let ask = Ask {
        action: action.to_owned(),
        resource: "*".to_owned(),
        resource_account: None,
        resource_policy: None,
        context: Context::new(),
    };
    world.authoriser.authorise(caller, &origin, &ask, &mut postern_frontdoor::Notes::default()).is_ok()
}

#[tokio::test]
async fn who_one_is_needs_no_permission() {
    let world = World::new();
    let root = world.sts(&world.root(), "GetCallerIdentity", json!({})).await.unwrap();
    assert_eq!(
        root,
        json!({ "Account": "111122223333", "Arn": "arn:aws:iam::111122223333:root", "UserId": "111122223333" })
    );
    let denies = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let user = world.user("ana", Some(denies)).await;
    let ana = world.sts(&user, "GetCallerIdentity", json!({})).await.unwrap();
    assert_eq!(ana["Arn"], "arn:aws:iam::111122223333:user/ana");
    assert!(ana["UserId"].as_str().unwrap().starts_with("AIDA"));
}

#[tokio::test]
async fn a_session_has_the_roles_policies_until_it_ends() {
    let world = World::new();
    let user = world.user("ana", Some(&allow(r#""sts:AssumeRole""#))).await;
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#""s3:GetObject""#).await;
    let given = world.sts(&user, "AssumeRole", assume(json!({ "DurationSeconds": 900 }))).await.unwrap();
    assert_eq!(given["AssumedRoleUser"]["Arn"], "arn:aws:sts::111122223333:assumed-role/app/tests");
    assert_eq!(given["Credentials"]["Expiration"], "2026-01-31T12:15:00Z");
    let session = world.holder(&given["Credentials"]).unwrap();
    let who = world.sts(&session, "GetCallerIdentity", json!({})).await.unwrap();
    assert_eq!(who["Arn"], "arn:aws:sts::111122223333:assumed-role/app/tests");
    assert_eq!(who["UserId"], given["AssumedRoleUser"]["AssumedRoleId"]);
    assert!(may(&world, &session, "s3:GetObject"));
    assert!(!may(&world, &session, "s3:PutObject"));
    assert!(!may(&world, &user, "s3:GetObject"));
    // The key without its token, with another one, and after its time.
    let key = given["Credentials"]["AccessKeyId"].as_str().unwrap();
    assert!(matches!(world.caller(key, None), Err(CredentialError::Unknown(_))));
    assert!(matches!(world.caller(key, Some("Zm9v")), Err(CredentialError::InvalidToken(_))));
    world.memory.advance(899);
    assert!(world.holder(&given["Credentials"]).is_ok());
    world.memory.advance(1);
    assert!(matches!(world.holder(&given["Credentials"]), Err(CredentialError::Expired(_))));
}

#[tokio::test]
async fn a_role_that_goes_takes_its_sessions_along() {
    let world = World::new();
    let user = world.user("ana", Some(&allow(r#""sts:AssumeRole""#))).await;
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#""s3:*""#).await;
    let given = world.sts(&user, "AssumeRole", assume(json!({}))).await.unwrap();
    let root = world.root();
    let named = json!({ "RoleName": "app", "PolicyName": "p" });
    world.iam(&root, "DeleteRolePolicy", named).await.unwrap();
    let session = world.holder(&given["Credentials"]).unwrap();
    assert!(!may(&world, &session, "s3:GetObject"), "a policy that is gone allows nothing");
    world.iam(&root, "DeleteRole", json!({ "RoleName": "app" })).await.unwrap();
    assert!(matches!(world.holder(&given["Credentials"]), Err(CredentialError::Unknown(_))));
    // Another role of the same name is another role.
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#""s3:*""#).await;
    assert!(matches!(world.holder(&given["Credentials"]), Err(CredentialError::Unknown(_))));
    assert!(!may(&world, &session, "s3:GetObject"), "not even for who was authenticated before");
}

#[tokio::test]
async fn trust_decides_who_assumes_a_role() {
    let world = World::new();
    let ana = world.user("ana", Some(&allow(r#""sts:AssumeRole""#))).await;
    let bare = world.user("bare", None).await;
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#""s3:*""#).await;
    let named = r#"{"AWS":"arn:aws:iam::111122223333:user/bare"}"#;
    role(&world, "named", named, "{}", r#""s3:*""#).await;
    role(&world, "secret", TRUSTS_ACCOUNT, r#"{"StringEquals":{"sts:ExternalId":"x-1"}}"#, r#""s3:*""#).await;
    let try_ = |caller: Caller, name: &str, more: Json| {
        let mut parameters = assume(more);
        parameters["RoleArn"] = json!(format!("arn:aws:iam::111122223333:role/{name}"));
        let world = &world;
        async move { world.sts(&caller, "AssumeRole", parameters).await.map(|_| ()).map_err(|e| e.to_string()) }
    };
    let refused = |user: &str, role: &str, why: &str| {
        Err(format!(
            "AccessDenied: User: arn:aws:iam::111122223333:user/{user} is not authorized to perform: sts:AssumeRole on \
             resource: arn:aws:iam::111122223333:role/{role}{why}"
        ))
    };
    let no_identity = " because no identity-based policy allows the sts:AssumeRole action";
    assert_eq!(try_(ana.clone(), "app", json!({})).await, Ok(()));
    assert_eq!(try_(bare.clone(), "app", json!({})).await, refused("bare", "app", no_identity));
    assert_eq!(try_(bare.clone(), "named", json!({})).await, Ok(()), "named by the role's own policy");
    assert_eq!(try_(ana.clone(), "named", json!({})).await, refused("ana", "named", ""));
    assert_eq!(try_(ana.clone(), "nothing", json!({})).await, refused("ana", "nothing", ""));
    assert_eq!(try_(ana.clone(), "secret", json!({})).await, refused("ana", "secret", ""));
    assert_eq!(try_(ana.clone(), "secret", json!({ "ExternalId": "x-1" })).await, Ok(()));
    assert_eq!(
        try_(ana.clone(), "secret", json!({ "ExternalId": "x-2" })).await,
        refused("ana", "secret", "")
    );
    assert_eq!(
        try_(world.root(), "app", json!({})).await,
        Err("AccessDenied: Roles may not be assumed by root accounts.".to_owned())
    );
}

#[tokio::test]
async fn across_accounts_both_sides_have_to_allow() {
    let world = World::new();
    role(&world, "app", r#"{"AWS":"444455556666"}"#, "{}", r#""s3:*""#).await;
    let other_root = world.caller("AKIAROOT2", None).unwrap();
    for (name, policy) in [("may", Some(allow(r#""sts:AssumeRole""#))), ("maynot", None)] {
        world.iam(&other_root, "CreateUser", json!({ "UserName": name })).await.unwrap();
        if let Some(policy) = policy {
            let put = json!({ "UserName": name, "PolicyName": "p", "PolicyDocument": policy });
            world.iam(&other_root, "PutUserPolicy", put).await.unwrap();
        }
    }
    let holder = |name: &'static str| {
        let (world, root) = (&world, &other_root);
        async move {
            let key = world.iam(root, "CreateAccessKey", json!({ "UserName": name })).await.unwrap();
            world.caller(key["AccessKey"]["AccessKeyId"].as_str().unwrap(), None).unwrap()
        }
    };
    let (may_, may_not) = (holder("may").await, holder("maynot").await);
    let given = world.sts(&may_, "AssumeRole", assume(json!({}))).await.unwrap();
    assert_eq!(world.holder(&given["Credentials"]).unwrap().account, Some(account(ONE)));
    assert!(refusal(world.sts(&may_not, "AssumeRole", assume(json!({}))).await).starts_with("AccessDenied"));
    // Whether a role is there is not told to those whom it does not trust.
    role(&world, "private", TRUSTS_ACCOUNT, "{}", r#""s3:*""#).await;
    let mut words = Vec::new();
    for name in ["private", "nothing"] {
        let mut parameters = assume(json!({}));
        parameters["RoleArn"] = json!(format!("arn:aws:iam::111122223333:role/{name}"));
        words.push(refusal(world.sts(&may_, "AssumeRole", parameters).await).replace(name, "X"));
    }
    assert_eq!(words[0], words[1]);
}

#[tokio::test]
async fn session_policies_take_away() {
    let world = World::new();
    let user = world.user("ana", Some(&allow(r#""sts:AssumeRole""#))).await;
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#"["s3:*","sts:*"]"#).await;
    let only_get = assume(json!({ "Policy": allow(r#""s3:GetObject""#) }));
    let given = world.sts(&user, "AssumeRole", only_get).await.unwrap();
    assert!(given["PackedPolicySize"].as_i64().unwrap() > 0);
    let session = world.holder(&given["Credentials"]).unwrap();
    assert!(may(&world, &session, "s3:GetObject") && !may(&world, &session, "s3:PutObject"));
    let root = world.root();
    let make = json!({ "PolicyName": "put", "PolicyDocument": allow(r#""s3:PutObject""#) });
    world.iam(&root, "CreatePolicy", make).await.unwrap();
    let arn = "arn:aws:iam::111122223333:policy/put";
    let managed = assume(json!({ "PolicyArns": [{ "arn": arn }] }));
    let given = world.sts(&user, "AssumeRole", managed).await.unwrap();
    let session = world.holder(&given["Credentials"]).unwrap();
    assert!(may(&world, &session, "s3:PutObject") && !may(&world, &session, "s3:GetObject"));
    // A managed policy that goes leaves the session with nothing, never with more.
    world.iam(&root, "DeletePolicy", json!({ "PolicyArn": arn })).await.unwrap();
    assert!(!may(&world, &session, "s3:PutObject") && !may(&world, &session, "s3:GetObject"));
    for (more, refused) in [
        (json!({ "Policy": "{" }), "MalformedPolicyDocument"),
        (json!({ "Policy": trust(TRUSTS_ACCOUNT, "{}") }), "MalformedPolicyDocument"),
        (json!({ "PolicyArns": [{ "arn": arn }] }), "ValidationError: The policy"),
        (
            json!({ "DurationSeconds": 3601 }),
            "ValidationError: The requested DurationSeconds exceeds the MaxSession",
        ),
        (json!({ "DurationSeconds": 899 }), "ValidationError: 1 validation error detected: Value '899'"),
        (json!({ "RoleSessionName": "a b" }), "ValidationError: 1 validation error detected: Value 'a b'"),
        (json!({ "RoleArn": "arn:aws:iam::111122223333:user/ana" }), "ValidationError: arn:aws:iam::"),
    ] {
        let got = refusal(world.sts(&user, "AssumeRole", assume(more)).await);
        assert!(got.starts_with(refused), "{got}");
    }
}

#[tokio::test]
async fn session_tokens_of_users() {
    let world = World::new();
    let user = world.user("ana", Some(&allow(r#"["s3:*","iam:*"]"#))).await;
    let given = world.sts(&user, "GetSessionToken", json!({})).await.unwrap();
    assert_eq!(given["Credentials"]["Expiration"], "2026-02-01T00:00:00Z");
    let session = world.holder(&given["Credentials"]).unwrap();
    assert_eq!(session.principal, user.principal);
    assert!(may(&world, &session, "s3:PutObject"));
    let listed = world.iam(&session, "ListUsers", json!({})).await;
    assert!(refusal(listed).starts_with("InvalidClientTokenId"));
    let again = world.sts(&session, "GetSessionToken", json!({})).await;
    assert_eq!(refusal(again), "AccessDenied: Cannot call GetSessionToken with session credentials");
    let root =
        world.sts(&world.root(), "GetSessionToken", json!({ "DurationSeconds": 43200 })).await.unwrap();
    assert_eq!(root["Credentials"]["Expiration"], "2026-01-31T13:00:00Z");
}

#[tokio::test]
async fn no_parameter_is_ignored() {
    let world = World::new();
    let user = world.user("ana", Some(&allow(r#""sts:AssumeRole""#))).await;
    role(&world, "app", TRUSTS_ACCOUNT, "{}", r#""s3:*""#).await;
    // These are honoured, which other tests show.
    let honoured = [
        "DurationSeconds",
        "EncodedMessage",
        "ExternalId",
        "Policy",
        "PolicyArns",
        "RoleArn",
        "RoleSessionName",
        "SourceIdentity",
        "Tags",
        "TransitiveTagKeys",
    ];
    for operation in postern_wire::sts::OPERATIONS {
        for member in operation.input.members {
            if honoured.contains(&member.name) {
                continue;
            }
            let value = match member.name {
                "MinimumSessionTokenSize" => json!(100),
                "ProvidedContexts" => json!([{ "ContextAssertion": "abcd" }]),
                "SerialNumber" => json!("arn:aws:iam::111122223333:mfa/ana"),
                "TokenCode" => json!("123456"),
                other => panic!("`{other}` is new here"),
            };
            let mut parameters = if operation.name == "AssumeRole" { assume(json!({})) } else { json!({}) };
            parameters[member.name] = value;
            let refused = refusal(world.sts(&user, operation.name, parameters).await);
            assert_eq!(
                refused,
                format!(
                    "ValidationError: The parameter {} is not supported by this endpoint yet.",
                    member.name
                )
            );
        }
    }
}

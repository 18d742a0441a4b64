//! What sessions carry: tags of their own and of their roles, a source identity; and what a refusal of EC2 says sealed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use postern_frontdoor::Caller;
use serde_json::{Value as Json, json};

/// A trust policy by which the account may do these actions.
fn trusting(actions: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":{actions},
            "Principal":{{"AWS":"111122223333"}},"Condition":{condition}}}}}"#
    )
}

async fn role(world: &World, name: &str, trust: &str, policy: &str) {
    let root = world.root();
    let make = json!({ "RoleName": name, "AssumeRolePolicyDocument": trust,
        "Tags": [{ "Key": "team", "Value": "of-role" }, { "Key": "site", "Value": "north" }] });
    world.iam(&root, "CreateRole", make).await.unwrap();
    let put = json!({ "RoleName": name, "PolicyName": "p", "PolicyDocument": policy });
    world.iam(&root, "PutRolePolicy", put).await.unwrap();
}

async fn assume(world: &World, caller: &Caller, role: &str, more: Json) -> Result<Caller, String> {
    let arn = format!("arn:aws:iam::111122223333:role/{role}");
    let mut asked = json!({ "RoleArn": arn, "RoleSessionName": "here" });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let given = world.sts(caller, "AssumeRole", asked).await.map_err(|error| error.to_string())?;
    Ok(world.holder(&given["Credentials"]).unwrap())
}

const ALL_OF_STS: &str = r#"["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]"#;

/// Allows to list users to who has this tag, and everything of STS.
fn with_tag(key: &str, value: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[
            {{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",
             "Condition":{{"StringEquals":{{"aws:PrincipalTag/{key}":"{value}"}}}}}},
            {{"Effect":"Allow","Action":"sts:*","Resource":"*"}}]}}"#
    )
}

async fn lists(world: &World, caller: &Caller) -> bool {
    world.iam(caller, "ListUsers", json!({})).await.is_ok()
}

#[tokio::test]
async fn a_sessions_tags_stand_in_for_its_roles() {
    let world = World::new();
    let ana = world.user("ana", Some(&allow(r#""sts:*""#))).await;
    let tag = |key: &str, value: &str| json!({ "Tags": [{ "Key": key, "Value": value }] });
    role(&world, "app", &trusting(ALL_OF_STS, "{}"), &with_tag("team", "red")).await;
    role(&world, "north", &trusting(ALL_OF_STS, "{}"), &with_tag("site", "north")).await;
    role(&world, "untagged", &trusting(r#""sts:AssumeRole""#, "{}"), &with_tag("team", "red")).await;
    let plain = assume(&world, &ana, "app", json!({})).await.unwrap();
    assert!(!lists(&world, &plain).await);
    let red = assume(&world, &ana, "app", tag("Team", "red")).await.unwrap();
    assert!(lists(&world, &red).await);
    let of_role = assume(&world, &ana, "north", json!({})).await.unwrap();
    assert!(lists(&world, &of_role).await);
    let refused = assume(&world, &ana, "untagged", tag("team", "red")).await.unwrap_err();
    assert_eq!(
        refused,
        "AccessDenied: User: arn:aws:iam::111122223333:user/ana is not authorized to perform: sts:TagSession on \
         resource: arn:aws:iam::111122223333:role/untagged"
    );
    // A user's own tags.
    world.user("bob", Some(&with_tag("team", "red"))).await;
    let tagged = json!({ "UserName": "bob", "Tags": [{ "Key": "team", "Value": "red" }] });
    world.iam(&world.root(), "TagUser", tagged).await.unwrap();
    let key = world.iam(&world.root(), "CreateAccessKey", json!({ "UserName": "bob" })).await.unwrap();
    let bob = world.caller(key["AccessKey"]["AccessKeyId"].as_str().unwrap(), None).unwrap();
    assert!(lists(&world, &bob).await);
}

#[tokio::test]
async fn transitive_tags_and_the_source_identity_go_along_a_chain() {
    let world = World::new();
    let ana = world.user("ana", Some(&allow(r#""sts:*""#))).await;
    role(&world, "first", &trusting(ALL_OF_STS, "{}"), &with_tag("team", "red")).await;
    role(&world, "second", &trusting(ALL_OF_STS, "{}"), &with_tag("team", "red")).await;
    let named = trusting(ALL_OF_STS, r#"{"StringEquals":{"sts:SourceIdentity":"ana"}}"#);
    let of_ana = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:ListUsers","Resource":"*",
        "Condition":{"StringEquals":{"aws:SourceIdentity":"ana"}}}}"#;
    role(&world, "named", &named, of_ana).await;
    role(&world, "closed", &trusting(r#""sts:AssumeRole""#, "{}"), &with_tag("team", "red")).await;
    let tags = json!([{ "Key": "team", "Value": "red" }]);
    let transitive = json!({ "Tags": tags, "TransitiveTagKeys": ["team"], "SourceIdentity": "ana" });
    let first = assume(&world, &ana, "first", transitive).await.unwrap();
    let second = assume(&world, &first, "second", json!({})).await.unwrap();
    assert!(lists(&world, &second).await, "the tag went along");
    let named = assume(&world, &second, "named", json!({})).await.unwrap();
    assert!(lists(&world, &named).await, "the source identity went along");
    assert!(assume(&world, &first, "closed", json!({})).await.unwrap_err().contains("sts:TagSession"));
    let other = assume(&world, &first, "second", json!({ "SourceIdentity": "eve" })).await;
    assert!(other.unwrap_err().starts_with("AccessDenied"));
    let again =
        assume(&world, &first, "second", json!({ "Tags": [{ "Key": "TEAM", "Value": "blue" }] })).await;
    assert_eq!(
        again.unwrap_err(),
        "InvalidParameterValue: One of the specified transitive tag keys can't be set because it conflicts with a \
         transitive tag key from the calling session."
    );
    let alone = assume(&world, &ana, "first", json!({ "TransitiveTagKeys": ["team"] })).await;
    assert!(
        alone.unwrap_err().starts_with("InvalidParameterValue: The specified transitive tag key must be")
    );
    // What is not transitive stays.
    let kept = assume(&world, &ana, "first", json!({ "Tags": tags })).await.unwrap();
    let next = assume(&world, &kept, "second", json!({})).await.unwrap();
    assert!(lists(&world, &kept).await && !lists(&world, &next).await);
}

#[tokio::test]
async fn what_a_request_tags_is_seen_by_the_trust_policy() {
    let world = World::new();
    let ana = world.user("ana", Some(&allow(r#""sts:*""#))).await;
    let only_red = trusting(ALL_OF_STS, r#"{"StringEquals":{"aws:RequestTag/team":"red"}}"#);
    role(&world, "app", &only_red, &with_tag("team", "red")).await;
    let tag = |value: &str| json!({ "Tags": [{ "Key": "team", "Value": value }] });
    assert!(assume(&world, &ana, "app", tag("red")).await.is_ok());
    assert!(assume(&world, &ana, "app", tag("blue")).await.is_err());
    assert!(assume(&world, &ana, "app", json!({})).await.is_err());
}

#[tokio::test]
async fn what_ec2_refuses_is_told_sealed_to_who_may_decode_it() {
    let world = World::new();
    let denies = r#"{"Version":"2012-10-17","Statement":[{"Sid":"NoVpcs","Effect":"Deny","Action":"ec2:CreateVpc",
        "Resource":"*"},{"Effect":"Allow","Action":"sts:DecodeAuthorizationMessage","Resource":"*"}]}"#;
    let ana = world.user("ana", Some(denies)).await;
    let refused = world.ec2(&ana, "CreateVpc", json!({ "CidrBlock": "10.0.0.0/16" })).await;
    let told = refused.unwrap_err().to_string();
    let (sentence, sealed) = told.split_once(". Encoded authorization failure message: ").unwrap();
    assert_eq!(
        sentence,
        "UnauthorizedOperation: You are not authorized to perform this operation. User: \
         arn:aws:iam::111122223333:user/ana is not authorized to perform: ec2:CreateVpc on resource: \
         arn:aws:ec2:us-east-1:111122223333:vpc/* with an explicit deny in an identity-based policy"
    );
    let message = json!({ "EncodedMessage": sealed });
    let decoded = world.sts(&ana, "DecodeAuthorizationMessage", message.clone()).await.unwrap();
    let decoded: Json = serde_json::from_str(decoded["DecodedMessage"].as_str().unwrap()).unwrap();
    assert_eq!((&decoded["allowed"], &decoded["explicitDeny"]), (&json!(false), &json!(true)));
    assert_eq!(decoded["matchedStatements"]["items"][0]["statementId"], "NoVpcs");
    assert_eq!(decoded["context"]["principal"]["arn"], "arn:aws:iam::111122223333:user/ana");
    assert_eq!(decoded["context"]["action"], "ec2:CreateVpc");
    assert_eq!(decoded["context"]["resource"], "arn:aws:ec2:us-east-1:111122223333:vpc/*");
    let conditions = decoded["context"]["conditions"]["items"].as_array().unwrap();
    assert!(conditions.iter().any(|one| one["key"] == "aws:sourceip"));

    let bob = world.user("bob", None).await;
    let denied = world.sts(&bob, "DecodeAuthorizationMessage", message.clone()).await;
    assert!(refusal(denied).starts_with("AccessDenied"));
    let other = world.caller("AKIAROOT2", None).unwrap();
    let invalid = "InvalidAuthorizationMessageException: Message is not valid";
    assert_eq!(refusal(world.sts(&other, "DecodeAuthorizationMessage", message).await), invalid);
    let changed = json!({ "EncodedMessage": sealed.replace(&sealed[40..44], "AAAA") });
    assert_eq!(refusal(world.sts(&ana, "DecodeAuthorizationMessage", changed).await), invalid);
}

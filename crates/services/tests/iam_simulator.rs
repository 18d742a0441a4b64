//! The policy simulator, asked over IAM's own wire.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use serde_json::{Value as Json, json};

const ANA: &str = "arn:aws:iam::111122223333:user/ana";

/// `action resource: decision`, and what decided.
fn told(answer: &Json) -> Vec<String> {
    let statements = |result: &Json| {
        let matched = result["MatchedStatements"].as_array().unwrap().iter().map(|statement| {
            let (start, end) = (&statement["StartPosition"], &statement["EndPosition"]);
            format!(
                "{} {} {}:{}-{}:{}",
                statement["SourcePolicyType"].as_str().unwrap(),
                statement["SourcePolicyId"].as_str().unwrap(),
                start["Line"],
                start["Column"],
                end["Line"],
                end["Column"]
            )
        });
        matched.collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    for result in answer["EvaluationResults"].as_array().unwrap() {
        let (action, decision) =
            (result["EvalActionName"].as_str().unwrap(), result["EvalDecision"].as_str().unwrap());
        lines.push(format!("{action}: {decision} [{}]", statements(result)));
        for specific in result["ResourceSpecificResults"].as_array().into_iter().flatten() {
            let resource = specific["EvalResourceName"].as_str().unwrap();
            let decision = specific["EvalResourceDecision"].as_str().unwrap();
            lines.push(format!("  {resource}: {decision} [{}]", statements(specific)));
        }
    }
    lines
}

async fn custom(world: &World, parameters: Json) -> Json {
    world.iam(&world.root(), "SimulateCustomPolicy", parameters).await.unwrap()
}

#[tokio::test]
async fn each_action_is_decided_on_each_resource_with_what_decided() {
    let world = World::new();
    let policy = "{\"Version\":\"2012-10-17\",\"Statement\":[\n\
                  {\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/*\"},\n\
                  {\"Effect\":\"Deny\",\"Action\":\"s3:Delete*\",\"Resource\":\"arn:aws:s3:::b/final/*\"}]}";
    let answer = custom(
        &world,
        json!({ "PolicyInputList": [policy], "ActionNames": ["s3:GetObject", "s3:DeleteObject", "ec2:RunInstances"],
                "ResourceArns": ["arn:aws:s3:::b/k", "arn:aws:s3:::b/final/k", "arn:aws:s3:::c/k"] }),
    );
    let allow = "none PolicyInputList.1 2:1-2:65";
    let deny = "none PolicyInputList.1 3:1-3:76";
    assert_eq!(
        told(&answer.await),
        [
            "s3:GetObject: implicitDeny []".to_owned(),
            format!("  arn:aws:s3:::b/k: allowed [{allow}]"),
            format!("  arn:aws:s3:::b/final/k: allowed [{allow}]"),
            "  arn:aws:s3:::c/k: implicitDeny []".to_owned(),
            format!("s3:DeleteObject: explicitDeny [{deny}]"),
            format!("  arn:aws:s3:::b/k: allowed [{allow}]"),
            format!("  arn:aws:s3:::b/final/k: explicitDeny [{deny}]"),
            "  arn:aws:s3:::c/k: implicitDeny []".to_owned(),
            "ec2:RunInstances: implicitDeny []".to_owned(),
            "  arn:aws:s3:::b/k: implicitDeny []".to_owned(),
            "  arn:aws:s3:::b/final/k: implicitDeny []".to_owned(),
            "  arn:aws:s3:::c/k: implicitDeny []".to_owned(),
        ]
    );
}

#[tokio::test]
async fn context_entries_are_read_by_their_types_and_what_is_missing_is_told() {
    let world = World::new();
    let policy = |condition: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{condition}}}}}"#
        )
    };
    for (condition, type_name, values, decision) in [
        (r#"{"StringEquals":{"a:bcd":"x"}}"#, "string", vec!["x"], "allowed"),
        (r#"{"NumericLessThan":{"a:bcd":"10.5"}}"#, "numeric", vec!["10.25"], "allowed"),
        (r#"{"Bool":{"a:bcd":"true"}}"#, "boolean", vec!["true"], "allowed"),
        (r#"{"IpAddress":{"a:bcd":"10.0.0.0/8"}}"#, "ip", vec!["10.1.2.3"], "allowed"),
        (r#"{"DateGreaterThan":{"a:bcd":"2024-01-01"}}"#, "date", vec!["2024-06-01T00:00:00Z"], "allowed"),
        (r#"{"BinaryEquals":{"a:bcd":"QUI="}}"#, "binary", vec!["QUI="], "allowed"),
        (r#"{"ForAllValues:StringEquals":{"a:bcd":["x","y"]}}"#, "stringList", vec!["x", "y"], "allowed"),
        (
            r#"{"ForAllValues:StringEquals":{"a:bcd":["x","y"]}}"#,
            "stringList",
            vec!["x", "z"],
            "implicitDeny",
        ),
        (r#"{"ForAnyValue:NumericEquals":{"a:bcd":"2"}}"#, "numericList", vec!["1", "2"], "allowed"),
        (r#"{"StringEquals":{"aws:username":"x"}}"#, "string", vec![], "implicitDeny"),
    ] {
        let entry =
            json!({ "ContextKeyName": "a:bcd", "ContextKeyValues": values, "ContextKeyType": type_name });
        let answer = custom(
            &world,
            json!({ "PolicyInputList": [policy(condition)], "ActionNames": ["s3:GetObject"], "ContextEntries": [entry] }),
        );
        let answer = answer.await;
        let result = &answer["EvaluationResults"][0];
        assert_eq!(result["EvalDecision"], decision, "{condition}");
        let missing = if condition.contains("username") { json!(["aws:username"]) } else { json!([]) };
        assert_eq!(result["MissingContextValues"], missing, "{condition}");
    }
    for (type_name, values) in [
        ("numeric", vec!["x"]),
        ("boolean", vec!["yes"]),
        ("ip", vec!["10.*"]),
        ("date", vec!["soon"]),
        ("binary", vec!["*"]),
        ("string", vec!["x", "y"]),
    ] {
        let entry =
            json!({ "ContextKeyName": "a:bcd", "ContextKeyValues": values, "ContextKeyType": type_name });
        let asked = json!({ "PolicyInputList": [policy("{}")], "ActionNames": ["s3:GetObject"], "ContextEntries": [entry] });
        let error = world.iam(&world.root(), "SimulateCustomPolicy", asked).await.unwrap_err();
        assert!(error.code == "InvalidInput" && error.message.contains("a:bcd"), "{error}");
    }
}

#[tokio::test]
async fn boundaries_organizations_and_resource_policies_have_their_say() {
    let world = World::new();
    let allow = |action: &str| allow(&format!("{action:?}"));
    let bucket = |name: &str| {
        format!(
            r#"{{"Statement":{{"Effect":"Allow","Principal":{{"AWS":"{name}"}},"Action":"s3:*","Resource":"*"}}}}"#
        )
    };
    let with = |mut parameters: Json| {
        parameters["ActionNames"] = json!(["s3:GetObject"]);
        parameters["ResourceArns"] = json!(["arn:aws:s3:::b/k"]);
        parameters
    };
    let result =
        async |parameters: Json| custom(&world, with(parameters)).await["EvaluationResults"][0].clone();

    let limited =
        json!({ "PolicyInputList": [allow("s3:*")], "PermissionsBoundaryPolicyInputList": [allow("ec2:*")] });
    let limited = result(limited).await;
    assert_eq!(limited["EvalDecision"], "implicitDeny");
    assert_eq!(limited["PermissionsBoundaryDecisionDetail"]["AllowedByPermissionsBoundary"], false);

    let level = |action: &str| json!({ "ServiceControlPolicyInputList": [allow(action)] });
    for (levels, allowed) in
        [(json!([level("*"), level("s3:*")]), true), (json!([level("*"), level("ec2:*")]), false)]
    {
        let asked =
            json!({ "PolicyInputList": [allow("s3:*")], "OrderedOrganizationPolicyInputList": levels });
        let answered = result(asked).await;
        assert_eq!(answered["EvalDecision"], if allowed { "allowed" } else { "implicitDeny" });
        assert_eq!(answered["OrganizationsDecisionDetail"]["AllowedByOrganizations"], allowed);
    }

    // Another account's bucket: both sides have to allow.
    let foreign = |identity: &str, names: &str| {
        json!({ "PolicyInputList": [allow(identity)], "ResourcePolicy": bucket(names), "CallerArn": ANA,
                "ResourceOwner": "arn:aws:iam::444455556666:root" })
    };
    for (identity, names, decision, details) in [
        ("s3:*", ANA, "allowed", ["allowed", "allowed"]),
        ("ec2:*", ANA, "implicitDeny", ["implicitDeny", "allowed"]),
        ("s3:*", "arn:aws:iam::111122223333:user/bob", "implicitDeny", ["allowed", "implicitDeny"]),
    ] {
        let answered = result(foreign(identity, names)).await;
        assert_eq!(answered["EvalDecision"], decision, "{identity} {names}");
        let shown = answered["ResourceSpecificResults"][0]["EvalDecisionDetails"].as_array().unwrap();
        let shown: Vec<&str> = shown.iter().map(|entry| entry["Value"].as_str().unwrap()).collect();
        assert_eq!(shown, details, "{identity} {names}");
    }
    // Of the own account, the bucket's policy is enough for a user that it names.
    let own = json!({ "PolicyInputList": [allow("ec2:*")], "ResourcePolicy": bucket(ANA), "CallerArn": ANA });
    assert_eq!(result(own).await["EvalDecision"], "allowed");
}

#[tokio::test]
async fn a_principals_own_policies_are_simulated_but_for_those_excluded() {
    let world = World::new();
    let root = world.root();
    let inline = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::b/${aws:username}/*"}}"#;
    world.user("ana", Some(inline)).await;
    world.user("nobody", None).await;
    let own = json!({ "PolicyName": "own", "PolicyDocument": allow(r#""s3:PutObject""#) });
    world.iam(&root, "CreatePolicy", own).await.unwrap();
    for policy in ["arn:aws:iam::111122223333:policy/own", "arn:aws:iam::aws:policy/AmazonEC2FullAccess"] {
        world
            .iam(&root, "AttachUserPolicy", json!({ "UserName": "ana", "PolicyArn": policy }))
            .await
            .unwrap();
    }
    let decisions = async |extra: Json| {
        let mut asked = json!({ "PolicySourceArn": ANA, "ActionNames": ["s3:GetObject", "s3:PutObject", "ec2:DescribeVpcs"],
                                "ResourceArns": ["arn:aws:s3:::b/ana/k"] });
        for (name, value) in extra.as_object().unwrap() {
            asked[name] = value.clone();
        }
        let answer =
            world.iam(&root, "SimulatePrincipalPolicy", asked).await.map_err(|error| error.to_string())?;
        let results = answer["EvaluationResults"].as_array().unwrap().iter();
        Ok::<_, String>(
            results
                .map(|result| {
                    let by = &result["MatchedStatements"][0];
                    let by = if by.is_null() {
                        String::new()
                    } else {
                        format!(" by {} {}", by["SourcePolicyType"], by["SourcePolicyId"])
                    };
                    format!("{}{by}", result["EvalDecision"].as_str().unwrap()).replace('"', "")
                })
                .collect::<Vec<_>>(),
        )
    };
    let by_own = "allowed by user-managed own".to_owned();
    let by_aws = "allowed by aws-managed AmazonEC2FullAccess".to_owned();
    let all = decisions(json!({})).await.unwrap();
    assert_eq!(all[1..], [by_own.clone(), by_aws.clone()]);
    assert!(all[0].starts_with("allowed by user "), "{all:?}");
    let no = "implicitDeny".to_owned();
    let first = all[0].clone();
    let inline_name = first.trim_start_matches("allowed by user ");
    let inline_of = |entity: &str| json!({ "InlinePolicyIdentifier": { "PolicyName": inline_name, "AttachmentType": "user", "AttachmentName": entity } });
    for (excluded, expected) in [
        (json!({ "PolicyType": "inline" }), [&no, &by_own, &by_aws]),
        (json!({ "PolicyType": "user-managed" }), [&first, &no, &by_aws]),
        (json!({ "PolicyType": "aws-managed" }), [&first, &by_own, &no]),
        (json!({ "PolicyType": "scp" }), [&first, &by_own, &by_aws]),
        (json!({ "PolicyArn": "arn:aws:iam::aws:policy/AmazonEC2*" }), [&first, &by_own, &no]),
        (json!({ "PolicyArn": "arn:aws:iam::111122223333:policy/o?n" }), [&first, &no, &by_aws]),
        (inline_of("ana"), [&no, &by_own, &by_aws]),
        (inline_of("bob"), [&first, &by_own, &by_aws]),
    ] {
        let got = decisions(json!({ "PolicyExclusionList": [excluded.clone()] })).await.unwrap();
        assert_eq!(got.iter().collect::<Vec<_>>(), expected, "{excluded}");
    }
    // As if another user had them: the variable is the caller's name.
    let as_bob = json!({ "CallerArn": "arn:aws:iam::111122223333:user/bob" });
    assert_eq!(decisions(as_bob).await.unwrap()[0], no);
    for (extra, expected) in [
        (json!({ "PolicyExclusionList": [{ "PolicyArn": "arn:aws:iam::*:policy/x" }] }), "InvalidInput"),
        (json!({ "PolicyExclusionList": [{ "PolicyArn": "arn:aws:iam::aws:policy/*a*" }] }), "InvalidInput"),
        (
            json!({ "PolicyExclusionList": [{ "PolicyType": "inline", "PolicyArn": "arn:aws:iam::aws:policy/a" }] }),
            "InvalidInput",
        ),
        (json!({ "CallerArn": "arn:aws:sts::111122223333:assumed-role/app/one" }), "InvalidInput"),
        (json!({ "PolicySourceArn": "arn:aws:iam::111122223333:user/gone" }), "NoSuchEntity"),
        (
            json!({ "PolicyInputList": ["{"] }),
            "InvalidInput: Invalid policy PolicyInputList.1: malformed json at line 1, column 2",
        ),
        (json!({ "ResourceArns": ["b/k"] }), "InvalidInput: Invalid resource b/k."),
        (json!({ "ActionNames": ["s3:Get*"] }), "InvalidInput: Invalid action s3:Get*."),
    ] {
        let error = decisions(extra.clone()).await.unwrap_err();
        assert!(error.starts_with(expected), "{extra}: {error}");
    }
    // The real caller needs the permission, on that principal.
    let asker = world
        .user(
            "asker",
            Some(
                &allow(r#""iam:Simulate*""#).replace(r#""Resource":"*""#, &format!(r#""Resource":"{ANA}""#)),
            ),
        )
        .await;
    let ask = |arn: &str| json!({ "PolicySourceArn": arn, "ActionNames": ["s3:GetObject"] });
    assert!(world.iam(&asker, "SimulatePrincipalPolicy", ask(ANA)).await.is_ok());
    let other = ask("arn:aws:iam::111122223333:user/nobody");
    assert!(world.iam(&asker, "SimulatePrincipalPolicy", other).await.unwrap_err().code == "AccessDenied");
}

#[tokio::test]
async fn keys_of_policies_are_listed() {
    let world = World::new();
    let root = world.root();
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}",
        "Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}}}"#;
    world.user("ana", Some(policy)).await;
    let custom =
        world.iam(&root, "GetContextKeysForCustomPolicy", json!({ "PolicyInputList": [policy] })).await;
    let keys = json!(["aws:SourceVpce", "aws:username"]);
    assert_eq!(custom.unwrap()["ContextKeyNames"], keys);
    let principal = json!({ "PolicySourceArn": ANA });
    let principal = world.iam(&root, "GetContextKeysForPrincipalPolicy", principal).await;
    assert_eq!(principal.unwrap()["ContextKeyNames"], keys);
}

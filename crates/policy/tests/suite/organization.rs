//! Policies over a tree of accounts.

use crate::fixture;
use postern_policy::{
    AccountId, Action, Arn, Evaluation, FULL_AWS_ACCESS_ARN, Kind, Organization, OrganizationError,
    PolicySet, Principal, Request, Value, evaluate,
};

const MANAGEMENT: &str = "999999999999";
const MEMBER: &str = fixture::HOME;
const OTHER: &str = "222222222222";

fn account(digits: &str) -> AccountId {
    digits.parse().unwrap()
}

/// `r-1` over `ou-work` over `ou-team` over the member; another account under the root.
fn organization() -> Organization {
    let mut organization = Organization::new("o-example", "r-1", account(MANAGEMENT));
    organization.add_unit("ou-work", "r-1").unwrap();
    organization.add_unit("ou-team", "ou-work").unwrap();
    organization.add_account(&account(MEMBER), "ou-team").unwrap();
    organization.enable_service_control().unwrap();
    organization.add_account(&account(OTHER), "r-1").unwrap();
    organization
}

fn user(account: &str) -> Principal {
    Principal::User { arn: Arn::parse(&format!("arn:aws:iam::{account}:user/ana")).unwrap() }
}

/// A request on an object of an account whose own policies allow it all, on both sides.
fn ask(organization: &Organization, principal: Principal, owner: &str) -> Evaluation {
    let mut set = PolicySet::new();
    set.add_identity(fixture::policy("identity", "full", Kind::Identity)).unwrap();
    set.set_resource(fixture::policy("bucket", "full", Kind::Resource)).unwrap();
    let mut request = Request::new(principal, Action::parse("s3:GetObject").unwrap(), "arn:aws:s3:::b/k")
        .with_resource_account(account(owner));
    organization.set_keys(&mut request);
    organization.apply(&mut set, &request).unwrap();
    evaluate(&set, &request)
}

fn no_s3() -> postern_policy::NamedPolicy {
    let text = r#"{"Sid":"NoS3","Effect":"Deny","Action":"s3:*","Resource":"*"}"#;
    fixture::policy("no-s3", text, Kind::ServiceControl)
}

#[test]
fn full_access_everywhere_changes_nothing() {
    assert!(ask(&organization(), user(MEMBER), MEMBER).is_allowed());
}

#[test]
fn without_service_control_policies_nothing_is_filtered() {
    let mut organization = Organization::new("o-example", "r-1", account(MANAGEMENT));
    organization.add_account(&account(MEMBER), "r-1").unwrap();
    assert!(ask(&organization, user(MEMBER), MEMBER).is_allowed());
}

#[test]
fn every_level_has_to_allow_and_the_first_that_does_not_is_named() {
    for level in ["r-1", "ou-work", "ou-team", MEMBER] {
        let mut organization = organization();
        organization.detach(level, FULL_AWS_ACCESS_ARN).unwrap();
        let evaluation = ask(&organization, user(MEMBER), MEMBER);
        let denial = evaluation.denial().unwrap();
        assert!(!denial.explicit && denial.level.as_deref() == Some(level), "{denial:?}");
        let wanted = format!("service control policy at `{level}`: there is none, so nothing is allowed");
        assert!(evaluation.decisive().any(|reason| reason.to_string() == wanted), "{wanted}");
    }
}

#[test]
fn a_denial_at_any_level_denies_and_says_where() {
    for level in ["r-1", "ou-work", "ou-team", MEMBER] {
        let mut organization = organization();
        organization.attach(level, no_s3()).unwrap();
        let evaluation = ask(&organization, user(MEMBER), MEMBER);
        let denial = evaluation.denial().unwrap();
        assert!(denial.explicit && denial.level.as_deref() == Some(level));
        let reasons: Vec<String> = evaluation.decisive().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            [format!("service control policy `no-s3` at `{level}`, statement 0 (`NoS3`): denies")]
        );
    }
}

#[test]
fn who_is_not_bound() {
    let mut organization = organization();
    organization.attach("r-1", no_s3()).unwrap();
    assert!(!ask(&organization, Principal::Root { account: account(MEMBER) }, MEMBER).is_allowed());
    assert!(ask(&organization, user(MANAGEMENT), MANAGEMENT).is_allowed(), "the management account");
    assert!(ask(&organization, user("333333333333"), MEMBER).is_allowed(), "an account outside");
    assert!(ask(&organization, Principal::Anonymous, MEMBER).is_allowed(), "nobody");
    let linked = |path: &str| Principal::AssumedRole {
        role_arn: Arn::parse(&format!("arn:aws:iam::{MEMBER}:role/{path}linked")).unwrap(),
        session_arn: Arn::parse(&format!("arn:aws:sts::{MEMBER}:assumed-role/linked/one")).unwrap(),
    };
    assert!(ask(&organization, linked("aws-service-role/x.amazonaws.com/"), MEMBER).is_allowed());
    assert!(!ask(&organization, linked("my-service-role/"), MEMBER).is_allowed());
}

#[test]
fn resource_control_policies_bind_the_resources_account_whoever_asks() {
    let mut organization = organization();
    let own_only = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*",
        "Condition":{"StringNotEquals":{"aws:PrincipalOrgID":"o-example"}}}"#;
    organization.attach("ou-work", fixture::policy("own-only", own_only, Kind::ResourceControl)).unwrap();
    assert!(ask(&organization, user(MEMBER), MEMBER).is_allowed());
    assert!(ask(&organization, user(OTHER), MEMBER).is_allowed(), "of the same organization");
    let refused = ask(&organization, user("333333333333"), MEMBER);
    assert_eq!(refused.denial().unwrap().level.as_deref(), Some("ou-work"));
    assert!(
        ask(&organization, user("333333333333"), OTHER).is_allowed(),
        "the other account is not under the unit"
    );
    assert!(ask(&organization, user("333333333333"), MANAGEMENT).is_allowed());
}

#[test]
fn resource_control_policies_bind_the_services_that_aws_lists_and_no_others() {
    for (action, bound) in [
        ("s3:GetObject", true),
        ("dynamodb:GetItem", true),
        ("sts:AssumeRole", true),
        ("logs:PutLogEvents", true),
        ("SQS:SendMessage", true),
        ("kms:Decrypt", true),
        ("kms:RetireGrant", false),
        ("iam:CreateUser", false),
        ("ec2:RunInstances", false),
        ("sns:Publish", false),
        ("kinesis:PutRecord", false),
        ("lambda:InvokeFunction", false),
    ] {
        let mut organization = organization();
        let nothing = format!(r#"{{"Effect":"Deny","Principal":"*","Action":"{action}","Resource":"*"}}"#);
        organization.attach("ou-work", fixture::policy("nothing", &nothing, Kind::ResourceControl)).unwrap();
        let mut set = PolicySet::new();
        let request = Request::new(user(MEMBER), Action::parse(action).unwrap(), "*")
            .with_resource_account(account(MEMBER));
        organization.apply(&mut set, &request).unwrap();
        let all = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
        set.add_identity(fixture::policy("all", all, Kind::Identity)).unwrap();
        assert_eq!(evaluate(&set, &request).is_allowed(), !bound, "{action}");
    }
}

#[test]
fn some_actions_know_nothing_of_whose_the_resource_is() {
    let all = r#"{"Effect":"Allow","Action":"*","Resource":"*",
        "Condition":{"StringEquals":{"aws:ResourceAccount":"222222222222"}}}"#;
    for (action, known) in [
        ("ec2:DeleteVpcEndpoints", true),
        ("ec2:CreateVpcEndpoint", false),
        ("EC2:acceptvpcendpointconnections", false),
        ("ec2:AcceptVpcPeeringConnection", false),
        ("ec2:CreateVpcPeeringConnection", false),
        ("ebs:PutSnapshotBlock", false),
    ] {
        let mut set = PolicySet::new();
        set.add_identity(fixture::policy("own", all, Kind::Identity)).unwrap();
        let request = Request::new(user("222222222222"), Action::parse(action).unwrap(), "*")
            .with_resource_account(account("222222222222"));
        assert_eq!(evaluate(&set, &request).is_allowed(), known, "{action}");
    }
}

#[test]
fn keys_follow_from_the_tree_and_not_from_the_context() {
    let organization = organization();
    assert_eq!(organization.path(MEMBER).as_deref(), Some("o-example/r-1/ou-work/ou-team/"));
    assert_eq!(organization.path("ou-team"), None);
    let mut request = Request::new(user("333333333333"), Action::parse("s3:GetObject").unwrap(), "*")
        .with_resource_account(account(MEMBER));
    request.context.insert("aws:PrincipalOrgID", "o-example");
    organization.set_keys(&mut request);
    assert_eq!(request.context.get("aws:PrincipalOrgID"), []);
    assert_eq!(request.context.get("aws:ResourceOrgID"), [Value::from("o-example")]);
    assert_eq!(request.context.get("aws:ResourceOrgPaths"), [Value::from("o-example/r-1/ou-work/ou-team/")]);
}

#[test]
fn what_a_tree_does_not_take() {
    let mut tree = organization();
    let refused = |result: Result<(), OrganizationError>| result.unwrap_err().to_string();
    assert_eq!(refused(tree.add_unit("ou-x", "ou-none")), "there is no `ou-none` in the organization");
    assert_eq!(refused(tree.add_unit("ou-work", "r-1")), "there is a `ou-work` in the organization already");
    assert_eq!(
        refused(tree.add_unit("ou-x", MEMBER)),
        format!("`{MEMBER}` is an account, under which nothing can stand")
    );
    for (unit, parent) in [("ou-3", "ou-team"), ("ou-4", "ou-3"), ("ou-5", "ou-4")] {
        tree.add_unit(unit, parent).unwrap();
    }
    assert_eq!(
        refused(tree.add_unit("ou-6", "ou-5")),
        "`ou-6` would stand deeper than 5 units under the root"
    );
    let identity = fixture::policy("reader", "full", Kind::Identity);
    assert!(matches!(tree.attach("r-1", identity), Err(OrganizationError::WrongKind(_))));
    assert_eq!(refused(tree.detach("r-1", "none")), "policy `none` is not attached to `r-1`");
}

//! What organizations do to requests, and what their operations show and refuse.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use postern_frontdoor::Caller;
use serde_json::{Value as Json, json};

/// The world with an organization of the first account that the second one is in.
struct Org {
    world: World,
    management: Caller,
    /// The root user of the member.
    member: Caller,
    id: String,
    root: String,
}

impl Org {
    async fn new() -> Self {
        let world = World::new();
        let management = world.root();
        let member = world.caller("AKIAROOT2", None).unwrap();
        let made = world.organizations(&management, "CreateOrganization", json!({})).await.unwrap();
        let id = made["Organization"]["Id"].as_str().unwrap().to_owned();
        let roots = world.organizations(&management, "ListRoots", json!({})).await.unwrap();
        let root = roots["Roots"][0]["Id"].as_str().unwrap().to_owned();
        let org = Self { world, management, member, id, root };
        let target = json!({ "Id": TWO.to_string(), "Type": "ACCOUNT" });
        let invited = org.ask("InviteAccountToOrganization", json!({ "Target": target })).await.unwrap();
        let handshake = json!({ "HandshakeId": invited["Handshake"]["Id"] });
        org.world.organizations(&org.member, "AcceptHandshake", handshake).await.unwrap();
        org
    }

    /// By the management account.
    async fn ask(&self, operation: &str, parameters: Json) -> Result<Json, String> {
        self.world.organizations(&self.management, operation, parameters).await
    }

    async fn policy(&self, kind: &str, name: &str, statement: &str) -> String {
        let content = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        let create = json!({ "Content": content, "Description": "", "Name": name, "Type": kind });
        let made = self.ask("CreatePolicy", create).await.unwrap();
        made["Policy"]["PolicySummary"]["Id"].as_str().unwrap().to_owned()
    }

    async fn attach(&self, policy: &str, target: &str) {
        self.ask("AttachPolicy", json!({ "PolicyId": policy, "TargetId": target })).await.unwrap();
    }

    async fn list_users(&self, caller: &Caller) -> Result<Json, String> {
        self.world.iam(caller, "ListUsers", json!({})).await.map_err(|error| error.to_string())
    }
}

const SCP: &str = "SERVICE_CONTROL_POLICY";
const RCP: &str = "RESOURCE_CONTROL_POLICY";
const NO_IAM: &str = r#"{"Effect":"Deny","Action":"iam:*","Resource":"*"}"#;

#[tokio::test]
async fn a_service_control_policy_binds_members_and_not_the_management_account() {
    let org = Org::new().await;
    assert!(org.list_users(&org.member).await.is_ok());
    let deny = org.policy(SCP, "no-iam", NO_IAM).await;
    org.attach(&deny, &org.root).await;
    assert_eq!(
        org.list_users(&org.member).await.unwrap_err(),
        "AccessDenied: User: arn:aws:iam::444455556666:root is not authorized to perform: iam:ListUsers on \
         resource: arn:aws:iam::444455556666:user/ with an explicit deny in a service control policy"
    );
    assert!(org.list_users(&org.management).await.is_ok());
    let removed = json!({ "AccountId": TWO.to_string() });
    org.ask("RemoveAccountFromOrganization", removed).await.unwrap();
    assert!(org.list_users(&org.member).await.is_ok());
}

#[tokio::test]
async fn every_level_has_to_allow() {
    let org = Org::new().await;
    let unit = json!({ "ParentId": org.root, "Name": "work" });
    let unit = org.ask("CreateOrganizationalUnit", unit).await.unwrap()["OrganizationalUnit"].clone();
    let unit_id = unit["Id"].as_str().unwrap();
    assert_eq!(unit["Path"], format!("{}/{}/{unit_id}/", org.id, org.root));
    let moved =
        json!({ "AccountId": TWO.to_string(), "SourceParentId": org.root, "DestinationParentId": unit_id });
    org.ask("MoveAccount", moved).await.unwrap();
    let only_s3 = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
    let only_s3 = org.policy(SCP, "only-s3", only_s3).await;
    org.attach(&only_s3, unit_id).await;
    // Full access still stands beside it.
    assert!(org.list_users(&org.member).await.is_ok());
    let full = json!({ "PolicyId": "p-FullAWSAccess", "TargetId": unit_id });
    org.ask("DetachPolicy", full.clone()).await.unwrap();
    assert_eq!(
        org.list_users(&org.member).await.unwrap_err(),
        "AccessDenied: User: arn:aws:iam::444455556666:root is not authorized to perform: iam:ListUsers on \
         resource: arn:aws:iam::444455556666:user/ because no service control policy allows the iam:ListUsers action"
    );
    let last = org.ask("DetachPolicy", json!({ "PolicyId": only_s3, "TargetId": unit_id })).await;
    assert!(last.unwrap_err().starts_with("ConstraintViolationException: You cannot remove the last policy"));
    let simulated =
        json!({ "PolicySourceArn": "arn:aws:iam::444455556666:role/app", "ActionNames": ["iam:ListUsers"] });
    let role = json!({ "RoleName": "app", "AssumeRolePolicyDocument": trust(r#"{"AWS":"*"}"#, "{}") });
    let refused = org.world.iam(&org.member, "CreateRole", role.clone()).await;
    assert!(refusal(refused).contains("service control policy"));
    org.ask("AttachPolicy", full).await.unwrap();
    org.world.iam(&org.member, "CreateRole", role).await.unwrap();
    let attach = json!({ "RoleName": "app", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess" });
    org.world.iam(&org.member, "AttachRolePolicy", attach).await.unwrap();
    let decision = async || {
        let told = org.world.iam(&org.member, "SimulatePrincipalPolicy", simulated.clone()).await.unwrap();
        let result = &told["EvaluationResults"][0];
        let allowed = &result["OrganizationsDecisionDetail"]["AllowedByOrganizations"];
        (result["EvalDecision"].clone(), allowed.clone())
    };
    assert_eq!(decision().await, (json!("allowed"), json!(true)));
    let no_users = r#"{"Effect":"Deny","Action":"iam:ListUsers","Resource":"*"}"#;
    let no_users = org.policy(SCP, "no-users", no_users).await;
    org.attach(&no_users, &TWO.to_string()).await;
    assert_eq!(decision().await, (json!("explicitDeny"), json!(false)));
    let off = json!({ "RootId": org.root, "PolicyType": SCP });
    org.ask("DisablePolicyType", off.clone()).await.unwrap();
    assert!(org.list_users(&org.member).await.is_ok());
    org.ask("EnablePolicyType", off).await.unwrap();
    let attached = json!({ "TargetId": TWO.to_string(), "Filter": SCP });
    let attached = org.ask("ListPoliciesForTarget", attached).await.unwrap();
    assert_eq!(attached["Policies"].as_array().unwrap().len(), 1, "disabling has detached the others");
    assert!(org.list_users(&org.member).await.is_ok());
}

#[tokio::test]
async fn a_resource_control_policy_binds_who_comes_to_a_members_resources() {
    let org = Org::new().await;
    let role =
        json!({ "RoleName": "app", "AssumeRolePolicyDocument": trust(r#"{"AWS":"111122223333"}"#, "{}") });
    org.world.iam(&org.member, "CreateRole", role).await.unwrap();
    let ana = org.world.user("ana", Some(&allow(r#""sts:*""#))).await;
    let assume = json!({ "RoleArn": "arn:aws:iam::444455556666:role/app", "RoleSessionName": "here" });
    let assumed = async || org.world.sts(&ana, "AssumeRole", assume.clone()).await;
    assert!(assumed().await.is_ok());
    let enable = json!({ "RootId": org.root, "PolicyType": RCP });
    org.ask("EnablePolicyType", enable).await.unwrap();
    assert!(assumed().await.is_ok());
    let outsiders = format!(
        r#"{{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole","Resource":"*",
            "Condition":{{"StringNotEquals":{{"aws:PrincipalOrgID":"{}"}}}}}}"#,
        org.id
    );
    let outsiders = org.policy(RCP, "insiders", &outsiders).await;
    org.attach(&outsiders, &org.root).await;
    assert!(assumed().await.is_ok());
    let everybody = r#"{"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}"#;
    let everybody = org.policy(RCP, "nobody", everybody).await;
    org.attach(&everybody, &TWO.to_string()).await;
    assert_eq!(
        refusal(assumed().await),
        "AccessDenied: User: arn:aws:iam::111122223333:user/ana is not authorized to perform: sts:AssumeRole on \
         resource: arn:aws:iam::444455556666:role/app with an explicit deny in a resource control policy"
    );
    let usual = json!({ "PolicyId": "p-RCPFullAWSAccess", "TargetId": TWO.to_string() });
    assert!(org.ask("DetachPolicy", usual).await.unwrap_err().starts_with("InvalidInputException"));
}

#[tokio::test]
async fn who_is_in_the_organization_is_told_by_its_keys() {
    let org = Org::new().await;
    let path = format!("{}/{}/*", org.id, org.root);
    for (role, condition) in [
        ("by-id", format!(r#"{{"StringEquals":{{"aws:PrincipalOrgID":"{}"}}}}"#, org.id)),
        ("by-path", format!(r#"{{"ForAnyValue:StringLike":{{"aws:PrincipalOrgPaths":"{path}"}}}}"#)),
        ("of-both", r#"{"StringEquals":{"aws:ResourceOrgID":"${aws:PrincipalOrgID}"}}"#.to_owned()),
    ] {
        let document = trust(r#"{"AWS":"*"}"#, &condition);
        let role = json!({ "RoleName": role, "AssumeRolePolicyDocument": document });
        org.world.iam(&org.management, "CreateRole", role).await.unwrap();
    }
    let document = allow(r#""sts:*""#);
    for (operation, parameters) in [
        ("CreateUser", json!({ "UserName": "bob" })),
        ("PutUserPolicy", json!({ "UserName": "bob", "PolicyName": "p", "PolicyDocument": document })),
    ] {
        org.world.iam(&org.member, operation, parameters).await.unwrap();
    }
    let key = org.world.iam(&org.member, "CreateAccessKey", json!({ "UserName": "bob" })).await.unwrap();
    let bob = org.world.caller(key["AccessKey"]["AccessKeyId"].as_str().unwrap(), None).unwrap();
    let assumed = async || {
        let mut all = Vec::new();
        for role in ["by-id", "by-path", "of-both"] {
            let arn = format!("arn:aws:iam::111122223333:role/{role}");
            let assume = json!({ "RoleArn": arn, "RoleSessionName": "here" });
            all.push(org.world.sts(&bob, "AssumeRole", assume).await.is_ok());
        }
        all
    };
    assert_eq!(assumed().await, [true; 3]);
    org.world.organizations(&org.member, "LeaveOrganization", json!({})).await.unwrap();
    assert_eq!(assumed().await, [false; 3]);
}

#[tokio::test]
async fn an_account_that_is_made_can_be_entered_by_its_role() {
    let org = Org::new().await;
    let create = json!({ "AccountName": "third", "Email": "third@example.com",
        "Tags": [{ "Key": "team", "Value": "a" }] });
    let status = org.ask("CreateAccount", create.clone()).await.unwrap()["CreateAccountStatus"].clone();
    assert_eq!(status["State"], "SUCCEEDED");
    let described = json!({ "CreateAccountRequestId": status["Id"] });
    let described = org.ask("DescribeCreateAccountStatus", described).await.unwrap();
    assert_eq!(described["CreateAccountStatus"], status);
    let id = status["AccountId"].as_str().unwrap();
    let shown = org.ask("DescribeAccount", json!({ "AccountId": id })).await.unwrap();
    assert_eq!(
        shown["Account"]["Arn"],
        format!("arn:aws:organizations::111122223333:account/{}/{id}", org.id)
    );
    assert_eq!(shown["Account"]["JoinedMethod"], "CREATED");
    let tags = org.ask("ListTagsForResource", json!({ "ResourceId": id })).await.unwrap();
    assert_eq!(tags["Tags"], json!([{ "Key": "team", "Value": "a" }]));
    assert!(org.ask("CreateAccount", create).await.unwrap_err().starts_with("ConstraintViolationException"));

    let ana = org.world.user("ana", Some(&allow(r#""sts:*""#))).await;
    let arn = format!("arn:aws:iam::{id}:role/OrganizationAccountAccessRole");
    let assume = json!({ "RoleArn": arn, "RoleSessionName": "here" });
    let given = org.world.sts(&ana, "AssumeRole", assume).await.unwrap();
    let inside = org.world.holder(&given["Credentials"]).unwrap();
    assert!(org.list_users(&inside).await.is_ok());
    let deny = org.policy(SCP, "no-iam", NO_IAM).await;
    org.attach(&deny, id).await;
    assert!(org.list_users(&inside).await.unwrap_err().ends_with("service control policy"));
    let targets = org.ask("ListTargetsForPolicy", json!({ "PolicyId": deny })).await.unwrap();
    assert_eq!(
        (&targets["Targets"][0]["TargetId"], &targets["Targets"][0]["Type"]),
        (&json!(id), &json!("ACCOUNT"))
    );
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_organizations_words() {
    let org = Org::new().await;
    let deny = org.policy(SCP, "no-iam", NO_IAM).await;
    org.attach(&deny, &org.root).await;
    let unit = json!({ "ParentId": org.root, "Name": "work" });
    let unit_id =
        org.ask("CreateOrganizationalUnit", unit.clone()).await.unwrap()["OrganizationalUnit"]["Id"].clone();
    let wrong = |content: &str| json!({ "Content": content, "Description": "", "Name": "x", "Type": SCP });
    let unknown_key = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*",
        "Condition":{"StringEquals":{"aws:CalledViaFirst":"x"}}}}"#;
    for (operation, parameters, expected) in [
        ("CreateOrganization", json!({}), "AlreadyInOrganizationException"),
        ("DeleteOrganization", json!({}), "OrganizationNotEmptyException"),
        (
            "CreateOrganizationalUnit",
            unit,
            "DuplicateOrganizationalUnitException: An OU with the same name already exists.",
        ),
        ("DeletePolicy", json!({ "PolicyId": deny }), "PolicyInUseException"),
        ("DeletePolicy", json!({ "PolicyId": "p-FullAWSAccess" }), "InvalidInputException"),
        (
            "DescribePolicy",
            json!({ "PolicyId": "p-nothing00" }),
            "PolicyNotFoundException: You specified a policy that doesn't exist.",
        ),
        (
            "AttachPolicy",
            json!({ "PolicyId": deny, "TargetId": org.root }),
            "DuplicatePolicyAttachmentException",
        ),
        ("AttachPolicy", json!({ "PolicyId": deny, "TargetId": "r-none" }), "TargetNotFoundException"),
        ("DetachPolicy", json!({ "PolicyId": deny, "TargetId": unit_id }), "PolicyNotAttachedException"),
        (
            "AttachPolicy",
            json!({ "PolicyId": "p-RCPFullAWSAccess", "TargetId": unit_id }),
            "PolicyTypeNotEnabledException",
        ),
        (
            "EnablePolicyType",
            json!({ "RootId": org.root, "PolicyType": SCP }),
            "PolicyTypeAlreadyEnabledException",
        ),
        (
            "EnablePolicyType",
            json!({ "RootId": org.root, "PolicyType": "TAG_POLICY" }),
            "InvalidInputException",
        ),
        ("CreatePolicy", wrong("{"), "MalformedPolicyDocumentException"),
        ("CreatePolicy", wrong(&trust("\"*\"", "{}")), "MalformedPolicyDocumentException"),
        ("CreatePolicy", wrong(unknown_key), "MalformedPolicyDocumentException"),
        ("DescribePolicy", json!({}), "InvalidInputException"),
        ("DescribePolicy", json!({ "PolicyId": "p-x", "Nonsense": 1 }), "InvalidInputException"),
        ("ListAccounts", json!({ "MaxResults": 21 }), "InvalidInputException"),
        ("ListParents", json!({ "ChildId": "999999999999" }), "ChildNotFoundException"),
        (
            "RemoveAccountFromOrganization",
            json!({ "AccountId": ONE.to_string() }),
            "MasterCannotLeaveOrganizationException",
        ),
    ] {
        let told = org.ask(operation, parameters.clone()).await.expect_err(operation);
        assert!(told.starts_with(expected), "{operation} {parameters}: {told}");
    }
    for operation in ["ListAccounts", "ListRoots", "DeleteOrganization"] {
        let told = org.world.organizations(&org.member, operation, json!({})).await.unwrap_err();
        assert_eq!(told, "AccessDeniedException: You don't have permissions to access this resource.");
    }
    let seen = org.world.organizations(&org.member, "DescribeOrganization", json!({})).await.unwrap();
    assert_eq!(seen["Organization"]["MasterAccountId"], ONE.to_string());
    org.world.organizations(&org.member, "LeaveOrganization", json!({})).await.unwrap();
    let told = org.world.organizations(&org.member, "DescribeOrganization", json!({})).await.unwrap_err();
    assert_eq!(told, "AWSOrganizationsNotInUseException: Your account is not a member of an organization.");
    org.ask("DeleteOrganization", json!({})).await.unwrap();
}

#[tokio::test]
async fn organizations_are_asked_for_by_their_arns() {
    let org = Org::new().await;
    let keeper = format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"organizations:CreateOrganizationalUnit",
            "Resource":"arn:aws:organizations::111122223333:root/{}/{}",
            "Condition":{{"StringEquals":{{"aws:RequestTag/team":"a"}}}}}}}}"#,
        org.id, org.root
    );
    let ana = org.world.user("ana", Some(&keeper)).await;
    let make = |name: &str, team: &str| json!({ "ParentId": org.root, "Name": name, "Tags": [{ "Key": "team", "Value": team }] });
    let made = org.world.organizations(&ana, "CreateOrganizationalUnit", make("one", "a")).await;
    assert!(made.is_ok());
    let told = org.world.organizations(&ana, "CreateOrganizationalUnit", make("two", "b")).await.unwrap_err();
    assert!(told.starts_with("AccessDeniedException: User: arn:aws:iam::111122223333:user/ana is not authorized to \
                              perform: organizations:CreateOrganizationalUnit on resource: arn:aws:organizations::"));
}

#[tokio::test]
async fn an_invitation_is_settled_once_and_in_time() {
    let world = World::new();
    let (management, other) = (world.root(), world.caller("AKIAROOT2", None).unwrap());
    world.organizations(&management, "CreateOrganization", json!({})).await.unwrap();
    let invite = async || {
        let target = json!({ "Target": { "Id": TWO.to_string(), "Type": "ACCOUNT" }, "Notes": "come" });
        let told = world.organizations(&management, "InviteAccountToOrganization", target).await?;
        Ok::<Json, String>(json!({ "HandshakeId": told["Handshake"]["Id"] }))
    };
    let settle = async |caller: &Caller, operation: &str, id: &Json| {
        let told = world.organizations(caller, operation, id.clone()).await?;
        Ok::<Json, String>(told["Handshake"]["State"].clone())
    };
    let first = invite().await.unwrap();
    assert!(invite().await.unwrap_err().starts_with("DuplicateHandshakeException"));
    assert_eq!(settle(&other, "DeclineHandshake", &first).await, Ok(json!("DECLINED")));
    let again = settle(&other, "AcceptHandshake", &first).await.unwrap_err();
    assert!(again.starts_with("InvalidHandshakeTransitionException"));
    let second = invite().await.unwrap();
    // Only who is invited accepts.
    let by_itself = settle(&management, "AcceptHandshake", &second).await.unwrap_err();
    assert!(by_itself.starts_with("HandshakeNotFoundException"));
    assert_eq!(settle(&management, "CancelHandshake", &second).await, Ok(json!("CANCELED")));
    let third = invite().await.unwrap();
    world.memory.advance(16 * 24 * 3_600);
    assert_eq!(settle(&other, "DescribeHandshake", &third).await, Ok(json!("EXPIRED")));
    let late = settle(&other, "AcceptHandshake", &third).await.unwrap_err();
    assert!(late.starts_with("InvalidHandshakeTransitionException"));
    let listed =
        world.organizations(&other, "ListHandshakesForAccount", json!({ "MaxResults": 2 })).await.unwrap();
    assert_eq!(listed["Handshakes"].as_array().unwrap().len(), 2);
    let rest = json!({ "NextToken": listed["NextToken"] });
    let rest = world.organizations(&other, "ListHandshakesForAccount", rest).await.unwrap();
    assert_eq!(rest["Handshakes"].as_array().unwrap().len(), 1);
}

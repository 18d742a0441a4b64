//! Security groups, network ACLs and prefix lists.

use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::built;

fn group(api: &Api, id: &str) -> Value {
    at(&api.call("DescribeSecurityGroups", json!({ "GroupIds": [id] })), "SecurityGroups.0").clone()
}

#[test]
fn a_new_group_lets_everything_out_and_nothing_in() {
    let (api, ids) = built();
    let new = group(&api, &ids["spare-sg"]);
    assert_eq!(new["IpPermissions"], json!([]));
    assert_eq!(
        new["IpPermissionsEgress"],
        json!([{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [] }])
    );
    let filters = json!([{ "Name": "group-id", "Values": [ids["spare-sg"]] }]);
    let rules = api.call("DescribeSecurityGroupRules", json!({ "Filters": filters }));
    let rule = at(&rules, "SecurityGroupRules.0");
    assert_eq!(
        (&rule["IsEgress"], &rule["IpProtocol"], &rule["FromPort"], &rule["ToPort"]),
        (&json!(true), &json!("-1"), &json!(-1), &json!(-1))
    );
    // What Terraform does with a new group: its rule is taken away by what it allows.
    api.call(
        "RevokeSecurityGroupEgress",
        json!({ "GroupId": ids["spare-sg"], "IpPermissions": new["IpPermissionsEgress"] }),
    );
    assert_eq!(group(&api, &ids["spare-sg"])["IpPermissionsEgress"], json!([]));
}

#[test]
fn what_a_group_shows_can_be_given_back() {
    let (api, ids) = built();
    let before = group(&api, &ids["sg"]);
    for (direction, member) in [("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")] {
        let permissions = json!({ "GroupId": ids["sg"], "IpPermissions": before[member] });
        api.call(&format!("RevokeSecurityGroup{direction}"), permissions.clone());
        assert_eq!(group(&api, &ids["sg"])[member], json!([]));
        let added = api.call(&format!("AuthorizeSecurityGroup{direction}"), permissions);
        assert_eq!(at(&added, "Return"), true);
    }
    assert_eq!(group(&api, &ids["sg"])["IpPermissionsEgress"], before["IpPermissionsEgress"]);
    assert_eq!(group(&api, &ids["sg"])["IpPermissions"], before["IpPermissions"]);
}

#[test]
fn permissions_are_refused_in_awss_words() {
    let (api, ids) = built();
    let try_one = |permission: Value| {
        api.refusal(
            "AuthorizeSecurityGroupIngress",
            json!({ "GroupId": ids["sg"], "IpPermissions": [permission] }),
        )
    };
    let cidr = json!([{ "CidrIp": "10.0.0.0/8" }]);
    assert_eq!(
        try_one(json!({ "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": cidr })),
        "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/8, TCP, from port: 22, to port: 22, ALLOW\" already exists"
    );
    assert_eq!(
        try_one(json!({ "IpProtocol": "tcp", "FromPort": 9, "ToPort": 3, "IpRanges": cidr })),
        "InvalidParameterValue: Invalid TCP/UDP port range (9:3)"
    );
    assert_eq!(
        try_one(json!({ "IpProtocol": "tcp", "IpRanges": cidr })),
        "InvalidParameterValue: Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
    );
    assert_eq!(
        try_one(json!({ "IpProtocol": "dog", "IpRanges": cidr })),
        "InvalidParameterValue: Invalid value 'dog' for IP protocol. Unknown protocol."
    );
    assert_eq!(
        try_one(
            json!({ "IpProtocol": "-1", "UserIdGroupPairs": [{ "GroupId": ids["sg"], "UserId": "222222222222" }] })
        ),
        format!("InvalidGroup.NotFound: The security group '{}' does not exist", ids["sg"])
    );
    assert!(
        try_one(json!({ "IpProtocol": "-1" }))
            .starts_with("InvalidParameterValue: Value (-1) for parameter ipPermissions")
    );
    let revoke = json!({ "GroupId": ids["sg"], "IpPermissions": [{ "IpProtocol": "-1", "IpRanges": cidr }] });
    assert_eq!(
        api.refusal("RevokeSecurityGroupIngress", revoke),
        "InvalidPermission.NotFound: The specified rule does not exist in this security group."
    );
    let revoke = json!({ "GroupId": ids["sg"], "SecurityGroupRuleIds": ["sgr-0123456789abcdef0"] });
    assert!(
        api.refusal("RevokeSecurityGroupIngress", revoke)
            .starts_with("InvalidSecurityGroupRuleId.NotFound: ")
    );
    assert!(
        api.refusal(
            "CreateSecurityGroup",
            json!({ "VpcId": ids["vpc"], "GroupName": "group", "Description": "x" })
        )
        .starts_with("InvalidGroup.Duplicate: The security group 'group' already exists for VPC 'vpc-")
    );
    assert_eq!(
        api.refusal("CreateSecurityGroup", json!({ "GroupName": "lone", "Description": "x" })),
        "VPCIdNotSpecified: No default VPC for this user"
    );
}

#[test]
fn the_first_form_of_the_api_is_understood() {
    let (api, ids) = built();
    let plain = json!({ "GroupId": ids["spare-sg"], "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "192.0.2.7/24" });
    let added = api.call("AuthorizeSecurityGroupIngress", plain.clone());
    // The block in its canonical form.
    assert_eq!(at(&added, "SecurityGroupRules.0.CidrIpv4"), "192.0.2.0/24");
    let revoked = api.call("RevokeSecurityGroupIngress", plain);
    assert_eq!(at(&revoked, "RevokedSecurityGroupRules.0.CidrIpv4"), "192.0.2.0/24");
    assert_eq!(group(&api, &ids["spare-sg"])["IpPermissions"], json!([]));
}

#[test]
fn rules_have_ids_tags_and_can_be_changed() {
    let (api, ids) = built();
    let rule = |id: &str| {
        at(
            &api.call("DescribeSecurityGroupRules", json!({ "SecurityGroupRuleIds": [id] })),
            "SecurityGroupRules.0",
        )
        .clone()
    };
    assert_eq!(rule(&ids["sgr"])["Tags"], json!([{ "Key": "Name", "Value": "the security-group-rule" }]));
    let change = json!({ "IpProtocol": "udp", "FromPort": 1, "ToPort": 2, "ReferencedGroupId": ids["spare-sg"], "Description": "new" });
    let update =
        |rule: &str, change: &Value| json!({ "SecurityGroupRuleId": rule, "SecurityGroupRule": change });
    api.call(
        "ModifySecurityGroupRules",
        json!({ "GroupId": ids["sg"], "SecurityGroupRules": [update(&ids["sgr"], &change)] }),
    );
    let changed = rule(&ids["sgr"]);
    assert_eq!(changed["ReferencedGroupInfo"]["GroupId"], json!(ids["spare-sg"]));
    assert_eq!((&changed["IpProtocol"], &changed["Description"]), (&json!("udp"), &json!("new")));
    // All of several, or none.
    let fine = json!({ "IpProtocol": "-1", "CidrIpv4": "10.0.0.0/8" });
    let bad = json!({ "IpProtocol": "tcp", "FromPort": 9, "ToPort": 3, "CidrIpv4": "10.0.0.0/8" });
    let before = api.state();
    let refusal = api.refusal(
        "ModifySecurityGroupRules",
        json!({ "GroupId": ids["sg"], "SecurityGroupRules": [
        update(&ids["sgr"], &fine), update(&ids["egress-sgr"], &bad)] }),
    );
    assert_eq!(refusal, "InvalidParameterValue: Invalid TCP/UDP port range (9:3)");
    assert_eq!(api.state(), before);
    let revoked = api.call(
        "RevokeSecurityGroupIngress",
        json!({ "SecurityGroupRuleIds": [ids["sgr"]] , "GroupId": ids["sg"] }),
    );
    assert_eq!(texts(&revoked, "RevokedSecurityGroupRules", "SecurityGroupRuleId"), [ids["sgr"].clone()]);
}

#[test]
fn network_acl_entries_are_numbered() {
    let (api, ids) = built();
    let entry = |number: i64, more: Value| {
        let mut entry = json!({ "NetworkAclId": ids["acl"], "RuleNumber": number, "Protocol": "6", "RuleAction": "allow",
            "Egress": false, "CidrBlock": "0.0.0.0/0", "PortRange": { "From": 1, "To": 2 } });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let refused = |operation: &str, entry: Value| api.refusal(operation, entry);
    assert_eq!(
        refused("CreateNetworkAclEntry", entry(100, json!({}))),
        "NetworkAclEntryAlreadyExists: The network acl entry identified by 100 already exists."
    );
    assert!(
        refused("ReplaceNetworkAclEntry", entry(999, json!({})))
            .starts_with("InvalidNetworkAclEntry.NotFound: ")
    );
    assert!(
        refused("CreateNetworkAclEntry", entry(0, json!({})))
            .starts_with("InvalidParameterValue: Value (0) for parameter ruleNumber")
    );
    assert!(
        refused("CreateNetworkAclEntry", entry(99, json!({ "IcmpTypeCode": { "Type": 8, "Code": 0 } })))
            .starts_with("InvalidParameterCombination: ")
    );
    let delete = json!({ "NetworkAclId": ids["acl"], "RuleNumber": 999, "Egress": true });
    assert!(refused("DeleteNetworkAclEntry", delete).starts_with("InvalidNetworkAclEntry.NotFound: "));
    let shown = api.call("DescribeNetworkAcls", json!({ "NetworkAclIds": [ids["acl"]] }));
    let entries = at(&shown, "NetworkAcls.0.Entries").as_array().unwrap();
    let icmp = entries.iter().find(|entry| entry["RuleNumber"] == 110).unwrap();
    assert_eq!(icmp["IcmpTypeCode"], json!({ "Code": -1, "Type": 8 }));
    assert_eq!(at(&shown, "NetworkAcls.0.IsDefault"), false);
    let default =
        json!([{ "Name": "default", "Values": ["true"] }, { "Name": "vpc-id", "Values": [ids["vpc"]] }]);
    let default =
        text(&api.call("DescribeNetworkAcls", json!({ "Filters": default })), "NetworkAcls.0.NetworkAclId");
    assert_eq!(
        api.refusal("DeleteNetworkAcl", json!({ "NetworkAclId": default })),
        format!("InvalidParameterValue: cannot delete default networkAcl {default}")
    );
}

#[test]
fn prefix_lists_have_versions() {
    let (api, ids) = built();
    let lists = api.call(
        "DescribeManagedPrefixLists",
        json!({ "Filters": [{ "Name": "owner-id", "Values": ["AWS"] }] }),
    );
    assert_eq!(
        texts(&lists, "PrefixLists", "PrefixListName"),
        ["com.amazonaws.us-east-1.dynamodb", "com.amazonaws.us-east-1.s3"]
    );
    let of_service = |name: &str| {
        api.call(
            "DescribePrefixLists",
            json!({ "Filters": [{ "Name": "prefix-list-name", "Values": [name] }] }),
        )
    };
    assert_eq!(at(&of_service("com.amazonaws.us-east-1.s3"), "PrefixLists.0.PrefixListId"), "pl-63a5400a");
    assert_eq!(at(&of_service("com.amazonaws.us-east-1.ec2"), "PrefixLists"), &json!([]));
    let entries = |version: i64| {
        let answer = api.call(
            "GetManagedPrefixListEntries",
            json!({ "PrefixListId": ids["pl"], "TargetVersion": version }),
        );
        texts(&answer, "Entries", "Cidr")
    };
    assert_eq!(entries(1), ["192.0.2.0/24"]);
    assert_eq!(entries(2), ["192.0.2.0/24", "198.51.100.0/24"]);
    let modify = |more: Value| {
        let mut change = json!({ "PrefixListId": ids["pl"] });
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.refusal("ModifyManagedPrefixList", change)
    };
    let add = json!([{ "Cidr": "203.0.113.0/24" }]);
    assert!(
        modify(json!({ "CurrentVersion": 1, "AddEntries": add })).starts_with("PrefixListVersionMismatch: ")
    );
    assert!(modify(json!({ "AddEntries": add })).starts_with("MissingParameter: "));
    assert!(
        modify(json!({ "CurrentVersion": 2, "AddEntries": add, "MaxEntries": 9 }))
            .starts_with("InvalidPrefixListModification: ")
    );
    assert!(
        modify(json!({ "CurrentVersion": 2, "RemoveEntries": add }))
            .starts_with("InvalidPrefixListModification: ")
    );
    assert!(modify(json!({ "MaxEntries": 1 })).starts_with("PrefixListMaxEntriesExceeded: "));
    assert!(modify(json!({ "PrefixListName": "com.amazonaws.mine" })).starts_with("InvalidParameterValue: "));
    let restored = api.call(
        "RestoreManagedPrefixListVersion",
        json!({ "PrefixListId": ids["pl"], "PreviousVersion": 1, "CurrentVersion": 2 }),
    );
    assert_eq!(at(&restored, "PrefixList.Version"), 3);
    assert_eq!(entries(3), ["192.0.2.0/24"]);
    let used = api.call("GetManagedPrefixListAssociations", json!({ "PrefixListId": ids["pl"] }));
    assert_eq!(texts(&used, "PrefixListAssociations", "ResourceId"), [ids["sg"].clone()]);
    assert!(
        api.refusal("DeleteManagedPrefixList", json!({ "PrefixListId": ids["pl"] }))
            .starts_with("DependencyViolation: ")
    );
    assert!(
        api.refusal("DeleteManagedPrefixList", json!({ "PrefixListId": "pl-63a5400a" }))
            .starts_with("OperationNotPermitted: ")
    );
    assert!(
        api.refusal(
            "CreateTags",
            json!({ "Resources": ["pl-63a5400a"], "Tags": [{ "Key": "a", "Value": "b" }] })
        )
        .starts_with("OperationNotPermitted: ")
    );
}

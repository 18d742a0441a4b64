//! VPC peering connections: who may do what with one, how it is shown to each side, and what AWS says otherwise.

use serde_json::{Value, json};

use crate::support::{ALICE, Api, BOB, at, text};
use crate::world::{bobs, built};

const ID: &str = "VpcPeeringConnectionId";

fn as_bob(api: &Api, operation: &str, parameters: Value) -> Result<Value, String> {
    api.try_as(BOB, operation, &parameters).map_err(|error| error.to_string())
}

/// A request of Alice's to a VPC of Bob's.
fn asked() -> (Api, String, String) {
    let (api, ids) = built();
    let theirs = as_bob(&api, "CreateVpc", json!({ "CidrBlock": "10.30.0.0/16" })).unwrap();
    let theirs = text(&theirs, "Vpc.VpcId");
    let asked = api.call(
        "CreateVpcPeeringConnection",
        json!({ "VpcId": ids["peer-one"], "PeerVpcId": theirs, "PeerOwnerId": BOB.to_string() }),
    );
    assert_eq!(at(&asked, "VpcPeeringConnection.Status.Code"), "pending-acceptance");
    (api, text(&asked, "VpcPeeringConnection.VpcPeeringConnectionId"), theirs)
}

fn shown(answer: &Value) -> &Value {
    at(answer, "VpcPeeringConnections.0")
}

#[test]
fn both_sides_see_it_and_routes_lead_over_it() {
    let (api, pcx, theirs) = asked();
    let (_, ids) = built();
    let by_id = json!({ "VpcPeeringConnectionIds": [pcx] });
    let before = as_bob(&api, "DescribeVpcPeeringConnections", by_id.clone()).unwrap();
    assert_eq!(at(shown(&before), "RequesterVpcInfo.CidrBlock"), "10.20.0.0/16");
    assert_eq!(at(shown(&before), "RequesterVpcInfo.OwnerId"), &json!(ALICE.to_string()));
    // Who asked learns the other's blocks once it is accepted.
    let before = api.call("DescribeVpcPeeringConnections", by_id.clone());
    assert_eq!(at(shown(&before), "AccepterVpcInfo").get("CidrBlock"), None);
    assert!(text(shown(&before), "ExpirationTime").starts_with("20"));
    let accepted = as_bob(&api, "AcceptVpcPeeringConnection", json!({ ID: pcx })).unwrap();
    assert_eq!(at(&accepted, "VpcPeeringConnection.Status.Code"), "provisioning");
    let after = api.call("DescribeVpcPeeringConnections", by_id);
    assert_eq!(at(shown(&after), "AccepterVpcInfo.CidrBlockSet"), &json!([{ "CidrBlock": "10.30.0.0/16" }]));
    assert_eq!(at(shown(&after), "AccepterVpcInfo.VpcId"), &json!(theirs));

    let route = json!({ "RouteTableId": ids["peer-rtb"], "DestinationCidrBlock": "10.30.0.0/16", ID: pcx });
    api.call("CreateRoute", route.clone());
    let routes = || {
        let tables = api.call("DescribeRouteTables", json!({ "RouteTableIds": [ids["peer-rtb"]] }));
        let all = at(&tables, "RouteTables.0.Routes").as_array().unwrap().clone();
        all.into_iter().find(|route| route[ID] == json!(pcx)).unwrap()
    };
    assert_eq!(
        routes(),
        json!({ "DestinationCidrBlock": "10.30.0.0/16", ID: pcx, "Origin": "CreateRoute", "State": "active" })
    );
    as_bob(&api, "DeleteVpcPeeringConnection", json!({ ID: pcx })).unwrap();
    assert_eq!(routes()["State"], "blackhole");
    let gone = api.call("DescribeVpcPeeringConnections", json!({ "VpcPeeringConnectionIds": [pcx] }));
    assert_eq!(
        at(shown(&gone), "Status"),
        &json!({ "Code": "deleted", "Message": format!("Deleted by {BOB}") })
    );
    api.call(
        "DeleteRoute",
        json!({ "RouteTableId": ids["peer-rtb"], "DestinationCidrBlock": "10.30.0.0/16" }),
    );
    assert!(api.refusal("CreateRoute", route).starts_with("IncorrectState: "));
}

#[test]
fn each_side_may_do_its_part_alone() {
    let (api, pcx, _) = asked();
    let named = json!({ ID: pcx });
    assert_eq!(
        api.refusal("AcceptVpcPeeringConnection", named.clone()),
        format!("OperationNotPermitted: User {ALICE} cannot accept peering {pcx}")
    );
    assert_eq!(
        api.refusal("RejectVpcPeeringConnection", named.clone()),
        format!("OperationNotPermitted: User {ALICE} cannot reject peering {pcx}")
    );
    assert_eq!(
        as_bob(&api, "DeleteVpcPeeringConnection", named.clone()).unwrap_err(),
        format!("OperationNotPermitted: User {BOB} cannot delete peering {pcx}")
    );
    assert_eq!(at(&as_bob(&api, "RejectVpcPeeringConnection", named.clone()).unwrap(), "Return"), true);
    assert_eq!(
        api.refusal("DeleteVpcPeeringConnection", named),
        format!(
            "InvalidStateTransition: Invalid state transition for {pcx}, attempted to transition from rejected to \
             deleted"
        )
    );
    let nobodys = "pcx-0123456789abcdef0";
    assert_eq!(
        api.refusal("DeleteVpcPeeringConnection", json!({ ID: nobodys })),
        format!(
            "InvalidVpcPeeringConnectionID.NotFound: The vpcPeeringConnection ID '{nobodys}' does not exist"
        )
    );
    assert!(
        api.refusal("AcceptVpcPeeringConnection", json!({ ID: "pcx" }))
            .starts_with("InvalidVpcPeeringConnectionId.Malformed: ")
    );
}

#[test]
fn what_cannot_be_peered_has_failed_or_is_refused() {
    let (api, ids) = built();
    let ask = |vpc: &str, peer: &str, more: Value| {
        let mut all = json!({ "VpcId": vpc, "PeerVpcId": peer });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    // The two have the same block.
    let overlapping = ask(&ids["vpc"], &ids["spare-vpc"], json!({}));
    let failed = api.call("CreateVpcPeeringConnection", overlapping);
    assert_eq!(
        at(&failed, "VpcPeeringConnection.Status"),
        &json!({ "Code": "failed",
            "Message": "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range" })
    );
    // Of another's VPC nothing is told but that it cannot be.
    let wrong = ask(&ids["peer-one"], &bobs()["peer-two"], json!({}));
    let failed = api.call("CreateVpcPeeringConnection", wrong);
    assert_eq!(at(&failed, "VpcPeeringConnection.Status.Code"), "failed");
    assert_eq!(at(&failed, "VpcPeeringConnection.AccepterVpcInfo").get("CidrBlock"), None);
    let again = ask(&ids["peer-two"], &ids["peer-one"], json!({}));
    assert_eq!(
        api.refusal("CreateVpcPeeringConnection", again),
        format!(
            "VpcPeeringConnectionAlreadyExists: The VPC peering connection '{}' already exists between the two VPCs.",
            ids["pcx"]
        )
    );
    let elsewhere = ask(&ids["peer-two"], &ids["peer-three"], json!({ "PeerRegion": "eu-west-1" }));
    let refusal = api.refusal("CreateVpcPeeringConnection", elsewhere);
    assert!(refusal.starts_with("UnsupportedOperation: The value (eu-west-1) of the parameter PeerRegion"));
    let nobody = ask(&ids["peer-two"], &ids["peer-three"], json!({ "PeerOwnerId": "me" }));
    assert!(api.refusal("CreateVpcPeeringConnection", nobody).starts_with("InvalidParameterValue: "));
    let refusal = api.refusal("DeleteVpc", json!({ "VpcId": ids["peer-two"] }));
    assert!(refusal.starts_with("DependencyViolation: "), "{refusal}");
}

#[test]
fn options_belong_to_the_sides() {
    let (api, pcx, theirs) = asked();
    let on = json!({ "AllowDnsResolutionFromRemoteVpc": true });
    let modify = json!({ ID: pcx, "AccepterPeeringConnectionOptions": on });
    let refusal = as_bob(&api, "ModifyVpcPeeringConnectionOptions", modify.clone()).unwrap_err();
    assert!(refusal.starts_with("IncorrectState: "), "{refusal}");
    as_bob(&api, "AcceptVpcPeeringConnection", json!({ ID: pcx })).unwrap();
    let refusal = as_bob(&api, "ModifyVpcPeeringConnectionOptions", modify.clone()).unwrap_err();
    assert!(refusal.contains("enableDnsHostnames"), "{refusal}");
    let names = json!({ "VpcId": theirs, "EnableDnsHostnames": { "Value": true } });
    as_bob(&api, "ModifyVpcAttribute", names).unwrap();
    assert_eq!(
        api.refusal("ModifyVpcPeeringConnectionOptions", modify.clone()),
        format!("OperationNotPermitted: User {ALICE} cannot modify the options of peering {pcx}")
    );
    let done = as_bob(&api, "ModifyVpcPeeringConnectionOptions", modify).unwrap();
    assert_eq!(at(&done, "AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc"), true);
    assert_eq!(done.get("RequesterPeeringConnectionOptions"), None);
    let seen = api.call("DescribeVpcPeeringConnections", json!({ "VpcPeeringConnectionIds": [pcx] }));
    let options = |side: &str| {
        let path = format!("{side}.PeeringOptions.AllowDnsResolutionFromRemoteVpc");
        at(shown(&seen), &path).clone()
    };
    assert_eq!((options("AccepterVpcInfo"), options("RequesterVpcInfo")), (json!(true), json!(false)));
}

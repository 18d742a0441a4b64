//! Transit gateways: what is attached to them, their tables, and the routes in those.

use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::{Ids, built};

fn search(api: &Api, table: &str, name: &str, value: &str) -> Vec<String> {
    let filters = json!([{ "Name": name, "Values": [value] }]);
    let request = json!({ "TransitGatewayRouteTableId": table, "Filters": filters });
    texts(&api.call("SearchTransitGatewayRoutes", request), "Routes", "DestinationCidrBlock")
}

#[test]
fn a_gateway_comes_with_a_default_table_that_attachments_follow() {
    let (api, ids) = built();
    let shown = api.call("DescribeTransitGateways", json!({ "TransitGatewayIds": [ids["tgw"]] }));
    let options = at(&shown, "TransitGateways.0.Options");
    assert_eq!(at(options, "AmazonSideAsn"), 64_512);
    assert_eq!(text(options, "PropagationDefaultRouteTableId"), ids["tgw-main"]);
    for (option, word) in [
        ("DnsSupport", "enable"),
        ("VpnEcmpSupport", "enable"),
        ("DefaultRouteTableAssociation", "enable"),
        ("AutoAcceptSharedAttachments", "disable"),
        ("MulticastSupport", "disable"),
        ("SecurityGroupReferencingSupport", "disable"),
    ] {
        assert_eq!(text(options, option), word, "{option}");
    }
    let attached = json!({ "TransitGatewayAttachmentIds": [ids["tgw-attach"]] });
    let attached = api.call("DescribeTransitGatewayAttachments", attached);
    let attached = at(&attached, "TransitGatewayAttachments.0");
    assert_eq!(text(attached, "Association.TransitGatewayRouteTableId"), ids["tgw-main"]);
    assert_eq!((text(attached, "ResourceType"), text(attached, "State")), ("vpc".into(), "available".into()));
    // The other gateway has none.
    let spare = api.call("DescribeTransitGateways", json!({ "TransitGatewayIds": [ids["spare-tgw"]] }));
    assert_eq!(spare.pointer("/TransitGateways/0/Options/AssociationDefaultRouteTableId"), None);
}

#[test]
fn a_table_has_what_is_propagated_and_what_is_static() {
    let (api, ids) = built();
    assert_eq!(search(&api, &ids["tgw-main"], "type", "propagated"), ["10.20.0.0/16", "10.21.0.0/16"]);
    assert_eq!(search(&api, &ids["tgw-rtb"], "type", "*"), ["10.20.0.0/16", "10.50.0.0/16"]);
    // A static route to the same block stands before the propagated one, and comes and goes alone.
    let route = json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"], "DestinationCidrBlock": "10.20.0.0/16",
        "Blackhole": true });
    let made = api.call("CreateTransitGatewayRoute", route);
    assert_eq!(
        (text(&made, "Route.State"), text(&made, "Route.Type")),
        ("blackhole".into(), "static".into())
    );
    assert_eq!(search(&api, &ids["tgw-rtb"], "state", "blackhole"), ["10.20.0.0/16"]);
    let gone =
        json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"], "DestinationCidrBlock": "10.20.0.0/16" });
    assert_eq!(text(&api.call("DeleteTransitGatewayRoute", gone), "Route.State"), "deleted");
    assert_eq!(search(&api, &ids["tgw-rtb"], "type", "propagated"), ["10.20.0.0/16"]);
    // What led to an attachment that is gone is a black hole.
    api.call("DeleteTransitGatewayVpcAttachment", json!({ "TransitGatewayAttachmentId": ids["tgw-attach"] }));
    assert_eq!(search(&api, &ids["tgw-rtb"], "type", "*"), ["10.50.0.0/16"]);
    assert_eq!(search(&api, &ids["tgw-rtb"], "state", "blackhole"), ["10.50.0.0/16"]);
    let table = api.call("DescribeRouteTables", json!({ "RouteTableIds": [ids["peer-rtb"]] }));
    let routes = at(&table, "RouteTables.0.Routes").as_array().unwrap().clone();
    let led = routes.iter().find(|route| route["TransitGatewayId"] == json!(ids["tgw"])).unwrap();
    assert_eq!(led["State"], "blackhole");
}

#[test]
fn routes_are_searched_by_block() {
    let (api, ids) = built();
    for block in ["10.50.0.0/20", "10.50.0.0/24", "10.0.0.0/8"] {
        let route = json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"], "DestinationCidrBlock": block,
            "Blackhole": true });
        api.call("CreateTransitGatewayRoute", route);
    }
    let found =
        |name: &str, value: &str| search(&api, &ids["tgw-rtb"], &format!("route-search.{name}"), value);
    assert_eq!(found("exact-match", "10.50.0.0/20"), ["10.50.0.0/20"]);
    assert_eq!(found("longest-prefix-match", "10.50.0.9"), ["10.50.0.0/24"]);
    assert_eq!(found("longest-prefix-match", "10.50.99.0/24"), ["10.50.0.0/16"]);
    assert_eq!(found("subnet-of-match", "10.50.0.0/16"), ["10.50.0.0/16", "10.50.0.0/20", "10.50.0.0/24"]);
    assert_eq!(found("supernet-of-match", "10.50.0.0/20"), ["10.0.0.0/8", "10.50.0.0/16", "10.50.0.0/20"]);
}

#[test]
fn a_vpn_at_a_gateway_is_attached_to_it() {
    let (api, ids) = built();
    let of_gateway = json!([{ "Name": "transit-gateway-id", "Values": [ids["tgw"]] }]);
    let shown = api.call("DescribeVpnConnections", json!({ "Filters": of_gateway }));
    let connection = text(&shown, "VpnConnections.0.VpnConnectionId");
    assert_eq!(shown.pointer("/VpnConnections/0/VpnGatewayId"), None);
    let of_vpn = json!([{ "Name": "resource-type", "Values": ["vpn"] }]);
    let attached = api.call("DescribeTransitGatewayAttachments", json!({ "Filters": of_vpn }));
    assert_eq!(texts(&attached, "TransitGatewayAttachments", "ResourceId"), [connection.as_str()]);
    let route = json!({ "VpnConnectionId": connection, "DestinationCidrBlock": "192.168.0.0/16" });
    let refused = api.refusal("CreateVpnConnectionRoute", route);
    assert!(refused.starts_with("OperationNotPermitted: "), "{refused}");
    api.call("DeleteVpnConnection", json!({ "VpnConnectionId": connection }));
    let attached = api.call("DescribeTransitGatewayAttachments", json!({ "Filters": of_vpn }));
    assert_eq!(at(&attached, "TransitGatewayAttachments"), &json!([]));
}

/// Requests that cannot be, and how their refusals begin.
fn impossible(ids: &Ids) -> Vec<(&'static str, Value, &'static str)> {
    let both = |table: &str, attachment: &str| json!({ "TransitGatewayRouteTableId": ids[table], "TransitGatewayAttachmentId": ids[attachment] });
    let route =
        |block: &str| json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"], "DestinationCidrBlock": block });
    let with = |mut value: Value, key: &str, more: Value| {
        value[key] = more;
        value
    };
    let attach = |vpc: &str, subnets: Value| json!({ "TransitGatewayId": ids["spare-tgw"], "VpcId": ids[vpc], "SubnetIds": subnets });
    vec![
        (
            "CreateTransitGateway",
            json!({ "Options": { "MulticastSupport": "enable" } }),
            "UnsupportedOperation: The value (enable) of the parameter Options.MulticastSupport",
        ),
        (
            "CreateTransitGateway",
            json!({ "Options": { "AmazonSideAsn": 1 } }),
            "InvalidParameterValue: Value (1) for parameter AmazonSideAsn is invalid.",
        ),
        ("DeleteTransitGateway", json!({ "TransitGatewayId": ids["tgw"] }), "IncorrectState: "),
        (
            "CreateTransitGatewayVpcAttachment",
            with(attach("peer-one", json!([ids["peer-one-subnet"]])), "TransitGatewayId", json!(ids["tgw"])),
            "DuplicateTransitGatewayAttachment: ",
        ),
        (
            "CreateTransitGatewayVpcAttachment",
            attach("peer-one", json!([ids["peer-one-subnet"], ids["peer-one-subnet"]])),
            "DuplicateSubnetsInSameZone: ",
        ),
        (
            "CreateTransitGatewayVpcAttachment",
            attach("peer-one", json!([ids["peer-two-subnet"]])),
            "InvalidParameterValue: ",
        ),
        (
            "ModifyTransitGatewayVpcAttachment",
            json!({ "TransitGatewayAttachmentId": ids["tgw-attach"], "RemoveSubnetIds": [ids["peer-one-subnet"]] }),
            "InvalidParameterValue: The attachment of ",
        ),
        (
            "DeleteTransitGatewayRouteTable",
            json!({ "TransitGatewayRouteTableId": ids["tgw-main"] }),
            "IncorrectState: ",
        ),
        ("AssociateTransitGatewayRouteTable", both("tgw-rtb", "tgw-attach"), "Resource.AlreadyAssociated: "),
        (
            "DisassociateTransitGatewayRouteTable",
            both("tgw-rtb", "tgw-attach"),
            "InvalidAssociation.NotFound: ",
        ),
        (
            "EnableTransitGatewayRouteTablePropagation",
            both("tgw-main", "tgw-attach"),
            "TransitGatewayRouteTablePropagation.Duplicate: ",
        ),
        (
            "DisableTransitGatewayRouteTablePropagation",
            both("tgw-rtb", "loose-attach"),
            "TransitGatewayRouteTablePropagation.NotFound: ",
        ),
        (
            "CreateTransitGatewayRoute",
            with(route("10.50.0.0/16"), "Blackhole", json!(true)),
            "RouteAlreadyExists: ",
        ),
        ("CreateTransitGatewayRoute", route("10.51.0.0/16"), "MissingParameter: "),
        ("DeleteTransitGatewayRoute", route("10.51.0.0/16"), "InvalidRoute.NotFound: "),
        // Only an association or a black hole can be deleted, not what is propagated.
        ("DeleteTransitGatewayRoute", route("10.20.0.0/16"), "InvalidRoute.NotFound: "),
        (
            "CreateRoute",
            json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "10.99.0.0/16", "TransitGatewayId": ids["tgw"] }),
            "InvalidTransitGatewayID.NotFound: ",
        ),
        ("DeleteSubnet", json!({ "SubnetId": ids["peer-one-subnet"] }), "DependencyViolation: "),
        (
            "DescribeTransitGateways",
            json!({ "TransitGatewayIds": ["tgw-0123456789abcdef0"] }),
            "InvalidTransitGatewayID.NotFound: ",
        ),
        (
            "DescribeTransitGateways",
            json!({ "TransitGatewayIds": ["vpc-0123456789abcdef0"] }),
            "InvalidTransitGatewayID.Malformed: ",
        ),
        (
            "SearchTransitGatewayRoutes",
            with(
                json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"] }),
                "Filters",
                json!([{ "Name": "route-search.exact-match", "Values": ["all"] }]),
            ),
            "InvalidParameterValue: Value (all) for parameter route-search.exact-match is invalid.",
        ),
    ]
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let (api, ids) = built();
    for (operation, parameters, starts) in impossible(ids) {
        let before = api.state();
        let refusal = api.refusal(operation, parameters.clone());
        assert!(refusal.starts_with(starts), "{operation} {parameters}: {refusal}");
        assert_eq!(api.state(), before, "{operation} {parameters}");
    }
}

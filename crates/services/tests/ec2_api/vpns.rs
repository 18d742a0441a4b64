//! VPNs: their ends, their routes, and the tables that have them.

use serde_json::json;

use crate::support::{at, text};
use crate::world::built;

#[test]
fn a_gateway_is_attached_and_its_connections_routes_are_propagated() {
    let (api, ids) = built();
    let table = || {
        let tables = api.call("DescribeRouteTables", json!({ "RouteTableIds": [ids["peer-rtb"]] }));
        at(&tables, "RouteTables.0").clone()
    };
    let propagation = json!({ "RouteTableId": ids["peer-rtb"], "GatewayId": ids["vgw"] });
    api.call("EnableVgwRoutePropagation", propagation.clone());
    assert_eq!(table()["PropagatingVgws"], json!([{ "GatewayId": ids["vgw"] }]));
    let propagated = json!({ "DestinationCidrBlock": "192.168.0.0/16", "GatewayId": ids["vgw"],
        "Origin": "EnableVgwRoutePropagation", "State": "active" });
    assert!(table()["Routes"].as_array().unwrap().contains(&propagated));
    api.call("DisableVgwRoutePropagation", propagation);
    assert!(!table()["Routes"].as_array().unwrap().contains(&propagated));
    // By hand, a route leads to the gateway as to an internet gateway.
    let route = json!({ "RouteTableId": ids["peer-rtb"], "DestinationCidrBlock": "192.168.0.0/16",
        "GatewayId": ids["vgw"] });
    api.call("CreateRoute", route);
    api.call("DetachVpnGateway", json!({ "VpcId": ids["peer-one"], "VpnGatewayId": ids["vgw"] }));
    let blackhole = json!({ "DestinationCidrBlock": "192.168.0.0/16", "GatewayId": ids["vgw"],
        "Origin": "CreateRoute", "State": "blackhole" });
    assert!(table()["Routes"].as_array().unwrap().contains(&blackhole));
}

#[test]
fn a_connection_is_shown_with_its_routes_and_its_tunnel() {
    let (api, ids) = built();
    let shown = api.call("DescribeVpnConnections", json!({ "VpnConnectionIds": [ids["vpn"]] }));
    let shown = at(&shown, "VpnConnections.0");
    assert_eq!((at(shown, "State"), at(shown, "Category")), (&json!("available"), &json!("VPN")));
    assert_eq!(at(shown, "Options.StaticRoutesOnly"), true);
    assert!(text(shown, "Options.TunnelOptions.0.TunnelInsideCidr").starts_with("169.254."));
    assert_eq!(at(shown, "VgwTelemetry.0.Status"), "DOWN");
    assert_eq!(at(shown, "VgwTelemetry.0.OutsideIpAddress"), "203.0.113.7");
    let route =
        json!([{ "DestinationCidrBlock": "192.168.0.0/16", "Source": "Static", "State": "available" }]);
    assert_eq!(at(shown, "Routes"), &route);
}

#[test]
fn what_is_there_already_is_answered_again() {
    let (api, ids) = built();
    let customer = json!({ "Type": "ipsec.1", "BgpAsn": 65_000, "IpAddress": "203.0.113.7" });
    let again = api.call("CreateCustomerGateway", customer);
    assert_eq!(text(&again, "CustomerGateway.CustomerGatewayId"), ids["cgw"]);
    let connection = json!({ "Type": "ipsec.1", "CustomerGatewayId": ids["cgw"], "VpnGatewayId": ids["vgw"],
        "Options": { "StaticRoutesOnly": true } });
    let again = api.call("CreateVpnConnection", connection);
    assert_eq!(text(&again, "VpnConnection.VpnConnectionId"), ids["vpn"]);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let (api, ids) = built();
    let dynamic = json!({ "Type": "ipsec.1", "CustomerGatewayId": ids["cgw"], "VpnGatewayId": ids["vgw"] });
    for (operation, parameters, starts) in [
        (
            "CreateVpnConnection",
            dynamic,
            "UnsupportedOperation: The value (false) of the parameter Options.Static",
        ),
        (
            "CreateVpnGateway",
            json!({ "Type": "ipsec.2" }),
            "InvalidParameterValue: Value (ipsec.2) for parameter Type is invalid.",
        ),
        (
            "CreateCustomerGateway",
            json!({ "Type": "ipsec.1", "BgpAsn": 0, "IpAddress": "203.0.113.1" }),
            "InvalidParameterValue: Value (0) for parameter bgpAsn is invalid.",
        ),
        (
            "AttachVpnGateway",
            json!({ "VpcId": ids["peer-two"], "VpnGatewayId": ids["vgw"] }),
            "VpnGatewayAttachmentLimitExceeded: ",
        ),
        (
            "AttachVpnGateway",
            json!({ "VpcId": ids["peer-one"], "VpnGatewayId": ids["spare-vgw"] }),
            "InvalidParameterValue: Network ",
        ),
        (
            "DetachVpnGateway",
            json!({ "VpcId": ids["peer-two"], "VpnGatewayId": ids["vgw"] }),
            "InvalidVpnGatewayAttachment.NotFound: ",
        ),
        ("DeleteVpnGateway", json!({ "VpnGatewayId": ids["vgw"] }), "DependencyViolation: "),
        ("DeleteCustomerGateway", json!({ "CustomerGatewayId": ids["cgw"] }), "DependencyViolation: "),
        (
            "DeleteVpnConnectionRoute",
            json!({ "VpnConnectionId": ids["vpn"], "DestinationCidrBlock": "10.0.0.0/8" }),
            "InvalidRoute.NotFound: ",
        ),
        (
            "EnableVgwRoutePropagation",
            json!({ "RouteTableId": ids["peer-rtb"], "GatewayId": ids["spare-vgw"] }),
            "Gateway.NotAttached: ",
        ),
        (
            "DescribeVpnConnections",
            json!({ "VpnConnectionIds": ["vpn-0123456789abcdef0"] }),
            "InvalidVpnConnectionID.NotFound: ",
        ),
    ] {
        let refusal = api.refusal(operation, parameters.clone());
        assert!(refusal.starts_with(starts), "{operation} {parameters}: {refusal}");
    }
}

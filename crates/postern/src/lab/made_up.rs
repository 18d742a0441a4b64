//! Values for the variables of a step that is left out: well formed, and nobody's.
//!
//! With them the lab fails by what the region does, and not because a variable is missing.

use serde_json::Value;

use super::path::Path;
use super::step::Step;

/// A value for a variable that `step` would have saved; none where nothing sensible can be made up.
pub(super) fn made_up(step: &Step, variable: &str) -> Option<Value> {
    if let Some(value) = step.made_up.get(variable) {
        return Some(value.as_str().into());
    }
    // A path with variables in it still ends in the name of what it leads to.
    let source = step.save.get(variable)?.source().to_owned();
    let path = Path::parse(&source).ok()?;
    let number = number_of(&format!("{}/{variable}", step.id));
    let id = |prefix: &str| format!("{prefix}-0{number:016x}");
    let text = match path.last_member()? {
        "AllocationId" => id("eipalloc"),
        "CustomerGatewayId" => id("cgw"),
        "GroupId" => id("sg"),
        "ImageId" => id("ami"),
        "InstanceId" => id("i"),
        "InternetGatewayId" => id("igw"),
        "KeyMaterial" => "made up".to_owned(),
        "NatGatewayId" => id("nat"),
        "NetworkAclId" => id("acl"),
        "NetworkInterfaceId" => id("eni"),
        "PrefixListId" => id("pl"),
        "RouteTableId" => id("rtb"),
        "SubnetId" => id("subnet"),
        "VpcEndpointId" => id("vpce"),
        "TransitGatewayAttachmentId" => id("tgw-attach"),
        "TransitGatewayId" => id("tgw"),
        "TransitGatewayRouteTableId" | "AssociationDefaultRouteTableId" => id("tgw-rtb"),
        "VpcId" => id("vpc"),
        "VpnConnectionId" => id("vpn"),
        "VpnGatewayId" => id("vgw"),
        // Addresses for documentation: nobody has them.
        "PrivateIp" | "PrivateIpAddress" => format!("192.0.2.{}", number % 254 + 1),
        "PublicIp" | "PublicIpAddress" => format!("203.0.113.{}", number % 254 + 1),
        "stdout" => "made up".to_owned(),
        _ => return None,
    };
    Some(text.into())
}

/// The same number for the same text, always (FNV-1a).
fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

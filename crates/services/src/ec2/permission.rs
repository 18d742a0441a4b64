//! Permissions of security groups: AWS's way to write which packets and with whom, and the model's.

use postern_model::security_group::{NewRule, Peer, Permission, Traffic};
use postern_model::{AccountId, IpNet, PrefixListId, SecurityGroupId};
use postern_wire::{AwsError, ec2};

use super::error;
use super::parameters::{self, invalid};

/// The parameters of `IpPermissions` that are honoured.
pub const PERMISSIONS: &[&str] = &[
    "IpPermissions.FromPort",
    "IpPermissions.Groups.Description",
    "IpPermissions.Groups.GroupId",
    "IpPermissions.Groups.UserId",
    "IpPermissions.IpProtocol",
    "IpPermissions.IpRanges.CidrIp",
    "IpPermissions.IpRanges.Description",
    "IpPermissions.Ipv6Ranges.CidrIpv6",
    "IpPermissions.Ipv6Ranges.Description",
    "IpPermissions.PrefixListIds.Description",
    "IpPermissions.PrefixListIds.PrefixListId",
    "IpPermissions.ToPort",
];

/// The number of ICMP for IPv6, whose types the model does not tell apart.
const ICMPV6: u8 = 58;

/// Which packets: a protocol's name or number, and two ports (or ICMP's type and code).
pub fn traffic(protocol: &str, from: Option<i64>, to: Option<i64>) -> Result<Traffic, AwsError> {
    match protocol.to_ascii_lowercase().as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => ports(from, to).map(|(from, to)| Traffic::Tcp(from, to)),
        "udp" | "17" => ports(from, to).map(|(from, to)| Traffic::Udp(from, to)),
        "icmp" | "1" => Ok(Traffic::Icmp(icmp(from, "FromPort")?, icmp(to, "ToPort")?)),
        "icmpv6" | "58" => icmpv6(from, to),
        // "If you specify any other protocol, traffic on all ports is allowed, regardless of any ports you specify."
        other => other.parse().map(Traffic::Protocol).map_err(|_| {
            AwsError::new(
                "InvalidParameterValue",
                format!("Invalid value '{protocol}' for IP protocol. Unknown protocol."),
            )
        }),
    }
}

fn ports(from: Option<i64>, to: Option<i64>) -> Result<(u16, u16), AwsError> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(AwsError::new(
            "InvalidParameterValue",
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
        ));
    };
    let port = |port: i64| {
        let message = format!("Invalid value '{port}' for TCP/UDP port. Must be between 0 and 65535.");
        u16::try_from(port).map_err(|_| AwsError::new("InvalidParameterValue", message))
    };
    Ok((port(from)?, port(to)?))
}

fn icmp(value: Option<i64>, parameter: &str) -> Result<Option<u8>, AwsError> {
    match value {
        None | Some(-1) => Ok(None),
        Some(value) => parameters::number(value, parameter).map(Some),
    }
}

fn icmpv6(from: Option<i64>, to: Option<i64>) -> Result<Traffic, AwsError> {
    for (value, parameter) in [(from, "FromPort"), (to, "ToPort")] {
        if let Some(value) = value.filter(|value| *value != -1) {
            return Err(error::unsupported_value(parameter, &value.to_string(), &["-1"]));
        }
    }
    Ok(Traffic::Protocol(ICMPV6))
}

/// How AWS writes which packets: the protocol, and the two ports where the protocol has some.
pub fn traffic_parts(traffic: Traffic) -> (String, Option<i64>, Option<i64>) {
    let any = |value: Option<u8>| Some(value.map_or(-1, i64::from));
    match traffic {
        Traffic::All => ("-1".to_owned(), None, None),
        Traffic::Tcp(from, to) => ("tcp".to_owned(), Some(from.into()), Some(to.into())),
        Traffic::Udp(from, to) => ("udp".to_owned(), Some(from.into()), Some(to.into())),
        Traffic::Icmp(kind, code) => ("icmp".to_owned(), any(kind), any(code)),
        Traffic::Protocol(ICMPV6) => ("icmpv6".to_owned(), Some(-1), Some(-1)),
        Traffic::Protocol(number) => (number.to_string(), None, None),
    }
}

/// A group that a permission names. Groups of other accounts need a peering, which is not served.
fn group(account: AccountId, pair: &ec2::UserIdGroupPair) -> Result<SecurityGroupId, AwsError> {
    let text = parameters::required(pair.group_id.as_deref(), "IpPermissions.Groups.GroupId")?;
    let id = parameters::id::<SecurityGroupId>(text)?;
    match pair.user_id.as_deref() {
        Some(owner) if owner != account.to_string() => Err(error::not_found(&[id.into()])),
        Some(_) | None => Ok(id),
    }
}

/// The rules of one direction that a list of permissions stands for.
pub fn rules(
    account: AccountId,
    egress: bool,
    permissions: &[ec2::IpPermission],
) -> Result<Vec<NewRule>, AwsError> {
    let mut rules = Vec::new();
    for permission in permissions {
        let protocol = parameters::required(permission.ip_protocol.as_deref(), "IpPermissions.IpProtocol")?;
        let traffic = traffic(protocol, permission.from_port, permission.to_port)?;
        let before = rules.len();
        let mut add = |peer, description: &Option<String>| {
            let description = description.clone().unwrap_or_default();
            rules.push(NewRule { permission: Permission { egress, traffic, peer }, description });
        };
        for range in &permission.ip_ranges {
            let text = parameters::required(range.cidr_ip.as_deref(), "IpPermissions.IpRanges.CidrIp")?;
            add(Peer::Cidr(parameters::ipv4_block(text, "cidrIp")?.into()), &range.description);
        }
        for range in &permission.ipv6_ranges {
            let text = parameters::required(range.cidr_ipv6.as_deref(), "IpPermissions.Ipv6Ranges.CidrIpv6")?;
            add(Peer::Cidr(parameters::ipv6_block(text, "cidrIpv6")?), &range.description);
        }
        for list in &permission.prefix_list_ids {
            let text = parameters::required(
                list.prefix_list_id.as_deref(),
                "IpPermissions.PrefixListIds.PrefixListId",
            )?;
            add(Peer::PrefixList(parameters::id::<PrefixListId>(text)?), &list.description);
        }
        for pair in &permission.user_id_group_pairs {
            add(Peer::Group(group(account, pair)?), &pair.description);
        }
        if rules.len() == before {
            return Err(invalid("ipPermissions", protocol, "It names no source or destination."));
        }
    }
    if let Some(long) = rules.iter().find(|rule| rule.description.chars().count() > 255) {
        return Err(invalid("description", &long.description, "It is longer than 255 characters."));
    }
    Ok(rules)
}

/// AWS's way to name a rule in an error: `peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW`.
pub fn named(permission: Permission) -> String {
    let peer = match permission.peer {
        Peer::Cidr(cidr) => cidr.to_string(),
        Peer::Group(group) => group.to_string(),
        Peer::PrefixList(list) => list.to_string(),
    };
    match traffic_parts(permission.traffic) {
        (protocol, Some(from), Some(to)) => {
            format!("peer: {peer}, {}, from port: {from}, to port: {to}, ALLOW", protocol.to_uppercase())
        }
        (protocol, ..) if protocol == "-1" => format!("peer: {peer}, ALL, ALLOW"),
        (protocol, ..) => format!("peer: {peer}, {protocol}, ALLOW"),
    }
}

/// Permissions as groups list them: the peers of the same packets together.
pub fn grouped<'a>(
    account: AccountId,
    rules: impl Iterator<Item = (&'a Permission, &'a str)>,
) -> Vec<ec2::IpPermission> {
    let mut grouped: Vec<ec2::IpPermission> = Vec::new();
    for (permission, description) in rules {
        let (protocol, from, to) = traffic_parts(permission.traffic);
        let same = |known: &ec2::IpPermission| {
            known.ip_protocol.as_deref() == Some(&protocol) && (known.from_port, known.to_port) == (from, to)
        };
        let at = grouped.iter().position(same).unwrap_or_else(|| {
            grouped.push(ec2::IpPermission {
                from_port: from,
                ip_protocol: Some(protocol.clone()),
                to_port: to,
                ..Default::default()
            });
            grouped.len() - 1
        });
        if let Some(shown) = grouped.get_mut(at) {
            add_peer(shown, account, permission.peer, description);
        }
    }
    grouped.sort_by(|a, b| {
        (&a.ip_protocol, a.from_port, a.to_port).cmp(&(&b.ip_protocol, b.from_port, b.to_port))
    });
    grouped
}

fn add_peer(shown: &mut ec2::IpPermission, account: AccountId, peer: Peer, description: &str) {
    let description = (!description.is_empty()).then(|| description.to_owned());
    match peer {
        Peer::Cidr(cidr @ IpNet::V4(_)) => {
            shown.ip_ranges.push(ec2::IpRange { cidr_ip: Some(cidr.to_string()), description });
        }
        Peer::Cidr(cidr @ IpNet::V6(_)) => {
            shown.ipv6_ranges.push(ec2::Ipv6Range { cidr_ipv6: Some(cidr.to_string()), description });
        }
        Peer::Group(group) => shown.user_id_group_pairs.push(ec2::UserIdGroupPair {
            description,
            group_id: Some(group.to_string()),
            user_id: Some(account.to_string()),
            ..Default::default()
        }),
        Peer::PrefixList(list) => {
            let prefix_list_id = Some(list.to_string());
            shown.prefix_list_ids.push(ec2::PrefixListId { description, prefix_list_id });
        }
    }
}

//! Network ACLs: their entries, and the subnets that they are on. The rule that denies the rest is shown as number
//! 32767, as AWS shows it.

use postern_model::network_acl::{AclEntry, NetworkAcl};
use postern_model::security_group::Traffic;
use postern_model::subnet::Subnet;
use postern_model::{Action, IpNet, Ipv4Net, NetworkAclId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::view::{created, some, tags};
use super::{error, permission, tag};

/// The number of the rule that denies the rest.
const LAST_RULE: i64 = 32_767;
const NAMED: &[Asked] = &[Asked::Named(By::Id, "NetworkAclId")];
const ENTRY: &[&str] = &[
    "CidrBlock",
    "Egress",
    "Icmp.Code",
    "Icmp.Type",
    "Ipv6CidrBlock",
    "NetworkAclId",
    "PortRange.From",
    "PortRange.To",
    "Protocol",
    "RuleAction",
    "RuleNumber",
];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateNetworkAcl = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &["VpcId"]],
        asked: &[Asked::New("network-acl"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write DeleteNetworkAcl = delete; honoured: &[DRY_RUN, &["NetworkAclId"]], asked: NAMED },
    operation! { read DescribeNetworkAcls = describe; filters: filters::names::<ec2::NetworkAcl>, honoured: &[DRY_RUN, FILTERS, PAGES, &["NetworkAclId"]] },
    operation! { write CreateNetworkAclEntry = create_entry; honoured: &[DRY_RUN, ENTRY], asked: NAMED },
    operation! { write ReplaceNetworkAclEntry = replace_entry; honoured: &[DRY_RUN, ENTRY], asked: NAMED },
    operation! { write DeleteNetworkAclEntry = delete_entry;
        honoured: &[DRY_RUN, &["Egress", "NetworkAclId", "RuleNumber"]],
        asked: NAMED,
    },
    operation! { write ReplaceNetworkAclAssociation = replace_association;
        honoured: &[DRY_RUN, &["AssociationId", "NetworkAclId"]],
        asked: &[Asked::Named(By::Id, "NetworkAclId"), Asked::Named(By::Association, "AssociationId")],
    },
];

fn show_entry(egress: bool, number: i64, allow: bool, traffic: Traffic, cidr: IpNet) -> ec2::NetworkAclEntry {
    let mut shown = ec2::NetworkAclEntry {
        egress: Some(egress),
        protocol: some(traffic.protocol().map_or(-1, i64::from)),
        rule_action: some(if allow { "allow" } else { "deny" }),
        rule_number: Some(number),
        ..Default::default()
    };
    match cidr {
        IpNet::V4(_) => shown.cidr_block = some(cidr),
        IpNet::V6(_) => shown.ipv6_cidr_block = some(cidr),
    }
    match traffic {
        Traffic::All | Traffic::Protocol(_) => {}
        Traffic::Tcp(from, to) | Traffic::Udp(from, to) => {
            shown.port_range = Some(ec2::PortRange { from: Some(from.into()), to: Some(to.into()) });
        }
        Traffic::Icmp(kind, code) => {
            let any = |value: Option<u8>| Some(value.map_or(-1, i64::from));
            shown.icmp_type_code = Some(ec2::IcmpTypeCode { code: any(code), r#type: any(kind) });
        }
    }
    shown
}

fn entries(acl: &NetworkAcl, egress: bool) -> impl Iterator<Item = ec2::NetworkAclEntry> {
    let listed = acl
        .entries(egress)
        .values()
        .map(move |entry| show_entry(egress, entry.number.into(), entry.allow, entry.traffic, entry.cidr));
    let everywhere = IpNet::V4(Ipv4Net::default());
    listed.chain([show_entry(egress, LAST_RULE, false, Traffic::All, everywhere)])
}

fn show(state: &State, acl: &NetworkAcl) -> ec2::NetworkAcl {
    let subnets = state.subnets.values().filter(|subnet| subnet.network_acl == acl.id);
    let association = |subnet: &std::sync::Arc<Subnet>| ec2::NetworkAclAssociation {
        network_acl_association_id: some(subnet.network_acl_association),
        network_acl_id: some(acl.id),
        subnet_id: some(subnet.id),
    };
    let is_default = state.vpcs.get(&acl.vpc).is_some_and(|vpc| vpc.default_network_acl == acl.id);
    ec2::NetworkAcl {
        associations: Some(subnets.map(association).collect()),
        entries: Some(entries(acl, true).chain(entries(acl, false)).collect()),
        is_default: Some(is_default),
        network_acl_id: some(acl.id),
        owner_id: some(acl.owner),
        tags: tags(&acl.tags),
        vpc_id: some(acl.vpc),
    }
}

impl Row for ec2::NetworkAcl {
    const FILTERS: FilterTable<Self> = &[
        ("association.association-id", |a| {
            each(a.associations.as_ref(), |x| x.network_acl_association_id.clone())
        }),
        ("association.network-acl-id", |a| each(a.associations.as_ref(), |x| x.network_acl_id.clone())),
        ("association.subnet-id", |a| each(a.associations.as_ref(), |x| x.subnet_id.clone())),
        ("default", |a| shown(a.is_default)),
        ("entry.cidr", |a| each(a.entries.as_ref(), |e| e.cidr_block.clone())),
        ("entry.egress", |a| each(a.entries.as_ref(), |e| e.egress)),
        ("entry.icmp.code", |a| each(a.entries.as_ref(), |e| e.icmp_type_code.as_ref()?.code)),
        ("entry.icmp.type", |a| each(a.entries.as_ref(), |e| e.icmp_type_code.as_ref()?.r#type)),
        ("entry.ipv6-cidr", |a| each(a.entries.as_ref(), |e| e.ipv6_cidr_block.clone())),
        ("entry.port-range.from", |a| each(a.entries.as_ref(), |e| e.port_range.as_ref()?.from)),
        ("entry.port-range.to", |a| each(a.entries.as_ref(), |e| e.port_range.as_ref()?.to)),
        ("entry.protocol", |a| each(a.entries.as_ref(), |e| e.protocol.clone())),
        ("entry.rule-action", |a| each(a.entries.as_ref(), |e| e.rule_action.clone())),
        ("entry.rule-number", |a| each(a.entries.as_ref(), |e| e.rule_number)),
        ("network-acl-id", |a| text(a.network_acl_id.as_ref())),
        ("owner-id", |a| text(a.owner_id.as_ref())),
        ("vpc-id", |a| text(a.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.network_acl_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateNetworkAclRequest,
) -> Result<ec2::CreateNetworkAclResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["network-acl"])?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let client_token = request.client_token;
    let done = call.execute(client_token.as_deref(), Action::CreateNetworkAcl { vpc, tags }).await?;
    let id = created!(done, NetworkAcl)?;
    let acl = done.state.get::<NetworkAcl>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateNetworkAclResult { client_token, network_acl: Some(show(&done.state, &acl)) })
}

fn acl_id(text: Option<String>) -> Result<NetworkAclId, AwsError> {
    parameters::id(&parameters::required(text, "NetworkAclId")?)
}

async fn delete(call: &Call<'_>, request: ec2::DeleteNetworkAclRequest) -> Result<(), AwsError> {
    let acl = acl_id(request.network_acl_id)?;
    call.execute(None, Action::DeleteNetworkAcl { acl }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeNetworkAclsRequest,
) -> Result<ec2::DescribeNetworkAclsResult, AwsError> {
    let rows = call.select::<NetworkAcl>(&request.network_acl_ids)?;
    let rows = rows.iter().map(|acl| show(&call.state, acl)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (network_acls, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeNetworkAclsResult { network_acls, next_token })
}

/// What the requests to create and to replace an entry have in common.
struct EntryParts {
    acl: Option<String>,
    number: Option<i64>,
    action: Option<String>,
    protocol: Option<String>,
    cidr: Option<String>,
    ipv6_cidr: Option<String>,
    ports: Option<ec2::PortRange>,
    icmp: Option<ec2::IcmpTypeCode>,
}

fn rule_number(number: Option<i64>) -> Result<u16, AwsError> {
    parameters::number(parameters::required(number, "RuleNumber")?, "ruleNumber")
}

fn traffic(
    protocol: &str,
    ports: Option<ec2::PortRange>,
    icmp: Option<ec2::IcmpTypeCode>,
) -> Result<Traffic, AwsError> {
    let is_icmp = matches!(protocol.to_ascii_lowercase().as_str(), "1" | "icmp" | "58" | "icmpv6");
    let (from, to) = match (is_icmp, ports, icmp) {
        // "TCP or UDP protocols: The range of ports the rule applies to": AWS takes it with any protocol, and
        // Terraform sends it with all of them.
        (true, _, Some(icmp)) => (icmp.r#type, icmp.code),
        (true, _, None) => return Err(parameters::missing("icmpTypeCode")),
        (false, ports, None) => ports.map_or((None, None), |ports| (ports.from, ports.to)),
        (false, _, Some(_)) => {
            return Err(parameters::combination("Icmp may be given for the protocol ICMP only"));
        }
    };
    permission::traffic(protocol, from, to)
}

fn entry(parts: EntryParts) -> Result<(NetworkAclId, AclEntry), AwsError> {
    let acl = acl_id(parts.acl)?;
    let number = rule_number(parts.number)?;
    let action = parameters::required(parts.action, "RuleAction")?;
    let protocol = parameters::required(parts.protocol, "Protocol")?;
    let cidr = match (parts.cidr, parts.ipv6_cidr) {
        (Some(text), None) => parameters::ipv4_block(&text, "cidrBlock")?.into(),
        (None, Some(text)) => parameters::ipv6_block(&text, "ipv6CidrBlock")?,
        (None, None) => return Err(parameters::missing("CidrBlock")),
        (Some(_), Some(_)) => {
            return Err(parameters::combination("Either CidrBlock or Ipv6CidrBlock may be given, not both"));
        }
    };
    let traffic = traffic(&protocol, parts.ports, parts.icmp)?;
    Ok((acl, AclEntry { number, allow: action == "allow", traffic, cidr }))
}

async fn create_entry(call: &Call<'_>, request: ec2::CreateNetworkAclEntryRequest) -> Result<(), AwsError> {
    let egress = parameters::required(request.egress, "Egress")?;
    let (acl, entry) = entry(EntryParts {
        acl: request.network_acl_id,
        number: request.rule_number,
        action: request.rule_action,
        protocol: request.protocol,
        cidr: request.cidr_block,
        ipv6_cidr: request.ipv6_cidr_block,
        ports: request.port_range,
        icmp: request.icmp_type_code,
    })?;
    call.execute(None, Action::CreateNetworkAclEntry { acl, egress, entry }).await.map(|_| ())
}

async fn replace_entry(call: &Call<'_>, request: ec2::ReplaceNetworkAclEntryRequest) -> Result<(), AwsError> {
    let egress = parameters::required(request.egress, "Egress")?;
    let (acl, entry) = entry(EntryParts {
        acl: request.network_acl_id,
        number: request.rule_number,
        action: request.rule_action,
        protocol: request.protocol,
        cidr: request.cidr_block,
        ipv6_cidr: request.ipv6_cidr_block,
        ports: request.port_range,
        icmp: request.icmp_type_code,
    })?;
    call.execute(None, Action::ReplaceNetworkAclEntry { acl, egress, entry }).await.map(|_| ())
}

async fn delete_entry(call: &Call<'_>, request: ec2::DeleteNetworkAclEntryRequest) -> Result<(), AwsError> {
    let acl = acl_id(request.network_acl_id)?;
    let egress = parameters::required(request.egress, "Egress")?;
    let number = rule_number(request.rule_number)?;
    call.execute(None, Action::DeleteNetworkAclEntry { acl, egress, number }).await.map(|_| ())
}

async fn replace_association(
    call: &Call<'_>,
    request: ec2::ReplaceNetworkAclAssociationRequest,
) -> Result<ec2::ReplaceNetworkAclAssociationResult, AwsError> {
    let text = parameters::required(request.association_id, "AssociationId")?;
    let association = parameters::id(&text)?;
    let acl = acl_id(request.network_acl_id)?;
    let mut subnets = call.state.visible::<Subnet>(call.account);
    let subnet = subnets.find(|subnet| subnet.network_acl_association == association).map(|subnet| subnet.id);
    let done = call.execute(None, Action::ReplaceNetworkAclAssociation { association, acl }).await?;
    let subnet = subnet.and_then(|id| done.state.subnets.get(&id).cloned());
    let subnet = subnet.ok_or_else(|| error::association_not_found(&text))?;
    Ok(ec2::ReplaceNetworkAclAssociationResult { new_association_id: some(subnet.network_acl_association) })
}

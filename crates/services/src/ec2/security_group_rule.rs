//! The rules of security groups, each with an id of its own.

use postern_model::security_group::{NewRule, Peer, Permission, SecurityGroup, SecurityGroupRule};
use postern_model::{Action, IpNet, SecurityGroupId, SecurityGroupRuleId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::permission::{traffic, traffic_parts};
use super::table::{Entry, operation};
use super::view::{some, tags};

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeSecurityGroupRules = describe; filters: filters::names::<ec2::SecurityGroupRule>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["SecurityGroupRuleId"]],
    },
    operation! { write ModifySecurityGroupRules = modify;
        honoured: &[DRY_RUN, &[
            "GroupId", "SecurityGroupRule.SecurityGroupRule.CidrIpv4", "SecurityGroupRule.SecurityGroupRule.CidrIpv6",
            "SecurityGroupRule.SecurityGroupRule.Description", "SecurityGroupRule.SecurityGroupRule.FromPort",
            "SecurityGroupRule.SecurityGroupRule.IpProtocol", "SecurityGroupRule.SecurityGroupRule.PrefixListId",
            "SecurityGroupRule.SecurityGroupRule.ReferencedGroupId", "SecurityGroupRule.SecurityGroupRule.ToPort",
            "SecurityGroupRule.SecurityGroupRuleId",
        ]],
        asked: &[
            Asked::Named(By::Id, "GroupId"),
            Asked::Named(By::Id, "SecurityGroupRule.SecurityGroupRuleId"),
        ],
    },
];

/// Ports as rules show them: -1 where a protocol has none.
fn ports(from: Option<i64>, to: Option<i64>) -> (Option<i64>, Option<i64>) {
    (from.or(Some(-1)), to.or(Some(-1)))
}

/// A rule as it is listed.
pub fn show(state: &State, group: &SecurityGroup, rule: &SecurityGroupRule) -> ec2::SecurityGroupRule {
    let (protocol, from, to) = traffic_parts(rule.permission.traffic);
    let (from_port, to_port) = ports(from, to);
    let mut shown = ec2::SecurityGroupRule {
        description: (!rule.description.is_empty()).then(|| rule.description.clone()),
        from_port,
        group_id: some(group.id),
        group_owner_id: some(group.owner),
        ip_protocol: Some(protocol),
        is_egress: Some(rule.permission.egress),
        security_group_rule_arn: some(format!(
            "arn:aws:ec2:{}:{}:security-group-rule/{}",
            state.region.name, group.owner, rule.id
        )),
        security_group_rule_id: some(rule.id),
        tags: tags(&rule.tags),
        to_port,
        ..Default::default()
    };
    match rule.permission.peer {
        Peer::Cidr(cidr @ IpNet::V4(_)) => shown.cidr_ipv4 = some(cidr),
        Peer::Cidr(cidr @ IpNet::V6(_)) => shown.cidr_ipv6 = some(cidr),
        Peer::PrefixList(list) => shown.prefix_list_id = some(list),
        Peer::Group(peer) => {
            shown.referenced_group_info = Some(ec2::ReferencedSecurityGroup {
                group_id: some(peer),
                user_id: some(group.owner),
                ..Default::default()
            });
        }
    }
    shown
}

/// A rule as it is listed when it is gone.
pub fn show_revoked(group: SecurityGroupId, rule: &SecurityGroupRule) -> ec2::RevokedSecurityGroupRule {
    let (protocol, from, to) = traffic_parts(rule.permission.traffic);
    let (from_port, to_port) = ports(from, to);
    let mut shown = ec2::RevokedSecurityGroupRule {
        description: (!rule.description.is_empty()).then(|| rule.description.clone()),
        from_port,
        group_id: some(group),
        ip_protocol: Some(protocol),
        is_egress: Some(rule.permission.egress),
        security_group_rule_id: some(rule.id),
        to_port,
        ..Default::default()
    };
    match rule.permission.peer {
        Peer::Cidr(cidr @ IpNet::V4(_)) => shown.cidr_ipv4 = some(cidr),
        Peer::Cidr(cidr @ IpNet::V6(_)) => shown.cidr_ipv6 = some(cidr),
        Peer::PrefixList(list) => shown.prefix_list_id = some(list),
        Peer::Group(peer) => shown.referenced_group_id = some(peer),
    }
    shown
}

impl Row for ec2::SecurityGroupRule {
    const FILTERS: FilterTable<Self> = &[
        ("group-id", |r| text(r.group_id.as_ref())),
        ("security-group-rule-id", |r| text(r.security_group_rule_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.security_group_rule_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeSecurityGroupRulesRequest,
) -> Result<ec2::DescribeSecurityGroupRulesResult, AwsError> {
    let wanted: Vec<SecurityGroupRuleId> = parameters::ids(&request.security_group_rule_ids)?;
    let mut rows = Vec::new();
    for group in call.state.visible::<SecurityGroup>(call.account) {
        let rules = group.rules.values().filter(|rule| wanted.is_empty() || wanted.contains(&rule.id));
        rows.extend(rules.map(|rule| show(&call.state, group, rule)));
    }
    let found = |id: &SecurityGroupRuleId| {
        rows.iter().any(|row| row.security_group_rule_id.as_deref() == Some(&id.to_string()))
    };
    let missing: Vec<_> = wanted.iter().filter(|id| !found(id)).map(|id| (*id).into()).collect();
    if !missing.is_empty() {
        return Err(error::not_found(&missing));
    }
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (security_group_rules, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeSecurityGroupRulesResult { next_token, security_group_rules })
}

fn peer(request: &ec2::SecurityGroupRuleRequest) -> Result<Peer, AwsError> {
    let given =
        [&request.cidr_ipv4, &request.cidr_ipv6, &request.prefix_list_id, &request.referenced_group_id];
    if given.into_iter().flatten().count() != 1 {
        return Err(parameters::combination(
            "Exactly one of CidrIpv4, CidrIpv6, PrefixListId and ReferencedGroupId must be given",
        ));
    }
    if let Some(text) = &request.cidr_ipv4 {
        return Ok(Peer::Cidr(parameters::ipv4_block(text, "CidrIpv4")?.into()));
    }
    if let Some(text) = &request.cidr_ipv6 {
        return Ok(Peer::Cidr(parameters::ipv6_block(text, "CidrIpv6")?));
    }
    if let Some(text) = &request.prefix_list_id {
        return parameters::id(text).map(Peer::PrefixList);
    }
    parameters::id(request.referenced_group_id.as_deref().unwrap_or_default()).map(Peer::Group)
}

/// A rule is replaced as a whole: what is not given is not kept.
fn new_rule(egress: bool, request: &ec2::SecurityGroupRuleRequest) -> Result<NewRule, AwsError> {
    let protocol = parameters::required(request.ip_protocol.as_deref(), "IpProtocol")?;
    let traffic = traffic(protocol, request.from_port, request.to_port)?;
    let permission = Permission { egress, traffic, peer: peer(request)? };
    Ok(NewRule { permission, description: request.description.clone().unwrap_or_default() })
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifySecurityGroupRulesRequest,
) -> Result<ec2::ModifySecurityGroupRulesResult, AwsError> {
    let id = parameters::required(request.group_id, "GroupId")?;
    let group = call.get::<SecurityGroup>(&id)?;
    let mut actions = Vec::new();
    for update in request.security_group_rules {
        let text = parameters::required(update.security_group_rule_id, "SecurityGroupRuleId")?;
        let rule: SecurityGroupRuleId = parameters::id(&text)?;
        let known = group.rules.get(&rule).ok_or_else(|| error::not_found(&[rule.into()]))?;
        let new = parameters::required(update.security_group_rule, "SecurityGroupRule.SecurityGroupRule")?;
        let new = new_rule(known.permission.egress, &new)?;
        actions.push(Action::ModifySecurityGroupRule { group: group.id, rule, new });
    }
    if actions.is_empty() {
        return Err(parameters::missing("SecurityGroupRule"));
    }
    call.execute(None, Action::Batch(actions)).await?;
    Ok(ec2::ModifySecurityGroupRulesResult { r#return: Some(true) })
}

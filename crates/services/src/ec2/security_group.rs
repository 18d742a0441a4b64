//! Security groups, and the permissions that are put into and taken from them.

use std::sync::Arc;

use postern_model::security_group::{NewRule, Permission, RuleChoice, SecurityGroup};
use postern_model::{Action, SecurityGroupId, SecurityGroupRuleId, State, default_vpc};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::permission::{self, PERMISSIONS};
use super::security_group_rule;
use super::table::{Entry, operation};
use super::view::{created, some, tags};
use super::{error, tag};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "GroupId")];
/// One permission without a list, as the first version of the API had it.
const PLAIN: &[&str] = &["CidrIp", "FromPort", "IpProtocol", "ToPort"];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateSecurityGroup = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["GroupDescription", "GroupName", "VpcId"]],
        asked: &[Asked::New("security-group"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write DeleteSecurityGroup = delete; honoured: &[DRY_RUN, &["GroupId"]], asked: NAMED },
    operation! { read DescribeSecurityGroups = describe; filters: filters::names::<ec2::SecurityGroup>, honoured: &[DRY_RUN, FILTERS, PAGES, &["GroupId"]] },
    operation! { write AuthorizeSecurityGroupIngress = authorize_ingress;
        honoured: &[DRY_RUN, NEW_TAGS, PERMISSIONS, PLAIN, &["GroupId"]],
        asked: NAMED,
    },
    operation! { write AuthorizeSecurityGroupEgress = authorize_egress;
        honoured: &[DRY_RUN, NEW_TAGS, PERMISSIONS, &["GroupId"]],
        asked: NAMED,
    },
    operation! { write RevokeSecurityGroupIngress = revoke_ingress;
        honoured: &[DRY_RUN, PERMISSIONS, PLAIN, &["GroupId", "SecurityGroupRuleId"]],
        asked: &[Asked::Named(By::Id, "GroupId"), Asked::Named(By::Id, "SecurityGroupRuleId")],
    },
    operation! { write RevokeSecurityGroupEgress = revoke_egress;
        honoured: &[DRY_RUN, PERMISSIONS, &["GroupId", "SecurityGroupRuleId"]],
        asked: &[Asked::Named(By::Id, "GroupId"), Asked::Named(By::Id, "SecurityGroupRuleId")],
    },
];

fn arn(state: &State, group: &SecurityGroup) -> String {
    format!("arn:aws:ec2:{}:{}:security-group/{}", state.region.name, group.owner, group.id)
}

fn show(state: &State, group: &SecurityGroup) -> ec2::SecurityGroup {
    let of = |egress: bool| {
        let rules = group.rules.values().filter(|rule| rule.permission.egress == egress);
        let parts = rules.map(|rule| (&rule.permission, rule.description.as_str()));
        Some(permission::grouped(group.owner, parts))
    };
    ec2::SecurityGroup {
        description: some(&group.description),
        group_id: some(group.id),
        group_name: some(&group.name),
        ip_permissions: of(false),
        ip_permissions_egress: of(true),
        owner_id: some(group.owner),
        security_group_arn: some(arn(state, group)),
        tags: tags(&group.tags),
        vpc_id: some(group.vpc),
    }
}

/// Members of the peers of the permissions of a direction.
fn peers<T>(
    permissions: Option<&Vec<ec2::IpPermission>>,
    list: fn(&ec2::IpPermission) -> &Vec<T>,
    member: fn(&T) -> Option<&String>,
) -> Vec<String> {
    permissions.into_iter().flatten().flat_map(list).filter_map(member).cloned().collect()
}

impl Row for ec2::SecurityGroup {
    const FILTERS: FilterTable<Self> = &[
        ("description", |g| text(g.description.as_ref())),
        ("egress.ip-permission.cidr", |g| {
            peers(g.ip_permissions_egress.as_ref(), |p| &p.ip_ranges, |r| r.cidr_ip.as_ref())
        }),
        ("egress.ip-permission.from-port", |g| each(g.ip_permissions_egress.as_ref(), |p| p.from_port)),
        ("egress.ip-permission.group-id", |g| {
            peers(g.ip_permissions_egress.as_ref(), |p| &p.user_id_group_pairs, |r| r.group_id.as_ref())
        }),
        ("egress.ip-permission.ipv6-cidr", |g| {
            peers(g.ip_permissions_egress.as_ref(), |p| &p.ipv6_ranges, |r| r.cidr_ipv6.as_ref())
        }),
        ("egress.ip-permission.prefix-list-id", |g| {
            peers(g.ip_permissions_egress.as_ref(), |p| &p.prefix_list_ids, |r| r.prefix_list_id.as_ref())
        }),
        ("egress.ip-permission.protocol", |g| {
            each(g.ip_permissions_egress.as_ref(), |p| p.ip_protocol.clone())
        }),
        ("egress.ip-permission.to-port", |g| each(g.ip_permissions_egress.as_ref(), |p| p.to_port)),
        ("egress.ip-permission.user-id", |g| {
            peers(g.ip_permissions_egress.as_ref(), |p| &p.user_id_group_pairs, |r| r.user_id.as_ref())
        }),
        ("group-id", |g| text(g.group_id.as_ref())),
        ("group-name", |g| text(g.group_name.as_ref())),
        ("ip-permission.cidr", |g| {
            peers(g.ip_permissions.as_ref(), |p| &p.ip_ranges, |r| r.cidr_ip.as_ref())
        }),
        ("ip-permission.from-port", |g| each(g.ip_permissions.as_ref(), |p| p.from_port)),
        ("ip-permission.group-id", |g| {
            peers(g.ip_permissions.as_ref(), |p| &p.user_id_group_pairs, |r| r.group_id.as_ref())
        }),
        ("ip-permission.ipv6-cidr", |g| {
            peers(g.ip_permissions.as_ref(), |p| &p.ipv6_ranges, |r| r.cidr_ipv6.as_ref())
        }),
        ("ip-permission.prefix-list-id", |g| {
            peers(g.ip_permissions.as_ref(), |p| &p.prefix_list_ids, |r| r.prefix_list_id.as_ref())
        }),
        ("ip-permission.protocol", |g| each(g.ip_permissions.as_ref(), |p| p.ip_protocol.clone())),
        ("ip-permission.to-port", |g| each(g.ip_permissions.as_ref(), |p| p.to_port)),
        ("ip-permission.user-id", |g| {
            peers(g.ip_permissions.as_ref(), |p| &p.user_id_group_pairs, |r| r.user_id.as_ref())
        }),
        ("owner-id", |g| text(g.owner_id.as_ref())),
        ("security-group-arn", |g| shown(g.security_group_arn.as_ref())),
        ("vpc-id", |g| text(g.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.group_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// "Up to 255 characters in length", of the characters that AWS lists.
fn check_text(parameter: &str, given: &str) -> Result<(), AwsError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(letter);
    if given.chars().count() > 255 || !given.chars().all(fits) {
        let why = "Character sets beyond ASCII are not supported, and at most 255 characters of \
                   a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$* are allowed.";
        return Err(parameters::invalid(parameter, given, why));
    }
    Ok(())
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateSecurityGroupRequest,
) -> Result<ec2::CreateSecurityGroupResult, AwsError> {
    let [new_tags] = tag::of_new(request.tag_specifications, ["security-group"])?;
    let name = parameters::required(request.group_name, "GroupName")?;
    let description = parameters::required(request.description, "GroupDescription")?;
    if name.is_empty() {
        return Err(parameters::missing("GroupName"));
    }
    if description.is_empty() {
        return Err(parameters::missing("GroupDescription"));
    }
    check_text("groupName", &name)?;
    check_text("GroupDescription", &description)?;
    if name.starts_with("sg-") {
        return Err(parameters::invalid("groupName", &name, "A group name may not start with sg-."));
    }
    let vpc = match (&request.vpc_id, default_vpc::find(&call.state, call.account)) {
        (Some(vpc), _) => parameters::id(vpc)?,
        (None, Some(vpc)) => vpc.id,
        (None, None) => return Err(AwsError::new("VPCIdNotSpecified", "No default VPC for this user")),
    };
    let action = Action::CreateSecurityGroup { vpc, name, description, tags: new_tags };
    let done = call.execute(None, action).await?;
    let id = created!(done, SecurityGroup)?;
    let group = done.state.get::<SecurityGroup>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateSecurityGroupResult {
        group_id: some(id),
        security_group_arn: some(arn(&done.state, &group)),
        tags: tags(&group.tags),
    })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteSecurityGroupRequest,
) -> Result<ec2::DeleteSecurityGroupResult, AwsError> {
    let group = parameters::id(&parameters::required(request.group_id, "groupId")?)?;
    call.execute(None, Action::DeleteSecurityGroup { group }).await?;
    Ok(ec2::DeleteSecurityGroupResult { group_id: some(group), r#return: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeSecurityGroupsRequest,
) -> Result<ec2::DescribeSecurityGroupsResult, AwsError> {
    let rows = call.select::<SecurityGroup>(&request.group_ids)?;
    let rows = rows.iter().map(|group| show(&call.state, group)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (security_groups, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeSecurityGroupsResult { next_token, security_groups })
}

/// The permissions of a request: the list, or the plain parameters of one.
fn permissions(
    mut listed: Vec<ec2::IpPermission>,
    plain: ec2::IpPermission,
) -> Result<Vec<ec2::IpPermission>, AwsError> {
    let is_plain = plain != ec2::IpPermission::default();
    match (listed.is_empty(), is_plain) {
        (false, false) => Ok(listed),
        (true, true) => {
            listed.push(plain);
            Ok(listed)
        }
        (true, false) => Err(parameters::missing("ipPermissions")),
        (false, true) => Err(parameters::combination(
            "The parameter ipPermissions may not be used with ipProtocol, fromPort, toPort or cidrIp",
        )),
    }
}

fn plain(
    cidr: Option<String>,
    protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
) -> ec2::IpPermission {
    let range = |cidr: String| ec2::IpRange { cidr_ip: Some(cidr), description: None };
    ec2::IpPermission {
        from_port,
        ip_protocol: protocol,
        ip_ranges: cidr.map(range).into_iter().collect(),
        to_port,
        ..Default::default()
    }
}

/// The rules that a request wants to add, none of them there already.
fn new_rules(
    call: &Call<'_>,
    group: SecurityGroupId,
    egress: bool,
    permissions: &[ec2::IpPermission],
) -> Result<Vec<NewRule>, AwsError> {
    let rules = permission::rules(call.account, egress, permissions)?;
    let there = call.state.get::<SecurityGroup>(call.account, group).map_err(|e| call.refuse(e))?;
    let known = |rule: &&NewRule| there.rules.values().any(|known| known.permission == rule.permission);
    if let Some(rule) = rules.iter().find(known) {
        let message = format!("the specified rule \"{}\" already exists", permission::named(rule.permission));
        return Err(AwsError::new("InvalidPermission.Duplicate", message));
    }
    Ok(rules)
}

async fn authorize(
    call: &Call<'_>,
    group: Option<&str>,
    egress: bool,
    permissions: &[ec2::IpPermission],
    specifications: Vec<ec2::TagSpecification>,
) -> Result<Vec<ec2::SecurityGroupRule>, AwsError> {
    let group = parameters::id(parameters::required(group, "groupId")?)?;
    let [tags] = tag::of_new(specifications, ["security-group-rule"])?;
    let rules = new_rules(call, group, egress, permissions)?;
    let before = call.state.get::<SecurityGroup>(call.account, group).map_err(|e| call.refuse(e))?;
    let wanted: Vec<Permission> = rules.iter().map(|rule| rule.permission).collect();
    let done = call.execute(None, Action::AuthorizeSecurityGroup { group, rules, tags }).await?;
    let after = done.state.get::<SecurityGroup>(call.account, group).map_err(|e| call.refuse(e))?;
    let added = after
        .rules
        .values()
        .filter(|rule| !before.rules.contains_key(&rule.id) && wanted.contains(&rule.permission));
    Ok(added.map(|rule| security_group_rule::show(&done.state, &after, rule)).collect())
}

async fn authorize_ingress(
    call: &Call<'_>,
    request: ec2::AuthorizeSecurityGroupIngressRequest,
) -> Result<ec2::AuthorizeSecurityGroupIngressResult, AwsError> {
    let plain = plain(request.cidr_ip, request.ip_protocol, request.from_port, request.to_port);
    let permissions = permissions(request.ip_permissions, plain)?;
    let group = request.group_id.as_deref();
    let rules = authorize(call, group, false, &permissions, request.tag_specifications).await?;
    Ok(ec2::AuthorizeSecurityGroupIngressResult { r#return: Some(true), security_group_rules: Some(rules) })
}

async fn authorize_egress(
    call: &Call<'_>,
    request: ec2::AuthorizeSecurityGroupEgressRequest,
) -> Result<ec2::AuthorizeSecurityGroupEgressResult, AwsError> {
    let permissions = permissions(request.ip_permissions, ec2::IpPermission::default())?;
    let group = request.group_id.as_deref();
    let rules = authorize(call, group, true, &permissions, request.tag_specifications).await?;
    Ok(ec2::AuthorizeSecurityGroupEgressResult { r#return: Some(true), security_group_rules: Some(rules) })
}

/// The group of a request to revoke: the named one, or the one that has the named rules.
fn group_of(
    call: &Call<'_>,
    group: Option<&str>,
    rules: &[SecurityGroupRuleId],
) -> Result<SecurityGroupId, AwsError> {
    if let Some(group) = group {
        return parameters::id(group);
    }
    let first = rules.first().ok_or_else(|| parameters::missing("groupId"))?;
    let mut groups = call.state.visible::<SecurityGroup>(call.account);
    let found: Option<&Arc<SecurityGroup>> = groups.find(|group| group.rules.contains_key(first));
    found.map(|group| group.id).ok_or_else(|| error::not_found(&[(*first).into()]))
}

async fn revoke(
    call: &Call<'_>,
    group: Option<&str>,
    egress: bool,
    permissions: Vec<ec2::IpPermission>,
    rule_ids: &[String],
) -> Result<Vec<ec2::RevokedSecurityGroupRule>, AwsError> {
    let ids: Vec<SecurityGroupRuleId> = parameters::ids(rule_ids)?;
    let group = group_of(call, group, &ids)?;
    let choice = match (permissions.is_empty(), ids.is_empty()) {
        (false, true) => {
            let rules = permission::rules(call.account, egress, &permissions)?;
            RuleChoice::Permissions(rules.into_iter().map(|rule| rule.permission).collect())
        }
        (true, false) => RuleChoice::Ids(ids),
        (true, true) => return Err(parameters::missing("ipPermissions")),
        (false, false) => {
            return Err(parameters::combination(
                "The parameter ipPermissions may not be used with securityGroupRuleIds",
            ));
        }
    };
    let action = Action::RevokeSecurityGroup { group, egress, rules: choice };
    let before = call.state.get::<SecurityGroup>(call.account, group).map_err(|e| call.refuse(e))?;
    let done = call.execute(None, action).await?;
    let after = done.state.get::<SecurityGroup>(call.account, group).map_err(|e| call.refuse(e))?;
    let gone = before.rules.values().filter(|rule| !after.rules.contains_key(&rule.id));
    Ok(gone.map(|rule| security_group_rule::show_revoked(group, rule)).collect())
}

async fn revoke_ingress(
    call: &Call<'_>,
    request: ec2::RevokeSecurityGroupIngressRequest,
) -> Result<ec2::RevokeSecurityGroupIngressResult, AwsError> {
    let plain = plain(request.cidr_ip, request.ip_protocol, request.from_port, request.to_port);
    let rule_ids = &request.security_group_rule_ids;
    let none_given = request.ip_permissions.is_empty() && plain == ec2::IpPermission::default();
    let permissions = if none_given && !rule_ids.is_empty() {
        Vec::new()
    } else {
        permissions(request.ip_permissions, plain)?
    };
    let gone = revoke(call, request.group_id.as_deref(), false, permissions, rule_ids).await?;
    Ok(ec2::RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(gone),
        ..Default::default()
    })
}

async fn revoke_egress(
    call: &Call<'_>,
    request: ec2::RevokeSecurityGroupEgressRequest,
) -> Result<ec2::RevokeSecurityGroupEgressResult, AwsError> {
    let rule_ids = &request.security_group_rule_ids;
    let gone = revoke(call, request.group_id.as_deref(), true, request.ip_permissions, rule_ids).await?;
    Ok(ec2::RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(gone),
        ..Default::default()
    })
}

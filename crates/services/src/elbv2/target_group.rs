//! Target groups.

use std::sync::Arc;

use postern_model::elb::*;
use postern_model::{State, VpcId};
use postern_wire::AwsError;
use postern_wire::elbv2 as shape;

use super::health_check::{self, Given};
use super::page::page;
use super::{Call, Outcome, arn, created, error, listener, refuse_given, required, tag};

fn show(state: &State, group: &TargetGroup) -> shape::TargetGroup {
    let check = &group.health_check;
    let (protocol, http) = match &check.protocol {
        HealthProtocol::Tcp => ("TCP", None),
        HealthProtocol::Http(path, matcher) => ("HTTP", Some((path, matcher))),
        HealthProtocol::Https(path, matcher) => ("HTTPS", Some((path, matcher))),
    };
    shape::TargetGroup {
        health_check_enabled: Some(true),
        health_check_interval_seconds: Some(check.interval_seconds.into()),
        health_check_path: http.map(|(path, _)| path.clone()),
        health_check_port: Some(health_check::show_port(check.port)),
        health_check_protocol: Some(protocol.to_owned()),
        health_check_timeout_seconds: Some(check.timeout_seconds.into()),
        healthy_threshold_count: Some(check.healthy_threshold.into()),
        ip_address_type: Some("ipv4".to_owned()),
        load_balancer_arns: Some(load_balancers(state, group)),
        matcher: http.map(|(_, matcher)| health_check::show_matcher(matcher)),
        port: Some(group.port.into()),
        protocol: Some(group.protocol.name().to_owned()),
        protocol_version: None,
        target_control_port: None,
        target_group_arn: Some(arn::target_group(state, group)),
        target_group_name: Some(group.name.clone()),
        target_type: Some(type_name(group.target_type).to_owned()),
        unhealthy_threshold_count: Some(check.unhealthy_threshold.into()),
        vpc_id: Some(group.vpc.to_string()),
    }
}

fn type_name(target_type: TargetType) -> &'static str {
    match target_type {
        TargetType::Instance => "instance",
        TargetType::Ip => "ip",
    }
}

fn load_balancers(state: &State, group: &TargetGroup) -> Vec<String> {
    let listeners = state.listeners.values().filter(|listener| listener.group == group.id);
    let all: std::collections::BTreeSet<_> = listeners.map(|listener| listener.load_balancer).collect();
    let found = all.iter().filter_map(|id| state.load_balancers.get(id));
    found.map(|balancer| arn::load_balancer(state, balancer)).collect()
}

fn protocol(text: &str) -> Outcome<GroupProtocol> {
    match text {
        "TCP" => Ok(GroupProtocol::Tcp),
        "UDP" => Ok(GroupProtocol::Udp),
        "TCP_UDP" => Ok(GroupProtocol::TcpUdp),
        "TLS" => Ok(GroupProtocol::Tls),
        other => Err(error::unsupported(&format!("The target group protocol '{other}'"))),
    }
}

impl Call<'_> {
    pub(super) async fn create_target_group(
        &mut self,
        request: shape::CreateTargetGroupInput,
    ) -> Outcome<shape::CreateTargetGroupOutput> {
        let shape::CreateTargetGroupInput {
            health_check_enabled,
            health_check_interval_seconds,
            health_check_path,
            health_check_port,
            health_check_protocol,
            health_check_timeout_seconds,
            healthy_threshold_count,
            ip_address_type,
            matcher,
            name,
            port,
            protocol: protocol_given,
            protocol_version,
            tags,
            target_control_port,
            target_type,
            unhealthy_threshold_count,
            vpc_id,
        } = request;
        refuse_given(&[
            ("ProtocolVersion", protocol_version.is_some()),
            ("TargetControlPort", target_control_port.is_some()),
            ("IpAddressType ipv6", ip_address_type.is_some_and(|value| value != "ipv4")),
        ])?;
        let target_type = match target_type.as_deref() {
            None | Some("instance") => TargetType::Instance,
            Some("ip") => TargetType::Ip,
            Some(other) => return Err(error::unsupported(&format!("The target type '{other}'"))),
        };
        let check = Given {
            enabled: health_check_enabled,
            protocol: health_check_protocol,
            port: health_check_port,
            path: health_check_path,
            interval_seconds: health_check_interval_seconds,
            timeout_seconds: health_check_timeout_seconds,
            healthy_threshold: healthy_threshold_count,
            unhealthy_threshold: unhealthy_threshold_count,
            matcher,
        };
        let vpc_text = vpc_id.ok_or_else(|| error::validation("A VPC ID must be specified"))?;
        let missing = || error::validation(format!("The VPC ID '{vpc_text}' is not found"));
        let protocol_text =
            protocol_given.ok_or_else(|| error::validation("A protocol must be specified"))?;
        let new = NewTargetGroup {
            name: required(name, "Name")?,
            protocol: protocol(&protocol_text)?,
            port: listener::port(port.ok_or_else(|| error::validation("A port must be specified"))?)?,
            vpc: vpc_text.parse::<VpcId>().map_err(|_| missing())?,
            target_type,
            health_check: check.over(&health_check::usual())?,
            tags: tag::given(tags)?,
        };
        let there = self.state.visible::<TargetGroup>(self.account).find(|other| other.name == new.name);
        let id = match there {
            Some(there) if is_as_asked(there, &new) => there.id,
            Some(_) | None => {
                let done = self.execute(ElbAction::CreateTargetGroup(new)).await?;
                created!(done, TargetGroup)?
            }
        };
        Ok(shape::CreateTargetGroupOutput { target_groups: Some(vec![self.shown(id)?]) })
    }

    fn shown(&self, id: postern_model::TargetGroupId) -> Outcome<shape::TargetGroup> {
        let group = self.state.get::<TargetGroup>(self.account, id);
        group.map(|group| show(&self.state, &group)).map_err(|_| error::target_group_not_found())
    }

    /// The target group that a parameter names.
    pub(super) fn named_group(&self, text: Option<String>) -> Outcome<Arc<TargetGroup>> {
        arn::read_target_group(&self.state, self.account, &required(text, "TargetGroupArn")?)
    }

    pub(super) fn describe_target_groups(
        &self,
        request: shape::DescribeTargetGroupsInput,
    ) -> Outcome<shape::DescribeTargetGroupsOutput> {
        let shape::DescribeTargetGroupsInput {
            load_balancer_arn,
            marker,
            names,
            page_size,
            target_group_arns,
        } = request;
        let given = [load_balancer_arn.is_some(), !names.is_empty(), !target_group_arns.is_empty()];
        if given.iter().filter(|given| **given).count() > 1 {
            let message =
                "Target group names, target group ARNs, and a load balancer ARN cannot be specified together";
            return Err(error::validation(message));
        }
        let all = || self.state.visible::<TargetGroup>(self.account);
        let found: Vec<Arc<TargetGroup>> = if let Some(text) = load_balancer_arn {
            let balancer = self.named_balancer(Some(text))?;
            let leads = |group: &&Arc<TargetGroup>| {
                balancer.listeners(&self.state).any(|listener| listener.group == group.id)
            };
            all().filter(leads).cloned().collect()
        } else if !names.is_empty() {
            let by_name = |name: &String| {
                let found = all().find(|group| group.name == *name).cloned();
                found.ok_or_else(error::target_group_not_found)
            };
            names.iter().map(by_name).collect::<Outcome<_>>()?
        } else if !target_group_arns.is_empty() {
            let read = |text: &String| arn::read_target_group(&self.state, self.account, text);
            target_group_arns.iter().map(read).collect::<Outcome<_>>()?
        } else {
            all().cloned().collect()
        };
        let rows = found.iter().map(|g| (arn::target_group(&self.state, g), show(&self.state, g))).collect();
        let (target_groups, next_marker) = page(rows, marker.as_deref(), page_size)?;
        Ok(shape::DescribeTargetGroupsOutput { next_marker, target_groups })
    }

    pub(super) async fn modify_target_group(
        &mut self,
        request: shape::ModifyTargetGroupInput,
    ) -> Outcome<shape::ModifyTargetGroupOutput> {
        let shape::ModifyTargetGroupInput {
            health_check_enabled,
            health_check_interval_seconds,
            health_check_path,
            health_check_port,
            health_check_protocol,
            health_check_timeout_seconds,
            healthy_threshold_count,
            matcher,
            target_group_arn,
            unhealthy_threshold_count,
        } = request;
        let group = self.named_group(target_group_arn)?;
        let check = Given {
            enabled: health_check_enabled,
            protocol: health_check_protocol,
            port: health_check_port,
            path: health_check_path,
            interval_seconds: health_check_interval_seconds,
            timeout_seconds: health_check_timeout_seconds,
            healthy_threshold: healthy_threshold_count,
            unhealthy_threshold: unhealthy_threshold_count,
            matcher,
        };
        let health_check = check.over(&group.health_check)?;
        self.execute(ElbAction::ModifyTargetGroup { group: group.id, health_check }).await?;
        Ok(shape::ModifyTargetGroupOutput { target_groups: Some(vec![self.shown(group.id)?]) })
    }

    /// "If the target group is not there, the call succeeds", as Terraform relies on.
    pub(super) async fn delete_target_group(
        &mut self,
        request: shape::DeleteTargetGroupInput,
    ) -> Outcome<shape::DeleteTargetGroupOutput> {
        let shape::DeleteTargetGroupInput { target_group_arn } = request;
        match self.named_group(target_group_arn) {
            Ok(group) => {
                self.execute(ElbAction::DeleteTargetGroup { group: group.id }).await?;
            }
            Err(AwsError { code, .. }) if code == "TargetGroupNotFound" => {}
            Err(other) => return Err(other),
        }
        Ok(shape::DeleteTargetGroupOutput {})
    }
}

/// Whether what is there is what was asked for: making it again is then no error ("CreateTargetGroup": "This operation
/// is idempotent").
fn is_as_asked(group: &TargetGroup, new: &NewTargetGroup) -> bool {
    group.protocol == new.protocol
        && group.port == new.port
        && group.vpc == new.vpc
        && group.target_type == new.target_type
        && group.health_check == new.health_check
        && group.tags == new.tags.iter().cloned().collect()
}

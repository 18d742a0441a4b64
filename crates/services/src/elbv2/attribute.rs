//! Attributes of load balancers and target groups, by AWS's keys.
//!
//! Keys, values and bounds from "LoadBalancerAttribute" and "TargetGroupAttribute" in the ELBv2 API reference. A key that
//! AWS has and nothing here follows is shown with the value that is so, and takes no other.

use postern_model::elb::*;
use postern_wire::AwsError;
use postern_wire::elbv2 as shape;

use super::{Call, Outcome, error, required};

/// A key that there is not, for this kind of resource.
pub(super) fn unknown(key: &str) -> AwsError {
    error::validation(format!("Attribute key '{key}' is not recognized"))
}

fn bad(key: &str, value: &str) -> AwsError {
    error::invalid_configuration(format!("Invalid attribute value '{value}' for attribute '{key}'"))
}

/// `true` or `false`.
fn boolean(key: &str, value: &str) -> Outcome<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(bad(key, value)),
    }
}

/// A number within bounds.
pub(super) fn number(key: &str, value: &str, least: u32, most: u32) -> Outcome<u32> {
    let read = value.parse::<u32>().ok().filter(|number| (least..=most).contains(number));
    read.ok_or_else(|| bad(key, value))
}

/// A key that has one value here.
fn only(key: &str, value: &str, known: &str) -> Outcome<()> {
    if value == known {
        return Ok(());
    }
    Err(error::unsupported(&format!("The value '{value}' of the attribute '{key}', which is '{known}',")))
}

/// What every load balancer here has.
const FIXED_OF_LOAD_BALANCER: &[(&str, &str)] = &[
    ("access_logs.s3.enabled", "false"),
    ("access_logs.s3.bucket", ""),
    ("access_logs.s3.prefix", ""),
    ("dns_record.client_routing_policy", "any_availability_zone"),
    ("zonal_shift.config.enabled", "false"),
];

/// What every target group here has.
const FIXED_OF_TARGET_GROUP: &[(&str, &str)] = &[
    ("stickiness.type", "source_ip"),
    // A target that fails its checks counts as unhealthy at once.
    ("target_health_state.unhealthy.draining_interval_seconds", "0"),
    ("target_group_health.dns_failover.minimum_healthy_targets.count", "1"),
    ("target_group_health.dns_failover.minimum_healthy_targets.percentage", "off"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.count", "1"),
    ("target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage", "off"),
];

fn fixed(known: &[(&str, &str)], key: &str, value: &str) -> Outcome<()> {
    let found = known.iter().find(|(name, _)| *name == key);
    found.map_or_else(|| Err(unknown(key)), |(_, known)| only(key, value, known))
}

fn of_load_balancer(attributes: &LoadBalancerAttributes) -> Vec<shape::LoadBalancerAttribute> {
    let own = [
        ("deletion_protection.enabled", attributes.deletion_protection.to_string()),
        ("load_balancing.cross_zone.enabled", attributes.cross_zone.to_string()),
    ];
    let fixed = FIXED_OF_LOAD_BALANCER.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let all = own.into_iter().chain(fixed);
    all.map(|(key, value)| shape::LoadBalancerAttribute { key: Some(key.to_owned()), value: Some(value) })
        .collect()
}

fn set_of_load_balancer(attributes: &mut LoadBalancerAttributes, key: &str, value: &str) -> Outcome<()> {
    match key {
        "deletion_protection.enabled" => attributes.deletion_protection = boolean(key, value)?,
        "load_balancing.cross_zone.enabled" => attributes.cross_zone = boolean(key, value)?,
        other => fixed(FIXED_OF_LOAD_BALANCER, other, value)?,
    }
    Ok(())
}

fn cross_zone_name(cross_zone: CrossZone) -> &'static str {
    match cross_zone {
        CrossZone::AsLoadBalancer => "use_load_balancer_configuration",
        CrossZone::On => "true",
        CrossZone::Off => "false",
    }
}

fn of_target_group(group: &TargetGroup) -> Vec<shape::TargetGroupAttribute> {
    let attributes = &group.attributes;
    let unhealthy = attributes.unhealthy;
    let own = [
        ("deregistration_delay.timeout_seconds", attributes.deregistration_delay_seconds.to_string()),
        (
            "deregistration_delay.connection_termination.enabled",
            attributes.terminate_on_deregistration.to_string(),
        ),
        ("preserve_client_ip.enabled", group.preserves_client_address().to_string()),
        ("proxy_protocol_v2.enabled", attributes.proxy_protocol_v2.to_string()),
        ("stickiness.enabled", attributes.stickiness.to_string()),
        ("load_balancing.cross_zone.enabled", cross_zone_name(attributes.cross_zone).to_owned()),
        ("target_health_state.unhealthy.connection_termination.enabled", unhealthy.terminate.to_string()),
    ];
    let fixed = FIXED_OF_TARGET_GROUP.iter().map(|(key, value)| (*key, (*value).to_owned()));
    let all = own.into_iter().chain(fixed);
    all.map(|(key, value)| shape::TargetGroupAttribute { key: Some(key.to_owned()), value: Some(value) })
        .collect()
}

fn set_of_target_group(
    group: &TargetGroup,
    attributes: &mut GroupAttributes,
    key: &str,
    value: &str,
) -> Outcome<()> {
    match key {
        "deregistration_delay.timeout_seconds" => {
            attributes.deregistration_delay_seconds = number(key, value, 0, 3_600)?;
        }
        "deregistration_delay.connection_termination.enabled" => {
            attributes.terminate_on_deregistration = boolean(key, value)?;
        }
        "preserve_client_ip.enabled" => {
            let on = boolean(key, value)?;
            // "Client IP preservation can't be disabled for UDP and TCP_UDP target groups."
            let udp = matches!(group.protocol, GroupProtocol::Udp | GroupProtocol::TcpUdp);
            if udp && !on {
                return Err(error::invalid_configuration(format!(
                    "Attribute '{key}' cannot be disabled for a target group with the protocol {}",
                    group.protocol.name()
                )));
            }
            attributes.preserve_client_ip = Some(on);
        }
        "proxy_protocol_v2.enabled" => attributes.proxy_protocol_v2 = boolean(key, value)?,
        "stickiness.enabled" => attributes.stickiness = boolean(key, value)?,
        "load_balancing.cross_zone.enabled" => {
            attributes.cross_zone = match value {
                "use_load_balancer_configuration" => CrossZone::AsLoadBalancer,
                other => {
                    if boolean(key, other)? {
                        CrossZone::On
                    } else {
                        CrossZone::Off
                    }
                }
            };
        }
        "target_health_state.unhealthy.connection_termination.enabled" => {
            attributes.unhealthy.terminate = boolean(key, value)?;
        }
        other => fixed(FIXED_OF_TARGET_GROUP, other, value)?,
    }
    Ok(())
}

impl Call<'_> {
    pub(super) fn describe_load_balancer_attributes(
        &self,
        request: shape::DescribeLoadBalancerAttributesInput,
    ) -> Outcome<shape::DescribeLoadBalancerAttributesOutput> {
        let shape::DescribeLoadBalancerAttributesInput { load_balancer_arn } = request;
        let balancer = self.named_balancer(load_balancer_arn)?;
        let attributes = Some(of_load_balancer(&balancer.attributes));
        Ok(shape::DescribeLoadBalancerAttributesOutput { attributes })
    }

    pub(super) async fn modify_load_balancer_attributes(
        &mut self,
        request: shape::ModifyLoadBalancerAttributesInput,
    ) -> Outcome<shape::ModifyLoadBalancerAttributesOutput> {
        let shape::ModifyLoadBalancerAttributesInput { attributes: given, load_balancer_arn } = request;
        let balancer = self.named_balancer(load_balancer_arn)?;
        let mut attributes = balancer.attributes.clone();
        for shape::LoadBalancerAttribute { key, value } in given {
            let key = required(key, "Attribute key")?;
            set_of_load_balancer(&mut attributes, &key, &value.unwrap_or_default())?;
        }
        let shown = Some(of_load_balancer(&attributes));
        let load_balancer = balancer.id;
        self.execute(ElbAction::ModifyLoadBalancerAttributes { load_balancer, attributes }).await?;
        Ok(shape::ModifyLoadBalancerAttributesOutput { attributes: shown })
    }

    pub(super) fn describe_target_group_attributes(
        &self,
        request: shape::DescribeTargetGroupAttributesInput,
    ) -> Outcome<shape::DescribeTargetGroupAttributesOutput> {
        let shape::DescribeTargetGroupAttributesInput { target_group_arn } = request;
        let attributes = Some(of_target_group(&*self.named_group(target_group_arn)?));
        Ok(shape::DescribeTargetGroupAttributesOutput { attributes })
    }

    pub(super) async fn modify_target_group_attributes(
        &mut self,
        request: shape::ModifyTargetGroupAttributesInput,
    ) -> Outcome<shape::ModifyTargetGroupAttributesOutput> {
        let shape::ModifyTargetGroupAttributesInput { attributes: given, target_group_arn } = request;
        let group = self.named_group(target_group_arn)?;
        let mut attributes = group.attributes.clone();
        for shape::TargetGroupAttribute { key, value } in given {
            let key = required(key, "Attribute key")?;
            set_of_target_group(&group, &mut attributes, &key, &value.unwrap_or_default())?;
        }
        let in_use = self.state.listeners.values().any(|listener| listener.group == group.id);
        if in_use {
            let changed = TargetGroup { attributes: attributes.clone(), ..(*group).clone() };
            super::listener::with_header(&changed, &super::arn::target_group(&self.state, &group))?;
        }
        self.execute(ElbAction::ModifyTargetGroupAttributes { group: group.id, attributes }).await?;
        let found = self.state.get::<TargetGroup>(self.account, group.id);
        let attributes = found.map(|group| of_target_group(&group)).ok();
        Ok(shape::ModifyTargetGroupAttributesOutput { attributes })
    }
}

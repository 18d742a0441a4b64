//! Targets: who is registered, and how they are.

use postern_model::elb::*;
use postern_wire::elbv2 as shape;

use super::health::{self, TargetHealth};
use super::{Call, Outcome, error, listener, refuse_given, required};

/// A target of a request.
fn read(given: shape::TargetDescription) -> Outcome<NewTarget> {
    let shape::TargetDescription { availability_zone, id, port, quic_server_id } = given;
    refuse_given(&[("Targets.QuicServerId", quic_server_id.is_some())])?;
    let text = required(id, "Target ID")?;
    let id = text.parse().map_err(|_| {
        error::validation(format!("The target '{text}' is neither an instance ID nor an IPv4 address"))
    })?;
    Ok(NewTarget { id, port: port.map(listener::port).transpose()?, zone: availability_zone })
}

fn show(group: &TargetGroup, key: TargetKey, health: TargetHealth) -> shape::TargetHealthDescription {
    // Shown for who was registered with one: addresses have theirs, instances none.
    let zone = match (group.target_type, group.targets.get(&key).map(|target| &target.zone)) {
        (TargetType::Ip, Some(TargetZone::Zone(zone))) => Some(zone.clone()),
        (TargetType::Ip, Some(TargetZone::All)) => Some("all".to_owned()),
        (TargetType::Ip, None) | (TargetType::Instance, _) => None,
    };
    shape::TargetHealthDescription {
        health_check_port: Some(group.health_check.port.of(key.port).to_string()),
        target: Some(shape::TargetDescription {
            availability_zone: zone,
            id: Some(key.id.to_string()),
            port: Some(key.port.into()),
            quic_server_id: None,
        }),
        target_health: Some(shape::TargetHealth {
            description: health.description(),
            reason: health.reason().map(str::to_owned),
            state: Some(health.state().to_owned()),
        }),
        ..Default::default()
    }
}

impl Call<'_> {
    pub(super) async fn register_targets(
        &mut self,
        request: shape::RegisterTargetsInput,
    ) -> Outcome<shape::RegisterTargetsOutput> {
        let shape::RegisterTargetsInput { target_group_arn, targets } = request;
        let group = self.named_group(target_group_arn)?.id;
        let targets = targets.into_iter().map(read).collect::<Outcome<Vec<_>>>()?;
        self.execute(ElbAction::RegisterTargets { group, targets }).await?;
        Ok(shape::RegisterTargetsOutput {})
    }

    pub(super) async fn deregister_targets(
        &mut self,
        request: shape::DeregisterTargetsInput,
    ) -> Outcome<shape::DeregisterTargetsOutput> {
        let shape::DeregisterTargetsInput { target_group_arn, targets } = request;
        let group = self.named_group(target_group_arn)?.id;
        let targets = targets.into_iter().map(read).collect::<Outcome<Vec<_>>>()?;
        // A zone says no more about who it is.
        let targets = targets.into_iter().map(|target| (target.id, target.port)).collect();
        self.execute(ElbAction::DeregisterTargets { group, targets }).await?;
        Ok(shape::DeregisterTargetsOutput {})
    }

    /// "If you specify targets, the output reports the health of those", registered or not.
    pub(super) fn describe_target_health(
        &self,
        request: shape::DescribeTargetHealthInput,
    ) -> Outcome<shape::DescribeTargetHealthOutput> {
        let shape::DescribeTargetHealthInput { include, target_group_arn, targets } = request;
        // Anomalies and overrides are of application load balancers and zonal shifts: there are none to include.
        refuse_given(&[("Include", !include.is_empty())])?;
        let group = self.named_group(target_group_arn)?;
        let keys: Vec<TargetKey> = if targets.is_empty() {
            group.targets.keys().copied().collect()
        } else {
            let key =
                |target: NewTarget| TargetKey { id: target.id, port: target.port.unwrap_or(group.port) };
            targets.into_iter().map(|given| read(given).map(key)).collect::<Outcome<_>>()?
        };
        let shown = keys.into_iter().map(|key| {
            let health = health::of(&self.state, &group, key, self.health.seen(group.id, key));
            show(&group, key, health)
        });
        Ok(shape::DescribeTargetHealthOutput { target_health_descriptions: Some(shown.collect()) })
    }
}

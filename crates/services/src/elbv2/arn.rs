//! ARNs of load balancers and what belongs to them: written from the resources, and read back to them.
//!
//! INVARIANT: an ARN names a resource only if it is the one that the resource is shown with.

use std::sync::Arc;

use postern_model::elb::{Listener, LoadBalancer, TargetGroup};
use postern_model::state::Resource;
use postern_model::{AccountId, ListenerId, LoadBalancerId, ResourceId, State, TargetGroupId};

use super::{Outcome, error};

fn arn(state: &State, account: AccountId, rest: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{}:{account}:{rest}", state.region.name)
}

/// That of a load balancer.
pub(crate) fn load_balancer(state: &State, balancer: &LoadBalancer) -> String {
    let (name, number) = (&balancer.name, balancer.id.number());
    arn(state, balancer.owner, &format!("loadbalancer/net/{name}/{number:016x}"))
}

/// That of a load balancer to be, as policies see it.
pub(super) fn new_load_balancer(state: &State, account: AccountId, name: &str) -> String {
    arn(state, account, &format!("loadbalancer/net/{name}/*"))
}

/// That of a listener.
pub(super) fn listener(state: &State, listener: &Listener) -> String {
    let name = state.load_balancers.get(&listener.load_balancer).map(|balancer| balancer.name.clone());
    let (name, of) = (name.unwrap_or_default(), listener.load_balancer.number());
    arn(state, listener.owner, &format!("listener/net/{name}/{of:016x}/{:016x}", listener.id.number()))
}

/// That of a target group.
pub(super) fn target_group(state: &State, group: &TargetGroup) -> String {
    arn(state, group.owner, &format!("targetgroup/{}/{:016x}", group.name, group.id.number()))
}

/// That of a target group to be, as policies see it.
pub(super) fn new_target_group(state: &State, account: AccountId, name: &str) -> String {
    arn(state, account, &format!("targetgroup/{name}/*"))
}

/// What a text names, if it is one of ours in form.
fn read<R: Resource>(
    state: &State,
    account: AccountId,
    text: &str,
    from_number: fn(u64) -> R::Id,
    shown: fn(&State, &R) -> String,
) -> Option<Arc<R>> {
    let number = u64::from_str_radix(text.rsplit_once('/')?.1, 16).ok()?;
    let found = state.get::<R>(account, from_number(number)).ok()?;
    (shown(state, &found) == text).then_some(found)
}

fn has_form(text: &str, kind: &str) -> bool {
    let rest = text.strip_prefix("arn:aws:elasticloadbalancing:");
    rest.and_then(|rest| rest.splitn(3, ':').nth(2)).is_some_and(|rest| rest.starts_with(kind))
}

/// A load balancer, by its ARN.
pub(crate) fn read_load_balancer(
    state: &State,
    account: AccountId,
    text: &str,
) -> Outcome<Arc<LoadBalancer>> {
    if !has_form(text, "loadbalancer/") {
        return Err(error::validation(format!("'{text}' is not a valid load balancer ARN")));
    }
    let found = read::<LoadBalancer>(state, account, text, LoadBalancerId::from_number, load_balancer);
    found.ok_or_else(|| error::load_balancer_not_found(text))
}

/// A listener, by its ARN.
pub(super) fn read_listener(state: &State, account: AccountId, text: &str) -> Outcome<Arc<Listener>> {
    if !has_form(text, "listener/") {
        return Err(error::validation(format!("'{text}' is not a valid listener ARN")));
    }
    let found = read::<Listener>(state, account, text, ListenerId::from_number, listener);
    found.ok_or_else(error::listener_not_found)
}

/// A target group, by its ARN.
pub(super) fn read_target_group(state: &State, account: AccountId, text: &str) -> Outcome<Arc<TargetGroup>> {
    if !has_form(text, "targetgroup/") {
        return Err(error::validation(format!("'{text}' is not a valid target group ARN")));
    }
    let found = read::<TargetGroup>(state, account, text, TargetGroupId::from_number, target_group);
    found.ok_or_else(error::target_group_not_found)
}

/// Whatever of the three an ARN names.
pub(super) fn read_any(state: &State, account: AccountId, text: &str) -> Outcome<ResourceId> {
    if has_form(text, "loadbalancer/") {
        return read_load_balancer(state, account, text).map(|found| found.id.into());
    }
    if has_form(text, "listener/") {
        return read_listener(state, account, text).map(|found| found.id.into());
    }
    if has_form(text, "targetgroup/") {
        return read_target_group(state, account, text).map(|found| found.id.into());
    }
    Err(error::validation(format!("'{text}' is not a valid resource ARN")))
}

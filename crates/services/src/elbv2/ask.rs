//! What a request asks for: `elasticloadbalancing:<Operation>` on the ARNs of what it names.
//!
//! Resource types and condition keys from "Actions, resources, and condition keys for AWS Elastic Load Balancing V2" in
//! the service authorization reference.

use postern_frontdoor::Ask;
use postern_model::elb::{Listener, LoadBalancer, TargetGroup};
use postern_model::{AccountId, ResourceId, State, Tags};
use postern_policy::Context;
use postern_wire::elbv2::{Request, Tag};

use super::arn;

struct Asker<'a> {
    state: &'a State,
    account: AccountId,
    action: String,
    asks: Vec<Ask>,
}

/// Everything that a request asks for. Never empty.
pub(super) fn asks(state: &State, account: AccountId, request: &Request) -> Vec<Ask> {
    let action = format!("elasticloadbalancing:{}", request.name());
    let mut asker = Asker { state, account, action, asks: Vec::new() };
    match request {
        Request::CreateLoadBalancer(r) => {
            let name = r.name.as_deref().unwrap_or_default();
            asker.made(arn::new_load_balancer(state, account, name), &r.tags);
        }
        Request::CreateTargetGroup(r) => {
            let name = r.name.as_deref().unwrap_or_default();
            asker.made(arn::new_target_group(state, account, name), &r.tags);
        }
        Request::CreateListener(r) => {
            let balancer = r.load_balancer_arn.clone().unwrap_or_default();
            asker.named(&balancer, &r.tags);
            if !r.tags.is_empty() {
                // The listener is part of the load balancer, by whose ARN its own begins.
                asker.tagging(balancer.replacen(":loadbalancer/", ":listener/", 1) + "/*", &r.tags);
            }
        }
        Request::DeleteLoadBalancer(r) => asker.one(r.load_balancer_arn.as_deref()),
        Request::SetSubnets(r) => asker.one(r.load_balancer_arn.as_deref()),
        Request::SetSecurityGroups(r) => asker.one(r.load_balancer_arn.as_deref()),
        Request::SetIpAddressType(r) => asker.one(r.load_balancer_arn.as_deref()),
        Request::ModifyLoadBalancerAttributes(r) => asker.one(r.load_balancer_arn.as_deref()),
        Request::ModifyListener(r) => asker.one(r.listener_arn.as_deref()),
        Request::DeleteListener(r) => asker.one(r.listener_arn.as_deref()),
        Request::ModifyListenerAttributes(r) => asker.one(r.listener_arn.as_deref()),
        Request::ModifyTargetGroup(r) => asker.one(r.target_group_arn.as_deref()),
        Request::DeleteTargetGroup(r) => asker.one(r.target_group_arn.as_deref()),
        Request::ModifyTargetGroupAttributes(r) => asker.one(r.target_group_arn.as_deref()),
        Request::RegisterTargets(r) => asker.one(r.target_group_arn.as_deref()),
        Request::DeregisterTargets(r) => asker.one(r.target_group_arn.as_deref()),
        Request::AddTags(r) => r.resource_arns.iter().for_each(|arn| asker.named(arn, &r.tags)),
        Request::RemoveTags(r) => {
            for text in &r.resource_arns {
                let mut context = asker.of_resource(text);
                context.insert_many("aws:TagKeys", r.tag_keys.iter().cloned());
                asker.ask(text.clone(), context);
            }
        }
        // What only looks has no resource types.
        Request::DescribeLoadBalancers(_)
        | Request::DescribeLoadBalancerAttributes(_)
        | Request::DescribeListeners(_)
        | Request::DescribeListenerAttributes(_)
        | Request::DescribeTargetGroups(_)
        | Request::DescribeTargetGroupAttributes(_)
        | Request::DescribeTargetHealth(_)
        | Request::DescribeTags(_)
        | Request::DescribeAccountLimits(_) => asker.ask("*".to_owned(), Context::new()),
    }
    if asker.asks.is_empty() {
        asker.ask("*".to_owned(), Context::new());
    }
    asker.asks
}

impl Asker<'_> {
    fn ask(&mut self, resource: String, context: Context) {
        let action = self.action.clone();
        self.asks.push(Ask { action, resource, resource_account: None, resource_policy: None, context });
    }

    /// What is about to be made, and the tags that it gets.
    fn made(&mut self, resource: String, tags: &[Tag]) {
        self.ask(resource.clone(), with_request_tags(Context::new(), tags));
        if !tags.is_empty() {
            self.tagging(resource, tags);
        }
    }

    /// Tags at creation are asked for as `AddTags` on what is made.
    fn tagging(&mut self, resource: String, tags: &[Tag]) {
        let operation = self.action.rsplit(':').next().unwrap_or_default().to_owned();
        let context = Context::new().with("elasticloadbalancing:CreateAction", operation);
        let action = "elasticloadbalancing:AddTags".to_owned();
        let context = with_request_tags(context, tags);
        self.asks.push(Ask { action, resource, resource_account: None, resource_policy: None, context });
    }

    fn one(&mut self, arn: Option<&str>) {
        self.named(arn.unwrap_or_default(), &[]);
    }

    fn named(&mut self, arn: &str, tags: &[Tag]) {
        let context = with_request_tags(self.of_resource(arn), tags);
        self.ask(arn.to_owned(), context);
    }

    /// The tags of what is there. What is not is asked for by its ARN: an error follows that tells nothing.
    fn of_resource(&self, text: &str) -> Context {
        let (state, account) = (self.state, self.account);
        let tags: Option<Tags> = match arn::read_any(state, account, text) {
            Ok(ResourceId::LoadBalancer(id)) => {
                state.get::<LoadBalancer>(account, id).ok().map(|found| found.tags.clone())
            }
            Ok(ResourceId::Listener(id)) => {
                state.get::<Listener>(account, id).ok().map(|found| found.tags.clone())
            }
            Ok(ResourceId::TargetGroup(id)) => {
                state.get::<TargetGroup>(account, id).ok().map(|found| found.tags.clone())
            }
            Ok(_) | Err(_) => None,
        };
        let mut context = Context::new();
        for (key, value) in tags.unwrap_or_default() {
            context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
            context.insert(&format!("elasticloadbalancing:ResourceTag/{key}"), value);
        }
        context
    }
}

fn with_request_tags(mut context: Context, tags: &[Tag]) -> Context {
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        context.insert(&format!("aws:RequestTag/{key}"), tag.value.clone().unwrap_or_default());
    }
    context.insert_many("aws:TagKeys", tags.iter().filter_map(|tag| tag.key.clone()));
    context
}

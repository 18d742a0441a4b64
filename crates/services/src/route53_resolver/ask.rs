//! What a request asks for: `route53resolver:<Operation>` on the ARNs of what it names, and what it does to interfaces.
//!
//! Resource types, condition keys and dependent actions from "Actions, resources, and condition keys for Amazon Route 53
//! Resolver" in the service authorization reference.

use postern_frontdoor::Ask;
use postern_model::resolver_endpoint::ResolverEndpoint;
use postern_model::{AccountId, State};
use postern_policy::Context;

use super::request::{Request, Tag};
use super::shape::arn;

/// What an endpoint's caller looks up in EC2 to make it: its "dependent actions".
const LOOKED_UP: [&str; 5] = [
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
];

/// Everything that a request asks for. Never empty.
pub(super) fn asks(state: &State, account: AccountId, request: &Request) -> Vec<Ask> {
    let ask = |action: String, resource: String, context: Context| Ask {
        action,
        resource,
        resource_account: None,
        resource_policy: None,
        context,
    };
    let own = format!("route53resolver:{}", request.name());
    let mut asks = vec![ask(own, resource(state, account, request), context(state, account, request))];
    let looked_up = match request {
        Request::CreateResolverEndpoint(_) => &LOOKED_UP[..],
        _ => &[],
    };
    asks.extend(looked_up.iter().map(|action| ask((*action).to_owned(), "*".to_owned(), Context::new())));
    if let Some(action) = on_interfaces(request) {
        let interfaces = format!("arn:aws:ec2:{}:{account}:network-interface/*", state.region.name);
        asks.push(ask(action.to_owned(), interfaces, Context::new()));
    }
    asks
}

/// What happens to interfaces by it.
fn on_interfaces(request: &Request) -> Option<&'static str> {
    match request {
        Request::CreateResolverEndpoint(_) | Request::AssociateResolverEndpointIpAddress(_) => {
            Some("ec2:CreateNetworkInterface")
        }
        Request::DeleteResolverEndpoint(_) | Request::DisassociateResolverEndpointIpAddress(_) => {
            Some("ec2:DeleteNetworkInterface")
        }
        Request::GetResolverEndpoint(_)
        | Request::ListResolverEndpoints(_)
        | Request::UpdateResolverEndpoint(_)
        | Request::ListResolverEndpointIpAddresses(_)
        | Request::TagResource(_)
        | Request::UntagResource(_)
        | Request::ListTagsForResource(_) => None,
    }
}

/// The endpoint's id or ARN in a request that names one.
fn endpoint_of(request: &Request) -> Option<&str> {
    match request {
        Request::CreateResolverEndpoint(_) | Request::ListResolverEndpoints(_) => None,
        Request::GetResolverEndpoint(r) => Some(&r.resolver_endpoint_id),
        Request::UpdateResolverEndpoint(r) => Some(&r.resolver_endpoint_id),
        Request::DeleteResolverEndpoint(r) => Some(&r.resolver_endpoint_id),
        Request::ListResolverEndpointIpAddresses(r) => Some(&r.resolver_endpoint_id),
        Request::AssociateResolverEndpointIpAddress(r) => Some(&r.resolver_endpoint_id),
        Request::DisassociateResolverEndpointIpAddress(r) => Some(&r.resolver_endpoint_id),
        Request::TagResource(r) => Some(&r.resource_arn),
        Request::UntagResource(r) => Some(&r.resource_arn),
        Request::ListTagsForResource(r) => Some(&r.resource_arn),
    }
}

fn resource(state: &State, account: AccountId, request: &Request) -> String {
    match endpoint_of(request) {
        None => arn(state, account, "*"),
        Some(text) if text.starts_with("arn:") => text.to_owned(),
        Some(id) => arn(state, account, id),
    }
}

fn context(state: &State, account: AccountId, request: &Request) -> Context {
    let mut context = Context::new();
    let id = endpoint_of(request).map(|text| text.rsplit('/').next().unwrap_or(text));
    let found = id.and_then(|id| state.get::<ResolverEndpoint>(account, id.parse().ok()?).ok());
    for (key, value) in found.iter().flat_map(|found| &found.tags) {
        context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
    }
    let given: &[Tag] = match request {
        Request::CreateResolverEndpoint(r) => &r.tags,
        Request::TagResource(r) => &r.tags,
        Request::UntagResource(r) => {
            context.insert_many("aws:TagKeys", r.tag_keys.iter().cloned());
            return context;
        }
        _ => return context,
    };
    if !given.is_empty() {
        for tag in given {
            context.insert(&format!("aws:RequestTag/{}", tag.key), tag.value.clone());
        }
        context.insert_many("aws:TagKeys", given.iter().map(|tag| tag.key.clone()));
    }
    context
}

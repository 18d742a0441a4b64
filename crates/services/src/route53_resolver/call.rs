//! One request under way, and what serves each operation.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_frontdoor::JsonError;
use postern_model::resolver_endpoint::{NewResolverEndpoint, ResolverAction, ResolverEndpoint};
use postern_model::{
    AccountId, Action, Event, ResolverEndpointId, ResourceId, SecurityGroupId, State, SubnetId, TagSet,
};
use serde_json::{Value, json};

use super::page::page;
use super::request::*;
use super::{error, shape};
use crate::commands::Commands;

type Outcome<T> = Result<T, JsonError>;

/// "Array Members: … Maximum number of 20 items."
const MOST_ADDRESSES: usize = 20;

pub(super) struct Call<'a> {
    pub(super) commands: &'a dyn Commands,
    pub(super) account: AccountId,
    /// The state when the request came, and after what it changed.
    pub(super) state: Arc<State>,
}

impl Call<'_> {
    pub(super) async fn answer(&mut self, request: Request) -> Outcome<Value> {
        match request {
            Request::CreateResolverEndpoint(r) => self.create(r).await,
            Request::GetResolverEndpoint(r) => self.show(&r.resolver_endpoint_id),
            Request::ListResolverEndpoints(r) => self.list(r),
            Request::UpdateResolverEndpoint(r) => self.update(r).await,
            Request::DeleteResolverEndpoint(r) => self.delete(&r.resolver_endpoint_id).await,
            Request::ListResolverEndpointIpAddresses(r) => self.list_addresses(r),
            Request::AssociateResolverEndpointIpAddress(r) => self.associate(r).await,
            Request::DisassociateResolverEndpointIpAddress(r) => self.disassociate(r).await,
            Request::TagResource(r) => self.tag(r).await,
            Request::UntagResource(r) => self.untag(r).await,
            Request::ListTagsForResource(r) => self.list_tags(r),
        }
    }

    async fn execute(&mut self, action: Action) -> Outcome<Vec<Event>> {
        let done = self.commands.execute(self.account, None, action).await.map_err(error::of_command)?;
        self.state = done.state;
        Ok(done.events)
    }

    async fn change(&mut self, action: ResolverAction) -> Outcome<Vec<Event>> {
        self.execute(Action::Resolver(action)).await
    }

    fn endpoint(&self, text: &str) -> Outcome<Arc<ResolverEndpoint>> {
        sized("ResolverEndpointId", text, 1, 64)?;
        let id: Option<ResolverEndpointId> = text.parse().ok();
        let found = id.and_then(|id| self.state.get::<ResolverEndpoint>(self.account, id).ok());
        found.ok_or_else(|| error::not_found("resolver-endpoint", text))
    }

    fn shown(&self, id: ResolverEndpointId) -> Outcome<Value> {
        let found = self.state.get::<ResolverEndpoint>(self.account, id);
        let found = found.map_err(|_| error::not_found("resolver-endpoint", &id.to_string()))?;
        Ok(json!({ "ResolverEndpoint": shape::endpoint(&self.state, &found) }))
    }

    fn show(&self, id: &str) -> Outcome<Value> {
        self.shown(self.endpoint(id)?.id)
    }

    async fn create(&mut self, request: CreateResolverEndpoint) -> Outcome<Value> {
        let new = new(request)?;
        let events = self.change(ResolverAction::CreateEndpoint(new)).await?;
        let made = events.iter().find_map(|event| match event {
            Event::Created(ResourceId::ResolverEndpoint(id)) => Some(*id),
            _ => None,
        });
        let made = made.ok_or_else(|| JsonError::internal("the command made no endpoint"))?;
        self.shown(made)
    }

    fn list(&self, request: ListResolverEndpoints) -> Outcome<Value> {
        let ListResolverEndpoints { max_results, next_token, filters } = request;
        shape::check(&filters)?;
        let mut listed = Vec::new();
        for endpoint in self.state.visible::<ResolverEndpoint>(self.account) {
            if shape::wanted(endpoint, &filters)? {
                listed.push((endpoint.id.to_string(), shape::endpoint(&self.state, endpoint)));
            }
        }
        let mut answer = page("ResolverEndpoints", listed, next_token.as_deref(), max_results)?;
        answer["MaxResults"] = json!(max_results.unwrap_or(100));
        Ok(answer)
    }

    async fn update(&mut self, request: UpdateResolverEndpoint) -> Outcome<Value> {
        let endpoint = self.endpoint(&request.resolver_endpoint_id)?.id;
        let kind = Kind {
            endpoint_type: request.resolver_endpoint_type.as_deref(),
            protocols: &request.protocols,
            metrics: request.rni_enhanced_metrics_enabled,
            target_metrics: request.target_name_server_metrics_enabled,
            dns64: request.dns64_enabled,
            internet: request.ipv6_internet_access_enabled,
        };
        kind.check()?;
        if !request.update_ip_addresses.is_empty() {
            return Err(error::unsupported("UpdateIpAddresses", "Ipv6"));
        }
        check_name(request.name.as_deref())?;
        self.change(ResolverAction::UpdateEndpoint { endpoint, name: request.name }).await?;
        self.shown(endpoint)
    }

    async fn delete(&mut self, id: &str) -> Outcome<Value> {
        let endpoint = self.endpoint(id)?.id;
        self.change(ResolverAction::DeleteEndpoint { endpoint }).await?;
        self.shown(endpoint)
    }

    fn list_addresses(&self, request: ListResolverEndpointIpAddresses) -> Outcome<Value> {
        let ListResolverEndpointIpAddresses { resolver_endpoint_id, max_results, next_token } = request;
        let endpoint = self.endpoint(&resolver_endpoint_id)?;
        let listed = endpoint.addresses.iter().map(|one| (one.id.to_string(), shape::address(one)));
        let mut answer = page("IpAddresses", listed, next_token.as_deref(), max_results)?;
        answer["MaxResults"] = json!(max_results.unwrap_or(100));
        Ok(answer)
    }

    async fn associate(&mut self, request: AssociateResolverEndpointIpAddress) -> Outcome<Value> {
        let endpoint = self.endpoint(&request.resolver_endpoint_id)?.id;
        let IpAddressUpdate { ip_id, subnet_id, ip, ipv6 } = request.ip_address;
        // "IpId: Only when removing an IP address from a Resolver endpoint".
        if ip_id.is_some() {
            return Err(error::invalid_parameter("IpId", "IpId is for the removal of an IP address alone."));
        }
        let Some(subnet_id) = subnet_id else {
            return Err(error::invalid_parameter("SubnetId", "SubnetId is required."));
        };
        let (subnet, address) = place(&IpAddress { subnet_id, ip, ipv6 })?;
        self.change(ResolverAction::AssociateAddress { endpoint, subnet, address }).await?;
        self.shown(endpoint)
    }

    async fn disassociate(&mut self, request: DisassociateResolverEndpointIpAddress) -> Outcome<Value> {
        let endpoint = self.endpoint(&request.resolver_endpoint_id)?;
        let IpAddressUpdate { ip_id, subnet_id, ip, ipv6 } = &request.ip_address;
        if let Some(ipv6) = ipv6 {
            return Err(error::unsupported("Ipv6", ipv6));
        }
        if ip_id.is_none() && ip.is_none() {
            let message = "The IP address is to be named by IpId, or by Ip.";
            return Err(error::invalid_parameter("IpAddress", message));
        }
        let same = |given: &Option<String>, own: String| given.as_ref().is_none_or(|given| *given == own);
        let found = endpoint.addresses.iter().find(|known| {
            same(ip_id, known.id.to_string())
                && same(subnet_id, known.subnet.to_string())
                && same(ip, known.address.to_string())
        });
        let Some(found) = found else {
            let named = ip_id.as_ref().or(ip.as_ref()).cloned().unwrap_or_default();
            return Err(error::address_not_found(&named, endpoint.id));
        };
        let (endpoint, address) = (endpoint.id, found.id);
        self.change(ResolverAction::DisassociateAddress { endpoint, address }).await?;
        self.shown(endpoint)
    }

    fn tagged(&self, arn: &str) -> Outcome<ResolverEndpointId> {
        sized("ResourceArn", arn, 1, 255)?;
        let found = shape::named(&self.state, self.account, arn);
        found.ok_or_else(|| error::not_found("resolver-endpoint", arn.rsplit('/').next().unwrap_or(arn)))
    }

    async fn tag(&mut self, request: TagResource) -> Outcome<Value> {
        let resources = vec![self.tagged(&request.resource_arn)?.into()];
        let tags = tags(request.tags)?;
        self.execute(Action::CreateTags { resources, tags }).await?;
        Ok(json!({}))
    }

    async fn untag(&mut self, request: UntagResource) -> Outcome<Value> {
        let resources = vec![self.tagged(&request.resource_arn)?.into()];
        let tags = request.tag_keys.into_iter().map(|key| (key, None)).collect();
        self.execute(Action::DeleteTags { resources, tags }).await?;
        Ok(json!({}))
    }

    fn list_tags(&self, request: ListTagsForResource) -> Outcome<Value> {
        let ListTagsForResource { resource_arn, max_results, next_token } = request;
        let id = self.tagged(&resource_arn)?;
        let found = self.state.get::<ResolverEndpoint>(self.account, id);
        let tags = found.map(|found| found.tags.clone()).unwrap_or_default();
        let shown = tags.iter().map(|(key, value)| (key.clone(), json!({ "Key": key, "Value": value })));
        page("Tags", shown.collect::<Vec<_>>(), next_token.as_deref(), max_results)
    }
}

/// What an endpoint is to be made from.
fn new(request: CreateResolverEndpoint) -> Outcome<NewResolverEndpoint> {
    sized("CreatorRequestId", &request.creator_request_id, 1, 255)?;
    check_name(request.name.as_deref())?;
    match request.direction.as_str() {
        "INBOUND" => {}
        other @ ("OUTBOUND" | "INBOUND_DELEGATION") => return Err(error::unsupported("Direction", other)),
        other => return Err(error::not_one_of("Direction", other, "INBOUND, OUTBOUND, INBOUND_DELEGATION")),
    }
    for (field, given) in
        [("OutpostArn", &request.outpost_arn), ("PreferredInstanceType", &request.preferred_instance_type)]
    {
        if let Some(value) = given {
            return Err(error::unsupported(field, value));
        }
    }
    let kind = Kind {
        endpoint_type: request.resolver_endpoint_type.as_deref(),
        protocols: &request.protocols,
        metrics: request.rni_enhanced_metrics_enabled,
        target_metrics: request.target_name_server_metrics_enabled,
        dns64: request.dns64_enabled,
        internet: request.ipv6_internet_access_enabled,
    };
    kind.check()?;
    if request.ip_addresses.len() > MOST_ADDRESSES {
        let message = format!("IpAddresses can have at most {MOST_ADDRESSES} items.");
        return Err(error::invalid_parameter("IpAddresses", message));
    }
    Ok(NewResolverEndpoint {
        groups: groups(&request.security_group_ids)?,
        addresses: request.ip_addresses.iter().map(place).collect::<Outcome<_>>()?,
        tags: tags(request.tags)?,
        creator_request_id: request.creator_request_id,
        name: request.name,
    })
}

fn groups(texts: &[String]) -> Outcome<Vec<SecurityGroupId>> {
    if texts.is_empty() {
        let message = "At least one security group is required.";
        return Err(error::invalid_parameter("SecurityGroupIds", message));
    }
    let read = |text: &String| {
        let message = || format!("Malformed security group ID: Invalid id: '{text}' (expecting 'sg-...')");
        text.parse().map_err(|_| error::invalid_parameter("SecurityGroupIds", message()))
    };
    texts.iter().map(read).collect()
}

/// A subnet, and the address that was chosen in it.
fn place(given: &IpAddress) -> Outcome<(SubnetId, Option<Ipv4Addr>)> {
    let IpAddress { subnet_id, ip, ipv6 } = given;
    if let Some(ipv6) = ipv6 {
        return Err(error::unsupported("Ipv6", ipv6));
    }
    let unknown = || format!("The subnet ID '{subnet_id}' does not exist");
    let subnet = subnet_id.parse().map_err(|_| error::invalid_parameter("SubnetId", unknown()))?;
    let read = |text: &String| {
        let wrong = || error::invalid_parameter("Ip", format!("'{text}' is not an IPv4 address."));
        text.parse::<Ipv4Addr>().map_err(|_| wrong())
    };
    Ok((subnet, ip.as_ref().map(read).transpose()?))
}

/// Tags of a request. A key stands once.
fn tags(given: Vec<Tag>) -> Outcome<TagSet> {
    let mut set = TagSet::new();
    for Tag { key, value } in given {
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            let message = format!("The tag '{key}' has a key or a value of a length that tags cannot have.");
            return Err(error::invalid_tag(message));
        }
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(error::invalid_tag(format!(
                "The tag key '{key}' begins with 'aws:', which is AWS's own."
            )));
        }
        if set.iter().any(|(known, _)| *known == key) {
            return Err(error::invalid_tag(format!("The tag key '{key}' is given twice.")));
        }
        set.push((key, value));
    }
    Ok(set)
}

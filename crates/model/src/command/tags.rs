//! Tags of any resource.

use crate::error::ModelError;
use crate::id::*;
use crate::peering::VpcPeeringConnection;
use crate::state::Resource;
use crate::tag::{self, TagSet};
use crate::txn::Txn;

/// Gives resources these tags.
pub(super) fn create(txn: &mut Txn, resources: Vec<ResourceId>, tags: &TagSet) -> Result<(), ModelError> {
    resources.into_iter().try_for_each(|id| edit_tags(txn, id, |existing| tag::put(existing, tags)))
}

/// Takes tags from resources: by their keys, where no value is given.
pub(super) fn delete(
    txn: &mut Txn,
    resources: Vec<ResourceId>,
    tags: &[(String, Option<String>)],
) -> Result<(), ModelError> {
    let is_meant = |key: &String, value: &String| {
        tags.iter().any(|(k, v)| k == key && v.as_ref().is_none_or(|wanted| wanted == value))
    };
    resources.into_iter().try_for_each(|id| {
        edit_tags(txn, id, |existing| {
            existing.retain(|key, value| !is_meant(key, value));
            Ok(())
        })
    })
}

/// Changes the tags of one resource, whatever it is.
fn edit_tags(
    txn: &mut Txn,
    id: ResourceId,
    change: impl FnOnce(&mut tag::Tags) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    fn edit<R: Resource>(
        txn: &mut Txn,
        id: R::Id,
        change: impl FnOnce(&mut tag::Tags) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut tags = txn.get::<R>(id)?.tags().clone();
        change(&mut tags)?;
        txn.update::<R>(id, |resource| *resource.tags_mut() = tags)
    }
    match id {
        ResourceId::Vpc(id) => edit::<crate::vpc::Vpc>(txn, id, change),
        ResourceId::Subnet(id) => edit::<crate::subnet::Subnet>(txn, id, change),
        ResourceId::RouteTable(id) => edit::<crate::route::RouteTable>(txn, id, change),
        ResourceId::InternetGateway(id) => edit::<crate::gateway::InternetGateway>(txn, id, change),
        ResourceId::NatGateway(id) => edit::<crate::gateway::NatGateway>(txn, id, change),
        ResourceId::VpcPeeringConnection(id) => edit_peering_tags(txn, id, change),
        ResourceId::CustomerGateway(id) => edit::<crate::vpn::CustomerGateway>(txn, id, change),
        ResourceId::VpnGateway(id) => edit::<crate::vpn::VpnGateway>(txn, id, change),
        ResourceId::VpnConnection(id) => edit::<crate::vpn::VpnConnection>(txn, id, change),
        ResourceId::TransitGateway(id) => edit::<crate::transit::TransitGateway>(txn, id, change),
        ResourceId::TransitGatewayAttachment(id) => {
            edit::<crate::transit::TransitGatewayAttachment>(txn, id, change)
        }
        ResourceId::TransitGatewayRouteTable(id) => {
            edit::<crate::transit::TransitGatewayRouteTable>(txn, id, change)
        }
        ResourceId::Address(id) => edit::<crate::gateway::Address>(txn, id, change),
        ResourceId::NetworkInterface(id) => edit::<crate::interface::NetworkInterface>(txn, id, change),
        ResourceId::SecurityGroup(id) => edit::<crate::security_group::SecurityGroup>(txn, id, change),
        ResourceId::SecurityGroupRule(id) => edit_rule_tags(txn, id, change),
        ResourceId::NetworkAcl(id) => edit::<crate::network_acl::NetworkAcl>(txn, id, change),
        ResourceId::PrefixList(id) => {
            if txn.get::<crate::prefix_list::PrefixList>(id)?.owner.is_none() {
                return Err(ModelError::PrefixListManaged(id));
            }
            edit::<crate::prefix_list::PrefixList>(txn, id, change)
        }
        ResourceId::VpcEndpoint(id) => edit::<crate::endpoint::VpcEndpoint>(txn, id, change),
        ResourceId::EndpointService(id) => edit::<crate::endpoint_service::EndpointService>(txn, id, change),
        ResourceId::ConnectionNotification(id) => Err(ModelError::NotFound(id.into())),
        ResourceId::LoadBalancer(id) => edit::<crate::elb::LoadBalancer>(txn, id, change),
        ResourceId::Listener(id) => edit::<crate::elb::Listener>(txn, id, change),
        ResourceId::TargetGroup(id) => edit::<crate::elb::TargetGroup>(txn, id, change),
        ResourceId::ResolverEndpoint(id) => {
            edit::<crate::resolver_endpoint::ResolverEndpoint>(txn, id, change)
        }
        ResourceId::Instance(id) => edit::<crate::instance::Instance>(txn, id, change),
        ResourceId::DhcpOptions(id) => edit::<crate::vpc::DhcpOptions>(txn, id, change),
        ResourceId::KeyPair(id) => edit::<crate::instance::KeyPair>(txn, id, change),
    }
}

/// Each side of a peering has tags of its own.
fn edit_peering_tags(
    txn: &mut Txn,
    id: VpcPeeringConnectionId,
    change: impl FnOnce(&mut tag::Tags) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let account = txn.account;
    let mut tags = txn.get::<VpcPeeringConnection>(id)?.tags_of(account).clone();
    change(&mut tags)?;
    txn.update::<VpcPeeringConnection>(id, |peering| *peering.tags_of_mut(account) = tags)
}

fn edit_rule_tags(
    txn: &mut Txn,
    id: SecurityGroupRuleId,
    change: impl FnOnce(&mut tag::Tags) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    use crate::security_group::SecurityGroup;
    let found = {
        let mut groups = txn.state.visible::<SecurityGroup>(txn.account);
        groups.find_map(|group| Some((group.id, group.rules.get(&id)?.tags.clone())))
    };
    let (group, mut tags) = found.ok_or(ModelError::NotFound(id.into()))?;
    change(&mut tags)?;
    txn.update::<SecurityGroup>(group, |group| {
        if let Some(rule) = group.rules.get_mut(&id) {
            rule.tags = tags;
        }
    })
}

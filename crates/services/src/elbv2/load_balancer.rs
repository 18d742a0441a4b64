//! Load balancers.

use postern_model::elb::*;
use postern_model::gateway::Address;
use postern_model::interface::NetworkInterface;
use postern_model::{LoadBalancerId, SecurityGroupId, State, SubnetId};
use postern_wire::elbv2 as shape;

use super::page::page;
use super::{Call, Outcome, arn, created, error, refuse_given, required, tag};
use crate::ec2::timestamp;

/// The hosted zones of network load balancers' names ("Elastic Load Balancing endpoints and quotas"), of the regions
/// that are known here; others show none.
const HOSTED_ZONES: &[(&str, &str)] = &[
    ("us-east-1", "Z26RNL4JYFTOTI"),
    ("us-east-2", "ZLMOA37VPKANP"),
    ("us-west-1", "Z24FKFUX50B4VW"),
    ("us-west-2", "Z18D5FSROUN65G"),
    ("eu-central-1", "Z3F0SRJ5LGBH90"),
    ("eu-west-1", "Z2IFOLAFXWLO4F"),
];

/// A load balancer as it is listed.
fn show(state: &State, balancer: &LoadBalancer) -> shape::LoadBalancer {
    let region = state.region.name.as_str();
    let zone = HOSTED_ZONES.iter().find(|(name, _)| *name == region).map(|(_, zone)| (*zone).to_owned());
    let enforce = (!balancer.groups.is_empty()).then(|| on_off(balancer.enforce_on_endpoints));
    shape::LoadBalancer {
        availability_zones: Some(zones(state, balancer)),
        canonical_hosted_zone_id: zone,
        created_time: Some(timestamp(balancer.created_at)),
        dns_name: Some(balancer.dns_name(region)),
        enable_prefix_for_ipv6_source_nat: Some("off".to_owned()),
        enforce_security_group_inbound_rules_on_private_link_traffic: enforce,
        ip_address_type: Some("ipv4".to_owned()),
        load_balancer_arn: Some(arn::load_balancer(state, balancer)),
        load_balancer_name: Some(balancer.name.clone()),
        scheme: Some(scheme_name(balancer.scheme).to_owned()),
        security_groups: Some(balancer.groups.iter().map(ToString::to_string).collect()),
        state: Some(shape::LoadBalancerState {
            code: Some(state_name(balancer.state).to_owned()),
            reason: None,
        }),
        r#type: Some("network".to_owned()),
        vpc_id: Some(balancer.vpc.to_string()),
    }
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

fn scheme_name(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Internal => "internal",
        Scheme::InternetFacing => "internet-facing",
    }
}

fn state_name(state: LoadBalancerState) -> &'static str {
    match state {
        LoadBalancerState::Provisioning => "provisioning",
        LoadBalancerState::Active => "active",
    }
}

/// "LoadBalancerAddresses": those that were chosen, and the public ones.
fn addresses(
    state: &State,
    balancer: &LoadBalancer,
    zone: &LoadBalancerZone,
) -> Vec<shape::LoadBalancerAddress> {
    let allocation = zone.allocation.and_then(|id| state.get::<Address>(balancer.owner, id).ok());
    let interface = state.get::<NetworkInterface>(balancer.owner, zone.interface).ok();
    let automatic = interface.and_then(|interface| interface.automatic_public_address);
    let public = allocation.map(|address| address.public_address).or(automatic);
    let private = match balancer.scheme {
        Scheme::Internal => Some(zone.address.to_string()),
        Scheme::InternetFacing => None,
    };
    vec![shape::LoadBalancerAddress {
        allocation_id: zone.allocation.map(|id| id.to_string()),
        i_pv6_address: None,
        ip_address: public.map(|address| address.to_string()),
        private_i_pv4_address: private,
    }]
}

fn zones(state: &State, balancer: &LoadBalancer) -> Vec<shape::AvailabilityZone> {
    let shown = |zone: &LoadBalancerZone| shape::AvailabilityZone {
        load_balancer_addresses: Some(addresses(state, balancer, zone)),
        outpost_id: None,
        source_nat_ipv6_prefixes: Some(Vec::new()),
        subnet_id: Some(zone.subnet.to_string()),
        zone_name: Some(zone.zone.clone()),
    };
    balancer.zones.iter().map(shown).collect()
}

/// The subnets of a request: by their ids alone, or with addresses.
fn chosen_zones(
    subnets: Vec<String>,
    mappings: Vec<shape::SubnetMapping>,
) -> Outcome<Vec<NewLoadBalancerZone>> {
    if !subnets.is_empty() && !mappings.is_empty() {
        return Err(error::validation("You can specify either subnets or subnet mappings, not both"));
    }
    let subnet = |text: &str| {
        text.parse::<SubnetId>().map_err(|_| {
            postern_wire::AwsError::new("SubnetNotFound", format!("The subnet ID '{text}' does not exist"))
        })
    };
    let mut zones = Vec::new();
    for text in &subnets {
        zones.push(NewLoadBalancerZone { subnet: subnet(text)?, address: None, allocation: None });
    }
    for mapping in mappings {
        let shape::SubnetMapping {
            allocation_id,
            i_pv6_address,
            private_i_pv4_address,
            source_nat_ipv6_prefix,
            subnet_id,
        } = mapping;
        refuse_given(&[
            ("SubnetMappings.IPv6Address", i_pv6_address.is_some()),
            ("SubnetMappings.SourceNatIpv6Prefix", source_nat_ipv6_prefix.is_some()),
        ])?;
        let address = private_i_pv4_address.map(|text| {
            text.parse().map_err(|_| error::validation(format!("'{text}' is not a valid IPv4 address")))
        });
        let allocation = allocation_id.map(|text| {
            text.parse().map_err(|_| {
                let message = format!("The allocation ID '{text}' does not exist");
                postern_wire::AwsError::new("AllocationIdNotFound", message)
            })
        });
        zones.push(NewLoadBalancerZone {
            subnet: subnet(&required(subnet_id, "SubnetMappings.SubnetId")?)?,
            address: address.transpose()?,
            allocation: allocation.transpose()?,
        });
    }
    Ok(zones)
}

fn groups(texts: &[String]) -> Outcome<Vec<SecurityGroupId>> {
    let read = |text: &String| {
        text.parse().map_err(|_| {
            let message = format!("The security group '{text}' does not exist");
            postern_wire::AwsError::new("InvalidSecurityGroup", message)
        })
    };
    texts.iter().map(read).collect()
}

/// Only IPv4 is served.
fn check_ip_address_type(given: Option<&str>) -> Outcome<()> {
    match given {
        None | Some("ipv4") => Ok(()),
        Some(other) => Err(error::unsupported(&format!("The IP address type '{other}'"))),
    }
}

/// Whether what is there is what was asked for: making it again is then no error ("CreateLoadBalancer": "This operation
/// is idempotent").
fn is_as_asked(balancer: &LoadBalancer, new: &NewLoadBalancer) -> bool {
    let has = |zone: &NewLoadBalancerZone| {
        balancer.zones.iter().any(|known| {
            known.subnet == zone.subnet
                && known.allocation == zone.allocation
                && zone.address.is_none_or(|address| address == known.address)
        })
    };
    balancer.scheme == new.scheme
        && balancer.groups == new.groups
        && balancer.zones.len() == new.zones.len()
        && new.zones.iter().all(has)
        && balancer.tags == new.tags.iter().cloned().collect()
}

impl Call<'_> {
    pub(super) async fn create_load_balancer(
        &mut self,
        request: shape::CreateLoadBalancerInput,
    ) -> Outcome<shape::CreateLoadBalancerOutput> {
        let shape::CreateLoadBalancerInput {
            enable_prefix_for_ipv6_source_nat,
            ip_address_type,
            name,
            scheme,
            security_groups,
            subnet_mappings,
            subnets,
            tags,
            r#type,
        } = request;
        match r#type.as_deref() {
            Some("network") => {}
            other => {
                let kind = other.unwrap_or("application");
                return Err(error::unsupported(&format!("The load balancer type '{kind}'")));
            }
        }
        check_ip_address_type(ip_address_type.as_deref())?;
        refuse_given(&[(
            "EnablePrefixForIpv6SourceNat",
            enable_prefix_for_ipv6_source_nat.is_some_and(|value| value != "off"),
        )])?;
        let new = NewLoadBalancer {
            name: required(name, "Name")?,
            scheme: match scheme.as_deref() {
                Some("internal") => Scheme::Internal,
                // The shape allows no other.
                _ => Scheme::InternetFacing,
            },
            zones: chosen_zones(subnets, subnet_mappings)?,
            groups: groups(&security_groups)?,
            tags: tag::given(tags)?,
        };
        let there = self.state.visible::<LoadBalancer>(self.account).find(|other| other.name == new.name);
        let id = match there {
            Some(there) if is_as_asked(there, &new) => there.id,
            Some(_) | None => {
                let done = self.execute(ElbAction::CreateLoadBalancer(new)).await?;
                created!(done, LoadBalancer)?
            }
        };
        let load_balancers = Some(vec![show(&self.state, &*self.balancer(id)?)]);
        Ok(shape::CreateLoadBalancerOutput { load_balancers })
    }

    fn balancer(&self, id: LoadBalancerId) -> Outcome<std::sync::Arc<LoadBalancer>> {
        let found = self.state.get::<LoadBalancer>(self.account, id);
        found.map_err(|_| error::load_balancer_not_found(&id.to_string()))
    }

    /// The load balancer that a parameter names.
    pub(super) fn named_balancer(&self, text: Option<String>) -> Outcome<std::sync::Arc<LoadBalancer>> {
        let text = required(text, "LoadBalancerArn")?;
        arn::read_load_balancer(&self.state, self.account, &text)
    }

    pub(super) fn describe_load_balancers(
        &self,
        request: shape::DescribeLoadBalancersInput,
    ) -> Outcome<shape::DescribeLoadBalancersOutput> {
        let shape::DescribeLoadBalancersInput { load_balancer_arns, marker, names, page_size } = request;
        if !load_balancer_arns.is_empty() && !names.is_empty() {
            return Err(error::validation("Load balancer ARNs and names cannot be specified together"));
        }
        let mut found = Vec::new();
        for text in &load_balancer_arns {
            found.push(arn::read_load_balancer(&self.state, self.account, text)?);
        }
        for name in &names {
            let mut all = self.state.visible::<LoadBalancer>(self.account);
            let named = all.find(|balancer| balancer.name == *name).cloned();
            let message = || format!("Load balancers '[{name}]' not found");
            found.push(named.ok_or_else(|| postern_wire::AwsError::new("LoadBalancerNotFound", message()))?);
        }
        if load_balancer_arns.is_empty() && names.is_empty() {
            found = self.state.visible::<LoadBalancer>(self.account).cloned().collect();
        }
        let rows = found.iter().map(|b| (arn::load_balancer(&self.state, b), show(&self.state, b))).collect();
        let (load_balancers, next_marker) = page(rows, marker.as_deref(), page_size)?;
        Ok(shape::DescribeLoadBalancersOutput { load_balancers, next_marker })
    }

    /// "If the load balancer does not exist or has already been deleted, the call succeeds."
    pub(super) async fn delete_load_balancer(
        &mut self,
        request: shape::DeleteLoadBalancerInput,
    ) -> Outcome<shape::DeleteLoadBalancerOutput> {
        let shape::DeleteLoadBalancerInput { load_balancer_arn } = request;
        match self.named_balancer(load_balancer_arn) {
            Ok(balancer) => {
                self.execute(ElbAction::DeleteLoadBalancer { load_balancer: balancer.id }).await?;
            }
            Err(missing) if missing.code == "LoadBalancerNotFound" => {}
            Err(other) => return Err(other),
        }
        Ok(shape::DeleteLoadBalancerOutput {})
    }

    pub(super) async fn set_subnets(
        &mut self,
        request: shape::SetSubnetsInput,
    ) -> Outcome<shape::SetSubnetsOutput> {
        let shape::SetSubnetsInput {
            enable_prefix_for_ipv6_source_nat,
            ip_address_type,
            load_balancer_arn,
            subnet_mappings,
            subnets,
        } = request;
        check_ip_address_type(ip_address_type.as_deref())?;
        refuse_given(&[(
            "EnablePrefixForIpv6SourceNat",
            enable_prefix_for_ipv6_source_nat.is_some_and(|value| value != "off"),
        )])?;
        let load_balancer = self.named_balancer(load_balancer_arn)?.id;
        let zones_wanted = chosen_zones(subnets, subnet_mappings)?;
        self.execute(ElbAction::SetSubnets { load_balancer, zones: zones_wanted }).await?;
        Ok(shape::SetSubnetsOutput {
            availability_zones: Some(zones(&self.state, &*self.balancer(load_balancer)?)),
            enable_prefix_for_ipv6_source_nat: Some("off".to_owned()),
            ip_address_type: Some("ipv4".to_owned()),
        })
    }

    pub(super) async fn set_security_groups(
        &mut self,
        request: shape::SetSecurityGroupsInput,
    ) -> Outcome<shape::SetSecurityGroupsOutput> {
        let shape::SetSecurityGroupsInput {
            enforce_security_group_inbound_rules_on_private_link_traffic,
            load_balancer_arn,
            security_groups,
        } = request;
        let enforce = enforce_security_group_inbound_rules_on_private_link_traffic;
        let load_balancer = self.named_balancer(load_balancer_arn)?.id;
        let groups = groups(&security_groups)?;
        let enforce_on_endpoints = enforce.map(|value| value == "on");
        self.execute(ElbAction::SetSecurityGroups { load_balancer, groups, enforce_on_endpoints }).await?;
        let balancer = self.balancer(load_balancer)?;
        Ok(shape::SetSecurityGroupsOutput {
            enforce_security_group_inbound_rules_on_private_link_traffic: Some(on_off(
                balancer.enforce_on_endpoints,
            )),
            security_group_ids: Some(balancer.groups.iter().map(ToString::to_string).collect()),
        })
    }

    pub(super) fn set_ip_address_type(
        &self,
        request: shape::SetIpAddressTypeInput,
    ) -> Outcome<shape::SetIpAddressTypeOutput> {
        let shape::SetIpAddressTypeInput { ip_address_type, load_balancer_arn } = request;
        self.named_balancer(load_balancer_arn)?;
        check_ip_address_type(ip_address_type.as_deref())?;
        Ok(shape::SetIpAddressTypeOutput { ip_address_type })
    }
}

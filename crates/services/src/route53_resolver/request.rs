//! The requests of the operations that are served, as AWS's model has them, and what each of their members may be.
//!
//! INVARIANT: a member that is not here refuses the request by its name.

use postern_frontdoor::JsonError;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{self, invalid_parameter};
use crate::json_requests::requests;

requests! {
    CreateResolverEndpoint {
        creator_request_id: String,
        name: Option<String>,
        security_group_ids: Vec<String>,
        direction: String,
        ip_addresses: Vec<IpAddress>,
        outpost_arn: Option<String>,
        preferred_instance_type: Option<String>,
        #[serde(default)] tags: Vec<Tag>,
        resolver_endpoint_type: Option<String>,
        #[serde(default)] protocols: Vec<String>,
        rni_enhanced_metrics_enabled: Option<bool>,
        target_name_server_metrics_enabled: Option<bool>,
        dns64_enabled: Option<bool>,
        ipv6_internet_access_enabled: Option<bool>
    }
    GetResolverEndpoint { resolver_endpoint_id: String }
    ListResolverEndpoints {
        max_results: Option<i64>, next_token: Option<String>, #[serde(default)] filters: Vec<Filter>
    }
    UpdateResolverEndpoint {
        resolver_endpoint_id: String,
        name: Option<String>,
        resolver_endpoint_type: Option<String>,
        #[serde(default)] update_ip_addresses: Vec<serde_json::Value>,
        #[serde(default)] protocols: Vec<String>,
        rni_enhanced_metrics_enabled: Option<bool>,
        target_name_server_metrics_enabled: Option<bool>,
        dns64_enabled: Option<bool>,
        ipv6_internet_access_enabled: Option<bool>
    }
    DeleteResolverEndpoint { resolver_endpoint_id: String }
    ListResolverEndpointIpAddresses {
        resolver_endpoint_id: String, max_results: Option<i64>, next_token: Option<String>
    }
    AssociateResolverEndpointIpAddress { resolver_endpoint_id: String, ip_address: IpAddressUpdate }
    DisassociateResolverEndpointIpAddress { resolver_endpoint_id: String, ip_address: IpAddressUpdate }
    TagResource { resource_arn: String, tags: Vec<Tag> }
    UntagResource { resource_arn: String, tag_keys: Vec<String> }
    ListTagsForResource { resource_arn: String, max_results: Option<i64>, next_token: Option<String> }
}

/// `IpAddressRequest`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct IpAddress {
    pub(super) subnet_id: String,
    pub(super) ip: Option<String>,
    pub(super) ipv6: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct IpAddressUpdate {
    pub(super) ip_id: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) ip: Option<String>,
    pub(super) ipv6: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Filter {
    pub(super) name: String,
    #[serde(default)]
    pub(super) values: Vec<String>,
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    let body = if body.is_empty() { b"{}" } else { body };
    let json: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| JsonError::common("SerializationException", ""))?;
    serde_json::from_value(json).map_err(|why| error::invalid_request(why.to_string()))
}

/// Refuses a text of another length than AWS's.
pub(super) fn sized(field: &str, text: &str, least: usize, most: usize) -> Result<(), JsonError> {
    let length = text.chars().count();
    if (least..=most).contains(&length) {
        return Ok(());
    }
    let message = format!("{field} must have from {least} to {most} characters, not {length}.");
    Err(invalid_parameter(field, message))
}

/// `Name`: letters, digits, hyphens, underscores, apostrophes and spaces, and not digits alone.
pub(super) fn check_name(name: Option<&str>) -> Result<(), JsonError> {
    let Some(name) = name else { return Ok(()) };
    sized("Name", name, 0, 64)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_' ".contains(c);
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    if name.chars().all(fits) && !digits {
        return Ok(());
    }
    let message = format!("'{name}' is not a name of letters, digits, '-', '_', apostrophes and spaces.");
    Err(invalid_parameter("Name", message))
}

/// What endpoints have here: IPv4, and DNS on port 53. What AWS has besides is refused by its name.
pub(super) struct Kind<'a> {
    pub(super) endpoint_type: Option<&'a str>,
    pub(super) protocols: &'a [String],
    pub(super) metrics: Option<bool>,
    pub(super) target_metrics: Option<bool>,
    pub(super) dns64: Option<bool>,
    pub(super) internet: Option<bool>,
}

impl Kind<'_> {
    pub(super) fn check(&self) -> Result<(), JsonError> {
        match self.endpoint_type {
            None | Some("IPV4") => {}
            Some(other @ ("IPV6" | "DUALSTACK")) => {
                return Err(error::unsupported("ResolverEndpointType", other));
            }
            Some(other) => {
                return Err(error::not_one_of("ResolverEndpointType", other, "IPV6, IPV4, DUALSTACK"));
            }
        }
        for protocol in self.protocols {
            match protocol.as_str() {
                "Do53" => {}
                other @ ("DoH" | "DoH-FIPS") => return Err(error::unsupported("Protocols", other)),
                other => return Err(error::not_one_of("Protocols", other, "DoH, Do53, DoH-FIPS")),
            }
        }
        let switches = [
            ("RniEnhancedMetricsEnabled", self.metrics),
            ("TargetNameServerMetricsEnabled", self.target_metrics),
            ("Dns64Enabled", self.dns64),
            ("Ipv6InternetAccessEnabled", self.internet),
        ];
        match switches.iter().find(|(_, on)| *on == Some(true)) {
            Some((field, _)) => Err(error::unsupported(field, "true")),
            None => Ok(()),
        }
    }
}

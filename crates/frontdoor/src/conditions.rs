//! The condition keys that the front door itself provides ("AWS global condition context keys").
//!
//! INVARIANT: the network keys follow from the [`Origin`] and from whose the endpoint is, and from nothing that a client says.
//! A service's own context cannot set any key here.

use postern_model::AccountId;
use postern_policy::{Context, Value, is_derived_key};
use postern_wire::Timestamp;
use time::OffsetDateTime;

use crate::authorise::Ask;
use crate::caller::{Caller, Origin};
use crate::{network_keys, organizations};

/// What [`global_context`] sets, where the request has it.
const PROVIDED: [&str; 16] = [
    "aws:securetransport",
    "aws:sourceip",
    "aws:userid",
    "aws:sourceidentity",
    "aws:sourcevpce",
    "aws:sourcevpc",
    "aws:sourcevpcarn",
    "aws:useragent",
    "aws:referer",
    "aws:vpcsourceip",
    "aws:vpceaccount",
    "aws:currenttime",
    "aws:epochtime",
    "aws:requestedregion",
    "aws:multifactorauthpresent",
    "aws:viaawsservice",
];

/// What the keys of the caller's tags start with.
const PRINCIPAL_TAG: &str = "aws:principaltag/";

/// Whether requests carry this key where AWS's would, whatever their service. A policy with another key of `aws:`
/// cannot be enforced.
pub fn is_global_key_provided(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    PROVIDED.contains(&key.as_str())
        || organizations::PROVIDED.contains(&key.as_str())
        || key == "aws:resourceaccount"
        || key.starts_with(PRINCIPAL_TAG)
        || is_derived_key(&key)
}

pub(crate) fn global_context(
    ask: &Ask,
    caller: &Caller,
    (origin, endpoint_owner): (&Origin, Option<AccountId>),
    region: Option<&str>,
    now: Timestamp,
) -> Context {
    let mut context = ask.context.clone();
    for key in PROVIDED {
        context.remove(key);
    }
    let claimed = context.iter().map(|(key, _)| key).filter(|key| key.starts_with(PRINCIPAL_TAG));
    for key in claimed.map(str::to_owned).collect::<Vec<_>>() {
        context.remove(&key);
    }
    context.insert("aws:SecureTransport", Value::Bool(origin.secure));
    context.insert("aws:ViaAWSService", Value::Bool(false));
    if let Ok(at) = OffsetDateTime::from_unix_timestamp(now.seconds()) {
        context.insert("aws:CurrentTime", Value::Time(at));
        context.insert("aws:EpochTime", Value::Integer(now.seconds()));
    }
    if let Some(region) = region {
        context.insert("aws:RequestedRegion", Value::Text(region.to_owned()));
    }
    if let Some(user_id) = &caller.user_id {
        context.insert("aws:userid", Value::Text(user_id.clone()));
    }
    for (key, value) in &caller.traits.tags {
        context.insert(&format!("{PRINCIPAL_TAG}{key}"), Value::Text(value.clone()));
    }
    if let Some(identity) = &caller.traits.source_identity {
        context.insert("aws:SourceIdentity", Value::Text(identity.clone()));
    }
    // What a program says of itself: "Use this key carefully … can be spoofed".
    for (key, said) in [("aws:UserAgent", &caller.traits.user_agent), ("aws:referer", &caller.traits.referer)]
    {
        if let Some(said) = said {
            context.insert(key, Value::Text(said.clone()));
        }
    }
    // There are no devices to authenticate with; long-term keys do not have the key at all.
    if caller.is_temporary() {
        context.insert("aws:MultiFactorAuthPresent", Value::Bool(false));
    }
    if let Some(address) = origin.source_ip() {
        context.insert("aws:SourceIp", Value::Ip(address));
    }
    network_keys::set(&mut context, origin, endpoint_owner, ask, region);
    context
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use postern_model::{AccountId, NetworkInterfaceId, VpcEndpointId, VpcId};
    use postern_path::{Peer, Through};

    use super::*;

    fn origin(through: Option<Through>) -> Origin {
        let peer = through.map(|through| Peer {
            account: AccountId::from_number(1).unwrap(),
            vpc: VpcId::from_number(1 << 40),
            interface: NetworkInterfaceId::from_number(1 << 41),
            instance: None,
            address: Ipv4Addr::new(10, 0, 1, 5),
            through,
        });
        Origin { peer, remote: SocketAddr::from(([127, 0, 0, 1], 9)), secure: true }
    }

    /// The network keys, in order, of a request whose service claims to be elsewhere.
    fn network_keys(through: Option<Through>) -> String {
        let lies = Context::new()
            .with("aws:PrincipalTag/team", "admins")
            .with("aws:SourceVpce", "vpce-00000000000000bad")
            .with("aws:SourceVpcArn", "arn:aws:ec2:us-east-1:000000000666:vpc/vpc-00000000000000bad")
            .with("aws:VpceAccount", "000000000666")
            .with("aws:SourceIp", "6.6.6.6")
            .with("s3:prefix", "home/");
        let ask = Ask {
            action: "s3:ListBucket".to_owned(),
            resource: "*".to_owned(),
            resource_account: None,
            resource_policy: None,
            context: lies,
        };
        let owner = AccountId::from_number(2);
        let way = (&origin(through), owner);
        let context = global_context(&ask, &Caller::anonymous(), way, Some("us-east-1"), Timestamp::EPOCH);
        assert_eq!(context.get("s3:prefix").len(), 1);
        assert!(context.get("aws:PrincipalTag/team").is_empty());
        let network = [
            "aws:sourceip",
            "aws:sourcevpc",
            "aws:sourcevpcarn",
            "aws:sourcevpce",
            "aws:vpceaccount",
            "aws:vpcsourceip",
        ];
        let shown = context.iter().filter(|(key, _)| network.contains(key));
        shown.map(|(key, values)| format!("{key}={}", values[0].text())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_network_keys_follow_from_the_path() {
        let endpoint = VpcEndpointId::from_number(1 << 42);
        let vpc = VpcId::from_number(1 << 43);
        assert_eq!(
            network_keys(Some(Through::Endpoint(endpoint, vpc))),
            format!(
                "aws:sourcevpc={vpc} aws:sourcevpcarn=arn:aws:ec2:us-east-1:000000000002:vpc/{vpc} \
                 aws:sourcevpce={endpoint} aws:vpceaccount=000000000002 aws:vpcsourceip=10.0.1.5"
            )
        );
        let internet = Through::Internet(Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!(network_keys(Some(internet)), "aws:sourceip=203.0.113.7");
        assert_eq!(network_keys(Some(Through::Link)), "");
        assert_eq!(network_keys(None), "aws:sourceip=127.0.0.1");
    }

    #[test]
    fn every_key_that_is_set_is_announced() {
        let ask = Ask {
            action: "s3:ListBucket".to_owned(),
            resource: "*".to_owned(),
            resource_account: None,
            resource_policy: None,
            context: Context::new(),
        };
        let through = Through::Endpoint(VpcEndpointId::from_number(1 << 42), VpcId::from_number(1 << 43));
        let mut caller = Caller::anonymous();
        caller.traits.user_agent = Some("curl/8".to_owned());
        caller.traits.referer = Some("https://a.example/".to_owned());
        let way = (&origin(Some(through)), AccountId::from_number(2));
        let context = global_context(&ask, &caller, way, Some("us-east-1"), Timestamp::EPOCH);
        assert_eq!(context.get("aws:UserAgent")[0].text(), "curl/8");
        assert_eq!(context.get("aws:referer")[0].text(), "https://a.example/");
        for (key, _) in context.iter() {
            assert!(is_global_key_provided(key), "{key}");
        }
        assert!(is_global_key_provided("aws:PrincipalTag/team"));
        assert!(!is_global_key_provided("aws:CalledVia"));
    }
}

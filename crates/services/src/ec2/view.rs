//! What several responses show in the same way: tags, times, names of addresses.

use std::net::Ipv4Addr;

use postern_model::vpc::{Vpc, domain_name};
use postern_model::{ResourceId, State, Tags, Timestamp, VpcId};
use postern_wire::ec2;

/// Tags, by key.
pub fn tags(tags: &Tags) -> Option<Vec<ec2::Tag>> {
    let shown = |(key, value): (&String, &String)| ec2::Tag { key: some(key), value: some(value) };
    Some(tags.iter().map(shown).collect())
}

/// A text that is there.
pub fn some(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

/// A point in time.
pub fn timestamp(at: Timestamp) -> postern_wire::Timestamp {
    postern_wire::Timestamp::from_millis(i64::try_from(at.0).unwrap_or(i64::MAX))
}

/// A number of things.
pub fn count(count: usize) -> Option<i64> {
    i64::try_from(count).ok()
}

/// The private name of an address ("Amazon EC2 instance hostnames"): `ip-10-0-0-5.ec2.internal`.
pub fn private_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}.{}", domain_name(region))
}

/// The public name of an address: `ec2-198-18-1-2.compute-1.amazonaws.com`.
pub fn public_name(region: &str, address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    let domain = if region == "us-east-1" { "compute-1".to_owned() } else { format!("{region}.compute") };
    format!("ec2-{a}-{b}-{c}-{d}.{domain}.amazonaws.com")
}

/// Whether a VPC has a DNS attribute that `of` reads.
pub fn vpc_has(state: &State, vpc: VpcId, of: impl Fn(&Vpc) -> bool) -> bool {
    state.vpcs.get(&vpc).is_some_and(|vpc| of(vpc))
}

/// The id of a zone, by its name.
pub fn zone_id(state: &State, zone: &str) -> Option<String> {
    state.region.zones.iter().find(|known| known.name == zone).map(|known| known.id.clone())
}

/// The first id of a kind that a command created.
pub fn first_created<I>(events: &[postern_model::Event], of: impl Fn(ResourceId) -> Option<I>) -> Option<I> {
    events.iter().find_map(|event| match event {
        postern_model::Event::Created(id) => of(*id),
        postern_model::Event::Changed(_)
        | postern_model::Event::Deleted(_)
        | postern_model::Event::IdentityChanged => None,
    })
}

/// The id that a command created, as the kind that is asked for.
macro_rules! created {
    ($done:expr, $variant:ident) => {
        $crate::ec2::view::first_created(&$done.events, |id| {
            if let postern_model::ResourceId::$variant(id) = id { Some(id) } else { None }
        })
        .ok_or_else(|| $crate::ec2::error::internal("the command created nothing"))
    };
}
pub(super) use created;

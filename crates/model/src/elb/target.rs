//! Targets: who gets connections, each known by an id and a port.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::{InstanceId, Timestamp};

/// Who a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TargetId {
    /// An instance, at the first address of its first interface.
    Instance(InstanceId),
    /// An address.
    Address(Ipv4Addr),
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(id) => fmt::Display::fmt(id, f),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a target: an instance or an address, a colon and a port")]
pub struct MalformedTarget(pub String);

impl FromStr for TargetId {
    type Err = MalformedTarget;

    fn from_str(text: &str) -> Result<Self, MalformedTarget> {
        let address = || text.parse().map(Self::Address);
        text.parse().map(Self::Instance).or_else(|_| address()).map_err(|_| MalformedTarget(text.to_owned()))
    }
}

/// A target and the port that it gets connections at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetKey {
    /// Who it is.
    pub id: TargetId,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for TargetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.port)
    }
}

impl FromStr for TargetKey {
    type Err = MalformedTarget;

    fn from_str(text: &str) -> Result<Self, MalformedTarget> {
        let malformed = || MalformedTarget(text.to_owned());
        let (id, port) = text.rsplit_once(':').ok_or_else(malformed)?;
        Ok(Self { id: id.parse()?, port: port.parse().map_err(|_| malformed())? })
    }
}

// As a text, so that it can be a key of a map in JSON.
impl Serialize for TargetKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TargetKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A registered target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where it is, for zones that keep to their own targets.
    pub zone: TargetZone,
    /// Since when.
    pub registered_at: Timestamp,
    /// Since when it gets no new connections.
    pub deregistered_at: Option<Timestamp>,
}

/// Which zone a target belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetZone {
    /// That of its subnet.
    Zone(String),
    /// All of them: "the IP address is outside the VPC", or was asked for like that.
    All,
}

/// A target to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTarget {
    /// Who it is.
    pub id: TargetId,
    /// Its port; none means the group's.
    pub port: Option<u16>,
    /// The zone that was asked for; none means that of its subnet.
    pub zone: Option<String>,
}

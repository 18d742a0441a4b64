//! The versions of managed policies.
//!
//! Rules from "Versioning IAM policies" in the IAM user guide: a policy has up to five, one of them is the default one and
//! what the policy says; a number is never used again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::iam::ManagedPolicy;
use crate::id::Timestamp;

/// How many versions a policy may have.
pub const MAX_VERSIONS: usize = 5;

/// A version that is not the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherVersion {
    /// What it says.
    pub document: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// The numbers and texts of a policy's versions, beside the text of the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The number of the default one.
    pub default: u32,
    /// Since when the default one is there; none for as long as the policy.
    pub default_created_at: Option<Timestamp>,
    /// The highest number that was used.
    pub newest: u32,
    /// The others.
    pub others: BTreeMap<u32, OtherVersion>,
}

impl Default for Versions {
    /// What a new policy has: the first one.
    fn default() -> Self {
        Self { default: 1, default_created_at: None, newest: 1, others: BTreeMap::new() }
    }
}

impl ManagedPolicy {
    /// Since when the default version is there.
    pub fn default_version_created_at(&self) -> Timestamp {
        self.versions.default_created_at.unwrap_or(self.created_at)
    }
}

fn missing(policy: &ManagedPolicy, version: u32) -> ModelError {
    ModelError::IdentityNotFound {
        kind: "policy version",
        name: format!("{} version v{version}", policy.arn),
    }
}

pub(crate) fn create(
    policy: &mut ManagedPolicy,
    at: Timestamp,
    document: String,
    set_default: bool,
) -> Result<(), ModelError> {
    if policy.versions.others.len() + 1 >= MAX_VERSIONS {
        return Err(ModelError::Limit { what: "versions of a policy", limit: MAX_VERSIONS });
    }
    policy.versions.newest += 1;
    let newest = policy.versions.newest;
    policy.versions.others.insert(newest, OtherVersion { document, created_at: at });
    if set_default { make_default(policy, newest) } else { Ok(()) }
}

pub(crate) fn make_default(policy: &mut ManagedPolicy, version: u32) -> Result<(), ModelError> {
    if version == policy.versions.default {
        return Ok(());
    }
    let new = policy.versions.others.remove(&version).ok_or_else(|| missing(policy, version))?;
    let created_at = policy.default_version_created_at();
    let document = std::mem::replace(&mut policy.document, new.document);
    policy.versions.others.insert(policy.versions.default, OtherVersion { document, created_at });
    policy.versions.default = version;
    policy.versions.default_created_at = Some(new.created_at);
    Ok(())
}

pub(crate) fn delete(policy: &mut ManagedPolicy, version: u32) -> Result<(), ModelError> {
    if version == policy.versions.default {
        let (kind, name) = ("policy version", format!("{} version v{version}", policy.arn));
        return Err(ModelError::IdentityInUse { kind, name, what: "the default" });
    }
    policy.versions.others.remove(&version).map(|_| ()).ok_or_else(|| missing(policy, version))
}

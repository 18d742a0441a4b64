//! Organizations as the policy language has them, made anew when they change.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use postern_model::AccountId;
use postern_model::organization::{ControlKind, FULL_ACCESS, Organization, RCP_FULL_ACCESS};
use postern_policy::{FULL_AWS_ACCESS_ARN, Kind, NamedPolicy, Organization as Compiled};

use super::cache::PolicyCache;
use crate::organizations::shape::policy_arn;

/// How many organizations are kept.
const KEPT_MAX: usize = 64;

/// Compiled organizations, by management account, each with what it was made of.
#[derive(Default)]
pub(super) struct OrganizationCache {
    kept: RwLock<HashMap<AccountId, (Arc<Organization>, Arc<Compiled>)>>,
}

impl OrganizationCache {
    /// The organization, compiled.
    ///
    /// # Errors
    /// The name of what cannot be read.
    pub(super) fn compiled(
        &self,
        organization: &Arc<Organization>,
        policies: &PolicyCache,
    ) -> Result<Arc<Compiled>, String> {
        let management = organization.management;
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, compiled)) = kept.get(&management)
            && Arc::ptr_eq(of, organization)
        {
            return Ok(Arc::clone(compiled));
        }
        drop(kept);
        let compiled = Arc::new(compile(organization, policies)?);
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(management, (Arc::clone(organization), Arc::clone(&compiled)));
        Ok(compiled)
    }
}

fn compile(organization: &Organization, policies: &PolicyCache) -> Result<Compiled, String> {
    let id = |account: &AccountId| {
        let text = account.to_string();
        text.parse::<postern_policy::AccountId>().map_err(|_| text)
    };
    let broken = |error: postern_policy::OrganizationError| error.to_string();
    let mut compiled = Compiled::new(&organization.id, &organization.root, id(&organization.management)?);
    for (unit, parent) in from_the_top(organization) {
        compiled.add_unit(unit, parent).map_err(broken)?;
    }
    for (account, member) in &organization.members {
        if *account != organization.management {
            compiled.add_account(&id(account)?, &member.parent).map_err(broken)?;
        }
    }
    if organization.enabled.contains(&ControlKind::Service) {
        compiled.enable_service_control().map_err(broken)?;
        for target in everywhere(organization) {
            if !organization.attached(&target, ControlKind::Service).any(|policy| policy == FULL_ACCESS) {
                compiled.detach(&target, FULL_AWS_ACCESS_ARN).map_err(broken)?;
            }
        }
    }
    for (target, attached) in &organization.attachments {
        for policy in attached {
            // AWS's own service control policy is there, and its resource control policy is in force by itself.
            if policy == FULL_ACCESS || policy == RCP_FULL_ACCESS {
                continue;
            }
            compiled.attach(target, named(organization, policies, policy)?).map_err(broken)?;
        }
    }
    Ok(compiled)
}

fn named(organization: &Organization, policies: &PolicyCache, id: &str) -> Result<NamedPolicy, String> {
    let policy = organization.policies.get(id).ok_or(id)?;
    let kind = match policy.kind {
        ControlKind::Service => Kind::ServiceControl,
        ControlKind::Resource => Kind::ResourceControl,
    };
    let document = policies.document(kind, &policy.document).map_err(|_| id.to_owned())?;
    Ok(NamedPolicy::new(policy_arn(organization, policy.kind, id), document))
}

/// The ids of the root, units and accounts.
fn everywhere(organization: &Organization) -> Vec<String> {
    let root = std::iter::once(organization.root.clone());
    let units = organization.units.keys().cloned();
    root.chain(units).chain(organization.members.keys().map(ToString::to_string)).collect()
}

/// Units with their parents, parents first.
fn from_the_top(organization: &Organization) -> Vec<(&str, &str)> {
    let mut units: Vec<_> = organization.units.values().collect();
    units.sort_by_key(|unit| organization.line(&unit.id).len());
    units.into_iter().map(|unit| (unit.id.as_str(), unit.parent.as_str())).collect()
}

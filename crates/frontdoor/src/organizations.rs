//! The organizations of those who have to do with a request: the caller, the owner of the resource, and the owner of the
//! endpoint that it came through.
//!
//! INVARIANT: the keys of organizations follow from accounts alone, whatever a service's own context says.

use std::sync::Arc;

use postern_model::AccountId;
use postern_policy::{Context, Organization, OrganizationError, PolicySet, Request, has_resource_keys};

use crate::authorise::{Ask, Directory};
use crate::caller::Caller;
use crate::network_keys::Key;

/// What [`Organizations::set_keys`] sets, where there is an organization.
pub(crate) const PROVIDED: [&str; 6] = [
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:resourceorgid",
    "aws:resourceorgpaths",
    "aws:vpceorgid",
    "aws:vpceorgpaths",
];

/// Who is in which.
pub(crate) struct Organizations {
    caller: Option<Arc<Organization>>,
    owner: Option<Arc<Organization>>,
    endpoint: Option<Arc<Organization>>,
}

impl Organizations {
    /// Asks the directory. `endpoint` is whose the endpoint is that the request came through.
    ///
    /// # Errors
    /// The name of a policy that cannot be read.
    pub(crate) fn of(
        directory: &dyn Directory,
        caller: &Caller,
        endpoint: Option<AccountId>,
        ask: &Ask,
    ) -> Result<Self, String> {
        let of = |account: Option<AccountId>| match account {
            Some(account) => directory.organization(account),
            None => Ok(None),
        };
        let (by, owner) = (caller.account, owner(caller, ask));
        let of_caller = of(by)?;
        let of_owner = if owner == by { of_caller.clone() } else { of(owner)? };
        let of_endpoint = if endpoint == by { of_caller.clone() } else { of(endpoint)? };
        Ok(Self { caller: of_caller, owner: of_owner, endpoint: of_endpoint })
    }

    /// Whether caller and resource are in one organization.
    pub(crate) fn are_one(&self) -> bool {
        match (&self.caller, &self.owner) {
            (Some(caller), Some(owner)) => caller.id() == owner.id(),
            _ => false,
        }
    }

    /// Sets the keys that follow. `aws:PrincipalOrgID` and the like are there exactly for members of organizations, and for
    /// the actions that AWS has them for.
    pub(crate) fn set_keys(
        &self,
        context: &mut Context,
        caller: &Caller,
        endpoint: Option<AccountId>,
        ask: &Ask,
    ) {
        for key in PROVIDED {
            context.remove(key);
        }
        let resource = has_resource_keys(&ask.action);
        let (id, paths) = (Key::VpceOrgId.is_of(&ask.action), Key::VpceOrgPaths.is_of(&ask.action));
        for (organization, account, (id_key, has_id), (paths_key, has_paths)) in [
            (&self.caller, caller.account, ("aws:PrincipalOrgID", true), ("aws:PrincipalOrgPaths", true)),
            (
                &self.owner,
                owner(caller, ask),
                ("aws:ResourceOrgID", resource),
                ("aws:ResourceOrgPaths", resource),
            ),
            (&self.endpoint, endpoint, ("aws:VpceOrgID", id), ("aws:VpceOrgPaths", paths)),
        ] {
            let Some((organization, account)) = organization.as_ref().zip(account) else { continue };
            let Some(path) = organization.path(&account.to_string()) else { continue };
            if has_id {
                context.insert(id_key, organization.id().to_owned());
            }
            if has_paths {
                context.insert_many(paths_key, [path]);
            }
        }
    }

    /// Puts the policies over both sides of the request into the set.
    ///
    /// # Errors
    /// None that is expected: only policies of the right kind are attached.
    pub(crate) fn apply(&self, policies: &mut PolicySet, request: &Request) -> Result<(), OrganizationError> {
        if let Some(organization) = &self.caller {
            organization.apply(policies, request)?;
        }
        match &self.owner {
            // It was applied to both sides.
            Some(_) if self.are_one() => Ok(()),
            Some(organization) => organization.apply(policies, request),
            None => Ok(()),
        }
    }
}

/// Whose the resource is.
fn owner(caller: &Caller, ask: &Ask) -> Option<AccountId> {
    ask.resource_account.or(caller.account)
}

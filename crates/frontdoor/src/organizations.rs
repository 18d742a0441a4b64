//! The organizations of those who have to do with a request: the caller, the owner of the resource, and the owner of the
//! endpoint that it came through.
//!
//! INVARIANT: the keys of organizations follow from accounts alone, whatever a service's own context says.

use std::sync::Arc;

use postern_model::AccountId;
use postern_path::Through;
use postern_policy::{Context, Organization, OrganizationError, PolicySet, Request};

use crate::authorise::{Ask, Directory};
use crate::caller::{Caller, Origin};

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
    /// Asks the directory.
    ///
    /// # Errors
    /// The name of a policy that cannot be read.
    pub(crate) fn of(
        directory: &dyn Directory,
        caller: &Caller,
        origin: &Origin,
        ask: &Ask,
    ) -> Result<Self, String> {
        let of = |account: Option<AccountId>| match account {
            Some(account) => directory.organization(account),
            None => Ok(None),
        };
        let (by, owner, endpoint) = (caller.account, owner(caller, ask), endpoint_owner(origin));
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

    /// Sets the keys that follow. `aws:PrincipalOrgID` and the like are there exactly for members of organizations.
    pub(crate) fn set_keys(&self, context: &mut Context, caller: &Caller, origin: &Origin, ask: &Ask) {
        for key in PROVIDED {
            context.remove(key);
        }
        for (organization, account, id_key, paths_key) in [
            (&self.caller, caller.account, "aws:PrincipalOrgID", "aws:PrincipalOrgPaths"),
            (&self.owner, owner(caller, ask), "aws:ResourceOrgID", "aws:ResourceOrgPaths"),
            (&self.endpoint, endpoint_owner(origin), "aws:VpceOrgID", "aws:VpceOrgPaths"),
        ] {
            let Some((organization, account)) = organization.as_ref().zip(account) else { continue };
            if let Some(path) = organization.path(&account.to_string()) {
                context.insert(id_key, organization.id().to_owned());
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

/// Whose the endpoint is that the request came through.
fn endpoint_owner(origin: &Origin) -> Option<AccountId> {
    let peer = origin.peer?;
    match peer.through {
        Through::Endpoint(..) => Some(peer.account),
        Through::Internet(_) | Through::Resolver(..) | Through::Link => None,
    }
}

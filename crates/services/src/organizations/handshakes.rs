//! Invitations of accounts that are there already.

use postern_model::AccountId;
use postern_model::organization::{Node, OrganizationAction};
use serde_json::{Value, json};

use super::call::{Call, Outcome, sized, tags};
use super::page::{Wanted, page};
use super::request::*;
use super::{error, shape};

impl Call<'_> {
    pub(super) async fn invite(&mut self, request: InviteAccountToOrganization) -> Outcome<Value> {
        let InviteAccountToOrganization { target, notes, tags: given } = request;
        self.managed()?;
        let notes = notes.unwrap_or_default();
        sized("Notes", &notes, 0, 1024)?;
        if target.kind != "ACCOUNT" {
            let message =
                format!("A target of the type {} cannot be invited here: name its account.", target.kind);
            return Err(error::invalid_input("INVALID_PARTY_TYPE_TARGET", message));
        }
        let malformed =
            |_| error::invalid_input("INVALID_PATTERN_TARGET_ID", "The target is not an account id.");
        let account: AccountId = target.id.parse().map_err(malformed)?;
        let invite = OrganizationAction::Invite { account, notes, tags: tags(given)? };
        self.execute(invite).await?;
        let (organization, now) = (self.managed()?, self.now());
        let mut open = organization.handshakes.values();
        let made = open.find(|handshake| handshake.account == account && handshake.is_open(now));
        let made = made.ok_or_else(|| error::not_found(Node::Handshake))?;
        Ok(json!({ "Handshake": shape::handshake(&organization, made, now) }))
    }

    pub(super) async fn accept(&mut self, handshake: String) -> Outcome<Value> {
        self.execute(OrganizationAction::Accept { handshake: handshake.clone() }).await?;
        self.show_handshake(&handshake)
    }

    pub(super) async fn decline(&mut self, handshake: String) -> Outcome<Value> {
        self.execute(OrganizationAction::Decline { handshake: handshake.clone() }).await?;
        self.show_handshake(&handshake)
    }

    pub(super) async fn cancel(&mut self, handshake: String) -> Outcome<Value> {
        self.managed()?;
        self.execute(OrganizationAction::Cancel { handshake: handshake.clone() }).await?;
        self.show_handshake(&handshake)
    }

    /// To who invited and who is invited.
    pub(super) fn show_handshake(&self, id: &str) -> Outcome<Value> {
        let mut organizations = self.state.organizations.values();
        let found = organizations.find_map(|organization| {
            let handshake = organization.handshakes.get(id)?;
            let is_party = handshake.account == self.account || organization.management == self.account;
            is_party.then(|| shape::handshake(organization, handshake, self.now()))
        });
        Ok(json!({ "Handshake": found.ok_or_else(|| error::not_found(Node::Handshake))? }))
    }

    pub(super) fn list_handshakes_for_account(&self, request: ListHandshakesForAccount) -> Outcome<Value> {
        let ListHandshakesForAccount { filter, next_token: token, max_results: max } = request;
        let wanted = wants_invitations(filter);
        let now = self.now();
        let own = self.state.organizations.values().flat_map(|organization| {
            let own = organization.handshakes.values().filter(|handshake| handshake.account == self.account);
            own.map(move |handshake| (handshake.id.clone(), shape::handshake(organization, handshake, now)))
        });
        page("Handshakes", own.filter(|_| wanted), Wanted { token, max })
    }

    pub(super) fn list_handshakes_for_organization(
        &self,
        request: ListHandshakesForOrganization,
    ) -> Outcome<Value> {
        let ListHandshakesForOrganization { filter, next_token: token, max_results: max } = request;
        let (organization, wanted) = (self.managed()?, wants_invitations(filter));
        let all = organization.handshakes.values().filter(|_| wanted);
        let shown = all
            .map(|handshake| (handshake.id.clone(), shape::handshake(&organization, handshake, self.now())));
        page("Handshakes", shown, Wanted { token, max })
    }
}

/// Every handshake here is an invitation, and none has a parent.
fn wants_invitations(filter: Option<HandshakeFilter>) -> bool {
    let Some(HandshakeFilter { action_type, parent_handshake_id }) = filter else { return true };
    parent_handshake_id.is_none() && action_type.is_none_or(|action| action == "INVITE")
}

//! The organization itself, its units and its accounts.

use postern_frontdoor::JsonError;
use postern_model::organization::{NewAccount, Node, Organization, OrganizationAction};
use serde_json::{Value, json};

use super::call::{Call, Outcome, account_id, sized, tags};
use super::page::{Wanted, page};
use super::request::*;
use super::{error, shape};
use crate::directory::managed;

/// The role by which the management account gets into an account that it made ("CreateAccount").
const DEFAULT_ROLE: &str = "OrganizationAccountAccessRole";
/// The name of that role's one policy.
const ROLE_POLICY: &str = "AdministratorAccess";

impl Call<'_> {
    pub(super) async fn create(&mut self, feature_set: Option<String>) -> Outcome<Value> {
        let all_features = match feature_set.as_deref() {
            None | Some("ALL") => true,
            Some("CONSOLIDATED_BILLING") => false,
            Some(other) => {
                return Err(error::invalid_input("INVALID_ENUM", format!("FeatureSet cannot be {other}.")));
            }
        };
        self.execute(OrganizationAction::Create { all_features }).await?;
        Ok(json!({ "Organization": shape::organization(&*self.organization()?) }))
    }

    pub(super) fn list_roots(&self, request: ListRoots) -> Outcome<Value> {
        let organization = self.managed()?;
        let root = (organization.root.clone(), shape::root(&organization));
        page("Roots", [root], Wanted { token: request.next_token, max: request.max_results })
    }

    pub(super) async fn create_unit(&mut self, request: CreateOrganizationalUnit) -> Outcome<Value> {
        let CreateOrganizationalUnit { parent_id, name, tags: given } = request;
        self.managed()?;
        sized("Name", &name, 1, 128)?;
        let (parent, tags) = (parent_id, tags(given)?);
        let create = OrganizationAction::CreateUnit { parent: parent.clone(), name: name.clone(), tags };
        self.execute(create).await?;
        let organization = self.managed()?;
        let mut units = organization.units.values();
        let made = units.find(|unit| unit.parent == parent && unit.name == name);
        let made = made.ok_or_else(|| error::not_found(Node::Unit))?;
        Ok(json!({ "OrganizationalUnit": shape::unit(&organization, made) }))
    }

    pub(super) fn describe_unit(&self, id: &str) -> Outcome<Value> {
        let organization = self.managed()?;
        let unit = organization.units.get(id).ok_or_else(|| error::not_found(Node::Unit))?;
        Ok(json!({ "OrganizationalUnit": shape::unit(&organization, unit) }))
    }

    pub(super) async fn update_unit(&mut self, request: UpdateOrganizationalUnit) -> Outcome<Value> {
        let UpdateOrganizationalUnit { organizational_unit_id: unit, name } = request;
        self.managed()?;
        if let Some(name) = name {
            sized("Name", &name, 1, 128)?;
            self.execute(OrganizationAction::RenameUnit { unit: unit.clone(), name }).await?;
        }
        self.describe_unit(&unit)
    }

    /// The organization, and that something is its root or a unit of it.
    fn parent(&self, id: &str) -> Outcome<std::sync::Arc<Organization>> {
        let organization = self.managed()?;
        match organization.node(id) {
            Some(Node::Root | Node::Unit) => Ok(organization),
            _ => Err(error::not_found(Node::Parent)),
        }
    }

    pub(super) fn list_units(&self, request: ListOrganizationalUnitsForParent) -> Outcome<Value> {
        let ListOrganizationalUnitsForParent { parent_id, next_token: token, max_results: max } = request;
        let organization = self.parent(&parent_id)?;
        let units = organization.units.values().filter(|unit| unit.parent == parent_id);
        let units = units.map(|unit| (unit.id.clone(), shape::unit(&organization, unit)));
        page("OrganizationalUnits", units, Wanted { token, max })
    }

    pub(super) fn list_accounts(&self, request: ListAccounts) -> Outcome<Value> {
        let ListAccounts { next_token: token, max_results: max } = request;
        accounts(&*self.managed()?, |_| true, Wanted { token, max })
    }

    pub(super) fn list_accounts_for_parent(&self, request: ListAccountsForParent) -> Outcome<Value> {
        let ListAccountsForParent { parent_id, next_token: token, max_results: max } = request;
        accounts(&*self.parent(&parent_id)?, |parent| parent == parent_id, Wanted { token, max })
    }

    pub(super) fn list_children(&self, request: ListChildren) -> Outcome<Value> {
        let ListChildren { parent_id, child_type, next_token: token, max_results: max } = request;
        let organization = self.parent(&parent_id)?;
        let children: Vec<String> = match child_type.as_str() {
            "ACCOUNT" => {
                let below = organization.members.iter().filter(|(_, member)| member.parent == parent_id);
                below.map(|(id, _)| id.to_string()).collect()
            }
            "ORGANIZATIONAL_UNIT" => {
                let below = organization.units.values().filter(|unit| unit.parent == parent_id);
                below.map(|unit| unit.id.clone()).collect()
            }
            other => {
                return Err(error::invalid_input("INVALID_ENUM", format!("ChildType cannot be {other}.")));
            }
        };
        let shown = children.into_iter().map(|id| (id.clone(), json!({ "Id": id, "Type": child_type })));
        page("Children", shown, Wanted { token, max })
    }

    pub(super) fn list_parents(&self, request: ListParents) -> Outcome<Value> {
        let ListParents { child_id, next_token: token, max_results: max } = request;
        let organization = self.managed()?;
        let missing = || error::error("ChildNotFoundException", "You specified a child that doesn't exist.");
        let parent = organization.parent(&child_id).ok_or_else(missing)?;
        let kind = if parent == organization.root { "ROOT" } else { "ORGANIZATIONAL_UNIT" };
        let shown = (parent.to_owned(), json!({ "Id": parent, "Type": kind }));
        page("Parents", [shown], Wanted { token, max })
    }

    pub(super) fn describe_account(&self, id: &str) -> Outcome<Value> {
        let organization = self.managed()?;
        let account = shape::account(&organization, account_id(id)?);
        Ok(json!({ "Account": account.ok_or_else(|| error::not_found(Node::Account))? }))
    }

    /// The account is there when this answers, so its status never is `IN_PROGRESS`. Of billing, which
    /// `IamUserAccessToBilling` is about, there is none: only the value is looked at.
    pub(super) async fn create_account(&mut self, request: CreateAccount) -> Outcome<Value> {
        let CreateAccount { email, account_name, role_name, iam_user_access_to_billing, tags: given } =
            request;
        let organization = self.managed()?;
        sized("AccountName", &account_name, 1, 50)?;
        sized("Email", &email, 6, 64)?;
        let well_formed = email.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && host.contains('.') && !email.contains(char::is_whitespace)
        });
        if !well_formed {
            let message = format!("You provided the email address {email}, which is not valid.");
            return Err(error::invalid_input("INVALID_EMAIL_ADDRESS_TARGET", message));
        }
        if let Some(other) = iam_user_access_to_billing.filter(|value| value != "ALLOW" && value != "DENY") {
            let message = format!("IamUserAccessToBilling cannot be {other}.");
            return Err(error::invalid_input("INVALID_ENUM", message));
        }
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": { "AWS": format!("arn:aws:iam::{}:root", organization.management) },
                "Action": "sts:AssumeRole",
            }],
        });
        let policy = managed::find("arn:aws:iam::aws:policy/AdministratorAccess");
        let policy =
            policy.ok_or_else(|| JsonError::internal("the policy AdministratorAccess is missing"))?;
        let new = NewAccount {
            name: account_name,
            email,
            role: role_name.unwrap_or_else(|| DEFAULT_ROLE.to_owned()),
            role_trust: trust.to_string(),
            role_policy: (ROLE_POLICY.to_owned(), policy.document.to_owned()),
            tags: tags(given)?,
        };
        let before = organization.creations.clone();
        self.execute(OrganizationAction::CreateAccount(Box::new(new))).await?;
        let organization = self.managed()?;
        let made = organization.creations.iter().find(|(id, _)| !before.contains_key(*id));
        let (_, made) = made.ok_or_else(|| error::not_found(Node::Account))?;
        Ok(json!({ "CreateAccountStatus": shape::creation(made) }))
    }

    pub(super) fn describe_creation(&self, id: &str) -> Outcome<Value> {
        let organization = self.managed()?;
        let missing = || {
            let message = "We can't find a create account request with the CreateAccountRequestId that you \
                           specified.";
            error::error("CreateAccountStatusNotFoundException", message)
        };
        let creation = organization.creations.get(id).ok_or_else(missing)?;
        Ok(json!({ "CreateAccountStatus": shape::creation(creation) }))
    }

    pub(super) fn list_creations(&self, request: ListCreateAccountStatus) -> Outcome<Value> {
        let ListCreateAccountStatus { states, next_token: token, max_results: max } = request;
        let known = ["IN_PROGRESS", "SUCCEEDED", "FAILED"];
        if let Some(other) = states.iter().find(|state| !known.contains(&state.as_str())) {
            return Err(error::invalid_input("INVALID_ENUM", format!("States cannot have {other}.")));
        }
        let organization = self.managed()?;
        let wanted = states.is_empty() || states.iter().any(|state| state == "SUCCEEDED");
        let creations = organization.creations.values().filter(|_| wanted);
        let shown = creations.map(|creation| (creation.id.clone(), shape::creation(creation)));
        page("CreateAccountStatuses", shown, Wanted { token, max })
    }

    pub(super) fn list_tags(&self, request: ListTagsForResource) -> Outcome<Value> {
        let ListTagsForResource { resource_id: id, next_token: token } = request;
        let organization = self.managed()?;
        if organization.node(&id).is_none() && organization.kind_of(&id).is_none() {
            return Err(error::not_found(Node::Target));
        }
        let tags = organization.tags.get(&id).into_iter().flatten();
        let shown = tags.map(|(key, value)| (key.clone(), json!({ "Key": key, "Value": value })));
        page("Tags", shown, Wanted { token, max: None })
    }
}

fn accounts(organization: &Organization, is_wanted: impl Fn(&str) -> bool, wanted: Wanted) -> Outcome<Value> {
    let below = organization.members.iter().filter(|(_, member)| is_wanted(&member.parent));
    let shown = below.filter_map(|(id, _)| Some((id.to_string(), shape::account(organization, *id)?)));
    page("Accounts", shown, wanted)
}

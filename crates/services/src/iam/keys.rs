//! Access keys of users and of the root user.

use postern_model::Action;
use postern_model::iam::{AccessKey as Key, IamAction, KeyOwner, Secret};
use postern_wire::iam::*;
use postern_wire::{AwsError, Sensitive};

use super::error::{limit_exceeded, not_found, validation};
use super::page::page;
use super::{Call, Outcome, required, shape};
use crate::directory::session::{new_key_id, new_secret};

/// What the ids of long-term access keys start with.
const KEY_PREFIX: &str = "AKIA";
/// How many keys a user may have ("IAM and AWS STS quotas"); the model holds users to it, this the root user.
const KEYS_MAX: usize = 2;

impl Call<'_> {
    pub(super) async fn create_access_key(
        &mut self,
        request: CreateAccessKeyRequest,
    ) -> Outcome<CreateAccessKeyResponse> {
        let CreateAccessKeyRequest { user_name } = request;
        let user = self.user_or_caller(user_name)?;
        let failed = |_| AwsError::new("ServiceFailure", "No key could be made.").with_status(500);
        let (id, secret) = (new_key_id(KEY_PREFIX).map_err(failed)?, new_secret().map_err(failed)?);
        let kept = Secret(secret.clone());
        match &user {
            Some(user) => {
                self.execute(IamAction::CreateAccessKey { user: user.clone(), id: id.clone(), secret: kept })
                    .await?;
            }
            None if self.keys_of(&KeyOwner::Root).len() >= KEYS_MAX => {
                return Err(limit_exceeded(format!("Cannot exceed quota for AccessKeysPerUser: {KEYS_MAX}")));
            }
            None => self.execute_any(Action::CreateRootKey { id: id.clone(), secret: kept }).await?,
        }
        let iam = self.iam();
        let key = iam.access_keys.get(&id).ok_or_else(|| not_found("access key", &id))?;
        Ok(CreateAccessKeyResponse {
            access_key: Some(AccessKey {
                access_key_id: Some(id),
                create_date: shape::time(key.created_at),
                secret_access_key: Some(Sensitive::new(secret)),
                status: Some(status(key)),
                user_name: Some(user.unwrap_or_default()),
            }),
        })
    }

    pub(super) async fn delete_access_key(&mut self, request: DeleteAccessKeyRequest) -> Outcome<()> {
        let DeleteAccessKeyRequest { access_key_id, user_name } = request;
        let id = required(access_key_id, "AccessKeyId")?;
        let user = self.known_user(user_name)?;
        self.execute(IamAction::DeleteAccessKey { user, id }).await
    }

    pub(super) async fn update_access_key(&mut self, request: UpdateAccessKeyRequest) -> Outcome<()> {
        let UpdateAccessKeyRequest { access_key_id, status, user_name } = request;
        let id = required(access_key_id, "AccessKeyId")?;
        let active = match required(status, "Status")?.as_str() {
            "Active" => true,
            "Inactive" => false,
            other => return Err(validation(format!("The status {other} cannot be set."))),
        };
        let user = self.known_user(user_name)?;
        self.execute(IamAction::SetAccessKey { user, id, active }).await
    }

    pub(super) fn list_access_keys(&self, request: ListAccessKeysRequest) -> Outcome<ListAccessKeysResponse> {
        let ListAccessKeysRequest { marker, max_items, user_name } = request;
        let user = self.known_user(user_name)?;
        let owner = user.clone().map_or(KeyOwner::Root, KeyOwner::User);
        let keys = self.keys_of(&owner);
        let rows = keys.iter().map(|key| {
            let row = AccessKeyMetadata {
                access_key_id: Some(key.id.clone()),
                create_date: shape::time(key.created_at),
                status: Some(status(key)),
                user_name: user.clone(),
            };
            (key.id.as_str(), row)
        });
        let page = page(rows, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListAccessKeysResponse { access_key_metadata: Some(page.items), is_truncated, marker })
    }

    /// The user that a request names or the caller is, who has to be there; none is the root user.
    fn known_user(&self, name: Option<String>) -> Outcome<Option<String>> {
        let user = self.user_or_caller(name)?;
        user.map(|name| self.user(&name).map(|user| user.name.clone())).transpose()
    }

    fn keys_of(&self, owner: &KeyOwner) -> Vec<std::sync::Arc<Key>> {
        self.iam().access_keys.values().filter(|key| key.owner == *owner).cloned().collect()
    }
}

fn status(key: &Key) -> String {
    if key.active { "Active" } else { "Inactive" }.to_owned()
}

//! Instance profiles.

use std::sync::Arc;

use postern_model::iam::IamAction;
use postern_wire::iam::*;

use super::error::not_found;
use super::page::page;
use super::{Call, Outcome, required, shape, tags};

impl Call<'_> {
    pub(super) fn profile(&self, name: &str) -> Outcome<Arc<postern_model::iam::InstanceProfile>> {
        self.iam().instance_profiles.get(name).cloned().ok_or_else(|| not_found("instance profile", name))
    }

    pub(super) async fn create_profile(
        &mut self,
        request: CreateInstanceProfileRequest,
    ) -> Outcome<CreateInstanceProfileResponse> {
        let CreateInstanceProfileRequest { instance_profile_name, path, tags } = request;
        let name = required(instance_profile_name, "InstanceProfileName")?;
        let path = path.unwrap_or_else(|| "/".to_owned());
        let tags = tags::given(tags)?;
        self.execute(IamAction::CreateInstanceProfile { name: name.clone(), path, tags }).await?;
        let profile = shape::profile(self.account, &self.iam(), &*self.profile(&name)?, true);
        Ok(CreateInstanceProfileResponse { instance_profile: Some(profile) })
    }

    pub(super) fn get_profile(
        &self,
        request: GetInstanceProfileRequest,
    ) -> Outcome<GetInstanceProfileResponse> {
        let GetInstanceProfileRequest { instance_profile_name } = request;
        let found = self.profile(&required(instance_profile_name, "InstanceProfileName")?)?;
        let profile = shape::profile(self.account, &self.iam(), &found, true);
        Ok(GetInstanceProfileResponse { instance_profile: Some(profile) })
    }

    pub(super) async fn delete_profile(&mut self, request: DeleteInstanceProfileRequest) -> Outcome<()> {
        let DeleteInstanceProfileRequest { instance_profile_name } = request;
        let name = required(instance_profile_name, "InstanceProfileName")?;
        self.execute(IamAction::DeleteInstanceProfile { name }).await
    }

    pub(super) async fn add_role_to_profile(
        &mut self,
        request: AddRoleToInstanceProfileRequest,
    ) -> Outcome<()> {
        let AddRoleToInstanceProfileRequest { instance_profile_name, role_name } = request;
        let profile = required(instance_profile_name, "InstanceProfileName")?;
        let role = required(role_name, "RoleName")?;
        self.execute(IamAction::AddRoleToInstanceProfile { profile, role }).await
    }

    pub(super) async fn remove_role_from_profile(
        &mut self,
        request: RemoveRoleFromInstanceProfileRequest,
    ) -> Outcome<()> {
        let RemoveRoleFromInstanceProfileRequest { instance_profile_name, role_name } = request;
        let profile = required(instance_profile_name, "InstanceProfileName")?;
        let role = required(role_name, "RoleName")?;
        self.execute(IamAction::RemoveRoleFromInstanceProfile { profile, role }).await
    }

    pub(super) fn list_profiles(
        &self,
        request: ListInstanceProfilesRequest,
    ) -> Outcome<ListInstanceProfilesResponse> {
        let ListInstanceProfilesRequest { marker, max_items, path_prefix } = request;
        let prefix = path_prefix.unwrap_or_default();
        let iam = self.iam();
        let profiles = iam.instance_profiles.iter().filter(|(_, profile)| profile.path.starts_with(&prefix));
        let shown = profiles
            .map(|(name, profile)| (name.as_str(), shape::profile(self.account, &iam, profile, false)));
        let page = page(shown, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListInstanceProfilesResponse { instance_profiles: Some(page.items), is_truncated, marker })
    }

    pub(super) fn list_profiles_for_role(
        &self,
        request: ListInstanceProfilesForRoleRequest,
    ) -> Outcome<ListInstanceProfilesForRoleResponse> {
        let ListInstanceProfilesForRoleRequest { marker, max_items, role_name } = request;
        let role = self.role(&required(role_name, "RoleName")?)?;
        let iam = self.iam();
        let profiles =
            iam.instance_profiles.iter().filter(|(_, profile)| profile.role.as_ref() == Some(&role.name));
        let shown = profiles
            .map(|(name, profile)| (name.as_str(), shape::profile(self.account, &iam, profile, false)));
        let page = page(shown, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListInstanceProfilesForRoleResponse { instance_profiles: Some(page.items), is_truncated, marker })
    }
}

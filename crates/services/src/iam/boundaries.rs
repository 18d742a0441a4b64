//! Permissions boundaries of users and roles ("Permissions boundaries for IAM entities" in the IAM user guide).

use postern_model::iam::{Bounded, Iam, IamAction};
use postern_wire::iam::*;

use super::error::no_boundary_policy;
use super::{Call, Outcome, required};
use crate::directory::managed;

/// A boundary is a managed policy: one of the account's own, or one of AWS's.
pub(super) fn check(iam: &Iam, arn: Option<String>) -> Outcome<Option<String>> {
    match arn {
        Some(arn) if !iam.policies.contains_key(&arn) && managed::find(&arn).is_none() => {
            Err(no_boundary_policy(&arn))
        }
        Some(_) | None => Ok(arn),
    }
}

impl Call<'_> {
    async fn set_boundary(&mut self, identity: Bounded, arn: Option<String>) -> Outcome<()> {
        self.execute(IamAction::SetPermissionsBoundary { identity, arn }).await
    }

    pub(super) async fn put_user_boundary(
        &mut self,
        request: PutUserPermissionsBoundaryRequest,
    ) -> Outcome<()> {
        let PutUserPermissionsBoundaryRequest { permissions_boundary, user_name } = request;
        let name = required(user_name, "UserName")?;
        self.user(&name)?;
        let arn = check(&self.iam(), Some(required(permissions_boundary, "PermissionsBoundary")?))?;
        self.set_boundary(Bounded::User(name), arn).await
    }

    pub(super) async fn delete_user_boundary(
        &mut self,
        request: DeleteUserPermissionsBoundaryRequest,
    ) -> Outcome<()> {
        let DeleteUserPermissionsBoundaryRequest { user_name } = request;
        self.set_boundary(Bounded::User(required(user_name, "UserName")?), None).await
    }

    pub(super) async fn put_role_boundary(
        &mut self,
        request: PutRolePermissionsBoundaryRequest,
    ) -> Outcome<()> {
        let PutRolePermissionsBoundaryRequest { permissions_boundary, role_name } = request;
        let name = required(role_name, "RoleName")?;
        self.role(&name)?;
        let arn = check(&self.iam(), Some(required(permissions_boundary, "PermissionsBoundary")?))?;
        self.set_boundary(Bounded::Role(name), arn).await
    }

    pub(super) async fn delete_role_boundary(
        &mut self,
        request: DeleteRolePermissionsBoundaryRequest,
    ) -> Outcome<()> {
        let DeleteRolePermissionsBoundaryRequest { role_name } = request;
        self.set_boundary(Bounded::Role(required(role_name, "RoleName")?), None).await
    }
}

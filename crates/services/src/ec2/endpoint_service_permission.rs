//! Who may have endpoints to a service.

use postern_model::endpoint_service::{
    EndpointService, EndpointServiceAction, Permission, PrincipalType, principal_type,
};
use postern_model::{Action, EndpointServiceId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::endpoint_service_configuration::{BOUNDS, named};
use super::filters::{self, FilterTable, Row, text};
use super::parameters::{DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::{some, tags};

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write ModifyVpcEndpointServicePermissions = modify;
        honoured: &[DRY_RUN, &["AddAllowedPrincipals", "RemoveAllowedPrincipals", "ServiceId"]],
        only: &[("PermissionType", &["vpc-endpoint"])],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
    operation! { read DescribeVpcEndpointServicePermissions = describe;
        filters: filters::names::<ec2::AllowedPrincipal>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ServiceId"]],
    },
];

/// AWS's word for what a principal is.
fn type_name(principal: &str) -> Option<String> {
    let name = match principal_type(principal)? {
        PrincipalType::All => "All",
        PrincipalType::Account => "Account",
        PrincipalType::User => "User",
        PrincipalType::Role => "Role",
    };
    some(name)
}

fn show(service: EndpointServiceId, principal: &str, permission: &Permission) -> ec2::AllowedPrincipal {
    ec2::AllowedPrincipal {
        permission_type: some("vpc-endpoint"),
        principal: some(principal),
        principal_type: type_name(principal),
        service_id: some(service),
        service_permission_id: some(permission.id),
        tags: tags(&permission.tags),
    }
}

impl Row for ec2::AllowedPrincipal {
    const FILTERS: FilterTable<Self> = &[
        ("principal", |p| text(p.principal.as_ref())),
        ("principal-type", |p| text(p.principal_type.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.principal.clone().unwrap_or_default()
    }
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointServicePermissionsRequest,
) -> Result<ec2::ModifyVpcEndpointServicePermissionsResult, AwsError> {
    let service = named(call, request.service_id)?;
    let known = call.state.get::<EndpointService>(call.account, service).map_err(|e| call.refuse(e))?;
    let add = request.add_allowed_principals;
    let action = EndpointServiceAction::ModifyPermissions {
        service,
        add: add.clone(),
        add_tags: Vec::new(),
        remove: request.remove_allowed_principals,
    };
    let done = call.execute(None, Action::EndpointService(action)).await?;
    let found = done.state.get::<EndpointService>(call.account, service).map_err(|e| call.refuse(e))?;
    // Only those that were not there before count as added.
    let is_new = |(principal, permission): &(&String, &Permission)| {
        add.contains(principal)
            && known.permissions.get(*principal).is_none_or(|before| before.id != permission.id)
    };
    let added = found.permissions.iter().filter(is_new).map(|(principal, permission)| {
        let shown = show(service, principal, permission);
        ec2::AddedPrincipal {
            permission_type: shown.permission_type,
            principal: shown.principal,
            principal_type: shown.principal_type,
            service_id: shown.service_id,
            service_permission_id: shown.service_permission_id,
        }
    });
    Ok(ec2::ModifyVpcEndpointServicePermissionsResult {
        added_principals: Some(added.collect()),
        return_value: Some(true),
    })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointServicePermissionsRequest,
) -> Result<ec2::DescribeVpcEndpointServicePermissionsResult, AwsError> {
    let service = named(call, request.service_id)?;
    let found = call.state.get::<EndpointService>(call.account, service).map_err(|e| call.refuse(e))?;
    let rows = found.permissions.iter().map(|(principal, permission)| show(service, principal, permission));
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (allowed_principals, next_token) = call.list(rows.collect(), listing)?;
    Ok(ec2::DescribeVpcEndpointServicePermissionsResult { allowed_principals, next_token })
}

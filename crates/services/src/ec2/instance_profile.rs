//! The instance profiles of instances.

use postern_model::instance::{Instance, InstanceChange};
use postern_model::{Action, IamInstanceProfileAssociationId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::instance_view::profile;
use super::pagination::USUAL;
use super::parameters::{self, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::some;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write AssociateIamInstanceProfile = associate;
        honoured: &[&["IamInstanceProfile.Arn", "IamInstanceProfile.Name", "InstanceId"]],
        asked: &[
            Asked::Named(By::Id, "InstanceId"),
            Asked::PassedRole("IamInstanceProfile.Name"),
            Asked::PassedRole("IamInstanceProfile.Arn"),
        ],
    },
    operation! { write ReplaceIamInstanceProfileAssociation = replace;
        honoured: &[&["AssociationId", "IamInstanceProfile.Arn", "IamInstanceProfile.Name"]],
        asked: &[
            Asked::Named(By::Association, "AssociationId"),
            Asked::PassedRole("IamInstanceProfile.Name"),
            Asked::PassedRole("IamInstanceProfile.Arn"),
        ],
    },
    operation! { write DisassociateIamInstanceProfile = disassociate;
        honoured: &[&["AssociationId"]],
        asked: &[Asked::Named(By::Association, "AssociationId")],
    },
    operation! { read DescribeIamInstanceProfileAssociations = describe; filters: filters::names::<ec2::IamInstanceProfileAssociation>,
        honoured: &[FILTERS, PAGES, &["AssociationId"]],
    },
];

/// The name of the profile that a request names by name or by ARN.
pub fn name(call: &Call<'_>, given: &ec2::IamInstanceProfileSpecification) -> Result<String, AwsError> {
    match (&given.arn, &given.name) {
        (Some(_), Some(_)) => Err(parameters::combination(
            "The parameter iamInstanceProfile.name may not be used with iamInstanceProfile.arn",
        )),
        (None, None) => Err(parameters::missing("IamInstanceProfile")),
        (None, Some(name)) => Ok(name.clone()),
        (Some(arn), None) => {
            let start = format!("arn:aws:iam::{}:instance-profile/", call.account);
            let name = arn.strip_prefix(&start).and_then(|path| path.rsplit('/').next());
            // The whole ARN must be the profile's, path included.
            let found = name.and_then(|name| profile(&call.state, call.account, name));
            match (name, found.and_then(|found| found.arn)) {
                (Some(name), Some(known)) if known == *arn => Ok(name.to_owned()),
                _ => Err(parameters::invalid(
                    "iamInstanceProfile.arn",
                    arn,
                    "Invalid IAM Instance Profile ARN",
                )),
            }
        }
    }
}

fn show(state: &State, instance: &Instance, progress: &str) -> Option<ec2::IamInstanceProfileAssociation> {
    let (association, name) = instance.profile.as_ref()?;
    Some(ec2::IamInstanceProfileAssociation {
        association_id: some(association),
        iam_instance_profile: profile(state, instance.owner, name),
        instance_id: some(instance.id),
        state: some(progress),
        timestamp: None,
    })
}

impl Row for ec2::IamInstanceProfileAssociation {
    const FILTERS: FilterTable<Self> =
        &[("instance-id", |a| text(a.instance_id.as_ref())), ("state", |a| text(a.state.as_ref()))];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.association_id.clone().unwrap_or_default()
    }
}

async fn associate(
    call: &Call<'_>,
    request: ec2::AssociateIamInstanceProfileRequest,
) -> Result<ec2::AssociateIamInstanceProfileResult, AwsError> {
    let id = parameters::required(request.instance_id, "InstanceId")?;
    let instance = call.get::<Instance>(&id)?.id;
    let given = parameters::required(request.iam_instance_profile, "IamInstanceProfile")?;
    let change = InstanceChange::Profile(Some(name(call, &given)?));
    let done = call.execute(None, Action::ModifyInstance { instance, change }).await?;
    let found = done.state.get::<Instance>(call.account, instance).map_err(|e| call.refuse(e))?;
    Ok(ec2::AssociateIamInstanceProfileResult {
        iam_instance_profile_association: show(&done.state, &found, "associating"),
    })
}

/// The instance that an association is of.
fn associated(call: &Call<'_>, text: Option<String>) -> Result<std::sync::Arc<Instance>, AwsError> {
    let text = parameters::required(text, "AssociationId")?;
    let association: IamInstanceProfileAssociationId = parameters::id(&text)?;
    let linked = |instance: &&std::sync::Arc<Instance>| {
        instance.profile.as_ref().is_some_and(|(id, _)| *id == association)
    };
    let instance = call.state.visible::<Instance>(call.account).find(linked).cloned();
    instance.ok_or_else(|| error::association_not_found(&text))
}

async fn replace(
    call: &Call<'_>,
    request: ec2::ReplaceIamInstanceProfileAssociationRequest,
) -> Result<ec2::ReplaceIamInstanceProfileAssociationResult, AwsError> {
    let instance = associated(call, request.association_id)?.id;
    let given = parameters::required(request.iam_instance_profile, "IamInstanceProfile")?;
    let change = InstanceChange::ReplaceProfile(name(call, &given)?);
    let done = call.execute(None, Action::ModifyInstance { instance, change }).await?;
    let found = done.state.get::<Instance>(call.account, instance).map_err(|e| call.refuse(e))?;
    Ok(ec2::ReplaceIamInstanceProfileAssociationResult {
        iam_instance_profile_association: show(&done.state, &found, "associating"),
    })
}

async fn disassociate(
    call: &Call<'_>,
    request: ec2::DisassociateIamInstanceProfileRequest,
) -> Result<ec2::DisassociateIamInstanceProfileResult, AwsError> {
    let instance = associated(call, request.association_id)?;
    let change = InstanceChange::Profile(None);
    call.execute(None, Action::ModifyInstance { instance: instance.id, change }).await?;
    Ok(ec2::DisassociateIamInstanceProfileResult {
        iam_instance_profile_association: show(&call.state, &instance, "disassociating"),
    })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeIamInstanceProfileAssociationsRequest,
) -> Result<ec2::DescribeIamInstanceProfileAssociationsResult, AwsError> {
    let wanted: Vec<IamInstanceProfileAssociationId> = parameters::ids(&request.association_ids)?;
    let instances = call.state.visible::<Instance>(call.account);
    let mut rows: Vec<_> =
        instances.filter_map(|instance| show(&call.state, instance, "associated")).collect();
    let is = |row: &ec2::IamInstanceProfileAssociation, id: &IamInstanceProfileAssociationId| {
        row.association_id.as_deref() == Some(&id.to_string())
    };
    if let Some(missing) = wanted.iter().find(|id| !rows.iter().any(|row| is(row, id))) {
        return Err(error::association_not_found(&missing.to_string()));
    }
    rows.retain(|row| wanted.is_empty() || wanted.iter().any(|id| is(row, id)));
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (iam_instance_profile_associations, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeIamInstanceProfileAssociationsResult { iam_instance_profile_associations, next_token })
}

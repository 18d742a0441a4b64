//! The attributes of a network interface, one at a time.

use postern_model::Action;
use postern_model::interface::{InterfaceChange, NetworkInterface};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::interface_view::{attachment, groups};
use super::parameters::{self, DRY_RUN};
use super::table::{Entry, operation};
use super::view::some;

const NAMED: &[Asked] = &[Asked::Named(By::Id, "NetworkInterfaceId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write ModifyNetworkInterfaceAttribute = modify;
        honoured: &[DRY_RUN, &[
            "Attachment.AttachmentId", "Attachment.DeleteOnTermination", "Description.Value", "NetworkInterfaceId",
            "SecurityGroupId", "SourceDestCheck.Value",
        ]],
        asked: &[Asked::Named(By::Id, "NetworkInterfaceId"), Asked::Named(By::Id, "SecurityGroupId")],
    },
    operation! { read DescribeNetworkInterfaceAttribute = describe;
        honoured: &[DRY_RUN, &["Attribute", "NetworkInterfaceId"]],
        asked: NAMED,
    },
];

fn attachment_change(changes: ec2::NetworkInterfaceAttachmentChanges) -> Result<InterfaceChange, AwsError> {
    let attachment = parameters::required(changes.attachment_id, "Attachment.AttachmentId")?;
    let on = parameters::required(changes.delete_on_termination, "Attachment.DeleteOnTermination")?;
    Ok(InterfaceChange::DeleteOnTermination(parameters::id(&attachment)?, on))
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyNetworkInterfaceAttributeRequest,
) -> Result<(), AwsError> {
    let interface =
        parameters::id(&parameters::required(request.network_interface_id, "NetworkInterfaceId")?)?;
    let mut changes = Vec::new();
    if let Some(text) = request.description.and_then(|attribute| attribute.value) {
        changes.push(InterfaceChange::Description(text));
    }
    if let Some(on) = request.source_dest_check.and_then(|attribute| attribute.value) {
        changes.push(InterfaceChange::SourceDestCheck(on));
    }
    if !request.groups.is_empty() {
        changes.push(InterfaceChange::Groups(parameters::ids(&request.groups)?));
    }
    if let Some(attachment) = request.attachment {
        changes.push(attachment_change(attachment)?);
    }
    // "You can specify only one attribute at a time."
    let mut changes = changes.into_iter();
    match (changes.next(), changes.next()) {
        (Some(change), None) => {
            call.execute(None, Action::ModifyNetworkInterface { interface, change }).await.map(|_| ())
        }
        (None, _) => Err(parameters::missing("attribute")),
        (Some(_), Some(_)) => Err(parameters::combination("Fields for multiple attribute types specified")),
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeNetworkInterfaceAttributeRequest,
) -> Result<ec2::DescribeNetworkInterfaceAttributeResult, AwsError> {
    let id = parameters::required(request.network_interface_id, "NetworkInterfaceId")?;
    let interface = call.get::<NetworkInterface>(&id)?;
    let attribute = parameters::required(request.attribute, "Attribute")?;
    let mut result = ec2::DescribeNetworkInterfaceAttributeResult {
        network_interface_id: some(interface.id),
        ..Default::default()
    };
    match attribute.as_str() {
        "description" => {
            result.description = Some(ec2::AttributeValue { value: some(&interface.description) });
        }
        "groupSet" => result.groups = Some(groups(&call.state, &interface.groups)),
        "sourceDestCheck" => {
            let value = Some(interface.source_dest_check);
            result.source_dest_check = Some(ec2::AttributeBooleanValue { value });
        }
        "attachment" => {
            result.attachment = interface.attachment.map(|current| attachment(&interface, current))
        }
        "associatePublicIpAddress" => {
            result.associate_public_ip_address = Some(interface.automatic_public_address.is_some());
        }
        other => return Err(parameters::invalid("attribute", other, "Unknown attribute.")),
    }
    Ok(result)
}

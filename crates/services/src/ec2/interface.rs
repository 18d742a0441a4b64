//! Network interfaces: made, plugged in, pulled out, and their addresses.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::interface::{InterfaceKind, NetworkInterface, NewInterface};
use postern_model::{Action, AttachmentId, NetworkInterfaceId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters;
use super::interface_view::{attachment_text, show};
use super::pagination::USUAL;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "NetworkInterfaceId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateNetworkInterface = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &[
            "Description", "PrivateIpAddress", "PrivateIpAddresses.Primary", "PrivateIpAddresses.PrivateIpAddress",
            "SecondaryPrivateIpAddressCount", "SecurityGroupId", "SubnetId",
        ]],
        asked: &[
            Asked::New("network-interface"),
            Asked::Named(By::Id, "SubnetId"),
            Asked::Named(By::Id, "SecurityGroupId"),
        ],
    },
    operation! { write DeleteNetworkInterface = delete;
        honoured: &[DRY_RUN, &["NetworkInterfaceId"]],
        asked: NAMED,
    },
    operation! { read DescribeNetworkInterfaces = describe; filters: filters::names::<ec2::NetworkInterface>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["NetworkInterfaceId"]],
        only: &[("IncludeManagedResources", &["true", "false"])],
    },
    operation! { write AttachNetworkInterface = attach;
        honoured: &[DRY_RUN, &["DeviceIndex", "InstanceId", "NetworkInterfaceId"]],
        only: &[("NetworkCardIndex", &["0"])],
        asked: &[Asked::Named(By::Id, "NetworkInterfaceId"), Asked::Named(By::Id, "InstanceId")],
    },
    operation! { write DetachNetworkInterface = detach;
        honoured: &[DRY_RUN, &["AttachmentId"]],
        // A detachment here is at once, so there is nothing to force.
        only: &[("Force", &["true", "false"])],
        asked: &[Asked::Named(By::Attachment, "AttachmentId")],
    },
    operation! { write AssignPrivateIpAddresses = assign;
        honoured: &[&["NetworkInterfaceId", "PrivateIpAddress", "SecondaryPrivateIpAddressCount"]],
        only: &[("AllowReassignment", &["false"])],
        asked: NAMED,
    },
    operation! { write UnassignPrivateIpAddresses = unassign;
        honoured: &[&["NetworkInterfaceId", "PrivateIpAddress"]],
        asked: NAMED,
    },
];

fn interface_id(text: Option<String>) -> Result<NetworkInterfaceId, AwsError> {
    parameters::id(&parameters::required(text, "NetworkInterfaceId")?)
}

fn addresses(texts: &[String]) -> Result<Vec<Ipv4Addr>, AwsError> {
    texts.iter().map(|text| parameters::address(text, "privateIpAddress")).collect()
}

/// The primary address and the others, from the two ways in which a request may give them.
fn chosen_addresses(
    primary: Option<&str>,
    listed: &[ec2::PrivateIpAddressSpecification],
) -> Result<(Option<Ipv4Addr>, Vec<Ipv4Addr>), AwsError> {
    let mut primary = primary.map(|text| parameters::address(text, "privateIpAddress")).transpose()?;
    let mut others = Vec::new();
    for ec2::PrivateIpAddressSpecification { primary: is_primary, private_ip_address } in listed {
        let text =
            parameters::required(private_ip_address.as_deref(), "PrivateIpAddresses.PrivateIpAddress")?;
        let address = parameters::address(text, "privateIpAddresses")?;
        if !is_primary.unwrap_or(false) {
            others.push(address);
        } else if primary.replace(address).is_some() {
            return Err(parameters::combination("Only one primary private IP address can be specified."));
        }
    }
    Ok((primary, others))
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateNetworkInterfaceRequest,
) -> Result<ec2::CreateNetworkInterfaceResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["network-interface"])?;
    let (private_address, secondary_addresses) =
        chosen_addresses(request.private_ip_address.as_deref(), &request.private_ip_addresses)?;
    let wanted = request.secondary_private_ip_address_count.unwrap_or(0);
    let wanted: usize = parameters::number(wanted, "secondaryPrivateIpAddressCount")?;
    if wanted > 0 && !secondary_addresses.is_empty() {
        return Err(parameters::combination(
            "You cannot specify a number of private IP addresses and private IP addresses in the same request",
        ));
    }
    let groups = parameters::ids(&request.groups)?;
    let action = Action::CreateNetworkInterface(NewInterface {
        subnet: parameters::id(&parameters::required(request.subnet_id, "SubnetId")?)?,
        description: request.description.unwrap_or_default(),
        private_address,
        secondary_addresses,
        secondary_count: wanted,
        groups: (!groups.is_empty()).then_some(groups),
        kind: InterfaceKind::Interface,
        tags,
    });
    let client_token = request.client_token;
    let done = call.execute(client_token.as_deref(), action).await?;
    let id = created!(done, NetworkInterface)?;
    let interface = done.state.get::<NetworkInterface>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateNetworkInterfaceResult {
        client_token,
        network_interface: Some(show(&done.state, &interface)),
    })
}

async fn delete(call: &Call<'_>, request: ec2::DeleteNetworkInterfaceRequest) -> Result<(), AwsError> {
    let interface = interface_id(request.network_interface_id)?;
    call.execute(None, Action::DeleteNetworkInterface { interface }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeNetworkInterfacesRequest,
) -> Result<ec2::DescribeNetworkInterfacesResult, AwsError> {
    let interfaces: Vec<Arc<NetworkInterface>> = call.select(&request.network_interface_ids)?;
    let rows = interfaces.iter().map(|interface| show(&call.state, interface)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (network_interfaces, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeNetworkInterfacesResult { network_interfaces, next_token })
}

async fn attach(
    call: &Call<'_>,
    request: ec2::AttachNetworkInterfaceRequest,
) -> Result<ec2::AttachNetworkInterfaceResult, AwsError> {
    let interface = interface_id(request.network_interface_id)?;
    let instance = parameters::id(&parameters::required(request.instance_id, "InstanceId")?)?;
    let device_index = parameters::required(request.device_index, "DeviceIndex")?;
    let device_index = parameters::number(device_index, "deviceIndex")?;
    let action = Action::AttachNetworkInterface { interface, instance: Some(instance), device_index };
    let done = call.execute(None, action).await?;
    let attached = done.state.get::<NetworkInterface>(call.account, interface).map_err(|e| call.refuse(e))?;
    Ok(ec2::AttachNetworkInterfaceResult {
        attachment_id: attached.attachment.map(|attachment| attachment.id.to_string()),
        network_card_index: Some(0),
    })
}

async fn detach(call: &Call<'_>, request: ec2::DetachNetworkInterfaceRequest) -> Result<(), AwsError> {
    let text = parameters::required(request.attachment_id, "AttachmentId")?;
    let attachment: AttachmentId = parameters::id(&attachment_text(&text))?;
    call.execute(None, Action::DetachNetworkInterface { attachment }).await.map(|_| ())
}

async fn assign(
    call: &Call<'_>,
    request: ec2::AssignPrivateIpAddressesRequest,
) -> Result<ec2::AssignPrivateIpAddressesResult, AwsError> {
    let interface = interface_id(request.network_interface_id)?;
    let wanted = addresses(&request.private_ip_addresses)?;
    let count = request.secondary_private_ip_address_count.unwrap_or(0);
    let count: usize = parameters::number(count, "secondaryPrivateIpAddressCount")?;
    match (wanted.is_empty(), count) {
        (true, 0) => return Err(parameters::missing("privateIpAddress")),
        (false, 1..) => {
            return Err(parameters::combination(
                "You cannot specify a number of private IP addresses and private IP addresses in the same request",
            ));
        }
        (true, 1..) | (false, 0) => {}
    }
    let action = Action::AssignPrivateAddresses { interface, addresses: wanted.clone(), count };
    let done = call.execute(None, action).await?;
    let found = done.state.get::<NetworkInterface>(call.account, interface).map_err(|e| call.refuse(e))?;
    // What was added stands last.
    let added = found.private_addresses.iter().rev().take(wanted.len() + count).rev();
    let added = added.map(|p| ec2::AssignedPrivateIpAddress { private_ip_address: some(p.address) });
    Ok(ec2::AssignPrivateIpAddressesResult {
        assigned_private_ip_addresses: Some(added.collect()),
        network_interface_id: some(interface),
        ..Default::default()
    })
}

async fn unassign(call: &Call<'_>, request: ec2::UnassignPrivateIpAddressesRequest) -> Result<(), AwsError> {
    let interface = interface_id(request.network_interface_id)?;
    let addresses = addresses(&request.private_ip_addresses)?;
    if addresses.is_empty() {
        return Err(parameters::missing("privateIpAddress"));
    }
    call.execute(None, Action::UnassignPrivateAddresses { interface, addresses }).await.map(|_| ())
}

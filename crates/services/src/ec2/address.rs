//! Elastic IP addresses.

use std::sync::Arc;

use postern_model::gateway::Address;
use postern_model::instance::Instance;
use postern_model::interface::NetworkInterface;
use postern_model::{Action, AddressAssociationId, NetworkInterfaceId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, text};
use super::pagination::Bounds;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "AllocationId"), Asked::Named(By::PublicIp, "PublicIp")];
const ATTRIBUTE_BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write AllocateAddress = allocate;
        honoured: &[DRY_RUN, NEW_TAGS, &["NetworkBorderGroup"]],
        only: &[("Domain", &["vpc"])],
        asked: &[Asked::New("elastic-ip")],
    },
    operation! { write ReleaseAddress = release;
        honoured: &[DRY_RUN, &["AllocationId", "NetworkBorderGroup", "PublicIp"]],
        asked: NAMED,
    },
    operation! { write AssociateAddress = associate;
        honoured: &[DRY_RUN, &[
            "AllocationId", "AllowReassociation", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress", "PublicIp",
        ]],
        asked: &[
            Asked::Named(By::Id, "AllocationId"),
            Asked::Named(By::PublicIp, "PublicIp"),
            Asked::Named(By::Id, "InstanceId"),
            Asked::Named(By::Id, "NetworkInterfaceId"),
        ],
    },
    operation! { write DisassociateAddress = disassociate;
        honoured: &[DRY_RUN, &["AssociationId", "PublicIp"]],
        asked: &[Asked::Named(By::Association, "AssociationId"), Asked::Named(By::PublicIp, "PublicIp")],
    },
    operation! { read DescribeAddresses = describe; filters: filters::names::<ec2::Address>,
        honoured: &[DRY_RUN, FILTERS, &["AllocationId", "PublicIp"]],
    },
    operation! { read DescribeAddressesAttribute = describe_attribute;
        honoured: &[DRY_RUN, PAGES, &["AllocationId"]],
        only: &[("Attribute", &["domain-name"])],
    },
];

fn show(state: &State, address: &Address) -> ec2::Address {
    let association = address.association;
    let interface = association.and_then(|a| state.network_interfaces.get(&a.interface));
    let instance = interface.and_then(|interface| interface.attachment).and_then(|a| a.instance);
    let managed = interface.is_some_and(|interface| interface.kind.is_requester_managed());
    ec2::Address {
        allocation_id: some(address.id),
        association_id: association.map(|association| association.id.to_string()),
        domain: some("vpc"),
        instance_id: instance.map(|id| id.to_string()),
        network_border_group: some(&state.region.name),
        network_interface_id: interface.map(|interface| interface.id.to_string()),
        network_interface_owner_id: interface.map(|interface| interface.owner.to_string()),
        private_ip_address: association.map(|association| association.private_address.to_string()),
        public_ip: some(address.public_address),
        public_ipv4_pool: some("amazon"),
        service_managed: managed.then(|| "nat".to_owned()),
        tags: tags(&address.tags),
        ..ec2::Address::default()
    }
}

impl Row for ec2::Address {
    const FILTERS: FilterTable<Self> = &[
        ("allocation-id", |a| text(a.allocation_id.as_ref())),
        ("association-id", |a| text(a.association_id.as_ref())),
        ("domain", |a| text(a.domain.as_ref())),
        ("instance-id", |a| text(a.instance_id.as_ref())),
        ("network-border-group", |a| text(a.network_border_group.as_ref())),
        ("network-interface-id", |a| text(a.network_interface_id.as_ref())),
        ("network-interface-owner-id", |a| text(a.network_interface_owner_id.as_ref())),
        ("private-ip-address", |a| text(a.private_ip_address.as_ref())),
        ("public-ip", |a| text(a.public_ip.as_ref())),
    ];

    fn key(&self) -> String {
        self.allocation_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn by_public_ip(call: &Call<'_>, text: &str) -> Result<Arc<Address>, AwsError> {
    let mut addresses = call.state.visible::<Address>(call.account);
    let found = addresses.find(|address| address.public_address.to_string() == text).cloned();
    found.ok_or_else(|| AwsError::new("InvalidAddress.NotFound", format!("Address '{text}' not found.")))
}

/// The address that a request names by its allocation or by itself.
fn named(
    call: &Call<'_>,
    allocation: Option<&str>,
    public_ip: Option<&str>,
) -> Result<Arc<Address>, AwsError> {
    match (allocation, public_ip) {
        (Some(allocation), None) => call.get::<Address>(allocation),
        (None, Some(public_ip)) => by_public_ip(call, public_ip),
        (None, None) => Err(parameters::missing("AllocationId")),
        (Some(_), Some(_)) => Err(parameters::combination(
            "You may specify public IP or allocation id, but not both in the same call",
        )),
    }
}

/// The region has one border group, which is named after it.
fn check_border_group(call: &Call<'_>, group: Option<&str>) -> Result<(), AwsError> {
    match group {
        Some(group) if group != call.region() => Err(AwsError::new(
            "InvalidParameterValue",
            format!("Invalid value '{group}' for networkBorderGroup. It is {}.", call.region()),
        )),
        Some(_) | None => Ok(()),
    }
}

async fn allocate(
    call: &Call<'_>,
    request: ec2::AllocateAddressRequest,
) -> Result<ec2::AllocateAddressResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["elastic-ip"])?;
    check_border_group(call, request.network_border_group.as_deref())?;
    let done = call.execute(None, Action::AllocateAddress { tags }).await?;
    let id = created!(done, Address)?;
    let address = done.state.get::<Address>(call.account, id).map_err(|e| call.refuse(e))?;
    let shown = show(&done.state, &address);
    Ok(ec2::AllocateAddressResult {
        allocation_id: shown.allocation_id,
        domain: shown.domain,
        network_border_group: shown.network_border_group,
        public_ip: shown.public_ip,
        public_ipv4_pool: shown.public_ipv4_pool,
        ..Default::default()
    })
}

async fn release(call: &Call<'_>, request: ec2::ReleaseAddressRequest) -> Result<(), AwsError> {
    check_border_group(call, request.network_border_group.as_deref())?;
    let address = named(call, request.allocation_id.as_deref(), request.public_ip.as_deref())?;
    call.execute(None, Action::ReleaseAddress { allocation: address.id }).await.map(|_| ())
}

/// The only interface of an instance.
fn interface_of(call: &Call<'_>, text: &str) -> Result<NetworkInterfaceId, AwsError> {
    let instance = call.get::<Instance>(text)?;
    let interfaces: Vec<_> = instance.interfaces(&call.state).map(|interface| interface.id).collect();
    match interfaces.as_slice() {
        [one] => Ok(*one),
        [] => Err(AwsError::new(
            "IncorrectInstanceState",
            format!("The instance '{text}' has no network interface."),
        )),
        [..] => Err(AwsError::new(
            "InvalidInstanceID",
            format!(
                "There are multiple interfaces attached to instance '{text}'. Please specify an interface ID for the \
                 operation instead."
            ),
        )),
    }
}

async fn associate(
    call: &Call<'_>,
    request: ec2::AssociateAddressRequest,
) -> Result<ec2::AssociateAddressResult, AwsError> {
    let address = named(call, request.allocation_id.as_deref(), request.public_ip.as_deref())?;
    let interface = match (request.instance_id.as_deref(), request.network_interface_id.as_deref()) {
        (Some(instance), None) => interface_of(call, instance)?,
        (None, Some(interface)) => call.get::<NetworkInterface>(interface)?.id,
        (None, None) => return Err(parameters::missing("InstanceId")),
        (Some(_), Some(_)) => {
            return Err(parameters::combination(
                "You may specify an instance or a network interface, but not both",
            ));
        }
    };
    let private_address = request.private_ip_address.as_deref();
    let private_address =
        private_address.map(|text| parameters::address(text, "privateIpAddress")).transpose()?;
    let action = Action::AssociateAddress {
        allocation: address.id,
        interface,
        private_address,
        // "In a VPC, reassociation is automatic, therefore you can specify false to ensure the operation fails."
        allow_reassociation: request.allow_reassociation.unwrap_or(true),
    };
    let done = call.execute(None, action).await?;
    let address = done.state.get::<Address>(call.account, address.id).map_err(|e| call.refuse(e))?;
    Ok(ec2::AssociateAddressResult { association_id: address.association.map(|a| a.id.to_string()) })
}

async fn disassociate(call: &Call<'_>, request: ec2::DisassociateAddressRequest) -> Result<(), AwsError> {
    let association = match (request.association_id.as_deref(), request.public_ip.as_deref()) {
        (Some(association), None) => parameters::id::<AddressAssociationId>(association)?,
        (None, Some(public_ip)) => match by_public_ip(call, public_ip)?.association {
            Some(association) => association.id,
            None => {
                let message = format!("Address '{public_ip}' is not associated.");
                return Err(AwsError::new("InvalidAssociationID.NotFound", message));
            }
        },
        (None, None) => return Err(parameters::missing("AssociationId")),
        (Some(_), Some(_)) => {
            return Err(parameters::combination(
                "You may specify public IP or association id, but not both in the same call",
            ));
        }
    };
    call.execute(None, Action::DisassociateAddress { association }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeAddressesRequest,
) -> Result<ec2::DescribeAddressesResult, AwsError> {
    let mut addresses = if request.allocation_ids.is_empty() && !request.public_ips.is_empty() {
        Vec::new()
    } else {
        call.select::<Address>(&request.allocation_ids)?
    };
    for public_ip in &request.public_ips {
        let address = by_public_ip(call, public_ip)?;
        if !addresses.iter().any(|known| known.id == address.id) {
            addresses.push(address);
        }
    }
    let rows = addresses.iter().map(|address| show(&call.state, address)).collect();
    Ok(ec2::DescribeAddressesResult { addresses: call.all(rows, &request.filters)? })
}

impl Row for ec2::AddressAttribute {
    const FILTERS: FilterTable<Self> = &[];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.allocation_id.clone().unwrap_or_default()
    }
}

/// No address here has a name that was chosen for it, so the attribute has no value.
fn describe_attribute(
    call: &Call<'_>,
    request: ec2::DescribeAddressesAttributeRequest,
) -> Result<ec2::DescribeAddressesAttributeResult, AwsError> {
    let attribute = |address: &Arc<Address>| ec2::AddressAttribute {
        allocation_id: some(address.id),
        public_ip: some(address.public_address),
        ..Default::default()
    };
    let rows = call.select::<Address>(&request.allocation_ids)?.iter().map(attribute).collect();
    let listing = Listing {
        filters: Vec::new(),
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: ATTRIBUTE_BOUNDS,
    };
    let (addresses, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeAddressesAttributeResult { addresses, next_token })
}

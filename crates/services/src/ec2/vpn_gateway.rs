//! The two ends of VPNs: customer gateways, and virtual private gateways with what they are attached to.

use std::net::Ipv4Addr;

use postern_model::vpn::{AMAZON_ASN, CustomerGateway, VpnAction, VpnGateway};
use postern_model::{Action, VpcId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::filters::{self, FilterTable, Row, each, none, text};
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags};

/// The one type that there is.
pub(super) const IPSEC: &[&str] = &["ipsec.1"];
const CUSTOMERS: &[Asked] = &[Asked::Named(By::Id, "CustomerGatewayId")];
const WITH_VPC: &[Asked] = &[Asked::Named(By::Id, "VpnGatewayId"), Asked::Named(By::Id, "VpcId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateCustomerGateway = create_customer;
        honoured: &[
            DRY_RUN, NEW_TAGS,
            &["BgpAsn", "BgpAsnExtended", "DeviceName", "IpAddress", "PublicIp", "Type"],
        ],
        asked: &[Asked::New("customer-gateway")],
    },
    operation! { write DeleteCustomerGateway = delete_customer;
        honoured: &[DRY_RUN, &["CustomerGatewayId"]],
        asked: CUSTOMERS,
    },
    operation! { read DescribeCustomerGateways = describe_customers;
        filters: filters::names::<ec2::CustomerGateway>,
        honoured: &[DRY_RUN, FILTERS, &["CustomerGatewayId"]],
    },
    operation! { write CreateVpnGateway = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["AmazonSideAsn", "Type"]],
        asked: &[Asked::New("vpn-gateway")],
    },
    operation! { write DeleteVpnGateway = delete;
        honoured: &[DRY_RUN, &["VpnGatewayId"]],
        asked: &[Asked::Named(By::Id, "VpnGatewayId")],
    },
    operation! { read DescribeVpnGateways = describe; filters: filters::names::<ec2::VpnGateway>,
        honoured: &[DRY_RUN, FILTERS, &["VpnGatewayId"]],
    },
    operation! { write AttachVpnGateway = attach;
        honoured: &[DRY_RUN, &["VpcId", "VpnGatewayId"]],
        asked: WITH_VPC,
    },
    operation! { write DetachVpnGateway = detach;
        honoured: &[DRY_RUN, &["VpcId", "VpnGatewayId"]],
        asked: WITH_VPC,
    },
];

/// Only IPsec of the one kind can be had.
pub(super) fn check_type(kind: Option<&str>) -> Result<(), AwsError> {
    let kind = parameters::required(kind, "Type")?;
    if IPSEC.contains(&kind) {
        return Ok(());
    }
    Err(parameters::invalid("type", kind, "The only supported type is ipsec.1."))
}

fn show_customer(gateway: &CustomerGateway) -> ec2::CustomerGateway {
    ec2::CustomerGateway {
        bgp_asn: some(gateway.bgp_asn),
        customer_gateway_id: some(gateway.id),
        device_name: gateway.device_name.clone(),
        ip_address: some(gateway.address),
        state: some("available"),
        tags: tags(&gateway.tags),
        r#type: some("ipsec.1"),
        ..Default::default()
    }
}

impl Row for ec2::CustomerGateway {
    const FILTERS: FilterTable<Self> = &[
        ("bgp-asn", |g| text(g.bgp_asn.as_ref())),
        ("customer-gateway-id", |g| text(g.customer_gateway_id.as_ref())),
        ("ip-address", |g| text(g.ip_address.as_ref())),
        ("state", |g| text(g.state.as_ref())),
        ("type", |g| text(g.r#type.as_ref())),
    ];

    fn key(&self) -> String {
        self.customer_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create_customer(
    call: &Call<'_>,
    request: ec2::CreateCustomerGatewayRequest,
) -> Result<ec2::CreateCustomerGatewayResult, AwsError> {
    check_type(request.r#type.as_deref())?;
    let [tags] = tag::of_new(request.tag_specifications, ["customer-gateway"])?;
    let address = match (request.ip_address, request.public_ip) {
        (Some(_), Some(_)) => {
            return Err(parameters::combination("IpAddress and PublicIp cannot be given together"));
        }
        (given, deprecated) => parameters::required(given.or(deprecated), "IpAddress")?,
    };
    let address: Ipv4Addr = parameters::address(&address, "ipAddress")?;
    let bgp_asn = match (request.bgp_asn, request.bgp_asn_extended) {
        (Some(_), Some(_)) => {
            return Err(parameters::combination("BgpAsn and BgpAsnExtended cannot be given together"));
        }
        // "Default: 65000".
        (given, extended) => given.or(extended).unwrap_or(65_000),
    };
    let bgp_asn = asn(bgp_asn, "bgpAsn")?;
    let device_name = request.device_name;
    // "If you run an identical request more than one time, the first request creates the customer gateway, and
    // subsequent requests return information about the existing customer gateway."
    let same = |x: &&std::sync::Arc<CustomerGateway>| {
        (x.bgp_asn, x.address, &x.device_name) == (bgp_asn, address, &device_name)
    };
    let known = call.state.visible::<CustomerGateway>(call.account).find(same).cloned();
    if let Some(known) = known.filter(|_| !call.is_dry_run()) {
        return Ok(ec2::CreateCustomerGatewayResult { customer_gateway: Some(show_customer(&known)) });
    }
    let action = VpnAction::CreateCustomerGateway { bgp_asn, address, device_name, tags };
    let done = call.execute(None, Action::Vpn(action)).await?;
    let id = created!(done, CustomerGateway)?;
    let gateway = done.state.get::<CustomerGateway>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateCustomerGatewayResult { customer_gateway: Some(show_customer(&gateway)) })
}

/// An autonomous system's number: 1 to 4,294,967,295.
fn asn(number: i64, parameter: &str) -> Result<u64, AwsError> {
    match u32::try_from(number) {
        Ok(number @ 1..) => Ok(number.into()),
        Ok(0) | Err(_) => Err(parameters::invalid(parameter, number, "It is not a valid ASN.")),
    }
}

async fn delete_customer(
    call: &Call<'_>,
    request: ec2::DeleteCustomerGatewayRequest,
) -> Result<(), AwsError> {
    let gateway = parameters::id(&parameters::required(request.customer_gateway_id, "CustomerGatewayId")?)?;
    call.execute(None, Action::Vpn(VpnAction::DeleteCustomerGateway { gateway })).await.map(|_| ())
}

fn describe_customers(
    call: &Call<'_>,
    request: ec2::DescribeCustomerGatewaysRequest,
) -> Result<ec2::DescribeCustomerGatewaysResult, AwsError> {
    let rows = call.select::<CustomerGateway>(&request.customer_gateway_ids)?;
    let rows = rows.iter().map(|gateway| show_customer(gateway)).collect();
    let customer_gateways = call.all(rows, &request.filters)?;
    Ok(ec2::DescribeCustomerGatewaysResult { customer_gateways })
}

fn attachment(vpc: VpcId) -> ec2::VpcAttachment {
    ec2::VpcAttachment { state: some("attached"), vpc_id: some(vpc) }
}

fn show(gateway: &VpnGateway) -> ec2::VpnGateway {
    ec2::VpnGateway {
        amazon_side_asn: i64::try_from(gateway.amazon_asn).ok(),
        state: some("available"),
        tags: tags(&gateway.tags),
        r#type: some("ipsec.1"),
        vpc_attachments: Some(gateway.vpc.map(attachment).into_iter().collect()),
        vpn_gateway_id: some(gateway.id),
        ..Default::default()
    }
}

impl Row for ec2::VpnGateway {
    const FILTERS: FilterTable<Self> = &[
        ("amazon-side-asn", |g| text(g.amazon_side_asn.map(|asn| asn.to_string()).as_ref())),
        ("attachment.state", |g| each(g.vpc_attachments.as_ref(), |a| a.state.clone())),
        ("attachment.vpc-id", |g| each(g.vpc_attachments.as_ref(), |a| a.vpc_id.clone())),
        ("availability-zone", none),
        ("state", |g| text(g.state.as_ref())),
        ("type", |g| text(g.r#type.as_ref())),
        ("vpn-gateway-id", |g| text(g.vpn_gateway_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpn_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpnGatewayRequest,
) -> Result<ec2::CreateVpnGatewayResult, AwsError> {
    check_type(request.r#type.as_deref())?;
    let [tags] = tag::of_new(request.tag_specifications, ["vpn-gateway"])?;
    let amazon_asn = request.amazon_side_asn.map(|number| asn(number, "amazonSideAsn")).transpose()?;
    let action = VpnAction::CreateGateway { amazon_asn: amazon_asn.unwrap_or(AMAZON_ASN), tags };
    let done = call.execute(None, Action::Vpn(action)).await?;
    let id = created!(done, VpnGateway)?;
    let gateway = done.state.get::<VpnGateway>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateVpnGatewayResult { vpn_gateway: Some(show(&gateway)) })
}

async fn delete(call: &Call<'_>, request: ec2::DeleteVpnGatewayRequest) -> Result<(), AwsError> {
    let gateway = parameters::id(&parameters::required(request.vpn_gateway_id, "VpnGatewayId")?)?;
    call.execute(None, Action::Vpn(VpnAction::DeleteGateway { gateway })).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpnGatewaysRequest,
) -> Result<ec2::DescribeVpnGatewaysResult, AwsError> {
    let rows = call.select::<VpnGateway>(&request.vpn_gateway_ids)?;
    let rows = rows.iter().map(|gateway| show(gateway)).collect();
    Ok(ec2::DescribeVpnGatewaysResult { vpn_gateways: call.all(rows, &request.filters)? })
}

async fn attach(
    call: &Call<'_>,
    request: ec2::AttachVpnGatewayRequest,
) -> Result<ec2::AttachVpnGatewayResult, AwsError> {
    let gateway = parameters::id(&parameters::required(request.vpn_gateway_id, "VpnGatewayId")?)?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    call.execute(None, Action::Vpn(VpnAction::AttachGateway { gateway, vpc })).await?;
    Ok(ec2::AttachVpnGatewayResult { vpc_attachment: Some(attachment(vpc)) })
}

async fn detach(call: &Call<'_>, request: ec2::DetachVpnGatewayRequest) -> Result<(), AwsError> {
    let gateway = parameters::id(&parameters::required(request.vpn_gateway_id, "VpnGatewayId")?)?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    call.execute(None, Action::Vpn(VpnAction::DetachGateway { gateway, vpc })).await.map(|_| ())
}

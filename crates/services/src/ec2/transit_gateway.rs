//! Transit gateways themselves.
//!
//! There are no resource shares, so nobody's but the owner's VPCs are ever attached, and nothing waits for acceptance. What a
//! gateway here does not have (multicast, blocks of its own, encryption, security groups of other VPCs in rules) can only be
//! said to be off.

use postern_model::transit::{TransitAction, TransitChange, TransitGateway, TransitOptions};
use postern_model::vpn::AMAZON_ASN;
use postern_model::{Action, State, TransitGatewayId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags, timestamp};

/// What this endpoint does not have.
pub(super) const OFF: &[&str] = &["disable"];
const NAMED: &[Asked] = &[Asked::Named(By::Id, "TransitGatewayId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateTransitGateway = create;
        honoured: &[DRY_RUN, NEW_TAGS, &[
            "Description",
            "Options.AmazonSideAsn",
            "Options.DefaultRouteTableAssociation",
            "Options.DefaultRouteTablePropagation",
            "Options.DnsSupport",
            "Options.VpnEcmpSupport",
        ]],
        only: &[
            ("Options.AutoAcceptSharedAttachments", OFF),
            ("Options.MulticastSupport", OFF),
            ("Options.SecurityGroupReferencingSupport", OFF),
        ],
        asked: &[Asked::New("transit-gateway")],
    },
    operation! { write ModifyTransitGateway = modify;
        honoured: &[DRY_RUN, &[
            "Description",
            "Options.AmazonSideAsn",
            "Options.AssociationDefaultRouteTableId",
            "Options.DefaultRouteTableAssociation",
            "Options.DefaultRouteTablePropagation",
            "Options.DnsSupport",
            "Options.PropagationDefaultRouteTableId",
            "Options.VpnEcmpSupport",
            "TransitGatewayId",
        ]],
        only: &[
            ("Options.AutoAcceptSharedAttachments", OFF),
            ("Options.SecurityGroupReferencingSupport", OFF),
        ],
        asked: &[
            Asked::Named(By::Id, "TransitGatewayId"),
            Asked::Named(By::Id, "Options.AssociationDefaultRouteTableId"),
            Asked::Named(By::Id, "Options.PropagationDefaultRouteTableId"),
        ],
    },
    operation! { write DeleteTransitGateway = delete;
        honoured: &[DRY_RUN, &["TransitGatewayId"]],
        asked: NAMED,
    },
    operation! { read DescribeTransitGateways = describe; filters: filters::names::<ec2::TransitGateway>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayIds"]],
    },
];

/// AWS's word for what is on or off.
pub(super) fn switch(on: bool) -> Option<String> {
    some(if on { "enable" } else { "disable" })
}

/// Whether something is to be on; none where nothing is said of it.
pub(super) fn is_on(text: Option<&str>, parameter: &str) -> Result<Option<bool>, AwsError> {
    match text {
        None => Ok(None),
        Some("enable") => Ok(Some(true)),
        Some("disable") => Ok(Some(false)),
        Some(other) => Err(parameters::invalid(parameter, other, "Expected one of: enable, disable.")),
    }
}

fn show(state: &State, gateway: &TransitGateway, word: &str) -> ec2::TransitGateway {
    let TransitOptions { default_association, default_propagation, dns_support, vpn_ecmp } = gateway.options;
    let arn = format!("arn:aws:ec2:{}:{}:transit-gateway/{}", state.region.name, gateway.owner, gateway.id);
    ec2::TransitGateway {
        creation_time: Some(timestamp(gateway.created_at)),
        description: some(&gateway.description),
        options: Some(ec2::TransitGatewayOptions {
            amazon_side_asn: i64::try_from(gateway.amazon_asn).ok(),
            association_default_route_table_id: gateway.association_table.map(|id| id.to_string()),
            auto_accept_shared_attachments: switch(false),
            default_route_table_association: switch(default_association),
            default_route_table_propagation: switch(default_propagation),
            dns_support: switch(dns_support),
            multicast_support: switch(false),
            propagation_default_route_table_id: gateway.propagation_table.map(|id| id.to_string()),
            security_group_referencing_support: switch(false),
            vpn_ecmp_support: switch(vpn_ecmp),
            ..Default::default()
        }),
        owner_id: some(gateway.owner),
        state: some(word),
        tags: tags(&gateway.tags),
        transit_gateway_arn: some(arn),
        transit_gateway_id: some(gateway.id),
    }
}

fn option(
    gateway: &ec2::TransitGateway,
    of: impl Fn(&ec2::TransitGatewayOptions) -> Option<String>,
) -> Vec<String> {
    gateway.options.as_ref().and_then(of).into_iter().collect()
}

impl Row for ec2::TransitGateway {
    const FILTERS: FilterTable<Self> = &[
        ("options.amazon-side-asn", |g| shown(g.options.as_ref().and_then(|o| o.amazon_side_asn))),
        ("options.association-default-route-table-id", |g| {
            option(g, |o| o.association_default_route_table_id.clone())
        }),
        ("options.auto-accept-shared-attachments", |g| {
            option(g, |o| o.auto_accept_shared_attachments.clone())
        }),
        ("options.default-route-table-association", |g| {
            option(g, |o| o.default_route_table_association.clone())
        }),
        ("options.default-route-table-propagation", |g| {
            option(g, |o| o.default_route_table_propagation.clone())
        }),
        ("options.dns-support", |g| option(g, |o| o.dns_support.clone())),
        ("options.propagation-default-route-table-id", |g| {
            option(g, |o| o.propagation_default_route_table_id.clone())
        }),
        ("options.vpn-ecmp-support", |g| option(g, |o| o.vpn_ecmp_support.clone())),
        ("owner-id", |g| text(g.owner_id.as_ref())),
        ("state", |g| text(g.state.as_ref())),
        ("transit-gateway-id", |g| text(g.transit_gateway_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.transit_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// "64512 to 65534 for 16-bit ASNs, and 4200000000 to 4294967294 for 32-bit ASNs."
fn asn(number: i64) -> Result<u64, AwsError> {
    match u64::try_from(number) {
        Ok(number @ (64_512..=65_534 | 4_200_000_000..=4_294_967_294)) => Ok(number),
        Ok(_) | Err(_) => Err(parameters::invalid("AmazonSideAsn", number, "It is not a private ASN.")),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateTransitGatewayRequest,
) -> Result<ec2::CreateTransitGatewayResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["transit-gateway"])?;
    let given = request.options.unwrap_or_default();
    let usual = TransitOptions::default();
    let on = |text: Option<&str>, parameter: &str, usual: bool| {
        is_on(text, parameter).map(|given| given.unwrap_or(usual))
    };
    let association = given.default_route_table_association.as_deref();
    let propagation = given.default_route_table_propagation.as_deref();
    let options = TransitOptions {
        default_association: on(association, "DefaultRouteTableAssociation", usual.default_association)?,
        default_propagation: on(propagation, "DefaultRouteTablePropagation", usual.default_propagation)?,
        dns_support: on(given.dns_support.as_deref(), "DnsSupport", usual.dns_support)?,
        vpn_ecmp: on(given.vpn_ecmp_support.as_deref(), "VpnEcmpSupport", usual.vpn_ecmp)?,
    };
    let amazon_asn = given.amazon_side_asn.map(asn).transpose()?.unwrap_or(AMAZON_ASN);
    let description = request.description.unwrap_or_default();
    let action = TransitAction::Create { description, amazon_asn, options, tags };
    let done = call.execute(None, Action::Transit(action)).await?;
    let id = created!(done, TransitGateway)?;
    let gateway = done.state.get::<TransitGateway>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateTransitGatewayResult { transit_gateway: Some(show(&done.state, &gateway, "available")) })
}

fn id(text: Option<String>) -> Result<TransitGatewayId, AwsError> {
    parameters::id(&parameters::required(text, "TransitGatewayId")?)
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyTransitGatewayRequest,
) -> Result<ec2::ModifyTransitGatewayResult, AwsError> {
    let gateway = id(request.transit_gateway_id)?;
    let given = request.options.unwrap_or_default();
    let association = given.default_route_table_association.as_deref();
    let propagation = given.default_route_table_propagation.as_deref();
    let change = TransitChange {
        description: request.description,
        amazon_asn: given.amazon_side_asn.map(asn).transpose()?,
        default_association: is_on(association, "DefaultRouteTableAssociation")?,
        default_propagation: is_on(propagation, "DefaultRouteTablePropagation")?,
        association_table: parameters::optional_id(given.association_default_route_table_id.as_deref())?,
        propagation_table: parameters::optional_id(given.propagation_default_route_table_id.as_deref())?,
        dns_support: is_on(given.dns_support.as_deref(), "DnsSupport")?,
        vpn_ecmp: is_on(given.vpn_ecmp_support.as_deref(), "VpnEcmpSupport")?,
    };
    let done = call.execute(None, Action::Transit(TransitAction::Modify { gateway, change })).await?;
    let gateway = done.state.get::<TransitGateway>(call.account, gateway).map_err(|e| call.refuse(e))?;
    Ok(ec2::ModifyTransitGatewayResult { transit_gateway: Some(show(&done.state, &gateway, "available")) })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteTransitGatewayRequest,
) -> Result<ec2::DeleteTransitGatewayResult, AwsError> {
    let gateway = id(request.transit_gateway_id)?;
    let before = call.state.get::<TransitGateway>(call.account, gateway).map_err(|e| call.refuse(e))?;
    call.execute(None, Action::Transit(TransitAction::Delete { gateway })).await?;
    Ok(ec2::DeleteTransitGatewayResult { transit_gateway: Some(show(&call.state, &before, "deleting")) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeTransitGatewaysRequest,
) -> Result<ec2::DescribeTransitGatewaysResult, AwsError> {
    let rows = call.select::<TransitGateway>(&request.transit_gateway_ids)?;
    let rows = rows.iter().map(|gateway| show(&call.state, gateway, "available")).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (transit_gateways, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeTransitGatewaysResult { next_token, transit_gateways })
}

//! VPCs, their blocks and their DNS attributes.

use postern_model::vpc::{Vpc, VpcBlock};
use postern_model::{Action, State, VpcCidrAssociationId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, none, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::view::{created, some, tags};
use super::{dhcp_options, error, tag};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "VpcId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpc = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["CidrBlock"]],
        only: &[("AmazonProvidedIpv6CidrBlock", &["false"]), ("InstanceTenancy", &["default"])],
        asked: &[Asked::New("vpc")],
    },
    operation! { write CreateDefaultVpc = create_default; honoured: &[DRY_RUN], asked: &[] },
    operation! { write DeleteVpc = delete; honoured: &[DRY_RUN, &["VpcId"]], asked: NAMED },
    operation! { read DescribeVpcs = describe; filters: filters::names::<ec2::Vpc>, honoured: &[DRY_RUN, FILTERS, PAGES, &["VpcId"]] },
    operation! { read DescribeVpcAttribute = describe_attribute;
        honoured: &[DRY_RUN, &["Attribute", "VpcId"]],
        asked: NAMED,
    },
    operation! { write ModifyVpcAttribute = modify_attribute;
        honoured: &[&["EnableDnsHostnames.Value", "EnableDnsSupport.Value", "VpcId"]],
        only: &[("EnableNetworkAddressUsageMetrics.Value", &["false"])],
        asked: NAMED,
    },
    operation! { write AssociateVpcCidrBlock = associate;
        honoured: &[&["CidrBlock", "VpcId"]],
        only: &[("AmazonProvidedIpv6CidrBlock", &["false"])],
        asked: NAMED,
    },
    operation! { write DisassociateVpcCidrBlock = disassociate;
        honoured: &[&["AssociationId"]],
        asked: &[Asked::Named(By::Association, "AssociationId")],
    },
];

fn block(block: &VpcBlock, state: &str) -> ec2::VpcCidrBlockAssociation {
    ec2::VpcCidrBlockAssociation {
        association_id: some(block.association),
        cidr_block: some(block.cidr),
        cidr_block_state: Some(ec2::VpcCidrBlockState { state: some(state), status_message: None }),
    }
}

fn show(state: &State, vpc: &Vpc, progress: &str) -> ec2::Vpc {
    ec2::Vpc {
        cidr_block: some(vpc.primary_cidr()),
        cidr_block_association_set: Some(vpc.blocks.iter().map(|b| block(b, "associated")).collect()),
        dhcp_options_id: Some(dhcp_options::shown_id(state, vpc.dhcp_options)),
        instance_tenancy: some("default"),
        is_default: Some(vpc.is_default),
        owner_id: some(vpc.owner),
        state: some(progress),
        tags: tags(&vpc.tags),
        vpc_id: some(vpc.id),
        ..ec2::Vpc::default()
    }
}

impl Row for ec2::Vpc {
    const FILTERS: FilterTable<Self> = &[
        ("cidr", |v| text(v.cidr_block.as_ref())),
        ("cidr-block", |v| text(v.cidr_block.as_ref())),
        ("cidr-block-association.association-id", |v| {
            each(v.cidr_block_association_set.as_ref(), |b| b.association_id.clone())
        }),
        ("cidr-block-association.cidr-block", |v| {
            each(v.cidr_block_association_set.as_ref(), |b| b.cidr_block.clone())
        }),
        ("cidr-block-association.state", |v| {
            each(v.cidr_block_association_set.as_ref(), |b| b.cidr_block_state.as_ref()?.state.clone())
        }),
        ("dhcp-options-id", |v| text(v.dhcp_options_id.as_ref())),
        ("instance-tenancy", |v| text(v.instance_tenancy.as_ref())),
        ("ipv6-cidr-block-association.association-id", none),
        ("ipv6-cidr-block-association.ipv6-cidr-block", none),
        ("ipv6-cidr-block-association.ipv6-pool", none),
        ("ipv6-cidr-block-association.state", none),
        ("is-default", |v| shown(v.is_default)),
        ("isDefault", |v| shown(v.is_default)),
        ("owner-id", |v| text(v.owner_id.as_ref())),
        ("state", |v| text(v.state.as_ref())),
        ("vpc-id", |v| text(v.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpc_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(call: &Call<'_>, request: ec2::CreateVpcRequest) -> Result<ec2::CreateVpcResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["vpc"])?;
    let cidr = parameters::required(request.cidr_block, "cidrBlock")?;
    let cidr = parameters::ipv4_block(&cidr, "cidrBlock")?;
    let done = call.execute(None, Action::CreateVpc { cidr, tags }).await?;
    let id = created!(done, Vpc)?;
    let vpc = done.state.get::<Vpc>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateVpcResult { vpc: Some(show(&done.state, &vpc, "pending")) })
}

/// AWS knows no resource to which policies could limit it, so it is asked on `*`.
async fn create_default(
    call: &Call<'_>,
    _request: ec2::CreateDefaultVpcRequest,
) -> Result<ec2::CreateDefaultVpcResult, AwsError> {
    let done = call.execute(None, Action::CreateDefaultVpc).await?;
    let id = created!(done, Vpc)?;
    let vpc = done.state.get::<Vpc>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateDefaultVpcResult { vpc: Some(show(&done.state, &vpc, "pending")) })
}

async fn delete(call: &Call<'_>, request: ec2::DeleteVpcRequest) -> Result<(), AwsError> {
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    call.execute(None, Action::DeleteVpc { vpc }).await.map(|_| ())
}

fn describe(call: &Call<'_>, request: ec2::DescribeVpcsRequest) -> Result<ec2::DescribeVpcsResult, AwsError> {
    let rows =
        call.select::<Vpc>(&request.vpc_ids)?.iter().map(|vpc| show(&call.state, vpc, "available")).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (vpcs, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcsResult { next_token, vpcs })
}

fn describe_attribute(
    call: &Call<'_>,
    request: ec2::DescribeVpcAttributeRequest,
) -> Result<ec2::DescribeVpcAttributeResult, AwsError> {
    let vpc = call.get::<Vpc>(&parameters::required(request.vpc_id, "VpcId")?)?;
    let attribute = parameters::required(request.attribute, "Attribute")?;
    let value = |on: bool| Some(ec2::AttributeBooleanValue { value: Some(on) });
    let mut result = ec2::DescribeVpcAttributeResult { vpc_id: some(vpc.id), ..Default::default() };
    match attribute.as_str() {
        "enableDnsSupport" => result.enable_dns_support = value(vpc.dns_support),
        "enableDnsHostnames" => result.enable_dns_hostnames = value(vpc.dns_hostnames),
        "enableNetworkAddressUsageMetrics" => result.enable_network_address_usage_metrics = value(false),
        other => return Err(parameters::invalid("attribute", other, "Unknown attribute.")),
    }
    Ok(result)
}

async fn modify_attribute(call: &Call<'_>, request: ec2::ModifyVpcAttributeRequest) -> Result<(), AwsError> {
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let support = request.enable_dns_support.and_then(|attribute| attribute.value);
    let hostnames = request.enable_dns_hostnames.and_then(|attribute| attribute.value);
    // "You can only modify one VPC attribute at a time."
    if support.is_some() && hostnames.is_some() {
        return Err(parameters::combination("Fields for multiple attribute types specified"));
    }
    call.execute(None, Action::SetVpcDns { vpc, support, hostnames }).await.map(|_| ())
}

async fn associate(
    call: &Call<'_>,
    request: ec2::AssociateVpcCidrBlockRequest,
) -> Result<ec2::AssociateVpcCidrBlockResult, AwsError> {
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let cidr = parameters::required(request.cidr_block, "cidrBlock")?;
    let cidr = parameters::ipv4_block(&cidr, "cidrBlock")?;
    let done = call.execute(None, Action::AssociateVpcCidrBlock { vpc, cidr }).await?;
    let found = done.state.get::<Vpc>(call.account, vpc).map_err(|e| call.refuse(e))?;
    let added = found.blocks.iter().find(|block| block.cidr == cidr);
    Ok(ec2::AssociateVpcCidrBlockResult {
        cidr_block_association: added.map(|added| block(added, "associating")),
        vpc_id: some(vpc),
        ..Default::default()
    })
}

async fn disassociate(
    call: &Call<'_>,
    request: ec2::DisassociateVpcCidrBlockRequest,
) -> Result<ec2::DisassociateVpcCidrBlockResult, AwsError> {
    let text = parameters::required(request.association_id, "AssociationId")?;
    let association = parameters::id::<VpcCidrAssociationId>(&text)?;
    let found = call.state.visible::<Vpc>(call.account).find_map(|vpc| {
        let block = vpc.blocks.iter().find(|block| block.association == association)?;
        Some((vpc.id, *block))
    });
    call.execute(None, Action::DisassociateVpcCidrBlock { association }).await?;
    let (vpc, gone) = found.ok_or_else(|| error::association_not_found(&text))?;
    Ok(ec2::DisassociateVpcCidrBlockResult {
        cidr_block_association: Some(block(&gone, "disassociating")),
        vpc_id: some(vpc),
        ..Default::default()
    })
}

//! Internet gateways.

use postern_model::gateway::InternetGateway;
use postern_model::{Action, InternetGatewayId, VpcId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "InternetGatewayId")];
const NAMED_WITH_VPC: &[Asked] = &[Asked::Named(By::Id, "InternetGatewayId"), Asked::Named(By::Id, "VpcId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateInternetGateway = create;
        honoured: &[DRY_RUN, NEW_TAGS],
        asked: &[Asked::New("internet-gateway")],
    },
    operation! { write DeleteInternetGateway = delete;
        honoured: &[DRY_RUN, &["InternetGatewayId"]],
        asked: NAMED,
    },
    operation! { read DescribeInternetGateways = describe; filters: filters::names::<ec2::InternetGateway>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["InternetGatewayId"]],
    },
    operation! { write AttachInternetGateway = attach;
        honoured: &[DRY_RUN, &["InternetGatewayId", "VpcId"]],
        asked: NAMED_WITH_VPC,
    },
    operation! { write DetachInternetGateway = detach;
        honoured: &[DRY_RUN, &["InternetGatewayId", "VpcId"]],
        asked: NAMED_WITH_VPC,
    },
];

fn show(gateway: &InternetGateway) -> ec2::InternetGateway {
    let attachment =
        |vpc: VpcId| ec2::InternetGatewayAttachment { state: some("available"), vpc_id: some(vpc) };
    ec2::InternetGateway {
        attachments: Some(gateway.vpc.map(attachment).into_iter().collect()),
        internet_gateway_id: some(gateway.id),
        owner_id: some(gateway.owner),
        tags: tags(&gateway.tags),
    }
}

impl Row for ec2::InternetGateway {
    const FILTERS: FilterTable<Self> = &[
        ("attachment.state", |g| each(g.attachments.as_ref(), |a| a.state.clone())),
        ("attachment.vpc-id", |g| each(g.attachments.as_ref(), |a| a.vpc_id.clone())),
        ("internet-gateway-id", |g| text(g.internet_gateway_id.as_ref())),
        ("owner-id", |g| text(g.owner_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.internet_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateInternetGatewayRequest,
) -> Result<ec2::CreateInternetGatewayResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["internet-gateway"])?;
    let done = call.execute(None, Action::CreateInternetGateway { tags }).await?;
    let id = created!(done, InternetGateway)?;
    let gateway = done.state.get::<InternetGateway>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateInternetGatewayResult { internet_gateway: Some(show(&gateway)) })
}

fn gateway_id(text: Option<String>) -> Result<InternetGatewayId, AwsError> {
    parameters::id(&parameters::required(text, "InternetGatewayId")?)
}

fn vpc_id(text: Option<String>) -> Result<VpcId, AwsError> {
    parameters::id(&parameters::required(text, "VpcId")?)
}

async fn delete(call: &Call<'_>, request: ec2::DeleteInternetGatewayRequest) -> Result<(), AwsError> {
    let gateway = gateway_id(request.internet_gateway_id)?;
    call.execute(None, Action::DeleteInternetGateway { gateway }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeInternetGatewaysRequest,
) -> Result<ec2::DescribeInternetGatewaysResult, AwsError> {
    let rows = call.select::<InternetGateway>(&request.internet_gateway_ids)?;
    let rows = rows.iter().map(|gateway| show(gateway)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (internet_gateways, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeInternetGatewaysResult { internet_gateways, next_token })
}

async fn attach(call: &Call<'_>, request: ec2::AttachInternetGatewayRequest) -> Result<(), AwsError> {
    let gateway = gateway_id(request.internet_gateway_id)?;
    let vpc = vpc_id(request.vpc_id)?;
    call.execute(None, Action::AttachInternetGateway { gateway, vpc }).await.map(|_| ())
}

async fn detach(call: &Call<'_>, request: ec2::DetachInternetGatewayRequest) -> Result<(), AwsError> {
    let gateway = gateway_id(request.internet_gateway_id)?;
    let vpc = vpc_id(request.vpc_id)?;
    call.execute(None, Action::DetachInternetGateway { gateway, vpc }).await.map(|_| ())
}

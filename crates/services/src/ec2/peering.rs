//! VPC peering connections.

use postern_model::peering::{PeeredVpc, PeeringAction, VpcPeeringConnection};
use postern_model::{AccountId, Action, State, Timestamp, VpcPeeringConnectionId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, each, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags, timestamp};

/// What AWS took out of its service, or what this endpoint does not have.
const NEVER: &[&str] = &["false"];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpcPeeringConnection = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["PeerOwnerId", "PeerRegion", "PeerVpcId", "VpcId"]],
        asked: &[Asked::New("vpc-peering-connection"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write AcceptVpcPeeringConnection = accept;
        honoured: &[DRY_RUN, &["VpcPeeringConnectionId"]],
        asked: &[Asked::Named(By::Id, "VpcPeeringConnectionId")],
    },
    operation! { write RejectVpcPeeringConnection = reject;
        honoured: &[DRY_RUN, &["VpcPeeringConnectionId"]],
        asked: &[Asked::Named(By::Id, "VpcPeeringConnectionId")],
    },
    operation! { write DeleteVpcPeeringConnection = delete;
        honoured: &[DRY_RUN, &["VpcPeeringConnectionId"]],
        asked: &[Asked::Named(By::Id, "VpcPeeringConnectionId")],
    },
    operation! { read DescribeVpcPeeringConnections = describe;
        filters: filters::names::<ec2::VpcPeeringConnection>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["VpcPeeringConnectionId"]],
    },
    operation! { write ModifyVpcPeeringConnectionOptions = modify;
        honoured: &[DRY_RUN, &[
            "AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
            "RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc",
            "VpcPeeringConnectionId",
        ]],
        only: &[
            ("AccepterPeeringConnectionOptions.AllowEgressFromLocalClassicLinkToRemoteVpc", NEVER),
            ("AccepterPeeringConnectionOptions.AllowEgressFromLocalVpcToRemoteClassicLink", NEVER),
            ("AccepterPeeringConnectionOptions.AllowMultipathResilience", NEVER),
            ("RequesterPeeringConnectionOptions.AllowEgressFromLocalClassicLinkToRemoteVpc", NEVER),
            ("RequesterPeeringConnectionOptions.AllowEgressFromLocalVpcToRemoteClassicLink", NEVER),
            ("RequesterPeeringConnectionOptions.AllowMultipathResilience", NEVER),
        ],
        asked: &[Asked::Named(By::Id, "VpcPeeringConnectionId")],
    },
];

/// One side, as an account sees it: of a VPC that is another's, its blocks only once the peering works.
fn side(state: &State, side: &PeeredVpc, shows_blocks: bool) -> ec2::VpcPeeringConnectionVpcInfo {
    let vpc = state.vpcs.get(&side.vpc).filter(|vpc| shows_blocks && vpc.owner == side.owner);
    let blocks = vpc.map(|vpc| vpc.blocks.iter().map(|block| block.cidr.to_string()).collect::<Vec<_>>());
    let set = |blocks: Vec<String>| {
        let each = blocks.into_iter().map(|block| ec2::CidrBlock { cidr_block: Some(block) });
        each.collect()
    };
    ec2::VpcPeeringConnectionVpcInfo {
        cidr_block: blocks.as_ref().and_then(|blocks| blocks.first().cloned()),
        cidr_block_set: blocks.map(set),
        owner_id: some(side.owner),
        peering_options: shows_blocks.then(|| ec2::VpcPeeringConnectionOptionsDescription {
            allow_dns_resolution_from_remote_vpc: Some(side.dns_from_remote),
            allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
            allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
            ..Default::default()
        }),
        region: some(&state.region.name),
        vpc_id: some(side.vpc),
        ..Default::default()
    }
}

fn show(
    state: &State,
    account: AccountId,
    peering: &VpcPeeringConnection,
    at: Timestamp,
) -> ec2::VpcPeeringConnection {
    let status = peering.status(at);
    let [requester, accepter] = peering.sides().map(|x| {
        let asked = x.vpc == peering.requester.vpc;
        side(state, x, asked || x.owner == account || peering.state.passes())
    });
    ec2::VpcPeeringConnection {
        accepter_vpc_info: Some(accepter),
        expiration_time: (!peering.state.passes()).then(|| timestamp(peering.expires_at())),
        requester_vpc_info: Some(requester),
        status: Some(ec2::VpcPeeringConnectionStateReason {
            code: some(status.name()),
            message: Some(peering.message(at)),
        }),
        tags: tags(peering.tags_of(account)),
        vpc_peering_connection_id: some(peering.id),
        ..Default::default()
    }
}

type Side<'a> = Option<&'a ec2::VpcPeeringConnectionVpcInfo>;

fn blocks(side: Side<'_>) -> Vec<String> {
    each(side.and_then(|side| side.cidr_block_set.as_ref()), |block| block.cidr_block.clone())
}

impl Row for ec2::VpcPeeringConnection {
    const FILTERS: FilterTable<Self> = &[
        ("accepter-vpc-info.cidr-block", |p| blocks(p.accepter_vpc_info.as_ref())),
        ("accepter-vpc-info.owner-id", |p| {
            text(p.accepter_vpc_info.as_ref().and_then(|side| side.owner_id.as_ref()))
        }),
        ("accepter-vpc-info.vpc-id", |p| {
            text(p.accepter_vpc_info.as_ref().and_then(|side| side.vpc_id.as_ref()))
        }),
        ("expiration-time", |p| text(p.expiration_time.as_ref().map(ToString::to_string).as_ref())),
        ("requester-vpc-info.cidr-block", |p| blocks(p.requester_vpc_info.as_ref())),
        ("requester-vpc-info.owner-id", |p| {
            text(p.requester_vpc_info.as_ref().and_then(|side| side.owner_id.as_ref()))
        }),
        ("requester-vpc-info.vpc-id", |p| {
            text(p.requester_vpc_info.as_ref().and_then(|side| side.vpc_id.as_ref()))
        }),
        ("status-code", |p| text(p.status.as_ref().and_then(|status| status.code.as_ref()))),
        ("status-message", |p| text(p.status.as_ref().and_then(|status| status.message.as_ref()))),
        ("vpc-peering-connection-id", |p| text(p.vpc_peering_connection_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpc_peering_connection_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn id(text: Option<String>) -> Result<VpcPeeringConnectionId, AwsError> {
    parameters::id(&parameters::required(text, "VpcPeeringConnectionId")?)
}

fn shown(
    call: &Call<'_>,
    state: &State,
    peering: VpcPeeringConnectionId,
) -> Result<ec2::VpcPeeringConnection, AwsError> {
    let found = state.get::<VpcPeeringConnection>(call.account, peering).map_err(|e| call.refuse(e))?;
    Ok(show(state, call.account, &found, call.time()))
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpcPeeringConnectionRequest,
) -> Result<ec2::CreateVpcPeeringConnectionResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["vpc-peering-connection"])?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "vpcId")?)?;
    let peer = parameters::id(&parameters::required(request.peer_vpc_id, "peerVpcId")?)?;
    if let Some(region) = request.peer_region.filter(|region| region != call.region()) {
        return Err(error::unsupported_value("PeerRegion", &region, &[call.region()]));
    }
    let peer_owner = match request.peer_owner_id {
        None => call.account,
        Some(text) => text
            .parse()
            .map_err(|_| parameters::invalid("peerOwnerId", text, "This is not a valid account ID."))?,
    };
    let action = Action::Peering(PeeringAction::Create { vpc, peer, peer_owner, tags });
    let done = call.execute(None, action).await?;
    let peering = created!(done, VpcPeeringConnection)?;
    let vpc_peering_connection = Some(shown(call, &done.state, peering)?);
    Ok(ec2::CreateVpcPeeringConnectionResult { vpc_peering_connection })
}

async fn accept(
    call: &Call<'_>,
    request: ec2::AcceptVpcPeeringConnectionRequest,
) -> Result<ec2::AcceptVpcPeeringConnectionResult, AwsError> {
    let peering = id(request.vpc_peering_connection_id)?;
    let done = call.execute(None, Action::Peering(PeeringAction::Accept { peering })).await?;
    let vpc_peering_connection = Some(shown(call, &done.state, peering)?);
    Ok(ec2::AcceptVpcPeeringConnectionResult { vpc_peering_connection })
}

async fn reject(
    call: &Call<'_>,
    request: ec2::RejectVpcPeeringConnectionRequest,
) -> Result<ec2::RejectVpcPeeringConnectionResult, AwsError> {
    let peering = id(request.vpc_peering_connection_id)?;
    call.execute(None, Action::Peering(PeeringAction::Reject { peering })).await?;
    Ok(ec2::RejectVpcPeeringConnectionResult { r#return: Some(true) })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteVpcPeeringConnectionRequest,
) -> Result<ec2::DeleteVpcPeeringConnectionResult, AwsError> {
    let peering = id(request.vpc_peering_connection_id)?;
    call.execute(None, Action::Peering(PeeringAction::Delete { peering })).await?;
    Ok(ec2::DeleteVpcPeeringConnectionResult { r#return: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcPeeringConnectionsRequest,
) -> Result<ec2::DescribeVpcPeeringConnectionsResult, AwsError> {
    let at = call.time();
    let rows = call.select::<VpcPeeringConnection>(&request.vpc_peering_connection_ids)?;
    let rows = rows.iter().filter(|peering| peering.is_shown(call.account, at));
    let rows = rows.map(|peering| show(&call.state, call.account, peering, at)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (vpc_peering_connections, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcPeeringConnectionsResult { next_token, vpc_peering_connections })
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcPeeringConnectionOptionsRequest,
) -> Result<ec2::ModifyVpcPeeringConnectionOptionsResult, AwsError> {
    let peering = id(request.vpc_peering_connection_id)?;
    let wanted = |options: &Option<ec2::PeeringConnectionOptionsRequest>| {
        options.as_ref().and_then(|options| options.allow_dns_resolution_from_remote_vpc)
    };
    let requester_dns = wanted(&request.requester_peering_connection_options);
    let accepter_dns = wanted(&request.accepter_peering_connection_options);
    let action = PeeringAction::ModifyOptions { peering, requester_dns, accepter_dns };
    let done = call.execute(None, Action::Peering(action)).await?;
    let found = done.state.get::<VpcPeeringConnection>(call.account, peering).map_err(|e| call.refuse(e))?;
    // Only the options that the request was about.
    let options = |given: bool, side: &PeeredVpc| {
        given.then(|| ec2::PeeringConnectionOptions {
            allow_dns_resolution_from_remote_vpc: Some(side.dns_from_remote),
            allow_egress_from_local_classic_link_to_remote_vpc: Some(false),
            allow_egress_from_local_vpc_to_remote_classic_link: Some(false),
            ..Default::default()
        })
    };
    Ok(ec2::ModifyVpcPeeringConnectionOptionsResult {
        accepter_peering_connection_options: options(accepter_dns.is_some(), &found.accepter),
        requester_peering_connection_options: options(requester_dns.is_some(), &found.requester),
    })
}

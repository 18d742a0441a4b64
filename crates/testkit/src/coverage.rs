//! What `decide` can say of a stage, and what of that came up.

use std::collections::BTreeSet;

use postern_path::{Decision, DropReason, Stage, Verdict};

/// What came out at a stage: a pass, or why not.
pub type Drawn = BTreeSet<(Stage, Option<DropReason>)>;

/// What each stage of a decision said.
pub fn of(decision: &Decision) -> impl Iterator<Item = (Stage, Option<DropReason>)> + '_ {
    decision.steps.iter().map(|step| match step.verdict {
        Verdict::Pass(_) => (step.stage, None),
        Verdict::Refuse(reason) => (step.stage, Some(reason)),
    })
}

/// Whether `decide` can give this reason; the others are the data plane's, or those of a stage that is not built.
pub const fn is_decided(reason: DropReason) -> bool {
    match reason {
        DropReason::SpoofedSource
        | DropReason::EgressSecurityGroup
        | DropReason::EgressNetworkAcl
        | DropReason::NoRoute
        | DropReason::Blackhole
        | DropReason::NoSuchAddress
        | DropReason::TargetDown
        | DropReason::NoPublicAddress
        | DropReason::NoUplink
        | DropReason::NotCarried
        | DropReason::UplinkProtocol
        | DropReason::IngressNetworkAcl
        | DropReason::IngressSecurityGroup
        | DropReason::ReturnNetworkAcl
        | DropReason::ReturnRoute
        | DropReason::DestinationCheck
        | DropReason::ResolverOff
        | DropReason::NoSuchLinkService
        | DropReason::NatProtocol
        | DropReason::EndpointProtocol
        | DropReason::NoTarget
        | DropReason::Hairpin
        | DropReason::NotTransitive
        | DropReason::NoNetworkBehind
        | DropReason::RemoteToGatewayEndpoint
        | DropReason::NoTransitRoute
        | DropReason::TransitBlackhole
        | DropReason::NoTransitZone
        | DropReason::UnknownPort => true,
        // Instance metadata answers for itself that it is turned off; an endpoint that packets do not pass has no
        // interfaces.
        DropReason::MetadataOff | DropReason::EndpointNotAvailable => false,
        // Only of a flow that had the target before.
        DropReason::TargetGone => false,
        DropReason::Malformed
        | DropReason::Unsupported
        | DropReason::SpoofedMac
        | DropReason::PortAllocation
        | DropReason::NoFlow
        | DropReason::Cut
        | DropReason::TtlExpired
        | DropReason::TooBig
        | DropReason::Fragment
        | DropReason::TableFull
        | DropReason::RateLimited
        | DropReason::Multicast
        | DropReason::UnrelatedIcmp
        | DropReason::SendFailed => false,
    }
}

/// Whether `decide` passes this stage on the way of some flow.
pub const fn is_passed(stage: Stage) -> bool {
    match stage {
        Stage::Source
        | Stage::Link
        | Stage::EgressSecurityGroup
        | Stage::EgressNetworkAcl
        | Stage::Route
        | Stage::NatGateway
        | Stage::InternetGateway
        | Stage::TransitGateway
        | Stage::Remote
        | Stage::Uplink
        | Stage::Target
        | Stage::IngressNetworkAcl
        | Stage::IngressSecurityGroup
        | Stage::Endpoint
        | Stage::LoadBalancer
        | Stage::ReturnNetworkAcl
        | Stage::ReturnRoute
        | Stage::Delivered => true,
        // Asked for by name, or the front door's.
        Stage::Name | Stage::EndpointPolicy | Stage::ResourcePolicy | Stage::IdentityPolicy => false,
    }
}

/// All that `decide` can say.
pub fn wanted() -> Drawn {
    let passes = Stage::ALL.iter().filter(|stage| is_passed(**stage)).map(|stage| (*stage, None));
    let reasons = DropReason::ALL.iter().filter(|reason| is_decided(**reason));
    passes.chain(reasons.map(|reason| (reason.stage(), Some(*reason)))).collect()
}

//! A fault in each stage, planted between the plan and the forwarder, is noticed by the comparison.

use std::path::Path;
use std::sync::Arc;

use imbl::OrdMap;
use postern_dataplane::forward::{Decider, InterfaceInfo};
use postern_model::network_acl::AclEntry;
use postern_model::security_group::Traffic;
use postern_model::{IpNet, Ipv4Net, NetworkInterfaceId, State};
use postern_path::{
    Action, Before, Decision, Deliver, Door, DropReason, Flow, Outcome, Peer, Plan, Reply, SourceRewrite,
    Stage, Through,
};

use crate::case::{Run, one};
use crate::frames::v4;
use crate::world::World;
use postern_testkit::coverage::is_passed;

/// Topologies in which a fault has to be noticed. Without one, all of them are as they should be: see
/// [`crate::case::reality`].
const TOPOLOGIES: u64 = 30;

/// A stage at which the forwarder is told something else than the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault(Stage);

impl Fault {
    pub fn decider(self, plan: &Plan, state: &State) -> Arc<dyn Decider> {
        let mut open = state.clone();
        let everything = IpNet::V4(Ipv4Net::default());
        let entry = AclEntry { number: 1, allow: true, traffic: Traffic::All, cidr: everything };
        for id in state.network_acls.keys() {
            if let Some(acl) = open.network_acls.get_mut(id) {
                let acl = Arc::make_mut(acl);
                (acl.egress, acl.ingress) = (OrdMap::unit(1, entry), OrdMap::unit(1, entry));
            }
        }
        for id in state.network_interfaces.keys() {
            if let Some(interface) = open.network_interfaces.get_mut(id) {
                Arc::make_mut(interface).source_dest_check = false;
            }
        }
        let open = Plan::compile_with_uplink(&open, plan.uplink()).plan;
        Arc::new(Faulty { stage: self.0, plan: plan.clone(), open })
    }
}

struct Faulty {
    stage: Stage,
    plan: Plan,
    /// Without network ACLs and checks of sources.
    open: Plan,
}

impl Faulty {
    fn refused_otherwise(decision: &mut Decision, was: DropReason, is: DropReason) {
        if let Outcome::Refuse(refusal) = &mut decision.outcome
            && refusal.reason == was
        {
            refusal.reason = is;
        }
    }

    /// What is said in the place of a refusal at the stage.
    fn ignored(&self, decision: &Decision, otherwise: Decision) -> Option<Outcome> {
        match decision.outcome {
            Outcome::Refuse(refusal) if refusal.reason.stage() == self.stage => match otherwise.outcome {
                Outcome::Forward(_) => Some(otherwise.outcome),
                Outcome::Refuse(_) => None,
            },
            Outcome::Refuse(_) | Outcome::Forward(_) => None,
        }
    }
}

fn change(decision: &mut Decision, change: impl FnOnce(&mut Action)) {
    if let Outcome::Forward(action) = &mut decision.outcome {
        change(action);
    }
}

fn change_peer(decision: &mut Decision, to: impl FnOnce(Peer) -> Peer) {
    change(decision, |action| {
        if let SourceRewrite::Identity { peer, .. } = &mut action.source {
            *peer = to(*peer);
        }
    });
}

impl Decider for Faulty {
    fn decide(&self, flow: &Flow) -> Decision {
        let mut decision = self.plan.decide(flow);
        match self.stage {
            Stage::Source | Stage::EgressNetworkAcl | Stage::IngressNetworkAcl | Stage::ReturnNetworkAcl => {
                let otherwise = self.ignored(&decision, self.open.decide(flow));
                otherwise.into_iter().for_each(|outcome| decision.outcome = outcome);
            }
            Stage::EgressSecurityGroup | Stage::IngressSecurityGroup => {
                let tracked = Before { cut: Some(&[]), present: None };
                let otherwise = self.ignored(&decision, self.plan.decide_again(flow, tracked));
                otherwise.into_iter().for_each(|outcome| decision.outcome = outcome);
            }
            Stage::Link => change(&mut decision, |action| {
                if action.deliver == Deliver::Door(Door::Resolver) {
                    action.deliver = Deliver::Door(Door::Metadata);
                }
            }),
            Stage::Route => {
                Self::refused_otherwise(&mut decision, DropReason::NoRoute, DropReason::Blackhole);
            }
            Stage::NatGateway => change(&mut decision, |action| {
                if let SourceRewrite::Port { visible_address, .. } = &mut action.source {
                    *visible_address = std::net::Ipv4Addr::from(u32::from(v4(*visible_address)) ^ 1).into();
                }
            }),
            Stage::InternetGateway => {
                if let Outcome::Refuse(refusal) = &mut decision.outcome {
                    refusal.reply = Reply::Silence;
                }
            }
            Stage::Uplink => change(&mut decision, |action| {
                if action.deliver == Deliver::Door(Door::Uplink) {
                    action.deliver = Deliver::Door(Door::FrontDoor);
                }
            }),
            Stage::Target => change(&mut decision, |action| {
                if action.source == SourceRewrite::Keep {
                    action.deliver = Deliver::Interface(flow.entry);
                }
            }),
            Stage::Endpoint => change_peer(&mut decision, |peer| match peer.through {
                Through::Endpoint(..) => Peer { through: Through::Link, ..peer },
                Through::Internet(_) | Through::Resolver(..) | Through::Link => peer,
            }),
            Stage::LoadBalancer => change(&mut decision, |action| {
                action.balanced.iter_mut().for_each(|balanced| balanced.port ^= 1);
            }),
            Stage::TransitGateway => {
                Self::refused_otherwise(&mut decision, DropReason::NoTransitRoute, DropReason::NoRoute);
            }
            Stage::Remote => {
                Self::refused_otherwise(&mut decision, DropReason::NotTransitive, DropReason::NoRoute);
            }
            Stage::ReturnRoute => {
                Self::refused_otherwise(&mut decision, DropReason::ReturnRoute, DropReason::NoRoute);
            }
            Stage::Delivered => change(&mut decision, |action| action.hops.push(v4(flow.source))),
            Stage::Name | Stage::EndpointPolicy | Stage::ResourcePolicy | Stage::IdentityPolicy => {}
        }
        decision
    }

    fn decide_again(&self, flow: &Flow, _: Before<'_>) -> Decision {
        self.decide(flow)
    }

    fn interface(&self, id: NetworkInterfaceId) -> Option<InterfaceInfo> {
        let told = Decider::interface(&self.plan, id)?;
        let source_dest_check = told.source_dest_check && self.stage != Stage::Source;
        Some(InterfaceInfo { source_dest_check, ..told })
    }
}

pub fn faults(directory: &Path) {
    let mut world = World::start(directory);
    let mut run = Run::default();
    for stage in Stage::ALL.iter().copied().filter(|stage| is_passed(*stage)) {
        let noticed = (1..=TOPOLOGIES).find(|seed| {
            run.number += 1;
            one(&mut world, &mut run, *seed, Some(Fault(stage))).is_err()
        });
        let Some(seed) = noticed else { panic!("a fault at {} is not noticed", stage.name()) };
        println!("note: {}: noticed in topology {seed}", stage.name());
    }
    // What a case that failed leaves does not trouble the next.
    run.number += 1;
    one(&mut world, &mut run, 1, None).unwrap();
    world.stop();
}

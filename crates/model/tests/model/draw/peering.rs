//! Peerings.

use postern_model::peering::{PeeringAction, VpcPeeringConnection};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    pub(super) fn peering(&mut self, kind: &str) -> PeeringAction {
        match kind {
            "Create" => {
                // Whose the other VPC is, is part of the question, so any may be named.
                let all: Vec<_> = self.state.vpcs.values().map(|vpc| (vpc.id, vpc.owner)).collect();
                let vpc = self.vpc();
                let (peer, peer_owner) =
                    if all.is_empty() { (vpc, self.account) } else { self.random.of(&all) };
                let peer_owner = if self.random.chance(90) { peer_owner } else { self.account };
                PeeringAction::Create { vpc, peer, peer_owner, tags: self.tags() }
            }
            "Accept" => PeeringAction::Accept { peering: self.waiting() },
            "Reject" => PeeringAction::Reject { peering: self.waiting() },
            "Delete" => PeeringAction::Delete { peering: self.any_peering() },
            "ModifyOptions" => {
                let peering = self.any_peering();
                let mut choice = || [None, Some(true), Some(false)][self.random.below(3)];
                let (requester_dns, accepter_dns) = (choice(), choice());
                PeeringAction::ModifyOptions { peering, requester_dns, accepter_dns }
            }
            "ReportReady" => PeeringAction::ReportReady { peering: self.any_peering() },
            other => panic!("no way to draw Peering.{other}"),
        }
    }

    pub(super) fn any_peering(&mut self) -> VpcPeeringConnectionId {
        self.id::<VpcPeeringConnection>(VpcPeeringConnectionId::from_number)
    }

    /// One that the account was asked for, for the most part.
    fn waiting(&mut self) -> VpcPeeringConnectionId {
        let all = self.state.vpc_peering_connections.values();
        let asked: Vec<_> = all.filter(|x| x.accepter.owner == self.account).map(|x| x.id).collect();
        if asked.is_empty() || self.random.chance(20) { self.any_peering() } else { self.random.of(&asked) }
    }
}

//! Between networks: over peerings into other VPCs.
//!
//! What comes from elsewhere reaches the addresses of a VPC and nothing beyond them: no gateway, no endpoint that a route
//! leads to, no third network ("Edge to edge routing through a gateway or private connection", "Transitive peering").

use std::net::Ipv4Addr;

use postern_model::{ResourceId, VpcId, VpcPeeringConnectionId};

use super::{Sender, Walk, Walked};
use crate::cover::End;
use crate::decision::{Action, Hops, Why};
use crate::plan::VpcPlan;
use crate::plan::slots::SlotKey;
use crate::stage::{DropReason, Stage};

impl<'a> Walk<'a> {
    /// Over a peering, to the VPC at its other side.
    pub(super) fn over_peering(
        &mut self,
        sender: Sender<'a>,
        id: VpcPeeringConnectionId,
        far: VpcId,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        // What a router passes on from elsewhere does not go on to a third network.
        let near = plan.vpcs.get(&sender.vpc);
        if sender.nat.is_none() && !near.is_some_and(|near| self.is_in(near, End::Source)) {
            return self.refuse(DropReason::NotTransitive, id.into());
        }
        let Some(vpc) = plan.vpcs.get(&far) else { return self.refuse(DropReason::NotTransitive, id.into()) };
        if !self.is_in(vpc, End::Destination) {
            return self.beyond_vpc(far, id.into(), destination);
        }
        self.pass(Stage::Remote, Some(id.into()), None, Why::LeadsTo(far));
        self.deliver_in(far, sender, destination, hops)
    }

    /// Whether the address at one end of the flow lies in a VPC.
    fn is_in(&mut self, vpc: &VpcPlan, end: End) -> bool {
        self.consult(vpc.stamp);
        let mut blocks = vpc.blocks.iter();
        blocks.any(|block| self.cover.consult_block(end, (*block).into()))
    }

    /// What comes into a VPC from elsewhere and is for no address of it. Where a gateway endpoint would have taken it, that
    /// is the reason: "Endpoint connections cannot be extended out of a VPC."
    fn beyond_vpc<T>(&mut self, vpc: VpcId, way: ResourceId, destination: Ipv4Addr) -> Walked<T> {
        let plan = self.plan;
        self.depend_on_key(SlotKey::GatewayEndpoints(vpc));
        for (endpoint, blocks) in plan.gateway_endpoints.get(&vpc).into_iter().flat_map(|all| all.iter()) {
            let found = blocks.find(u32::from(destination));
            self.cover.keep_interval(End::Destination, found.low, found.high);
            if found.value.is_some() {
                return self.refuse(DropReason::RemoteToGatewayEndpoint, (*endpoint).into());
            }
        }
        self.refuse(DropReason::NotTransitive, way)
    }

    /// The VPC that a peering leads to from another one, if packets pass.
    pub(super) fn peering_from(&mut self, id: VpcPeeringConnectionId, near: VpcId) -> Option<VpcId> {
        let peering = self.plan.peerings.get(&id)?;
        self.consult(peering.stamp);
        peering.beyond(near)
    }
}

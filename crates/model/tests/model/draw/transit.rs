//! Transit gateways, what is attached to them, and their tables.

use postern_model::transit::{
    TransitAction, TransitChange, TransitGateway, TransitGatewayAttachment, TransitGatewayRouteTable,
    TransitOptions,
};
use postern_model::*;

use super::{Draw, net};

impl Draw<'_> {
    pub(super) fn transit_action(&mut self, kind: &str) -> TransitAction {
        match kind {
            "Create" => TransitAction::Create {
                description: String::new(),
                amazon_asn: 64_512,
                options: TransitOptions {
                    default_association: self.random.chance(80),
                    default_propagation: self.random.chance(80),
                    ..TransitOptions::default()
                },
                tags: self.tags(),
            },
            "Modify" => {
                let change = TransitChange {
                    default_association: Some(self.random.chance(50)),
                    propagation_table: self.random.chance(40).then(|| self.transit_table()),
                    ..TransitChange::default()
                };
                TransitAction::Modify { gateway: self.transit(), change }
            }
            "Delete" => TransitAction::Delete { gateway: self.transit() },
            "AttachVpc" => {
                let vpc = self.vpc();
                TransitAction::AttachVpc {
                    gateway: self.transit(),
                    vpc,
                    subnets: self.entrances_of(vpc),
                    dns_support: self.random.chance(50),
                    tags: self.tags(),
                }
            }
            "ModifyVpcAttachment" => TransitAction::ModifyVpcAttachment {
                attachment: self.attachment_of_transit(),
                add: (0..self.random.below(2)).map(|_| self.subnet()).collect(),
                remove: (0..self.random.below(2)).map(|_| self.subnet()).collect(),
                dns_support: Some(self.random.chance(50)),
            },
            "DeleteVpcAttachment" => {
                TransitAction::DeleteVpcAttachment { attachment: self.attachment_of_transit() }
            }
            "CreateTable" => TransitAction::CreateTable { gateway: self.transit(), tags: self.tags() },
            "DeleteTable" => TransitAction::DeleteTable { table: self.transit_table() },
            "Associate" => TransitAction::Associate {
                table: self.transit_table(),
                attachment: self.attachment_of_transit(),
            },
            "Disassociate" => self.disassociate(),
            "SetPropagation" => TransitAction::SetPropagation {
                table: self.transit_table(),
                attachment: self.attachment_of_transit(),
                on: self.random.chance(60),
            },
            "CreateRoute" => {
                let (table, block, target) = self.transit_route();
                TransitAction::CreateRoute { table, block, target }
            }
            "ReplaceRoute" => {
                let (table, block, target) = self.transit_route();
                TransitAction::ReplaceRoute { table, block, target }
            }
            "DeleteRoute" => {
                let (table, block, _) = self.transit_route();
                TransitAction::DeleteRoute { table, block }
            }
            other => panic!("no way to draw Transit.{other}"),
        }
    }

    /// Mostly of the table that it is associated with.
    fn disassociate(&mut self) -> TransitAction {
        let attachment = self.attachment_of_transit();
        let found = self.state.transit_gateway_attachments.get(&attachment).and_then(|x| x.association);
        let own = found.filter(|_| self.foreign.is_empty() && self.random.chance(80));
        TransitAction::Disassociate { table: own.unwrap_or_else(|| self.transit_table()), attachment }
    }

    fn transit_route(&mut self) -> (TransitGatewayRouteTableId, Ipv4Net, Option<TransitGatewayAttachmentId>) {
        let blocks = ["10.0.0.0/16", "10.1.0.0/16", "0.0.0.0/0", "192.168.0.0/16", "10.0.0.1/8"];
        let target = self.random.chance(80).then(|| self.attachment_of_transit());
        (self.transit_table(), net(self.random.of(&blocks)), target)
    }

    /// Subnets of a VPC, for the most part.
    fn entrances_of(&mut self, vpc: VpcId) -> Vec<SubnetId> {
        let of_vpc: Vec<_> = self.state.subnets.values().filter(|x| x.vpc == vpc).map(|x| x.id).collect();
        if of_vpc.is_empty() || self.random.chance(10) {
            return vec![self.subnet()];
        }
        (0..1 + self.random.below(2)).map(|_| self.random.of(&of_vpc)).collect()
    }

    pub(super) fn transit(&mut self) -> TransitGatewayId {
        self.id::<TransitGateway>(TransitGatewayId::from_number)
    }

    pub(super) fn attachment_of_transit(&mut self) -> TransitGatewayAttachmentId {
        self.id::<TransitGatewayAttachment>(TransitGatewayAttachmentId::from_number)
    }

    fn transit_table(&mut self) -> TransitGatewayRouteTableId {
        self.id::<TransitGatewayRouteTable>(TransitGatewayRouteTableId::from_number)
    }
}

//! Transit gateways in a topology.

use std::collections::BTreeMap;

use postern_model::transit::{TransitAction, TransitOptions, attachment_of, attachment_of_vpn};
use postern_model::{
    Action, ResourceId, SubnetId, TransitGatewayAttachmentId, TransitGatewayId, TransitGatewayRouteTableId,
    VpcId,
};

use super::TopologyError;
use super::read::{Read, Reader, Statement, at, option, parse};

impl Reader {
    pub(super) fn new_transit(&mut self, name: &str, options: &[&str]) -> Read<()> {
        let by_itself = !options.contains(&"manual");
        let options = TransitOptions {
            default_association: by_itself,
            default_propagation: by_itself,
            ..TransitOptions::default()
        };
        let (description, tags) = (name.to_owned(), Vec::new());
        let new = TransitAction::Create { description, amazon_asn: 64_512, options, tags };
        self.create(name, Action::Transit(new))?;
        let id = self.transit(name)?;
        let main = self.world.state.transit_gateways.get(&id).and_then(|gateway| gateway.association_table);
        main.iter().for_each(|main| self.name(&format!("{name}.main"), *main));
        Ok(())
    }

    pub(super) fn attach_to_transit(&mut self, name: &str, vpc_name: &str, options: &[&str]) -> Read<()> {
        let (gateway, vpc) = (self.transit(name)?, self.vpc(vpc_name)?);
        let subnets = match option(options, "subnets") {
            Some(list) => {
                let named = list.split(',').map(|subnet| self.subnet(vpc_name, subnet));
                named.collect::<Read<Vec<_>>>()?
            }
            None => self.first_of_each_zone(vpc),
        };
        let dns_support = !options.contains(&"no-names");
        let new = TransitAction::AttachVpc { gateway, vpc, subnets, dns_support, tags: Vec::new() };
        self.run(Action::Transit(new))?;
        self.name_attachment(name, vpc_name)
    }

    fn first_of_each_zone(&self, vpc: VpcId) -> Vec<SubnetId> {
        let mut zones = BTreeMap::new();
        for subnet in self.world.state.subnets.values().filter(|subnet| subnet.vpc == vpc) {
            zones.entry(subnet.zone.clone()).or_insert(subnet.id);
        }
        zones.into_values().collect()
    }

    /// Calls what is attached to a gateway `GATEWAY.WHAT`.
    pub(super) fn name_attachment(&mut self, gateway: &str, what: &str) -> Read<()> {
        let state = &self.world.state;
        let found = match self.find(what)? {
            ResourceId::Vpc(vpc) => attachment_of(state, self.transit(gateway)?, vpc),
            ResourceId::VpnConnection(connection) => attachment_of_vpn(state, connection),
            other => return Err(format!("{other} is attached to nothing")),
        };
        let id = found.map(|attachment| attachment.id).ok_or("it is not attached")?;
        self.name(&format!("{gateway}.{what}"), id);
        Ok(())
    }

    pub(super) fn transit(&self, name: &str) -> Read<TransitGatewayId> {
        match self.find(name)? {
            ResourceId::TransitGateway(id) => Ok(id),
            other => Err(format!("{other} is not a transit gateway")),
        }
    }

    fn transit_table(&self, name: &str) -> Read<TransitGatewayRouteTableId> {
        match self.find(name)? {
            ResourceId::TransitGatewayRouteTable(id) => Ok(id),
            other => Err(format!("{other} is not a route table of a transit gateway")),
        }
    }

    /// What is attached to the gateway of a table.
    fn attachment(&self, table: &str, what: &str) -> Read<TransitGatewayAttachmentId> {
        let gateway = table.split('.').next().unwrap_or(table);
        match self.find(&format!("{gateway}.{what}"))? {
            ResourceId::TransitGatewayAttachment(id) => Ok(id),
            other => Err(format!("{other} is not an attachment")),
        }
    }

    /// The body of a transit gateway's table, which is made unless it is there.
    pub(super) fn transit_table_body(
        &mut self,
        name: &str,
        statement: &Statement<'_>,
    ) -> Result<(), TopologyError> {
        if !self.ids.contains_key(name) {
            let gateway = self.transit(name.split('.').next().unwrap_or(name));
            let gateway = at(&statement.head, gateway)?;
            let new = TransitAction::CreateTable { gateway, tags: Vec::new() };
            at(&statement.head, self.create(name, Action::Transit(new)))?;
        }
        let table = at(&statement.head, self.transit_table(name))?;
        for line in &statement.body {
            let action = self.transit_line(name, table, &line.words);
            let ran = action.and_then(|action| self.run(Action::Transit(action)));
            at(line, ran)?;
        }
        Ok(())
    }

    fn transit_line(
        &self,
        name: &str,
        table: TransitGatewayRouteTableId,
        words: &[&str],
    ) -> Read<TransitAction> {
        Ok(match words {
            ["associate", what] => {
                TransitAction::Associate { table, attachment: self.attachment(name, what)? }
            }
            ["propagate", what] => {
                let attachment = self.attachment(name, what)?;
                TransitAction::SetPropagation { table, attachment, on: true }
            }
            [block, "->", "blackhole"] => {
                TransitAction::CreateRoute { table, block: parse(block)?, target: None }
            }
            [block, "->", what] => {
                let target = Some(self.attachment(name, what)?);
                TransitAction::CreateRoute { table, block: parse(block)?, target }
            }
            _ => {
                return Err(
                    "it is `associate NAME`, `propagate NAME` or `BLOCK -> NAME|blackhole`".to_owned()
                );
            }
        })
    }

    pub(super) fn transit_unroute(&mut self, table: &str, block: &str) -> Read<()> {
        let (table, block) = (self.transit_table(table)?, parse(block)?);
        self.run(Action::Transit(TransitAction::DeleteRoute { table, block }))
    }
}

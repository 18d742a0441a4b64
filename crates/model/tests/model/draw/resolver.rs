//! Inbound endpoints of resolvers.

use postern_model::resolver_endpoint::{NewResolverEndpoint, ResolverAction, ResolverEndpoint};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    pub(super) fn resolver(&mut self, kind: &str) -> ResolverAction {
        match kind {
            "CreateEndpoint" => {
                let count = self.random.of(&[2, 2, 2, 3, 1]);
                let subnet = self.subnet();
                // Mostly in one VPC, for the most part in one subnet.
                let mut place = || if self.random.chance(80) { subnet } else { self.subnet() };
                let addresses = (0..count).map(|_| (place(), None)).collect();
                let groups = if self.random.chance(50) { vec![self.group()] } else { Vec::new() };
                ResolverAction::CreateEndpoint(NewResolverEndpoint {
                    creator_request_id: format!("request-{}", self.random.below(50)),
                    name: self.random.chance(50).then(|| "inbound".to_owned()),
                    groups,
                    addresses,
                    tags: self.tags(),
                })
            }
            "UpdateEndpoint" => ResolverAction::UpdateEndpoint {
                endpoint: self.resolver_endpoint(),
                name: self.random.chance(70).then(|| "other".to_owned()),
            },
            "AssociateAddress" => ResolverAction::AssociateAddress {
                endpoint: self.resolver_endpoint(),
                subnet: self.subnet(),
                address: None,
            },
            "DisassociateAddress" => {
                let endpoint = self.resolver_endpoint();
                let found = self.state.resolver_endpoints.get(&endpoint);
                let own = found.and_then(|found| found.addresses.first()).map(|address| address.id);
                let address = own.unwrap_or_else(|| ResolverAddressId::from_number(1 << 40));
                ResolverAction::DisassociateAddress { endpoint, address }
            }
            "DeleteEndpoint" => ResolverAction::DeleteEndpoint { endpoint: self.resolver_endpoint() },
            "ReportReady" => ResolverAction::ReportReady { endpoint: self.resolver_endpoint() },
            "ReportGone" => ResolverAction::ReportGone { endpoint: self.resolver_endpoint() },
            other => panic!("no way to draw Resolver.{other}"),
        }
    }

    pub(super) fn resolver_endpoint(&mut self) -> ResolverEndpointId {
        self.id::<ResolverEndpoint>(ResolverEndpointId::from_number)
    }
}

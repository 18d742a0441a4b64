//! Hosts on premises: a sandbox at the end of a VPN, where nobody has a network of their own to plug in.
//!
//! It stays until its connection goes, or the region.

use std::sync::Arc;

use postern_dataplane::host::{self, PortSpec};
use postern_model::vpn::VpnConnection;
use postern_model::{State, VpnConnectionId};
use postern_path::decide::VPN_MTU;

use super::{GRACE, Machines};
use crate::region::attach_vpn::Ends;
use crate::region::sandbox;

impl Machines {
    /// The host on premises at the end of a connection, if there is one that runs.
    pub fn host_on_premises(&self, connection: VpnConnectionId) -> Option<Arc<host::Instance>> {
        let there = self.there();
        there.premises.get(&connection).filter(|sandbox| !sandbox.has_ended()).map(Arc::clone)
    }

    /// Whether there is one, be it one that ended by itself.
    pub fn had_on_premises(&self, connection: VpnConnectionId) -> bool {
        self.there().premises.contains_key(&connection)
    }

    /// Makes it and plugs it in.
    pub fn build_on_premises(
        &self,
        state: &State,
        connection: &VpnConnection,
        ends: Ends,
    ) -> anyhow::Result<Arc<host::Instance>> {
        // One that ended by itself is in the way of the next.
        self.destroy_on_premises(connection.id);
        self.detach(connection.link.port);
        let spec = sandbox::spec_on_premises(state, connection, &self.furnishings);
        let sandbox = self.host.create_instance(&spec)?;
        self.there().premises.insert(connection.id, Arc::clone(&sandbox));
        let network = sandbox.network().clone();
        let port = PortSpec {
            target: network.clone(),
            inside_name: "eth0".to_owned(),
            mac: host::Mac(connection.link.mac.0),
            mtu: u32::from(VPN_MTU),
            addresses: ends.addresses,
            gateway: None,
            neighbours: Vec::new(),
            routes: ends.routes,
        };
        let into = host::Into::Instance(connection.id.to_string());
        let plugged = self.make_port(connection.link.port, &port, &into);
        match plugged.and_then(|port| Ok((port, self.host.finished(&sandbox)?))) {
            Ok((port, ())) => {
                self.there().attached.insert(connection.link.port, (port, network));
                Ok(sandbox)
            }
            Err(error) => {
                self.destroy_on_premises(connection.id);
                Err(error)
            }
        }
    }

    /// Takes it down.
    pub fn destroy_on_premises(&self, connection: VpnConnectionId) {
        if self.there().premises.remove(&connection).is_none() {
            return;
        }
        if let Err(error) = self.host.destroy_instance(&connection.to_string(), GRACE) {
            tracing::warn!(%connection, %error, "its host on premises could not be taken down");
        }
    }

    /// Those whose connections are gone.
    pub(super) fn gone_on_premises(
        &self,
        is_there: impl Fn(VpnConnectionId) -> bool,
    ) -> Vec<VpnConnectionId> {
        self.there().premises.keys().copied().filter(|id| !is_there(*id)).collect()
    }
}

//! `postern attach --vpn`: somebody else's network namespace or tap as the network on premises at the end of a VPN.
//!
//! The link takes the place of the IPsec tunnel. While something is plugged in, the tunnel is up.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, bail};
use postern_dataplane::host::{self, PortRoute, Prefix};
use postern_model::vpn::{VpnAction, VpnConnection};
use postern_model::{AccountId, Action, Ipv4Net, NetworkInterfaceId, State, VpnConnectionId};
use postern_services::commands::Commands;

use super::attach::Guest;
use super::command::RegionCommands;
use super::{Region, execute};
use crate::control::Reply;

/// What the end of a tunnel gets.
pub struct Ends {
    /// Its addresses.
    pub addresses: Vec<Prefix>,
    /// The ways into the VPC.
    pub routes: Vec<PortRoute>,
}

/// Plugs the guest into a connection's tunnel, on behalf of the connection's owner.
pub async fn attach_vpn(
    region: &Region,
    guest: Guest,
    connection: &str,
    addresses: &[String],
) -> anyhow::Result<Reply> {
    let packets = region.packets()?;
    let id: VpnConnectionId = connection.parse()?;
    let state = region.commands.state();
    let found = state.vpn_connections.get(&id).with_context(|| format!("there is no `{connection}`"))?;
    let found = Arc::clone(found);
    if found.link.up {
        bail!("something is plugged into `{connection}` already");
    }
    let ends = ends(&state, &found, addresses)?;
    let address = ends.addresses.first().map(|prefix| prefix.address.to_string()).unwrap_or_default();
    let (machines, connection) = (Arc::clone(&packets.machines), Arc::clone(&found));
    tokio::task::spawn_blocking(move || machines.attach_link(&connection, guest, ends)).await??;
    if let Err(error) = report(&region.commands, found.owner, id, true).await {
        let (machines, port) = (Arc::clone(&packets.machines), found.link.port);
        tokio::task::spawn_blocking(move || machines.detach(port)).await?;
        return Err(error);
    }
    Ok(Reply::Attached { interface: found.link.port.to_string(), address, mac: found.link.mac.to_string() })
}

/// The host on premises at the end of a connection, for programs: made and plugged in unless it is there. Everything that is
/// not its own network goes over the VPN.
pub async fn host_on_premises(region: &Region, connection: &str) -> anyhow::Result<Arc<host::Instance>> {
    let packets = region.packets()?;
    let id: VpnConnectionId = connection.parse()?;
    let state = region.commands.state();
    let found = state.vpn_connections.get(&id).with_context(|| format!("there is no `{connection}`"))?;
    if let Some(known) = packets.machines.host_on_premises(id) {
        return Ok(known);
    }
    // One that ended by itself was plugged in, too.
    if found.link.up && !packets.machines.had_on_premises(id) {
        bail!("somebody else's network is plugged into `{connection}`");
    }
    let (block, address) = on_premises(&state, found).with_context(|| {
        format!("`{connection}` has no static route, so nobody on premises has an address")
    })?;
    let own = Prefix { address: IpAddr::V4(address), length: block.prefix_len() };
    let everything = Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    let routes = vec![PortRoute { destination: everything, via: None }];
    let ends = Ends { addresses: vec![own], routes };
    let (machines, found) = (Arc::clone(&packets.machines), Arc::clone(found));
    let (owner, port) = (found.owner, found.link.port);
    let sandbox =
        tokio::task::spawn_blocking(move || machines.build_on_premises(&state, &found, ends)).await??;
    if let Err(error) = report(&region.commands, owner, id, true).await {
        let machines = Arc::clone(&packets.machines);
        let undone = move || {
            machines.detach(port);
            machines.destroy_on_premises(id);
        };
        tokio::task::spawn_blocking(undone).await?;
        return Err(error);
    }
    Ok(sandbox)
}

/// The first address of the first block on premises, with the block: a host's there.
pub fn on_premises(state: &State, connection: &VpnConnection) -> Option<(Ipv4Net, Ipv4Addr)> {
    let block = *connection.blocks(state).first()?;
    Some((block, block.hosts().next()?))
}

/// The addresses that were asked for, with routes to the blocks of the VPC, which is behind the link as if it were there;
/// or else the tunnel's own address, with routes by the other end's.
fn ends(state: &State, connection: &VpnConnection, addresses: &[String]) -> anyhow::Result<Ends> {
    let vpcs = connection.vpcs(state);
    let vpcs = vpcs.iter().filter_map(|vpc| state.vpcs.get(vpc));
    // Several VPCs behind a transit gateway may have the same block.
    let blocks: BTreeSet<Ipv4Net> = vpcs.flat_map(|vpc| &vpc.blocks).map(|block| block.cidr).collect();
    let given: Vec<Prefix> = addresses.iter().map(|text| prefix(text)).collect::<anyhow::Result<_>>()?;
    let own = given.is_empty();
    let via = own.then(|| IpAddr::V4(connection.link.near()));
    let inside =
        Prefix { address: IpAddr::V4(connection.link.far()), length: connection.link.inside.prefix_len() };
    let route = |block: Ipv4Net| PortRoute {
        destination: Prefix { address: IpAddr::V4(block.network()), length: block.prefix_len() },
        via,
    };
    let routes = blocks.into_iter().map(route).collect();
    Ok(Ends { addresses: if own { vec![inside] } else { given }, routes })
}

fn prefix(text: &str) -> anyhow::Result<Prefix> {
    let block: Ipv4Net = text
        .parse()
        .with_context(|| format!("`{text}` is not an IPv4 address with a length, such as 192.168.0.10/24"))?;
    Ok(Prefix { address: IpAddr::V4(block.addr()), length: block.prefix_len() })
}

async fn report(
    commands: &RegionCommands,
    owner: AccountId,
    connection: VpnConnectionId,
    up: bool,
) -> anyhow::Result<()> {
    execute(commands, owner, Action::Vpn(VpnAction::ReportLink { connection, up })).await.map(|_| ())
}

/// Tunnels that an earlier process had something plugged into are down: the links went with it, but for those that are
/// kept.
pub async fn forget_links(commands: &RegionCommands, kept: &BTreeSet<NetworkInterfaceId>) {
    let state = commands.state();
    let gone = state.vpn_connections.values().filter(|x| x.link.up && !kept.contains(&x.link.port));
    for connection in gone {
        tracing::info!(connection = %connection.id, "what was plugged into it before is unplugged");
        if let Err(error) = report(commands, connection.owner, connection.id, false).await {
            tracing::warn!(connection = %connection.id, error = crate::said::said(&error), "it still says that it is up");
        }
    }
}

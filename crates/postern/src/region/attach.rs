//! `postern attach`: somebody else's container or virtual machine behind a network interface of its own.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use postern_dataplane::host::{self, Host, InheritedPort, Namespace};
use postern_model::interface::{InterfaceKind, NewInterface};
use postern_model::{AccountId, Action, Event, NetworkInterfaceId, ResourceId, SecurityGroupId, SubnetId};
use postern_services::commands::Commands;

use super::command::RegionCommands;
use super::{Region, execute};
use crate::control::Reply;

/// What is plugged in.
pub enum Guest {
    /// A network namespace, in which the interface gets this name.
    Namespace(Namespace, String),
    /// A tap of the host's, by name.
    Tap(String),
}

impl Guest {
    /// What a request names.
    pub fn find(tap: Option<String>, interface_name: &str, fds: Vec<OwnedFd>) -> anyhow::Result<Self> {
        if let Some(tap) = tap {
            return Ok(Self::Tap(tap));
        }
        let namespace = fds.into_iter().next().context("no namespace came with the request")?;
        if !fstatfs(&namespace).is_ok_and(|of| of.filesystem_type() == NSFS_MAGIC) {
            bail!("it is not a network namespace");
        }
        Ok(Self::Namespace(Namespace::from_descriptor(namespace, interface_name)?, interface_name.to_owned()))
    }
}

/// Makes an interface in a subnet, on behalf of the subnet's owner, and plugs the guest into it.
pub async fn attach(region: &Region, guest: Guest, subnet: &str, groups: &[String]) -> anyhow::Result<Reply> {
    let packets = region.packets()?;
    let subnet_id: SubnetId = subnet.parse()?;
    let state = region.commands.state();
    let owner = state.subnets.get(&subnet_id).with_context(|| format!("there is no `{subnet}`"))?.owner;
    let groups: Vec<SecurityGroupId> = groups.iter().map(|group| group.parse()).collect::<Result<_, _>>()?;
    let new = NewInterface {
        subnet: subnet_id,
        description: "attached by postern attach".to_owned(),
        private_address: None,
        secondary_addresses: Vec::new(),
        secondary_count: 0,
        groups: Some(groups).filter(|groups| !groups.is_empty()),
        kind: InterfaceKind::Interface,
        tags: Vec::new(),
    };
    let events = execute(&region.commands, owner, Action::CreateNetworkInterface(new)).await?;
    let created = events.iter().find_map(|event| match event {
        Event::Created(ResourceId::NetworkInterface(id)) => Some(*id),
        Event::Created(_) | Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
    });
    let interface: NetworkInterfaceId = created.context("no interface was made")?;
    let plugged = async {
        let action = Action::AttachNetworkInterface { interface, instance: None, device_index: 0 };
        execute(&region.commands, owner, action).await?;
        let (machines, state) = (Arc::clone(&packets.machines), region.commands.state());
        tokio::task::spawn_blocking(move || machines.attach(&state, interface, guest)).await?
    };
    if let Err(error) = plugged.await {
        give_up(&region.commands, owner, interface).await;
        return Err(error);
    }
    let state = region.commands.state();
    let found = state.network_interfaces.get(&interface).context("the interface went away at once")?;
    Ok(Reply::Attached {
        interface: interface.to_string(),
        address: found.primary_address().to_string(),
        mac: found.mac.to_string(),
    })
}

/// Interfaces of guests whose links are still there.
pub fn kept_guests(host: &Host) -> BTreeSet<NetworkInterfaceId> {
    let of_guest = |port: &InheritedPort| match port.into {
        host::Into::Guest(_) => port.label.parse().ok(),
        host::Into::Instance(_) => None,
    };
    host.inherited_ports().iter().filter_map(of_guest).collect()
}

/// Takes back the interfaces of guests that an earlier process had plugged in: their links went with it, but for those
/// that are kept.
pub async fn forget_guests(commands: &RegionCommands, kept: &BTreeSet<NetworkInterfaceId>) {
    let state = commands.state();
    let interfaces = state.network_interfaces.values();
    let of_guests = interfaces.filter(|interface| {
        interface.kind == InterfaceKind::Interface
            && interface.attachment.is_some_and(|attachment| attachment.instance.is_none())
            && !kept.contains(&interface.id)
    });
    for interface in of_guests {
        tracing::info!(interface = %interface.id, "what was plugged into it before is unplugged");
        give_up(commands, interface.owner, interface.id).await;
    }
}

/// Takes back an interface that nothing could be plugged into.
async fn give_up(commands: &RegionCommands, owner: AccountId, interface: NetworkInterfaceId) {
    let attachment = commands.state().network_interfaces.get(&interface).and_then(|x| x.attachment);
    let detach = attachment.map(|attachment| Action::DetachNetworkInterface { attachment: attachment.id });
    for action in detach.into_iter().chain([Action::DeleteNetworkInterface { interface }]) {
        if let Err(error) = execute(commands, owner, action).await {
            tracing::warn!(%interface, error = crate::said::said(&error), "an interface is left over");
        }
    }
}

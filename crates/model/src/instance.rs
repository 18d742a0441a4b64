//! Instances: where programs run, and the key pairs that let people in.
//!
//! The model holds what should be. Whether an instance really runs is reported by the data plane
//! ([`crate::Action::ReportInstance`]).

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
use crate::gateway::{pick_public_address, release_automatic};
use crate::id::*;
use crate::interface::{Attachment, InterfaceKind, NetworkInterface, NewInterface};
use crate::quota::Quota;
use crate::state::{PublicAddress, State};
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many instances one launch may start.
pub const MAX_LAUNCH: usize = 100;
/// How large user data may be, in bytes ("Instance user data": 16 KB before encoding).
pub const MAX_USER_DATA_BYTES: usize = 16_384;

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Whose it is.
    pub owner: AccountId,
    /// The launch that it is part of.
    pub reservation: ReservationId,
    /// Its place in that launch.
    pub launch_index: u32,
    /// The VPC of its primary interface.
    pub vpc: VpcId,
    /// The subnet of its primary interface.
    pub subnet: SubnetId,
    /// How far it is.
    pub state: InstanceState,
    /// Since when it is so.
    pub state_at: Timestamp,
    /// Why, for people.
    pub state_reason: String,
    /// The image that was asked for.
    pub image: String,
    /// The type that was asked for, such as `t3.micro`.
    pub instance_type: String,
    /// The key pair whose public key may log in.
    pub key_name: Option<String>,
    /// The name of the instance profile whose role programs in it have, and the link's id.
    pub profile: Option<(IamInstanceProfileAssociationId, String)>,
    /// What it runs at its first start.
    pub user_data: Option<Vec<u8>>,
    /// How instance metadata answers.
    pub metadata: MetadataOptions,
    /// Whether `TerminateInstances` is refused.
    pub termination_protected: bool,
    /// When it was last started.
    pub launched_at: Timestamp,
    /// Whether that was by `StartInstances` and not its launch: such a start that fails leaves it stopped, where a launch
    /// that fails leaves nothing.
    #[serde(default)]
    pub restarted: bool,
    /// What people wrote on it.
    pub tags: Tags,
}

/// How instance metadata answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataOptions {
    /// Whether it answers at all.
    pub enabled: bool,
    /// How many hops an answer may go.
    pub hop_limit: u8,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self { enabled: true, hop_limit: 1 }
    }
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's own words")]
pub enum InstanceState {
    Pending,
    Running,
    Stopping,
    Stopped,
    ShuttingDown,
    Terminated,
}

impl InstanceState {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// AWS's number for it.
    pub fn code(self) -> i32 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether it can still be started, stopped and changed.
    pub fn is_live(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Stopping | Self::Stopped => true,
            Self::ShuttingDown | Self::Terminated => false,
        }
    }
}

impl Instance {
    /// Where it goes when it could not be started: "If the instance can't be started, it returns to the stopped state"
    /// ("Troubleshoot instance launch issues"), and one that was launched goes "from pending to terminated".
    pub fn state_after_failed_start(&self) -> InstanceState {
        match (self.state, self.restarted) {
            (InstanceState::Pending, false) => InstanceState::Terminated,
            (InstanceState::Pending, true)
            | (
                InstanceState::Running
                | InstanceState::Stopping
                | InstanceState::Stopped
                | InstanceState::ShuttingDown
                | InstanceState::Terminated,
                _,
            ) => InstanceState::Stopped,
        }
    }

    /// Its interfaces, in the order of their ids.
    pub fn interfaces<'a>(
        &self,
        state: &'a State,
    ) -> impl Iterator<Item = &'a Arc<NetworkInterface>> + use<'a> {
        let id = self.id;
        let plugged = move |x: &&Arc<NetworkInterface>| x.attachment.is_some_and(|a| a.instance == Some(id));
        state.network_interfaces.values().filter(plugged)
    }

    /// The interface of device index 0.
    pub fn primary_interface<'a>(&self, state: &'a State) -> Option<&'a Arc<NetworkInterface>> {
        self.interfaces(state).find(|x| x.attachment.is_some_and(|a| a.device_index == 0))
    }
}

/// A key pair: only the public half is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Its id.
    pub id: KeyPairId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its name, unique in the account.
    pub name: String,
    /// `rsa` or `ed25519`.
    pub key_type: String,
    /// The public key as a line of `authorized_keys`.
    pub public_key: String,
    /// As AWS prints it.
    pub fingerprint: String,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// What instances are launched from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// How many.
    pub count: usize,
    /// How many are enough, if there is no room for all; none given means all of them.
    #[serde(default)]
    pub least: Option<usize>,
    /// The image.
    pub image: String,
    /// The type.
    pub instance_type: String,
    /// How the primary interface is made.
    pub interface: LaunchInterface,
    /// The key pair.
    pub key_name: Option<String>,
    /// The instance profile's name.
    pub profile: Option<String>,
    /// What they run at their first start.
    pub user_data: Option<Vec<u8>>,
    /// How instance metadata answers.
    pub metadata: MetadataOptions,
    /// Whether `TerminateInstances` is refused.
    pub termination_protected: bool,
    /// Tags of the instances.
    pub tags: TagSet,
    /// Tags of their interfaces.
    pub interface_tags: TagSet,
}

/// How the primary interface of a launch is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchInterface {
    /// One that is there.
    Existing(NetworkInterfaceId),
    /// A new one.
    New {
        /// Where.
        subnet: SubnetId,
        /// Its groups; none given means the VPC's default one.
        groups: Option<Vec<SecurityGroupId>>,
        /// Its address, if it was chosen.
        private_address: Option<Ipv4Addr>,
        /// Whether it gets a public address; none given means as the subnet says.
        public_address: Option<bool>,
        /// What it is for.
        description: String,
        /// Whether it goes with its instance.
        delete_on_termination: bool,
    },
}

pub(crate) fn launch(txn: &mut Txn, launch: &Launch) -> Result<(), ModelError> {
    let one_only = match &launch.interface {
        LaunchInterface::Existing(_) => true,
        LaunchInterface::New { private_address, .. } => private_address.is_some(),
    };
    let limit = if one_only { 1 } else { MAX_LAUNCH };
    if launch.count == 0 || launch.count > limit {
        return Err(ModelError::InstanceCount { given: launch.count, limit });
    }
    if let Some(name) = &launch.key_name {
        find_key_pair(&txn.state, txn.account, name)?;
    }
    if let Some(name) = &launch.profile {
        crate::iam::profile_with_role(txn, name)?;
    }
    if launch.user_data.as_ref().is_some_and(|data| data.len() > MAX_USER_DATA_BYTES) {
        return Err(ModelError::Limit { what: "bytes of user data", limit: MAX_USER_DATA_BYTES });
    }
    let count = room_for(txn, launch)?;
    let reservation = ReservationId::from_number(txn.id_number());
    let mut created = Vec::new();
    for launch_index in 0..count {
        created.push(launch_one(txn, launch, reservation, u32::try_from(launch_index).unwrap_or(0))?);
    }
    // The asked-for resources are reported first.
    txn.events.sort_by_key(|event| match event {
        Event::Created(ResourceId::Instance(id)) => created.iter().position(|c| c == id).unwrap_or(0),
        Event::Created(_) | Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => usize::MAX,
    });
    Ok(())
}

/// As many as there is room for: "If you specify a value that is more capacity than Amazon EC2 can launch in the target
/// Availability Zone, it launches the largest possible number above MinCount."
fn room_for(txn: &Txn, launch: &Launch) -> Result<usize, ModelError> {
    let least = launch.least.unwrap_or(launch.count).min(launch.count);
    match &launch.interface {
        LaunchInterface::Existing(_) => Ok(launch.count),
        LaunchInterface::New { subnet, .. } => {
            let room = txn.get::<Subnet>(*subnet)?.available_address_count(&txn.state);
            if room < least {
                return Err(ModelError::SubnetFull { subnet: *subnet });
            }
            Ok(launch.count.min(room))
        }
    }
}

fn launch_one(
    txn: &mut Txn,
    launch: &Launch,
    reservation: ReservationId,
    launch_index: u32,
) -> Result<InstanceId, ModelError> {
    let id = txn.mint::<Instance>(InstanceId::from_number)?;
    let (interface, delete_on_termination) = primary_interface(txn, launch)?;
    let found = txn.get::<NetworkInterface>(interface)?;
    let profile = launch.profile.clone();
    let profile = profile.map(|name| (IamInstanceProfileAssociationId::from_number(txn.id_number()), name));
    let tags = tag::collect(&launch.tags)?;
    txn.insert(Instance {
        id,
        owner: txn.account,
        reservation,
        launch_index,
        vpc: found.vpc,
        subnet: found.subnet,
        state: InstanceState::Pending,
        state_at: txn.at,
        state_reason: String::new(),
        image: launch.image.clone(),
        instance_type: launch.instance_type.clone(),
        key_name: launch.key_name.clone(),
        profile,
        user_data: launch.user_data.clone(),
        metadata: launch.metadata,
        termination_protected: launch.termination_protected,
        launched_at: txn.at,
        restarted: false,
        tags,
    });
    let attachment = Attachment {
        id: AttachmentId::from_number(txn.id_number()),
        instance: Some(id),
        device_index: 0,
        delete_on_termination,
        attached_at: txn.at,
    };
    txn.update::<NetworkInterface>(interface, |interface| interface.attachment = Some(attachment))?;
    Ok(id)
}

fn primary_interface(txn: &mut Txn, launch: &Launch) -> Result<(NetworkInterfaceId, bool), ModelError> {
    match &launch.interface {
        LaunchInterface::Existing(id) => {
            let interface = txn.get::<NetworkInterface>(*id)?;
            match interface.attachment {
                None => Ok((*id, false)),
                Some(current) => {
                    Err(ModelError::InUse { resource: (*id).into(), used_by: current.id.to_string() })
                }
            }
        }
        LaunchInterface::New {
            subnet,
            groups,
            private_address,
            public_address,
            description,
            delete_on_termination,
        } => {
            let interface = crate::interface::insert(
                txn,
                NewInterface {
                    subnet: *subnet,
                    description: description.clone(),
                    private_address: *private_address,
                    secondary_addresses: Vec::new(),
                    secondary_count: 0,
                    groups: groups.clone(),
                    kind: InterfaceKind::Interface,
                    tags: launch.interface_tags.clone(),
                },
            )?;
            let by_subnet = txn.get::<Subnet>(*subnet)?.map_public_ip_on_launch;
            if public_address.unwrap_or(by_subnet) {
                assign_automatic(txn, interface)?;
            }
            Ok((interface, *delete_on_termination))
        }
    }
}

/// Gives an interface a public address that is its own until it goes.
pub(crate) fn assign_automatic(txn: &mut Txn, interface: NetworkInterfaceId) -> Result<(), ModelError> {
    let public = pick_public_address(txn)?;
    txn.state.public_addresses.insert(public, PublicAddress::Automatic(interface));
    txn.update::<NetworkInterface>(interface, |interface| {
        interface.automatic_public_address = Some(public);
        interface.public_address_at_launch = true;
    })
}

fn set_state(txn: &mut Txn, id: InstanceId, state: InstanceState, reason: &str) -> Result<(), ModelError> {
    let at = txn.at;
    txn.update::<Instance>(id, |instance| {
        instance.state = state;
        instance.state_at = at;
        reason.clone_into(&mut instance.state_reason);
    })
}

fn wrong_state(instance: &Instance, needed: &'static str) -> ModelError {
    ModelError::WrongState { resource: instance.id.into(), state: instance.state.name(), needed }
}

pub(crate) fn stop(txn: &mut Txn, ids: &[InstanceId]) -> Result<(), ModelError> {
    for id in ids {
        let instance = txn.get::<Instance>(*id)?;
        match instance.state {
            InstanceState::Pending | InstanceState::Running => {
                set_state(txn, *id, InstanceState::Stopping, "User initiated")?;
            }
            InstanceState::Stopping | InstanceState::Stopped => {}
            InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Err(wrong_state(&instance, "running"));
            }
        }
    }
    Ok(())
}

pub(crate) fn start(txn: &mut Txn, ids: &[InstanceId]) -> Result<(), ModelError> {
    for id in ids {
        let instance = txn.get::<Instance>(*id)?;
        match instance.state {
            InstanceState::Stopped => start_one(txn, &instance)?,
            InstanceState::Pending | InstanceState::Running => {}
            InstanceState::Stopping | InstanceState::ShuttingDown | InstanceState::Terminated => {
                return Err(wrong_state(&instance, "stopped"));
            }
        }
    }
    Ok(())
}

fn start_one(txn: &mut Txn, instance: &Instance) -> Result<(), ModelError> {
    set_state(txn, instance.id, InstanceState::Pending, "")?;
    let at = txn.at;
    txn.update::<Instance>(instance.id, |instance| {
        instance.launched_at = at;
        instance.restarted = true;
    })?;
    // A public address that came with the launch is another one after each start ("Public IPv4 addresses").
    let primary = instance.primary_interface(&txn.state).cloned();
    match primary {
        Some(interface) if interface.public_address_at_launch => {
            let elastic = crate::gateway::elastic_of(&txn.state, interface.id, interface.primary_address());
            if elastic.is_none() { assign_automatic(txn, interface.id) } else { Ok(()) }
        }
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn terminate(txn: &mut Txn, ids: &[InstanceId]) -> Result<(), ModelError> {
    for id in ids {
        let instance = txn.get::<Instance>(*id)?;
        if instance.termination_protected && instance.state.is_live() {
            return Err(ModelError::TerminationProtected(*id));
        }
        if instance.state.is_live() {
            set_state(txn, *id, InstanceState::ShuttingDown, "User initiated")?;
        }
    }
    Ok(())
}

/// The data plane reports what became of an instance.
pub(crate) fn report(
    txn: &mut Txn,
    id: InstanceId,
    state: InstanceState,
    reason: &str,
) -> Result<(), ModelError> {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let instance = txn.get::<Instance>(id)?;
    // INVARIANT: a report only completes the transition that is under way, or ends what ran by itself.
    match (instance.state, state) {
        (Pending, Running) => set_state(txn, id, state, reason),
        (Pending | Running | Stopping, Stopped) => {
            set_state(txn, id, state, reason)?;
            release_on_stop(txn, &instance)
        }
        (Pending | ShuttingDown, Terminated) => {
            set_state(txn, id, state, reason)?;
            crate::elb::forget_instance(txn, id)?;
            release_on_termination(txn, &instance)
        }
        (from, to) if from == to => Ok(()),
        (Pending | Running | Stopping | Stopped | ShuttingDown | Terminated, _) => {
            Err(wrong_state(&instance, "in transition"))
        }
    }
}

fn release_on_stop(txn: &mut Txn, instance: &Instance) -> Result<(), ModelError> {
    let interfaces: Vec<_> = instance.interfaces(&txn.state).map(|x| x.id).collect();
    interfaces.into_iter().try_for_each(|interface| release_automatic(txn, interface))
}

fn release_on_termination(txn: &mut Txn, instance: &Instance) -> Result<(), ModelError> {
    let interfaces: Vec<_> = instance.interfaces(&txn.state).cloned().collect();
    for interface in interfaces {
        if interface.attachment.is_some_and(|attachment| attachment.delete_on_termination) {
            crate::interface::remove(txn, interface.id)?;
        } else {
            release_automatic(txn, interface.id)?;
            txn.update::<NetworkInterface>(interface.id, |interface| interface.attachment = None)?;
        }
    }
    Ok(())
}

/// Terminated instances are shown for an hour, then forgotten.
pub(crate) fn forget(txn: &mut Txn, id: InstanceId) -> Result<(), ModelError> {
    let instance = txn.get::<Instance>(id)?;
    if instance.state != InstanceState::Terminated {
        return Err(wrong_state(&instance, "terminated"));
    }
    txn.remove::<Instance>(id).map(|_| ())
}

/// What can change of an instance, one thing at a time as in AWS's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceChange {
    /// Whether `TerminateInstances` is refused.
    TerminationProtection(bool),
    /// The type; only while stopped.
    InstanceType(String),
    /// What it runs at its next first start; only while stopped.
    UserData(Vec<u8>),
    /// How instance metadata answers.
    Metadata(MetadataOptions),
    /// The instance profile.
    Profile(Option<String>),
    /// The instance profile, in the place of the one that is there.
    ReplaceProfile(String),
}

pub(crate) fn modify(txn: &mut Txn, id: InstanceId, change: InstanceChange) -> Result<(), ModelError> {
    let instance = txn.get::<Instance>(id)?;
    let stopped = || match instance.state {
        InstanceState::Stopped => Ok(()),
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => Err(wrong_state(&instance, "stopped")),
    };
    match change {
        InstanceChange::TerminationProtection(on) => {
            txn.update::<Instance>(id, |i| i.termination_protected = on)
        }
        InstanceChange::InstanceType(name) => {
            stopped()?;
            txn.update::<Instance>(id, |i| i.instance_type = name)
        }
        InstanceChange::UserData(data) => {
            stopped()?;
            if data.len() > MAX_USER_DATA_BYTES {
                return Err(ModelError::Limit { what: "bytes of user data", limit: MAX_USER_DATA_BYTES });
            }
            txn.update::<Instance>(id, |i| i.user_data = Some(data))
        }
        InstanceChange::Metadata(options) => txn.update::<Instance>(id, |i| i.metadata = options),
        InstanceChange::Profile(None) => txn.update::<Instance>(id, |i| i.profile = None),
        InstanceChange::ReplaceProfile(name) => {
            crate::iam::profile_with_role(txn, &name)?;
            let association = IamInstanceProfileAssociationId::from_number(txn.id_number());
            txn.update::<Instance>(id, |i| i.profile = Some((association, name)))
        }
        InstanceChange::Profile(Some(name)) => {
            crate::iam::profile_with_role(txn, &name)?;
            if let Some((_, current)) = &instance.profile {
                return Err(ModelError::InUse { resource: id.into(), used_by: current.clone() });
            }
            let association = IamInstanceProfileAssociationId::from_number(txn.id_number());
            txn.update::<Instance>(id, |i| i.profile = Some((association, name)))
        }
    }
}

/// The key pair of this name.
pub fn find_key_pair<'a>(
    state: &'a State,
    account: AccountId,
    name: &str,
) -> Result<&'a Arc<KeyPair>, ModelError> {
    let found = state.visible::<KeyPair>(account).find(|pair| pair.name == name);
    found.ok_or_else(|| ModelError::KeyPairNotFound(name.to_owned()))
}

/// A key pair as it is made or brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKeyPair {
    /// Its name.
    pub name: String,
    /// `rsa` or `ed25519`.
    pub key_type: String,
    /// The public key as a line of `authorized_keys`.
    pub public_key: String,
    /// As AWS prints it.
    pub fingerprint: String,
    /// Its tags.
    pub tags: TagSet,
}

pub(crate) fn create_key_pair(txn: &mut Txn, new: NewKeyPair) -> Result<(), ModelError> {
    if find_key_pair(&txn.state, txn.account, &new.name).is_ok() {
        return Err(ModelError::KeyPairExists(new.name));
    }
    txn.room_for_one::<KeyPair>(Quota::KeyPairs)?;
    let id = txn.mint::<KeyPair>(KeyPairId::from_number)?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(KeyPair {
        id,
        owner: txn.account,
        name: new.name,
        key_type: new.key_type,
        public_key: new.public_key,
        fingerprint: new.fingerprint,
        created_at: txn.at,
        tags,
    });
    Ok(())
}

pub(crate) fn delete_key_pair(txn: &mut Txn, id: KeyPairId) -> Result<(), ModelError> {
    txn.remove::<KeyPair>(id).map(|_| ())
}

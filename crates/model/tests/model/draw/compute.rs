//! Instances and key pairs.

use postern_model::instance::{
    InstanceChange, InstanceState, KeyPair, Launch, LaunchInterface, MetadataOptions, NewKeyPair,
};
use postern_model::*;

use super::Draw;

impl Draw<'_> {
    /// A command about instances or key pairs, if this is a kind of them.
    pub(super) fn compute_action(&mut self, kind: &str) -> Option<Action> {
        Some(match kind {
            "RunInstances" => Action::RunInstances(self.launch()),
            "StopInstances" => Action::StopInstances { instances: self.instances() },
            "StartInstances" => Action::StartInstances { instances: self.instances() },
            "TerminateInstances" => Action::TerminateInstances { instances: self.instances() },
            "ModifyInstance" => {
                Action::ModifyInstance { instance: self.instance(), change: self.instance_change() }
            }
            "ReportInstance" => {
                let instance = self.instance();
                let state = self.next_instance_state(instance);
                Action::ReportInstance { instance, state, reason: String::new() }
            }
            "ForgetInstance" => Action::ForgetInstance { instance: self.instance() },
            "CreateKeyPair" => Action::CreateKeyPair(NewKeyPair {
                name: self.name(),
                key_type: "ed25519".to_owned(),
                public_key: "ssh-ed25519 AAAA".to_owned(),
                fingerprint: "00:11".to_owned(),
                tags: self.tags(),
            }),
            "DeleteKeyPair" => Action::DeleteKeyPair { key_pair: self.id::<KeyPair>(KeyPairId::from_number) },
            _ => return None,
        })
    }

    pub(super) fn next_instance_state(&mut self, instance: InstanceId) -> InstanceState {
        use InstanceState::*;
        let current = self.state.instances.get(&instance).map(|instance| instance.state);
        match (current, self.random.below(10)) {
            (Some(Pending), 0..8) => Running,
            (Some(Stopping), 0..8) => Stopped,
            (Some(ShuttingDown), 0..8) => Terminated,
            _ => self.random.of(&[Pending, Running, Stopping, Stopped, ShuttingDown, Terminated]),
        }
    }

    pub(super) fn launch(&mut self) -> Launch {
        let interface = if self.random.chance(15) {
            LaunchInterface::Existing(self.interface())
        } else {
            LaunchInterface::New {
                subnet: self.subnet(),
                groups: if self.random.chance(80) { None } else { Some(vec![self.group()]) },
                private_address: None,
                public_address: self.random.of(&[None, None, Some(true), Some(false)]),
                description: String::new(),
                delete_on_termination: self.random.chance(70),
            }
        };
        Launch {
            count: self.random.of(&[1, 1, 1, 2, 0]),
            least: self.random.of(&[None, None, Some(1)]),
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface,
            key_name: if self.random.chance(90) { None } else { Some(self.name()) },
            profile: if self.random.chance(90) { None } else { Some(self.name()) },
            user_data: None,
            metadata: MetadataOptions::default(),
            termination_protected: self.random.chance(5),
            tags: self.tags(),
            interface_tags: Vec::new(),
        }
    }

    pub(super) fn instance_change(&mut self) -> InstanceChange {
        match self.random.below(7) {
            0 => InstanceChange::TerminationProtection(self.random.chance(30)),
            1 => InstanceChange::InstanceType("t3.large".to_owned()),
            2 => InstanceChange::UserData(b"echo".to_vec()),
            3 => InstanceChange::Metadata(MetadataOptions { enabled: true, hop_limit: 2 }),
            4 => InstanceChange::Profile(Some(self.name())),
            5 => InstanceChange::ReplaceProfile(self.name()),
            _ => InstanceChange::Profile(None),
        }
    }
}

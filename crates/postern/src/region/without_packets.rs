//! The reconciler of a region in which no packets move: nothing is to be programmed, so gateways and endpoints are
//! ready as soon as they are made; and instances, which cannot run, say so.

use std::sync::Arc;

use postern_model::{AccountId, Action, State, Timestamp};
use postern_services::commands::Commands;
use tokio::sync::Notify;

use super::machines::PERIOD;
use super::reconcile::{Actual, Task, difference};

/// Keeps the state as it can be without packets, for this reason, until the future is dropped.
pub async fn reconcile(commands: Arc<dyn Commands>, changed: Arc<Notify>, reason: String) {
    // The reason tells of this machine, so it goes to the log and not into the state that the API shows.
    tracing::warn!(reason, "no packets move here, and no programs run");
    loop {
        let state = commands.state();
        let tasks = difference(&state, &Actual::default(), true, Timestamp(commands.now_milliseconds()));
        let mut did = false;
        let now = Timestamp(commands.now_milliseconds());
        let of_balancers = super::balancer::reports(&state, now, |_| true);
        let of_tasks = tasks.into_iter().filter_map(|task| answer(&state, task));
        for (account, action) in of_tasks.chain(of_balancers) {
            match commands.execute(account, None, action).await {
                Ok(_) => did = true,
                // The state went on meanwhile; the next look sees how.
                Err(error) => tracing::debug!(%error, "a report came too late"),
            }
        }
        if !did {
            // A change that came meanwhile is not missed: `Notify` keeps one.
            let _ = tokio::time::timeout(PERIOD, changed.notified()).await;
        }
    }
}

/// What is reported instead of doing a task.
fn answer(state: &State, task: Task) -> Option<(AccountId, Action)> {
    let report = |id, to, reason: String| {
        let owner = state.instances.get(&id)?.owner;
        Some((owner, Action::ReportInstance { instance: id, state: to, reason }))
    };
    match task {
        Task::Build(id) => {
            let to = state.instances.get(&id)?.state_after_failed_start();
            report(id, to, "no packets move here, and no programs run".to_owned())
        }
        Task::Destroy(id, to) => report(id, to?, "User initiated".to_owned()),
        Task::Report(account, action) => Some((account, *action)),
        Task::Plug(_, _) | Task::Unplug(_, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
    use postern_model::{Command, Event, Region, ResourceId, apply};

    use super::*;

    struct World {
        state: State,
        account: AccountId,
        seed: u64,
    }

    impl World {
        fn run(&mut self, action: Action) -> Vec<Event> {
            self.seed += 1;
            let (account, at) = (self.account, Timestamp(self.seed));
            let command = Command { account, at, seed: self.seed, client_token: None, action };
            let (state, events) = apply(&self.state, &command).unwrap();
            self.state = state;
            events
        }

        /// What the first event made.
        fn make(&mut self, action: Action) -> ResourceId {
            match self.run(action).first() {
                Some(Event::Created(id)) => *id,
                other => panic!("nothing was made, but {other:?}"),
            }
        }

        /// Does what is to be done, and says how the instance is then.
        fn settle(&mut self, id: postern_model::InstanceId) -> InstanceState {
            let tasks = difference(&self.state, &Actual::default(), true, Timestamp(self.seed));
            let actions: Vec<_> = tasks.into_iter().filter_map(|task| answer(&self.state, task)).collect();
            for (_, action) in actions {
                self.run(action);
            }
            self.state.instances.get(&id).unwrap().state
        }
    }

    fn launch(subnet: postern_model::SubnetId) -> Action {
        Action::RunInstances(Launch {
            count: 1,
            least: None,
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface: LaunchInterface::New {
                subnet,
                groups: None,
                private_address: None,
                public_address: None,
                description: String::new(),
                delete_on_termination: true,
            },
            key_name: None,
            profile: None,
            user_data: None,
            metadata: MetadataOptions::default(),
            termination_protected: false,
            tags: Vec::new(),
            interface_tags: Vec::new(),
        })
    }

    #[test]
    fn what_ran_before_is_stopped_and_stays_so_when_it_is_started() {
        let account = AccountId::from_number(7).unwrap();
        let mut world = World { state: State::new(Region::new("us-east-1").unwrap()), account, seed: 0 };
        world.run(Action::CreateAccount { name: String::new(), root_key: None });
        let made = world.make(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Vec::new() });
        let ResourceId::Vpc(vpc) = made else { panic!("{made} is no VPC") };
        let cidr = "10.0.1.0/24".parse().unwrap();
        let made = world.make(Action::CreateSubnet { vpc, cidr, zone: None, tags: Vec::new() });
        let ResourceId::Subnet(subnet) = made else { panic!("{made} is no subnet") };
        let made = world.make(launch(subnet));
        let ResourceId::Instance(id) = made else { panic!("{made} is no instance") };
        // It ran where packets move.
        let (state, reason) = (InstanceState::Running, String::new());
        world.run(Action::ReportInstance { instance: id, state, reason });
        assert_eq!(world.settle(id), InstanceState::Stopped);
        world.run(Action::StartInstances { instances: vec![id] });
        assert_eq!(world.settle(id), InstanceState::Stopped, "a start that fails takes nothing away");
        let made = world.make(launch(subnet));
        let ResourceId::Instance(new) = made else { panic!("{made} is no instance") };
        assert_eq!(world.settle(new), InstanceState::Terminated);
    }
}

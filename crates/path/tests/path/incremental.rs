//! A plan that was advanced command by command is the plan that is compiled from the last state.

use postern_path::Plan;
use postern_testkit::draw;

use crate::seeds;

const TOPOLOGIES: u64 = 40;
const COMMANDS: usize = 60;

#[test]
fn advancing_is_compiling_anew() {
    let applied = seeds::each(TOPOLOGIES, |_, random| {
        let mut world = draw::topology(random);
        let uplink = draw::uplink(random);
        let mut plan = Plan::compile_with_uplink(&world.state, uplink).plan;
        let mut applied = 0;
        for _ in 0..COMMANDS {
            let before = world.state.clone();
            let (account, action) = draw::command(random, &world.state);
            if world.run(account, action.clone()).is_err() {
                continue;
            }
            applied += 1;
            plan = plan.advance(&before, &world.state).plan;
            let differ = plan.differences(&Plan::compile_with_uplink(&world.state, uplink).plan);
            assert!(differ.is_empty(), "after {action:?}: {differ:?} are not as compiled anew");
        }
        applied
    });
    assert!(applied.iter().sum::<usize>() > 10 * applied.len(), "too few commands were possible");
}

#[test]
fn plans_of_different_states_differ() {
    let differs = seeds::each(20, |_, random| {
        let mut world = draw::topology(random);
        let old = Plan::compile(&world.state).plan;
        for _ in 0..30 {
            let (account, action) = draw::command(random, &world.state);
            let _ = world.run(account, action);
        }
        !old.differences(&Plan::compile(&world.state).plan).is_empty()
    });
    assert!(differs.iter().all(|differs| *differs), "thirty commands change something");
}

//! What holds for every history of commands of two accounts.
//!
//! `POSTERN_MODEL_HISTORIES` sets how many random histories are tried, `POSTERN_MODEL_SEED` tries the one that failed.

use std::collections::BTreeMap;

use postern_model::elb::{Listener, LoadBalancer, TargetGroup};
use postern_model::endpoint::{EndpointState, VpcEndpoint};
use postern_model::endpoint_service::{EndpointService, EndpointServiceAction};
use postern_model::gateway::{Address, InternetGateway, NatGateway};
use postern_model::instance::{Instance, KeyPair};
use postern_model::interface::NetworkInterface;
use postern_model::network_acl::NetworkAcl;
use postern_model::prefix_list::PrefixList;
use postern_model::resolver_endpoint::ResolverEndpoint;
use postern_model::route::RouteTable;
use postern_model::security_group::SecurityGroup;
use postern_model::state::Resource;
use postern_model::subnet::Subnet;
use postern_model::vpc::{DhcpOptions, Vpc};
use postern_model::*;

use crate::draw::{Drawn, KINDS, Random, draw, kind};

/// So many that each kind of command finds something to succeed on.
const HISTORIES: u64 = 200;
const STEPS: usize = 1_000;

/// How often each kind of command was drawn, and how often it succeeded.
type Counts = BTreeMap<&'static str, (usize, usize)>;

#[test]
fn every_history_keeps_the_rules() {
    let from_env = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let mut counts = Counts::new();
    if let Some(seed) = from_env("POSTERN_MODEL_SEED") {
        return history(seed, &mut counts);
    }
    for seed in 0..from_env("POSTERN_MODEL_HISTORIES").unwrap_or(HISTORIES) {
        history(seed, &mut counts);
    }
    if std::env::var_os("POSTERN_MODEL_COUNTS").is_some() {
        counts.iter().for_each(|(kind, (drawn, done))| println!("{kind}: {done} of {drawn}"));
    }
    let idle: Vec<_> =
        KINDS.iter().filter(|kind| counts.get(*kind).is_none_or(|(_, done)| *done == 0)).collect();
    assert!(idle.is_empty(), "never succeeded: {idle:?}: draw them so that they fit more often");
    let drawn = |kind: &&&str| counts.get(**kind).map_or(0, |(drawn, _)| *drawn);
    assert!(KINDS.iter().all(|kind| drawn(&kind) > 0));
}

/// Says which history failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with POSTERN_MODEL_SEED={}", self.0);
        }
    }
}

fn accounts() -> [AccountId; 2] {
    [111_111_111_111, 222_222_222_222].map(|number| AccountId::from_number(number).unwrap())
}

fn history(seed: u64, counts: &mut Counts) {
    let _seed = Seed(seed);
    let mut random = Random(seed);
    let mut start = State::new(Region::new("us-east-1").unwrap());
    // The other account has the usual ones.
    start.quotas.insert(accounts()[0], quota::highest());
    let mut state = start.clone();
    let mut log = Vec::new();
    for account in accounts() {
        let action = Action::CreateAccount { name: "one".to_owned(), root_key: None };
        let command = Command { account, at: Timestamp(1), seed: random.next(), client_token: None, action };
        state = apply(&state, &command).unwrap().0;
        log.push(command);
    }
    for step in 0..STEPS {
        let account = random.of(&accounts());
        let Drawn { action, foreign } = draw(&mut random, &state, account);
        // Whoever makes an account is none yet.
        let stranger = random.chance(if matches!(action, Action::CreateAccount { .. }) { 50 } else { 1 });
        let account = if stranger { AccountId::from_number(random.next() % 1_000).unwrap() } else { account };
        let client_token = random.chance(15).then(|| format!("token-{}", random.below(30)));
        // Five minutes a step, so that what is shown for an hour gets old.
        let at = Timestamp(1_000 + step as u64 * 300_000);
        let command = Command { account, at, seed: random.next(), client_token, action };
        let outcome = apply(&state, &command);
        if let Action::Batch(parts) = &command.action {
            check_batch(&state, &command, parts, &outcome);
        }
        let count = counts.entry(kind(&command.action)).or_default();
        count.0 += 1;
        count.1 += usize::from(outcome.is_ok());
        if !stranger {
            check_secrecy(&state, &command, &foreign);
        }
        if let Ok((next, _)) = &outcome {
            check_success(&state, next, &command);
            let text = serde_json::to_string(&command).unwrap();
            let again: Command = serde_json::from_str(&text).unwrap();
            assert!(again == command, "{command:?} reads back as {again:?}");
            log.push(again);
            state = next.clone();
        }
        if step % 50 == 0 {
            check_round_trip(&state);
        }
    }
    check_round_trip(&state);
    check_replay(start, &log, &state);
}

fn check_success(before: &State, after: &State, command: &Command) {
    let violations = invariants::check(after);
    assert!(violations.is_empty(), "{command:?} broke {violations:?}");
    for other in accounts().into_iter().filter(|other| *other != command.account) {
        check_untouched(before, after, other, command);
    }
    if command.client_token.is_some() {
        let again = Command { at: Timestamp(command.at.0 + 1), seed: !command.seed, ..command.clone() };
        let (repeated, _) = apply(after, &again).unwrap();
        assert!(repeated == *after, "{command:?} changed something when it was repeated");
    }
}

/// A batch does what its parts do one after the other, and nothing if one of them is refused.
fn check_batch(
    state: &State,
    batch: &Command,
    parts: &[Action],
    outcome: &Result<(State, Vec<Event>), ModelError>,
) {
    // A batch that repeats a token does nothing, and is not what this is about.
    let known = |token: &String| state.client_tokens.contains_key(&format!("{}/{token}", batch.account));
    if batch.client_token.as_ref().is_some_and(known) || !state.accounts.contains_key(&batch.account) {
        return;
    }
    let mut after = state.clone();
    let mut events = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let seed = command::seed_of_part(batch.seed, index);
        let command = Command { seed, client_token: None, action: part.clone(), ..batch.clone() };
        match apply(&after, &command) {
            Ok((next, more)) => {
                after = next;
                events.extend(more);
            }
            Err(refusal) => {
                assert_eq!(outcome.as_ref().err(), Some(&refusal), "{batch:?}");
                return;
            }
        }
    }
    let (mut state_of_batch, events_of_batch) = outcome.clone().unwrap();
    assert_eq!(state_of_batch.revision, state.revision + 1, "{batch:?} is not one revision");
    assert_eq!(events_of_batch, events, "{batch:?}");
    state_of_batch.revision = after.revision;
    state_of_batch.client_tokens = after.client_tokens.clone();
    assert!(state_of_batch == after, "{batch:?} does something else than its parts");
}

/// Whether a command says which endpoints may be used: those of a service are others' mostly.
fn decides_connections(action: &Action) -> bool {
    match action {
        Action::EndpointService(
            EndpointServiceAction::AcceptConnections { .. } | EndpointServiceAction::RejectConnections { .. },
        ) => true,
        Action::Batch(parts) => parts.iter().any(decides_connections),
        _ => false,
    }
}

/// Whether an account's endpoints are as they were, but for whether they may be used.
fn same_endpoints(before: &State, after: &State, account: AccountId, decided: bool) -> bool {
    let all = |state: &State| {
        let endpoints = state.visible::<VpcEndpoint>(account).map(|endpoint| {
            let mut endpoint = VpcEndpoint::clone(endpoint);
            if decided {
                endpoint.state = EndpointState::Pending;
            }
            endpoint
        });
        endpoints.collect::<Vec<_>>()
    };
    all(before) == all(after)
}

/// Whether a command says which services there are: those are everybody's, and the operator's to say.
fn is_of_the_operators(action: &Action) -> bool {
    match action {
        Action::AddService(_) | Action::RemoveService { .. } => true,
        Action::Batch(parts) => parts.iter().any(is_of_the_operators),
        _ => false,
    }
}

/// A command of another account leaves all of this one's as it was.
fn check_untouched(before: &State, after: &State, account: AccountId, command: &Command) {
    fn same<R: Resource + PartialEq>(before: &State, after: &State, account: AccountId) -> bool {
        before.visible::<R>(account).eq(after.visible::<R>(account))
    }
    let tokens = |state: &State| {
        let prefix = format!("{account}/");
        let all = state.client_tokens.iter().filter(|(token, _)| token.starts_with(&prefix));
        all.map(|(token, record)| (token.clone(), record.clone())).collect::<Vec<_>>()
    };
    let untouched = [
        same::<Vpc>(before, after, account),
        same::<DhcpOptions>(before, after, account),
        same::<Subnet>(before, after, account),
        same::<RouteTable>(before, after, account),
        same::<InternetGateway>(before, after, account),
        same::<NatGateway>(before, after, account),
        same::<Address>(before, after, account),
        same::<NetworkInterface>(before, after, account),
        same::<SecurityGroup>(before, after, account),
        same::<NetworkAcl>(before, after, account),
        same::<PrefixList>(before, after, account),
        same_endpoints(before, after, account, decides_connections(&command.action)),
        same::<EndpointService>(before, after, account),
        same::<LoadBalancer>(before, after, account),
        same::<Listener>(before, after, account),
        same::<TargetGroup>(before, after, account),
        same::<ResolverEndpoint>(before, after, account),
        same::<Instance>(before, after, account),
        same::<KeyPair>(before, after, account),
        before.accounts.get(&account) == after.accounts.get(&account),
        before.iam.get(&account) == after.iam.get(&account),
        before.quotas.get(&account) == after.quotas.get(&account),
        before.services == after.services || is_of_the_operators(&command.action),
        tokens(before) == tokens(after),
    ];
    let touched: Vec<_> = untouched.iter().enumerate().filter(|(_, same)| !**same).map(|(n, _)| n).collect();
    assert!(touched.is_empty(), "{command:?} touched kinds {touched:?} of {account}");
}

/// Whoever names something of another account learns no more than if it were nobody's.
fn check_secrecy(state: &State, command: &Command, foreign: &[(String, String)]) {
    let text = serde_json::to_string(command).unwrap();
    // What was drawn but is not named after all does not count.
    if !foreign.iter().any(|(id, _)| text.contains(id.as_str())) {
        return;
    }
    let rename = |text: &str| foreign.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    let nobodys: Command = serde_json::from_str(&rename(&text)).unwrap();
    let refusal = |command: &Command| match apply(state, command) {
        Ok(_) => panic!("{command:?} succeeded, though it names what is not its account's"),
        Err(error) => error.to_string(),
    };
    let (error, error_of_nobodys) = (refusal(command), refusal(&nobodys));
    assert_eq!(rename(&error), error_of_nobodys, "{command:?} tells that something is there");
}

fn check_round_trip(state: &State) {
    let text = serde_json::to_string(state).unwrap();
    let mut again: State = serde_json::from_str(&text).unwrap();
    again.reindex();
    let differs = differing_tables(&again, state);
    assert!(differs.is_empty(), "{differs:?} are not as they were written");
    assert!(again == *state, "reading back what was written gives another state");
}

/// Which of the larger tables differ, for the message of a failure.
fn differing_tables(a: &State, b: &State) -> Vec<&'static str> {
    let tables = [
        ("iam", a.iam == b.iam),
        ("vpcs", a.vpcs == b.vpcs),
        ("subnets", a.subnets == b.subnets),
        ("route tables", a.route_tables == b.route_tables),
        ("gateways", a.internet_gateways == b.internet_gateways && a.nat_gateways == b.nat_gateways),
        ("addresses", a.addresses == b.addresses),
        ("network interfaces", a.network_interfaces == b.network_interfaces),
        ("security groups", a.security_groups == b.security_groups),
        ("network ACLs", a.network_acls == b.network_acls),
        ("prefix lists", a.prefix_lists == b.prefix_lists),
        ("endpoints", a.vpc_endpoints == b.vpc_endpoints),
        ("load balancers", a.load_balancers == b.load_balancers && a.listeners == b.listeners),
        ("target groups", a.target_groups == b.target_groups),
        ("endpoint services", a.endpoint_services == b.endpoint_services),
        ("instances", a.instances == b.instances),
        ("client tokens", a.client_tokens == b.client_tokens),
        ("private addresses", a.private_addresses == b.private_addresses),
        ("public addresses", a.public_addresses == b.public_addresses),
    ];
    tables.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

fn check_replay(start: State, log: &[Command], end: &State) {
    let replayed = log.iter().fold(start, |state, command| replay(&state, command).unwrap().0);
    assert!(replayed == *end, "replaying the commands gives another state");
}

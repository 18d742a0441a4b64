//! "Tag your Amazon EC2 resources" in the EC2 user guide, and client tokens.

use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::{World, net};

fn tags(count: usize) -> TagSet {
    (0..count).map(|n| (format!("key-{n}"), String::new())).collect()
}

fn put(vpc: VpcId, tags: TagSet) -> Action {
    Action::CreateTags { resources: vec![vpc.into()], tags }
}

#[test]
fn fifty_tags_a_resource() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let too_many = ModelError::TooManyTags { limit: 50 };
    assert_eq!(world.refusal(put(vpc, tags(51))), too_many);
    world.run(put(vpc, tags(50)));
    assert_eq!(world.refusal(put(vpc, vec![("one more".to_owned(), String::new())])), too_many);
    // Changing one of them is no new one.
    world.run(put(vpc, vec![("key-0".to_owned(), "new".to_owned())]));
    assert_eq!(world.get::<Vpc>(vpc).tags["key-0"], "new");
}

#[test]
fn keys_and_values_have_their_lengths_and_some_keys_are_aws_own() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    for key in ["", "aws:name", "AWS:name", &"k".repeat(129)] {
        let tags = vec![(key.to_owned(), String::new())];
        assert_eq!(world.refusal(put(vpc, tags)), ModelError::InvalidTagKey(key.to_owned()));
    }
    let long = "v".repeat(257);
    assert_eq!(
        world.refusal(put(vpc, vec![("k".to_owned(), long.clone())])),
        ModelError::InvalidTagValue(long)
    );
    // Characters count, not bytes.
    world.run(put(vpc, vec![("é".repeat(128), "ü".repeat(256)), ("awshucks".to_owned(), String::new())]));
}

#[test]
fn a_tag_goes_by_key_or_by_key_and_value() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    world.run(put(vpc, vec![pair("a", "1"), pair("b", "2"), pair("c", "3")]));
    let gone = vec![
        ("a".to_owned(), None),
        ("b".to_owned(), Some("other".to_owned())),
        ("c".to_owned(), Some("3".to_owned())),
    ];
    world.run(Action::DeleteTags { resources: vec![vpc.into()], tags: gone });
    assert_eq!(world.get::<Vpc>(vpc).tags.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn one_resource_that_is_not_there_keeps_all_from_being_tagged() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let nobody = SubnetId::from_number(1 << 40);
    let resources = vec![vpc.into(), nobody.into()];
    assert_eq!(
        world.refusal(Action::CreateTags { resources, tags: tags(1) }),
        ModelError::NotFound(nobody.into())
    );
    assert!(world.get::<Vpc>(vpc).tags.is_empty());
}

#[test]
fn a_repeated_client_token_changes_nothing_and_names_one_request() {
    let world = World::new();
    let create = |cidr: &str| Action::CreateVpc { cidr: net(cidr), tags: Vec::new() };
    let command = |seed, cidr: &str| Command {
        account: world.account,
        at: Timestamp(seed),
        seed,
        client_token: Some("once".to_owned()),
        action: create(cidr),
    };
    let (state, events) = apply(&world.state, &command(1, "10.0.0.0/16")).unwrap();
    let (again, same_events) = apply(&state, &command(2, "10.0.0.0/16")).unwrap();
    assert!(again == state);
    assert_eq!(same_events, events);
    assert_eq!(
        apply(&state, &command(3, "10.1.0.0/16")).unwrap_err(),
        ModelError::TokenReused { token: "once".to_owned() }
    );
    // The token of another account is another token.
    let other = AccountId::from_number(1).unwrap();
    let action = Action::CreateAccount { name: String::new(), root_key: None };
    let account = Command { account: other, at: Timestamp(4), seed: 4, client_token: None, action };
    let (state, _) = apply(&state, &account).unwrap();
    let (state, _) = apply(&state, &Command { account: other, ..command(5, "10.1.0.0/16") }).unwrap();
    assert_eq!(state.vpcs.len(), 2);
}

#[test]
fn an_accounts_tokens_are_forgotten_oldest_first_and_its_own_only() {
    let world = World::new();
    let other = AccountId::from_number(1).unwrap();
    let run = |state: &State, account, n: u64, action| {
        let client_token = Some(format!("token-{n}"));
        apply(state, &Command { account, at: Timestamp(n), seed: n, client_token, action }).unwrap().0
    };
    let mut state =
        run(&world.state, other, 0, Action::CreateAccount { name: String::new(), root_key: None });
    for n in 1..=2_001 {
        state = run(&state, world.account, n, Action::Batch(Vec::new()));
    }
    let known = |n: u64, account| state.client_tokens.contains_key(&format!("{account}/token-{n}"));
    assert!(known(0, other) && !known(1, world.account));
    assert!(known(2, world.account) && known(2_001, world.account));
}

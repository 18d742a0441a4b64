//! The evaluator against a naive one, and properties of both, over random documents and requests.
//!
//! `POSTERN_CASES` sets how many are tried, `POSTERN_SEED` tries the one that failed.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod draw;
mod matching;
mod naive;
#[path = "../common/random.rs"]
mod random;

use std::collections::BTreeMap;

use postern_policy::{Kind, Outcome, PolicyDocument, decide, evaluate};
use serde_json::Value;

use naive::Documents;
use random::{Random, from_env};

/// As the naive evaluator has it.
fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Allowed => "allowed".to_owned(),
        Outcome::Denied(denial) => {
            let how = if denial.explicit { "explicit" } else { "implicit" };
            format!("denied, {how}, {}", denial.policy_type)
        }
    }
}

/// Runs a case for each seed.
fn each(usual: u64, mut case: impl FnMut(u64, &mut Random)) -> bool {
    if let Some(seed) = from_env("POSTERN_SEED") {
        case(seed, &mut Random::new(seed));
        return false;
    }
    let count = from_env("POSTERN_CASES").unwrap_or(usual);
    (0..count).for_each(|seed| case(seed, &mut Random::new(seed)));
    true
}

#[test]
fn agrees_with_the_naive_evaluator() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused = 0;
    let all = each(4_000, |seed, random| {
        let documents = draw::documents(random);
        let Some(set) = draw::policy_set(&documents) else {
            refused += 1;
            return;
        };
        for _ in 0..4 {
            let ask = draw::ask(random);
            let request = draw::request(&ask);
            let wanted = naive::decide(&documents, &ask);
            let decided = decide(&set, &request);
            let shown = || format!("POSTERN_SEED={seed}\n{documents:#?}\n{ask:#?}");
            assert_eq!(outcome_text(&decided), wanted, "{}", shown());
            let evaluation = evaluate(&set, &request);
            assert_eq!(evaluation.outcome, decided, "explained otherwise: {}", shown());
            assert!(
                evaluation.is_allowed()
                    || evaluation.decisive().all(|reason| reason.applies() || !reason.to_string().is_empty())
            );
            *seen.entry(wanted).or_default() += 1;
        }
    });
    // The agreement would say little if some outcome hardly came.
    assert!(!all || (seen.len() >= 12 && seen["allowed"] > 1_500), "{seen:#?}");
    assert!(!all || refused < 400, "{refused} refused");
}

/// All policies of a set, to turn them about.
fn shuffle(documents: &Documents, random: &mut Random) -> Documents {
    fn turn(values: &mut [Value], random: &mut Random) {
        for at in (1..values.len()).rev() {
            values.swap(at, random.below(at + 1));
        }
    }
    let mut turned = documents.clone();
    turn(&mut turned.identity, random);
    turn(&mut turned.session, random);
    let several = turned.identity.iter_mut().chain(&mut turned.session).chain(&mut turned.resource);
    let several = several.chain(&mut turned.endpoint).chain(&mut turned.boundary);
    let levels = turned.service_control.iter_mut().chain(&mut turned.resource_control).flatten();
    for document in several.chain(levels) {
        if let Some(Value::Array(statements)) = document.get_mut("Statement") {
            turn(statements, random);
        }
    }
    turned.service_control.reverse();
    turned.resource_control.reverse();
    turned
}

#[test]
fn order_never_matters() {
    each(1_500, |seed, random| {
        let documents = draw::documents(random);
        let Some(set) = draw::policy_set(&documents) else { return };
        let turned = draw::policy_set(&shuffle(&documents, random)).unwrap();
        for _ in 0..4 {
            let request = draw::request(&draw::ask(random));
            let (before, after) = (decide(&set, &request), decide(&turned, &request));
            assert_eq!(outcome_text(&before), outcome_text(&after), "POSTERN_SEED={seed}");
            assert_eq!(before, decide(&set, &request), "the same twice");
        }
    });
}

#[test]
fn one_more_denial_never_allows_and_an_endpoint_policy_never_grants() {
    each(1_000, |seed, random| {
        let documents = draw::documents(random);
        let Some(set) = draw::policy_set(&documents) else { return };
        let asks: Vec<_> = (0..4).map(|_| draw::request(&draw::ask(random))).collect();
        let stricter = |name: &str, change: &mut dyn FnMut(&mut Documents)| {
            let mut changed = documents.clone();
            change(&mut changed);
            let Some(changed) = draw::policy_set(&changed) else { return };
            for request in &asks {
                let allowed_before = decide(&set, request) == Outcome::Allowed;
                let allowed_after = decide(&changed, request) == Outcome::Allowed;
                assert!(allowed_before || !allowed_after, "POSTERN_SEED={seed}: {name} allows");
            }
        };
        let mut denial = draw::document(random, Kind::Identity);
        for statement in denial["Statement"].as_array_mut().unwrap() {
            statement["Effect"] = "Deny".into();
        }
        stricter("a denial", &mut |changed| changed.identity.push(denial.clone()));
        let endpoint = draw::document(random, Kind::Endpoint { gateway: documents.endpoint_is_gateway });
        stricter("an endpoint policy", &mut |changed| {
            if changed.endpoint.is_none() {
                changed.endpoint = Some(endpoint.clone());
            }
        });
        let boundary = draw::document(random, Kind::Boundary);
        stricter("a boundary", &mut |changed| {
            // `NotPrincipal` looks at whether there is one.
            if changed.boundary.is_none() {
                changed.boundary = Some(boundary.clone());
            }
        });
        let level = draw::document(random, Kind::ServiceControl);
        stricter("a level of service control policies", &mut |changed| {
            changed.service_control.push(vec![level.clone()])
        });
    });
}

#[test]
fn what_is_printed_says_the_same() {
    const KINDS: [Kind; 9] = [
        Kind::Identity,
        Kind::Resource,
        Kind::Trust,
        Kind::Endpoint { gateway: true },
        Kind::Endpoint { gateway: false },
        Kind::Boundary,
        Kind::Session,
        Kind::ServiceControl,
        Kind::ResourceControl,
    ];
    let mut printed = 0;
    let all = each(3_000, |seed, random| {
        let kind = *random.one(&KINDS);
        let text = draw::document(random, kind).to_string();
        let Ok(document) = PolicyDocument::parse_within(&text, kind, 1 << 18) else { return };
        let print = document.print();
        let again = PolicyDocument::parse_within(&print, kind, 1 << 18)
            .unwrap_or_else(|error| panic!("POSTERN_SEED={seed}: {error}\n{print}"));
        assert!(document.says_the_same(&again), "POSTERN_SEED={seed}\n{text}\n{print}");
        assert_eq!(again.print(), print, "POSTERN_SEED={seed}");
        printed += 1;
    });
    assert!(!all || printed > 2_500, "only {printed}");
}

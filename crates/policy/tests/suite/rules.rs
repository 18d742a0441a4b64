//! Every rule of evaluation, as fixtures: policies and a request in, decision, sentence and reasons out.

use crate::fixture::{self, Case};
use postern_policy::{Evaluation, Outcome, decide, evaluate};

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Allowed => "allowed".to_owned(),
        Outcome::Denied(denial) => {
            let how = if denial.explicit { "explicit" } else { "implicit" };
            format!("denied, {how}, {}", denial.policy_type)
        }
    }
}

fn check(case: &Case) -> Result<(), String> {
    let (policies, request) = (fixture::policy_set(case), fixture::request(case));
    let evaluation = evaluate(&policies, &request);
    let told = || evaluation.reasons.iter().map(|reason| format!("\n    {reason}")).collect::<String>();
    let differs = |what: &str, wanted: &str, got: &str| {
        Err(format!("`{}`: {what}\n  wanted {wanted}\n  got    {got}{}", case.name, told()))
    };
    if decide(&policies, &request) != evaluation.outcome {
        return differs("decide and evaluate differ", "", "");
    }
    let got = outcome_text(&evaluation.outcome);
    if got != case.must("expect") {
        return differs("outcome", case.must("expect"), &got);
    }
    for (field, quote) in [("message", false), ("s3 message", true)] {
        if let Some(wanted) = case.get(field) {
            let got = evaluation.denial().map(|denial| denial.message(&request, quote)).unwrap_or_default();
            if got != wanted {
                return differs(field, wanted, &got);
            }
        }
    }
    for wanted in case.all("because") {
        if !evaluation.reasons.iter().any(|reason| reason.to_string() == wanted) {
            return differs("no such reason", wanted, "");
        }
    }
    check_denial_is_explained(case, &evaluation)
}

/// An explicit denial points at a statement that is among the reasons as denying.
fn check_denial_is_explained(case: &Case, evaluation: &Evaluation) -> Result<(), String> {
    let Some(denial) = evaluation.denial().filter(|denial| denial.explicit) else { return Ok(()) };
    let explained = evaluation.reasons.iter().any(|reason| {
        let denies = matches!(reason.finding, postern_policy::Finding::Denies(_));
        denies
            && reason.policy == denial.policy
            && reason.statement == denial.statement
            && reason.sid == denial.sid
    });
    if explained { Ok(()) } else { Err(format!("`{}`: no reason for {denial:?}", case.name)) }
}

fn check_file(text: &str, at_least: usize) {
    let cases = fixture::cases(text);
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn combination() {
    check_file(include_str!("fixtures/combination.txt"), 50);
}

#[test]
fn endpoints() {
    check_file(include_str!("fixtures/endpoints.txt"), 20);
}

#[test]
fn elements() {
    check_file(include_str!("fixtures/elements.txt"), 40);
}

#[test]
fn conditions() {
    check_file(include_str!("fixtures/conditions.txt"), 70);
}

#[test]
fn variables() {
    check_file(include_str!("fixtures/variables.txt"), 20);
}

#[test]
fn messages() {
    check_file(include_str!("fixtures/messages.txt"), 12);
}

//! Fuzzing of the parser and of the matcher, from a corpus, for a bounded number of inputs.
//!
//! This is a mutation fuzzer of our own and no libFuzzer: that needs a C++ toolchain, a crate with a lock file of its
//! own, and coverage instrumentation that the stable compiler does not offer, which is too much for every run of the
//! tests. What it would give, inputs that reach something new, is had in part from outcomes: an input whose outcome
//! (the words of an error, the shape of a document) was never seen joins the pool that later inputs are made from.
//!
//! `POSTERN_CASES` sets how many inputs each target gets, `POSTERN_SEED` another beginning. A failing input is printed;
//! it belongs into the corpus.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

#[path = "../common/random.rs"]
mod random;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use postern_policy::{
    Action, Arn, Context, Glob, Kind, NamedPolicy, Outcome, PolicyDocument, PolicySet, Principal, Request,
    decide, evaluate, unenforceable,
};

use random::{Random, from_env};

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

/// Inputs to begin with: one a file, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 8, "the corpus in {} is gone", folder.display());
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Gives a target inputs, and pools those whose outcome is new. Returns how many outcomes there were.
fn fuzz(name: &str, usual: u64, words: &[&str], target: impl Fn(&[u8]) -> String) -> usize {
    let mut pool = corpus(name);
    let mut outcomes = BTreeSet::new();
    for input in &pool {
        outcomes.insert(run(&target, input));
    }
    let seed = from_env("POSTERN_SEED").unwrap_or(1);
    let mut random = Random::new(seed);
    for _ in 0..from_env("POSTERN_CASES").unwrap_or(usual) {
        let mut input = pool[random.below(pool.len())].clone();
        for _ in 0..1 + random.below(4) {
            let other = pool[random.below(pool.len())].clone();
            mutate(&mut input, &other, words, &mut random);
        }
        input.truncate(1 << 14);
        // The pool is bounded; what is new displaces something that was pooled before.
        if outcomes.insert(run(&target, &input)) {
            match pool.len() {
                0..2_000 => pool.push(input),
                full => pool[random.below(full)] = input,
            }
        }
    }
    outcomes.len()
}

fn run(target: &impl Fn(&[u8]) -> String, input: &[u8]) -> String {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|_| {
        panic!("failed on these bytes: {input:?}\nwhich are `{}`", String::from_utf8_lossy(input))
    })
}

fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    let (start, end) = (random.below(input.len() + 1), random.below(input.len() + 1));
    let (start, end) = (start.min(end), start.max(end));
    match random.below(8) {
        0 if !input.is_empty() => {
            let at = random.below(input.len());
            input[at] ^= 1 << random.below(8);
        }
        1 => input.insert(start, random.below(256) as u8),
        2 => drop(input.drain(start..end.min(start + 1 + random.below(16)))),
        3 => {
            let piece = input[start..end].to_vec();
            input.splice(start..start, piece);
        }
        4 => {
            let from = random.below(other.len() + 1);
            let to = (from + random.below(64)).min(other.len());
            input.splice(start..end.min(start + 64), other[from..to].iter().copied());
        }
        _ => {
            let word = random.one(words).bytes();
            let replaced = if random.once_in(2) { start..start } else { start..end.min(start + 12) };
            input.splice(replaced, word);
        }
    }
}

/// An error or a warning without what is quoted in it and without numbers, so that alike ones are one outcome.
fn shape(text: &str) -> String {
    let unquoted: Vec<&str> = text.split('`').step_by(2).collect();
    unquoted.join("`").replace(|letter: char| letter.is_ascii_digit(), "")
}

fn requests() -> Vec<Request> {
    let arn = |text: &str| Arn::parse(text).unwrap();
    let context = Context::new()
        .with("aws:SourceVpce", "vpce-1")
        .with("aws:SourceIp", "192.0.2.1")
        .with("aws:SecureTransport", true)
        .with("s3:max-keys", 10)
        .with("s3:prefix", "home/ana/é")
        .with_many("aws:TagKeys", ["team", ""]);
    let principals = [
        Principal::Anonymous,
        Principal::Root { account: "111111111111".parse().unwrap() },
        Principal::User { arn: arn("arn:aws:iam::111111111111:user/ana") },
        Principal::AssumedRole {
            role_arn: arn("arn:aws:iam::111111111111:role/app"),
            session_arn: arn("arn:aws:sts::111111111111:assumed-role/app/one"),
        },
    ];
    let request = |principal: Principal| {
        Request::new(principal, Action::parse("s3:GetObject").unwrap(), "arn:aws:s3:::b/ana/k")
            .with_resource_account("111111111111".parse().unwrap())
            .with_context(context.clone())
    };
    principals.map(request).to_vec()
}

/// The document alone in its place.
fn placed(document: PolicyDocument) -> PolicySet {
    let mut set = PolicySet::new();
    let kind = document.kind();
    let policy = NamedPolicy::new("fuzzed", document);
    match kind {
        Kind::Identity => set.add_identity(policy).unwrap(),
        Kind::Resource | Kind::Trust => set.set_resource(policy).unwrap(),
        Kind::Endpoint { .. } => set.set_endpoint(policy).unwrap(),
        Kind::Boundary => set.set_boundary(policy).unwrap(),
        Kind::Session => set.add_session(policy).unwrap(),
        Kind::ServiceControl => set.add_service_control_level(vec![policy]).unwrap(),
        Kind::ResourceControl => set.add_resource_control_level(vec![policy]).unwrap(),
    }
    set
}

fn parse_and_use(bytes: &[u8], kind: Kind, requests: &[Request]) -> String {
    let document = match PolicyDocument::parse_bytes(bytes, kind) {
        Ok(document) => document,
        Err(error) => {
            // Whatever is wrong has a place in the text, but for its length.
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
            let place = error.place();
            assert!(place.is_none_or(|place| place.line as usize <= lines), "{error}");
            return shape(&error.to_string());
        }
    };
    assert_eq!(document.text().as_bytes(), bytes);
    let printed = document.print();
    let again = PolicyDocument::parse_within(&printed, kind, usize::MAX).unwrap();
    assert!(document.says_the_same(&again), "printed as {printed}");
    let mut outcome: String = document.warnings().iter().map(|warning| shape(&warning.to_string())).collect();
    let _ = unenforceable(&document, &|_| false);
    let limits_only = matches!(kind, Kind::Endpoint { .. } | Kind::ServiceControl | Kind::ResourceControl);
    let set = placed(document);
    for request in requests {
        let evaluation = evaluate(&set, request);
        assert_eq!(decide(&set, request), evaluation.outcome);
        // What only limits lets nobody in but those whom nothing had to let in.
        let needs_nothing = matches!(request.principal, Principal::Root { .. });
        assert!(!limits_only || needs_nothing || !evaluation.is_allowed(), "{kind} grants");
        outcome.push(if evaluation.is_allowed() { 'a' } else { 'd' });
    }
    outcome
}

#[test]
fn parser() {
    let words = [
        "\"Version\":\"2012-10-17\",",
        "\"Version\":\"2008-10-17\",",
        "\"Statement\":[",
        "\"Effect\":\"Allow\",",
        "\"Effect\":\"Deny\",",
        "\"Principal\":\"*\",",
        "\"NotPrincipal\":",
        "{\"AWS\":\"111111111111\"}",
        "\"Action\":\"*\",",
        "\"NotAction\":",
        "\"s3:Get*\"",
        "\"Resource\":\"*\"",
        "\"NotResource\":",
        "\"arn:aws:s3:::b/*\"",
        "\"Condition\":{",
        "\"StringLike\":{",
        "\"ForAllValues:StringEquals\":{",
        "\"IpAddress\":{",
        "\"Null\":{",
        "\"DateLessThan\":{",
        "\"aws:SourceVpce\":",
        "\"aws:SourceIp\":",
        "\"s3:prefix\":",
        "\"${aws:username}\"",
        "${a:b, 'c'}",
        "${*}",
        "${",
        "}",
        "{",
        "]",
        "[",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud83d\\ude00",
        "\\",
        "null",
        "true",
        "-0.5e3",
        "é",
        "\u{feff}",
        "*",
        "?",
        "\n",
    ];
    let requests = requests();
    let outcomes = fuzz("documents", 8_000, &words, |bytes| {
        // A kind that follows from the input, so that an input behaves alike every time, and the two commonest ones.
        let other = KINDS[bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % KINDS.len()];
        let kinds = [Kind::Identity, Kind::Resource, other];
        kinds.map(|kind| parse_and_use(bytes, kind, &requests)).join("|")
    });
    assert!(outcomes > 200, "only {outcomes} different outcomes: the fuzzer does not get anywhere");
}

/// By the definition: a table of which beginnings of the pattern fit which beginnings of the text.
fn fits(pattern: &[char], text: &[char]) -> bool {
    let mut before: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for place in pattern {
        let mut fits = vec![*place == '*' && before[0]; text.len() + 1];
        for (at, letter) in text.iter().enumerate() {
            fits[at + 1] = match place {
                '*' => before[at + 1] || fits[at],
                '?' => before[at],
                same => same == letter && before[at],
            };
        }
        before = fits;
    }
    before[text.len()]
}

/// `pattern`, a line's end, `text`, a line's end, and the value of a variable.
fn split(bytes: &[u8]) -> Option<(String, String, String)> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let mut lines = text.splitn(3, '\n').map(|line| line.chars().take(400).collect::<String>());
    Some((lines.next()?, lines.next()?, lines.next().unwrap_or_default()))
}

fn match_both_ways(bytes: &[u8]) -> String {
    let Some((pattern, text, value)) = split(bytes) else { return "too short".to_owned() };
    let letters = |text: &str| text.chars().collect::<Vec<char>>();
    let wanted = fits(&letters(&pattern), &letters(&text));
    assert_eq!(Glob::new(&pattern).matches(&text), wanted, "`{pattern}` on `{text}`");

    // The same in a condition: the variable's value stands for itself, whatever wildcards it has.
    let marked = pattern.replacen('V', "\u{e000}", 2);
    let in_policy = marked.replace('$', "${$}").replace('\u{e000}', "${a:value}");
    let expanded: Vec<char> = marked
        .chars()
        .flat_map(|place| match place {
            '\u{e000}' => value.chars().map(literal).collect(),
            '*' | '?' => vec![place],
            other => vec![literal(other)],
        })
        .collect();
    let literal_text: Vec<char> = text.chars().map(literal).collect();
    let wanted_in_policy = fits(&expanded, &literal_text);
    let statement = serde_json::json!({
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
                      "Condition": {"StringLike": {"a:text": in_policy}}},
    });
    let document = PolicyDocument::parse(&statement.to_string(), Kind::Resource).unwrap();
    let context = Context::new().with("a:text", text.as_str()).with("a:value", value.as_str());
    let request =
        Request::new(Principal::Anonymous, Action::parse("s3:GetObject").unwrap(), "*").with_context(context);
    let allowed = decide(&placed(document), &request) == Outcome::Allowed;
    assert_eq!(allowed, wanted_in_policy, "`{in_policy}` with `{value}` on `{text}`");
    let stars = pattern.matches('*').count().min(5);
    let ones = pattern.matches('?').count().min(5);
    format!("{wanted} {allowed} {stars} {ones} {} {}", marked.contains('\u{e000}'), text.len().min(300) / 20)
}

/// A wildcard that stands for itself, as another letter that nothing else uses.
fn literal(letter: char) -> char {
    match letter {
        '*' => '\u{e001}',
        '?' => '\u{e002}',
        other => other,
    }
}

#[test]
fn matcher() {
    let words = [
        "*",
        "?",
        "**",
        "*?",
        "V",
        "V*",
        "*V*",
        "a",
        "ab",
        "é",
        "日",
        "/",
        ":",
        "\n",
        "$",
        "${",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let outcomes = fuzz("matching", 8_000, &words, match_both_ways);
    assert!(outcomes > 60, "only {outcomes} different outcomes: the fuzzer does not get anywhere");
}

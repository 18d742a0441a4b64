//! Properties of parsing and evaluation over generated documents and requests.

use crate::fixture;
use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, Outcome, PolicyDocument, PolicySet, Principal, Request, decide,
    evaluate, unenforceable,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

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

fn quoted(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(choices).prop_map(|choice| format!("{choice:?}"))
}

fn one_or_many(choices: &'static [&'static str]) -> BoxedStrategy<String> {
    let many =
        prop::collection::vec(quoted(choices), 1..4).prop_map(|items| format!("[{}]", items.join(",")));
    prop_oneof![quoted(choices), many].boxed()
}

fn condition() -> impl Strategy<Value = String> {
    let operators = &[
        "StringEquals",
        "StringNotEquals",
        "StringLike",
        "StringNotLikeIfExists",
        "StringEqualsIgnoreCase",
        "NumericLessThan",
        "NumericNotEquals",
        "DateGreaterThan",
        "Bool",
        "BoolIfExists",
        "BinaryEquals",
        "IpAddress",
        "NotIpAddress",
        "ArnLike",
        "ArnNotEquals",
        "Null",
        "ForAllValues:StringLike",
        "ForAnyValue:StringNotEquals",
        "ForAnyValue:IpAddress",
    ][..];
    let keys =
        &["aws:SourceVpce", "aws:SourceIp", "aws:PrincipalArn", "aws:TagKeys", "s3:max-keys", "a:B"][..];
    let values = &[
        "true",
        "10",
        "vpce-1",
        "vpce-*",
        "10.0.0.0/8",
        "${aws:username}",
        "${a:b, 'x'}",
        "QQ==",
        "2024-01-01",
        "",
        "arn:aws:iam::111111111111:*/a*",
        "*",
        "${*}",
    ][..];
    (prop::sample::select(operators), prop::sample::select(keys), one_or_many(values))
        .prop_map(|(operator, key, values)| format!(r#"{{"{operator}":{{"{key}":{values}}}}}"#))
}

fn principal_element() -> BoxedStrategy<String> {
    let names = one_or_many(&[
        "*",
        "111111111111",
        "arn:aws:iam::111111111111:root",
        "arn:aws:iam::111111111111:user/ana",
        "arn:aws:iam::111111111111:role/app",
        "arn:aws:sts::111111111111:assumed-role/app/one",
    ]);
    prop_oneof![
        3 => Just("\"*\"".to_owned()),
        3 => names.prop_map(|names| format!(r#"{{"AWS":{names}}}"#)),
        1 => Just(r#"{"Service":"ec2.amazonaws.com"}"#.to_owned()),
    ]
    .boxed()
}

fn statement(kind: Kind, effect: &'static str) -> BoxedStrategy<String> {
    let is_trust = kind == Kind::Trust;
    let actions = if is_trust {
        one_or_many(&["sts:AssumeRole", "sts:*"])
    } else {
        one_or_many(&["*", "s3:*", "s3:Get*", "S3:getobject", "s3:?utObject", "sts:AssumeRole"])
    };
    let resources = one_or_many(&[
        "*",
        "arn:aws:s3:::b/*",
        "arn:aws:s3:::b/k",
        "arn:aws:s3:::${aws:username}/*",
        "arn:aws:s3:*:*:b/${a:b, 'k'}",
    ]);
    let has_principal =
        !matches!(kind, Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl);
    (
        actions,
        any::<bool>(),
        resources,
        any::<bool>(),
        principal_element(),
        any::<bool>(),
        prop::option::of(condition()),
    )
        .prop_map(move |(actions, no_action, resources, no_resource, principal, no_principal, condition)| {
            let negated = |name: &str, not: bool| if not { format!("Not{name}") } else { name.to_owned() };
            let mut text =
                format!(r#"{{"Effect":"{effect}","{}":{actions}"#, negated("Action", no_action && !is_trust));
            if !is_trust {
                text += &format!(r#","{}":{resources}"#, negated("Resource", no_resource));
            }
            if has_principal {
                text += &format!(r#","{}":{principal}"#, negated("Principal", no_principal));
            }
            if let Some(condition) = condition {
                text += &format!(r#","Condition":{condition}"#);
            }
            text + "}"
        })
        .boxed()
}

/// A valid document of this kind. What the kind refuses is drawn again.
fn document(kind: Kind) -> BoxedStrategy<PolicyDocument> {
    let any_statement = prop_oneof![3 => statement(kind, "Allow"), 1 => statement(kind, "Deny")];
    prop::collection::vec(any_statement, 1..4)
        .prop_filter_map("not a valid document of this kind", move |statements| {
            let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
            PolicyDocument::parse(&text, kind).ok()
        })
        .boxed()
}

fn named(name: &'static str, kind: Kind) -> BoxedStrategy<NamedPolicy> {
    let full = fixture::policy(name, if kind == Kind::Trust { TRUST } else { "full" }, kind);
    let drawn = document(kind).prop_map(move |document| NamedPolicy::new(name, document));
    prop_oneof![1 => Just(full), 2 => drawn].boxed()
}

const TRUST: &str = r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}"#;

fn policy_set() -> BoxedStrategy<PolicySet> {
    let resource = prop_oneof![4 => named("resource", Kind::Resource), 1 => named("trust", Kind::Trust)];
    (
        prop::collection::vec(named("identity", Kind::Identity), 0..3),
        prop::option::weighted(0.2, named("boundary", Kind::Boundary)),
        prop::option::weighted(0.2, named("session", Kind::Session)),
        prop::option::of(resource),
        prop::option::weighted(0.2, named("scp", Kind::ServiceControl)),
    )
        .prop_map(|(identity, boundary, session, resource, service_control)| {
            let mut set = PolicySet::new();
            identity.into_iter().for_each(|policy| set.add_identity(policy).unwrap());
            boundary.into_iter().for_each(|policy| set.set_boundary(policy).unwrap());
            session.into_iter().for_each(|policy| set.add_session(policy).unwrap());
            resource.into_iter().for_each(|policy| set.set_resource(policy).unwrap());
            service_control
                .into_iter()
                .for_each(|policy| set.add_service_control_level(vec![policy]).unwrap());
            set
        })
        .boxed()
}

fn principal() -> impl Strategy<Value = Principal> {
    let arn = |text: &str| Arn::parse(text).unwrap();
    prop::sample::select(vec![
        Principal::Anonymous,
        Principal::Root { account: "111111111111".parse().unwrap() },
        Principal::User { arn: arn("arn:aws:iam::111111111111:user/ana") },
        Principal::User { arn: arn("arn:aws:iam::222222222222:user/eve") },
        Principal::AssumedRole {
            role_arn: arn("arn:aws:iam::111111111111:role/app"),
            session_arn: arn("arn:aws:sts::111111111111:assumed-role/app/one"),
        },
        Principal::FederatedUser {
            session_arn: arn("arn:aws:sts::111111111111:federated-user/fay"),
            issuer_arn: arn("arn:aws:iam::111111111111:user/ana"),
        },
        Principal::Service { name: "ec2.amazonaws.com".to_owned() },
    ])
}

fn request() -> impl Strategy<Value = Request> {
    let value =
        prop::sample::select(vec!["true", "10", "vpce-1", "10.1.2.3", "*", "", "QQ==", "x", "2024-05-05"]);
    let key =
        prop::sample::select(vec!["aws:SourceVpce", "aws:SourceIp", "aws:TagKeys", "s3:max-keys", "a:b"]);
    let entries = prop::collection::vec((key, prop::collection::vec(value, 0..3), any::<bool>()), 0..5);
    let action = prop::sample::select(vec!["s3:GetObject", "s3:PutObject", "sts:AssumeRole"]);
    let resource =
        prop::sample::select(vec!["arn:aws:s3:::b/k", "arn:aws:s3:::ana/x", "*", "arn:aws:s3:::c"]);
    let owner = prop::option::of(prop::sample::select(vec!["111111111111", "222222222222"]));
    (principal(), action, resource, owner, entries).prop_map(
        |(principal, action, resource, owner, entries)| {
            let mut context = Context::new();
            for (key, values, single) in entries {
                match (values.first(), single) {
                    (Some(value), true) => context.insert(key, *value),
                    (Some(_), false) | (None, _) => context.insert_many(key, values),
                }
            }
            let mut request =
                Request::new(principal, Action::parse(action).unwrap(), resource).with_context(context);
            request.resource_account = owner.map(|owner| owner.parse().unwrap());
            request
        },
    )
}

/// Denies everything, in a document of the kind of a place.
fn deny_everything(place: usize, set: &mut PolicySet) {
    let plain = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let with_principal = r#"{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}"#;
    match place {
        0 => set.add_identity(fixture::policy("deny", plain, Kind::Identity)).unwrap(),
        1 => set.set_boundary(fixture::policy("deny", plain, Kind::Boundary)).unwrap(),
        2 => set.add_session(fixture::policy("deny", plain, Kind::Session)).unwrap(),
        3 => set.set_resource(fixture::policy("deny", with_principal, Kind::Resource)).unwrap(),
        4 => set
            .set_endpoint(fixture::policy("deny", with_principal, Kind::Endpoint { gateway: true }))
            .unwrap(),
        5 => {
            // A star alone is not for customers' resource control policies.
            let services = with_principal.replace(r#""Action":"*""#, r#""Action":["s3:*","sts:*"]"#);
            set.add_resource_control_level(vec![fixture::policy("deny", &services, Kind::ResourceControl)])
                .unwrap();
        }
        _ => {
            set.add_service_control_level(vec![fixture::policy("deny", plain, Kind::ServiceControl)]).unwrap()
        }
    }
}

/// JSON that has the words of policies in it, seldom in the right places.
fn policy_like_json() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "Version",
        "2012-10-17",
        "Statement",
        "Effect",
        "Allow",
        "Deny",
        "Action",
        "NotAction",
        "Resource",
        "Principal",
        "NotPrincipal",
        "AWS",
        "Service",
        "Condition",
        "StringLike",
        "ForAllValues:StringLike",
        "IpAddress",
        "ArnLike",
        "Null",
        "aws:username",
        "*",
        "s3:*",
        "${aws:username}",
        "${",
        "${a:b, '",
        "arn:aws:s3:::b",
        "arn:::::",
        "::::::",
        "111111111111",
        "é",
        "",
        "true",
    ]);
    let leaf = prop_oneof![
        6 => word.clone().prop_map(|word| format!("{word:?}")),
        1 => Just("null".to_owned()),
        1 => Just("true".to_owned()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => Just("1e300".to_owned()),
    ];
    leaf.prop_recursive(8, 60, 6, move |inner| {
        let list =
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(",")));
        let entry = (word.clone(), inner).prop_map(|(key, value)| format!("{key:?}:{value}"));
        let object = prop::collection::vec(entry, 0..6).prop_map(|items| format!("{{{}}}", items.join(",")));
        prop_oneof![1 => list, 3 => object]
    })
}

/// A valid document with a piece cut out or repeated.
fn damaged() -> impl Strategy<Value = String> {
    let source = prop::sample::select(KINDS.to_vec())
        .prop_filter("needs a generator of statements", |kind| *kind != Kind::ResourceControl)
        .prop_flat_map(document);
    (source, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(document, start, end, repeat)| {
            let characters: Vec<char> = document.text().chars().collect();
            let (a, b) = (start.index(characters.len()), end.index(characters.len()));
            let (a, b) = (a.min(b), a.max(b));
            let piece = if repeat { &characters[a..b] } else { &[][..] };
            characters[..a]
                .iter()
                .chain(piece)
                .chain(if repeat { &characters[a..] } else { &characters[b..] })
                .collect()
        },
    )
}

/// The properties would say little if nearly everything were denied.
#[test]
fn generated_requests_are_allowed_and_denied() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let drawn = (policy_set(), request());
    let mut allowed = 0;
    for _ in 0..2_000 {
        let (set, request) = drawn.new_tree(&mut runner).unwrap().current();
        allowed += usize::from(decide(&set, &request) == Outcome::Allowed);
    }
    assert!((200..1_800).contains(&allowed), "{allowed} of 2000 allowed");
}

fn parse_as_everything(text: &str) {
    for kind in KINDS {
        if let Ok(document) = PolicyDocument::parse(text, kind) {
            assert_eq!(document.text(), text);
            let again = PolicyDocument::parse(document.text(), kind).unwrap();
            assert_eq!(again, document);
            assert_eq!(unenforceable(&document, &|_| true), Vec::<String>::new());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse_as_everything(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn policy_like_json_never_panics(text in policy_like_json()) {
        parse_as_everything(&text);
    }

    #[test]
    fn damaged_documents_never_panic(text in damaged()) {
        parse_as_everything(&text);
    }

    #[test]
    fn the_text_is_kept(document in document(Kind::Resource)) {
        parse_as_everything(document.text());
    }

    #[test]
    fn evaluate_and_decide_agree(set in policy_set(), request in request()) {
        let evaluation = evaluate(&set, &request);
        prop_assert_eq!(&decide(&set, &request), &evaluation.outcome);
        if let Outcome::Denied(denial) = &evaluation.outcome {
            let message = denial.message(&request, true);
            prop_assert!(message.contains("is not authorized to perform: "), "{}", message);
        }
        for reason in &evaluation.reasons {
            prop_assert!(!reason.to_string().is_empty());
        }
    }

    #[test]
    fn an_explicit_deny_anywhere_denies(set in policy_set(), request in request(), place in 0_usize..7) {
        // Callers without an account are not under service control policies.
        prop_assume!(place != 6 || request.principal.account().is_some());
        // Callers without an account have no policies of their own.
        prop_assume!(place > 2 || request.principal.account().is_some());
        let mut set = set;
        deny_everything(place, &mut set);
        let outcome = decide(&set, &request);
        prop_assert!(matches!(&outcome, Outcome::Denied(denial) if denial.explicit), "{:?}", outcome);
    }

    #[test]
    fn an_endpoint_policy_never_widens(
        set in policy_set(),
        request in request(),
        gateway in document(Kind::Endpoint { gateway: true }),
        interface in document(Kind::Endpoint { gateway: false }),
    ) {
        let before = decide(&set, &request);
        for endpoint in [gateway, interface] {
            let mut filtered = set.clone();
            filtered.set_endpoint(NamedPolicy::new("vpce", endpoint)).unwrap();
            let after = decide(&filtered, &request);
            prop_assert!(before == Outcome::Allowed || after != Outcome::Allowed, "{:?} became {:?}", before, after);
        }
    }

    #[test]
    fn a_full_endpoint_policy_changes_nothing(set in policy_set(), request in request(), gateway in any::<bool>()) {
        let before = decide(&set, &request);
        let mut filtered = set.clone();
        filtered.set_endpoint(fixture::policy("vpce", "full", Kind::Endpoint { gateway })).unwrap();
        prop_assert_eq!(before, decide(&filtered, &request));
    }

    #[test]
    fn more_identity_policies_that_only_deny_never_widen(
        set in policy_set(),
        request in request(),
        statement in statement(Kind::Identity, "Deny"),
    ) {
        let text = format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#);
        let Ok(document) = PolicyDocument::parse(&text, Kind::Identity) else { return Ok(()) };
        let before = decide(&set, &request);
        let mut set = set;
        set.add_identity(NamedPolicy::new("deny", document)).unwrap();
        prop_assert!(before == Outcome::Allowed || decide(&set, &request) != Outcome::Allowed);
    }

    #[test]
    fn a_negated_operator_is_the_complement(
        key in prop::sample::select(vec!["aws:SourceVpce", "aws:TagKeys", "s3:max-keys", "a:b"]),
        pair in prop::sample::select(vec![
            ("StringEquals", "StringNotEquals"), ("StringLike", "StringNotLike"), ("NumericEquals", "NumericNotEquals"),
            ("IpAddress", "NotIpAddress"), ("ArnLike", "ArnNotLike"), ("DateEquals", "DateNotEquals"),
            ("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
        ]),
        request in request(),
    ) {
        let value = match pair.0 {
            "NumericEquals" => "10",
            "IpAddress" => "10.0.0.0/8",
            "ArnLike" => "arn:aws:s3:::*",
            "DateEquals" => "2024-05-05",
            _ => "vpce-1",
        };
        let allowed = |operator: &str| {
            let statement = format!(
                r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{{"{operator}":{{"{key}":"{value}"}}}}}}"#
            );
            let mut set = PolicySet::new();
            set.set_resource(fixture::policy("resource", &statement, Kind::Resource)).unwrap();
            set.require_resource();
            let mut request = request.clone();
            request.principal = Principal::Anonymous;
            decide(&set, &request) == Outcome::Allowed
        };
        prop_assert_ne!(allowed(pair.0), allowed(pair.1));
    }
}

//! Every parameter of every operation, one at a time: honoured, or refused by name.
//!
//! The parameters come from the generated shapes, so that a new one of AWS's cannot slip through.

use std::collections::BTreeMap;
use std::sync::Arc;

use postern_model::State;
use postern_services::ec2::{Entry, entries};
use postern_wire::query::Form;
use postern_wire::shape::{Kind, StructureShape};
use postern_wire::{client, ec2};
use serde_json::Value;

use crate::requests;
use crate::support::{ALICE, user};
use crate::world::{built, with_ids};

/// One parameter that can be sent.
struct Parameter {
    /// As it stands in a form: `Filter.1.Name`.
    name: String,
    /// Without indices: `Filter.Name`.
    path: String,
    kind: Kind,
    /// What must be beside it, so that the request can be read.
    beside: Vec<(String, Kind)>,
}

fn join(above: &str, step: &str) -> String {
    if above.is_empty() { step.to_owned() } else { format!("{above}.{step}") }
}

fn parameters(
    shape: &'static StructureShape,
    name: &str,
    path: &str,
    beside: &[(String, Kind)],
) -> Vec<Parameter> {
    let mut found = Vec::new();
    let mut beside = beside.to_vec();
    for member in shape.members.iter().filter(|member| member.required && !name.is_empty()) {
        if !matches!(member.kind, Kind::Structure(_) | Kind::List(_)) {
            beside.push((join(name, member.query_name), member.kind));
        }
    }
    for member in shape.members {
        let mut name = join(name, member.query_name);
        let path = join(path, member.query_name);
        let mut kind = member.kind;
        while let Kind::List(list) = kind {
            kind = list.item;
            name.push_str(".1");
        }
        match kind {
            Kind::Structure(shape) => found.extend(parameters(shape, &name, &path, &beside)),
            kind => {
                let beside = beside.iter().filter(|(other, _)| *other != name).cloned().collect();
                found.push(Parameter { name, path, kind, beside });
            }
        }
    }
    found
}

/// Values that the shape allows.
fn values(kind: Kind) -> Vec<String> {
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    match kind {
        Kind::Text(text) if !text.values.is_empty() => owned(text.values),
        Kind::Text(_) => owned(&["zzz", "true", "10.0.0.0/8"]),
        Kind::Boolean => owned(&["true", "false"]),
        Kind::Integer(range) | Kind::Long(range) => {
            let wanted = [range.min.max(-7), 7.clamp(range.min, range.max), range.max.min(70_000)];
            wanted.iter().map(ToString::to_string).collect()
        }
        Kind::Double => owned(&["1.5"]),
        Kind::Timestamp => owned(&["2026-01-01T00:00:00Z"]),
        Kind::Blob => owned(&["AAAA"]),
        Kind::List(_) | Kind::Structure(_) => unreachable!("only scalars are sent"),
    }
}

fn value(kind: Kind) -> String {
    values(kind).into_iter().next().unwrap()
}

fn base_form(operation: &str, template: &Value) -> Form {
    let (_, ids) = built();
    client::encode(&ec2::SERVICE, operation, &with_ids(template, ids)).unwrap()
}

/// What came of a request: the answer or the error, and the state after it.
fn outcome(form: &Form) -> (Result<Value, String>, Arc<State>) {
    let (api, _) = built();
    crate::requests::prepare(&api, &form.action);
    let root = postern_frontdoor::Caller {
        principal: postern_policy::Principal::Root { account: ALICE.to_string().parse().unwrap() },
        identity: postern_frontdoor::Identity::Root,
        ..user(ALICE, "x")
    };
    let answer = api.send(&root, form).map_err(|error| error.to_string());
    let state = api.state();
    if form.action == "CreateKeyPair" { without_chance(answer, &state) } else { (answer, state) }
}

/// A key is another one each time: what can be compared is what kind it is.
fn without_chance(answer: Result<Value, String>, state: &State) -> (Result<Value, String>, Arc<State>) {
    let mut state = state.clone();
    for pair in state.key_pairs.values().cloned().collect::<Vec<_>>() {
        let plain = postern_model::instance::KeyPair {
            public_key: String::new(),
            fingerprint: String::new(),
            ..(*pair).clone()
        };
        state.key_pairs.insert(pair.id, Arc::new(plain));
    }
    let answer = answer.map(|mut answer| {
        let material = answer["KeyMaterial"].as_str().unwrap().lines().next().unwrap().to_owned();
        answer["KeyMaterial"] = Value::String(material);
        answer["KeyFingerprint"] = Value::Null;
        answer
    });
    (answer, Arc::new(state))
}

/// Each operation's entry, request and parameters.
fn each(mut check: impl FnMut(&Entry, &Form, &Parameter)) {
    for (operation, template) in requests::all() {
        let entry = entries().find(|entry| entry.name == operation).unwrap();
        let shape = ec2::SERVICE.operation(operation).unwrap().input;
        let form = base_form(operation, &template);
        for parameter in parameters(shape, "", "", &[]) {
            if operation == "RunInstances" && parameter.path.starts_with("NetworkInterface.") {
                check(entry, &by_interface(&form), &parameter);
            } else {
                check(entry, &form, &parameter);
            }
        }
    }
}

/// A launch whose subnet and groups are its network interface's.
fn by_interface(form: &Form) -> Form {
    let mut form = form.clone();
    for name in ["SubnetId", "SecurityGroupId.1"] {
        let value = form.parameters.remove(name).unwrap();
        form.parameters.insert(format!("NetworkInterface.1.{name}"), value);
    }
    form
}

fn is_honoured(entry: &Entry, path: &str) -> bool {
    entry.honoured.iter().copied().flatten().any(|known| *known == path)
}

fn with(entry: &Entry, form: &Form, parameter: &Parameter, value: &str) -> Form {
    let mut form = form.clone();
    for (name, kind) in &parameter.beside {
        let path =
            name.split('.').filter(|step| step.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
        let only =
            entry.only.iter().find(|(known, _)| *known == path).map(|(_, values)| values[0].to_owned());
        form.parameters.entry(name.clone()).or_insert_with(|| only.unwrap_or_else(|| self::value(*kind)));
    }
    form.parameters.insert(parameter.name.clone(), value.to_owned());
    form
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let mut refused = 0;
    each(|entry, form, parameter| {
        let only = entry.only.iter().any(|(path, _)| *path == parameter.path);
        if is_honoured(entry, &parameter.path) || only {
            return;
        }
        let form = with(entry, form, parameter, &value(parameter.kind));
        let (answer, _) = outcome(&form);
        let error = answer.unwrap_err();
        let named = [&parameter.name].into_iter().chain(parameter.beside.iter().map(|(name, _)| name));
        let sentences: Vec<String> = named
            .map(|name| {
                format!("UnsupportedOperation: The parameter {name} is not supported by this endpoint yet")
            })
            .collect();
        assert!(sentences.contains(&error), "{} {}: {error}", entry.name, parameter.name);
        refused += 1;
    });
    assert!(refused > 200, "{refused}");
}

#[test]
fn what_can_only_say_what_is_so_is_refused_when_it_says_otherwise() {
    each(|entry, form, parameter| {
        let Some((_, accepted)) = entry.only.iter().find(|(path, _)| *path == parameter.path) else { return };
        let (plain, plain_state) = outcome(form);
        for value in *accepted {
            let (answer, state) = outcome(&with(entry, form, parameter, value));
            assert_eq!(answer, plain, "{} {}={value}", entry.name, parameter.name);
            assert_eq!(state, plain_state, "{} {}={value}", entry.name, parameter.name);
        }
        let other = values(parameter.kind).into_iter().find(|value| !accepted.contains(&value.as_str()));
        let Some(other) = other else { return };
        let (answer, _) = outcome(&with(entry, form, parameter, &other));
        let sentence = format!(
            "UnsupportedOperation: The value ({other}) of the parameter {} is not supported by this endpoint yet.",
            parameter.name
        );
        let error = answer.unwrap_err();
        assert!(error.starts_with(&sentence), "{} {}: {error}", entry.name, parameter.name);
    });
}

/// Parameters whose use shows elsewhere, and where.
const SHOWN_ELSEWHERE: &[(&str, &str)] = &[
    // In `endpoint_services`, where what is removed is there.
    ("ModifyVpcEndpointServicePermissions", "RemoveAllowedPrincipals"),
    // In `pages`, where there are enough rows.
    ("*", "MaxResults"),
    // In `network`, where an address is associated already.
    ("AssociateAddress", "AllowReassociation"),
    // AWS takes what it shows, and compares everything but descriptions; see `security`.
    ("RevokeSecurityGroupIngress", "IpPermissions.IpRanges.Description"),
    ("RevokeSecurityGroupEgress", "IpPermissions.PrefixListIds.Description"),
];

#[test]
fn what_is_honoured_makes_a_difference() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut ignored = Vec::new();
    each(|entry, form, parameter| {
        let elsewhere = SHOWN_ELSEWHERE.iter().any(|(operation, path)| {
            (*operation == "*" || *operation == entry.name) && *path == parameter.path
        });
        if !is_honoured(entry, &parameter.path) || elsewhere {
            return;
        }
        let mut without = form.clone();
        without.parameters.remove(&parameter.name);
        let plain = [outcome(form), outcome(&without)];
        let differs = |value: &String| {
            let changed = outcome(&with(entry, form, parameter, value));
            plain.iter().any(|plain| *plain != changed)
        };
        if !values(parameter.kind).iter().any(differs) {
            ignored.push(format!("{} {}", entry.name, parameter.path));
        }
        *seen.entry(entry.name.to_owned()).or_default() += 1;
    });
    assert_eq!(ignored, Vec::<String>::new());
    assert!(seen.values().sum::<usize>() > 300, "{seen:?}");
}

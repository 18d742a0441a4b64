//! Random documents and requests over a small vocabulary, so that they meet often.

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request,
};
use serde_json::{Map, Value, json};

use crate::naive::{Ask, Documents, Who};
use crate::random::Random;

const ACCOUNTS: [&str; 2] = ["111111111111", "222222222222"];

const ACTIONS: [&str; 12] = [
    "*",
    "*:*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "s3:GetObject",
    "s3:PutObject",
    "s3:?utObject",
    "s3:*Object",
    "s3:G?t*b*t",
    "dynamodb:Query",
    "dynamodb:*",
];

const RESOURCES: [&str; 14] = [
    "*",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::b/k",
    "arn:aws:s3:::b",
    "arn:aws:s3:::*",
    "arn:aws:s3:*:*:b/k?",
    "arn:*:s3:::b/*",
    "arn:aws:s3:::${aws:username}/*",
    "arn:aws:s3:::b/${a:b, 'k'}",
    "arn:aws:s3:::*/${aws:username}*k",
    "arn:aws:s3:::b/${*}",
    "arn:aws:s3:::?/*/z",
    "arn:aws:dynamodb:us-east-1:${aws:PrincipalAccount}:table/*",
    "arn:aws:dynamodb:us-east-?:*:table/t",
];

const REQUESTED: [&str; 10] = [
    "arn:aws:s3:::b/k",
    "arn:aws:s3:::b/kk",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b/*",
    "arn:aws:s3:::ana/x/z",
    "arn:aws:s3:::b/${aws:username}",
    "arn:aws:dynamodb:us-east-1:111111111111:table/t",
    "arn:aws:dynamodb:us-east-2:222222222222:table/t",
    "*",
    "arn:aws:s3:::b/é:k",
];

const OPERATORS: [&str; 26] = [
    "StringEquals",
    "StringNotEquals",
    "StringLike",
    "StringNotLike",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringEqualsIfExists",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericGreaterThanEquals",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateNotEquals",
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
    "ForAllValues:NumericLessThanIfExists",
    "ForAnyValue:IpAddressIfExists",
];

const KEYS: [&str; 12] = [
    "aws:SourceVpce",
    "aws:sourcevpce",
    "aws:SourceIp",
    "aws:PrincipalArn",
    "aws:PrincipalAccount",
    "aws:PrincipalType",
    "aws:username",
    "aws:TagKeys",
    "aws:PrincipalTag/team",
    "aws:ResourceAccount",
    "s3:max-keys",
    "a:b",
];

/// What the request has.
const VALUES: [&str; 18] = [
    "true",
    "FALSE",
    "10",
    "10.50",
    "-3",
    "vpce-1",
    "VPCE-1",
    "vpce-*",
    "10.1.2.3",
    "2001:db8::1",
    "*",
    "",
    "QUI=",
    "x",
    "2024-05-05",
    "1714867200",
    "arn:aws:iam::111111111111:user/ana",
    "${aws:username}",
];

/// What a policy asks for, by the type that the operator compares.
fn wanted(operator: &str) -> &'static [&'static str] {
    let base = operator.split(':').next_back().unwrap_or(operator);
    if base.starts_with("Numeric") {
        &["10", "10.5", "010", "-3", "0", "1714867200"]
    } else if base.starts_with("Date") {
        &["2024-05-05", "2024-05-05T00:00:00Z", "1714867200", "2030-01-01T12:30:59Z"]
    } else if base.starts_with("Bool") || base == "Null" {
        &["true", "false"]
    } else if base.starts_with("Binary") {
        &["QUI=", "QQ=="]
    } else if base.contains("IpAddress") {
        &["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "::/0", "10.1.2.0/31"]
    } else if base.starts_with("Arn") {
        &[
            "*",
            "arn:aws:iam::111111111111:*",
            "arn:aws:iam::*:user/a*",
            "arn:aws:iam::1?1111111111:user/ana",
            "${aws:PrincipalArn}",
            "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}",
        ]
    } else {
        &[
            "true",
            "vpce-1",
            "vpce-*",
            "*",
            "",
            "x",
            "1?",
            "${*}",
            "${aws:username}",
            "${a:b, 'x'}",
            "*${a:b}*",
            "AssumedRole",
            "111111111111",
            "v${?}ce",
            "*${aws:PrincipalTag/team}?*",
            "ana",
        ]
    }
}

fn one_or_many(random: &mut Random, choices: &[&str]) -> Value {
    if random.once_in(2) {
        return json!(random.one(choices));
    }
    let count = 1 + random.below(3);
    json!((0..count).map(|_| *random.one(choices)).collect::<Vec<_>>())
}

fn principal_names(account: &str) -> Vec<String> {
    vec![
        "*".to_owned(),
        account.to_owned(),
        format!("arn:aws:iam::{account}:root"),
        format!("arn:aws:iam::{account}:user/ana"),
        format!("arn:aws:iam::{account}:role/app"),
        format!("arn:aws:sts::{account}:assumed-role/app/one"),
        format!("arn:aws:sts::{account}:federated-user/fay"),
    ]
}

fn principal(random: &mut Random, kind: Kind) -> Value {
    let only_anyone = matches!(kind, Kind::ResourceControl) || random.once_in(2);
    if only_anyone {
        return json!("*");
    }
    let mut names: Vec<String> = ACCOUNTS.iter().flat_map(|account| principal_names(account)).collect();
    if kind == (Kind::Endpoint { gateway: true }) {
        names.retain(|name| name == "*" || ACCOUNTS.contains(&name.as_str()) || name.ends_with(":root"));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let is_service = random.once_in(6) && kind != (Kind::Endpoint { gateway: true });
    if is_service {
        json!({"Service": "ec2.amazonaws.com"})
    } else {
        json!({"AWS": one_or_many(random, &names)})
    }
}

fn condition(random: &mut Random) -> Value {
    let mut block = Map::new();
    for _ in 0..1 + random.below(2) {
        let operator = random.one(&OPERATORS);
        let key = random.one(&KEYS);
        block.insert((*operator).to_owned(), json!({*key: one_or_many(random, wanted(operator))}));
    }
    Value::Object(block)
}

fn statement(random: &mut Random, kind: Kind) -> Value {
    let mut statement = Map::new();
    let mut effect = if random.once_in(4) { "Deny" } else { "Allow" };
    if kind == Kind::ResourceControl {
        effect = "Deny";
    }
    statement.insert("Effect".to_owned(), json!(effect));
    let not = |random: &mut Random, name: &str, allowed: bool| {
        if allowed && random.once_in(5) { format!("Not{name}") } else { name.to_owned() }
    };
    let is_trust = kind == Kind::Trust;
    let actions: &[&str] = match kind {
        Kind::Trust => &["sts:AssumeRole", "sts:*"],
        Kind::ResourceControl => &["s3:*", "s3:GetObject", "dynamodb:Q*"],
        _ => &ACTIONS,
    };
    let name = not(random, "Action", !is_trust && kind != Kind::ResourceControl);
    statement.insert(name, one_or_many(random, actions));
    if !is_trust {
        statement.insert(not(random, "Resource", true), one_or_many(random, &RESOURCES));
    }
    let has_principal =
        matches!(kind, Kind::Resource | Kind::Trust | Kind::Endpoint { .. } | Kind::ResourceControl);
    if has_principal {
        let may_negate = match kind {
            Kind::Endpoint { gateway: true } | Kind::ResourceControl => false,
            Kind::Trust => effect == "Deny",
            _ => true,
        };
        statement.insert(not(random, "Principal", may_negate), principal(random, kind));
    }
    if random.once_in(2) {
        statement.insert("Condition".to_owned(), condition(random));
    }
    Value::Object(statement)
}

/// A document of a kind; now and then one so large that its statements are found by an index.
pub fn document(random: &mut Random, kind: Kind) -> Value {
    let count = if random.once_in(12) { 17 + random.below(20) } else { 1 + random.below(3) };
    let statements: Vec<Value> = (0..count).map(|_| statement(random, kind)).collect();
    let version =
        if kind != Kind::ResourceControl && random.once_in(5) { "2008-10-17" } else { "2012-10-17" };
    json!({"Version": version, "Statement": statements})
}

fn full(kind: Kind) -> Value {
    match kind {
        Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl => {
            json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
        }
        Kind::Trust => {
            json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}})
        }
        Kind::Resource | Kind::Endpoint { .. } | Kind::ResourceControl => {
            json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}})
        }
    }
}

fn full_or_drawn(random: &mut Random, kind: Kind) -> Value {
    if random.once_in(3) { full(kind) } else { document(random, kind) }
}

/// Documents in some of the places.
pub fn documents(random: &mut Random) -> Documents {
    let resource_is_trust = random.once_in(8);
    let endpoint_is_gateway = random.once_in(2);
    let mut draw = |kind: Kind, times: usize| random.once_in(times).then(|| full_or_drawn(random, kind));
    let resource = draw(if resource_is_trust { Kind::Trust } else { Kind::Resource }, 2);
    Documents {
        identity: (0..3).filter_map(|_| draw(Kind::Identity, 2)).collect(),
        boundary: draw(Kind::Boundary, 5),
        session: (0..2).filter_map(|_| draw(Kind::Session, 6)).collect(),
        endpoint: draw(Kind::Endpoint { gateway: endpoint_is_gateway }, 3),
        service_control: (0..2).filter_map(|_| draw(Kind::ServiceControl, 8).map(|one| vec![one])).collect(),
        resource_control: (0..2)
            .filter_map(|_| draw(Kind::ResourceControl, 8).map(|one| vec![one]))
            .collect(),
        resource_is_trust: resource_is_trust && resource.is_some(),
        resource_required: random.once_in(8),
        endpoint_is_gateway,
        resource,
    }
}

pub fn ask(random: &mut Random) -> Ask {
    let account = *random.one(&ACCOUNTS);
    let who = match random.below(9) {
        0 => Who::Nobody,
        1 => Who::Root { account: account.to_owned() },
        2 | 3 => Who::User { arn: format!("arn:aws:iam::{account}:user/ana") },
        4 => Who::Federated {
            session: format!("arn:aws:sts::{account}:federated-user/fay"),
            issuer: format!("arn:aws:iam::{account}:{}", if random.once_in(4) { "root" } else { "user/ana" }),
        },
        5 => Who::Service { name: "ec2.amazonaws.com".to_owned() },
        _ => Who::Role {
            role: format!("arn:aws:iam::{account}:role/app"),
            session: format!("arn:aws:sts::{account}:assumed-role/app/one"),
        },
    };
    let mut context: Vec<(String, Vec<String>, bool)> = Vec::new();
    for key in KEYS {
        let key = key.to_lowercase();
        if random.once_in(2) && context.iter().all(|(known, _, _)| *known != key) {
            let several = random.once_in(4);
            let count = if several { random.below(3) } else { 1 };
            context.push((key, (0..count).map(|_| (*random.one(&VALUES)).to_owned()).collect(), several));
        }
    }
    Ask {
        who,
        action: (*random.one(&["s3:GetObject", "s3:PutObject", "sts:AssumeRole", "dynamodb:Query"]))
            .to_owned(),
        resource: (*random.one(&REQUESTED)).to_owned(),
        owner: random
            .one(&[None, Some(ACCOUNTS[0]), Some(ACCOUNTS[0]), Some(ACCOUNTS[1])])
            .map(str::to_owned),
        context,
    }
}

/// The same for the crate; none where a drawn document is refused.
pub fn policy_set(documents: &Documents) -> Option<PolicySet> {
    let named = |value: &Value, kind: Kind| {
        let document = PolicyDocument::parse_within(&value.to_string(), kind, 1 << 18).ok()?;
        Some(NamedPolicy::new("policy", document))
    };
    let mut set = PolicySet::new();
    for value in &documents.identity {
        set.add_identity(named(value, Kind::Identity)?).ok()?;
    }
    if let Some(value) = &documents.boundary {
        set.set_boundary(named(value, Kind::Boundary)?).ok()?;
    }
    for value in &documents.session {
        set.add_session(named(value, Kind::Session)?).ok()?;
    }
    if let Some(value) = &documents.resource {
        let kind = if documents.resource_is_trust { Kind::Trust } else { Kind::Resource };
        set.set_resource(named(value, kind)?).ok()?;
    }
    if let Some(value) = &documents.endpoint {
        set.set_endpoint(named(value, Kind::Endpoint { gateway: documents.endpoint_is_gateway })?).ok()?;
    }
    for level in &documents.service_control {
        let level: Option<Vec<_>> = level.iter().map(|value| named(value, Kind::ServiceControl)).collect();
        set.add_service_control_level(level?).ok()?;
    }
    for level in &documents.resource_control {
        let level: Option<Vec<_>> = level.iter().map(|value| named(value, Kind::ResourceControl)).collect();
        set.add_resource_control_level(level?).ok()?;
    }
    if documents.resource_required {
        set.require_resource();
    }
    Some(set)
}

pub fn request(ask: &Ask) -> Request {
    let arn = |text: &str| Arn::parse(text).unwrap();
    let principal = match &ask.who {
        Who::Nobody => Principal::Anonymous,
        Who::Root { account } => Principal::Root { account: account.parse().unwrap() },
        Who::User { arn: user } => Principal::User { arn: arn(user) },
        Who::Role { role, session } => {
            Principal::AssumedRole { role_arn: arn(role), session_arn: arn(session) }
        }
        Who::Federated { session, issuer } => {
            Principal::FederatedUser { session_arn: arn(session), issuer_arn: arn(issuer) }
        }
        Who::Service { name } => Principal::Service { name: name.clone() },
    };
    let mut context = Context::new();
    for (key, values, several) in &ask.context {
        match (several, values.first()) {
            (false, Some(value)) => context.insert(key, value.as_str()),
            (true, _) | (false, None) => context.insert_many(key, values.iter().map(String::as_str)),
        }
    }
    let mut request = Request::new(principal, Action::parse(&ask.action).unwrap(), ask.resource.clone());
    request.resource_account = ask.owner.as_ref().map(|owner| owner.parse().unwrap());
    request.with_context(context)
}

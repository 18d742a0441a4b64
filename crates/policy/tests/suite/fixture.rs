//! Reads the fixture files: cases under `=== name`, fields as `name: value`, values going on in indented lines.
//!
//! Policies are JSON. A lone statement, or a list of statements, is put into a 2012-10-17 document. `full` is
//! full access. Lines that begin with `#` are comments.

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request,
};

pub const HOME: &str = "111111111111";

pub struct Case {
    pub name: String,
    pub fields: Vec<(String, String)>,
}

impl Case {
    pub fn all(&self, field: &str) -> Vec<&str> {
        self.fields.iter().filter(|(name, _)| name == field).map(|(_, value)| value.as_str()).collect()
    }

    pub fn get(&self, field: &str) -> Option<&str> {
        self.all(field).first().copied()
    }

    pub fn must(&self, field: &str) -> &str {
        self.get(field).unwrap_or_else(|| panic!("case `{}` has no `{field}`", self.name))
    }
}

pub fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        if let Some(name) = line.strip_prefix("=== ") {
            assert!(cases.iter().all(|case| case.name != name), "two cases are called `{name}`");
            cases.push(Case { name: name.to_owned(), fields: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("line `{line}` stands before any case"));
        if line.starts_with(' ') {
            let (_, value) = case.fields.last_mut().unwrap_or_else(|| panic!("`{line}` continues nothing"));
            value.push('\n');
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("`{line}` is not a field"));
            case.fields.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    cases
}

pub fn document_text(text: &str, kind: Kind) -> String {
    let has_principal =
        matches!(kind, Kind::Resource | Kind::Trust | Kind::Endpoint { .. } | Kind::ResourceControl);
    let text = match text {
        "full" if has_principal => r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}"#,
        "full" => r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#,
        other => other,
    };
    if text.contains("\"Statement\"") {
        text.to_owned()
    } else {
        format!(r#"{{"Version":"2012-10-17","Statement":{text}}}"#)
    }
}

pub fn policy(name: &str, text: &str, kind: Kind) -> NamedPolicy {
    let text = document_text(text, kind);
    let document = PolicyDocument::parse(&text, kind).unwrap_or_else(|error| panic!("{error}\nin {text}"));
    assert_eq!(document.text(), text);
    NamedPolicy::new(name, document)
}

pub fn policy_set(case: &Case) -> PolicySet {
    let mut set = PolicySet::new();
    for (index, text) in case.all("identity").into_iter().enumerate() {
        set.add_identity(policy(&format!("identity{index}"), text, Kind::Identity)).unwrap();
    }
    for (index, text) in case.all("session").into_iter().enumerate() {
        set.add_session(policy(&format!("session{index}"), text, Kind::Session)).unwrap();
    }
    if let Some(text) = case.get("boundary") {
        set.set_boundary(policy("boundary", text, Kind::Boundary)).unwrap();
    }
    if let Some(text) = case.get("resource policy") {
        set.set_resource(policy("resource", text, Kind::Resource)).unwrap();
    }
    if let Some(text) = case.get("trust") {
        set.set_resource(policy("trust", text, Kind::Trust)).unwrap();
    }
    if let Some(text) = case.get("gateway") {
        set.set_endpoint(policy("vpce-gateway", text, Kind::Endpoint { gateway: true })).unwrap();
    }
    if let Some(text) = case.get("interface") {
        set.set_endpoint(policy("vpce-interface", text, Kind::Endpoint { gateway: false })).unwrap();
    }
    for text in case.all("scp") {
        set.add_service_control_level(level(text, "scp", Kind::ServiceControl)).unwrap();
    }
    for text in case.all("rcp") {
        set.add_resource_control_level(level(text, "rcp", Kind::ResourceControl)).unwrap();
    }
    if case.get("resource required").is_some() {
        set.require_resource();
    }
    set
}

fn level(text: &str, name: &str, kind: Kind) -> Vec<NamedPolicy> {
    if text == "none" { Vec::new() } else { vec![policy(name, text, kind)] }
}

/// `who | action | resource | owner of the resource`, the last two optional.
pub fn request(case: &Case) -> Request {
    let fields: Vec<&str> = case.must("request").split('|').map(str::trim).collect();
    let action = Action::parse(fields[1]).unwrap();
    let mut context = Context::new();
    for line in case.all("context") {
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("`{line}` is not key = value"));
        let (key, value) = (key.trim(), value.trim());
        match value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some("") => context.insert_many::<&str>(key, []),
            Some(list) => context.insert_many(key, list.split(',').map(str::trim)),
            None => context.insert(key, value),
        }
    }
    let resource = fields.get(2).copied().unwrap_or("arn:aws:s3:::b/k");
    let mut request = Request::new(principal(fields[0]), action, resource).with_context(context);
    match fields.get(3).copied().unwrap_or(HOME) {
        "-" => {}
        owner => request = request.with_resource_account(owner.parse().unwrap()),
    }
    match case.get("canonical") {
        Some(id) => request.with_canonical_user(id),
        None => request,
    }
}

/// `anonymous`, `root`, `user ana`, `role app/session`, `federated fay by ana`, `service NAME`, `provider NAME`;
/// `@account` says another account than the first.
fn principal(text: &str) -> Principal {
    let (who, account) = text.split_once('@').unwrap_or((text, HOME));
    let arn = |text: String| Arn::parse(&text).unwrap();
    let user = |name: &str| {
        let name = if name == "root" { "root".to_owned() } else { format!("user/{name}") };
        arn(format!("arn:aws:iam::{account}:{name}"))
    };
    let words: Vec<&str> = who.split(' ').collect();
    match words.as_slice() {
        ["anonymous"] => Principal::Anonymous,
        ["root"] => Principal::Root { account: account.parse().unwrap() },
        ["user", name] => Principal::User { arn: user(name) },
        ["role", session] => {
            let name = session.split('/').next().unwrap();
            Principal::AssumedRole {
                role_arn: arn(format!("arn:aws:iam::{account}:role/{name}")),
                session_arn: arn(format!("arn:aws:sts::{account}:assumed-role/{session}")),
            }
        }
        ["federated", name, "by", issuer] => Principal::FederatedUser {
            session_arn: arn(format!("arn:aws:sts::{account}:federated-user/{name}")),
            issuer_arn: user(issuer),
        },
        ["service", name] => Principal::Service { name: (*name).to_owned() },
        ["provider", provider] => Principal::Federated { provider: (*provider).to_owned() },
        other => panic!("{other:?} is nobody"),
    }
}

//! A document in one plain form.

use std::fmt::Write as _;

use crate::condition::Condition;
use crate::document::PolicyDocument;
use crate::principal::{AwsName, PrincipalClause};
use crate::statement::Statement;

/// Elements in the order in which AWS's own examples have them.
pub(crate) fn document(document: &PolicyDocument) -> String {
    let mut members = Vec::new();
    if let Some(version) = document.version {
        members.push(member("Version", &quoted(version.as_str())));
    }
    if let Some(id) = &document.id {
        members.push(member("Id", &quoted(id)));
    }
    let statements: Vec<String> = document.statements.iter().map(|one| statement(one, 2)).collect();
    members.push(member("Statement", &format!("[\n    {}\n  ]", statements.join(",\n    "))));
    object(&members, 0)
}

/// An object whose closing brace stands at this depth of two spaces.
fn object(members: &[String], depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let lines: Vec<String> = members.iter().map(|member| format!("{indent}  {member}")).collect();
    format!("{{\n{}\n{indent}}}", lines.join(",\n"))
}

fn member(name: &str, value: &str) -> String {
    format!("{}: {value}", quoted(name))
}

fn statement(statement: &Statement, depth: usize) -> String {
    let mut members = Vec::new();
    if let Some(sid) = &statement.sid {
        members.push(member("Sid", &quoted(sid)));
    }
    members.push(member("Effect", &quoted(statement.effect.as_str())));
    if let Some(clause) = &statement.principals {
        let name = if clause.negated { "NotPrincipal" } else { "Principal" };
        members.push(member(name, &principal(clause)));
    }
    let name = if statement.actions.negated { "NotAction" } else { "Action" };
    members.push(member(name, &list(statement.actions.patterns.iter().map(|one| one.text.as_str()))));
    if !statement.resources.implied {
        let name = if statement.resources.negated { "NotResource" } else { "Resource" };
        members.push(member(name, &list(statement.resources.patterns.iter().map(|one| one.text.as_str()))));
    }
    if !statement.conditions.is_empty() {
        members.push(member("Condition", &conditions(&statement.conditions, depth + 1)));
    }
    object(&members, depth)
}

fn principal(clause: &PrincipalClause) -> String {
    let PrincipalClause {
        negated: _,
        anyone,
        aws,
        services,
        providers,
        canonical_users,
        account_is_root_only: _,
        at: _,
    } = clause;
    let named: Vec<String> = aws.iter().map(aws_name).collect();
    let names = anyone.then_some("*").into_iter().chain(named.iter().map(String::as_str));
    let sources = [
        ("AWS", names.collect::<Vec<_>>()),
        ("Service", services.iter().map(String::as_str).collect()),
        ("Federated", providers.iter().map(String::as_str).collect()),
        ("CanonicalUser", canonical_users.iter().map(String::as_str).collect()),
    ];
    let only_anyone = *anyone && sources.iter().map(|(_, names)| names.len()).sum::<usize>() == 1;
    if only_anyone {
        return quoted("*");
    }
    let filled = sources.into_iter().filter(|(_, names)| !names.is_empty());
    let members: Vec<String> =
        filled.map(|(source, names)| member(source, &list(names.into_iter()))).collect();
    format!("{{ {} }}", members.join(", "))
}

fn aws_name(name: &AwsName) -> String {
    match name {
        AwsName::Account(account) => format!("arn:aws:iam::{account}:root"),
        AwsName::Arn(text) | AwsName::UniqueId(text) => text.clone(),
    }
}

/// One operator's keys stand together; each operator comes once.
fn conditions(conditions: &[Condition], depth: usize) -> String {
    let groups = conditions.chunk_by(|left, right| left.operator == right.operator);
    let members: Vec<String> = groups
        .filter_map(|group| {
            let keys: Vec<String> = group.iter().map(one_key).collect();
            let operator = &group.first()?.operator;
            Some(member(operator, &object(&keys, depth + 1)))
        })
        .collect();
    object(&members, depth)
}

fn one_key(condition: &Condition) -> String {
    member(condition.key.written(), &list(condition.values.iter().map(String::as_str)))
}

/// One string as it is, several as a list.
fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.map(quoted).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

//! `Principal` and `NotPrincipal`.

use super::strings;
use crate::arn::{AccountId, Arn};
use crate::document::Kind;
use crate::error::{ParseError, Problem};
use crate::json::{Json, Member, Node};
use crate::place::At;
use crate::principal::{AwsName, PrincipalClause};

pub(super) fn read(value: &Node, negated: bool, at: &str, kind: Kind) -> Result<PrincipalClause, ParseError> {
    let mut clause = PrincipalClause::new(negated, At(value.place));
    match &value.json {
        Json::Text(text) if text == "*" => clause.anyone = true,
        Json::Text(text) => {
            return Err(bad(text, "a principal that is not `*` is an object such as {\"AWS\": \"…\"}")
                .at(at, value.place));
        }
        Json::Object(members) if members.is_empty() => return Err(Problem::Empty.at(at, value.place)),
        Json::Object(members) => {
            for member in members {
                read_names(member, &mut clause, at)?;
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) => {
            return Err(Problem::WrongType { expected: "`*` or an object", found: value.json.noun() }
                .at(at, value.place));
        }
    }
    check_kind(&mut clause, kind).map_err(|problem| problem.at(at, value.place))?;
    Ok(clause)
}

fn bad(value: &str, why: &'static str) -> Problem {
    Problem::BadPrincipal { value: value.to_owned(), why }
}

fn read_names(member: &Member, clause: &mut PrincipalClause, at: &str) -> Result<(), ParseError> {
    let source = member.name.as_str();
    let at = format!("{at}.{source}");
    let known = ["AWS", "Service", "Federated", "CanonicalUser"].contains(&source);
    if !known {
        let why = "the sources are AWS, Service, Federated and CanonicalUser";
        return Err(bad(source, why).at(at, member.place));
    }
    for (name, place) in strings(&member.value, &at)? {
        read_name(source, name, clause).map_err(|problem| problem.at(at.as_str(), place))?;
    }
    Ok(())
}

fn read_name(source: &str, name: &str, clause: &mut PrincipalClause) -> Result<(), Problem> {
    let may_be_star = source == "AWS" || source == "Service";
    if name.contains(['*', '?']) && !(name == "*" && may_be_star) {
        return Err(bad(
            name,
            "wildcards cannot stand for a part of it, use a condition on aws:PrincipalArn",
        ));
    }
    match source {
        "AWS" if name == "*" => clause.anyone = true,
        "AWS" => clause.aws.push(aws_name(name)?),
        "Service" if name == "*" || is_service(name) => clause.services.push(name.to_owned()),
        "Service" => return Err(bad(name, "a service has a name such as ec2.amazonaws.com")),
        "Federated" if is_provider(name) => clause.providers.push(name.to_owned()),
        "Federated" => return Err(bad(name, "a provider is an iam arn or a host name")),
        _ if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            clause.canonical_users.push(name.to_owned());
        }
        _ => return Err(bad(name, "a canonical user id has letters and digits only")),
    }
    Ok(())
}

fn aws_name(name: &str) -> Result<AwsName, Problem> {
    if let Ok(account) = name.parse::<AccountId>() {
        return Ok(AwsName::Account(account));
    }
    let is_unique_id = name.len() >= 16
        && (name.starts_with("AIDA") || name.starts_with("AROA"))
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    if is_unique_id {
        return Ok(AwsName::UniqueId(name.to_owned()));
    }
    let arn = Arn::parse(name).map_err(|_| bad(name, "it is neither an account id nor an arn"))?;
    let account: AccountId = arn.account().parse().map_err(|_| bad(name, "its account is not 12 digits"))?;
    let named = |prefix: &str, parts: usize| {
        arn.resource().strip_prefix(prefix).is_some_and(|rest| {
            let parts_found = rest.split('/').filter(|part| !part.is_empty()).count();
            parts_found >= parts && !rest.ends_with('/')
        })
    };
    match arn.service() {
        "iam" if arn.resource() == "root" => Ok(AwsName::Account(account)),
        "iam" if named("user/", 1) || named("role/", 1) => Ok(AwsName::Arn(name.to_owned())),
        "sts" if named("assumed-role/", 2) || named("federated-user/", 1) => {
            Ok(AwsName::Arn(name.to_owned()))
        }
        _ => Err(bad(name, "it must name an account's root, a user, a role, or a role or federated session")),
    }
}

fn is_service(name: &str) -> bool {
    name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

fn is_provider(name: &str) -> bool {
    let is_arn = Arn::parse(name).is_ok_and(|arn| {
        let resource = arn.resource();
        arn.service() == "iam"
            && (resource.starts_with("saml-provider/") || resource.starts_with("oidc-provider/"))
    });
    is_arn || is_service(name)
}

/// Gateway endpoints select principals by conditions. An account there stands for its root user alone.
///
/// <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>
fn check_kind(clause: &mut PrincipalClause, kind: Kind) -> Result<(), Problem> {
    match kind {
        Kind::Endpoint { gateway: true } => {
            clause.account_is_root_only = true;
            let listed = clause.aws.iter().find_map(|name| match name {
                AwsName::Account(_) => None,
                AwsName::Arn(text) | AwsName::UniqueId(text) => Some(text),
            });
            let others = clause.services.iter().chain(&clause.providers).chain(&clause.canonical_users);
            match listed.into_iter().chain(others).next() {
                Some(name) => Err(bad(
                    name,
                    "a gateway endpoint policy needs `*`, use a condition on aws:PrincipalArn to pick principals",
                )),
                None => Ok(()),
            }
        }
        Kind::ResourceControl => {
            if clause.anyone {
                Ok(())
            } else {
                Err(Problem::BadStatement { why: "`Principal` is `*` only", kind })
            }
        }
        Kind::Identity
        | Kind::Resource
        | Kind::Trust
        | Kind::Endpoint { gateway: false }
        | Kind::Boundary
        | Kind::Session
        | Kind::ServiceControl => Ok(()),
    }
}

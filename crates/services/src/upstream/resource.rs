//! Which action a call is in policies, and on which resources.
//!
//! Source: "Actions, resources, and condition keys for …" of each service in the service authorization reference. Only
//! what follows from the request alone is derived; the rest is `*`, as AWS has it for actions without resource-level
//! permissions. A policy about single resources of another kind neither allows nor denies such a request.

use http::Method;
use postern_frontdoor::Ask;
use postern_model::AccountId;
use postern_model::endpoint::{Upstream, UpstreamProtocol};
use postern_policy::{Arn, Context};
use postern_wire::AwsError;

use super::call::Call;

/// How many resources a request may name.
const RESOURCES_MAX: usize = 1_000;

/// Where a call is made, and by whom.
pub(super) struct Place<'a> {
    pub region: &'a str,
    pub account: AccountId,
    /// The host that it is made at, without a port.
    pub host: &'a str,
    pub method: &'a Method,
    pub path: &'a str,
}

/// Members that name a resource of the caller's own account by the end of its ARN.
struct Rule {
    prefix: &'static str,
    member: &'static str,
    /// What stands before the value.
    kind: &'static str,
    /// Only operations whose name has this in it.
    of: &'static str,
}

const fn rule(prefix: &'static str, member: &'static str, kind: &'static str, of: &'static str) -> Rule {
    Rule { prefix, member, kind, of }
}

const RULES: &[Rule] = &[
    rule("ecr", "repositoryName", "repository/", ""),
    rule("ecr", "repositoryNames", "repository/", ""),
    rule("firehose", "DeliveryStreamName", "deliverystream/", ""),
    rule("kinesis", "StreamName", "stream/", ""),
    rule("lambda", "FunctionName", "function:", ""),
    rule("lambda", "LayerName", "layer:", ""),
    rule("lambda", "UUID", "event-source-mapping:", ""),
    rule("sns", "Name", "", "Topic"),
    rule("sqs", "QueueName", "", ""),
    rule("ssm", "Name", "parameter/", "Parameter"),
    rule("ssm", "Names", "parameter/", "Parameter"),
    rule("ssm", "Path", "parameter/", "Parameter"),
    rule("states", "name", "stateMachine:", "CreateStateMachine"),
];

/// Everything that a call asks for. Never empty.
pub(super) fn asks(upstream: &Upstream, call: &Call, place: &Place<'_>) -> Result<Vec<Ask>, AwsError> {
    let action = format!("{}:{}", upstream.action_prefix, action(upstream, call, place));
    let mut resources = resources(upstream, call, place);
    resources.sort();
    resources.dedup();
    if resources.is_empty() {
        resources.push("*".to_owned());
    }
    if resources.len() > RESOURCES_MAX {
        return Err(AwsError::new("ValidationException", "The request names too many resources."));
    }
    let ask = |resource: String| Ask {
        action: action.clone(),
        resource_account: owner(&resource),
        resource_policy: None,
        context: Context::new(),
        resource,
    };
    Ok(resources.into_iter().map(ask).collect())
}

/// What an operation is called in policies: as itself, with few exceptions.
fn action(upstream: &Upstream, call: &Call, place: &Place<'_>) -> String {
    let operation = call.operation.as_str();
    let renamed = match (upstream.signing_name.as_str(), operation) {
        ("lambda", "Invoke" | "InvokeAsync" | "InvokeWithResponseStream") => "InvokeFunction",
        // "The action … is the HTTP verb" ("Actions, resources, and condition keys for API Gateway Management").
        ("apigateway", _) => place.method.as_str(),
        (_, same) => same,
    };
    renamed.to_owned()
}

fn resources(upstream: &Upstream, call: &Call, place: &Place<'_>) -> Vec<String> {
    let prefix = upstream.action_prefix.as_str();
    let arn = |resource: &str| format!("arn:aws:{prefix}:{}:{}:{resource}", place.region, place.account);
    match (upstream.protocol, upstream.signing_name.as_str()) {
        (UpstreamProtocol::ExecuteApi, _) => return vec![arn(&invoked(place))],
        (_, "apigateway") => return vec![format!("arn:aws:apigateway:{}::{}", place.region, place.path)],
        (_, "logs") => return logs(call, arn),
        (_, _) => {}
    }
    // A resource that is named by its ARN is whose the ARN says.
    let named = call.members.iter().filter(|(_, value)| is_of(value, prefix)).map(|(_, value)| value.clone());
    let rules = RULES.iter().filter(|rule| rule.prefix == prefix && call.operation.contains(rule.of));
    let by_name = rules.flat_map(|rule| {
        let names = call.values(rule.member).filter(|value| !value.starts_with("arn:"));
        names.map(move |name| format!("{}{}", rule.kind, name.strip_prefix('/').unwrap_or(name)))
    });
    let mut found: Vec<String> = named.chain(by_name.map(|resource| arn(&resource))).collect();
    if prefix == "sqs" {
        found.extend(call.values("QueueUrl").filter_map(|url| queue(url, place)));
    }
    found
}

/// Whether a text is the ARN of something of this service's.
fn is_of(text: &str, prefix: &str) -> bool {
    Arn::parse(text).is_ok_and(|arn| arn.service() == prefix)
}

fn owner(resource: &str) -> Option<AccountId> {
    Arn::parse(resource).ok()?.account().parse().ok()
}

/// CloudWatch Logs decides every request on a log group about the streams in it, named or not: "is not authorized to
/// perform: logs:CreateLogGroup on resource: arn:aws:logs:…:log-group:NAME:log-stream:" are its words, so that policies
/// say `log-group:NAME:*`.
fn logs(call: &Call, arn: impl Fn(&str) -> String) -> Vec<String> {
    let stream = call.values("logStreamName").next().unwrap_or_default();
    let of_group = |group: &str| match group.strip_suffix(":*").unwrap_or(group) {
        named if named.starts_with("arn:") => format!("{named}:log-stream:{stream}"),
        named => arn(&format!("log-group:{named}:log-stream:{stream}")),
    };
    let members = ["logGroupName", "logGroupNames", "logGroupIdentifier", "logGroupIdentifiers"];
    let mut found: Vec<String> =
        members.into_iter().flat_map(|member| call.values(member)).map(of_group).collect();
    let others = [("destinationName", "destination:"), ("deliveryName", "delivery:")];
    for (member, kind) in others {
        found.extend(call.values(member).map(|name| arn(&format!("{kind}{name}"))));
    }
    found.extend(call.values("resourceArn").filter(|value| is_of(value, "logs")).map(str::to_owned));
    if found.is_empty() {
        found.push(arn("log-group::log-stream:"));
    }
    found
}

/// `arn:aws:sqs:region:account:name` of `http://host/account/name`.
fn queue(url: &str, place: &Place<'_>) -> Option<String> {
    let mut segments = url.trim_end_matches('/').rsplit('/');
    let (name, account) = (segments.next()?, segments.next()?);
    let account: AccountId = account.parse().ok()?;
    Some(format!("arn:aws:sqs:{}:{account}:{name}", place.region))
}

/// `api/stage/VERB/path`, of a request to `api.execute-api.…/stage/path`.
fn invoked(place: &Place<'_>) -> String {
    let api = place.host.split('.').next().unwrap_or_default();
    let path = place.path.strip_prefix('/').unwrap_or(place.path);
    let (stage, rest) = path.split_once('/').unwrap_or((path, ""));
    format!("{api}/{stage}/{}/{rest}", place.method)
}

#[cfg(test)]
mod tests {
    use super::super::call::tests::{asked, upstream};
    use super::*;

    fn told(of: &Upstream, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
        let call = asked(of, method, target, headers, body).unwrap();
        let method = method.parse().unwrap();
        let account = AccountId::from_number(111_122_223_333).unwrap();
        let path = target.split('?').next().unwrap_or_default();
        let host = "abc.execute-api.us-east-1.amazonaws.com";
        let place = Place { region: "us-east-1", account, host, method: &method, path };
        let asks = asks(of, &call, &place).unwrap();
        let shown = asks.iter().map(|ask| match ask.resource_account {
            Some(owner) if owner != account => format!("{} (of {owner})", ask.resource),
            Some(_) | None => ask.resource.clone(),
        });
        format!("{} {}", asks[0].action, shown.collect::<Vec<_>>().join(" "))
    }

    fn json(of: &Upstream, operation: &str, body: &str) -> String {
        let target = format!("Service_1.{operation}");
        told(
            of,
            "POST",
            "/",
            &[("content-type", "application/x-amz-json-1.1"), ("x-amz-target", &target)],
            body,
        )
    }

    #[test]
    fn log_groups_are_named_with_their_streams() {
        let logs = upstream("logs", UpstreamProtocol::Json);
        let arn = "arn:aws:logs:us-east-1:111122223333:log-group";
        for (operation, body, expected) in [
            (
                "PutLogEvents",
                r#"{"logGroupName": "g", "logStreamName": "s"}"#,
                format!("{arn}:g:log-stream:s"),
            ),
            ("CreateLogGroup", r#"{"logGroupName": "/a/b"}"#, format!("{arn}:/a/b:log-stream:")),
            ("DescribeLogGroups", r#"{"logGroupNamePrefix": "g"}"#, format!("{arn}::log-stream:")),
            (
                "StartQuery",
                r#"{"logGroupNames": ["g", "h"]}"#,
                format!("{arn}:g:log-stream: {arn}:h:log-stream:"),
            ),
            (
                "FilterLogEvents",
                r#"{"logGroupIdentifier": "arn:aws:logs:us-east-1:444455556666:log-group:g"}"#,
                "arn:aws:logs:us-east-1:444455556666:log-group:g:log-stream: (of 444455556666)".to_owned(),
            ),
            // What the operation does not take says nothing.
            ("DescribeLogGroups", r#"{"logGroupName": "mine"}"#, format!("{arn}::log-stream:")),
        ] {
            assert_eq!(json(&logs, operation, body), format!("logs:{operation} {expected}"));
        }
    }

    #[test]
    fn resources_follow_from_names_and_arns() {
        let of = |name: &str| upstream(name, UpstreamProtocol::Json);
        let arn = |rest: &str| format!("arn:aws:{rest}");
        let other = "arn:aws:kinesis:us-east-1:444455556666:stream/s";
        for (service, operation, body, expected) in [
            (
                "kinesis",
                "PutRecord",
                r#"{"StreamName": "s"}"#,
                arn("kinesis:us-east-1:111122223333:stream/s"),
            ),
            (
                "kinesis",
                "PutRecord",
                &format!(r#"{{"StreamARN": "{other}"}}"#),
                format!("{other} (of 444455556666)"),
            ),
            ("kinesis", "ListStreams", "{}", "*".to_owned()),
            (
                "sqs",
                "SendMessage",
                r#"{"QueueUrl": "https://sqs.us-east-1.amazonaws.com/111122223333/q"}"#,
                arn("sqs:us-east-1:111122223333:q"),
            ),
            ("ssm", "GetParameter", r#"{"Name": "/a/b"}"#, arn("ssm:us-east-1:111122223333:parameter/a/b")),
            ("ssm", "GetDocument", r#"{"Name": "d"}"#, "*".to_owned()),
            ("glue", "GetTable", r#"{"Name": "t"}"#, "*".to_owned()),
        ] {
            assert_eq!(json(&of(service), operation, body), format!("{service}:{operation} {expected}"));
        }
    }

    #[test]
    fn rest_requests_and_apis_have_theirs() {
        let lambda = upstream("lambda", UpstreamProtocol::RestJson);
        assert_eq!(
            told(&lambda, "POST", "/2015-03-31/functions/f/invocations", &[], ""),
            "lambda:InvokeFunction arn:aws:lambda:us-east-1:111122223333:function:f"
        );
        let api = upstream("execute-api", UpstreamProtocol::ExecuteApi);
        assert_eq!(
            told(&api, "GET", "/prod/pets/1?x=y", &[], ""),
            "execute-api:Invoke arn:aws:execute-api:us-east-1:111122223333:abc/prod/GET/pets/1"
        );
        let manage = upstream("apigateway", UpstreamProtocol::RestJson);
        assert_eq!(
            told(&manage, "DELETE", "/restapis/a1", &[], ""),
            "apigateway:DELETE arn:aws:apigateway:us-east-1::/restapis/a1"
        );
    }
}

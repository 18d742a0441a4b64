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
use super::s3::Want;

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
    if !call.wants.is_empty() {
        // Whose a bucket of the upstream's is, and what its policy says, is not known here: it is as the caller's own.
        let ask = |want: &Want| Ask {
            action: want.action.to_owned(),
            resource: want.resource.clone(),
            resource_account: None,
            resource_policy: None,
            context: want.context.clone(),
        };
        return Ok(call.wants.iter().map(ask).collect());
    }
    let action = format!("{}:{}", upstream.action_prefix, action(upstream, call, place));
    let mut resources = resources(upstream, call, place)?;
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

fn resources(upstream: &Upstream, call: &Call, place: &Place<'_>) -> Result<Vec<String>, AwsError> {
    let prefix = upstream.action_prefix.as_str();
    let arn = |resource: &str| format!("arn:aws:{prefix}:{}:{}:{resource}", place.region, place.account);
    match (upstream.protocol, upstream.signing_name.as_str()) {
        (UpstreamProtocol::ExecuteApi, _) => return Ok(vec![arn(&invoked(place))]),
        (_, "apigateway") => return Ok(vec![format!("arn:aws:apigateway:{}::{}", place.region, place.path)]),
        (_, "logs") => return Ok(logs(call, arn)),
        (_, _) => {}
    }
    // A resource that is named by its ARN is whose the ARN says.
    let named = call.members.iter().filter(|(_, value)| is_of(value, prefix)).map(|(_, value)| value.clone());
    let rules = RULES.iter().filter(|rule| rule.prefix == prefix && call.operation.contains(rule.of));
    let by_name = rules.flat_map(|rule| {
        let names = call.values(rule.member).filter(|value| !value.starts_with("arn:"));
        names.map(move |name| match rule.member {
            "FunctionName" => function(name, place),
            _ => arn(&format!("{}{}", rule.kind, name.strip_prefix('/').unwrap_or(name))),
        })
    });
    let mut found: Vec<String> = named.chain(by_name).collect();
    match prefix {
        "sqs" => {
            let queues = call.values("QueueUrl").map(|url| queue(url, place));
            found.extend(queues.collect::<Result<Vec<_>, _>>()?);
        }
        "ssm" => found.iter_mut().for_each(without_selector),
        _ => {}
    }
    Ok(found)
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

/// `arn:aws:sqs:region:account:name` of `http://host/account/name`. Emulators find a queue by the name alone, so where no
/// account stands before it, it is the caller's own; what has no name of a queue in it is refused.
fn queue(url: &str, place: &Place<'_>) -> Result<String, AwsError> {
    let mut segments = url.trim_end_matches('/').rsplit('/');
    let name = segments.next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(AwsError::new(
            "InvalidAddress",
            format!("The address {url} is not valid for this endpoint."),
        ));
    }
    let account = segments.next().and_then(|account| account.parse().ok()).unwrap_or(place.account);
    Ok(format!("arn:aws:sqs:{}:{account}:{name}", place.region))
}

/// The ARN of a function: "Function name – `MyFunction`; Partial ARN – `123456789012:function:MyFunction`", with a version
/// or alias behind it or not ("Invoke" in the Lambda API reference, whose pattern has a region before it too).
fn function(name: &str, place: &Place<'_>) -> String {
    let (mut account, mut rest) = (place.account, name);
    while let Some((first, behind)) = rest.split_once(':') {
        match first.parse::<AccountId>() {
            Ok(given) => account = given,
            Err(_) if first == "function" || first == place.region => {}
            Err(_) => break,
        }
        rest = behind;
    }
    format!("arn:aws:lambda:{}:{account}:function:{rest}", place.region)
}

/// Takes the version or label off a parameter: `name:3` names the parameter `name` ("GetParameter" in the Systems Manager
/// API reference), whose names have no colon.
fn without_selector(arn: &mut String) {
    let Some(at) = arn.find(":parameter/") else { return };
    let behind = arn.get(at + 1..).and_then(|resource| resource.find(':'));
    if let Some(length) = behind {
        arn.truncate(at + 1 + length);
    }
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
            (
                "sqs",
                "SendMessage",
                r#"{"QueueUrl": "http://127.0.0.1:9324/queue/q/"}"#,
                arn("sqs:us-east-1:111122223333:q"),
            ),
            ("sqs", "SendMessage", r#"{"QueueUrl": "q"}"#, arn("sqs:us-east-1:111122223333:q")),
            (
                "ssm",
                "GetParameters",
                r#"{"Names": ["a:3", "/b:prod", "arn:aws:ssm:us-east-1:111122223333:parameter/c:1"]}"#,
                [
                    arn("ssm:us-east-1:111122223333:parameter/a"),
                    arn("ssm:us-east-1:111122223333:parameter/b"),
                    arn("ssm:us-east-1:111122223333:parameter/c"),
                ]
                .join(" "),
            ),
            ("ssm", "GetDocument", r#"{"Name": "d"}"#, "*".to_owned()),
            ("glue", "GetTable", r#"{"Name": "t"}"#, "*".to_owned()),
        ] {
            assert_eq!(json(&of(service), operation, body), format!("{service}:{operation} {expected}"));
        }
    }

    #[test]
    fn a_queue_that_has_no_name_is_refused() {
        let sqs = upstream("sqs", UpstreamProtocol::Json);
        for url in ["", "/", "http://host/111122223333/q?x", "http://host/111122223333/%71"] {
            let headers =
                [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.SendMessage")];
            let body = format!(r#"{{"QueueUrl": "{url}"}}"#);
            let call = asked(&sqs, "POST", "/", &headers, &body).unwrap();
            let account = AccountId::from_number(111_122_223_333).unwrap();
            let place = Place { region: "us-east-1", account, host: "", method: &Method::POST, path: "/" };
            assert_eq!(asks(&sqs, &call, &place).unwrap_err().code, "InvalidAddress", "{url}");
        }
    }

    #[test]
    fn every_way_to_name_a_function_is_the_same_one() {
        let lambda = upstream("lambda", UpstreamProtocol::RestJson);
        let own = "arn:aws:lambda:us-east-1:111122223333:function:f";
        let others = "arn:aws:lambda:us-east-1:444455556666:function:f (of 444455556666)";
        for (name, resource) in [
            ("f", own),
            ("function:f", own),
            ("111122223333:function:f", own),
            ("us-east-1:111122223333:function:f", own),
            ("111122223333:f", own),
            ("444455556666:function:f", others),
            ("f:PROD", "arn:aws:lambda:us-east-1:111122223333:function:f:PROD"),
        ] {
            let target = format!("/2015-03-31/functions/{name}/invocations");
            let expected = format!("lambda:InvokeFunction {resource}");
            assert_eq!(told(&lambda, "POST", &target, &[], ""), expected, "{name}");
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

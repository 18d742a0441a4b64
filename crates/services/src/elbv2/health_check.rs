//! The parameters of health checks: what a request says, over what is there.
//!
//! Values and defaults from "Health check settings" in the "Network Load Balancers" guide.

use postern_model::elb::{HealthCheck, HealthPort, HealthProtocol, Matcher};
use postern_wire::elbv2 as shape;

use super::{Outcome, error};

/// What a request says of health checks.
pub(super) struct Given {
    pub enabled: Option<bool>,
    pub protocol: Option<String>,
    pub port: Option<String>,
    pub path: Option<String>,
    pub interval_seconds: Option<i64>,
    pub timeout_seconds: Option<i64>,
    pub healthy_threshold: Option<i64>,
    pub unhealthy_threshold: Option<i64>,
    pub matcher: Option<shape::Matcher>,
}

/// What a new target group has.
pub(super) fn usual() -> HealthCheck {
    HealthCheck {
        protocol: HealthProtocol::Tcp,
        port: HealthPort::Traffic,
        interval_seconds: 30,
        timeout_seconds: 10,
        healthy_threshold: 5,
        unhealthy_threshold: 2,
    }
}

/// "200-399" is what a network load balancer takes for health.
fn usual_matcher() -> Matcher {
    Matcher(vec![(200, 399)])
}

impl Given {
    /// What is there, with what was given in its stead.
    pub(super) fn over(self, there: &HealthCheck) -> Outcome<HealthCheck> {
        // "If the target type is instance, ip, or alb, health checks are always enabled and can't be disabled."
        if self.enabled == Some(false) {
            return Err(error::validation("Health checks cannot be disabled for this target type"));
        }
        let matcher = self.matcher.map(matcher).transpose()?;
        let asks_http = self.path.is_some() || matcher.is_some();
        let protocol = match (self.protocol.as_deref(), &there.protocol) {
            (Some("TCP"), _) | (None, HealthProtocol::Tcp) if asks_http => {
                let message =
                    "Health check paths and matchers are supported for HTTP and HTTPS health checks only";
                return Err(error::invalid_configuration(message));
            }
            (Some("TCP"), _) | (None, HealthProtocol::Tcp) => HealthProtocol::Tcp,
            (Some("HTTP"), known) => {
                let (path, matcher) = http(known, self.path, matcher)?;
                HealthProtocol::Http(path, matcher)
            }
            (Some("HTTPS"), known) => {
                let (path, matcher) = http(known, self.path, matcher)?;
                HealthProtocol::Https(path, matcher)
            }
            (None, known @ HealthProtocol::Http(..)) => {
                let (path, matcher) = http(known, self.path, matcher)?;
                HealthProtocol::Http(path, matcher)
            }
            (None, known @ HealthProtocol::Https(..)) => {
                let (path, matcher) = http(known, self.path, matcher)?;
                HealthProtocol::Https(path, matcher)
            }
            (Some(other), _) => {
                return Err(error::validation(format!(
                    "Health check protocol '{other}' is not supported for a network load balancer: it is one of TCP, \
                     HTTP, HTTPS"
                )));
            }
        };
        Ok(HealthCheck {
            protocol,
            port: self.port.map_or(Ok(there.port), |text| port(&text))?,
            interval_seconds: number(
                "HealthCheckIntervalSeconds",
                self.interval_seconds,
                there.interval_seconds,
            )?,
            timeout_seconds: number(
                "HealthCheckTimeoutSeconds",
                self.timeout_seconds,
                there.timeout_seconds,
            )?,
            healthy_threshold: number(
                "HealthyThresholdCount",
                self.healthy_threshold,
                there.healthy_threshold,
            )?,
            unhealthy_threshold: number(
                "UnhealthyThresholdCount",
                self.unhealthy_threshold,
                there.unhealthy_threshold,
            )?,
        })
    }
}

fn number(name: &str, given: Option<i64>, there: u32) -> Outcome<u32> {
    let read = |given: i64| {
        u32::try_from(given).map_err(|_| error::validation(format!("{name} '{given}' is out of range")))
    };
    given.map_or(Ok(there), read)
}

fn http(
    known: &HealthProtocol,
    path: Option<String>,
    matcher: Option<Matcher>,
) -> Outcome<(String, Matcher)> {
    let (known_path, known_matcher) = match known {
        HealthProtocol::Tcp => ("/".to_owned(), usual_matcher()),
        HealthProtocol::Http(path, matcher) | HealthProtocol::Https(path, matcher) => {
            (path.clone(), matcher.clone())
        }
    };
    let path = path.unwrap_or(known_path);
    // It is put into a request as it is, so it has to be one line of one word.
    if !path.starts_with('/') || path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(error::validation(format!(
            "Health check path '{path}' must begin with '/' and be made of printable ASCII characters"
        )));
    }
    Ok((path, matcher.unwrap_or(known_matcher)))
}

fn port(text: &str) -> Outcome<HealthPort> {
    if text == "traffic-port" {
        return Ok(HealthPort::Traffic);
    }
    let port = text.parse::<u16>().ok().filter(|port| *port > 0).map(HealthPort::Port);
    let message = || format!("Health check port '{text}' must be 'traffic-port' or a number from 1 to 65535");
    port.ok_or_else(|| error::validation(message()))
}

/// `200`, `200,202`, `200-399`: "The possible values are 200 to 599."
fn matcher(given: shape::Matcher) -> Outcome<Matcher> {
    let shape::Matcher { grpc_code, http_code } = given;
    if grpc_code.is_some() {
        return Err(error::invalid_configuration(
            "gRPC codes are supported for application load balancers only",
        ));
    }
    let text = http_code.unwrap_or_default();
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to) = (from.trim().parse::<u16>().ok()?, to.trim().parse::<u16>().ok()?);
        (200 <= from && from <= to && to <= 599).then_some((from, to))
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    let message = || format!("Health check matcher HTTP code '{text}' must be within '200-599' inclusive");
    ranges.map(Matcher).ok_or_else(|| error::validation(message()))
}

/// How a matcher is shown.
pub(super) fn show_matcher(matcher: &Matcher) -> shape::Matcher {
    let range = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let text = matcher.0.iter().map(range).collect::<Vec<_>>().join(",");
    shape::Matcher { grpc_code: None, http_code: Some(text) }
}

/// How a port is shown.
pub(super) fn show_port(port: HealthPort) -> String {
    match port {
        HealthPort::Traffic => "traffic-port".to_owned(),
        HealthPort::Port(port) => port.to_string(),
    }
}

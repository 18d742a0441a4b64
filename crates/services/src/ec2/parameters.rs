//! Parameters: which are honoured, and how their texts are read.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use postern_model::{IpNet, Ipv4Net, MalformedId};
use postern_wire::AwsError;
use postern_wire::query::Form;

use super::error;
use super::table::Entry;

/// Every operation that has it honours it: see [`super::call::Call::execute`].
pub const DRY_RUN: &[&str] = &["DryRun"];
/// See [`super::call::Call::execute`].
pub const CLIENT_TOKEN: &[&str] = &["ClientToken"];
/// See [`super::filters`].
pub const FILTERS: &[&str] = &["Filter.Name", "Filter.Value"];
/// See [`super::pagination`].
pub const PAGES: &[&str] = &["MaxResults", "NextToken"];
/// See [`super::tag::of_new`].
pub const NEW_TAGS: &[&str] =
    &["TagSpecification.ResourceType", "TagSpecification.Tag.Key", "TagSpecification.Tag.Value"];

/// A parameter's name without the indices of lists: `Filter.1.Value.2` is `Filter.Value`.
pub fn path_of(name: &str) -> String {
    let is_index = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    let steps: Vec<&str> = name.split('.').filter(|step| !is_index(step)).collect();
    steps.join(".")
}

/// Refuses, by name, a parameter that the operation does not honour.
pub fn check_honoured(entry: &Entry, form: &Form) -> Result<(), AwsError> {
    for (name, value) in &form.parameters {
        let path = path_of(name);
        let honoured = entry.honoured.iter().copied().flatten().any(|known| *known == path);
        if honoured {
            continue;
        }
        match entry.only.iter().find(|(known, _)| *known == path) {
            None => return Err(error::unsupported(name)),
            Some((_, values)) if values.iter().any(|known| known.eq_ignore_ascii_case(value)) => {}
            Some((_, values)) => return Err(error::unsupported_value(name, value, values)),
        }
    }
    Ok(())
}

/// `InvalidParameterValue` in EC2's usual words.
pub fn invalid(parameter: &str, value: impl fmt::Display, why: &str) -> AwsError {
    AwsError::new(
        "InvalidParameterValue",
        format!("Value ({value}) for parameter {parameter} is invalid. {why}"),
    )
}

/// `MissingParameter` in EC2's usual words.
pub fn missing(parameter: &str) -> AwsError {
    AwsError::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
}

/// A parameter without which there is no request.
pub fn required<T>(value: Option<T>, parameter: &str) -> Result<T, AwsError> {
    value.ok_or_else(|| missing(parameter))
}

/// Parameters that exclude each other.
pub fn combination(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidParameterCombination", message)
}

/// An id, as the request gave it.
pub fn id<I: FromStr<Err = MalformedId>>(text: &str) -> Result<I, AwsError> {
    text.parse().map_err(|malformed| error::malformed_id(&malformed))
}

/// An id that the request may leave out.
pub fn optional_id<I: FromStr<Err = MalformedId>>(text: Option<&str>) -> Result<Option<I>, AwsError> {
    text.map(id).transpose()
}

/// A list of ids.
pub fn ids<I: FromStr<Err = MalformedId>>(texts: &[String]) -> Result<Vec<I>, AwsError> {
    texts.iter().map(|text| id(text)).collect()
}

/// An IPv4 block, in its canonical form: "if you specify 100.68.0.18/18, we modify it to 100.68.0.0/18".
pub fn ipv4_block(text: &str, parameter: &str) -> Result<Ipv4Net, AwsError> {
    let block: Result<Ipv4Net, _> = text.parse();
    block.map(|block| block.trunc()).map_err(|_| invalid(parameter, text, "This is not a valid CIDR block."))
}

/// A block of either family, in its canonical form.
pub fn block(text: &str, parameter: &str) -> Result<IpNet, AwsError> {
    let block: Result<IpNet, _> = text.parse();
    block.map(|block| block.trunc()).map_err(|_| invalid(parameter, text, "This is not a valid CIDR block."))
}

/// An IPv6 block, in its canonical form.
pub fn ipv6_block(text: &str, parameter: &str) -> Result<IpNet, AwsError> {
    match block(text, parameter)? {
        IpNet::V4(_) => Err(invalid(parameter, text, "This is not a valid IPv6 CIDR block.")),
        found @ IpNet::V6(_) => Ok(found),
    }
}

/// An IPv4 address.
pub fn address(text: &str, parameter: &str) -> Result<Ipv4Addr, AwsError> {
    text.parse().map_err(|_| invalid(parameter, text, "This is not a valid IPv4 address."))
}

/// A number within a type's range.
pub fn number<N: TryFrom<i64>>(value: i64, parameter: &str) -> Result<N, AwsError> {
    N::try_from(value).map_err(|_| invalid(parameter, value, "The number is out of range."))
}

/// Reads a text of `true` or `false`.
pub fn boolean(text: &str, parameter: &str) -> Result<bool, AwsError> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(parameter, text, "Expected one of: true, false.")),
    }
}

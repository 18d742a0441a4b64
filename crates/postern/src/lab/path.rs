//! Where in a JSON document something is: `RouteTables[0].Routes[GatewayId=vpce-1].State`.
//!
//! Names are separated by dots; `[N]` is a list's element; `[Name=value]` is the first element of a list whose member
//! `Name` (or `Name.Name`) has that value, written as a text.

use serde_json::Value;

use super::template::plain;

/// A place in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Index(usize),
    Where { members: Vec<String>, value: String },
}

/// Why a text is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no path (such as `Vpc.VpcId`, `Subnets[0].SubnetId` or `Routes[GatewayId=igw-1].State`)")]
pub(super) struct PathError(String);

impl Path {
    /// Reads a path.
    pub(super) fn parse(source: &str) -> Result<Self, PathError> {
        let bad = || PathError(source.to_owned());
        let mut steps = Vec::new();
        let mut rest = source;
        let mut after_dot = true;
        while !rest.is_empty() {
            if let Some(inside) = rest.strip_prefix('[') {
                let (inside, after) = inside.split_once(']').ok_or_else(bad)?;
                if after_dot && !steps.is_empty() {
                    return Err(bad());
                }
                steps.push(bracket(inside).ok_or_else(bad)?);
                rest = after;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if !after_dot || end == 0 || rest[..end].contains(']') {
                    return Err(bad());
                }
                steps.push(Step::Member(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            after_dot = false;
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                after_dot = true;
            }
        }
        if after_dot { Err(bad()) } else { Ok(Self(steps)) }
    }

    /// What is there. What is null is not there.
    pub(super) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        let found = self.0.iter().try_fold(document, |value, step| step.find(value))?;
        (!found.is_null()).then_some(found)
    }

    /// The last name in it.
    pub(super) fn last_member(&self) -> Option<&str> {
        self.0.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(name.as_str()),
            Step::Index(_) | Step::Where { .. } => None,
        })
    }
}

fn bracket(inside: &str) -> Option<Step> {
    match inside.split_once('=') {
        None => inside.parse().ok().map(Step::Index),
        Some((members, value)) => {
            let members: Vec<String> = members.split('.').map(str::to_owned).collect();
            let named = members.iter().all(|member| !member.is_empty());
            named.then(|| Step::Where { members, value: value.to_owned() })
        }
    }
}

impl Step {
    fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Member(name) => value.get(name),
            Self::Index(index) => value.get(index),
            Self::Where { members, value: wanted } => value.as_array()?.iter().find(|element| {
                let member = members.iter().try_fold(*element, |value, name| value.get(name));
                member.is_some_and(|member| plain(member) == *wanted)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str) -> Option<Value> {
        let document = json!({
            "Vpc": {"VpcId": "vpc-1", "None": null},
            "Routes": [
                {"DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local"},
                {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1", "State": "active"},
            ],
            "Instances": [{"State": {"Code": 80}}, {"State": {"Code": 16}, "Id": "i-2"}],
        });
        Path::parse(path).unwrap().find(&document).cloned()
    }

    #[test]
    fn finds_members_elements_and_the_first_that_matches() {
        assert_eq!(found("Vpc.VpcId"), Some(json!("vpc-1")));
        assert_eq!(found("Routes[1].State"), Some(json!("active")));
        assert_eq!(found("Routes[DestinationCidrBlock=10.0.0.0/16].GatewayId"), Some(json!("local")));
        assert_eq!(found("Instances[State.Code=16].Id"), Some(json!("i-2")));
        for nothing in
            ["Vpc.None", "Vpc.Other", "Routes[2]", "Routes[GatewayId=igw-1]", "Vpc[0]", "Routes.State"]
        {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn lists_can_be_the_document() {
        let path = Path::parse("[0][a=1].b").unwrap();
        assert_eq!(path.find(&json!([[{"a": 1, "b": 2}]])), Some(&json!(2)));
        assert_eq!(path.last_member(), Some("b"));
    }

    #[test]
    fn refuses_what_is_no_path() {
        for bad in ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[]", "a[=1]", "a[0]b", "a.[0]", "a]b"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }
}

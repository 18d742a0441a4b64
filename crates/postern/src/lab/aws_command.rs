//! API calls as the `aws` command that one would type.
//!
//! The names of commands and options follow botocore's rule for them, and the few places where the `aws` command
//! differs from the API (`--count`, raw user data) are kept.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::template::plain;

/// The command line of a call.
pub(super) fn command_line(service: &str, operation: &str, parameters: &Value) -> String {
    let mut words = vec!["aws".to_owned(), service.to_owned(), kebab(operation)];
    let parameters = parameters.as_object().cloned().unwrap_or_default();
    for (name, value) in &renamed(operation, parameters) {
        option(name, value, &mut words);
    }
    words.join(" ")
}

/// The parameters as the `aws` command calls them.
fn renamed(operation: &str, mut parameters: Map<String, Value>) -> Map<String, Value> {
    if operation == "RunInstances" {
        let (least, most) = (parameters.remove("MinCount"), parameters.remove("MaxCount"));
        let count = match (least, most) {
            (Some(least), Some(most)) if least != most => Some(format!("{least}:{most}").into()),
            (least, most) => most.or(least),
        };
        // One is what it makes anyway.
        if let Some(count) = count.filter(|count| count.as_u64() != Some(1)) {
            parameters.insert("Count".to_owned(), count);
        }
        if let Some(text) = parameters.get("UserData").and_then(decoded) {
            parameters.insert("UserData".to_owned(), text.into());
        }
    }
    parameters
}

fn decoded(value: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok()
}

fn option(name: &str, value: &Value, words: &mut Vec<String>) {
    let name = kebab(name);
    match value {
        Value::Bool(true) => words.push(format!("--{name}")),
        Value::Bool(false) => words.push(format!("--no-{name}")),
        Value::Array(list) if list.iter().all(is_scalar) => {
            words.push(format!("--{name}"));
            words.extend(list.iter().map(|element| quote(&plain(element))));
        }
        Value::String(_) | Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => {
            words.push(format!("--{name}"));
            words.push(quote(&plain(value)));
        }
    }
}

fn is_scalar(value: &Value) -> bool {
    match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// `VpcEndpointIds` as `vpc-endpoint-ids`: a hyphen before a capital that begins a word of small letters, and before
/// one that follows a small letter or a digit.
fn kebab(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let begins_word = letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let follows_word =
            at > 0 && (letters[at - 1].is_ascii_lowercase() || letters[at - 1].is_ascii_digit());
        if at > 0 && letter.is_ascii_uppercase() && (begins_word || follows_word) {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// A word as a shell takes it.
pub(super) fn quote(word: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_botocores() {
        for (name, expected) in [
            ("CreateVpc", "create-vpc"),
            ("DeleteVpcEndpoints", "delete-vpc-endpoints"),
            ("AssociateIamInstanceProfile", "associate-iam-instance-profile"),
            ("Ipv6CidrBlock", "ipv6-cidr-block"),
            ("DescribeDBInstances", "describe-db-instances"),
            ("CreateSAMLProvider", "create-saml-provider"),
        ] {
            assert_eq!(kebab(name), expected);
        }
    }

    #[test]
    fn calls_are_commands() {
        let line = |operation, parameters| command_line("ec2", operation, &parameters);
        assert_eq!(
            line("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})),
            "aws ec2 create-vpc --cidr-block 10.0.0.0/16"
        );
        assert_eq!(
            line("DescribeVpcs", json!({"VpcIds": ["vpc-1", "vpc-2"]})),
            "aws ec2 describe-vpcs --vpc-ids vpc-1 vpc-2"
        );
        assert_eq!(
            line("ModifyVpcAttribute", json!({"VpcId": "vpc-1", "EnableDnsSupport": {"Value": false}})),
            "aws ec2 modify-vpc-attribute --enable-dns-support '{\"Value\":false}' --vpc-id vpc-1"
        );
        assert_eq!(
            line("X", json!({"A": true, "B": false, "C": ["it's"]})),
            "aws ec2 x --a --no-b --c 'it'\\''s'"
        );
        let launch = json!({"MinCount": 1, "MaxCount": 1, "UserData": "IyEvYmluL3NoCg=="});
        assert_eq!(line("RunInstances", launch), "aws ec2 run-instances --user-data '#!/bin/sh\n'");
        assert_eq!(
            line("RunInstances", json!({"MinCount": 1, "MaxCount": 3})),
            "aws ec2 run-instances --count 1:3"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn quoted_words_reach_a_shell_as_they_are(word in "[^\0]{0,20}") {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(&word))])
                .output()
                .unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}

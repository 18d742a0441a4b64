//! The ARNs of tables and indexes: the engine's, which know one region and one account, and the right ones.

use dynoxide::streams::{LOCAL_ACCOUNT, LOCAL_REGION};
use postern_frontdoor::JsonError;
use postern_model::AccountId;
use serde_json::Value as Json;

use super::error::validation;

/// A table, by whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableRef {
    pub(super) account: AccountId,
    pub(super) name: String,
}

impl TableRef {
    /// Its ARN.
    pub(super) fn arn(&self, region: &str) -> String {
        format!("arn:aws:dynamodb:{region}:{}:table/{}", self.account, self.name)
    }

    /// The ARN of one of its indexes.
    pub(super) fn index_arn(&self, region: &str, index: &str) -> String {
        format!("{}/index/{index}", self.arn(region))
    }

    /// What a request means by a table's name or ARN, asked by `caller`.
    ///
    /// # Errors
    /// Where it begins as an ARN and is not one of a table of this region.
    pub(super) fn read(text: &str, caller: AccountId, region: &str) -> Result<Self, JsonError> {
        if !text.starts_with("arn:") {
            return Ok(Self { account: caller, name: text.to_owned() });
        }
        let invalid =
            || validation(format!("Invalid TableArn: Invalid ResourceArn provided as input {text}"));
        let rest = text.strip_prefix(&format!("arn:aws:dynamodb:{region}:")).ok_or_else(invalid)?;
        let (account, resource) = rest.split_once(':').ok_or_else(invalid)?;
        let name = resource.strip_prefix("table/").filter(|name| !name.contains('/')).ok_or_else(invalid)?;
        Ok(Self { account: account.parse().map_err(|_| invalid())?, name: name.to_owned() })
    }
}

/// Puts the right region and account into the ARNs of a description of tables. Only members that hold an ARN are
/// looked at.
pub(super) fn make_right(description: &mut Json, account: AccountId, region: &str) {
    match description {
        Json::Object(members) => {
            for (name, value) in members {
                match value {
                    Json::String(arn) if name.ends_with("Arn") => {
                        let wrong = format!("arn:aws:dynamodb:{LOCAL_REGION}:{LOCAL_ACCOUNT}:");
                        if let Some(resource) = arn.strip_prefix(&wrong) {
                            *arn = format!("arn:aws:dynamodb:{region}:{account}:{resource}");
                        }
                    }
                    other => make_right(other, account, region),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| make_right(item, account, region)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: &str = "eu-west-1";

    fn account(number: u64) -> AccountId {
        AccountId::from_number(number).unwrap()
    }

    fn read(text: &str) -> String {
        match TableRef::read(text, account(111_122_223_333), REGION) {
            Ok(table) => table.arn(REGION),
            Err(error) => error.message,
        }
    }

    #[test]
    fn tables_are_named_by_name_or_arn() {
        assert_eq!(read("music"), "arn:aws:dynamodb:eu-west-1:111122223333:table/music");
        let other = "arn:aws:dynamodb:eu-west-1:444455556666:table/music";
        assert_eq!(read(other), other);
        for wrong in [
            "arn:aws:dynamodb:us-east-1:111122223333:table/music",
            "arn:aws:dynamodb:eu-west-1:111122223333:table/music/index/by-year",
            "arn:aws:dynamodb:eu-west-1:1:table/music",
            "arn:aws:s3:::music",
            "arn:",
        ] {
            let expected = format!("Invalid TableArn: Invalid ResourceArn provided as input {wrong}");
            assert_eq!(read(wrong), expected);
        }
    }

    #[test]
    fn only_arns_are_made_right() {
        let mut description = serde_json::json!({
            "TableArn": "arn:aws:dynamodb:dynoxide:000000000000:table/t",
            "TableName": "arn:aws:dynamodb:dynoxide:000000000000:table/t",
            "Indexes": [{ "IndexArn": "arn:aws:dynamodb:dynoxide:000000000000:table/t/index/i" }],
        });
        make_right(&mut description, account(111_122_223_333), REGION);
        assert_eq!(
            description,
            serde_json::json!({
                "TableArn": "arn:aws:dynamodb:eu-west-1:111122223333:table/t",
                "TableName": "arn:aws:dynamodb:dynoxide:000000000000:table/t",
                "Indexes": [{ "IndexArn": "arn:aws:dynamodb:eu-west-1:111122223333:table/t/index/i" }],
            })
        );
    }
}

//! Tags: the names and values that people put on resources.
//!
//! Limits from "Tag your Amazon EC2 resources" in the EC2 user guide: 50 tags a resource, keys of 1 to 128
//! characters, values of at most 256, no key that starts with `aws:` in whatever case.

use std::collections::BTreeMap;

use crate::error::ModelError;

/// The tags of one resource, by key.
pub type Tags = BTreeMap<String, String>;
/// Tags as a request gives them.
pub type TagSet = Vec<(String, String)>;

const MAX_TAGS: usize = 50;
const MAX_KEY_CHARS: usize = 128;
const MAX_VALUE_CHARS: usize = 256;

/// Adds `new` to `tags`, later values replacing earlier ones.
pub fn put(tags: &mut Tags, new: &[(String, String)]) -> Result<(), ModelError> {
    for (key, value) in new {
        let chars = key.chars().count();
        let reserved = key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        if chars == 0 || chars > MAX_KEY_CHARS || reserved {
            return Err(ModelError::InvalidTagKey(key.clone()));
        }
        if value.chars().count() > MAX_VALUE_CHARS {
            return Err(ModelError::InvalidTagValue(value.clone()));
        }
        tags.insert(key.clone(), value.clone());
    }
    if tags.len() > MAX_TAGS { Err(ModelError::TooManyTags { limit: MAX_TAGS }) } else { Ok(()) }
}

/// The same on a user or a role, whose keys are the same in any case: "if you have tagged a user with the
/// `Department=finance` tag and you add the `department=hr` tag, it replaces the first tag" ("Tags for AWS Identity and
/// Access Management resources").
pub fn put_in_any_case(tags: &mut Tags, new: &[(String, String)]) -> Result<(), ModelError> {
    for (key, _) in new {
        tags.retain(|known, _| !known.eq_ignore_ascii_case(key));
    }
    put(tags, new)
}

/// Takes tags off a user or a role.
pub fn remove_in_any_case(tags: &mut Tags, keys: &[String]) {
    tags.retain(|known, _| !keys.iter().any(|key| key.eq_ignore_ascii_case(known)));
}

/// The tags of a new resource.
pub fn collect(new: &[(String, String)]) -> Result<Tags, ModelError> {
    let mut tags = Tags::new();
    put(&mut tags, new)?;
    Ok(tags)
}

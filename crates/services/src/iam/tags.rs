//! Tags, between the wire and the model.

use postern_model::{TagSet, Tags};
use postern_wire::AwsError;
use postern_wire::iam::Tag;

use super::error::invalid;

/// Tags of a request. A key may stand once.
pub(super) fn given(tags: Vec<Tag>) -> Result<TagSet, AwsError> {
    let mut set = TagSet::new();
    for Tag { key, value } in tags {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        if set.iter().any(|(other, _)| other.eq_ignore_ascii_case(&key)) {
            return Err(invalid("Duplicate tag keys found. Please note that Tag keys are case insensitive."));
        }
        set.push((key, value));
    }
    Ok(set)
}

/// Tags of an answer; none are left out.
pub(super) fn shown(tags: &Tags) -> Option<Vec<Tag>> {
    let all: Vec<Tag> = tags.iter().map(tag).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn tag((key, value): (&String, &String)) -> Tag {
    Tag { key: Some(key.clone()), value: Some(value.clone()) }
}

//! Tags, between the wire and the model, and the operations that put them on users, policies and instance profiles.

use postern_model::iam::{IamAction, Tagged};
use postern_model::{TagSet, Tags};
use postern_wire::AwsError;
use postern_wire::iam::*;

use super::error::{invalid, not_found};
use super::page::{Page, page};
use super::{Call, Outcome, required};

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

/// One page of the tags of a resource.
fn listed(tags: &Tags, marker: Option<&str>, max_items: Option<i64>) -> Outcome<Page<Tag>> {
    page(tags.iter().map(|entry| (entry.0.as_str(), tag(entry))), marker, max_items)
}

impl Call<'_> {
    async fn put_tags(&mut self, what: Tagged, tags: Vec<Tag>) -> Outcome<()> {
        self.execute(IamAction::Tag { what, tags: given(tags)? }).await
    }

    async fn remove_tags(&mut self, what: Tagged, keys: Vec<String>) -> Outcome<()> {
        self.execute(IamAction::Untag { what, keys }).await
    }

    pub(super) async fn tag_user(&mut self, request: TagUserRequest) -> Outcome<()> {
        let TagUserRequest { tags, user_name } = request;
        self.put_tags(Tagged::User(required(user_name, "UserName")?), tags).await
    }

    pub(super) async fn untag_user(&mut self, request: UntagUserRequest) -> Outcome<()> {
        let UntagUserRequest { tag_keys, user_name } = request;
        self.remove_tags(Tagged::User(required(user_name, "UserName")?), tag_keys).await
    }

    pub(super) fn list_user_tags(&self, request: ListUserTagsRequest) -> Outcome<ListUserTagsResponse> {
        let ListUserTagsRequest { marker, max_items, user_name } = request;
        let user = self.user(&required(user_name, "UserName")?)?;
        let page = listed(&user.tags, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListUserTagsResponse { is_truncated, marker, tags: Some(page.items) })
    }

    /// A policy of AWS's is nobody's to tag, and has no tags.
    pub(super) async fn tag_policy(&mut self, request: TagPolicyRequest) -> Outcome<()> {
        let TagPolicyRequest { policy_arn, tags } = request;
        self.put_tags(Tagged::Policy(required(policy_arn, "PolicyArn")?), tags).await
    }

    pub(super) async fn untag_policy(&mut self, request: UntagPolicyRequest) -> Outcome<()> {
        let UntagPolicyRequest { policy_arn, tag_keys } = request;
        self.remove_tags(Tagged::Policy(required(policy_arn, "PolicyArn")?), tag_keys).await
    }

    pub(super) fn list_policy_tags(&self, request: ListPolicyTagsRequest) -> Outcome<ListPolicyTagsResponse> {
        let ListPolicyTagsRequest { marker, max_items, policy_arn } = request;
        let arn = required(policy_arn, "PolicyArn")?;
        let policy = self.iam().policies.get(&arn).cloned().ok_or_else(|| not_found("policy", &arn))?;
        let page = listed(&policy.tags, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListPolicyTagsResponse { is_truncated, marker, tags: Some(page.items) })
    }

    pub(super) async fn tag_profile(&mut self, request: TagInstanceProfileRequest) -> Outcome<()> {
        let TagInstanceProfileRequest { instance_profile_name, tags } = request;
        let name = required(instance_profile_name, "InstanceProfileName")?;
        self.put_tags(Tagged::InstanceProfile(name), tags).await
    }

    pub(super) async fn untag_profile(&mut self, request: UntagInstanceProfileRequest) -> Outcome<()> {
        let UntagInstanceProfileRequest { instance_profile_name, tag_keys } = request;
        let name = required(instance_profile_name, "InstanceProfileName")?;
        self.remove_tags(Tagged::InstanceProfile(name), tag_keys).await
    }

    pub(super) fn list_profile_tags(
        &self,
        request: ListInstanceProfileTagsRequest,
    ) -> Outcome<ListInstanceProfileTagsResponse> {
        let ListInstanceProfileTagsRequest { instance_profile_name, marker, max_items } = request;
        let profile = self.profile(&required(instance_profile_name, "InstanceProfileName")?)?;
        let page = listed(&profile.tags, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListInstanceProfileTagsResponse { is_truncated, marker, tags: Some(page.items) })
    }
}

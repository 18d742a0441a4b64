//! Tags of load balancers, listeners and target groups.

use postern_model::elb::{Listener, LoadBalancer, TargetGroup};
use postern_model::{Action, ResourceId, TagSet, Tags};
use postern_wire::AwsError;
use postern_wire::elbv2::*;

use super::{Call, Outcome, arn, error, required};

/// How many resources one request may name ("AddTags", "DescribeTags": 20).
const MAX_RESOURCES: usize = 20;

/// Tags of a request. A key may stand once.
pub(super) fn given(tags: Vec<Tag>) -> Outcome<TagSet> {
    let mut set = TagSet::new();
    for Tag { key, value } in tags {
        let key = required(key, "Tag key")?;
        if set.iter().any(|(other, _)| *other == key) {
            let message = format!("Tag keys must be unique: '{key}' was given more than once");
            return Err(AwsError::new("DuplicateTagKeys", message));
        }
        set.push((key, value.unwrap_or_default()));
    }
    Ok(set)
}

fn shown(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

impl Call<'_> {
    fn tagged(&self, arns: &[String]) -> Outcome<Vec<ResourceId>> {
        if arns.is_empty() || arns.len() > MAX_RESOURCES {
            return Err(error::validation(format!("1 to {MAX_RESOURCES} resource ARNs must be specified")));
        }
        arns.iter().map(|text| arn::read_any(&self.state, self.account, text)).collect()
    }

    fn tags_of(&self, resource: ResourceId) -> Option<Tags> {
        let (state, account) = (&self.state, self.account);
        match resource {
            ResourceId::LoadBalancer(id) => Some(state.get::<LoadBalancer>(account, id).ok()?.tags.clone()),
            ResourceId::Listener(id) => Some(state.get::<Listener>(account, id).ok()?.tags.clone()),
            ResourceId::TargetGroup(id) => Some(state.get::<TargetGroup>(account, id).ok()?.tags.clone()),
            // No ARN names another kind.
            _ => None,
        }
    }

    pub(super) async fn add_tags(&mut self, request: AddTagsInput) -> Outcome<AddTagsOutput> {
        let AddTagsInput { resource_arns, tags } = request;
        let (resources, tags) = (self.tagged(&resource_arns)?, given(tags)?);
        self.execute_any(Action::CreateTags { resources, tags }).await?;
        Ok(AddTagsOutput {})
    }

    pub(super) async fn remove_tags(&mut self, request: RemoveTagsInput) -> Outcome<RemoveTagsOutput> {
        let RemoveTagsInput { resource_arns, tag_keys } = request;
        let resources = self.tagged(&resource_arns)?;
        let tags = tag_keys.into_iter().map(|key| (key, None)).collect();
        self.execute_any(Action::DeleteTags { resources, tags }).await?;
        Ok(RemoveTagsOutput {})
    }

    pub(super) fn describe_tags(&self, request: DescribeTagsInput) -> Outcome<DescribeTagsOutput> {
        let DescribeTagsInput { resource_arns } = request;
        let resources = self.tagged(&resource_arns)?;
        let described = resource_arns.into_iter().zip(resources).map(|(arn, resource)| TagDescription {
            resource_arn: Some(arn),
            tags: self.tags_of(resource).map(|tags| shown(&tags)),
        });
        Ok(DescribeTagsOutput { tag_descriptions: Some(described.collect()) })
    }
}

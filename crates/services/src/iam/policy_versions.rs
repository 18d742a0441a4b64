//! The versions of managed policies. AWS's own policies have one each here.

use postern_model::iam::{IamAction, ManagedPolicy};
use postern_policy::{Kind, SizeQuota};
use postern_wire::AwsError;
use postern_wire::iam::*;

use super::error::{limit_exceeded, no_such};
use super::page::page;
use super::policies::Found;
use super::{Call, Outcome, document, required, shape};

/// `v3`.
fn text(version: u32) -> String {
    format!("v{version}")
}

fn unknown(arn: &str, version: &str) -> AwsError {
    no_such(format!("Policy {arn} version {version} does not exist or is not attachable."))
}

/// The versions of a policy of the account's own, the newest first; lists leave their texts out.
fn versions(policy: &ManagedPolicy, detailed: bool) -> Vec<(u32, PolicyVersion)> {
    let own = &policy.versions;
    let document = |text: &String| if detailed { Some(text.clone()) } else { None };
    let shown = |number: u32, at, says: &String| {
        let made_at = shape::time(at);
        (number, shape::version(&text(number), number == own.default, made_at, document(says).as_deref()))
    };
    let mut all: Vec<_> =
        own.others.iter().map(|(number, other)| shown(*number, other.created_at, &other.document)).collect();
    all.push(shown(own.default, policy.default_version_created_at(), &policy.document));
    all.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    all
}

impl Call<'_> {
    pub(super) fn get_policy_version(
        &self,
        request: GetPolicyVersionRequest,
    ) -> Outcome<GetPolicyVersionResponse> {
        let GetPolicyVersionRequest { policy_arn, version_id } = request;
        let (arn, wanted) = (required(policy_arn, "PolicyArn")?, required(version_id, "VersionId")?);
        let found = match &self.policy(&arn)? {
            Found::Own(policy) => {
                let mut all = versions(policy, true).into_iter();
                all.find(|(number, _)| text(*number) == wanted).map(|(_, version)| version)
            }
            Found::Aws(policy) => (wanted == shape::FIRST_VERSION)
                .then(|| shape::version(shape::FIRST_VERSION, true, None, Some(policy.document))),
        };
        let version = found.ok_or_else(|| unknown(&arn, &wanted))?;
        Ok(GetPolicyVersionResponse { policy_version: Some(version) })
    }

    pub(super) fn list_policy_versions(
        &self,
        request: ListPolicyVersionsRequest,
    ) -> Outcome<ListPolicyVersionsResponse> {
        let ListPolicyVersionsRequest { marker, max_items, policy_arn } = request;
        let all = match &self.policy(&required(policy_arn, "PolicyArn")?)? {
            Found::Own(policy) => versions(policy, false),
            Found::Aws(_) => vec![(1, shape::version(shape::FIRST_VERSION, true, None, None))],
        };
        // Pages go by names in order: what is newest comes first under the number that is left.
        let named: Vec<_> = all
            .into_iter()
            .map(|(number, version)| (format!("{:010}", u32::MAX - number), version))
            .collect();
        let entries = named.iter().map(|(name, version)| (name.as_str(), version.clone()));
        let page = page(entries, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListPolicyVersionsResponse { is_truncated, marker, versions: Some(page.items) })
    }

    pub(super) async fn create_policy_version(
        &mut self,
        request: CreatePolicyVersionRequest,
    ) -> Outcome<CreatePolicyVersionResponse> {
        let CreatePolicyVersionRequest { policy_arn, policy_document, set_as_default } = request;
        let arn = self.own_policy(policy_arn)?;
        let says = required(policy_document, "PolicyDocument")?;
        if !document::check(&says, Kind::Identity)?.fits(SizeQuota::Managed) {
            let quota = SizeQuota::Managed.characters();
            return Err(limit_exceeded(format!("Cannot exceed quota for PolicySize: {quota}")));
        }
        let set_default = set_as_default.unwrap_or(false);
        let create = IamAction::CreatePolicyVersion { arn: arn.clone(), document: says, set_default };
        self.execute(create).await?;
        let made = match &self.policy(&arn)? {
            Found::Own(policy) => versions(policy, false).into_iter().next(),
            Found::Aws(_) => None,
        };
        Ok(CreatePolicyVersionResponse { policy_version: made.map(|(_, version)| version) })
    }

    pub(super) async fn delete_policy_version(&mut self, request: DeletePolicyVersionRequest) -> Outcome<()> {
        let DeletePolicyVersionRequest { policy_arn, version_id } = request;
        let (arn, version) = self.own_version(policy_arn, version_id)?;
        self.execute(IamAction::DeletePolicyVersion { arn, version }).await
    }

    pub(super) async fn set_default_policy_version(
        &mut self,
        request: SetDefaultPolicyVersionRequest,
    ) -> Outcome<()> {
        let SetDefaultPolicyVersionRequest { policy_arn, version_id } = request;
        let (arn, version) = self.own_version(policy_arn, version_id)?;
        self.execute(IamAction::SetDefaultPolicyVersion { arn, version }).await
    }

    fn own_policy(&self, arn: Option<String>) -> Outcome<String> {
        let arn = required(arn, "PolicyArn")?;
        match self.policy(&arn)? {
            Found::Own(_) => Ok(arn),
            Found::Aws(_) => {
                let message = "You are not allowed to change a policy that AWS manages.";
                Err(AwsError::new("AccessDenied", message).with_status(403))
            }
        }
    }

    fn own_version(&self, arn: Option<String>, version: Option<String>) -> Outcome<(String, u32)> {
        let arn = self.own_policy(arn)?;
        let wanted = required(version, "VersionId")?;
        let number = wanted.strip_prefix('v').and_then(|number| number.parse().ok());
        number.map(|number| (arn.clone(), number)).ok_or_else(|| unknown(&arn, &wanted))
    }
}

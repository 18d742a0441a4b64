//! An organization as policies see it: a tree of a root, units and accounts, with policies attached at each.
//!
//! <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps_evaluation.html>
//! INVARIANT: every node but the root has a parent that is there, so the way up always ends at the root.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::arn::AccountId;
use crate::document::{Kind, PolicyDocument};
use crate::error::ParseError;
use crate::principal::Principal;
use crate::request::Request;
use crate::set::{Level, NamedPolicy, PolicySet, PolicyType, WrongKind};

/// The policy that AWS attaches everywhere when service control policies are switched on.
pub const FULL_AWS_ACCESS: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;

/// The ARN of [`FULL_AWS_ACCESS`].
pub const FULL_AWS_ACCESS_ARN: &str =
    "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess";

/// Units may be nested so deep under the root.
///
/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html>
const DEEPEST_UNIT: usize = 5;

/// A tree of accounts and the policies over them.
#[derive(Debug, Clone)]
pub struct Organization {
    id: Arc<str>,
    root: Arc<str>,
    management: AccountId,
    nodes: BTreeMap<Arc<str>, Node>,
    /// [`FULL_AWS_ACCESS`], where service control policies are switched on.
    full_access: Option<NamedPolicy>,
}

#[derive(Debug, Clone)]
struct Node {
    parent: Option<Arc<str>>,
    is_account: bool,
    service_control: Vec<NamedPolicy>,
    resource_control: Vec<NamedPolicy>,
}

/// Why an organization does not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrganizationError {
    /// There is no such root, unit or account.
    #[error("there is no `{0}` in the organization")]
    NotFound(String),
    /// The id is taken.
    #[error("there is a `{0}` in the organization already")]
    Taken(String),
    /// Nothing stands under an account.
    #[error("`{0}` is an account, under which nothing can stand")]
    NotAParent(String),
    /// Too many units inside each other.
    #[error("`{0}` would stand deeper than {DEEPEST_UNIT} units under the root")]
    TooDeep(String),
    /// A document that organizations do not attach.
    #[error(transparent)]
    WrongKind(#[from] WrongKind),
    /// No such policy is attached there.
    #[error("policy `{policy}` is not attached to `{target}`")]
    NotAttached {
        /// The policy.
        policy: String,
        /// Where it was looked for.
        target: String,
    },
    /// AWS's own policy does not parse.
    #[error(transparent)]
    Document(#[from] ParseError),
}

impl Organization {
    /// An organization (`o-…`) with its root (`r-…`) and the management account under it; policies are off.
    #[must_use]
    pub fn new(id: &str, root: &str, management: AccountId) -> Self {
        let root: Arc<str> = Arc::from(root);
        let account: Arc<str> = Arc::from(management.as_str());
        let node = |parent, is_account| Node {
            parent,
            is_account,
            service_control: Vec::new(),
            resource_control: Vec::new(),
        };
        let nodes = BTreeMap::from([
            (Arc::clone(&root), node(None, false)),
            (account, node(Some(Arc::clone(&root)), true)),
        ]);
        Self { id: Arc::from(id), root, management, nodes, full_access: None }
    }

    /// Adds a unit (`ou-…`) under the root or another unit.
    ///
    /// # Errors
    /// When the id is taken, or there is no such parent, or the parent is too deep.
    pub fn add_unit(&mut self, id: &str, parent: &str) -> Result<(), OrganizationError> {
        // The root and the units above the new one.
        if self.line(parent)?.len() > DEEPEST_UNIT {
            return Err(OrganizationError::TooDeep(id.to_owned()));
        }
        self.add(id, parent, false)
    }

    /// Adds an account under the root or a unit.
    ///
    /// # Errors
    /// When it is there already, or there is no such parent.
    pub fn add_account(&mut self, account: &AccountId, parent: &str) -> Result<(), OrganizationError> {
        self.add(account.as_str(), parent, true)
    }

    /// Switches service control policies on: AWS's full access is then attached everywhere, also to what is added.
    ///
    /// # Errors
    /// None that is expected: AWS's own policy is valid.
    pub fn enable_service_control(&mut self) -> Result<(), OrganizationError> {
        let document = PolicyDocument::parse(FULL_AWS_ACCESS, Kind::ServiceControl)?;
        let full_access = NamedPolicy::new(FULL_AWS_ACCESS_ARN, document);
        for node in self.nodes.values_mut() {
            node.service_control.push(full_access.clone());
        }
        self.full_access = Some(full_access);
        Ok(())
    }

    /// Attaches a service or resource control policy to the root, a unit or an account.
    ///
    /// # Errors
    /// When there is no such target, or the document is of another kind.
    pub fn attach(&mut self, target: &str, policy: NamedPolicy) -> Result<(), OrganizationError> {
        let node =
            self.nodes.get_mut(target).ok_or_else(|| OrganizationError::NotFound(target.to_owned()))?;
        match policy.document.kind() {
            Kind::ServiceControl => node.service_control.push(policy),
            Kind::ResourceControl => node.resource_control.push(policy),
            kind @ (Kind::Identity
            | Kind::Resource
            | Kind::Trust
            | Kind::Endpoint { .. }
            | Kind::Boundary
            | Kind::Session) => {
                let place = PolicyType::ServiceControl;
                return Err(WrongKind { name: policy.name.to_string(), kind, place }.into());
            }
        }
        Ok(())
    }

    /// Takes a policy away from where it is attached; [`FULL_AWS_ACCESS_ARN`] too.
    ///
    /// # Errors
    /// When there is no such target, or the policy is not attached to it.
    pub fn detach(&mut self, target: &str, policy: &str) -> Result<(), OrganizationError> {
        let node =
            self.nodes.get_mut(target).ok_or_else(|| OrganizationError::NotFound(target.to_owned()))?;
        let count = |node: &Node| node.service_control.len() + node.resource_control.len();
        let before = count(node);
        node.service_control.retain(|attached| &*attached.name != policy);
        node.resource_control.retain(|attached| &*attached.name != policy);
        if count(node) == before {
            return Err(OrganizationError::NotAttached {
                policy: policy.to_owned(),
                target: target.to_owned(),
            });
        }
        Ok(())
    }

    /// The organization's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// An account's path as in `aws:PrincipalOrgPaths`: `o-…/r-…/ou-…/`. None for an account that is not a member.
    #[must_use]
    pub fn path(&self, account: &str) -> Option<String> {
        let line = self.line(account).ok().filter(|_| self.is_member(account))?;
        let above = line.iter().rev().skip(1).rev();
        Some(above.fold(format!("{}/", self.id), |path, id| format!("{path}{id}/")))
    }

    /// Puts the policies over both sides of a request into a set: service control policies over the caller's account,
    /// resource control policies over the resource's, for the services that AWS lists. Neither binds the management account,
    /// and neither binds a service-linked role.
    ///
    /// # Errors
    /// None that is expected: only policies of the right kind are attached.
    pub fn apply(&self, policies: &mut PolicySet, request: &Request) -> Result<(), OrganizationError> {
        if is_service_linked(&request.principal) {
            return Ok(());
        }
        let caller = request.principal.account();
        if let Some(account) = caller.filter(|account| self.full_access.is_some() && self.is_bound(account)) {
            for level in self.levels(account, |node| &node.service_control)? {
                policies.add_service_control_level(level)?;
            }
        }
        let owner = request.resource_account.as_ref().map(AccountId::as_str).or(caller);
        let bound =
            |account: &&str| self.is_bound(account) && is_resource_controlled(request.action.as_str());
        if let Some(account) = owner.filter(bound) {
            for level in self.levels(account, |node| &node.resource_control)? {
                policies.add_resource_control_level(level)?;
            }
        }
        Ok(())
    }

    /// Sets the condition keys that follow from the organization: `aws:PrincipalOrgID`, `aws:PrincipalOrgPaths`,
    /// `aws:ResourceOrgID` and `aws:ResourceOrgPaths`, and takes away what the context says of them.
    pub fn set_keys(&self, request: &mut Request) {
        let caller = request.principal.account().map(str::to_owned);
        let owner = request.resource_account.as_ref().map(ToString::to_string).or_else(|| caller.clone());
        for (account, id_key, paths_key) in [
            (caller, "aws:PrincipalOrgID", "aws:PrincipalOrgPaths"),
            (owner, "aws:ResourceOrgID", "aws:ResourceOrgPaths"),
        ] {
            request.context.remove(id_key);
            request.context.remove(paths_key);
            if let Some(path) = account.and_then(|account| self.path(&account)) {
                request.context.insert(id_key, &*self.id);
                request.context.insert_many(paths_key, [path]);
            }
        }
    }

    fn add(&mut self, id: &str, parent: &str, is_account: bool) -> Result<(), OrganizationError> {
        let (parent, above) =
            self.nodes.get_key_value(parent).ok_or_else(|| OrganizationError::NotFound(parent.to_owned()))?;
        if above.is_account {
            return Err(OrganizationError::NotAParent(parent.to_string()));
        }
        if self.nodes.contains_key(id) {
            return Err(OrganizationError::Taken(id.to_owned()));
        }
        let node = Node {
            parent: Some(Arc::clone(parent)),
            is_account,
            service_control: self.full_access.iter().cloned().collect(),
            resource_control: Vec::new(),
        };
        self.nodes.insert(Arc::from(id), node);
        Ok(())
    }

    fn is_member(&self, account: &str) -> bool {
        self.nodes.get(account).is_some_and(|node| node.is_account)
    }

    fn is_bound(&self, account: &str) -> bool {
        self.is_member(account) && account != self.management.as_str()
    }

    /// The ids from the root down to a node.
    fn line(&self, id: &str) -> Result<Vec<Arc<str>>, OrganizationError> {
        let mut line = Vec::new();
        let mut next: Option<Arc<str>> = Some(Arc::from(id));
        while let Some(id) = next.take() {
            let node = self.nodes.get(&id).ok_or_else(|| OrganizationError::NotFound(id.to_string()))?;
            next.clone_from(&node.parent);
            line.push(id);
        }
        line.reverse();
        debug_assert_eq!(line.first(), Some(&self.root));
        Ok(line)
    }

    fn levels(
        &self,
        account: &str,
        policies: impl Fn(&Node) -> &Vec<NamedPolicy>,
    ) -> Result<Vec<Level>, OrganizationError> {
        let line = self.line(account)?;
        let level =
            |id: &Arc<str>| self.nodes.get(id).map(|node| Level::new(Arc::clone(id), policies(node).clone()));
        Ok(line.iter().filter_map(level).collect())
    }
}

/// The services whose resources are bound by resource control policies, by their prefixes in policies.
///
/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps.html>, "List of AWS services that
/// support RCPs"
const RESOURCE_CONTROLLED: [&str; 62] = [
    "aoss",
    "appconfig",
    "appstream",
    "autoscaling",
    "autoscaling-plans",
    "budgets",
    "clouddirectory",
    "cloudfront",
    "cloudsearch",
    "cloudtrail-data",
    "codeartifact",
    "codebuild",
    "codecommit",
    "codepipeline",
    "cognito-identity",
    "cognito-idp",
    "comprehend",
    "comprehendmedical",
    "compute-optimizer",
    "cost-optimization-hub",
    "dax",
    "dsql",
    "dynamodb",
    "ecr",
    "ecr-public",
    "events",
    "firehose",
    "fis",
    "fms",
    "gamelift",
    "health",
    "inspector-scan",
    "kendra",
    "kinesisvideo",
    "kms",
    "logs",
    "memorydb",
    "networkmonitor",
    "notifications",
    "opensearch",
    "pca-connector-ad",
    "personalize",
    "polly",
    "pricing",
    "resource-groups",
    "rolesanywhere",
    "s3",
    "secretsmanager",
    "servicediscovery",
    "signin",
    "sqs",
    "sts",
    "support",
    "swf",
    "textract",
    "timestream-influxdb",
    "transcribe",
    "transfer",
    "translate",
    "wafv2",
    "workspaces",
    "xray",
];
/// Whether resource control policies bind an action: "RCPs do not impact the `kms:RetireGrant` permission" ("Resources and
/// entities not restricted by RCPs").
fn is_resource_controlled(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    let prefix = action.split(':').next().unwrap_or_default();
    is_reached_by_resource_control(prefix) && action != "kms:retiregrant"
}

/// Whether resource control policies reach a service, by its prefix in small letters.
pub(crate) fn is_reached_by_resource_control(service: &str) -> bool {
    RESOURCE_CONTROLLED.contains(&service)
}

/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html>, "Tasks and entities not
/// restricted by SCPs".
fn is_service_linked(principal: &Principal) -> bool {
    match principal {
        Principal::AssumedRole { role_arn, .. } => role_arn.resource().starts_with("role/aws-service-role/"),
        Principal::Anonymous
        | Principal::Root { .. }
        | Principal::User { .. }
        | Principal::FederatedUser { .. }
        | Principal::Federated { .. }
        | Principal::Service { .. } => false,
    }
}

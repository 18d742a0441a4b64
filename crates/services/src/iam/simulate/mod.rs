//! The policy simulator: what policies say of requests that nobody makes.
//!
//! "SimulateCustomPolicy" and "SimulatePrincipalPolicy" in the IAM API reference. The region's own evaluator answers.
//! INVARIANT: nothing is read but what the request gives and the policies of the principal that it names; policies of
//! resources and of endpoints are not looked up, as on AWS.

mod exclude;
mod given;

use std::collections::BTreeSet;

use postern_model::iam::{Iam, IdentityPolicies};
use postern_model::organization::ControlKind;
use postern_policy::{
    Action, Evaluation, FULL_AWS_ACCESS, Finding, Kind, Level, NamedPolicy, PolicyDocument, PolicySet,
    PolicyType, Reason, evaluate,
};
use postern_wire::iam::*;

use self::given::Scene;
use super::error::{invalid, no_such, unsupported};
use super::page::page;
use super::{Call, Outcome, required};
use crate::directory::{group_arn, managed, role_arn, user_arn};
use crate::organizations::shape::policy_arn;

/// A policy that takes part, and what results call it.
struct Source {
    id: String,
    /// One of `PolicySourceType`.
    source_type: &'static str,
    document: PolicyDocument,
}

/// What policies are simulated.
#[derive(Default)]
struct Sources {
    all: Vec<Source>,
    identity: Vec<usize>,
    boundary: Option<usize>,
    resource: Option<usize>,
    service_control: Vec<Vec<usize>>,
}

/// What both operations take.
struct Asked {
    action_names: Vec<String>,
    resource_arns: Vec<String>,
    resource_handling_option: Option<String>,
    marker: Option<String>,
    max_items: Option<i64>,
}

impl Call<'_> {
    pub(super) fn simulate_custom_policy(
        &self,
        request: SimulateCustomPolicyRequest,
    ) -> Outcome<SimulatePolicyResponse> {
        let SimulateCustomPolicyRequest {
            action_names,
            caller_arn,
            context_entries,
            marker,
            max_items,
            ordered_organization_policy_input_list,
            permissions_boundary_policy_input_list,
            policy_input_list,
            resource_arns,
            resource_handling_option,
            resource_owner,
            resource_policy,
        } = request;
        let mut sources = Sources::default();
        sources.add_inputs(&policy_input_list)?;
        sources.set_boundary(&permissions_boundary_policy_input_list)?;
        sources.set_resource(resource_policy.as_deref())?;
        sources.add_levels(&ordered_organization_policy_input_list)?;
        if sources.resource.is_some() && caller_arn.is_none() {
            return Err(invalid("CallerArn is required with ResourcePolicy."));
        }
        let scene = Scene::new(self, caller_arn.as_deref(), resource_owner.as_deref(), &context_entries)?;
        let asked = Asked { action_names, resource_arns, resource_handling_option, marker, max_items };
        simulate(&sources, &scene, &asked)
    }

    pub(super) fn simulate_principal_policy(
        &self,
        request: SimulatePrincipalPolicyRequest,
    ) -> Outcome<SimulatePolicyResponse> {
        let SimulatePrincipalPolicyRequest {
            action_names,
            caller_arn,
            context_entries,
            marker,
            max_items,
            permissions_boundary_policy_input_list,
            policy_exclusion_list,
            policy_input_list,
            policy_source_arn,
            resource_arns,
            resource_handling_option,
            resource_owner,
            resource_policy,
        } = request;
        let source_arn = required(policy_source_arn, "PolicySourceArn")?;
        let mut sources = Sources::default();
        let exclusions = exclude::read(policy_exclusion_list)?;
        sources.add_principal(self, &source_arn, &exclusions)?;
        sources.add_inputs(&policy_input_list)?;
        sources.set_boundary(&permissions_boundary_policy_input_list)?;
        sources.set_resource(resource_policy.as_deref())?;
        let caller = caller_arn.unwrap_or(source_arn);
        let scene = Scene::new(self, Some(&caller), resource_owner.as_deref(), &context_entries)?;
        let asked = Asked { action_names, resource_arns, resource_handling_option, marker, max_items };
        simulate(&sources, &scene, &asked)
    }

    pub(super) fn context_keys_for_custom_policy(
        &self,
        request: GetContextKeysForCustomPolicyRequest,
    ) -> Outcome<GetContextKeysForPolicyResponse> {
        let GetContextKeysForCustomPolicyRequest { policy_input_list } = request;
        let mut sources = Sources::default();
        sources.add_inputs(&policy_input_list)?;
        Ok(GetContextKeysForPolicyResponse { context_key_names: Some(sources.condition_keys()) })
    }

    pub(super) fn context_keys_for_principal_policy(
        &self,
        request: GetContextKeysForPrincipalPolicyRequest,
    ) -> Outcome<GetContextKeysForPolicyResponse> {
        let GetContextKeysForPrincipalPolicyRequest { policy_input_list, policy_source_arn } = request;
        let mut sources = Sources::default();
        sources.add_principal(self, &required(policy_source_arn, "PolicySourceArn")?, &[])?;
        sources.add_inputs(&policy_input_list)?;
        Ok(GetContextKeysForPolicyResponse { context_key_names: Some(sources.condition_keys()) })
    }
}

impl Sources {
    fn add(&mut self, id: String, source_type: &'static str, kind: Kind, text: &str) -> Outcome<usize> {
        let document = PolicyDocument::parse(text, kind)
            .map_err(|error| invalid(format!("Invalid policy {id}: {error}.")))?;
        self.all.push(Source { id, source_type, document });
        Ok(self.all.len() - 1)
    }

    /// Numbered as AWS's answers number them.
    fn add_list(&mut self, list: &str, kind: Kind, texts: &[String]) -> Outcome<Vec<usize>> {
        let numbered = (1..).zip(texts);
        numbered.map(|(number, text)| self.add(format!("{list}.{number}"), "none", kind, text)).collect()
    }

    fn add_inputs(&mut self, texts: &[String]) -> Outcome<()> {
        let added = self.add_list("PolicyInputList", Kind::Identity, texts)?;
        self.identity.extend(added);
        Ok(())
    }

    fn set_boundary(&mut self, texts: &[String]) -> Outcome<()> {
        if texts.len() > 1 {
            return Err(invalid("PermissionsBoundaryPolicyInputList can have one policy only."));
        }
        let added = self.add_list("PermissionsBoundaryPolicyInputList", Kind::Boundary, texts)?;
        // One that is given takes the place of the principal's own ("SimulatePrincipalPolicy").
        self.boundary = added.first().copied().or(self.boundary);
        Ok(())
    }

    fn set_resource(&mut self, text: Option<&str>) -> Outcome<()> {
        let added = text.map(|text| self.add("ResourcePolicy".to_owned(), "resource", Kind::Resource, text));
        self.resource = added.transpose()?;
        Ok(())
    }

    /// From the organization's root down.
    fn add_levels(&mut self, levels: &[OrderedOrganizationPolicyType]) -> Outcome<()> {
        for (number, level) in (1..).zip(levels) {
            let list = format!("OrderedOrganizationPolicyInputList.{number}.ServiceControlPolicyInputList");
            let texts = &level.service_control_policy_input_list;
            let added = self.add_list(&list, Kind::ServiceControl, texts)?;
            self.service_control.push(added);
        }
        Ok(())
    }

    /// The policies of a user with those of its groups, of a group, or of a role; and its boundary.
    fn add_principal(
        &mut self,
        call: &Call<'_>,
        arn: &str,
        exclusions: &[exclude::Exclusion],
    ) -> Outcome<()> {
        let iam = call.iam();
        let user = iam.users.values().find(|user| user_arn(call.account, user) == arn);
        let group = iam.groups.values().find(|group| group_arn(call.account, group) == arn);
        let role = iam.roles.values().find(|role| role_arn(call.account, role) == arn);
        let boundary = match (user, group, role) {
            (Some(user), _, _) => {
                self.add_attached(&iam, "user", &user.name, &user.policies, exclusions)?;
                for group in user.groups.iter().filter_map(|name| iam.groups.get(name)) {
                    self.add_attached(&iam, "group", &group.name, &group.policies, exclusions)?;
                }
                user.permissions_boundary.as_deref()
            }
            (None, Some(group), _) => {
                self.add_attached(&iam, "group", &group.name, &group.policies, exclusions)?;
                None
            }
            (None, None, Some(role)) => {
                self.add_attached(&iam, "role", &role.name, &role.policies, exclusions)?;
                role.permissions_boundary.as_deref()
            }
            (None, None, None) => return Err(no_such(format!("The principal {arn} cannot be found."))),
        };
        self.add_organization(call, exclusions)?;
        if let Some(arn) = boundary.filter(|arn| !exclusions.iter().any(|one| one.is_boundary(arn))) {
            self.boundary = Some(self.add_managed(&iam, arn, Kind::Boundary)?);
        }
        Ok(())
    }

    /// The service control policies over the account, from the root down, unless it manages its organization.
    fn add_organization(&mut self, call: &Call<'_>, exclusions: &[exclude::Exclusion]) -> Outcome<()> {
        let bound = call.state.organization_of(call.account).filter(|organization| {
            organization.management != call.account && organization.enabled.contains(&ControlKind::Service)
        });
        let Some(organization) = bound else { return Ok(()) };
        for node in organization.line(&call.account.to_string()) {
            let mut level = Vec::new();
            for id in organization.attached(&node, ControlKind::Service) {
                let arn = policy_arn(organization, ControlKind::Service, id);
                let own = organization.policies.get(id).map(|policy| policy.document.as_str());
                if !exclusions.iter().any(|one| one.is_service_control(&arn)) {
                    let text = own.unwrap_or(FULL_AWS_ACCESS);
                    level.push(self.add(id.to_owned(), "none", Kind::ServiceControl, text)?);
                }
            }
            self.service_control.push(level);
        }
        Ok(())
    }

    /// What is attached to one of them.
    fn add_attached(
        &mut self,
        iam: &Iam,
        kind: &'static str,
        name: &str,
        policies: &IdentityPolicies,
        exclusions: &[exclude::Exclusion],
    ) -> Outcome<()> {
        for (policy, text) in &policies.inline {
            if !exclusions.iter().any(|one| one.is_inline(kind, name, policy)) {
                let added = self.add(policy.clone(), kind, Kind::Identity, text)?;
                self.identity.push(added);
            }
        }
        for policy in &policies.attached {
            if exclusions.iter().any(|one| one.is_managed(policy)) {
                continue;
            }
            let added = self.add_managed(iam, policy, Kind::Identity)?;
            self.identity.push(added);
        }
        Ok(())
    }

    fn add_managed(&mut self, iam: &Iam, policy: &str, kind: Kind) -> Outcome<usize> {
        let own = iam.policies.get(policy).map(|own| ("user-managed", own.document.as_str()));
        let found = own.or_else(|| managed::find(policy).map(|aws| ("aws-managed", aws.document)));
        let (source_type, text) = found.ok_or_else(|| no_such(format!("Policy {policy} was not found.")))?;
        let id = policy.rsplit('/').next().unwrap_or(policy).to_owned();
        self.add(id, source_type, kind, text)
    }

    /// Those of an organization left out, as in `MissingContextValues`.
    fn condition_keys(&self) -> Vec<String> {
        let organization: BTreeSet<usize> = self.service_control.iter().flatten().copied().collect();
        let shown = (0..).zip(&self.all).filter(|(index, _)| !organization.contains(index));
        let keys: BTreeSet<String> = shown.flat_map(|(_, source)| source.document.condition_keys()).collect();
        keys.into_iter().collect()
    }

    /// Policies are named by their numbers, by which results find them again.
    fn named(&self, index: usize) -> Outcome<NamedPolicy> {
        let source = self.all.get(index).ok_or_else(|| invalid("A policy is missing."))?;
        Ok(NamedPolicy::new(index.to_string(), source.document.clone()))
    }

    fn policy_set(&self) -> Outcome<PolicySet> {
        let misplaced = |error: postern_policy::WrongKind| invalid(format!("{error}."));
        let mut set = PolicySet::new();
        for index in &self.identity {
            set.add_identity(self.named(*index)?).map_err(misplaced)?;
        }
        if let Some(index) = self.boundary {
            set.set_boundary(self.named(index)?).map_err(misplaced)?;
        }
        if let Some(index) = self.resource {
            set.set_resource(self.named(index)?).map_err(misplaced)?;
        }
        for (number, level) in (1..).zip(&self.service_control) {
            let policies = level.iter().map(|index| self.named(*index)).collect::<Outcome<_>>()?;
            set.add_service_control_level(Level::new(format!("level {number}"), policies))
                .map_err(misplaced)?;
        }
        Ok(set)
    }

    /// A statement that decided, as results show it.
    fn statement(&self, reason: &Reason) -> Option<Statement> {
        let source = self.all.get(reason.policy.as_ref()?.parse::<usize>().ok()?)?;
        let (start, end) = source.document.statement_places(reason.statement?)?;
        let position = |place: postern_policy::Place| Position {
            column: Some(i64::from(place.column)),
            line: Some(i64::from(place.line)),
        };
        Some(Statement {
            end_position: Some(position(end)),
            source_policy_id: Some(source.id.clone()),
            source_policy_type: Some(source.source_type.to_owned()),
            start_position: Some(position(start)),
        })
    }
}

/// One action on one resource.
struct Simulated {
    resource: String,
    evaluation: Evaluation,
    is_cross_account: bool,
}

fn simulate(sources: &Sources, scene: &Scene, asked: &Asked) -> Outcome<SimulatePolicyResponse> {
    if asked.resource_handling_option.is_some() {
        return Err(unsupported("ResourceHandlingOption"));
    }
    let set = sources.policy_set()?;
    let missing: Vec<String> =
        sources.condition_keys().into_iter().filter(|key| scene.context().get(key).is_empty()).collect();
    let numbers: Vec<String> = (0..asked.action_names.len()).map(|number| format!("{number:08}")).collect();
    let numbered = numbers.iter().map(String::as_str).zip(&asked.action_names);
    let chosen = page(numbered, asked.marker.as_deref(), asked.max_items)?;
    let mut results = Vec::new();
    for name in chosen.items {
        let action = Action::parse(name).map_err(|_| invalid(format!("Invalid action {name}.")))?;
        let all = ["*".to_owned()];
        let resources = if asked.resource_arns.is_empty() { &all[..] } else { &asked.resource_arns };
        let mut simulated = Vec::new();
        for resource in resources {
            let request = scene.request(action.clone(), resource)?;
            let evaluation = evaluate(&set, &request);
            let is_cross_account = !request.is_same_account();
            simulated.push(Simulated { resource: resource.clone(), evaluation, is_cross_account });
        }
        results.push(result(sources, name, &simulated, &missing));
    }
    Ok(SimulatePolicyResponse {
        evaluation_results: Some(results),
        is_truncated: chosen.is_truncated,
        marker: chosen.marker,
    })
}

/// The result of an action over all its resources, and of each where they were named.
fn result(sources: &Sources, action: &str, simulated: &[Simulated], missing: &[String]) -> EvaluationResult {
    let is_named = simulated.iter().any(|one| one.resource != "*");
    let severest = simulated.iter().map(|one| decision(&one.evaluation)).max_by_key(|name| severity(name));
    let mut statements: Vec<Statement> = Vec::new();
    let decisive = simulated.iter().filter(|one| Some(decision(&one.evaluation)) == severest);
    for statement in decisive.flat_map(|one| matched(sources, &one.evaluation)) {
        if !statements.contains(&statement) {
            statements.push(statement);
        }
    }
    let each = simulated.iter().map(|one| ResourceSpecificResult {
        eval_decision_details: one.is_cross_account.then(|| details(&one.evaluation)),
        eval_resource_decision: Some(decision_name(&one.evaluation)),
        eval_resource_name: Some(one.resource.clone()),
        matched_statements: Some(matched(sources, &one.evaluation)),
        missing_context_values: Some(missing.to_vec()),
        permissions_boundary_decision_detail: boundary(sources, [&one.evaluation]),
    });
    let evaluations = || simulated.iter().map(|one| &one.evaluation);
    EvaluationResult {
        eval_action_name: Some(action.to_owned()),
        eval_decision: severest.map(str::to_owned),
        // For one account and named resources it is there and empty.
        eval_decision_details: is_named.then(|| {
            let worst = simulated.iter().filter(|one| one.is_cross_account);
            worst
                .max_by_key(|one| severity(decision(&one.evaluation)))
                .map_or_else(Vec::new, |one| details(&one.evaluation))
        }),
        // The template of the resource type's ARN is not known here, for which AWS has this too.
        eval_resource_name: Some("*".to_owned()),
        matched_statements: Some(statements),
        missing_context_values: Some(missing.to_vec()),
        organizations_decision_detail: (!sources.service_control.is_empty()).then(|| {
            let allowed = evaluations().all(organization_allows(sources.service_control.len()));
            OrganizationsDecisionDetail { allowed_by_organizations: Some(allowed) }
        }),
        permissions_boundary_decision_detail: boundary(sources, evaluations()),
        resource_specific_results: is_named.then(|| each.collect()),
    }
}

/// One of `PolicyEvaluationDecisionType`.
fn decision(evaluation: &Evaluation) -> &'static str {
    match evaluation.denial() {
        None => "allowed",
        Some(denial) if denial.explicit => "explicitDeny",
        Some(_) => "implicitDeny",
    }
}

fn decision_name(evaluation: &Evaluation) -> String {
    decision(evaluation).to_owned()
}

fn severity(decision: &str) -> usize {
    ["allowed", "implicitDeny", "explicitDeny"].iter().position(|name| *name == decision).unwrap_or(0)
}

/// The statements that decided; those of an organization are not shown.
fn matched(sources: &Sources, evaluation: &Evaluation) -> Vec<Statement> {
    let applies = |reason: &&Reason| matches!(reason.finding, Finding::Allows(_) | Finding::Denies(_));
    let shown = evaluation.decisive().filter(applies).filter(|reason| {
        !matches!(reason.policy_type, PolicyType::ServiceControl | PolicyType::ResourceControl)
    });
    shown.filter_map(|reason| sources.statement(reason)).collect()
}

/// What the policies of one type come to by themselves.
fn of_type(evaluation: &Evaluation, policy_type: PolicyType) -> &'static str {
    let mut decision = "implicitDeny";
    for reason in evaluation.reasons.iter().filter(|reason| reason.policy_type == policy_type) {
        match reason.finding {
            Finding::Denies(_) => return "explicitDeny",
            Finding::Allows(_) => decision = "allowed",
            Finding::DoesNotAllow(_)
            | Finding::DoesNotDeny(_)
            | Finding::NoPolicy
            | Finding::RootNeedsNone => {}
        }
    }
    decision
}

fn boundary<'e>(
    sources: &Sources,
    evaluations: impl IntoIterator<Item = &'e Evaluation>,
) -> Option<PermissionsBoundaryDecisionDetail> {
    sources.boundary.map(|_| {
        let allows = |evaluation: &Evaluation| of_type(evaluation, PolicyType::Boundary) == "allowed";
        let allowed = evaluations.into_iter().all(allows);
        PermissionsBoundaryDecisionDetail { allowed_by_permissions_boundary: Some(allowed) }
    })
}

/// Whether no service control policy denies and each of so many levels allows.
fn organization_allows(levels: usize) -> impl Fn(&Evaluation) -> bool {
    move |evaluation| {
        let of_organization =
            || evaluation.reasons.iter().filter(|r| r.policy_type == PolicyType::ServiceControl);
        let denies = of_organization().any(|reason| matches!(reason.finding, Finding::Denies(_)));
        let allowing = of_organization().filter(|reason| matches!(reason.finding, Finding::Allows(_)));
        let levels_allowing: BTreeSet<_> = allowing.map(|reason| reason.level.clone()).collect();
        !denies && levels_allowing.len() == levels
    }
}

/// By the type of policy. AWS documents that there is such a map across accounts, and no names of its keys.
fn details(evaluation: &Evaluation) -> Vec<EvalDecisionDetailsTypeEntry> {
    [("IAM Policy", PolicyType::Identity), ("Resource Policy", PolicyType::Resource)]
        .into_iter()
        .map(|(key, policy_type)| EvalDecisionDetailsTypeEntry {
            key: Some(key.to_owned()),
            value: Some(of_type(evaluation, policy_type).to_owned()),
        })
        .collect()
}

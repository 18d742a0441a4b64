//! Decisions about requests in words: of one that was made (`postern why`), of one that nobody made (`postern simulate`),
//! and of what an instance would ask by the way that its packets take (`postern trace --action`).
//!
//! INVARIANT: everything said here comes from the evaluator that decides requests, over the policies and circumstances
//! that were, or would be, before it.

use std::fmt::Write as _;

use anyhow::{Context as _, anyhow, bail};
use postern_frontdoor::authorise::{Ask, sentence};
use postern_frontdoor::{Authoriser, Caller, Evidence, Identity, Origin};
use postern_model::{AccountId, State};
use postern_path::decision::{Outcome as PathOutcome, SourceRewrite};
use postern_path::{Decision, Peer};
use postern_policy::{Action, Arn, Context, Evaluation, Reason, evaluate, smallest_flips};
use postern_services::s3::storage::Store;
use postern_services::s3_gate::{RESTRICTED, described, is_blocked, turned_away};
use postern_services::{sns, sts};
use serde::Serialize;

/// A decision, with all that had a say.
#[derive(Debug, Serialize)]
pub struct Judgement {
    /// What was asked for.
    pub action: String,
    /// On what.
    pub resource: String,
    /// By whom.
    pub principal: String,
    /// Whether it may be.
    pub allowed: bool,
    /// What a refused caller is told.
    pub message: Option<String>,
    /// What turned the caller away before any policy was asked.
    pub turned_away_by: Option<&'static str>,
    /// What every statement of every policy that has a say did.
    pub statements: Vec<Said>,
    /// The condition values.
    pub context: std::collections::BTreeMap<String, Vec<String>>,
    /// The smallest changes that would turn it round: each is a list of changes to be made together.
    pub smallest_changes: Vec<Vec<String>>,
}

/// What a statement did.
#[derive(Debug, Serialize)]
pub struct Said {
    /// The type of its policy.
    pub policy_type: String,
    /// The policy.
    pub policy: Option<String>,
    /// Its number in the policy, from 0.
    pub statement: Option<usize>,
    /// Its `Sid`.
    pub sid: Option<String>,
    /// Line and column of its beginning.
    pub place: Option<(u32, u32)>,
    /// What it did.
    pub finding: String,
    /// Its conditions beside the request.
    pub conditions: Vec<String>,
    /// Whether it made the decision.
    pub decisive: bool,
}

/// Decides what lies before the evaluator, and says why.
pub fn judge(evidence: &Evidence) -> Judgement {
    let Evidence { policies, request, same_organization, turned_away_by } = evidence;
    let evaluation = evaluate(policies, request);
    let ways = smallest_flips(policies, request);
    Judgement {
        action: request.action.to_string(),
        resource: request.resource.clone(),
        principal: request.principal.display_name(),
        allowed: evaluation.is_allowed() && turned_away_by.is_none(),
        message: match turned_away_by {
            Some(_) => Some(turned_away(evidence)),
            None => evaluation.denial().map(|denial| sentence(request, denial, *same_organization)),
        },
        turned_away_by: *turned_away_by,
        statements: statements(&evaluation),
        context: request
            .context
            .iter()
            .map(|(key, values)| {
                (key.to_owned(), values.iter().map(|value| value.text().into_owned()).collect())
            })
            .collect(),
        // Whoever is turned away first stays out, whatever the policies say.
        smallest_changes: match turned_away_by {
            Some(by) => {
                vec![vec![format!("without {by}, or with a policy of the bucket that is not public")]]
            }
            None => ways.iter().map(|way| way.iter().map(ToString::to_string).collect()).collect(),
        },
    }
}

fn statements(evaluation: &Evaluation) -> Vec<Said> {
    let said = |reason: &Reason| Said {
        policy_type: reason.policy_type.to_string(),
        policy: reason.policy.as_ref().map(ToString::to_string),
        statement: reason.statement,
        sid: reason.sid.as_ref().map(ToString::to_string),
        place: reason.place.map(|place| (place.line, place.column)),
        finding: reason.finding.to_string(),
        conditions: reason.conditions.iter().map(ToString::to_string).collect(),
        decisive: evaluation.decisive().any(|decisive| std::ptr::eq(decisive, reason)),
    };
    evaluation.reasons.iter().map(said).collect()
}

impl Judgement {
    /// The judgement as people read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = writeln!(text, "{} {} on {}", self.principal, self.action, self.resource);
        if let Some(by) = self.turned_away_by {
            let _ = writeln!(
                text,
                "  {:<12}{by}: the bucket's policy is public, and lets only the bucket's own account in",
                "decided by"
            );
        }
        let decides = |said: &&Said| said.decisive && self.turned_away_by.is_none();
        let (decisive, others): (Vec<&Said>, Vec<&Said>) = self.statements.iter().partition(decides);
        for (title, said) in [("decided by", decisive), ("also asked", others)] {
            for (at, said) in said.iter().enumerate() {
                let title = if at == 0 { title } else { "" };
                let _ = writeln!(text, "  {title:<12}{}", said.line());
                for condition in &said.conditions {
                    let _ = writeln!(text, "  {:<14}{condition}", "");
                }
            }
        }
        for (at, (key, values)) in self.context.iter().enumerate() {
            let title = if at == 0 { "with" } else { "" };
            let _ = writeln!(text, "  {title:<12}{key} = {}", values.join(", "));
        }
        match &self.message {
            None => text.push_str("=> allowed\n"),
            Some(message) => {
                let _ = writeln!(text, "=> refused: {message}");
            }
        }
        let verb = if self.allowed { "refused" } else { "allowed" };
        match self.smallest_changes.as_slice() {
            [] => {
                let _ = writeln!(
                    text,
                    "=> no change of up to three statements, conditions or values makes it {verb}"
                );
            }
            ways => {
                let _ = writeln!(text, "=> it would be {verb}");
                for (at, way) in ways.iter().enumerate() {
                    let or = if at == 0 { "" } else { "or " };
                    let _ = writeln!(text, "     {or}{}", way.join(", and "));
                }
            }
        }
        text
    }
}

impl Said {
    fn line(&self) -> String {
        let mut line = self.policy_type.clone();
        if let Some(policy) = &self.policy {
            let _ = write!(line, " `{policy}`");
        }
        if let Some(statement) = self.statement {
            let _ = write!(line, ", statement {statement}");
        }
        if let Some(sid) = &self.sid {
            let _ = write!(line, " `{sid}`");
        }
        if let Some((row, column)) = self.place {
            let _ = write!(line, " (line {row}, column {column})");
        }
        let _ = write!(line, ": {}", self.finding);
        line
    }
}

/// What somebody would ask, who has not asked.
pub struct Supposed<'a> {
    pub caller: &'a Caller,
    pub origin: &'a Origin,
    pub action: &'a str,
    pub resource: &'a str,
    /// Condition keys that are given rather than seen.
    pub context: &'a [(String, String)],
}

/// Lays before the evaluator what would lie before it.
pub fn suppose(
    authoriser: &Authoriser,
    state: &State,
    s3: &Store,
    supposed: &Supposed<'_>,
) -> anyhow::Result<Evidence> {
    let Supposed { caller, origin, action, resource, context } = supposed;
    let parsed = Action::parse(action)?;
    let ask = match parsed.as_str().to_ascii_lowercase().as_str() {
        "sts:assumerole" | "sts:tagsession" | "sts:setsourceidentity" if *resource != "*" => {
            of_role(state, caller, action, resource)?
        }
        _ => ask(state, s3, supposed)?,
    };
    let evidence = authoriser.weigh(caller, origin, &ask);
    let mut evidence = evidence.map_err(|refusal| anyhow!(refusal.message))?;
    if is_restricted(s3, caller, &ask)? {
        evidence = evidence.turned_away(RESTRICTED);
    }
    for (key, value) in *context {
        evidence.request.context.insert(key, value.clone());
    }
    Ok(evidence)
}

/// What assuming a role asks for: the role's trust policy has a say.
fn of_role(state: &State, caller: &Caller, action: &str, arn: &str) -> anyhow::Result<Ask> {
    if caller.identity == Identity::Root {
        bail!("{}", sts::NOT_BY_ROOT);
    }
    let (account, trust) = sts::trust_of(state, arn).map_err(|error| anyhow!(error.message))?;
    Ok(Ask { resource_policy: Some(trust), ..of_nobody(action, arn, Some(account)) })
}

fn ask(state: &State, s3: &Store, supposed: &Supposed<'_>) -> anyhow::Result<Ask> {
    let Supposed { action, resource, .. } = *supposed;
    if resource == "*" {
        return Ok(of_nobody(action, resource, None));
    }
    let arn =
        Arn::parse(resource).map_err(|error| anyhow!("`{resource}` is neither an ARN nor `*`: {error}"))?;
    if arn.service() == "s3" {
        let name = arn.resource().split('/').next().unwrap_or_default();
        let bucket = s3.bucket(name).context("looking at the bucket")?;
        let bucket = bucket.with_context(|| format!("there is no bucket `{name}`"))?;
        return described(action, resource, Some((name, &bucket))).map_err(|error| anyhow!(error));
    }
    let mut asked = of_nobody(action, resource, arn.account().parse().ok());
    if let Some(topic) = state.topics.get(resource) {
        asked.resource_policy = Some(sns::policy_of(topic).map_err(|error| anyhow!(error))?);
    }
    Ok(asked)
}

/// Whether the bucket that is asked about turns this caller away before its policy is asked.
fn is_restricted(s3: &Store, caller: &Caller, asked: &Ask) -> anyhow::Result<bool> {
    let Some(rest) = asked.resource.strip_prefix("arn:aws:s3:::") else { return Ok(false) };
    let name = rest.split('/').next().unwrap_or_default();
    let bucket = s3.bucket(name).context("looking at the bucket")?;
    Ok(bucket.is_some_and(|bucket| is_blocked(&bucket, caller, asked)))
}

fn of_nobody(action: &str, resource: &str, account: Option<AccountId>) -> Ask {
    Ask {
        action: action.to_owned(),
        resource: resource.to_owned(),
        resource_account: account,
        resource_policy: None,
        context: Context::new(),
    }
}

/// Where a service would see a flow come from, if it arrives there.
pub fn origin_of(decision: &Decision) -> Option<Origin> {
    let PathOutcome::Forward(action) = decision.outcome else { return None };
    let SourceRewrite::Identity { peer, .. } = action.source else { return None };
    Some(of_peer(peer))
}

fn of_peer(peer: Peer) -> Origin {
    // Where the connection seems to come from is nobody's address; who is behind it is the peer.
    let remote = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0));
    Origin { peer: Some(peer), remote, secure: true }
}

/// Where requests come from that nobody's packets carry: this machine.
pub fn outside() -> Origin {
    let remote = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    Origin { peer: None, remote, secure: true }
}

/// A name at which the service of an action is found, for those who say none.
pub fn host_of(state: &State, action: &str) -> anyhow::Result<String> {
    let prefix = action.split(':').next().unwrap_or_default();
    let of = |service: &&std::sync::Arc<postern_model::endpoint::Service>| {
        postern_services::upstream::action_prefix_of(&service.signing_name) == prefix
    };
    let service = state.services.values().find(of);
    let service = service.with_context(|| format!("no service here has actions like `{action}`"))?;
    let names = service.dns_names.iter().chain(&service.private_dns_names);
    let name = names.into_iter().find(|name| !name.starts_with('*'));
    match name {
        Some(name) => Ok(name.clone()),
        None => bail!("`{}` has no name of its own: --to says where to", service.name),
    }
}

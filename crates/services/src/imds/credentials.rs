//! The credentials of an instance's role.
//!
//! INVARIANT: what an instance is given does not change before its last part of life: clients that ask again see the
//! same credentials, and never ones that end within the hour while longer ones could be had.
//! INVARIANT: a role whose trust policy does not let `ec2.amazonaws.com` assume it is given to no instance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use postern_model::iam::{Iam, InstanceProfile, Role};
use postern_model::instance::Instance;
use postern_model::{InstanceId, State};
use postern_policy::{Action, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request};
use postern_wire::Timestamp;
use serde_json::json;

use crate::directory::role_arn;
use crate::directory::session::{Claims, Credentials, SessionKeys, Who};
use crate::iam::profile_arn;

/// How long credentials hold.
const LIFE_SECONDS: i64 = 6 * 3600;
/// How long before their end new ones are given.
const RENEWAL_SECONDS: i64 = 3600;

/// Credentials that were given out, and those to come.
pub(super) struct RoleCredentials {
    sessions: Arc<SessionKeys>,
    given: Mutex<BTreeMap<InstanceId, Given>>,
}

#[derive(Clone)]
struct Given {
    role_id: String,
    at: Timestamp,
    credentials: Credentials,
}

/// Why an instance gets none: the code and the sentence that stand in the answer instead.
struct Refused(&'static str, String);

impl RoleCredentials {
    pub(super) fn new(sessions: Arc<SessionKeys>) -> Self {
        Self { sessions, given: Mutex::default() }
    }

    /// `iam/info`; none for an instance without a profile.
    pub(super) fn info(&self, state: &State, instance: &Instance, now: Timestamp) -> Option<String> {
        let (_, profile) = profile(state, instance)?;
        let updated = self.updated_at(instance.id).unwrap_or(now).iso_seconds();
        let document = match check(state, instance) {
            Ok(_) => json!({
                "Code": "Success",
                "LastUpdated": updated,
                "InstanceProfileArn": profile_arn(instance.owner, profile),
                "InstanceProfileId": profile.unique_id,
            }),
            Err(Refused(code, message)) => {
                json!({ "Code": code, "Message": message, "LastUpdated": updated })
            }
        };
        Some(pretty(&document))
    }

    /// The credentials of the instance's role.
    pub(super) fn document(&self, state: &State, instance: &Instance, now: Timestamp) -> Option<String> {
        let given = match check(state, instance) {
            Ok(role) => self.current(state, instance, role, now)?,
            Err(Refused(code, message)) => {
                let document = json!({ "Code": code, "Message": message, "LastUpdated": now.iso_seconds() });
                return Some(pretty(&document));
            }
        };
        Some(pretty(&json!({
            "Code": "Success",
            "LastUpdated": given.at.iso_seconds(),
            "Type": "AWS-HMAC",
            "AccessKeyId": given.credentials.access_key_id,
            "SecretAccessKey": given.credentials.secret_access_key.expose(),
            "Token": given.credentials.session_token.expose(),
            "Expiration": given.credentials.expires_at.iso_seconds(),
        })))
    }

    fn updated_at(&self, instance: InstanceId) -> Option<Timestamp> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).get(&instance).map(|given| given.at)
    }

    fn current(&self, state: &State, instance: &Instance, role: &Role, now: Timestamp) -> Option<Given> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = given.get(&instance.id) {
            let renewal = known.credentials.expires_at.plus_seconds(-RENEWAL_SECONDS);
            // The clock may have gone back: then what was given has not begun yet.
            if known.role_id == role.unique_id && known.at <= now && now < renewal {
                return Some(known.clone());
            }
        }
        let (name, id) = (role.name.clone(), role.unique_id.clone());
        let who = Who::Role { name, id, session: instance.id.to_string() };
        let claims = Claims::new(instance.owner, who, now.plus_seconds(LIFE_SECONDS).seconds());
        let credentials = self.sessions.issue(&claims).ok()?;
        let fresh = Given { role_id: role.unique_id.clone(), at: now, credentials };
        // INVARIANT: there are at most as many as instances: those of instances that are gone go here.
        given.retain(|instance, _| state.instances.contains_key(instance));
        given.insert(instance.id, fresh.clone());
        Some(fresh)
    }
}

/// The instance's profile.
pub(super) fn profile<'s>(
    state: &'s State,
    instance: &Instance,
) -> Option<(&'s Arc<Iam>, &'s Arc<InstanceProfile>)> {
    let (_, name) = instance.profile.as_ref()?;
    let iam = state.iam.get(&instance.owner)?;
    Some((iam, iam.instance_profiles.get(name)?))
}

/// The name of the role in the instance's profile.
pub(super) fn role_name<'s>(state: &'s State, instance: &Instance) -> Option<&'s str> {
    profile(state, instance)?.1.role.as_deref()
}

/// The instance's role, if the instance may have it.
fn check<'s>(state: &'s State, instance: &Instance) -> Result<&'s Arc<Role>, Refused> {
    let missing =
        || Refused("InstanceProfileNotFound", "The instance has no profile with a role.".to_owned());
    let (iam, profile) = profile(state, instance).ok_or_else(missing)?;
    let role = profile.role.as_ref().and_then(|name| iam.roles.get(name)).ok_or_else(missing)?;
    if trusts_instances(&role_arn(instance.owner, role), role) {
        return Ok(role);
    }
    let message = format!(
        "EC2 cannot assume the role {}. Please see documentation at \
         https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html",
        role.name
    );
    Err(Refused("AssumeRoleUnauthorizedAccess", message))
}

/// Whether the role's trust policy lets `ec2.amazonaws.com` assume it.
fn trusts_instances(arn: &str, role: &Role) -> bool {
    let Ok(document) = PolicyDocument::parse(&role.trust_policy, Kind::Trust) else { return false };
    let Ok(action) = Action::parse("sts:AssumeRole") else { return false };
    let mut policies = PolicySet::new();
    if policies.set_resource(NamedPolicy::new(arn, document)).is_err() {
        return false;
    }
    let service = Principal::Service { name: "ec2.amazonaws.com".to_owned() };
    postern_policy::evaluate(&policies, &Request::new(service, action, arn)).is_allowed()
}

fn pretty(document: &serde_json::Value) -> String {
    // Texts only, which always can be written.
    serde_json::to_string_pretty(document).unwrap_or_default()
}

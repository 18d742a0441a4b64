//! Who there is and what their policies say, over the region's state: the front door's [`Directory`].
//!
//! INVARIANT: what a caller may do is read from the state at the time of the request. A key, user, role or policy that
//! is gone gives nothing; a document that cannot be read refuses everything.
//! INVARIANT: without `--dev`, nobody is known but by a key or a session that the region issued.

pub(crate) mod cache;
pub mod condition_keys;
pub mod managed;
mod organization;
pub mod session;

use std::sync::Arc;

use postern_frontdoor::authorise::Welcoming;
use postern_frontdoor::caller::Identity;
use postern_frontdoor::{
    Caller, Credential, CredentialError, Directory, EndpointPolicy, SessionPolicy, Traits,
};
use postern_model::endpoint::EndpointKind;
use postern_model::iam::{Group, Iam, IdentityPolicies, KeyOwner, Role, User, find_key, profile};
use postern_model::instance::Instance;
use postern_model::{AccountId, Action, ModelError, State, Tags, VpcEndpointId};
use postern_policy::{Arn, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal};
use postern_wire::Timestamp;

use self::cache::PolicyCache;
use self::organization::OrganizationCache;
use self::session::{Claims, OpenError, SessionKeys, Who};
use crate::commands::{CommandError, Commands};

/// What signs for unknown keys in a development region, where no signature is checked.
const DEV_SECRET: &str = "postern-dev";

/// The front door's directory, over the region's state.
pub struct RegionDirectory {
    commands: Arc<dyn Commands>,
    sessions: Arc<SessionKeys>,
    policies: PolicyCache,
    organizations: OrganizationCache,
    dev: bool,
}

impl RegionDirectory {
    /// Over this state, with the sessions that these keys open. With `dev` signatures are not checked, and whoever
    /// comes with an unknown key is the root user of the account that the key names.
    pub fn new(commands: Arc<dyn Commands>, sessions: Arc<SessionKeys>, dev: bool) -> Self {
        Self {
            commands,
            sessions,
            policies: PolicyCache::default(),
            organizations: OrganizationCache::default(),
            dev,
        }
    }

    /// A compiled document, from the cache if it was read before.
    ///
    /// # Errors
    /// Why it is not a document of this kind.
    pub fn document(&self, kind: Kind, text: &str) -> Result<PolicyDocument, postern_policy::ParseError> {
        self.policies.document(kind, text)
    }

    /// Whom an ARN means, as if they were asking: an account's root user, a user, a role or a session of a role.
    ///
    /// # Errors
    /// Why it means nobody here.
    pub fn caller_of(&self, arn: &str) -> Result<Caller, String> {
        let state = self.commands.state();
        let nobody = || {
            format!("`{arn}` is nobody here: a root user, user, role or session of a role of the region's")
        };
        let parsed = Arn::parse(arn).map_err(|_| nobody())?;
        let account: AccountId = parsed.account().parse().map_err(|_| nobody())?;
        let iam = state.iam.get(&account).ok_or_else(nobody)?;
        let found = match (parsed.service(), parsed.resource().split_once('/')) {
            ("iam", None) if parsed.resource() == "root" => root(account, None),
            ("iam", Some(("user", _))) => {
                let user = iam.users.values().find(|user| user_arn(account, user) == arn);
                user.and_then(|user| user_caller(account, user, "", Vec::new()))
            }
            ("iam", Some(("role", _))) => {
                let role = iam.roles.values().find(|role| role_arn(account, role) == arn);
                role.and_then(|role| role_caller(account, role, "simulated"))
            }
            ("sts", Some(("assumed-role", names))) => names
                .split_once('/')
                .and_then(|(name, session)| role_caller(account, iam.roles.get(name)?, session)),
            _ => None,
        };
        found.ok_or_else(nobody)
    }

    /// Whom the programs of an instance are, if its profile has a role.
    pub fn caller_on(&self, instance: &Instance) -> Option<Caller> {
        let state = self.commands.state();
        let (_, name) = instance.profile.as_ref()?;
        let profile = profile(&state, instance.owner, name).ok()?;
        let role = state.iam.get(&instance.owner)?.roles.get(profile.role.as_ref()?)?;
        role_caller(instance.owner, role, &instance.id.to_string())
    }

    fn session(&self, key: &str, token: &str) -> Result<Credential, CredentialError> {
        let claims = self.sessions.open(key, token, self.now()).map_err(|error| match error {
            OpenError::Forged => CredentialError::InvalidToken(key.to_owned()),
            OpenError::Expired => CredentialError::Expired(key.to_owned()),
        })?;
        let state = self.commands.state();
        let caller =
            session_caller(&state, key, claims).ok_or_else(|| CredentialError::Unknown(key.to_owned()))?;
        Ok(Credential { secret: self.sessions.secret_of(key), caller })
    }

    /// The account of unknown keys in a development region, and the first one there.
    pub fn dev_account() -> Option<AccountId> {
        AccountId::from_number(123_456_789_012)
    }

    /// What an unknown key stands for in a development region.
    fn stranger(key: &str) -> Option<Credential> {
        let account = key.parse().ok().or(Self::dev_account())?;
        Some(Credential { secret: DEV_SECRET.to_owned(), caller: root(account, Some(key))? })
    }

    fn add_policies(
        &self,
        set: &mut PolicySet,
        iam: &Iam,
        owner: &str,
        policies: &IdentityPolicies,
    ) -> Result<(), String> {
        for (name, text) in &policies.inline {
            let name = format!("{owner}/{name}");
            let policy = self.named(Kind::Identity, &name, text)?;
            set.add_identity(policy).map_err(|_| name)?;
        }
        for arn in &policies.attached {
            let policy = self.managed(iam, arn)?;
            set.add_identity(policy).map_err(|_| arn.clone())?;
        }
        Ok(())
    }

    fn set_boundary(&self, set: &mut PolicySet, iam: &Iam, arn: Option<&str>) -> Result<(), String> {
        match arn {
            None => Ok(()),
            Some(arn) => set.set_boundary(self.managed(iam, arn)?).map_err(|error| error.name),
        }
    }

    fn named(&self, kind: Kind, name: &str, text: &str) -> Result<NamedPolicy, String> {
        let document = self.document(kind, text).map_err(|_| name.to_owned())?;
        Ok(NamedPolicy::new(name, document))
    }

    /// A managed policy: the account's own, or AWS's.
    fn managed(&self, iam: &Iam, arn: &str) -> Result<NamedPolicy, String> {
        let own = iam.policies.get(arn).map(|policy| policy.document.as_str());
        let text = own.or_else(|| managed::find(arn).map(|policy| policy.document));
        self.named(Kind::Identity, arn, text.ok_or(arn)?)
    }
}

impl Directory for RegionDirectory {
    fn credential(&self, key: &str, token: Option<&str>) -> Result<Credential, CredentialError> {
        let state = self.commands.state();
        if let Some((account, found)) = find_key(&state, key) {
            let unknown = || CredentialError::Unknown(key.to_owned());
            if !found.active {
                return Err(unknown());
            }
            if token.is_some() && !self.dev {
                return Err(CredentialError::InvalidToken(key.to_owned()));
            }
            let caller = match &found.owner {
                KeyOwner::Root => root(account, Some(key)),
                KeyOwner::User(name) => {
                    let user = state.iam.get(&account).and_then(|iam| iam.users.get(name));
                    user.and_then(|user| user_caller(account, user, key, Vec::new()))
                }
            };
            return Ok(Credential { secret: found.secret.clone(), caller: caller.ok_or_else(unknown)? });
        }
        let known = match token {
            Some(token) if key.starts_with(session::KEY_PREFIX) => self.session(key, token),
            Some(_) => Err(CredentialError::InvalidToken(key.to_owned())),
            None => Err(CredentialError::Unknown(key.to_owned())),
        };
        match known {
            // A token of somebody else's: the key is as unknown as any.
            Err(CredentialError::InvalidToken(_)) if self.dev => {}
            Err(CredentialError::Unknown(_)) if self.dev && token.is_none() => {}
            settled @ (Ok(_) | Err(_)) => return settled,
        }
        Self::stranger(key).ok_or_else(|| CredentialError::Unknown(key.to_owned()))
    }

    fn policies(&self, caller: &Caller) -> Result<PolicySet, String> {
        let mut set = PolicySet::new();
        let state = self.commands.state();
        let account = caller.account.and_then(|account| state.iam.get(&account));
        let none = Iam::default();
        let iam = account.map_or(&none, |iam| iam.as_ref());
        match &caller.identity {
            Identity::Anonymous | Identity::Root => {}
            Identity::User(name) => {
                // Another user or role of the name, made since the caller was authenticated, is another one.
                let own = |user: &&Arc<User>| caller.user_id.as_ref() == Some(&user.unique_id);
                let user = iam.users.get(name).filter(own).ok_or_else(|| format!("user/{name}"))?;
                self.add_policies(&mut set, iam, &format!("user/{name}"), &user.policies)?;
                for group in &user.groups {
                    // INVARIANT: what cannot be read may have held a Deny, so it refuses.
                    let found = iam.groups.get(group).ok_or_else(|| format!("group/{group}"))?;
                    self.add_policies(&mut set, iam, &format!("group/{group}"), &found.policies)?;
                }
                self.set_boundary(&mut set, iam, user.permissions_boundary.as_deref())?;
            }
            Identity::Role(name) => {
                let id = caller.user_id.as_ref().and_then(|id| id.split(':').next());
                let own = |role: &&Arc<Role>| id == Some(role.unique_id.as_str());
                let role = iam.roles.get(name).filter(own).ok_or_else(|| format!("role/{name}"))?;
                self.add_policies(&mut set, iam, &format!("role/{name}"), &role.policies)?;
                self.set_boundary(&mut set, iam, role.permissions_boundary.as_deref())?;
            }
        }
        for policy in &caller.session_policies {
            let policy = match policy {
                SessionPolicy::Document(text) => self.named(Kind::Session, "session policy", text)?,
                SessionPolicy::Managed(arn) => self.managed(iam, arn)?,
            };
            set.add_session(policy).map_err(|error| error.name)?;
        }
        Ok(set)
    }

    fn organization(&self, account: AccountId) -> Result<Option<Arc<postern_policy::Organization>>, String> {
        let state = self.commands.state();
        match state.organization_of(account) {
            None => Ok(None),
            Some(found) => self.organizations.compiled(found, &self.policies).map(Some),
        }
    }

    fn endpoint_policy(&self, endpoint: VpcEndpointId) -> EndpointPolicy {
        let state = self.commands.state();
        let found = state.vpc_endpoints.get(&endpoint).filter(|found| found.state.passes());
        let Some(found) = found else { return EndpointPolicy::Nothing };
        let Some(text) = &found.policy else { return EndpointPolicy::Full };
        let kind = Kind::Endpoint { gateway: found.kind == EndpointKind::Gateway };
        match self.named(kind, &endpoint.to_string(), text) {
            Ok(policy) => EndpointPolicy::Document(Arc::new(policy)),
            Err(_) => EndpointPolicy::Nothing,
        }
    }

    fn endpoint_service(&self, endpoint: VpcEndpointId) -> Option<String> {
        let state = self.commands.state();
        let found = state.vpc_endpoints.get(&endpoint).filter(|found| found.state.passes())?;
        Some(state.route_of(state.services.get(&found.service_name)?).to_owned())
    }

    fn endpoint_owner(&self, endpoint: VpcEndpointId) -> Option<AccountId> {
        let state = self.commands.state();
        state.vpc_endpoints.get(&endpoint).filter(|found| found.state.passes()).map(|found| found.owner)
    }

    fn checks_signatures(&self) -> bool {
        !self.dev
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.commands.now_milliseconds()).unwrap_or(i64::MAX))
    }

    fn welcome<'a>(&'a self, caller: &'a Caller) -> Welcoming<'a> {
        Box::pin(async move {
            let Some(account) = caller.account.filter(|_| self.dev) else { return Ok(()) };
            if self.commands.state().accounts.contains_key(&account) {
                return Ok(());
            }
            let create = Action::CreateAccount { name: "dev".to_owned(), root_key: None };
            match self.commands.execute(account, None, create).await {
                // Somebody else was first.
                Ok(_) | Err(CommandError::Refused(ModelError::AccountExists(_))) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })
    }
}

/// The root user of an account.
fn root(account: AccountId, key: Option<&str>) -> Option<Caller> {
    Some(Caller {
        principal: Principal::Root { account: account.to_string().parse().ok()? },
        account: Some(account),
        access_key: key.map(str::to_owned),
        user_id: Some(account.to_string()),
        identity: Identity::Root,
        session_policies: Vec::new(),
        traits: Traits::default(),
    })
}

fn user_caller(
    account: AccountId,
    user: &User,
    key: &str,
    session_policies: Vec<SessionPolicy>,
) -> Option<Caller> {
    Some(Caller {
        principal: Principal::User { arn: Arn::parse(&user_arn(account, user)).ok()? },
        account: Some(account),
        access_key: Some(key.to_owned()),
        user_id: Some(user.unique_id.clone()),
        identity: Identity::User(user.name.clone()),
        session_policies,
        traits: Traits { tags: user.tags.clone(), ..Traits::default() },
    })
}

/// A session of a role, without a key.
fn role_caller(account: AccountId, role: &Role, session: &str) -> Option<Caller> {
    let principal = Principal::AssumedRole {
        role_arn: Arn::parse(&role_arn(account, role)).ok()?,
        session_arn: Arn::parse(&session_arn(account, &role.name, session)).ok()?,
    };
    Some(Caller {
        principal,
        account: Some(account),
        // What temporary credentials have in common, and no more.
        access_key: Some(session::KEY_PREFIX.to_owned()),
        user_id: Some(format!("{}:{session}", role.unique_id)),
        identity: Identity::Role(role.name.clone()),
        session_policies: Vec::new(),
        traits: Traits { tags: role.tags.clone(), ..Traits::default() },
    })
}

/// Whose session it is; nobody's if the user or role that it was made for is gone, even if another of its name is
/// there.
fn session_caller(state: &State, key: &str, claims: Claims) -> Option<Caller> {
    let account = claims.account;
    let iam = state.iam.get(&account)?;
    match claims.who {
        Who::Root => root(account, Some(key)),
        Who::User { name, id } => {
            let user = iam.users.get(&name).filter(|user| user.unique_id == id)?;
            user_caller(account, user, key, claims.policies)
        }
        Who::Role { name, id, session } => {
            let role = iam.roles.get(&name).filter(|role| role.unique_id == id)?;
            let principal = Principal::AssumedRole {
                role_arn: Arn::parse(&role_arn(account, role)).ok()?,
                session_arn: Arn::parse(&session_arn(account, &name, &session)).ok()?,
            };
            Some(Caller {
                principal,
                account: Some(account),
                access_key: Some(key.to_owned()),
                user_id: Some(format!("{id}:{session}")),
                identity: Identity::Role(name),
                session_policies: claims.policies,
                traits: Traits {
                    tags: overridden(&role.tags, claims.tags),
                    transitive_tag_keys: claims.transitive_tag_keys,
                    source_identity: claims.source_identity,
                    ..Traits::default()
                },
            })
        }
    }
}

/// The role's tags, with those of the session in their stead; keys are compared without distinguishing case.
fn overridden(tags: &Tags, by: Tags) -> Tags {
    let kept = tags.iter().filter(|(key, _)| !by.keys().any(|other| other.eq_ignore_ascii_case(key)));
    let mut all: Tags = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    all.extend(by);
    all
}

/// The ARN of a user.
pub fn user_arn(account: AccountId, user: &User) -> String {
    format!("arn:aws:iam::{account}:user{}{}", user.path, user.name)
}

/// The ARN of a group.
pub fn group_arn(account: AccountId, group: &Group) -> String {
    format!("arn:aws:iam::{account}:group{}{}", group.path, group.name)
}

/// The ARN of a role.
pub fn role_arn(account: AccountId, role: &Role) -> String {
    format!("arn:aws:iam::{account}:role{}{}", role.path, role.name)
}

/// The ARN of a role's session, which has no path.
pub fn session_arn(account: AccountId, role: &str, session: &str) -> String {
    format!("arn:aws:sts::{account}:assumed-role/{role}/{session}")
}

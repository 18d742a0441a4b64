//! Who is simulated, and under which circumstances.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_policy::{AccountId, Action, Arn, Context, Principal, Request, Value};
use postern_wire::AwsError;
use postern_wire::iam::ContextEntry;

use super::super::error::invalid;
use super::super::{Call, Outcome};
use crate::directory::{role_arn, user_arn};

/// A caller, an owner and the condition keys.
pub(super) struct Scene {
    principal: Principal,
    /// Of resources whose ARN names no account.
    owner: AccountId,
    context: Context,
}

impl Scene {
    /// `entries` say what every key is; of a caller that is named, keys that they do not give follow from it.
    pub(super) fn new(
        call: &Call<'_>,
        caller: Option<&str>,
        owner: Option<&str>,
        entries: &[ContextEntry],
    ) -> Outcome<Self> {
        let own = call.account.to_string();
        let mut context = Context::new();
        for entry in entries {
            add(&mut context, entry)?;
        }
        let principal = match caller {
            Some(arn) => principal(arn)?,
            // Somebody of this account, of whom no key tells anything.
            None => principal(&format!("arn:aws:iam::{own}:user/nobody"))?,
        };
        if let Some(arn) = caller {
            add_caller(&mut context, call, arn, &principal);
        }
        let account = principal.account().unwrap_or(&own).to_owned();
        let owner = match owner {
            None => account,
            Some(text) => account_of_owner(text),
        };
        let owner = owner.parse().map_err(|_| invalid(format!("Invalid ResourceOwner {owner}.")))?;
        Ok(Self { principal, owner, context })
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    /// A request for one action on one resource, which is of the account that its ARN names, else of the owner.
    pub(super) fn request(&self, action: Action, resource: &str) -> Outcome<Request> {
        let owner = if resource == "*" {
            self.owner.clone()
        } else {
            let arn = Arn::parse(resource).map_err(|_| invalid(format!("Invalid resource {resource}.")))?;
            arn.account().parse().unwrap_or_else(|_| self.owner.clone())
        };
        let mut context = self.context.clone();
        if context.get("aws:ResourceAccount").is_empty() {
            context.insert("aws:ResourceAccount", owner.as_str());
        }
        let request = Request::new(self.principal.clone(), action, resource);
        Ok(request.with_resource_account(owner).with_context(context).simulated())
    }
}

/// Twelve digits, or the ARN of the account's root.
fn account_of_owner(text: &str) -> String {
    let root = text.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
    root.unwrap_or(text).to_owned()
}

/// A user, group or role. Policies of resources cannot name groups, so that one is named by nothing but its account.
fn principal(text: &str) -> Outcome<Principal> {
    let refused =
        || invalid(format!("Invalid CallerArn {text}: it must be the ARN of a user, a group or a role."));
    let arn = Arn::parse(text).map_err(|_| refused())?;
    if arn.service() != "iam" || arn.account().parse::<AccountId>().is_err() {
        return Err(refused());
    }
    let (kind, name) = arn.resource().split_once('/').ok_or_else(refused)?;
    match kind {
        "user" | "group" => Ok(Principal::User { arn }),
        "role" => {
            let name = name.rsplit('/').next().unwrap_or(name);
            let session = format!("arn:aws:sts::{}:assumed-role/{name}/simulated", arn.account());
            Ok(Principal::AssumedRole {
                session_arn: Arn::parse(&session).map_err(|_| refused())?,
                role_arn: arn,
            })
        }
        _ => Err(refused()),
    }
}

/// The keys that follow from who calls.
fn add_caller(context: &mut Context, call: &Call<'_>, arn: &str, principal: &Principal) {
    let iam = call.iam();
    let user = iam.users.values().find(|user| user_arn(call.account, user) == arn);
    let role = iam.roles.values().find(|role| role_arn(call.account, role) == arn);
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let (type_name, user_name) = match principal {
        Principal::User { .. } => ("User", arn.contains(":user/").then(|| name.to_owned())),
        Principal::AssumedRole { .. } => ("AssumedRole", None),
        Principal::Anonymous
        | Principal::Root { .. }
        | Principal::FederatedUser { .. }
        | Principal::Federated { .. }
        | Principal::Service { .. } => return,
    };
    let user_id = user.map(|user| user.unique_id.clone());
    let user_id = user_id.or_else(|| role.map(|role| format!("{}:simulated", role.unique_id)));
    for (key, value) in [
        ("aws:PrincipalArn", Some(arn.to_owned())),
        ("aws:PrincipalAccount", principal.account().map(str::to_owned)),
        ("aws:PrincipalType", Some(type_name.to_owned())),
        ("aws:username", user_name),
        ("aws:userid", user_id),
    ] {
        if let (Some(value), true) = (value, context.get(key).is_empty()) {
            context.insert(key, value);
        }
    }
}

/// An entry's values are read as its type says, and there are several where it is a list.
fn add(context: &mut Context, entry: &ContextEntry) -> Outcome<()> {
    let ContextEntry { context_key_name, context_key_type, context_key_values } = entry;
    let name =
        context_key_name.as_deref().ok_or_else(|| invalid("A context entry has no ContextKeyName."))?;
    let type_name = context_key_type.as_deref().unwrap_or("string");
    let (base, is_list) = match type_name.strip_suffix("List") {
        Some(base) => (base, true),
        None => (type_name, false),
    };
    let values = context_key_values.iter().map(|text| value(name, base, text));
    let mut values = values.collect::<Outcome<Vec<Value>>>()?;
    match (is_list, values.len()) {
        (true, _) => context.insert_many(name, values),
        (false, 0) => {}
        (false, 1) => context.insert(name, values.remove(0)),
        (false, _) => {
            return Err(invalid(format!(
                "The context key {name} of type {type_name} has more than one value."
            )));
        }
    }
    Ok(())
}

fn value(name: &str, type_name: &str, text: &str) -> Outcome<Value> {
    let wrong =
        || -> AwsError { invalid(format!("The context key {name} has no {type_name} value: {text}.")) };
    Ok(match type_name {
        "boolean" => Value::Bool(text.to_ascii_lowercase().parse().map_err(|_| wrong())?),
        "numeric" => {
            text.parse::<f64>().map_err(|_| wrong())?;
            // As text, which is compared exactly.
            Value::Text(text.to_owned())
        }
        "ip" => Value::Ip(text.parse().map_err(|_| wrong())?),
        "binary" => Value::Binary(STANDARD.decode(text).map_err(|_| wrong())?),
        "date" => Value::instant(text).ok_or_else(wrong)?,
        _ => Value::Text(text.to_owned()),
    })
}

//! What holds for all operations alike: each is served, a dry run changes nothing, and accounts do not see each other.

use std::collections::{BTreeMap, BTreeSet};

use postern_services::ec2::entries;
use serde_json::{Value, json};

use crate::requests;
use crate::support::BOB;
use crate::world::{Ids, bobs, built, with_ids};

#[test]
fn each_operation_has_a_request_that_succeeds() {
    let all = requests::all();
    let served: BTreeSet<&str> = entries().map(|entry| entry.name).collect();
    assert_eq!(all.iter().map(|(operation, _)| *operation).collect::<BTreeSet<_>>(), served);
    for (operation, template) in all {
        let (api, ids) = built();
        requests::prepare(&api, operation);
        api.call(operation, with_ids(&template, ids));
        let broken = postern_model::invariants::check(&api.state());
        assert!(broken.is_empty(), "{operation}: {broken:?}");
    }
}

#[test]
fn a_dry_run_says_so_and_changes_nothing() {
    for (operation, template) in requests::all() {
        let entry = entries().find(|entry| entry.name == operation).unwrap();
        if !entry.honoured.iter().copied().flatten().any(|path| *path == "DryRun") {
            continue;
        }
        let (api, ids) = built();
        requests::prepare(&api, operation);
        let before = api.state();
        let mut request = with_ids(&template, ids);
        request["DryRun"] = json!(true);
        let error = api.attempt(operation, request).unwrap_err();
        assert_eq!(
            (error.to_string(), error.status),
            ("DryRunOperation: Request would have succeeded, but DryRun flag is set.".to_owned(), 412),
            "{operation}"
        );
        assert_eq!(api.state(), before, "{operation}");
        assert!(api.consoles.reboots.lock().unwrap().is_empty());
    }
}

/// Ids of the same kinds that nobody has.
fn made_up(ids: &Ids) -> BTreeMap<&'static str, String> {
    let nobodys = |id: &String| {
        // An address is no id: it stays.
        if id.contains('.') && !id.starts_with("198.18.") {
            return id.clone();
        }
        // Of an ARN, all but the number at its end stays.
        if let Some((start, digits)) = id.rsplit_once('/') {
            let other = if digits.starts_with('e') { 'd' } else { 'e' };
            return format!("{start}/{other}{}", &digits[1..]);
        }
        if let Some(start) = id.strip_suffix(":events") {
            return format!("{start}:nobodys");
        }
        match id.rsplit_once('-') {
            Some((prefix, digits)) => {
                let others: String =
                    digits.chars().skip(1).map(|digit| if digit == 'e' { 'd' } else { 'e' }).collect();
                format!("{prefix}-0{others}")
            }
            None => "198.18.77.77".to_owned(),
        }
    };
    ids.iter().map(|(name, id)| (*name, nobodys(id))).collect()
}

/// The names of ids that a template uses.
fn names(template: &Value, found: &mut BTreeSet<String>) {
    match template {
        Value::String(name) => found.extend(name.strip_prefix('$').map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| names(item, found)),
        Value::Object(members) => members.values().for_each(|value| names(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An outcome in which ids are called by name, so that two can be compared.
fn outcome(ids: &BTreeMap<&'static str, String>, operation: &str, template: &Value) -> String {
    let (api, _) = built();
    let before = api.state();
    let outcome = match api.try_as(BOB, operation, &with_ids(template, ids)) {
        Ok(answer) => format!("answer {answer}"),
        Err(error) => format!("{} {error}", error.status),
    };
    // Whatever it was, nothing of Alice's changed.
    let alice = crate::support::account(crate::support::ALICE);
    let hers = |state: &postern_model::State| {
        let vpcs: Vec<_> = state.visible::<postern_model::vpc::Vpc>(alice).cloned().collect();
        let groups: Vec<_> =
            state.visible::<postern_model::security_group::SecurityGroup>(alice).cloned().collect();
        let tables: Vec<_> = state.visible::<postern_model::route::RouteTable>(alice).cloned().collect();
        let subnets: Vec<_> = state.visible::<postern_model::subnet::Subnet>(alice).cloned().collect();
        let interfaces: Vec<_> =
            state.visible::<postern_model::interface::NetworkInterface>(alice).cloned().collect();
        let instances: Vec<_> = state.visible::<postern_model::instance::Instance>(alice).cloned().collect();
        let endpoints: Vec<_> =
            state.visible::<postern_model::endpoint::VpcEndpoint>(alice).cloned().collect();
        let addresses: Vec<_> = state.visible::<postern_model::gateway::Address>(alice).cloned().collect();
        let peerings: Vec<_> =
            state.visible::<postern_model::peering::VpcPeeringConnection>(alice).cloned().collect();
        (vpcs, groups, tables, (subnets, peerings), (interfaces, instances, endpoints, addresses))
    };
    assert_eq!(hers(&api.state()), hers(&before), "{operation}");
    let mut outcome = outcome;
    for (name, id) in ids {
        outcome = outcome.replace(id.as_str(), &format!("${name}"));
    }
    outcome
}

#[test]
fn what_is_anothers_is_as_if_it_were_not_there() {
    let (_, alices) = built();
    let mut compared = 0;
    for (operation, template) in requests::all() {
        let mut used = BTreeSet::new();
        names(&template, &mut used);
        used.remove("eni-second");
        // Each id in turn is Alice's (or nobody's) while the others are Bob's own.
        for name in used {
            let with = |other: &BTreeMap<&'static str, String>| {
                let mut ids = bobs().clone();
                ids.extend(other.iter().filter(|(key, _)| **key == name).map(|(key, id)| (*key, id.clone())));
                ids
            };
            let of_alice = outcome(&with(alices), operation, &template);
            let of_nobody = outcome(&with(&made_up(alices)), operation, &template);
            assert_eq!(of_alice, of_nobody, "{operation} with another's {name}");
            let harmless = match operation {
                // The request is made and fails, whoever has the VPC and whether or not it is there.
                "CreateVpcPeeringConnection" => name == "peer-three",
                "DeleteKeyPair"
                | "DeleteVpcEndpoints"
                | "DeleteVpcEndpointServiceConfigurations"
                | "DeleteVpcEndpointConnectionNotifications" => true,
                "AcceptVpcEndpointConnections" | "RejectVpcEndpointConnections" => name == "connection",
                _ => false,
            };
            assert_eq!(of_alice.starts_with("answer"), harmless, "{operation} {name}: {of_alice}");
            compared += 1;
        }
    }
    assert!(compared > 80, "{compared}");
}

#[test]
fn lists_show_ones_own_things_alone() {
    let (api, alices) = built();
    for (operation, _) in requests::all() {
        if !operation.starts_with("Describe")
            || operation.ends_with("Attribute") && operation != "DescribeAddressesAttribute"
            || operation == "DescribeVpcEndpointServicePermissions"
        {
            continue;
        }
        let answer = api.try_as(BOB, operation, &json!({})).unwrap().to_string();
        for (name, id) in alices.iter().filter(|(_, id)| id.contains('-')) {
            assert!(!answer.contains(id.as_str()), "{operation} shows Alice's {name}");
        }
    }
}

//! Organizational units.

use std::sync::Arc;

use super::{Node, Organization, OrganizationRefusal, Unit, new_id};
use crate::error::ModelError;
use crate::tag::{self, TagSet};
use crate::txn::Txn;

/// Units may be nested so deep under the root.
const DEEPEST: usize = 5;
/// How many units an organization may have.
const MAX_UNITS: usize = 2_000;

pub(super) fn create(
    organization: &mut Organization,
    txn: &mut Txn,
    parent: String,
    name: String,
    tags: &TagSet,
) -> Result<(), ModelError> {
    if !matches!(organization.node(&parent), Some(Node::Root | Node::Unit)) {
        return Err(OrganizationRefusal::NotFound { node: Node::Parent, id: parent }.into());
    }
    check_name(organization, &parent, &name, None)?;
    // The root stands in the line too.
    if organization.line(&parent).len() > DEEPEST {
        return Err(OrganizationRefusal::TooDeep(DEEPEST).into());
    }
    let count = organization.units.len();
    txn.admit(|_| match count < MAX_UNITS {
        true => Ok(()),
        false => Err(OrganizationRefusal::Full { what: "organizational units", limit: MAX_UNITS }.into()),
    })?;
    // `ou-` and the root's letters, as AWS's.
    let of_root = organization.root.trim_start_matches("r-").to_owned();
    let id = new_id(txn, &format!("ou-{of_root}-"), 8);
    let tags = tag::collect(tags)?;
    organization.units.insert(id.clone(), Arc::new(Unit { id: id.clone(), name, parent }));
    organization.attach_usual(&id);
    if !tags.is_empty() {
        organization.tags.insert(id, tags);
    }
    Ok(())
}

/// Names are unique among the units of a parent.
fn check_name(
    organization: &Organization,
    parent: &str,
    name: &str,
    own: Option<&str>,
) -> Result<(), ModelError> {
    let mut others = organization.units.values().filter(|unit| Some(unit.id.as_str()) != own);
    if others.any(|unit| unit.parent == parent && unit.name == name) {
        return Err(OrganizationRefusal::UnitExists(name.to_owned()).into());
    }
    Ok(())
}

fn missing(id: &str) -> ModelError {
    OrganizationRefusal::NotFound { node: Node::Unit, id: id.to_owned() }.into()
}

pub(super) fn rename(organization: &mut Organization, id: &str, name: String) -> Result<(), ModelError> {
    let unit = organization.units.get(id).cloned().ok_or_else(|| missing(id))?;
    check_name(organization, &unit.parent, &name, Some(id))?;
    organization.units.insert(id.to_owned(), Arc::new(Unit { name, ..(*unit).clone() }));
    Ok(())
}

pub(super) fn delete(organization: &mut Organization, id: &str) -> Result<(), ModelError> {
    if !organization.units.contains_key(id) {
        return Err(missing(id));
    }
    let holds = organization.units.values().any(|unit| unit.parent == id)
        || organization.members.values().any(|member| member.parent == id);
    if holds {
        return Err(OrganizationRefusal::UnitNotEmpty(id.to_owned()).into());
    }
    organization.units.remove(id);
    organization.forget(id);
    Ok(())
}

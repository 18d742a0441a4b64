//! The one table of operations: what each asks for, which parameters it honours, and what carries it out.
//!
//! INVARIANT: there is one entry for every operation of the generated table (tested).

use std::future::Future;
use std::pin::Pin;

use postern_wire::AwsError;
use postern_wire::query::Form;

use super::ask::Asked;
use super::call::Call;

/// What carries an operation out: the response document, or AWS's error.
pub(super) type Running<'a> = Pin<Box<dyn Future<Output = Result<String, AwsError>> + Send + 'a>>;

/// One operation.
pub struct Entry {
    /// AWS's name.
    pub name: &'static str,
    /// The parameters that it honours: paths of query names without indices, each with all that is below it.
    pub honoured: &'static [&'static [&'static str]],
    /// Parameters that may only say what is so anyway, and what that is. Any other value is refused by name.
    pub only: &'static [(&'static str, &'static [&'static str])],
    /// The names of its filters.
    pub filters: fn() -> Vec<&'static str>,
    /// What its action is asked on.
    pub(super) asked: &'static [Asked],
    /// Carries it out.
    pub(super) handler: for<'a> fn(&'a Call<'a>, &'a Form, &'a str) -> Running<'a>,
}

impl Entry {
    pub(super) fn run<'a>(&self, call: &'a Call<'a>, form: &'a Form, request_id: &'a str) -> Running<'a> {
        (self.handler)(call, form, request_id)
    }
}

/// An entry of the table. `read` is for handlers that only look, `write` for those that change something.
macro_rules! operation {
    ($kind:ident $operation:ident = $handler:path; $($field:ident: $value:expr),* $(,)?) => {
        {
            let mut entry = $crate::ec2::table::BLANK;
            entry.name = <postern_wire::ec2::op::$operation as postern_wire::Operation>::NAME;
            entry.handler = |call, form, request_id| {
                Box::pin(async move {
                    let request = postern_wire::query::decode::<postern_wire::ec2::op::$operation>(form);
                    let request = request.map_err(|e| e.to_aws(postern_wire::shape::Protocol::Ec2))?;
                    let response = $crate::ec2::table::operation!(@$kind $handler, call, request);
                    Ok(<postern_wire::ec2::op::$operation as postern_wire::Operation>::respond(response, request_id))
                })
            };
            $(entry.$field = $value;)*
            entry
        }
    };
    (@read $handler:path, $call:ident, $request:ident) => { $handler($call, $request)? };
    (@write $handler:path, $call:ident, $request:ident) => { $handler($call, $request).await? };
}
pub(super) use operation;

/// What an entry has where it says nothing else.
pub(super) const BLANK: Entry = Entry {
    name: "",
    honoured: &[],
    only: &[],
    filters: Vec::new,
    asked: &[],
    handler: |call, _, _| {
        let operation = call.operation;
        Box::pin(async move { Err(super::error::unknown_action(operation)) })
    },
};

const FAMILIES: &[&[Entry]] = &[
    super::vpc::OPERATIONS,
    super::dhcp_options::OPERATIONS,
    super::subnet::OPERATIONS,
    super::route_table::OPERATIONS,
    super::route::OPERATIONS,
    super::gateway::OPERATIONS,
    super::nat_gateway::OPERATIONS,
    super::address::OPERATIONS,
    super::interface::OPERATIONS,
    super::interface_attribute::OPERATIONS,
    super::security_group::OPERATIONS,
    super::security_group_rule::OPERATIONS,
    super::network_acl::OPERATIONS,
    super::prefix_list::OPERATIONS,
    super::endpoint::OPERATIONS,
    super::endpoint_service::OPERATIONS,
    super::endpoint_service_configuration::OPERATIONS,
    super::endpoint_service_permission::OPERATIONS,
    super::endpoint_connection::OPERATIONS,
    super::connection_notification::OPERATIONS,
    super::peering::OPERATIONS,
    super::vpn_gateway::OPERATIONS,
    super::vpn::OPERATIONS,
    super::transit_gateway::OPERATIONS,
    super::transit_attachment::OPERATIONS,
    super::transit_table::OPERATIONS,
    super::transit_route::OPERATIONS,
    super::launch::OPERATIONS,
    super::instance::OPERATIONS,
    super::instance_attribute::OPERATIONS,
    super::instance_status::OPERATIONS,
    super::instance_profile::OPERATIONS,
    super::instance_type::OPERATIONS,
    super::image::OPERATIONS,
    super::key_pair::OPERATIONS,
    super::tag::OPERATIONS,
    super::region::OPERATIONS,
];

/// Every operation that is served.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    FAMILIES.iter().copied().flatten()
}

/// The operation of that name.
pub(super) fn find(name: &str) -> Option<&'static Entry> {
    entries().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use postern_wire::ec2;
    use postern_wire::shape::{Kind, StructureShape};

    use super::*;

    /// The paths of all parameters of a request.
    fn paths(shape: &'static StructureShape, above: &str, found: &mut Vec<String>) {
        for member in shape.members {
            let path = if above.is_empty() {
                member.query_name.to_owned()
            } else {
                format!("{above}.{}", member.query_name)
            };
            let mut kind = member.kind;
            while let Kind::List(list) = kind {
                kind = list.item;
            }
            match kind {
                Kind::Structure(shape) => paths(shape, &path, found),
                _ => found.push(path),
            }
        }
    }

    #[test]
    fn every_operation_of_the_generated_table_has_one_entry() {
        for operation in ec2::OPERATIONS {
            assert_eq!(
                entries().filter(|entry| entry.name == operation.name).count(),
                1,
                "{}",
                operation.name
            );
        }
        assert_eq!(entries().count(), ec2::OPERATIONS.len());
    }

    #[test]
    fn entries_speak_of_parameters_that_there_are() {
        for entry in entries() {
            let operation = ec2::OPERATIONS.iter().find(|operation| operation.name == entry.name).unwrap();
            let mut known = Vec::new();
            paths(operation.input, "", &mut known);
            let honoured: Vec<&str> = entry.honoured.iter().copied().flatten().copied().collect();
            let only: Vec<&str> = entry.only.iter().map(|(path, _)| *path).collect();
            for path in honoured.iter().chain(&only) {
                assert!(known.iter().any(|known| known == path), "{} has no {path}", entry.name);
                let count = honoured.iter().chain(&only).filter(|other| *other == path).count();
                assert_eq!(count, 1, "{} {path} is there twice", entry.name);
            }
            for required in operation.input.members.iter().filter(|member| member.required) {
                let there = honoured.iter().any(|path| path.split('.').next() == Some(required.query_name));
                assert!(there, "{} needs {}", entry.name, required.query_name);
            }
            for asked in entry.asked {
                match asked {
                    Asked::New(_) => {}
                    Asked::Named(_, path) | Asked::PassedRole(path) => {
                        assert!(honoured.contains(path), "{} asks about {path}", entry.name);
                    }
                }
            }
            let filtered = honoured.contains(&"Filter.Name");
            assert_eq!(filtered, !(entry.filters)().is_empty(), "{}", entry.name);
        }
    }
}

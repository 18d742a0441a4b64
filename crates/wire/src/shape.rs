//! The tables that describe AWS's shapes: what the generic codecs of this crate read.
//!
//! One table serves both sides: the region decodes requests and writes responses by it, a client encodes requests
//! and reads responses by it.

/// One AWS service that speaks a query protocol.
#[derive(Debug)]
pub struct Service {
    /// The name in a credential scope: `ec2`, `iam`, `sts`, `elasticloadbalancing`.
    pub name: &'static str,
    /// The date that requests carry as `Version`.
    pub api_version: &'static str,
    /// The namespace of every response document.
    pub xml_namespace: &'static str,
    /// The dialect.
    pub protocol: Protocol,
    /// Every operation served.
    pub operations: &'static [OperationInfo],
}

impl Service {
    /// The operation of that name, if it is served.
    pub fn operation(&self, name: &str) -> Option<&'static OperationInfo> {
        self.operations.iter().find(|operation| operation.name == name)
    }
}

/// The two dialects of AWS's query protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's: lists are flattened, names are capitalised, the result is not wrapped.
    Ec2,
    /// IAM's and STS's: lists have a `member` step, the result is wrapped.
    Query,
}

/// One operation: its name and what goes in and out.
#[derive(Debug)]
pub struct OperationInfo {
    /// `CreateVpc`.
    pub name: &'static str,
    /// The request's shape.
    pub input: &'static StructureShape,
    /// The response's shape; none where AWS answers with an acknowledgement only.
    pub output: Option<&'static StructureShape>,
}

impl OperationInfo {
    pub(crate) const fn new(
        name: &'static str,
        input: &'static StructureShape,
        output: &'static StructureShape,
    ) -> Self {
        Self { name, input, output: if output.name.is_empty() { None } else { Some(output) } }
    }
}

/// One parameter that a request can carry: a scalar, by its whole name with every index 1.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// `TagSpecification.1.Tag.1.Key`.
    pub name: String,
    /// The member of the request itself that it belongs to: `TagSpecification`.
    pub member: &'static str,
    /// What it holds.
    pub kind: Kind,
}

impl OperationInfo {
    /// Every parameter that a request can carry, for tests that send each.
    pub fn parameters(&self, protocol: Protocol) -> Vec<Parameter> {
        let mut found = Vec::new();
        for member in self.input.members {
            let mut scalars = Vec::new();
            leaves(protocol, member.kind, member.query_name.to_owned(), &mut scalars);
            let of_member = |(name, kind)| Parameter { name, member: member.query_name, kind };
            found.extend(scalars.into_iter().map(of_member));
        }
        found
    }
}

fn leaves(protocol: Protocol, kind: Kind, name: String, found: &mut Vec<(String, Kind)>) {
    match kind {
        Kind::Structure(shape) => {
            for member in shape.members {
                leaves(protocol, member.kind, format!("{name}.{}", member.query_name), found);
            }
        }
        Kind::List(list) => {
            let name = match protocol {
                Protocol::Ec2 => format!("{name}.1"),
                Protocol::Query => format!("{name}.{}.1", list.query_item),
            };
            leaves(protocol, list.item, name, found);
        }
        Kind::Text(_)
        | Kind::Boolean
        | Kind::Integer(_)
        | Kind::Long(_)
        | Kind::Double
        | Kind::Timestamp
        | Kind::Blob => found.push((name, kind)),
    }
}

/// A structure and its members, in the order of the Rust struct's fields.
#[derive(Debug)]
pub struct StructureShape {
    /// AWS's name of the shape.
    pub name: &'static str,
    /// The members.
    pub members: &'static [Member],
}

impl StructureShape {
    /// The shape of nothing.
    pub const EMPTY: &'static Self = &Self { name: "", members: &[] };

    /// The position and description of the member with that AWS name.
    pub fn member(&self, name: &str) -> Option<(usize, &'static Member)> {
        self.members.iter().enumerate().find(|(_, member)| member.name == name)
    }
}

/// One member of a structure.
#[derive(Debug)]
pub struct Member {
    /// AWS's name, as in JSON documents and `aws` output: `VpcIds`.
    pub name: &'static str,
    /// The name in a request's form: `VpcId`.
    pub query_name: &'static str,
    /// The element's name in a response: `vpcId`.
    pub xml_name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// A request without it is refused.
    pub required: bool,
    /// Clients fill it with a random token when the caller gives none.
    pub idempotency_token: bool,
}

impl Member {
    pub(crate) const fn new(
        name: &'static str,
        query_name: &'static str,
        xml_name: &'static str,
        kind: Kind,
    ) -> Self {
        Self { name, query_name, xml_name, kind, required: false, idempotency_token: false }
    }

    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) const fn token(self) -> Self {
        Self { idempotency_token: true, ..self }
    }
}

/// What a value is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A string, perhaps constrained.
    Text(&'static Text),
    /// `true` or `false`.
    Boolean,
    /// A 32-bit number within bounds.
    Integer(Range),
    /// A 64-bit number within bounds.
    Long(Range),
    /// A floating-point number.
    Double,
    /// A point in time.
    Timestamp,
    /// Bytes, base64 on the wire.
    Blob,
    /// A list.
    List(&'static List),
    /// A structure.
    Structure(&'static StructureShape),
}

/// The constraints on a string.
#[derive(Debug)]
pub struct Text {
    /// The values allowed, if it is an enumeration.
    pub values: &'static [&'static str],
    /// Characters.
    pub length: Range,
    /// The regular expression that AWS documents.
    pub pattern: Option<&'static str>,
}

/// A list's item.
#[derive(Debug)]
pub struct List {
    /// What the items are.
    pub item: Kind,
    /// The step before the index in a request (unused by EC2's dialect).
    pub query_item: &'static str,
    /// An item's element in a response.
    pub xml_item: &'static str,
    /// Items.
    pub size: Range,
}

/// An inclusive range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least value allowed.
    pub min: i64,
    /// The greatest value allowed.
    pub max: i64,
}

impl Range {
    /// No bounds.
    pub const ANY: Self = Self::new(i64::MIN, i64::MAX);

    /// Both bounds are allowed values.
    pub const fn new(min: i64, max: i64) -> Self {
        Self { min, max }
    }

    /// Whether the value lies within.
    pub const fn contains(self, value: i64) -> bool {
        self.min <= value && value <= self.max
    }
}

/// A string without constraints.
pub(crate) const TEXT: Kind = Kind::Text(&Text { values: &[], length: Range::ANY, pattern: None });
/// A boolean.
pub(crate) const BOOLEAN: Kind = Kind::Boolean;
/// A 32-bit number without further bounds.
pub(crate) const INTEGER: Kind = Kind::Integer(Range::ANY);
/// A 64-bit number without further bounds.
pub(crate) const LONG: Kind = Kind::Long(Range::ANY);
/// A floating-point number.
pub(crate) const DOUBLE: Kind = Kind::Double;
/// A point in time.
pub(crate) const TIMESTAMP: Kind = Kind::Timestamp;
/// Bytes.
pub(crate) const BLOB: Kind = Kind::Blob;

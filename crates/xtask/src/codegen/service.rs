//! The part of botocore's model that is generated from, read strictly.
//!
//! INVARIANT: whatever the generator does not understand is an error here, so a newer botocore cannot change the
//! wire in silence.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Map, Value};

use super::served::Served;

/// How the service speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// EC2's dialect of the query protocol.
    Ec2,
    /// The query protocol of IAM and STS.
    Query,
}

/// One service with the operations that are served and the shapes they reach.
pub struct Service {
    /// Its name in a credential scope.
    pub scope: String,
    pub api_version: &'static str,
    pub full_name: String,
    pub namespace: String,
    pub protocol: Protocol,
    pub operations: Vec<Operation>,
    /// By shape name.
    pub shapes: BTreeMap<String, Shape>,
}

pub struct Operation {
    pub name: &'static str,
    pub input: String,
    pub output: Option<String>,
}

pub struct Shape {
    pub kind: Kind,
    /// Reached from a request: its lists are plain, its enumerations are kept.
    pub in_request: bool,
    /// Its value must not be printed.
    pub sensitive: bool,
}

pub enum Kind {
    Structure(Vec<Member>),
    List { item: String, query_item: String, xml_item: String, bounds: Bounds },
    Text { values: Vec<String>, bounds: Bounds, pattern: Option<String> },
    Integer(Bounds),
    Long(Bounds),
    Boolean,
    Double,
    Timestamp,
    Blob,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    pub min: Option<i64>,
    pub max: Option<i64>,
}

pub struct Member {
    pub name: String,
    pub shape: String,
    pub query_name: String,
    pub xml_name: String,
    pub required: bool,
    pub idempotency_token: bool,
}

/// Reads what `served` needs out of the whole model.
pub fn read(document: &Value, served: &Served) -> anyhow::Result<Service> {
    let metadata = &document["metadata"];
    let protocol = match text(metadata, "protocol")? {
        "ec2" => Protocol::Ec2,
        "query" => Protocol::Query,
        other => bail!("protocol `{other}` is not known"),
    };
    ensure!(text(metadata, "apiVersion")? == served.api_version, "the model has another API version");
    let mut reader = Reader { document, protocol, left_out: served.left_out, shapes: BTreeMap::new() };
    let mut operations = Vec::new();
    for &name in served.operations {
        operations.push(reader.operation(name).with_context(|| format!("operation `{name}`"))?);
    }
    let scope = text(metadata, "signingName").or_else(|_| text(metadata, "endpointPrefix"))?;
    Ok(Service {
        scope: scope.to_owned(),
        api_version: served.api_version,
        full_name: text(metadata, "serviceFullName")?.to_owned(),
        namespace: namespace(text(metadata, "xmlNamespace")?),
        protocol,
        operations,
        shapes: reader.shapes,
    })
}

/// The namespace as the services write it: EC2's model leaves the last slash out.
fn namespace(modelled: &str) -> String {
    format!("{}/", modelled.trim_end_matches('/'))
}

struct Reader<'a> {
    document: &'a Value,
    protocol: Protocol,
    left_out: &'static [(&'static str, &'static str)],
    shapes: BTreeMap<String, Shape>,
}

impl Reader<'_> {
    fn operation(&mut self, name: &'static str) -> anyhow::Result<Operation> {
        let operation = object(&self.document["operations"], name)?;
        let http = operation.get("http").context("no `http`")?;
        ensure!(http["method"] == "POST" && http["requestUri"] == "/", "not a plain POST to `/`");
        let input = text(operation.get("input").context("no input")?, "shape")?.to_owned();
        let output = match operation.get("output") {
            Some(output) => {
                let wrapper = output.get("resultWrapper").and_then(Value::as_str);
                let expected = format!("{name}Result");
                match self.protocol {
                    Protocol::Ec2 => ensure!(wrapper.is_none(), "EC2 wraps no result"),
                    Protocol::Query => ensure!(wrapper == Some(&expected), "the wrapper is not `{expected}`"),
                }
                Some(text(output, "shape")?.to_owned())
            }
            None => None,
        };
        let (mut requested, mut answered) = (BTreeSet::new(), BTreeSet::new());
        self.reach(&input, &mut requested, &mut Vec::new())?;
        if let Some(output) = &output {
            self.reach(output, &mut answered, &mut Vec::new())?;
        }
        for shape in requested.iter().chain(&answered) {
            self.keep(shape, requested.contains(shape)).with_context(|| format!("shape `{shape}`"))?;
        }
        Ok(Operation { name, input, output })
    }

    /// Collects every shape below `name`; recursion would need boxes, and no served shape has it.
    fn reach(
        &self,
        name: &str,
        reached: &mut BTreeSet<String>,
        above: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        ensure!(!above.iter().any(|shape| shape == name), "shape `{name}` contains itself");
        reached.insert(name.to_owned());
        above.push(name.to_owned());
        let shape = object(&self.document["shapes"], name)?;
        if let Some(members) = shape.get("members").and_then(Value::as_object) {
            for (_, member) in members.iter().filter(|(member, _)| !self.is_left_out(name, member)) {
                self.reach(text(member, "shape")?, reached, above)?;
            }
        }
        for part in ["member", "key", "value"] {
            if let Some(member) = shape.get(part) {
                self.reach(text(member, "shape")?, reached, above)?;
            }
        }
        above.pop();
        Ok(())
    }

    fn is_left_out(&self, shape: &str, member: &str) -> bool {
        self.left_out.contains(&(shape, member))
    }

    fn keep(&mut self, name: &str, in_request: bool) -> anyhow::Result<()> {
        if let Some(present) = self.shapes.get_mut(name) {
            present.in_request |= in_request;
            return Ok(());
        }
        let shape = object(&self.document["shapes"], name)?;
        let known = [
            "type",
            "documentation",
            "members",
            "required",
            "member",
            "key",
            "value",
            "min",
            "max",
            "enum",
            "pattern",
            "sensitive",
            "locationName",
            "deprecated",
            // Of whose members a request has one; the service checks that.
            "union",
        ];
        for trait_name in shape.keys() {
            ensure!(known.contains(&trait_name.as_str()), "the trait `{trait_name}` is not known");
        }
        let sensitive = shape.get("sensitive").is_some_and(|value| value == true);
        let kind = if shape.get("type").is_some_and(|kind| kind == "map") {
            self.map(name, shape, in_request)?
        } else {
            self.kind(name, shape)?
        };
        self.shapes.insert(name.to_owned(), Shape { kind, in_request, sensitive });
        Ok(())
    }

    /// A map is on the wire of the query protocol what a list is whose items have a key and a value.
    fn map(&mut self, name: &str, shape: &Map<String, Value>, in_request: bool) -> anyhow::Result<Kind> {
        ensure!(self.protocol == Protocol::Query, "a map that is not of the query protocol");
        let part = |part: &str| {
            let member = shape.get(part).with_context(|| format!("map without `{part}`"))?;
            let wire_name = member.get("locationName").and_then(Value::as_str).unwrap_or(part);
            anyhow::Ok(Member {
                name: capitalised(part),
                shape: text(member, "shape")?.to_owned(),
                query_name: wire_name.to_owned(),
                xml_name: wire_name.to_owned(),
                required: true,
                idempotency_token: false,
            })
        };
        let entry = format!("{name}Entry");
        let members = vec![part("key")?, part("value")?];
        let shape = Shape { kind: Kind::Structure(members), in_request, sensitive: false };
        ensure!(self.shapes.insert(entry.clone(), shape).is_none(), "two shapes are called `{entry}`");
        let (query_item, xml_item) = ("entry".to_owned(), "entry".to_owned());
        Ok(Kind::List { item: entry, query_item, xml_item, bounds: Bounds::default() })
    }

    fn kind(&self, name: &str, shape: &Map<String, Value>) -> anyhow::Result<Kind> {
        let bounds = Bounds { min: bound(shape, "min"), max: bound(shape, "max") };
        Ok(match shape.get("type").and_then(Value::as_str).context("no `type`")? {
            "structure" => Kind::Structure(self.members(name, shape)?),
            "list" => {
                let member = shape.get("member").context("list without `member`")?;
                let item = text(member, "shape")?.to_owned();
                let named = member.get("locationName").and_then(Value::as_str);
                let query_item = named.unwrap_or("member").to_owned();
                let unnamed = match self.protocol {
                    Protocol::Ec2 => "item",
                    Protocol::Query => "member",
                };
                Kind::List { item, query_item, xml_item: named.unwrap_or(unnamed).to_owned(), bounds }
            }
            "string" => {
                let values = match shape.get("enum") {
                    Some(values) => serde_json::from_value(values.clone())?,
                    None => Vec::new(),
                };
                let pattern = shape.get("pattern").and_then(Value::as_str).map(str::to_owned);
                Kind::Text { values, bounds, pattern }
            }
            "integer" => Kind::Integer(bounds),
            "long" => Kind::Long(bounds),
            "boolean" => Kind::Boolean,
            "double" => Kind::Double,
            "timestamp" => Kind::Timestamp,
            "blob" => Kind::Blob,
            other => bail!("the type `{other}` is not known"),
        })
    }

    fn members(&self, of: &str, shape: &Map<String, Value>) -> anyhow::Result<Vec<Member>> {
        let required: Vec<String> = match shape.get("required") {
            Some(required) => serde_json::from_value(required.clone())?,
            None => Vec::new(),
        };
        let members =
            shape.get("members").and_then(Value::as_object).context("structure without `members`")?;
        let read = |(name, member): (&String, &Value)| self.member(name, member, required.contains(name));
        let kept = members.iter().filter(|(member, _)| !self.is_left_out(of, member));
        let mut members: Vec<Member> = kept.map(read).collect::<anyhow::Result<_>>()?;
        // Sorted, so that the order does not hang on how the JSON parser was built.
        members.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(members)
    }

    fn member(&self, name: &str, member: &Value, required: bool) -> anyhow::Result<Member> {
        let known = [
            "shape",
            "documentation",
            "locationName",
            "queryName",
            "idempotencyToken",
            "deprecated",
            "deprecatedMessage",
            "deprecatedSince",
        ];
        for trait_name in member.as_object().context("member is not an object")?.keys() {
            ensure!(known.contains(&trait_name.as_str()), "`{name}`: the trait `{trait_name}` is not known");
        }
        let location = member.get("locationName").and_then(Value::as_str);
        let query_name = match (self.protocol, member.get("queryName").and_then(Value::as_str)) {
            (Protocol::Ec2, Some(query_name)) => query_name.to_owned(),
            (Protocol::Ec2, None) => location.map_or_else(|| name.to_owned(), capitalised),
            (Protocol::Query, _) => location.unwrap_or(name).to_owned(),
        };
        Ok(Member {
            name: name.to_owned(),
            shape: text(member, "shape")?.to_owned(),
            query_name,
            xml_name: location.unwrap_or(name).to_owned(),
            required,
            idempotency_token: member.get("idempotencyToken").is_some_and(|value| value == true),
        })
    }
}

fn capitalised(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// A few bounds are written as floating-point numbers and lie beyond 64 bits: they bound nothing.
fn bound(shape: &Map<String, Value>, name: &str) -> Option<i64> {
    shape.get(name).and_then(Value::as_i64)
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value.get(name).and_then(Value::as_str).with_context(|| format!("no text `{name}`"))
}

fn object<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a Map<String, Value>> {
    value.get(name).and_then(Value::as_object).with_context(|| format!("no object `{name}`"))
}

//! What a request asks for: an action on each table or index, with the condition keys that policies are about.
//! Source: "Actions, resources, and condition keys for Amazon DynamoDB" in the service authorization reference, and
//! "Using IAM policy conditions for fine-grained access control" in the developer guide.
//!
//! INVARIANT: the partition keys that a request can reach are those in `dynamodb:LeadingKeys`. Where they cannot be
//! told, the request is refused: a policy that is about them would let through what has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dynoxide::types::normalize_dynamo_number;
use postern_frontdoor::{Ask, JsonError};
use postern_model::AccountId;
use postern_policy::Context;
use serde_json::{Map, Value as Json};

use super::arn::TableRef;
use super::error::validation;
use super::expression::Expression;
use super::operation::Operation;

type Document = Map<String, Json>;

/// What policies have to know of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Its partition key.
    pub(super) partition_key: String,
    /// The partition keys of its indexes, by their names.
    pub(super) indexes: BTreeMap<String, String>,
    /// Its tags.
    pub(super) tags: Vec<(String, String)>,
}

/// Where a request comes from and what it is about.
pub(super) struct Asker<'a> {
    /// The region.
    pub(super) region: &'a str,
    /// Who asks.
    pub(super) caller: AccountId,
    /// The tables that the request names and that are there.
    pub(super) tables: &'a BTreeMap<TableRef, Arc<Table>>,
}

/// The tables that a request names. Their names take the place of ARNs in it.
///
/// # Errors
/// An ARN that is none of a table of this region.
pub(super) fn name_tables(
    operation: Operation,
    document: &mut Document,
    caller: AccountId,
    region: &str,
) -> Result<Vec<TableRef>, JsonError> {
    let read = |text: &str| TableRef::read(text, caller, region);
    let rename = |part: &mut Document| -> Result<Option<TableRef>, JsonError> {
        let Some(Json::String(name)) = part.get_mut("TableName") else { return Ok(None) };
        let table = read(name)?;
        name.clone_from(&table.name);
        Ok(Some(table))
    };
    match operation {
        Operation::ListTables => Ok(Vec::new()),
        Operation::TagResource | Operation::UntagResource | Operation::ListTagsOfResource => {
            let arn = text(document, "ResourceArn").unwrap_or_default();
            if !arn.starts_with("arn:") {
                return Err(validation(format!(
                    "Invalid TableArn: Invalid ResourceArn provided as input {arn}"
                )));
            }
            Ok(vec![read(arn)?])
        }
        Operation::BatchGetItem | Operation::BatchWriteItem => {
            let Some(requests) = object(document, "RequestItems") else { return Ok(Vec::new()) };
            match requests.keys().find(|name| name.starts_with("arn:")) {
                Some(arn) => Err(validation(format!(
                    "The table {arn} has to be given by its name: ARNs are not supported in RequestItems yet."
                ))),
                None => requests.keys().map(|name| read(name)).collect(),
            }
        }
        Operation::TransactGetItems | Operation::TransactWriteItems => {
            let mut tables = Vec::new();
            let Some(Json::Array(items)) = document.get_mut("TransactItems") else { return Ok(tables) };
            let parts = items.iter_mut().filter_map(Json::as_object_mut).flat_map(Map::values_mut);
            for part in parts.filter_map(Json::as_object_mut) {
                tables.extend(rename(part)?);
            }
            Ok(tables)
        }
        Operation::CreateTable
        | Operation::DeleteItem
        | Operation::DeleteTable
        | Operation::DescribeTable
        | Operation::DescribeTimeToLive
        | Operation::GetItem
        | Operation::PutItem
        | Operation::Query
        | Operation::Scan
        | Operation::UpdateItem
        | Operation::UpdateTable
        | Operation::UpdateTimeToLive => Ok(rename(document)?.into_iter().collect()),
    }
}

impl Asker<'_> {
    /// Everything that a request asks for; `named` are its tables, in order.
    ///
    /// # Errors
    /// Where it cannot be told which items the request would reach.
    pub(super) fn asks(
        &self,
        operation: Operation,
        document: &Document,
        named: &[TableRef],
    ) -> Result<Vec<Ask>, JsonError> {
        let first = || named.first().ok_or_else(|| validation("The request names no table."));
        match operation {
            // AWS's own words for a refusal name all tables.
            Operation::ListTables => {
                let every = TableRef { account: self.caller, name: "*".to_owned() };
                Ok(vec![self.ask("ListTables", &every, None, Context::new())])
            }
            Operation::CreateTable => {
                let table = first()?;
                let context = requested_tags(document);
                let mut asks = vec![self.ask("CreateTable", table, None, context.clone())];
                // Who makes a table with tags needs the permission to tag it, too ("Tagging for DynamoDB").
                if document.contains_key("Tags") {
                    asks.push(self.ask("TagResource", table, None, context));
                }
                Ok(asks)
            }
            Operation::TagResource | Operation::UntagResource => {
                Ok(vec![self.ask(operation.name(), first()?, None, requested_tags(document))])
            }
            Operation::DeleteTable
            | Operation::DescribeTable
            | Operation::DescribeTimeToLive
            | Operation::ListTagsOfResource
            | Operation::UpdateTable
            | Operation::UpdateTimeToLive => {
                Ok(vec![self.ask(operation.name(), first()?, None, Context::new())])
            }
            Operation::GetItem
            | Operation::PutItem
            | Operation::DeleteItem
            | Operation::UpdateItem
            | Operation::Query
            | Operation::Scan => Ok(vec![self.one(operation, document, first()?)?]),
            Operation::BatchGetItem => some("RequestItems", self.batch_get(document)),
            Operation::BatchWriteItem => some("RequestItems", self.batch_write(document)),
            Operation::TransactGetItems | Operation::TransactWriteItems => {
                let asks = self.transaction(operation, document, named);
                // INVARIANT: no item goes without an ask of its own.
                if asks.len() < objects(document, "TransactItems").count() {
                    return Err(validation(
                        "TransactItems can only contain one of Check, Put, Update or Delete",
                    ));
                }
                some("TransactItems", asks)
            }
        }
    }

    fn ask(&self, operation: &str, table: &TableRef, index: Option<&str>, mut context: Context) -> Ask {
        for (key, value) in self.tables.get(table).into_iter().flat_map(|table| &table.tags) {
            context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
        }
        Ask {
            action: format!("dynamodb:{operation}"),
            resource: match index {
                Some(index) => table.index_arn(self.region, index),
                None => table.arn(self.region),
            },
            resource_account: Some(table.account),
            resource_policy: None,
            context,
        }
    }

    /// An operation on one table or index.
    fn one(&self, operation: Operation, document: &Document, table: &TableRef) -> Result<Ask, JsonError> {
        let known = self.tables.get(table);
        let index = text(document, "IndexName");
        let mut facts = Facts::default();
        facts.attributes(document);
        let read = matches!(operation, Operation::GetItem | Operation::Query | Operation::Scan);
        let mut context = Context::new();
        if read {
            context.insert("dynamodb:Select", select(document, index.is_some()));
        } else {
            context.insert("dynamodb:ReturnValues", return_values(document));
        }
        context.insert("dynamodb:ReturnConsumedCapacity", consumed_capacity(document));
        if let Some(known) = known {
            let partition_key = match index {
                Some(index) => known.indexes.get(index),
                None => Some(&known.partition_key),
            };
            match (operation, partition_key) {
                // An index that is not there: the engine says so.
                (Operation::Query, Some(key)) => facts.query(document, key)?,
                (Operation::Query, None) | (Operation::Scan, _) => {}
                (_, _) => facts.item(document, &known.partition_key),
            }
        }
        facts.into_context(&mut context);
        Ok(self.ask(operation.name(), table, index, context))
    }

    fn batch_get(&self, document: &Document) -> Vec<Ask> {
        let requests = object(document, "RequestItems").into_iter().flatten();
        let asks = requests.filter_map(|(name, request)| {
            let (table, request) = (self.own(name), request.as_object()?);
            let mut facts = Facts::default();
            facts.attributes(request);
            for key in objects(request, "Keys") {
                facts.key(key, self.tables.get(&table).map(Arc::as_ref));
            }
            let mut context = Context::new().with("dynamodb:Select", select(request, false));
            context.insert("dynamodb:ReturnConsumedCapacity", consumed_capacity(document));
            facts.into_context(&mut context);
            Some(self.ask("BatchGetItem", &table, None, context))
        });
        asks.collect()
    }

    fn batch_write(&self, document: &Document) -> Vec<Ask> {
        let requests = object(document, "RequestItems").into_iter().flatten();
        let asks = requests.filter_map(|(name, writes)| {
            let table = self.own(name);
            let mut facts = Facts::default();
            for write in writes.as_array()?.iter().filter_map(Json::as_object) {
                for item in [("PutRequest", "Item"), ("DeleteRequest", "Key")]
                    .into_iter()
                    .filter_map(|(request, item)| object(object(write, request)?, item))
                {
                    facts.key(item, self.tables.get(&table).map(Arc::as_ref));
                }
            }
            let mut context =
                Context::new().with("dynamodb:ReturnConsumedCapacity", consumed_capacity(document));
            facts.into_context(&mut context);
            Some(self.ask("BatchWriteItem", &table, None, context))
        });
        asks.collect()
    }

    /// A transaction needs the permission for each of its actions, and policies can tell that it is one
    /// ("Amazon DynamoDB Transactions: How it works", "IAM for transactions").
    fn transaction(&self, operation: Operation, document: &Document, named: &[TableRef]) -> Vec<Ask> {
        let items = objects(document, "TransactItems");
        let mut named = named.iter();
        let asks = items.flat_map(Map::iter).filter_map(|(kind, part)| {
            let part = part.as_object()?;
            let action = match kind.as_str() {
                "Get" => "GetItem",
                "Put" => "PutItem",
                "Update" => "UpdateItem",
                "Delete" => "DeleteItem",
                "ConditionCheck" => "ConditionCheckItem",
                _ => return None,
            };
            // In the order in which `name_tables` found them.
            let table = text(part, "TableName").and_then(|_| named.next())?;
            let mut facts = Facts::default();
            facts.attributes(part);
            if let Some(known) = self.tables.get(table) {
                facts.item(part, &known.partition_key);
            }
            let mut context = Context::new().with("dynamodb:EnclosingOperation", operation.name());
            if kind == "Get" {
                context.insert("dynamodb:Select", select(part, false));
            } else {
                context.insert("dynamodb:ReturnValues", return_values(part));
            }
            context.insert("dynamodb:ReturnConsumedCapacity", consumed_capacity(document));
            facts.into_context(&mut context);
            Some(self.ask(action, table, None, context))
        });
        asks.collect()
    }

    fn own(&self, name: &str) -> TableRef {
        TableRef { account: self.caller, name: name.to_owned() }
    }
}

/// A request for nothing is refused as DynamoDB refuses it.
fn some(member: &str, asks: Vec<Ask>) -> Result<Vec<Ask>, JsonError> {
    if asks.is_empty() {
        let (first, rest) = member.split_at(1);
        return Err(validation(format!(
            "1 validation error detected: Value at '{}{rest}' failed to satisfy constraint: Member must have length \
             greater than or equal to 1",
            first.to_ascii_lowercase()
        )));
    }
    Ok(asks)
}

/// The partition keys and attributes that a request names.
#[derive(Default)]
struct Facts {
    leading_keys: BTreeSet<String>,
    attributes: BTreeSet<String>,
}

impl Facts {
    /// Every top-level attribute, wherever it is named.
    fn attributes(&mut self, part: &Document) {
        let names = object(part, "ExpressionAttributeNames");
        for expression in [
            "ProjectionExpression",
            "KeyConditionExpression",
            "FilterExpression",
            "ConditionExpression",
            "UpdateExpression",
        ] {
            if let Some(expression) = text(part, expression) {
                Expression::new(expression, names).attributes(&mut self.attributes);
            }
        }
        for map in [
            "Key",
            "Item",
            "Expected",
            "AttributeUpdates",
            "KeyConditions",
            "QueryFilter",
            "ScanFilter",
            "ExclusiveStartKey",
        ] {
            self.attributes.extend(object(part, map).into_iter().flat_map(Map::keys).cloned());
        }
        if let Some(Json::Array(names)) = part.get("AttributesToGet") {
            self.attributes.extend(names.iter().filter_map(Json::as_str).map(str::to_owned));
        }
    }

    /// The item of an operation on one.
    fn item(&mut self, part: &Document, partition_key: &str) {
        let item = object(part, "Key").or_else(|| object(part, "Item"));
        self.leading_keys.extend(item.and_then(|item| key_text(item.get(partition_key)?)));
    }

    /// One item of many.
    fn key(&mut self, item: &Document, table: Option<&Table>) {
        self.attributes.extend(item.keys().cloned());
        let value = table.and_then(|table| key_text(item.get(&table.partition_key)?));
        self.leading_keys.extend(value);
    }

    /// The items that a query is about.
    fn query(&mut self, document: &Document, partition_key: &str) -> Result<(), JsonError> {
        let names = object(document, "ExpressionAttributeNames");
        let values = object(document, "ExpressionAttributeValues");
        if let Some(expression) = text(document, "KeyConditionExpression") {
            let equal = Expression::new(expression, names).equal_to(partition_key);
            let value = |name: &str| key_text(values?.get(name)?);
            self.leading_keys.extend(equal.into_iter().filter_map(value));
        }
        let condition =
            object(document, "KeyConditions").and_then(|conditions| object(conditions, partition_key));
        if let Some(condition) = condition.filter(|it| text(it, "ComparisonOperator") == Some("EQ")) {
            let given = condition.get("AttributeValueList").and_then(Json::as_array).into_iter().flatten();
            self.leading_keys.extend(given.filter_map(key_text));
        }
        if self.leading_keys.is_empty() {
            return Err(validation(format!("Query condition missed key schema element: {partition_key}")));
        }
        Ok(())
    }

    fn into_context(self, context: &mut Context) {
        context.insert_many("dynamodb:LeadingKeys", self.leading_keys);
        context.insert_many("dynamodb:Attributes", self.attributes);
    }
}

/// A key's value as policies have it. Numbers and bytes have one text each, so that no other spelling of the same key
/// gets past a policy.
fn key_text(value: &Json) -> Option<String> {
    let (kind, value) = value.as_object()?.iter().find(|(_, value)| !value.is_null())?;
    let value = value.as_str()?;
    match kind.as_str() {
        "S" => Some(value.to_owned()),
        "N" => Some(normalize_dynamo_number(value)),
        "B" => Some(STANDARD.decode(value).map_or_else(|_| value.to_owned(), |bytes| STANDARD.encode(bytes))),
        _ => None,
    }
}

/// What is selected, also where the request leaves it to DynamoDB ("Select" of Query and Scan).
fn select(document: &Document, index: bool) -> String {
    let some = document.contains_key("ProjectionExpression") || document.contains_key("AttributesToGet");
    match (text(document, "Select"), some, index) {
        (Some(given), ..) => given.to_owned(),
        (None, true, _) => "SPECIFIC_ATTRIBUTES".to_owned(),
        (None, false, true) => "ALL_PROJECTED_ATTRIBUTES".to_owned(),
        (None, false, false) => "ALL_ATTRIBUTES".to_owned(),
    }
}

/// What of the item is answered, also where a condition fails.
fn return_values(document: &Document) -> String {
    let given = text(document, "ReturnValues").filter(|given| *given != "NONE");
    let on_failure = text(document, "ReturnValuesOnConditionCheckFailure");
    given.or(on_failure).unwrap_or("NONE").to_owned()
}

fn consumed_capacity(document: &Document) -> String {
    text(document, "ReturnConsumedCapacity").unwrap_or("NONE").to_owned()
}

/// `aws:RequestTag/…` and `aws:TagKeys`.
fn requested_tags(document: &Document) -> Context {
    let mut context = Context::new();
    let mut keys = BTreeSet::new();
    for tag in objects(document, "Tags") {
        let (Some(key), Some(value)) = (text(tag, "Key"), text(tag, "Value")) else { continue };
        context.insert(&format!("aws:RequestTag/{key}"), value.to_owned());
        keys.insert(key.to_owned());
    }
    if let Some(Json::Array(given)) = document.get("TagKeys") {
        keys.extend(given.iter().filter_map(Json::as_str).map(str::to_owned));
    }
    context.insert_many("aws:TagKeys", keys);
    context
}

fn text<'d>(document: &'d Document, name: &str) -> Option<&'d str> {
    document.get(name)?.as_str()
}

fn object<'d>(document: &'d Document, name: &str) -> Option<&'d Document> {
    document.get(name)?.as_object()
}

fn objects<'d>(document: &'d Document, name: &str) -> impl Iterator<Item = &'d Document> {
    document.get(name).and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_object)
}

//! DynamoDB behind the front door.

use postern_frontdoor::json::{Beginning, Begun};
use postern_frontdoor::{Caller, JsonError, JsonRequest, JsonService, Permit};

use super::arn::make_right;
use super::ask::{Asker, name_tables};
use super::engine::{Answer, Work};
use super::error::no_table;
use super::operation::Operation;
use super::shape;
use super::store::{Store, StoreError};

/// Bytes of a request: a batch may write 16 MiB ("BatchWriteItem"), and is longer than what it writes.
const BODY_BYTES_MAX: usize = 20 << 20;

/// DynamoDB.
pub struct DynamoDbService {
    store: Store,
    region: String,
}

impl DynamoDbService {
    /// Over these tables, in this region.
    pub fn new(store: Store, region: impl Into<String>) -> Self {
        Self { store, region: region.into() }
    }

    async fn read<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Result<Begun<'a>, JsonError> {
        let unknown = || JsonError::common("UnknownOperationException", "");
        let operation = Operation::named(request.operation).ok_or_else(unknown)?;
        let denied = || JsonError::common("AccessDeniedException", "Access Denied");
        let id = caller.account.ok_or_else(denied)?;
        let mut document = shape::read(operation, &request.body)?;
        let named = name_tables(operation, &mut document, id, &self.region)?;
        let work = Work::read(operation, &document)?;
        let account = self.store.account(id).await.map_err(failed)?;
        let hold = account.hold(operation.effect()).await;
        let tables = account.tables(&named, &hold).await?;
        let asker = Asker { region: &self.region, caller: id, tables: &tables };
        let asks = asker.asks(operation, &document, &named)?;
        let own = named.iter().all(|table| table.account == id);
        let untagged =
            named.into_iter().find(|table| is_about_tags(operation) && !tables.contains_key(table));
        let serve = move |permits: Vec<Permit>| async move {
            // INVARIANT: a table of another account is never looked for in this one. Without a policy of its own no
            // table of another account is allowed, so nobody comes here with one.
            if !own || permits.is_empty() {
                return Err(denied());
            }
            if let Some(table) = untagged {
                return Err(no_table(&table.name));
            }
            match account.carry_out(&self.store, work, operation.effect(), hold).await? {
                Answer::Document(document) => Ok(document),
                Answer::Description(mut description) => {
                    make_right(&mut description, id, &self.region);
                    Ok(description.to_string())
                }
            }
        };
        Ok(Begun { asks, serve: Box::new(move |permits| Box::pin(serve(permits))) })
    }
}

/// Whether the engine would answer for a table that is not there with words of its own.
fn is_about_tags(operation: Operation) -> bool {
    matches!(operation, Operation::TagResource | Operation::UntagResource | Operation::ListTagsOfResource)
}

fn failed(error: StoreError) -> JsonError {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        why = format!("{why}: {cause}");
        source = cause.source();
    }
    JsonError::internal(why)
}

impl JsonService for DynamoDbService {
    fn signing_name(&self) -> &'static str {
        "dynamodb"
    }

    fn target_prefix(&self) -> &'static str {
        "DynamoDB_20120810"
    }

    fn content_type(&self) -> &'static str {
        "application/x-amz-json-1.0"
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn operation(&self, name: &str) -> Option<&'static str> {
        Operation::named(name).map(Operation::name)
    }

    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a> {
        Box::pin(self.read(caller, request))
    }
}

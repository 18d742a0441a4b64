"""Sends every operation and every parameter of botocore's model of DynamoDB to its front door: `parameters.py URL`.

An operation that is not served answers as one that DynamoDB does not know. A parameter is refused by its name, or it is
honoured: those that are, and that `clients.py` and `policies.py` do not use, are shown to make a difference here.
"""

import json
import sys
import urllib.error
import urllib.request

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session

URL = sys.argv[1]
MODEL = botocore.session.get_session().get_service_model("dynamodb")
SERVED = """BatchGetItem BatchWriteItem CreateTable DeleteItem DeleteTable DescribeTable DescribeTimeToLive GetItem ListTables
ListTagsOfResource PutItem Query Scan TagResource TransactGetItems TransactWriteItems UntagResource UpdateItem UpdateTable
UpdateTimeToLive""".split()
# All that AWS has and that is not served, of the operations that are.
REFUSED = {
    "CreateTable": [
        "GlobalSecondaryIndexes.OnDemandThroughput", "GlobalSecondaryIndexes.WarmThroughput", "StreamSpecification.StreamViewType",
        "SSESpecification", "WarmThroughput", "ResourcePolicy", "OnDemandThroughput", "GlobalTableSourceArn",
        "GlobalTableSettingsReplicationMode", "VectorIndexes",
    ],
    "UpdateTable": [
        "GlobalSecondaryIndexUpdates.Update",
        "GlobalSecondaryIndexUpdates.Create.OnDemandThroughput", "GlobalSecondaryIndexUpdates.Create.WarmThroughput",
        "StreamSpecification.StreamViewType", "SSESpecification", "ReplicaUpdates", "MultiRegionConsistency",
        "GlobalTableWitnessUpdates", "OnDemandThroughput", "WarmThroughput", "GlobalTableSettingsReplicationMode",
        "DisassociationProtectionEnabled", "VectorIndexUpdates",
    ],
    "ListTagsOfResource": ["NextToken"],
    "TransactWriteItems": ["ReturnItemCollectionMetrics"],
}
checked = 0


def send(operation, document):
    """Code and sentence of the answer to a document, as it is."""
    headers = {"x-amz-target": f"DynamoDB_20120810.{operation}", "content-type": "application/x-amz-json-1.0"}
    request = botocore.awsrequest.AWSRequest("POST", URL + "/", headers=headers, data=json.dumps(document))
    botocore.auth.SigV4Auth(botocore.credentials.Credentials("AKIAROOT1", "secret"), "dynamodb", "us-east-1").add_auth(request)
    made = urllib.request.Request(request.url, data=request.data.encode(), headers=dict(request.headers))
    try:
        urllib.request.urlopen(made)
        return "", ""
    except urllib.error.HTTPError as error:
        told = json.loads(error.read())
        return told["__type"].split("#")[1], told.get("message", told.get("Message", ""))


def sample(shape):
    """Something of the right type."""
    kind = shape.type_name
    if shape.name == "AttributeValue":
        return {"S": "x"}
    if kind == "structure":
        return {}
    if kind == "list":
        return [sample(shape.member)]
    if kind == "map":
        return {"x": sample(shape.value)}
    return {"string": "x", "boolean": False, "integer": 1, "long": 1}[kind]


def paths(shape, at=()):
    """Each member's names from the outside in, with the document that has it and nothing else."""
    for name, member in shape.members.items():
        yield at + (name,), {name: sample(member)}
        inner, wrap = member, lambda document: document
        while inner.type_name in ("list", "map"):
            outer = wrap
            if inner.type_name == "list":
                wrap, inner = (lambda document, outer=outer: outer([document])), inner.member
            else:
                wrap, inner = (lambda document, outer=outer: outer({"x": document})), inner.value
        if inner.type_name == "structure" and inner.name != "AttributeValue":
            for path, document in paths(inner, at + (name,)):
                yield path, {name: wrap(document)}


for operation in MODEL.operation_names:
    if operation not in SERVED:
        assert send(operation, {}) == ("UnknownOperationException", ""), operation
        checked += 1
        continue
    refused = REFUSED.get(operation, [])
    seen = set()
    for path, document in paths(MODEL.operation_model(operation).input_shape):
        name = ".".join(path)
        seen.add(name)
        code, message = send(operation, document)
        assert code not in ("InternalServerError", "UnknownOperationException"), (operation, document, code)
        by_name = [known for known in refused if name == known or name.startswith(known + ".")]
        if by_name:
            expected = f"The parameter {by_name[0]} is not supported by this endpoint yet."
            assert (code, message) == ("ValidationException", expected), (operation, name, code, message)
        else:
            assert "not supported" not in message, (operation, name, message)
        checked += 1
    assert set(refused) <= seen, (operation, set(refused) - seen)

# --- What is honoured makes a difference.

db = boto3.client("dynamodb", endpoint_url=URL, region_name="us-east-1", aws_access_key_id="AKIAROOT1", aws_secret_access_key="secret",
                  config=botocore.config.Config(retries={"max_attempts": 1}))


def differs(what, *values):
    global checked
    assert len({json.dumps(value, sort_keys=True, default=str) for value in values}) == len(values), (what, values)
    checked += 1


def fails(what, code, call):
    global checked
    try:
        call()
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, (what, error.response)
        checked += 1
        return
    raise AssertionError(what)


def described():
    return db.describe_table(TableName="tab")["Table"]


definitions = [{"AttributeName": name, "AttributeType": "S"} for name in ("h", "r", "l")]
db.create_table(
    TableName="tab", AttributeDefinitions=definitions,
    KeySchema=[{"AttributeName": "h", "KeyType": "HASH"}, {"AttributeName": "r", "KeyType": "RANGE"}],
    LocalSecondaryIndexes=[{"IndexName": "local", "KeySchema": [{"AttributeName": "h", "KeyType": "HASH"}, {"AttributeName": "l", "KeyType": "RANGE"}],
                            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a"]}}],
    GlobalSecondaryIndexes=[{"IndexName": "global", "KeySchema": [{"AttributeName": "l", "KeyType": "HASH"}], "Projection": {"ProjectionType": "KEYS_ONLY"},
                             "ProvisionedThroughput": {"ReadCapacityUnits": 2, "WriteCapacityUnits": 3}}],
    ProvisionedThroughput={"ReadCapacityUnits": 4, "WriteCapacityUnits": 5}, TableClass="STANDARD_INFREQUENT_ACCESS", DeletionProtectionEnabled=True,
    StreamSpecification={"StreamEnabled": False},
)
assert described()["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
assert described()["DeletionProtectionEnabled"] is True
assert [described()["ProvisionedThroughput"][unit] for unit in ("ReadCapacityUnits", "WriteCapacityUnits")] == [4, 5]
assert [described()["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"][unit] for unit in ("ReadCapacityUnits", "WriteCapacityUnits")] == [2, 3]
assert "StreamSpecification" not in described() and "LatestStreamArn" not in described()
db.update_table(TableName="tab", ProvisionedThroughput={"ReadCapacityUnits": 6, "WriteCapacityUnits": 7}, TableClass="STANDARD")
assert described()["ProvisionedThroughput"]["ReadCapacityUnits"] == 6
db.update_table(TableName="tab", BillingMode="PAY_PER_REQUEST")
assert described()["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
checked += 7

for r in ("1", "2", "3"):
    db.put_item(TableName="tab", Item={"h": {"S": "h"}, "r": {"S": r}, "l": {"S": "l" + r}, "a": {"S": "a"}, "b": {"S": "b"}})
key = {"h": {"S": "h"}, "r": {"S": "1"}}
of_h = {"TableName": "tab", "KeyConditionExpression": "h = :h", "ExpressionAttributeValues": {":h": {"S": "h"}}}
differs("index", db.query(**of_h)["Items"], db.query(IndexName="local", **of_h)["Items"])
differs("index of a scan", db.scan(TableName="tab")["Items"], db.scan(TableName="tab", IndexName="global")["Items"])
differs("limit", db.query(**of_h)["Count"], db.query(Limit=2, **of_h)["Count"])
differs("order", db.query(**of_h)["Items"], db.query(ScanIndexForward=False, **of_h)["Items"])
start = db.query(Limit=2, **of_h)["LastEvaluatedKey"]
differs("start", db.query(**of_h)["Count"], db.query(ExclusiveStartKey=start, **of_h)["Count"])
differs("start of a scan", db.scan(TableName="tab")["Count"], db.scan(TableName="tab", ExclusiveStartKey=start)["Count"])
differs("start of the tables", db.list_tables()["TableNames"], db.list_tables(ExclusiveStartTableName="tab")["TableNames"])
read = {"TableName": "tab", "Key": key, "ReturnConsumedCapacity": "TOTAL"}
differs("consistent", *(db.get_item(ConsistentRead=yes, **read)["ConsumedCapacity"]["CapacityUnits"] for yes in (True, False)))
differs("consistent query", *(db.query(ConsistentRead=yes, ReturnConsumedCapacity="TOTAL", **of_h)["ConsumedCapacity"] for yes in (True, False)))
differs("consistent scan", *(db.scan(TableName="tab", ConsistentRead=yes, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"] for yes in (True, False)))
differs("consistent batch", *(db.batch_get_item(RequestItems={"tab": {"Keys": [key], "ConsistentRead": yes}}, ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"] for yes in (True, False)))
differs("older attributes of a batch", *(db.batch_get_item(RequestItems={"tab": {"Keys": [key], "AttributesToGet": [name]}})["Responses"] for name in "ab"))
differs("older attributes of a scan", *(db.scan(TableName="tab", AttributesToGet=[name])["Items"] for name in "ab"))
equal = lambda value: {"AttributeValueList": [{"S": value}], "ComparisonOperator": "EQ"}
differs("older filter", *(db.scan(TableName="tab", ScanFilter={"a": equal(value)})["Count"] for value in "ax"))
both = {"a": equal("a"), "b": equal("x")}
differs("older operator", *(db.scan(TableName="tab", ScanFilter=both, ConditionalOperator=operator)["Count"] for operator in ("AND", "OR")))
older = {"TableName": "tab", "KeyConditions": {"h": equal("h")}}
differs("older filter of a query", *(db.query(QueryFilter={"a": equal(value)}, **older)["Count"] for value in "ax"))
differs("older operator of a query", *(db.query(QueryFilter=both, ConditionalOperator=operator, **older)["Count"] for operator in ("AND", "OR")))
metrics = {"ReturnItemCollectionMetrics": "SIZE"}
differs("collection of a put", *("ItemCollectionMetrics" in db.put_item(TableName="tab", Item=key, **more) for more in (metrics, {})))
update = {"TableName": "tab", "Key": key}
differs("collection of an update", *("ItemCollectionMetrics" in db.update_item(**update, **more) for more in (metrics, {})))
put = {"PutRequest": {"Item": key}}
differs("collection of a batch", *("ItemCollectionMetrics" in db.batch_write_item(RequestItems={"tab": [put]}, **more) for more in (metrics, {})))
for operation, arguments in (
    ("put_item", {"TableName": "tab", "Item": key}), ("update_item", update), ("delete_item", update),
    ("batch_write_item", {"RequestItems": {"tab": [put]}}), ("transact_write_items", {"TransactItems": [{"Put": {"TableName": "tab", "Item": key}}]}),
    ("transact_get_items", {"TransactItems": [{"Get": {"TableName": "tab", "Key": key}}]}),
):
    differs("capacity of " + operation, *("ConsumedCapacity" in getattr(db, operation)(**arguments, **more) for more in ({"ReturnConsumedCapacity": "TOTAL"}, {})))
for action, value in (("PUT", "1"), ("ADD", "2")):
    db.update_item(AttributeUpdates={"n": {"Action": action, "Value": {"N": value}}}, **update)
assert db.get_item(TableName="tab", Key=key)["Item"]["n"] == {"N": "3"}
db.update_item(AttributeUpdates={"n": {"Action": "DELETE"}}, **update)
assert "n" not in db.get_item(TableName="tab", Key=key)["Item"]
wrong = {"a": {"Value": {"S": "never"}}}
refusal = "ConditionalCheckFailedException"
fails("older condition", refusal, lambda: db.delete_item(Expected=wrong, **update))
fails("older condition of an update", refusal, lambda: db.update_item(Expected={"a": {"Exists": False}, "zz": {"ComparisonOperator": "NOT_NULL"}}, ConditionalOperator="AND", **update))
db.update_item(Expected={"zz": {"ComparisonOperator": "NULL"}, "h": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "no"}]}}, ConditionalOperator="OR", **update)
fails("condition of a delete", refusal, lambda: db.delete_item(ConditionExpression="#a = :a", ExpressionAttributeNames={"#a": "a"}, ExpressionAttributeValues={":a": {"S": "never"}}, **update))
for kind, more in (("ConditionCheck", {}), ("Delete", {}), ("Update", {"UpdateExpression": "SET n = :a"})):
    item = {kind: {"TableName": "tab", "Key": key, "ConditionExpression": "#a = :a", "ExpressionAttributeNames": {"#a": "b"},
                   "ExpressionAttributeValues": {":a": {"S": "never"}}, "ReturnValuesOnConditionCheckFailure": "ALL_OLD", **more}}
    try:
        db.transact_write_items(TransactItems=[item])
        raise AssertionError(kind)
    except db.exceptions.TransactionCanceledException as error:
        assert error.response["CancellationReasons"][0]["Item"]["h"] == {"S": "h"}, error.response
        checked += 1
differs("attributes of a transaction", *(db.transact_get_items(TransactItems=[{"Get": {"TableName": "tab", "Key": {"h": {"S": "h"}, "r": {"S": "2"}}, "ProjectionExpression": "#x", "ExpressionAttributeNames": {"#x": name}}}])["Responses"] for name in "ab"))
fails("deletion protection", "ValidationException", lambda: db.delete_table(TableName="tab"))
db.update_table(TableName="tab", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "global"}}])
assert not described().get("GlobalSecondaryIndexes")
db.update_time_to_live(TableName="tab", TimeToLiveSpecification={"Enabled": True, "AttributeName": "until"})
print(f"{checked + 2} checks held")

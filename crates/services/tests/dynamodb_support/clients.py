"""What boto3's own examples do with tables and items, and what an answer's form owes its client."""

import decimal
import json
import sys
import urllib.error
import urllib.request
import zlib

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
from boto3.dynamodb.conditions import Attr, Key

URL = sys.argv[1]
CONFIG = botocore.config.Config(retries={"max_attempts": 1})


def session(key="AKIAROOT1"):
    return boto3.Session(key, "secret", region_name="us-east-1")


def client(key="AKIAROOT1", service="dynamodb"):
    return session(key).client(service, endpoint_url=URL, config=CONFIG)


def say(what, value):
    if isinstance(value, (dict, list)):
        value = json.dumps(value, sort_keys=True, default=str)
    print(f"{what}: {value}")


def refused(what, call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        say(what, f"{told['Code']}: {told['Message']}")
    else:
        say(what, "allowed")


db = session().resource("dynamodb", endpoint_url=URL, config=CONFIG)
low = client()

# Tables.
table = db.create_table(
    TableName="movies",
    KeySchema=[{"AttributeName": "year", "KeyType": "HASH"}, {"AttributeName": "title", "KeyType": "RANGE"}],
    AttributeDefinitions=[
        {"AttributeName": "year", "AttributeType": "N"},
        {"AttributeName": "title", "AttributeType": "S"},
        {"AttributeName": "studio", "AttributeType": "S"},
    ],
    GlobalSecondaryIndexes=[
        {
            "IndexName": "by-studio",
            "KeySchema": [{"AttributeName": "studio", "KeyType": "HASH"}, {"AttributeName": "year", "KeyType": "RANGE"}],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
    BillingMode="PAY_PER_REQUEST",
    Tags=[{"Key": "team", "Value": "films"}],
)
table.wait_until_exists()
say("arn", table.table_arn)
say("status", table.table_status)
said = low.describe_table(TableName="movies")["Table"]
say("index arn", said["GlobalSecondaryIndexes"][0]["IndexArn"])
say("index status", said["GlobalSecondaryIndexes"][0]["IndexStatus"])
say("by arn", low.describe_table(TableName=table.table_arn)["Table"]["TableName"])
refused("twice", lambda: low.create_table(
    TableName="movies",
    KeySchema=[{"AttributeName": "a", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "a", "AttributeType": "S"}],
    BillingMode="PAY_PER_REQUEST",
))
refused("unknown table", lambda: low.describe_table(TableName="absent"))
low.create_table(
    TableName="plain",
    KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5},
)
say("tables", low.list_tables()["TableNames"])
say("tables, a page", [low.list_tables(Limit=1)[field] for field in ("TableNames", "LastEvaluatedTableName")])
say("tags", low.list_tags_of_resource(ResourceArn=table.table_arn)["Tags"])

# Items.
table.put_item(Item={"year": 2015, "title": "The Big New Movie", "info": {"plot": "Nothing happens at all.", "rating": decimal.Decimal(0)}})
got = table.get_item(Key={"year": 2015, "title": "The Big New Movie"})
say("item", got["Item"])
say("absent item", "Item" in table.get_item(Key={"year": 1, "title": "x"}))
updated = table.update_item(
    Key={"year": 2015, "title": "The Big New Movie"},
    UpdateExpression="set info.rating=:r, info.plot=:p",
    ExpressionAttributeValues={":r": decimal.Decimal("5.5"), ":p": "Everything happens all at once."},
    ReturnValues="UPDATED_NEW",
)
say("updated", updated["Attributes"])
refused("condition", lambda: table.put_item(
    Item={"year": 2015, "title": "The Big New Movie"}, ConditionExpression=Attr("title").not_exists()
))
try:
    low.put_item(
        TableName="movies",
        Item={"year": {"N": "2015"}, "title": {"S": "The Big New Movie"}},
        ConditionExpression="attribute_not_exists(title)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
except low.exceptions.ConditionalCheckFailedException as error:
    say("what failed", error.response["Item"]["info"]["M"]["rating"])
with table.batch_writer() as batch:
    for number in range(60):
        batch.put_item(Item={"year": 2000 + number % 3, "title": f"film {number:02}", "studio": f"s{number % 2}", "n": number})
say("count", table.scan(Select="COUNT")["Count"])
found = table.query(KeyConditionExpression=Key("year").eq(2001) & Key("title").begins_with("film 1"))
say("query", [item["title"] for item in found["Items"]])
found = table.query(
    KeyConditionExpression=Key("year").eq(2001), FilterExpression=Attr("n").gt(50), ScanIndexForward=False, ProjectionExpression="title"
)
say("filtered, backwards", found["Items"])
say("scanned", found["ScannedCount"])
found = table.query(IndexName="by-studio", KeyConditionExpression=Key("studio").eq("s1") & Key("year").between(2001, 2001), Select="COUNT")
say("by index", found["Count"])
pages = list(low.get_paginator("scan").paginate(TableName="movies", PaginationConfig={"PageSize": 25}))
say("pages", [len(page["Items"]) for page in pages])
say("segments", sum(table.scan(Segment=s, TotalSegments=4)["Count"] for s in range(4)))
say("filtered scan", table.scan(FilterExpression=Attr("n").between(10, 12))["Count"])
keys = [{"year": 2000 + n % 3, "title": f"film {n:02}"} for n in range(5)]
got = db.batch_get_item(RequestItems={"movies": {"Keys": keys, "ProjectionExpression": "n"}})
say("batch", sorted(int(item["n"]) for item in got["Responses"]["movies"]))
deleted = table.delete_item(Key=keys[0], ReturnValues="ALL_OLD")
say("deleted", deleted["Attributes"]["n"])
used = table.get_item(Key=keys[1], ReturnConsumedCapacity="TOTAL")["ConsumedCapacity"]
say("capacity", used)

# Transactions.
put = {"Put": {"TableName": "plain", "Item": {"id": {"S": "a"}, "v": {"N": "1"}}, "ConditionExpression": "attribute_not_exists(id)"}}
low.transact_write_items(TransactItems=[put, {"Update": {
    "TableName": "plain", "Key": {"id": {"S": "b"}}, "UpdateExpression": "ADD v :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}}])
got = low.transact_get_items(TransactItems=[{"Get": {"TableName": "plain", "Key": {"id": {"S": key}}}} for key in "abc"])
say("transaction", [entry.get("Item") for entry in got["Responses"]])
try:
    low.transact_write_items(TransactItems=[put, {"Delete": {"TableName": "plain", "Key": {"id": {"S": "b"}}}}])
except low.exceptions.TransactionCanceledException as error:
    say("cancelled", [reason["Code"] for reason in error.response["CancellationReasons"]])
say("still there", low.get_item(TableName="plain", Key={"id": {"S": "b"}})["Item"]["v"])
same = {"ClientRequestToken": "once", "TransactItems": [{"Update": {
    "TableName": "plain", "Key": {"id": {"S": "b"}}, "UpdateExpression": "ADD v :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}}]}
low.transact_write_items(**same)
low.transact_write_items(**same)
say("once", low.get_item(TableName="plain", Key={"id": {"S": "b"}})["Item"]["v"])

# Every type of value comes back as it went.
everything = {
    "id": {"S": "types"}, "n": {"N": "-1.50E+3"}, "b": {"B": b"\x00\xff"}, "t": {"BOOL": True}, "z": {"NULL": True},
    "ss": {"SS": ["x", "y"]}, "ns": {"NS": ["1", "2"]}, "l": {"L": [{"S": ""}, {"M": {}}]}, "m": {"M": {"é\u0001": {"N": "0"}}},
}
low.put_item(TableName="plain", Item=everything)
back = low.get_item(TableName="plain", Key={"id": {"S": "types"}})["Item"]
say("number", back.pop("n"))
del everything["n"]
say("types", all(sorted(back[name]) == sorted(everything[name]) and str(back[name]) == str(everything[name]) for name in everything) and len(back) == len(everything))

# Time to live, tags, changes of a table.
say("ttl before", low.describe_time_to_live(TableName="plain")["TimeToLiveDescription"])
low.update_time_to_live(TableName="plain", TimeToLiveSpecification={"Enabled": True, "AttributeName": "gone"})
say("ttl", low.describe_time_to_live(TableName="plain")["TimeToLiveDescription"])
plain = "arn:aws:dynamodb:us-east-1:111122223333:table/plain"
low.tag_resource(ResourceArn=plain, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
low.untag_resource(ResourceArn=plain, TagKeys=["a"])
say("tags after", low.list_tags_of_resource(ResourceArn=plain)["Tags"])
low.update_table(TableName="plain", DeletionProtectionEnabled=True)
refused("protected", lambda: low.delete_table(TableName="plain"))
low.update_table(TableName="plain", DeletionProtectionEnabled=False)
low.update_table(
    TableName="plain",
    AttributeDefinitions=[{"AttributeName": "v", "AttributeType": "N"}],
    GlobalSecondaryIndexUpdates=[{"Create": {
        "IndexName": "by-v", "KeySchema": [{"AttributeName": "v", "KeyType": "HASH"}],
        "Projection": {"ProjectionType": "KEYS_ONLY"}, "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}}}],
)
found = low.query(TableName="plain", IndexName="by-v", KeyConditionExpression="v = :v", ExpressionAttributeValues={":v": {"N": "2"}})
say("new index", found["Items"])
say("updated table", low.describe_table(TableName="plain")["Table"]["GlobalSecondaryIndexes"][0]["IndexArn"])

# Older parameters.
found = low.query(TableName="movies", KeyConditions={
    "year": {"AttributeValueList": [{"N": "2002"}], "ComparisonOperator": "EQ"},
    "title": {"AttributeValueList": [{"S": "film 0"}], "ComparisonOperator": "BEGINS_WITH"}}, AttributesToGet=["title"])
say("older query", [item["title"]["S"] for item in found["Items"]])
refused("older condition", lambda: low.put_item(TableName="plain", Item={"id": {"S": "a"}}, Expected={"id": {"Exists": False}}))

# What makes no sense, and what is not served.
refused("no key", lambda: low.get_item(TableName="movies", Key={"year": {"N": "1"}}))
refused("wrong type", lambda: low.get_item(TableName="movies", Key={"year": {"S": "1"}, "title": {"S": "x"}}))
refused("no table", lambda: low.get_item(TableName="absent", Key={"id": {"S": "1"}}))
refused("empty set", lambda: low.put_item(TableName="plain", Item={"id": {"S": "1"}, "s": {"SS": []}}))
refused("too large", lambda: low.put_item(TableName="plain", Item={"id": {"S": "1"}, "s": {"S": "x" * 420000}}))
refused("syntax", lambda: low.scan(TableName="plain", FilterExpression="a == :b", ExpressionAttributeValues={":b": {"S": "1"}}))
refused("no partition key", lambda: low.query(TableName="movies", KeyConditionExpression="title = :t", ExpressionAttributeValues={":t": {"S": "x"}}))
refused("empty batch", lambda: low.batch_get_item(RequestItems={}))
refused("not served", lambda: low.create_backup(TableName="movies", BackupName="now"))
refused("partiql", lambda: low.execute_statement(Statement='SELECT * FROM "movies"'))
refused("stream", lambda: low.update_table(TableName="plain", StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}))
refused("tags of no table", lambda: low.list_tags_of_resource(ResourceArn=plain + "s"))
refused("other region", lambda: low.describe_table(TableName="arn:aws:dynamodb:eu-west-1:111122223333:table/plain"))

# Accounts.
other = client("AKIAROOT2")
say("other account", other.list_tables()["TableNames"])
refused("other account, by name", lambda: other.get_item(TableName="plain", Key={"id": {"S": "a"}}))
refused("other account, by arn", lambda: other.get_item(TableName=plain, Key={"id": {"S": "a"}}))
refused("other account, in a transaction", lambda: other.transact_get_items(TransactItems=[{"Get": {"TableName": plain, "Key": {"id": {"S": "a"}}}}]))
refused("other account, tags", lambda: other.list_tags_of_resource(ResourceArn=plain))
other.create_table(
    TableName="plain",
    KeySchema=[{"AttributeName": "mine", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "mine", "AttributeType": "B"}],
    BillingMode="PAY_PER_REQUEST",
)
say("other account's own", [other.describe_table(TableName="plain")["Table"][field] for field in ("TableArn", "ItemCount")])
other.delete_table(TableName="plain")
say("unharmed", low.describe_table(TableName="plain")["Table"]["ItemCount"])

# Signatures.
refused("wrong secret", lambda: boto3.client("dynamodb", "us-east-1", endpoint_url=URL, config=CONFIG, aws_access_key_id="AKIAROOT1", aws_secret_access_key="guess").list_tables())
refused("unknown key", lambda: client("AKIANOBODY").list_tables())


def raw(body, target="DynamoDB_20120810.ListTables", sign=True, method="POST", kind="application/x-amz-json-1.0"):
    request = botocore.awsrequest.AWSRequest(method, URL + "/", headers={"x-amz-target": target, "content-type": kind}, data=body)
    if sign:
        botocore.auth.SigV4Auth(botocore.credentials.Credentials("AKIAROOT1", "secret"), "dynamodb", "us-east-1").add_auth(request)
    else:
        request.headers["host"] = "dynamodb.us-east-1.amazonaws.com"
    made = urllib.request.Request(request.url, data=body if method == "POST" else None, headers=dict(request.headers), method=method)
    try:
        answer = urllib.request.urlopen(made)
    except urllib.error.HTTPError as error:
        answer = error
    document = answer.read()
    summed = int(answer.headers["x-amz-crc32"]) == zlib.crc32(document)
    return f"{answer.status} {answer.headers['content-type']} {document.decode()} sum {summed} id {len(answer.headers['x-amzn-requestid']) > 20}"


say("raw", raw(b"{}"))
say("raw, no json", raw(b"<xml>"))
say("raw, wrong type", raw(b'{"Limit": "many"}'))
say("raw, unknown operation", raw(b"{}", "DynamoDB_20120810.Nothing"))
say("raw, other service", raw(b"{}", "Kinesis_20131202.ListStreams"))
say("raw, other kind", raw(b"{}", kind="text/plain"))
say("raw, unsigned", raw(b"{}", sign=False))
say("raw, get", raw(b"", sign=False, method="GET"))

# Ends.
say("deleting", table.delete()["TableDescription"]["TableStatus"])
table.wait_until_not_exists()
say("left", low.list_tables()["TableNames"])

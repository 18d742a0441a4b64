"""Identity policies on tables, items and attributes: each allows something and refuses what is just beside it."""

import json
import sys

import boto3
import botocore.config
import botocore.exceptions

URL = sys.argv[1]
CONFIG = botocore.config.Config(retries={"max_attempts": 1})
ARN = "arn:aws:dynamodb:us-east-1:111122223333:table"


def client(service, key="AKIAROOT1", secret="secret"):
    return boto3.Session(key, secret, region_name="us-east-1").client(service, endpoint_url=URL, config=CONFIG)


root, iam = client("dynamodb"), client("iam")
iam.create_user(UserName="ana")
key = iam.create_access_key(UserName="ana")["AccessKey"]
ana = client("dynamodb", key["AccessKeyId"], key["SecretAccessKey"])

for name in ("scores", "other"):
    root.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "user", "KeyType": "HASH"}, {"AttributeName": "game", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": "S"} for attribute in ("user", "game", "team")],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-team",
            "KeySchema": [{"AttributeName": "team", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "ALL"},
        }],
        BillingMode="PAY_PER_REQUEST",
        Tags=[{"Key": "stage", "Value": "prod" if name == "other" else "test"}],
    )
    for user in ("ana", "bob"):
        root.put_item(TableName=name, Item={"user": {"S": user}, "game": {"S": "go"}, "team": {"S": "red"}, "score": {"N": "1"}, "secret": {"S": "x"}})
root.create_table(
    TableName="numbers",
    KeySchema=[{"AttributeName": "n", "KeyType": "HASH"}],
    AttributeDefinitions=[{"AttributeName": "n", "AttributeType": "N"}],
    BillingMode="PAY_PER_REQUEST",
)


def policy(title, *statements):
    print(f"-- {title}")
    for statement in statements:
        statement.setdefault("Effect", "Allow")
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    iam.put_user_policy(UserName="ana", PolicyName="p", PolicyDocument=json.dumps(document))


def try_(what, call):
    try:
        call()
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]
        message = told["Message"].replace("arn:aws:iam::111122223333:user/", "").replace(ARN, "")
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        print(f"{what}: {told['Code']}: {message}")
    else:
        print(f"{what}: allowed")


def s(**values):
    return {name: {"S": value} for name, value in values.items()}


def get(user, table="scores", **more):
    return lambda: ana.get_item(TableName=table, Key=s(user=user, game="go"), **more)


def query(condition, table="scores", **more):
    values = more.pop("values", {":v": {"S": "ana"}})
    return lambda: ana.query(TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values, **more)


policy("one table", {"Action": "dynamodb:GetItem", "Resource": f"{ARN}/scores"}, {"Action": "dynamodb:List*", "Resource": "*"})
try_("its item", get("ana"))
try_("its item, by arn", get("ana", f"{ARN}/scores"))
try_("other table", get("ana", "other"))
try_("other action", lambda: ana.delete_item(TableName="scores", Key=s(user="ana", game="go")))
try_("absent table", get("ana", "absent"))
try_("tables", lambda: ana.list_tables())
try_("batch", lambda: ana.batch_get_item(RequestItems={"scores": {"Keys": [s(user="ana", game="go")]}}))

policy("batches of one table", {"Action": ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"], "Resource": f"{ARN}/scores"})
keys = {"Keys": [s(user="ana", game="go")]}
try_("batch", lambda: ana.batch_get_item(RequestItems={"scores": keys}))
try_("batch of two", lambda: ana.batch_get_item(RequestItems={"scores": keys, "other": keys}))
try_("write of two", lambda: ana.batch_write_item(RequestItems={
    "scores": [{"PutRequest": {"Item": s(user="ana", game="chess")}}], "other": [{"DeleteRequest": {"Key": s(user="ana", game="go")}}]}))
try_("get", get("ana"))
assert "Item" in root.get_item(TableName="other", Key=s(user="ana", game="go")), "half a batch was done"
assert "Item" not in root.get_item(TableName="scores", Key=s(user="ana", game="chess")), "half a batch was done"

policy("an index", {"Action": "dynamodb:Query", "Resource": f"{ARN}/scores/index/*"})
try_("by index", query("team = :v", IndexName="by-team"))
try_("table", query("#u = :v", ExpressionAttributeNames={"#u": "user"}))
try_("scan of the index", lambda: ana.scan(TableName="scores", IndexName="by-team"))

names = {"#u": "user"}
policy("own items", {
    "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:Batch*", "dynamodb:ConditionCheckItem"],
    "Resource": [f"{ARN}/scores", f"{ARN}/scores/index/*"],
    "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["${aws:username}"]}},
})
try_("own", get("ana"))
try_("bob's", get("bob"))
try_("put own", lambda: ana.put_item(TableName="scores", Item=s(user="ana", game="chess")))
try_("put bob's", lambda: ana.put_item(TableName="scores", Item=s(user="bob", game="chess")))
try_("delete bob's", lambda: ana.delete_item(TableName="scores", Key=s(user="bob", game="go")))
try_("update bob's", lambda: ana.update_item(TableName="scores", Key=s(user="bob", game="go"), UpdateExpression="SET score = :s", ExpressionAttributeValues={":s": {"N": "9"}}))
try_("query own", query("#u = :v", ExpressionAttributeNames=names))
try_("query own, backwards", query(":v = #u AND begins_with(game, :g)", ExpressionAttributeNames=names, values={":v": {"S": "ana"}, ":g": {"S": "g"}}))
try_("query bob's", query("#u = :v", ExpressionAttributeNames=names, values={":v": {"S": "bob"}}))
try_("query bob's, backwards", query("(:v = #u)", ExpressionAttributeNames=names, values={":v": {"S": "bob"}}))
try_("query bob's, older", lambda: ana.query(TableName="scores", KeyConditions={"user": {"AttributeValueList": [{"S": "bob"}], "ComparisonOperator": "EQ"}}))
try_("query by another key", query("team = :v", IndexName="by-team", values={":v": {"S": "red"}}))
try_("scan", lambda: ana.scan(TableName="scores"))
try_("batch own", lambda: ana.batch_get_item(RequestItems={"scores": {"Keys": [s(user="ana", game="go")]}}))
try_("batch with bob's", lambda: ana.batch_get_item(RequestItems={"scores": {"Keys": [s(user="ana", game="go"), s(user="bob", game="go")]}}))
try_("write with bob's", lambda: ana.batch_write_item(RequestItems={"scores": [{"DeleteRequest": {"Key": s(user="bob", game="go")}}]}))
check = {"ConditionCheck": {"TableName": "scores", "Key": s(user="bob", game="go"), "ConditionExpression": "attribute_exists(score)"}}
put = {"Put": {"TableName": "scores", "Item": s(user="ana", game="shogi")}}
try_("transaction own", lambda: ana.transact_write_items(TransactItems=[put]))
try_("transaction with bob's", lambda: ana.transact_write_items(TransactItems=[put, check]))
try_("reads of bob's", lambda: ana.transact_get_items(TransactItems=[{"Get": {"TableName": "scores", "Key": s(user="bob", game="go")}}]))

policy("a number refused", {"Action": "dynamodb:*", "Resource": "*"}, {
    "Effect": "Deny", "Action": "dynamodb:*", "Resource": "*", "Condition": {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": "10"}}})
for number in ("9", "10", "10.0", "1e1", "+0010"):
    try_(number, lambda number=number: ana.get_item(TableName="numbers", Key={"n": {"N": number}}))

policy("some attributes", {
    "Action": ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:UpdateItem", "dynamodb:BatchGetItem"],
    "Resource": f"{ARN}/scores",
    "Condition": {
        "ForAllValues:StringEquals": {"dynamodb:Attributes": ["user", "game", "score"]},
        "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES", "dynamodb:ReturnValues": ["NONE", "UPDATED_OLD", "UPDATED_NEW"]},
    },
})
try_("score", get("ana", ProjectionExpression="score"))
try_("score, by another name", get("ana", ProjectionExpression="#s", ExpressionAttributeNames={"#s": "score"}))
try_("secret", get("ana", ProjectionExpression="score, secret"))
try_("secret, by another name", get("ana", ProjectionExpression="#s", ExpressionAttributeNames={"#s": "secret"}))
try_("secret, inside", get("ana", ProjectionExpression="secret.x[0]"))
try_("secret, older", get("ana", AttributesToGet=["secret"]))
try_("all", get("ana"))
try_("all of a batch", lambda: ana.batch_get_item(RequestItems={"scores": keys}))
try_("filter", lambda: ana.scan(TableName="scores", ProjectionExpression="score", FilterExpression="secret = :x", ExpressionAttributeValues=s(**{":x": "x"})))
try_("count", lambda: ana.scan(TableName="scores", Select="COUNT"))
update = {"TableName": "scores", "Key": s(user="ana", game="go"), "ExpressionAttributeValues": {":s": {"N": "2"}}}
try_("update", lambda: ana.update_item(UpdateExpression="SET score = :s", ReturnValues="UPDATED_NEW", **update))
try_("update, all back", lambda: ana.update_item(UpdateExpression="SET score = :s", ReturnValues="ALL_NEW", **update))
try_("update, all back where it fails", lambda: ana.update_item(
    UpdateExpression="SET score = :s", ConditionExpression="score < :s", ReturnValuesOnConditionCheckFailure="ALL_OLD", **update))
try_("update of the secret", lambda: ana.update_item(UpdateExpression="SET secret = :s", **update))
try_("copy of the secret", lambda: ana.update_item(UpdateExpression="SET score = if_not_exists(secret, :s)", **update))
try_("condition on the secret", lambda: ana.update_item(UpdateExpression="SET score = :s", ConditionExpression="size(secret) > :s", **update))

policy("transactions only", {"Action": "dynamodb:*", "Resource": "*", "Condition": {"StringLike": {"dynamodb:EnclosingOperation": "Transact*"}}})
try_("transaction", lambda: ana.transact_get_items(TransactItems=[{"Get": {"TableName": "scores", "Key": s(user="bob", game="go")}}]))
try_("plain", get("bob"))

policy("no capacity", {"Action": "dynamodb:*", "Resource": "*", "Condition": {"StringEquals": {"dynamodb:ReturnConsumedCapacity": "NONE"}}})
try_("without", get("ana"))
try_("with", get("ana", ReturnConsumedCapacity="TOTAL"))

policy("by tag", {"Action": "dynamodb:*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/stage": "test"}}})
try_("tagged", get("ana"))
try_("tagged otherwise", get("ana", "other"))
try_("index of a tagged one", query("team = :v", IndexName="by-team"))
root.tag_resource(ResourceArn=f"{ARN}/other", Tags=[{"Key": "stage", "Value": "test"}])
try_("tagged now", get("ana", "other"))
root.untag_resource(ResourceArn=f"{ARN}/other", TagKeys=["stage"])
try_("not tagged any more", get("ana", "other"))

tables = {"KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}], "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}], "BillingMode": "PAY_PER_REQUEST"}
policy("tables with tags", {"Action": ["dynamodb:CreateTable", "dynamodb:TagResource"], "Resource": "*", "Condition": {"StringEquals": {"aws:RequestTag/team": "red"}}})
try_("with", lambda: ana.create_table(TableName="tagged", Tags=[{"Key": "team", "Value": "red"}], **tables))
try_("without", lambda: ana.create_table(TableName="untagged", **tables))
policy("tables without tags", {"Action": "dynamodb:CreateTable", "Resource": "*"})
try_("with", lambda: ana.create_table(TableName="tagged2", Tags=[{"Key": "team", "Value": "red"}], **tables))
try_("without", lambda: ana.create_table(TableName="untagged", **tables))

policy("an explicit no", {"Action": "dynamodb:*", "Resource": "*"}, {"Effect": "Deny", "Action": "dynamodb:DeleteTable", "Resource": f"{ARN}/scores"})
try_("delete", lambda: ana.delete_table(TableName="scores"))

# Policies and requests that are wrong, at every API that takes one: prints what each is told, for the table beside this file.
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import sys
import urllib.parse

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

HOST = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
KEY, SECRET = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
CONFIG = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, parameter_validation=False)
CLIENTS = {}


def client(name):
    return CLIENTS.setdefault(name, boto3.client(name, config=CONFIG))


def masked(text):
    text = re.sub(r"vpce-[0-9a-f]{17}", "vpce-0", text)
    text = re.sub(r"\b\d{12}\b", "ACCOUNT", text)
    return re.sub(r"\d{8}T\d{6}Z", "TIME", re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text))


def show(what, code, message):
    message = masked(message)
    print(f"{what}: {code}: {message if len(message) < 300 else message[:300] + '…'}")


def told(what, call):
    try:
        call()
        print(f"{what}: TAKEN")
    except ClientError as error:
        show(what, error.response["Error"]["Code"], error.response["Error"]["Message"])


def policy(**statement):
    return json.dumps({"Version": "2012-10-17", "Statement": {k: v for k, v in statement.items() if v is not None}})


account = client("sts").get_caller_identity()["Account"]
ec2, iam, s3, sns = client("ec2"), client("iam"), client("s3"), client("sns")
s3.create_bucket(Bucket="the-bucket")
s3.delete_public_access_block(Bucket="the-bucket")
topic = sns.create_topic(Name="t")["TopicArn"]
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
service = f"com.amazonaws.{os.environ['AWS_DEFAULT_REGION']}.s3"
endpoint = ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=service)["VpcEndpoint"]["VpcEndpointId"]
trust = policy(Effect="Allow", Principal={"AWS": account}, Action="sts:AssumeRole")
iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust)
iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=policy(Effect="Allow", Action="*", Resource="*"))
iam.create_user(UserName="u")
iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=policy(Effect="Allow", Action="sts:*", Resource="*"))
key = iam.create_access_key(UserName="u")["AccessKey"]
sts = boto3.client("sts", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"], config=CONFIG)
root = client("organizations").create_organization(FeatureSet="ALL")
role = f"arn:aws:iam::{account}:role/r"

STORES = {
    # What stores it, and what a good statement of it has.
    "PutBucketPolicy": (
        lambda text: s3.put_bucket_policy(Bucket="the-bucket", Policy=text),
        dict(Effect="Allow", Principal={"AWS": account}, Action="s3:GetObject", Resource="arn:aws:s3:::the-bucket/*"),
    ),
    "CreateVpcEndpoint": (
        lambda text: ec2.create_vpc_endpoint(VpcId=vpc, ServiceName=service, PolicyDocument=text, DryRun=False),
        dict(Effect="Allow", Principal="*", Action="s3:*", Resource="*"),
    ),
    "ModifyVpcEndpoint": (
        lambda text: ec2.modify_vpc_endpoint(VpcEndpointId=endpoint, PolicyDocument=text),
        dict(Effect="Allow", Principal="*", Action="s3:*", Resource="*"),
    ),
    "CreatePolicy": (
        lambda text: iam.create_policy(PolicyName="p" + hashlib.sha1(text.encode()).hexdigest(), PolicyDocument=text),
        dict(Effect="Allow", Action="s3:*", Resource="*"),
    ),
    "PutRolePolicy": (
        lambda text: iam.put_role_policy(RoleName="r", PolicyName="q", PolicyDocument=text),
        dict(Effect="Allow", Action="s3:*", Resource="*"),
    ),
    "UpdateAssumeRolePolicy": (
        lambda text: iam.update_assume_role_policy(RoleName="r", PolicyDocument=text),
        dict(Effect="Allow", Principal={"AWS": account}, Action="sts:AssumeRole"),
    ),
    "AssumeRole": (
        lambda text: sts.assume_role(RoleArn=role, RoleSessionName="s", Policy=text),
        dict(Effect="Allow", Action="s3:*", Resource="*"),
    ),
    "SetTopicAttributes": (
        lambda text: sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=text),
        dict(Effect="Allow", Principal="*", Action="SNS:Publish", Resource=topic),
    ),
    "organizations CreatePolicy": (
        lambda text: client("organizations").create_policy(Content=text, Description="", Name="p", Type="SERVICE_CONTROL_POLICY"),
        dict(Effect="Deny", Action="s3:*", Resource="*"),
    ),
}

for name, (store, good) in STORES.items():
    def wrong(what, **change):
        told(f"{name} {what}", lambda: store(policy(**{**good, **change})))

    for what, text in [
        ("not JSON", "policy"),
        ("cut off", policy(**good)[:-1]),
        ("a list", "[]"),
        ("no statement", '{"Version": "2012-10-17"}'),
        ("empty statements", '{"Version": "2012-10-17", "Statement": []}'),
        ("deep", "[" * 1000 + "]" * 1000),
        ("a key twice", policy(**good).replace('"Effect"', '"Effect": "Deny", "Effect"')),
        ("a version of its own", policy(**good).replace("2012-10-17", "2020-01-01")),
        ("half a surrogate", policy(**good).replace("2012-10-17", "\\\\ud800")),
        ("nothing", ""),
    ]:
        told(f"{name} {what}", lambda: store(text))
    wrong("effect", Effect="Perhaps")
    wrong("no action", Action=None)
    wrong("action without a service", Action="everything")
    wrong("action of a number", Action=3)
    wrong("unknown element", Extra="x")
    wrong("unknown operator", Condition={"StringMatches": {"aws:username": "a"}})
    wrong("condition of a text", Condition="x")
    if "Resource" in good:
        wrong("no resource", Resource=None)
        wrong("resource that is none", Resource="bucket")
    else:
        wrong("resource", Resource="*")
    if "Principal" in good:
        wrong("no principal", Principal=None)
        wrong("principal that is none", Principal={"AWS": "everybody"})
        wrong("part of a principal", Principal={"AWS": f"arn:aws:iam::{account}:user/a*"})
    else:
        wrong("principal", Principal="*")
    told(f"{name} a megabyte", lambda: store(policy(**good) + " " * (1 << 20)))

told("PutBucketPolicy another bucket", lambda: STORES["PutBucketPolicy"][0](
    policy(**{**STORES["PutBucketPolicy"][1], "Resource": "arn:aws:s3:::another/*"})))
told("PutBucketPolicy another service", lambda: STORES["PutBucketPolicy"][0](
    policy(**{**STORES["PutBucketPolicy"][1], "Action": "sqs:SendMessage"})))
told("PutBucketPolicy bucket action on objects", lambda: STORES["PutBucketPolicy"][0](
    policy(**{**STORES["PutBucketPolicy"][1], "Action": "s3:ListBucket"})))
told("SetTopicAttributes another service", lambda: STORES["SetTopicAttributes"][0](
    policy(**{**STORES["SetTopicAttributes"][1], "Action": "sqs:SendMessage"})))
told("SetTopicAttributes all actions", lambda: STORES["SetTopicAttributes"][0](
    policy(**{**STORES["SetTopicAttributes"][1], "Action": "SNS:*"})))
told("ModifyVpcEndpoint account on a gateway", lambda: STORES["ModifyVpcEndpoint"][0](
    policy(**{**STORES["ModifyVpcEndpoint"][1], "Principal": {"AWS": account}})))
for size in (20480, 20481):
    good = policy(**STORES["ModifyVpcEndpoint"][1])
    told(f"ModifyVpcEndpoint {size} characters", lambda: STORES["ModifyVpcEndpoint"][0](good.ljust(size)))
told("PutResourcePolicy", lambda: client("dynamodb").put_resource_policy(ResourceArn=f"arn:aws:dynamodb:us-east-1:{account}:table/t", Policy="{"))


# Requests whose signature is not right, each sent as bytes, to the hosts that AWS's services have.
REGION = os.environ["AWS_DEFAULT_REGION"]
HOSTS = {name: f"{name}.{REGION}.amazonaws.com" for name in ("ec2", "sts", "s3", "dynamodb")} | {"iam": "iam.amazonaws.com"}


def signed(service, method="POST", path="/", body=b"", headers=None, at=None, key=KEY, secret=SECRET, region=None, token=None, host=None):
    url = f"http://{HOSTS.get(host or service, HOST)}{path}"
    request = botocore.awsrequest.AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
    credentials = botocore.credentials.Credentials(key, secret, token)
    region = region or os.environ["AWS_DEFAULT_REGION"]
    signer = (botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth)(credentials, service, region)
    if at is not None:
        # botocore asks for the time itself.
        fixed = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=at)
        botocore.auth.get_current_datetime = lambda remove_tzinfo=True: fixed.replace(tzinfo=None) if remove_tzinfo else fixed
    signer.add_auth(request)
    if at is not None:
        botocore.auth.get_current_datetime = CURRENT
    return request.prepare()


CURRENT = getattr(botocore.auth, "get_current_datetime", None)


def send(what, prepared, method=None, path=None, body=None, headers=None):
    connection = http.client.HTTPConnection(HOST, timeout=20)
    parts = urllib.parse.urlsplit(prepared.url)
    target = path or (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.putrequest(method or prepared.method, target, skip_host=True, skip_accept_encoding=True)
    given = {k.lower(): v for k, v in prepared.headers.items()}
    given.setdefault("host", parts.netloc)
    given.update(headers or {})
    body = prepared.body if body is None else body
    given["content-length"] = str(len(body or b""))
    for name, value in given.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body or b"")
    answer = connection.getresponse()
    text = answer.read().decode()
    code = re.search(r"<Code>(.*?)</Code>", text) or re.search(r'"__type":"(.*?)"', text)
    message = re.search(r"<Message>(.*?)</Message>", text, re.S) or re.search(r'"message":"(.*?)"', text, re.S)
    message = message.group(1).split("\n")[0] if message else ""
    show(what, f"{answer.status} {code.group(1) if code else 'OK'}", message)
    connection.close()


FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
JSON = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.ListTables"}
ASKS = {
    "ec2": dict(service="ec2", body=b"Action=DescribeVpcs&Version=2016-11-15", headers=FORM),
    "iam": dict(service="iam", body=b"Action=ListUsers&Version=2010-05-08", headers=FORM),
    "sts": dict(service="sts", body=b"Action=GetCallerIdentity&Version=2011-06-15", headers=FORM),
    "s3": dict(service="s3", method="PUT", path="/the-bucket/sent", body=b"content"),
    "dynamodb": dict(service="dynamodb", body=b"{}", headers=JSON),
}
for name, ask in ASKS.items():
    send(f"{name} right", signed(**ask))
    right = signed(**ask)
    send(f"{name} replayed at once", right)
    send(f"{name} early", signed(**ask, at=16 * 60))
    send(f"{name} late", signed(**ask, at=-16 * 60))
    send(f"{name} unknown key", signed(**ask, key="AKIAIOSFODNN7EXAMPLE"))
    send(f"{name} wrong secret", signed(**ask, secret="wrong"))
    send(f"{name} another region", signed(**ask, region="eu-west-3"))
    send(f"{name} another service", signed(**{**ask, "service": "sqs", "host": name}))
    send(f"{name} token that belongs to nothing", signed(**ask, token="nothing"))
    send(f"{name} body changed", signed(**ask), body=(ask.get("body") or b"") + b" ")
    send(f"{name} path changed", signed(**ask), path="/the-bucket/another" if name == "s3" else "/?a=b")
    send(f"{name} header added", signed(**ask), headers={"x-amz-meta-a": "b"})
    send(f"{name} signed header taken away", signed(**ask), headers={"x-amz-date": None})
    send(f"{name} unsigned", signed(**ask), headers={"authorization": None})
    send(f"{name} SigV2", signed(**ask), headers={"authorization": f"AWS {KEY}:c2lnbmF0dXJl"})
    send(f"{name} no credential", signed(**ask), headers={"authorization": "AWS4-HMAC-SHA256 nothing"})

v4 = boto3.client("s3", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}))
good = v4.generate_presigned_url("get_object", Params={"Bucket": "the-bucket", "Key": "k"}, ExpiresIn=60)


class Plain:
    method, body, headers = "GET", None, {}

    def __init__(self, url):
        self.url = url


send("presigned right", Plain(good))
old = good.replace("X-Amz-Expires=60", "X-Amz-Expires=0")
send("presigned changed", Plain(old))
send("presigned longer", Plain(good.replace("X-Amz-Expires=60", "X-Amz-Expires=604801")))
send("presigned for another key", Plain(good.replace("/k?", "/another?")))
send("presigned twice", Plain(good + "&X-Amz-Expires=60"))
send("presigned SigV2", Plain(f"http://{HOST}/the-bucket/k?AWSAccessKeyId={KEY}&Expires=9999999999&Signature=x"))
past = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
stale = past.strftime("%Y%m%dT%H%M%SZ")


def presign(at, expires):
    """By hand: botocore makes none that is over already."""
    scope = f"{at[:8]}/{os.environ['AWS_DEFAULT_REGION']}/s3/aws4_request"
    query = "&".join([
        "X-Amz-Algorithm=AWS4-HMAC-SHA256", f"X-Amz-Credential={urllib.parse.quote(f'{KEY}/{scope}', safe='')}",
        f"X-Amz-Date={at}", f"X-Amz-Expires={expires}", "X-Amz-SignedHeaders=host"])
    canonical = f"GET\n/the-bucket/k\n{query}\nhost:{HOST}\n\nhost\nUNSIGNED-PAYLOAD"
    text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + SECRET.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return f"http://{HOST}/the-bucket/k?{query}&X-Amz-Signature={hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


send("presigned and over", Plain(presign(stale, 60)))
send("presigned a while ago", Plain(presign(stale, 7200)))
send("presigned for tomorrow", Plain(presign((past + datetime.timedelta(days=1)).strftime("%Y%m%dT%H%M%SZ"), 60)))
for path in ("/the-bucket/../other/k", "/the-bucket//k", "/the-bucket/%2e%2e/k", "/%ff/k", "/the-bucket/%zz", "/THE-BUCKET/k"):
    send(f"path {path}", signed("s3", method="GET", path=path), path=path)

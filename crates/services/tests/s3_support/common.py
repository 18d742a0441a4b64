"""What the programs of this folder share: clients of S3 at a URL, and checks that count themselves."""

import json
import sys
import urllib.error
import urllib.request

import boto3
import botocore.config
from botocore.exceptions import ClientError

URL = sys.argv[1]
ACCOUNT, STRANGER = "111122223333", "444455556666"
counted = 0


def client(key="AKIAROOT1", **config):
    config.setdefault("retries", {"max_attempts": 1})
    config.setdefault("s3", {"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=URL, region_name="us-east-1", aws_access_key_id=key,
                        aws_secret_access_key="secret", config=botocore.config.Config(**config))


s3 = client()
stranger = client("AKIAROOT2")


def check(what, condition, shown=None):
    global counted
    if not condition:
        print(f"FAILED: {what}: {shown!r}")
        sys.exit(1)
    counted += 1


def same(what, got, wanted):
    check(what, got == wanted, {"got": got, "wanted": wanted})


def refused(what, code, call, status=None, **fields):
    """The call must fail with that code, and those fields in the error."""
    try:
        call()
    except ClientError as error:
        got = error.response["Error"]
        same(what, got["Code"], code)
        if status is not None:
            same(f"{what}: status", error.response["ResponseMetadata"]["HTTPStatusCode"], status)
        for name, value in fields.items():
            same(f"{what}: {name}", got.get(name), value)
        return error.response
    check(what, False, "it was not refused")


def http(method, path, headers=None):
    """An anonymous request: status, headers in small letters, body."""
    request = urllib.request.Request(URL + path, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def headers_of(answer):
    return answer["ResponseMetadata"]["HTTPHeaders"]


def opened(bucket):
    """A bucket whose policy may be public."""
    s3.create_bucket(Bucket=bucket)
    s3.delete_public_access_block(Bucket=bucket)


def policy(bucket, *statements):
    """Sets a bucket policy. Each statement: effect, principal, actions, resources, condition."""
    document = {"Version": "2012-10-17", "Statement": []}
    for effect, principal, actions, resource, *condition in statements:
        statement = {"Effect": effect, "Principal": principal, "Action": actions,
                     "Resource": f"arn:aws:s3:::{bucket}{resource}"}
        if condition:
            statement["Condition"] = condition[0]
        document["Statement"].append(statement)
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))


OTHER_ACCOUNT = {"AWS": f"arn:aws:iam::{STRANGER}:root"}


def done():
    print(f"{counted} checks held")

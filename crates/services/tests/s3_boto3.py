"""Checks S3 from outside, with boto3. Usage: s3_boto3.py PORT. Prints the number of checks that held."""

import base64
import hashlib
import io
import json
import socket
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import zlib
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

PORT = int(sys.argv[1])
PATH_URL = f"http://127.0.0.1:{PORT}"
HOST_URL = f"http://localhost:{PORT}"
OWNER, OTHER = "111122223333", "444455556666"
checks = 0

# Names under localhost are this machine; not every resolver knows.
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: resolve(
    "127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)


def client(key="AKIAOWNER", secret="owner-secret", token=None, url=PATH_URL, region="us-east-1", **config):
    config.setdefault("retries", {"max_attempts": 1})
    return boto3.client("s3", endpoint_url=url, region_name=region, aws_access_key_id=key,
                        aws_secret_access_key=secret, aws_session_token=token, config=Config(**config))


def check(what, condition, shown=None):
    global checks
    if not condition:
        print(f"FAILED: {what}: {shown!r}")
        sys.exit(1)
    checks += 1


def same(what, got, wanted):
    check(what, got == wanted, {"got": got, "wanted": wanted})


def refused(what, code, call, status=None, **fields):
    """The call must fail with that code (or bare status), and those fields in the error."""
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


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def http(method, url, body=None, headers=None):
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, lower(response.headers), response.read()
    except urllib.error.HTTPError as error:
        return error.code, lower(error.headers), error.read()


s3 = client()
other = client("AKIAOTHER", "other-secret")
limited = client("AKIALIMITED", "limited-secret")


def buckets():
    made = s3.create_bucket(Bucket="bkt-one")
    same("create: location", made["Location"], "/bkt-one")
    check("request id", made["ResponseMetadata"]["RequestId"], made)
    headers = made["ResponseMetadata"]["HTTPHeaders"]
    same("server", headers["server"], "AmazonS3")
    check("x-amz-id-2", headers["x-amz-id-2"], headers)
    s3.create_bucket(Bucket="bkt-one")
    refused("taken by another", "BucketAlreadyExists", lambda: other.create_bucket(Bucket="bkt-one"), 409,
            BucketName="bkt-one")
    for name in ["ab", "Upper-case", "under_score", "192.168.0.1", "-dash", "a..b", "xn--a", "a" * 64]:
        status, _, body = signed("PUT", f"/{name}")
        check(f"bad name {name}", status == 400 and b"InvalidBucketName" in body, (status, body))
    refused("other region", "IllegalLocationConstraintException",
            lambda: s3.create_bucket(Bucket="bkt-two", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}))
    head = s3.head_bucket(Bucket="bkt-one")
    same("region of bucket", head["BucketRegion"], "us-east-1")
    same("region header", head["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"], "us-east-1")
    refused("head of no bucket", "404", lambda: s3.head_bucket(Bucket="bkt-none"))
    refused("head of another's", "403", lambda: other.head_bucket(Bucket="bkt-one"))
    same("location", s3.get_bucket_location(Bucket="bkt-one")["LocationConstraint"], None)
    for name in ["bkt-a1", "bkt-a2", "bkt-a3"]:
        s3.create_bucket(Bucket=name)
    other.create_bucket(Bucket="bkt-a4")
    names = lambda answer: [bucket["Name"] for bucket in answer["Buckets"]]
    same("list buckets", names(s3.list_buckets()), ["bkt-a1", "bkt-a2", "bkt-a3", "bkt-one"])
    same("list the other's", names(other.list_buckets()), ["bkt-a4"])
    first = s3.list_buckets(MaxBuckets=2, Prefix="bkt-a")
    same("paged buckets", names(first), ["bkt-a1", "bkt-a2"])
    rest = s3.list_buckets(MaxBuckets=2, Prefix="bkt-a", ContinuationToken=first["ContinuationToken"])
    same("paged buckets, rest", (names(rest), "ContinuationToken" in rest), (["bkt-a3"], False))
    same("buckets elsewhere", names(s3.list_buckets(BucketRegion="eu-west-1", MaxBuckets=9)), [])
    s3.put_object(Bucket="bkt-a1", Key="k", Body=b"x")
    refused("not empty", "BucketNotEmpty", lambda: s3.delete_bucket(Bucket="bkt-a1"), 409)
    s3.delete_object(Bucket="bkt-a1", Key="k")
    for name in ["bkt-a1", "bkt-a2", "bkt-a3"]:
        s3.delete_bucket(Bucket=name)
    refused("deleted", "NoSuchBucket", lambda: s3.list_objects_v2(Bucket="bkt-a1"), 404, BucketName="bkt-a1")
    s3.head_bucket(Bucket="bkt-one", ExpectedBucketOwner=OWNER)
    refused("unexpected owner", "403", lambda: s3.head_bucket(Bucket="bkt-one", ExpectedBucketOwner=OTHER))


class Signer(S3SigV4Auth):
    """Signs with the payload hash that the test wants, not the one of the body."""

    hash = None

    def payload(self, request):
        return self.hash or super().payload(request)


def signed(method, path, body=b"", headers=None, sha=None, region="us-east-1", service="s3", date=None, key="AKIAOWNER",
           secret="owner-secret", token=None, late=None):
    """A request signed by hand; `late` headers are added after signing."""
    url = PATH_URL + path
    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers or {}))
    signer = Signer(Credentials(key, secret, token), service, region)
    signer.hash = sha
    signer.add_auth(request)
    sent = dict(request.headers.items())
    sent.update(late or {})
    return http(method, url, body or None, sent)


def objects():
    put = s3.put_object(Bucket="bkt-one", Key="a/b c+d%é✓", Body=b"hello", ContentType="text/plain", CacheControl="no-store",
                        ContentDisposition="inline", ContentEncoding="identity", ContentLanguage="de",
                        Expires=datetime(2030, 1, 2, tzinfo=timezone.utc), Metadata={"one": "1", "two": "zwei"})
    same("etag", put["ETag"], '"5d41402abc4b2a76b9719d911017c592"')
    got = s3.get_object(Bucket="bkt-one", Key="a/b c+d%é✓")
    same("content", got["Body"].read(), b"hello")
    for field, value in [("ContentType", "text/plain"), ("CacheControl", "no-store"), ("ContentDisposition", "inline"),
                         ("ContentEncoding", "identity"), ("ContentLanguage", "de"), ("ContentLength", 5),
                         ("AcceptRanges", "bytes"), ("Metadata", {"one": "1", "two": "zwei"})]:
        same(field, got[field], value)
    same("expires", got["ExpiresString"], "Wed, 02 Jan 2030 00:00:00 GMT")
    check("last modified", abs(datetime.now(timezone.utc) - got["LastModified"]) < timedelta(seconds=20), got)
    head = s3.head_object(Bucket="bkt-one", Key="a/b c+d%é✓")
    same("head", (head["ContentLength"], head["ETag"], head["Metadata"]), (5, put["ETag"], {"one": "1", "two": "zwei"}))
    s3.put_object(Bucket="bkt-one", Key="plain", Body=b"0123456789")
    same("default type", s3.head_object(Bucket="bkt-one", Key="plain")["ContentType"], "binary/octet-stream")
    for spec, want, shown in [("bytes=0-3", b"0123", "bytes 0-3/10"), ("bytes=7-", b"789", "bytes 7-9/10"),
                              ("bytes=-2", b"89", "bytes 8-9/10"), ("bytes=5-99", b"56789", "bytes 5-9/10")]:
        got = s3.get_object(Bucket="bkt-one", Key="plain", Range=spec)
        same(f"range {spec}", (got["Body"].read(), got["ContentRange"], got["ResponseMetadata"]["HTTPStatusCode"]),
             (want, shown, 206))
    same("head of range", s3.head_object(Bucket="bkt-one", Key="plain", Range="bytes=2-4")["ContentLength"], 3)
    refused("range beyond", "InvalidRange", lambda: s3.get_object(Bucket="bkt-one", Key="plain", Range="bytes=10-"), 416,
            ActualObjectSize="10", RangeRequested="bytes=10-")
    over = s3.get_object(Bucket="bkt-one", Key="plain", ResponseContentType="text/x", ResponseCacheControl="max-age=1",
                         ResponseContentDisposition="attachment", ResponseContentLanguage="fr", ResponseContentEncoding="x",
                         ResponseExpires=datetime(2031, 1, 1, tzinfo=timezone.utc))
    same("overrides", (over["ContentType"], over["CacheControl"], over["ContentDisposition"], over["ContentLanguage"],
                       over["ContentEncoding"]), ("text/x", "max-age=1", "attachment", "fr", "x"))
    s3.put_object(Bucket="bkt-one", Key="empty", Body=b"")
    same("empty", s3.get_object(Bucket="bkt-one", Key="empty")["Body"].read(), b"")
    refused("range of empty", "InvalidRange", lambda: s3.get_object(Bucket="bkt-one", Key="empty", Range="bytes=0-"))
    big = bytes(range(256)) * 12000
    s3.put_object(Bucket="bkt-one", Key="big", Body=big)
    same("big", s3.get_object(Bucket="bkt-one", Key="big")["Body"].read(), big)
    same("big range", s3.get_object(Bucket="bkt-one", Key="big", Range="bytes=524280-1048600")["Body"].read(), big[524280:1048601])
    refused("no key", "NoSuchKey", lambda: s3.get_object(Bucket="bkt-one", Key="none"), 404, Key="none")
    refused("head of no key", "404", lambda: s3.head_object(Bucket="bkt-one", Key="none"))
    refused("no bucket", "NoSuchBucket", lambda: s3.put_object(Bucket="bkt-none", Key="x", Body=b"y"), 404)
    refused("version", "InvalidArgument", lambda: s3.get_object(Bucket="bkt-one", Key="plain", VersionId="abc"))
    same("null version", s3.get_object(Bucket="bkt-one", Key="plain", VersionId="null")["Body"].read(), b"0123456789")
    same("part 1 of a plain object", s3.get_object(Bucket="bkt-one", Key="plain", PartNumber=1)["Body"].read(), b"0123456789")
    refused("part 2 of it", "InvalidPartNumber", lambda: s3.get_object(Bucket="bkt-one", Key="plain", PartNumber=2), 416)
    refused("long key", "KeyTooLongError", lambda: s3.put_object(Bucket="bkt-one", Key="k" * 1025, Body=b""))
    s3.put_object(Bucket="bkt-one", Key="k" * 1024, Body=b"")
    s3.delete_object(Bucket="bkt-one", Key="k" * 1024)
    refused("much metadata", "MetadataTooLarge", lambda: s3.put_object(Bucket="bkt-one", Key="m", Metadata={"a": "x" * 2048}))
    same("delete of nothing", s3.delete_object(Bucket="bkt-one", Key="none")["ResponseMetadata"]["HTTPStatusCode"], 204)
    for key in ["./x", "a//b", "/lead", "trail/", "..", "a/../b", "&<>\"'", " "]:
        s3.put_object(Bucket="bkt-one", Key=key, Body=key.encode())
        same(f"odd key {key!r}", s3.get_object(Bucket="bkt-one", Key=key)["Body"].read(), key.encode())
        s3.delete_object(Bucket="bkt-one", Key=key)


def conditions():
    etag = s3.put_object(Bucket="bkt-one", Key="c", Body=b"v1")["ETag"]
    get = lambda **more: s3.get_object(Bucket="bkt-one", Key="c", **more)
    same("if-match", get(IfMatch=etag)["Body"].read(), b"v1")
    refused("if-match fails", "PreconditionFailed", lambda: get(IfMatch='"0"'), 412, Condition="If-Match")
    answer = refused("if-none-match", "304", lambda: get(IfNoneMatch=etag), 304)
    same("304 has etag", answer["ResponseMetadata"]["HTTPHeaders"]["etag"], etag)
    same("if-none-match other", get(IfNoneMatch='"0"')["Body"].read(), b"v1")
    now = datetime.now(timezone.utc)
    refused("if-modified-since", "304", lambda: get(IfModifiedSince=now + timedelta(hours=1)))
    same("if-modified-since past", get(IfModifiedSince=now - timedelta(hours=1))["Body"].read(), b"v1")
    refused("if-unmodified-since", "PreconditionFailed", lambda: get(IfUnmodifiedSince=now - timedelta(hours=1)))
    refused("put if absent", "PreconditionFailed", lambda: s3.put_object(Bucket="bkt-one", Key="c", Body=b"no", IfNoneMatch="*"), 412)
    s3.put_object(Bucket="bkt-one", Key="c-new", Body=b"yes", IfNoneMatch="*")
    s3.put_object(Bucket="bkt-one", Key="c", Body=b"v2", IfMatch=etag)
    refused("put if match", "PreconditionFailed", lambda: s3.put_object(Bucket="bkt-one", Key="c", Body=b"v3", IfMatch=etag))
    refused("put if match on nothing", "NoSuchKey", lambda: s3.put_object(Bucket="bkt-one", Key="c-none", Body=b"v3", IfMatch=etag), 404)
    same("unchanged", get()["Body"].read(), b"v2")
    refused("delete if match", "PreconditionFailed", lambda: s3.delete_object(Bucket="bkt-one", Key="c", IfMatch=etag), 412)
    s3.delete_object(Bucket="bkt-one", Key="c", IfMatch=get()["ETag"])
    outcomes = []

    def race(index):
        try:
            client().put_object(Bucket="bkt-one", Key="race", Body=str(index).encode() * 40000, IfNoneMatch="*")
            outcomes.append("won")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    threads = [threading.Thread(target=race, args=(index,)) for index in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    same("one winner", sorted(outcomes), ["PreconditionFailed"] * 7 + ["won"])


def copies():
    s3.put_object(Bucket="bkt-one", Key="src é", Body=b"source", ContentType="text/a", Metadata={"m": "1"})
    copied = s3.copy_object(Bucket="bkt-one", Key="dst", CopySource={"Bucket": "bkt-one", "Key": "src é"})
    same("copy etag", copied["CopyObjectResult"]["ETag"], '"36cd38f49b9afa08222c0dc9ebfe35eb"')
    got = s3.get_object(Bucket="bkt-one", Key="dst")
    same("copy keeps", (got["Body"].read(), got["ContentType"], got["Metadata"]), (b"source", "text/a", {"m": "1"}))
    s3.copy_object(Bucket="bkt-one", Key="dst", CopySource="bkt-one/dst", MetadataDirective="REPLACE", ContentType="text/b",
                   Metadata={"n": "2"})
    got = s3.head_object(Bucket="bkt-one", Key="dst")
    same("copy replaces", (got["ContentType"], got["Metadata"]), ("text/b", {"n": "2"}))
    refused("copy to itself", "InvalidRequest", lambda: s3.copy_object(Bucket="bkt-one", Key="dst", CopySource="bkt-one/dst"))
    refused("copy of nothing", "NoSuchKey", lambda: s3.copy_object(Bucket="bkt-one", Key="d", CopySource="bkt-one/none"))
    etag = got["ETag"]
    for more, fails in [({"CopySourceIfMatch": '"0"'}, True), ({"CopySourceIfMatch": etag}, False),
                        ({"CopySourceIfNoneMatch": etag}, True), ({"CopySourceIfNoneMatch": '"0"'}, False),
                        ({"CopySourceIfModifiedSince": datetime.now(timezone.utc) + timedelta(hours=1)}, True),
                        ({"CopySourceIfUnmodifiedSince": datetime(2020, 1, 1, tzinfo=timezone.utc)}, True)]:
        call = lambda: s3.copy_object(Bucket="bkt-one", Key="dst2", CopySource="bkt-one/dst", **more)
        if fails:
            refused(f"copy {list(more)}", "PreconditionFailed", call, 412)
        else:
            check(f"copy {list(more)}", call()["CopyObjectResult"]["ETag"] == etag)
    refused("copy where something is", "PreconditionFailed",
            lambda: s3.copy_object(Bucket="bkt-one", Key="dst", CopySource={"Bucket": "bkt-one", "Key": "src é"}, IfNoneMatch="*"), 412)
    refused("copy out of another's", "AccessDenied", lambda: other.copy_object(Bucket="bkt-a4", Key="x", CopySource="bkt-one/dst"))
    refused("copy into another's", "AccessDenied", lambda: s3.copy_object(Bucket="bkt-a4", Key="x", CopySource="bkt-one/dst"))
    refused("source owner", "AccessDenied",
            lambda: s3.copy_object(Bucket="bkt-one", Key="x", CopySource="bkt-one/dst", ExpectedSourceBucketOwner=OTHER))


def listings():
    s3.create_bucket(Bucket="bkt-list")
    keys = ["a", "b/1", "b/2", "b/c/3", "c", "d/", "d/x", "e f", "é", "ü+1"]
    for key in keys:
        s3.put_object(Bucket="bkt-list", Key=key, Body=key.encode())
    list2 = lambda **more: s3.list_objects_v2(Bucket="bkt-list", **more)
    got = lambda answer: [entry["Key"] for entry in answer.get("Contents", [])]
    rolled = lambda answer: [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
    everything = list2()
    same("all keys", (got(everything), everything["KeyCount"], everything["IsTruncated"]), (keys, 10, False))
    same("no owner", "Owner" in everything["Contents"][0], False)
    check("owner", len(list2(FetchOwner=True)["Contents"][0]["Owner"]["ID"]) == 64)
    same("prefix", got(list2(Prefix="b/")), ["b/1", "b/2", "b/c/3"])
    answer = list2(Delimiter="/")
    same("delimiter", (got(answer), rolled(answer)), (["a", "c", "e f", "é", "ü+1"], ["b/", "d/"]))
    answer = list2(Prefix="b/", Delimiter="/")
    same("prefix and delimiter", (got(answer), rolled(answer)), (["b/1", "b/2"], ["b/c/"]))
    same("start after", got(list2(StartAfter="d/")), ["d/x", "e f", "é", "ü+1"])
    same("max keys 0", (got(list2(MaxKeys=0)), list2(MaxKeys=0)["IsTruncated"]), ([], False))
    for size in [1, 2, 3, 7]:
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="bkt-list", Delimiter="/", PaginationConfig={"PageSize": size}))
        same(f"pages of {size}", (sum(map(got, pages), []), sum(map(rolled, pages), [])),
             (["a", "c", "e f", "é", "ü+1"], ["b/", "d/"]))
        pages = list(s3.get_paginator("list_objects").paginate(Bucket="bkt-list", Delimiter="/", PaginationConfig={"PageSize": size}))
        same(f"v1 pages of {size}", (sum(map(got, pages), []), sum(map(rolled, pages), [])),
             (["a", "c", "e f", "é", "ü+1"], ["b/", "d/"]))
        pages = list(s3.get_paginator("list_objects").paginate(Bucket="bkt-list", PaginationConfig={"PageSize": size}))
        same(f"v1 plain pages of {size}", sum(map(got, pages), []), keys)
    refused("bad token", "InvalidArgument", lambda: list2(ContinuationToken="!!"), 400)
    refused("negative", "InvalidArgument", lambda: list2(MaxKeys=-1))
    one = everything["Contents"][0]
    same("entry", (one["Size"], one["StorageClass"], one["ETag"]), (1, "STANDARD", '"0cc175b9c0f1b6a831c399e269772661"'))
    answer = s3.delete_objects(Bucket="bkt-list", Delete={"Objects": [{"Key": "a"}, {"Key": "none"}, {"Key": "ü+1"}]})
    same("delete many", sorted(entry["Key"] for entry in answer["Deleted"]), ["a", "none", "ü+1"])
    check("quiet", "Deleted" not in s3.delete_objects(Bucket="bkt-list", Delete={"Objects": [{"Key": "c"}], "Quiet": True}))
    answer = other.delete_objects(Bucket="bkt-list", Delete={"Objects": [{"Key": "e f"}]})
    same("delete many, denied", [(entry["Key"], entry["Code"]) for entry in answer["Errors"]], [("e f", "AccessDenied")])
    document = b"<Delete><Object><Key>e f</Key></Object></Delete>"
    status, _, body = signed("POST", "/bkt-list?delete", document)
    check("delete many needs a digest", status == 400 and b"Content-MD5 OR" in body, (status, body))
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    status, _, body = signed("POST", "/bkt-list?delete", document, {"Content-MD5": wrong})
    check("delete many verifies the digest", status == 400 and b"<Code>BadDigest" in body, (status, body))
    status, _, body = signed("POST", "/bkt-list?delete", document, {"x-amz-checksum-crc32": "AAAAAA=="})
    check("delete many verifies the checksum", status == 400 and b"<Code>BadDigest" in body, (status, body))
    same("still there", got(list2(Prefix="e")), ["e f"])
    status, _, body = signed("POST", "/bkt-list?delete", b"<Delete>", {"Content-MD5": base64.b64encode(hashlib.md5(b"<Delete>").digest()).decode()})
    check("malformed xml", status == 400 and b"<Code>MalformedXML" in body, (status, body))


def multipart():
    part = bytes(range(256)) * 20480
    make = s3.create_multipart_upload(Bucket="bkt-one", Key="mp", ContentType="text/mp", Metadata={"p": "q"})
    upload = {"Bucket": "bkt-one", "Key": "mp", "UploadId": make["UploadId"]}
    listed = []
    for number, body in [(2, part), (5, part), (7, b"tail")]:
        answer = s3.upload_part(PartNumber=number, Body=body, **upload)
        same(f"part {number}", answer["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
        listed.append({"PartNumber": number, "ETag": answer["ETag"]})
    s3.upload_part(PartNumber=9, Body=b"unused", **upload)
    page = s3.list_parts(MaxParts=2, **upload)
    same("list parts", ([p["PartNumber"] for p in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]), ([2, 5], True, 5))
    page = s3.list_parts(PartNumberMarker=5, **upload)
    same("list parts, rest", [(p["PartNumber"], p["Size"]) for p in page["Parts"]], [(7, 4), (9, 6)])
    complete = lambda parts: s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
    refused("order", "InvalidPartOrder", lambda: complete([listed[1], listed[0]]))
    refused("wrong etag", "InvalidPart", lambda: complete([{"PartNumber": 2, "ETag": '"00"'}]))
    refused("missing part", "InvalidPart", lambda: complete([{"PartNumber": 3, "ETag": '"00"'}]))
    refused("small part", "EntityTooSmall", lambda: complete([listed[0], listed[2], {"PartNumber": 9, "ETag": f'"{hashlib.md5(b"unused").hexdigest()}"'}]), 400, ProposedSize="4")
    refused("part number", "InvalidArgument", lambda: s3.upload_part(PartNumber=10001, Body=b"", **upload))
    refused("part number 0", "InvalidArgument", lambda: s3.upload_part(PartNumber=0, Body=b"", **upload))
    refused("no object yet", "404", lambda: s3.head_object(Bucket="bkt-one", Key="mp"))
    done = complete(listed)
    digest = hashlib.md5(hashlib.md5(part).digest() * 2 + hashlib.md5(b"tail").digest()).hexdigest()
    same("etag of parts", done["ETag"], f'"{digest}-3"')
    got = s3.get_object(Bucket="bkt-one", Key="mp")
    same("content of parts", (hashlib.sha256(got["Body"].read()).digest(), got["ContentType"], got["Metadata"]),
         (hashlib.sha256(part + part + b"tail").digest(), "text/mp", {"p": "q"}))
    size = len(part)
    same("range over parts", s3.get_object(Bucket="bkt-one", Key="mp", Range=f"bytes={size - 2}-{size + 1}")["Body"].read(), part[-2:] + part[:2])
    got = s3.get_object(Bucket="bkt-one", Key="mp", PartNumber=3)
    same("by part", (got["Body"].read(), got["PartsCount"]), (b"tail", 3))
    same("head by part", s3.head_object(Bucket="bkt-one", Key="mp", PartNumber=1)["ContentLength"], size)
    refused("gone after completion", "NoSuchUpload", lambda: s3.list_parts(**upload))
    uploads = [s3.create_multipart_upload(Bucket="bkt-one", Key=key)["UploadId"] for key in ["u/1", "u/1", "u/2", "v"]]
    page = s3.list_multipart_uploads(Bucket="bkt-one", MaxUploads=1)
    same("list uploads", ([u["Key"] for u in page["Uploads"]], page["IsTruncated"]), (["u/1"], True))
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket="bkt-one", PaginationConfig={"PageSize": 1}))
    same("page uploads", sorted(u["UploadId"] for page in pages for u in page.get("Uploads", [])), sorted(uploads))
    page = s3.list_multipart_uploads(Bucket="bkt-one", Delimiter="/")
    same("roll up uploads", ([u["Key"] for u in page["Uploads"]], [p["Prefix"] for p in page["CommonPrefixes"]]), (["v"], ["u/"]))
    for key, identity in zip(["u/1", "u/1", "u/2", "v"], uploads):
        s3.abort_multipart_upload(Bucket="bkt-one", Key=key, UploadId=identity)
    refused("aborted", "NoSuchUpload", lambda: s3.abort_multipart_upload(Bucket="bkt-one", Key="v", UploadId=uploads[3]), 404)
    make = s3.create_multipart_upload(Bucket="bkt-one", Key="mc", ChecksumAlgorithm="SHA256")
    upload = {"Bucket": "bkt-one", "Key": "mc", "UploadId": make["UploadId"]}
    s3.put_object(Bucket="bkt-one", Key="mc-src", Body=part)
    copied = s3.upload_part_copy(PartNumber=1, CopySource="bkt-one/mc-src", **upload)["CopyPartResult"]
    ranged = s3.upload_part_copy(PartNumber=2, CopySource="bkt-one/mc-src", CopySourceRange="bytes=10-19", **upload)["CopyPartResult"]
    same("copied range", ranged["ETag"], f'"{hashlib.md5(part[10:20]).hexdigest()}"')
    refused("range beyond source", "InvalidArgument", lambda: s3.upload_part_copy(PartNumber=3, CopySource="bkt-one/mc-src", CopySourceRange=f"bytes=0-{size}", **upload))
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": copied["ETag"], "ChecksumSHA256": copied["ChecksumSHA256"]},
        {"PartNumber": 2, "ETag": ranged["ETag"], "ChecksumSHA256": ranged["ChecksumSHA256"]}]}, **upload)
    sums = hashlib.sha256(part).digest() + hashlib.sha256(part[10:20]).digest()
    same("composite checksum", (done["ChecksumSHA256"], done["ChecksumType"]),
         (base64.b64encode(hashlib.sha256(sums).digest()).decode() + "-2", "COMPOSITE"))
    make = s3.create_multipart_upload(Bucket="bkt-one", Key="mf", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    upload = {"Bucket": "bkt-one", "Key": "mf", "UploadId": make["UploadId"]}
    parts = [{"PartNumber": n, "ETag": s3.upload_part(PartNumber=n, Body=b, **upload)["ETag"]} for n, b in [(1, part), (2, b"end")]]
    crc = base64.b64encode(zlib.crc32(part + b"end").to_bytes(4, "big")).decode()
    refused("whole checksum differs", "BadDigest", lambda: s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumCRC32="AAAAAA==", ChecksumType="FULL_OBJECT", **upload))
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, ChecksumCRC32=crc, ChecksumType="FULL_OBJECT", MpuObjectSize=size + 3, **upload)
    same("full checksum", (done["ChecksumCRC32"], done["ChecksumType"]), (crc, "FULL_OBJECT"))
    refused("sha with full object", "InvalidRequest", lambda: s3.create_multipart_upload(Bucket="bkt-one", Key="x", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT"))
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    blob = part * 4
    s3.upload_fileobj(io.BytesIO(blob), "bkt-one", "managed", Config=config)
    into = io.BytesIO()
    s3.download_fileobj("bkt-one", "managed", into, Config=config)
    check("managed transfer", into.getvalue() == blob)
    s3.delete_object(Bucket="bkt-one", Key="managed")


def checksums():
    body = b"checksummed" * 3000
    import hashlib as h
    values = {"CRC32": zlib.crc32(body).to_bytes(4, "big"), "SHA1": h.sha1(body).digest(), "SHA256": h.sha256(body).digest()}
    for name, value in values.items():
        value = base64.b64encode(value).decode()
        answer = s3.put_object(Bucket="bkt-one", Key=f"sum-{name}", Body=body, ChecksumAlgorithm=name)
        same(f"{name} computed", answer[f"Checksum{name}"], value)
        head = s3.head_object(Bucket="bkt-one", Key=f"sum-{name}", ChecksumMode="ENABLED")
        same(f"{name} shown", (head[f"Checksum{name}"], head["ChecksumType"]), (value, "FULL_OBJECT"))
        check(f"{name} hidden", f"Checksum{name}" not in client(response_checksum_validation="when_required").head_object(Bucket="bkt-one", Key=f"sum-{name}"))
        refused(f"{name} wrong", "BadDigest", lambda: s3.put_object(Bucket="bkt-one", Key="bad", Body=b"other", **{f"Checksum{name}": value}), 400)
    refused("nothing stored", "404", lambda: s3.head_object(Bucket="bkt-one", Key="bad"))
    # CRC-32C and CRC-64/NVME of "123456789", published check values.
    for header, value in [("crc32c", 0xE3069283.to_bytes(4, "big")), ("crc64nvme", 0xAE8B14860A799888.to_bytes(8, "big"))]:
        good = base64.b64encode(value).decode()
        status, headers, _ = signed("PUT", "/bkt-one/crc", b"123456789", {f"x-amz-checksum-{header}": good})
        same(header, (status, headers.get(f"x-amz-checksum-{header}")), (200, good))
        status, _, text = signed("PUT", "/bkt-one/crc", b"12345678", {f"x-amz-checksum-{header}": good})
        check(f"{header} wrong", status == 400 and b"BadDigest" in text, (status, text))
    plain = client(request_checksum_calculation="when_required", response_checksum_validation="when_required")
    plain.put_object(Bucket="bkt-one", Key="default", Body=b"123456789")
    same("default checksum", s3.head_object(Bucket="bkt-one", Key="default", ChecksumMode="ENABLED")["ChecksumCRC64NVME"],
         base64.b64encode(0xAE8B14860A799888.to_bytes(8, "big")).decode())
    md5 = lambda data: base64.b64encode(hashlib.md5(data).digest()).decode()
    plain.put_object(Bucket="bkt-one", Key="md5", Body=b"abc", ContentMD5=md5(b"abc"))
    refused("md5 wrong", "BadDigest", lambda: plain.put_object(Bucket="bkt-one", Key="md5", Body=b"abc", ContentMD5=md5(b"abd")))
    refused("md5 malformed", "InvalidDigest", lambda: plain.put_object(Bucket="bkt-one", Key="md5", Body=b"abc", ContentMD5="x"))
    status, _, text = signed("PUT", "/bkt-one/two", b"abc", {"x-amz-checksum-crc32": "NSRBwg==", "x-amz-checksum-sha1": "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="})
    check("two checksums", status == 400 and b"Multiple checksum" in text, (status, text))
    # aws-chunked, unsigned with a trailer, as the SDKs send it; then with a wrong trailer; then cut short.
    crc = base64.b64encode(zlib.crc32(b"hello world").to_bytes(4, "big")).decode()

    def chunked(payload, length=11):
        return signed("PUT", "/bkt-one/chunked", payload, {
            "Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32", "X-Amz-Decoded-Content-Length": str(length)},
            sha="STREAMING-UNSIGNED-PAYLOAD-TRAILER")

    good = f"6\r\nhello \r\n5\r\nworld\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    status, _, text = chunked(good)
    check("chunked", status == 200, (status, text))
    got = s3.get_object(Bucket="bkt-one", Key="chunked")
    same("chunked content", (got["Body"].read(), got.get("ContentEncoding")), (b"hello world", None))
    status, _, text = chunked(good.replace(b"world", b"w0rld"))
    check("chunked with wrong trailer", status == 400 and b"BadDigest" in text, (status, text))
    status, _, text = chunked(b"6\r\nhello \r\n0\r\n\r\n")
    check("chunked cut short", status == 400, (status, text))
    status, _, text = chunked(b"zz\r\nhello")
    check("chunked malformed", status == 400, (status, text))
    status, _, text = chunked(good, 12)
    check("chunked of another length", status == 400 and b"IncompleteBody" in text, (status, text))
    signed_chunks()


def signed_chunks():
    """aws-chunked with a signature per chunk, made here from the published algorithm."""
    import hmac

    def send(tamper):
        data = [b"a" * 65536, b"b" * 100]
        request = AWSRequest(method="PUT", url=PATH_URL + "/bkt-one/signed-chunks", data=b"", headers={
            "Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(sum(map(len, data)))})
        signer = Signer(Credentials("AKIAOWNER", "owner-secret"), "s3", "us-east-1")
        signer.hash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
        signer.add_auth(request)
        date = request.headers["X-Amz-Date"]
        scope = f"{date[:8]}/us-east-1/s3/aws4_request"
        key = b"AWS4owner-secret"
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        previous = request.headers["Authorization"].split("Signature=")[1]
        body = b""
        for chunk in data + [b""]:
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", date, scope, previous, hashlib.sha256(b"").hexdigest(), hashlib.sha256(chunk).hexdigest()])
            previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            sent = chunk.replace(b"b", b"c") if tamper else chunk
            body += f"{len(chunk):x};chunk-signature={previous}\r\n".encode() + sent + b"\r\n"
        return http("PUT", PATH_URL + "/bkt-one/signed-chunks", body, dict(request.headers.items()))

    status, _, text = send(False)
    same("signed chunks", (status, text), (200, b""))
    same("signed chunks content", s3.get_object(Bucket="bkt-one", Key="signed-chunks")["Body"].read(), b"a" * 65536 + b"b" * 100)
    status, _, text = send(True)
    check("tampered chunk", status == 403 and b"SignatureDoesNotMatch" in text, (status, text))


def identities():
    s3.put_object(Bucket="bkt-one", Key="secret", Body=b"mine")
    refused("unknown key", "InvalidAccessKeyId", lambda: client("AKIANOBODY", "x").list_buckets(), 403, AWSAccessKeyId="AKIANOBODY")
    refused("wrong secret", "SignatureDoesNotMatch", lambda: client("AKIAOWNER", "x").list_buckets(), 403)
    status, _, body = signed("GET", "/bkt-one/secret", region="eu-west-1")
    check("wrong region", status == 400 and b"<Code>AuthorizationHeaderMalformed</Code>" in body and b"<Region>us-east-1</Region>" in body, (status, body))
    same("boto3 finds the region", client(region="eu-west-1").get_object(Bucket="bkt-one", Key="secret")["Body"].read(), b"mine")
    refused("another account", "AccessDenied", lambda: other.get_object(Bucket="bkt-one", Key="secret"), 403)
    refused("another account, put", "AccessDenied", lambda: other.put_object(Bucket="bkt-one", Key="secret", Body=b""))
    refused("another account, list", "AccessDenied", lambda: other.list_objects_v2(Bucket="bkt-one"))
    refused("another account, delete", "AccessDenied", lambda: other.delete_bucket(Bucket="bkt-one"))
    same("limited get", limited.get_object(Bucket="bkt-one", Key="secret")["Body"].read(), b"mine")
    answer = refused("missing key without list", "AccessDenied", lambda: limited.get_object(Bucket="bkt-one", Key="none"), 403)
    check("names the action", "s3:ListBucket" in answer["Error"]["Message"], answer)
    refused("head of missing key without list", "403", lambda: limited.head_object(Bucket="bkt-one", Key="none"))
    temp = client("ASIATEMP", "temp-secret", "temp-token")
    same("session token", temp.get_object(Bucket="bkt-one", Key="secret")["Body"].read(), b"mine")
    refused("wrong token", "InvalidToken", lambda: client("ASIATEMP", "temp-secret", "other").list_buckets(), 400)
    refused("no token", "InvalidAccessKeyId", lambda: client("ASIATEMP", "temp-secret").list_buckets())
    refused("token of no use", "InvalidToken", lambda: client("AKIAOWNER", "owner-secret", "x").list_buckets())
    refused("expired", "ExpiredToken", lambda: client("ASIAEXPIRED", "expired-secret", "expired-token").list_buckets(), 400)
    status, _, body = http("GET", f"{PATH_URL}/bkt-one/secret")
    check("anonymous", status == 403 and b"<Code>AccessDenied</Code>" in body, (status, body))
    check("error has ids", b"<RequestId>" in body and b"<HostId>" in body and b"<Resource>/bkt-one/secret</Resource>" in body, body)
    status, _, body = http("GET", f"{PATH_URL}/bkt-none/x")
    check("anonymous, no bucket", status == 404 and b"NoSuchBucket" in body, (status, body))
    status, _, body = http("GET", f"{PATH_URL}/")
    check("anonymous list of buckets", status == 403, (status, body))
    status, _, body = http("GET", f"{PATH_URL}/bkt-one/secret", headers={"Authorization": "AWS AKIAOWNER:c2ln"})
    check("version 2 header", status == 400 and b"AWS4-HMAC-SHA256" in body, (status, body))
    status, _, body = http("GET", f"{PATH_URL}/bkt-one/secret?AWSAccessKeyId=AKIAOWNER&Signature=x&Expires=99999999999")
    check("version 2 query", status == 400 and b"AWS4-HMAC-SHA256" in body, (status, body))
    refused("version 2 presigned form", "InvalidRequest", lambda: client(signature_version="s3").get_object(Bucket="bkt-one", Key="secret"))
    status, _, body = signed("GET", "/bkt-one/secret", late={"x-amz-request-payer": "requester"})
    check("unsigned header", status == 403 and b"HeadersNotSigned" in body, (status, body))
    status, _, body = signed("GET", "/bkt-one/secret", late={"X-Amz-Date": "20200101T000000Z"})
    check("changed date", status == 403, (status, body))
    status, _, body = signed("PUT", "/bkt-one/x", b"body", sha=hashlib.sha256(b"other").hexdigest())
    check("body differs from its hash", status == 400 and b"XAmzContentSHA256Mismatch" in body, (status, body))
    status, _, body = signed("GET", "/bkt-one/secret", service="sts")
    check("another service's scope", status == 400, (status, body))
    for odd in ["/%ff", "/bkt-one/%zz", "/bkt-one?list-type=2&max-keys=abc", "/bkt-one/k?partNumber=x&uploadId=y", "/bkt-one?uploads&max-uploads=-5"]:
        status, _, body = http("GET", PATH_URL + odd)
        check(f"odd request {odd}", 400 <= status < 500, (status, body))


def presigned():
    v4 = client(signature_version="s3v4")
    url = v4.generate_presigned_url("get_object", {"Bucket": "bkt-one", "Key": "secret", "ResponseContentType": "text/q"}, ExpiresIn=60)
    status, headers, body = http("GET", url)
    same("presigned get", (status, body, headers.get("content-type")), (200, b"mine", "text/q"))
    status, _, body = http("GET", url.replace("secret", "plain"))
    check("presigned for another key", status == 403 and b"SignatureDoesNotMatch" in body, (status, body))
    url = v4.generate_presigned_url("put_object", {"Bucket": "bkt-one", "Key": "by-url"}, ExpiresIn=60)
    status, _, _ = http("PUT", url, b"through a url" * 5000)
    same("presigned put", (status, s3.get_object(Bucket="bkt-one", Key="by-url")["Body"].read()), (200, b"through a url" * 5000))
    temp = client("ASIATEMP", "temp-secret", "temp-token", signature_version="s3v4")
    url = temp.generate_presigned_url("get_object", {"Bucket": "bkt-one", "Key": "secret"}, ExpiresIn=60)
    same("presigned with token", http("GET", url)[0], 200)
    status, _, body = http("GET", url.replace("temp-token", "other-token"))
    check("presigned with another token", status == 400 and b"InvalidToken" in body, (status, body))
    url = client(signature_version="s3v4", region="eu-west-1").generate_presigned_url("get_object", {"Bucket": "bkt-one", "Key": "secret"})
    status, _, body = http("GET", url)
    check("presigned for another region", status == 400 and b"AuthorizationQueryParametersError" in body, (status, body))
    request = AWSRequest(method="GET", url=f"{PATH_URL}/bkt-one/secret")
    S3SigV4QueryAuth(Credentials("AKIAOWNER", "owner-secret"), "s3", "us-east-1", expires=700000).add_auth(request)
    status, _, body = http("GET", request.url)
    check("presigned for too long", status == 400 and b"AuthorizationQueryParametersError" in body, (status, body))


def virtual_hosts():
    hosted = client(url=HOST_URL, s3={"addressing_style": "virtual"})
    hosted.create_bucket(Bucket="bkt-host")
    hosted.put_object(Bucket="bkt-host", Key="k/1", Body=b"hosted")
    same("virtual host", s3.get_object(Bucket="bkt-host", Key="k/1")["Body"].read(), b"hosted")
    same("virtual host, list", hosted.list_objects_v2(Bucket="bkt-host")["KeyCount"], 1)
    for host in ["bkt-host.s3.us-east-1.amazonaws.com", "bkt-host.s3.amazonaws.com"]:
        status, _, body = http("GET", f"{PATH_URL}/k/1", headers={"Host": host})
        check(f"host {host}", status == 403 and b"AccessDenied" in body, (status, body))
        status, _, body = http("GET", f"{PATH_URL}/k/1", headers={"Host": host.replace("bkt-host", "bkt-none")})
        check(f"host {host}, no bucket", status == 404 and b"NoSuchBucket" in body, (status, body))
    hosted.delete_object(Bucket="bkt-host", Key="k/1")
    hosted.delete_bucket(Bucket="bkt-host")


def policies():
    refused("no policy", "NoSuchBucketPolicy", lambda: s3.get_bucket_policy(Bucket="bkt-one"), 404)
    refused("malformed policy", "MalformedPolicy", lambda: s3.put_bucket_policy(Bucket="bkt-one", Policy="{}"), 400)
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": "everybody", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bkt-one/*"}]})
    same("put policy", s3.put_bucket_policy(Bucket="bkt-one", Policy=policy)["ResponseMetadata"]["HTTPStatusCode"], 204)
    same("get policy", s3.get_bucket_policy(Bucket="bkt-one")["Policy"], policy)
    same("anonymous by policy", http("GET", f"{PATH_URL}/bkt-one/secret")[2], b"mine")
    status, _, body = http("GET", f"{PATH_URL}/bkt-one/secret?response-content-type=x/y")
    check("anonymous override", status == 400 and b"anonymous" in body, (status, body))
    status, _, body = http("PUT", f"{PATH_URL}/bkt-one/anon", b"x")
    check("anonymous put", status == 403, (status, body))
    refused("policy of another", "AccessDenied", lambda: other.get_bucket_policy(Bucket="bkt-one"))
    s3.delete_bucket_policy(Bucket="bkt-one")
    same("policy is gone", http("GET", f"{PATH_URL}/bkt-one/secret")[0], 403)


def refusals():
    """What is not honoured is refused by name."""
    put = lambda **more: (lambda: s3.put_object(Bucket="bkt-one", Key="no", Body=b"", **more))
    for more, header in [({"ServerSideEncryption": "aws:kms"}, "x-amz-server-side-encryption"),
                         ({"ServerSideEncryption": "AES256"}, "x-amz-server-side-encryption"),
                         ({"StorageClass": "GLACIER"}, "x-amz-storage-class"),
                         ({"WebsiteRedirectLocation": "/x"}, "x-amz-website-redirect-location"),
                         ({"GrantRead": "id=x"}, "x-amz-grant-read"),
                         ({"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": datetime(2040, 1, 1)}, "x-amz-object-lock-mode"),
                         ({"ObjectLockLegalHoldStatus": "ON"}, "x-amz-object-lock-legal-hold")]:
        refused(f"put with {header}", "NotImplemented", put(**more), 501, Header=header)
    refused("public acl", "AccessControlListNotSupported", put(ACL="public-read"), 400)
    s3.put_object(Bucket="bkt-one", Key="acl", Body=b"", ACL="bucket-owner-full-control", StorageClass="STANDARD", RequestPayer="requester")
    status, _, body = signed("PUT", "/bkt-one/no", b"", {"x-amz-no-such-thing": "1"})
    check("unknown header", status == 501 and b"x-amz-no-such-thing" in body, (status, body))
    refused("nothing stored", "404", lambda: s3.head_object(Bucket="bkt-one", Key="no"))
    for name, call in [("lifecycle", lambda: s3.delete_bucket_lifecycle(Bucket="bkt-one"))]:
        refused(f"operation {name}", "NotImplemented", call, 501)
    refused("object lock", "NotImplemented", lambda: s3.create_bucket(Bucket="bkt-lock", ObjectLockEnabledForBucket=True), 501)
    refused("bucket acl", "AccessControlListNotSupported", lambda: s3.create_bucket(Bucket="bkt-lock", ACL="public-read"))
    refused("object ownership", "NotImplemented", lambda: s3.create_bucket(Bucket="bkt-lock", ObjectOwnership="ObjectWriter"))
    customer = "x-amz-server-side-encryption-customer-algorithm"
    status, _, body = signed("GET", "/bkt-one/acl", b"", {customer: "AES256"})
    check("customer key", status == 501 and customer.encode() in body, (status, body))
    status, _, body = http("POST", f"{PATH_URL}/bkt-one", b"--x--", {"Content-Type": "multipart/form-data; boundary=x"})
    check("form upload", status == 501 and b"NotImplemented" in body, (status, body))
    status, _, body = signed("PUT", "/bkt-one/huge", b"", {"Content-Length": str(6 << 30)})
    check("too large", status == 400 and b"EntityTooLarge" in body, (status, body))


def odd_names():
    """Every way to name a key, through every kind of request and answer that carries one."""
    s3.create_bucket(Bucket="bkt-odd")
    v4 = client(signature_version="s3v4")
    keys = ["a b", "a+b", "a%20b", "a%2Fb", "%", "%zz", "+", "?", "#", "?acl", "?uploads", "acl?", "a=b&c", "&<>\"'", "/lead", "//two",
            "a//b", "x/", "./y", "../z", "a/../b", "~", "\\", "a:b", "\t", "\n", "\r", "a\rb\r\n", "\u007f", "é", "e\u0301", "ü✓",
            "\U0001f600", "\ufeff", "\u200b", "!*'()", ";,@$|`^{}[]", "k" * 1024, "ü" * 512]
    for key in keys:
        what = repr(key[:12])
        where = {"Bucket": "bkt-odd", "Key": key}
        s3.put_object(**where, Body=key.encode())
        copy = {"Bucket": "bkt-odd", "Key": "copy" + key[:500]}
        s3.copy_object(**copy, CopySource=where)
        for at in (where, copy):
            same(f"{what} in {at['Key'][:4]}", s3.get_object(**at)["Body"].read(), key.encode())
        url = v4.generate_presigned_url("get_object", where)
        same(f"{what} presigned", http("GET", url)[2], key.encode())
        upload = {"Bucket": "bkt-odd", "Key": "mp" + key[:500]}
        begun = s3.create_multipart_upload(**upload)
        same(f"{what} in an upload", begun["Key"], upload["Key"])
        part = s3.upload_part(**upload, UploadId=begun["UploadId"], PartNumber=1, Body=b"")
        listed = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        done = s3.complete_multipart_upload(**upload, UploadId=begun["UploadId"], MultipartUpload=listed)
        same(f"{what} completed", done["Key"], upload["Key"])
    wanted = sorted([prefix + key[:500 if prefix else 1024] for prefix in ("", "copy", "mp") for key in keys], key=str.encode)
    for operation, entries in [("list_objects", "Contents"), ("list_objects_v2", "Contents"), ("list_object_versions", "Versions")]:
        pages = s3.get_paginator(operation).paginate(Bucket="bkt-odd", PaginationConfig={"PageSize": 7})
        same(f"{operation} of odd names", [entry["Key"] for page in pages for entry in page.get(entries, [])], wanted)
    status, _, body = signed("GET", "/bkt-odd?list-type=2")
    plain = [entry.text for entry in ElementTree.fromstring(body).iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key")]
    same("plain names", plain, wanted)
    versions = s3.list_object_versions(Bucket="bkt-odd")["Versions"]
    gone = s3.delete_objects(Bucket="bkt-odd", Delete={"Objects": [{"Key": v["Key"], "VersionId": v["VersionId"]} for v in versions]})
    same("deleted by version", ([entry["Key"] for entry in gone["Deleted"]], gone.get("Errors")), (wanted, None))
    s3.delete_bucket(Bucket="bkt-odd")


def many_keys():
    """Listings that roll up, page by page, in every way there is to list."""
    s3.create_bucket(Bucket="bkt-many")

    def put(first):
        mine = client()
        for number in range(first, 1200, 6):
            mine.put_object(Bucket="bkt-many", Key=f"d{number % 40:02}/e{number % 10}/f{number:05}", Body=b"")

    threads = [threading.Thread(target=put, args=(first,)) for first in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    for operation, entries in [("list_objects", "Contents"), ("list_objects_v2", "Contents"), ("list_object_versions", "Versions")]:
        def listed(size, **more):
            pages = list(s3.get_paginator(operation).paginate(Bucket="bkt-many", PaginationConfig={"PageSize": size}, **more))
            keys = [entry["Key"] for page in pages for entry in page.get(entries, [])]
            return keys, [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", [])]
        keys, _ = listed(1000)
        same(f"{operation} of all", (len(keys), len(set(keys)), keys), (1200, 1200, sorted(keys)))
        for size in (3, 17, 1000):
            same(f"{operation} by {size}", listed(size, Delimiter="/"), ([], [f"d{n:02}/" for n in range(40)]))
            same(f"{operation} below, by {size}", listed(size, Delimiter="/", Prefix="d1"), ([], [f"d1{n}/" for n in range(10)]))
            same(f"{operation} inside, by {size}", listed(size, Delimiter="/", Prefix="d12/"), ([], ["d12/e2/"]))


def hard_ways():
    """Ranges over the edges of parts, connections that are cut, many writers of one key."""
    bodies = [bytes([number]) * (5 << 20) for number in (1, 2)] + [b"tail"]
    whole = b"".join(bodies)
    upload = {"Bucket": "bkt-one", "Key": "edges"}
    upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
    parts = [{"PartNumber": n, "ETag": s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"]} for n, body in enumerate(bodies, 1)]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    for edge in (0, 5 << 20, 10 << 20):
        for first in range(max(edge - 2, 0), min(edge + 3, len(whole))):
            for length in (1, 3, 5 << 20, 11 << 20):
                got = s3.get_object(Bucket="bkt-one", Key="edges", Range=f"bytes={first}-{first + length - 1}")["Body"].read()
                check(f"range {first}+{length}", got == whole[first:first + length], len(got))
    check("suffix longer than all", s3.get_object(Bucket="bkt-one", Key="edges", Range="bytes=-99999999")["Body"].read() == whole)
    refused("suffix of nothing", "InvalidRange", lambda: s3.get_object(Bucket="bkt-one", Key="edges", Range="bytes=-0"))
    for sent in (0, 1000, 3_000_000):
        url = urllib.parse.urlsplit(client(signature_version="s3v4").generate_presigned_url("put_object", {"Bucket": "bkt-one", "Key": "cut"}))
        with socket.create_connection(("127.0.0.1", PORT)) as connection:
            head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 9000000\r\n\r\n"
            connection.sendall(head.encode() + bytes(sent))
    # Neither is told to continue: the connection ends behind the answer.
    for path, content, status in [("/bkt-none/key", b"0123456789", b"404"), ("/bkt-one/hollow", b"", b"200")]:
        request = AWSRequest(method="PUT", url=PATH_URL + path, data=content, headers={"Expect": "100-continue"})
        S3SigV4Auth(Credentials("AKIAOWNER", "owner-secret"), "s3", "us-east-1").add_auth(request)
        with socket.create_connection(("127.0.0.1", PORT), timeout=20) as connection:
            headers = {**dict(request.headers.items()), "Content-Length": len(content)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            connection.sendall(f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n{lines}\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
        check(f"content of {path} that is not sent is not waited for",
              answer.startswith(b"HTTP/1.1 " + status) and b"connection: close" in answer, answer)
    torn, over = [], threading.Event()

    def write(number):
        mine = client()
        for _ in range(12):
            mine.put_object(Bucket="bkt-one", Key="contended", Body=b"%02d" % number * 100_000)

    def read():
        mine = client()
        while not over.is_set():
            body = mine.get_object(Bucket="bkt-one", Key="contended")["Body"].read()
            if body != body[:2] * 100_000:
                torn.append(len(body))

    write(0)
    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    [thread.start() for thread in readers + writers]
    [thread.join() for thread in writers]
    over.set()
    [thread.join() for thread in readers]
    same("no reader saw a mixture", torn, [])
    refused("what was cut is not there", "404", lambda: s3.head_object(Bucket="bkt-one", Key="cut"))


for group in [buckets, objects, conditions, copies, listings, multipart, checksums, identities, presigned, virtual_hosts, policies, refusals, odd_names, many_keys, hard_ways]:
    before = checks
    group()
    print(f"{group.__name__}: {checks - before}")
print(f"{checks} checks held")

"""Sends every parameter of every S3 operation to S3 behind its front door: `parameters.py URL`.

The operations and their parameters are those of botocore's model of S3, so that a new one of AWS's cannot slip
through. An operation without checks below must answer NotImplemented. Of an operation with checks, every parameter
must have one: it makes the difference that AWS documents, or it is refused by its name.
"""

import base64
import contextlib
import datetime
import hashlib
import itertools
import sys
import zlib

import boto3
import botocore.config
import botocore.session
from botocore.exceptions import ClientError

URL = sys.argv[1]
ACCOUNT, STRANGER = "111122223333", "999988887777"
MODEL = botocore.session.get_session().get_service_model("s3")
s3 = boto3.client(
    "s3", endpoint_url=URL, region_name="us-east-1", aws_access_key_id="AKIAROOT1", aws_secret_access_key="secret",
    config=botocore.config.Config(
        retries={"max_attempts": 1}, s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
        response_checksum_validation="when_required", inject_host_prefix=False))
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
LONG_AHEAD = datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc)
numbers = itertools.count()
failures = []
checked = 0


class Failed(Exception):
    pass


def fresh(what="key"):
    return f"{what}-{next(numbers)}"


def call(operation, arguments):
    return getattr(s3, botocore.xform_name(operation))(**arguments)


def attempt(operation, arguments):
    """The answer, or the error."""
    try:
        return call(operation, arguments), None
    except ClientError as error:
        return None, error.response


def ensure(condition, *shown):
    if not condition:
        raise Failed(" ".join(map(repr, shown)))


def works(operation, arguments):
    answer, error = attempt(operation, arguments)
    ensure(error is None, error)
    return answer


def refused(operation, arguments, codes, name=None):
    """It must fail with one of the codes and say `name`. What answers a HEAD has no body, so only its status."""
    answer, error = attempt(operation, arguments)
    ensure(error is not None, "was accepted", arguments)
    status = error["ResponseMetadata"]["HTTPStatusCode"]
    if MODEL.operation_model(operation).http["method"] == "HEAD":
        ensure(status in STATUSES_OF.get(codes, (400, 403, 404, 412, 416, 501)), "status", status)
        return error
    ensure(error["Error"]["Code"] in codes, error)
    if name is not None:
        said = " ".join(str(value) for value in error["Error"].values()).lower()
        ensure(name.lower() in said, f"does not say {name}", error)
    return error


NOT_IMPLEMENTED = ("NotImplemented",)
BAD = ("InvalidArgument", "InvalidRequest")
STATUSES_OF = {NOT_IMPLEMENTED: (501,), BAD: (400,), ("AccessDenied",): (403,), ("NoSuchKey",): (404,),
               ("NoSuchBucket",): (404,), ("PreconditionFailed",): (412,)}


@contextlib.contextmanager
def header_set(name, value):
    """Requests are signed and sent with this header, whatever the client put there."""
    def spoil(request, **_):
        del request.headers[name]
        request.headers[name] = value
    s3.meta.events.register("before-sign.s3", spoil)
    try:
        yield
    finally:
        s3.meta.events.unregister("before-sign.s3", spoil)


def sample(shape):
    """A value that the shape allows."""
    if getattr(shape, "is_tagged_union", False):
        name, member = next(iter(shape.members.items()))
        return {name: sample(member)}
    if shape.type_name == "structure":
        return {name: sample(member) for name, member in shape.members.items() if name in shape.required_members}
    if shape.type_name == "list":
        return [sample(shape.member)]
    if shape.type_name == "map":
        return {"a": "b"}
    if shape.type_name == "string":
        return shape.enum[0] if getattr(shape, "enum", None) else "z" * max(3, shape.metadata.get("min", 0))
    return {"boolean": True, "timestamp": LONG_AHEAD, "blob": b"x", "integer": 1, "long": 1, "float": 1.0,
            "double": 1.0}[shape.type_name]


def put_in(arguments, path, value):
    """The arguments with one more, deep inside."""
    arguments = dict(arguments)
    head, *rest = path
    if not rest:
        arguments[head] = value
        return arguments
    inner = arguments.get(head)
    if isinstance(inner, list):
        arguments[head] = [put_in(inner[0], rest, value), *inner[1:]]
    else:
        arguments[head] = put_in(inner or {}, rest, value)
    return arguments


# ---- The world that the requests meet.

HERE, OTHER = "parameters-here", "parameters-other"
CONTENT = b"0123456789"
PART = b"p" * (5 << 20)
POLICY = ('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},'
          '"Action":"s3:GetObject","Resource":"arn:aws:s3:::parameters-here/*"}]}')
for bucket in (HERE, OTHER):
    s3.create_bucket(Bucket=bucket)


def an_object(**more):
    key = fresh()
    answer = s3.put_object(Bucket=HERE, Key=key, Body=CONTENT, **more)
    return {"Bucket": HERE, "Key": key}, answer["ETag"]


def an_upload(key=None, **more):
    key = key or fresh()
    return {"Bucket": HERE, "Key": key, "UploadId": s3.create_multipart_upload(Bucket=HERE, Key=key, **more)["UploadId"]}


def a_full_upload(**more):
    upload = an_upload(**more)
    part = s3.upload_part(Body=CONTENT, PartNumber=1, **upload,
                          **({"ChecksumAlgorithm": more["ChecksumAlgorithm"]} if more else {}))
    listed = {"PartNumber": 1, "ETag": part["ETag"]}
    return {**upload, "MultipartUpload": {"Parts": [listed]}}, part


PARTED = {"Bucket": HERE, "Key": "parted"}
upload = an_upload("parted", ChecksumAlgorithm="CRC32")
listed = []
for number, body in ((1, PART), (2, CONTENT)):
    made = s3.upload_part(PartNumber=number, Body=body, ChecksumAlgorithm="CRC32", **upload)
    listed.append({"PartNumber": number, "ETag": made["ETag"], "ChecksumCRC32": made["ChecksumCRC32"]})
s3.complete_multipart_upload(MultipartUpload={"Parts": listed}, **upload)
LISTED = "parameters-listed"
s3.create_bucket(Bucket=LISTED)
for key in ("a", "b/1", "b/2", "c d", "e"):
    s3.put_object(Bucket=LISTED, Key=key, Body=b"")
s3.create_bucket(Bucket="parameters-uploads")
for key in ("a", "b/1", "b/2", "c d"):
    s3.create_multipart_upload(Bucket="parameters-uploads", Key=key)


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


SUMS = {}


def sums_of(data):
    """Every checksum of some content, as S3 itself computes them; CRC-32 and the hashes are checked here."""
    if data not in SUMS:
        found = {}
        for algorithm in ("CRC32", "SHA1", "SHA256"):
            key = fresh()
            found[algorithm] = s3.put_object(Bucket=HERE, Key=key, Body=data, ChecksumAlgorithm=algorithm)[
                "Checksum" + algorithm]
        ensure(found["CRC32"] == crc32(data), found)
        ensure(found["SHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode(), found)
        SUMS[data] = {**found, "CRC64NVME": s3.put_object(Bucket=HERE, Key=fresh(), Body=data)["ChecksumCRC64NVME"],
                      "CRC32C": CRC32C[data]}
    return SUMS[data]


CRC32C = {CONTENT: "KAwGng=="}
SERVED_SUMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
WRONG_SUMS = {"CRC32": "AAAAAA==", "CRC32C": "AAAAAA==", "CRC64NVME": "AAAAAAAAAAA=", "SHA1": "A" * 27 + "=",
              "SHA256": "A" * 43 + "="}

# ---- Checks that many operations share. Each takes (operation, base, path, shape).


def names_itself(operation, base, path, shape):
    """Refused, by the name under which it travels."""
    name = shape.serialization.get("name", path[-1])
    refused(operation, put_in(base(), path, sample(shape)), NOT_IMPLEMENTED + BAD, name)


def refuses(value, accepts=(), codes=NOT_IMPLEMENTED + BAD, name=None):
    def check(operation, base, path, shape):
        said = name or shape.serialization.get("name", path[-1])
        refused(operation, put_in(base(), path, value), codes, said)
        for good in accepts if isinstance(accepts, tuple) else (accepts,):
            works(operation, put_in(base(), path, good))
    return check


def no_acl(operation, base, path, shape):
    refused(operation, put_in(base(), path, "public-read"), ("AccessControlListNotSupported",))
    works(operation, put_in(base(), path, "private"))


def other_bucket(operation, base, path, shape):
    refused(operation, put_in(base(), path, "parameters-none"), ("NoSuchBucket",))


def other_key(operation, base, path, shape):
    refused(operation, put_in(base(), path, "none"), ("NoSuchKey", "NoSuchUpload"))


def stored_key(operation, base, path, shape):
    key = fresh("stored")
    works(operation, put_in(base(), path, key))
    ensure(s3.head_object(Bucket=HERE, Key=key), key)


def owner(operation, base, path, shape):
    refused(operation, put_in(base(), path, STRANGER), ("AccessDenied",))
    works_or_has_none(operation, put_in(base(), path, ACCOUNT))


def works_or_has_none(operation, arguments):
    """Where nothing is configured, AWS's answer is an error that says so."""
    answer, error = attempt(operation, arguments)
    ensure(error is None or error["Error"]["Code"] == HAS_NONE.get(operation), error)


HAS_NONE = {
    "GetBucketCors": "NoSuchCORSConfiguration", "GetBucketPolicy": "NoSuchBucketPolicy",
    "GetBucketEncryption": "ServerSideEncryptionConfigurationNotFoundError",
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError", "GetBucketTagging": "NoSuchTagSet",
    "GetBucketLifecycle": "NoSuchLifecycleConfiguration", "GetBucketPolicyStatus": "NoSuchBucketPolicy",
    "PutBucketAcl": "AccessControlListNotSupported", "PutObjectAcl": "AccessControlListNotSupported",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetObjectLegalHold": "InvalidRequest", "GetObjectRetention": "InvalidRequest"}


def payer(operation, base, path, shape):
    refused(operation, put_in(base(), path, "somebody"), BAD, "x-amz-request-payer")
    works_or_has_none(operation, put_in(base(), path, "requester"))


def version(operation, base, path, shape):
    refused(operation, put_in(base(), path, "abc"), BAD, "versionId")
    works_or_has_none(operation, put_in(base(), path, "null"))


GENERIC = {
    "ACL": no_acl, "AnnotationDirective": names_itself, "Bucket": other_bucket, "BucketKeyEnabled": refuses(True, (False,)),
    "BucketNamespace": names_itself, "BypassGovernanceRetention": refuses(True, (False,)), "ExpectedBucketOwner": owner,
    "ExpectedSourceBucketOwner": owner, "Key": other_key, "MFA": names_itself, "OptionalObjectAttributes": names_itself,
    "RequestPayer": payer, "StorageClass": refuses("GLACIER", ("STANDARD",)), "VersionId": version,
    "WebsiteRedirectLocation": names_itself, "WriteOffsetBytes": names_itself,
}
for name in ("GrantFullControl GrantRead GrantReadACP GrantWrite GrantWriteACP ServerSideEncryption SSECustomerAlgorithm "
             "SSECustomerKey SSECustomerKeyMD5 SSEKMSKeyId SSEKMSEncryptionContext CopySourceSSECustomerAlgorithm "
             "CopySourceSSECustomerKey CopySourceSSECustomerKeyMD5 ObjectLockMode ObjectLockRetainUntilDate "
             "ObjectLockLegalHoldStatus ObjectLockEventHold ObjectLockEventHoldDurationDays "
             "ObjectLockEventHoldDurationYears ChecksumSHA512 ChecksumMD5 ChecksumXXHASH64 ChecksumXXHASH3 "
             "ChecksumXXHASH128 IfMatchLastModifiedTime IfMatchSize IfMatchInitiatedTime").split():
    GENERIC[name] = names_itself


def kept_header(field, value, seen=None):
    """A header that is stored with the object."""
    def check(operation, base, path, shape):
        arguments = put_in(base(), path, value)
        if operation == "CopyObject":
            arguments["MetadataDirective"] = "REPLACE"
        answer = works(operation, arguments)
        if operation == "CreateMultipartUpload":
            upload = {"Bucket": HERE, "Key": arguments["Key"], "UploadId": answer["UploadId"]}
            part = s3.upload_part(Body=CONTENT, PartNumber=1, **upload)
            s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        head = s3.head_object(Bucket=HERE, Key=arguments["Key"])
        ensure(head.get(field) == (seen or value), field, head)
    return check


def kept_tags(operation, base, path, shape):
    arguments = put_in(base(), path, "a=b&c=%C3%BC")
    if operation == "CopyObject":
        arguments["TaggingDirective"] = "REPLACE"
    answer = works(operation, arguments)
    if operation == "CreateMultipartUpload":
        upload = {"Bucket": HERE, "Key": arguments["Key"], "UploadId": answer["UploadId"]}
        part = s3.upload_part(Body=CONTENT, PartNumber=1, **upload)
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    tags = s3.get_object_tagging(Bucket=HERE, Key=arguments["Key"])["TagSet"]
    ensure(tags == [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "ü"}], tags)
    refused(operation, put_in(base(), path, "a=1&a=2"), BAD, "x-amz-tagging")


KEPT = {"Tagging": kept_tags, "CacheControl": kept_header("CacheControl", "no-store"),
        "ContentDisposition": kept_header("ContentDisposition", "inline"),
        "ContentEncoding": kept_header("ContentEncoding", "x-odd"),
        "ContentLanguage": kept_header("ContentLanguage", "de"), "ContentType": kept_header("ContentType", "text/x"),
        "Expires": kept_header("ExpiresString", LONG_AHEAD, "Thu, 01 Jan 2099 00:00:00 GMT"),
        "Metadata": kept_header("Metadata", {"colour": "blue"})}


def given_sum(algorithm):
    """A checksum of the content: the right one is kept and shown, a wrong one is refused."""
    def check(operation, base, path, shape):
        answer = works(operation, put_in(base(), path, sums_of(CONTENT)[algorithm]))
        ensure(answer["Checksum" + algorithm] == sums_of(CONTENT)[algorithm], answer)
        refused(operation, put_in(base(), path, WRONG_SUMS[algorithm]), ("BadDigest",), algorithm)
    return check


def condition(good, bad, code="PreconditionFailed", status=None):
    """`good` and `bad` are made from the ETag of what is there."""
    def check(operation, base, path, shape):
        arguments, etag = base(etag=True)
        works(operation, put_in(arguments, path, good(etag)))
        arguments, etag = base(etag=True)
        _, error = attempt(operation, put_in(arguments, path, bad(etag)))
        ensure(error is not None, "was accepted")
        wanted = status or {"PreconditionFailed": 412, "NotModified": 304}[code]
        ensure(error["ResponseMetadata"]["HTTPStatusCode"] == wanted, error)
    return check


READ_CONDITIONS = {
    "IfMatch": condition(lambda etag: etag, lambda etag: '"0"'),
    "IfNoneMatch": condition(lambda etag: '"0"', lambda etag: etag, "NotModified"),
    "IfModifiedSince": condition(lambda etag: LONG_AGO, lambda etag: LONG_AHEAD, "NotModified"),
    "IfUnmodifiedSince": condition(lambda etag: LONG_AHEAD, lambda etag: LONG_AGO)}
SOURCE_CONDITIONS = {
    "CopySourceIfMatch": condition(lambda etag: etag, lambda etag: '"0"'),
    "CopySourceIfNoneMatch": condition(lambda etag: '"0"', lambda etag: etag),
    "CopySourceIfModifiedSince": condition(lambda etag: LONG_AGO, lambda etag: LONG_AHEAD),
    "CopySourceIfUnmodifiedSince": condition(lambda etag: LONG_AHEAD, lambda etag: LONG_AGO)}


def differs(value, see):
    """`see` looks at the answer with the value and at the one without."""
    def check(operation, base, path, shape):
        plain = works(operation, base())
        ensure(see(works(operation, put_in(base(), path, value)), plain), path, value)
    return check


# ---- The operations: how each is called, and what its own parameters do.


def reading(etag=False):
    arguments, tag = an_object()
    return (arguments, tag) if etag else arguments


def checks_if_target(operation, base, path, shape, make):
    """If-Match and If-None-Match of a write: on the object that is to be replaced."""
    there, etag = an_object()
    if path[-1] == "IfMatch":
        works(operation, {**make(there["Key"]), "IfMatch": etag})
        refused(operation, {**make(there["Key"]), "IfMatch": '"0"'}, ("PreconditionFailed",))
        refused(operation, {**make(fresh()), "IfMatch": '"0"'}, ("NoSuchKey",))
    else:
        works(operation, {**make(fresh()), "IfNoneMatch": "*"})
        refused(operation, {**make(there["Key"]), "IfNoneMatch": "*"}, ("PreconditionFailed",))
        refused(operation, {**make(there["Key"]), "IfNoneMatch": '"0"'}, NOT_IMPLEMENTED, "If-None-Match")


def target(make):
    def check(operation, base, path, shape):
        checks_if_target(operation, base, path, shape, make)
    return {"IfMatch": check, "IfNoneMatch": check}


def put_base(**more):
    return {"Bucket": HERE, "Key": fresh(), "Body": CONTENT, **more}


def body_is_stored(operation, base, path, shape):
    arguments = put_in(base(), path, b"other")
    answer = works(operation, arguments)
    ensure(answer["ETag"] == f'"{hashlib.md5(b"other").hexdigest()}"', answer)


def length(operation, base, path, shape):
    # What is announced and not sent ends the request; too much of it is refused before it comes.
    refused(operation, put_in(base(), path, 6 << 30), ("EntityTooLarge",))


def md5(operation, base, path, shape):
    works(operation, put_in(base(), path, base64.b64encode(hashlib.md5(CONTENT).digest()).decode()))
    refused(operation, put_in(base(), path, base64.b64encode(bytes(16)).decode()), ("BadDigest",), "Content-MD5")


def named_sum(operation, base, path, shape):
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        answer = works(operation, put_in(base(), path, algorithm))
        ensure(answer["Checksum" + algorithm] == sums_of(CONTENT)[algorithm], answer)


def announced_sum_only(operation, base, path, shape):
    """It names the checksum of the document, which is verified: botocore computes it."""
    works(operation, put_in(base(), path, "SHA256"))
    arguments = put_in(base(), path, "SHA256")
    with header_set("x-amz-checksum-sha256", WRONG_SUMS["SHA256"]):
        refused(operation, arguments, ("BadDigest",))


WRITTEN_SUMS = {"Checksum" + algorithm: given_sum(algorithm) for algorithm in SERVED_SUMS}


def copy_base(etag=False, key=None):
    source, tag = an_object(Metadata={"from": "source"})
    arguments = {"Bucket": HERE, "Key": key or fresh(), "CopySource": source}
    return (arguments, tag) if etag else arguments


def copied_sum(operation, base, path, shape):
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
        answer = works(operation, put_in(base(), path, algorithm))
        ensure(answer["CopyObjectResult"]["Checksum" + algorithm] == sums_of(CONTENT)[algorithm], answer)


def directive(operation, base, path, shape):
    for value, metadata in (("COPY", {"from": "source"}), ("REPLACE", {"new": "1"})):
        arguments = {**base(), "MetadataDirective": value, "Metadata": {"new": "1"}}
        works(operation, arguments)
        ensure(s3.head_object(Bucket=HERE, Key=arguments["Key"])["Metadata"] == metadata, value)
    refused(operation, put_in(base(), path, "BOTH"), BAD, "x-amz-metadata-directive")


def copy_source(operation, base, path, shape):
    refused(operation, put_in(base(), path, {"Bucket": HERE, "Key": "none"}), ("NoSuchKey",))


def part_base(**more):
    return {**an_upload(), "PartNumber": 1, "Body": CONTENT, **more}


def part_copy_base(etag=False):
    source, tag = an_object()
    arguments = {**an_upload(), "PartNumber": 1, "CopySource": source}
    return (arguments, tag) if etag else arguments


def wrong_number(operation, base, path, shape):
    refused(operation, put_in(base(), path, 10_001), BAD, "partNumber")
    arguments = put_in(base(), path, 7)
    works(operation, arguments)
    upload = {name: arguments[name] for name in ("Bucket", "Key", "UploadId")}
    ensure([part["PartNumber"] for part in s3.list_parts(**upload)["Parts"]] == [7])


def no_upload(operation, base, path, shape):
    refused(operation, put_in(base(), path, "0" * 44), ("NoSuchUpload",))


def copied_part(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, "bytes=2-4"))
    ensure(answer["CopyPartResult"]["ETag"] == f'"{hashlib.md5(CONTENT[2:5]).hexdigest()}"', answer)
    refused(operation, put_in(base(), path, "bytes=2-10"), BAD, "x-amz-copy-source-range")
    refused(operation, put_in(base(), path, "bytes=2-"), BAD, "x-amz-copy-source-range")


def complete_base():
    return a_full_upload()[0]


def sums_of_whole(algorithm, nested):
    """The checksum of a part, or of the whole, that the client repeats."""
    def check(operation, base, path, shape):
        for right in (True, False):
            if algorithm in ("CRC32", "SHA1", "SHA256"):
                arguments, part = a_full_upload(ChecksumAlgorithm=algorithm)
                value = part["Checksum" + algorithm]
                if not nested:
                    value = composite(algorithm, value)
            else:
                arguments, part = a_named_upload(algorithm)
                value = sums_of(CONTENT)[algorithm] if nested or algorithm == "CRC64NVME" else None
            if not right:
                value = WRONG_SUMS[algorithm] + ("-1" if value and "-" in value else "")
            if value is None:
                continue
            arguments = put_in(arguments, path, value)
            if right:
                works(operation, arguments)
            else:
                refused(operation, arguments, ("InvalidPart",) if nested else ("BadDigest",))
    return check


def composite(algorithm, value):
    data = base64.b64decode(value)
    digest = {"SHA1": lambda: hashlib.sha1(data).digest(), "SHA256": lambda: hashlib.sha256(data).digest(),
              "CRC32": lambda: zlib.crc32(data).to_bytes(4, "big")}[algorithm]()
    return base64.b64encode(digest).decode() + "-1"


def a_named_upload(algorithm):
    """For the checksums that this client does not compute."""
    upload = an_upload(ChecksumAlgorithm=algorithm)
    part = s3.upload_part(Body=CONTENT, PartNumber=1, **upload, **{"Checksum" + algorithm: sums_of(CONTENT)[algorithm]})
    return {**upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}}, part


def whole_type(operation, base, path, shape):
    arguments, _ = a_full_upload(ChecksumAlgorithm="CRC32")
    refused(operation, {**arguments, "ChecksumType": "FULL_OBJECT"}, BAD, "checksum mode")
    works(operation, {**arguments, "ChecksumType": "COMPOSITE"})


def whole_size(operation, base, path, shape):
    refused(operation, put_in(base(), path, 11), BAD, "x-amz-mp-object-size")
    works(operation, put_in(base(), path, 10))


def listed_etag(operation, base, path, shape):
    refused(operation, put_in(base(), path, '"0"'), ("InvalidPart",))


def listed_number(operation, base, path, shape):
    refused(operation, put_in(base(), path, 2), ("InvalidPart",))


def begun_sum(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, "SHA256"))
    ensure(answer["ChecksumAlgorithm"] == "SHA256", answer)
    refused(operation, put_in(base(), path, "ROT13"), BAD, "checksum algorithm")


def begun_type(operation, base, path, shape):
    answer = works(operation, {**base(), "ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"})
    ensure(answer["ChecksumType"] == "FULL_OBJECT", answer)
    refused(operation, {**base(), "ChecksumAlgorithm": "SHA256", "ChecksumType": "FULL_OBJECT"}, BAD, "FULL_OBJECT")
    refused(operation, {**base(), "ChecksumType": "FULL_OBJECT"}, BAD, "x-amz-checksum-type")


def begun_key(operation, base, path, shape):
    key = fresh("begun")
    works(operation, put_in(base(), path, key))
    ensure([u["Key"] for u in s3.list_multipart_uploads(Bucket=HERE, Prefix=key)["Uploads"]] == [key])


def read_range(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, "bytes=2-4"))
    ensure((answer["ContentRange"], answer["ContentLength"]) == ("bytes 2-4/10", 3), answer)
    refused(operation, put_in(base(), path, "bytes=10-"), ("InvalidRange",))
    for ignored in ("bytes=5-3", "bytes=x", "lines=1-2", "bytes=0-1,3-4"):
        answer = works(operation, put_in(base(), path, ignored))
        ensure((answer["ContentLength"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (10, 200), ignored, answer)
    refused(operation, put_in(base(), path, "bytes=" + "9" * 30 + "-"), ("InvalidRange",))


def read_part(operation, base, path, shape):
    answer = works(operation, {**PARTED, "PartNumber": 2})
    ensure((answer["ContentLength"], answer["PartsCount"]) == (10, 2), answer)
    refused(operation, {**PARTED, "PartNumber": 3}, ("InvalidPartNumber",))


def read_sum(operation, base, path, shape):
    arguments, _ = an_object(ChecksumAlgorithm="SHA256")
    ensure("ChecksumSHA256" not in works(operation, arguments))
    ensure(works(operation, put_in(arguments, path, "ENABLED"))["ChecksumSHA256"] == sums_of(CONTENT)["SHA256"])
    refused(operation, put_in(arguments, path, "SOMETIMES"), BAD, "x-amz-checksum-mode")


def overridden(field, value, seen=None):
    def check(operation, base, path, shape):
        answer = works(operation, put_in(base(), path, value))
        ensure(answer.get(field) == (seen or value), field, answer)
    return check


OVERRIDES = {"Response" + name: overridden(name, "x/y") for name in
             ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")}
OVERRIDES["ResponseExpires"] = overridden("ExpiresString", LONG_AHEAD, "Thu, 01 Jan 2099 00:00:00 GMT")
READ = {**READ_CONDITIONS, **OVERRIDES, "Range": read_range, "PartNumber": read_part, "ChecksumMode": read_sum}


def keys_of(answer):
    entries = answer.get("Contents") or answer.get("Versions") or answer.get("Uploads") or []
    return [entry["Key"] for entry in entries]


def rolled(answer):
    return [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]


def encoding(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, "url"))
    ensure(answer["EncodingType"] == "url" and "c%20d" in keys_of(answer), answer)
    refused(operation, put_in(base(), path, "rot13"), BAD, "encoding-type")


LISTING = {
    "Delimiter": differs("/", lambda with_it, plain: (rolled(with_it), rolled(plain)) == (["b/"], [])),
    "Prefix": differs("b/", lambda with_it, plain: keys_of(with_it) == ["b/1", "b/2"]),
    "EncodingType": encoding}


def at_most(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, 2))
    ensure(len(keys_of(answer)) == 2 and answer["IsTruncated"], answer)
    refused(operation, put_in(base(), path, -1), BAD, shape.serialization["name"])


MORE = {"MaxKeys": at_most}


def continued(operation, base, path, shape):
    first = works(operation, {**base(), "MaxKeys": 2})
    rest = works(operation, put_in(base(), path, first["NextContinuationToken"]))
    ensure(keys_of(rest) == ["b/2", "c d", "e"], rest)
    refused(operation, put_in(base(), path, "!"), BAD, "continuation-token")


def upload_marker(operation, base, path, shape):
    everything = works(operation, base())["Uploads"]
    rest = works(operation, {**base(), "KeyMarker": "a", "UploadIdMarker": everything[0]["UploadId"]})
    ensure(keys_of(rest) == ["b/1", "b/2", "c d"], rest)
    rest = works(operation, {**base(), "KeyMarker": "a", "UploadIdMarker": "0"})
    ensure(keys_of(rest) == ["a", "b/1", "b/2", "c d"], rest)


def version_marker(operation, base, path, shape):
    rest = works(operation, {**base(), "KeyMarker": "b/1", "VersionIdMarker": "null"})
    ensure(keys_of(rest) == ["b/2", "c d", "e"], rest)
    refused(operation, {**base(), "KeyMarker": "b/1", "VersionIdMarker": "x"}, BAD, "Invalid version id")
    refused(operation, put_in(base(), path, "null"), BAD, "version-id-marker")


def parts_base():
    upload = an_upload()
    for number in (1, 3):
        s3.upload_part(Body=CONTENT, PartNumber=number, **upload)
    return upload


def numbers_of(answer):
    return [part["PartNumber"] for part in answer["Parts"]]


def max_parts(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, 1))
    ensure(numbers_of(answer) == [1] and answer["IsTruncated"], answer)
    refused(operation, put_in(base(), path, -1), BAD, "max-parts")


def after_part(operation, base, path, shape):
    ensure(numbers_of(works(operation, put_in(base(), path, 1))) == [3])
    refused(operation, put_in(base(), path, -1), BAD, "part-number-marker")


def deletes(arguments):
    """A deletion of two keys, the first of which the parameter is about."""
    return {"Bucket": HERE, "Delete": {"Objects": [arguments, {"Key": "none"}]}}


def delete_base():
    return deletes({"Key": an_object()[0]["Key"]})


def inner_error(operation, arguments, code, said=None):
    answer = works(operation, arguments)
    ensure([e["Code"] for e in answer.get("Errors", [])] == [code], answer)
    ensure(said is None or said in answer["Errors"][0]["Message"], answer)
    ensure(s3.head_object(Bucket=HERE, Key=arguments["Delete"]["Objects"][0]["Key"]), "it is gone")


def delete_refuses(value, said):
    def check(operation, base, path, shape):
        arguments = base()
        arguments["Delete"]["Objects"][0][path[-1]] = value
        inner_error(operation, arguments, "NotImplemented", said)
    return check


def delete_version(operation, base, path, shape):
    arguments = base()
    arguments["Delete"]["Objects"][0]["VersionId"] = "abc"
    inner_error(operation, arguments, "InvalidArgument", "version id")
    arguments["Delete"]["Objects"][0]["VersionId"] = "null"
    ensure("Errors" not in works(operation, arguments))


def delete_etag(operation, base, path, shape):
    there, etag = an_object()
    inner_error(operation, deletes({"Key": there["Key"], "ETag": '"0"'}), "PreconditionFailed")
    ensure("Errors" not in works(operation, deletes({"Key": there["Key"], "ETag": etag})))


def delete_key(operation, base, path, shape):
    there, _ = an_object()
    works(operation, deletes({"Key": there["Key"]}))
    refused("HeadObject", there, ("NoSuchKey",))


def quiet(operation, base, path, shape):
    ensure("Deleted" in works(operation, base()))
    ensure("Deleted" not in works(operation, put_in(base(), path, True)))


def delete_condition(operation, base, path, shape):
    there, etag = an_object()
    refused(operation, {**there, "IfMatch": '"0"'}, ("PreconditionFailed",))
    works(operation, {**there, "IfMatch": etag})


def deleted_key(operation, base, path, shape):
    there, _ = an_object()
    works(operation, there)
    refused("HeadObject", there, ("NoSuchKey",))


def bucket_base():
    return {"Bucket": fresh("parameters-made")}


def made(operation, base, path, shape):
    name = bucket_base()["Bucket"]
    works(operation, {"Bucket": name})
    ensure(s3.head_bucket(Bucket=name))


def location(operation, base, path, shape):
    refused(operation, put_in(base(), path, "eu-west-1"), ("IllegalLocationConstraintException",), "eu-west-1")
    refused(operation, put_in(base(), path, "us-east-1"), ("InvalidLocationConstraint",))


def configured(element, value):
    def check(operation, base, path, shape):
        refused(operation, put_in(base(), path[:2], value), NOT_IMPLEMENTED + BAD, element)
    return check


def deleted_bucket(operation, base, path, shape):
    arguments = base()
    works(operation, arguments)
    refused("HeadBucket", arguments, ("NoSuchBucket",))
    other_bucket(operation, base, path, shape)


def doomed_bucket():
    arguments = bucket_base()
    s3.create_bucket(**arguments)
    return arguments


def buckets_of(answer):
    return [bucket["Name"] for bucket in answer["Buckets"]]


def max_buckets(operation, base, path, shape):
    answer = works(operation, put_in(base(), path, 2))
    ensure(len(buckets_of(answer)) == 2 and "ContinuationToken" in answer, answer)
    refused(operation, put_in(base(), path, 10_001), BAD, "max-buckets")


def next_buckets(operation, base, path, shape):
    first = works(operation, {"MaxBuckets": 1})
    rest = works(operation, put_in(base(), path, first["ContinuationToken"]))
    ensure(buckets_of(first) + buckets_of(rest) == buckets_of(works(operation, {})), rest)
    refused(operation, put_in(base(), path, "!"), BAD, "continuation-token")


def policy(operation, base, path, shape):
    refused(operation, put_in(base(), path, "{"), ("MalformedPolicy",))
    works(operation, put_in(base(), path, POLICY))
    ensure(s3.get_bucket_policy(Bucket=HERE)["Policy"] == POLICY)
    s3.delete_bucket_policy(Bucket=HERE)


def policy_md5(operation, base, path, shape):
    works(operation, put_in(base(), path, base64.b64encode(hashlib.md5(POLICY.encode()).digest()).decode()))
    refused(operation, put_in(base(), path, base64.b64encode(bytes(16)).decode()), ("BadDigest",), "Content-MD5")


def lock_out(operation, base, path, shape):
    """AWS asks for this confirmation where a policy locks its writer out; here the account's root user can always
    change it again, so both values are right and anything else is not a boolean."""
    works(operation, put_in(base(), path, True))
    works(operation, put_in(base(), path, False))
    with header_set("x-amz-confirm-remove-self-bucket-access", "maybe"):
        refused(operation, put_in(base(), path, True), BAD, "x-amz-confirm-remove-self-bucket-access")


def asked_attributes(operation, base, path, shape):
    everything = {"ETag": "ETag", "Checksum": "Checksum", "ObjectParts": "ObjectParts", "StorageClass": "StorageClass",
                  "ObjectSize": "ObjectSize"}
    for asked in everything:
        answer = works(operation, {**PARTED, "ObjectAttributes": [asked]})
        ensure([name for name in everything if name in answer] == [asked], answer)
    answer = works(operation, {**PARTED, "ObjectAttributes": list(everything)})
    ensure(all(name in answer for name in everything), answer)
    refused(operation, {**PARTED, "ObjectAttributes": ["ETag", "Colour"]}, BAD, "x-amz-object-attributes")


def attribute_parts(operation, base, path, shape):
    asked = {**PARTED, "ObjectAttributes": ["ObjectParts"]}
    everything = works(operation, asked)["ObjectParts"]
    ensure((numbers_of(everything), everything["TotalPartsCount"]) == ([1, 2], 2), everything)
    ensure(everything["Parts"][1]["ChecksumCRC32"] == crc32(CONTENT), everything)
    one = works(operation, {**asked, path[-1]: 1})["ObjectParts"]
    wanted = ([1], True) if path[-1] == "MaxParts" else ([2], False)
    ensure((numbers_of(one), one["IsTruncated"]) == wanted, one)
    refused(operation, {**asked, path[-1]: -1}, BAD, "max-parts" if path[-1] == "MaxParts" else "part-number-marker")


def tagging_directive(operation, base, path, shape):
    for value, wanted in (("COPY", [{"Key": "from", "Value": "source"}]), ("REPLACE", [])):
        arguments = put_in(base(), path, value)
        s3.put_object_tagging(Tagging={"TagSet": [{"Key": "from", "Value": "source"}]}, **arguments["CopySource"])
        works(operation, arguments)
        tags = s3.get_object_tagging(Bucket=HERE, Key=arguments["Key"])["TagSet"]
        ensure(tags == wanted, tags)
    refused(operation, put_in(base(), path, "BOTH"), BAD, "x-amz-tagging-directive")


def tagged(name="a", value="b"):
    return {"TagSet": [{"Key": name, "Value": value}]}


def own_bucket():
    arguments = bucket_base()
    s3.create_bucket(**arguments)
    return arguments


def given_tag(operation, base, path, shape):
    """A tag is kept and shown, and an impossible one refused."""
    arguments = base()
    member, look = path[-1], "GetBucketTagging" if operation == "PutBucketTagging" else "GetObjectTagging"
    arguments["Tagging"] = tagged(**{"name" if member == "Key" else "value": "other"})
    works(operation, arguments)
    at = {name: arguments[name] for name in ("Bucket", "Key") if name in arguments}
    ensure(works(look, at)["TagSet"][0][member] == "other", at)
    arguments["Tagging"] = tagged(**{"name" if member == "Key" else "value": "<"})
    refused(operation, arguments, ("InvalidTag",), "Tag" + member)


def document_md5(operation, base, path, shape):
    """The digest of the document, which this client does not compute."""
    arguments = put_in(base(), path, base64.b64encode(bytes(16)).decode())
    refused(operation, arguments, ("BadDigest",), "Content-MD5")


def removed_tags(look):
    def check(operation, base, path, shape):
        arguments = base()
        works(operation, arguments)
        answer, error = attempt(look, arguments)
        ensure(error["Error"]["Code"] == "NoSuchTagSet" if error else not answer["TagSet"], answer, error)
        (other_bucket if path[-1] == "Bucket" else other_key)(operation, base, path, shape)
    return check


def tagged_object():
    arguments = an_object()[0]
    s3.put_object_tagging(Tagging=tagged(), **arguments)
    return arguments


def tagged_bucket():
    arguments = own_bucket()
    s3.put_bucket_tagging(Tagging=tagged(), **arguments)
    return arguments


def status_of_versions(operation, base, path, shape):
    for value in ("Enabled", "Suspended"):
        arguments = put_in(base(), path, value)
        works(operation, arguments)
        ensure(s3.get_bucket_versioning(Bucket=arguments["Bucket"])["Status"] == value)
    refused(operation, put_in(base(), path, "On"), ("MalformedXML",))


def mfa_delete(operation, base, path, shape):
    refused(operation, put_in(base(), path, "Enabled"), NOT_IMPLEMENTED, "MfaDelete")
    works(operation, put_in(base(), path, "Disabled"))


BLOCKS = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": True}


def blocked(operation, base, path, shape):
    """Each switch by itself: the others are off."""
    arguments = {**base(), "PublicAccessBlockConfiguration": {path[-1]: True}}
    works(operation, arguments)
    kept = s3.get_public_access_block(Bucket=arguments["Bucket"])["PublicAccessBlockConfiguration"]
    ensure(kept == {name: name == path[-1] for name in BLOCKS}, kept)


def unblocked(operation, base, path, shape):
    arguments = base()
    works(operation, arguments)
    refused("GetPublicAccessBlock", arguments, ("NoSuchPublicAccessBlockConfiguration",))
    other_bucket(operation, base, path, shape)


def ownership(operation, base, path, shape):
    refused(operation, {**base(), "OwnershipControls": {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}},
            NOT_IMPLEMENTED, "ObjectOwnership")
    refused(operation, {**base(), "OwnershipControls": {"Rules": [{"ObjectOwnership": "Nobody"}]}}, ("MalformedXML",))


def acls_are_off(operation, base, path, shape):
    """Whatever the ACL is."""
    arguments = base()
    if path[0] == "AccessControlPolicy":
        arguments.pop("ACL")
        arguments["AccessControlPolicy"] = {"Owner": {"ID": "a"}, "Grants": [
            {"Grantee": {"Type": "CanonicalUser", "ID": "b"}, "Permission": "READ"}]}
    else:
        arguments = put_in(arguments, path, sample(shape))
    refused(operation, arguments, ("AccessControlListNotSupported",))


def acl_refused(own):
    def payer_first(operation, base, path, shape):
        refused(operation, put_in(base(), path, "somebody"), BAD, "x-amz-request-payer")

    def version_first(operation, base, path, shape):
        refused(operation, put_in(base(), path, "abc"), BAD, "versionId")

    def owner_first(operation, base, path, shape):
        refused(operation, put_in(base(), path, STRANGER), ("AccessDenied",))
    names = ("ACL AccessControlPolicy.Grants.Grantee.DisplayName AccessControlPolicy.Grants.Grantee.EmailAddress "
             "AccessControlPolicy.Grants.Grantee.ID AccessControlPolicy.Grants.Grantee.Type "
             "AccessControlPolicy.Grants.Grantee.URI AccessControlPolicy.Grants.Permission "
             "AccessControlPolicy.Owner.DisplayName AccessControlPolicy.Owner.ID ChecksumAlgorithm "
             "GrantFullControl GrantRead GrantReadACP GrantWrite GrantWriteACP").split()
    return {**{name: acls_are_off for name in names}, "ContentMD5": document_md5, "ExpectedBucketOwner": owner_first,
            **({"RequestPayer": payer_first, "VersionId": version_first} if own else {})}


in_bucket = lambda: {"Bucket": HERE}
OPERATIONS = {
    "AbortMultipartUpload": (an_upload, {"UploadId": no_upload}),
    "CompleteMultipartUpload": (complete_base, {
        **{"MultipartUpload.Parts.Checksum" + name: sums_of_whole(name, True) for name in SERVED_SUMS},
        **{"Checksum" + name: sums_of_whole(name, False) for name in SERVED_SUMS},
        "MultipartUpload.Parts.ETag": listed_etag, "MultipartUpload.Parts.PartNumber": listed_number,
        "ChecksumType": whole_type, "MpuObjectSize": whole_size, "UploadId": no_upload,
        **target(lambda key: {**complete_of(key)})}),
    "CopyObject": (copy_base, {
        **KEPT, **SOURCE_CONDITIONS, "ChecksumAlgorithm": copied_sum, "CopySource": copy_source, "Key": stored_key,
        "MetadataDirective": directive, "TaggingDirective": tagging_directive, **target(lambda key: copy_base(key=key))}),
    "CreateBucket": (bucket_base, {
        "Bucket": made, "CreateBucketConfiguration.LocationConstraint": location,
        "CreateBucketConfiguration.Location.Name": configured("Location", {"Type": "AvailabilityZone", "Name": "x"}),
        "CreateBucketConfiguration.Location.Type": configured("Location", {"Type": "AvailabilityZone"}),
        "CreateBucketConfiguration.Bucket.DataRedundancy": configured("Bucket", {"DataRedundancy": "SingleLocalZone"}),
        "CreateBucketConfiguration.Bucket.Type": configured("Bucket", {"Type": "Directory"}),
        "CreateBucketConfiguration.Tags.Key": configured("Tags", [{"Key": "a", "Value": "b"}]),
        "CreateBucketConfiguration.Tags.Value": configured("Tags", [{"Key": "a", "Value": "b"}]),
        "ObjectLockEnabledForBucket": refuses(True, (False,)),
        "ObjectOwnership": refuses("ObjectWriter", ("BucketOwnerEnforced",))}),
    "CreateMultipartUpload": (lambda: {"Bucket": HERE, "Key": fresh()}, {
        **KEPT, "Key": begun_key, "ChecksumAlgorithm": begun_sum, "ChecksumType": begun_type}),
    "DeleteBucket": (doomed_bucket, {"Bucket": deleted_bucket}),
    "DeleteBucketPolicy": (in_bucket, {}),
    "DeletePublicAccessBlock": (own_bucket, {"Bucket": unblocked}),
    "PutBucketAcl": (lambda: {**own_bucket(), "ACL": "private"}, acl_refused(False)),
    "PutObjectAcl": (lambda: {**reading(), "ACL": "private"}, acl_refused(True)),
    "PutBucketOwnershipControls": (
        lambda: {**own_bucket(), "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
        {"OwnershipControls.Rules.ObjectOwnership": ownership, "ContentMD5": document_md5,
         "ChecksumAlgorithm": announced_sum_only}),
    "PutPublicAccessBlock": (lambda: {**own_bucket(), "PublicAccessBlockConfiguration": BLOCKS}, {
        **{"PublicAccessBlockConfiguration." + name: blocked for name in BLOCKS},
        "ContentMD5": document_md5, "ChecksumAlgorithm": announced_sum_only}),
    "DeleteBucketTagging": (tagged_bucket, {"Bucket": removed_tags("GetBucketTagging")}),
    "DeleteObjectTagging": (tagged_object, {"Key": removed_tags("GetObjectTagging")}),
    "PutBucketTagging": (lambda: {**own_bucket(), "Tagging": tagged()}, {
        "Tagging.TagSet.Key": given_tag, "Tagging.TagSet.Value": given_tag, "ContentMD5": document_md5,
        "ChecksumAlgorithm": announced_sum_only}),
    "PutBucketVersioning": (lambda: {**own_bucket(), "VersioningConfiguration": {"Status": "Enabled"}}, {
        "VersioningConfiguration.Status": status_of_versions, "VersioningConfiguration.MFADelete": mfa_delete,
        "ContentMD5": document_md5, "ChecksumAlgorithm": announced_sum_only}),
    "PutObjectTagging": (lambda: {**reading(), "Tagging": tagged()}, {
        "Tagging.TagSet.Key": given_tag, "Tagging.TagSet.Value": given_tag, "ContentMD5": document_md5,
        "ChecksumAlgorithm": announced_sum_only}),
    "DeleteObject": (reading, {"Key": deleted_key, "IfMatch": delete_condition}),
    "DeleteObjects": (delete_base, {
        "Delete.Objects.Key": delete_key, "Delete.Objects.VersionId": delete_version,
        "Delete.Objects.ETag": delete_etag, "Delete.Quiet": quiet, "ChecksumAlgorithm": announced_sum_only,
        "Delete.Objects.LastModifiedTime": delete_refuses(LONG_AGO, "LastModifiedTime"),
        "Delete.Objects.Size": delete_refuses(1, "Size")}),
    "GetObject": (reading, READ), "HeadObject": (reading, READ),
    "GetObjectAttributes": (lambda: {**PARTED, "ObjectAttributes": ["ETag"]}, {
        "ObjectAttributes": asked_attributes, "MaxParts": attribute_parts, "PartNumberMarker": attribute_parts}),
    "ListBuckets": (dict, {
        "MaxBuckets": max_buckets, "ContinuationToken": next_buckets,
        "Prefix": differs("parameters-l", lambda with_it, plain: buckets_of(with_it) == [LISTED]),
        "BucketRegion": differs("eu-west-1", lambda with_it, plain: not buckets_of(with_it) and buckets_of(plain))}),
    "ListMultipartUploads": (lambda: {"Bucket": "parameters-uploads"}, {
        **LISTING, "MaxUploads": at_most, "UploadIdMarker": upload_marker,
        "KeyMarker": differs("b/1", lambda with_it, plain: keys_of(with_it) == ["b/2", "c d"])}),
    "ListObjects": (lambda: {"Bucket": LISTED}, {
        **LISTING, **MORE, "Marker": differs("b/1", lambda with_it, plain: keys_of(with_it) == ["b/2", "c d", "e"])}),
    "ListObjectsV2": (lambda: {"Bucket": LISTED}, {
        **LISTING, **MORE, "ContinuationToken": continued,
        "StartAfter": differs("b/1", lambda with_it, plain: keys_of(with_it) == ["b/2", "c d", "e"]),
        "FetchOwner": differs(True, lambda with_it, plain: "Owner" in with_it["Contents"][0]
                              and "Owner" not in plain["Contents"][0])}),
    "ListObjectVersions": (lambda: {"Bucket": LISTED}, {
        **LISTING, **MORE, "VersionIdMarker": version_marker,
        "KeyMarker": differs("b/1", lambda with_it, plain: keys_of(with_it) == ["b/2", "c d", "e"])}),
    "ListParts": (parts_base, {"MaxParts": max_parts, "PartNumberMarker": after_part, "UploadId": no_upload}),
    "PutBucketPolicy": (lambda: {"Bucket": HERE, "Policy": POLICY}, {
        "Policy": policy, "ContentMD5": policy_md5, "ChecksumAlgorithm": announced_sum_only,
        "ConfirmRemoveSelfBucketAccess": lock_out}),
    "PutObject": (put_base, {
        **KEPT, **WRITTEN_SUMS, "Body": body_is_stored, "ContentLength": length, "ContentMD5": md5, "Key": stored_key,
        "ChecksumAlgorithm": named_sum, **target(lambda key: {**put_base(), "Key": key})}),
    "UploadPart": (part_base, {
        **WRITTEN_SUMS, "Body": body_is_stored, "ContentLength": length, "ContentMD5": md5,
        "ChecksumAlgorithm": named_sum, "PartNumber": wrong_number, "UploadId": no_upload}),
    "UploadPartCopy": (part_copy_base, {
        **SOURCE_CONDITIONS, "CopySource": copy_source, "CopySourceRange": copied_part, "PartNumber": wrong_number,
        "UploadId": no_upload}),
}
for name in ("GetBucketAccelerateConfiguration GetBucketAcl GetBucketCors GetBucketEncryption GetBucketLifecycle "
             "GetBucketLifecycleConfiguration GetBucketLocation GetBucketLogging GetBucketNotification "
             "GetBucketNotificationConfiguration GetBucketOwnershipControls GetBucketPolicy GetBucketPolicyStatus GetBucketReplication "
             "GetBucketRequestPayment GetBucketTagging GetBucketVersioning GetBucketWebsite GetObjectLockConfiguration "
             "GetPublicAccessBlock HeadBucket").split():
    OPERATIONS[name] = (in_bucket, {})
for name in "GetObjectAcl GetObjectLegalHold GetObjectRetention GetObjectTagging".split():
    OPERATIONS[name] = (reading, {})


def complete_of(key):
    upload = an_upload(key)
    part = s3.upload_part(Body=CONTENT, PartNumber=1, **upload)
    return {**upload, "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}}


def parameters(shape, path=(), above=()):
    """Everything that can be given, down to what has no parts."""
    for name, member in shape.members.items():
        inner = member
        while inner.type_name == "list":
            inner = inner.member
        if inner.type_name == "structure" and inner.name not in above:
            yield from parameters(inner, (*path, name), (*above, inner.name))
        else:
            yield (*path, name), member


def run(what, check, *arguments):
    global checked
    checked += 1
    try:
        check(*arguments)
    except Exception as error:
        failures.append(f"{what}: {type(error).__name__}: {error}")


# Operations that clients send to other endpoints, signed for another service: which one, the answer says.
OF_OTHER_SERVICES = {"ListDirectoryBuckets": "s3express", "WriteGetObjectResponse": "s3-object-lambda"}


def not_served(operation):
    shape = MODEL.operation_model(operation).input_shape
    arguments = sample(shape) if shape else {}
    arguments.update({"Bucket": HERE} if shape and "Bucket" in shape.members else {})
    if shape and "Key" in shape.members:
        arguments["Key"] = an_object()[0]["Key"]
    before = [s3.get_object(**there)["Body"].read() for there in [{"Bucket": HERE, "Key": arguments["Key"]}]] \
        if "Key" in arguments else None
    answer, error = attempt(operation, arguments)
    ensure(error is not None, "was served", answer)
    if operation in OF_OTHER_SERVICES:
        ensure(error["Error"]["Code"] == "AuthorizationHeaderMalformed", error)
        ensure(f"service '{OF_OTHER_SERVICES[operation]}' is wrong" in error["Error"]["Message"], error)
        return
    ensure(error["Error"]["Code"] == "NotImplemented", error)
    ensure(error["ResponseMetadata"]["HTTPStatusCode"] == 501, error)
    ensure(error["ResponseMetadata"].get("RequestId"), error)
    ensure(before is None or s3.get_object(Bucket=HERE, Key=arguments["Key"])["Body"].read() == CONTENT)


served = 0
for operation in MODEL.operation_names:
    if operation not in OPERATIONS:
        run(operation, not_served, operation)
        continue
    served += 1
    base, own = OPERATIONS[operation]
    run(operation, works_or_has_none, operation, base())
    unused = set(own)
    for path, shape in parameters(MODEL.operation_model(operation).input_shape):
        name = ".".join(path)
        unused.discard(name)
        check = own.get(name) or GENERIC.get(path[-1])
        if check is None:
            failures.append(f"{operation}.{name}: no check")
            continue
        run(f"{operation}.{name}", check, operation, base, path, shape)
    failures.extend(f"{operation}.{name}: AWS has no such parameter" for name in unused)

for failure in failures:
    print(failure)
print(f"{checked} checks over {served} served operations and {len(MODEL.operation_names) - served} others, {len(failures)} failed")
sys.exit(bool(failures))

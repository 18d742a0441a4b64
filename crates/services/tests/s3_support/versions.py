"""Versioning, as boto3 sees it: `versions.py URL`."""

import random

from common import *

BUCKET = "versions"


def put(key, body, bucket=BUCKET, **more):
    return s3.put_object(Bucket=bucket, Key=key, Body=body, **more)


def body(key, version=None, bucket=BUCKET, who=s3):
    named = {} if version is None else {"VersionId": version}
    return who.get_object(Bucket=bucket, Key=key, **named)["Body"].read()


def versioning(status, bucket=BUCKET):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    same("versioning", s3.get_bucket_versioning(Bucket=bucket)["Status"], status)


def listed(bucket=BUCKET, **asked):
    """Versions and delete markers in their order; of each: key, id, whether marker, whether latest. Within a page
    AWS's clients have versions and markers apart, so that pages are of one unless they are asked to be larger."""
    found = []
    asked.setdefault("PaginationConfig", {"PageSize": 1})
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, **asked):
        entries = [(v, False) for v in page.get("Versions", [])] + [(v, True) for v in page.get("DeleteMarkers", [])]
        found.extend((v["Key"], v["VersionId"], marker, v["IsLatest"]) for v, marker in entries)
    return found


def settings():
    opened(BUCKET)
    check("unset", "Status" not in s3.get_bucket_versioning(Bucket=BUCKET))
    check("no version id before", "VersionId" not in put("before", b"0"))
    check("none at a read", "VersionId" not in s3.get_object(Bucket=BUCKET, Key="before"))
    configured = lambda **what: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration=what)
    refused("no status", "IllegalVersioningConfigurationException", configured)
    refused("other status", "MalformedXML", lambda: configured(Status="Paused"))
    refused("MFA", "NotImplemented", lambda: configured(Status="Enabled", MFADelete="Enabled"), 501)
    configured(Status="Enabled", MFADelete="Disabled")
    same("set", s3.get_bucket_versioning(Bucket=BUCKET)["Status"], "Enabled")
    refused("no bucket", "NoSuchBucket", lambda: versioning("Enabled", "versions-none"))
    refused("another's", "AccessDenied", lambda: stranger.put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}))


def writes():
    one, two = put("k", b"one"), put("k", b"two")
    first, second = one["VersionId"], two["VersionId"]
    check("ids differ", first != second and len(first) == 32, (first, second))
    same("current", (body("k"), s3.get_object(Bucket=BUCKET, Key="k")["VersionId"]), (b"two", second))
    same("by id", (body("k", first), body("k", second)), (b"one", b"two"))
    same("head by id", s3.head_object(Bucket=BUCKET, Key="k", VersionId=first)["ContentLength"], 3)
    same("what was before is null", s3.head_object(Bucket=BUCKET, Key="before")["VersionId"], "null")
    same("by null", body("before", "null"), b"0")
    put("before", b"1")
    same("null is kept", (body("before"), body("before", "null")), (b"1", b"0"))
    get = lambda version, key="k": lambda: s3.get_object(Bucket=BUCKET, Key=key, VersionId=version)
    refused("not an id", "InvalidArgument", get("abc"), 400, ArgumentName="versionId", ArgumentValue="abc")
    refused("empty id", "InvalidArgument", lambda: raw_version(""), 400)
    refused("unknown id", "NoSuchVersion", get("0" * 32), 404, Key="k", VersionId="0" * 32)
    refused("id of another key", "NoSuchVersion", get(first, "before"), 404)
    refused("no null", "NoSuchVersion", get("null"), 404)
    refused("conditions see the version", "304", lambda: s3.get_object(
        Bucket=BUCKET, Key="k", VersionId=first, IfNoneMatch=one["ETag"]))
    same("ranges, too", s3.get_object(Bucket=BUCKET, Key="k", VersionId=first, Range="bytes=1-1")["Body"].read(), b"n")
    same("attributes", s3.get_object_attributes(
        Bucket=BUCKET, Key="k", VersionId=first, ObjectAttributes=["ObjectSize"])["VersionId"], first)
    refused("no such write condition", "PreconditionFailed", lambda: put("k", b"x", IfNoneMatch="*"))
    same("listed", listed(Prefix="k"), [("k", second, False, True), ("k", first, False, False)])
    same("ListObjects shows what is current", [
        (o["Key"], o["Size"]) for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]], [("before", 1), ("k", 3)])


def raw_version(version):
    def spoil(request, **_):
        request.url += f"?versionId={version}"
    s3.meta.events.register("before-sign.s3.GetObject", spoil)
    try:
        return s3.get_object(Bucket=BUCKET, Key="k")
    finally:
        s3.meta.events.unregister("before-sign.s3.GetObject", spoil)


def deletions():
    last = s3.head_object(Bucket=BUCKET, Key="k")["VersionId"]
    gone = s3.delete_object(Bucket=BUCKET, Key="k")
    same("a marker", gone["DeleteMarker"], True)
    marker = gone["VersionId"]
    missing = refused("hidden", "NoSuchKey", lambda: s3.get_object(Bucket=BUCKET, Key="k"), 404)
    same("it says so", (headers_of(missing)["x-amz-delete-marker"], headers_of(missing)["x-amz-version-id"]), ("true", marker))
    missing = refused("hidden head", "404", lambda: s3.head_object(Bucket=BUCKET, Key="k"))
    same("head says so", headers_of(missing)["x-amz-delete-marker"], "true")
    wrong = refused("the marker itself", "MethodNotAllowed", lambda: s3.get_object(
        Bucket=BUCKET, Key="k", VersionId=marker), 405, Method="GET", ResourceType="DeleteMarker")
    check("allowed is", headers_of(wrong)["allow"] == "DELETE" and "last-modified" in headers_of(wrong), wrong)
    refused("its head", "405", lambda: s3.head_object(Bucket=BUCKET, Key="k", VersionId=marker))
    refused("its tags", "MethodNotAllowed", lambda: s3.get_object_tagging(Bucket=BUCKET, Key="k", VersionId=marker), 405)
    same("not listed", [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET)["Contents"]], ["before"])
    same("what is behind is there", body("k", last), b"two")
    put("k", b"three", IfNoneMatch="*")
    s3.delete_object(Bucket=BUCKET, Key="k")
    same("of nothing", s3.delete_object(Bucket=BUCKET, Key="never")["DeleteMarker"], True)
    top = listed(Prefix="k")[0]
    check("the newest is a marker", top[2] and top[3], top)
    undone = s3.delete_object(Bucket=BUCKET, Key="k", VersionId=top[1])
    same("a marker removed", (undone["DeleteMarker"], undone["VersionId"]), (True, top[1]))
    same("and the object is back", body("k"), b"three")
    current = listed(Prefix="k")[0][1]
    answer = s3.delete_object(Bucket=BUCKET, Key="k", VersionId=current)
    same("a version removed", ("DeleteMarker" in answer, answer["VersionId"]), (False, current))
    refused("for ever", "NoSuchVersion", lambda: body("k", current), 404)
    refused("the marker below is current", "NoSuchKey", lambda: body("k"), 404)
    same("again is well", s3.delete_object(Bucket=BUCKET, Key="k", VersionId=current)["VersionId"], current)
    refused("not an id", "InvalidArgument", lambda: s3.delete_object(Bucket=BUCKET, Key="k", VersionId="x"))
    etag = s3.head_object(Bucket=BUCKET, Key="k", VersionId=last)["ETag"]
    refused("condition on the version", "PreconditionFailed", lambda: s3.delete_object(
        Bucket=BUCKET, Key="k", VersionId=last, IfMatch='"0"'))
    s3.delete_object(Bucket=BUCKET, Key="k", VersionId=last, IfMatch=etag)
    refused("gone", "NoSuchVersion", lambda: body("k", last))


def many_deletions():
    kept = [put("many", str(n).encode())["VersionId"] for n in range(3)]
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [
        {"Key": "many", "VersionId": kept[0]}, {"Key": "many"}, {"Key": "many", "VersionId": "no"}]})
    version, simple = answer["Deleted"]
    same("by id", version, {"Key": "many", "VersionId": kept[0]})
    check("without", simple["DeleteMarker"] and len(simple["DeleteMarkerVersionId"]) == 32, simple)
    same("a wrong id", [(e["Code"], e["VersionId"]) for e in answer["Errors"]], [("InvalidArgument", "no")])
    marker = simple["DeleteMarkerVersionId"]
    again = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "many", "VersionId": marker}]})["Deleted"]
    same("a marker", again, [{"Key": "many", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker}])
    same("back", body("many"), b"2")


def suspension():
    key = "suspended"
    first = put(key, b"1")["VersionId"]
    versioning("Suspended")
    check("null is not told of", "VersionId" not in put(key, b"2"))
    same("but read", s3.get_object(Bucket=BUCKET, Key=key)["VersionId"], "null")
    put(key, b"3")
    same("null is replaced", listed(Prefix=key), [(key, "null", False, True), (key, first, False, False)])
    gone = s3.delete_object(Bucket=BUCKET, Key=key)
    same("a null marker", (gone["DeleteMarker"], gone["VersionId"]), (True, "null"))
    same("in place of the null version", listed(Prefix=key), [(key, "null", True, True), (key, first, False, False)])
    versioning("Enabled")
    third = put(key, b"4")["VersionId"]
    versioning("Suspended")
    put(key, b"5")
    same("the null marker is replaced where it is", listed(Prefix=key), [
        (key, "null", False, True), (key, third, False, False), (key, first, False, False)])
    s3.delete_object(Bucket=BUCKET, Key=key, VersionId="null")
    same("the one behind is current", body(key), b"4")
    versioning("Enabled")


def copies():
    old, new = put("source", b"old", Metadata={"a": "old"})["VersionId"], put("source", b"new")["VersionId"]
    at = lambda version: {"Bucket": BUCKET, "Key": "source", "VersionId": version}
    copied = s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=at(old))
    same("of a version", (copied["CopySourceVersionId"], body("copy")), (old, b"old"))
    same("as a version", s3.head_object(Bucket=BUCKET, Key="copy")["VersionId"], copied["VersionId"])
    same("its metadata", s3.head_object(Bucket=BUCKET, Key="copy")["Metadata"], {"a": "old"})
    same("of the current", s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/source")["CopySourceVersionId"], new)
    s3.copy_object(Bucket=BUCKET, Key="source", CopySource=at(old))
    same("restored", (body("source"), len(listed(Prefix="source"))), (b"old", 3))
    refused("onto itself", "InvalidRequest", lambda: s3.copy_object(Bucket=BUCKET, Key="source", CopySource=f"{BUCKET}/source"))
    refused("of no version", "NoSuchVersion", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=at("0" * 32)))
    refused("of no id", "InvalidArgument", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=at("x")))
    marker = s3.delete_object(Bucket=BUCKET, Key="source")["VersionId"]
    refused("of a marker by its id", "InvalidRequest", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=at(marker)))
    refused("of what is marked", "NoSuchKey", lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/source"))


def uploads():
    def upload(**source):
        begun = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
        at = {"Bucket": BUCKET, "Key": "parts", "UploadId": begun}
        if source:
            part = s3.upload_part_copy(PartNumber=1, **source, **at)
            same("of a version", part["CopySourceVersionId"], source["CopySource"]["VersionId"])
            part = part["CopyPartResult"]
        else:
            part = s3.upload_part(PartNumber=1, Body=b"parts", **at)
        return s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **at)
    first = upload()["VersionId"]
    second = upload(CopySource={"Bucket": BUCKET, "Key": "parts", "VersionId": first})["VersionId"]
    same("versions", [entry[1] for entry in listed(Prefix="parts")], [second, first])
    s3.delete_object(Bucket=BUCKET, Key="parts", VersionId=second)
    same("of several parts", body("parts"), b"parts")
    versioning("Suspended")
    check("null is not told of", "VersionId" not in upload())
    versioning("Enabled")


def actions():
    """A version is another action than the object, and has a condition key."""
    old, new = put("policy", b"old")["VersionId"], put("policy", b"new")["VersionId"]
    path = f"/{BUCKET}/policy"
    policy(BUCKET, ("Allow", "*", "s3:GetObject", "/*"))
    same("current", http("GET", path)[::2], (200, b"new"))
    same("not by its id", http("GET", f"{path}?versionId={new}")[0], 403)
    policy(BUCKET, ("Allow", "*", "s3:GetObjectVersion", "/*", {"StringEquals": {"s3:VersionId": old}}))
    same("not the current", http("GET", path)[0], 403)
    same("that one", http("GET", f"{path}?versionId={old}")[::2], (200, b"old"))
    same("no other", http("GET", f"{path}?versionId={new}")[0], 403)
    same("nor one that is not there", http("GET", f"{path}?versionId={'0' * 32}")[0], 403)
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, ["s3:DeleteObject"], "/*"), ("Allow", OTHER_ACCOUNT, ["s3:ListBucket"], ""))
    refused("for ever", "AccessDenied", lambda: stranger.delete_object(Bucket=BUCKET, Key="policy", VersionId=new))
    marker = stranger.delete_object(Bucket=BUCKET, Key="policy")["VersionId"]
    refused("listing", "AccessDenied", lambda: stranger.list_object_versions(Bucket=BUCKET))
    answer = stranger.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "policy", "VersionId": marker}]})
    same("nor in bulk", [e["Code"] for e in answer["Errors"]], ["AccessDenied"])
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, "s3:ListBucketVersions", "", {"StringEquals": {"s3:prefix": "policy"}}),
           ("Allow", OTHER_ACCOUNT, "s3:DeleteObjectVersion", "/policy"))
    same("a listing", len(stranger.list_object_versions(Bucket=BUCKET, Prefix="policy")["DeleteMarkers"]), 1)
    refused("another", "AccessDenied", lambda: stranger.list_object_versions(Bucket=BUCKET))
    stranger.delete_object(Bucket=BUCKET, Key="policy", VersionId=marker)
    same("the marker is gone", body("policy"), b"new")
    s3.delete_bucket_policy(Bucket=BUCKET)


def listings():
    bucket = "versions-listed"
    s3.create_bucket(Bucket=bucket)
    versioning("Enabled", bucket)
    dice = random.Random(7)
    model = {}
    for number in range(60):
        key = dice.choice(["a", "a/b", "a/c", "b", "c d", "d/é"])
        if dice.random() < 0.3:
            made = s3.delete_object(Bucket=bucket, Key=key)["VersionId"], True
        else:
            made = put(key, str(number).encode(), bucket)["VersionId"], False
        model.setdefault(key, []).insert(0, made)
    wanted = [(key, version, marker, at == 0) for key in sorted(model) for at, (version, marker) in enumerate(model[key])]
    for size in (1, 2, 7, 1000):
        found = listed(bucket, PaginationConfig={"PageSize": size})
        same(f"pages of {size}", sorted(found), sorted(wanted))
        if size == 1:
            same("in order", found, wanted)
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=1)
    same("the markers of a page", (page["NextKeyMarker"], page["NextVersionIdMarker"]), wanted[0][:2])
    rest = s3.list_object_versions(Bucket=bucket, KeyMarker="a")
    check("behind a whole key", all(v["Key"] > "a" for v in rest["Versions"]), rest["Versions"])
    page = s3.list_object_versions(Bucket=bucket, Delimiter="/", MaxKeys=1000)
    same("rolled up", [p["Prefix"] for p in page["CommonPrefixes"]], ["a/", "d/"])
    check("not in it", all("/" not in v["Key"] for v in page["Versions"]), page["Versions"])
    page = s3.list_object_versions(Bucket=bucket, Prefix="a/", MaxKeys=1000)
    same("under a prefix", {v["Key"] for v in page["Versions"]}, {"a/b", "a/c"})
    refused("no key marker", "InvalidArgument", lambda: s3.list_object_versions(Bucket=bucket, VersionIdMarker=wanted[0][1]))
    refused("no id", "InvalidArgument", lambda: s3.list_object_versions(Bucket=bucket, KeyMarker="a", VersionIdMarker="x"))
    refused("not empty", "BucketNotEmpty", lambda: s3.delete_bucket(Bucket=bucket), 409,
            Message="The bucket you tried to delete is not empty. You must delete all versions in the bucket.")
    # Page by page, each deleted before the next is asked for: the marker is gone by then.
    marker, rounds = {}, 0
    while True:
        page = s3.list_object_versions(Bucket=bucket, MaxKeys=7, **marker)
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
            {"Key": e["Key"], "VersionId": e["VersionId"]} for e in entries]})
        check("deleted", "Errors" not in gone, gone)
        rounds += 1
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}
    same("rounds", rounds, -(-len(wanted) // 7))
    same("nothing is left", listed(bucket), [])
    s3.delete_bucket(Bucket=bucket)


for part in (settings, writes, deletions, many_deletions, suspension, copies, uploads, actions, listings):
    part()
done()

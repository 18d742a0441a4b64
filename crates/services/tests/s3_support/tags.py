"""Tags of objects and buckets, and policies that ask for them: `tags.py URL`."""

from common import *

BUCKET = "tags"


def tag_set(**tags):
    return {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}


def tags_of(key="k", who=s3, **version):
    answer = who.get_object_tagging(Bucket=BUCKET, Key=key, **version)
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


def tag(key="k", who=s3, version=None, **tags):
    named = {} if version is None else {"VersionId": version}
    return who.put_object_tagging(Bucket=BUCKET, Key=key, Tagging=tag_set(**tags), **named)


def objects():
    opened(BUCKET)
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"k")
    same("none", tags_of(), {})
    check("not counted", "TagCount" not in s3.get_object(Bucket=BUCKET, Key="k"))
    before = s3.head_object(Bucket=BUCKET, Key="k")
    tag(a="1", b="zwei ü")
    same("set", tags_of(), {"a": "1", "b": "zwei ü"})
    read = s3.get_object(Bucket=BUCKET, Key="k")
    same("counted", (read["TagCount"], read["LastModified"]), (2, before["LastModified"]))
    same("head counts", headers_of(s3.head_object(Bucket=BUCKET, Key="k"))["x-amz-tagging-count"], "2")
    tag(c="3")
    same("replaced", tags_of(), {"c": "3"})
    s3.delete_object_tagging(Bucket=BUCKET, Key="k")
    same("removed", tags_of(), {})
    refused("no key", "NoSuchKey", lambda: tag("none", a="1"))
    refused("no key to read", "NoSuchKey", lambda: tags_of("none"))
    for what, tags, code, message in (
            ("too many", {f"t{n}": "" for n in range(11)}, "BadRequest", "Object tags cannot be greater than 10"),
            ("long name", {"n" * 129: "v"}, "InvalidTag", "The TagKey you have provided is invalid"),
            ("long value", {"n": "v" * 257}, "InvalidTag", "The TagValue you have provided is invalid"),
            ("odd value", {"n": "<"}, "InvalidTag", "The TagValue you have provided is invalid"),
            ("AWS's", {"aws:x": "v"}, "InvalidTag", "System tags cannot be added/updated by requester")):
        refused(what, code, lambda: tag(**tags), 400, Message=message)
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    refused("twice", "InvalidTag", lambda: s3.put_object_tagging(Bucket=BUCKET, Key="k", Tagging=twice), 400,
            Message="Cannot provide multiple Tags with the same key")
    same("nothing of it", tags_of(), {})


def writes():
    s3.put_object(Bucket=BUCKET, Key="put", Body=b"", Tagging="a=1&b+c=%C3%BC")
    same("with a write", tags_of("put"), {"a": "1", "b c": "ü"})
    s3.put_object(Bucket=BUCKET, Key="put", Body=b"")
    same("a write without", tags_of("put"), {})
    refused("twice", "InvalidArgument", lambda: s3.put_object(Bucket=BUCKET, Key="put", Body=b"", Tagging="a=1&a=2"))
    begun = s3.create_multipart_upload(Bucket=BUCKET, Key="parts", Tagging="parts=1")["UploadId"]
    at = {"Bucket": BUCKET, "Key": "parts", "UploadId": begun}
    part = s3.upload_part(PartNumber=1, Body=b"x", **at)
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **at)
    same("with an upload", tags_of("parts"), {"parts": "1"})
    copy = lambda **how: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/parts", **how)
    copy()
    same("a copy has them", tags_of("copy"), {"parts": "1"})
    copy(TaggingDirective="REPLACE", Tagging="new=2")
    same("or others", tags_of("copy"), {"new": "2"})
    copy(TaggingDirective="REPLACE")
    same("or none", tags_of("copy"), {})


def versions():
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket=BUCKET, Key="v", Body=b"1", Tagging="n=1")["VersionId"]
    two = s3.put_object(Bucket=BUCKET, Key="v", Body=b"2", Tagging="n=2")["VersionId"]
    same("each its own", (tags_of("v", VersionId=one), tags_of("v", VersionId=two), tags_of("v")),
         ({"n": "1"}, {"n": "2"}, {"n": "2"}))
    same("the answer names it", tag("v", version=one, n="one")["VersionId"], one)
    same("only that", (tags_of("v", VersionId=one), tags_of("v")), ({"n": "one"}, {"n": "2"}))
    same("and when they go", s3.delete_object_tagging(Bucket=BUCKET, Key="v", VersionId=one)["VersionId"], one)
    same("they are gone", tags_of("v", VersionId=one), {})
    refused("no version", "NoSuchVersion", lambda: tag("v", version="0" * 32, a="1"))
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, "s3:GetObjectTagging", "/v"))
    same("the object's", tags_of("v", stranger), {"n": "2"})
    refused("not the version's", "AccessDenied", lambda: tags_of("v", stranger, VersionId=two))


def conditions():
    s3.put_object(Bucket=BUCKET, Key="open", Body=b"open", Tagging="class=public")
    s3.put_object(Bucket=BUCKET, Key="shut", Body=b"shut", Tagging="class=secret")
    s3.put_object(Bucket=BUCKET, Key="bare", Body=b"bare")
    policy(BUCKET, ("Allow", "*", "s3:GetObject", "/*", {"StringEquals": {"s3:ExistingObjectTag/class": "public"}}))
    same("by what it has", [http("GET", f"/{BUCKET}/{key}")[0] for key in ("open", "shut", "bare", "none")],
         [200, 403, 403, 403])
    check("not counted for who may not read tags", "x-amz-tagging-count" not in http("GET", f"/{BUCKET}/open")[1])
    tag("shut", **{"class": "public"})
    same("at once", http("GET", f"/{BUCKET}/shut")[2], b"shut")
    tagged = {"StringEquals": {"s3:RequestObjectTag/project": "x"},
              "ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["project", "owner"]}}
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, ["s3:PutObject"], "/*"),
           ("Allow", OTHER_ACCOUNT, "s3:PutObjectTagging", "/*", tagged))
    write = lambda tags: stranger.put_object(Bucket=BUCKET, Key="theirs", Body=b"", Tagging=tags)
    write("project=x")
    write("project=x&owner=me")
    for tags in ("project=y", "owner=me", "project=x&other=1"):
        refused(f"written with {tags}", "AccessDenied", lambda: write(tags))
    stranger.put_object(Bucket=BUCKET, Key="theirs", Body=b"")
    tag("theirs", stranger, project="x")
    refused("tagged otherwise", "AccessDenied", lambda: tag("theirs", stranger, project="y"))
    refused("tagged with more", "AccessDenied", lambda: tag("theirs", stranger, project="x", more="1"))
    refused("not removed", "AccessDenied", lambda: stranger.delete_object_tagging(Bucket=BUCKET, Key="theirs"))
    begin = lambda tags: stranger.create_multipart_upload(Bucket=BUCKET, Key="theirs", Tagging=tags)
    begin("project=x")
    refused("an upload", "AccessDenied", lambda: begin("project=y"))
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, ["s3:PutObject", "s3:PutObjectTagging", "s3:GetObject"], "/*"))
    copy = lambda **how: stranger.copy_object(Bucket=BUCKET, Key="copied", CopySource=f"{BUCKET}/open", **how)
    refused("tags that may not be read", "AccessDenied", copy)
    copy(TaggingDirective="REPLACE")
    s3.delete_bucket_policy(Bucket=BUCKET)


def buckets():
    of = lambda **tags: s3.put_bucket_tagging(Bucket=BUCKET, Tagging=tag_set(**tags))
    refused("none", "NoSuchTagSet", lambda: s3.get_bucket_tagging(Bucket=BUCKET), 404, BucketName=BUCKET)
    of(team="x", cost="1")
    same("set", s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"], [{"Key": "cost", "Value": "1"}, {"Key": "team", "Value": "x"}])
    of(**{f"t{n}": "" for n in range(50)})
    refused("too many", "BadRequest", lambda: of(**{f"t{n}": "" for n in range(51)}), 400,
            Message="Bucket tag count cannot be greater than 50")
    same("kept", len(s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"]), 50)
    refused("another's", "AccessDenied", lambda: stranger.get_bucket_tagging(Bucket=BUCKET))
    s3.delete_bucket_tagging(Bucket=BUCKET)
    refused("removed", "NoSuchTagSet", lambda: s3.get_bucket_tagging(Bucket=BUCKET))


for part in (objects, writes, versions, conditions, buckets):
    part()
done()

"""Block Public Access, policy status, ownership of objects and ACLs: `public.py URL`."""

from common import *

BUCKET = "public"
ALL = {name: True for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")}
FROM_HERE = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}


def block(**switches):
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=switches)


def get():
    return http("GET", f"/{BUCKET}/k")[0]


def is_public():
    return s3.get_bucket_policy_status(Bucket=BUCKET)["PolicyStatus"]["IsPublic"]


def defaults():
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="k", Body=b"k")
    same("a new bucket", s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"], ALL)
    refused("no policy", "NoSuchBucketPolicy", lambda: s3.get_bucket_policy_status(Bucket=BUCKET), 404, BucketName=BUCKET)
    refused("a public policy", "AccessDenied", lambda: policy(BUCKET, ("Allow", "*", "s3:GetObject", "/*")), 403,
            Message=f"User: arn:aws:iam::{ACCOUNT}:root is not authorized to perform: s3:PutBucketPolicy on resource: "
                    f'"arn:aws:s3:::{BUCKET}" because public policies are prevented by the BlockPublicPolicy setting in '
                    "S3 Block Public Access.")
    refused("is not kept", "NoSuchBucketPolicy", lambda: s3.get_bucket_policy(Bucket=BUCKET))
    policy(BUCKET, ("Allow", "*", "s3:GetObject", "/*", FROM_HERE))
    same("fixed addresses are not everybody", (is_public(), get()), (False, 200))
    policy(BUCKET, ("Allow", OTHER_ACCOUNT, "s3:GetObject", "/*"))
    same("another account is not", (is_public(), get()), (False, 403))
    same("and gets in", stranger.get_object(Bucket=BUCKET, Key="k")["Body"].read(), b"k")


def switches():
    s3.delete_public_access_block(Bucket=BUCKET)
    refused("none", "NoSuchPublicAccessBlockConfiguration", lambda: s3.get_public_access_block(Bucket=BUCKET), 404)
    policy(BUCKET, ("Allow", "*", "s3:GetObject", "/*"))
    same("public", (is_public(), get()), (True, 200))
    block(RestrictPublicBuckets=True)
    same("restricted", get(), 403)
    refused("for other accounts, too", "AccessDenied", lambda: stranger.get_object(Bucket=BUCKET, Key="k"), 403)
    same("not for its own", s3.get_object(Bucket=BUCKET, Key="k")["Body"].read(), b"k")
    block(BlockPublicPolicy=True, IgnorePublicAcls=True, BlockPublicAcls=True)
    same("a policy that is there stays", get(), 200)
    refused("a new one", "AccessDenied", lambda: policy(BUCKET, ("Allow", {"AWS": "*"}, "s3:GetObject", "/*")), 403)
    block()
    policy(BUCKET, ("Allow", {"AWS": "*"}, "s3:GetObject", "/*"))
    same("all off", (is_public(), get()), (True, 200))
    refused("another's", "AccessDenied", lambda: stranger.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration=ALL), 403)
    policy(BUCKET, ("Deny", "*", "s3:PutBucketPublicAccessBlock", ""), ("Allow", OTHER_ACCOUNT, "s3:GetBucketPolicyStatus", ""))
    refused("denied by a policy", "AccessDenied", block, 403)
    refused("and so is its removal", "AccessDenied", lambda: s3.delete_public_access_block(Bucket=BUCKET), 403)
    same("its own action", stranger.get_bucket_policy_status(Bucket=BUCKET)["PolicyStatus"]["IsPublic"], False)
    s3.delete_bucket_policy(Bucket=BUCKET)


def owners():
    own = lambda what: s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls={"Rules": [{"ObjectOwnership": what}]})
    own("BucketOwnerEnforced")
    for other in ("ObjectWriter", "BucketOwnerPreferred"):
        refused(other, "NotImplemented", lambda: own(other), 501)
    refused("and cannot be taken away", "NotImplemented", lambda: s3.delete_bucket_ownership_controls(Bucket=BUCKET), 501)
    off = dict(status=400, Message="The bucket does not allow ACLs")
    for acl in ("private", "public-read", "bucket-owner-full-control"):
        refused(f"object ACL {acl}", "AccessControlListNotSupported", lambda: s3.put_object_acl(
            Bucket=BUCKET, Key="k", ACL=acl), **off)
    refused("bucket ACL", "AccessControlListNotSupported", lambda: s3.put_bucket_acl(Bucket=BUCKET, ACL="private"), **off)
    refused("by a document", "AccessControlListNotSupported", lambda: s3.put_bucket_acl(Bucket=BUCKET, AccessControlPolicy=dict(
        Owner=dict(ID="a"), Grants=[dict(Permission="READ", Grantee=dict(Type="CanonicalUser", ID="b"))])), **off)
    refused("nobody else", "AccessDenied", lambda: stranger.put_bucket_acl(Bucket=BUCKET, ACL="private"), 403)
    refused("no such object", "NoSuchKey", lambda: s3.put_object_acl(Bucket=BUCKET, Key="none", ACL="private"), 404)


for part in (defaults, switches, owners):
    part()
done()

//! The condition keys that requests to the region's services carry, so that a policy about any other is refused
//! rather than stored and never enforced.

use postern_frontdoor::conditions::is_global_key_provided;

use crate::ec2::resource_keys;

/// Keys of single services, in small letters. Those of DynamoDB are set by `dynamodb`, those of S3 by `s3::ops`, those of
/// EC2 by `ec2`, the others by `elbv2`, `iam`, `sns` and `sts`.
const SERVICE_KEYS: &[&str] = &[
    "dynamodb:attributes",
    "dynamodb:enclosingoperation",
    "dynamodb:leadingkeys",
    "dynamodb:returnconsumedcapacity",
    "dynamodb:returnvalues",
    "dynamodb:select",
    "iam:passedtoservice",
    "iam:permissionsboundary",
    "iam:policyarn",
    "organizations:policytype",
    "s3:authtype",
    "s3:delimiter",
    "s3:if-match",
    "s3:if-none-match",
    "s3:locationconstraint",
    "s3:max-keys",
    "s3:prefix",
    "s3:requestobjecttagkeys",
    "s3:resourceaccount",
    "s3:signatureage",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-storage-class",
    "servicequotas:service",
    "sns:endpoint",
    "sns:protocol",
    "sts:durationseconds",
    "sts:externalid",
    "sts:rolesessionname",
    "sts:sourceidentity",
    "sts:transitivetagkeys",
    "aws:tagkeys",
    "ec2:createaction",
    "ec2:region",
    "ec2:vpceservicename",
    "ec2:vpceserviceowner",
    "ec2:vpceserviceprivatednsname",
    "elasticloadbalancing:createaction",
];

/// Keys with a name of their own after the slash.
const SERVICE_KEY_FAMILIES: &[&str] = &[
    "aws:requesttag/",
    "aws:resourcetag/",
    "ec2:resourcetag/",
    "elasticloadbalancing:resourcetag/",
    "iam:resourcetag/",
    "s3:existingobjecttag/",
    "s3:requestobjecttag/",
];

/// Whether requests carry this key, where AWS's would.
pub fn is_provided(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    is_global_key_provided(&key)
        || SERVICE_KEYS.contains(&key.as_str())
        || resource_keys::KEYS.contains(&key.as_str())
        || SERVICE_KEY_FAMILIES.iter().any(|family| key.starts_with(family))
}

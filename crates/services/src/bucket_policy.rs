//! What S3 asks of a bucket policy beyond its being one: that it is about S3 and about this bucket.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html> and S3's own sentences: "Policy has
//! invalid resource", "Policy has invalid action", "Action does not apply to any resource(s) in statement".

use serde_json::Value;

const ARN: &str = "arn:aws:s3:::";

/// Actions on objects whose names do not begin as the others' do.
const OF_OBJECTS: [&str; 9] = [
    "abortmultipartupload",
    "bypassgovernanceretention",
    "initiatereplication",
    "listmultipartuploadparts",
    "objectowneroverridetobucketowner",
    "replicatedelete",
    "replicateobject",
    "replicatetags",
    "updateobjectencryption",
];
/// How the others begin.
const OBJECT_VERBS: [&str; 4] = ["getobject", "putobject", "deleteobject", "restoreobject"];
/// Actions of S3 that are on no bucket ("Actions defined by Amazon S3", those without a resource type or of another).
const OF_NO_BUCKET: [&str; 6] = [
    "createjob",
    "describejob",
    "getaccountpublicaccessblock",
    "listallmybuckets",
    "listjobs",
    "putaccountpublicaccessblock",
];

/// Why a document that is a policy is none of this bucket.
///
/// # Errors
/// In S3's words.
pub fn check(bucket: &str, text: &str) -> Result<(), String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let statements = match &document["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    for (at, statement) in statements.iter().enumerate() {
        let resources = strings(statement, ["Resource", "NotResource"]);
        if let Some(other) = resources.iter().find(|resource| !is_in(resource, bucket)) {
            return Err(format!(
                "Policy has invalid resource (Statement[{at}]: `{other}` is not the bucket `{bucket}` or something in it)"
            ));
        }
        let actions = strings(statement, ["Action", "NotAction"]);
        if let Some(other) = actions.iter().find(|action| !is_of_s3(action)) {
            return Err(format!("Policy has invalid action (Statement[{at}]: `{other}`)"));
        }
        let applies = |action: &&&str| {
            // A wildcard stands for actions of both kinds, and what is not meant may be as long as it likes.
            action.contains(['*', '?'])
                || statement.get("NotAction").is_some()
                || statement.get("NotResource").is_some()
                || resources.iter().any(|resource| fits(action, resource))
        };
        if let Some(alone) = actions.iter().find(|action| !applies(action)) {
            return Err(format!(
                "Action does not apply to any resource(s) in statement (Statement[{at}]: `{alone}`)"
            ));
        }
    }
    Ok(())
}

/// The texts of an element, which may be one or several.
fn strings<'v>(statement: &'v Value, names: [&str; 2]) -> Vec<&'v str> {
    let values = names.into_iter().filter_map(|name| statement.get(name));
    let each = values.flat_map(|value| match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        one => Vec::from_iter(one.as_str()),
    });
    each.collect()
}

/// Whether a resource is the bucket, or objects in it. Its name may end in a wildcard, but not be one.
fn is_in(resource: &str, bucket: &str) -> bool {
    let Some(rest) = resource.strip_prefix(ARN) else { return false };
    let name = rest.split('/').next().unwrap_or_default();
    match name.find(['*', '?']) {
        None => name == bucket,
        Some(0) => false,
        Some(at) => bucket.starts_with(name.get(..at).unwrap_or_default()),
    }
}

fn is_of_s3(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    match action.strip_prefix("s3:") {
        Some(name) => !OF_NO_BUCKET.contains(&name),
        None => action == "*",
    }
}

/// Whether an action can be done to what a resource names: actions on objects have a key behind the bucket.
fn fits(action: &str, resource: &str) -> bool {
    let name = action.to_ascii_lowercase();
    let name = name.strip_prefix("s3:").unwrap_or(&name);
    let of_object = OF_OBJECTS.contains(&name) || OBJECT_VERBS.iter().any(|verb| name.starts_with(verb));
    let rest = resource.strip_prefix(ARN).unwrap_or_default();
    let (bucket, key) = rest.split_once('/').map_or((rest, None), |(bucket, key)| (bucket, Some(key)));
    let open = bucket.contains('*');
    if of_object { key.is_some() || open } else { key.is_none() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(statement: &str) -> String {
        let text = format!(r#"{{"Statement":[{{"Effect":"Allow","Principal":"*",{statement}}}]}}"#);
        match check("the-bucket", &text) {
            Ok(()) => "ok".to_owned(),
            Err(why) => why.split(" (").next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn a_bucket_policy_is_about_its_bucket() {
        let (both, bucket, objects) = (
            r#"["arn:aws:s3:::the-bucket", "arn:aws:s3:::the-bucket/*"]"#,
            r#""arn:aws:s3:::the-bucket""#,
            r#""arn:aws:s3:::the-bucket/a/*""#,
        );
        for (action, resource, expected) in [
            (r#""s3:*""#, both, "ok"),
            (r#""*""#, bucket, "ok"),
            (r#""s3:GetObject""#, objects, "ok"),
            (r#""s3:GetObject""#, r#""arn:aws:s3:::the-buck*""#, "ok"),
            (r#"["s3:GetObject", "s3:ListBucket"]"#, both, "ok"),
            (r#""S3:getbucketlocation""#, bucket, "ok"),
            (r#""s3:GetObject""#, bucket, "Action does not apply to any resource(s) in statement"),
            (r#""s3:AbortMultipartUpload""#, bucket, "Action does not apply to any resource(s) in statement"),
            (
                r#"["s3:GetObject", "s3:ListBucket"]"#,
                objects,
                "Action does not apply to any resource(s) in statement",
            ),
            (r#""s3:GetObject""#, r#""*""#, "Policy has invalid resource"),
            (r#""s3:GetObject""#, r#""arn:aws:s3:::*""#, "Policy has invalid resource"),
            (r#""s3:GetObject""#, r#""arn:aws:s3:::another/*""#, "Policy has invalid resource"),
            (r#""s3:GetObject""#, r#""arn:aws:s3:::the-bucket2/*""#, "Policy has invalid resource"),
            (r#""s3:GetObject""#, r#""arn:aws:sqs:us-east-1:1:the-bucket""#, "Policy has invalid resource"),
            (r#""sqs:SendMessage""#, both, "Policy has invalid action"),
            (r#"["s3:GetObject", "ec2:RunInstances"]"#, both, "Policy has invalid action"),
            (r#""s3:ListAllMyBuckets""#, both, "Policy has invalid action"),
        ] {
            let statement = format!(r#""Action":{action},"Resource":{resource}"#);
            assert_eq!(said(&statement), expected, "{statement}");
        }
        assert_eq!(said(r#""NotAction":"s3:GetObject","Resource":"arn:aws:s3:::the-bucket""#), "ok");
        let not = r#""Action":"s3:GetObject","NotResource":"arn:aws:s3:::the-bucket/a""#;
        assert_eq!(said(not), "ok");
    }
}

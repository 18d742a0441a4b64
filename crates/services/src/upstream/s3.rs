//! What a request to an S3 that somebody else serves asks for.
//!
//! S3 names what it is about in more places than other services: the host, the path, words of the query string, headers
//! (`x-amz-copy-source`), and the document of `DeleteObjects`. All of them are read here, or the request is refused.
//!
//! INVARIANT: an operation, a parameter or an `x-amz-` header that is not known here is refused by name: the upstream may
//! take it for something else than was authorised.
//! INVARIANT: a bucket is named in one way when the upstream reads the request: by its path ([`plain_target`]).
//! Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>

use http::request::Parts;
use http::{HeaderMap, Method, Uri};
use postern_policy::{Context, Value};
use postern_wire::AwsError;
use postern_wire::query::percent::{self, Plus};

use super::s3_document::deleted;

/// One thing that a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Want {
    /// Such as `s3:GetObject`.
    pub action: &'static str,
    /// The ARN, or `*`.
    pub resource: String,
    /// S3's condition keys.
    pub context: Context,
}

/// A request as S3 reads it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Such as `GetObject`.
    pub operation: &'static str,
    /// Never empty.
    pub wants: Vec<Want>,
}

/// What an operation is told by: its method, whether there is a key, and the word in its query string.
#[derive(Clone, Copy)]
struct Operation {
    name: &'static str,
    method: &'static str,
    of: Of,
    /// What has to be in the query string: S3 tells operations apart by it.
    word: &'static str,
    action: &'static str,
    /// What the action is called where a version is named; the same for most.
    of_version: &'static str,
    /// What else the query string may have.
    takes: &'static [&'static str],
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Service,
    Bucket,
    Object,
}

const fn operation(
    name: &'static str,
    method: &'static str,
    of: Of,
    word: &'static str,
    action: &'static str,
    takes: &'static [&'static str],
) -> Operation {
    Operation { name, method, of, word, action, of_version: action, takes }
}

const fn versioned(of: Operation, of_version: &'static str) -> Operation {
    Operation { of_version, ..of }
}

const RESPONSE: [&str; 6] = [
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];
const LISTS: &[&str] = &[
    "prefix",
    "delimiter",
    "max-keys",
    "encoding-type",
    "marker",
    "list-type",
    "continuation-token",
    "start-after",
    "fetch-owner",
];
const LISTS_VERSIONS: &[&str] =
    &["prefix", "delimiter", "max-keys", "encoding-type", "key-marker", "version-id-marker"];
const LISTS_UPLOADS: &[&str] =
    &["prefix", "delimiter", "max-uploads", "encoding-type", "key-marker", "upload-id-marker"];
const LISTS_PARTS: &[&str] = &["max-parts", "part-number-marker", "encoding-type"];
const LISTS_BUCKETS: &[&str] = &["max-buckets", "continuation-token", "prefix", "bucket-region"];
const VERSION: &[&str] = &["versionId"];
const READS: &[&str] = &["versionId", "partNumber"];

/// The operations that can be handed on. Those about who else may do what (ACLs, bucket policies, access points) are not
/// among them: whose rules hold is decided here.
static OPERATIONS: [Operation; 31] = [
    operation("ListBuckets", "GET", Of::Service, "", "s3:ListAllMyBuckets", LISTS_BUCKETS),
    operation("CreateBucket", "PUT", Of::Bucket, "", "s3:CreateBucket", &[]),
    operation("DeleteBucket", "DELETE", Of::Bucket, "", "s3:DeleteBucket", &[]),
    operation("HeadBucket", "HEAD", Of::Bucket, "", "s3:ListBucket", &[]),
    operation("ListObjects", "GET", Of::Bucket, "", "s3:ListBucket", LISTS),
    operation("ListObjectVersions", "GET", Of::Bucket, "versions", "s3:ListBucketVersions", LISTS_VERSIONS),
    operation(
        "ListMultipartUploads",
        "GET",
        Of::Bucket,
        "uploads",
        "s3:ListBucketMultipartUploads",
        LISTS_UPLOADS,
    ),
    operation("GetBucketLocation", "GET", Of::Bucket, "location", "s3:GetBucketLocation", &[]),
    operation("GetBucketVersioning", "GET", Of::Bucket, "versioning", "s3:GetBucketVersioning", &[]),
    operation("PutBucketVersioning", "PUT", Of::Bucket, "versioning", "s3:PutBucketVersioning", &[]),
    operation("GetBucketTagging", "GET", Of::Bucket, "tagging", "s3:GetBucketTagging", &[]),
    operation("PutBucketTagging", "PUT", Of::Bucket, "tagging", "s3:PutBucketTagging", &[]),
    operation("DeleteBucketTagging", "DELETE", Of::Bucket, "tagging", "s3:PutBucketTagging", &[]),
    operation("GetBucketPolicy", "GET", Of::Bucket, "policy", "s3:GetBucketPolicy", &[]),
    // Each object in its document is asked for by itself.
    operation("DeleteObjects", "POST", Of::Bucket, "delete", "s3:DeleteObject", &[]),
    versioned(operation("GetObject", "GET", Of::Object, "", "s3:GetObject", READS), "s3:GetObjectVersion"),
    versioned(operation("HeadObject", "HEAD", Of::Object, "", "s3:GetObject", READS), "s3:GetObjectVersion"),
    versioned(
        operation("GetObjectAttributes", "GET", Of::Object, "attributes", "s3:GetObjectAttributes", VERSION),
        "s3:GetObjectVersionAttributes",
    ),
    operation("PutObject", "PUT", Of::Object, "", "s3:PutObject", &[]),
    versioned(
        operation("DeleteObject", "DELETE", Of::Object, "", "s3:DeleteObject", VERSION),
        "s3:DeleteObjectVersion",
    ),
    versioned(
        operation("GetObjectTagging", "GET", Of::Object, "tagging", "s3:GetObjectTagging", VERSION),
        "s3:GetObjectVersionTagging",
    ),
    versioned(
        operation("PutObjectTagging", "PUT", Of::Object, "tagging", "s3:PutObjectTagging", VERSION),
        "s3:PutObjectVersionTagging",
    ),
    versioned(
        operation("DeleteObjectTagging", "DELETE", Of::Object, "tagging", "s3:DeleteObjectTagging", VERSION),
        "s3:DeleteObjectVersionTagging",
    ),
    operation("CreateMultipartUpload", "POST", Of::Object, "uploads", "s3:PutObject", &[]),
    operation("UploadPart", "PUT", Of::Object, "uploadId", "s3:PutObject", &["partNumber"]),
    operation("CompleteMultipartUpload", "POST", Of::Object, "uploadId", "s3:PutObject", &[]),
    operation("AbortMultipartUpload", "DELETE", Of::Object, "uploadId", "s3:AbortMultipartUpload", &[]),
    operation("ListParts", "GET", Of::Object, "uploadId", "s3:ListMultipartUploadParts", LISTS_PARTS),
    // With the header that names where from, see `read`.
    operation("CopyObject", "PUT", Of::Object, COPY, "s3:PutObject", &[]),
    operation("GetBucketAcl", "GET", Of::Bucket, "acl", "s3:GetBucketAcl", &[]),
    operation("GetObjectAcl", "GET", Of::Object, "acl", "s3:GetObjectAcl", VERSION),
];

/// What stands for the header in the place of a word: no query string has it.
const COPY: &str = "x-amz-copy-source";

/// Words that say nothing of what is asked for: of the signature, and what SDKs add for their logs.
fn is_of_signature(name: &str) -> bool {
    name == "x-id"
        || ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"]
            .iter()
            .any(|part| name.strip_prefix("X-Amz-") == Some(part))
}

/// The `x-amz-` headers that change nothing about who may do what, or that are looked at below.
const HEADERS: [&str; 32] = [
    "x-amz-api-version",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-server-side-encryption",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Reads a request whose path names the bucket.
///
/// # Errors
/// Where it could be read in another way, or is none that can be handed on.
pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<Asked, AwsError> {
    let (bucket, key) = named(parts.uri.path())?;
    let query = query(parts.uri.query().unwrap_or_default())?;
    check_headers(&parts.headers)?;
    let copied = parts.headers.contains_key(COPY);
    let of = match (bucket.is_some(), key.is_some()) {
        (false, _) => Of::Service,
        (true, false) => Of::Bucket,
        (true, true) => Of::Object,
    };
    let operation = find(&parts.method, of, &query, copied)?;
    let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let version = value("versionId").filter(|version| !version.is_empty());
    let mut context = common(parts, &query);
    if let Some(version) = version {
        context.insert("s3:VersionId", version);
    }
    let arn = bucket.as_deref().map_or_else(|| "*".to_owned(), |bucket| arn(bucket, key.as_deref()));
    let action = if version.is_some() { operation.of_version } else { operation.action };
    let mut wants = Vec::new();
    if operation.name == "DeleteObjects" {
        let bucket = bucket.as_deref().unwrap_or_default();
        for (key, version) in deleted(parts, body)? {
            let action = if version.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
            let mut context = context.clone();
            if let Some(version) = version {
                context.insert("s3:VersionId", version);
            }
            wants.push(Want { action, resource: self::arn(bucket, Some(&key)), context });
        }
    } else {
        wants.push(Want { action, resource: arn.clone(), context: context.clone() });
    }
    if copied {
        wants.extend(source(&parts.headers, &context)?);
    }
    // "s3:PutObjectTagging … is required to write an object with tags" ("Object tagging and access control policies").
    if parts.headers.contains_key("x-amz-tagging") {
        wants.push(Want { action: "s3:PutObjectTagging", resource: arn, context });
    }
    Ok(Asked { operation: name_of(operation, &query, copied), wants })
}

/// What an operation is called in records.
fn name_of(operation: &Operation, query: &[(String, String)], copied: bool) -> &'static str {
    let second = query.iter().any(|(name, value)| name == "list-type" && value == "2");
    match operation.name {
        "ListObjects" if second => "ListObjectsV2",
        "UploadPart" if copied => "UploadPartCopy",
        same => same,
    }
}

/// The bucket and the key of a path, decoded.
fn named(path: &str) -> Result<(Option<String>, Option<String>), AwsError> {
    let unreadable = || AwsError::new("InvalidURI", "Couldn't parse the specified URI.");
    let path = path.strip_prefix('/').ok_or_else(unreadable)?;
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        return if key.is_empty() { Ok((None, None)) } else { Err(unreadable()) };
    }
    let of_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(of_bucket) {
        return Err(AwsError::new("InvalidBucketName", "The specified bucket is not valid."));
    }
    let key = percent::decode(key, Plus::Plus).map_err(|_| unreadable())?;
    Ok((Some(bucket.to_owned()), Some(key).filter(|key| !key.is_empty())))
}

/// The words of a query string, decoded.
///
/// INVARIANT: a word that stands twice refuses the request: readers differ about which one counts.
fn query(text: &str) -> Result<Vec<(String, String)>, AwsError> {
    let mut words: Vec<(String, String)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text| percent::decode(text, Plus::Space);
        let (Ok(name), Ok(value)) = (decoded(name), decoded(value)) else {
            return Err(AwsError::new("InvalidURI", "Couldn't parse the specified URI."));
        };
        if words.iter().any(|(known, _)| *known == name) {
            let why = format!("The parameter `{name}` is given more than once.");
            return Err(AwsError::new("InvalidArgument", why));
        }
        words.push((name, value));
    }
    Ok(words)
}

/// The operation that a method and the words of a query string are for. Every word has to be one that it takes.
fn find(
    method: &Method,
    of: Of,
    query: &[(String, String)],
    copied: bool,
) -> Result<&'static Operation, AwsError> {
    let not_served = |what: &str| {
        let why = format!("A request with `{what}` cannot be handed on to the service.");
        AwsError::new("NotImplemented", why).with_status(501)
    };
    let has = |word: &str| query.iter().any(|(name, _)| name == word);
    let mut fitting = OPERATIONS
        .iter()
        .filter(|operation| operation.method == method.as_str() && operation.of == of)
        .filter(|operation| match operation.word {
            "" => !copied,
            COPY => copied && !has("uploadId"),
            word => has(word),
        });
    let takes = |operation: &Operation, word: &str| {
        word == operation.word
            || operation.takes.contains(&word)
            || is_of_signature(word)
            || (matches!(operation.name, "GetObject" | "HeadObject") && RESPONSE.contains(&word))
    };
    let words = || query.iter().map(|(name, _)| name.as_str());
    let found = fitting.find(|operation| words().all(|word| takes(operation, word)));
    let found = found.ok_or_else(|| {
        let known = |word: &&str| {
            OPERATIONS.iter().any(|known| known.word == *word || known.takes.contains(word))
                || is_of_signature(word)
        };
        let foreign = words().find(|word| !known(word)).or_else(|| words().next());
        foreign.map_or_else(
            || {
                AwsError::new(
                    "MethodNotAllowed",
                    "The specified method is not allowed against this resource.",
                )
                .with_status(405)
            },
            not_served,
        )
    })?;
    if copied && !matches!(found.name, "CopyObject" | "UploadPart") {
        return Err(not_served(COPY));
    }
    Ok(found)
}

/// Each header that counts is there once, and none that is not known.
fn check_headers(headers: &HeaderMap) -> Result<(), AwsError> {
    for name in headers.keys() {
        let name = name.as_str();
        let of_s3 = name.starts_with("x-amz-");
        if of_s3 && !name.starts_with("x-amz-meta-") && !HEADERS.contains(&name) {
            let why = format!("A request with the header `{name}` cannot be handed on to the service.");
            return Err(AwsError::new("NotImplemented", why).with_status(501));
        }
        if of_s3 && headers.get_all(name).iter().nth(1).is_some() {
            let why = format!("The header `{name}` is given more than once.");
            return Err(AwsError::new("InvalidArgument", why));
        }
    }
    Ok(())
}

/// What a copy reads: `bucket/key` or `/bucket/key`, encoded, and perhaps `?versionId=…` ("CopyObject").
fn source(headers: &HeaderMap, context: &Context) -> Result<Option<Want>, AwsError> {
    let invalid = || {
        AwsError::new(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        )
    };
    let Some(given) = headers.get(COPY) else { return Ok(None) };
    let given = given.to_str().map_err(|_| invalid())?;
    let (path, version) = given.split_once("?versionId=").map_or((given, None), |(p, v)| (p, Some(v)));
    let path = percent::decode(path, Plus::Plus).map_err(|_| invalid())?;
    let (bucket, key) = path
        .strip_prefix('/')
        .unwrap_or(&path)
        .split_once('/')
        .filter(|(_, key)| !key.is_empty())
        .ok_or_else(invalid)?;
    // An access point by its ARN leads to a bucket that nobody here knows.
    let of_bucket = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    let plain = !key.contains('?') && !key.split('/').any(|segment| segment == "." || segment == "..");
    if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(of_bucket) || !plain {
        return Err(invalid());
    }
    let mut context = context.clone();
    let action = match version {
        None => "s3:GetObject",
        Some(version) => {
            context.insert("s3:VersionId", version);
            "s3:GetObjectVersion"
        }
    };
    Ok(Some(Want { action, resource: arn(bucket, Some(key)), context }))
}

/// The ARN of a bucket or of an object in it.
fn arn(bucket: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        None => format!("arn:aws:s3:::{bucket}"),
    }
}

/// The condition keys that follow from the request.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html> and
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/amazon-s3-policy-keys.html>
fn common(parts: &Parts, query: &[(String, String)]) -> Context {
    let mut context = Context::new();
    let presigned = query.iter().any(|(name, _)| name == "X-Amz-Signature");
    context.insert("s3:authType", if presigned { "REST-QUERY-STRING" } else { "REST-HEADER" });
    context.insert("s3:signatureversion", "AWS4-HMAC-SHA256");
    for (word, key) in [("prefix", "s3:prefix"), ("delimiter", "s3:delimiter"), ("max-keys", "s3:max-keys")] {
        if let Some((_, value)) = query.iter().find(|(name, _)| name == word) {
            context.insert(key, value.as_str());
        }
    }
    for (header, key) in [
        ("x-amz-content-sha256", "s3:x-amz-content-sha256"),
        ("x-amz-copy-source", "s3:x-amz-copy-source"),
        ("x-amz-metadata-directive", "s3:x-amz-metadata-directive"),
        ("x-amz-server-side-encryption", "s3:x-amz-server-side-encryption"),
        ("x-amz-storage-class", "s3:x-amz-storage-class"),
        ("if-match", "s3:if-match"),
        ("if-none-match", "s3:if-none-match"),
    ] {
        if let Some(value) = parts.headers.get(header).and_then(|value| value.to_str().ok()) {
            context.insert(key, value);
        }
    }
    add_tags(parts, &mut context);
    context
}

/// `s3:RequestObjectTag/…` of the tags in a header, which are the query string of a URL.
fn add_tags(parts: &Parts, context: &mut Context) {
    let given = parts.headers.get("x-amz-tagging").and_then(|value| value.to_str().ok());
    let tags: Vec<(String, String)> = given.map(query).and_then(Result::ok).unwrap_or_default();
    context.insert_many("s3:RequestObjectTagKeys", tags.iter().map(|(name, _)| Value::Text(name.clone())));
    for (name, value) in &tags {
        context.insert(&format!("s3:RequestObjectTag/{name}"), value.as_str());
    }
}

/// The target of a request with its bucket in the path: one that names the bucket by its host, `BUCKET.NAME` where `NAME` is one
/// of the service's own, says the same by its path.
pub(super) fn plain_target(uri: &Uri, host: &str, names: &[String]) -> Option<Uri> {
    let host = host.to_ascii_lowercase();
    let plain = names.iter().filter(|name| !name.starts_with('*'));
    let bucket = plain
        .filter_map(|name| host.strip_suffix(name.as_str())?.strip_suffix('.'))
        .min_by_key(|b| b.len())?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/{bucket}{}{query}", uri.path()).parse().ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn asked(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match read(&parts, body.as_bytes()) {
            Err(error) => error.code,
            Ok(Asked { operation, wants }) => {
                let shown = wants.iter().map(|want| format!(" {} {}", want.action, want.resource));
                format!("{operation}{}", shown.collect::<String>())
            }
        }
    }

    #[test]
    fn each_operation_asks_for_its_actions() {
        let b = "arn:aws:s3:::bbb";
        for (method, target, expected) in [
            ("GET", "/", "ListBuckets s3:ListAllMyBuckets *".to_owned()),
            ("HEAD", "/bbb", format!("HeadBucket s3:ListBucket {b}")),
            ("GET", "/bbb?list-type=2&prefix=a", format!("ListObjectsV2 s3:ListBucket {b}")),
            ("GET", "/bbb/?prefix=a", format!("ListObjects s3:ListBucket {b}")),
            ("GET", "/bbb?versions", format!("ListObjectVersions s3:ListBucketVersions {b}")),
            ("GET", "/bbb?location", format!("GetBucketLocation s3:GetBucketLocation {b}")),
            ("GET", "/bbb/a/b%20c", format!("GetObject s3:GetObject {b}/a/b c")),
            ("GET", "/bbb/a%2Fb+c", format!("GetObject s3:GetObject {b}/a/b+c")),
            ("GET", "/bbb/k?versionId=3", format!("GetObject s3:GetObjectVersion {b}/k")),
            (
                "GET",
                "/bbb/k?x-id=GetObject&X-Amz-Signature=0&X-Amz-Expires=3&response-expires=x",
                format!("GetObject s3:GetObject {b}/k"),
            ),
            ("PUT", "/bbb/k", format!("PutObject s3:PutObject {b}/k")),
            ("PUT", "/bbb/k?partNumber=1&uploadId=u", format!("UploadPart s3:PutObject {b}/k")),
            ("POST", "/bbb/k?uploads", format!("CreateMultipartUpload s3:PutObject {b}/k")),
            ("POST", "/bbb/k?uploadId=u", format!("CompleteMultipartUpload s3:PutObject {b}/k")),
            ("DELETE", "/bbb/k?uploadId=u", format!("AbortMultipartUpload s3:AbortMultipartUpload {b}/k")),
            ("DELETE", "/bbb/k", format!("DeleteObject s3:DeleteObject {b}/k")),
            ("PUT", "/bbb/k?tagging", format!("PutObjectTagging s3:PutObjectTagging {b}/k")),
        ] {
            assert_eq!(asked(method, target, &[], ""), expected, "{method} {target}");
        }
    }

    #[test]
    fn headers_and_documents_name_more() {
        let from = [("x-amz-copy-source", "/aaa/from%20here?versionId=7")];
        assert_eq!(
            asked("PUT", "/bbb/k", &from, ""),
            "CopyObject s3:PutObject arn:aws:s3:::bbb/k s3:GetObjectVersion arn:aws:s3:::aaa/from here"
        );
        let part = asked("PUT", "/bbb/k?uploadId=u&partNumber=2", &[("x-amz-copy-source", "aaa/k")], "");
        assert_eq!(part, "UploadPartCopy s3:PutObject arn:aws:s3:::bbb/k s3:GetObject arn:aws:s3:::aaa/k");
        assert_eq!(
            asked("PUT", "/bbb/k", &[("x-amz-tagging", "a=b")], ""),
            "PutObject s3:PutObject arn:aws:s3:::bbb/k s3:PutObjectTagging arn:aws:s3:::bbb/k"
        );
        let document = "<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>c</Key><VersionId>1\
                        </VersionId></Object><Quiet>true</Quiet></Delete>";
        assert_eq!(
            asked("POST", "/bbb?delete", &[], document),
            "DeleteObjects s3:DeleteObject arn:aws:s3:::bbb/a&b s3:DeleteObjectVersion arn:aws:s3:::bbb/c"
        );
    }

    #[test]
    fn what_could_be_read_otherwise_is_refused() {
        let pieces = ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
        let twice = [("x-amz-copy-source", "aaa/k"), ("x-amz-copy-source", "ccc/k")];
        for (method, target, headers, body, code) in [
            ("PUT", "/bbb/k?acl", &[][..], "", "NotImplemented"),
            ("PUT", "/bbb?policy", &[], "", "NotImplemented"),
            ("PUT", "/bbb/k?annotation", &[], "", "NotImplemented"),
            ("PUT", "/bbb/k?x-amz-acl=public-read", &[], "", "NotImplemented"),
            ("GET", "/bbb/k?versionId=1&versionId=2", &[], "", "InvalidArgument"),
            ("GET", "/bbb/k?version%49d=1&versionId=2", &[], "", "InvalidArgument"),
            ("PUT", "/bbb/k", &[("x-amz-acl", "public-read")], "", "NotImplemented"),
            ("PUT", "/bbb/k", &[("x-amz-write-offset-bytes", "3")], "", "NotImplemented"),
            ("PUT", "/bbb/k", &twice, "", "InvalidArgument"),
            (
                "PUT",
                "/bbb/k",
                &[("x-amz-copy-source", "arn:aws:s3:us-east-1:1:accesspoint/a/object/k")],
                "",
                "InvalidArgument",
            ),
            ("PUT", "/bbb/k", &[("x-amz-copy-source", "aaa/../ccc/k")], "", "InvalidArgument"),
            ("GET", "/bbb/k", &[("x-amz-copy-source", "aaa/k")], "", "MethodNotAllowed"),
            ("DELETE", "/bbb", &[("x-amz-copy-source", "aaa/k")], "", "MethodNotAllowed"),
            ("GET", "/BBB/k", &[], "", "InvalidBucketName"),
            ("GET", "/b%62b/k", &[], "", "InvalidBucketName"),
            ("GET", "/bbb/%ff", &[], "", "InvalidURI"),
            ("PATCH", "/bbb/k", &[], "", "MethodNotAllowed"),
            ("POST", "/bbb?delete", &[], "<Delete/>", "MalformedXML"),
            (
                "POST",
                "/bbb?delete",
                &[pieces],
                "<Delete><Object><Key>a</Key></Object></Delete>",
                "NotImplemented",
            ),
        ] {
            assert_eq!(asked(method, target, headers, body), code, "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn a_bucket_in_the_host_is_put_into_the_path() {
        let names = ["archive.example".to_owned(), "*.archive.example".to_owned()];
        let to = |host: &str, target: &str| {
            plain_target(&target.parse().unwrap(), host, &names).map(|uri| uri.to_string())
        };
        assert_eq!(to("archive.example", "/bbb/k"), None);
        assert_eq!(to("BBB.archive.example", "/k?uploads").as_deref(), Some("/bbb/k?uploads"));
        assert_eq!(to("b.b.archive.example", "/").as_deref(), Some("/b.b/"));
        assert_eq!(to("evil-archive.example", "/k"), None);
        assert_eq!(to("vpce-1.archive.us-east-1.vpce.amazonaws.com", "/k"), None);
    }
}

//! Signature version 4 against botocore: vectors checked in, made by `oracle/sigv4_vectors.py`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod random;
#[path = "../support/mod.rs"]
mod support;

use base64::Engine as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use postern_wire::Timestamp;
use postern_wire::error::ErrorStyle;
use postern_wire::sigv4::{
    CredentialError, Payload, PayloadCheck, Placement, RequestParts, Rules, SecretAccessKey, SignatureError,
    Signer, Unverified, Verified, parse,
};
use proptest::prelude::*;
use serde_json::Value as Json;

const VECTORS: &str = include_str!("../fixtures/sigv4.json");

/// One request, owned.
#[derive(Clone)]
struct Vector {
    name: String,
    service: String,
    region: String,
    access_key_id: String,
    secret: SecretAccessKey,
    token: Option<String>,
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
    canonical_request: String,
    string_to_sign: String,
}

impl Vector {
    fn read(json: &Json) -> Self {
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        let mut headers = HeaderMap::new();
        for pair in json["headers"].as_array().unwrap() {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(pair[1].as_str().unwrap().as_bytes()).unwrap());
        }
        Self {
            name: text("name"),
            service: text("service"),
            region: text("region"),
            access_key_id: text("access_key_id"),
            secret: SecretAccessKey::new(text("secret")),
            token: json["token"].as_str().map(str::to_owned),
            method: text("method"),
            path: text("path"),
            query: text("query"),
            headers,
            body: base64::engine::general_purpose::STANDARD.decode(text("body")).unwrap(),
            canonical_request: text("canonical_request"),
            string_to_sign: text("string_to_sign"),
        }
    }

    fn parts(&self) -> RequestParts<'_> {
        let Self { method, path, query, headers, .. } = self;
        RequestParts { method, path, query, headers }
    }

    fn claim(&self) -> Unverified {
        parse(&self.parts()).unwrap().unwrap()
    }

    fn verify(&self, secret: &SecretAccessKey) -> Result<Verified, SignatureError> {
        self.verify_at(secret, now())
    }

    fn verify_at(&self, secret: &SecretAccessKey, now: Timestamp) -> Result<Verified, SignatureError> {
        let regions = [self.region.as_str()];
        let rules = Rules { service: &self.service, regions: &regions };
        let claim = parse(&self.parts())?.unwrap();
        claim.verify(&self.parts(), Payload::Body(&self.body), &rules, secret, now)
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            access_key_id: &self.access_key_id,
            secret: &self.secret,
            session_token: self.token.as_deref(),
            region: &self.region,
            service: &self.service,
        }
    }

    /// The headers as they were before botocore signed.
    fn unsigned_headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        for name in
            ["authorization", "content-length", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"]
        {
            headers.remove(name);
        }
        headers
    }
}

fn now() -> Timestamp {
    Timestamp::parse_basic("20260131T123456Z").unwrap()
}

fn vectors() -> Vec<Vector> {
    let json: Json = serde_json::from_str(VECTORS).unwrap();
    json.as_array().unwrap().iter().map(Vector::read).collect()
}

#[test]
fn the_fixture_is_what_botocore_makes() {
    assert_eq!(support::oracle("sigv4_vectors.py", &[], ""), VECTORS);
}

#[test]
fn what_botocore_signs_is_verified() {
    let vectors = vectors();
    assert!(vectors.len() >= 200);
    for vector in vectors {
        let name = &vector.name;
        let verified = vector.verify(&vector.secret).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(verified.access_key_id(), vector.access_key_id, "{name}");
        assert_eq!(verified.session_token(), vector.token.as_deref(), "{name}");
        match verified.payload() {
            PayloadCheck::Done => assert!(!name.contains("unsigned")),
            PayloadCheck::Unsigned => {
                assert!(name.contains("unsigned payload") || name.contains("presigned") || name == "a week")
            }
            PayloadCheck::UnsignedChunksAndTrailer => assert!(name.contains("unsigned trailer")),
            other => panic!("{name}: {other:?}"),
        }
        match vector.verify(&SecretAccessKey::new("other")) {
            Err(SignatureError::DoesNotMatch(mismatch)) => {
                assert_eq!(mismatch.canonical_request, vector.canonical_request, "{name}");
                assert_eq!(mismatch.string_to_sign, vector.string_to_sign, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn what_we_sign_is_what_botocore_signs() {
    for vector in vectors().iter().filter(|vector| vector.name != "a date header") {
        let headers = vector.unsigned_headers();
        match vector.claim().placement {
            Placement::Header => {
                let parts = RequestParts { headers: &headers, ..vector.parts() };
                let payload = vector.canonical_request.rsplit('\n').next().unwrap();
                let signed = vector.signer().sign(&parts, payload, now()).unwrap();
                let expected = &vector.headers["authorization"];
                assert_eq!(signed.headers["authorization"], expected, "{}", vector.name);
            }
            Placement::Presigned { expires_seconds } => {
                let own = |pair: &&str| !pair.starts_with("X-Amz-");
                let query = vector.query.split('&').filter(own).collect::<Vec<_>>().join("&");
                let parts = RequestParts { headers: &headers, query: &query, ..vector.parts() };
                let signed = vector.signer().presign(&parts, expires_seconds, now()).unwrap();
                assert_eq!(
                    signed.split('&').collect::<std::collections::BTreeSet<_>>(),
                    vector.query.split('&').collect(),
                    "{}",
                    vector.name
                );
            }
        }
    }
}

/// A vector by its name, for the tests of what is refused.
fn named(name: &str) -> Vector {
    vectors().into_iter().find(|vector| vector.name == name).unwrap()
}

/// Code and status of the refusal, in S3's, EC2's and IAM's words.
fn words(error: &SignatureError) -> String {
    let query = ErrorStyle::Query { xml_namespace: "" };
    let code = |style| {
        let error = error.to_aws(style);
        format!("{} {}", error.code, error.status)
    };
    format!("{}, {}, {}", code(ErrorStyle::S3), code(ErrorStyle::Ec2), code(query))
}

/// What somebody did to a request after it was signed.
type Change<'a> = &'a dyn Fn(&mut Vector);

#[test]
fn refusals_have_each_services_words() {
    let cases: [(&str, Change, &str); 17] = [
        (
            "s3 GET",
            &|v| set(v, "authorization", "AWS AKIDEXAMPLE:c2ln"),
            "InvalidRequest 400, InvalidRequest 400, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| set(v, "authorization", "AWS4-ECDSA-P256-SHA256 a=b"),
            "InvalidRequest 400, InvalidRequest 400, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| set(v, "authorization", "AWS4-HMAC-SHA256 Credential"),
            "AuthorizationHeaderMalformed 400, IncompleteSignature 400, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| v.query = "AWSAccessKeyId=a&Signature=b&Expires=1".into(),
            "InvalidRequest 400, InvalidRequest 400, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| v.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".into(),
            "InvalidArgument 400, AuthFailure 401, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| {
                v.headers.remove("x-amz-date");
            },
            "AccessDenied 403, AuthFailure 401, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| set(v, "x-amz-date", "20260131"),
            "AccessDenied 403, AuthFailure 401, IncompleteSignature 400",
        ),
        (
            "s3 GET",
            &|v| set(v, "x-amz-date", "20260131T130000Z"),
            "RequestTimeTooSkewed 403, RequestExpired 400, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| set(v, "x-amz-date", "20260130T123456Z"),
            "AuthorizationHeaderMalformed 400, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| v.service = "sts".into(),
            "AuthorizationHeaderMalformed 400, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| v.region = "eu-west-1".into(),
            "AuthorizationHeaderMalformed 400, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| set(v, "x-amz-acl", "public-read"),
            "AccessDenied 403, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| v.body = b"other".to_vec(),
            "XAmzContentSHA256Mismatch 400, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| v.method = "DELETE".into(),
            "SignatureDoesNotMatch 403, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 GET",
            &|v| set(v, "x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"),
            "InvalidArgument 400, AuthFailure 401, SignatureDoesNotMatch 403",
        ),
        (
            "s3 presigned GET",
            &|v| v.query = v.query.replace("X-Amz-Expires=3600", "X-Amz-Expires=604801"),
            "AuthorizationQueryParametersError 400, AuthFailure 401, IncompleteSignature 400",
        ),
        (
            "s3 presigned GET",
            &|v| v.query = v.query.replace("&X-Amz-Expires=3600", ""),
            "AuthorizationQueryParametersError 400, AuthFailure 401, IncompleteSignature 400",
        ),
    ];
    for (number, (name, change, expected)) in cases.into_iter().enumerate() {
        let mut vector = named(name);
        change(&mut vector);
        let regions = [vector.region.as_str()];
        let rules = Rules { service: &vector.service, regions: &regions };
        let payload = Payload::Body(&vector.body);
        let verified = parse(&vector.parts())
            .and_then(|claim| claim.unwrap().verify(&vector.parts(), payload, &rules, &vector.secret, now()));
        assert_eq!(words(&verified.unwrap_err()), expected, "case {number}");
    }
}

fn set(vector: &mut Vector, name: &'static str, value: &'static str) {
    vector.headers.insert(name, HeaderValue::from_static(value));
}

#[test]
fn time_bounds_are_inclusive() {
    let at = |name: &str, seconds: i64| {
        let vector = named(name);
        let regions = [vector.region.as_str()];
        let rules = Rules { service: &vector.service, regions: &regions };
        let now = now().plus_seconds(seconds);
        vector.claim().verify(&vector.parts(), Payload::Body(&vector.body), &rules, &vector.secret, now)
    };
    for (name, seconds, holds) in [
        ("s3 GET", 900, true),
        ("s3 GET", 901, false),
        ("s3 GET", -900, true),
        ("s3 GET", -901, false),
        ("s3 presigned GET", 3600, true),
        ("s3 presigned GET", 3601, false),
        ("s3 presigned GET", -900, true),
        ("s3 presigned GET", -901, false),
        ("a week", 604_800, true),
        ("a week", 604_801, false),
    ] {
        assert_eq!(at(name, seconds).is_ok(), holds, "{name} {seconds}");
    }
    let expired = at("s3 presigned GET", 3601).unwrap_err().to_aws(ErrorStyle::S3);
    assert_eq!(expired.to_string(), "AccessDenied: Request has expired");
    assert_eq!(expired.details[1], ("Expires", "2026-01-31T13:34:56Z".to_owned()));
    let skewed = at("s3 GET", 901).unwrap_err().to_aws(ErrorStyle::Query { xml_namespace: "" });
    assert_eq!(
        skewed.message,
        "Signature expired: 20260131T123456Z is now earlier than 20260131T123457Z (20260131T124957Z - 15 min.)"
    );
}

#[test]
fn s3_shows_what_was_signed_and_nothing_of_the_secret() {
    let vector = named("s3 GET");
    let error = vector.verify(&SecretAccessKey::new("hush")).unwrap_err().to_aws(ErrorStyle::S3);
    let names: Vec<_> = error.details.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "AWSAccessKeyId",
            "StringToSign",
            "SignatureProvided",
            "StringToSignBytes",
            "CanonicalRequest",
            "CanonicalRequestBytes"
        ]
    );
    let body = error.body(ErrorStyle::S3, "id-1", Some("/k")).body;
    assert!(body.contains("<CanonicalRequest>GET\n/k\n"), "{body}");
    assert!(body.contains("<CanonicalRequestBytes>47 45 54 0a "), "{body}");
    assert!(!body.contains("hush") && !format!("{vector:?}", vector = vector.secret).contains("wJalr"));
}

#[test]
fn without_a_signature_there_is_no_claim() {
    let headers = HeaderMap::new();
    let parts = RequestParts { method: "GET", path: "/", query: "a=b&Signature=c", headers: &headers };
    assert_eq!(parse(&parts), Ok(None));
    assert_eq!(CredentialError::Missing.to_aws(ErrorStyle::S3).code, "AccessDenied");
}

#[test]
fn a_streamed_body_is_left_to_check() {
    let vector = named("s3 body 1");
    let rules = Rules { service: "s3", regions: &["us-east-1"] };
    let claim = vector.claim();
    let verified = claim.verify(&vector.parts(), Payload::Streamed, &rules, &vector.secret, now()).unwrap();
    assert!(
        matches!(verified.payload(), PayloadCheck::Hash(hash) if *hash == postern_wire::crypto::sha256(b"x"))
    );
    let vector = named("ec2 body 1");
    let rules = Rules { service: "ec2", regions: &["us-east-1"] };
    let streamed = vector.claim().verify(&vector.parts(), Payload::Streamed, &rules, &vector.secret, now());
    assert_eq!(streamed.unwrap_err(), SignatureError::NoPayloadHash);
}

#[test]
fn signed_chunks_continue_the_requests_signature() {
    let secret = SecretAccessKey::new("secret");
    let signer =
        Signer { access_key_id: "AKID", secret: &secret, session_token: None, region: "r", service: "s3" };
    let mut headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("h"))]);
    let parts = RequestParts { method: "PUT", path: "/b/k", query: "", headers: &headers };
    let mut signed = signer.sign(&parts, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", now()).unwrap();
    headers.extend(signed.headers);
    let parts = RequestParts { method: "PUT", path: "/b/k", query: "", headers: &headers };
    let rules = Rules { service: "s3", regions: &["r"] };
    let verified =
        parse(&parts).unwrap().unwrap().verify(&parts, Payload::Streamed, &rules, &secret, now()).unwrap();
    let PayloadCheck::SignedChunks(chain) = verified.payload() else { panic!("{verified:?}") };
    let piece = postern_wire::crypto::sha256(b"piece");
    let signature = signed.chunks.sign(piece);
    assert!(chain.clone().verify(piece, &signature).is_ok());
    assert!(chain.clone().verify(postern_wire::crypto::sha256(b"other"), &signature).is_err());
}

/// A request of any shape: path and query are encoded as a client would.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    secret: String,
    service: &'static str,
    presigned: bool,
}

impl Request {
    fn map(&self) -> HeaderMap {
        let mut headers =
            HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("host.example"))]);
        for (name, value) in &self.headers {
            let name: HeaderName = format!("x-amz-meta-{name}").parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn parts<'a>(&'a self, headers: &'a HeaderMap) -> RequestParts<'a> {
        RequestParts { method: &self.method, path: &self.path, query: &self.query, headers }
    }
}

fn requests() -> impl Strategy<Value = Request> {
    let encoded = |text: String| postern_wire::query::percent::encode_path(text.as_bytes());
    let pair = (any::<String>(), any::<String>()).prop_map(|(name, value)| {
        let encode = |text: String| postern_wire::query::percent::encode(text.as_bytes());
        format!("p{}={}", encode(name), encode(value))
    });
    let header = ("[a-z]{1,8}", proptest::collection::vec(prop_oneof![0x20_u8..0x7f, 0x80_u8..=0xff], 0..20));
    (
        prop_oneof!["GET", "PUT", "POST"],
        any::<String>().prop_map(move |path| format!("/{}", encoded(path))),
        proptest::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&")),
        proptest::collection::vec(header, 0..4),
        any::<Vec<u8>>(),
        "[ -~]{1,40}",
        prop_oneof![Just("s3"), Just("ec2")],
        any::<bool>(),
    )
        .prop_map(|(method, path, query, headers, body, secret, service, presigned)| Request {
            body: if presigned { Vec::new() } else { body },
            ..Request { method, path, query, headers, body: Vec::new(), secret, service, presigned }
        })
}

/// Signs, lets `change` tamper with what goes over the wire, and verifies.
fn transmit(
    request: &Request,
    change: impl FnOnce(&mut String, &mut HeaderMap, &mut String, &mut Vec<u8>, &mut String),
) -> bool {
    let secret = SecretAccessKey::new(request.secret.clone());
    let signer = Signer {
        access_key_id: "AKID",
        secret: &secret,
        session_token: Some("token"),
        region: "r",
        service: request.service,
    };
    let mut headers = request.map();
    let (mut query, mut path, mut method) =
        (request.query.clone(), request.path.clone(), request.method.clone());
    let mut body = request.body.clone();
    if request.presigned {
        query = signer.presign(&request.parts(&headers), 60, now()).unwrap();
    } else {
        let signed = signer.sign(&request.parts(&headers), &Signer::hash(&body), now()).unwrap();
        headers.extend(signed.headers);
    }
    change(&mut path, &mut headers, &mut query, &mut body, &mut method);
    let parts = RequestParts { method: &method, path: &path, query: &query, headers: &headers };
    let rules = Rules { service: request.service, regions: &["r"] };
    parse(&parts).is_ok_and(|claim| {
        claim.is_some_and(|claim| {
            // The access key's id is what the secret is found by: another id, another secret.
            claim.access_key_id == "AKID"
                && claim.verify(&parts, Payload::Body(&body), &rules, &secret, now()).is_ok()
        })
    })
}

/// Flips one bit of a text that stays ASCII.
fn flip(text: &mut String, at: usize) {
    let mut bytes = std::mem::take(text).into_bytes();
    let place = at / 7 % bytes.len();
    bytes[place] ^= 1 << (at % 7);
    *text = String::from_utf8(bytes).unwrap();
}

/// What a path or query says, whatever the case of its escapes.
fn meaning(text: &str) -> Vec<Option<Vec<u8>>> {
    use postern_wire::query::percent::{Plus, decode_bytes};
    let mut parts: Vec<_> = text.split('&').map(|part| decode_bytes(part, Plus::Space).ok()).collect();
    parts.sort();
    parts
}

proptest! {
    #[test]
    fn what_is_signed_is_verified(request in requests()) {
        let verified = transmit(&request, |_, _, _, _, _| {});
        prop_assert!(verified);
    }

    #[test]
    fn a_changed_method_is_noticed(request in requests(), at: usize) {
        prop_assert!(!transmit(&request, |_, _, _, _, method| flip(method, at)));
    }

    #[test]
    fn a_changed_path_is_noticed(request in requests(), at: usize) {
        let mut same = false;
        let verified = transmit(&request, |path, _, _, _, _| {
            let before = path.clone();
            flip(path, at);
            // S3 reads `%2f` as `%2F`; other services remove dots and empty segments.
            same = match request.service {
                "s3" => meaning(&before) == meaning(path),
                _ => without_empty(&before) == without_empty(path),
            };
        });
        prop_assert!(!verified || same);
    }

    #[test]
    fn a_changed_query_is_noticed(request in requests(), at: usize) {
        let mut same = false;
        let verified = transmit(&request, |_, _, query, _, _| {
            let before = query.clone();
            if query.is_empty() { query.push('a') } else { flip(query, at) }
            same = meaning(&before) == meaning(query);
        });
        prop_assert!(!verified || same);
    }

    #[test]
    fn a_changed_header_is_noticed(request in requests(), at: usize) {
        let mut same = false;
        let verified = transmit(&request, |_, headers, _, _, _| {
            let place = at / 8 % headers.len();
            let value = headers.values_mut().nth(place).unwrap();
            let mut bytes = value.as_bytes().to_vec();
            if bytes.is_empty() {
                bytes.push(b'x');
            } else {
                let place = at / 64 % bytes.len();
                bytes[place] ^= 1 << (at % 8);
            }
            let words = |bytes: &[u8]| -> Vec<Vec<u8>> {
                bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect()
            };
            // A bit that makes the value impossible, or changes nothing but white space, changes nothing.
            same = words(&bytes) == words(value.as_bytes());
            match HeaderValue::from_bytes(&bytes) {
                Ok(changed) => *value = changed,
                Err(_) => same = true,
            }
        });
        prop_assert!(!verified || same);
    }

    #[test]
    fn a_changed_body_is_noticed(request in requests(), at: usize) {
        let request = Request { presigned: false, ..request };
        let verified = transmit(&request, |_, _, _, body, _| {
            if body.is_empty() {
                body.push(0);
            } else {
                let place = at / 8 % body.len();
                body[place] ^= 1 << (at % 8);
            }
        });
        prop_assert!(!verified);
    }

    #[test]
    fn foreign_bytes_never_panic(authorization: Vec<u8>, date in ".{0,20}", query in ".{0,80}", path in ".{0,20}") {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", authorization.as_slice()), ("x-amz-date", date.as_bytes())] {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        }
        let _ = parse(&RequestParts { method: "GET", path: &path, query: &query, headers: &headers });
    }
}

fn without_empty(path: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    if path.ends_with('/') && !kept.is_empty() {
        kept.push("");
    }
    kept
}

//! What is settled before the protocol layer sees a request: which signature it carries, whether the key is known,
//! its session token right, its scope ours, and all that must be signed is signed.
//!
//! The protocol layer verifies Signature Version 4 but also takes Version 2, other services' scopes, unsigned
//! `x-amz-` headers and any session token; all of these end here.
//!
//! INVARIANT: a request that passes carries either no trace of a signature or exactly one, of Version 4, whose access
//! key is the one in the returned [`Claim`].

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use postern_wire::Timestamp;
use postern_wire::sigv4::SKEW_MAX_SECONDS;

use super::error::Failure;
use super::gate::{Caller, Gate, SecretLookup};

/// Who the request says it is from. It becomes a [`Caller`] once the signature is verified.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) caller: Caller,
    pub(super) auth: AuthType,
}

/// The secret that this request's signature has to be made with.
pub(super) struct KnownKey {
    pub(super) access_key: String,
    pub(super) secret: String,
}

/// How a request is authenticated, in the words of the condition key `s3:authType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AuthType {
    Anonymous,
    Header,
    Query,
}

struct Signature {
    access_key: String,
    date: String,
    region: String,
    service: String,
    terminator: String,
    signed_headers: Vec<String>,
    token: Option<String>,
    auth: AuthType,
}

/// Checks a request's head against what the gate knows of its key.
///
/// # Errors
/// The refusal in S3's words.
pub(super) fn precheck(
    parts: &Parts,
    gate: &dyn Gate,
    region: &str,
) -> Result<(Claim, Option<KnownKey>), Failure> {
    refuse_forms(parts)?;
    let Some(signature) = find_signature(parts)? else {
        return Ok((Claim { caller: Caller::Anonymous, auth: AuthType::Anonymous }, None));
    };
    check_scope(&signature, region)?;
    let known = gate.secret(&signature.access_key, signature.token.as_deref()).ok_or_else(|| {
        Failure::new(
            StatusCode::FORBIDDEN,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
        )
        .with("AWSAccessKeyId", &signature.access_key)
    })?;
    check_token(&signature, &known)?;
    check_signed(&signature, &parts.headers)?;
    let access_key = signature.access_key;
    let caller = Caller::Signed { access_key: access_key.clone(), account: known.account };
    let key = KnownKey { access_key, secret: known.secret_key };
    Ok((Claim { caller, auth: signature.auth }, Some(key)))
}

/// Browser form uploads are not served: they would be read into memory whole.
fn refuse_forms(parts: &Parts) -> Result<(), Failure> {
    let form = parts
        .headers
        .get_all(http::header::CONTENT_TYPE)
        .iter()
        .any(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"multipart/form-data"));
    if parts.method == http::Method::POST && form {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            "Browser-based uploads using POST are not implemented",
        )
        .with("Header", "Content-Type"));
    }
    Ok(())
}

fn find_signature(parts: &Parts) -> Result<Option<Signature>, Failure> {
    let query = Query::of(parts)?;
    let mut headers = parts.headers.get_all(http::header::AUTHORIZATION).iter();
    let (header, second) = (headers.next(), headers.next());
    if ["AWSAccessKeyId", "Signature"].iter().any(|name| query.has(name)) {
        return Err(version_two());
    }
    let in_query = query.names().any(|name| name.to_ascii_lowercase().starts_with("x-amz-signature"))
        || query.has("X-Amz-Algorithm")
        || query.has("X-Amz-Credential");
    if second.is_some() || (header.is_some() && in_query) {
        return Err(Failure::invalid_argument(
            "Authorization",
            "",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
             parameter or the Authorization header should be specified",
        ));
    }
    if in_query {
        return from_query(&query).map(Some);
    }
    match header {
        None => Ok(None),
        Some(value) => {
            let value = value.to_str().map_err(|_| malformed("the header is not text"))?;
            from_header(value, &parts.headers).map(Some)
        }
    }
}

fn version_two() -> Failure {
    Failure::invalid_request(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
    )
}

fn malformed(why: &str) -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "AuthorizationHeaderMalformed",
        format!("The authorization header is malformed; {why}."),
    )
}

fn bad_query(why: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "AuthorizationQueryParametersError", why)
}

fn from_header(value: &str, headers: &HeaderMap) -> Result<Signature, Failure> {
    if value.starts_with("AWS ") {
        return Err(version_two());
    }
    let Some(rest) = value.strip_prefix("AWS4-HMAC-SHA256") else {
        return Err(Failure::invalid_argument("Authorization", value, "Unsupported Authorization Type"));
    };
    let field = |name: &str| {
        let mut found = rest.split(',').filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(malformed(&format!("the authorization header requires {name}"))),
            (Some(_), Some(_)) => Err(malformed(&format!("{name} is given twice"))),
        }
    };
    field("Signature")?;
    let credential = field("Credential")?;
    let scope = Scope::parse(credential).ok_or_else(|| {
        malformed(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"",
        )
    })?;
    let token = single(headers, "x-amz-security-token")?;
    Ok(scope.signature(field("SignedHeaders")?, token, AuthType::Header))
}

fn from_query(query: &Query) -> Result<Signature, Failure> {
    let parameter = |name: &str| {
        query.single(name)?.ok_or_else(|| {
            bad_query(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
    };
    if parameter("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
        return Err(bad_query(
            "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"",
        ));
    }
    parameter("X-Amz-Signature")?;
    let expires = parameter("X-Amz-Expires")?;
    match expires.parse::<i64>() {
        Ok(0..=604_800) => {}
        Ok(seconds) if seconds < 0 => return Err(bad_query("X-Amz-Expires must be non-negative")),
        Ok(_) => {
            return Err(bad_query(
                "X-Amz-Expires must be less than a week (in seconds); that is, the given \
                                  X-Amz-Expires must be less than 604800 seconds",
            ));
        }
        Err(_) => return Err(bad_query("X-Amz-Expires should be a number")),
    }
    let credential = parameter("X-Amz-Credential")?;
    let scope = Scope::parse(&credential).ok_or_else(|| {
        bad_query(
            "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \
             \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        )
    })?;
    let token = query.single("X-Amz-Security-Token")?;
    check_begun(&parameter("X-Amz-Date")?)?;
    Ok(scope.signature(&parameter("X-Amz-SignedHeaders")?, token, AuthType::Query))
}

/// A URL of later than now, but for how far clocks may differ: "Request is not yet valid".
fn check_begun(date: &str) -> Result<(), Failure> {
    let now = Timestamp::from(std::time::SystemTime::now());
    match Timestamp::parse_basic(date) {
        Ok(at) if at > now.plus_seconds(SKEW_MAX_SECONDS) => {
            Err(Failure::access_denied("Request is not yet valid")
                .with("RequestTime", at.basic())
                .with("ServerTime", now.iso_seconds()))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")),
    }
}

struct Scope<'c>([&'c str; 5]);

impl<'c> Scope<'c> {
    fn parse(credential: &'c str) -> Option<Self> {
        // An access key id holds no slash.
        let mut fields = credential.split('/');
        let scope = [fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?];
        (fields.next().is_none() && !scope[0].is_empty()).then_some(Self(scope))
    }

    fn signature(self, signed: &str, token: Option<String>, auth: AuthType) -> Signature {
        let [access_key, date, region, service, terminator] = self.0.map(str::to_owned);
        let signed_headers = signed.split(';').map(str::to_ascii_lowercase).collect();
        Signature { access_key, date, region, service, terminator, signed_headers, token, auth }
    }
}

fn check_scope(signature: &Signature, region: &str) -> Result<(), Failure> {
    let wrong = |what: &str, given: &str, expected: &str| match signature.auth {
        AuthType::Header | AuthType::Anonymous => {
            malformed(&format!("the {what} '{given}' is wrong; expecting '{expected}'"))
        }
        AuthType::Query => bad_query(&format!(
            "Error parsing the X-Amz-Credential parameter; the {what} '{given}' is wrong; expecting '{expected}'"
        )),
    };
    if signature.date.len() != 8 || !signature.date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("credential date", &signature.date, "YYYYMMDD"));
    }
    if signature.region != region {
        return Err(wrong("region", &signature.region, region).with("Region", region));
    }
    if signature.service != "s3" {
        return Err(wrong("service", &signature.service, "s3"));
    }
    if signature.terminator != "aws4_request" {
        return Err(wrong("terminator", &signature.terminator, "aws4_request"));
    }
    Ok(())
}

fn check_token(signature: &Signature, known: &SecretLookup) -> Result<(), Failure> {
    let invalid = || {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
        )
    };
    match (&known.session_token, &signature.token) {
        (None, None) => {}
        (Some(expected), Some(given)) => {
            let same =
                aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes());
            if same.is_err() {
                return Err(invalid().with("Token-0", given));
            }
        }
        (None, Some(given)) => return Err(invalid().with("Token-0", given)),
        // A temporary key without its token is no key.
        (Some(_), None) => {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            )
            .with("AWSAccessKeyId", &signature.access_key));
        }
    }
    if known.expired {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "ExpiredToken", "The provided token has expired."));
    }
    Ok(())
}

/// `host`, and every `x-amz-` header that is there, must be signed; nothing may be listed as signed that is missing.
fn check_signed(signature: &Signature, headers: &HeaderMap) -> Result<(), Failure> {
    let signed = |name: &str| signature.signed_headers.iter().any(|signed| signed == name);
    let unsigned: Vec<&str> = headers
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-amz-") && !signed(name))
        .chain((!signed("host")).then_some("host"))
        .collect();
    if !unsigned.is_empty() {
        return Err(Failure::access_denied(
            "There were headers present in the request which were not signed",
        )
        .with("HeadersNotSigned", unsigned.join(", ")));
    }
    let missing = signature
        .signed_headers
        .iter()
        .any(|name| name != "host" && name != "content-length" && !headers.contains_key(name.as_str()));
    if missing {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            super::error::sentence("SignatureDoesNotMatch").unwrap_or_default(),
        ));
    }
    Ok(())
}

/// A header that may be given once.
fn single(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(value) => Ok(Some(value.to_owned())),
            Err(_) => Err(Failure::invalid_argument(name, "", format!("{name} is not text"))),
        },
        (Some(_), Some(_)) => {
            Err(Failure::invalid_argument(name, "", format!("{name} is given more than once")))
        }
    }
}

/// The decoded query.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(parts: &Parts) -> Result<Self, Failure> {
        let bad = || Failure::new(StatusCode::BAD_REQUEST, "InvalidURI", "Couldn't parse the specified URI.");
        let mut pairs = Vec::new();
        for pair in parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name).ok_or_else(bad)?, decode(value).ok_or_else(bad)?));
        }
        Ok(Self(pairs))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    fn has(&self, wanted: &str) -> bool {
        self.names().any(|name| name == wanted)
    }

    fn single(&self, wanted: &str) -> Result<Option<String>, Failure> {
        let mut found = self.0.iter().filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, value)), None) => Ok(Some(value.clone())),
            (Some(_), Some(_)) => Err(bad_query(&format!("{wanted} is given more than once"))),
        }
    }
}

/// Undoes percent-encoding and `+`.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(bytes.next())? * 16 + digit(bytes.next())?;
                out.push(u8::try_from(value).ok()?);
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::gate::{Ask, Permit, Refusal};

    struct OneKey(Option<&'static str>, bool);

    impl Gate for OneKey {
        fn secret(&self, access_key: &str, _token: Option<&str>) -> Option<SecretLookup> {
            (access_key == "AKID").then(|| SecretLookup {
                secret_key: "secret".to_owned(),
                account: "111122223333".to_owned(),
                session_token: self.0.map(str::to_owned),
                expired: self.1,
            })
        }

        fn authorise(&self, _: &http::Extensions, _: &Ask) -> Result<Permit, Refusal> {
            Err(Refusal { message: "no".to_owned() })
        }

        fn name(&self, _: &http::Extensions) -> Option<String> {
            None
        }
    }

    const GOOD: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=00";

    fn check(gate: OneKey, uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = http::Request::builder().uri(uri).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        match precheck(&parts, &gate, "us-east-1") {
            Ok((claim, _)) => format!("{:?}", claim.auth),
            Err(failure) => failure.code.to_owned(),
        }
    }

    #[test]
    fn which_requests_pass() {
        let date = ("x-amz-date", "20260101T000000Z");
        let auth = |value: &'static str| ("authorization", value);
        let plain = || OneKey(None, false);
        assert_eq!(check(plain(), "/", &[]), "Anonymous");
        assert_eq!(check(plain(), "/", &[auth(GOOD), date]), "Header");
        assert_eq!(check(plain(), "/", &[auth("AWS AKID:sig")]), "InvalidRequest");
        assert_eq!(check(plain(), "/?AWSAccessKeyId=AKID&Signature=x&Expires=1", &[]), "InvalidRequest");
        assert_eq!(check(plain(), "/?Signature=x", &[]), "InvalidRequest");
        assert_eq!(check(plain(), "/?%53ignature=x", &[]), "InvalidRequest");
        assert_eq!(check(plain(), "/", &[auth(GOOD), auth(GOOD), date]), "InvalidArgument");
        assert_eq!(check(plain(), "/?X-Amz-Signature=x", &[auth(GOOD), date]), "InvalidArgument");
        assert_eq!(check(plain(), "/?X-Amz-Signature=x", &[]), "AuthorizationQueryParametersError");
        assert_eq!(check(plain(), "/", &[auth("Bearer x")]), "InvalidArgument");
        assert_eq!(check(plain(), "/", &[auth("AWS4-HMAC-SHA256 x")]), "AuthorizationHeaderMalformed");
        assert_eq!(check(plain(), "/", &[auth(GOOD), date, ("x-amz-acl", "private")]), "AccessDenied");
        assert_eq!(check(plain(), "/", &[auth(GOOD)]), "SignatureDoesNotMatch");
        let other_key = "AWS4-HMAC-SHA256 Credential=OTHER/20260101/us-east-1/s3/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=00";
        assert_eq!(check(plain(), "/", &[auth(other_key), date]), "InvalidAccessKeyId");
        let sts = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/sts/aws4_request, \
                   SignedHeaders=host;x-amz-date, Signature=00";
        assert_eq!(check(plain(), "/", &[auth(sts), date]), "AuthorizationHeaderMalformed");
        let region = "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/s3/aws4_request, \
                      SignedHeaders=host;x-amz-date, Signature=00";
        assert_eq!(check(plain(), "/", &[auth(region), date]), "AuthorizationHeaderMalformed");
    }

    #[test]
    fn session_tokens() {
        let with_token = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, \
                          SignedHeaders=host;x-amz-date;x-amz-security-token, Signature=00";
        let date = ("x-amz-date", "20260101T000000Z");
        let sent = |token| [("authorization", with_token), date, ("x-amz-security-token", token)];
        assert_eq!(check(OneKey(Some("T"), false), "/", &sent("T")), "Header");
        assert_eq!(check(OneKey(Some("T"), false), "/", &sent("U")), "InvalidToken");
        assert_eq!(check(OneKey(Some("T"), true), "/", &sent("T")), "ExpiredToken");
        assert_eq!(check(OneKey(None, false), "/", &sent("T")), "InvalidToken");
        assert_eq!(
            check(OneKey(Some("T"), false), "/", &[("authorization", GOOD), date]),
            "InvalidAccessKeyId"
        );
    }
}

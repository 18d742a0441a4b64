//! Thousands of random requests that botocore signed: each is verified, its body taken apart, and refused when it comes at
//! another time or after any part of it that is signed was changed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use postern_wire::Timestamp;
use postern_wire::sigv4::{Decoder, PayloadCheck, Placement, SecretAccessKey, SignatureError, Verified};
use serde_json::Value as Json;

use super::{Vector, now, support};

/// How many requests are drawn; botocore signs so many in about a second.
const COUNT: usize = 3000;

/// Another one each day would be no use in finding what broke: who wants others sets `POSTERN_SIGV4_SEED`.
fn seed() -> u64 {
    std::env::var("POSTERN_SIGV4_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// A generator that only has to be the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_millis(at.millis() + seconds * 1000)
}

/// What is inside a body in pieces, and the headers that trail it.
type Inside = (Vec<u8>, Vec<(String, String)>);

fn taken_apart(check: &PayloadCheck, body: &[u8], declared: u64) -> Option<Inside> {
    let mut decoder = Decoder::new(check, declared).unwrap();
    let (mut left, mut data) = (body, Vec::new());
    while !left.is_empty() {
        let (taken, inside) = decoder.decode(left).ok()?;
        data.extend_from_slice(inside);
        left = &left[taken..];
    }
    decoder.finish().ok().map(|trailers| (data, trailers))
}

/// Changes a letter or a digit of a text to another that is not the same in the other case; `None` if it has none.
fn changed(text: &str, dice: &mut Dice) -> Option<String> {
    let places: Vec<usize> =
        text.bytes().enumerate().filter(|(_, b)| b.is_ascii_alphanumeric()).map(|(at, _)| at).collect();
    let at = *places.get(dice.below(places.len().max(1)))?;
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = match bytes[at] {
        b'9' => b'0',
        b'z' => b'a',
        b'Z' => b'A',
        other => other + 1,
    };
    String::from_utf8(bytes).ok()
}

/// Every way to change one part of what is signed, with its name.
fn spoilt(vector: &Vector, dice: &mut Dice) -> Vec<(String, Vector)> {
    let mut all = Vec::new();
    let mut with = |what: String, change: &dyn Fn(&mut Vector)| {
        let mut other = vector.clone();
        change(&mut other);
        all.push((what, other));
    };
    let method = if vector.method == "GET" { "HEAD" } else { "GET" };
    with("method".to_owned(), &|v| v.method = method.to_owned());
    with("more of the path".to_owned(), &|v| v.path.push('x'));
    with("more of the query".to_owned(), &|v| {
        let joint = if v.query.is_empty() { "" } else { "&" };
        v.query = format!("{}{joint}more=1", v.query);
    });
    if let Some(path) = changed(&vector.path, dice) {
        with("path".to_owned(), &|v| v.path.clone_from(&path));
    }
    if let Some(query) = changed(&vector.query, dice) {
        with("query".to_owned(), &|v| v.query.clone_from(&query));
    }
    let claim = vector.claim();
    for name in &claim.signed_headers {
        let value = vector.headers[name.as_str()].to_str().unwrap_or_default();
        if let Some(value) = changed(value, dice) {
            let value = HeaderValue::from_str(&value).unwrap();
            with(format!("header {name}"), &|v| drop(v.headers.insert(header(name), value.clone())));
        }
        with(format!("no header {name}"), &|v| drop(v.headers.remove(name.as_str())));
    }
    let unsigned = HeaderValue::from_static("private");
    with("one more x-amz- header".to_owned(), &|v| drop(v.headers.insert("x-amz-acl", unsigned.clone())));
    if let Some(authorization) = vector.headers.get("authorization").and_then(|value| value.to_str().ok()) {
        // Not the access key, which says whose secret it has to be and is not signed itself.
        let (head, tail) = authorization.split_once("/2026").unwrap();
        let (scope, rest) = tail.split_once(", SignedHeaders=").unwrap();
        let (signed, signature) = rest.split_once(", Signature=").unwrap();
        let written = |scope: &str, signed: &str, signature: &str| {
            format!("{head}/2026{scope}, SignedHeaders={signed}, Signature={signature}")
        };
        let parts = [
            ("scope", written(&changed(scope, dice).unwrap(), signed, signature)),
            ("names of signed headers", written(scope, &changed(signed, dice).unwrap(), signature)),
            ("signature", written(scope, signed, &changed(signature, dice).unwrap())),
        ];
        for (what, value) in parts {
            let value = HeaderValue::from_str(&value).unwrap();
            with(what.to_owned(), &|v| drop(v.headers.insert("authorization", value.clone())));
        }
    }
    all
}

fn header(name: &str) -> http::HeaderName {
    name.parse().unwrap()
}

/// Checks the body as the signature says it can be, and that no byte of it can be changed where it says so.
fn check_body(vector: &Vector, data: Option<&[u8]>, verified: &Verified, dice: &mut Dice) {
    let name = &vector.name;
    let spoilt_body = |dice: &mut Dice| {
        let mut body = vector.body.clone();
        let at = dice.below(body.len());
        body[at] ^= 1 << dice.below(8);
        (at, body)
    };
    match verified.payload() {
        PayloadCheck::Done if vector.body.is_empty() => {}
        PayloadCheck::Done => {
            let other = Vector { body: spoilt_body(dice).1, ..vector.clone() };
            assert!(other.verify(&vector.secret).is_err(), "{name}: another body");
        }
        PayloadCheck::Unsigned => assert!(name.contains("unsigned") || name.contains("query"), "{name}"),
        check @ (PayloadCheck::SignedChunks(_)
        | PayloadCheck::SignedChunksAndTrailer(_)
        | PayloadCheck::UnsignedChunksAndTrailer) => {
            let data = data.unwrap();
            let (inside, trailers) = taken_apart(check, &vector.body, data.len() as u64).unwrap();
            assert_eq!(inside, data, "{name}");
            assert_eq!(trailers.is_empty(), matches!(check, PayloadCheck::SignedChunks(_)), "{name}");
            if matches!(check, PayloadCheck::UnsignedChunksAndTrailer) {
                return;
            }
            for _ in 0..4 {
                let (at, body) = spoilt_body(dice);
                // The length of a piece and a header's name are the same in small letters and in capitals.
                let same = body.eq_ignore_ascii_case(&vector.body);
                let apart = taken_apart(check, &body, data.len() as u64);
                assert!(
                    same || apart.is_none_or(|apart| apart == (inside.clone(), trailers.clone())),
                    "{name}: byte {at}"
                );
            }
            let cut = &vector.body[..dice.below(vector.body.len() - 4)];
            assert!(taken_apart(check, cut, data.len() as u64).is_none(), "{name}: cut short");
        }
        PayloadCheck::Hash(_) => panic!("{name}: the body was at hand"),
    }
}

#[test]
fn thousands_of_random_requests_hold_and_break() {
    let seed = seed();
    println!("POSTERN_SIGV4_SEED={seed}");
    let told = support::oracle("sigv4_random.py", &[&seed.to_string(), &COUNT.to_string()], "");
    let told: Json = serde_json::from_str(&told).unwrap();
    let drawn = told.as_array().unwrap();
    assert_eq!(drawn.len(), COUNT);
    let (mut dice, mut refused) = (Dice(seed), 0);
    for json in drawn {
        let vector = Vector::read(json);
        let (name, secret) = (&vector.name, &vector.secret);
        let verified = vector.verify(secret).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(verified.access_key_id(), vector.access_key_id, "{name}");
        assert_eq!(verified.session_token(), vector.token.as_deref(), "{name}");
        let at = later(now(), json["moved_seconds"].as_i64().unwrap());
        assert_eq!(verified.at(), at, "{name}");
        match vector.verify(&SecretAccessKey::new("other")) {
            Err(SignatureError::DoesNotMatch(mismatch)) => {
                assert_eq!(mismatch.canonical_request, vector.canonical_request, "{name}");
                assert_eq!(mismatch.string_to_sign, vector.string_to_sign, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
        // Replayed when its time is over, and sent before it has come.
        let last = match verified.placement() {
            Placement::Header => 900,
            Placement::Presigned { expires_seconds } => expires_seconds,
        };
        assert!(vector.verify_at(secret, later(at, last)).is_ok(), "{name}: at its last second");
        assert!(vector.verify_at(secret, later(at, last + 1)).is_err(), "{name}: after that");
        assert!(vector.verify_at(secret, later(at, -901)).is_err(), "{name}: before its time");
        let data = json["data"].as_str().map(|data| STANDARD.decode(data).unwrap());
        check_body(&vector, data.as_deref(), &verified, &mut dice);
        for (what, other) in spoilt(&vector, &mut dice) {
            assert!(other.verify(secret).is_err(), "{name}: with another {what}");
            refused += 1;
        }
    }
    println!("{} requests hold, {refused} changed ones are refused", drawn.len());
    assert!(refused > 10 * COUNT, "{refused}");
}

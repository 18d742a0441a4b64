//! What stands in the bodies of requests to an S3 that somebody else serves: the objects of `DeleteObjects`, and bodies that
//! come in `aws-chunked` pieces.
//!
//! INVARIANT: what is handed on is what was signed: pieces are put together here, each with its signature checked where it
//! has one, and the whole is signed anew.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use http::request::Parts;
use postern_wire::AwsError;
use postern_wire::sigv4::{Decoder, PayloadCheck};
use postern_wire::xml::{self, Element};

/// "The request contains a list of up to 1,000 keys that you want to delete" ("DeleteObjects").
const DELETED_MAX: usize = 1_000;
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const DECODED_LENGTH: &str = "x-amz-decoded-content-length";

/// The objects that a document of `DeleteObjects` names, each with its version if it says one.
pub(super) fn deleted(parts: &Parts, body: &[u8]) -> Result<Vec<(String, Option<String>)>, AwsError> {
    if in_pieces(&parts.headers) {
        let why = "A list of objects in pieces cannot be handed on to the service.";
        return Err(AwsError::new("NotImplemented", why).with_status(501));
    }
    let malformed = || {
        AwsError::new(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    };
    let root = std::str::from_utf8(body).ok().and_then(|text| xml::parse(text).ok()).ok_or_else(malformed)?;
    if root.name != "Delete" {
        return Err(malformed());
    }
    let mut found = Vec::new();
    for child in &root.children {
        match child.name.as_str() {
            "Object" => found.push(identified(child).ok_or_else(malformed)?),
            "Quiet" if child.children.is_empty() => {}
            _ => return Err(malformed()),
        }
    }
    if (1..=DELETED_MAX).contains(&found.len()) { Ok(found) } else { Err(malformed()) }
}

/// INVARIANT: a member that stands twice, or that is not known, refuses the document: readers differ about it.
fn identified(object: &Element) -> Option<(String, Option<String>)> {
    let (mut key, mut version) = (None, None);
    for child in &object.children {
        let place = match child.name.as_str() {
            "Key" => &mut key,
            "VersionId" => &mut version,
            _ => return None,
        };
        if !child.children.is_empty() || place.replace(child.text.clone()).is_some() {
            return None;
        }
    }
    let odd = |segment: &str| segment == "." || segment == "..";
    let key = key.filter(|key| !key.is_empty() && !key.split('/').any(odd))?;
    Some((key, version.filter(|version| !version.is_empty())))
}

fn in_pieces(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_SHA256).is_some_and(|value| value.as_bytes().starts_with(b"STREAMING-"))
}

/// The body as a whole, and the headers as they are of a whole one: trailing checksums stand among them. `check` is what the
/// signature left to check; none where signatures are not checked.
///
/// # Errors
/// Where a piece is not what was signed, or the body is not what it was said to be.
pub(super) fn whole(
    headers: &mut HeaderMap,
    body: Vec<u8>,
    check: Option<&PayloadCheck>,
) -> Result<Vec<u8>, AwsError> {
    if !in_pieces(headers) {
        return Ok(body);
    }
    let unsigned =
        headers.get(CONTENT_SHA256).map(HeaderValue::as_bytes) == Some(b"STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let unchecked = unsigned.then_some(PayloadCheck::UnsignedChunksAndTrailer);
    let declared = headers.get(DECODED_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let decoder = check.or(unchecked.as_ref()).zip(declared);
    let decoder = decoder.and_then(|(check, declared)| Decoder::new(check, declared));
    let mut decoder = decoder.ok_or_else(|| {
        let why = "The request's body comes in pieces that cannot be read here.";
        AwsError::new("NotImplemented", why).with_status(501)
    })?;
    let refused = |error: &dyn std::fmt::Display| {
        AwsError::new("IncompleteBody", format!("The body of the request cannot be read: {error}."))
    };
    let (mut rest, mut content) = (body.as_slice(), Vec::with_capacity(body.len()));
    while !rest.is_empty() {
        let (taken, data) = decoder.decode(rest).map_err(|error| refused(&error))?;
        content.extend_from_slice(data);
        rest = rest.get(taken..).unwrap_or_default();
    }
    for (name, value) in decoder.finish().map_err(|error| refused(&error))? {
        let value = HeaderValue::from_str(&value).map_err(|error| refused(&error))?;
        // Other headers would say what no signature covers.
        if !name.starts_with("x-amz-checksum-") {
            return Err(refused(&format_args!("`{name}` does not belong behind it")));
        }
        let name = HeaderName::try_from(name).map_err(|error| refused(&error))?;
        headers.insert(name, value);
    }
    for name in [DECODED_LENGTH, "x-amz-trailer"] {
        headers.remove(name);
    }
    without_pieces(headers);
    Ok(content)
}

/// Takes the pieces out of the encodings that a body has.
fn without_pieces(headers: &mut HeaderMap) {
    let given = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let others = given.split(',').map(str::trim).filter(|one| !one.is_empty() && *one != "aws-chunked");
    let others = others.collect::<Vec<_>>().join(",");
    headers.remove(CONTENT_ENCODING);
    if let Some(value) = HeaderValue::from_str(&others).ok().filter(|value| !value.is_empty()) {
        headers.insert(CONTENT_ENCODING, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn pieces_are_put_together() {
        let mut given = headers(&[
            ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
            ("x-amz-decoded-content-length", "5"),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
            ("content-encoding", "gzip, aws-chunked"),
        ]);
        let body = b"3\r\nhel\r\n2\r\nlo\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n".to_vec();
        let check = PayloadCheck::UnsignedChunksAndTrailer;
        assert_eq!(whole(&mut given, body, Some(&check)).unwrap(), b"hello");
        assert_eq!(given["x-amz-checksum-crc32"], "NhCmhg==");
        assert_eq!(given["content-encoding"], "gzip");
        assert!(!given.contains_key("x-amz-trailer") && !given.contains_key("x-amz-decoded-content-length"));
    }

    #[test]
    fn what_trails_may_say_nothing_else() {
        for (length, body) in [
            ("5", "5\r\nhello\r\n0\r\nx-amz-acl:public-read\r\n\r\n"),
            ("4", "5\r\nhello\r\n0\r\n\r\n"),
            ("5", "5\r\nhello\r\n"),
            ("5", "hello"),
        ] {
            let mut given = headers(&[("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")]);
            given.insert("x-amz-decoded-content-length", HeaderValue::from_static(length));
            let check = PayloadCheck::UnsignedChunksAndTrailer;
            let error = whole(&mut given, body.as_bytes().to_vec(), Some(&check)).unwrap_err();
            assert_eq!(error.code, "IncompleteBody", "{body}");
        }
    }

    #[test]
    fn a_list_with_anything_else_in_it_is_refused() {
        let (parts, ()) = http::Request::new(()).into_parts();
        for document in [
            "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
            "<Delete><Object><Key>a</Key><ETag>x</ETag></Object></Delete>",
            "<Delete><Object><Key>a/../b</Key></Object></Delete>",
            "<Delete><Object><Key><Key>a</Key></Key></Object></Delete>",
            "<Delete><Object></Object></Delete>",
            "<Delete><Other/></Delete>",
            "<Other><Object><Key>a</Key></Object></Other>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><Delete><Object><Key>&b;</Key></Object></Delete>",
        ] {
            assert_eq!(deleted(&parts, document.as_bytes()).unwrap_err().code, "MalformedXML", "{document}");
        }
    }
}

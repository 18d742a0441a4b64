//! Signatures of the identity document: how an instance shows others that it is what it says.
//!
//! Of the three that AWS serves two are here: `signature` (RSA PKCS #1 with SHA-256, in base64) and `rsa2048` (a PKCS #7
//! message that holds the document, by a key of 2048 bits). The third, `pkcs7`, wants DSA, which the cryptography in use
//! rightly has not.
//! Source: "Instance identity documents for Amazon EC2 instances" and "Verify the instance identity document" in the
//! EC2 user guide; RFC 2315 for PKCS #7.

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters of a line of base64, as PEM has them.
const LINE_CHARS: usize = 64;

/// `signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// `data`, 1.2.840.113549.1.7.1.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `sha256`, 2.16.840.1.101.3.4.2.1.
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// Why documents cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No key could be made, or the stored one is none.
    #[error("the key of instance identities cannot be used")]
    Key,
    /// The stored certificate is none.
    #[error("the certificate of instance identities cannot be read")]
    Certificate,
}

/// Signs identity documents with a key of the region.
pub struct IdentitySigner {
    key: KeyPair,
    /// Whose key it is, as its certificate says: issuer and serial number.
    signer: Vec<u8>,
}

impl std::fmt::Debug for IdentitySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentitySigner(…)")
    }
}

/// A new key, as PKCS #8.
///
/// # Errors
/// Where the system's cryptography fails.
pub fn new_key() -> Result<Vec<u8>, IdentityError> {
    let key = KeyPair::generate(KeySize::Rsa2048).map_err(|_| IdentityError::Key)?;
    let encoded: Pkcs8V1Der<'_> = key.as_der().map_err(|_| IdentityError::Key)?;
    Ok(encoded.as_ref().to_vec())
}

/// A certificate in DER as PEM, for whoever verifies signatures.
pub fn certificate_pem(certificate: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines(certificate))
}

impl IdentitySigner {
    /// With this key (PKCS #8) and its certificate (DER).
    ///
    /// # Errors
    /// Where one of them is not what it should be.
    pub fn new(key: &[u8], certificate: &[u8]) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pkcs8(key).map_err(|_| IdentityError::Key)?;
        let signer = issuer_and_serial(certificate).ok_or(IdentityError::Certificate)?;
        Ok(Self { key, signer })
    }

    /// `signature`: none if the system's cryptography fails.
    pub(super) fn signature(&self, document: &str) -> Option<String> {
        Some(lines(&self.sign(document)?))
    }

    /// `rsa2048`: none if the system's cryptography fails.
    pub(super) fn message(&self, document: &str) -> Option<String> {
        let signature = self.sign(document)?;
        let algorithm = |name: &[u8]| der(SEQUENCE, &[&der(OBJECT, &[name]), &der(NULL, &[])]);
        let content = der(EXPLICIT_0, &[&der(OCTETS, &[document.as_bytes()])]);
        let version = der(INTEGER, &[&[1]]);
        let signer = der(
            SEQUENCE,
            &[&version, &self.signer, &algorithm(SHA256), &algorithm(RSA), &der(OCTETS, &[&signature])],
        );
        let signed = der(
            SEQUENCE,
            &[
                &version,
                &der(SET, &[&algorithm(SHA256)]),
                &der(SEQUENCE, &[&der(OBJECT, &[DATA]), &content]),
                &der(SET, &[&signer]),
            ],
        );
        let message = der(SEQUENCE, &[&der(OBJECT, &[SIGNED_DATA]), &der(EXPLICIT_0, &[&signed])]);
        Some(lines(&message))
    }

    fn sign(&self, document: &str) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed =
            self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), document.as_bytes(), &mut signature);
        signed.ok().map(|()| signature)
    }
}

/// One value of DER: its tag, the length of its parts, its parts.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut value = vec![tag];
    let bytes = content.len().to_be_bytes();
    let significant: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    match u8::try_from(content.len()) {
        Ok(short @ 0..0x80) => value.push(short),
        // At most eight bytes.
        Ok(_) | Err(_) => {
            value.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            value.extend(significant);
        }
    }
    value.extend(content);
    value
}

/// A value in DER: its tag, itself, its content, and what follows it.
type Value<'a> = (u8, &'a [u8], &'a [u8], &'a [u8]);

/// The first value.
fn read(bytes: &[u8]) -> Option<Value<'_>> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first & 0x80 {
        0 => (usize::from(*first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let of = length
                .iter()
                .try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)));
            (of?, rest)
        }
    };
    let (content, after) = rest.split_at_checked(length)?;
    let whole = bytes.get(..bytes.len() - after.len())?;
    Some((*tag, whole, content, after))
}

/// `IssuerAndSerialNumber` of a certificate (RFC 5280, section 4.1: version, serial number, algorithm, issuer, …).
fn issuer_and_serial(certificate: &[u8]) -> Option<Vec<u8>> {
    let (SEQUENCE, _, certificate, _) = read(certificate)? else { return None };
    let (SEQUENCE, _, fields, _) = read(certificate)? else { return None };
    let (EXPLICIT_0, _, _, fields) = read(fields)? else { return None };
    let (INTEGER, serial, _, fields) = read(fields)? else { return None };
    let (SEQUENCE, _, _, fields) = read(fields)? else { return None };
    let (SEQUENCE, issuer, _, _) = read(fields)? else { return None };
    Some(der(SEQUENCE, &[issuer, serial]))
}

/// Base64 in lines.
fn lines(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut broken = String::with_capacity(text.len() + text.len() / LINE_CHARS);
    for (position, letter) in text.chars().enumerate() {
        if position > 0 && position % LINE_CHARS == 0 {
            broken.push('\n');
        }
        broken.push(letter);
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        assert_eq!(der(OCTETS, &[b"ab", b"c"]), b"\x04\x03abc");
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 70_000] {
            let content = vec![7; length];
            let value = der(OCTETS, &[&content]);
            assert_eq!(
                read(&[&value[..], b"more"].concat()),
                Some((OCTETS, &value[..], &content[..], &b"more"[..]))
            );
        }
        assert_eq!(der(OCTETS, &[&[0; 0x80]])[..3], [OCTETS, 0x81, 0x80]);
    }

    #[test]
    fn what_is_cut_short_is_no_value() {
        for bytes in [&b""[..], b"\x04", b"\x04\x02a", b"\x04\x81", b"\x04\x82\xff\xff", b"\x04\xff"] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
        assert_eq!(issuer_and_serial(b"\x30\x02\x30\x00"), None);
        assert_eq!(IdentitySigner::new(b"no key", b"").err(), Some(IdentityError::Key));
    }
}

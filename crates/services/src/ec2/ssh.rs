//! SSH keys as EC2 makes, reads and fingerprints them.
//!
//! Private halves are given out once and never kept. Formats: RFC 4253 section 6.6 and RFC 8709 for public keys,
//! OpenSSH's PROTOCOL.key for private ed25519 keys, PKCS#1 (RFC 8017, A.1.2) for private RSA keys.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaPublicKeyComponents};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::{Digest as _, Md5};

/// The kinds of keys that EC2 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, 2048 bits when made here.
    Rsa,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }

    /// SSH's word for it.
    fn algorithm(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::Ed25519 => "ssh-ed25519",
        }
    }
}

/// A key pair that was made just now.
pub struct NewKey {
    /// The public half, as a line of `authorized_keys` without its comment.
    pub public_line: String,
    /// The private half, as a file that `ssh -i` takes.
    pub private_pem: String,
    /// AWS's fingerprint of a key that it made.
    pub fingerprint: String,
}

/// Why a key cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The library refused.
    #[error("no key could be made")]
    NotMade,
    /// The text is not a public key.
    #[error("the key is not in valid OpenSSH public key format")]
    NotAPublicKey,
    /// A kind that EC2 does not take.
    #[error("keys of the kind `{0}` are not taken, only RSA and ED25519 keys")]
    Kind(String),
    /// An RSA key of a length that EC2 does not take.
    #[error("RSA keys have 1024, 2048 or 4096 bits, not `{0}`")]
    Length(usize),
}

/// Makes a key pair.
pub fn generate(kind: KeyKind, name: &str) -> Result<NewKey, KeyError> {
    match kind {
        KeyKind::Rsa => generate_rsa(name),
        KeyKind::Ed25519 => generate_ed25519(name),
    }
}

fn generate_rsa(name: &str) -> Result<NewKey, KeyError> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::NotMade)?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
    let pkcs1 = pkcs1_of(pkcs8.as_ref()).ok_or(KeyError::NotMade)?;
    let (modulus, exponent) = rsa_numbers(pair.public_key().as_ref()).ok_or(KeyError::NotMade)?;
    let blob = rsa_blob(exponent, modulus);
    Ok(NewKey {
        public_line: line(KeyKind::Rsa, &blob, name),
        private_pem: pem("RSA PRIVATE KEY", pkcs1, 64),
        // "If you created the key pair using Amazon EC2: the SHA-1 digest of the DER encoded private key."
        fingerprint: hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, pkcs8.as_ref()).as_ref()),
    })
}

fn generate_ed25519(name: &str) -> Result<NewKey, KeyError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
    let seed = pair.seed().map_err(|_| KeyError::NotMade)?;
    let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::NotMade)?;
    let public = pair.public_key().as_ref();
    let blob = ed25519_blob(public);
    let private = openssh_private(&blob, public, seed.as_ref(), name)?;
    Ok(NewKey {
        public_line: line(KeyKind::Ed25519, &blob, name),
        private_pem: pem("OPENSSH PRIVATE KEY", &private, 70),
        fingerprint: sha256(&blob),
    })
}

/// A public key that somebody brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedKey {
    /// What it is.
    pub kind: KeyKind,
    /// As a line of `authorized_keys`.
    pub public_line: String,
    /// AWS's fingerprint of a key that was brought.
    pub fingerprint: String,
}

/// Reads a line of OpenSSH's format.
pub fn import(material: &[u8]) -> Result<ImportedKey, KeyError> {
    let text = std::str::from_utf8(material).map_err(|_| KeyError::NotAPublicKey)?.trim();
    let mut words = text.split_ascii_whitespace();
    let (Some(algorithm), Some(encoded)) = (words.next(), words.next()) else {
        return Err(KeyError::NotAPublicKey);
    };
    let kind = match algorithm {
        "ssh-rsa" => KeyKind::Rsa,
        "ssh-ed25519" => KeyKind::Ed25519,
        other if other.starts_with("ssh-") || other.starts_with("ecdsa-") || other.starts_with("sk-") => {
            return Err(KeyError::Kind(other.to_owned()));
        }
        _ => return Err(KeyError::NotAPublicKey),
    };
    let blob = BASE64.decode(encoded).map_err(|_| KeyError::NotAPublicKey)?;
    let mut fields = Fields(&blob);
    if fields.next() != Some(algorithm.as_bytes()) {
        return Err(KeyError::NotAPublicKey);
    }
    let fingerprint = match kind {
        KeyKind::Rsa => imported_rsa(&mut fields)?,
        KeyKind::Ed25519 => match fields.next() {
            Some(key) if key.len() == 32 => sha256(&blob),
            Some(_) | None => return Err(KeyError::NotAPublicKey),
        },
    };
    if !fields.0.is_empty() || text.contains(['\r', '\n']) {
        return Err(KeyError::NotAPublicKey);
    }
    Ok(ImportedKey { kind, public_line: text.to_owned(), fingerprint })
}

/// "If you imported an RSA key pair: the MD5 public key fingerprint, as specified in section 4 of RFC 4716", which
/// AWS takes of the DER form.
fn imported_rsa(fields: &mut Fields<'_>) -> Result<String, KeyError> {
    let (Some(exponent), Some(modulus)) = (fields.next(), fields.next()) else {
        return Err(KeyError::NotAPublicKey);
    };
    let modulus = trim(modulus);
    let bits = modulus.len() * 8;
    if !matches!(bits, 1024 | 2048 | 4096) {
        return Err(KeyError::Length(bits));
    }
    let components = RsaPublicKeyComponents { n: modulus, e: trim(exponent) };
    let der: PublicKeyX509Der<'_> = components.as_der().map_err(|_| KeyError::NotAPublicKey)?;
    Ok(hex(&Md5::digest(der.as_ref())))
}

fn trim(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The fields of SSH's wire format: a length of four bytes, and as many bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = (rest.get(..length)?, rest.get(length..)?);
        self.0 = rest;
        Some(field)
    }
}

fn put(blob: &mut Vec<u8>, field: &[u8]) {
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    blob.extend(length.to_be_bytes());
    blob.extend(field);
}

/// A positive number: a zero byte keeps the highest bit from being a sign.
fn put_number(blob: &mut Vec<u8>, number: &[u8]) {
    if number.first().is_some_and(|first| *first >= 0x80) {
        put(blob, &[&[0], number].concat());
    } else {
        put(blob, number);
    }
}

fn rsa_blob(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, KeyKind::Rsa.algorithm().as_bytes());
    put_number(&mut blob, exponent);
    put_number(&mut blob, modulus);
    blob
}

fn ed25519_blob(public: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, KeyKind::Ed25519.algorithm().as_bytes());
    put(&mut blob, public);
    blob
}

fn line(kind: KeyKind, blob: &[u8], name: &str) -> String {
    let comment: String = name.chars().filter(|letter| !letter.is_control()).collect();
    format!("{} {} {comment}", kind.algorithm(), BASE64.encode(blob)).trim_end().to_owned()
}

/// An unencrypted key file of OpenSSH.
fn openssh_private(blob: &[u8], public: &[u8], seed: &[u8], name: &str) -> Result<Vec<u8>, KeyError> {
    let mut check = [0; 4];
    SystemRandom::new().fill(&mut check).map_err(|_| KeyError::NotMade)?;
    let mut secret = Vec::new();
    secret.extend(check);
    secret.extend(check);
    put(&mut secret, KeyKind::Ed25519.algorithm().as_bytes());
    put(&mut secret, public);
    put(&mut secret, &[seed, public].concat());
    put(&mut secret, name.as_bytes());
    // Padding of 1, 2, 3 … up to the block size of the cipher "none".
    secret.extend((1..=7_u8).take((8 - secret.len() % 8) % 8));
    let mut file = b"openssh-key-v1\0".to_vec();
    put(&mut file, b"none");
    put(&mut file, b"none");
    put(&mut file, b"");
    file.extend(1_u32.to_be_bytes());
    put(&mut file, blob);
    put(&mut file, &secret);
    Ok(file)
}

/// The PKCS#1 key inside a PKCS#8 one: the third element of the sequence, an octet string.
fn pkcs1_of(pkcs8: &[u8]) -> Option<&[u8]> {
    let (0x30, sequence, _) = element(pkcs8)? else { return None };
    let (0x02, _, rest) = element(sequence)? else { return None };
    let (0x30, _, rest) = element(rest)? else { return None };
    let (0x04, key, _) = element(rest)? else { return None };
    Some(key)
}

/// The modulus and the exponent of a PKCS#1 public key, a sequence of the two.
fn rsa_numbers(public: &[u8]) -> Option<(&[u8], &[u8])> {
    let (0x30, sequence, _) = element(public)? else { return None };
    let (0x02, modulus, rest) = element(sequence)? else { return None };
    let (0x02, exponent, _) = element(rest)? else { return None };
    Some((trim(modulus), trim(exponent)))
}

/// The tag and content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let digits = rest.get(..count).filter(|digits| (1..=4).contains(&digits.len()))?;
        let length = digits.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
        (length, rest.get(count..)?)
    };
    Some((*tag, rest.get(..length)?, rest.get(length..)?))
}

fn pem(label: &str, der: &[u8], width: usize) -> String {
    let encoded = BASE64.encode(der);
    let lines = encoded.as_bytes().chunks(width).map(|line| String::from_utf8_lossy(line).into_owned());
    let lines = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn sha256(blob: &[u8]) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, blob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_can_be_brought_again() {
        for kind in [KeyKind::Rsa, KeyKind::Ed25519] {
            let made = generate(kind, "somebody's laptop").unwrap();
            let brought = import(made.public_line.as_bytes()).unwrap();
            assert_eq!(brought.kind, kind);
            assert_eq!(brought.public_line, made.public_line);
            assert!(made.public_line.ends_with(" somebody's laptop"));
        }
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let made = generate(KeyKind::Ed25519, "x").unwrap().public_line;
        let mut words = made.split(' ').map(str::to_owned).collect::<Vec<_>>();
        words[1].truncate(40);
        for text in ["", "ssh-rsa", "ssh-rsa AAAA", "dog AAAA", "ssh-ed25519 !", &words.join(" ")] {
            assert_eq!(import(text.as_bytes()), Err(KeyError::NotAPublicKey), "{text}");
        }
        assert_eq!(import(b"ssh-dss AAAA"), Err(KeyError::Kind("ssh-dss".to_owned())));
        assert_eq!(import(&[0xff, 0xfe]), Err(KeyError::NotAPublicKey));
    }

    #[test]
    fn foreign_bytes_never_panic() {
        let made = generate(KeyKind::Ed25519, "x").unwrap().public_line;
        for length in 0..made.len() {
            let _ = import(&made.as_bytes()[..length]);
        }
        assert_eq!(element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(element(&[0x30]), None);
    }
}

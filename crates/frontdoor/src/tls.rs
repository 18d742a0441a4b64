//! The region's own certificate authority, and the certificates that it makes for the names asked for.
//!
//! INVARIANT: the private key of the authority leaves only as the PEM text that its maker stores; nothing prints it.
//! INVARIANT: the number of certificates kept is bounded: one for each configured name, one for everything else, and
//! some for names under `localhost`, which clients match with no wildcard, and below endpoints' names, where a wildcard
//! stands for what is below one of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::host::{HostNames, bare};
use crate::others::OtherServices;

const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 90;
/// How many certificates are kept besides those of the configured names.
const OTHERS_MAX: usize = 256;
/// A certificate is made anew long before it ends.
const LEAF_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no authority or no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key could not be made or read.
    #[error("the certificate or its key cannot be used: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library does not take it.
    #[error("tls cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Not PEM.
    #[error("the certificate is not PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    /// The certificate stored is not that of the key stored, or not of this region.
    #[error("the stored certificate does not belong to {0}")]
    Foreign(&'static str),
}

/// The region's certificate authority.
pub struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("certificate", &self.certificate_pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Where no key can be made.
    pub fn generate(region: &str) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let parameters = authority_parameters(region);
        let certificate = parameters.self_signed(&key)?;
        let (certificate_pem, certificate) = (certificate.pem(), certificate.der().clone());
        Ok(Self { certificate_pem, certificate, issuer: Issuer::new(parameters, key) })
    }

    /// The one that was stored.
    ///
    /// # Errors
    /// When the texts are not what [`certificate_pem`](Self::certificate_pem) and [`key_pem`](Self::key_pem) gave for
    /// this region.
    pub fn from_pem(region: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key_pem)?;
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(TlsError::Pem)?;
        let holds = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
        if !holds(&key.subject_public_key_info()) {
            return Err(TlsError::Foreign("the stored key"));
        }
        if !holds(common_name(region).as_bytes()) {
            return Err(TlsError::Foreign("this region"));
        }
        let issuer = Issuer::new(authority_parameters(region), key);
        Ok(Self { certificate_pem: certificate_pem.to_owned(), certificate, issuer })
    }

    /// The certificate: what clients are told to trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, to be stored where only its owner can read it.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate, in DER, for a key that signs texts (RSA, as PKCS #8).
    ///
    /// # Errors
    /// Where the key is none.
    pub fn certify_signer(&self, name: &str, key: &[u8]) -> Result<Vec<u8>, TlsError> {
        let key =
            KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key), &rcgen::PKCS_RSA_SHA256)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = named(name);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        (parameters.not_before, parameters.not_after) = validity(AUTHORITY_DAYS);
        Ok(parameters.signed_by(&key, &self.issuer)?.der().to_vec())
    }

    fn leaf(&self, names: &[String]) -> Result<CertifiedKey, TlsError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(names)?;
        parameters.distinguished_name = named(names.first().map_or("localhost", String::as_str));
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        (parameters.not_before, parameters.not_after) = validity(LEAF_DAYS);
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = aws_lc_rs::sign::any_supported_type(&private)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone(), self.certificate.clone()], signer))
    }
}

/// The authority has a name of its own: with one that a leaf shares, clients take the leaf for self-signed.
fn common_name(region: &str) -> String {
    format!("Postern {region} CA")
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A common name has at most 64 characters (RFC 5280, upper bounds); clients look at the alternative names.
    name.push(DnType::CommonName, common_name.chars().take(64).collect::<String>());
    name
}

fn authority_parameters(region: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named(&common_name(region));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (parameters.not_before, parameters.not_after) = validity(AUTHORITY_DAYS);
    parameters
}

/// From yesterday, for clocks that are behind.
fn validity(days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - time::Duration::days(1), now + time::Duration::days(days))
}

/// Certificates by the name asked for.
struct Certificates {
    authority: Arc<Authority>,
    names: HostNames,
    /// Who has further names, which come and go.
    services: Arc<dyn OtherServices>,
    /// What the certificate for all other names says: `localhost` and addresses.
    others: Vec<String>,
    made: Mutex<BTreeMap<String, (Instant, Arc<CertifiedKey>)>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Certificates {
    fn certificate(&self, asked: Option<&str>) -> Result<Arc<CertifiedKey>, TlsError> {
        let asked = asked.map(bare);
        let slot = asked.as_deref().map_or_else(String::new, |name| {
            let under_localhost = || name.ends_with(".localhost").then(|| name.to_owned());
            let known = self.names.certified(name).map(str::to_owned);
            let of_others = || {
                let others = self.services.hosts();
                others.iter().find_map(|(_, names)| names.certified(name).map(str::to_owned))
            };
            known
                .or_else(of_others)
                .or_else(|| self.names.certified_below(name))
                .or_else(under_localhost)
                .unwrap_or_default()
        });
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, certificate)) = made.get(&slot)
            && at.elapsed() < LEAF_RENEWAL
        {
            return Ok(Arc::clone(certificate));
        }
        let names = if slot.is_empty() { self.others.clone() } else { vec![slot.clone()] };
        let certificate = Arc::new(self.authority.leaf(&names)?);
        if made.len() >= self.names.iter().count() + OTHERS_MAX {
            made.clear();
        }
        made.insert(slot, (Instant::now(), Arc::clone(&certificate)));
        Ok(certificate)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.certificate(hello.server_name()) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::error!(%error, "no certificate could be made");
                None
            }
        }
    }
}

/// TLS for these names and those under `localhost`; whoever asks for another one, or none, as clients do that connect
/// to an address, gets the certificate of `localhost`, of `own_names` and of `addresses`.
///
/// # Errors
/// Where the TLS library refuses its own defaults.
pub fn server_config(
    authority: Arc<Authority>,
    names: HostNames,
    services: Arc<dyn OtherServices>,
    own_names: &HostNames,
    addresses: &[IpAddr],
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut others = vec!["localhost".to_owned()];
    others.extend(own_names.iter().filter(|name| *name != "localhost").map(str::to_owned));
    others.extend(addresses.iter().filter(|address| !address.is_unspecified()).map(IpAddr::to_string));
    let certificates = Certificates { authority, names, services, others, made: Mutex::default() };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_comes_back_from_its_texts() {
        let authority = Authority::generate("us-east-1").unwrap();
        let key = authority.key_pem();
        let again = Authority::from_pem("us-east-1", authority.certificate_pem(), &key).unwrap();
        assert_eq!(again.certificate_pem(), authority.certificate_pem());
        assert_eq!(again.key_pem(), key);
        assert!(!format!("{authority:?}").contains("PRIVATE KEY"));
    }

    #[test]
    fn texts_that_do_not_belong_together_are_refused() {
        let (one, other) =
            (Authority::generate("us-east-1").unwrap(), Authority::generate("us-east-1").unwrap());
        let mixed = Authority::from_pem("us-east-1", one.certificate_pem(), &other.key_pem());
        assert!(matches!(mixed, Err(TlsError::Foreign("the stored key"))));
        let moved = Authority::from_pem("eu-west-1", one.certificate_pem(), &one.key_pem());
        assert!(matches!(moved, Err(TlsError::Foreign("this region"))));
        assert!(Authority::from_pem("us-east-1", "nothing", &one.key_pem()).is_err());
        assert!(Authority::from_pem("us-east-1", one.certificate_pem(), "nothing").is_err());
    }

    #[test]
    fn certificates_are_made_once_for_each_name() {
        let authority = Arc::new(Authority::generate("us-east-1").unwrap());
        let names = HostNames::of_s3("us-east-1");
        let certificates = Certificates {
            authority,
            names,
            services: Arc::new(crate::others::NoOthers),
            others: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            made: Mutex::default(),
        };
        let of = |name: Option<&str>| certificates.certificate(name).unwrap();
        assert!(Arc::ptr_eq(
            &of(Some("a.s3.us-east-1.amazonaws.com")),
            &of(Some("b.s3.us-east-1.amazonaws.com"))
        ));
        assert!(Arc::ptr_eq(&of(None), &of(Some("who.knows"))));
        for n in 0..100 {
            of(Some(&format!("{n}.example")));
        }
        assert_eq!(certificates.made.lock().unwrap().len(), 2);
        for n in 0..200 {
            of(Some(&format!("bucket-{n}.localhost")));
            of(Some(&format!("bucket.vpce-{n}.s3.us-east-1.vpce.amazonaws.com")));
        }
        assert!(certificates.made.lock().unwrap().len() <= OTHERS_MAX + 8);
    }
}

//! Who signed a request that is there as a whole, by its signature and the directory.

use http::request::Parts;
use postern_wire::AwsError;
use postern_wire::error::ErrorStyle;
use postern_wire::sigv4::{self, Payload, PayloadCheck, Rules, SecretAccessKey};

use crate::authorise::Directory;
use crate::caller::{Caller, CredentialError};
use crate::route::signed_parts;

/// The caller of a request whose body is there as a whole.
///
/// # Errors
/// The refusal in the service's words.
pub fn authenticate(
    directory: &dyn Directory,
    parts: &Parts,
    body: &[u8],
    rules: &Rules<'_>,
    style: ErrorStyle,
) -> Result<Caller, AwsError> {
    authenticate_pieces(directory, parts, body, rules, style).map(|(caller, _)| caller)
}

/// The same of a request to S3, whose body may come in pieces: what is left to check about them, where signatures are
/// checked.
///
/// # Errors
/// The refusal in the service's words.
pub fn authenticate_pieces(
    directory: &dyn Directory,
    parts: &Parts,
    body: &[u8],
    rules: &Rules<'_>,
    style: ErrorStyle,
) -> Result<(Caller, Option<PayloadCheck>), AwsError> {
    let signed = signed_parts(parts);
    let claim = sigv4::parse(&signed).map_err(|error| error.to_aws(style))?;
    let claim = claim.ok_or_else(|| sigv4::CredentialError::Missing.to_aws(style))?;
    let known = directory.credential(&claim.access_key_id, claim.session_token.as_deref());
    let mut known = known.map_err(|error| worded(error).to_aws(style))?;
    known.caller.traits.hear(&parts.headers);
    if !directory.checks_signatures() {
        return Ok((known.caller, None));
    }
    let secret = SecretAccessKey::new(known.secret);
    let verified = claim.verify(&signed, Payload::Body(body), rules, &secret, directory.now());
    let verified = verified.map_err(|error| error.to_aws(style))?;
    Ok((known.caller, Some(verified.payload().clone())))
}

fn worded(error: CredentialError) -> sigv4::CredentialError {
    match error {
        CredentialError::Unknown(access_key_id) => sigv4::CredentialError::UnknownKey { access_key_id },
        CredentialError::InvalidToken(_) => sigv4::CredentialError::Token,
        CredentialError::Expired(_) => sigv4::CredentialError::TokenExpired,
    }
}

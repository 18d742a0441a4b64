//! What an endpoint gets: the JSON documents, and their signatures.
//!
//! From "Parsing message formats" and "Verifying the signatures of Amazon SNS messages" in the developer guide. Messages
//! have signature version 2 (SHA256) alone: the cryptography in use rightly makes no signatures with SHA1. The URLs are
//! those of the region's own API as programs on its machine reach it, since AWS's names lead to AWS from there.

use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_model::sns::{Subscription, Topic};
use postern_wire::Timestamp;
use postern_wire::query::percent;
use serde::Serialize;

use super::{Attribute, Message};
use crate::imds::identity::{self, IdentityError};

/// Signs messages with a key of the region.
pub struct Signer {
    key: KeyPair,
    certificate_pem: String,
    certificate_name: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// With this key (PKCS #8) and its certificate (DER).
    ///
    /// # Errors
    /// Where the key is none.
    pub fn new(key: &[u8], certificate: &[u8]) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pkcs8(key).map_err(|_| IdentityError::Key)?;
        let digest = postern_wire::crypto::hex(&postern_wire::crypto::sha256(certificate));
        let short = digest.get(..32).unwrap_or_default();
        Ok(Self {
            key,
            certificate_pem: identity::certificate_pem(certificate),
            certificate_name: format!("SimpleNotificationService-{short}.pem"),
        })
    }

    /// The certificate, for whoever verifies.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// What stands at the end of the certificate's URL.
    pub fn certificate_name(&self) -> &str {
        &self.certificate_name
    }

    /// Names and values, each on a line of its own.
    fn sign(&self, parts: &[(&str, &str)]) -> Option<String> {
        let text: String = parts.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
        Some(STANDARD.encode(signature))
    }
}

/// What messages are made with.
#[derive(Debug)]
pub struct Sender {
    /// Where the region's API is, for those who get messages: `http://127.0.0.1:4566`.
    pub api: String,
    /// Who signs.
    pub signer: Signer,
}

/// The headers that tell what a message is, and the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// What is posted.
    pub body: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Notification<'a> {
    r#type: &'static str,
    message_id: &'a str,
    topic_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    message: &'a str,
    timestamp: &'a str,
    signature_version: &'static str,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    #[serde(rename = "UnsubscribeURL")]
    unsubscribe_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<&'a str, ShownAttribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ShownAttribute<'a> {
    r#type: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Confirmation<'a> {
    r#type: &'static str,
    message_id: &'a str,
    token: &'a str,
    topic_arn: &'a str,
    message: &'a str,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: &'a str,
    timestamp: &'a str,
    signature_version: &'static str,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
}

const VERSION: &str = "2";
const NOTIFICATION: &str = "Notification";
const CONFIRMATION: &str = "SubscriptionConfirmation";

impl Sender {
    fn certificate_url(&self) -> String {
        format!("{}/_postern/{}", self.api, self.signer.certificate_name())
    }

    /// A message to one subscriber; none if the system's cryptography fails.
    pub fn notification(
        &self,
        topic: &Topic,
        id: &str,
        subscription: &Subscription,
        message: &Message,
    ) -> Option<Envelope> {
        let arn = topic.subscription_arn(id);
        let mut headers = headers(NOTIFICATION, &message.id, &topic.arn);
        headers.push(("x-amz-sns-subscription-arn", arn.clone()));
        let text = message.for_endpoint(&subscription.endpoint);
        if subscription.raw {
            headers.push(("x-amz-sns-rawdelivery", "true".to_owned()));
            return Some(Envelope { headers, body: text.to_owned() });
        }
        let timestamp = iso(message.at);
        let mut signed = vec![("Message", text), ("MessageId", &message.id)];
        signed.extend(message.subject.as_deref().map(|subject| ("Subject", subject)));
        signed.extend([("Timestamp", timestamp.as_str()), ("TopicArn", &topic.arn), ("Type", NOTIFICATION)]);
        let signature = self.signer.sign(&signed)?;
        let attributes = message.attributes.iter();
        let document = Notification {
            r#type: NOTIFICATION,
            message_id: &message.id,
            topic_arn: &topic.arn,
            subject: message.subject.as_deref(),
            message: text,
            timestamp: &timestamp,
            signature_version: VERSION,
            signature,
            signing_cert_url: self.certificate_url(),
            unsubscribe_url: format!(
                "{}/?Action=Unsubscribe&Version=2010-03-31&SubscriptionArn={}",
                self.api,
                percent::encode(arn.as_bytes())
            ),
            message_attributes: attributes
                .map(|(name, Attribute { data_type, value })| {
                    (name.as_str(), ShownAttribute { r#type: data_type, value })
                })
                .collect(),
        };
        Some(Envelope { headers, body: serde_json::to_string_pretty(&document).ok()? })
    }

    /// The question whether an endpoint wants a subscription; none if the system's cryptography fails.
    pub fn confirmation(&self, topic: &Topic, message_id: &str, token: &str, at: u64) -> Option<Envelope> {
        let arn = &topic.arn;
        let subscribe_url = format!(
            "{}/?Action=ConfirmSubscription&Version=2010-03-31&TopicArn={}&Token={token}",
            self.api,
            percent::encode(arn.as_bytes())
        );
        let message = format!(
            "You have chosen to subscribe to the topic {arn}.\nTo confirm the subscription, visit the SubscribeURL \
             included in this message."
        );
        let timestamp = iso(at);
        let signature = self.signer.sign(&[
            ("Message", &message),
            ("MessageId", message_id),
            ("SubscribeURL", &subscribe_url),
            ("Timestamp", &timestamp),
            ("Token", token),
            ("TopicArn", arn),
            ("Type", CONFIRMATION),
        ])?;
        let document = Confirmation {
            r#type: CONFIRMATION,
            message_id,
            token,
            topic_arn: arn,
            message: &message,
            subscribe_url: &subscribe_url,
            timestamp: &timestamp,
            signature_version: VERSION,
            signature,
            signing_cert_url: self.certificate_url(),
        };
        let body = serde_json::to_string_pretty(&document).ok()?;
        Some(Envelope { headers: headers(CONFIRMATION, message_id, arn), body })
    }
}

fn headers(kind: &str, message_id: &str, topic: &str) -> Vec<(&'static str, String)> {
    vec![
        ("x-amz-sns-message-type", kind.to_owned()),
        ("x-amz-sns-message-id", message_id.to_owned()),
        ("x-amz-sns-topic-arn", topic.to_owned()),
    ]
}

fn iso(milliseconds: u64) -> String {
    Timestamp::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX)).iso_millis()
}

//! Messages: read, checked, handed to those who take them to subscribers.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_wire::AwsError;
use postern_wire::sns::{MessageAttributeMapEntry, PublishInput, PublishResponse};

use super::{Call, Outcome, error};

/// "The message … can contain up to 262,144 bytes", attributes included.
const MAX_MESSAGE_BYTES: usize = 262_144;
/// "Less than 100 characters".
const MAX_SUBJECT_CHARS: usize = 100;
/// How long the name of an attribute may be.
const MAX_NAME_CHARS: usize = 256;

/// An attribute of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// `String`, `Number`, `Binary`, `String.Array`, or one of the first three with something of the sender's behind a dot.
    pub data_type: String,
    /// The value; bytes in base64.
    pub value: String,
}

/// What is published to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// What it is about.
    pub subject: Option<String>,
    /// What it says, to those for whom nothing else stands in `by_protocol`.
    pub text: String,
    /// What it says to some.
    pub by_protocol: BTreeMap<String, String>,
    /// What else it says.
    pub attributes: BTreeMap<String, Attribute>,
    /// When it was published: milliseconds since 1970.
    pub at: u64,
}

impl Message {
    /// A message that is the same for everybody.
    pub fn new(subject: Option<String>, text: String, at: u64) -> Self {
        let id = postern_frontdoor::request_id();
        Self { id, subject, text, by_protocol: BTreeMap::new(), attributes: BTreeMap::new(), at }
    }

    /// What it says to an endpoint.
    pub fn for_endpoint(&self, endpoint: &str) -> &str {
        let protocol = endpoint.split(':').next().unwrap_or_default();
        self.by_protocol.get(protocol).unwrap_or(&self.text)
    }
}

/// "Subjects must be ASCII text that begins with a letter, number, or punctuation mark; must not include line breaks or
/// control characters; and must be less than 100 characters long."
fn check_subject(subject: &str) -> Outcome<()> {
    let begins = subject.starts_with(|c: char| c.is_ascii_graphic());
    let plain = subject.chars().all(|c| c.is_ascii() && !c.is_ascii_control());
    let fits = begins && plain && subject.len() <= MAX_SUBJECT_CHARS;
    if fits { Ok(()) } else { Err(error::invalid("Subject")) }
}

/// With `MessageStructure` `json` the message is an object with a text for each protocol, `default` among them.
fn by_protocol(message: &str) -> Outcome<(String, BTreeMap<String, String>)> {
    let invalid = |why: &str| error::invalid_because("Message Structure", why);
    let texts: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(message).map_err(|_| invalid("JSON message body failed to parse"))?;
    let text = |(protocol, value): (String, serde_json::Value)| match value {
        serde_json::Value::String(text) => Some((protocol, text)),
        // "Non-string values will cause the key to be ignored."
        _ => None,
    };
    let mut texts: BTreeMap<String, String> = texts.into_iter().filter_map(text).collect();
    let default = texts.remove("default");
    Ok((default.ok_or_else(|| invalid("No default entry in JSON message body"))?, texts))
}

fn attributes(entries: Vec<MessageAttributeMapEntry>) -> Outcome<BTreeMap<String, Attribute>> {
    let mut attributes = BTreeMap::new();
    for MessageAttributeMapEntry { key, value } in entries {
        let name = key.unwrap_or_default();
        let refused = |why: &str| {
            let message = format!("The message attribute '{name}' {why}");
            AwsError::new("ParameterValueInvalid", message)
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(fits) {
            return Err(refused("has a name that none can have"));
        }
        let value = value.unwrap_or_default();
        let data_type = value.data_type.unwrap_or_default();
        let base = data_type.split('.').next().unwrap_or_default();
        let text = match (base, value.string_value, value.binary_value) {
            ("String", Some(text), None) => text,
            ("Number", Some(text), None) if text.parse::<f64>().is_ok_and(f64::is_finite) => text,
            ("Number", Some(_), None) => return Err(refused("is not a number")),
            ("Binary", None, Some(bytes)) => STANDARD.encode(bytes.0),
            ("String" | "Number" | "Binary", _, _) => {
                return Err(refused("has not the one value of its type"));
            }
            _ => return Err(refused("has a type that none can have")),
        };
        if text.is_empty() {
            return Err(refused("has an empty value"));
        }
        if attributes.contains_key(&name) {
            return Err(refused("is given more than once"));
        }
        attributes.insert(name, Attribute { data_type, value: text });
    }
    Ok(attributes)
}

impl Call<'_> {
    pub(super) fn publish(&self, request: PublishInput) -> Outcome<PublishResponse> {
        let PublishInput {
            topic_arn,
            target_arn,
            phone_number,
            message,
            subject,
            message_structure,
            message_attributes,
            message_deduplication_id,
            message_group_id,
        } = request;
        if phone_number.is_some() {
            return Err(error::unsupported("PhoneNumber", "a telephone"));
        }
        if message_deduplication_id.is_some() || message_group_id.is_some() {
            return Err(error::unsupported("MessageGroupId", "a first-in-first-out topic"));
        }
        if topic_arn.is_some() && target_arn.is_some() {
            return Err(error::invalid_because("TargetArn", "TopicArn is given as well"));
        }
        let topic = self.topic(topic_arn.or(target_arn).as_deref())?;
        subject.as_deref().map_or(Ok(()), check_subject)?;
        let message = message.unwrap_or_default();
        if message.is_empty() {
            return Err(error::invalid("Empty message"));
        }
        let attributes = attributes(message_attributes)?;
        let extra: usize =
            attributes.iter().map(|(name, a)| name.len() + a.data_type.len() + a.value.len()).sum();
        if message.len() + extra > MAX_MESSAGE_BYTES {
            return Err(error::invalid("Message too long"));
        }
        let (text, by_protocol) = match message_structure.as_deref() {
            None => (message, BTreeMap::new()),
            Some("json") => by_protocol(&message)?,
            Some(_) => return Err(error::invalid("MessageStructure")),
        };
        let at = self.commands.now_milliseconds();
        let message = Message { by_protocol, attributes, ..Message::new(subject, text, at) };
        let message_id = Some(message.id.clone());
        self.deliveries.publish(&topic, message);
        Ok(PublishResponse { message_id, sequence_number: None })
    }
}

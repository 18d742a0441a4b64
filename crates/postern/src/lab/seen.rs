//! What came of doing a step once: the document that paths lead into, and the text that is searched.

use std::fmt::Write;

use serde_json::{Value, json};

use super::path::Path;
use super::target::Ran;
use super::template::plain;

/// Members of responses that are never shown and never searched; they can be saved.
const SECRETS: [&str; 3] = ["KeyMaterial", "SecretAccessKey", "SessionToken"];

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// An API's response.
    Response(Value),
    /// An API's refusal.
    Refused { code: String, message: String },
    /// A program's end.
    Ran(Ran),
    /// An explanation.
    Trace(Value),
    /// The records that fit, in order, and how many there were in all.
    Records { fitting: Vec<Value>, of: usize },
    /// Nothing: it could not be done, there is no such instance perhaps.
    Nothing(String),
    /// Nothing: the region, or the way to it, failed.
    Unreachable(String),
}

impl Seen {
    /// Whether the action was done, so that it may have made something.
    pub(super) fn was_done(&self) -> bool {
        match self {
            Self::Response(_) | Self::Ran(_) | Self::Trace(_) | Self::Records { .. } => true,
            Self::Refused { .. } | Self::Nothing(_) | Self::Unreachable(_) => false,
        }
    }

    /// What paths lead into; of several records, each.
    pub(super) fn documents(&self) -> Vec<Value> {
        match self {
            Self::Response(document) | Self::Trace(document) => vec![document.clone()],
            Self::Refused { code, message } => vec![json!({"Code": code, "Message": message})],
            Self::Ran(ran) => vec![program_document(ran)],
            Self::Records { fitting, of: _ } => fitting.clone(),
            Self::Nothing(_) | Self::Unreachable(_) => Vec::new(),
        }
    }

    /// What is searched for texts; of several records, each.
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::Records { fitting, of: _ } => fitting.iter().map(pretty).collect(),
            Self::Response(_) | Self::Refused { .. } | Self::Ran(_) | Self::Trace(_) => vec![self.text()],
            Self::Nothing(_) | Self::Unreachable(_) => Vec::new(),
        }
    }

    /// As people read it where nothing differs: JSON in a line each.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Response(document) => without_secrets(document).to_string(),
            Self::Records { fitting, of: _ } => {
                fitting.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
            }
            Self::Refused { .. }
            | Self::Ran(_)
            | Self::Trace(_)
            | Self::Nothing(_)
            | Self::Unreachable(_) => self.text(),
        }
    }

    /// Whether it is JSON, of which only what was looked for is worth showing where nothing differs.
    pub(super) fn is_document(&self) -> bool {
        match self {
            Self::Response(_) | Self::Records { .. } => true,
            Self::Ran(ran) => {
                serde_json::from_str::<Value>(&ran.stdout).is_ok_and(|printed| !printed.is_number())
            }
            Self::Refused { .. } | Self::Trace(_) | Self::Nothing(_) | Self::Unreachable(_) => false,
        }
    }

    /// The whole as people read it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Response(document) => pretty(&without_secrets(document)),
            Self::Refused { code, message } => format!("{code}: {message}"),
            Self::Ran(ran) => program_text(ran),
            Self::Trace(document) => explanation(document),
            Self::Records { fitting, of } if fitting.is_empty() => format!("none of {of} records"),
            Self::Records { fitting, of: _ } => fitting.iter().map(pretty).collect::<Vec<_>>().join("\n"),
            Self::Nothing(why) | Self::Unreachable(why) => why.clone(),
        }
    }
}

/// A value that is found at a path, as it is shown.
pub(super) fn shown_at(path: &Path, value: &Value) -> String {
    let secret = path.last_member().is_some_and(|member| SECRETS.contains(&member));
    if secret { "(not shown)".to_owned() } else { plain(&without_secrets(value)) }
}

/// A response without what must not be in anybody's log.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                let shown = if SECRETS.contains(&name.as_str()) {
                    "(not shown)".into()
                } else {
                    without_secrets(value)
                };
                (name.clone(), shown)
            });
            Value::Object(members.collect())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(without_secrets).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// `exit`, `stdout` and `stderr` without the white space at their ends, and `json`, which is what the program printed
/// where that is JSON.
fn program_document(ran: &Ran) -> Value {
    let mut document = json!({
        "exit": ran.exit,
        "stdout": ran.stdout.trim_end(),
        "stderr": ran.stderr.trim_end(),
    });
    if let Ok(printed) = serde_json::from_str(&ran.stdout) {
        document["json"] = printed;
    }
    document
}

fn program_text(ran: &Ran) -> String {
    let parts = [ran.stdout.trim_end(), ran.stderr.trim_end()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// An explanation as `postern trace` prints it: a line for each stage.
fn explanation(document: &Value) -> String {
    let text_of = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let mut text = text_of(document, "flow");
    for stage in document["stages"].as_array().into_iter().flatten() {
        let mark = if stage["passed"].as_bool() == Some(true) { "ok" } else { "NO" };
        let _ = write!(text, "\n{mark}  {:<22}", text_of(stage, "stage"));
        let by: Vec<String> = ["resource", "rule"]
            .map(|name| text_of(stage, name))
            .into_iter()
            .filter(|by| !by.is_empty())
            .collect();
        if !by.is_empty() {
            let _ = write!(text, " {}:", by.join(" "));
        }
        let _ = write!(text, " {}", text_of(stage, "why"));
        if let Some(remedy) = stage["remedy"].as_str() {
            let _ = write!(text, "\n      to change it: {remedy}");
        }
    }
    if let Some(probe) = document.get("probe").filter(|probe| !probe.is_null()) {
        let verdict = match probe["agrees"].as_bool() {
            Some(true) => "as explained",
            Some(false) => "NOT as explained",
            None => "which does not say whether that is as explained",
        };
        let _ = write!(text, "\ntried it: {} ({verdict})", text_of(probe, "saw"));
    }
    text
}

/// The stage that refuses in an explanation.
pub(super) fn refusing_stage(document: &Value) -> Option<&str> {
    let mut stages = document["stages"].as_array()?.iter();
    stages.find(|stage| stage["passed"].as_bool() == Some(false))?["stage"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanations_are_printed_a_stage_a_line() {
        let document = json!({
            "flow": "i-1 to 198.19.0.10:443",
            "stages": [
                {"stage": "name", "passed": true, "resource": null, "rule": null, "why": "it is", "remedy": null},
                {"stage": "route", "passed": false, "resource": "rtb-1", "rule": "r", "why": "none", "remedy": "add"},
            ],
            "probe": {"agrees": true, "saw": "no answer"},
        });
        assert_eq!(refusing_stage(&document), Some("route"));
        let expected = "i-1 to 198.19.0.10:443\n\
                        ok  name                   it is\n\
                        NO  route                  rtb-1 r: none\n\
                        \x20     to change it: add\n\
                        tried it: no answer (as explained)";
        assert_eq!(Seen::Trace(document).text(), expected);
    }

    #[test]
    fn a_program_is_searched_in_both_outputs() {
        let ran = |stdout: &str| Ran {
            exit: 1,
            stdout: stdout.into(),
            stderr: "oh\n".into(),
            timed_out: false,
            interrupted: false,
        };
        assert_eq!(Seen::Ran(ran("a\n")).text(), "a\noh");
        let documents = Seen::Ran(ran("{\"a\": 1}\n")).documents();
        assert_eq!(documents, [json!({"exit": 1, "stdout": "{\"a\": 1}", "stderr": "oh", "json": {"a": 1}})]);
        assert_eq!(Seen::Ran(ran("a")).documents()[0].get("json"), None);
    }
}

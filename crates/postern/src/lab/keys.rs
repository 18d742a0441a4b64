//! The keys of a lab file, as they are written: what is not here is an error of the reader.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LabFile {
    pub title: String,
    pub summary: String,
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    #[serde(default)]
    pub step: Vec<Spanned<StepTable>>,
    #[serde(default)]
    pub cleanup: Vec<Spanned<StepTable>>,
}

/// `[[step]]` or `[[cleanup]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    pub id: String,
    pub say: Option<String>,
    pub call: Option<String>,
    pub account: Option<String>,
    pub with: Option<toml::Table>,
    pub run: Option<RunTable>,
    pub run_outside: Option<RunOutsideTable>,
    pub serve: Option<ServeTable>,
    pub service: Option<ServiceTable>,
    pub trace: Option<TraceTable>,
    pub record: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub save: BTreeMap<String, String>,
    pub expect: Option<ExpectTable>,
    pub within_seconds: Option<u64>,
    pub needed_by: Option<String>,
    pub undoes: Option<String>,
    #[serde(default)]
    pub made_up: BTreeMap<String, String>,
}

/// `run`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunTable {
    pub instance: String,
    pub command: CommandValue,
    pub input: Option<String>,
    pub timeout_seconds: Option<u64>,
}

/// `run_outside`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunOutsideTable {
    pub command: CommandValue,
    pub input: Option<String>,
    pub timeout_seconds: Option<u64>,
}

/// `serve`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServeTable {
    pub command: CommandValue,
    pub timeout_seconds: Option<u64>,
}

/// `service`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTable {
    pub add: Option<String>,
    pub remove: Option<String>,
    pub upstream: Option<String>,
    #[serde(default)]
    pub private_dns: Vec<String>,
    pub protocol: Option<String>,
    pub signing_name: Option<String>,
    pub key_id: Option<String>,
    pub secret: Option<String>,
}

/// `command`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a command is a line for the shell or a list of a program and its arguments")]
pub(super) enum CommandValue {
    Line(String),
    Words(Vec<String>),
}

/// `trace`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TraceTable {
    pub from: String,
    pub to: String,
    pub protocol: Option<String>,
    #[serde(default)]
    pub probe: bool,
}

/// `expect`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectTable {
    pub exit: Option<ExitValue>,
    pub timed_out: Option<bool>,
    pub output: Option<Vec<String>>,
    pub lacks: Option<Vec<String>>,
    pub matches: Option<String>,
    pub error: Option<String>,
    pub value: Option<toml::Table>,
    pub absent: Option<Vec<String>>,
    pub arrives: Option<bool>,
    pub refused_by: Option<String>,
    pub probe_agrees: Option<bool>,
}

/// `expect.exit`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "`exit` is a number or \"nonzero\"")]
pub(super) enum ExitValue {
    Status(u8),
    Word(ExitWord),
}

/// What else an exit status can be.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ExitWord {
    Nonzero,
}

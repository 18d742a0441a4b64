//! `postern policy`: what is to be said of a policy document before anybody relies on it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use postern_policy::{Kind, ParseError, Place, PolicyDocument};
use serde::Serialize;

use crate::cli::{Output, PolicyCheckArgs, PolicyCommand, PolicyKind};

/// Bytes that are read of a file: AWS takes none that is a hundredth of this.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Runs one of the commands.
pub fn run(command: PolicyCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => check(&args, output),
    }
}

/// What is said of a document.
#[derive(Serialize)]
struct Verdict {
    file: String,
    kind: String,
    /// Whether AWS would take it.
    accepted: bool,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    severity: Severity,
    /// From 1; none of what is about the document as a whole.
    line: Option<u32>,
    /// From 1, in characters.
    column: Option<u32>,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Error,
    Warning,
}

fn check(args: &PolicyCheckArgs, output: Output) -> anyhow::Result<ExitCode> {
    let kind = kind(args.kind);
    let file = if args.file == Path::new("-") { "stdin".into() } else { args.file.display().to_string() };
    let bytes = read(&args.file).with_context(|| format!("cannot read `{file}`"))?;
    let (accepted, findings) = match PolicyDocument::parse_bytes_for_all(&bytes, kind) {
        Ok(document) => (true, warnings(&document)),
        Err(errors) => (false, errors.iter().map(refused).collect()),
    };
    let holds = accepted && (!args.strict || findings.is_empty());
    let verdict = Verdict { file, kind: kind.to_string(), accepted, findings };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&verdict)?),
        Output::Text => print!("{}", text(&verdict)),
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    if u64::try_from(bytes.len())? > FILE_BYTES_MAX {
        bail!("it is longer than {FILE_BYTES_MAX} bytes");
    }
    Ok(bytes)
}

fn warnings(document: &PolicyDocument) -> Vec<Finding> {
    let found = document.warnings();
    let finding = |warning: &postern_policy::Warning| Finding {
        severity: Severity::Warning,
        line: Some(warning.place.line),
        column: Some(warning.place.column),
        message: format!("Statement[{}]: {}", warning.statement, warning.concern),
    };
    found.iter().map(finding).collect()
}

/// A reason against a document. Where it stands is said apart from it.
fn refused(error: &ParseError) -> Finding {
    let message = match error {
        ParseError::TooLong { .. } => error.to_string(),
        ParseError::NotUtf8 { valid_up_to_bytes, .. } => {
            format!("the document is not utf-8 from byte {valid_up_to_bytes} on")
        }
        ParseError::Json { message, .. } => format!("malformed json: {message}"),
        ParseError::Element { at, problem, .. } => format!("{at}: {problem}"),
    };
    let place = error.place();
    Finding {
        severity: Severity::Error,
        line: place.map(|Place { line, .. }| line),
        column: place.map(|Place { column, .. }| column),
        message,
    }
}

/// A line for each finding, as compilers write theirs.
fn text(verdict: &Verdict) -> String {
    let Verdict { file, kind, accepted, findings } = verdict;
    let mut text = String::new();
    for Finding { severity, line, column, message } in findings {
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let place = match (line, column) {
            (Some(line), Some(column)) => format!(":{line}:{column}"),
            (_, _) => String::new(),
        };
        text.push_str(&format!("{file}{place}: {severity}: {message}\n"));
    }
    let count = findings.len();
    text.push_str(&match (accepted, count) {
        (false, _) => format!("{file} cannot be used as {kind}\n"),
        (true, 0) => format!("{file} can be used as {kind}\n"),
        (true, 1) => format!("{file} can be used as {kind}, with a warning\n"),
        (true, _) => format!("{file} can be used as {kind}, with {count} warnings\n"),
    });
    text
}

fn kind(kind: PolicyKind) -> Kind {
    match kind {
        PolicyKind::Identity => Kind::Identity,
        PolicyKind::Resource => Kind::Resource,
        PolicyKind::Trust => Kind::Trust,
        PolicyKind::Endpoint => Kind::Endpoint { gateway: false },
        PolicyKind::GatewayEndpoint => Kind::Endpoint { gateway: true },
        PolicyKind::Boundary => Kind::Boundary,
        PolicyKind::Session => Kind::Session,
        PolicyKind::ServiceControl => Kind::ServiceControl,
        PolicyKind::ResourceControl => Kind::ResourceControl,
    }
}

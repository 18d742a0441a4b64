//! The file format of labs, read and checked as a whole before anything is done.
//!
//! INVARIANT: an error names the file, the line and, where it is about a step, the step.
//! INVARIANT: a key that the engine does not look at is an error, and so is an expectation that says nothing about
//! the step's kind of action, or that no outcome could miss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use postern_path::Stage;
use serde::Deserialize;
use toml::Spanned;

use super::keys::{
    CommandValue, ExitValue, ExitWord, ExpectTable, LabFile, RunOutsideTable, RunTable, ServeTable,
    ServiceTable, StepTable, TraceTable,
};
use super::path::Path;
use super::step::{Action, Added, Command, Exit, Expect, Program, Service, Step};
use super::template::{Template, TemplateError, Tree, Variables, is_variable_name};

/// How long a program may take where the step does not say.
const PROGRAM_TIMEOUT_SECONDS: u64 = 30;
/// How long a record is waited for where the step does not say: they are written beside the answers.
const RECORD_PATIENCE_SECONDS: u64 = 5;
/// The longest that may be said.
const MAX_SECONDS: u64 = 3600;
/// The most steps of a lab.
const MAX_STEPS: usize = 1000;
/// Variables that are always there.
const BUILT_IN: [&str; 2] = ["lab", "region"];

/// A lab, ready to be run.
#[derive(Debug, Clone)]
pub struct Lab {
    /// What it is called.
    pub name: String,
    /// In a few words.
    pub title: String,
    /// What it shows, for people.
    pub summary: String,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) steps: Vec<Step>,
    pub(super) cleanup: Vec<Step>,
}

/// Why a text is no lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {}{problem}", .step.as_ref().map(|step| format!("step `{step}`: ")).unwrap_or_default())]
pub struct LabError {
    /// Which lab.
    pub file: String,
    /// Where in it; the line on which the step begins, where only that is known.
    pub line: usize,
    /// Which step.
    pub step: Option<String>,
    /// What is wrong.
    pub problem: String,
}

/// Which list of the file a step stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Steps,
    Cleanup,
}

impl Lab {
    /// Reads a lab. `name` is what it is called, or the file's path.
    pub fn parse(text: &str, name: &str) -> Result<Self, LabError> {
        let raw: LabFile = toml::from_str(text).map_err(|error| syntax_error(text, name, &error))?;
        let line_of = |step: &Spanned<StepTable>| line_at(text, step.span().start);
        let read = |steps: Vec<Spanned<StepTable>>, section| -> Result<Vec<Step>, LabError> {
            let read_one = |spanned: Spanned<StepTable>| {
                let (line, id) = (line_of(&spanned), spanned.get_ref().id.clone());
                step(spanned.into_inner(), line, section).map_err(|problem| LabError {
                    file: file_name(name),
                    line,
                    step: Some(id),
                    problem,
                })
            };
            steps.into_iter().map(read_one).collect()
        };
        let lab = Self {
            name: stem(name).to_owned(),
            title: raw.title,
            summary: raw.summary,
            variables: raw.variables,
            steps: read(raw.step, Section::Steps)?,
            cleanup: read(raw.cleanup, Section::Cleanup)?,
        };
        lab.check(&file_name(name))?;
        Ok(lab)
    }

    /// The first step, but for the one that is left out, that needs more of a region than its API, and for what.
    pub fn first_beyond_the_api(&self, leave_out: Option<&str>) -> Option<(&str, &'static str)> {
        let steps = self.steps.iter().filter(|step| Some(step.id.as_str()) != leave_out);
        steps.chain(&self.cleanup).find_map(|step| Some((step.id.as_str(), step.action.beyond_the_api()?)))
    }

    /// What can only be said of the lab as a whole.
    fn check(&self, file: &str) -> Result<(), LabError> {
        let whole = |problem: String| LabError { file: file.to_owned(), line: 1, step: None, problem };
        let declared = self.variables.keys();
        for name in declared.clone() {
            if !is_variable_name(name) {
                return Err(whole(format!("`{name}` is no name for a variable")));
            }
            if BUILT_IN.contains(&name.as_str()) {
                return Err(whole(format!("the variable `{name}` is set by Postern")));
            }
        }
        if self.steps.is_empty() {
            return Err(whole("there is no `[[step]]`".to_owned()));
        }
        if self.steps.len() + self.cleanup.len() > MAX_STEPS {
            return Err(whole(format!("there are more than {MAX_STEPS} steps")));
        }
        let mut known: BTreeSet<&str> = declared.map(String::as_str).chain(BUILT_IN).collect();
        let mut ids = BTreeSet::new();
        for (place, step) in self.steps.iter().chain(&self.cleanup).enumerate() {
            self.check_step(step, place, &mut ids, &mut known).map_err(|problem| LabError {
                file: file.to_owned(),
                line: step.line,
                step: Some(step.id.clone()),
                problem,
            })?;
        }
        Ok(())
    }

    fn check_step<'a>(
        &'a self,
        step: &'a Step,
        place: usize,
        ids: &mut BTreeSet<&'a str>,
        known: &mut BTreeSet<&'a str>,
    ) -> Result<(), String> {
        if !ids.insert(&step.id) {
            return Err("another step has the same id".to_owned());
        }
        if let Some(needed_by) = &step.needed_by
            && !self.steps.iter().skip(place + 1).any(|later| later.id == *needed_by)
        {
            return Err(format!("`needed_by`: `{needed_by}` is no later step"));
        }
        if let Some(undone) = &step.undoes
            && !self.steps.iter().any(|step| step.id == *undone)
        {
            return Err(format!("`undoes`: `{undone}` is no step"));
        }
        let mut unknown = None;
        let mut visit = |template: &'a Template| {
            let mut names = template.names();
            unknown = unknown.or_else(|| names.find(|name| !known.contains(name)));
        };
        step.action.each_template(&mut visit);
        step.expect.each_template(&mut visit);
        step.save.values().for_each(visit);
        if let Some(name) = unknown {
            return Err(format!("no earlier step saves the variable `{name}`, and `[variables]` has none"));
        }
        if let Some(name) = step.save.keys().find(|name| self.variables.contains_key(*name)) {
            return Err(format!("`save`: `{name}` is declared in `[variables]`"));
        }
        known.extend(step.save.keys().map(String::as_str));
        Ok(())
    }
}

fn file_name(name: &str) -> String {
    if name.ends_with(".toml") { name.to_owned() } else { format!("{name}.toml") }
}

/// The name of a lab in a file of this path.
fn stem(name: &str) -> &str {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_suffix(".toml").unwrap_or(file)
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// An error of the TOML reader, with the step that it is in.
fn syntax_error(text: &str, name: &str, error: &toml::de::Error) -> LabError {
    let offset = error.span().map_or(0, |span| span.start);
    LabError {
        file: file_name(name),
        line: line_at(text, offset),
        step: step_around(text, offset),
        problem: error.message().replace('\n', ", "),
    }
}

/// The id of the step that an offset is in: the last one that begins before it.
fn step_around(text: &str, offset: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Loose {
        #[serde(default)]
        step: Vec<Spanned<toml::Table>>,
        #[serde(default)]
        cleanup: Vec<Spanned<toml::Table>>,
    }
    let loose: Loose = toml::from_str(text).ok()?;
    let steps = loose.step.iter().chain(&loose.cleanup);
    let around = steps.filter(|step| step.span().start <= offset).max_by_key(|step| step.span().start)?;
    Some(around.get_ref().get("id").and_then(toml::Value::as_str).unwrap_or("without id").to_owned())
}

fn step(mut raw: StepTable, line: usize, section: Section) -> Result<Step, String> {
    if raw.id.is_empty() || !raw.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Err("an `id` is made of small letters, digits and `-`".to_owned());
    }
    let expect = raw.expect.take().map(expect).transpose()?.unwrap_or_default();
    let kind = kind(&raw)?;
    let action = action(&mut raw, kind)?;
    check_fit(&expect, &action)?;
    let save = templates(raw.save, "save")?;
    for (name, path) in &save {
        if !is_variable_name(name) || BUILT_IN.contains(&name.as_str()) {
            return Err(format!("`save`: `{name}` is no name for a variable"));
        }
        check_path(path, "save")?;
    }
    if !save.is_empty() && expect.error.is_some() {
        return Err("`save`: a refused call has no response to save from".to_owned());
    }
    if let Some(name) = raw.made_up.keys().find(|name| !save.contains_key(*name)) {
        return Err(format!("`made_up`: the step does not save `{name}`"));
    }
    let say = raw.say.unwrap_or_default();
    match section {
        Section::Steps if say.trim().is_empty() => {
            return Err("`say` is missing: what is done, and why".to_owned());
        }
        Section::Steps if raw.undoes.is_some() => {
            return Err("`undoes` means nothing outside `[[cleanup]]`".to_owned());
        }
        Section::Cleanup if raw.needed_by.is_some() || !save.is_empty() => {
            return Err("`needed_by` and `save` mean nothing in `[[cleanup]]`".to_owned());
        }
        Section::Cleanup if matches!(kind, Kind::Serve | Kind::Trace | Kind::Record) => {
            return Err(
                "a `[[cleanup]]` step is a `call`, a `run`, a `run_outside` or a `service`".to_owned()
            );
        }
        Section::Steps | Section::Cleanup => {}
    }
    let patience = raw.within_seconds.or((kind == Kind::Record).then_some(RECORD_PATIENCE_SECONDS));
    let within = patience.map(|seconds| seconds_of(seconds, "within_seconds")).transpose()?;
    Ok(Step {
        id: raw.id,
        say: say.trim().to_owned(),
        line,
        action,
        expect,
        save,
        within,
        needed_by: raw.needed_by,
        undoes: raw.undoes,
        made_up: raw.made_up,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Run,
    RunOutside,
    Serve,
    Service,
    Trace,
    Record,
}

/// The one kind of action that a step has.
fn kind(raw: &StepTable) -> Result<Kind, String> {
    let there = [
        (raw.call.is_some(), Kind::Call),
        (raw.run.is_some(), Kind::Run),
        (raw.run_outside.is_some(), Kind::RunOutside),
        (raw.serve.is_some(), Kind::Serve),
        (raw.service.is_some(), Kind::Service),
        (raw.trace.is_some(), Kind::Trace),
        (raw.record.is_some(), Kind::Record),
    ];
    let mut kinds = there.into_iter().filter_map(|(is_there, kind)| is_there.then_some(kind));
    let kind = kinds.next();
    let (Some(kind), None) = (kind, kinds.next()) else {
        return Err(
            "a step has exactly one of `call`, `run`, `run_outside`, `serve`, `service`, `trace` and `record`"
                .to_owned(),
        );
    };
    if kind != Kind::Call && (raw.with.is_some() || raw.account.is_some()) {
        return Err("`with` and `account` belong to a `call`".to_owned());
    }
    Ok(kind)
}

fn action(raw: &mut StepTable, kind: Kind) -> Result<Action, String> {
    let missing = || "the action is missing".to_owned();
    Ok(match kind {
        Kind::Call => {
            let named = raw.call.take().ok_or_else(missing)?;
            let (service, operation) = operation(&named)?;
            let parameters = raw.with.take().unwrap_or_default();
            let parameters = Tree::parse_table(&parameters).map_err(|error| format!("`with`: {error}"))?;
            let account = raw.account.take().map(|text| template(&text, "account")).transpose()?;
            Action::Call { account, service, operation, parameters }
        }
        Kind::Run => {
            let RunTable { instance, command, input, timeout_seconds } =
                raw.run.take().ok_or_else(missing)?;
            let program = program(command, input, timeout_seconds, "run")?;
            Action::Run { instance: template(&instance, "run.instance")?, program }
        }
        Kind::RunOutside => {
            let RunOutsideTable { command, input, timeout_seconds } =
                raw.run_outside.take().ok_or_else(missing)?;
            Action::RunOutside { program: program(command, input, timeout_seconds, "run_outside")? }
        }
        Kind::Serve => {
            let ServeTable { command, timeout_seconds } = raw.serve.take().ok_or_else(missing)?;
            Action::Serve { program: program(command, None, timeout_seconds, "serve")? }
        }
        Kind::Service => Action::Service(service(raw.service.take().ok_or_else(missing)?)?),
        Kind::Trace => {
            let TraceTable { from, to, protocol, probe } = raw.trace.take().ok_or_else(missing)?;
            Action::Trace {
                from: template(&from, "trace.from")?,
                to: template(&to, "trace.to")?,
                protocol: template(protocol.as_deref().unwrap_or("tcp"), "trace.protocol")?,
                probe,
            }
        }
        Kind::Record => {
            let wanted = templates(raw.record.take().ok_or_else(missing)?, "record")?;
            if wanted.is_empty() {
                return Err("`record` says nothing about the record to look for".to_owned());
            }
            for path in wanted.keys() {
                Path::parse(path).map_err(|error| format!("`record`: {error}"))?;
            }
            Action::Record { wanted }
        }
    })
}

/// `service = { add = …, upstream = … }` or `service = { remove = … }`.
fn service(raw: ServiceTable) -> Result<Service, String> {
    let ServiceTable { add, remove, upstream, private_dns, protocol, signing_name, key_id, secret } = raw;
    let optional = |text: Option<String>, key| text.map(|text| template(&text, key)).transpose();
    match (add, remove, upstream) {
        (Some(name), None, Some(upstream)) => {
            let key = match (optional(key_id, "service.key_id")?, optional(secret, "service.secret")?) {
                (None, None) => None,
                (Some(id), Some(secret)) => Some((id, secret)),
                (Some(_), None) | (None, Some(_)) => {
                    return Err("`service`: `key_id` and `secret` go together".to_owned());
                }
            };
            let names = private_dns.iter().map(|name| template(name, "service.private_dns"));
            Ok(Service::Add(Box::new(Added {
                name: template(&name, "service.add")?,
                upstream: template(&upstream, "service.upstream")?,
                private_dns: names.collect::<Result<_, _>>()?,
                protocol: optional(protocol, "service.protocol")?,
                signing_name: optional(signing_name, "service.signing_name")?,
                key,
            })))
        }
        (None, Some(name), None)
            if private_dns.is_empty()
                && [protocol, signing_name, key_id, secret].iter().all(Option::is_none) =>
        {
            Ok(Service::Remove { name: template(&name, "service.remove")? })
        }
        _ => Err("`service` has `add` and `upstream`, or `remove` alone".to_owned()),
    }
}

/// `ec2:CreateVpc` in its two parts.
fn operation(named: &str) -> Result<(String, String), String> {
    let parts = named.split_once(':').filter(|(service, operation)| {
        let service_ok =
            !service.is_empty() && service.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let operation_ok = operation.starts_with(|first: char| first.is_ascii_uppercase())
            && operation.bytes().all(|b| b.is_ascii_alphanumeric());
        service_ok && operation_ok
    });
    let (service, operation) =
        parts.ok_or_else(|| format!("`call`: `{named}` is no operation (such as `ec2:CreateVpc`)"))?;
    Ok((service.to_owned(), operation.to_owned()))
}

fn program(
    command: CommandValue,
    input: Option<String>,
    timeout_seconds: Option<u64>,
    key: &str,
) -> Result<Program, String> {
    let at = |part: &str| format!("{key}.{part}");
    let command = match command {
        CommandValue::Line(line) if line.trim().is_empty() => {
            return Err(format!("`{}` is empty", at("command")));
        }
        CommandValue::Line(line) => Command::Shell(template(line.trim(), &at("command"))?),
        CommandValue::Words(words) if words.is_empty() => {
            return Err(format!("`{}` is empty", at("command")));
        }
        CommandValue::Words(words) => {
            Command::Words(words.iter().map(|word| template(word, &at("command"))).collect::<Result<_, _>>()?)
        }
    };
    let input = input.map(|text| template(&text, &at("input"))).transpose()?;
    let seconds = timeout_seconds.unwrap_or(PROGRAM_TIMEOUT_SECONDS);
    Ok(Program { command, input, timeout: seconds_of(seconds, &at("timeout_seconds"))? })
}

fn seconds_of(seconds: u64, key: &str) -> Result<Duration, String> {
    if (1..=MAX_SECONDS).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("`{key}`: `{seconds}` is not between 1 and {MAX_SECONDS}"))
    }
}

fn template(text: &str, key: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| format!("`{key}`: {error}"))
}

fn templates(texts: BTreeMap<String, String>, key: &str) -> Result<BTreeMap<String, Template>, String> {
    texts.into_iter().map(|(name, text)| Ok((name, template(&text, key)?))).collect()
}

fn expect(raw: ExpectTable) -> Result<Expect, String> {
    let value = raw.value.unwrap_or_default();
    let value = value.iter().map(|(path, value)| {
        let tree = Tree::parse(value).map_err(|error: TemplateError| format!("`expect.value`: {error}"))?;
        Ok((template(path, "expect.value")?, tree))
    });
    let expect = Expect {
        exit: raw.exit.map(|exit| match exit {
            ExitValue::Status(status) => Exit::Status(status.into()),
            ExitValue::Word(ExitWord::Nonzero) => Exit::Nonzero,
        }),
        timed_out: raw.timed_out.unwrap_or(false),
        output: texts(raw.output, "expect.output")?,
        lacks: texts(raw.lacks, "expect.lacks")?,
        matches: raw.matches.map(|text| template(&text, "expect.matches")).transpose()?,
        error: raw.error.map(|text| template(&text, "expect.error")).transpose()?,
        value: value.collect::<Result<_, String>>()?,
        absent: texts(raw.absent, "expect.absent")?,
        arrives: raw.arrives,
        refused_by: raw.refused_by.map(|text| template(&text, "expect.refused_by")).transpose()?,
        probe_agrees: raw.probe_agrees,
    };
    check_meaning(&expect)?;
    Ok(expect)
}

/// Texts to be looked for. An empty one would be found in anything.
fn texts(raw: Option<Vec<String>>, key: &str) -> Result<Vec<Template>, String> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if raw.is_empty() || raw.iter().any(String::is_empty) {
        return Err(format!("`{key}`: an empty list or text says nothing"));
    }
    raw.iter().map(|text| template(text, key)).collect()
}

/// Refuses expectations that cannot be read, that contradict each other, or that nothing could miss.
fn check_meaning(expect: &Expect) -> Result<(), String> {
    for (path, _) in &expect.value {
        check_path(path, "expect.value")?;
    }
    for path in &expect.absent {
        check_path(path, "expect.absent")?;
    }
    if let Some(matches) = &expect.matches {
        let expression = filled_with_x(matches);
        let expression = regex_lite::Regex::new(&expression)
            .map_err(|error| format!("`expect.matches`: `{}`: {error}", matches.source()))?;
        if expression.is_match("") && expression.is_match("any text\nof two lines") {
            return Err(format!("`expect.matches`: `{}` matches anything", matches.source()));
        }
    }
    if let Some(stage) = &expect.refused_by
        && stage.names().next().is_none()
        && !Stage::ALL.iter().any(|known| known.name() == stage.source())
    {
        let known: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).collect();
        let (stage, known) = (stage.source(), known.join("`, `"));
        return Err(format!("`expect.refused_by`: `{stage}` is no stage; these are: `{known}`"));
    }
    if expect.refused_by.is_some() && expect.arrives == Some(true) {
        return Err("`expect`: what is refused does not arrive".to_owned());
    }
    if expect.timed_out && expect.exit.is_some() {
        return Err("`expect`: a program that is still running has no `exit`".to_owned());
    }
    if expect.error.is_some() && !(expect.value.is_empty() && expect.absent.is_empty()) {
        return Err("`expect`: a refused call has no response to look for values in".to_owned());
    }
    Ok(())
}

/// Refuses expectations about something that the action does not have.
fn check_fit(expect: &Expect, action: &Action) -> Result<(), String> {
    let program = matches!(action, Action::Run { .. } | Action::RunOutside { .. });
    let call = matches!(action, Action::Call { .. });
    let (trace, probed) = match action {
        Action::Trace { probe, .. } => (true, *probe),
        Action::Call { .. }
        | Action::Run { .. }
        | Action::RunOutside { .. }
        | Action::Serve { .. }
        | Action::Service(_)
        | Action::Record { .. } => (false, false),
    };
    let misplaced = [
        (expect.exit.is_some() && !program, "exit", "a program"),
        (expect.timed_out && !program, "timed_out", "a program"),
        (expect.error.is_some() && !call, "error", "a `call`"),
        (expect.arrives.is_some() && !trace, "arrives", "a `trace`"),
        (expect.refused_by.is_some() && !trace, "refused_by", "a `trace`"),
        (expect.probe_agrees.is_some() && !probed, "probe_agrees", "a `trace` with `probe = true`"),
    ];
    match misplaced.into_iter().find(|(wrong, ..)| *wrong) {
        Some((_, key, of)) => Err(format!("`expect.{key}` can only be said of {of}")),
        None => Ok(()),
    }
}

fn check_path(path: &Template, key: &str) -> Result<(), String> {
    Path::parse(&filled_with_x(path)).map(drop).map_err(|error| format!("`{key}`: {error}"))
}

/// A template with something harmless for every variable, to see whether it can be read at all.
fn filled_with_x(template: &Template) -> String {
    let variables: Variables = template.names().map(|name| (name.to_owned(), "x".into())).collect();
    template.text(&variables).unwrap_or_default()
}

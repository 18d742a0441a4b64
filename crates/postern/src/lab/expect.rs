//! What has to come of a step, with the variables filled in, and the comparison with what came.
//!
//! INVARIANT: every expectation that was said is looked at, and the absence of a thing to look at is a difference.

use regex_lite::Regex;
use serde::Serialize;
use serde_json::Value;

use super::path::Path;
use super::seen::{Seen, refusing_stage, shown_at};
use super::step::{Action, Exit, Expect};
use super::target::Ran;
use super::template::{Template, Variables};

/// One expectation that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What was looked at.
    pub what: String,
    /// What it had to be.
    pub expected: String,
    /// What it was.
    pub seen: String,
}

/// What differs when the region, or the way to it, failed.
const REGION: &str = "region";

impl Difference {
    /// Whether this says that the region failed, and nothing about how it behaves.
    pub(super) fn is_failure_of_region(&self) -> bool {
        self.what == REGION
    }

    pub(super) fn new(what: impl Into<String>, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { what: what.into(), expected: expected.into(), seen: seen.into() }
    }
}

/// The expectations of a step, ready to be compared.
#[derive(Debug)]
pub(super) struct Wanted {
    exit: Option<Exit>,
    timed_out: bool,
    output: Vec<String>,
    lacks: Vec<String>,
    matches: Option<(String, Regex)>,
    error: Option<String>,
    value: Vec<(String, Path, Value)>,
    absent: Vec<(String, Path)>,
    arrives: bool,
    refused_by: Option<String>,
    probe_agrees: Option<bool>,
}

impl Wanted {
    /// Fills the variables in.
    pub(super) fn fill(expect: &Expect, action: &Action, variables: &Variables) -> Result<Self, String> {
        let text = |template: &Template| template.text(variables).map_err(|unknown| unknown.to_string());
        let texts = |templates: &[Template]| templates.iter().map(text).collect::<Result<Vec<_>, _>>();
        let optional = |template: &Option<Template>| template.as_ref().map(text).transpose();
        let path = |template: &Template| {
            let source = text(template)?;
            let path = Path::parse(&source).map_err(|error| error.to_string())?;
            Ok::<_, String>((source, path))
        };
        let matches = expect.matches.as_ref().map(|template| {
            let expression = template.text_with(variables, |value| regex_lite::escape(&value));
            let expression = expression.map_err(|unknown| unknown.to_string())?;
            let regex = Regex::new(&expression).map_err(|error| format!("`{expression}`: {error}"))?;
            Ok::<_, String>((expression, regex))
        });
        let value = expect.value.iter().map(|(template, tree)| {
            let (source, path) = path(template)?;
            Ok((source, path, tree.value(variables).map_err(|unknown| unknown.to_string())?))
        });
        let probed = match action {
            Action::Trace { probe, .. } => *probe,
            Action::Call { .. }
            | Action::Run { .. }
            | Action::RunOutside { .. }
            | Action::Serve { .. }
            | Action::Service(_)
            | Action::Record { .. } => false,
        };
        Ok(Self {
            exit: expect.exit,
            timed_out: expect.timed_out,
            output: texts(&expect.output)?,
            lacks: texts(&expect.lacks)?,
            matches: matches.transpose()?,
            error: optional(&expect.error)?,
            value: value.collect::<Result<_, String>>()?,
            absent: expect.absent.iter().map(path).collect::<Result<_, _>>()?,
            arrives: expect.arrives.unwrap_or(expect.refused_by.is_none()),
            refused_by: optional(&expect.refused_by)?,
            probe_agrees: probed.then_some(expect.probe_agrees.unwrap_or(true)),
        })
    }

    /// Where what was seen differs.
    pub(super) fn differences(&self, seen: &Seen) -> Vec<Difference> {
        let mut differences = Vec::new();
        let there = match seen {
            Seen::Nothing(why) => {
                differences.push(Difference::new("answer", "an answer", why.as_str()));
                false
            }
            Seen::Unreachable(why) => {
                differences.push(Difference::new(REGION, "an answer", why.as_str()));
                false
            }
            Seen::Response(_) => self.check_response(&mut differences),
            Seen::Refused { code, message } => self.check_refusal(code, message, &mut differences),
            Seen::Ran(ran) => {
                self.check_program(ran, &mut differences);
                true
            }
            Seen::Trace(document) => {
                self.check_trace(document, &mut differences);
                true
            }
            Seen::Records { fitting, of } => {
                if fitting.is_empty() {
                    let none = format!("none among {of} since the last program was run");
                    differences.push(Difference::new("record", "such a record", none));
                }
                !fitting.is_empty()
            }
        };
        if there {
            seen.texts().iter().for_each(|text| self.check_text(text, &mut differences));
            seen.documents().iter().for_each(|document| self.check_document(document, &mut differences));
        }
        differences
    }

    fn check_response(&self, differences: &mut Vec<Difference>) -> bool {
        if let Some(code) = &self.error {
            differences.push(Difference::new("error", code.as_str(), "the call succeeded"));
        }
        self.error.is_none()
    }

    fn check_refusal(&self, code: &str, message: &str, differences: &mut Vec<Difference>) -> bool {
        let expected = self.error.as_deref();
        if expected != Some(code) {
            let seen = format!("{code}: {message}");
            differences.push(Difference::new("error", expected.unwrap_or("success"), seen));
        }
        expected == Some(code)
    }

    fn check_program(&self, ran: &Ran, differences: &mut Vec<Difference>) {
        if ran.interrupted {
            differences.push(Difference::new("end", "ends by itself", "it was interrupted"));
            return;
        }
        match (self.timed_out, ran.timed_out) {
            (true, true) => return,
            (true, false) => {
                let seen = format!("it ended with exit status {}", ran.exit);
                differences.push(Difference::new("end", "still running when its time is over", seen));
                return;
            }
            (false, true) => {
                differences.push(Difference::new(
                    "end",
                    "ends by itself",
                    "still running when its time was over",
                ));
                return;
            }
            (false, false) => {}
        }
        let exit = self.exit.unwrap_or(Exit::Status(0));
        if !exit.holds(ran.exit) {
            differences.push(Difference::new("exit status", exit.words(), ran.exit.to_string()));
        }
    }

    fn check_trace(&self, document: &Value, differences: &mut Vec<Difference>) {
        let stage = refusing_stage(document);
        let seen = match (document["arrives"].as_bool(), stage) {
            (Some(true), _) => "it arrives".to_owned(),
            (Some(false), Some(stage)) => format!("refused by {stage}"),
            (Some(false), None) => "it does not arrive".to_owned(),
            (None, _) => "the explanation does not say".to_owned(),
        };
        if document["arrives"].as_bool() != Some(self.arrives) {
            let expected = if self.arrives { "it arrives" } else { "it does not arrive" };
            differences.push(Difference::new("flow", expected, seen.as_str()));
        }
        if let Some(expected) = &self.refused_by
            && stage != Some(expected)
        {
            differences.push(Difference::new("refused by", expected.as_str(), seen));
        }
        let agrees = document["probe"]["agrees"].as_bool();
        if let Some(expected) = self.probe_agrees
            && agrees != Some(expected)
        {
            let words = |agrees| if agrees { "it agrees" } else { "it differs" };
            let seen = agrees.map_or("there is no probe in the explanation", words);
            differences.push(Difference::new("probe", words(expected), seen));
        }
    }

    fn check_text(&self, text: &str, differences: &mut Vec<Difference>) {
        for wanted in self.output.iter().filter(|wanted| !text.contains(wanted.as_str())) {
            differences.push(Difference::new("output", format!("has `{wanted}`"), "it is not there"));
        }
        for unwanted in self.lacks.iter().filter(|unwanted| text.contains(unwanted.as_str())) {
            differences.push(Difference::new("output", format!("lacks `{unwanted}`"), "it is there"));
        }
        if let Some((expression, regex)) = &self.matches
            && !regex.is_match(text)
        {
            differences.push(Difference::new("output", format!("matches `{expression}`"), "it does not"));
        }
    }

    fn check_document(&self, document: &Value, differences: &mut Vec<Difference>) {
        for (source, path, expected) in &self.value {
            let seen = path.find(document);
            if seen != Some(expected) {
                let seen = seen.map_or_else(|| "there is no such thing".to_owned(), Value::to_string);
                differences.push(Difference::new(source, expected.to_string(), seen));
            }
        }
        for (source, path) in &self.absent {
            if let Some(seen) = path.find(document) {
                differences.push(Difference::new(source, "absent", seen.to_string()));
            }
        }
    }

    /// What was found where something was expected, in words.
    pub(super) fn found(&self, seen: &Seen) -> Vec<String> {
        let mut words = Vec::new();
        for document in seen.documents() {
            for (source, path, _) in &self.value {
                words.extend(
                    path.find(&document).map(|value| format!("{source} is {}", shown_at(path, value))),
                );
            }
            words.extend(self.absent.iter().map(|(source, _)| format!("no {source}")));
        }
        words
    }

    /// The expectations in words, for people.
    pub(super) fn words(&self, action: &Action) -> Vec<String> {
        let mut words = Vec::new();
        match action {
            Action::Call { .. } => {
                words.push(
                    self.error.as_ref().map_or("success".to_owned(), |code| format!("refused with {code}")),
                );
            }
            Action::Run { .. } | Action::RunOutside { .. } if self.timed_out => {
                words.push("still running when its time is over".to_owned());
            }
            Action::Run { .. } | Action::RunOutside { .. } => {
                words.push(format!("exit status {}", self.exit.unwrap_or(Exit::Status(0)).words()));
            }
            Action::Trace { .. } => {
                words.push(match &self.refused_by {
                    Some(stage) => format!("refused by {stage}"),
                    None if self.arrives => "it arrives".to_owned(),
                    None => "it does not arrive".to_owned(),
                });
            }
            Action::Record { .. } => words.push("a record".to_owned()),
            Action::Serve { .. } => words.push("it listens".to_owned()),
            Action::Service(_) => words.push("success".to_owned()),
        }
        words.extend(self.output.iter().map(|text| format!("has `{text}`")));
        words.extend(self.lacks.iter().map(|text| format!("lacks `{text}`")));
        words.extend(self.matches.iter().map(|(expression, _)| format!("matches `{expression}`")));
        words.extend(self.value.iter().map(|(path, _, value)| format!("{path} is {value}")));
        words.extend(self.absent.iter().map(|(path, _)| format!("no {path}")));
        words.extend(self.probe_agrees.map(|agrees| {
            if agrees { "the probe agrees".to_owned() } else { "the probe differs".to_owned() }
        }));
        words
    }
}

impl Exit {
    fn holds(self, status: i32) -> bool {
        match self {
            Self::Status(expected) => status == expected,
            Self::Nonzero => status != 0,
        }
    }

    fn words(self) -> String {
        match self {
            Self::Status(status) => status.to_string(),
            Self::Nonzero => "other than 0".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::lab::Lab;

    const CALL: &str = "call = 'ec2:DescribeVpcs'";
    const RUN: &str = "run = { instance = 'i-1', command = 'x' }";
    const TRACE: &str = "trace = { from = 'i-1', to = 'x' }";
    const PROBE: &str = "trace = { from = 'i-1', to = 'x', probe = true }";
    const RECORD: &str = "record = { eventName = 'ListBuckets' }";

    /// What differs when a step with this action and these expectations sees this.
    fn differing(action: &str, expect: &str, seen: &Seen) -> Vec<String> {
        let text = format!(
            "title = 't'\nsummary = 's'\n[variables]\nv = 'a.b'\n[[step]]\nid = 's'\nsay = 's'\n{action}\nexpect = {{ {expect} }}\n"
        );
        let lab = Lab::parse(&text, "test").unwrap();
        let step = &lab.steps[0];
        let variables = [("v".to_owned(), json!("a.b"))].into();
        let wanted = Wanted::fill(&step.expect, &step.action, &variables).unwrap();
        assert!(!wanted.words(&step.action).is_empty());
        wanted.differences(seen).into_iter().map(|difference| difference.what).collect()
    }

    #[track_caller]
    fn check(action: &str, expect: &str, holds: &[&Seen], fails: &[(&Seen, &str)]) {
        for seen in holds {
            assert_eq!(differing(action, expect, seen), Vec::<String>::new(), "{expect}: {seen:?}");
        }
        for (seen, what) in fails {
            assert_eq!(differing(action, expect, seen), [*what], "{expect}: {seen:?}");
        }
    }

    fn ran(exit: i32, stdout: &str, timed_out: bool) -> Seen {
        Seen::Ran(Ran {
            exit,
            stdout: stdout.to_owned(),
            stderr: "err\n".to_owned(),
            timed_out,
            interrupted: false,
        })
    }

    fn refused(code: &str) -> Seen {
        Seen::Refused { code: code.to_owned(), message: "no".to_owned() }
    }

    #[test]
    fn without_expectations_it_has_to_succeed() {
        let nothing = Seen::Nothing("down".to_owned());
        check(CALL, "", &[&Seen::Response(json!({}))], &[(&refused("A"), "error"), (&nothing, "answer")]);
        let over = ran(0, "", true);
        check(RUN, "", &[&ran(0, "", false)], &[(&ran(1, "", false), "exit status"), (&over, "end")]);
        let arrives = |arrives: bool| Seen::Trace(json!({"arrives": arrives, "stages": []}));
        check(TRACE, "", &[&arrives(true)], &[(&arrives(false), "flow"), (&Seen::Trace(json!({})), "flow")]);
        let records = |fitting| Seen::Records { fitting, of: 7 };
        check(RECORD, "", &[&records(vec![json!({})])], &[(&records(vec![]), "record")]);
    }

    #[test]
    fn exit_says_how_a_program_ends() {
        let (zero, one, two) = (ran(0, "", false), ran(1, "", false), ran(2, "", false));
        let over = ran(2, "", true);
        check(RUN, "exit = 0", &[&zero], &[(&one, "exit status"), (&over, "end")]);
        check(RUN, "exit = 2", &[&two], &[(&one, "exit status"), (&over, "end")]);
        check(RUN, "exit = 'nonzero'", &[&one, &two], &[(&zero, "exit status"), (&over, "end")]);
        check(RUN, "timed_out = true", &[&over], &[(&zero, "end"), (&one, "end")]);
        check(RUN, "timed_out = false", &[&zero], &[(&over, "end")]);
    }

    #[test]
    fn texts_are_searched_in_all_that_was_written() {
        let (a, b) = (ran(0, "xa.by", false), ran(0, "xacby", false));
        check(RUN, "output = ['${v}', 'err']", &[&a], &[(&b, "output")]);
        check(RUN, "lacks = ['${v}']", &[&b], &[(&a, "output")]);
        check(RUN, "lacks = ['err', 'nothing']", &[], &[(&a, "output")]);
        check(RUN, "matches = '^x${v}y'", &[&a], &[(&b, "output")]);
        check(RUN, "matches = '^xa.by'", &[&a, &b], &[(&ran(0, "xaby", false), "output")]);
        check(
            CALL,
            "output = ['vpc-1']",
            &[&Seen::Response(json!({"a": "vpc-1"}))],
            &[(&Seen::Response(json!({})), "output")],
        );
    }

    #[test]
    fn errors_are_codes() {
        let fine = Seen::Response(json!({}));
        check(CALL, "error = 'A.B'", &[&refused("A.B")], &[(&refused("A"), "error"), (&fine, "error")]);
        check(CALL, "error = 'A', output = ['no']", &[&refused("A")], &[(&refused("B"), "error")]);
        check(CALL, "error = 'A', output = ['yes']", &[], &[(&refused("A"), "output")]);
    }

    #[test]
    fn values_are_compared_with_their_type() {
        let response = |value| Seen::Response(json!({"A": [value]}));
        let (text, number) = (response(json!("1")), response(json!(1)));
        let none = Seen::Response(json!({}));
        check(CALL, "value = { 'A[0]' = '1' }", &[&text], &[(&number, "A[0]"), (&none, "A[0]")]);
        check(CALL, "value = { 'A[0]' = 1 }", &[&number], &[(&text, "A[0]"), (&none, "A[0]")]);
        check(CALL, "value = { 'A[0]' = '${v}' }", &[&response(json!("a.b"))], &[(&text, "A[0]")]);
        check(CALL, "absent = ['A[0]']", &[&none, &response(json!(null))], &[(&text, "A[0]")]);
        let printed = ran(0, "{\"A\": [{\"B\": \"a.b\", \"C\": true}]}", false);
        check(
            RUN,
            "value = { 'json.A[B=${v}].C' = true }",
            &[&printed],
            &[(&ran(0, "{}", false), "json.A[B=a.b].C"), (&ran(0, "plain", false), "json.A[B=a.b].C")],
        );
        check(RUN, "absent = ['json.A[B=${v}]']", &[&ran(0, "{}", false)], &[(&printed, "json.A[B=a.b]")]);
    }

    #[test]
    fn every_record_that_fits_is_looked_at() {
        let (good, bad) = (json!({"vpcEndpointId": "a.b"}), json!({"vpcEndpointId": "other"}));
        let records = |fitting| Seen::Records { fitting, of: 9 };
        let expect = "value = { vpcEndpointId = '${v}' }";
        let holds = records(vec![good.clone(), good.clone()]);
        let mixed = records(vec![good.clone(), bad]);
        check(RECORD, expect, &[&holds], &[(&mixed, "vpcEndpointId"), (&records(vec![]), "record")]);
        check(
            RECORD,
            "absent = ['vpcEndpointId']",
            &[&records(vec![json!({})])],
            &[(&records(vec![json!({}), good]), "vpcEndpointId")],
        );
    }

    #[test]
    fn traces_are_about_stages_and_probes() {
        let trace = |stage: Option<&str>, agrees: Option<bool>| {
            let stages = [("source check", true), (stage.unwrap_or("delivered"), stage.is_none())];
            let stages = stages.map(|(stage, passed)| json!({"stage": stage, "passed": passed}));
            Seen::Trace(json!({"arrives": stage.is_none(), "stages": stages, "probe": {"agrees": agrees}}))
        };
        let (arrives, route) = (trace(None, None), trace(Some("route"), None));
        check(TRACE, "arrives = true", &[&arrives], &[(&route, "flow")]);
        check(TRACE, "arrives = false", &[&route], &[(&arrives, "flow")]);
        check(TRACE, "refused_by = 'route'", &[&route], &[(&trace(Some("name"), None), "refused by")]);
        assert_eq!(differing(TRACE, "refused_by = 'route'", &arrives), ["flow", "refused by"]);
        let (agrees, differs) = (trace(None, Some(true)), trace(None, Some(false)));
        let none = Seen::Trace(json!({"arrives": true, "stages": []}));
        for said in ["", "probe_agrees = true"] {
            check(PROBE, said, &[&agrees], &[(&differs, "probe"), (&arrives, "probe"), (&none, "probe")]);
        }
        check(PROBE, "probe_agrees = false", &[&differs], &[(&agrees, "probe"), (&none, "probe")]);
        check(
            TRACE,
            "value = { 'stages[stage=source check].passed' = true }",
            &[&arrives],
            &[(&none, "stages[stage=source check].passed")],
        );
    }
}

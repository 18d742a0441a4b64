//! A region by script: answers in turn, and a list of what was asked.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use super::clock::Clock;
use super::target::{CallError, Ran, ServiceChange, Started, Target};

/// What it answers to one question.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Response(Value),
    Refusal(&'static str),
    Down,
    Ran(i32, &'static str),
    NoInstance,
    Trace(Value),
}

/// A scripted region. A question is `ec2:CreateVpc`, the program's argv joined by spaces, or `trace FROM TO`; its
/// answers come in turn, the last one again and again.
#[derive(Debug, Default)]
pub(super) struct Fake {
    script: RefCell<BTreeMap<String, VecDeque<Answer>>>,
    asked: RefCell<Vec<String>>,
    records: RefCell<Vec<Value>>,
    /// What is recorded when a program is run.
    pub(super) recorded_by: BTreeMap<String, Vec<Value>>,
}

impl Fake {
    /// With these answers.
    pub(super) fn new<const N: usize>(script: [(&str, Vec<Answer>); N]) -> Self {
        let script =
            script.into_iter().map(|(question, answers)| (question.to_owned(), answers.into())).collect();
        Self { script: RefCell::new(script), ..Self::default() }
    }

    /// Everything that was asked, with parameters.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    fn answer(&self, question: &str, details: &str) -> Answer {
        self.asked.borrow_mut().push(format!("{question}{details}"));
        let mut script = self.script.borrow_mut();
        let answers =
            script.get_mut(question).unwrap_or_else(|| panic!("nobody said what `{question}` gives"));
        if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() }
    }

    fn ran(&self, program: &Started<'_>, place: &str) -> Result<Ran, String> {
        let question = program.argv.join(" ");
        let details = format!(" {place} reading {:?} for {}", program.input, program.timeout.as_secs());
        let answer = self.answer(&question, &details);
        let mut records = self.records.borrow_mut();
        for record in self.recorded_by.get(&question).into_iter().flatten() {
            let mut record = record.clone();
            record["sequence"] = (records.len() + 1).into();
            records.push(record);
        }
        match answer {
            Answer::Ran(exit, stdout) => Ok(Ran {
                exit,
                stdout: stdout.to_owned(),
                stderr: String::new(),
                timed_out: false,
                interrupted: false,
            }),
            Answer::NoInstance => Err("there is no such instance".to_owned()),
            other => panic!("{other:?} is no end of a program"),
        }
    }
}

impl Target for Fake {
    fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, CallError> {
        let account = account.map_or(String::new(), |account| format!(" as {account}"));
        match self.answer(&format!("{service}:{operation}"), &format!(" {parameters}{account}")) {
            Answer::Response(response) => Ok(response),
            Answer::Refusal(code) => Err(CallError::Aws { code: code.to_owned(), message: "no".to_owned() }),
            Answer::Down => Err(CallError::Transport("connection refused".to_owned())),
            other => panic!("{other:?} is no answer to a call"),
        }
    }

    fn run(&self, instance: &str, program: &Started<'_>) -> Result<Ran, String> {
        self.ran(program, &format!("in {instance}"))
    }

    fn run_outside(&self, program: &Started<'_>) -> Result<Ran, String> {
        self.ran(program, "outside")
    }

    fn serve(&self, program: &Started<'_>) -> Result<u16, String> {
        self.ran(program, "serving").map(|_| 4000)
    }

    fn service(&self, change: &ServiceChange) -> Result<Value, String> {
        match self.answer("service", &format!(" {change:?}")) {
            Answer::Response(response) => Ok(response),
            Answer::NoInstance => Err("no".to_owned()),
            other => panic!("{other:?} is no answer to a change of a service"),
        }
    }

    fn trace(&self, from: &str, to: &str, protocol: &str, probe: bool) -> Result<Value, String> {
        match self.answer(&format!("trace {from} {to}"), &format!(" {protocol} {probe}")) {
            Answer::Trace(document) => Ok(document),
            Answer::NoInstance => Err("there is no such instance".to_owned()),
            other => panic!("{other:?} is no explanation"),
        }
    }

    fn records(&self, after: u64) -> Result<Vec<Value>, String> {
        let records = self.records.borrow();
        Ok(records.iter().filter(|record| record["sequence"].as_u64().unwrap() > after).cloned().collect())
    }

    fn region(&self) -> String {
        "us-east-1".to_owned()
    }
}

/// A clock that only sleeping moves.
#[derive(Debug, Default)]
pub(super) struct FakeClock(pub RefCell<Duration>);

impl Clock for FakeClock {
    fn now(&self) -> Duration {
        *self.0.borrow()
    }

    fn sleep(&self, duration: Duration) {
        *self.0.borrow_mut() += duration;
    }
}

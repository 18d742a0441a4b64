//! Runs a lab, step by step.
//!
//! INVARIANT: a step holds only if its action was done and every expectation held in one and the same attempt.
//! INVARIANT: clean-up steps run whatever became of the lab, each of them, in reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::clock::{Clock, SystemClock};
use super::expect::{Difference, Wanted};
use super::format::Lab;
use super::leftovers::{LeftOver, Leftovers};
use super::made_up::made_up;
use super::outcome::{Outcome, Problem, StepOutcome, StepResult};
use super::path::Path;
use super::report::{Event, Reporter};
use super::say::{Doing, Filled};
use super::seen::{Seen, shown_at};
use super::step::{Action, Step};
use super::target::{CallError, Started, Target};
use super::template::Variables;

/// The pause before a step is tried again, growing by half each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a lab is run.
#[derive(Debug, Clone, Default)]
pub struct Options<'a> {
    /// A step that is not done; its variables get made-up values.
    pub leave_out: Option<String>,
    /// Whether the steps after a failed one are done all the same.
    pub keep_going: bool,
    /// Whether the lab's `[[cleanup]]` steps are done at the end: in a region that outlives the lab.
    pub cleanup: bool,
    /// Values for variables that the lab declares, in place of its own.
    pub variables: BTreeMap<String, String>,
    /// When this becomes true no further step is begun, except for the clean-up.
    pub interrupt: Option<&'a AtomicBool>,
    /// Where it is written what the clean-up still has to do.
    pub leftovers: Option<&'a Leftovers>,
}

/// Why a lab was not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum RunError {
    /// The step to be left out is not there.
    #[error("the lab `{lab}` has no step `{step}`; its steps are {}", listed(.steps))]
    NoSuchStep {
        /// Which lab.
        lab: String,
        /// Which step.
        step: String,
        /// Those that are there.
        steps: Vec<String>,
    },
    /// A variable was given that the lab does not declare.
    #[error("the lab `{lab}` declares no variable `{variable}`; its variables are {}", listed(.variables))]
    NoSuchVariable {
        /// Which lab.
        lab: String,
        /// Which variable.
        variable: String,
        /// Those that are there.
        variables: Vec<String>,
    },
    /// The left-out step would have set a variable for which no value can be made up.
    #[error("step `{step}` of lab `{lab}` needs `made_up = {{ {variable} = \"…\" }}` to be left out")]
    NothingMadeUp {
        /// Which lab.
        lab: String,
        /// Which step.
        step: String,
        /// Which variable.
        variable: String,
    },
}

/// Names as a sentence lists them.
fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { format!("`{}`", names.join("`, `")) }
}

/// Whether a lab can be run like this: to be asked before a region is started for it.
pub fn check(lab: &Lab, options: &Options<'_>) -> Result<(), RunError> {
    if let Some(unknown) = options.variables.keys().find(|name| !lab.variables.contains_key(*name)) {
        return Err(RunError::NoSuchVariable {
            lab: lab.name.clone(),
            variable: unknown.clone(),
            variables: lab.variables.keys().cloned().collect(),
        });
    }
    check_left_out(lab, options)
}

/// Runs a lab.
pub fn run(lab: &Lab, target: &dyn Target, reporter: &mut dyn Reporter, options: &Options<'_>) -> Outcome {
    run_by(lab, target, reporter, options, &SystemClock::start())
}

pub(super) fn run_by(
    lab: &Lab,
    target: &dyn Target,
    reporter: &mut dyn Reporter,
    options: &Options<'_>,
    clock: &dyn Clock,
) -> Outcome {
    let began = clock.now();
    let not_begun = check(lab, options).err();
    let mut run = Run {
        lab,
        target,
        reporter,
        options,
        clock,
        interrupt: options.interrupt,
        variables: first_variables(lab, target, options),
        done: BTreeSet::new(),
        cleaned: BTreeSet::new(),
        cursor: 0,
    };
    run.reporter.event(&Event::LabBegins {
        lab: &lab.name,
        title: &lab.title,
        summary: &lab.summary,
        steps: lab.steps.len(),
    });
    let (steps, interrupted) = if not_begun.is_none() { run.steps() } else { (Vec::new(), false) };
    let cleanup_failed = if options.cleanup && not_begun.is_none() { run.clean_up() } else { Vec::new() };
    let elapsed = clock.now().saturating_sub(began);
    let outcome = Outcome { steps, cleanup_failed, not_begun, interrupted, elapsed };
    run.reporter.event(&Event::LabEnds { lab: &lab.name, passed: outcome.passed(), outcome: &outcome });
    outcome
}

fn first_variables(lab: &Lab, target: &dyn Target, options: &Options<'_>) -> Variables {
    let given = lab.variables.iter().chain(&options.variables);
    let mut variables: Variables = given.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    variables.insert("lab".to_owned(), lab.name.as_str().into());
    variables.insert("region".to_owned(), target.region().into());
    variables
}

fn check_left_out(lab: &Lab, options: &Options<'_>) -> Result<(), RunError> {
    let Some(id) = options.leave_out.as_deref() else { return Ok(()) };
    let lab_name = || lab.name.clone();
    let Some(step) = lab.steps.iter().find(|step| step.id == id) else {
        let steps = lab.steps.iter().map(|step| step.id.clone()).collect();
        return Err(RunError::NoSuchStep { lab: lab_name(), step: id.to_owned(), steps });
    };
    match step.save.keys().find(|variable| made_up(step, variable).is_none()) {
        None => Ok(()),
        Some(variable) => {
            Err(RunError::NothingMadeUp { lab: lab_name(), step: id.to_owned(), variable: variable.clone() })
        }
    }
}

/// A lab under way.
struct Run<'a> {
    lab: &'a Lab,
    target: &'a dyn Target,
    reporter: &'a mut dyn Reporter,
    options: &'a Options<'a>,
    clock: &'a dyn Clock,
    interrupt: Option<&'a AtomicBool>,
    variables: Variables,
    /// The steps that were done, whatever was expected of them, and those of which nobody knows: the region was asked
    /// and did not answer.
    done: BTreeSet<String>,
    /// The clean-up steps that came out well.
    cleaned: BTreeSet<String>,
    /// The last record that was there before the last program was run.
    cursor: u64,
}

impl Run<'_> {
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    fn steps(&mut self) -> (Vec<StepOutcome>, bool) {
        let mut outcomes = Vec::new();
        let (mut stopped, mut interrupted) = (false, false);
        let lab = self.lab;
        for (place, step) in lab.steps.iter().enumerate() {
            interrupted |= !stopped && self.is_interrupted();
            let began = self.clock.now();
            let result = if stopped || interrupted {
                StepResult::NotReached
            } else if self.options.leave_out.as_ref() == Some(&step.id) {
                self.leave_out(step, place);
                StepResult::LeftOut
            } else {
                let watched = is_watched(lab, place);
                self.step(step, place, watched)
            };
            stopped |= matches!(result, StepResult::Failed(_)) && !self.options.keep_going;
            let elapsed = self.clock.now().saturating_sub(began);
            outcomes.push(StepOutcome { id: step.id.clone(), result, elapsed });
            self.note_leftovers();
        }
        (outcomes, interrupted || self.is_interrupted())
    }

    fn leave_out(&mut self, step: &Step, place: usize) {
        for name in step.save.keys() {
            if let Some(value) = made_up(step, name) {
                self.variables.insert(name.clone(), value);
            }
        }
        self.reporter.event(&Event::LeftOut { number: place + 1, of: self.lab.steps.len(), id: &step.id });
    }

    fn step(&mut self, step: &Step, place: usize, watched: bool) -> StepResult {
        let began = self.clock.now();
        let filled = Doing::fill(&step.action, &self.variables).map_err(|unknown| unknown.to_string());
        let wanted = Wanted::fill(&step.expect, &step.action, &self.variables);
        let command = filled.as_ref().map_or_else(|_| String::new(), Doing::typed);
        let expected = wanted.as_ref().map_or_else(|_| Vec::new(), |wanted| wanted.words(&step.action));
        self.reporter.event(&Event::StepBegins {
            number: place + 1,
            of: self.lab.steps.len(),
            id: &step.id,
            say: &step.say,
            command: &command,
            expected: &expected,
            within_seconds: step.within.map(|within| within.as_secs()),
        });
        let tried = match (filled, wanted) {
            (Ok(doing), Ok(wanted)) => self.attempts(step, &doing, &wanted, watched),
            (Err(why), _) | (_, Err(why)) => Tried {
                attempts: 0,
                seen: None,
                found: Vec::new(),
                differences: vec![Difference::new("step", "can be done", why)],
            },
        };
        let text = tried.seen.as_ref().map(Seen::text).unwrap_or_default();
        let brief = tried.brief();
        self.reporter.event(&Event::StepEnds {
            id: &step.id,
            held: tried.differences.is_empty(),
            seen: &text,
            brief: &brief,
            explanation: matches!(tried.seen, Some(Seen::Trace(_))),
            differences: &tried.differences,
            attempts: tried.attempts,
            seconds: self.clock.now().saturating_sub(began).as_secs_f64(),
        });
        if tried.differences.is_empty() {
            StepResult::Held
        } else {
            StepResult::Failed(Problem { differences: tried.differences, attempts: tried.attempts })
        }
    }

    /// Does a step until it comes out as expected or its time is over.
    fn attempts(&mut self, step: &Step, doing: &Doing, wanted: &Wanted, watched: bool) -> Tried {
        let deadline = self.clock.now() + step.within.unwrap_or_default();
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let seen = self.attempt(doing, watched);
            let unknown = matches!((doing, &seen), (Doing::Call { .. }, Seen::Unreachable(_)));
            if seen.was_done() || unknown {
                self.done.insert(step.id.clone());
            }
            let mut differences = wanted.differences(&seen);
            let mut found = wanted.found(&seen);
            if differences.is_empty() {
                differences = self.save(step, &seen, &mut found);
            }
            let left = deadline.saturating_sub(self.clock.now());
            if differences.is_empty() || left.is_zero() || self.is_interrupted() {
                return Tried { attempts, seen: Some(seen), found, differences };
            }
            self.reporter.event(&Event::TriesAgain { id: &step.id, attempts, differences: &differences });
            self.clock.sleep(pause.min(left));
            if self.is_interrupted() {
                return Tried { attempts, seen: Some(seen), found, differences };
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    fn attempt(&mut self, doing: &Doing, watched: bool) -> Seen {
        if watched && let Err(why) = self.move_cursor() {
            return Seen::Unreachable(why);
        }
        let target = self.target;
        match doing {
            Doing::Call { account, service, operation, parameters } => {
                match target.call(account.as_deref(), service, operation, parameters) {
                    Ok(response) => Seen::Response(response),
                    Err(CallError::Aws { code, message }) => Seen::Refused { code, message },
                    Err(error @ CallError::Transport(_)) => Seen::Unreachable(error.to_string()),
                }
            }
            Doing::Run { instance, program } => {
                target.run(instance, &self.started(program)).map_or_else(Seen::Nothing, Seen::Ran)
            }
            Doing::RunOutside { program } => {
                target.run_outside(&self.started(program)).map_or_else(Seen::Nothing, Seen::Ran)
            }
            Doing::Serve { program } => {
                target.serve(&self.started(program)).map_or_else(Seen::Nothing, |port| {
                    Seen::Response(json!({ "port": port, "url": format!("http://127.0.0.1:{port}") }))
                })
            }
            Doing::Service(change) => target.service(change).map_or_else(Seen::Nothing, Seen::Response),
            Doing::Trace { from, to, protocol, probe } => {
                target.trace(from, to, protocol, *probe).map_or_else(Seen::Nothing, Seen::Trace)
            }
            Doing::Record { wanted } => self.records(wanted),
        }
    }

    fn started<'p>(&'p self, program: &'p Filled) -> Started<'p> {
        Started {
            argv: &program.argv,
            input: program.input.as_deref(),
            timeout: program.timeout,
            interrupt: self.interrupt,
        }
    }

    /// Puts all records there are behind.
    fn move_cursor(&mut self) -> Result<(), String> {
        for record in self.target.records(self.cursor)? {
            let sequence =
                record["sequence"].as_u64().ok_or_else(|| "a record has no `sequence`".to_owned())?;
            self.cursor = self.cursor.max(sequence);
        }
        Ok(())
    }

    fn records(&self, wanted: &[(String, Value)]) -> Seen {
        let records = match self.target.records(self.cursor) {
            Ok(records) => records,
            Err(why) => return Seen::Unreachable(why),
        };
        let of = records.len();
        let fits = |record: &Value| {
            wanted
                .iter()
                .all(|(path, value)| Path::parse(path).is_ok_and(|path| path.find(record) == Some(value)))
        };
        Seen::Records { fitting: records.into_iter().filter(fits).collect(), of }
    }

    /// Sets the variables that the step saves and adds them to what was found; what is not there is a difference.
    fn save(&mut self, step: &Step, seen: &Seen, found_words: &mut Vec<String>) -> Vec<Difference> {
        let documents = seen.documents();
        let mut differences = Vec::new();
        for (name, template) in &step.save {
            let found =
                template.text(&self.variables).map_err(|unknown| unknown.to_string()).and_then(|source| {
                    let path = Path::parse(&source).map_err(|error| error.to_string())?;
                    let found = documents.last().and_then(|document| path.find(document));
                    let found = found.cloned().ok_or_else(|| format!("there is no {source}"))?;
                    Ok((shown_at(&path, &found), found))
                });
            match found {
                Ok((shown, value)) => {
                    found_words.push(format!("{name} = {shown}"));
                    self.variables.insert(name.clone(), value);
                }
                Err(why) => differences.push(Difference::new(format!("save {name}"), "a value", why)),
            }
        }
        differences
    }

    /// Does the clean-up steps, last first, and returns those that failed.
    fn clean_up(&mut self) -> Vec<StepOutcome> {
        let lab = self.lab;
        // It has its patience even when the lab was interrupted.
        self.interrupt = None;
        self.reporter.event(&Event::CleanUpBegins { steps: lab.cleanup.len() });
        let mut failed = Vec::new();
        for step in lab.cleanup.iter().rev() {
            let began = self.clock.now();
            let result = self.clean_up_step(step);
            let elapsed = self.clock.now().saturating_sub(began);
            self.reporter.event(&Event::CleanedUp { id: &step.id, result: &result });
            if matches!(result, StepResult::Held) {
                self.cleaned.insert(step.id.clone());
            }
            self.note_leftovers();
            if matches!(result, StepResult::Failed(_)) {
                failed.push(StepOutcome { id: step.id.clone(), result, elapsed });
            }
        }
        failed
    }

    /// Writes down what the clean-up still has to do.
    fn note_leftovers(&self) {
        let Some(leftovers) = self.options.leftovers else { return };
        let open = self.lab.cleanup.iter().rev().filter(|step| !self.cleaned.contains(&step.id));
        let takes_down = open.filter(|step| step.action.may_change_something() && self.has_to_undo(step));
        // A variable that was never set names something that was never made.
        let left = takes_down.filter_map(|step| {
            let doing = Doing::fill(&step.action, &self.variables).ok()?;
            Some(LeftOver { id: step.id.clone(), command: doing.typed() })
        });
        leftovers.set(left.collect());
    }

    /// Whether what a clean-up step undoes was done.
    fn has_to_undo(&self, step: &Step) -> bool {
        step.undoes.as_ref().is_none_or(|undone| self.done.contains(undone))
    }

    fn clean_up_step(&mut self, step: &Step) -> StepResult {
        if !self.has_to_undo(step) {
            return StepResult::NothingToDo;
        }
        // A variable that was never set names something that was never made.
        let Ok(doing) = Doing::fill(&step.action, &self.variables) else { return StepResult::NothingToDo };
        let tried = match Wanted::fill(&step.expect, &step.action, &self.variables) {
            Ok(wanted) => self.attempts(step, &doing, &wanted, false),
            Err(_) => return StepResult::NothingToDo,
        };
        if tried.differences.is_empty() {
            StepResult::Held
        } else {
            StepResult::Failed(Problem { differences: tried.differences, attempts: tried.attempts })
        }
    }
}

/// What became of trying.
struct Tried {
    attempts: u32,
    seen: Option<Seen>,
    /// What was found where something was looked for, in words.
    found: Vec<String>,
    differences: Vec<Difference>,
}

impl Tried {
    /// What people are shown where nothing differs.
    fn brief(&self) -> String {
        match &self.seen {
            Some(seen) if seen.is_document() && !self.found.is_empty() => self.found.join("\n"),
            Some(seen) => seen.brief(),
            None => String::new(),
        }
    }
}

/// Whether records are looked for between a step that runs a program and the next one that does.
fn is_watched(lab: &Lab, place: usize) -> bool {
    let step = &lab.steps[place];
    let mut later = lab.steps[place + 1..].iter().take_while(|later| !later.action.runs_a_program());
    step.action.runs_a_program() && later.any(|later| matches!(later.action, Action::Record { .. }))
}

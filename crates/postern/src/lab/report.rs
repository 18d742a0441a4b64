//! What a lab tells while it runs: to people, or as a line of JSON for each event.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::expect::Difference;
use super::outcome::{Outcome, StepResult};

/// How much of what was seen people are shown, where the step held and where it failed.
const LINES_HELD: usize = 12;
const LINES_FAILED: usize = 60;
/// Expectations longer than this together get a line each.
const ONE_LINE_CHARS: usize = 100;
/// The most characters of a line that people are shown.
const LINE_CHARS: usize = 200;
/// The most bytes of what was seen in an event.
const SEEN_BYTES: usize = 64 << 10;

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event<'a> {
    /// A lab begins.
    LabBegins {
        /// Its name.
        lab: &'a str,
        /// Its title.
        title: &'a str,
        /// What it shows.
        summary: &'a str,
        /// How many steps it has.
        steps: usize,
    },
    /// A step begins.
    StepBegins {
        /// Its place, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its id.
        id: &'a str,
        /// What it does and why.
        say: &'a str,
        /// What a person would type; empty where a variable is missing.
        command: &'a str,
        /// What has to come of it, in words.
        expected: &'a [String],
        /// How long it is tried.
        within_seconds: Option<u64>,
    },
    /// A step has not come out as expected yet and is done again.
    TriesAgain {
        /// Its id.
        id: &'a str,
        /// How often it was tried.
        attempts: u32,
        /// What differed.
        differences: &'a [Difference],
    },
    /// A step ends.
    StepEnds {
        /// Its id.
        id: &'a str,
        /// Whether it came out as expected.
        held: bool,
        /// What was seen.
        #[serde(serialize_with = "trimmed")]
        seen: &'a str,
        /// What people are shown of it where nothing differs.
        #[serde(skip)]
        brief: &'a str,
        /// Whether what was seen is an explanation, which is shown whole.
        explanation: bool,
        /// What differed.
        differences: &'a [Difference],
        /// How often it was tried.
        attempts: u32,
        /// How long it took.
        seconds: f64,
    },
    /// A step was left out on request.
    LeftOut {
        /// Its place, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Its id.
        id: &'a str,
    },
    /// The clean-up begins.
    CleanUpBegins {
        /// How many steps it has.
        steps: usize,
    },
    /// A clean-up step was done.
    CleanedUp {
        /// Its id.
        id: &'a str,
        /// How it came out.
        result: &'a StepResult,
    },
    /// The lab ends.
    LabEnds {
        /// Its name.
        lab: &'a str,
        /// Whether everything held.
        passed: bool,
        /// What became of each step.
        outcome: &'a Outcome,
    },
}

fn trimmed<S: serde::Serializer>(seen: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&seen[..seen.floor_char_boundary(SEEN_BYTES)])
}

/// Who is told.
pub trait Reporter {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&mut self, _: &Event<'_>) {}
}

/// Tells programs: a line of JSON for each event.
#[derive(Debug)]
pub struct JsonReporter<W> {
    to: W,
    /// The first failure to write; nothing is written after it.
    pub failure: Option<io::Error>,
}

impl<W: Write> JsonReporter<W> {
    /// Tells this writer.
    pub fn new(to: W) -> Self {
        Self { to, failure: None }
    }

    #[cfg(test)]
    pub(super) fn into_inner(self) -> W {
        self.to
    }
}

impl<W: Write> Reporter for JsonReporter<W> {
    fn event(&mut self, event: &Event<'_>) {
        if self.failure.is_some() {
            return;
        }
        let line = serde_json::to_string(event).map_err(io::Error::from);
        let told = line.and_then(|line| writeln!(self.to, "{line}")).and_then(|()| self.to.flush());
        self.failure = told.err();
    }
}

/// Tells people.
#[derive(Debug)]
pub struct TextReporter<W> {
    to: W,
    colour: bool,
    /// The first failure to write; nothing is written after it.
    pub failure: Option<io::Error>,
}

impl TextReporter<io::Stdout> {
    /// Tells standard output, with colours if that is a terminal and nobody objects (`NO_COLOR`).
    pub fn new(to: io::Stdout) -> Self {
        let colour = to.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { to, colour, failure: None }
    }
}

#[cfg(test)]
impl TextReporter<Vec<u8>> {
    /// Keeps what it tells, without colours.
    pub(super) fn kept() -> Self {
        Self { to: Vec::new(), colour: false, failure: None }
    }

    pub(super) fn into_inner(self) -> Vec<u8> {
        self.to
    }
}

impl<W: Write> TextReporter<W> {
    fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::LabBegins { lab, title, summary, steps } => {
                writeln!(self.to, "{}", self.bold(&format!("Lab {lab}: {title}")))?;
                for line in summary.trim().lines() {
                    writeln!(self.to, "  {}", line.trim())?;
                }
                writeln!(self.to, "  {steps} steps")
            }
            Event::StepBegins { number, of, id, say, command, expected, within_seconds } => {
                let head = format!("[{number}/{of}] {id}");
                writeln!(self.to, "\n{}", self.bold(&head))?;
                self.lines("      ", say, usize::MAX)?;
                self.command(command)?;
                let patience =
                    within_seconds.map_or(String::new(), |seconds| format!(" (within {seconds} s)"));
                if !expected.is_empty() {
                    let width: usize = expected.iter().map(String::len).sum();
                    let between = if width > ONE_LINE_CHARS { "\n" } else { "; " };
                    let expected = format!("{}{patience}", expected.join(between));
                    self.lines("      expected: ", &expected, LINES_HELD)?;
                }
                Ok(())
            }
            Event::TriesAgain { .. } => Ok(()),
            Event::StepEnds { id: _, held, seen, brief, explanation, differences, attempts, seconds } => {
                let shown = if *held && !explanation { LINES_HELD } else { LINES_FAILED };
                self.lines("      seen: ", if *held { brief } else { seen }, shown)?;
                for difference in *differences {
                    let Difference { what, expected, seen } = difference;
                    self.lines("      differs: ", &format!("{what}: expected {expected}, seen {seen}"), 8)?;
                }
                let verdict = if *held { self.green("ok") } else { self.red("FAILED") };
                let tries = if *attempts > 1 { format!(", {attempts} tries") } else { String::new() };
                writeln!(self.to, "      {verdict} ({seconds:.1} s{tries})")
            }
            Event::LeftOut { number, of, id } => writeln!(self.to, "\n[{number}/{of}] {id}\n      left out"),
            Event::CleanUpBegins { steps } => writeln!(self.to, "\nClean-up: {steps} steps"),
            Event::CleanedUp { id, result } => {
                let verdict = match result {
                    StepResult::Held => self.green("ok"),
                    StepResult::Failed(_) => self.red("FAILED"),
                    StepResult::LeftOut | StepResult::NotReached => "not done".to_owned(),
                    StepResult::NothingToDo => "nothing to do".to_owned(),
                };
                writeln!(self.to, "  {verdict}  {id}")?;
                if let StepResult::Failed(problem) = result {
                    for Difference { what, expected, seen } in &problem.differences {
                        self.lines("      ", &format!("{what}: expected {expected}, seen {seen}"), 8)?;
                    }
                }
                Ok(())
            }
            Event::LabEnds { lab, passed, outcome } => self.end(lab, *passed, outcome),
        }
    }

    fn command(&mut self, command: &str) -> io::Result<()> {
        let mut lines = command.lines();
        if let Some(first) = lines.next() {
            writeln!(self.to, "      $ {first}")?;
        }
        lines.try_for_each(|line| writeln!(self.to, "        {line}"))
    }

    fn end(&mut self, lab: &str, passed: bool, outcome: &Outcome) -> io::Result<()> {
        let (held, of) = (outcome.held(), outcome.steps.len());
        let seconds = outcome.elapsed.as_secs_f64();
        let verdict = if passed { self.green("passed") } else { self.red("FAILED") };
        write!(self.to, "\nLab {lab} {verdict}: {held} of {of} steps held in {seconds:.1} s")?;
        if let Some(why) = &outcome.not_begun {
            write!(self.to, "; {why}")?;
        }
        if let Some(step) = outcome.failed_step() {
            write!(self.to, "; step `{}` did not", step.id)?;
        }
        if outcome.interrupted {
            write!(self.to, "; interrupted")?;
        }
        if !outcome.cleanup_failed.is_empty() {
            write!(self.to, "; {} clean-up steps failed", outcome.cleanup_failed.len())?;
        }
        writeln!(self.to)
    }

    /// A text after a word in front, further lines below it, so many at most.
    fn lines(&mut self, front: &str, text: &str, most: usize) -> io::Result<()> {
        let lines: Vec<&str> = text.trim_end().trim_start_matches(['\n', '\r']).lines().collect();
        let below = " ".repeat(front.len());
        // The beginning says what it is and the end how it came out: what is left out is in the middle.
        let (head, tail) = if lines.len() > most { (most / 2, most - most / 2) } else { (lines.len(), 0) };
        for (number, line) in lines[..head].iter().enumerate() {
            let front = if number == 0 { front } else { &below };
            writeln!(self.to, "{front}{}", shortened(line))?;
        }
        if tail > 0 {
            writeln!(self.to, "{below}… {} more lines …", lines.len() - head - tail)?;
            for line in &lines[lines.len() - tail..] {
                writeln!(self.to, "{below}{}", shortened(line))?;
            }
        }
        Ok(())
    }

    fn bold(&self, text: &str) -> String {
        self.dressed(text, "1")
    }

    fn green(&self, text: &str) -> String {
        self.dressed(text, "32")
    }

    fn red(&self, text: &str) -> String {
        self.dressed(text, "31")
    }

    fn dressed(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

impl<W: Write> Reporter for TextReporter<W> {
    fn event(&mut self, event: &Event<'_>) {
        if self.failure.is_some() {
            return;
        }
        let told = self.write(event).and_then(|()| self.to.flush());
        self.failure = told.err();
    }
}

/// A line that fits, without what would move the cursor: it may be any program's output.
fn shortened(line: &str) -> String {
    let mut text: String = line
        .chars()
        .take(LINE_CHARS)
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect();
    if line.chars().nth(LINE_CHARS).is_some() {
        text.push('…');
    }
    text
}

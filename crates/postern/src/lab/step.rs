//! What a step of a lab is, once it has been read and checked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::template::{Template, Tree};

/// One step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Its name in the lab.
    pub id: String,
    /// What it does and why, for the reader.
    pub say: String,
    /// Where it begins in the file.
    pub line: usize,
    /// What it does.
    pub action: Action,
    /// What has to come of it.
    pub expect: Expect,
    /// Variables that it sets, and where in what was seen their values are: templates of paths.
    pub save: BTreeMap<String, Template>,
    /// How long it is done again until it comes out as expected.
    pub within: Option<Duration>,
    /// The step that fails when this one is left out.
    pub needed_by: Option<String>,
    /// Of a clean-up step: the step without which there is nothing to clean up.
    pub undoes: Option<String>,
    /// What its variables are when it is left out, where no value can be made up.
    pub made_up: BTreeMap<String, String>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Calls an API operation.
    Call { account: Option<Template>, service: String, operation: String, parameters: Tree },
    /// Runs a program in an instance.
    Run { instance: Template, program: Program },
    /// Runs a program on the caller's machine.
    RunOutside { program: Program },
    /// Starts a program on the caller's machine that answers at a port until the lab ends.
    Serve { program: Program },
    /// Puts a service behind the region's doors, or takes it away.
    Service(Service),
    /// Asks for an explanation.
    Trace { from: Template, to: Template, protocol: Template, probe: bool },
    /// Looks at what the front door recorded since the last program was run.
    Record { wanted: BTreeMap<String, Template> },
}

/// What is done with a service that another program answers for.
#[derive(Debug, Clone)]
pub(super) enum Service {
    /// It is put behind the doors.
    Add(Box<Added>),
    /// It is taken away.
    Remove { name: Template },
}

/// A service that is put behind the doors.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub name: Template,
    pub upstream: Template,
    pub private_dns: Vec<Template>,
    pub protocol: Option<Template>,
    pub signing_name: Option<Template>,
    /// The id of a key and its secret.
    pub key: Option<(Template, Template)>,
}

impl Service {
    /// Gives every template in it to `visit`.
    fn each_template<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        match self {
            Self::Add(added) => {
                let Added { name, upstream, private_dns, protocol, signing_name, key } = &**added;
                [name, upstream].into_iter().chain(private_dns).for_each(&mut *visit);
                [protocol, signing_name].into_iter().flatten().for_each(&mut *visit);
                key.iter().flat_map(|(id, secret)| [id, secret]).for_each(visit);
            }
            Self::Remove { name } => visit(name),
        }
    }
}

/// A program.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub command: Command,
    pub input: Option<Template>,
    pub timeout: Duration,
}

/// How a program is named.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// A line for `sh -c`.
    Shell(Template),
    /// A program and its arguments.
    Words(Vec<Template>),
}

/// What has to come of a step. What is not said is not looked at, except that a step which says nothing else has to
/// succeed ([`Expect::exit`], [`Expect::error`] and [`Expect::arrives`] say what success is).
#[derive(Debug, Clone, Default)]
pub(super) struct Expect {
    /// How the program ends; unsaid, and with no [`Expect::timed_out`], it is zero.
    pub exit: Option<Exit>,
    /// Whether the program is still running when its time is over.
    pub timed_out: bool,
    /// What the text has in it.
    pub output: Vec<Template>,
    /// What the text has not in it.
    pub lacks: Vec<Template>,
    /// A regular expression that the text matches; variables stand for themselves, not for expressions.
    pub matches: Option<Template>,
    /// AWS's code of the refusal; unsaid, the call is not refused.
    pub error: Option<Template>,
    /// Values in the document, by templates of paths.
    pub value: Vec<(Template, Tree)>,
    /// Paths that lead to nothing in the document.
    pub absent: Vec<Template>,
    /// Whether a traced flow arrives; unsaid, and with no [`Expect::refused_by`], it does.
    pub arrives: Option<bool>,
    /// The stage that refuses a traced flow.
    pub refused_by: Option<Template>,
    /// Whether the probe fared as explained; unsaid, it did, if there was one.
    pub probe_agrees: Option<bool>,
}

/// An exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// This one.
    Status(i32),
    /// Any but zero.
    Nonzero,
}

impl Step {
    /// Whether later steps can need it: what [`super::verify_omissions_of`] leaves out.
    pub(super) fn can_be_needed(&self) -> bool {
        let call = matches!(self.action, Action::Call { .. });
        self.needed_by.is_some() || self.action.changes_something() || (call && !self.save.is_empty())
    }
}

impl Action {
    /// Whether it changes a region, as its name says.
    fn changes_something(&self) -> bool {
        match self {
            Self::Call { operation, .. } => {
                !["Describe", "Get", "List", "Search"].iter().any(|verb| operation.starts_with(verb))
            }
            Self::Service(_) => true,
            Self::Run { .. }
            | Self::RunOutside { .. }
            | Self::Serve { .. }
            | Self::Trace { .. }
            | Self::Record { .. } => false,
        }
    }

    /// What it does that no client of AWS's API can.
    pub(super) fn beyond_the_api(&self) -> Option<&'static str> {
        match self {
            Self::Call { account: None, .. } | Self::RunOutside { .. } | Self::Serve { .. } => None,
            Self::Service(_) => Some("says who answers for a service"),
            Self::Call { account: Some(_), .. } => Some("acts as another account"),
            Self::Run { .. } => Some("runs a program in an instance"),
            Self::Trace { .. } => Some("asks for an explanation"),
            Self::Record { .. } => Some("looks at the front door's records"),
        }
    }

    /// Whether it may change something: a call by its name, and programs may do anything.
    pub(super) fn may_change_something(&self) -> bool {
        self.changes_something() || self.runs_a_program()
    }

    /// Whether it runs a program, after which records are looked for anew.
    pub(super) fn runs_a_program(&self) -> bool {
        match self {
            Self::Run { .. } | Self::RunOutside { .. } => true,
            Self::Call { .. }
            | Self::Serve { .. }
            | Self::Service(_)
            | Self::Trace { .. }
            | Self::Record { .. } => false,
        }
    }

    /// Gives every template in it to `visit`.
    pub(super) fn each_template<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        match self {
            Self::Call { account, service: _, operation: _, parameters } => {
                account.iter().for_each(&mut *visit);
                parameters.each_template(visit);
            }
            Self::Run { instance, program } => {
                visit(instance);
                program.each_template(visit);
            }
            Self::RunOutside { program } | Self::Serve { program } => program.each_template(visit),
            Self::Service(service) => service.each_template(visit),
            Self::Trace { from, to, protocol, probe: _ } => [from, to, protocol].into_iter().for_each(visit),
            Self::Record { wanted } => wanted.values().for_each(visit),
        }
    }
}

impl Program {
    fn each_template<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        match &self.command {
            Command::Shell(line) => visit(line),
            Command::Words(words) => words.iter().for_each(&mut *visit),
        }
        self.input.iter().for_each(visit);
    }
}

impl Expect {
    /// Gives every template in it to `visit`.
    pub(super) fn each_template<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        let Self { exit: _, timed_out: _, arrives: _, probe_agrees: _, .. } = self;
        let texts = [&self.output, &self.lacks, &self.absent].into_iter().flatten();
        texts
            .chain([&self.matches, &self.error, &self.refused_by].into_iter().flatten())
            .for_each(&mut *visit);
        for (path, tree) in &self.value {
            visit(path);
            tree.each_template(visit);
        }
    }
}

//! A region as a lab sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

/// Everything that a lab can do to a region and see of it. The calls block; the engine runs on a plain thread.
///
/// Whoever implements it bounds what it captures of a program's output.
pub trait Target {
    /// Calls an API operation as the root of `account`, of the region's first account if none is given. Parameters and
    /// response have AWS's names; binary parameters are base64, as in the API.
    fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, CallError>;

    /// Runs a program in an instance and waits.
    fn run(&self, instance: &str, program: &Started<'_>) -> Result<Ran, String>;

    /// The same on the caller's machine, with the environment that points `aws` at the region.
    fn run_outside(&self, program: &Started<'_>) -> Result<Ran, String>;

    /// Starts a program on the caller's machine with a port of its own in the variable `PORT`, waits until something listens
    /// there, and answers the port. It ends when the lab does.
    fn serve(&self, program: &Started<'_>) -> Result<u16, String>;

    /// Says who answers for a service.
    fn service(&self, change: &ServiceChange) -> Result<Value, String>;

    /// Explains: the JSON of `postern_path::explain::Explanation`, and with `probe` a member `probe`, an object whose
    /// member `agrees` says whether a real packet fared as explained.
    fn trace(&self, from: &str, to: &str, protocol: &str, probe: bool) -> Result<Value, String>;

    /// What the front door recorded after a sequence number, in order: audit records, each with its `sequence`.
    fn records(&self, after: u64) -> Result<Vec<Value>, String>;

    /// The region's name.
    fn region(&self) -> String;
}

/// Why a call gave no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The API refused.
    #[error("{code}: {message}")]
    Aws {
        /// AWS's code.
        code: String,
        /// AWS's sentence.
        message: String,
    },
    /// The API could not be asked.
    #[error("the API could not be asked: {0}")]
    Transport(String),
}

/// A program that is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Started<'a> {
    /// The program and its arguments.
    pub argv: &'a [String],
    /// Its standard input; none means nothing to read.
    pub input: Option<&'a str>,
    /// After this it is killed with all that it started.
    pub timeout: Duration,
    /// And so it is when this becomes true.
    pub interrupt: Option<&'a AtomicBool>,
}

impl Started<'_> {
    /// Whether somebody wants it to end before its time.
    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// What is to become of a service that another program answers for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceChange {
    /// It is put behind the doors; see `postern service add`.
    Add {
        /// The end of its name.
        name: String,
        /// Who answers.
        upstream: String,
        /// Its names, of one that AWS does not have.
        private_dns: Vec<String>,
        /// How it is spoken to.
        protocol: Option<String>,
        /// Its name in signatures.
        signing_name: Option<String>,
        /// What requests are signed with anew: the id of a key and its secret.
        key: Option<(String, String)>,
    },
    /// It is taken away.
    Remove {
        /// The end of its name.
        name: String,
    },
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status as a shell gives it. Without meaning where it was killed before it had ended.
    pub exit: i32,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote as errors.
    pub stderr: String,
    /// Whether it was killed for taking too long.
    pub timed_out: bool,
    /// Whether it was killed because somebody interrupted the lab.
    pub interrupted: bool,
}

impl<T: Target + ?Sized> Target for &T {
    fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, CallError> {
        (**self).call(account, service, operation, parameters)
    }

    fn run(&self, instance: &str, program: &Started<'_>) -> Result<Ran, String> {
        (**self).run(instance, program)
    }

    fn run_outside(&self, program: &Started<'_>) -> Result<Ran, String> {
        (**self).run_outside(program)
    }

    fn serve(&self, program: &Started<'_>) -> Result<u16, String> {
        (**self).serve(program)
    }

    fn service(&self, change: &ServiceChange) -> Result<Value, String> {
        (**self).service(change)
    }

    fn trace(&self, from: &str, to: &str, protocol: &str, probe: bool) -> Result<Value, String> {
        (**self).trace(from, to, protocol, probe)
    }

    fn records(&self, after: u64) -> Result<Vec<Value>, String> {
        (**self).records(after)
    }

    fn region(&self) -> String {
        (**self).region()
    }
}

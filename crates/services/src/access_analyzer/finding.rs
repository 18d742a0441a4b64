//! What a finding is.
//!
//! Source: "IAM policy validation check reference", <https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html>,
//! where each check has a section; issue codes and the sections' names are the same words.

use postern_policy::Place;

const PAGE: &str =
    "https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html";

/// What is to be said of one place of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) details: String,
    /// None of what is about the document as a whole.
    pub(super) place: Option<Place>,
}

/// One of AWS's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) finding_type: FindingType,
    /// As the reference calls it: `invalid-action`.
    pub(super) name: &'static str,
}

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FindingType {
    Error,
    SecurityWarning,
    Suggestion,
    Warning,
}

impl FindingType {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::SecurityWarning => "SECURITY_WARNING",
            Self::Suggestion => "SUGGESTION",
            Self::Warning => "WARNING",
        }
    }

    /// As the reference's sections begin.
    fn section(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::SecurityWarning => "security-warning",
            Self::Suggestion => "suggestion",
            Self::Warning => "general-warning",
        }
    }
}

impl Check {
    pub(super) const fn error(name: &'static str) -> Self {
        Self { finding_type: FindingType::Error, name }
    }

    pub(super) const fn warning(name: &'static str) -> Self {
        Self { finding_type: FindingType::Warning, name }
    }

    pub(super) const fn security(name: &'static str) -> Self {
        Self { finding_type: FindingType::SecurityWarning, name }
    }

    pub(super) const fn suggestion(name: &'static str) -> Self {
        Self { finding_type: FindingType::Suggestion, name }
    }

    /// Such as `INVALID_ACTION`.
    pub(super) fn issue_code(self) -> String {
        self.name.replace('-', "_").to_ascii_uppercase()
    }

    pub(super) fn link(self) -> String {
        let (section, name) = (self.finding_type.section(), self.name);
        format!("{PAGE}#access-analyzer-reference-policy-checks-{section}-{name}")
    }

    pub(super) fn finding(self, place: Option<Place>, details: impl Into<String>) -> Finding {
        Finding { check: self, details: details.into(), place }
    }
}

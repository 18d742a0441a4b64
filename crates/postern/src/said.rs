//! Errors as people read them.

/// An error with its causes, each said once: some errors say their cause in their own sentence, and all keep it.
pub fn said(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !last.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        last = cause;
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Example {
        #[error("cannot open `x`: {0}; look for it")]
        Tells(#[source] std::io::Error),
        #[error("cannot open `x`")]
        Keeps(#[source] std::io::Error),
        #[error(transparent)]
        Passes(std::io::Error),
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::from_raw_os_error(2);
        let said = |error: Example| said(&Err::<(), _>(error).context("it failed").unwrap_err());
        let why = "No such file or directory (os error 2)";
        assert_eq!(said(Example::Tells(cause())), format!("it failed: cannot open `x`: {why}; look for it"));
        assert_eq!(said(Example::Keeps(cause())), format!("it failed: cannot open `x`: {why}"));
        assert_eq!(said(Example::Passes(cause())), format!("it failed: {why}"));
    }

    #[test]
    fn a_damaged_state_is_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = directory.path().join("ledger");
        std::fs::write(&ledger, "no directory").unwrap();
        let region = postern_model::Region::new("us-east-1").unwrap();
        let opened = postern_store::Ledger::open(
            &ledger,
            postern_store::Options::new(region),
            postern_store::Sources::system(),
        );
        let said = said(&anyhow::Error::new(opened.err().unwrap()));
        assert_eq!(said.matches("os error").count(), 1, "{said}");
    }
}

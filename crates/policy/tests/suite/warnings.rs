//! What is accepted and warned about, in which words and where.

use crate::documents::kind;
use crate::fixture;
use postern_policy::PolicyDocument;

#[test]
fn warned_in_these_words() {
    let cases = fixture::cases(include_str!("fixtures/warnings.txt"));
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let kind = kind(case.must("kind"));
        let text = fixture::document_text(case.must("document"), kind);
        let document =
            PolicyDocument::parse(&text, kind).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let got: Vec<String> = document.warnings().iter().map(ToString::to_string).collect();
        if got != case.all("warning") {
            let wanted = case.all("warning").join("\n         ");
            failures.push(format!(
                "`{}`\n  wanted {wanted}\n  got    {}",
                case.name,
                got.join("\n         ")
            ));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// AWS's own documents, and the region's, are not suspicious.
#[test]
fn defaults_have_no_warnings() {
    for (text, gateway) in [
        (postern_policy::DEFAULT_GATEWAY_ENDPOINT_POLICY, true),
        (postern_policy::DEFAULT_INTERFACE_ENDPOINT_POLICY, false),
    ] {
        let document = PolicyDocument::parse(text, postern_policy::Kind::Endpoint { gateway }).unwrap();
        assert_eq!(document.warnings(), []);
    }
}

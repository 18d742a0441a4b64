//! The fixtures: a topology in text, and what is said of flows in it.
//!
//! `POSTERN_RENEW=1` writes down what is said now; read the difference before you keep it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use postern_path::{Resolution, Stage};
use postern_testkit::coverage::{self, Drawn};
use postern_testkit::fixture;

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let entries = fs::read_dir(folder).expect("the folder of fixtures");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_fixture_is_explained_as_it_says() {
    let renew = std::env::var_os("POSTERN_RENEW").is_some();
    let (mut wrong, mut count, mut all) = (Vec::new(), 0, Drawn::new());
    let mut names = BTreeSet::new();
    for file in files() {
        let text = fs::read_to_string(&file).expect("a fixture");
        let (cases, renewed) = fixture::run(&text).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        if renew {
            fs::write(&file, renewed).expect("writes the fixture");
        }
        for case in cases {
            count += 1;
            if let Some((_, decision)) = &case.probe.decided {
                all.extend(coverage::of(decision));
            }
            names.extend(case.probe.resolution.as_ref().map(name_verdict));
            if case.probe.text.trim() != case.expected {
                let name = file.file_name().unwrap_or_default().display().to_string();
                let got = case.probe.text.trim();
                wrong.push(format!("{name}: {}\nexpected\n  {}\ngot\n  {got}\n", case.flow, case.expected));
            }
        }
    }
    assert!(renew || wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} flows");
    let missing: Vec<_> = coverage::wanted().difference(&all).copied().collect();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
    assert_eq!(names.len(), 2, "{} both passes and refuses", Stage::Name.name());
}

fn name_verdict(resolution: &Resolution) -> bool {
    matches!(resolution, Resolution::Addresses { .. })
}

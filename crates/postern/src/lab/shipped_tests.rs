//! The labs that ship with Postern can be read, and every step of theirs can be left out.

use super::format::Lab;
use super::made_up::made_up;

const LABS: [(&str, &str); 9] = [
    ("gateway-s3", include_str!("../../../../labs/gateway-s3.toml")),
    ("gateway-vs-nat", include_str!("../../../../labs/gateway-vs-nat.toml")),
    ("policies", include_str!("../../../../labs/policies.toml")),
    ("interface-private-dns", include_str!("../../../../labs/interface-private-dns.toml")),
    ("s3-two-doors", include_str!("../../../../labs/s3-two-doors.toml")),
    ("privatelink", include_str!("../../../../labs/privatelink.toml")),
    ("who-may-come-in", include_str!("../../../../labs/who-may-come-in.toml")),
    ("limits", include_str!("../../../../labs/limits.toml")),
    ("other-programs", include_str!("../../../../labs/other-programs.toml")),
];

fn labs() -> impl Iterator<Item = Lab> {
    LABS.into_iter().map(|(name, text)| Lab::parse(text, name).unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn every_step_says_which_one_needs_it() {
    for lab in labs() {
        for step in lab.steps.iter().filter(|step| step.can_be_needed()) {
            let place = format!("{}:{}: {}", lab.name, step.line, step.id);
            assert!(step.needed_by.is_some(), "{place}");
            for variable in step.save.keys() {
                assert!(made_up(step, variable).is_some(), "{place}: {variable}");
            }
        }
    }
}

#[test]
fn what_is_made_is_taken_down() {
    for lab in labs() {
        for step in &lab.cleanup {
            assert!(step.undoes.is_some(), "{}: {}", lab.name, step.id);
        }
        let makes = |step: &&super::step::Step| {
            ["vpc", "bucket", "role", "endpoint", "gateway", "interface"].contains(&step.id.as_str())
        };
        for step in lab.steps.iter().filter(makes) {
            let undone = lab.cleanup.iter().any(|cleanup| cleanup.undoes.as_ref() == Some(&step.id));
            assert!(undone, "{}: {}", lab.name, step.id);
        }
    }
}

//! Labs run against a region by script.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::{Value, json};

use super::engine::{Options, RunError, run_by};
use super::fake::{Answer, Fake, FakeClock};
use super::format::Lab;
use super::omission::{OmissionReport, OmissionResult, Shard, verify_omissions_of};
use super::outcome::{Outcome, StepResult};
use super::report::{JsonReporter, Silent, TextReporter};
use super::target::Started;

fn lab(steps: &str) -> Lab {
    let text = format!("title = 't'\nsummary = 's'\n[variables]\nname = 'first'\n{steps}");
    Lab::parse(&text, "test").unwrap_or_else(|error| panic!("{error}"))
}

fn outcome(lab: &Lab, fake: &Fake, options: &Options<'_>) -> Outcome {
    run_by(lab, fake, &mut Silent, options, &FakeClock::default())
}

fn failed(outcome: &Outcome) -> Option<(&str, Vec<&str>)> {
    let step = outcome.failed_step()?;
    let StepResult::Failed(problem) = &step.result else { panic!("{step:?}") };
    Some((&step.id, problem.differences.iter().map(|difference| difference.what.as_str()).collect()))
}

fn response(value: Value) -> Vec<Answer> {
    vec![Answer::Response(value)]
}

const VPC_AND_SUBNET: &str = "
[[step]]
id = 'vpc'
say = 'a VPC'
call = 'ec2:CreateVpc'
with = { CidrBlock = '10.0.0.0/16', Name = '${name}' }
save = { vpc = 'Vpc.VpcId' }
needed_by = 'subnet'
[[step]]
id = 'subnet'
say = 'a subnet'
call = 'ec2:CreateSubnet'
account = '123456789012'
with = { VpcId = '${vpc}' }
needed_by = 'state'
[[step]]
id = 'state'
say = 'it comes up'
call = 'ec2:DescribeSubnets'
expect = { value = { State = 'available' } }
within_seconds = 10
";

fn vpc_and_subnet(states: Vec<Answer>) -> Fake {
    Fake::new([
        ("ec2:CreateVpc", response(json!({"Vpc": {"VpcId": "vpc-1"}}))),
        ("ec2:CreateSubnet", response(json!({}))),
        ("ec2:DescribeSubnets", states),
    ])
}

fn states(states: &[&str]) -> Vec<Answer> {
    states.iter().map(|state| Answer::Response(json!({"State": state}))).collect()
}

#[test]
fn what_a_step_saves_the_next_one_uses() {
    let fake = vpc_and_subnet(states(&["available"]));
    let options =
        Options { variables: [("name".to_owned(), "second".to_owned())].into(), ..Options::default() };
    let outcome = outcome(&lab(VPC_AND_SUBNET), &fake, &options);
    assert!(outcome.passed(), "{outcome:?}");
    assert_eq!(outcome.held(), 3);
    assert_eq!(
        fake.asked(),
        [
            "ec2:CreateVpc {\"CidrBlock\":\"10.0.0.0/16\",\"Name\":\"second\"}",
            "ec2:CreateSubnet {\"VpcId\":\"vpc-1\"} as 123456789012",
            "ec2:DescribeSubnets {}",
        ]
    );
}

#[test]
fn a_step_is_tried_until_it_holds_or_its_time_is_over() {
    let lab = lab(VPC_AND_SUBNET);
    let later = vpc_and_subnet(states(&["pending", "pending", "available"]));
    let passed = outcome(&lab, &later, &Options::default());
    assert!(passed.passed());
    assert_eq!(later.asked().len(), 5);
    let never = vpc_and_subnet(states(&["pending"]));
    let clock = FakeClock::default();
    let ran = run_by(&lab, &never, &mut Silent, &Options::default(), &clock);
    assert_eq!(failed(&ran), Some(("state", vec!["State"])));
    assert_eq!(*clock.0.borrow(), Duration::from_secs(10), "no longer than it says");
    assert!((6..40).contains(&never.asked().len()), "{}", never.asked().len());
    let down = vpc_and_subnet(vec![
        Answer::Down,
        Answer::Refusal("Busy"),
        Answer::Response(json!({"State": "available"})),
    ]);
    assert!(outcome(&lab, &down, &Options::default()).passed());
}

#[test]
fn the_first_failure_ends_the_lab_unless_it_keeps_going() {
    let lab = lab(VPC_AND_SUBNET);
    let fake = || {
        Fake::new([
            ("ec2:CreateVpc", response(json!({"Vpc": {}}))),
            ("ec2:CreateSubnet", response(json!({}))),
            ("ec2:DescribeSubnets", states(&["available"])),
        ])
    };
    let stops = outcome(&lab, &fake(), &Options::default());
    assert_eq!(failed(&stops), Some(("vpc", vec!["save vpc"])));
    assert_eq!(stops.steps[1].result, StepResult::NotReached);
    let goes_on = fake();
    let outcome = outcome(&lab, &goes_on, &Options { keep_going: true, ..Options::default() });
    assert!(!outcome.passed());
    let StepResult::Failed(problem) = &outcome.steps[1].result else { panic!("{outcome:?}") };
    assert_eq!(problem.differences[0].seen, "no step has set the variable `vpc`");
    assert_eq!(outcome.steps[2].result, StepResult::Held);
    assert_eq!(goes_on.asked().len(), 2, "what cannot be filled in is not done");
}

#[test]
fn programs_are_run_as_the_file_says() {
    let lab = lab("
[[step]]
id = 'inside'
say = 's'
run = { instance = 'i-1', command = 'echo $HOME ${name}', input = '${name}', timeout_seconds = 7 }
save = { said = 'stdout' }
[[step]]
id = 'outside'
say = 's'
run_outside = { command = ['aws', '${said}'] }
expect = { exit = 3 }
");
    let fake = Fake::new([
        ("sh -c echo $HOME first", vec![Answer::Ran(0, "out\n")]),
        ("aws out", vec![Answer::Ran(3, "")]),
    ]);
    assert!(outcome(&lab, &fake, &Options::default()).passed());
    assert_eq!(
        fake.asked(),
        [
            "sh -c echo $HOME first in i-1 reading Some(\"first\") for 7",
            "aws out outside reading None for 30",
        ]
    );
    let gone = Fake::new([("sh -c echo $HOME first", vec![Answer::NoInstance])]);
    assert_eq!(failed(&outcome(&lab, &gone, &Options::default())), Some(("inside", vec!["answer"])));
}

#[test]
fn traces_are_asked_and_their_explanation_is_shown_whole() {
    let lab = lab("
[[step]]
id = 'trace'
say = 's'
trace = { from = 'i-1', to = 'x:443', probe = true }
expect = { refused_by = 'route' }
");
    let stages: Vec<Value> =
        (0..20).map(|n| json!({"stage": "name", "passed": true, "why": n.to_string()})).collect();
    let refusal = json!({"stage": "route", "passed": false, "why": "none", "resource": "rtb-1"});
    let stages = [stages, vec![refusal]].concat();
    let probe = json!({"agrees": true, "saw": "silence"});
    let document = json!({"flow": "f", "arrives": false, "stages": stages, "probe": probe});
    let fake = Fake::new([("trace i-1 x:443", vec![Answer::Trace(document)])]);
    let mut reporter = TextReporter::kept();
    assert!(run_by(&lab, &fake, &mut reporter, &Options::default(), &FakeClock::default()).passed());
    assert_eq!(fake.asked(), ["trace i-1 x:443 tcp true"]);
    let text = String::from_utf8(reporter.into_inner()).unwrap();
    assert!(text.contains("$ postern trace --from i-1 --to x:443 --probe\n"), "{text}");
    assert!(text.contains("NO  route                  rtb-1: none\n"), "{text}");
    assert_eq!(text.matches("ok  name").count(), 20, "{text}");
}

#[test]
fn secrets_are_not_shown() {
    let lab = lab("
[[step]]
id = 'key'
say = 's'
call = 'ec2:CreateKeyPair'
save = { key = 'KeyMaterial' }
[[step]]
id = 'use'
say = 's'
run = { instance = 'i-1', command = ['cat'], input = '${key}' }
");
    let fake = Fake::new([
        ("ec2:CreateKeyPair", response(json!({"KeyMaterial": "very secret", "KeyName": "k"}))),
        ("cat", vec![Answer::Ran(0, "")]),
    ]);
    let mut text = TextReporter::kept();
    run_by(&lab, &fake, &mut text, &Options::default(), &FakeClock::default());
    let mut json = JsonReporter::new(Vec::new());
    run_by(&lab, &fake, &mut json, &Options::default(), &FakeClock::default());
    for told in [text.into_inner(), json.into_inner()] {
        let told = String::from_utf8(told).unwrap();
        assert!(!told.contains("very secret") && told.contains("(not shown)"), "{told}");
    }
    assert_eq!(fake.asked()[1], "cat in i-1 reading Some(\"very secret\") for 30");
}

#[test]
fn of_documents_people_see_what_was_looked_for() {
    let document = json!({"State": "available", "Id": "x-1", "KeyMaterial": "secret", "Much": "more"});
    let shown = |more: &str, document: Value| {
        let lab = lab(&format!("[[step]]\nid = 'one'\nsay = 's'\ncall = 'ec2:DescribeX'\n{more}\n"));
        let fake = Fake::new([("ec2:DescribeX", response(document))]);
        let mut reporter = TextReporter::kept();
        run_by(&lab, &fake, &mut reporter, &Options::default(), &FakeClock::default());
        let text = String::from_utf8(reporter.into_inner()).unwrap();
        text.split_once("seen: ").unwrap().1.split_once("\n      ok").map(|(seen, _)| seen.to_owned())
    };
    let looked_for = "save = { id = 'Id', key = 'KeyMaterial' }\nexpect = { value = { State = 'available' }, absent = ['No'] }";
    let lines = ["State is available", "no No", "id = x-1", "key = (not shown)"].join("\n            ");
    assert_eq!(shown(looked_for, document.clone()), Some(lines));
    assert_eq!(shown("", json!({"Return": true})), Some("{\"Return\":true}".to_owned()));
    assert_eq!(shown(looked_for, json!({"State": "available"})), None, "it does not hold");
}

const RECORDS: &str = "
[[step]]
id = 'first'
say = 's'
run_outside = { command = ['first'] }
[[step]]
id = 'first-record'
say = 's'
record = { eventName = 'List', 'a.b' = 'c' }
expect = { value = { via = 'nat' } }
[[step]]
id = 'second'
say = 's'
run_outside = { command = ['second'] }
[[step]]
id = 'second-record'
say = 's'
record = { eventName = 'List' }
expect = { value = { via = 'endpoint' } }
";

#[test]
fn records_are_looked_for_since_the_last_program() {
    let list = |via: &str| json!({"eventName": "List", "via": via, "a": {"b": "c"}});
    let fake = |second: Vec<Value>| {
        let mut fake = Fake::new([("first", vec![Answer::Ran(0, "")]), ("second", vec![Answer::Ran(0, "")])]);
        fake.recorded_by = [
            ("first".to_owned(), vec![json!({"eventName": "Get"}), list("nat")]),
            ("second".to_owned(), second),
        ]
        .into();
        fake
    };
    let lab = lab(RECORDS);
    let holds = outcome(&lab, &fake(vec![list("endpoint")]), &Options::default());
    assert!(holds.passed(), "{holds:?}");
    // The first program's record is not taken for the second's.
    let none = outcome(&lab, &fake(vec![]), &Options::default());
    assert_eq!(failed(&none), Some(("second-record", vec!["record"])));
    assert_eq!(none.elapsed, Duration::from_secs(5), "records are waited for");
    let wrong = outcome(&lab, &fake(vec![list("endpoint"), list("nat")]), &Options::default());
    assert_eq!(failed(&wrong), Some(("second-record", vec!["via"])));
}

#[test]
fn an_interrupted_lab_has_not_passed_and_is_cleaned_up() {
    let text = format!(
        "{VPC_AND_SUBNET}\n[[cleanup]]\nid = 'delete'\ncall = 'ec2:DeleteVpc'\nwith = {{ VpcId = '${{vpc}}' }}\n"
    );
    let flag = AtomicBool::new(true);
    let options = Options { interrupt: Some(&flag), cleanup: true, ..Options::default() };
    let fake = vpc_and_subnet(states(&["available"]));
    let outcome = outcome(&lab(&text), &fake, &options);
    assert!(outcome.interrupted && !outcome.passed());
    assert_eq!(fake.asked(), Vec::<String>::new(), "nothing was made, so nothing is deleted");
}

#[test]
fn clean_up_goes_backwards_and_does_not_stop() {
    let text = format!(
        "{VPC_AND_SUBNET}
[[cleanup]]
id = 'delete-vpc'
undoes = 'vpc'
call = 'ec2:DeleteVpc'
with = {{ VpcId = '${{vpc}}' }}
within_seconds = 5
[[cleanup]]
id = 'delete-subnet'
undoes = 'subnet'
call = 'ec2:DeleteSubnet'
[[cleanup]]
id = 'delete-state'
undoes = 'state'
call = 'ec2:Never'
"
    );
    let lab = lab(&text);
    let fake = Fake::new([
        ("ec2:CreateVpc", response(json!({"Vpc": {"VpcId": "vpc-1"}}))),
        ("ec2:CreateSubnet", response(json!({}))),
        ("ec2:DescribeSubnets", vec![Answer::Refusal("No")]),
        ("ec2:DeleteSubnet", vec![Answer::Refusal("DependencyViolation")]),
        ("ec2:DeleteVpc", vec![Answer::Refusal("DependencyViolation"), Answer::Response(json!({}))]),
    ]);
    let outcome = outcome(&lab, &fake, &Options { cleanup: true, ..Options::default() });
    assert_eq!(failed(&outcome).unwrap().0, "state");
    let cleaned: Vec<String> = fake.asked().into_iter().filter(|asked| asked.contains("Delete")).collect();
    let delete_vpc = "ec2:DeleteVpc {\"VpcId\":\"vpc-1\"}";
    assert_eq!(cleaned, ["ec2:DeleteSubnet {}", delete_vpc, delete_vpc]);
    let still: Vec<&str> = outcome.cleanup_failed.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(still, ["delete-subnet"]);
    assert!(!fake.asked().iter().any(|asked| asked.contains("Never")), "what was not done is not undone");
    let without = Fake::new([("ec2:CreateVpc", vec![Answer::Refusal("No")])]);
    assert!(!run_by(&lab, &without, &mut Silent, &Options::default(), &FakeClock::default()).passed());
    assert_eq!(without.asked().len(), 1, "a region of the lab's own needs no clean-up");
}

#[test]
fn a_left_out_step_has_made_up_variables() {
    let fake = Fake::new([("ec2:CreateSubnet", vec![Answer::Refusal("InvalidVpcID.NotFound")])]);
    let options = Options { leave_out: Some("vpc".to_owned()), ..Options::default() };
    let ran = outcome(&lab(VPC_AND_SUBNET), &fake, &options);
    assert_eq!(failed(&ran), Some(("subnet", vec!["error"])));
    assert_eq!(ran.steps[0].result, StepResult::LeftOut);
    let asked = fake.asked().remove(0);
    let id = asked.split('"').nth(3).unwrap();
    assert!(id.starts_with("vpc-") && id.len() == 21, "{asked}");
    let nowhere = Options { leave_out: Some("x".to_owned()), ..Options::default() };
    let no_such = outcome(&lab(VPC_AND_SUBNET), &Fake::default(), &nowhere);
    assert!(!no_such.passed());
    assert!(matches!(no_such.not_begun, Some(RunError::NoSuchStep { .. })));
    let set = Options { variables: [("x".to_owned(), String::new())].into(), ..Options::default() };
    let no_variable = outcome(&lab(VPC_AND_SUBNET), &Fake::default(), &set);
    assert!(matches!(no_variable.not_begun, Some(RunError::NoSuchVariable { .. })));
}

/// A region of the steps of [`VPC_AND_SUBNET`]: what is asked about a VPC or subnet that nobody made is refused.
#[derive(Default)]
struct Little {
    made: std::cell::RefCell<Vec<&'static str>>,
    forgiving: bool,
    down: bool,
}

impl super::target::Target for Little {
    fn call(
        &self,
        _: Option<&str>,
        _: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, super::target::CallError> {
        let refusal =
            |code: &str| super::target::CallError::Aws { code: code.to_owned(), message: String::new() };
        if self.down {
            return Err(super::target::CallError::Transport("down".to_owned()));
        }
        let mut made = self.made.borrow_mut();
        match operation {
            "CreateVpc" => {
                made.push("vpc");
                Ok(json!({"Vpc": {"VpcId": "vpc-1"}}))
            }
            "CreateSubnet" if parameters["VpcId"] == "vpc-1" || self.forgiving => {
                made.push("subnet");
                Ok(json!({}))
            }
            "DescribeSubnets" if made.contains(&"subnet") || self.forgiving => {
                Ok(json!({"State": "available"}))
            }
            _ => Err(refusal("NotFound")),
        }
    }

    fn run(&self, _: &str, _: &Started<'_>) -> Result<super::Ran, String> {
        Err("no".to_owned())
    }

    fn run_outside(&self, _: &Started<'_>) -> Result<super::Ran, String> {
        Err("no".to_owned())
    }

    fn serve(&self, _: &Started<'_>) -> Result<u16, String> {
        Err("no".to_owned())
    }

    fn service(&self, _: &super::ServiceChange) -> Result<Value, String> {
        Err("no".to_owned())
    }

    fn trace(&self, _: &str, _: &str, _: &str, _: bool) -> Result<Value, String> {
        Err("no".to_owned())
    }

    fn records(&self, _: u64) -> Result<Vec<Value>, String> {
        Ok(Vec::new())
    }

    fn region(&self) -> String {
        "us-east-1".to_owned()
    }
}

fn omissions(steps: &str, make: impl Fn(usize) -> Result<Little, String>) -> OmissionReport {
    let (mut count, mut told) = (0, Vec::new());
    let mut make_next = || {
        count += 1;
        make(count)
    };
    let report = verify_omissions_of(
        &lab(steps),
        Shard::WHOLE,
        &Options::default(),
        &mut make_next,
        &mut |omission| told.push(omission.clone()),
    );
    assert_eq!(told, report.omissions);
    report
}

fn results(report: OmissionReport) -> Vec<(Option<String>, OmissionResult)> {
    report.omissions.into_iter().map(|omission| (omission.left_out, omission.result)).collect()
}

/// The same lab, impatient: it is really waited for here.
fn impatient() -> String {
    VPC_AND_SUBNET.replace("within_seconds = 10\n", "")
}

#[test]
fn each_step_is_needed_where_it_says() {
    let report = omissions(&impatient(), |_| Ok(Little::default()));
    assert!(report.passed(), "{report}");
    let left_out = results(report);
    let left_out: Vec<Option<&str>> = left_out.iter().map(|(step, _)| step.as_deref()).collect();
    assert_eq!(left_out, [None, Some("vpc"), Some("subnet")]);
}

#[test]
fn a_step_that_is_not_needed_is_found() {
    let report = omissions(&impatient(), |_| Ok(Little { forgiving: true, ..Little::default() }));
    assert!(!report.passed());
    let found = results(report);
    assert_eq!(found[1].1, OmissionResult::PassesWithout { needed_by: "subnet".to_owned() });
    assert_eq!(found[2].1, OmissionResult::PassesWithout { needed_by: "state".to_owned() });
}

#[test]
fn a_step_that_is_needed_elsewhere_is_found() {
    let steps = impatient().replace("needed_by = 'subnet'", "needed_by = 'state'");
    let found = results(omissions(&steps, |_| Ok(Little::default())));
    let OmissionResult::FailsElsewhere { needed_by, at, .. } = &found[1].1 else { panic!("{found:?}") };
    assert_eq!((needed_by.as_str(), at.as_str()), ("state", "subnet"));
    let silent = impatient().replace("needed_by = 'subnet'\n", "");
    let found = results(omissions(&silent, |_| Ok(Little::default())));
    assert_eq!(found[1], (Some("vpc".to_owned()), OmissionResult::Undeclared));
}

#[test]
fn a_region_that_is_not_there_shows_nothing() {
    let down = |from: usize| move |count| Ok(Little { down: count >= from, ..Little::default() });
    let found = results(omissions(&impatient(), down(1)));
    assert!(matches!(found[..], [(None, OmissionResult::NotRun { .. })]), "{found:?}");
    let found = results(omissions(&impatient(), down(2)));
    assert!(matches!(found[1].1, OmissionResult::NotRun { .. }), "{found:?}");
    let found = results(omissions(&impatient(), |count| {
        if count < 3 { Ok(Little::default()) } else { Err("no".to_owned()) }
    }));
    assert_eq!(found[2].1, OmissionResult::NotRun { why: "no".to_owned() });
    let broken = impatient().replace("State = 'available'", "State = 'gone'");
    let found = results(omissions(&broken, |_| Ok(Little::default())));
    assert!(
        matches!(&found[..], [(None, OmissionResult::FailsAnyway { at, .. })] if at == "state"),
        "{found:?}"
    );
}

#[test]
fn people_see_what_was_done_expected_and_seen() {
    let lab = lab("
[[step]]
id = 'vpc'
say = 'A VPC.'
call = 'ec2:CreateVpc'
with = { CidrBlock = '10.0.0.0/16' }
[[step]]
id = 'list'
say = 'The list.'
run = { instance = 'i-1', command = 'aws s3 ls' }
expect = { output = ['bucket'] }
");
    let fake = Fake::new([
        ("ec2:CreateVpc", response(json!({}))),
        ("sh -c aws s3 ls", vec![Answer::Ran(1, "no\u{1b}[2J\n")]),
    ]);
    let mut reporter = TextReporter::kept();
    run_by(&lab, &fake, &mut reporter, &Options::default(), &FakeClock::default());
    let text = String::from_utf8(reporter.into_inner()).unwrap();
    let expected = "\
Lab test: t
  s
  2 steps

[1/2] vpc
      A VPC.
      $ aws ec2 create-vpc --cidr-block 10.0.0.0/16
      expected: success
      seen: {}
      ok (0.0 s)

[2/2] list
      The list.
      $ postern exec i-1 -- sh -c 'aws s3 ls'
      expected: exit status 0; has `bucket`
      seen: no\u{fffd}[2J
      differs: exit status: expected 0, seen 1
      differs: output: expected has `bucket`, seen it is not there
      FAILED (0.0 s)

Lab test FAILED: 1 of 2 steps held in 0.0 s; step `list` did not
";
    assert_eq!(text, expected);
}

#[test]
fn programs_see_a_line_for_each_event() {
    let fake = vpc_and_subnet(states(&["pending", "available"]));
    let mut reporter = JsonReporter::new(Vec::new());
    run_by(&lab(VPC_AND_SUBNET), &fake, &mut reporter, &Options::default(), &FakeClock::default());
    let text = String::from_utf8(reporter.into_inner()).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let step = ["step_begins", "step_ends"];
    let last = ["step_begins", "tries_again", "step_ends", "lab_ends"];
    assert_eq!(names, [&["lab_begins"][..], &step, &step, &last].concat());
    assert_eq!(events[1]["command"], "aws ec2 create-vpc --cidr-block 10.0.0.0/16 --name first");
    assert_eq!(events[8]["outcome"]["steps"][0], json!({"id": "vpc", "result": "held", "seconds": 0.0}));
}

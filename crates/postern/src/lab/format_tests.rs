//! What the reader of lab files refuses, and where it says the fault is.

use super::format::Lab;

fn lab(steps: &str) -> String {
    format!("title = \"t\"\nsummary = \"s\"\n[variables]\nname = \"v\"\n{steps}")
}

/// The error of a lab with this one step, which begins on line 5.
#[track_caller]
fn refused(step: &str) -> String {
    let text = lab(&format!("[[step]]\nid = 'one'\nsay = 's'\n{step}\n"));
    match Lab::parse(&text, "test") {
        Ok(_) => panic!("it is a lab: {step}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn check(step: &str, expected: &str) {
    assert_eq!(refused(step), expected);
}

const CALL: &str = "call = 'ec2:CreateVpc'";

#[test]
fn unknown_keys_are_named_with_their_line_and_step() {
    let error = refused(&format!("{CALL}\ncall_me = 1"));
    assert!(
        error.starts_with("test.toml:9: step `one`: unknown field `call_me`, expected one of `id`"),
        "{error}"
    );
    let error = refused(&format!("{CALL}\nexpect = {{ exti = 0 }}"));
    assert!(error.starts_with("test.toml:9: step `one`: unknown field `exti`, expected one of"), "{error}");
    let error = refused("run = { instance = 'i', command = 'c', shell = true }");
    assert!(error.starts_with("test.toml:8: step `one`: unknown field `shell`"), "{error}");
    let error = Lab::parse("title = 't'\nsumary = 's'", "test").unwrap_err().to_string();
    assert!(error.starts_with("test.toml:2: unknown field `sumary`"), "{error}");
    let second = lab(
        "[[step]]\nid = 'a'\nsay = 's'\ncall = 'ec2:A'\n\n[[step]]\nid = 'b'\nsay = 's'\ncal = 'ec2:B'\n",
    );
    let error = Lab::parse(&second, "test").unwrap_err();
    assert_eq!((error.line, error.step.as_deref()), (13, Some("b")), "{error}");
}

#[test]
fn what_is_no_toml_is_said_with_its_line() {
    let error = Lab::parse("title = 't'\nsummary = ", "test").unwrap_err();
    assert_eq!((error.line, error.step), (2, None));
    let error = Lab::parse("title = 't'\nsummary = 's'\n", "labs/own.toml").unwrap_err();
    assert_eq!(error.to_string(), "labs/own.toml:1: there is no `[[step]]`");
    let own = lab(&format!("[[step]]\nid = 'a'\nsay = 's'\n{CALL}\n"));
    assert_eq!(Lab::parse(&own, "./labs/own.toml").unwrap().name, "own");
    assert_eq!(Lab::parse(&own, "own").unwrap().name, "own");
}

#[test]
fn a_step_does_one_thing() {
    let one = "test.toml:5: step `one`: a step has exactly one of `call`, `run`, `run_outside`, `serve`, \
               `service`, `trace` and `record`";
    check("", one);
    check(&format!("{CALL}\nrecord = {{ eventName = 'x' }}"), one);
    check(
        "record = { a = 'b' }\nwith = {}",
        "test.toml:5: step `one`: `with` and `account` belong to a `call`",
    );
    check("record = {}", "test.toml:5: step `one`: `record` says nothing about the record to look for");
    for bad in ["CreateVpc", "ec2:", "EC2:CreateVpc", "ec2:createVpc", "ec2:Create-Vpc"] {
        let expected =
            format!("test.toml:5: step `one`: `call`: `{bad}` is no operation (such as `ec2:CreateVpc`)");
        check(&format!("call = '{bad}'"), &expected);
    }
    check("run_outside = { command = ' ' }", "test.toml:5: step `one`: `run_outside.command` is empty");
    check("run_outside = { command = [] }", "test.toml:5: step `one`: `run_outside.command` is empty");
    let error = refused("run_outside = { command = 3 }");
    assert!(error.contains("a command is a line for the shell or a list"), "{error}");
}

#[test]
fn expectations_belong_to_their_kind_of_action() {
    for (action, key, value, of) in [
        (CALL, "exit", "0", "a program"),
        ("trace = { from = 'a', to = 'b' }", "exit", "'nonzero'", "a program"),
        (CALL, "timed_out", "true", "a program"),
        ("run_outside = { command = 'c' }", "error", "'A'", "a `call`"),
        (CALL, "arrives", "true", "a `trace`"),
        ("record = { a = 'b' }", "refused_by", "'route'", "a `trace`"),
        ("trace = { from = 'a', to = 'b' }", "probe_agrees", "true", "a `trace` with `probe = true`"),
    ] {
        let expected = format!("test.toml:5: step `one`: `expect.{key}` can only be said of {of}");
        check(&format!("{action}\nexpect = {{ {key} = {value} }}"), &expected);
    }
}

#[test]
fn expectations_that_nothing_can_miss_or_meet_are_refused() {
    let trace = "trace = { from = 'a', to = 'b' }";
    for (action, expect, problem) in [
        (CALL, "output = []", "`expect.output`: an empty list or text says nothing"),
        (CALL, "lacks = ['']", "`expect.lacks`: an empty list or text says nothing"),
        (CALL, "matches = 'a*'", "`expect.matches`: `a*` matches anything"),
        (
            CALL,
            "error = 'A', absent = ['B']",
            "`expect`: a refused call has no response to look for values in",
        ),
        (trace, "arrives = true, refused_by = 'route'", "`expect`: what is refused does not arrive"),
        (
            "run_outside = { command = 'c' }",
            "timed_out = true, exit = 1",
            "`expect`: a program that is still running has no `exit`",
        ),
    ] {
        check(&format!("{action}\nexpect = {{ {expect} }}"), &format!("test.toml:5: step `one`: {problem}"));
    }
    let error = refused(&format!("{trace}\nexpect = {{ refused_by = 'rout' }}"));
    assert!(error.contains("`rout` is no stage; these are: `name`, "), "{error}");
    assert!(refused(&format!("{CALL}\nexpect = {{ matches = '(' }}")).contains("`expect.matches`: `(`: "));
    assert!(
        refused(&format!("{CALL}\nexpect = {{ value = {{ 'a..b' = 1 }} }}")).contains("`a..b` is no path")
    );
    let error = refused("run_outside = { command = 'c' }\nexpect = { exit = 'zero' }");
    assert!(error.contains("`exit` is a number or \"nonzero\""), "{error}");
}

#[test]
fn variables_are_there_before_they_are_used() {
    let unknown =
        "test.toml:5: step `one`: no earlier step saves the variable `other`, and `[variables]` has none";
    check(&format!("{CALL}\nwith = {{ A = [{{ B = '${{other}}' }}] }}"), unknown);
    check("run_outside = { command = ['a', '${other}'] }", unknown);
    check("run_outside = { command = 'a', input = '${other}' }", unknown);
    check(&format!("{CALL}\nexpect = {{ value = {{ 'A[b=${{other}}]' = 1 }} }}"), unknown);
    check(&format!("{CALL}\nexpect = {{ absent = ['A[b=${{other}}]'] }}"), unknown);
    check(&format!("{CALL}\nsave = {{ other = 'A[b=${{other}}]' }}"), unknown);
    check(
        &format!("{CALL}\nsave = {{ name = 'A' }}"),
        "test.toml:5: step `one`: `save`: `name` is declared in `[variables]`",
    );
    check(
        &format!("{CALL}\nsave = {{ region = 'A' }}"),
        "test.toml:5: step `one`: `save`: `region` is no name for a variable",
    );
    check(
        &format!("{CALL}\nsave = {{ a = 'A' }}\nexpect = {{ error = 'B' }}"),
        "test.toml:5: step `one`: `save`: a refused call has no response to save from",
    );
    check(
        &format!("{CALL}\nmade_up = {{ a = 'A' }}"),
        "test.toml:5: step `one`: `made_up`: the step does not save `a`",
    );
    let error = Lab::parse("title = 't'\nsummary = 's'\n[variables]\nregion = 'x'\n[[step]]\nid = 'a'\nsay = 's'\ncall = 'ec2:A'\n", "test").unwrap_err();
    assert_eq!(error.problem, "the variable `region` is set by Postern");
    let fine = lab(
        "[[step]]\nid = 'a'\nsay = 's'\ncall = 'ec2:A'\nwith = { A = '${region} ${lab} ${name}' }\nsave = { x = 'X' }\n[[step]]\nid = 'b'\nsay = 's'\ncall = 'ec2:B'\nwith = { X = '${x}' }\n",
    );
    assert!(Lab::parse(&fine, "test").is_ok());
}

#[test]
fn steps_are_named_once_and_point_at_later_ones() {
    let two = |first: &str, second: &str| {
        let step = |id: &str, more: &str| format!("[[step]]\nid = '{id}'\nsay = 's'\n{CALL}\n{more}\n");
        Lab::parse(&lab(&format!("{}{}", step("a", first), step("b", second))), "test")
            .map_err(|error| error.problem)
    };
    assert!(two("needed_by = 'b'", "").is_ok());
    assert_eq!(two("", "needed_by = 'a'").unwrap_err(), "`needed_by`: `a` is no later step");
    assert_eq!(two("needed_by = 'c'", "").unwrap_err(), "`needed_by`: `c` is no later step");
    let twice =
        lab(&format!("[[step]]\nid = 'a'\nsay = 's'\n{CALL}\n[[step]]\nid = 'a'\nsay = 's'\n{CALL}\n"));
    assert_eq!(
        Lab::parse(&twice, "test").unwrap_err().to_string(),
        "test.toml:9: step `a`: another step has the same id"
    );
    let silent = lab(&format!("[[step]]\nid = 'a'\n{CALL}\n"));
    assert_eq!(Lab::parse(&silent, "test").unwrap_err().problem, "`say` is missing: what is done, and why");
    check(
        &format!("{CALL}\nundoes = 'x'"),
        "test.toml:5: step `one`: `undoes` means nothing outside `[[cleanup]]`",
    );
    check(
        &format!("{CALL}\nwithin_seconds = 0"),
        "test.toml:5: step `one`: `within_seconds`: `0` is not between 1 and 3600",
    );
}

#[test]
fn clean_up_steps_undo_steps() {
    let with = |cleanup: &str| {
        let text = lab(&format!(
            "[[step]]\nid = 'a'\nsay = 's'\n{CALL}\nsave = {{ x = 'X' }}\n[[cleanup]]\nid = 'c'\n{cleanup}\n"
        ));
        Lab::parse(&text, "test").map_err(|error| error.to_string())
    };
    assert!(with("undoes = 'a'\ncall = 'ec2:Delete'\nwith = { X = '${x}' }").is_ok());
    assert_eq!(
        with(&format!("undoes = 'b'\n{CALL}")).unwrap_err(),
        "test.toml:10: step `c`: `undoes`: `b` is no step"
    );
    let nothing = "test.toml:10: step `c`: `needed_by` and `save` mean nothing in `[[cleanup]]`";
    assert_eq!(with(&format!("needed_by = 'a'\n{CALL}")).unwrap_err(), nothing);
    assert_eq!(with(&format!("save = {{ y = 'Y' }}\n{CALL}")).unwrap_err(), nothing);
    let kind =
        "test.toml:10: step `c`: a `[[cleanup]]` step is a `call`, a `run`, a `run_outside` or a `service`";
    assert_eq!(with("record = { a = 'b' }").unwrap_err(), kind);
}

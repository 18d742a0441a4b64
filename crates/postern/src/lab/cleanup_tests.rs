//! What is taken down, and what is said to be left.

use serde_json::json;

use super::engine::{Options, check, run_by};
use super::fake::{Answer, Fake, FakeClock};
use super::format::Lab;
use super::leftovers::Leftovers;
use super::report::Silent;

const LAB: &str = "
title = 't'
summary = 's'
[variables]
name = 'first'
[[step]]
id = 'vpc'
say = '.'
call = 'ec2:CreateVpc'
save = { vpc = 'Vpc.VpcId' }
[[step]]
id = 'key'
say = '.'
call = 'ec2:CreateKeyPair'
with = { KeyName = '${name}' }
[[cleanup]]
id = 'delete-vpc'
undoes = 'vpc'
call = 'ec2:DeleteVpc'
with = { VpcId = '${vpc}' }
[[cleanup]]
id = 'delete-key'
undoes = 'key'
call = 'ec2:DeleteKeyPair'
with = { KeyName = '${name}' }
[[cleanup]]
id = 'key-gone'
undoes = 'key'
call = 'ec2:DescribeKeyPairs'
";

fn left_after(fake: &Fake) -> Vec<String> {
    let lab = Lab::parse(LAB, "test").unwrap_or_else(|error| panic!("{error}"));
    let leftovers = Leftovers::default();
    let options = Options { cleanup: true, leftovers: Some(&leftovers), ..Options::default() };
    run_by(&lab, fake, &mut Silent, &options, &FakeClock::default());
    leftovers.list().into_iter().map(|left| left.command).collect()
}

fn fake(key: Answer, delete_vpc: Answer) -> Fake {
    let done = || vec![Answer::Response(json!({}))];
    Fake::new([
        ("ec2:CreateVpc", vec![Answer::Response(json!({ "Vpc": { "VpcId": "vpc-1" } }))]),
        ("ec2:CreateKeyPair", vec![key]),
        ("ec2:DescribeKeyPairs", done()),
        ("ec2:DeleteKeyPair", done()),
        ("ec2:DeleteVpc", vec![delete_vpc]),
    ])
}

#[test]
fn what_could_not_be_taken_down_is_said_as_commands() {
    let done = || Answer::Response(json!({}));
    assert_eq!(left_after(&fake(done(), done())), Vec::<String>::new());
    let left = left_after(&fake(done(), Answer::Refusal("DependencyViolation")));
    assert_eq!(left, ["aws ec2 delete-vpc --vpc-id vpc-1"]);
    let refused = fake(Answer::Refusal("No"), Answer::Refusal("No"));
    assert_eq!(left_after(&refused), ["aws ec2 delete-vpc --vpc-id vpc-1"], "no key was made");
}

#[test]
fn what_may_have_been_made_is_taken_down() {
    let fake = fake(Answer::Down, Answer::Response(json!({})));
    assert_eq!(left_after(&fake), Vec::<String>::new());
    let asked = fake.asked();
    assert!(asked.iter().any(|asked| asked.starts_with("ec2:DeleteKeyPair")), "{asked:?}");
}

#[test]
fn a_lab_is_checked_without_a_region() {
    let lab = Lab::parse(LAB, "test").unwrap_or_else(|error| panic!("{error}"));
    let said = |options: Options<'_>| check(&lab, &options).map_err(|error| error.to_string());
    assert_eq!(said(Options::default()), Ok(()));
    assert_eq!(
        said(Options { variables: [("name".into(), "x".into())].into(), ..Options::default() }),
        Ok(())
    );
    assert_eq!(
        said(Options { variables: [("other".into(), "x".into())].into(), ..Options::default() }),
        Err("the lab `test` declares no variable `other`; its variables are `name`".to_owned())
    );
    assert_eq!(
        said(Options { leave_out: Some("nosuch".to_owned()), ..Options::default() }),
        Err("the lab `test` has no step `nosuch`; its steps are `vpc`, `key`".to_owned())
    );
    assert_eq!(lab.first_beyond_the_api(None), None);
}

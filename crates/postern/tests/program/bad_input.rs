//! Wrong policies at every API that stores one, and requests that are signed wrongly, at the real door: the code and AWS's
//! sentence for each, in a table.

use nix::sys::signal::Signal;

use crate::harness::World;

crate::one_way!(what_is_wrong_is_told_in_awss_words);

const SCRIPT: &str = include_str!("bad_input.py");
/// `POSTERN_WRITE_EXPECTED=1` writes it anew; a change in it is a change of what clients see.
const EXPECTED: &str = include_str!("bad_input.expected");

fn what_is_wrong_is_told_in_awss_words(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let ran = aws.boto3(SCRIPT);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let found = ran.stdout.replace(&aws.key, "KEY").replace(&aws.host, "HOST");
    if std::env::var_os("POSTERN_WRITE_EXPECTED").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/program/bad_input.expected");
        std::fs::write(path, &found).unwrap();
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    for (found, expected) in lines(&found).iter().zip(lines(EXPECTED).iter()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), EXPECTED.lines().count());
    // Nothing of it has shaken the region.
    aws.ec2("DescribeVpcs", serde_json::json!({}));
    assert!(!region.logged().contains("panicked"), "{}", region.logged());
    region.end_by(Signal::SIGTERM);
}

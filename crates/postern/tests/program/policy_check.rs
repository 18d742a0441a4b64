//! `postern policy check`: what it prints, and how it ends.

use std::path::Path;

use serde_json::json;

use crate::harness::{Ran, World};

crate::one_way!(documents_are_looked_over_without_a_region);

const DOUBTFUL: &str = r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObjct",
  "Resource": "*", "Condition": {"StringEquals": {"aws:SourceVpce": "vpce-1"}}}]}"#;

fn check(world: &World, arguments: &[&str], input: &str) -> Ran {
    let mut command = world.command(Path::new(env!("CARGO_BIN_EXE_postern")));
    command.args(["policy", "check"]).args(arguments);
    Ran::of(command, input.as_bytes())
}

fn documents_are_looked_over_without_a_region(world: &World) {
    let doubtful = check(world, &["-", "--kind", "gateway-endpoint"], DOUBTFUL);
    assert_eq!(
        doubtful.stdout,
        "stdin:1:64: warning: Statement[0]: there is no action `s3:GetObjct`; `s3:GetObject` may be meant\n\
         stdin:2:51: warning: Statement[0]: every request that this policy sees came through its own endpoint, so \
         `aws:SourceVpce` is always the same\n\
         stdin can be used as a gateway endpoint policy, with 2 warnings\n"
    );
    assert_eq!(doubtful.code, Some(0), "{}", doubtful.stderr);
    assert_eq!(check(world, &["-", "--kind", "gateway-endpoint", "--strict"], DOUBTFUL).code, Some(1));

    let refused = check(world, &["-"], DOUBTFUL);
    assert_eq!(
        refused.stdout,
        "stdin:1:49: error: Statement[0]: `Principal` is not allowed in an identity-based policy\n\
         stdin cannot be used as an identity-based policy\n"
    );
    assert_eq!(refused.code, Some(1));
    let broken = check(world, &["-", "--output", "json"], "{\"Statement\": [\n}");
    let broken: serde_json::Value =
        serde_json::from_str(&broken.stdout).unwrap_or_else(|error| panic!("{error}: {}", broken.stdout));
    assert_eq!((&broken["accepted"], &broken["kind"]), (&json!(false), &json!("an identity-based policy")));
    let finding = &broken["findings"][0];
    assert_eq!((&finding["severity"], &finding["line"]), (&json!("error"), &json!(2)));

    let good = DOUBTFUL.replace("GetObjct", "GetObject").replace("SourceVpce", "PrincipalArn");
    let good = check(world, &["-", "--kind", "endpoint", "--strict"], &good);
    assert_eq!((good.stdout.as_str(), good.code), ("stdin can be used as a VPC endpoint policy\n", Some(0)));
    let gone = check(world, &["/nowhere/policy.json"], "");
    assert_eq!((gone.stdout.as_str(), gone.code), ("", Some(1)));
    assert!(gone.stderr.contains("cannot read `/nowhere/policy.json`"), "{}", gone.stderr);
}

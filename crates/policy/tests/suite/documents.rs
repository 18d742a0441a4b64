//! Which documents are accepted, in which size, and what a service can ask of one.

use crate::fixture;
use postern_policy::{
    DEFAULT_GATEWAY_ENDPOINT_POLICY, DEFAULT_INTERFACE_ENDPOINT_POLICY, Kind, NamedPolicy, ParseError,
    PolicyDocument, PolicySet, PolicyType, SizeQuota, Version, unenforceable,
};

pub fn kind(name: &str) -> Kind {
    match name {
        "identity" => Kind::Identity,
        "resource" => Kind::Resource,
        "trust" => Kind::Trust,
        "gateway" => Kind::Endpoint { gateway: true },
        "interface" => Kind::Endpoint { gateway: false },
        "boundary" => Kind::Boundary,
        "session" => Kind::Session,
        "scp" => Kind::ServiceControl,
        "rcp" => Kind::ResourceControl,
        other => panic!("`{other}` is no kind"),
    }
}

#[test]
fn accepted_or_refused_in_these_words() {
    let cases = fixture::cases(include_str!("fixtures/documents.txt"));
    assert!(cases.len() >= 100, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let text = case.must("document");
        let got = match PolicyDocument::parse(text, kind(case.must("kind"))) {
            Ok(document) if document.text() == text => "valid".to_owned(),
            Ok(document) => format!("another text: {}", document.text()),
            Err(error) => format!("error: {error}"),
        };
        if got != case.must("expect") {
            failures.push(format!("`{}`\n  wanted {}\n  got    {got}", case.name, case.must("expect")));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// A document of exactly so many characters, white space at its end.
fn padded(kind: Kind, characters: usize) -> String {
    let text = fixture::document_text("full", kind);
    let missing = characters - text.chars().count();
    text + &" ".repeat(missing)
}

/// A document whose length is made of characters that always count.
fn filled(kind: Kind, characters: usize) -> String {
    let text = fixture::document_text("full", kind).replacen("\"Effect\"", "\"Sid\":\"\",\"Effect\"", 1);
    let missing = characters - text.chars().count();
    text.replacen("\"Sid\":\"\"", &format!("\"Sid\":\"{}\"", "x".repeat(missing)), 1)
}

#[test]
fn endpoint_policies_end_at_20480_characters_white_space_counted() {
    for gateway in [true, false] {
        let kind = Kind::Endpoint { gateway };
        assert!(PolicyDocument::parse(&padded(kind, 20_480), kind).is_ok());
        assert_eq!(
            PolicyDocument::parse(&padded(kind, 20_481), kind),
            Err(ParseError::TooLong { kind, limit: 20_480, actual: 20_481 })
        );
    }
}

#[test]
fn the_limit_counts_characters_and_not_bytes() {
    let kind = Kind::Endpoint { gateway: true };
    let text = filled(kind, 20_480).replace('x', "é");
    assert!(text.len() > 30_000);
    assert!(PolicyDocument::parse(&text, kind).is_ok());
}

#[test]
fn identity_policies_are_measured_without_white_space() {
    assert!(PolicyDocument::parse(&padded(Kind::Identity, 30_000), Kind::Identity).is_ok());
    let managed = PolicyDocument::parse(&filled(Kind::Identity, 6_144), Kind::Identity).unwrap();
    assert!(managed.fits(SizeQuota::Managed) && !managed.fits(SizeQuota::UserInline));
    let longer = PolicyDocument::parse(&filled(Kind::Identity, 6_145), Kind::Identity).unwrap();
    assert!(!longer.fits(SizeQuota::Managed) && longer.fits(SizeQuota::RoleInline));
    assert!(PolicyDocument::parse(&filled(Kind::Identity, 10_241), Kind::Identity).is_err());
    assert!(PolicyDocument::parse(&filled(Kind::Boundary, 6_145), Kind::Boundary).is_err());
}

#[test]
fn a_raised_quota_lets_the_next_one_in() {
    let text = filled(Kind::Session, 2_049);
    assert!(PolicyDocument::parse(&text, Kind::Session).is_err());
    assert!(PolicyDocument::parse_within(&text, Kind::Session, 4_096).is_ok());
}

#[test]
fn no_quota_is_without_a_bound() {
    let text = padded(Kind::Identity, 3_000_000);
    assert!(PolicyDocument::parse_within(&text, Kind::Identity, usize::MAX).is_err());
}

#[test]
fn the_defaults_of_endpoints_are_valid() {
    let gateway =
        PolicyDocument::parse(DEFAULT_GATEWAY_ENDPOINT_POLICY, Kind::Endpoint { gateway: true }).unwrap();
    let interface =
        PolicyDocument::parse(DEFAULT_INTERFACE_ENDPOINT_POLICY, Kind::Endpoint { gateway: false }).unwrap();
    assert_eq!((gateway.version(), interface.version()), (Version::V2008, Version::V2008));
    assert_eq!(interface.text(), DEFAULT_INTERFACE_ENDPOINT_POLICY);
}

#[test]
fn a_document_is_not_used_in_a_place_of_another_kind() {
    let resource = || fixture::policy("bucket", "full", Kind::Resource);
    let identity = || fixture::policy("managed", "full", Kind::Identity);
    let mut set = PolicySet::new();
    assert_eq!(
        set.add_identity(resource()).unwrap_err().to_string(),
        "policy `bucket` is a resource-based policy and cannot be used as identity-based policy"
    );
    assert_eq!(set.set_endpoint(resource()).unwrap_err().place, PolicyType::Endpoint);
    assert!(set.set_resource(identity()).is_err());
    assert!(set.add_service_control_level(vec![identity()]).is_err());
    assert!(set.add_resource_control_level(vec![resource()]).is_err());
    assert!(set.set_boundary(identity()).is_ok());
    assert!(set.add_session(identity()).is_ok());
}

#[test]
fn what_cannot_be_enforced_is_listed() {
    let policy: NamedPolicy = fixture::policy(
        "p",
        r#"[{"Effect":"Allow","Principal":{"AWS":"AROAIOSFODNN7EXAMPLE1"},"Action":"s3:*",
             "Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team, 'x'}/*",
             "Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1","s3:prefix":"${saml:sub}"},
                          "ArnLike":{"aws:PrincipalArn":"*","aws:SourceArn":"arn:aws:s3:::${x:y}"}}},
            {"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*",
             "Condition":{"Null":{"AWS:sourcevpce":"true"}}}]"#,
        Kind::Resource,
    );
    let supported = |key: &str| ["aws:sourcevpce", "s3:prefix"].contains(&key);
    assert_eq!(
        unenforceable(policy.document(), &supported),
        ["aws:PrincipalTag/team", "aws:SourceArn", "aws:userid", "saml:sub", "x:y"]
    );
    assert_eq!(unenforceable(policy.document(), &|_| true), Vec::<String>::new());
}

#[test]
fn everything_that_is_wrong_is_told_where_the_parser_can_go_on() {
    let text = r#"{
  "Version": "2012-10-18",
  "Extra": 1,
  "Statement": [
    {"Effect": "allow", "Action": ["s3:GetObject", "get", "put"], "Resource": ["*", "bucket"], "Principals": "*"},
    {"Effect": "Allow", "Resource": "*", "Condition": {"Like": {"aws:a": "b"}, "NumericEquals": {"s3:max-keys": "x", "nokey": "1"}}},
    "statement",
    {"Sid": "A", "Effect": "Allow", "Action": "s3:*", "Resource": "*"},
    {"Sid": "A", "Effect": "Deny", "Action": "s3:*", "Resource": "*"}
  ]
}"#;
    let errors = PolicyDocument::parse_for_all(text, Kind::Identity).unwrap_err();
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "Version: `2012-10-18` is not a policy version, which is `2008-10-17` or `2012-10-17` (line 2, column 14)",
        "the document: unknown element `Extra` (line 3, column 3)",
        "Statement[0]: unknown element `Principals` (line 5, column 96)",
        "Statement[0].Effect: `allow` is not an effect, which is `Allow` or `Deny` (line 5, column 16)",
        "Statement[0].Action: `get` is not an action: it must be `*` or have the form service:Name (line 5, column 52)",
        "Statement[0].Action: `put` is not an action: it must be `*` or have the form service:Name (line 5, column 59)",
        "Statement[0].Resource: `bucket` is not a resource: it must be `*` or an arn with six parts (line 5, column 85)",
        "Statement[1]: missing `Action` (line 6, column 5)",
        "Statement[1].Condition.Like: unknown condition operator `Like` (line 6, column 56)",
        "Statement[1].Condition.NumericEquals.s3:max-keys: `x` is not a decimal number (line 6, column 113)",
        "Statement[1].Condition.NumericEquals: `nokey` is not a condition key, which has the form prefix:name (line 6, column 118)",
        "Statement[2]: expected an object, found a string (line 7, column 5)",
        "Statement[4].Sid: statement id `A` is used twice (line 9, column 5)",
    ];
    assert_eq!(told, expected);
    // The first of them is the one that is told where there is room for one.
    assert_eq!(PolicyDocument::parse(text, Kind::Identity).unwrap_err(), errors[0]);
    // However many there are, they are bounded.
    let many = vec![r#"{"Effect":"x"}"#; 400].join(",");
    let many = format!(r#"{{"Statement":[{many}]}}"#);
    assert_eq!(PolicyDocument::parse_for_all(&many, Kind::Identity).unwrap_err().len(), 100);
}

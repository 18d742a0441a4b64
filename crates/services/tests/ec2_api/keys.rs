//! Key pairs, checked by OpenSSH where the machine has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Api, at, text};
use crate::world::{base64, built};

/// What `ssh-keygen` says about a private key, if the machine has it.
fn public_half(private: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, private).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let output = Command::new("ssh-keygen")
        .arg("-y")
        .arg("-P")
        .arg("")
        .arg("-f")
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn stored(api: &Api, name: &str) -> serde_json::Value {
    at(&api.call("DescribeKeyPairs", json!({ "KeyNames": [name], "IncludePublicKey": true })), "KeyPairs.0")
        .clone()
}

#[test]
fn a_key_that_is_made_is_one_that_ssh_takes() {
    let (api, _) = built();
    for (kind, header, algorithm) in [
        ("ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-ed25519 "),
        ("rsa", "-----BEGIN RSA PRIVATE KEY-----", "ssh-rsa "),
    ] {
        let made = api.call("CreateKeyPair", json!({ "KeyName": kind, "KeyType": kind }));
        let private = text(&made, "KeyMaterial");
        assert!(private.starts_with(header));
        let public = text(&stored(&api, kind), "PublicKey");
        assert!(public.starts_with(algorithm));
        if let Some(derived) = public_half(&private) {
            let body = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
            assert_eq!(body(&derived), body(&public));
        }
        // The private half is nowhere but in that answer.
        assert!(!format!("{:?}", api.state()).contains(private.lines().nth(1).unwrap()));
        let fingerprint = text(&made, "KeyFingerprint");
        let form = if kind == "rsa" { 59 } else { 44 };
        assert_eq!(fingerprint.len(), form, "{fingerprint}");
    }
    // Without a type it is an RSA key, as AWS has it.
    let made = api.call("CreateKeyPair", json!({ "KeyName": "plain" }));
    assert!(text(&made, "KeyMaterial").contains("RSA"));
}

/// Made by `ssh-keygen -t rsa -b 2048`; the fingerprint is what
/// `ssh-keygen -e -m PKCS8 -f key.pub | openssl pkey -pubin -outform DER | md5sum` prints.
const RSA: (&str, &str) = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCYkDFQp+NX0OUykwjjnjHL9GXRt1OTFF0RLPPqszorfapZe9Swt0hAyyWYF6BPjsj7jTbxU/Q+JH8DGpXhqDBMbHVJwwUFemO0zqAumwV2Ji9cy0VJr6x1buVplDQtD/AVFUGeW5yGv6ZzO5zUZOj6AVJ+wVrjmDqjeBUtbk5kVm8PFvs/0FD4i48gjXmNN5dczDNWgae9fMiX7gy7mqQI0mgUru4Wcg+k9EelGPDS3YplXdYDWbIym+v/vNaGwGy6vbY1YYTSP2T+sDCQdiu6/6DKtVoc+KGkMUAELi+QkefoUoRzpdNDVg1BT2EhgBzn3tY6hirOPdPLF6vOMqE1 brought",
    "31:f5:06:e9:b3:73:31:d3:fc:98:fa:da:13:61:28:87",
);

#[test]
fn keys_are_brought_with_awss_fingerprints() {
    let (api, ids) = built();
    let import = |name: &str, key: &str| {
        api.attempt("ImportKeyPair", json!({ "KeyName": name, "PublicKeyMaterial": base64(key) }))
    };
    let answer = import("rsa", RSA.0).unwrap();
    assert_eq!(text(&answer, "KeyFingerprint"), RSA.1);
    assert_eq!(stored(&api, "rsa")["KeyType"], "rsa");
    assert_eq!(
        import("mine", RSA.0).unwrap_err().to_string(),
        "InvalidKeyPair.Duplicate: The keypair 'mine' already exists."
    );
    let made = api.refusal("CreateKeyPair", json!({ "KeyName": "mine" }));
    assert_eq!(made, "InvalidKeyPair.Duplicate: The keypair 'mine' already exists.");
    for bad in ["dog", "ssh-rsa AAAA", ""] {
        assert_eq!(
            import("bad", bad).unwrap_err().to_string(),
            "InvalidKey.Format: Key is not in valid OpenSSH public key format"
        );
    }
    assert!(
        import("bad", "ecdsa-sha2-nistp256 AAAA")
            .unwrap_err()
            .to_string()
            .starts_with("InvalidKey.Format: Key is not supported")
    );
    let gone = api.call("DeleteKeyPair", json!({ "KeyName": "mine" }));
    assert_eq!(at(&gone, "KeyPairId"), &json!(ids["key"]));
    // Again: it is gone already, which AWS takes as done.
    assert_eq!(api.call("DeleteKeyPair", json!({ "KeyName": "mine" })), json!({ "Return": true }));
    assert_eq!(
        api.refusal("DescribeKeyPairs", json!({ "KeyNames": ["mine"] })),
        "InvalidKeyPair.NotFound: The key pair 'mine' does not exist"
    );
}

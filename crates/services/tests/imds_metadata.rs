//! Instance metadata: tokens, the tree, and credentials that real clients use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http_body_util::BodyExt as _;
use iam_support::*;
use postern_frontdoor::{AnswerHops, Authority, HttpService, Limits, Metrics, Origin, OriginSource, Server};
use postern_model::instance::{InstanceChange, Launch, LaunchInterface, MetadataOptions, NewKeyPair};
use postern_model::{Action, Event, InstanceId, ResourceId};
use postern_path::{Peer, PeerLookup, Through};
use postern_services::commands::{Commands as _, Done};
use postern_services::imds::Imds;
use postern_services::imds::identity::{self, IdentitySigner};
use serde_json::{Value as Json, json};

const EC2: &str = r#"{"Service":"ec2.amazonaws.com"}"#;

/// A region with one instance, which has a role.
struct Lab {
    world: World,
    imds: Arc<Imds>,
    instance: InstanceId,
    /// Of the key that signs identity documents.
    certificate: String,
}

fn created(done: &Done) -> ResourceId {
    let created = done.events.iter().find_map(|event| match event {
        Event::Created(id) => Some(*id),
        Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
    });
    created.unwrap()
}

impl Lab {
    async fn new(memory: Arc<Memory>) -> Self {
        let world = World::over(memory, false);
        let root = world.root();
        for (operation, parameters) in [
            ("CreateRole", json!({ "RoleName": "app", "AssumeRolePolicyDocument": trust(EC2, "{}") })),
            ("CreateInstanceProfile", json!({ "InstanceProfileName": "profile", "Path": "/p/" })),
            ("AddRoleToInstanceProfile", json!({ "InstanceProfileName": "profile", "RoleName": "app" })),
        ] {
            world.iam(&root, operation, parameters).await.unwrap();
        }
        let run = |action| created(&world.memory.run(account(ONE), action).unwrap());
        let ResourceId::Vpc(vpc) =
            run(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: vec![] })
        else {
            panic!("a VPC")
        };
        let cidr = "10.0.1.0/24".parse().unwrap();
        let subnet = Action::CreateSubnet { vpc, cidr, zone: Some("us-east-1b".to_owned()), tags: vec![] };
        let ResourceId::Subnet(subnet) = run(subnet) else { panic!("a subnet") };
        run(Action::CreateKeyPair(NewKeyPair {
            name: "laptop".to_owned(),
            key_type: "ed25519".to_owned(),
            public_key: "ssh-ed25519 AAAA laptop".to_owned(),
            fingerprint: "f".to_owned(),
            tags: vec![],
        }));
        let launch = Launch {
            count: 1,
            least: None,
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface: LaunchInterface::New {
                subnet,
                groups: None,
                private_address: Some(Ipv4Addr::new(10, 0, 1, 5)),
                public_address: Some(false),
                description: String::new(),
                delete_on_termination: true,
            },
            key_name: Some("laptop".to_owned()),
            profile: Some("profile".to_owned()),
            user_data: Some(b"#!/bin/sh\necho \xff\n".to_vec()),
            metadata: MetadataOptions::default(),
            termination_protected: false,
            tags: vec![],
            interface_tags: vec![],
        };
        let ResourceId::Instance(instance) = run(Action::RunInstances(launch)) else { panic!("an instance") };
        let commands = Arc::clone(&world.memory) as _;
        let key = identity::new_key().unwrap();
        let authority = Authority::generate("us-east-1").unwrap();
        let certificate = authority.certify_signer("Instance identity", &key).unwrap();
        let signer = IdentitySigner::new(&key, &certificate).unwrap();
        let imds = Imds::new(commands, Arc::clone(&world.sessions), Arc::new(Metrics::default()));
        let imds = Arc::new(imds.signing(signer));
        Self { world, imds, instance, certificate: identity::certificate_pem(&certificate) }
    }

    fn peer(&self) -> Peer {
        let state = self.world.memory.state();
        let instance = state.instances.get(&self.instance).unwrap();
        let interface = instance.primary_interface(&state).unwrap();
        Peer {
            account: instance.owner,
            vpc: instance.vpc,
            interface: interface.id,
            instance: Some(instance.id),
            address: interface.primary_address(),
            through: Through::Link,
        }
    }

    async fn ask(
        &self,
        peer: Option<Peer>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, Vec<u8>) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(postern_frontdoor::body::full("")).unwrap();
        let remote = SocketAddr::from(([240, 0, 1, 1], 5));
        request.extensions_mut().insert(Origin { peer, remote, secure: false });
        request.extensions_mut().insert(AnswerHops::default());
        let response = self.imds.call(request).await;
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn token(&self) -> String {
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
        let (status, token) = self.ask(Some(self.peer()), "PUT", "/latest/api/token", &headers).await;
        assert_eq!(status, 200);
        String::from_utf8(token).unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let token = self.token().await;
        let (status, body) =
            self.ask(Some(self.peer()), "GET", path, &[("x-aws-ec2-metadata-token", &token)]).await;
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    async fn text(&self, path: &str) -> String {
        let (status, text) = self.get(path).await;
        assert_eq!(status, 200, "{path}");
        text
    }
}

#[tokio::test]
async fn nothing_is_told_without_a_token_of_this_instance() {
    let lab = Lab::new(Memory::new()).await;
    let peer = Some(lab.peer());
    let id = "/latest/meta-data/instance-id";
    let token_path = "/latest/api/token";
    let ttl = "x-aws-ec2-metadata-token-ttl-seconds";
    let token = lab.token().await;
    for (peer, method, path, headers, status) in [
        (peer, "GET", id, vec![], 401),
        (peer, "GET", id, vec![("x-aws-ec2-metadata-token", "nonsense")], 401),
        (peer, "GET", id, vec![("x-aws-ec2-metadata-token", token.as_str())], 200),
        (peer, "HEAD", id, vec![("x-aws-ec2-metadata-token", token.as_str())], 200),
        (peer, "PUT", token_path, vec![], 400),
        (peer, "PUT", token_path, vec![(ttl, "0")], 400),
        (peer, "PUT", token_path, vec![(ttl, "21601")], 400),
        (peer, "PUT", token_path, vec![(ttl, "21600")], 200),
        (peer, "PUT", token_path, vec![(ttl, "60"), ("x-forwarded-for", "10.0.0.1")], 403),
        (peer, "PUT", id, vec![(ttl, "60")], 405),
        (peer, "POST", id, vec![], 405),
        (None, "PUT", token_path, vec![(ttl, "60")], 403),
        (None, "GET", id, vec![("x-aws-ec2-metadata-token", token.as_str())], 403),
        (peer.map(|peer| Peer { instance: None, ..peer }), "PUT", token_path, vec![(ttl, "60")], 403),
        (peer.map(|peer| Peer { account: account(TWO), ..peer }), "PUT", token_path, vec![(ttl, "60")], 403),
    ] {
        let (found, _) = lab.ask(peer, method, path, &headers).await;
        assert_eq!(found, status, "{method} {path} {headers:?} {peer:?}");
    }
    lab.world.memory.advance(60);
    let (late, _) = lab.ask(peer, "GET", id, &[("x-aws-ec2-metadata-token", &token)]).await;
    assert_eq!(late, 401, "after its time");
    let off = InstanceChange::Metadata(MetadataOptions { enabled: false, hop_limit: 1 });
    let modify = Action::ModifyInstance { instance: lab.instance, change: off };
    lab.world.memory.run(account(ONE), modify).unwrap();
    assert_eq!(lab.ask(peer, "PUT", token_path, &[(ttl, "60")]).await.0, 403);
    assert_eq!(lab.ask(peer, "GET", id, &[]).await.0, 403);
}

#[tokio::test]
async fn the_tree_tells_the_instance() {
    let lab = Lab::new(Memory::new()).await;
    let state = lab.world.memory.state();
    let instance = state.instances.get(&lab.instance).unwrap();
    let interface = instance.primary_interface(&state).unwrap();
    let mac = interface.mac.to_string();
    let of_mac = format!("network/interfaces/macs/{mac}/");
    for (path, expected) in [
        ("instance-id", instance.id.to_string()),
        ("ami-id", "ami-1".to_owned()),
        ("instance-type", "t3.micro".to_owned()),
        ("local-ipv4", "10.0.1.5".to_owned()),
        ("hostname", "ip-10-0-1-5.ec2.internal".to_owned()),
        ("local-hostname", "ip-10-0-1-5.ec2.internal".to_owned()),
        ("mac", mac.clone()),
        ("placement/availability-zone", "us-east-1b".to_owned()),
        ("placement/availability-zone-id", "use1-az2".to_owned()),
        ("placement/region", "us-east-1".to_owned()),
        ("placement/", "availability-zone\navailability-zone-id\nregion".to_owned()),
        ("placement", "availability-zone\navailability-zone-id\nregion".to_owned()),
        ("security-groups", "default".to_owned()),
        ("services/domain", "amazonaws.com".to_owned()),
        ("public-keys/", "0=laptop".to_owned()),
        ("public-keys/0/", "openssh-key".to_owned()),
        ("public-keys/0/openssh-key", "ssh-ed25519 AAAA laptop".to_owned()),
        ("iam/", "info\nsecurity-credentials/".to_owned()),
        ("iam/security-credentials/", "app".to_owned()),
        ("network/interfaces/macs/", format!("{mac}/")),
        (&format!("{of_mac}vpc-id"), instance.vpc.to_string()),
        (&format!("{of_mac}subnet-id"), instance.subnet.to_string()),
        (&format!("{of_mac}subnet-ipv4-cidr-block"), "10.0.1.0/24".to_owned()),
        (&format!("{of_mac}vpc-ipv4-cidr-blocks"), "10.0.0.0/16".to_owned()),
        (&format!("{of_mac}interface-id"), interface.id.to_string()),
        ("ami-manifest-path", "(unknown)".to_owned()),
        ("events/maintenance/", "history\nscheduled".to_owned()),
        ("events/maintenance/history", "[]".to_owned()),
        (&format!("{of_mac}device-number"), "0".to_owned()),
        (&format!("{of_mac}owner-id"), "111122223333".to_owned()),
    ] {
        assert_eq!(lab.text(&format!("/latest/meta-data/{path}")).await, expected, "{path}");
    }
    assert_eq!(lab.text("/").await, "latest/");
    assert_eq!(lab.text("/latest").await, "dynamic/\nmeta-data/\nuser-data");
    let root = lab.text("/latest/meta-data/").await;
    assert!(
        root.starts_with("ami-id\nami-launch-index\nami-manifest-path\nevents/\nhostname\niam/\n"),
        "{root}"
    );
    assert!(!root.contains("public-ipv4"), "there is none");
    for path in [
        "/latest/meta-data/public-ipv4",
        "/latest/meta-data/nothing",
        "/latest/meta-data/instance-id/",
        "/latest/meta-data/instance-id/x",
        "/latest/meta-data//instance-id",
        "/latest/dynamic/instance-identity/pkcs7",
        "/1999/meta-data/",
    ] {
        assert_eq!(lab.get(path).await.0, 404, "{path}");
    }
    let document: Json =
        serde_json::from_str(&lab.text("/latest/dynamic/instance-identity/document").await).unwrap();
    assert_eq!(document["accountId"], "111122223333");
    assert_eq!(document["privateIp"], "10.0.1.5");
    assert_eq!(document["pendingTime"], "2026-01-31T12:00:00Z");
    let token = lab.token().await;
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let (_, data) = lab.ask(Some(lab.peer()), "GET", "/latest/user-data", &headers).await;
    assert_eq!(data, b"#!/bin/sh\necho \xff\n");
}

/// Verified as AWS's documentation says, with its own tool where it is there: "Verify the instance identity document".
#[tokio::test]
async fn the_identity_document_is_signed() {
    let lab = Lab::new(Memory::new()).await;
    let of = |name: &str| format!("/latest/dynamic/instance-identity/{name}");
    assert_eq!(lab.text(&of("")).await, "document\nrsa2048\nsignature");
    assert_eq!(lab.text("/latest/dynamic/fws/instance-monitoring").await, "disabled");
    let document = lab.text(&of("document")).await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let signature = lab.text(&of("signature")).await.replace('\n', "");
    std::fs::write(at("signature"), STANDARD.decode(signature).unwrap()).unwrap();
    std::fs::write(at("document"), &document).unwrap();
    std::fs::write(at("certificate"), &lab.certificate).unwrap();
    let message = lab.text(&of("rsa2048")).await;
    std::fs::write(at("message"), format!("-----BEGIN PKCS7-----\n{message}\n-----END PKCS7-----\n"))
        .unwrap();
    let openssl = |arguments: &str| {
        let mut command = std::process::Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(directory.path()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (_, key) = openssl("x509 -in certificate -pubkey -noout");
    std::fs::write(at("key"), key).unwrap();
    let by_key = "dgst -sha256 -verify key -signature signature document";
    let by_message = "smime -verify -in message -inform PEM -certfile certificate -noverify";
    assert!(openssl(by_key).0);
    assert_eq!(openssl(by_message), (true, document.clone()), "the message holds the document");
    std::fs::write(at("document"), document.replace("10.0.1.5", "10.0.1.6")).unwrap();
    assert!(!openssl(by_key).0, "another document");
    let forged = Lab::new(Memory::new()).await;
    std::fs::write(at("certificate"), &forged.certificate).unwrap();
    assert!(!openssl(by_message).0, "another region's key");
}

#[tokio::test]
async fn credentials_stay_until_their_last_hour() {
    let lab = Lab::new(Memory::new()).await;
    let path = "/latest/meta-data/iam/security-credentials/app";
    let fetch = || async { serde_json::from_str::<Json>(&lab.text(path).await).unwrap() };
    let first = fetch().await;
    assert_eq!(first["Code"], "Success");
    assert_eq!(first["Expiration"], "2026-01-31T18:00:00Z");
    let holder = |document: &Json| {
        lab.world.caller(document["AccessKeyId"].as_str().unwrap(), document["Token"].as_str())
    };
    let caller = holder(&first).unwrap();
    let session = format!("arn:aws:sts::111122223333:assumed-role/app/{}", lab.instance);
    assert_eq!(caller.principal.display_name(), session);
    lab.world.memory.advance(5 * 3600 - 1);
    assert_eq!(fetch().await, first);
    lab.world.memory.advance(1);
    let second = fetch().await;
    assert_ne!(second["AccessKeyId"], first["AccessKeyId"]);
    assert_eq!(second["Expiration"], "2026-01-31T23:00:00Z");
    assert!(holder(&first).is_ok(), "the old ones hold to their end");
    lab.world.memory.advance(3600);
    assert!(holder(&first).is_err());
    let info: Json = serde_json::from_str(&lab.text("/latest/meta-data/iam/info").await).unwrap();
    assert_eq!(info["InstanceProfileArn"], "arn:aws:iam::111122223333:instance-profile/p/profile");
    // Another role of the same name, or one that no longer trusts instances, changes them at once.
    let root = lab.world.root();
    let trust =
        json!({ "RoleName": "app", "PolicyDocument": trust(r#"{"Service":"lambda.amazonaws.com"}"#, "{}") });
    lab.world.iam(&root, "UpdateAssumeRolePolicy", trust).await.unwrap();
    assert_eq!(fetch().await["Code"], "AssumeRoleUnauthorizedAccess");
    let gone = lab.get("/latest/meta-data/iam/security-credentials/other").await;
    assert_eq!(gone.0, 404);
}

/// 127.0.0.1 is the instance.
struct Loopback(Peer);

impl PeerLookup for Loopback {
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        (address == IpAddr::V4(Ipv4Addr::LOCALHOST)).then_some(self.0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_finds_its_credentials_there() {
    let lab = Lab::new(Memory::at_real_time()).await;
    let (door, ..) = front_door(&lab.world, false).await;
    let metrics = Arc::new(Metrics::default());
    let server = Server::new(Arc::clone(&lab.imds) as _, None, Limits::default(), metrics);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let peers = Arc::new(Loopback(lab.peer()));
    let serving = server.clone();
    tokio::spawn(
        async move { serving.serve_tcp(listener, OriginSource::Inside { peers, tls: false }).await },
    );
    let script = format!(
        "import boto3\n\
         print(boto3.client('sts', endpoint_url='http://{door}', region_name='us-east-1').get_caller_identity()['Arn'])"
    );
    let home = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(tool("python3"))
        .args(["-c", &script])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{address}/"))
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let expected = format!("arn:aws:sts::111122223333:assumed-role/app/{}", lab.instance);
    assert_eq!(told, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

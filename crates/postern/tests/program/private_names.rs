//! Private names of endpoint services: whose domain it is has to be shown by a record that a real server answers with.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{World, eventually};
use crate::network::{Network, text};

crate::one_way!(a_private_name_is_its_owners_once_the_record_is_seen_and_as_long_as_it_is_there);

/// An authoritative server of `example.com`.
#[derive(Clone, Default)]
struct Zone {
    texts: Arc<Mutex<BTreeMap<String, String>>>,
    mute: Arc<Mutex<bool>>,
    asked: Arc<Mutex<usize>>,
}

impl Zone {
    fn serve(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (address, zone) = (socket.local_addr().unwrap(), self.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                *zone.asked.lock().unwrap() += 1;
                if !*zone.mute.lock().unwrap() {
                    let _ = socket.send_to(&zone.answer(&buffer[..length]), from);
                }
            }
        });
        address
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        let query = Message::from_bytes(query).unwrap();
        let question = query.queries[0].clone();
        let mut answer = Message::response(query.metadata.id, OpCode::Query);
        answer.metadata.authoritative = true;
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        let name = question.name().to_ascii().trim_end_matches('.').to_owned();
        let text = self.texts.lock().unwrap().get(&name).cloned();
        match text.filter(|_| question.query_type() == RecordType::TXT) {
            Some(text) => {
                let data = RData::TXT(TXT::new(vec![text]));
                answer.add_answer(Record::from_rdata(question.name().clone(), 60, data));
            }
            None => answer.metadata.response_code = ResponseCode::NXDomain,
        }
        answer.add_query(question);
        answer.to_bytes().unwrap()
    }

    fn put(&self, name: &str, text: &str) {
        self.texts.lock().unwrap().insert(name.to_owned(), text.to_owned());
    }

    fn clear(&self) {
        self.texts.lock().unwrap().clear();
    }

    /// Waits until it was asked so many times more.
    fn is_asked_again(&self, times: usize) {
        let before = *self.asked.lock().unwrap();
        eventually("more queries", 30, || (*self.asked.lock().unwrap() >= before + times).then_some(()));
    }
}

fn configuration(aws: &Aws, service: &str) -> Value {
    let found = aws.ec2("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": [service] }));
    found["ServiceConfigurations"][0]["PrivateDnsNameConfiguration"].clone()
}

#[track_caller]
fn becomes(aws: &Aws, service: &str, state: &str) {
    eventually(&format!("the name to be {state}"), 40, || {
        (configuration(aws, service)["State"] == state).then_some(())
    });
}

fn a_private_name_is_its_owners_once_the_record_is_seen_and_as_long_as_it_is_there(world: &World) {
    let zone = Zone::default();
    let server = zone.serve().to_string();
    let region = world.up(&["--verify-dns", &server, "--verify-dns-again", "1"]);
    let aws = region.aws();
    let (provider, consumer) = (Network::new(&aws), Network::new(&aws));
    let hostnames = json!({ "VpcId": consumer.vpc, "EnableDnsHostnames": { "Value": true } });
    aws.ec2("ModifyVpcAttribute", hostnames);
    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [provider.subnet] });
    let balancer = aws.call("elasticloadbalancing", "CreateLoadBalancer", new);
    let arn = text(&balancer["LoadBalancers"][0]["LoadBalancerArn"]);
    let made = aws.ec2(
        "CreateVpcEndpointServiceConfiguration",
        json!({ "AcceptanceRequired": false, "NetworkLoadBalancerArns": [arn], "PrivateDnsName": "api.example.com" }),
    )["ServiceConfiguration"]
        .clone();
    let (service, name) = (text(&made["ServiceId"]), text(&made["ServiceName"]));
    let shown = configuration(&aws, &service);
    assert_eq!((&shown["State"], &shown["Type"]), (&json!("pendingVerification"), &json!("TXT")), "{shown}");
    let record = format!("{}.api.example.com", text(&shown["Name"]));
    let value = text(&shown["Value"]);
    assert!(record.starts_with('_') && value.starts_with("vpce:"), "{shown}");

    let wanted = json!({
        "VpcId": consumer.vpc, "VpcEndpointType": "Interface", "SubnetIds": [consumer.subnet], "ServiceName": name,
        "PrivateDnsEnabled": true,
    });
    let refused = |aws: &Aws| aws.refused("ec2", "CreateVpcEndpoint", wanted.clone());
    let unverified = format!(
        "Private DNS can't be enabled because the service {name} has not verified the private DNS name."
    );
    assert_eq!(refused(&aws), ("InvalidParameter".to_owned(), unverified.clone()));
    let start = || aws.ec2("StartVpcEndpointServicePrivateDnsVerification", json!({ "ServiceId": service }));
    // Nothing there, then another value: the value is that very one, in that very case.
    assert_eq!(start()["ReturnValue"], true);
    becomes(&aws, &service, "failed");
    zone.put(&record, &value.to_uppercase());
    start();
    assert_eq!(configuration(&aws, &service)["State"], "pendingVerification");
    becomes(&aws, &service, "failed");
    assert_eq!(refused(&aws).1, unverified);
    zone.put(&record, &value);
    start();
    becomes(&aws, &service, "verified");

    // Now the consumer's VPC has the name.
    let endpoint = text(&aws.ec2("CreateVpcEndpoint", wanted.clone())["VpcEndpoint"]["VpcEndpointId"]);
    let interface = eventually("the endpoint to be available", 30, || {
        let found = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
        let found = found["VpcEndpoints"][0].clone();
        (found["State"] == "available").then(|| text(&found["NetworkInterfaceIds"][0]))
    });
    let found = aws.ec2("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [interface] }));
    let address = text(&found["NetworkInterfaces"][0]["PrivateIpAddress"]);
    let client = consumer.run(&aws, json!({}));
    let asked = || region.sh(&client, "getent ahostsv4 api.example.com | cut -d' ' -f1 | sort -u; true");
    assert_eq!(asked(), format!("{address}\n"));
    // A server that says nothing takes nothing away; one that says that the record is gone does.
    *zone.mute.lock().unwrap() = true;
    zone.is_asked_again(2);
    assert_eq!(configuration(&aws, &service)["State"], "verified");
    *zone.mute.lock().unwrap() = false;
    zone.is_asked_again(1);
    assert_eq!(asked(), format!("{address}\n"));
    zone.clear();
    becomes(&aws, &service, "failed");
    assert_eq!(asked(), "");
    let (code, _) = aws.refused(
        "ec2",
        "StartVpcEndpointServicePrivateDnsVerification",
        json!({ "ServiceId": "vpce-svc-00000000000000000" }),
    );
    assert_ne!(code, "InvalidAction");
    region.down();
}

//! What there can be no more of, and what cannot be started.

use serde_json::json;

use crate::harness::{World, eventually};
use crate::network::{Network, becomes, describe, text};

crate::both_ways!(a_start_that_fails_leaves_the_instance_stopped);
crate::one_way!(quotas_are_the_operators_to_raise, boto3_asks_for_more_and_gets_it);

/// A folder of tools that is gone is what an instance cannot be started without.
fn a_start_that_fails_leaves_the_instance_stopped(world: &World) {
    let (tools, aside) = (world.home().join("tools"), world.home().join("aside"));
    std::fs::create_dir_all(tools.join("bin")).unwrap();
    world.hand_over(&tools);
    let region = world.try_up(&world.state("state"), &["--tools", tools.to_str().unwrap()]).unwrap();
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.run(&aws, json!({}));
    aws.ec2("StopInstances", json!({ "InstanceIds": [instance] }));
    becomes(&aws, &instance, "stopped");
    std::fs::rename(&tools, &aside).unwrap();
    // Twice: what failed once is tried again when it is asked for again.
    for _ in 0..2 {
        aws.ec2("StartInstances", json!({ "InstanceIds": [instance] }));
        let failed = eventually("the start to fail", 30, || {
            let shown = describe(&aws, &instance);
            (shown["StateReason"]["Code"] == "Server.InternalError").then_some(shown)
        });
        assert_eq!(failed["State"]["Name"], "stopped", "{failed}");
        let message = text(&failed["StateReason"]["Message"]);
        assert_eq!(message, "Server.InternalError: Internal error on launch", "nothing of this machine");
    }
    // A launch that fails leaves nothing.
    let launched = network.launch(&aws, json!({}));
    becomes(&aws, &launched, "terminated");
    std::fs::rename(&aside, &tools).unwrap();
    aws.ec2("StartInstances", json!({ "InstanceIds": [instance] }));
    becomes(&aws, &instance, "running");
    assert_eq!(region.sh(&instance, "echo here"), "here\n");
    region.down();
}

fn quotas_are_the_operators_to_raise(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let account = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Account"]);
    let of = |region: &crate::harness::Region<'_>, arguments: &[&str]| {
        let quotas = region.json(&[&["account", "quota", &account], arguments].concat());
        let mut all = quotas.as_array().unwrap().iter();
        all.find(|quota| quota["name"] == "elastic-ips-per-region").unwrap().clone()
    };
    let usual = json!({ "name": "elastic-ips-per-region", "limit": 5, "usual": 5, "most": 1000 });
    assert_eq!(of(&region, &[]), usual);
    for _ in 0..5 {
        aws.ec2("AllocateAddress", json!({}));
    }
    let full = ("AddressLimitExceeded", "The maximum number of addresses has been reached.");
    let (code, message) = aws.refused("ec2", "AllocateAddress", json!({}));
    assert_eq!((code.as_str(), message.as_str()), full);
    assert_eq!(of(&region, &["elastic-ips-per-region", "6"])["limit"], 6);
    aws.ec2("AllocateAddress", json!({}));
    assert_eq!(aws.refused("ec2", "AllocateAddress", json!({})).0, full.0);
    let shown = region.run(&["account", "quota", &account]).stdout;
    assert!(shown.contains("elastic-ips-per-region"), "{shown}");
    for (arguments, why) in [
        (&["account", "quota", &account, "dogs", "1"][..], "`dogs` is not a quota"),
        (&["account", "quota", &account, "vpcs-per-region", "1001"], "can be 1000 at most, not `1001`"),
        (&["account", "quota", &account, "vpcs-per-region", "many"], "neither a number nor `usual`"),
        (&["account", "quota", "999999999999"], "there is no account `999999999999`"),
    ] {
        let ran = region.run(arguments);
        assert!(ran.failure().contains(why), "{arguments:?}: {ran:?}");
    }
    region.down();
    // It stays over a restart; what is there stays when it gets smaller.
    let region = world.up(&[]);
    assert_eq!(of(&region, &[])["limit"], 6);
    assert_eq!(of(&region, &["elastic-ips-per-region", "usual"]), usual);
    let addresses = region.aws().ec2("DescribeAddresses", json!({}));
    assert_eq!(addresses["Addresses"].as_array().unwrap().len(), 6);
    region.down();
}

const BOTO3: &str = r#"
import boto3, botocore
quotas, ec2 = boto3.client("service-quotas"), boto3.client("ec2")
print([service["ServiceCode"] for service in quotas.list_services()["Services"]])
of = dict(ServiceCode="ec2", QuotaCode="L-0263D0A3")
quota = quotas.get_service_quota(**of)["Quota"]
print(quota["QuotaName"], quota["Value"], quota["Adjustable"], quota["QuotaArn"].split(":")[5:])
pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="vpc", PaginationConfig={"PageSize": 4})
print(len({quota["QuotaCode"] for page in pages for quota in page["Quotas"]}))
def refused(call):
    try:
        print("not refused", call())
    except botocore.exceptions.ClientError as error:
        print(error.response["Error"]["Code"], error.response["Error"]["Message"])
for _ in range(5):
    ec2.allocate_address()
refused(lambda: ec2.allocate_address())
asked = quotas.request_service_quota_increase(DesiredValue=6, **of)["RequestedQuota"]
print(asked["Status"], asked["DesiredValue"], asked["QuotaCode"])
print("eipalloc" in ec2.allocate_address()["AllocationId"])
refused(lambda: quotas.request_service_quota_increase(DesiredValue=6, **of))
print(quotas.request_service_quota_increase(DesiredValue=10**9, **of)["RequestedQuota"]["Status"])
print(quotas.get_service_quota(**of)["Quota"]["Value"], quotas.get_aws_default_service_quota(**of)["Quota"]["Value"])
history = quotas.list_requested_service_quota_change_history(ServiceCode="ec2")["RequestedQuotas"]
print([(request["DesiredValue"], request["Status"]) for request in history])
print(quotas.get_requested_service_quota_change(RequestId=asked["Id"])["RequestedQuota"]["Status"])
print(len(quotas.list_requested_service_quota_change_history_by_quota(Status="DENIED", **of)["RequestedQuotas"]))
refused(lambda: quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-00000000"))
refused(lambda: quotas.list_service_quotas(ServiceCode="cloudfront"))
refused(lambda: quotas.request_service_quota_increase(
    ServiceCode="elasticloadbalancing", QuotaCode="L-57A373D6", DesiredValue=60))
"#;

const BOTO3_SAYS: &str = "\
['ec2', 'elasticloadbalancing', 'route53resolver', 'vpc']
EC2-VPC Elastic IPs 5.0 True ['ec2/L-0263D0A3']
15
AddressLimitExceeded The maximum number of addresses has been reached.
APPROVED 6.0 L-0263D0A3
True
IllegalArgumentException You must provide a quota value greater than the current quota value, which is 6.
DENIED
6.0 5.0
[(1000000000.0, 'DENIED'), (6.0, 'APPROVED')]
APPROVED
1
NoSuchResourceException The quota code 'L-00000000' of the service 'vpc' does not exist.
NoSuchResourceException The service code 'cloudfront' does not exist, or has no quotas here.
IllegalArgumentException The quota L-57A373D6 is not adjustable.
";

fn boto3_asks_for_more_and_gets_it(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let ran = aws.boto3(BOTO3);
    assert_eq!(ran.stdout, BOTO3_SAYS, "{}", ran.stderr);
    region.down();
}

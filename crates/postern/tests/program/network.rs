//! Networks with instances, as cases need them.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Region, eventually};

/// A VPC with one subnet and its own table and group.
pub struct Network {
    pub vpc: String,
    pub subnet: String,
    pub table: String,
    pub group: String,
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

impl Network {
    /// 10.0.0.0/16 with 10.0.1.0/24, the main table and the default group.
    pub fn new(aws: &Aws) -> Self {
        let vpc = text(&aws.ec2("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16" }))["Vpc"]["VpcId"]);
        let subnet = aws.ec2("CreateSubnet", json!({ "VpcId": vpc, "CidrBlock": "10.0.1.0/24" }));
        let of_vpc = json!({ "Filters": [{ "Name": "vpc-id", "Values": [vpc] }] });
        let table = text(&aws.ec2("DescribeRouteTables", of_vpc.clone())["RouteTables"][0]["RouteTableId"]);
        let group = text(&aws.ec2("DescribeSecurityGroups", of_vpc)["SecurityGroups"][0]["GroupId"]);
        Self { vpc, subnet: text(&subnet["Subnet"]["SubnetId"]), table, group }
    }

    /// Launches an instance with more parameters than the subnet; it need not run yet.
    pub fn launch(&self, aws: &Aws, more: Value) -> String {
        let mut parameters = json!({
            "ImageId": aws.image(), "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnet,
        });
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&aws.ec2("RunInstances", parameters)["Instances"][0]["InstanceId"])
    }

    /// The same, and waits until it runs.
    pub fn run(&self, aws: &Aws, more: Value) -> String {
        let instance = self.launch(aws, more);
        becomes(aws, &instance, "running");
        instance
    }

    /// A gateway endpoint for S3 with the table; waits until packets take it.
    pub fn s3_endpoint(&self, aws: &Aws) -> String {
        let created = aws.ec2(
            "CreateVpcEndpoint",
            json!({
                "VpcId": self.vpc, "VpcEndpointType": "Gateway", "RouteTableIds": [self.table],
                "ServiceName": format!("com.amazonaws.{}.s3", aws.region),
            }),
        );
        let endpoint = text(&created["VpcEndpoint"]["VpcEndpointId"]);
        eventually("the endpoint is available", 15, || {
            let found = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
            (found["VpcEndpoints"][0]["State"] == "available").then_some(())
        });
        endpoint
    }
}

/// An instance as the API describes it.
pub fn describe(aws: &Aws, instance: &str) -> Value {
    aws.ec2("DescribeInstances", json!({ "InstanceIds": [instance] }))["Reservations"][0]["Instances"][0]
        .clone()
}

pub fn private_address(aws: &Aws, instance: &str) -> String {
    text(&describe(aws, instance)["PrivateIpAddress"])
}

/// Waits until an instance is in this state.
#[track_caller]
pub fn becomes(aws: &Aws, instance: &str, state: &str) {
    let mut seen = Value::Null;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < deadline {
        seen = describe(aws, instance);
        if seen["State"]["Name"] == state {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{instance} does not become {state}: {seen}");
}

/// A role with this policy, in an instance profile of the same name.
pub fn role(aws: &Aws, name: &str, policy: &Value) {
    let trust = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole" } ] });
    aws.call("iam", "CreateRole", json!({ "RoleName": name, "AssumeRolePolicyDocument": trust.to_string() }));
    let with_policy = json!({ "RoleName": name, "PolicyName": "p", "PolicyDocument": policy.to_string() });
    aws.call("iam", "PutRolePolicy", with_policy);
    aws.call("iam", "CreateInstanceProfile", json!({ "InstanceProfileName": name }));
    aws.call("iam", "AddRoleToInstanceProfile", json!({ "InstanceProfileName": name, "RoleName": name }));
}

/// What the front door recorded so far, from the audit log.
pub fn audit(region: &Region<'_>) -> Vec<Value> {
    let text = std::fs::read_to_string(region.state.join("audit.log")).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

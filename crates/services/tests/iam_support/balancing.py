"""boto3 against a region that has a VPC of two subnets: load balancers from their making to their end.

Arguments: the address of the front door, the VPC, its subnets.
"""

import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

address, vpc, first, second = sys.argv[1:]
elb = boto3.client(
    "elbv2", endpoint_url=address, region_name="us-east-1", aws_access_key_id="AKIAROOT1",
    aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}),
)


def refused(operation, **parameters):
    try:
        return getattr(elb, operation)(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]


balancer = elb.create_load_balancer(
    Name="one", Type="network", Scheme="internal", IpAddressType="ipv4", Subnets=[first, second],
    Tags=[{"Key": "team", "Value": "net"}],
)["LoadBalancers"][0]
arn = balancer["LoadBalancerArn"]
print("zones:", sorted(zone["ZoneName"] for zone in balancer["AvailabilityZones"]))
print("state:", balancer["State"]["Code"])
print("created:", balancer["CreatedTime"].year >= 2026)
group = elb.create_target_group(
    Name="web", Protocol="TCP", Port=80, VpcId=vpc, TargetType="ip", HealthCheckProtocol="HTTP",
    HealthCheckPath="/up", HealthCheckPort="traffic-port", HealthCheckIntervalSeconds=10,
    HealthCheckTimeoutSeconds=5, HealthyThresholdCount=2, UnhealthyThresholdCount=2,
    Matcher={"HttpCode": "200-299"}, HealthCheckEnabled=True, IpAddressType="ipv4",
)["TargetGroups"][0]
print("check:", group["HealthCheckProtocol"], group["HealthCheckPath"], group["Matcher"]["HttpCode"])
group = group["TargetGroupArn"]
listener = elb.create_listener(
    LoadBalancerArn=arn, Protocol="TCP", Port=80,
    DefaultActions=[{
        "Type": "forward", "Order": 1,
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": group, "Weight": 1}]},
    }],
)["Listeners"][0]["ListenerArn"]
print("forwards:", elb.describe_listeners(ListenerArns=[listener])["Listeners"][0]["DefaultActions"][0]["Type"])
elb.register_targets(TargetGroupArn=group, Targets=[
    {"Id": "10.0.1.9"}, {"Id": "10.0.2.9", "Port": 81, "AvailabilityZone": "us-east-1b"},
])
for target in elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]:
    print("target:", target["Target"]["Id"], target["Target"]["Port"], target["Target"]["AvailabilityZone"],
          target["TargetHealth"]["State"], target["TargetHealth"].get("Reason"))
elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.2.9"}])
elb.modify_target_group(
    TargetGroupArn=group, HealthCheckProtocol="TCP", HealthCheckPort="8080", HealthCheckIntervalSeconds=30,
    HealthCheckTimeoutSeconds=10, HealthyThresholdCount=3, UnhealthyThresholdCount=3, HealthCheckEnabled=True,
)
print("port of checks:", elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"][0]["HealthCheckPort"])
elb.modify_target_group_attributes(
    TargetGroupArn=group, Attributes=[{"Key": "proxy_protocol_v2.enabled", "Value": "true"}],
)
elb.modify_load_balancer_attributes(
    LoadBalancerArn=arn, Attributes=[{"Key": "load_balancing.cross_zone.enabled", "Value": "true"}],
)
attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
print("cross-zone:", {item["Key"]: item["Value"] for item in attributes}["load_balancing.cross_zone.enabled"])
elb.set_subnets(LoadBalancerArn=arn, Subnets=[first])
elb.modify_listener(ListenerArn=listener, Port=81)
elb.modify_listener_attributes(
    ListenerArn=listener, Attributes=[{"Key": "tcp.idle_timeout.seconds", "Value": "100"}],
)
elb.add_tags(ResourceArns=[arn, group, listener], Tags=[{"Key": "a", "Value": "b"}])
elb.remove_tags(ResourceArns=[group], TagKeys=["a"])
tags = elb.describe_tags(ResourceArns=[arn, group])["TagDescriptions"]
print("tags:", [len(item["Tags"]) for item in tags])
print("groups:", refused("set_security_groups", LoadBalancerArn=arn, SecurityGroups=["sg-0aaaaaaaaaaaaaaaa"]))
print("alb:", refused("create_target_group", Name="x", Protocol="TCP", Port=80, VpcId=vpc, TargetType="alb"))
print("rule actions:", refused(
    "create_listener", LoadBalancerArn=arn, Protocol="TCP", Port=90,
    DefaultActions=[{"Type": "forward", "FixedResponseConfig": {"StatusCode": "200"}, "TargetGroupArn": group}],
))
print("rules:", refused("describe_rules", ListenerArn=listener))
pages = elb.get_paginator("describe_target_groups").paginate(PaginationConfig={"PageSize": 1})
print("pages:", len([page for page in pages]))
elb.delete_listener(ListenerArn=listener)
elb.delete_target_group(TargetGroupArn=group)
elb.delete_load_balancer(LoadBalancerArn=arn)
elb.get_waiter("load_balancers_deleted").wait(LoadBalancerArns=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 2})
print("gone:", refused("describe_load_balancers", LoadBalancerArns=[arn]))

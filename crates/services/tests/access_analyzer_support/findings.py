"""Documents that are good, doubtful and wrong, and what Access Analyzer says of each."""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def client(service, key, secret):
    return boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"max_attempts": 1}),
    )


root = client("accessanalyzer", "AKIAROOT1", "secret")


def way(path):
    return ".".join(str(next(iter(step.values()))) if "key" not in step else f"({step['key']})" for step in path)


def show(title, document, policy_type="IDENTITY_POLICY", **more):
    if not isinstance(document, str):
        document = json.dumps(document)
    print(f"== {title}")
    try:
        answer = root.validate_policy(policyDocument=document, policyType=policy_type, **more)
    except ClientError as error:
        about = error.response["Error"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        print(f"{status} {about['Code']} {error.response.get('reason')}: {about['Message']}")
        return
    for finding in answer["findings"]:
        assert finding["learnMoreLink"].endswith("-" + finding["issueCode"].lower().replace("_", "-"))
        print(f"{finding['findingType']} {finding['issueCode']}: {finding['findingDetails']}")
        for location in finding["locations"]:
            start, end = location["span"]["start"], location["span"]["end"]
            print(f"  at {way(location['path'])}: {document[start['offset']:end['offset']]}")


def policy(**statement):
    return {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"} | statement}


def when(operator, key, value, **more):
    return policy(Condition={operator: {key: value}}, **more)


show("good", policy())
show("no version", {"Statement": policy()["Statement"]})
show("no such action", policy(Action=["s3:GetObject", "s3:GetObjct"]))
show("no such service", policy(Action="s4:GetObject"))
show("misspelt key", when("StringEquals", "aws:SourceVcpe", "vpce-1"))
show("misspelt key of a service", when("StringEquals", "s3:prefixes", "a"))
show("key of other actions", when("StringEquals", "s3:prefix", "a"))
show("another type", when("NumericEquals", "aws:SourceVpce", "1"))
show("private addresses", when("IpAddress", "aws:SourceIp", ["10.0.0.0/8", "192.168.0.1"]))
show("private addresses among others", when("NotIpAddress", "aws:SourceIp", ["10.0.0.0/8", "192.0.2.0/24"]))
show("all values of one", when("ForAllValues:StringEquals", "aws:SourceVpce", "vpce-1"))
show("no qualifier", when("StringEquals", "aws:TagKeys", "a", Action="ec2:CreateTags"))
show("no like", when("StringEquals", "aws:PrincipalTag/team", "a*"))
bucket = policy(Principal="*", Resource="arn:aws:s3:::b/*", Action=["s3:GetObject", "sqs:SendMessage"])
show("a bucket's", bucket, "RESOURCE_POLICY", validatePolicyResourceType="AWS::S3::Bucket")
others = policy(NotPrincipal={"AWS": "111111111111"}, Resource="arn:aws:s3:::b/*")
show("all others", others, "RESOURCE_POLICY")
trust = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Resource": "*"}}
show("a role's", trust, "RESOURCE_POLICY", validatePolicyResourceType="AWS::IAM::AssumeRolePolicyDocument")
show("no json", '{"Version": "2012-10-17",\n "Statement": [}')
show("an element", policy(Principals="*"))
show("a principal", policy(Principal="*"))
show("a principal in an scp", policy(Principal="*"), "SERVICE_CONTROL_POLICY")
show("an effect", policy(Effect="allow"))
show("no effect", {"Version": "2012-10-17", "Statement": [{"Action": "*", "Resource": "*"}]})
show("a version", {"Version": "2012-10-18", "Statement": policy()["Statement"]})
show("an operator", when("StringMatches", "aws:SourceVpce", "vpce-1"))
show("a number", when("NumericLessThan", "s3:max-keys", "many", Action="s3:ListBucket"))
show("twice", policy(Condition={"StringEquals": {"aws:SourceVpce": "a", "aws:sourcevpce": "b"}}))
several = [
    {"Effect": "allow", "Action": ["s3:GetObject", "get", "put"], "Resource": ["*", "bucket"], "Principals": "*"},
    {"Effect": "Allow", "Resource": "*", "Condition": {"Like": {"aws:a": "b"}, "NumericEquals": {"s3:max-keys": "x", "nokey": "1"}}},
    "statement",
]
show("several", {"Version": "2012-10-18", "Extra": 1, "Statement": several})
show("a locale", policy(), locale="DE")
show("a type", policy(), "ENDPOINT_POLICY")
show("a resource type for an identity", policy(), validatePolicyResourceType="AWS::S3::Bucket")

many = policy(Action=[f"s3:Nothing{number}" for number in range(5)])
seen, asked = [], {"policyDocument": json.dumps(many), "policyType": "IDENTITY_POLICY", "maxResults": 2}
while True:
    page = root.validate_policy(**asked)
    seen.append(len(page["findings"]))
    if "nextToken" not in page:
        break
    asked["nextToken"] = page["nextToken"]
print("== pages", seen)

iam = client("iam", "AKIAROOT1", "secret")
iam.create_user(UserName="ana")
key = iam.create_access_key(UserName="ana")["AccessKey"]
for who, secret in [(key["AccessKeyId"], key["SecretAccessKey"]), ("AKIANOBODY", "x")]:
    try:
        client("accessanalyzer", who, secret).validate_policy(policyDocument="{}", policyType="IDENTITY_POLICY")
        print("nobody refused it")
    except ClientError as error:
        print(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"], error.response["Error"]["Message"])

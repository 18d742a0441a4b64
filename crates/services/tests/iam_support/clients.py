"""What AWS's own clients see at a front door. Prints one line per case: its name, then what happened.

Usage: clients.py PLAIN_URL DEV_URL CA_BUNDLE
"""

import datetime
import http.client
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.auth
import botocore.config
import botocore.exceptions

PLAIN, DEV, CA = sys.argv[1:4]
HOST = urllib.parse.urlparse(PLAIN).netloc
ONCE = botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10)


def client(service, key="AKIAROOT1", secret="secret", token=None, url=PLAIN, **more):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=ONCE,
        **more,
    )


def case(name, action):
    try:
        found = action()
    except botocore.exceptions.ClientError as error:
        found = error.response["Error"]["Code"]
    except botocore.exceptions.SSLError:
        found = "SSLError"
    except urllib.error.HTTPError as error:
        found = f"HTTP {error.code}"
    print(f"{name}: {found}", flush=True)


def arn(of):
    return of.get_caller_identity()["Arn"]


case("root", lambda: arn(client("sts")))
case("wrong secret", lambda: arn(client("sts", secret="wrong")))
case("unknown key", lambda: arn(client("sts", key="AKIANOBODYNOBODYNOBO")))

iam = client("iam")
iam.create_user(UserName="ana", Tags=[{"Key": "team", "Value": "a b+c/@"}])
key = iam.create_access_key(UserName="ana")["AccessKey"]
ana = (key["AccessKeyId"], key["SecretAccessKey"])
case("user", lambda: arn(client("sts", *ana)))
case("user lists users", lambda: client("iam", *ana).list_users())
document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["iam:List*","sts:AssumeRole"],"Resource":"*"}}'
iam.put_user_policy(UserName="ana", PolicyName="lists", PolicyDocument=document)
case("user lists users", lambda: [user["UserName"] for user in client("iam", *ana).list_users()["Users"]])
case("policy comes back", lambda: iam.get_user_policy(UserName="ana", PolicyName="lists")["PolicyDocument"]["Version"])
pages = iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 2})
case("pages", lambda: len([policy for page in pages for policy in page["Policies"]]))

simulated = dict(PolicySourceArn="arn:aws:iam::111122223333:user/ana", ActionNames=["iam:ListUsers", "iam:CreateUser"])
decisions = iam.get_paginator("simulate_principal_policy").paginate(**simulated, PaginationConfig={"PageSize": 1})
case("simulated", lambda: [result["EvalDecision"] for page in decisions for result in page["EvaluationResults"]])
case("decided by", lambda: iam.simulate_principal_policy(**simulated)["EvaluationResults"][0]["MatchedStatements"])
foreign = dict(PolicyInputList=[document], ActionNames=["iam:ListUsers"], ResourceArns=["arn:aws:iam::444455556666:user/x"])
case("across accounts", lambda: iam.simulate_custom_policy(**foreign)["EvaluationResults"][0]["EvalDecisionDetails"])
variable = document.replace('"*"', '"arn:aws:iam::*:user/${aws:username}"')
case("keys", lambda: iam.get_context_keys_for_custom_policy(PolicyInputList=[variable])["ContextKeyNames"])

admin = "arn:aws:iam::aws:policy/AdministratorAccess"
bob = iam.create_user(UserName="bob", PermissionsBoundary=admin)["User"]
iam.put_user_permissions_boundary(UserName="bob", PermissionsBoundary="arn:aws:iam::aws:policy/AmazonS3FullAccess")
case("boundary", lambda: iam.get_user(UserName="bob")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"])
key = iam.create_access_key(UserName="bob")["AccessKey"]
bob = (key["AccessKeyId"], key["SecretAccessKey"])
iam.create_group(GroupName="admins")
iam.attach_group_policy(GroupName="admins", PolicyArn=admin)
iam.add_user_to_group(GroupName="admins", UserName="bob")
case("members", lambda: [user["UserName"] for user in iam.get_group(GroupName="admins")["Users"]])
used = iam.get_paginator("list_entities_for_policy").paginate(PolicyArn=admin, PaginationConfig={"PageSize": 1})
case("used by", lambda: [group["GroupName"] for page in used for group in page["PolicyGroups"]])
case("beyond the boundary", lambda: client("iam", *bob).list_users())
iam.delete_user_permissions_boundary(UserName="bob")
case("of the group", lambda: len(client("iam", *bob).list_users()["Users"]))
iam.remove_user_from_group(GroupName="admins", UserName="bob")
case("out of the group", lambda: client("iam", *bob).list_users())

orgs = client("organizations")
made = orgs.create_organization()["Organization"]
root_id = orgs.list_roots()["Roots"][0]["Id"]
unit = orgs.create_organizational_unit(ParentId=root_id, Name="work")["OrganizationalUnit"]["Id"]
invited = orgs.invite_account_to_organization(Target={"Id": "444455556666", "Type": "ACCOUNT"})["Handshake"]["Id"]
other = ("AKIAROOT2", "secret")
client("organizations", *other).accept_handshake(HandshakeId=invited)
orgs.move_account(AccountId="444455556666", SourceParentId=root_id, DestinationParentId=unit)
scp = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iam:*","Resource":"*"}}'
scp = orgs.create_policy(Content=scp, Description="", Name="no-iam", Type="SERVICE_CONTROL_POLICY")
scp = scp["Policy"]["PolicySummary"]["Id"]
case("before the policy", lambda: len(client("iam", *other).list_users()["Users"]))
orgs.attach_policy(PolicyId=scp, TargetId=unit)
case("under the policy", lambda: client("iam", *other).list_users())
case("by a member", lambda: client("organizations", *other).list_accounts())
one_by_one = orgs.get_paginator("list_accounts").paginate(PaginationConfig={"PageSize": 1})
case("accounts", lambda: [account["Id"] for page in one_by_one for account in page["Accounts"]])
case("joined", lambda: type(orgs.describe_account(AccountId="444455556666")["Account"]["JoinedTimestamp"]).__name__)
client("organizations", *other).leave_organization()
case("after leaving", lambda: len(client("iam", *other).list_users()["Users"]))

trust = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"111122223333"}}}'
role = iam.create_role(RoleName="app", AssumeRolePolicyDocument=trust)["Role"]
given = client("sts", *ana).assume_role(RoleArn=role["Arn"], RoleSessionName="here")["Credentials"]
session = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
case("session", lambda: arn(client("sts", *session)))
case("session without token", lambda: arn(client("sts", *session[:2])))
case("session with a broken token", lambda: arn(client("sts", *session[:2], session[2][:-8] + "AAAAAAA=")))
iam.delete_role(RoleName="app")
case("session of a deleted role", lambda: arn(client("sts", *session)))

now = botocore.auth.get_current_datetime
botocore.auth.get_current_datetime = lambda *given, **more: now(*given, **more) - datetime.timedelta(minutes=20)
case("skewed clock", lambda: arn(client("sts")))
botocore.auth.get_current_datetime = now


def fetch(url):
    return urllib.request.urlopen(url, timeout=10).status


presigned = client("sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
case("presigned", lambda: fetch(presigned))
case("presigned and changed", lambda: fetch(presigned.replace("GetCallerIdentity", "GetSessionToken")))


def raw(method, body, headers):
    connection = http.client.HTTPConnection(HOST, timeout=10)
    connection.request(method, "/", body=body, headers=headers)
    return f"HTTP {connection.getresponse().status}"


scope = "AWS4-HMAC-SHA256 Credential=AKIAROOT1/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
case("oversized body", lambda: raw("POST", b"x" * (3 << 20), {"Authorization": scope, "X-Amz-Date": "20260101T000000Z"}))
case("unsigned form", lambda: raw("POST", b"Action=ListUsers", {"Content-Type": "application/x-www-form-urlencoded"}))

tls = PLAIN.replace("http://127.0.0.1", "https://localhost")
case("tls", lambda: arn(client("sts", url=tls, verify=CA)))
case("tls by address", lambda: arn(client("sts", url=PLAIN.replace("http:", "https:"), verify=CA)))
case("tls without the bundle", lambda: arn(client("sts", url=tls)))

case("dev, any key", lambda: arn(client("sts", "test", "test", url=DEV)))
case("dev, an account", lambda: arn(client("sts", "444455556666", "test", url=DEV)))
dev_iam = client("iam", "test", "test", url=DEV)
dev_iam.create_user(UserName="dev")
key = dev_iam.create_access_key(UserName="dev")["AccessKey"]["AccessKeyId"]
case("dev, an issued key", lambda: arn(client("sts", key, "whatever", url=DEV)))
case("dev, its policies", lambda: client("iam", key, "whatever", url=DEV).list_users())
botocore.auth.get_current_datetime = lambda *given, **more: now(*given, **more) - datetime.timedelta(days=20)
case("dev, skewed clock", lambda: arn(client("sts", "test", "test", url=DEV)))

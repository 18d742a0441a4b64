"""boto3 asks what was measured, and the same is asked in the two other protocols that CloudWatch has.

Arguments: the address of the front door, the time of what was measured.
"""

import datetime
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as xml

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
from botocore.config import Config
from botocore.exceptions import ClientError

address, now = sys.argv[1], int(sys.argv[2])
cloudwatch = boto3.client(
    "cloudwatch", endpoint_url=address, region_name="us-east-1", aws_access_key_id="AKIAROOT1",
    aws_secret_access_key="secret", config=Config(retries={"max_attempts": 0}),
)
DIMENSIONS = [{"Name": "Service Name", "Value": "s"}, {"Name": "VPC Endpoint Id", "Value": "vpce-1"}]


def at(offset):
    return datetime.datetime.fromtimestamp(now + offset, datetime.timezone.utc)


def refused(operation, **parameters):
    try:
        return getattr(cloudwatch, operation)(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"]


def query(stat, name="BytesProcessed", period=60, **more):
    metric = {"Namespace": "AWS/PrivateLinkEndpoints", "MetricName": name, "Dimensions": DIMENSIONS}
    return {"Id": "q", "MetricStat": {"Metric": metric, "Period": period, "Stat": stat, **more}}


def data(*queries, **more):
    parameters = {"StartTime": at(-3600), "EndTime": at(60), "MetricDataQueries": list(queries), **more}
    return cloudwatch.get_metric_data(**parameters)


def values(stat, **more):
    result = data(query(stat, **more))["MetricDataResults"][0]
    return [(int(when.timestamp()) - now, value) for when, value in zip(result["Timestamps"], result["Values"])]


print("listed:", [(m["MetricName"], len(m["Dimensions"])) for m in cloudwatch.list_metrics()["Metrics"]])
print("of one:", len(cloudwatch.list_metrics(Namespace="AWS/PrivateLinkEndpoints", MetricName="BytesProcessed",
      Dimensions=[{"Name": "VPC Endpoint Id"}], RecentlyActive="PT3H")["Metrics"]))
print("of none:", len(cloudwatch.list_metrics(Dimensions=[{"Name": "VPC Endpoint Id", "Value": "x"}])["Metrics"]))
print("sums:", values("Sum"))
print("of five minutes:", values("Sum", period=300))
print("samples:", values("SampleCount", name="ActiveConnections"))
print("greatest:", values("Maximum", name="ActiveConnections"), values("Average", name="ActiveConnections"))
print("unit:", values("Sum", Unit="Bytes") != [], values("Sum", Unit="Count"))
print("unknown:", values("Sum", name="Nothing"))
print("oldest first:", data(query("Sum"), ScanBy="TimestampAscending")["MetricDataResults"][0]["Values"])
pages = cloudwatch.get_paginator("get_metric_data").paginate(
    StartTime=at(-3600), EndTime=at(60), MetricDataQueries=[query("Sum")], MaxDatapoints=1)
print("pages:", [(page["MetricDataResults"][0]["Values"], page["MetricDataResults"][0]["StatusCode"]) for page in pages])
statistics = cloudwatch.get_metric_statistics(
    Namespace="AWS/PrivateLinkEndpoints", MetricName="BytesProcessed", Dimensions=DIMENSIONS, StartTime=at(-120),
    EndTime=at(60), Period=60, Statistics=["Sum", "Maximum"])
points = sorted(statistics["Datapoints"], key=lambda point: point["Timestamp"])
print("statistics:", statistics["Label"], [(p["Sum"], p["Maximum"], p["Unit"], "Average" in p) for p in points])
print("percentile:", refused("get_metric_data", StartTime=at(-60), EndTime=at(60), MetricDataQueries=[query("p99")]))
print("math:", refused("get_metric_data", StartTime=at(-60), EndTime=at(60),
      MetricDataQueries=[{"Id": "a", "Expression": "q*2"}]))
print("backwards:", refused("get_metric_data", StartTime=at(60), EndTime=at(-60), MetricDataQueries=[query("Sum")]))
print("period:", refused("get_metric_data", StartTime=at(-60), EndTime=at(60), MetricDataQueries=[query("Sum", period=90)]))
print("twice:", refused("get_metric_data", StartTime=at(-60), EndTime=at(60),
      MetricDataQueries=[query("Sum"), query("Sum")]))
print("token:", refused("get_metric_data", StartTime=at(-60), EndTime=at(60), MetricDataQueries=[query("Sum")],
      NextToken="x"))
print("too many:", refused("get_metric_statistics", Namespace="A", MetricName="B", StartTime=at(-200000),
      EndTime=at(60), Period=60, Statistics=["Sum"]))
print("no statistic:", refused("get_metric_statistics", Namespace="A", MetricName="B", StartTime=at(-60),
      EndTime=at(60), Period=60))
print("not served:", refused("put_metric_data", Namespace="A", MetricData=[{"MetricName": "B", "Value": 1}]))


def signed(headers, body, secret="secret"):
    request = botocore.awsrequest.AWSRequest("POST", address + "/", headers, body)
    key = botocore.credentials.Credentials("AKIAROOT1", secret)
    botocore.auth.SigV4Auth(key, "monitoring", "us-east-1").add_auth(request)
    asked = urllib.request.Request(address + "/", body.encode(), dict(request.headers), method="POST")
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.read().decode(), error.headers


def form(**parameters):
    body = urllib.parse.urlencode({"Version": "2010-08-01", **parameters})
    return signed({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body)[0]


def target(operation, document):
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"GraniteServiceVersion20100801.{operation}"}
    return signed(headers, json.dumps(document))


flat = {
    "MetricDataQueries.member.1.Id": "q", "MetricDataQueries.member.1.MetricStat.Period": "60",
    "MetricDataQueries.member.1.MetricStat.Stat": "Sum",
    "MetricDataQueries.member.1.MetricStat.Metric.Namespace": "AWS/PrivateLinkEndpoints",
    "MetricDataQueries.member.1.MetricStat.Metric.MetricName": "BytesProcessed",
    "StartTime": at(-3600).isoformat(), "EndTime": at(60).isoformat().replace("+00:00", "Z"),
}
for place, one in enumerate(DIMENSIONS, 1):
    for name, value in one.items():
        flat[f"MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.{place}.{name}"] = value
space = "{http://monitoring.amazonaws.com/doc/2010-08-01/}"
found = xml.fromstring(form(Action="GetMetricData", **flat))
print("form:", [value.text for value in found.iterfind(f".//{space}Values/{space}member")])
print("form refuses:", form(Action="GetMetricData", **{**flat, "Extra": "1"}).split("Code>")[1].split("<")[0])
print("form knows not:", form(Action="PutDashboard").split("Code>")[1].split("<")[0])
said, _ = target("ListMetrics", {"MetricName": "ActiveConnections"})
print("json:", [metric["MetricName"] for metric in json.loads(said)["Metrics"]])
said, headers = target("GetMetricStatistics", {"Namespace": "A"})
print("json refuses:", json.loads(said)["__type"], headers["x-amzn-query-error"])
said, _ = signed({"Content-Type": "application/x-amz-json-1.0",
                  "X-Amz-Target": "GraniteServiceVersion20100801.ListMetrics"}, "{}", "wrong")
print("wrong key:", json.loads(said)["__type"].split("#")[-1])

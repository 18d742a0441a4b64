"""Prints the SigV4 vectors of fixtures/sigv4.json, signed by botocore with a clock that stands still.

A vector is the request as it goes over the wire, signature included, with what botocore computed on the way.
"""

import base64
import datetime
import json
from types import SimpleNamespace
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import percent_encode, percent_encode_sequence

NOW = datetime.datetime(2026, 1, 31, 12, 34, 56)
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQD+token/with=signs=="
PLAIN = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SESSION = Credentials("ASIAEXAMPLE", "abc+/def==0123456789secretsecretsecret00", TOKEN)
vectors = []


def stop_the_clock():
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: NOW


def vector(name, auth, request, credentials, service, region):
    """Signs and writes down what goes over the wire."""
    trace = {}
    canonical, string_to_sign = auth.canonical_request, auth.string_to_sign

    def keep_canonical(request):
        trace["canonical_request"] = canonical(request)
        return trace["canonical_request"]

    def keep_string(request, text):
        trace["string_to_sign"] = string_to_sign(request, text)
        return trace["string_to_sign"]

    auth.canonical_request, auth.string_to_sign = keep_canonical, keep_string
    auth.add_auth(request)
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    # Not the prepared headers: those keep only the last of several with one name.
    headers = [[key, value] for key, value in request.headers.items()]
    if not any(key.lower() == "host" for key, _ in headers):
        headers.append(["Host", botocore.auth._host_from_url(prepared.url)])
    body = prepared.body or b""
    if isinstance(body, str):
        body = body.encode()
    vectors.append(
        {
            "name": name,
            "service": service,
            "region": region,
            "access_key_id": credentials.access_key,
            "secret": credentials.secret_key,
            "token": credentials.token,
            "method": prepared.method,
            "path": url.path,
            "query": url.query,
            "headers": sorted(headers),
            "body": base64.b64encode(body).decode(),
            **trace,
        }
    )


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def header(name, service, url, method="GET", headers=(), data=b"", params=None, credentials=PLAIN,
           region="us-east-1", context=None):
    request = AWSRequest(method=method, url=url, data=data, params=params)
    for key, value in headers:
        request.headers.add_header(key, value)
    request.context.update(context or {})
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    vector(name, kind(credentials, service, region), request, credentials, service, region)


def presigned(name, service, url, method="GET", headers=(), data=None, credentials=PLAIN, region="us-east-1",
              expires=3600):
    request = AWSRequest(method=method, url=url, data=data)
    for key, value in headers:
        request.headers.add_header(key, value)
    kind = botocore.auth.S3SigV4QueryAuth if service == "s3" else botocore.auth.SigV4QueryAuth
    vector(name, kind(credentials, service, region, expires=expires), request, credentials, service, region)


KEYS = [
    "", "a", "a/b/c.txt", "a b", "a+b", "a%b", "a%20b", "a//b", "/leading", "trailing/", "./dot", "../dots", "a/../b",
    "~tilde", "k\u00f6ln", "\u65e5\u672c\u8a9e/\U0001f600", "!*'();:@&=+$,?#[]", "<>\"{}|\\^`", "new\nline", "x" * 300,
    "-._~", "%", "a=b&c=d",
]
QUERIES = [
    {}, {"a": "1"}, {"b": "2", "a": "1"}, {"a": ""}, {"acl": ""}, {"prefix": "a/b c+d"}, {"k\u00f6y": "v\u00e4lue"},
    {"a": "%2F"}, {"A": "1", "a": "2", "-": "3", "_": "4", "~": "5"}, {"delimiter": "/", "marker": "~!*'()"},
    {"list-type": "2", "prefix": "\U0001f600"}, {"a": "b=c&d"}, {"a1": "x", "a": "y", "a-b": "z"},
]
HEADERS = [
    [], [("X-Amz-Meta-A", "b")], [("X-Amz-Meta-A", "  lead and   many   spaces  ")], [("x-amz-acl", "private")],
    [("Content-Type", "text/plain; charset=utf-8"), ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")],
    [("X-Amz-Meta-List", "one"), ("X-Amz-Meta-List", "two")], [("X-Amz-Meta-Empty", "")],
    [("User-Agent", "ignored/1"), ("Expect", "100-continue"), ("X-Amzn-Trace-Id", "ignored")],
    [("X-Amz-Meta-Quoted", "\"a  b\"")], [("Zz-Last", "1"), ("Aa-First", "2")], [("Host", "Example.com:8443")],
]


def generate():
    s3 = "https://bucket.s3.us-east-1.amazonaws.com/"
    api = "https://api.example.com/"
    for number, key in enumerate(KEYS):
        path = percent_encode(key, safe="/~")
        header(f"s3 key {number}", "s3", s3 + path)
        presigned(f"s3 presigned key {number}", "s3", s3 + path)
        header(f"execute-api path {number}", "execute-api", api + path)
    for number, query in enumerate(QUERIES):
        encoded = percent_encode_sequence(query)
        header(f"s3 query {number}", "s3", s3 + "?" + encoded)
        header(f"s3 params {number}", "s3", s3, params=query)
        header(f"ec2 query {number}", "ec2", "https://ec2.us-east-1.amazonaws.com/?" + encoded)
        presigned(f"s3 presigned query {number}", "s3", s3 + "k?" + encoded)
        presigned(f"sts presigned query {number}", "sts", "https://sts.amazonaws.com/?" + encoded)
    for number, headers in enumerate(HEADERS):
        header(f"s3 headers {number}", "s3", s3 + "k", method="PUT", headers=headers, data=b"body")
        presigned(f"s3 presigned headers {number}", "s3", s3 + "k", method="PUT", headers=headers)
        header(f"iam headers {number}", "iam", "https://iam.amazonaws.com/", method="POST", headers=headers,
               data=b"Action=ListUsers&Version=2010-05-08")
    for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]:
        header(f"s3 {method}", "s3", s3 + "k", method=method)
        presigned(f"s3 presigned {method}", "s3", s3 + "k", method=method)
    for region in ["eu-central-1", "us-gov-west-1", "local"]:
        for service in ["s3", "ec2", "sts", "dynamodb"]:
            url = f"https://{service}.{region}.amazonaws.com/"
            header(f"{service} in {region} with a token", service, url, method="POST", data=b"{}", region=region,
                   credentials=SESSION)
            presigned(f"{service} presigned in {region} with a token", service, url, region=region,
                      credentials=SESSION, expires=60)
    for number, body in enumerate([b"", b"x", bytes(range(256)), b"a" * 5000]):
        header(f"s3 body {number}", "s3", s3 + "k", method="PUT", data=body)
        header(f"ec2 body {number}", "ec2", "https://ec2.us-east-1.amazonaws.com/", method="POST", data=body)
    unsigned = {"client_config": SimpleNamespace(s3={"payload_signing_enabled": False})}
    header("s3 unsigned payload", "s3", s3 + "k", method="PUT", data=b"body", context=unsigned)
    trailer = {"checksum": {"request_algorithm": {"in": "trailer", "name": "x-amz-checksum-crc32"}}}
    header("s3 unsigned trailer", "s3", s3 + "k", method="PUT", data=b"body", context=trailer,
           headers=[("Content-Encoding", "aws-chunked"), ("X-Amz-Trailer", "x-amz-checksum-crc32"),
                    ("X-Amz-Decoded-Content-Length", "4")])
    header("a date header", "iam", "https://iam.amazonaws.com/", method="POST", headers=[("Date", "replaced")],
           data=b"Action=ListUsers&Version=2010-05-08")
    header("a port", "s3", "http://127.0.0.1:4566/bucket/k")
    header("an IPv6 host", "s3", "http://[::1]:4566/bucket/k")
    presigned("a moved form", "ec2", "https://ec2.us-east-1.amazonaws.com/", method="POST",
              data={"Action": "DescribeVpcs", "Version": "2016-11-15", "Filter.1.Value.1": "a b/c"})
    presigned("a week", "s3", s3 + "k", expires=604800)


def show():
    print("[")
    print(",\n".join(json.dumps(entry, sort_keys=True) for entry in vectors))
    print("]")


if __name__ == "__main__":
    stop_the_clock()
    generate()
    show()

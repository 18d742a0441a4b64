"""Sends uploads in signed pieces to two doors: `pieces.py CHECKED_URL DEV_URL`.

How pieces are signed: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

import base64
import hashlib
import hmac
import re
import sys
import urllib.error
import urllib.request
import zlib
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CONTENT = b"0123456789" * 30_000
EMPTY = hashlib.sha256(b"").hexdigest()
PIECE = 64 << 10


class Signer(S3SigV4Auth):
    """Signs the head for a body in pieces, and keeps what the pieces' signatures go on from."""

    def __init__(self, credentials, payload):
        super().__init__(credentials, "s3", "us-east-1")
        self.declared = payload

    def payload(self, request):
        return self.declared

    def piece(self, previous, kind, request, rest):
        date = request.context["timestamp"]
        scope = "/".join([date[:8], "us-east-1", "s3", "aws4_request"])
        text = "\n".join([kind, date, scope, previous, *rest])
        key = ("AWS4" + self.credentials.secret_key).encode()
        for part in (date[:8], "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def other(signature):
    return ("0" if signature[0] != "0" else "1") + signature[1:]


def upload(url, key="AKIAROOT1", secret="secret", trailer=False, spoil=None):
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if trailer else "")
    signer = Signer(Credentials(key, secret), payload)
    headers = {"x-amz-decoded-content-length": str(len(CONTENT)), "content-encoding": "aws-chunked",
               "x-amz-content-sha256": payload}
    if trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    request = AWSRequest(method="PUT", url=url + "/pieces/key", data=b"", headers=headers)
    signer.add_auth(request)
    previous = re.search("Signature=([0-9a-f]+)", request.headers["Authorization"])[1]
    body = b""
    for at in range(0, len(CONTENT) + PIECE, PIECE):
        data = CONTENT[at:at + PIECE]
        previous = signer.piece(previous, "AWS4-HMAC-SHA256-PAYLOAD", request, [EMPTY, hashlib.sha256(data).hexdigest()])
        shown = other(previous) if spoil == "piece" and at == PIECE else previous
        body += b"%x;chunk-signature=%s\r\n" % (len(data), shown.encode()) + data
        body += b"\r\n" if data or not trailer else b""
    if trailer:
        total = zlib.crc32(CONTENT) ^ (spoil == "trailer")
        line = "x-amz-checksum-crc32:" + base64.b64encode(total.to_bytes(4, "big")).decode()
        signature = signer.piece(previous, "AWS4-HMAC-SHA256-TRAILER", request, [hashlib.sha256((line + "\n").encode()).hexdigest()])
        shown = other(signature) if spoil == "trailer signature" else signature
        body += f"{line}\r\nx-amz-trailer-signature:{shown}\r\n\r\n".encode()
    if spoil == "cut":
        body = body[:200_000]
    sent = dict(request.headers.items())
    if spoil == "head":
        sent["Authorization"] = re.sub("Signature=([0-9a-f]+)", lambda found: "Signature=" + other(found[1]), sent["Authorization"])
    try:
        with urllib.request.urlopen(urllib.request.Request(request.url, data=body, method="PUT", headers=sent)) as answer:
            return f"{answer.status} {length(url)}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {re.search('<Code>(.*?)</Code>', error.read().decode())[1]}"


def plain(method, url):
    request = AWSRequest(method=method, url=url, data=b"")
    S3SigV4Auth(Credentials("AKIAROOT1", "secret"), "s3", "us-east-1").add_auth(request)
    return urllib.request.urlopen(urllib.request.Request(url, method=method, headers=dict(request.headers.items())))


def length(url):
    with plain("GET", url + "/pieces/key") as answer:
        body = answer.read()
    plain("DELETE", url + "/pieces/key").close()
    return len(body) if body == CONTENT else "other content"


for name, url in (("checked", sys.argv[1]), ("dev", sys.argv[2])):
    assert urlsplit(url).hostname == "127.0.0.1"
    plain("PUT", url + "/pieces").close()
    print(f"{name}, right:", upload(url))
    print(f"{name}, right, with trailer:", upload(url, trailer=True))
    print(f"{name}, wrong trailer:", upload(url, trailer=True, spoil="trailer"))
    print(f"{name}, wrong piece:", upload(url, spoil="piece"))
    print(f"{name}, wrong head:", upload(url, spoil="head"))
    # In a development region an unknown key is that account's root user, so the bucket's own account is named.
    print(f"{name}, unknown key:", upload(url, key="111122223333" if name == "dev" else "AKIANOBODY", secret="x"))
    print(f"{name}, wrong trailer signature:", upload(url, trailer=True, spoil="trailer signature"))
    print(f"{name}, cut short:", upload(url, spoil="cut"))

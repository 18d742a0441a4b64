"""Prints random SigV4 vectors, signed by botocore: `sigv4_random.py SEED COUNT`.

Every kind of signature that S3's and other services' clients make: in the head and in the query string, with and without
a session token, over the body, over pieces (with trailing checksums, too), and without it. Of bodies in signed pieces,
which botocore does not make, the pieces are signed here, with the keys that botocore derives.
Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""

import base64
import datetime
import hashlib
import random
import sys
import zlib
from types import SimpleNamespace

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.utils import percent_encode, percent_encode_sequence

import sigv4_vectors as made
from sigv4_vectors import PLAIN, SESSION, header, presigned, show, vector, vectors

dice = random.Random(int(sys.argv[1]))
LETTERS = "abcXYZ019-._~ /+%=&;:,!*'()[]{}|^\"<>?#@$\\`\n\t" + "äß\u65e5\U0001f600"
PLAIN_LETTERS = "abcXYZ019-._~ ;:,=/+\"()"


def text(letters, most):
    return "".join(dice.choice(letters) for _ in range(dice.randrange(most)))


def url_of(service, region):
    host = f"bucket.s3.{region}.amazonaws.com" if service == "s3" else f"{service}.{region}.amazonaws.com"
    if dice.random() < 0.1:
        host += ":8443"
    url = f"https://{host}/" + percent_encode(text(LETTERS, 30), safe="/~")
    pairs = [(text(LETTERS, 8) or "q", text(LETTERS, 12)) for _ in range(dice.randrange(4))]
    return url + ("?" + percent_encode_sequence(pairs) if pairs else "")


def headers_of():
    # No name twice: a vector has its headers sorted, and the order of values of one name is signed.
    given = [(f"X-Amz-Meta-{text('abc0', 6)}-{n}", text(PLAIN_LETTERS, 20)) for n in range(dice.randrange(4))]
    if dice.random() < 0.3:
        given.append(("Content-Type", "text/plain; charset=utf-8"))
    return given


class InPieces(botocore.auth.S3SigV4Auth):
    """Signs the head for a body in signed pieces, and the pieces behind it."""

    def __init__(self, credentials, region, data, trailing):
        super().__init__(credentials, "s3", region)
        self.data, self.trailing = data, trailing

    def payload(self, request):
        return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" + ("-TRAILER" if self.trailing else "")

    def add_auth(self, request):
        super().add_auth(request)
        signed = request.headers["Authorization"].rpartition("Signature=")[2]
        request.data = self.pieces(request, signed)

    def continued(self, request, kind, previous, *hashed):
        lines = [f"AWS4-HMAC-SHA256-{kind}", request.context["timestamp"], self.credential_scope(request), previous,
                 *(hashlib.sha256(part).hexdigest() for part in hashed)]
        return self.signature("\n".join(lines), request)

    def pieces(self, request, previous):
        body, left = b"", self.data
        while True:
            size = min(len(left), dice.choice([1, 7, 64, 200]))
            piece, left = left[:size], left[size:]
            previous = self.continued(request, "PAYLOAD", previous, b"", piece)
            body += f"{size:x};chunk-signature={previous}\r\n".encode()
            if not piece:
                break
            body += piece + b"\r\n"
        if not self.trailing:
            return body + b"\r\n"
        checksum = f"x-amz-checksum-crc32:{crc32(self.data)}"
        signature = self.continued(request, "TRAILER", previous, checksum.encode() + b"\n")
        return body + f"{checksum}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def in_pieces(name, url, credentials, region, given, data, trailing):
    request = AWSRequest(method="PUT", url=url, data=b"")
    for key, value in [*given, ("Content-Encoding", "aws-chunked"), ("X-Amz-Decoded-Content-Length", str(len(data)))]:
        request.headers.add_header(key, value)
    if trailing:
        request.headers.add_header("X-Amz-Trailer", "x-amz-checksum-crc32")
    auth = InPieces(credentials, region, data, trailing)
    vector(name, auth, request, credentials, "s3", region)
    vectors[-1]["data"] = base64.b64encode(data).decode()


def unsigned_pieces(data):
    body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (data[:5], data[5:]) if part)
    return body + f"0\r\nx-amz-checksum-crc32:{crc32(data)}\r\n\r\n".encode()


def one(number):
    moved = dice.choice([0, 0, dice.randrange(-899, 900)])
    at = made.NOW + datetime.timedelta(seconds=moved)
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: at
    service = dice.choice(["s3", "s3", "s3", "ec2", "sts", "execute-api", "dynamodb"])
    region = dice.choice(["us-east-1", "eu-central-1", "us-gov-west-1", "local"])
    credentials = dice.choice([PLAIN, SESSION])
    given, url = headers_of(), url_of(service, region)
    data = dice.randbytes(dice.choice([0, 1, 30, 500]))
    method = dice.choice(["GET", "HEAD", "PUT", "POST", "DELETE"])
    common = dict(credentials=credentials, region=region)
    kind = dice.choice(["head", "head", "query", "unsigned", "trailer", "pieces", "pieces and trailer"])
    name = f"{number} {kind}"
    if kind == "query":
        presigned(name, service, url, method, given, expires=dice.choice([901, 960, 4500, 604800]), **common)
    elif kind == "head" or service != "s3":
        header(f"{number} head", service, url, method, given, data, **common)
    elif kind == "unsigned":
        context = {"client_config": SimpleNamespace(s3={"payload_signing_enabled": False})}
        header(name, service, url, "PUT", given, data, context=context, **common)
    elif kind == "trailer":
        context = {"checksum": {"request_algorithm": {"in": "trailer", "name": "x-amz-checksum-crc32"}}}
        given += [("Content-Encoding", "aws-chunked"), ("X-Amz-Trailer", "x-amz-checksum-crc32"),
                  ("X-Amz-Decoded-Content-Length", str(len(data)))]
        header(name, service, url, "PUT", given, unsigned_pieces(data), context=context, **common)
        vectors[-1]["data"] = base64.b64encode(data).decode()
    else:
        in_pieces(name, url, credentials, region, given, data, kind == "pieces and trailer")
    vectors[-1]["moved_seconds"] = moved


for number in range(int(sys.argv[2])):
    one(number)
show()

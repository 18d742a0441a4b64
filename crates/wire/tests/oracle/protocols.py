"""The query protocols as botocore speaks them.

requests:  for every operation on the standard input ("service Operation" a line), prints a request with every
           parameter that botocore's model knows, as JSON: the parameters and the form that botocore makes of them.
responses: for every document on the standard input (JSON: service, operation, document), parses it with botocore,
           compares it with the sample that botocore's own model gives, and prints it as JSON.
errors:    for every error on the standard input (JSON: protocol, status, body), prints what botocore reads.
"""

import base64
import datetime
import json
import re
import sys

import botocore.model
import botocore.parsers
import botocore.serialize
import botocore.session
from botocore.loaders import Loader

LOADER = Loader()
MODELS = {}
# botocore's folder of a service, where it is not the name in credential scopes.
FOLDERS = {"elasticloadbalancing": "elbv2"}
# What the generator leaves out on purpose: members that only application load balancers have, and address pools.
LEFT_OUT = {
    "elasticloadbalancing": {
        "Action": [
            "AuthenticateCognitoConfig", "AuthenticateOidcConfig", "FixedResponseConfig", "JwtValidationConfig",
            "RedirectConfig",
        ],
        "CreateLoadBalancerInput": ["CustomerOwnedIpv4Pool", "IpamPools"],
        "LoadBalancer": ["CustomerOwnedIpv4Pool", "IpamPools"],
    },
}
TEXTS = [
    "a-name", "/", "/a/", "v1", "123456", "arn:aws:iam::123456789012:role/a-name", "AKIAIOSFODNN7EXAMPLE",
    '{"Version": "2012-10-17"}',
]


def model(service):
    if service not in MODELS:
        document = LOADER.load_service_model(FOLDERS.get(service, service), "service-2")
        for shape, members in LEFT_OUT.get(service, {}).items():
            for member in members:
                del document["shapes"][shape]["members"][member]
        MODELS[service] = botocore.model.ServiceModel(document, service)
    return MODELS[service]


def request_value(shape, path):
    """A value that the model's constraints allow."""
    if shape.type_name == "structure" and shape.is_tagged_union:
        # One member only: another one in each item of a list.
        name = list(shape.members)[(int(path.rpartition(".")[2]) - 1) % len(shape.members)]
        return {name: request_value(shape.members[name], f"{path}.{name}")}
    if shape.type_name == "structure":
        return {name: request_value(member, f"{path}.{name}") for name, member in shape.members.items()}
    if shape.type_name == "list":
        is_union = shape.member.type_name == "structure" and shape.member.is_tagged_union
        count = len(shape.member.members) if is_union else 2
        return [request_value(shape.member, f"{path}.{index}") for index in range(1, count + 1)]
    if shape.type_name == "map":
        return {request_value(shape.key, f"{path}.Key"): request_value(shape.value, f"{path}.Value")}
    if shape.type_name == "string":
        return request_text(shape, path)
    if shape.type_name in ("integer", "long"):
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 2**31 - 1)
        return max(low, min(high, len(path)))
    return {
        "boolean": len(path) % 2 == 0,
        "double": len(path) + 0.5,
        "timestamp": "2026-01-31T12:34:56Z",
        "blob": base64.b64encode(path.encode()).decode(),
    }[shape.type_name]


def request_text(shape, path):
    if shape.enum:
        return shape.enum[-1]
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 10**6)
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return f"{path} <&>+%/=\u00e9\U0001f600"[:high].ljust(low, "x")
    pattern = pattern.replace(r"\p{L}\p{Z}\p{N}", r"\w ")
    for text in TEXTS:
        text = text[:high].ljust(low, "a")
        if re.fullmatch(pattern, text, re.ASCII):
            return text
    raise ValueError(f"no text for {pattern} at {path}")


def serialized(value, shape):
    """botocore takes bytes for a blob; JSON has them as base64."""
    if shape.type_name == "structure":
        return {name: serialized(value[name], member) for name, member in shape.members.items() if name in value}
    if shape.type_name == "list":
        return [serialized(item, shape.member) for item in value]
    if shape.type_name == "map":
        return {key: serialized(item, shape.value) for key, item in value.items()}
    return base64.b64decode(value) if shape.type_name == "blob" else value


def requests():
    for line in sys.stdin:
        service, name = line.split()
        operation = model(service).operation_model(name)
        parameters = request_value(operation.input_shape, name)
        serializer = botocore.serialize.create_serializer(model(service).metadata["protocol"])
        form = serializer.serialize_to_request(serialized(parameters, operation.input_shape), operation)["body"]
        form = {key: value if isinstance(value, str) else str(value) for key, value in form.items()}
        print(json.dumps({"service": service, "operation": name, "parameters": parameters, "form": form}))


def response_value(shape, path):
    """The sample that the Rust side also makes, from its own tables."""
    if shape.type_name == "structure":
        return {name: response_value(member, f"{path}.{name}") for name, member in shape.members.items()}
    if shape.type_name == "list":
        return [response_value(shape.member, f"{path}.{index}") for index in (1, 2)]
    if shape.type_name == "map":
        entries = [f"{path}.{index}" for index in (1, 2)]
        return {response_value(shape.key, f"{at}.Key"): response_value(shape.value, f"{at}.Value") for at in entries}
    seconds = 1_700_000_000 + len(path)
    return {
        "string": f"{path} <&>\"'\r\n\u00e9\U0001f600",
        "boolean": len(path) % 2 == 0,
        "integer": len(path),
        "long": 5_000_000_000 + len(path),
        "double": len(path) + 0.5,
        "timestamp": datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc),
        "blob": path.encode(),
    }[shape.type_name]


def listed(value, shape):
    """Maps as lists of keys and values, as the Rust side has them."""
    if shape is None:
        return value
    if shape.type_name == "structure":
        return {name: listed(item, shape.members[name]) for name, item in value.items()}
    if shape.type_name == "list":
        return [listed(item, shape.member) for item in value]
    if shape.type_name == "map":
        return [{"Key": key, "Value": listed(item, shape.value)} for key, item in value.items()]
    return value


def plain(protocol):
    def default(value):
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        return value.strftime("%Y-%m-%dT%H:%M:%S" + (".000Z" if protocol == "ec2" else "Z"))

    return default


def responses():
    for line in sys.stdin:
        given = json.loads(line)
        service, name = given["service"], given["operation"]
        shape = model(service).operation_model(name).output_shape
        protocol = model(service).metadata["protocol"]
        response = {"status_code": 200, "headers": {}, "body": given["document"].encode()}
        parsed = botocore.parsers.create_parser(protocol).parse(response, shape)
        metadata = parsed.pop("ResponseMetadata")
        assert metadata["RequestId"] == "id-1", metadata
        expected = {} if shape is None else response_value(shape, name)
        assert parsed == expected, f"{service} {name}: {parsed} is not {expected}"
        print(json.dumps(listed(parsed, shape), default=plain(protocol)))


def errors():
    for line in sys.stdin:
        given = json.loads(line)
        response = {"status_code": given["status"], "headers": {}, "body": given["body"].encode()}
        parsed = botocore.parsers.create_parser(given["protocol"]).parse(response, None)
        error = parsed["Error"]
        print(json.dumps([error["Code"], error["Message"], parsed["ResponseMetadata"].get("RequestId")]))


{"requests": requests, "responses": responses, "errors": errors}[sys.argv[1]]()

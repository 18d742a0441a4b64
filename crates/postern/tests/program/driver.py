"""Calls boto3 as it is told: a line of JSON in, a line of JSON out."""

import json
import sys

import boto3
import botocore.config

config = botocore.config.Config(
    retries={"max_attempts": 0}, connect_timeout=5, read_timeout=30, s3={"addressing_style": "path"}
)
clients = {}
for line in sys.stdin:
    asked = json.loads(line)
    try:
        service = asked["service"]
        if service not in clients:
            clients[service] = boto3.client(service, config=config)
        client, method = clients[service], asked["method"]
        if method.startswith("wait:"):
            waiter = client.get_waiter(method.removeprefix("wait:"))
            result = waiter.wait(**asked["parameters"], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        else:
            result = getattr(client, method)(**asked["parameters"])
            if "Body" in result:
                result["Body"] = result["Body"].read().decode("latin-1")
        answer = {"result": result}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), flush=True)

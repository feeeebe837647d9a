"""`cargo lambda deploy` of the built function, to moto's Lambda: its settings are the template's.

    python tests/smoke/cargo_lambda_deploy.py

Needs the packages of moto-requirements.txt, `cargo lambda`, and its release build.
"""

import json
import logging
import os
import subprocess
import zipfile

import boto3
from moto.server import ThreadedMotoServer

logging.disable()
for name in [it for it in os.environ if it.startswith(("AWS_", "REAPER_"))]:
    del os.environ[name]  # Whoever runs this may be at work in an account.
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
try:
    url = "http://{}:{}".format(*server.get_host_and_port())
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    role = boto3.client("iam").create_role(
        RoleName="session-reaper",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    command = ["cargo", "lambda", "deploy", "--iam-role", role["Role"]["Arn"], "session-reaper"]
    subprocess.run(command, check=True)
    function = boto3.client("lambda").get_function(FunctionName="session-reaper")["Configuration"]
    actual = {it: function[it] for it in ["Handler", "MemorySize", "Runtime", "Timeout"]}
    expected = {
        "Handler": "bootstrap",
        "MemorySize": 128,
        "Runtime": "provided.al2023",
        "Timeout": 290,
    }
    assert actual == expected, actual
    variables = function["Environment"]["Variables"]
    names = zipfile.ZipFile("target/lambda/session-reaper/bootstrap.zip").namelist()
    assert sorted(names) == ["bootstrap", variables["REAPER_POLICY_FILE"]], names
    assert variables == {"REAPER_POLICY_FILE": "policies/starter.yaml"}, variables
finally:
    server.stop()

"""The real boto3 and AWS CLI against an emulated organization: the sample of reapctl/demo.

    python tests/smoke/organization.py target/debug/reapctl

Needs the packages of requirements.txt, and `aws` beside the running Python.
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import boto3
import botocore.config
import botocore.exceptions

REAPCTL = sys.argv.pop(1)
AWS = pathlib.Path(sys.executable).with_name("aws")
SAMPLE = "reapctl/demo/organization.yaml"
HUB = "999999999999"
REGIONS = ["eu-central-1", "eu-west-1", "us-east-1"]
N_SESSIONS = 58  # In the sample.
N_UNSEEN = 3  # In the account that refuses the role.


class Organization(unittest.TestCase):
    def setUp(self):
        emulator = subprocess.Popen(
            [REAPCTL, "emulate", "--port", "0", "--organization", SAMPLE],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(emulator.communicate)
        self.addCleanup(emulator.kill)  # Clean-ups run last first.
        self.url = re.search(r"http://[0-9.:]+[0-9]", emulator.stdout.readline()).group()

    def client(self, service, region=REGIONS[0], keys=None, **config):
        keys = keys or {"AccessKeyId": "emulator", "SecretAccessKey": "emulator"}
        return boto3.client(
            service,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            config=botocore.config.Config(retries={"total_max_attempts": 1}, **config),
            endpoint_url=self.url,
            region_name=region,
        )

    def assume(self, account, role="ReaperMember"):
        arn = f"arn:aws:iam::{account}:role/{role}"
        assumed = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="session-reaper")
        self.assertEqual(
            assumed["AssumedRoleUser"]["Arn"],
            f"arn:aws:sts::{account}:assumed-role/{role}/session-reaper",
        )
        return assumed["Credentials"]

    def assert_refused(self, code, status, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as raised:
            call(**arguments)
        response = raised.exception.response
        actual = response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]
        self.assertEqual(actual, (code, status))
        return response["Error"]["Message"]

    def test_every_account_is_listed_once(self):
        paginator = self.client("organizations").get_paginator("list_accounts")
        pages = list(paginator.paginate(PaginationConfig={"PageSize": 5}))
        self.assertEqual([len(it["Accounts"]) for it in pages], [5, 5, 2])
        accounts = [account for it in pages for account in it["Accounts"]]
        self.assertEqual(len({it["Id"] for it in accounts}), 12)
        states = {it["Name"]: (it["State"], it["Status"]) for it in accounts}
        suspended = states.pop("old-website")
        self.assertEqual(suspended, ("SUSPENDED", "SUSPENDED"))
        self.assertEqual(set(states.values()), {("ACTIVE", "ACTIVE")})
        joined = accounts[0]["JoinedTimestamp"]
        self.assertEqual(joined, datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))
        member = self.client("organizations", keys=self.assume(accounts[0]["Id"]))
        message = self.assert_refused("AccessDeniedException", 400, member.list_accounts)
        self.assertIn("You don't have permissions", message)
        hub = self.client("organizations")
        self.assert_refused("InvalidInputException", 400, hub.list_accounts, NextToken="x")

    def test_the_role_of_every_account_sees_its_sessions(self):
        pages = self.client("organizations").get_paginator("list_accounts").paginate()
        seen, off = [], []
        for account in (it for page in pages for it in page["Accounts"]):
            if account["State"] != "ACTIVE" or account["Name"] == "harbour-freight":
                self.assert_refused("AccessDenied", 403, self.assume, account=account["Id"])
                continue
            keys = self.assume(account["Id"])
            left = keys["Expiration"] - datetime.datetime.now(datetime.timezone.utc)
            self.assertAlmostEqual(left.total_seconds(), 3600, delta=60)
            identity = self.client("sts", keys=keys).get_caller_identity()
            self.assertEqual(identity["Account"], account["Id"])
            for region in REGIONS:
                ssm = self.client("ssm", region, keys)
                try:
                    listed = ssm.get_paginator("describe_sessions").paginate(State="Active")
                    sessions = listed.build_full_result()["Sessions"]
                except botocore.exceptions.ClientError as error:
                    off.append((account["Name"], region, error.response["Error"]))
                    continue
                owners = {it["Owner"].split(":")[4] for it in sessions}
                self.assertLessEqual(owners, {account["Id"]})
                seen += [it["SessionId"] for it in sessions]
        self.assertEqual(len(seen), N_SESSIONS - N_UNSEEN)
        self.assertEqual(len(set(seen)), len(seen))
        error = {
            "Code": "UnrecognizedClientException",
            "Message": "The security token included in the request is invalid.",
        }
        self.assertEqual(off, [("payments-prod", "us-east-1", error)])

    def test_a_role_is_refused(self):
        assume = self.client("sts").assume_role
        for account, role in [("111111111101", "Other"), ("111111111110", "ReaperMember")]:
            arn = f"arn:aws:iam::{account}:role/{role}"
            message = self.assert_refused(
                "AccessDenied", 403, assume, RoleArn=arn, RoleSessionName="session-reaper"
            )
            self.assertIn(f"not authorized to perform: sts:AssumeRole on resource: {arn}", message)

    def test_one_termination_is_denied(self):
        ssm = self.client("ssm", keys=self.assume("111111111105"))
        ids = [it["SessionId"] for it in ssm.describe_sessions(State="Active")["Sessions"]]
        (denied,) = (it for it in ids if it.startswith("pavel"))
        (other, *_) = (it for it in ids if it != denied)
        self.assert_refused("AccessDeniedException", 400, ssm.terminate_session, SessionId=denied)
        ssm.terminate_session(SessionId=other)
        rows = ssm.describe_sessions(State="Active")["Sessions"]
        self.assertEqual({it["SessionId"] for it in rows}, set(ids) - {other})

    def test_objects_with_conditions(self):
        s3 = self.client("s3", s3={"addressing_style": "path"})
        name = {"Bucket": "reports", "Key": "runs/a b/1.json"}
        self.assert_refused("NoSuchKey", 404, s3.get_object, **name)
        put = s3.put_object(**name, Body=b"{}", IfNoneMatch="*", ContentType="application/json")
        message = self.assert_refused(
            "PreconditionFailed", 412, s3.put_object, **name, Body=b"[]", IfNoneMatch="*"
        )
        self.assertEqual(message, "At least one of the pre-conditions you specified did not hold")
        got = s3.get_object(**name)
        self.assertEqual(got["Body"].read(), b"{}")
        self.assertEqual((got["ETag"], got["ContentType"]), (put["ETag"], "application/json"))
        self.assertEqual(got["ContentLength"], 2)
        self.assert_refused("304", 304, s3.get_object, **name, IfNoneMatch=put["ETag"])
        again = s3.put_object(
            **name, Body=b"[7]", IfMatch=put["ETag"], ChecksumAlgorithm="SHA256"
        )
        self.assertNotEqual(again["ETag"], put["ETag"])
        self.assert_refused(
            "PreconditionFailed", 412, s3.put_object, **name, Body=b"[8]", IfMatch=put["ETag"]
        )
        got = s3.get_object(**name)
        self.assertEqual(got["Body"].read(), b"[7]")
        self.assertEqual(got["ChecksumSHA256"], again["ChecksumSHA256"])
        self.assert_refused(
            "BadDigest", 400, s3.put_object, **name, Body=b"[9]", ChecksumSHA256="A" * 43 + "="
        )
        self.assertEqual(s3.get_object(**name)["Body"].read(), b"[7]")
        listed = s3.list_objects_v2(Bucket="reports", Prefix="runs/a ")["Contents"]
        self.assertEqual([it["Key"] for it in listed], [name["Key"]])
        self.assert_refused("NotImplemented", 501, s3.list_objects, Bucket="reports")
        member = self.client("s3", keys=self.assume(HUB), s3={"addressing_style": "path"})
        self.assertEqual(member.get_object(**name)["Body"].read(), b"[7]")
        other = self.client("s3", keys=self.assume("111111111101"))
        self.assert_refused("AccessDenied", 403, other.get_object, **name)

    def test_the_cli_lists_accounts(self):
        environment = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_REGION": REGIONS[0],
            "AWS_ENDPOINT_URL": self.url,
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "PATH": os.environ["PATH"],
        }
        ran = subprocess.run(
            [AWS, "organizations", "list-accounts", "--page-size", "7"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(len(json.loads(ran.stdout)["Accounts"]), 12)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

"""The real AWS CLI and boto3 against the emulator, and `reapctl demo` on a real terminal.

    python tests/smoke/aws_clients.py target/debug/reapctl

Needs the packages of requirements.txt, and `aws` beside the running Python.
"""

import json
import os
import pathlib
import pty
import re
import subprocess
import sys
import unittest

import boto3
import botocore.exceptions

REAPCTL = sys.argv.pop(1)
AWS = pathlib.Path(sys.executable).with_name("aws")
N_SESSIONS = 21  # In the sample fleet.


class AwsClients(unittest.TestCase):
    def setUp(self):
        self.emulator = subprocess.Popen(
            [REAPCTL, "emulate", "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(self.emulator.communicate)
        self.addCleanup(self.emulator.kill)  # Clean-ups run last first.
        url = re.search(r"http://[0-9.:]+[0-9]", self.emulator.stdout.readline()).group()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": url,
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "PATH": os.environ["PATH"],
        }
        self.session = boto3.Session("emulator", "emulator", region_name="eu-central-1")
        self.ssm = self.client("ssm")

    def client(self, service):
        return self.session.client(service, endpoint_url=self.environment["AWS_ENDPOINT_URL"])

    def aws(self, *arguments, status=0):
        ran = subprocess.run(
            [AWS, *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        self.assertEqual(ran.returncode, status, ran.stderr)
        return json.loads(ran.stdout) if ran.stdout else ran.stderr

    def test_the_cli_lists_page_by_page_newest_first(self):
        every = self.aws("ssm", "describe-sessions", "--state", "Active")["Sessions"]
        self.assertEqual(len(every), N_SESSIONS)
        starts = [it["StartDate"] for it in every]
        self.assertEqual(starts, sorted(starts, reverse=True))
        paged = self.aws("ssm", "describe-sessions", "--state", "Active", "--page-size", "4")
        self.assertEqual(paged["Sessions"], every)
        page = self.aws(
            "ssm", "describe-sessions", "--state", "Active", "--max-results", "4", "--no-paginate"
        )
        self.assertEqual(page["Sessions"], every[:4])
        self.assertTrue(page["NextToken"])

    def test_the_cli_terminates(self):
        target = "i-0aa00000000000de1"
        listed = ["ssm", "describe-sessions", "--state", "Active"]
        filtered = [*listed, "--filters", f"key=Target,value={target}"]
        ids = [it["SessionId"] for it in self.aws(*filtered)["Sessions"]]
        self.assertEqual(len(ids), 4)
        for session in ids:
            answer = self.aws("ssm", "terminate-session", "--session-id", session)
            self.assertEqual(answer, {"SessionId": session})
        self.assertEqual(self.aws(*filtered)["Sessions"], [])
        self.assertEqual(len(self.aws(*listed)["Sessions"]), N_SESSIONS - 4)
        history = self.aws("ssm", "describe-sessions", "--state", "History")["Sessions"]
        self.assertEqual({it["SessionId"] for it in history}, set(ids))
        self.assertTrue(all(it["Status"] == "Terminated" and it["EndDate"] for it in history))

    def test_the_cli_shows_awss_errors(self):
        wrong = self.aws("ssm", "describe-sessions", "--state", "active", status=255)
        self.assertIn("(ValidationException) when calling the DescribeSessions operation", wrong)
        self.assertIn("Member must satisfy enum value set: [Active, History]", wrong)
        token = ["--next-token", "x", "--no-paginate"]
        wrong = self.aws("ssm", "describe-sessions", "--state", "Active", *token, status=255)
        self.assertIn("(InvalidNextToken)", wrong)

    def test_botos_paginator_sees_every_session_once(self):
        pages = self.ssm.get_paginator("describe_sessions").paginate(
            State="Active", PaginationConfig={"PageSize": 4}
        )
        sizes, ids = [], []
        for page in pages:
            sizes.append(len(page["Sessions"]))
            ids += [it["SessionId"] for it in page["Sessions"]]
        self.assertEqual(sizes, [4, 4, 4, 4, 4, 1])
        self.assertEqual(len(set(ids)), N_SESSIONS)

    def test_boto_reads_tags_parameters_and_the_identity(self):
        arn = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0aa0000000000b0d1"
        untagged = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0aa000000000unt01"
        tagging = self.client("resourcegroupstaggingapi")
        answer = tagging.get_resources(ResourceARNList=[arn, untagged])
        expected = [{"ResourceARN": arn, "Tags": [{"Key": "env", "Value": "prod"}]}]
        self.assertEqual(answer["ResourceTagMappingList"], expected)
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "InvalidParameterException"):
            tagging.get_resources(ResourceARNList=[arn] * 101)
        with self.assertRaises(self.ssm.exceptions.ParameterNotFound):
            self.ssm.get_parameter(Name="/none")
        self.assertEqual(self.client("sts").get_caller_identity()["Account"], "123456789012")


class Terminal(unittest.TestCase):
    def demo(self, **variables):
        """What the demo writes to a terminal."""
        reading, terminal = pty.openpty()
        environment = {"TERM": "xterm-256color", **variables}
        demo = subprocess.Popen([REAPCTL, "demo"], env=environment, stdout=terminal)
        os.close(terminal)
        output = b""
        try:
            while data := os.read(reading, 65536):
                output += data
        except OSError:
            pass  # So ends a terminal that nobody writes to any more.
        self.assertEqual(demo.wait(), 0)
        os.close(reading)
        return output.decode()

    def test_the_demo_is_coloured_unless_no_color_is_set(self):
        self.assertIn("\x1b[", self.demo())
        plain = self.demo(NO_COLOR="1")
        self.assertNotIn("\x1b", plain)
        self.assertIn("terminated", plain)


if __name__ == "__main__":
    unittest.main(verbosity=2)

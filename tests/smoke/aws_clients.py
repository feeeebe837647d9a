"""The real AWS CLI and boto3 against the emulator, and with the commands that `reapctl lock` prints;
`reapctl demo` on a real terminal.

    python tests/smoke/aws_clients.py target/debug/reapctl

Needs the packages of requirements.txt, and `aws` beside the running Python.
"""

import datetime
import http.server
import json
import os
import pathlib
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.parse

import boto3
import botocore.exceptions

REAPCTL = sys.argv.pop(1)
AWS = pathlib.Path(sys.executable).with_name("aws")
N_SESSIONS = 22  # In the sample fleet.


def emulate(test, *arguments):
    """An emulator for the time of a test; its address."""
    emulator = subprocess.Popen(
        [REAPCTL, "emulate", "--port", "0", *arguments], stdout=subprocess.PIPE, text=True
    )
    test.addCleanup(emulator.communicate)
    test.addCleanup(emulator.kill)  # Clean-ups run last first.
    return re.search(r"http://[0-9.:]+[0-9]", emulator.stdout.readline()).group()


class AwsClients(unittest.TestCase):
    def setUp(self):
        url = emulate(self)
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
        self.assertLessEqual(set(ids), {it["SessionId"] for it in history})
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
        self.assertEqual(sizes, [4, 4, 4, 4, 4, 2])
        self.assertEqual(len(set(ids)), N_SESSIONS)

    def test_botos_paginator_truncates_and_resumes(self):
        paginator = self.ssm.get_paginator("describe_sessions")
        ids, token = [], None
        for _ in range(3):
            config = {"MaxItems": 8, "PageSize": 3, "StartingToken": token}
            pages = paginator.paginate(State="Active", PaginationConfig=config)
            whole = pages.build_full_result()
            ids += [it["SessionId"] for it in whole["Sessions"]]
            token = whole.get("NextToken")
        self.assertIsNone(token)
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(len(ids), N_SESSIONS)
        search = paginator.paginate(State="Active").search("Sessions[?Status=='Disconnected']")
        self.assertEqual(len(list(search)), 4)

    def test_boto_filters_after_the_page_is_cut(self):
        filters = [{"key": "Status", "value": "Disconnected"}]
        pages = self.ssm.get_paginator("describe_sessions").paginate(
            State="Active", Filters=filters, PaginationConfig={"PageSize": 5}
        )
        pages = [page["Sessions"] for page in pages]
        self.assertEqual(len(pages), 5)
        self.assertIn([], pages)
        self.assertEqual(len(sum(pages, [])), 4)

    def test_boto_starts_finds_and_ends_a_session(self):
        parameters = {"portNumber": ["22"], "localPortNumber": ["9999"]}
        document = "AWS-StartPortForwardingSession"
        started = self.ssm.start_session(
            Target="i-1", DocumentName=document, Reason="INC-1", Parameters=parameters
        )
        self.assertTrue(started["StreamUrl"].startswith("wss://ssmmessages.eu-central-1.invalid/"))
        self.assertTrue(started["TokenValue"])
        filters = [{"key": "SessionId", "value": started["SessionId"]}]
        (row,) = self.ssm.describe_sessions(State="Active", Filters=filters)["Sessions"]
        self.assertEqual((row["DocumentName"], row["Reason"]), (document, "INC-1"))
        self.assertEqual(row["Owner"], self.client("sts").get_caller_identity()["Arn"])
        terminated = self.ssm.terminate_session(SessionId=started["SessionId"])
        self.assertEqual(terminated["SessionId"], started["SessionId"])
        self.assertEqual(self.ssm.describe_sessions(State="Active", Filters=filters)["Sessions"], [])
        (row,) = self.ssm.describe_sessions(State="History", Filters=filters)["Sessions"]
        self.assertEqual(row["Status"], "Terminated")
        self.assertGreaterEqual(row["EndDate"], row["StartDate"])

    def test_the_cli_hands_a_session_to_its_plugin(self):
        """A stand-in for session-manager-plugin writes down what it is given."""
        with tempfile.TemporaryDirectory() as folder:
            plugin = pathlib.Path(folder, "session-manager-plugin")
            plugin.write_text(
                '#!/bin/sh\nif [ "$1" = --version ]; then echo 1.2.707.0; exit; fi\n'
                'echo "${AWS_SSM_START_SESSION_RESPONSE:-none}"\nprintf \'%s\\n\' "$@"\n'
            )
            plugin.chmod(0o755)
            self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"
            command = [AWS, "ssm", "start-session", "--target", "i-1", "--reason", "INC-1"]
            ran = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        started, given, region, action, _profile, asked, url = ran.stdout.splitlines()
        self.assertEqual(given, "AWS_SSM_START_SESSION_RESPONSE")
        self.assertEqual((region, action), ("eu-central-1", "StartSession"))
        self.assertEqual(json.loads(asked), {"Target": "i-1", "Reason": "INC-1"})
        self.assertEqual(url, self.environment["AWS_ENDPOINT_URL"])
        started = json.loads(started)
        self.assertIn(".invalid/v1/data-channel/" + started["SessionId"], started["StreamUrl"])
        filters = f"key=SessionId,value={started['SessionId']}"
        listed = self.aws("ssm", "describe-sessions", "--state", "Active", "--filters", filters)
        self.assertEqual([it["Reason"] for it in listed["Sessions"]], ["INC-1"])

    def test_the_cli_is_told_what_the_emulator_has(self):
        wrong = self.aws("ssm", "describe-instance-information", status=255)
        self.assertIn("the emulator does not have DescribeInstanceInformation: it has DescribeS", wrong)

    def test_boto_knows_the_modelled_errors(self):
        errors = self.ssm.exceptions
        with self.assertRaises(errors.InvalidFilterKey):
            self.ssm.describe_sessions(State="Active", Filters=[{"key": "owner", "value": "x"}])
        with self.assertRaises(errors.InvalidNextToken):
            self.ssm.describe_sessions(State="Active", NextToken="x")
        for arguments in [{"State": "active"}, {"State": "Active", "MaxResults": 201}]:
            with self.assertRaisesRegex(errors.ClientError, "1 validation error detected: Value"):
                self.ssm.describe_sessions(**arguments)
        with self.assertRaises(botocore.exceptions.ParamValidationError):
            self.ssm.terminate_session(SessionId="")

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

    def test_documents_are_read(self):
        port = "AWS-StartPortForwardingSession"
        read = ["ssm", "get-document", "--name", port, "--document-format", "JSON"]
        answer = self.aws(*read)
        self.assertEqual((answer["Name"], answer["DocumentType"]), (port, "Session"))
        self.assertEqual(json.loads(answer["Content"])["sessionType"], "Port")
        arn = f"arn:aws:ssm:eu-central-1::document/{port}"
        answer = self.ssm.get_document(Name=arn, DocumentVersion="$LATEST", DocumentFormat="YAML")
        self.assertEqual((answer["DocumentFormat"], answer["Status"]), ("YAML", "Active"))
        self.assertIn("sessionType", answer["Content"])
        with self.assertRaises(self.ssm.exceptions.InvalidDocument):
            self.ssm.get_document(Name="Team-DbTunnel")
        with self.assertRaises(self.ssm.exceptions.InvalidDocumentVersion):
            self.ssm.get_document(Name=port, DocumentVersion="2")
        wrong = self.aws("ssm", "get-document", "--name", "Team-DbTunnel", status=255)
        self.assertIn("(InvalidDocument) when calling the GetDocument operation", wrong)

    def test_a_role_is_assumed(self):
        role, name = "arn:aws:iam::210987654321:role/path/Auditor", "jo@example.com"
        words = ["--role-arn", role, "--role-session-name", name, "--external-id", "x:1/2"]
        assumed = self.aws("sts", "assume-role", *words)
        arn = f"arn:aws:sts::210987654321:assumed-role/Auditor/{name}"
        self.assertEqual(assumed["AssumedRoleUser"]["Arn"], arn)
        keys = assumed["Credentials"]
        left = datetime.datetime.fromisoformat(keys["Expiration"]) - datetime.datetime.now(datetime.UTC)
        self.assertAlmostEqual(left.total_seconds(), 3600, delta=60)
        session = boto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], "eu-central-1"
        )
        sts = session.client("sts", endpoint_url=self.environment["AWS_ENDPOINT_URL"])
        identity = sts.get_caller_identity()
        self.assertEqual((identity["Arn"], identity["Account"]), (arn, "210987654321"))
        self.assertEqual(identity["UserId"], assumed["AssumedRoleUser"]["AssumedRoleId"])
        wrong = self.aws("sts", "assume-role", *words[:2], "--role-session-name", "a b", status=255)
        self.assertIn("(ValidationError) when calling the AssumeRole operation: 1 valid", wrong)
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "ValidationError.*arn of role"):
            sts.assume_role(RoleArn="arn of role/of somebody", RoleSessionName=name)


class Revocations(unittest.TestCase):
    """What `reapctl lock` prints is run by a shell, word for word."""

    POLICY = b"version: 1\nrules: []\n"

    def setUp(self):
        requests = self.requests = []

        class Recorder(http.server.BaseHTTPRequestHandler):
            """Takes every call of IAM and of IAM Identity Center."""

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                target = self.headers.get("X-Amz-Target")
                requests.append((target, json.loads(body)) if target else dict(urllib.parse.parse_qsl(body)))
                action = urllib.parse.parse_qs(body).get("Action", [""])[0]
                answer = b"{}" if target else f"<{action}Response/>".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.environment = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "HOME": "/nowhere",
            "PATH": f"{AWS.parent}:{os.environ['PATH']}",
        }

    def lock(self, *owners):
        """The commands that a lock of these owners prints, and what each of them sends."""
        fleet = pathlib.Path(__file__).parent / "fleets" / "owners.yaml"
        environment = {**self.environment, "AWS_ENDPOINT_URL": emulate(self, "--fleet", str(fleet))}
        lock = [pathlib.Path(REAPCTL).absolute(), "lock", *owners, "--policy", "-"]
        locked = subprocess.run(lock, env=environment, cwd=self.folder, input=self.POLICY, capture_output=True, check=False)
        self.assertIn(locked.returncode, [0, 3], locked.stderr)  # 3: sessions of theirs are listed.
        commands = [it for it in locked.stdout.decode().splitlines() if it.startswith("aws ")]
        sent = []
        for command in commands:
            self.requests.clear()
            subprocess.run(["bash", "-c", command], env=self.environment, cwd=self.folder, check=True)
            self.assertEqual(len(self.requests), 1, command)
            sent += self.requests
        self.assertEqual(list(self.folder.iterdir()), [], "a name was run as a command")
        return commands, sent

    def check(self, command, sent, kind, name, session):
        """One denial: of this user, or of these sessions of this role."""
        self.assertEqual(sent["Action"], f"Put{kind}Policy")
        self.assertEqual(sent[f"{kind}Name"], name)
        self.assertEqual(sent["PolicyDocument"], shlex.split(command)[-1])
        (statement,) = json.loads(sent["PolicyDocument"])["Statement"]
        condition = statement.pop("Condition", None)
        self.assertEqual(statement, {"Effect": "Deny", "Action": "*", "Resource": "*"})
        if session is None:
            self.assertIsNone(condition)
            return
        self.assertEqual(condition["StringLike"], {"aws:userid": f"*:{session}"})
        issued = datetime.datetime.fromisoformat(condition["DateLessThan"]["aws:TokenIssueTime"])
        age = datetime.datetime.now(datetime.UTC) - issued
        self.assertAlmostEqual(age.total_seconds(), 0, delta=60)

    def test_owners_that_are_named_arrive_as_named(self):
        commands, sent = self.lock("user/ops/a+=,.@_-b", "role/sre+=,.@_-x/jane@x.org", "role/sre+=,.@_-x/j*")
        expected = [("User", "a+=,.@_-b", None), ("Role", "sre+=,.@_-x", "jane@x.org"), ("Role", "sre+=,.@_-x", "j*")]
        self.assertEqual(len(commands), len(expected))
        for command, request, it in zip(commands, sent, expected):
            self.check(command, request, *it)
        # Of two denials of one role, none replaces the other.
        self.assertEqual(len({it["PolicyName"] for it in sent}), 3)

    def test_owners_that_were_seen_arrive_as_seen(self):
        odd = """o'brien "$(touch pwned)" `touch pwned` \\n$HOME;#"""
        commands, sent = self.lock("user/*")
        self.assertEqual(len(commands), 2)
        by_name = {it["UserName"]: (command, it) for command, it in zip(commands, sent)}
        for name in ["a+=,.@_-b", odd]:
            self.check(*by_name[name], "User", name, None)

        ((command,), (request,)) = self.lock("arn:aws:sts::*:assumed-role/dev/*")
        self.check(command, request, "Role", "dev", """o'brien "$(touch pwned)";'""")

    def test_permission_sets_are_provisioned_again(self):
        _, ((target, body),) = self.lock("permission-set/Ops")
        self.assertEqual(target, "SWBExternalService.ProvisionPermissionSet")
        self.assertEqual(body["TargetType"], "ALL_PROVISIONED_ACCOUNTS")


class Terminal(unittest.TestCase):
    def reapctl(self, *arguments, **variables):
        """What a command writes to a terminal."""
        reading, terminal = pty.openpty()
        environment = {"TERM": "xterm-256color", **variables}
        command = subprocess.Popen([REAPCTL, *arguments], env=environment, stdout=terminal)
        os.close(terminal)
        output = b""
        try:
            while data := os.read(reading, 65536):
                output += data
        except OSError:
            pass  # So ends a terminal that nobody writes to any more.
        self.assertEqual(command.wait(), 0)
        os.close(reading)
        return output.decode()

    def test_the_demo_is_coloured_unless_no_color_is_set(self):
        self.assertIn("\x1b[", self.reapctl("demo"))
        plain = self.reapctl("demo", NO_COLOR="1")
        self.assertNotIn("\x1b", plain)
        self.assertIn("terminated", plain)

    def test_what_users_type_does_not_move_the_cursor(self):
        fleet = pathlib.Path(__file__).parent / "fleets" / "hostile.yaml"
        variables = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL": emulate(self, "--fleet", str(fleet)),
            "AWS_SECRET_ACCESS_KEY": "emulator",
        }
        escapes = {"json": r"\u001b", "text": r"\u{1b}", "table": r"\u{1b}"}
        for output, escape in escapes.items():
            arguments = ["--state", "Active", "--output", output, "--color", "off"]
            shown = self.reapctl("describe-sessions", *arguments, **variables)
            self.assertIn(escape + "[31mred", shown)
            unsafe = set(re.findall(r"[^ -~\r\n\t]", shown))
            self.assertEqual(unsafe, set(), output)


if __name__ == "__main__":
    unittest.main(verbosity=2)

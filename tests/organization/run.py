"""Runs of the hub: its state machine on ministack, the real function, an emulated organization.

    python tests/organization/run.py target/tools/ministack/bin/ministack BOOTSTRAP target/debug/reapctl

BOOTSTRAP is the function's binary. Needs the packages of .ci/deploy-tools.txt; ministack needs an
environment of its own. What ministack does not do is held to the template by
tests/template/organization.py: it starts all children at once, and has none of AWS's limits.
"""

import collections
import http.client
import http.server
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import zipfile

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError

sys.path.insert(0, "tests/template")
import cloudformation

MINISTACK, BOOTSTRAP, REAPCTL = (str(pathlib.Path(sys.argv.pop(1)).absolute()) for _ in range(3))
HUB = pathlib.Path("organization/hub.yaml").read_text(encoding="utf-8")
SINGLE = pathlib.Path("template.yaml").read_text(encoding="utf-8")
ACCOUNT = cloudformation.PSEUDO["AWS::AccountId"]
REGIONS = ["eu-central-1", "us-east-1"]
POLICY = """\
version: 1
rules: [{ id: one-hour, when: all, require: { max_age: 1h } }]
limits: { circuit_breaker: { max_percent: 60, min_violations: 1 } }
"""
PATIENCE = 60  # Seconds, for anything that comes to an end.


def number(account):
    return f"{account:012}"


def violator(account, region, which=""):
    """The id of the session in an account-Region that violates the policy; it says where it is."""
    return f"v-{number(account)}-{region}{which}"


def session(session_id, account, age):
    owner = f"arn:aws:iam::{number(account)}:user/{session_id[0]}"
    return {"id": session_id, "owner": owner, "target": "i-0000000000000dev0", "age": age}


def account(index, **other):
    """An account with a violator and a compliant session in each Region."""
    regions = {
        region: {
            "sessions": [
                session(violator(index, region), index, "2h"),
                session(f"c-{number(index)}-{region}", index, "10m"),
            ]
        }
        for region in REGIONS
    }
    default = {"id": number(index), "role": "session-reaper-member", "regions": regions}
    return default | other


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


Call = collections.namedtuple("Call", "operation account region body")


class Recorder(http.server.ThreadingHTTPServer):
    """What the function calls: written down, and passed on to who answers it.

    Parameters are ministack's, because their versions are real there. All else is the emulator's.
    """

    daemon_threads = True

    def __init__(self, ministack):
        super().__init__(("127.0.0.1", 0), Handler)
        self.ministack, self.emulator = ministack, None
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def begin(self, emulator):
        self.emulator, self.calls, self.accounts = emulator, [], {}
        self.before = self.after = lambda call, handler: None

    def handle_error(self, *_):
        """A caller that crashes reads no answer. Whatever else fails, the function's calls fail too."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        recorder = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key, _, region = re.search(r"Credential=([^,]+)", self.headers["Authorization"])[1].split(
            "/"
        )[:3]
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation:
            arguments = json.loads(body)
        else:
            arguments = dict(urllib.parse.parse_qsl(body.decode()))
            operation = arguments["Action"]
        call = Call(operation, recorder.accounts.get(key, ACCOUNT), region, arguments)
        recorder.calls.append(call)
        recorder.before(call, self)
        upstream = recorder.ministack if operation == "GetParameter" else recorder.emulator
        connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=PATIENCE)
        connection.request("POST", self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if operation == "AssumeRole" and answer.status == 200:
            given = re.search(rb"<AccessKeyId>(.*?)<", content)[1].decode()
            recorder.accounts[given] = arguments["RoleArn"].split(":")[4]
        recorder.after(call, self)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in [
                "content-length",
                "transfer-encoding",
                "connection",
                "date",
                "server",
            ]:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def kill_caller(self):
        """Ends the function's process that has sent this request: a crash."""
        port = f":{self.client_address[1]:04X} "
        rows = pathlib.Path("/proc/net/tcp").read_text().splitlines()
        (inode,) = (row.split()[9] for row in rows if port in row.split()[1] + " ")
        for descriptor in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            try:
                is_it = os.readlink(descriptor) == f"socket:[{inode}]"
            except OSError:  # It is gone.
                continue
            if is_it:
                process = descriptor.parts[2]
                assert pathlib.Path(f"/proc/{process}/comm").read_text() == "bootstrap\n"
                os.kill(int(process), signal.SIGKILL)
                return
        raise AssertionError("nobody has that socket")

    def log_message(self, *_):
        pass


class Runs(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()  # It writes to the current folder, and to TMPDIR.
        cls.addClassCleanup(folder.cleanup)
        port = free_port()
        environment = {
            "AWS_ACCESS_KEY_ID": "hub",
            "AWS_SECRET_ACCESS_KEY": "hub",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "HOME": folder.name,
            "LOG_LEVEL": "ERROR",
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_REGION": REGIONS[0],
            "NO_PROXY": "127.0.0.1",
            "PATH": os.environ["PATH"],
            "S3_DATA_DIR": f"{folder.name}/s3",
            "TMPDIR": folder.name,
        }
        ministack = subprocess.Popen([MINISTACK], cwd=folder.name, env=environment,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        cls.addClassCleanup(ministack.wait)
        cls.addClassCleanup(ministack.terminate)
        cls.ministack = f"http://127.0.0.1:{port}"
        cls.s3 = cls.client("s3", s3={"addressing_style": "path"})
        cls.ssm, cls.machines, cls.functions = map(cls.client, ["ssm", "stepfunctions", "lambda"])
        cls.until(cls.is_up)
        cls.recorder = Recorder(port)
        cls.addClassCleanup(cls.recorder.server_close)
        cls.addClassCleanup(cls.recorder.shutdown)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as it:
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            it.writestr(entry, pathlib.Path(BOOTSTRAP).read_bytes(), zipfile.ZIP_DEFLATED)
        cls.archive = archive.getvalue()

    @classmethod
    def client(cls, service, **config):
        keys = {"aws_access_key_id": "hub", "aws_secret_access_key": "hub"}
        config = botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=PATIENCE, **config
        )
        return boto3.client(
            service, endpoint_url=cls.ministack, region_name=REGIONS[0], config=config, **keys
        )

    @classmethod
    def is_up(cls):
        try:
            return cls.s3.list_buckets()
        except (BotoCoreError, ClientError):
            return None

    @classmethod
    def until(cls, happens):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (result := happens()) is not None:
                return result
            time.sleep(0.1)
        raise AssertionError("it takes too long")

    def emulate(self, option, fleet):
        file = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()), "fleet.yaml")
        file.write_text(json.dumps(fleet))
        emulator = subprocess.Popen([REAPCTL, "emulate", "--port", "0", option, file],
                                    stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.addCleanup(emulator.communicate)
        self.addCleanup(emulator.kill)
        self.recorder.begin(int(re.search(r"127\.0\.0\.1:(\d+)", emulator.stdout.readline())[1]))

    def create_function(self, name, resources, **variables):
        """The function of a template, with its variables and these."""
        function = resources["Function"]["Properties"]
        of_template = function["Environment"]["Variables"]
        variables = {name: str(it) for name, it in of_template.items()} | variables
        self.function = self.functions.create_function(
            FunctionName=name,
            Role=f"arn:aws:iam::{ACCOUNT}:role/function",
            Code={"ZipFile": self.archive},
            Environment={"Variables": {"AWS_ENDPOINT_URL": self.recorder.url} | variables},
            **{it: function[it] for it in ["Runtime", "Handler", "MemorySize", "Timeout"]},
        )["FunctionArn"]

    def hub(self, accounts, **behaviour):
        """A hub in enforce mode, with two accounts in a batch, over these accounts."""
        name = self.id().rpartition(".test_")[2].replace("_", "-")
        fleet = {
            "hub": {"account": ACCOUNT, "region": REGIONS[0]},
            "page_size": 2,
            "empty_pages": 1,
            "accounts": accounts,
        }
        self.emulate("--organization", fleet | ({"behaviour": behaviour} if behaviour else {}))

        resources, _ = cloudformation.stack(
            HUB, "aws", REGIONS[0], Mode="enforce", Regions=",".join(REGIONS), BatchSize="4",
            OrganizationId="o-emulator00", PolicyParameterName=f"/{name}",
        )  # fmt: skip
        self.parameter = f"/{name}"
        self.ssm.put_parameter(Name=self.parameter, Value=POLICY, Type="String")
        self.bucket = f"runs-{name}"
        self.s3.create_bucket(
            Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGIONS[0]}
        )
        self.create_function(
            name, resources, AWS_ENDPOINT_URL_S3=self.ministack, REAPER_BUCKET=self.bucket
        )
        definition = json.dumps(resources["StateMachine"]["Properties"]["Definition"])
        self.machine = self.machines.create_state_machine(
            name=name,
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/machine",
            type=resources["StateMachine"]["Properties"]["StateMachineType"],
            definition=definition.replace('"Function.Arn"', json.dumps(self.function)),
        )["stateMachineArn"]

    def start(self, run, event=None):
        event = json.dumps(event or {"source": "session-reaper.scheduler"})
        started = self.machines.start_execution(stateMachineArn=self.machine, name=run, input=event)
        return started["executionArn"]

    def end(self, arn):
        """How an execution ends: its status, its error, and the states that it has entered."""

        def ended():
            it = self.machines.describe_execution(executionArn=arn)
            return None if it["status"] == "RUNNING" else it

        execution = self.until(ended)
        history = self.machines.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        entered = [it["stateEnteredEventDetails"]["name"] for it in history
                   if "stateEnteredEventDetails" in it]  # fmt: skip
        states = [it for it in entered if it not in ["Canary", "Batch"]]
        return execution["status"], execution.get("error"), states

    def run_once(self, run="run-1", event=None):
        return self.end(self.start(run, event))

    def read(self, key):
        return json.loads(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def keys(self):
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {it["Key"] for it in listed}

    def summary(self, run="run-1"):
        summary = self.read(f"runs/{run}/summary.json")
        planned = self.read(f"runs/{run}/plan.json")
        n_planned = sum(map(len, planned["batches"])) * len(REGIONS)
        told = sum(summary["statuses"].values()) + summary["missing"]
        self.assertEqual((summary["account_regions"], told), (n_planned, n_planned))
        return summary

    def statuses(self, summary):
        return {name: n for name, n in summary["statuses"].items() if n}

    def called(self, *operations):
        return [it for it in self.recorder.calls if it.operation in operations]

    def terminated(self):
        """The sessions whose termination was asked for, by keys of their account, in their Region."""
        calls = self.called("TerminateSession")
        for it in calls:
            self.assertIn(f"{it.account}-{it.region}", it.body["SessionId"])
        return sorted(it.body["SessionId"] for it in calls)

    def assumed(self):
        """The accounts whose role was asked for."""
        return [it.body["RoleArn"].split(":")[4] for it in self.called("AssumeRole")]

    def test_everything_is_swept_once(self):
        """Canaries, then batches, then the summary: each account-Region of the plan is in a report."""
        accounts = [
            account(1),
            account(2),
            account(3, refuses=True),
            account(4, state="SUSPENDED"),
            account(5, off=["us-east-1"]),
            account(6),
            account(7),
        ]
        self.hub(accounts)
        path = ["Plan", "Canaries", "Batches", "Summary"]
        self.assertEqual(self.run_once(), ("SUCCEEDED", None, path))
        plan = self.read("runs/run-1/plan.json")
        batches = [[1], [2, 3], [5, 6], [7]]
        self.assertEqual(plan["batches"], [list(map(number, it)) for it in batches])
        reports = {f"runs/run-1/reports/{it}.json" for it in range(1, 5)}
        objects = {"lease.json", "runs/run-1/plan.json", "runs/run-1/summary.json"}
        self.assertEqual(self.keys(), objects | reports)
        for index, batch in enumerate(batches, 1):
            scopes = self.read(f"runs/run-1/reports/{index}.json")["scopes"]
            told = sorted((it["account"], it["region"]) for it in scopes)
            self.assertEqual(told, [(number(it), region) for it in batch for region in REGIONS])

        summary = self.summary()
        self.assertEqual(self.statuses(summary), {"swept": 9, "no_access": 2, "region_off": 1})
        self.assertEqual((summary["missing"], summary["mode"]), (0, "enforce"))
        expected = [violator(it, region) for it in [1, 2, 5, 6, 7] for region in REGIONS]
        expected.remove(violator(5, "us-east-1"))
        self.assertEqual(self.terminated(), expected)
        self.assertEqual(summary["sweeps"]["outcomes"]["terminated"], len(expected))
        # Once an account, and the canary before any other.
        self.assertEqual(sorted(self.assumed()), [number(it) for it in [1, 2, 3, 5, 6, 7]])
        swept = [it.account for it in self.called("DescribeSessions", "TerminateSession")]
        last_of_canary = max(i for i, it in enumerate(swept) if it == number(1))
        self.assertEqual(set(swept[: last_of_canary + 1]), {number(1)})

        # The next run finds the lease free, and no session to terminate.
        self.assertEqual(self.run_once("run-2")[0], "SUCCEEDED")
        self.assertEqual(self.terminated(), expected)
        self.assertEqual(self.summary("run-2")["sweeps"]["outcomes"]["terminated"], 0)

    def test_dry_run(self):
        """By the execution's input, whatever the function's mode."""
        self.hub([account(1), account(2)])
        self.assertEqual(self.run_once(event={"mode": "dry-run"})[0], "SUCCEEDED")
        summary = self.summary()
        self.assertEqual((self.terminated(), summary["mode"]), ([], "dry-run"))
        self.assertEqual(summary["sweeps"]["outcomes"]["would_terminate"], 4)

    def test_batch_that_crashes(self):
        """The others are swept, and what it should have swept is named. Then the run fails."""
        self.hub(list(map(account, range(1, 8))))

        def crash(call, handler):
            if call.operation == "AssumeRole" and number(4) in call.body["RoleArn"]:
                handler.kill_caller()

        self.recorder.before = crash
        path = ["Plan", "Canaries", "Batches", "Summary"]
        self.assertEqual(self.run_once(), ("FAILED", "RunIncomplete", path))
        plan = self.read("runs/run-1/plan.json")
        self.assertEqual(plan["batches"][2], [number(4), number(5)])
        self.assertNotIn("runs/run-1/reports/3.json", self.keys())
        summary = self.summary()
        self.assertEqual((self.statuses(summary), summary["missing"]), ({"swept": 10}, 4))
        named = sorted((it["account"], it["region"]) for it in summary["not_swept"])
        self.assertEqual(named, [(number(it), region) for it in [4, 5] for region in REGIONS])
        others = [violator(it, region) for it in [1, 2, 3, 6, 7] for region in REGIONS]
        self.assertEqual([it for it in self.terminated() if it in others], others)
        # The next run makes up for it.
        self.recorder.before = lambda call, handler: None
        self.assertEqual(self.run_once("run-2")[0], "SUCCEEDED")
        self.assertEqual(self.statuses(self.summary("run-2")), {"swept": 14})

    def test_canary_with_an_open_circuit_breaker(self):
        """Nothing else begins: no other account is called, and no session terminated."""
        canary = account(1)
        for region, it in canary["regions"].items():
            it["sessions"] += [session(violator(1, region, f"-{i}"), 1, "3h") for i in range(4)]
        self.hub([canary, *map(account, range(2, 8))])
        path = ["Plan", "Canaries", "Summary"]
        self.assertEqual(self.run_once(), ("FAILED", "CanaryFailed", path))
        self.assertEqual(self.assumed(), [number(1)])
        self.assertEqual({it.account for it in self.recorder.calls}, {ACCOUNT, number(1)})
        self.assertEqual(self.terminated(), [])
        summary = self.summary()
        self.assertIn("circuit breaker", summary["canary_failure"])
        self.assertEqual((self.statuses(summary), summary["missing"]), ({"swept": 2}, 12))

    def test_batch_delivered_twice(self):
        """The reply is that of the first report, and nothing is swept again."""
        self.hub(list(map(account, range(1, 4))))
        self.assertEqual(self.run_once()[0], "SUCCEEDED")
        terminated, n_assumed = self.terminated(), len(self.assumed())
        report = self.read("runs/run-1/reports/2.json")
        for _ in range(2):
            reply = self.invoke({"step": "batch", "run": "run-1", "batch": 2})
            expected = {"run": "run-1", "batch": 2, "account_regions": 4, "swept": 4}
            self.assertEqual(reply, expected)
        self.assertEqual((self.terminated(), len(self.assumed())), (terminated, n_assumed))
        self.assertEqual(self.read("runs/run-1/reports/2.json"), report)
        # Also while the first delivery is not over: one report, and one reply.
        self.invoke({"step": "plan", "run": "run-2"})
        replies = []
        threads = [
            threading.Thread(target=lambda: replies.append(
                self.invoke({"step": "batch", "run": "run-2", "batch": 2})
            ))
            for _ in range(2)
        ]  # fmt: skip
        for it in threads:
            it.start()
        for it in threads:
            it.join()
        self.assertEqual(replies, [expected | {"run": "run-2"}] * 2)
        self.assertEqual(self.terminated(), terminated)

    def invoke(self, event):
        answer = self.functions.invoke(FunctionName=self.function, Payload=json.dumps(event))
        self.assertNotIn("FunctionError", answer)
        return json.loads(answer["Payload"].read())

    def test_policy_that_breaks_after_the_plan(self):
        """All batches evaluate by the version that the plan was made with."""
        self.hub(list(map(account, range(1, 6))))

        def break_it(call, _handler):
            if call.operation == "GetParameter" and call.body["Name"] == self.parameter:
                self.ssm.put_parameter(
                    Name=self.parameter, Value="version: 1\nrules: [", Type="String", Overwrite=True
                )

        self.recorder.after = break_it
        self.assertEqual(self.run_once()[0], "SUCCEEDED")
        summary = self.summary()
        self.assertEqual(self.statuses(summary), {"swept": 10})
        self.assertEqual(summary["policy"]["version"], 1)
        names = [it.body["Name"] for it in self.called("GetParameter")]
        self.assertEqual(names, [self.parameter, *[f"{self.parameter}:1"] * 3])
        self.assertEqual(len(self.terminated()), 10)
        # The next run has no policy, and ends before anything is swept.
        n_before = len(self.assumed())
        self.assertEqual(self.run_once("run-2"), ("FAILED", "PolicyUnusable", ["Plan"]))
        self.assertEqual(len(self.assumed()), n_before)

    def test_second_run_while_the_first_is_not_over(self):
        """It ends well, and sweeps nothing."""
        self.hub(list(map(account, range(1, 4))), latency="500ms")
        first = self.start("run-1")
        self.until(lambda: "runs/run-1/plan.json" in self.keys() or None)
        path = ["Plan", "AnotherRunIsInProgress"]
        self.assertEqual(self.run_once("run-2"), ("SUCCEEDED", None, path))
        self.assertEqual([it for it in self.keys() if "run-2" in it], [])
        self.assertEqual(self.machines.describe_execution(executionArn=first)["status"], "RUNNING")
        self.assertEqual(self.end(first)[0], "SUCCEEDED")
        self.assertEqual(sorted(self.assumed()), list(map(number, range(1, 4))))
        self.assertEqual(len(self.terminated()), 6)

    def test_people_are_told_by_the_topics_of_the_template(self):
        """By the function's events, the template's rules and transformers, and SNS: what a subscriber gets.

        ministack sends no e-mail, so a queue subscribes to each topic beside the address.
        """
        team, hostile = "team@example.com", 'mallory "x" <b>\\'
        resources, _ = cloudformation.stack(
            SINGLE, "aws", REGIONS[0], Mode="enforce", EventBus="ops", NoticeEmail=team,
            ChatNotices="true", PolicyParameterName="/notices",
        )  # fmt: skip
        sessions = [
            session("amara-1", 1, "2h"),
            session("amara-2", 1, "50m"),
            session("mallory-1", 1, "3h"),
            session("compliant-1", 1, "5m"),
        ]
        sessions[2]["owner"] = f"arn:aws:sts::{ACCOUNT}:assumed-role/dev/{hostile}"
        self.emulate("--fleet", {"account": ACCOUNT, "region": REGIONS[0], "sessions": sessions})
        policy = POLICY.replace("60, min_violations: 1", "100, min_violations: 1")
        policy += "warn_before: [15m]\n"
        self.ssm.put_parameter(Name="/notices", Value=policy, Type="String")
        events, sns, sqs = map(self.client, ["events", "sns", "sqs"])
        events.create_event_bus(Name="ops")
        arns = {}
        for name, it in resources.items():
            if it["Type"] == "AWS::SNS::Topic":
                arns[name] = sns.create_topic(Name=name)["TopicArn"]
        for rule in ["NoticeRule", "ChatRule"]:
            it = resources[rule]["Properties"]
            arns[f"{rule}.Arn"] = events.put_rule(
                Name=rule, EventBusName=it["EventBusName"], EventPattern=json.dumps(it["EventPattern"])
            )["RuleArn"]
            targets = [target | {"Arn": arns[target["Arn"]]} for target in it["Targets"]]
            put = events.put_targets(Rule=rule, EventBusName=it["EventBusName"], Targets=targets)
            self.assertEqual(put["FailedEntryCount"], 0)
        for it in resources.values():
            if it["Type"] == "AWS::SNS::TopicPolicy" and it["Properties"]["Topics"] != ["AlarmTopic"]:
                (topic,) = it["Properties"]["Topics"]
                (statement,) = it["Properties"]["PolicyDocument"]["Statement"]
                rule = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
                # ministack does not enforce it: at least it names this topic and its own rule.
                self.assertEqual(statement["Resource"], topic)
                targets = resources[rule.removesuffix(".Arn")]["Properties"]["Targets"]
                self.assertEqual([target["Arn"] for target in targets], [topic])
        it = resources["NoticeSubscription"]["Properties"]
        self.assertEqual(
            it, {"TopicArn": "NoticeTopic", "Protocol": "email", "Endpoint": team}
        )
        sns.subscribe(TopicArn=arns["NoticeTopic"], Protocol="email", Endpoint=team)
        queues = {}
        for topic in ["NoticeTopic", "ChatTopic"]:
            queues[topic] = sqs.create_queue(QueueName=topic)["QueueUrl"]
            sns.subscribe(
                TopicArn=arns[topic], Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGIONS[0]}:{ACCOUNT}:{topic}"
            )
        self.create_function("notices", resources, AWS_ENDPOINT_URL_EVENTBRIDGE=self.ministack)
        report = self.invoke({})
        self.assertEqual(report["events"], {"sent": 4, "failed": 0})

        def told(topic):
            """What subscribers of a topic get: three messages, and no more."""
            found = []

            def received():
                it = sqs.receive_message(QueueUrl=queues[topic], MaxNumberOfMessages=10)
                found.extend(json.loads(one["Body"]) for one in it.get("Messages", []))
                return found if len(found) >= 3 else None

            self.until(received)
            self.assertEqual(len(found), 3)
            self.assertEqual({it["TopicArn"] for it in found}, {arns[topic]})
            self.assertEqual({it["Subject"] for it in found}, {"EventBridge Notification"})
            return sorted(it["Message"] for it in found)

        warned, *terminated = told("NoticeTopic")
        for text in [warned, *terminated]:  # One plain text between quotes, whoever the owner is.
            self.assertRegex(text, r'^"[^"\\<>\n]*"$')
        self.assertRegex(warned, "^.Session ends in about 10 minutes: .* Save your work")
        self.assertIn("The session amara-1 of user/a on i-0000000000000dev0", terminated[1])
        self.assertIn("The session mallory-1 of role/dev/mallory", terminated[0])
        for text in terminated:
            self.assertRegex(text, "violates the rule one-hour. session-reaper has terminated it. To go on")
        chats = list(map(json.loads, told("ChatTopic")))
        for it in chats:
            self.assertEqual((it["version"], it["source"]), ("1.0", "custom"))
            self.assertEqual(it["content"]["textType"], "client-markdown")
        threads = sorted(it["metadata"]["threadId"] for it in chats)
        self.assertEqual(threads, ["amara-1", "amara-2", "mallory-1"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

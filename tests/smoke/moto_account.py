"""The function's sweep with moto's parameters, instances and tags: an independent implementation.

    python tests/smoke/moto_account.py target/debug/reapctl target/debug/session-reaper

moto knows no sessions, so the emulator plays that part behind one address with moto; and then the
emulator plays all of it, and the function must not be able to tell. Needs the packages of
moto-requirements.txt.
"""

import contextlib
import http.client
import http.server
import json
import logging
import os
import pathlib
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

REAPCTL, FUNCTION = sys.argv[1:]
REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
PARAMETER = "/security/session-policy"
POLICY = """
version: 1
tag_keys: [env, "reaper:exempt"]
rules:
  - { id: nobody-on-production, when: { target_tags: { env: prod } }, forbid: true }
  - { id: one-hour, when: all, require: { max_age: 1h } }
exemptions:
  - { id: tagged, when: { target_tags: { "reaper:exempt": "true" } } }
"""
OWNER = "arn:aws:iam::123456789012:user/amara"
logging.disable()
for name in [it for it in os.environ if it.startswith(("AWS_", "REAPER_"))]:
    del os.environ[name]  # Whoever runs this may be at work in an account.


class Handler(http.server.BaseHTTPRequestHandler):
    """A server's answers are what `answer` returns: status, headers, body."""

    protocol_version = "HTTP/1.1"

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = self.server.answer(self, body)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do

    def log_message(self, *_):
        pass


def serve(test, answer):
    """Serves until the test ends; tells the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answer = answer
    server.handle_error = lambda *_: None  # The function is killed while it waits for an event.
    threading.Thread(target=server.serve_forever, daemon=True).start()
    test.addCleanup(server.server_close)
    test.addCleanup(server.shutdown)
    return f"127.0.0.1:{server.server_port}"


class Account(unittest.TestCase):
    """moto, with some instances and a policy; the emulator; and the function."""

    maxDiff = None

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=f"http://{self.moto}",
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def emulate(self, fleet):
        """An emulator of its own; tells its address."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            json.dump(fleet, file)
            file.flush()
            command = [REAPCTL, "emulate", "--port", "0", "--fleet", file.name]
            emulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self.addCleanup(emulator.communicate)
            self.addCleanup(emulator.kill)  # Clean-ups run last first.
            return re.search(r"http://([0-9.:]+[0-9])", emulator.stdout.readline()).group(1)

    def route(self, sessions, others):
        """One address for both; what was asked of whom is noted."""

        def answer(request, body):
            target = request.headers.get("x-amz-target", "")
            about_sessions = target in ("AmazonSSM.DescribeSessions", "AmazonSSM.TerminateSession")
            self.asked.append((target.split(".")[-1], "sessions" if about_sessions else "others"))
            there = http.client.HTTPConnection(sessions if about_sessions else others)
            with contextlib.closing(there):
                there.request(request.command, request.path, body, dict(request.headers))
                answer = there.getresponse()
                headers = {"content-type": answer.headers["content-type"]}
                return answer.status, headers, answer.read()

        self.asked = []
        return serve(self, answer)

    def start(self, aws, **variables):
        """Starts the function in a Runtime API; `self.sweep` invokes it."""
        self.events, self.replies = queue.Queue(), queue.Queue()

        def answer(request, body):
            if not request.path.endswith("/next"):
                self.replies.put((request.path.rsplit("/", 1)[1], json.loads(body)))
                return 202, {}, b"{}"
            event = self.events.get()
            arn = f"arn:aws:lambda:{REGION}:123456789012:function:session-reaper"
            headers = {
                "lambda-runtime-aws-request-id": "1",
                "lambda-runtime-deadline-ms": str(int(time.time() * 1000) + 60_000),
                "lambda-runtime-invoked-function-arn": arn,
            }
            return 200, headers, json.dumps(event).encode()

        environment = CREDENTIALS | {
            "AWS_LAMBDA_FUNCTION_NAME": "session-reaper",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_RUNTIME_API": serve(self, answer),
            "AWS_ENDPOINT_URL": f"http://{aws}",
            "REAPER_MODE": "enforce",
            "REAPER_POLICY_PARAMETER": PARAMETER,
            "REAPER_CALLS_PER_SECOND": "1000",
        } | variables
        function = subprocess.Popen([FUNCTION], env=environment, stdout=subprocess.DEVNULL)
        self.addCleanup(function.wait)
        self.addCleanup(function.kill)

    def sweep(self, event):
        self.events.put(event)
        return self.replies.get(timeout=60)

    def setUp(self):
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        self.addCleanup(moto.stop)
        self.moto = ":".join(map(str, moto.get_host_and_port()))
        urllib.request.urlopen(f"http://{self.moto}/moto-api/reset", data=b"").close()
        ec2 = self.client("ec2")
        image = ec2.describe_images()["Images"][0]["ImageId"]

        def instance(**tags):
            tags = [{"Key": name, "Value": value} for name, value in tags.items()]
            tags = [{"ResourceType": "instance", "Tags": tags}] if tags else []
            run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
            return run["Instances"][0]["InstanceId"]

        self.prod = instance(env="prod", team="payments")
        self.dev = instance(env="dev", Name="a name that no rule asks for")
        self.exempt = instance(env="dev", **{"reaper:exempt": "true"})
        self.untagged = instance()
        self.ssm = self.client("ssm")
        self.ssm.put_parameter(Name=PARAMETER, Type="String", Value=POLICY)
        ages = {self.prod: "5m", self.dev: "50m", self.exempt: "3h", self.untagged: "2h"}
        self.fleet = {
            "sessions": [
                {"id": f"amara-{age}", "owner": OWNER, "target": target, "age": age}
                for target, age in ages.items()
            ],
            "tags": {
                self.prod: {"env": "prod"},
                self.dev: {"env": "dev"},
                self.exempt: {"env": "dev", "reaper:exempt": "true"},
            },
            "parameters": {PARAMETER: POLICY},
        }


class MotoAccount(Account):
    def test_the_function_sweeps_by_motos_parameter_and_tags(self):
        self.start(self.route(self.emulate(self.fleet), self.moto))
        kind, report = self.sweep({})
        self.assertEqual(kind, "response", report)
        outcomes = {it["target"]: (it["verdict"], it["outcome"]) for it in report["sessions"]}
        expected = {
            self.prod: ("violation", "terminated"),
            self.exempt: ("exempt", "no_action"),
            self.untagged: ("undetermined", "no_action"),
        }
        self.assertEqual(outcomes, expected)
        self.assertEqual(report["policy"]["version"], 1)
        asked = {
            ("GetParameter", "others"),
            ("DescribeSessions", "sessions"),
            ("GetResources", "others"),
            ("TerminateSession", "sessions"),
        }
        self.assertEqual(set(self.asked), asked)

        # An edit reasons from the next sweep on.
        edited = POLICY + "paused: true\nassume: { tags: none }\n"
        self.ssm.put_parameter(Name=PARAMETER, Type="String", Value=edited, Overwrite=True)
        _, report = self.sweep({})
        self.assertEqual(report["policy"]["version"], 2)
        reasons = {it["target"]: it.get("deferred_by") for it in report["sessions"]}
        self.assertEqual(reasons, {self.exempt: None, self.untagged: "paused"})

        self.ssm.delete_parameter(Name=PARAMETER)
        kind, error = self.sweep({})
        self.assertEqual((kind, error["errorType"]), ("error", "PolicyUnusable"))
        self.assertIn("ParameterNotFound", error["errorMessage"])

    def test_the_function_cannot_tell_the_emulator_from_moto(self):
        reports = []
        for others in [self.moto, None]:
            emulator = self.emulate(self.fleet)
            self.start(self.route(emulator, others or emulator))
            _, report = self.sweep({})
            for field in ["started_at", "duration_s"]:
                del report[field]
            for session in report["sessions"]:
                del session["started_at"], session["age_s"]
            self.assertLess(0, report.pop("oldest_violation_s"))
            reports.append((report, sorted(self.asked)))
        self.assertEqual(*reports)

    def test_evidence_is_locked(self):
        """A bucket with Object Lock takes it, whatever the environment says of checksums, and shows it."""
        s3 = self.client("s3")
        there = {"LocationConstraint": REGION}
        s3.create_bucket(
            Bucket="audit", CreateBucketConfiguration=there, ObjectLockEnabledForBucket=True
        )
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
        lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        s3.put_object_lock_configuration(Bucket="audit", ObjectLockConfiguration=lock)
        variables = {
            "AWS_ENDPOINT_URL_S3": f"http://{self.moto}",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "REAPER_EVIDENCE_BUCKET": "audit",
        }
        self.start(self.route(self.emulate(self.fleet), self.moto), **variables)
        kind, report = self.sweep({})
        self.assertEqual((kind, report["outcomes"]["terminated"]), ("response", 1), report)
        versions = s3.list_object_versions(Bucket="audit")["Versions"]
        keys = [it["Key"] for it in versions]
        names = ["decisions.ndjson.gz", "manifest.json", "outcomes.ndjson.gz"]
        self.assertEqual(sorted(it.rsplit("/", 1)[1] for it in keys), names)
        self.assertIn(report["evidence"]["manifest"], [f"s3://audit/{it}" for it in keys])
        with tempfile.TemporaryDirectory() as folder:
            for it in versions:
                head = s3.head_object(Bucket="audit", Key=it["Key"])
                self.assertEqual(head["ObjectLockMode"], "COMPLIANCE")
                with self.assertRaises(s3.exceptions.ClientError):
                    s3.delete_object(Bucket="audit", Key=it["Key"], VersionId=it["VersionId"])
                file = pathlib.Path(folder, it["Key"])
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file("audit", it["Key"], str(file))
            verified = subprocess.run([REAPCTL, "verify-evidence", folder], stdout=subprocess.PIPE)
            self.assertEqual(verified.returncode, 0, verified.stdout)
        # And where it is, by the listing of another implementation, which the emulator's follows.
        environment = CREDENTIALS | {"AWS_ENDPOINT_URL": f"http://{self.moto}"}
        command = [REAPCTL, "verify-evidence", "s3://audit/evidence"]
        read = subprocess.run(command, env=environment, capture_output=True)
        self.assertEqual((read.returncode, read.stdout), (0, verified.stdout), read.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

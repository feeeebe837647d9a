"""Clients that people have besides the newest AWS CLI, against the emulator: Debian 12's AWS CLI 2.9.19, which
is not on PyPI, and pyssm-client, which opens a web socket without AWS's plugin.

    python3 tests/smoke/other_clients.py target/debug/reapctl

Needs what `.ci/tools debian-aws pyssm` puts below target/tools; what is not there is left out, and said to be.
"""

import datetime
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

REAPCTL = sys.argv.pop(1)
TOOLS = pathlib.Path("target/tools").absolute()
DEBIAN, PYSSM = TOOLS / "debian-aws", TOOLS / "pyssm/bin/pyssm"
N_SESSIONS = 22  # In the sample fleet.


class OtherClients(unittest.TestCase):
    def setUp(self):
        emulator = subprocess.Popen([REAPCTL, "emulate", "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(emulator.communicate)
        self.addCleanup(emulator.kill)  # Clean-ups run last first.
        self.url = re.search(r"http://[0-9.:]+[0-9]", emulator.stdout.readline()).group()
        self.environment = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "HOME": "/nowhere",
            "HTTPS_PROXY": self.proxy(),
            "PATH": os.environ["PATH"],
        }

    def proxy(self):
        """A proxy that lets nothing through, and notes where the clients wanted to go."""
        called = self.called = []

        class Refusing(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                called.append(self.path)
                self.send_error(502)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def run_client(self, *words, **variables):
        environment = {**self.environment, **variables}
        environment = {name: value for name, value in environment.items() if value}
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)

    def listed(self, state="Active"):
        words = [REAPCTL, "describe-sessions", "--state", state, "--endpoint-url", self.url]
        return json.loads(self.run_client(*words).stdout)["Sessions"]

    def debian(self, *words, **variables):
        packages = str(DEBIAN / "usr/lib/python3/dist-packages")
        aws = ["/usr/bin/python3", DEBIAN / "usr/bin/aws", *words]
        return self.run_client(*aws, PYTHONPATH=packages, **variables)

    @unittest.skipUnless(DEBIAN.exists(), "Debian's AWS CLI 2.9.19 is not there")
    def test_debians_cli_lists_and_terminates(self):
        self.assertRegex(self.debian("--version").stdout, "^aws-cli/2[.]9[.]19 ")
        at = ["--endpoint-url", self.url]
        ran = self.debian("ssm", "describe-sessions", "--state", "Active", "--page-size", "4", *at)
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        rows, expected = json.loads(ran.stdout)["Sessions"], self.listed()
        self.assertEqual(len(rows), N_SESSIONS)
        for row in rows:
            row["StartDate"] = datetime.datetime.fromisoformat(row["StartDate"]).timestamp()
        self.assertEqual(rows, expected)
        for row in rows[:2]:
            terminated = self.debian("ssm", "terminate-session", "--session-id", row["SessionId"], *at)
            self.assertEqual(json.loads(terminated.stdout), {"SessionId": row["SessionId"]})
        self.assertEqual(self.listed(), expected[2:])
        self.assertEqual(self.called, [])

        # What it has printed is read by the commands that read files.
        with tempfile.TemporaryDirectory() as folder:
            saved = pathlib.Path(folder, "sessions.json")
            saved.write_text(ran.stdout)
            backtest = [REAPCTL, "backtest", "policies/zombies.yaml", "--from", saved, "--output", "json"]
            found = json.loads(self.run_client(*backtest).stdout)
        ids = {it["session_id"] for it in found["sessions"]}
        self.assertEqual(ids, {it["SessionId"] for it in expected if "Owner" in it})
        self.assertEqual([it["reason"] for it in found["skipped"]], ["no Owner"])

    @unittest.skipUnless(DEBIAN.exists(), "Debian's AWS CLI 2.9.19 is not there")
    def test_debians_cli_ignores_the_variable(self):
        """So the emulator's banner says: pass `--endpoint-url`."""
        ran = self.debian("ssm", "describe-sessions", "--state", "Active", AWS_ENDPOINT_URL=self.url, AWS_MAX_ATTEMPTS="1")
        self.assertEqual(ran.returncode, 255, ran.stderr)
        self.assertEqual(set(self.called), {"ssm.eu-central-1.amazonaws.com:443"})

    @unittest.skipUnless(PYSSM.exists(), "pyssm-client is not there: it needs Python 3.12")
    def test_pyssm_gets_as_far_as_its_web_socket(self):
        target = "i-0aa00000000000de1"
        words = ["exec", "--target", target, "--command", "uname", "--endpoint-url", self.url]
        ran = self.run_client(PYSSM, *words)
        self.assertEqual(ran.returncode, 1, ran.stderr)
        # The host of the emulator's stream does not exist, so that nothing would be sent to anybody.
        self.assertEqual(set(self.called), {"ssmmessages.eu-central-1.invalid:443"})
        (session,) = set(re.findall(r"session (emulator-\S+): Failed to open data channel", ran.stderr))
        rows = [it for it in self.listed() + self.listed("History") if it["SessionId"] == session]
        self.assertEqual([it["Target"] for it in rows], [target])


if __name__ == "__main__":
    unittest.main(verbosity=2)

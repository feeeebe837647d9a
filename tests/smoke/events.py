"""Every file of events/ through `cargo lambda watch` and `invoke`, against the emulator.

    python tests/smoke/events.py target/debug/reapctl

Needs `cargo lambda`.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

REAPCTL = sys.argv[1]
OWNER = "arn:aws:iam::123456789012:user/amara"
EVENTS = sorted(pathlib.Path("events").iterdir())
FLEET = {
    "sessions": [
        {"id": "amara-0", "owner": OWNER, "target": "i-1", "age": "5m"},
        # A zombie for each event: every sweep terminates one.
        *(
            {"id": f"amara-{n}", "owner": OWNER, "target": "i-1", "age": f"{n}w"}
            for n in range(1, len(EVENTS) + 1)
        ),
    ]
}
# It needs no tags: `cargo lambda watch` tells no account in which to look them up.
POLICY = """
version: 1
rules:
  - { id: no-older-than-a-day, when: all, require: { max_age: 1d } }
limits: { max_terminations: 1, circuit_breaker: { max_percent: 100, min_violations: 1 } }
"""
for name in [it for it in os.environ if it.startswith(("AWS_", "REAPER_"))]:
    del os.environ[name]  # Whoever runs this may be at work in an account.


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return str(it.getsockname()[1])


def wait_for(port, process):
    while process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
    sys.exit("cargo lambda watch has ended")


def invoke(address, event):
    command = ["cargo", "lambda", "invoke", *address, "--data-file", str(event), "session-reaper"]
    return json.loads(subprocess.check_output(command))


def check(address):
    n_seen = len(FLEET["sessions"])
    for path in EVENTS:
        report = invoke(address, path)
        mode = "dry-run" if "dry-run" in path.read_text() else "enforce"
        outcome = {"dry-run": "would_terminate", "enforce": "terminated"}[mode]
        actual = (report["mode"], report["verdicts"]["seen"], report["outcomes"][outcome])
        print(path, *actual, flush=True)
        assert actual == (mode, n_seen, 1), report
        n_seen -= report["outcomes"]["terminated"]


def stop(process):
    """Ends it and its children, if it has not ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


with contextlib.ExitStack() as stack:
    fleet = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".yaml"))
    json.dump(FLEET, fleet)
    fleet.flush()
    command = [REAPCTL, "emulate", "--port", "0", "--fleet", fleet.name]
    emulator = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    stack.callback(emulator.kill)
    url = re.search(r"http://[0-9.:]+[0-9]", emulator.stdout.readline()).group()
    port = free_port()
    address = ["--invoke-address", "127.0.0.1", "--invoke-port", port]
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "emulator",
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_SECRET_ACCESS_KEY": "emulator",
        "REAPER_MODE": "enforce",
        "REAPER_POLICY": POLICY,
    }
    command = ["cargo", "lambda", "watch", "--ignore-changes", *address]
    watch = stack.enter_context(
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
    )
    stack.callback(stop, watch)
    wait_for(port, watch)
    check(address)

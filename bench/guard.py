"""Instructions that the function executes, against bench/instructions.json: no noise hides a slow-down.

    python bench/guard.py FUNCTION REAPCTL [--update]

FUNCTION is the binary as it is deployed, REAPCTL any build of it. Needs valgrind. What takes a tenth
more than it did fails. After a deliberate change, or with another compiler, `--update` writes what was
counted; the difference in that file is part of the review.
"""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import lambda_api

FUNCTION, REAPCTL = (str(pathlib.Path(it).resolve()) for it in sys.argv[1:3])
KEPT = pathlib.Path(__file__).with_name("instructions.json")
TOLERANCE = 0.1
SESSIONS = 2_000
PAGE = 200
NO_RULES = "version: 1\n"
OWNERS = [
    "sts::123456789012:assumed-role/AWSReservedSSO_ContractorEU_2b03e7d876722882/jane@example.com",
    "sts::123456789012:assumed-role/sre-oncall/jane",
    "iam::123456789012:user/team/jane",
    "sts::123456789012:assumed-role/developer/jane.doe@example.com",
]
KINDS = [
    "when: all, unless: { owner: role/batch-* }, require: { max_age: LIMIT }",
    "when: { target_tags: { env: [prod, production] } }, require: { max_age: LIMIT }",
    "when: { owner: 'permission-set/Contractor*', status: Connecting }, forbid: true",
    "when: { status: Disconnected }, require: { max_age: 30m }",
    "when: { owner: [user/old, 'user/gone/*'] }, forbid: true",
]


def rules(limit):
    """Twenty rules, and the limit on terminations."""
    kinds = [KINDS[i % len(KINDS)].replace("LIMIT", limit) for i in range(20)]
    listed = "".join(f"  - {{ id: rule-{i}, {kind} }}\n" for i, kind in enumerate(kinds))
    return f"version: 1\ntag_keys: [env]\nlimits: {{ max_terminations: 1000 }}\nrules:\n{listed}"


NO_VIOLATION = rules("1d")
# Every tenth session is older than 12 hours, and the tags of every target decide.
EVERY_TENTH = rules("12h") + (
    "  - { id: look-up, when: { target_tags: { env: prod } }, require: { max_age: 30m } }\n"
)


@contextlib.contextmanager
def emulator(sessions):
    """Starts an emulator with so many sessions, one in ten of them too old; yields its address."""
    targets = [f"i-{i:017x}" for i in range(sessions)]
    seeds = [
        {
            "id": f"jane-{i:017x}",
            "owner": f"arn:aws:{OWNERS[i % len(OWNERS)]}",
            "target": target,
            "age": f"{13 if i % 10 == 3 else 1}h {i % 60}s",
            "status": "Connected",
        }
        for i, target in enumerate(targets)
    ]
    fleet = {"sessions": seeds, "tags": {it: {"env": "dev"} for it in targets}}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(fleet, file)
        file.flush()
        command = [REAPCTL, "emulate", "--port", "0", "--fleet", file.name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield re.search(r"http://[0-9.:]+[0-9]", process.stdout.readline()).group()
        finally:
            process.kill()
            process.wait()


def instructions(sessions, policy, mode="dry-run", level="ERROR"):
    """Instructions from the start of the process until it waits for its second event, and the reply."""
    with tempfile.TemporaryDirectory() as folder, emulator(sessions) as url:
        out = pathlib.Path(folder, "out")
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        environment = {
            "AWS_ACCESS_KEY_ID": "emulator",
            "AWS_ENDPOINT_URL": url,
            "AWS_LAMBDA_LOG_LEVEL": level,
            "AWS_REGION": "eu-central-1",
            "AWS_SECRET_ACCESS_KEY": "emulator",
            "PATH": os.environ["PATH"],
            "REAPER_CALLS_PER_SECOND": "10000",
            "REAPER_MODE": mode,
            "REAPER_POLICY": policy,
        }
        end = subprocess.Popen.terminate  # Killed, valgrind would write nothing.
        _, reply = lambda_api.invoke([*valgrind, FUNCTION], environment, end=end)
        assert reply["verdicts"]["seen"] == sessions, reply
        return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.M)[1]), reply


def counted():
    start, _ = instructions(0, NO_RULES)
    start_with_rules, _ = instructions(0, NO_VIOLATION)
    listed, _ = instructions(SESSIONS, NO_RULES)
    evaluated, _ = instructions(SESSIONS, NO_VIOLATION)
    sweep, reply = instructions(SESSIONS, EVERY_TENTH, "enforce", "INFO")
    assert reply["outcomes"]["terminated"] == SESSIONS // 10, reply
    parsed = start_with_rules - start
    return {
        "from the start to the first reply": start,
        "parsing twenty rules": parsed,
        "listing a page of 200 sessions": (listed - start) // (SESSIONS // PAGE),
        "evaluating 200 sessions by twenty rules": (evaluated - listed - parsed) // (SESSIONS // PAGE),
        "a sweep of 2,000 sessions that terminates 200": sweep,
    }


def main():
    now = counted()
    if "--update" in sys.argv:
        KEPT.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    more = {name: now[name] / kept[name] - 1 for name in kept}
    for name, it in more.items():
        print(f"{name}: {now[name]:,} instructions, {it:+.1%}")
    sys.exit(any(TOLERANCE < it for it in more.values()))


main()

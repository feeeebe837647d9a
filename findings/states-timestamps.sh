#!/usr/bin/env bash
# moto's Step Functions does not take a time with milliseconds or an offset for a timestamp.
#
# Guess:   both emulators compare instants, so that a Choice on a session's age can be tested on either.
# Happens: the Amazon States Language takes timestamps of RFC 3339, and the service's own `$$.Execution.StartTime` has
#          milliseconds. In moto, only whole seconds with `Z` are a timestamp: for any other form `IsTimestamp`,
#          `TimestampLessThan`, `TimestampGreaterThan` and even `TimestampEquals` are false, so the execution succeeds
#          by the Default branch; only `IsTimestamp` leaves a warning in moto's log. ministack compares instants, and
#          also calls a bare date a timestamp.
# Matters: Session Manager's starts have milliseconds. "Started before the deadline?" is then false for every session
#          in the tests, and the branch that terminates is never tried.
# Here:    ages and times are evaluated by the function, never by a state machine.
#
# moto runs inside the process, ministack on 127.0.0.1.
# Needs python3; one or two minutes, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
export NO_PROXY=127.0.0.1
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
for name in moto ministack; do python3 -m venv $name; done
moto/bin/pip install --quiet --disable-pip-version-check 'moto[stepfunctions]==5.2.5' boto3==1.44.8 2>pip.log ||
    { cat pip.log; exit 2; }
ministack/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33 2>pip.log || { cat pip.log; exit 2; }

cat >run.py <<'E'
import contextlib, json, sys, time
import boto3

CASES = [
    ("TimestampLessThan", "2026-11-28T04:30:00Z", "2026-11-28T04:00:00Z"),
    ("TimestampLessThan", "2026-11-28T04:30:00Z", "2026-11-28T04:00:00.123Z"),
    ("TimestampLessThan", "2026-11-28T04:30:00Z", "2026-11-28T05:00:00+01:00"),
    ("TimestampGreaterThan", "2026-11-28T04:30:00Z", "2026-11-28T04:30:00.500Z"),
    ("TimestampEquals", "2026-11-28T04:30:00Z", "2026-11-28T04:30:00.000Z"),
    ("IsTimestamp", True, "2026-11-28T04:30:00.123Z"),
    ("IsTimestamp", True, "2026-11-28T05:30:00+01:00"),
    ("IsTimestamp", True, "2026-11-28"),
]
name, port = sys.argv[1:]
if name == "moto":
    from moto import mock_aws
    emulator, endpoint = mock_aws(config={"stepfunctions": {"execute_state_machine": True}}), None
else:
    emulator, endpoint = contextlib.nullcontext(), f"http://127.0.0.1:{port}"
with emulator:
    states = boto3.client("stepfunctions", region_name="us-east-1", endpoint_url=endpoint,
                          aws_access_key_id="example", aws_secret_access_key="example")
    for number, (operator, literal, value) in enumerate(CASES):
        definition = {"StartAt": "Decide", "States": {
            "Decide": {"Type": "Choice", "Default": "No",
                       "Choices": [{"Variable": "$.start", operator: literal, "Next": "Yes"}]},
            "Yes": {"Type": "Pass", "Result": {"answer": "true"}, "End": True},
            "No": {"Type": "Pass", "Result": {"answer": "false"}, "End": True}}}
        machine = states.create_state_machine(name=f"case{number}", definition=json.dumps(definition),
                                              roleArn="arn:aws:iam::123456789012:role/example")
        execution = states.start_execution(stateMachineArn=machine["stateMachineArn"],
                                           input=json.dumps({"start": value}))
        for _ in range(100):
            result = states.describe_execution(executionArn=execution["executionArn"])
            if result["status"] != "RUNNING":
                break
            time.sleep(0.1)
        answer = json.loads(result["output"])["answer"] if "output" in result else result["status"]
        print(f"{name}: {value} {operator} {literal}: {answer}")
E
mkdir state
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd state && exec env BIND_HOST=127.0.0.1 GATEWAY_PORT="$port" ../ministack/bin/ministack >../ministack.log 2>&1) &
server=$!
for _ in $(seq 150); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    sleep 0.2
done
cat >expected <<'E'
moto: 2026-11-28T04:00:00Z TimestampLessThan 2026-11-28T04:30:00Z: true
moto: 2026-11-28T04:00:00.123Z TimestampLessThan 2026-11-28T04:30:00Z: false
moto: 2026-11-28T05:00:00+01:00 TimestampLessThan 2026-11-28T04:30:00Z: false
moto: 2026-11-28T04:30:00.500Z TimestampGreaterThan 2026-11-28T04:30:00Z: false
moto: 2026-11-28T04:30:00.000Z TimestampEquals 2026-11-28T04:30:00Z: false
moto: 2026-11-28T04:30:00.123Z IsTimestamp True: false
moto: 2026-11-28T05:30:00+01:00 IsTimestamp True: false
moto: 2026-11-28 IsTimestamp True: false
ministack: 2026-11-28T04:00:00Z TimestampLessThan 2026-11-28T04:30:00Z: true
ministack: 2026-11-28T04:00:00.123Z TimestampLessThan 2026-11-28T04:30:00Z: true
ministack: 2026-11-28T05:00:00+01:00 TimestampLessThan 2026-11-28T04:30:00Z: true
ministack: 2026-11-28T04:30:00.500Z TimestampGreaterThan 2026-11-28T04:30:00Z: true
ministack: 2026-11-28T04:30:00.000Z TimestampEquals 2026-11-28T04:30:00Z: true
ministack: 2026-11-28T04:30:00.123Z IsTimestamp True: true
ministack: 2026-11-28T05:30:00+01:00 IsTimestamp True: true
ministack: 2026-11-28 IsTimestamp True: true
E
echo 'moto 5.2.5, ministack 1.5.33 (PyPI)'
for name in moto ministack; do moto/bin/python run.py $name "$port"; done | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

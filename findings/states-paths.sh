#!/usr/bin/env bash
# A JSONPath with a filter gives null in one Step Functions emulator, and the execution succeeds.
#
# Guess:   an emulator that does not know a form of path refuses it.
# Happens: in ministack, a filter, a slice, an index from the end, a list of indexes and a descent (`$..Id`) are null,
#          without an error or a word in the log, and the Map over that null runs once, for null. moto finds what is
#          there; but for a filter that matches nothing it fails the execution, and `$.Sessions[*].Owner.Name` is a
#          list for two matches and the bare value for one.
# Matters: "terminate what the filter finds" passes in the test although it found nothing, does one child execution for
#          no session, or changes its type when the account has one session instead of two.
# Here:    sessions are selected by the function alone; no path of a state machine selects any.
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
import contextlib, json, logging, sys, time
import boto3

logging.disable(logging.CRITICAL)  # moto logs a failed execution at length

SESSIONS = [{"Id": "a", "Age": 9, "Owner": {"Name": "x"}}, {"Id": "b", "Age": 3}, {"Id": "c", "Age": 1}]
PATHS = ["$.Sessions[*].Id", "$.Sessions[?(@.Age > 5)].Id", "$.Sessions[?(@.Age > 99)].Id", "$.Sessions[0:2].Id",
         "$.Sessions[0,1].Id", "$.Sessions[-1].Id", "$..Id", "$.Sessions[*].Owner.Name"]
name, port = sys.argv[1:]
if name == "moto":
    from moto import mock_aws
    emulator, endpoint = mock_aws(config={"stepfunctions": {"execute_state_machine": True}}), None
else:
    emulator, endpoint = contextlib.nullcontext(), f"http://127.0.0.1:{port}"
with emulator:
    states = boto3.client("stepfunctions", region_name="us-east-1", endpoint_url=endpoint,
                          aws_access_key_id="example", aws_secret_access_key="example")

    def run(label, state_machine):
        machine = states.create_state_machine(name=label, definition=json.dumps(state_machine),
                                              roleArn="arn:aws:iam::123456789012:role/example")
        execution = states.start_execution(stateMachineArn=machine["stateMachineArn"],
                                           input=json.dumps({"Sessions": SESSIONS}))
        for _ in range(100):
            result = states.describe_execution(executionArn=execution["executionArn"])
            if result["status"] != "RUNNING":
                break
            time.sleep(0.1)
        return result["status"], json.loads(result.get("output", "null"))

    for number, path in enumerate(PATHS):
        select = {"Type": "Pass", "Parameters": {"found.$": path}, "End": True}
        status, output = run(f"select{number}", {"StartAt": "Select", "States": {"Select": select}})
        print(f"{name}: {path} {status} {json.dumps(output and output['found'])}")
    child = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Child",
             "States": {"Child": {"Type": "Pass", "End": True}}}
    status, output = run("each", {"StartAt": "Select", "States": {
        "Select": {"Type": "Pass", "Parameters": {"found.$": PATHS[1]}, "Next": "Each"},
        "Each": {"Type": "Map", "ItemsPath": "$.found", "ItemProcessor": child, "End": True}}})
    print(f"{name}: a Map over {PATHS[1]} {status} {json.dumps(output)}")
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
moto: $.Sessions[*].Id SUCCEEDED ["a", "b", "c"]
moto: $.Sessions[?(@.Age > 5)].Id SUCCEEDED ["a"]
moto: $.Sessions[?(@.Age > 99)].Id FAILED null
moto: $.Sessions[0:2].Id SUCCEEDED ["a", "b"]
moto: $.Sessions[0,1].Id SUCCEEDED ["a", "b"]
moto: $.Sessions[-1].Id SUCCEEDED ["c"]
moto: $..Id SUCCEEDED ["a", "b", "c"]
moto: $.Sessions[*].Owner.Name SUCCEEDED "x"
moto: a Map over $.Sessions[?(@.Age > 5)].Id SUCCEEDED ["a"]
ministack: $.Sessions[*].Id SUCCEEDED ["a", "b", "c"]
ministack: $.Sessions[?(@.Age > 5)].Id SUCCEEDED null
ministack: $.Sessions[?(@.Age > 99)].Id SUCCEEDED null
ministack: $.Sessions[0:2].Id SUCCEEDED null
ministack: $.Sessions[0,1].Id SUCCEEDED null
ministack: $.Sessions[-1].Id SUCCEEDED null
ministack: $..Id SUCCEEDED null
ministack: $.Sessions[*].Owner.Name SUCCEEDED ["x"]
ministack: a Map over $.Sessions[?(@.Age > 5)].Id SUCCEEDED [null]
E
echo 'moto 5.2.5, ministack 1.5.33 (PyPI)'
for name in moto ministack; do moto/bin/python run.py $name "$port"; done | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

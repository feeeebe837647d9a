#!/usr/bin/env bash
# Two emulators of CloudWatch Logs agree: every JSON filter pattern, and every `filter` of a query, matches every line.
#
# Guess:   two independent emulators that give the same answer are right, or at least one of them refuses what it
#          cannot do.
# Happens: in moto and in ministack, `{ $.failed > 0 }` and `{ $.failed NOT EXISTS }` both return all three lines, as do
#          Insights queries with `filter` or `stats`, with status Complete. Plain terms (`ERROR`) and `limit 1` do work,
#          so nothing looks unfinished. On `?ERROR ?WARN`, one or the other, moto returns everything, ministack nothing.
# Matters: a reaper is watched through saved queries and metric filters. A test "the query finds the terminated session"
#          passes for any query at all.
# Here:    metrics are written as EMF and not taken from lines by filters; the template's saved queries are held to the
#          fields that the code really logs by a test of their own, and no emulator stands for Insights.
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
moto/bin/pip install --quiet --disable-pip-version-check 'moto[logs]==5.2.5' boto3==1.44.8 2>pip.log ||
    { cat pip.log; exit 2; }
ministack/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33 2>pip.log || { cat pip.log; exit 2; }

cat >run.py <<'E'
import contextlib, json, sys, time
import boto3

LINES = [{"id": "one", "level": "ERROR", "failed": 2}, {"id": "two", "level": "INFO", "failed": 0},
         {"id": "three", "level": "WARN"}]
PATTERNS = ["ERROR", "{ $.level = \"ERROR\" }", "{ $.failed > 0 }", "{ $.failed NOT EXISTS }", "?ERROR ?WARN"]
QUERIES = ["fields @message | filter level = \"ERROR\"", "fields @message | filter failed > 0",
           "fields @message | limit 1", "stats count(*) by level"]
name, port = sys.argv[1:]
if name == "moto":
    from moto import mock_aws
    emulator, endpoint = mock_aws(), None
else:
    emulator, endpoint = contextlib.nullcontext(), f"http://127.0.0.1:{port}"
with emulator:
    logs = boto3.client("logs", region_name="us-east-1", endpoint_url=endpoint,
                        aws_access_key_id="example", aws_secret_access_key="example")
    logs.create_log_group(logGroupName="group")
    logs.create_log_stream(logGroupName="group", logStreamName="stream")
    now = int(time.time())
    logs.put_log_events(logGroupName="group", logStreamName="stream", logEvents=[
        {"timestamp": now * 1000 + number, "message": json.dumps(line)} for number, line in enumerate(LINES)])
    for pattern in PATTERNS:
        events = logs.filter_log_events(logGroupName="group", filterPattern=pattern)["events"]
        print(f"{name}: {pattern}:", " ".join(json.loads(event["message"])["id"] for event in events) or "nothing")
    for query in QUERIES:
        started = logs.start_query(logGroupName="group", startTime=now - 60, endTime=now + 60, queryString=query)
        for _ in range(50):
            result = logs.get_query_results(queryId=started["queryId"])
            if result["status"] not in ("Running", "Scheduled"):
                break
            time.sleep(0.1)
        print(f"{name}: {query}: {result['status']}, {len(result['results'])} rows")
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
moto: ERROR: one
moto: { $.level = "ERROR" }: one two three
moto: { $.failed > 0 }: one two three
moto: { $.failed NOT EXISTS }: one two three
moto: ?ERROR ?WARN: one two three
moto: fields @message | filter level = "ERROR": Complete, 3 rows
moto: fields @message | filter failed > 0: Complete, 3 rows
moto: fields @message | limit 1: Complete, 1 rows
moto: stats count(*) by level: Complete, 3 rows
ministack: ERROR: one
ministack: { $.level = "ERROR" }: one two three
ministack: { $.failed > 0 }: one two three
ministack: { $.failed NOT EXISTS }: one two three
ministack: ?ERROR ?WARN: nothing
ministack: fields @message | filter level = "ERROR": Complete, 3 rows
ministack: fields @message | filter failed > 0: Complete, 3 rows
ministack: fields @message | limit 1: Complete, 1 rows
ministack: stats count(*) by level: Complete, 3 rows
E
echo 'moto 5.2.5, ministack 1.5.33 (PyPI)'
for name in moto ministack; do moto/bin/python run.py $name "$port"; done | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

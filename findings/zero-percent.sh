#!/usr/bin/env bash
# `max-resources-percent: 0` is no limit in Cloud Custodian, and neither is half of an `and`.
#
# Guess:   a limit of 0 percent is the strictest one: the schema takes it, so a policy that selects anything is stopped.
#          `op: and` with one of its two limits is as good as that limit.
# Happens: with 0.1 percent, a policy that selects all of ten sessions is stopped before its action. With 0, which the
#          schema allows as its minimum, it terminates all ten: the value is tested for truth, not for presence.
#          `max-resources: {op: and, amount: 5}` and `{op: and, percent: 50}` terminate all ten as well: with `and`,
#          both have to be there for either to count. All of these are valid policies. `max-resources: 0` is refused by
#          the schema.
# Matters: who lowers the limit step by step to see a policy stopped, or sets it to 0 to stop it in an emergency, has
#          removed it.
# Here:    `max_percent: 0` opens the circuit breaker at the first violator that makes `min_violations` full (10 unless
#          the policy says otherwise); `reapctl check` warns of it without `min_violations: 1`.
#
# A server on 127.0.0.1 stands for Session Manager.
# Needs python3; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
export NO_PROXY=127.0.0.1
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check c7n==0.9.53 2>pip.log || { cat pip.log; exit 2; }
cat >server.py <<'E'
import http.server, json

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].split(".")[-1]
        if operation == "DescribeSessions":
            answer = {"Sessions": [{"SessionId": f"jane-{it:02}", "Status": "Connected"} for it in range(10)]}
        elif operation == "TerminateSession":
            with open("terminated", "a") as terminated:
                print(asked["SessionId"], file=terminated)
            answer = {"SessionId": asked["SessionId"]}
        else:
            answer = {"ResourceTagMappingList": []}
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
E
python3 server.py >port &
server=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done

cat >run.py <<'E'
import json, logging, os
from c7n.config import Config
from c7n.exceptions import PolicyValidationError, ResourceLimitExceeded
from c7n.loader import PolicyLoader
from c7n.resources import load_resources

logging.disable(logging.CRITICAL)
load_resources(("aws.ssm-session-manager",))
config = Config.empty(region="us-east-1", account_id="111122223333", output_dir="output", cache_period=0)
LIMITS = [
    {},
    {"max-resources-percent": 50},
    {"max-resources-percent": 0.1},
    {"max-resources-percent": 0},
    {"max-resources": 5},
    {"max-resources": {"op": "and", "amount": 5}},
    {"max-resources": {"op": "and", "percent": 50}},
    {"max-resources": {"op": "and", "amount": 5, "percent": 50}},
    {"max-resources": 0},
]
for limits in LIMITS:
    open("terminated", "w").close()
    policy = {"name": "all", "resource": "aws.ssm-session-manager", "actions": ["terminate"], **limits}
    try:
        for it in PolicyLoader(config).load_data({"policies": [policy]}, "policy.yaml").policies:
            it.run()
        how = "ran"
    except ResourceLimitExceeded:
        how = "stopped by the limit"
    except PolicyValidationError:
        how = "not valid"
    print(f"{json.dumps(limits):56} {how}, {len(open('terminated').readlines())} of 10 terminated")
E
cat >expected <<'E'
{}                                                       ran, 10 of 10 terminated
{"max-resources-percent": 50}                            stopped by the limit, 0 of 10 terminated
{"max-resources-percent": 0.1}                           stopped by the limit, 0 of 10 terminated
{"max-resources-percent": 0}                             ran, 10 of 10 terminated
{"max-resources": 5}                                     stopped by the limit, 0 of 10 terminated
{"max-resources": {"op": "and", "amount": 5}}            ran, 10 of 10 terminated
{"max-resources": {"op": "and", "percent": 50}}          ran, 10 of 10 terminated
{"max-resources": {"op": "and", "amount": 5, "percent": 50}} stopped by the limit, 0 of 10 terminated
{"max-resources": 0}                                     not valid, 0 of 10 terminated
E
echo "Cloud Custodian 0.9.53, a policy that selects all of ten sessions:"
export AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example AWS_ENDPOINT_URL="http://127.0.0.1:$(cat port)"
py/bin/python run.py 2>run.log | tee seen || { cat run.log; exit 1; }
diff expected seen && echo "as described" || { echo "this has changed"; exit 1; }

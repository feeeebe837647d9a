#!/usr/bin/env bash
# Cloud Custodian asks for no further termination after the first that is refused, and starts from the top next time.
#
# Guess:   a refusal for one session is reported, and the others are asked for all the same, as the action is
#          "terminate" on a list.
# Happens: `aws.ssm-session-manager` with `terminate` asks for the sessions in the order of the listing and stops at
#          the first error. The run exits with status 2, and the next run does exactly the same.
# Matters: a role is easily refused some sessions (a policy on `session/${aws:username}-*`, a tag condition, an
#          explicit deny). AWS lists the newest sessions first in all its examples, so the older ones stay until the
#          refusal is mended; the exit status is the only sign of it.
# Here:    each session on its own: a refusal is that session's outcome (`denied`), and the others are asked for. The
#          oldest come first.
#
# A server on 127.0.0.1 stands for AWS; it refuses the second of three sessions.
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
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].split(".")[1]
        status, answer = 200, {}
        if operation == "DescribeSessions":
            answer = {"Sessions": [
                {"SessionId": name, "StartDate": 1774742400.5, "Status": "Connected",
                 "Owner": "arn:aws:iam::123456789012:user/jane"} for name in ["first", "second", "third"]]}
        elif operation == "TerminateSession":
            with open("asked", "a") as asked:
                print(body["SessionId"], file=asked)
            answer = body
            if body["SessionId"] == "second":
                status, answer = 400, {"__type": "AccessDeniedException", "Message": "not authorized"}
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
E
cat >policy.yml <<'E'
policies:
  - name: twelve-hours
    resource: aws.ssm-session-manager
    filters: [{type: value, key: StartDate, value_type: age, op: ge, value: 0.5}]
    actions: [terminate]
E
python3 server.py >port &
server=$!
for _ in $(seq 50); do [ -s port ] && break; sleep 0.1; done
port=$(cat port)
export AWS_ENDPOINT_URL="http://127.0.0.1:$port" AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example \
    AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/dev/null
unset AWS_PROFILE
cat >expected <<'E'
run 1: exit status 2, asked for: first second
run 2: exit status 2, asked for: first second
E
echo 'c7n 0.9.53 (PyPI)'
for run in 1 2; do
    : >asked
    status=0
    timeout 120 py/bin/custodian run --output-dir out --region us-east-1 --cache-period 0 policy.yml >log 2>&1 ||
        status=$?
    echo "run $run: exit status $status, asked for: $(paste -sd ' ' asked)"
done | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference log; exit 1; fi

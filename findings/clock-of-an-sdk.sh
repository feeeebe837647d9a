#!/usr/bin/env bash
# With a clock that is two hours slow, the JavaScript SDK works and boto3 does not; neither says what time it is.
#
# Guess:   AWS refuses signatures that are more than five minutes off, so a wrong clock cannot go unnoticed.
# Happens: the AWS SDK for JavaScript learns the difference from the `Date` of any answer, also of a refusal, and signs
#          its next attempt by AWS's clock: DescribeSessions succeeds. `Date.now()` stays as it was. boto3 signs every
#          attempt by the local clock, and fails. (The Rust SDK, aws-runtime 1.10.2, corrects too; it is not run here.)
# Matters: the refusal was the only protection of ages against a wrong clock. With a corrected signature and an
#          uncorrected `now`, every session is two hours younger or older than the truth.
# Here:    the `Date` of AWS's answers is compared with the clock in every sweep; more than a minute apart, the sweep
#          terminates nothing and says by how much.
#
# A server on 127.0.0.1 stands for Session Manager; its clock is two hours ahead, and it refuses such signatures.
# Needs python3, node, npm; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
export NO_PROXY=127.0.0.1
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check boto3==1.44.8 2>pip.log || { cat pip.log; exit 2; }
npm install --silent --no-audit --no-fund --prefix js @aws-sdk/client-ssm@3.1168.0 >npm.log 2>&1 ||
    { cat npm.log; exit 2; }
cat >server.py <<'E'
import datetime, email.utils, http.server

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=2)
        signed = datetime.datetime.strptime(self.headers["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
        if abs(now - signed) > datetime.timedelta(minutes=5):
            status, answer = 400, b'{"__type": "InvalidSignatureException", "message": "Signature expired"}'
        else:
            status, answer = 200, b'{"Sessions": []}'
        with open("answers", "a") as answers:
            print(status, file=answers)
        self.send_response_only(status)
        self.send_header("Date", email.utils.format_datetime(now, usegmt=True))
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
E
cat >run.py <<'E'
import boto3, botocore.exceptions

try:
    boto3.client("ssm").describe_sessions(State="Active")
    print("boto3: succeeded")
except botocore.exceptions.ClientError as error:
    print("boto3:", error.response["Error"]["Code"])
E
cat >js/run.js <<'E'
const { SSMClient, DescribeSessionsCommand } = require("@aws-sdk/client-ssm");
const client = new SSMClient({});
client.send(new DescribeSessionsCommand({ State: "Active" })).then(
  () => console.log("JavaScript: succeeded, with a correction of",
                    Math.round(client.config.systemClockOffset / 60000), "minutes that only the signature sees"),
  (error) => console.log("JavaScript:", error.name),
);
E
python3 server.py >port &
server=$!
for _ in $(seq 50); do [ -s port ] && break; sleep 0.1; done
port=$(cat port)
export AWS_ENDPOINT_URL="http://127.0.0.1:$port" AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 \
    AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example NODE_NO_WARNINGS=1 \
    AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/dev/null
unset AWS_PROFILE
cat >expected <<'E'
boto3: InvalidSignatureException
boto3: answers 400
JavaScript: succeeded, with a correction of 120 minutes that only the signature sees
JavaScript: answers 400 200
E
echo 'boto3 1.44.8 (PyPI), @aws-sdk/client-ssm 3.1168.0 (npm)'
{ : >answers
  py/bin/python run.py
  echo "boto3: answers $(paste -sd ' ' answers)"
  : >answers
  node js/run.js
  echo "JavaScript: answers $(paste -sd ' ' answers)"; } | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

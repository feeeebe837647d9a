#!/usr/bin/env bash
# An age computed from boto3's StartDate is an hour wrong across a clock change, and so is the AWS CLI's "oldest".
#
# Guess:   boto3's timestamps know their zone, so their differences are right; ISO 8601 sorts by time.
# Happens: boto3 returns StartDate in the machine's local zone. `now - StartDate` is right with a `now` in UTC; with
#          `datetime.now(tz=session["StartDate"].tzinfo)` it is an hour too long in spring and too short in autumn:
#          Python subtracts wall clocks when both sides hold the same zone object. With the AWS CLI 1.x and
#          `cli_timestamp_format = iso8601`, `sort_by(Sessions, &StartDate)[0]` is not the oldest session in the night
#          when the clocks go back, since it sorts the local texts. Without that setting StartDate is a number: the
#          order is right, and a comparison with a date in a text is an error of Python's.
# Matters: a script with a limit of one hour terminates a session that is a few minutes old, once a year, and only
#          where it runs in local time: on a laptop, not in Lambda.
# Here:    StartDate stays an instant, and ages are differences of instants. A time zone is used for one thing, a
#          policy's office hours. `reapctl describe-sessions` writes the same local texts with that setting, because scripts
#          depend on it.
#
# A server on 127.0.0.1 stands for Session Manager; the zone is Europe/Berlin.
# Needs python3; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
export NO_PROXY=127.0.0.1
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check awscli==1.46.3 boto3==1.43.62 2>pip.log ||
    { cat pip.log; exit 2; }
cat >server.py <<'E'
import http.server, json
from datetime import datetime, timezone

def start(text):
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()

sessions = [
    {"SessionId": "before-spring", "StartDate": start("2026-03-29T00:30:00")},  # 01:30 in Berlin, 02:00 becomes 03:00
    {"SessionId": "autumn-first", "StartDate": start("2026-10-25T00:50:00")},   # 02:50 in Berlin, 03:00 becomes 02:00
    {"SessionId": "autumn-second", "StartDate": start("2026-10-25T01:10:00")},  # 02:10 in Berlin
]
answer = json.dumps({"Sessions": sessions}).encode()

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
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
cat >run.py <<'E'
import datetime, boto3

sessions = boto3.client("ssm").describe_sessions(State="Active")["Sessions"]
start = sessions[0]["StartDate"]
now = datetime.datetime(2026, 3, 29, 1, 15, tzinfo=datetime.timezone.utc)
print("boto3: the truth is 0:45:00")
print("boto3: now in UTC", now - start)
print("boto3: now in StartDate's tzinfo", now.astimezone(start.tzinfo) - start)
E
python3 server.py >port &
server=$!
for _ in $(seq 50); do [ -s port ] && break; sleep 0.1; done
port=$(cat port)
export TZ=Europe/Berlin AWS_ENDPOINT_URL="http://127.0.0.1:$port" AWS_DEFAULT_REGION=eu-central-1 \
    AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example AWS_SHARED_CREDENTIALS_FILE=/dev/null
unset AWS_PROFILE
printf '[default]\n' >none
printf '[default]\ncli_timestamp_format = iso8601\n' >iso8601
oldest="sort_by(Sessions[?starts_with(SessionId,'autumn')], &StartDate)[0].SessionId"
cat >expected <<'E'
boto3: the truth is 0:45:00
boto3: now in UTC 0:45:00
boto3: now in StartDate's tzinfo 1:45:00
aws, no setting: the oldest is autumn-first
aws, iso8601: the oldest is autumn-second
aws, no setting: before April: '<' not supported between instances of 'float' and 'str'
E
echo 'awscli 1.46.3, boto3 1.43.62'
{ AWS_CONFIG_FILE=$PWD/none py/bin/python run.py
  for setting in none iso8601; do
      [ $setting = none ] && name='no setting' || name=iso8601
      echo "aws, $name: the oldest is $(AWS_CONFIG_FILE=$PWD/$setting \
          py/bin/aws ssm describe-sessions --state Active --output text --query "$oldest")"
  done
  echo "aws, no setting: before April: $(AWS_CONFIG_FILE=$PWD/none \
      py/bin/aws ssm describe-sessions --state Active --query 'Sessions[?StartDate < `"2026-04-01"`]' 2>&1 | tail -1)"
} | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

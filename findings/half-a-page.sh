#!/usr/bin/env bash
# A page that is cut off ends a listing, and a call whose answer is cut off has succeeded: so says boto3.
#
# Guess:   an answer that is shorter than its Content-Length is an error for every HTTP client, so that boto3 tries
#          again and then fails; and half an object is no JSON, which is an error too.
# Happens: botocore tells urllib3 not to compare lengths (`enforce_content_length=False` in httpsession.py), and takes
#          a body with status 200 that is no JSON for an object without members. The page has no sessions and no
#          NextToken, so the paginator ends; TerminateSession returns without an error. Only an answer in chunks that
#          is cut off is an error.
# Matters: the list of active sessions is incomplete without a word, and a session counts as terminated that may not be.
# Here:    an answer that is cut off is an error in every form. The page is asked for again; if that does not help, the
#          listing is incomplete and the sweep says so. A session is `terminated` only if a complete listing is without
#          it. `reapctl describe-sessions` and `terminate-session` fail where the AWS CLI succeeds.
#
# A server on 127.0.0.1 stands for Session Manager; the connection ends in the middle of the second page, each time.
# Needs python3; about a quarter of a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
export NO_PROXY=127.0.0.1
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check boto3==1.44.8 botocore==1.44.8 urllib3==2.6.3 2>pip.log ||
    { cat pip.log; exit 2; }
cat >server.py <<'E'
import http.server, json

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"Sessions": [{"SessionId": "a-1"}], "NextToken": "second"}
        if is_cut := asked != {"State": "Active"}:
            answer = {"SessionId": "a-1", "Sessions": [{"SessionId": "b-2"}, {"SessionId": "c-3"}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        sent = body[: len(body) // 2] if is_cut else body
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            sent = b"%x\r\n%b\r\n" % (len(sent), sent) + (b"" if is_cut else b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
E
cat >run.py <<'E'
import boto3, botocore.config, sys

retries = {"total_max_attempts": 2}
ssm = boto3.client("ssm", endpoint_url=sys.argv[1], config=botocore.config.Config(retries=retries))

def listed():
    pages = ssm.get_paginator("describe_sessions").paginate(State="Active")
    return [it["SessionId"] for page in pages for it in page.get("Sessions", [])]

def terminated():
    return ssm.terminate_session(SessionId="a-1").get("SessionId", "success, without an id")

for call in [listed, terminated]:
    try:
        print(f"{call.__name__}:", call())
    except Exception as error:
        print(f"{call.__name__}:", type(error).__name__)
E
python3 server.py >port &
server=$!
for _ in $(seq 50); do [ -s port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=example AWS_SECRET_ACCESS_KEY=example \
    AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_CONFIG_FILE=/dev/null
unset AWS_PROFILE
cat >expected <<'E'
With a Content-Length, cut off
listed: ['a-1']
terminated: success, without an id
In chunks, cut off
listed: ConnectionClosedError
terminated: ConnectionClosedError
E
echo 'boto3 1.44.8, botocore 1.44.8, urllib3 2.6.3 (PyPI); the sessions are a-1, b-2, c-3'
{ echo 'With a Content-Length, cut off'
  py/bin/python run.py "$url/length"
  echo 'In chunks, cut off'
  py/bin/python run.py "$url/chunked"; } | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

#!/usr/bin/env bash
# A conditional write whose answer is lost fails, though it has written: the retry meets its own object.
#
# Guess:   `put_object(IfNoneMatch="*")` either writes the object and returns, or raises and has not written it: that
#          is what the condition is for, and an SDK retries only what is safe to retry.
# Happens: if the connection ends after the write and before the answer, boto3 retries by default, S3 finds the
#          object there, and the call raises `PreconditionFailed` (412). The object has the content of this very call.
#          Retries in `standard` and in `legacy` mode do so alike. Without retries it raises `ConnectionClosedError`,
#          which says at least that nothing is known.
# Matters: 412 is taken for "somebody else was first" where such a write is a lock, a lease or a report that is
#          written once. A program that gives up then has a lock that nobody holds.
# Here:    after a 412 the object is read: if it has the content that was to be written, it counts as written
#          (`src/aws/bucket.rs`).
#
# Needs python3; about a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check boto3==1.43.5 'moto[server,s3]==5.2.5' 2>pip.log ||
    { cat pip.log; exit 2; }

py/bin/python - >port 2>server.log <<'SERVER' &
import time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(600)
SERVER
server=$!
for _ in $(seq 150); do grep -qx "[0-9]*" port && break; sleep 0.2; done

cat >run.py <<'RUN'
import socket
import threading

import boto3
import botocore.exceptions
from botocore.config import Config

MOTO = int(open("port").read().split()[-1])


def loses_first_answer():
    """A proxy that passes each request on, and closes the first connection in place of its answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen = []

    def serve():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    def one(connection):
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536)
        head, body = request.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if fields.get(b"expect") == b"100-continue" and not body:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(body) < int(fields.get(b"content-length", 0)):
            body += connection.recv(65536)
        with socket.create_connection(("127.0.0.1", MOTO)) as moto:
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            moto.sendall(head + b"\r\n\r\n" + body)
            answer = b""
            while part := moto.recv(65536):
                answer += part
        statuses = [it.split()[1].decode() for it in answer.split(b"\r\n") if it.startswith(b"HTTP/")]
        seen.append(statuses[-1])
        if len(seen) > 1:
            connection.sendall(answer)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1], seen


def client(port, **retries):
    return boto3.client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries=retries, s3={"addressing_style": "path"}),
    )


direct = client(MOTO)
direct.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
for name, retries in [
    ("legacy", {"mode": "legacy"}),
    ("standard", {"mode": "standard"}),
    ("none", {"mode": "standard", "total_max_attempts": 1}),
]:
    port, seen = loses_first_answer()
    try:
        client(port, **retries).put_object(Bucket="bucket", Key=name, Body=name.encode(), IfNoneMatch="*")
        came = "returns"
    except botocore.exceptions.ClientError as err:
        came = err.response["Error"]["Code"]
    except botocore.exceptions.BotoCoreError as err:
        came = type(err).__name__
    content = direct.get_object(Bucket="bucket", Key=name)["Body"].read().decode()
    print(f"{name}: S3 answers {' '.join(seen)}; the call: {came}; the object: {content}")
RUN
py/bin/python run.py | tee out
diff out - <<'EXPECTED'
legacy: S3 answers 200 412; the call: PreconditionFailed; the object: legacy
standard: S3 answers 200 412; the call: PreconditionFailed; the object: standard
none: S3 answers 200; the call: ConnectionClosedError; the object: none
EXPECTED
echo 'As described.'

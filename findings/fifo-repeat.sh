#!/usr/bin/env bash
# In moto, a FIFO queue drops a repeated message only while the first is in the queue, and a returned one is overtaken.
#
# Guess:   content-based deduplication holds for five minutes in an emulator as on AWS, and a group keeps its order.
# Happens: ministack drops the repeat also after the first message was received and deleted, as SQS's guide says. moto
#          delivers it then: whether a repeat arrives depends on how quickly the consumer is. And when a consumer of
#          moto gives one message of a group back (visibility 0) while a later one of the group is still in flight, the
#          later one arrives next, before it; ministack keeps the order.
# Matters: a trigger with a constant body ("sweep now", every minute) works in a test on moto, and is dropped by SQS
#          four minutes out of five.
# Here:    a sweep can be repeated without harm, since it lists again and asks only for what is there, and no test of
#          deduplication counts that ran on an emulator alone.
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
moto/bin/pip install --quiet --disable-pip-version-check 'moto[sqs]==5.2.5' boto3==1.44.8 2>pip.log ||
    { cat pip.log; exit 2; }
ministack/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33 2>pip.log || { cat pip.log; exit 2; }

cat >run.py <<'E'
import contextlib, sys, time
import boto3

name, port = sys.argv[1:]
if name == "moto":
    from moto import mock_aws
    emulator, endpoint = mock_aws(), None
else:
    emulator, endpoint = contextlib.nullcontext(), f"http://127.0.0.1:{port}"
with emulator:
    sqs = boto3.client("sqs", region_name="us-east-1", endpoint_url=endpoint,
                       aws_access_key_id="example", aws_secret_access_key="example")

    def queue(label, **attributes):
        return sqs.create_queue(QueueName=f"{label}.fifo", Attributes=dict(attributes, FifoQueue="true"))["QueueUrl"]

    def receive(url):
        return sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])

    url = queue("repeat", ContentBasedDeduplication="true")
    counts = []
    for _ in range(3):
        sqs.send_message(QueueUrl=url, MessageBody="sweep now", MessageGroupId="sweeps")
    counts.append(len(received := receive(url)))
    sqs.send_message(QueueUrl=url, MessageBody="sweep now", MessageGroupId="sweeps")
    counts.append(len(receive(url)))
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    sqs.send_message(QueueUrl=url, MessageBody="sweep now", MessageGroupId="sweeps")
    counts.append(len(receive(url)))
    print(f"{name}: sent three times: {counts[0]} received; again while in flight: {counts[1]}; "
          f"again after deletion: {counts[2]}")

    url = queue("order", VisibilityTimeout="3")
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=f"m{number}", MessageGroupId="sweeps",
                         MessageDeduplicationId=f"d{number}")
    received = receive(url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"])
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=received[1]["ReceiptHandle"], VisibilityTimeout=0)
    for _ in range(20):
        if received := receive(url):
            break
        time.sleep(0.5)
    print(f"{name}: m0 deleted, m1 given back, m2 timed out: then arrives",
          " ".join(message["Body"] for message in received))
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
moto: sent three times: 1 received; again while in flight: 0; again after deletion: 1
moto: m0 deleted, m1 given back, m2 timed out: then arrives m2
ministack: sent three times: 1 received; again while in flight: 0; again after deletion: 0
ministack: m0 deleted, m1 given back, m2 timed out: then arrives m1 m2
E
echo 'moto 5.2.5, ministack 1.5.33 (PyPI)'
for name in moto ministack; do moto/bin/python run.py $name "$port"; done | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

"""The template's queue, by moto's SQS: one batch of triggers at a time, and none is lost.

    python tests/smoke/moto_queue.py

Lambda's poller is not moto's: here it is a loop that receives, sweeps, and deletes. Needs the
packages of moto-requirements.txt.
"""

import json
import os
import pathlib
import unittest

os.environ.update(
    AWS_DEFAULT_REGION="eu-central-1",
    AWS_ACCESS_KEY_ID="moto",
    AWS_SECRET_ACCESS_KEY="moto",
)

import boto3
import moto
import yaml


class Loader(yaml.SafeLoader):
    """Takes `!If` for what holds without SweepOnStart, and other functions for their arguments."""


def function(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    arguments = loader.construct_sequence(node, deep=True)
    return arguments[2] if suffix == "If" else arguments


Loader.add_multi_constructor("!", function)
TEMPLATE = yaml.load(pathlib.Path("template.yaml").read_text(encoding="utf-8"), Loader)
RESOURCES = {name: it["Properties"] for name, it in TEMPLATE["Resources"].items()}


class Queue(unittest.TestCase):
    def setUp(self):
        mock = moto.mock_aws()
        mock.start()
        self.addCleanup(mock.stop)
        self.sqs = boto3.client("sqs")
        self.failures = self.create("failures.fifo", RESOURCES["FailureQueue"])
        arn = self.sqs.get_queue_attributes(QueueUrl=self.failures, AttributeNames=["QueueArn"])
        trigger = RESOURCES["TriggerQueue"] | {
            "VisibilityTimeout": 300,
            "RedrivePolicy": RESOURCES["TriggerQueue"]["RedrivePolicy"]
            | {"deadLetterTargetArn": arn["Attributes"]["QueueArn"]},
        }
        self.queue = self.create("triggers.fifo", trigger)

    def create(self, name, properties):
        def text(value):
            if isinstance(value, dict):
                return json.dumps(value)
            return str(value).lower() if isinstance(value, bool) else str(value)

        attributes = {key: text(it) for key, it in properties.items()}
        return self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]

    def send(self, body):
        target = RESOURCES["Schedule"]["Target"]["SqsParameters"]
        (rule,) = RESOURCES["StartRule"]["Targets"]
        self.assertEqual(rule["SqsParameters"], target)
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=body, **target)

    def schedule(self, time):
        body = RESOURCES["Schedule"]["Target"]["Input"]
        self.send(body.replace("<aws.scheduler.scheduled-time>", time))

    def receive(self):
        received = self.sqs.receive_message(
            QueueUrl=self.queue, MaxNumberOfMessages=RESOURCES["Triggers"]["BatchSize"]
        )
        return received.get("Messages", [])

    def delete(self, batch):
        for it in batch:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=it["ReceiptHandle"])

    def test_one_batch_at_a_time(self):
        start = pathlib.Path("events/cloudtrail-start-session.json").read_text(encoding="utf-8")
        start = json.loads(start)
        for minute in range(5):
            self.schedule(f"2026-03-02T16:0{minute}:00Z")
        for number in range(20):
            self.send(json.dumps(start | {"id": f"event-{number}"}))
        self.send(json.dumps(start | {"id": "event-3"}))  # Delivered twice.
        sizes = []
        while batch := self.receive():
            # A sweep is going on: nothing else can start one.
            self.assertEqual(self.receive(), [])
            self.schedule(f"2026-03-02T17:0{len(sizes)}:00Z")
            self.assertEqual(self.receive(), [])
            sizes.append(len(batch))
            self.delete(batch)
            if len(sizes) == 4:
                break
        self.assertEqual(sizes, [10, 10, 7, 1])  # 25 triggers, and one that came in each sweep.

    def test_a_failed_sweep_does_not_block_the_next(self):
        self.schedule("2026-03-02T16:00:00Z")
        (failed,) = self.receive()
        self.schedule("2026-03-02T16:05:00Z")
        self.assertEqual(self.receive(), [])
        # The visibility time-out is over.
        handle = failed["ReceiptHandle"]
        self.sqs.change_message_visibility(
            QueueUrl=self.queue, ReceiptHandle=handle, VisibilityTimeout=0
        )
        (next_one,) = self.receive()
        self.assertIn("16:05", next_one["Body"])
        (dead,) = self.sqs.receive_message(QueueUrl=self.failures)["Messages"]
        self.assertEqual(dead["Body"], failed["Body"])


if __name__ == "__main__":
    unittest.main(verbosity=2)

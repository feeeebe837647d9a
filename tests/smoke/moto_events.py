"""What the function tells, delivered by moto's EventBridge: the rules of the template and of docs/events.md.

    python tests/smoke/moto_events.py target/debug/reapctl target/debug/session-reaper

From the real binary by PutEvents to rules, their patterns and transformers, and on to SQS and Logs. moto
has no SNS targets, so a queue stands where the template has a topic. Needs the packages of
moto-requirements.txt.
"""

import json
import pathlib
import re
import sys
import unittest

import yaml
from moto_account import PARAMETER, POLICY, Account
from moto_queue import TEMPLATE, Loader

BUS = "ops"
DOCUMENT = pathlib.Path("docs/events.md").read_text(encoding="utf-8")
PATTERNS = {
    name or "people": json.loads(text)
    for name, text in re.findall(r"```json pattern ?(\w*)\n(.*?)```", DOCUMENT, re.DOTALL)
}
BLOCK = yaml.load(re.search(r"```yaml block\n(.*?)```", DOCUMENT, re.DOTALL).group(1), Loader)
RULES = {
    name: it["Properties"]
    for name, it in (TEMPLATE["Resources"] | BLOCK).items()
    if it["Type"] == "AWS::Events::Rule" and name != "StartRule"
}


class Events(Account):
    def setUp(self):
        super().setUp()
        self.events, self.sqs, self.logs = map(self.client, ["events", "sqs", "logs"])
        self.events.create_event_bus(Name=BUS)
        self.logs.create_log_group(logGroupName="/all")
        group = self.logs.describe_log_groups()["logGroups"][0]["arn"].removesuffix(":*")
        self.rule("all", {"source": ["session-reaper"]}, {"Id": "1", "Arn": group})

    def rule(self, name, pattern, target):
        self.events.put_rule(Name=name, EventBusName=BUS, EventPattern=json.dumps(pattern))
        put = self.events.put_targets(Rule=name, EventBusName=BUS, Targets=[target])
        self.assertEqual(put["FailedEntryCount"], 0)

    def queue(self, name, pattern, **target):
        """A queue behind a rule; tells how to read it."""
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        arn = arn["Attributes"]["QueueArn"]
        self.rule(name, pattern, target | {"Id": "1", "Arn": arn})

        def bodies():
            found = []
            while received := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                found += [it["Body"] for it in received]
                for it in received:
                    self.sqs.delete_message(QueueUrl=url, ReceiptHandle=it["ReceiptHandle"])
            return found

        return bodies

    def begin(self, **variables):
        policy = POLICY.replace('"reaper:exempt"]', '"reaper:exempt", team]') + "warn_before: [15m]\n"
        self.ssm.put_parameter(Name=PARAMETER, Type="String", Value=policy, Overwrite=True)
        both = self.route(self.emulate(self.fleet), self.moto)
        self.start(both, REAPER_EVENT_BUS=BUS, REAPER_PERIOD="5m", **variables)

    def logged(self):
        events = self.logs.filter_log_events(logGroupName="/all")["events"]
        return [json.loads(it["message"]) for it in events]

    def test_people_are_told_by_the_rules_of_the_template(self):
        self.assertEqual(RULES.keys(), {"NoticeRule", "ChatRule", "PaymentsRule"})
        queues = {}
        for name, it in RULES.items():
            self.assertEqual(it["EventBusName"], "EventBus")
            (target,) = it["Targets"]
            transformer = {"InputTransformer": target["InputTransformer"]}
            queues[name] = self.queue(name, it["EventPattern"], **transformer)
        self.begin()
        kind, report = self.sweep({})
        self.assertEqual(kind, "response", report)
        self.assertEqual(report["events"], {"sent": 3, "failed": 0})
        self.assertIn(("PutEvents", "others"), self.asked)

        mails = sorted(queues["NoticeRule"]())
        self.assertEqual(len(mails), 2, mails)
        for text in mails:  # One plain text between quotes.
            self.assertRegex(text, r'^"[^"\\<>\n]*"$')
        warned, terminated = mails
        self.assertIn(f"Session ends in about 10 minutes: user/amara on {self.dev}. From ", warned)
        self.assertIn("A sweep after that is to terminate it. Save your work.", warned)
        self.assertIn(f"Session terminated: user/amara on {self.prod}. The session amara-5m", terminated)
        self.assertIn("violates the rule nobody-on-production. session-reaper has terminated it.", terminated)

        chats = [json.loads(it) for it in queues["ChatRule"]()]
        self.assertEqual(len(chats), 2)
        for it in chats:
            self.assertEqual((it["version"], it["source"]), ("1.0", "custom"))
            self.assertTrue(it["content"]["description"])
            self.assertEqual(it["content"]["textType"], "client-markdown")
            self.assertIn(it["metadata"]["threadId"], ["amara-5m", "amara-50m"])

        (payments,) = queues["PaymentsRule"]()
        self.assertEqual(payments, terminated)

        # Whoever keeps the ids has nothing new of the next sweep but that it has finished.
        first = {it["detail"]["id"] for it in self.logged()}
        self.assertEqual(len(first), 3)
        self.sweep({})
        news = [it for it in self.logged() if it["detail"]["id"] not in first]
        self.assertEqual([it["detail-type"] for it in news], ["Sweep Finished"])

    def test_a_dry_run_is_told_as_one(self):
        queue = self.queue("mail", RULES["NoticeRule"]["EventPattern"])
        self.begin(REAPER_MODE="dry-run")
        self.sweep({})
        (warned,) = map(json.loads, queue())  # What would be terminated is told in every sweep.
        self.assertIn("nothing will be terminated", warned["detail"]["text"])
        outcomes = [it["detail"].get("outcome") for it in self.logged()]
        self.assertEqual(sorted(filter(None, outcomes)), ["would_terminate"])

    def test_the_patterns_of_the_document_match_what_they_say(self):
        lines = pathlib.Path("core/src/notice/examples.jsonl").read_text(encoding="utf-8").splitlines()
        samples = [json.loads(it) for it in lines]
        other = next(it for it in samples if it["detail-type"] == "Session Outcome")
        other = other | {"detail": other["detail"] | {
            "owner_short": "role/sre/nina", "tags": {"env": "dev", "team": "search"}}}
        samples.append(other)
        sure = {
            "people": lambda it: it.get("outcome") == "terminated" or it.get("repeat") is False,
            "team": lambda it: it.get("tags", {}).get("team") == "payments",
            "owner": lambda it: it.get("owner_short", "").startswith("role/developer/"),
            "production": lambda it: it.get("tags", {}).get("env") == "prod",
            "stuck": lambda it: it.get("outcome") in ["denied", "failed", "throttled", "unconfirmed"],
            "failed": lambda it: "failure" in it or it.get("circuit_breaker_open") is True,
        }
        self.assertEqual(PATTERNS.keys(), sure.keys())
        self.assertEqual(PATTERNS["people"], RULES["NoticeRule"]["EventPattern"])
        self.assertEqual(RULES["ChatRule"]["EventPattern"], PATTERNS["people"])
        queues = {name: self.queue(name, pattern) for name, pattern in PATTERNS.items()}
        for n, it in enumerate(samples):
            entry = {
                "EventBusName": BUS,
                "Source": "session-reaper",
                "DetailType": it["detail-type"],
                "Detail": json.dumps(it["detail"] | {"n": n}),
            }
            self.assertEqual(self.events.put_events(Entries=[entry])["FailedEntryCount"], 0)
        for name, bodies in queues.items():
            matched = {json.loads(it)["detail"]["n"] for it in bodies()}
            expected = {n for n, it in enumerate(samples) if sure[name](it["detail"])}
            self.assertEqual(matched, expected, name)
            self.assertTrue(0 < len(expected) < len(samples), name)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)

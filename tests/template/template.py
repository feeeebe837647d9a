"""The template as CloudFormation gets it, held to what the code does.

    cargo test --test it alarms:: && python tests/template/template.py target/debug/reapctl

Needs the packages of .ci/deploy-tools.txt, and the metrics that the test writes.
"""

import hashlib
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tomllib
import unittest

import cloudformation
import eventbridge
from cloudformation import alarm_metrics, allowed, fires, of_type, trust, yaml_parse
from rust import CODE, CORE, DIMENSIONS, NAMESPACE, OPERATIONS, VARIABLES, metrics

REAPCTL = sys.argv.pop(1)
TEMPLATE = pathlib.Path("template.yaml").read_text(encoding="utf-8")
# What the test `alarms::series_of_metrics` has written.
SERIES = pathlib.Path("target/tmp/series.json")
FAILED = {"errors-or-throttles", "failures-waiting"}  # Whenever sweep after sweep fails.
SCHEDULES = yaml_parse(TEMPLATE)["Parameters"]["ScheduleMinutes"]["AllowedValues"]


METRICS = metrics("sweep")

EVENTS = pathlib.Path("core/src/event.rs").read_text(encoding="utf-8")
MESSAGES = re.search(r"fn message\(.*?\n    }\n", EVENTS, re.DOTALL).group(0)
MESSAGES = set(re.findall(r'=> "([A-Za-z -]+)"', MESSAGES))


def members(name, code=CORE):
    """The fields of a struct, or of all variants of an enum, but for those that are flattened."""
    body = re.search(
        rf"\n *(?:pub )?(?:struct|enum) {name}(?:<.*?>)? {{(.*?)\n *}}\n\n",
        code + "\n\n",
        re.DOTALL,
    )
    body = re.sub(r"#\[serde\(flatten\)\]\s*(?:pub )?\w+:", "", body.group(1))
    return set(re.findall(r"^ +(?:pub )?(\w+): ", body, re.MULTILINE))


FIELDS = members("Row") | members("ExpiryWarning") - {"tags"} | members("Event", EVENTS) | members("Verdicts") | members("Outcomes")
FIELDS |= members("Manifest", EVENTS.replace("    }\n    Manifest {", "    }\n\n    Manifest {"))
FIELDS |= members("RunSummary") - {"accounts_without_access"}
FIELDS |= set(re.findall(r'"(\w+)":', re.search(r"let first = .*?let shared", CODE, re.DOTALL).group(0)))
FIELDS |= set(re.findall(r'insert\("(\w+)"\.into', CODE))


def stack(*where, **parameters):
    """The template's resources and outputs as they are with these parameters."""
    return cloudformation.stack(TEMPLATE, *where, **parameters)


def measured(situation):
    """What CloudWatch and Lambda measure of each sweep: minute, dimensions, values.

    The function's own metrics are read from its lines, by what their metadata declares. The other
    two are AWS's: an invocation that has failed counts as an error, and leaves its trigger in the
    dead-letter queue.
    """
    n_failed = 0
    for sweep in situation["sweeps"]:
        n_failed += sweep["errors"]
        function = {"FunctionName": "Function"}, {"Errors": sweep["errors"], "Throttles": 0}
        queue = {"QueueName": "FailureQueue.QueueName"}
        data = [function, (queue, {"ApproximateNumberOfMessagesVisible": n_failed})]
        for line in map(json.loads, sweep["lines"]):
            for directive in line["_aws"]["CloudWatchMetrics"]:
                assert directive["Namespace"] == NAMESPACE, line
                names = [it["Name"] for it in directive["Metrics"]]
                for dimensions in directive["Dimensions"]:
                    data.append(
                        ({it: line[it] for it in dimensions}, {it: line[it] for it in names})
                    )
        yield sweep["minute"], data


def ever_fires(alarm, situation):
    """Whether an alarm fires at any time in these sweeps."""
    ((period, dimensions),) = {
        (it[5], tuple((one["Name"], one["Value"]) for one in it[3])) for it in alarm_metrics(alarm)
    }
    data = list(measured(situation))
    periods = [[] for _ in range(data[-1][0] * 60 // period + 1)]
    for minute, of_sweep in data:
        values = [values for keys, values in of_sweep if keys == dict(dimensions)]
        periods[minute * 60 // period].extend(values)
    return any(fires(alarm, periods))


class Template(unittest.TestCase):
    maxDiff = None

    def test_every_parameter_is_limited_labelled_and_in_one_group(self):
        template = yaml_parse(TEMPLATE)
        parameters = template["Parameters"]
        for name, it in parameters.items():
            limits = {"AllowedValues", "AllowedPattern", "MaxValue"} & it.keys()
            self.assertEqual(len(limits), 1, name)
            self.assertTrue(it["Description"], name)
            if pattern := it.get("AllowedPattern"):
                self.assertRegex(it["Default"], pattern)
                self.assertNotRegex("* or ${x}", pattern)
        interface = template["Metadata"]["AWS::CloudFormation::Interface"]
        grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(parameters))
        self.assertEqual(sorted(interface["ParameterLabels"]), sorted(parameters))

    def test_the_role_may_do_what_the_code_calls_in_each_mode(self):
        at = "arn:aws-cn:ssm:cn-north-1:123456789012"
        of_aws = "arn:aws-cn:ssm:cn-north-1:"
        key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1"
        combinations = itertools.product(
            ["dry-run", "enforce"], ["", "/own"], ["", key], ["true", "false"], ["true", "false"],
            ["", "ops", "arn:aws-cn:events:cn-north-1:000000000001:event-bus/team/ops"],
            [
                ("none", "audit", key),
                ("required", "", key),
                ("required", "audit", ""),
                ("best-effort", "audit", key),
            ],
        )  # fmt: skip
        for mode, own, key_arn, on_start, reads_documents, bus, it in combinations:
            evidence, bucket, evidence_key = it
            name = own or "/session-reaper/reaper"
            calls = {
                "DescribeSessions": ("*", None),
                "GetDocument": ([f"{at}:document/*", f"{of_aws}:document/*"], None),
                "GetParameter": (f"{at}:parameter{name}", None),
                "GetResources": ("*", None),
                "PutEvents": (
                    bus if ":" in bus else "arn:aws-cn:events:cn-north-1:123456789012:event-bus/ops",
                    None,
                ),
                "TerminateSession": (f"{at}:session/*", None),
            }
            self.assertEqual(calls.keys(), OPERATIONS.keys())
            if mode == "dry-run":
                del calls["TerminateSession"]
            if reads_documents == "false":
                del calls["GetDocument"]
            if not bus:
                del calls["PutEvents"]
            expected = {OPERATIONS[it]: resource for it, resource in calls.items()} | {
                "logs:CreateLogStream": ("LogGroup.Arn", None),
                "logs:PutLogEvents": ("LogGroup.Arn", None),
            }
            for action in ["ReceiveMessage", "DeleteMessage", "GetQueueAttributes"]:
                expected[f"sqs:{action}"] = ("TriggerQueue.Arn", None)
            bucket_of_stack = bucket or "EvidenceBucket"
            if evidence != "none":
                files = f"arn:aws-cn:s3:::{bucket_of_stack}/evidence/*"
                expected["s3:PutObject"] = (files, None)
                if bucket and evidence_key:
                    of_bucket = ["arn:aws-cn:s3:::audit", files]
                    context = {"kms:EncryptionContext:aws:s3:arn": of_bucket}
                    expected["kms:GenerateDataKey"] = (evidence_key, {"StringLike": context})
            if key_arn:
                context = {"kms:EncryptionContext:PARAMETER_ARN": f"{at}:parameter{name}"}
                expected["kms:Decrypt"] = (key_arn, {"StringEquals": context})
            resources, _ = stack(
                Mode=mode,
                PolicyParameterName=own,
                PolicyKmsKeyArn=key_arn,
                SweepOnStart=on_start,
                ReadSessionDocuments=reads_documents,
                EventBus=bus,
                Evidence=evidence,
                EvidenceBucketName=bucket,
                EvidenceKmsKeyArn=evidence_key,
            )
            self.assertEqual(allowed(resources), expected)
            role = resources["Role"]["Properties"]
            self.assertNotIn("ManagedPolicyArns", role)
            self.assertEqual(role["AssumeRolePolicyDocument"], trust("lambda.amazonaws.com"))
            others = [it["Type"] for it in resources.values() if it["Type"].startswith("AWS::IAM")]
            self.assertEqual(others, ["AWS::IAM::Role"] * 2)  # The schedule's is the other.
            function = resources["Function"]["Properties"]
            self.assertEqual(function["Role"], "Role.Arn")
            self.assertEqual(function["Environment"]["Variables"]["REAPER_MODE"], mode)
            self.assertEqual(function["Environment"]["Variables"]["REAPER_POLICY_PARAMETER"], name)
            self.assertEqual(function["Environment"]["Variables"]["REAPER_EVENT_BUS"], bus)
            self.assertEqual("Policy" in resources, not own)
            variables = function["Environment"]["Variables"]
            actual = [variables["REAPER_EVIDENCE"], variables["REAPER_EVIDENCE_BUCKET"]]
            expected = ["", ""] if evidence == "none" else [evidence, bucket_of_stack]
            self.assertEqual(actual, expected)
            is_made = evidence != "none" and not bucket
            self.assertEqual("EvidenceBucket" in resources, is_made)

    def test_evidence_is_locked_private_and_kept(self):
        for lock in ["none", "GOVERNANCE", "COMPLIANCE"]:
            resources, outputs = stack(Evidence="required", EvidenceLock=lock, EvidenceDays=30)
            bucket = resources["EvidenceBucket"]
            self.assertEqual(self.when_gone(bucket), ("RetainExceptOnCreate", "Retain"))
            properties = bucket["Properties"]
            rule = {"Rule": {"DefaultRetention": {"Mode": lock, "Days": 30}}}
            expected = {"ObjectLockEnabled": "Enabled"} | (rule if lock != "none" else {})
            self.assertEqual(properties["ObjectLockConfiguration"], expected)
            self.assertTrue(properties["ObjectLockEnabled"])
            self.assertEqual(properties["VersioningConfiguration"], {"Status": "Enabled"})
            self.assertNotIn("LifecycleConfiguration", properties)
            self.assertTrue(all(properties["PublicAccessBlockConfiguration"].values()))
            (statement,) = resources["EvidenceBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
            expected = {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": ["EvidenceBucket.Arn", "EvidenceBucket.Arn/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
            self.assertEqual(statement, expected)
            self.assertEqual(outputs["EvidenceBucketName"]["Value"], "EvidenceBucket")
        self.assertNotIn("EvidenceBucketName", stack()[1])

    def test_no_arn_names_a_partition(self):
        # The translator itself takes the partition of its own Region.
        self.assertNotRegex(TEMPLATE, r"(?<!\^)arn:aws:")

    def test_the_variables_are_those_that_the_code_reads(self):
        resources, _ = stack()
        variables = resources["Function"]["Properties"]["Environment"]["Variables"]
        other_sources = {"REAPER_POLICY", "REAPER_POLICY_FILE"}
        self.assertEqual(variables.keys() | other_sources, VARIABLES)
        self.assertFalse(variables.keys() & other_sources)
        self.assertEqual(variables["REAPER_MODE"], "dry-run")
        parameters = yaml_parse(TEMPLATE)["Parameters"]

        def in_code(variable, pattern):
            return re.search(rf'"REAPER_{variable}", {pattern}', CODE).groups()

        numbers = r"([\d.]+).*number\(it, ([\d._]+)\.\.=([\d._]+)\)"
        paces = parameters["CallsPerSecond"]
        actual = [paces[it] for it in ["Default", "MinValue", "MaxValue"]]
        self.assertEqual(actual, [float(it) for it in in_code("CALLS_PER_SECOND", numbers)])

        default, low, high = (int(it) for it in in_code("CONCURRENCY", numbers))
        concurrency = parameters["Concurrency"]
        self.assertEqual(concurrency["Default"], str(default))
        allowed = [
            it for it in range(2 * high) if re.search(concurrency["AllowedPattern"], str(it))
        ]
        self.assertEqual(allowed, list(range(low, high + 1)))

        margin = parameters["DeadlineMargin"]
        (default,) = in_code("DEADLINE_MARGIN", r"Duration::from_secs\((\d+)\)")
        self.assertEqual(margin["Default"], f"{default}s")
        # Less than the shortest time-out by enough for a sweep.
        allowed = [it for it in range(999) if re.search(margin["AllowedPattern"], f"{it}s")]
        self.assertEqual(allowed, list(range(1, 40)))

    def test_the_schedule_the_time_out_and_the_periods_belong_together(self):
        self.assertEqual(SCHEDULES, list(yaml_parse(TEMPLATE)["Mappings"]["Every"]))
        for schedule_minutes in SCHEDULES:
            minutes = int(schedule_minutes)
            resources, _ = stack(ScheduleMinutes=schedule_minutes)
            (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
            unit = "minute" if minutes == 1 else "minutes"
            expected = {  # Without a name, or there could be one stack only.
                "ScheduleExpression": f"rate({minutes} {unit})",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": "TriggerQueue.Arn",
                    "RoleArn": "ScheduleRole.Arn",
                    "Input": '{"source":"session-reaper.scheduler",'
                    '"scheduledTime":"<aws.scheduler.scheduled-time>"}',
                    "SqsParameters": {"MessageGroupId": "sweep"},
                    "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
                },
            }
            self.assertEqual(schedule, expected)
            (invocation,) = of_type(resources, "AWS::Lambda::EventInvokeConfig").values()
            self.assertEqual(invocation["MaximumEventAgeInSeconds"], minutes * 60)
            function = resources["Function"]["Properties"]
            self.assertEqual(function["Timeout"], minutes * 60 - 10)
            self.assertLessEqual(function["Timeout"], 900)
            variables = function["Environment"]["Variables"]
            self.assertEqual(variables["REAPER_PERIOD"], f"{minutes}m")
            for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
                for _, namespace, metric, _, _, period in alarm_metrics(alarm):
                    half_hour = ["Paused", "Backlog", "OldestViolation"]
                    fixed = {"AWS/SQS": 300}.get(namespace, 1800 if metric in half_hour else None)
                    self.assertEqual(period, fixed or minutes * 60, name)

    def test_the_schedule_may_send_triggers_and_no_more(self):
        role = stack()[0]["ScheduleRole"]["Properties"]
        here = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
        expected = trust("scheduler.amazonaws.com", Condition=here)
        self.assertEqual(role["AssumeRolePolicyDocument"], expected)
        (policy,) = role["Policies"]
        (statement,) = policy["PolicyDocument"]["Statement"]
        expected = {
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": "TriggerQueue.Arn",
        }
        self.assertEqual(statement, expected)
        self.assertNotIn("ManagedPolicyArns", role)

    def test_nothing_is_retried_and_failures_are_kept(self):
        resources, _ = stack()
        (config,) = of_type(resources, "AWS::Lambda::EventInvokeConfig").values()
        self.assertEqual(config["MaximumRetryAttempts"], 0)
        self.assertEqual(config["FunctionName"], "Function")
        queue = {"FifoQueue": True, "MessageRetentionPeriod": 1209600, "SqsManagedSseEnabled": True}
        self.assertEqual(resources["FailureQueue"]["Properties"], queue)

    def test_logs_are_json_and_no_metric_is_dropped(self):
        resources, _ = stack(LogRetentionDays=90)
        logging = resources["Function"]["Properties"]["LoggingConfig"]
        expected = {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "INFO",
            "SystemLogLevel": "INFO",
            "LogGroup": "LogGroup",
        }
        self.assertEqual(logging, expected)
        self.assertEqual(resources["LogGroup"]["Properties"], {"RetentionInDays": 90})
        self.assertEqual(self.when_gone(resources["LogGroup"]), ("RetainExceptOnCreate", "Retain"))

    def when_gone(self, resource):
        return resource["DeletionPolicy"], resource["UpdateReplacePolicy"]

    def test_the_function_is_what_is_built(self):
        for architecture in ["x86_64", "arm64"]:
            function = stack(Architecture=architecture)[0]["Function"]["Properties"]
            self.assertEqual(function["Architectures"], [architecture])
            self.assertEqual(
                (function["Runtime"], function["Handler"]), ("provided.al2023", "bootstrap")
            )
        build = yaml_parse(TEMPLATE)["Resources"]["Function"]["Metadata"]
        cargo = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))
        name = cargo["package"]["name"]
        self.assertEqual(build["BuildMethod"], "rust-cargolambda")
        self.assertEqual(build["BuildProperties"], {"Binary": name})
        # Or features that other packages ask for would reach the function.
        self.assertEqual(cargo["workspace"]["metadata"]["lambda"]["build"]["packages"], [name])
        alone = cargo["package"]["metadata"]["lambda"]["deploy"]  # What `cargo lambda` makes of it.
        self.assertEqual((function["MemorySize"], function["Timeout"]),
                         (alone["memory"], alone["timeout"]))  # fmt: skip
        self.assertNotIn("ReservedConcurrentExecutions", function)
        function = stack(OneAtATime="true")[0]["Function"]["Properties"]
        self.assertEqual(function["ReservedConcurrentExecutions"], 1)

    def test_the_starter_policy_is_frozen_valid_and_retained(self):
        policy = yaml_parse(TEMPLATE)["Resources"]["Policy"]
        # A change of anything here would overwrite the edited policies of those who upgrade.
        digest = hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()
        self.assertEqual(digest, "942cf189f1c9e149b8d357bf0f8057d7e77066dddfea83914baa8a1ec81f3eca")
        self.assertEqual(self.when_gone(policy), ("RetainExceptOnCreate", "Retain"))
        text = policy["Properties"]["Value"]
        self.assertLessEqual(len(text.encode()), 4096)  # A standard parameter.
        self.assertNotIn("{{", text)  # Parameter Store would take it for a reference.
        checked = subprocess.run(
            [REAPCTL, "check", "/dev/stdin"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))

    def test_alarms_and_dashboard_name_what_the_code_measures(self):
        for mode in ["dry-run", "enforce"]:
            here = {"Account": "123456789012", "Region": "cn-north-1", "Mode": mode}
            self.assertEqual(list(here), DIMENSIONS)
            # The dashboard has each alarm that there is.
            for evidence, bus in itertools.product(["none", "required"], ["", "ops"]):
                resources, _ = stack(Mode=mode, Evidence=evidence, EventBus=bus)
                board = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
                (shown,) = [it["properties"]["alarms"] for it in board["widgets"] if it["type"] == "alarm"]
                alarms = of_type(resources, "AWS::CloudWatch::Alarm")
                self.assertEqual(sorted(shown), sorted(f"{it}.Arn" for it in alarms))
            own = set()
            for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
                self.assertEqual(alarm["AlarmActions"], ["AlarmTopic"], name)
                self.assertEqual(alarm["OKActions"], ["AlarmTopic"], name)
                self.assertTrue(alarm.get("ActionsEnabled", True), name)
                for _, namespace, metric, dimensions, _, _ in alarm_metrics(alarm):
                    dimensions = {it["Name"]: it["Value"] for it in dimensions}
                    if namespace == NAMESPACE:
                        # A backlog is expected of a dry run, and no reason to call anybody.
                        while_enforcing = metric in ["Backlog", "OldestViolation"]
                        mode_of_alarm = {"Mode": "enforce"} if while_enforcing else {}
                        self.assertEqual(dimensions, here | mode_of_alarm, name)
                        own.add(metric)
                    else:
                        known = {
                            ("AWS/Lambda", "Errors"): {"FunctionName": "Function"},
                            ("AWS/Lambda", "Throttles"): {"FunctionName": "Function"},
                            ("AWS/SQS", "ApproximateNumberOfMessagesVisible"): {
                                "QueueName": "FailureQueue.QueueName"
                            },
                        }
                        self.assertEqual(dimensions, known[namespace, metric], name)
            self.assertLessEqual(own, METRICS)

            dashboard = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
            shown = set()
            for widget in dashboard["widgets"]:
                properties = widget["properties"]
                if widget["type"] == "alarm":
                    alarms = {f"{it}.Arn" for it in of_type(resources, "AWS::CloudWatch::Alarm")}
                    self.assertEqual(set(properties["alarms"]), alarms)
                    continue
                self.assertEqual((properties["region"], properties["period"]), ("cn-north-1", 300))
                before = []
                for row in properties["metrics"]:
                    if "expression" in row[0]:
                        search = row[0]["expression"]
                        self.assertIn(",".join([f"{{{NAMESPACE}", *DIMENSIONS, "Rule}"]), search)
                        for dimension, value in here.items():
                            self.assertIn(f' {dimension}="{value}"', search)
                        shown |= set(re.findall(r'MetricName="(\w+)"', search))
                        continue
                    row = [it for it in row if isinstance(it, str)]
                    row = [before[i] if it == "." else it for i, it in enumerate(row)]
                    self.assertEqual(row[0], NAMESPACE)
                    self.assertEqual(dict(zip(row[2::2], row[3::2])), here)
                    shown.add(row[1])
                    before = row
            self.assertEqual(shown, METRICS)

    def test_each_alarm_fires_in_its_situation(self):
        expected = {
            "healthy": set(),
            "healthy dry run": set(),
            "terminating": {"not-terminated"},
            "terminating for days": {"not-terminated", "oldest-violation"},
            "accepted and kept": {"not-terminated"},
            "denied": {"not-terminated", *FAILED},  # There is nothing else to terminate.
            "incomplete listing": {"no-complete-sweep", *FAILED},
            "unusable policy": {"no-complete-sweep", *FAILED},
            "too many violators": {"circuit-breaker-open"},
            "paused": {"paused"},
            "backlog that goes in an hour": set(),
            "backlog by the limit": {"backlog"},
            "backlog by the limit in a dry run": set(),
            "backlog by the deadline": {"backlog"},
            "records without an owner": {"not-evaluated"},
            "untagged targets": {"undetermined"},
            "bus denied": {"events-not-sent"},
            "evidence denied": {"evidence-not-written"},
        }
        situations = json.loads(SERIES.read_text(encoding="utf-8"))
        self.assertEqual(situations.keys(), expected.keys())
        for name, situation in situations.items():
            alarms = self.alarms(situation["mode"])
            fired = {it for it, alarm in alarms.items() if ever_fires(alarm, situation)}
            self.assertEqual(fired, expected[name], name)
        # Each has been seen to fire, and the runbook has each.
        self.assertEqual(set().union(*expected.values()), alarms.keys())
        runbook = pathlib.Path("docs/operations.md").read_text(encoding="utf-8")
        section = runbook.split("## When an alarm fires")[1].split("\n## ")[0]
        described = re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)
        self.assertEqual(sorted(described), sorted(alarms))

    def alarms(self, mode):
        """By the end of their names."""
        more = {"Mode": mode, "UndeterminedPercent": 20, "EventBus": "ops", "Evidence": "required"}
        resources, _ = stack("aws", "eu-central-1", **more)
        alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
        return {it["AlarmName"].removeprefix("reaper-"): it for it in alarms}

    def test_alarms_on_what_aws_measures(self):
        """What the function has no part in: throttled invocations, no schedule, a queue at rest."""
        alarms = self.alarms("enforce")
        fine = {"Complete": 1, "Errors": 0, "Throttles": 0, "ApproximateNumberOfMessagesVisible": 0}
        throttled = {"Throttles": 1}  # No invocation at all, so no errors either.
        waiting = {"ApproximateNumberOfMessagesVisible": 1}
        table = [  # What comes after nine fine periods, and which alarm has fired then.
            ([], set()),
            ([[], []], set()),
            ([[], [], []], {"no-complete-sweep"}),
            ([[fine | {"Complete": 0}]] * 2 + [[fine | {"Complete": 0}, fine]], set()),
            ([[throttled]] * 2, {"errors-or-throttles"}),
            ([[throttled]] * 3, {"errors-or-throttles", "no-complete-sweep"}),
            ([[fine | {"Errors": 1}]], set()),
            ([[fine | {"Errors": 1}], [fine | {"Throttles": 1}]], {"errors-or-throttles"}),
            ([[fine | waiting], [fine]], set()),
            # SQS measures no queue that has been at rest for hours.
            ([[waiting]] + [[]] * 9, {"failures-waiting", "no-complete-sweep"}),
        ]
        for periods, expected in table:
            all_periods = [[fine]] * 9 + periods
            fired = {name for name, it in alarms.items() if fires(it, all_periods)[-1]}
            self.assertEqual(fired, expected, periods)

    def test_email_is_optional(self):
        self.assertNotIn("AlarmSubscription", stack()[0])
        subscription = stack(AlarmEmail="a@example.com")[0]["AlarmSubscription"]["Properties"]
        expected = {"TopicArn": "AlarmTopic", "Protocol": "email", "Endpoint": "a@example.com"}
        self.assertEqual(subscription, expected)

    def test_notices_are_optional(self):
        kinds = {"AWS::Events::Rule", "AWS::SNS::Topic", "AWS::SNS::TopicPolicy"}
        kinds.add("AWS::SNS::Subscription")

        def there(**parameters):
            resources, _ = stack(**parameters)
            names = {name for name, it in resources.items() if it["Type"] in kinds}
            return names - {"AlarmTopic"}

        mail = {"NoticeRule", "NoticeTopic", "NoticeTopicPolicy", "NoticeSubscription"}
        chat = {"ChatRule", "ChatTopic", "ChatTopicPolicy"}
        self.assertEqual(there(EventBus="ops"), set())
        self.assertEqual(there(EventBus="ops", NoticeEmail="a@example.com"), mail)
        self.assertEqual(there(EventBus="ops", ChatNotices="true"), chat)
        (rule,) = yaml_parse(TEMPLATE)["Rules"].values()
        words = json.dumps(rule["Assertions"])
        self.assertTrue(all(f'"{it}"' in words for it in ["EventBus", "NoticeEmail", "ChatNotices"]))

        parameters = {"EventBus": "ops", "NoticeEmail": "a@example.com", "ChatNotices": "true"}
        resources, _ = stack(**parameters)
        notice = {"text": "$.detail.text"}
        chat = {it: f"$.detail.chat.{it}" for it in ["content", "metadata"]}
        custom = '{"version": "1.0", "source": "custom", "content": <content>, "metadata": <metadata>}'
        for rule, topic, paths, form in [
            ("NoticeRule", "NoticeTopic", notice, '"<text>"'),
            ("ChatRule", "ChatTopic", chat, custom),
        ]:
            it = resources[rule]["Properties"]
            self.assertEqual(it["EventBusName"], "ops")
            (target,) = it["Targets"]
            transformer = {"InputPathsMap": paths, "InputTemplate": form}
            expected = {"Id": "Topic", "Arn": topic, "InputTransformer": transformer}
            self.assertEqual(target, expected)
            statement = {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sns:Publish",
                "Resource": topic,
                "Condition": {"ArnEquals": {"aws:SourceArn": f"{rule}.Arn"}},
            }
            policy = resources[f"{topic}Policy"]["Properties"]
            document = {"Version": "2012-10-17", "Statement": [statement]}
            self.assertEqual(policy, {"Topics": [topic], "PolicyDocument": document})
        subscription = resources["NoticeSubscription"]["Properties"]
        expected = {"TopicArn": "NoticeTopic", "Protocol": "email", "Endpoint": "a@example.com"}
        self.assertEqual(subscription, expected)

    def test_patterns_and_transformers_are_what_aws_takes(self):
        """cfn-lint looks into neither, and EventBridge drops what it cannot make of them."""
        parameters = {"EventBus": "ops", "NoticeEmail": "a@example.com", "ChatNotices": "true"}
        resources, _ = stack(SweepOnStart="true", **parameters)
        rules = of_type(resources, "AWS::Events::Rule")
        self.assertEqual(len(rules), 3)
        for name, rule in rules.items():
            self.assertEqual(eventbridge.faults(rule), [], name)
        good = rules["NoticeRule"]
        transformer = good["Targets"][0]["InputTransformer"]

        def broken(**changes):
            return good | {"Targets": [good["Targets"][0] | {"InputTransformer": transformer | changes}]}

        for rule in [
            good | {"EventPattern": {"source": "session-reaper"}},
            good | {"EventPattern": {"source": []}},
            good | {"EventPattern": {"detail": {"outcome": [{"begins": "t"}]}}},
            good | {"EventPattern": {"detail": {"outcome": [{"prefix": "t", "suffix": "d"}]}}},
            good | {"EventPattern": {"detail": {"$or": {"outcome": ["terminated"]}}}},
            good | {"EventPattern": {"detail": {"chat": [{"exists": True}]}}},
            good | {"EventPattern": {"detail": {"outcme": ["terminated"]}}},
            good | {"Targets": good["Targets"] * 6},
            broken(InputTemplate='"<txt>"'),
            broken(InputTemplate='"a\n<text>"'),
            broken(InputTemplate="<text>"),
            broken(InputTemplate='{"text": "<text>"}'),
            broken(InputTemplate="<chat>", InputPathsMap={"chat": "$.detail.chat"}),
            broken(InputTemplate='{"chat": "<chat>"}', InputPathsMap={"chat": "$.detail.chat"}),
            broken(InputPathsMap={"a b": "$.detail.text"}),
            broken(InputPathsMap={"AWS.text": "$.detail.text"}),
            broken(InputPathsMap={"text": "detail.text"}),
            broken(InputPathsMap={"text": "$.detail.texts"}),
        ]:
            self.assertNotEqual(eventbridge.faults(rule), [], rule)

    def test_one_sweep_at_a_time(self):
        """All triggers are of one message group of one FIFO queue, and no two are alike."""
        for minutes, on_start in itertools.product(SCHEDULES, ["true", "false"]):
            resources, _ = stack(ScheduleMinutes=minutes, SweepOnStart=on_start)
            (mapping,) = of_type(resources, "AWS::Lambda::EventSourceMapping").values()
            expected = {
                "FunctionName": "Function",
                "EventSourceArn": "TriggerQueue.Arn",
                "BatchSize": 10,  # The most of a FIFO queue: several triggers, one sweep.
            }
            self.assertEqual(mapping, expected)
            queue = {
                "FifoQueue": True,
                "ContentBasedDeduplication": True,
                "DelaySeconds": 20 if on_start == "true" else 0,
                "VisibilityTimeout": int(minutes) * 60,
                "MessageRetentionPeriod": 3600,
                "RedrivePolicy": {
                    "deadLetterTargetArn": "FailureQueue.Arn",
                    "maxReceiveCount": 1,
                },
                "SqsManagedSseEnabled": True,
            }
            self.assertEqual(resources["TriggerQueue"]["Properties"], queue)
            time_out = resources["Function"]["Properties"]["Timeout"]
            self.assertGreaterEqual(queue["VisibilityTimeout"], time_out)
            # Or one would be gone before it can be moved to the dead-letter queue.
            self.assertGreater(queue["MessageRetentionPeriod"], queue["VisibilityTimeout"])
            function = yaml_parse(TEMPLATE)["Resources"]["Function"]["Properties"]
            self.assertNotIn("Events", function)  # Nothing else invokes it.

            (schedule,) = of_type(resources, "AWS::Scheduler::Schedule").values()
            senders = [schedule["Target"]]
            senders += [it for rule in of_type(resources, "AWS::Events::Rule").values()
                        for it in rule["Targets"]]  # fmt: skip
            self.assertEqual(len(senders), 2 if on_start == "true" else 1)
            for it in senders:
                self.assertEqual(it["Arn"], "TriggerQueue.Arn")
                self.assertEqual(it["SqsParameters"], {"MessageGroupId": "sweep"})
            # A constant body would be dropped as a duplicate for five minutes. A rule without an
            # input sends the event, and so its id.
            self.assertIn("<aws.scheduler.scheduled-time>", senders[0]["Input"])
            for rule in senders[1:]:
                self.assertFalse({"Input", "InputPath", "InputTransformer"} & rule.keys())
            # As the function knows it, once the time stands in it.
            sample = json.loads(pathlib.Path("events/schedule-sqs.json").read_text())
            (record,) = sample["Records"]
            body = json.loads(record["body"])
            sent = senders[0]["Input"].replace(
                "<aws.scheduler.scheduled-time>", body["scheduledTime"]
            )
            self.assertEqual(json.loads(sent), body)
            self.assertEqual(record["attributes"]["MessageGroupId"], "sweep")

    def test_starts_are_heard_of(self):
        off, on = stack()[0], stack(SweepOnStart="true")[0]
        self.assertEqual(on.keys() - off.keys(), {"TriggerQueuePolicy", "StartRule"})
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "TriggerQueue.Arn",
            "Condition": {"ArnEquals": {"aws:SourceArn": "StartRule.Arn"}},
        }
        document = {"Version": "2012-10-17", "Statement": [statement]}
        policies = {"TriggerQueuePolicy": {"Queues": ["TriggerQueue"], "PolicyDocument": document}}
        self.assertEqual(of_type(on, "AWS::SQS::QueuePolicy"), policies)

        rule = on["StartRule"]["Properties"]
        self.assertEqual(rule.get("State", "ENABLED"), "ENABLED")
        pattern = rule["EventPattern"]
        event = json.loads(pathlib.Path("events/cloudtrail-start-session.json").read_text())
        detail = event["detail"]
        ecs = {"eventSource": "ecs.amazonaws.com", "eventName": "ExecuteCommand"}
        for source, other, expected in [
            ("aws.ssm", {}, True),
            ("aws.ssm", {"eventName": "ResumeSession"}, True),
            ("aws.ssm", {"eventName": "TerminateSession"}, False),
            ("aws.ecs", ecs, True),
            ("aws.ecs", ecs | {"eventName": "RunTask"}, False),
            ("aws.ec2", {"eventSource": "ec2.amazonaws.com"}, False),
            ("aws.ssm", {"errorCode": "AccessDenied"}, False),
            ("aws.ecs", ecs | {"errorCode": "InvalidParameterException"}, False),
        ]:
            matches = self.matches(pattern, event | {"source": source, "detail": detail | other})
            self.assertEqual(matches, expected, other)

    def matches(self, pattern, event):
        """EventBridge's rule for patterns, as far as this one needs it."""
        for key, it in pattern.items():
            if isinstance(it, dict):
                is_match = self.matches(it, event[key])
            elif it == [{"exists": False}]:
                is_match = key not in event
            else:
                is_match = event.get(key) in it
            if not is_match:
                return False
        return True

    def test_the_outputs_are_right_in_every_partition(self):
        consoles = {
            "aws": "console.aws.amazon.com",
            "aws-cn": "console.amazonaws.cn",
            "aws-us-gov": "console.amazonaws-us-gov.com",
        }
        for partition, console in consoles.items():
            _, outputs = stack(partition, Mode="enforce")
            expected = {
                "FunctionName": "Function",
                "LogGroupName": "LogGroup",
                "PolicyParameter": "/session-reaper/reaper",
                "AlarmTopicArn": "AlarmTopic",
                "FailureQueueUrl": "FailureQueue",
                "DashboardUrl": f"https://cn-north-1.{console}/cloudwatch/home?region=cn-north-1"
                "#dashboards/dashboard/Dashboard",
                "Invoke": "aws lambda invoke --region cn-north-1 --function-name Function"
                " --cli-binary-format raw-in-base64-out --cli-read-timeout 900"
                """ --payload '{"mode":"dry-run"}' /dev/stdout""",
            }
            self.assertEqual({name: it["Value"] for name, it in outputs.items()}, expected)
        _, outputs = stack(PolicyParameterName="/own", EventBus="ops", ChatNotices="true")
        self.assertEqual(outputs["PolicyParameter"]["Value"], "/own")
        self.assertEqual(outputs["ChatTopicArn"]["Value"], "ChatTopic")

    def test_the_first_deployment_asks_nothing_and_names_no_role(self):
        config = tomllib.loads(pathlib.Path("samconfig.toml").read_text(encoding="utf-8"))[
            "default"
        ]
        deploy = config["deploy"]["parameters"]
        self.assertEqual(deploy["capabilities"], "CAPABILITY_IAM")
        self.assertNotIn("parameter_overrides", deploy)
        resources, _ = stack(SweepOnStart="true")
        for name, it in resources.items():
            self.assertFalse({"RoleName", "PolicyName"} & it["Properties"].keys(), name)

    def test_the_saved_queries_are_these(self):
        # No test can run them: whoever changes one reads it twice.
        expected = {
            "Why was a session terminated": """\
# Instead of SESSION: the session's id, or part of its owner.
filter message like /^session / and (session_id like /SESSION/ or owner like /SESSION/)
| display @timestamp, message, session_id, owner, target, age_s, verdict, rules.0, outcome, last_status, error
| sort @timestamp desc
| limit 1000
""",
            "What was not terminated and why": """\
filter message in ["session deferred", "session denied", "session throttled", "session failed", "session unconfirmed"] or (message = "session evaluated" and verdict in ["exempt", "undetermined", "not_evaluated"])
| stats count(*) as sweeps, latest(age_s) as age_s, latest(verdict) as verdict, latest(rules.0) as rule, latest(outcome) as outcome, latest(deferred_by) as deferred_by, latest(unknown) as unknown, latest(error) as error by session_id, owner, target
| sort age_s desc
| limit 1000
""",
            "What would be terminated (dry run)": """\
filter message in ["session would terminate", "session deferred"]
| stats count(*) as sweeps, latest(age_s) as age_s, latest(rules.0) as rule, latest(deferred_by) as deferred_by, latest(status) as status by session_id, owner, target, document
| sort age_s desc
| limit 1000
""",
            "Sweeps that were incomplete or failed": """\
filter ispresent(problem) or message in ["sweep failed", "tag look-up failed", "document look-up failed", "verification failed", "policy warning"]
| display @timestamp, level, message, error_type, error, problem, warning, seen, pages, function_request_id
| sort @timestamp desc
| limit 1000
""",
        }
        queries = of_type(stack()[0], "AWS::Logs::QueryDefinition").values()
        actual = {it["Name"].removeprefix("reaper/"): it["QueryString"] for it in queries}
        self.assertEqual(actual, expected)

    def test_the_saved_queries_ask_for_what_is_logged(self):
        words = {
            "and",
            "as",
            "by",
            "count",
            "desc",
            "display",
            "filter",
            "in",
            "ispresent",
            "latest",
        }
        words |= {"like", "limit", "or", "sort", "stats", "@timestamp", "rules.0"}
        for name, it in of_type(stack()[0], "AWS::Logs::QueryDefinition").items():
            query = re.sub(r"^#.*", "", it["QueryString"], flags=re.MULTILINE)
            for message in re.findall(r'message = "(.*?)"', query):
                self.assertIn(message, MESSAGES, name)
            for message in re.findall(
                r'"(.*?)"', "".join(re.findall(r"message in \[(.*?)\]", query))
            ):
                self.assertIn(message, MESSAGES, name)
            known = members("Row") | {"message"} if "session_id" in query else FIELDS
            aliases = set(re.findall(r" as (\w+)", query))
            # What is read is logged, though its alias has the same name.
            query = re.sub(r'".*?"|/.*?/| as \w+', "", query)
            for part in query.split("|"):
                is_read = "stats" in part or "display" in part or "filter" in part
                for field in re.findall(r"@?[a-z_]+(?:\.0)?", part):
                    if field not in words:
                        self.assertIn(field, known if is_read else known | aliases, name)
            self.assertEqual(it["LogGroupNames"], ["LogGroup"])


class Reference(unittest.TestCase):
    """docs/logs.md names what the code writes, and nothing else."""

    maxDiff = None

    def named(self, section):
        text = pathlib.Path("docs/logs.md").read_text(encoding="utf-8")
        part = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE).group(
            1
        )
        first = re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE)
        return {name for it in first for name in re.findall("`(.*?)`", it)}

    def test_messages(self):
        self.assertEqual(self.named("Messages"), MESSAGES - {"session no action"})

    def test_fields(self):
        self.assertEqual(self.named("Fields"), FIELDS)

    def test_metrics(self):
        self.assertEqual(self.named("Metrics"), METRICS | metrics("run_line"))


if __name__ == "__main__":
    unittest.main(verbosity=2)

"""The templates of an organization: its hub's and the member role's, held to what the code does.

    python tests/template/organization.py target/tools/template/node_modules/.bin/asl-validator

Needs the packages of .ci/deploy-tools.txt and of package.json. No validator and no emulator finds
most mistakes that a state machine can have: `faults` does, and a test shows that it finds each.
"""

import copy
import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest

import cloudformation
from cloudformation import alarm_metrics, allowed, fires, of_type, trust, yaml_parse
from rust import (
    CODE,
    CORE,
    HUB_OPERATIONS,
    HUB_VARIABLES,
    NAMESPACE,
    OPERATIONS,
    VARIABLES,
    metrics,
)

ASL_VALIDATOR = sys.argv.pop(1)
HUB, MEMBER, SINGLE, DOCUMENT, CONFIG = (
    pathlib.Path(it).read_text(encoding="utf-8")
    for it in [
        "organization/hub.yaml",
        "organization/member.yaml",
        "template.yaml",
        "docs/organization.md",
        "organization/samconfig.toml",
    ]
)
ID = "o-a1b2c3d4e5"
HERE = "cn-north-1:123456789012"
TOP = 10_000  # Accounts; AWS allows an organization no more without asking.
N_REGIONS = 17
LIMIT = 262_144  # Bytes of what goes into a state, or comes out of it.
CHILD_S = 300  # An EXPRESS execution lives no longer.


def hub(*where, **parameters):
    required = {"OrganizationId": ID, "Regions": "cn-north-1,cn-northwest-1"}
    return cloudformation.stack(HUB, *where, **(required | parameters))


def member(*where, **parameters):
    required = {"OrganizationId": ID, "HubRoleArn": "arn:aws-cn:iam::123456789012:role/hub"}
    return cloudformation.stack(MEMBER, *where, **(required | parameters))


def words(text):
    return set(text.split())


# The keys that Step Functions knows, as far as the machine needs them.
STATE = words("Type Comment InputPath OutputPath")
KEYS = {
    "machine": words("Comment StartAt States TimeoutSeconds"),
    "Task": STATE
    | words("Resource Parameters ResultSelector ResultPath TimeoutSeconds Retry Catch Next End"),
    "Map": STATE
    | words(
        "Label ItemsPath ItemReader ItemBatcher ItemSelector ItemProcessor ResultSelector ResultPath"
    )
    | words(
        "ResultWriter MaxConcurrency MaxConcurrencyPath ToleratedFailurePercentage Retry Catch Next End"
    ),
    "Pass": STATE | words("Result Parameters ResultPath Next End"),
    "Succeed": STATE,
    "Fail": words("Type Comment Error Cause"),
    "processor": words("ProcessorConfig StartAt States"),
    "ProcessorConfig": words("Mode ExecutionType"),
    "ItemReader": words("Resource Parameters ReaderConfig"),
    "ItemBatcher": words("BatchInput MaxItemsPerBatch MaxItemsPerBatchPath MaxInputBytesPerBatch"),
    "Retry": words(
        "ErrorEquals IntervalSeconds MaxAttempts BackoffRate MaxDelaySeconds JitterStrategy"
    ),
    "Catch": words("ErrorEquals ResultPath Next"),
}
ONLY_DISTRIBUTED = words("ItemReader ItemBatcher ResultWriter Label ToleratedFailurePercentage")
NUMBERS = words(
    "TimeoutSeconds MaxConcurrency ToleratedFailurePercentage IntervalSeconds MaxAttempts BackoffRate"
)
ERROR_TYPES = set(re.findall(r'=> "([A-Z]\w+)"', re.search(
    r"impl HubError \{.*?\n}\n", CODE, re.DOTALL).group(0)))  # fmt: skip
OTHER_ERROR_TYPES = {"ConfigInvalid", "EventInvalid"}
LAMBDA_ERRORS = words("TooManyRequestsException ServiceException AWSLambdaException")
LAMBDA_ERRORS |= words("SdkClientException ClientExecutionTimeoutException")
LAMBDA_ERRORS = {f"Lambda.{it}" for it in LAMBDA_ERRORS}


def faults(machine, function_s):
    """What is wrong with a state machine, and is found by no validator."""
    found = []

    def keys(where, kind, it):
        if unknown := it.keys() - KEYS[kind]:
            found.append(f"{where}: unknown key {min(unknown)}")

    def walk(where, node):
        """Values that mean something else than they seem to."""
        for key, it in node.items() if isinstance(node, dict) else enumerate(node):
            if it is None:
                found.append(f"{where}: CloudFormation takes no null")
            if key in NUMBERS and not (isinstance(it, (int, float)) and not isinstance(it, bool)):
                found.append(f"{where}: {key} is no number")
            if isinstance(it, (dict, list)):
                walk(where, it)

    def template(where, node):
        """Parameters and selectors: what is a path has `.$`, and what has `.$` is one."""
        for key, it in node.items() if isinstance(node, dict) else []:
            is_path = isinstance(it, str) and re.match(r"\$|States\.", it) is not None
            if is_path != key.endswith(".$"):
                found.append(f"{where}: {key} and .$ do not belong together")
            template(where, it)

    def errors(where, name, handlers):
        for index, it in enumerate(handlers):
            keys(where, name, it)
            if "States.ALL" in it["ErrorEquals"] and (
                len(it["ErrorEquals"]) > 1 or index + 1 < len(handlers)
            ):
                found.append(f"{where}: States.ALL is not the last, alone, in {name}")
            for error in it["ErrorEquals"]:
                if not error.startswith("States.") and error not in LAMBDA_ERRORS | ERROR_TYPES:
                    found.append(f"{where}: nothing fails with {error}")

    def states(where, it):
        """The states of a machine, or of a map's children."""
        all_states = it["States"]
        reached, ahead = set(), [it["StartAt"]]
        while ahead:
            name = ahead.pop()
            if name in reached:
                continue
            reached.add(name)
            if name not in all_states:
                found.append(f"{where}: there is no {name}")
                continue
            state = all_states[name]
            ahead += [one["Next"] for one in state.get("Catch", []) if "Next" in one]
            ahead += [state["Next"]] if "Next" in state else []
            if state["Type"] not in ["Succeed", "Fail"] and ("Next" in state) == ("End" in state):
                found.append(f"{name}: Next or End, and one of them")
        found.extend(f"{where}: {name} is never reached" for name in all_states.keys() - reached)
        for name, state in all_states.items():
            if state["Type"] not in KEYS:
                found.append(f"{name}: unknown type {state['Type']}")
                continue
            keys(name, state["Type"], state)
            for one in ["Parameters", "ItemSelector", "ResultSelector"]:
                template(name, state.get(one, {}))
            for one in ["Retry", "Catch"]:
                errors(name, one, state.get(one, []))
            if state["Type"] == "Task" and not function_s < state.get("TimeoutSeconds", 0):
                found.append(f"{name}: the function may run longer than its state")
            if state["Type"] == "Map":
                map_state(name, state)

    def map_state(name, state):
        processor = state["ItemProcessor"]
        keys(name, "processor", processor)
        config = processor.get("ProcessorConfig", {})
        keys(name, "ProcessorConfig", config)
        for one in ["ItemReader", "ItemBatcher"]:
            keys(name, one, state.get(one, {}))
        if config.get("Mode", "INLINE") == "INLINE":
            if wrong := ONLY_DISTRIBUTED & state.keys():
                found.append(f"{name}: INLINE has no {min(wrong)}")
            if not state.get("MaxConcurrency", 99) <= 40:
                found.append(f"{name}: INLINE runs at most 40 at a time")
        elif config.get("ExecutionType") != "EXPRESS":
            found.append(f"{name}: children that are not EXPRESS cost far more")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", state.get("Label", "none")):
            found.append(f"{name}: a label has at most 40 plain characters")
        if not ("MaxConcurrencyPath" in state or state.get("MaxConcurrency", 0) > 0):
            found.append(f"{name}: all children start at once")
        if "States.ALL" not in [it for one in state.get("Catch", []) for it in one["ErrorEquals"]]:
            found.append(f"{name}: without a Catch, there is no summary")
        for child, it in processor["States"].items():
            # Each attempt but the last is over at once, or nothing has begun.
            pauses = sum(
                one["IntervalSeconds"] * one["BackoffRate"] ** attempt
                for one in it.get("Retry", [])
                for attempt in range(one["MaxAttempts"])
            )
            if not function_s + pauses < CHILD_S or not it.get("TimeoutSeconds", 0) < CHILD_S:
                found.append(f"{child}: it may live longer than its execution")
            if it.get("ResultSelector") != {}:
                found.append(f"{child}: all results together may have more than 256 KiB")
        states(name, processor)

    keys("machine", "machine", machine)
    walk("machine", machine)
    states("machine", machine)
    given = {"$"} | {f"$.{it.removesuffix('.$')}" for it in
                     machine["States"].get("Plan", {}).get("ResultSelector", {})}  # fmt: skip
    for name, state in machine["States"].items():
        asked = [state.get(it) for it in ["ItemsPath", "MaxConcurrencyPath"]]
        asked += [it for it in state.get("ItemSelector", {}).values() if it.startswith("$.")]
        if state["Type"] == "Task" and name != "Plan":
            parameters = state["Parameters"].get("Payload", {})
            asked += [it for it in parameters.values() if it.startswith("$.")]
        found.extend(f"{name}: the plan has no {it}" for it in asked if it and it not in given)
    return found


class Machine(unittest.TestCase):
    """The hub's state machine."""

    maxDiff = None

    def setUp(self):
        resources, _ = hub("aws", "eu-central-1", BatchConcurrency="7")
        self.properties = resources["StateMachine"]["Properties"]
        text = json.dumps(self.properties["Definition"])
        arn = '"arn:aws:lambda:eu-central-1:123456789012:function:hub"'
        self.machine = json.loads(text.replace('"Function.Arn"', arn))
        self.function_s = resources["Function"]["Properties"]["Timeout"]

    def test_nothing_is_wrong(self):
        self.assertEqual(faults(self.machine, self.function_s), [])
        self.assertEqual(self.validate(self.machine), 0)
        # CloudFormation's YAML has no aliases.
        self.assertNotRegex(HUB, r"(?m)^[^#\n]*: [&*]\w")

    def validate(self, machine):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(machine, file)
            file.flush()
            command = [ASL_VALIDATOR, "--json-path", file.name]
            return subprocess.run(command, capture_output=True, check=False).returncode

    def test_each_mistake_is_found(self):
        """Each of these is made in a copy of the machine."""

        def item_reader(key):
            def change(machine):
                reader = {"Resource": "arn:aws:states:::s3:getObject", key: {}}
                machine["States"]["Batches"]["ItemReader"] = reader

            return change

        def at(path, value):
            """Sets a value, or removes the key."""

            def change(machine):
                *parents, last = path.split("/")
                for it in parents:
                    machine = machine[int(it) if it.isdigit() else it]
                if value is None:
                    del machine[last]
                else:
                    machine[last] = value

            return change

        def inline(machine):
            machine["States"]["Batches"]["ItemProcessor"]["ProcessorConfig"]["Mode"] = "INLINE"

        def no_way(machine):
            machine["States"]["Canaries"]["Next"] = "Summary"

        child = "States/Batches/ItemProcessor/States/Batch"
        all_errors = {"ErrorEquals": ["States.ALL"], "Next": "Summary"}
        missing = {"ErrorEquals": ["States.Timeout"], "Next": "Summary"}
        table = [
            ("unknown key of a reader", item_reader("Arguments"), "Batches: unknown key Arguments"),
            ("unknown key of a batcher", at("States/Batches/ItemBatcher", {"MaxItems": 5}), "Batches: unknown key MaxItems"),
            ("unknown key of a state", at("States/Batches/MaxConcurency", 5), "Batches: unknown key MaxConcurency"),
            ("unknown key of a handler", at("States/Plan/Retry/0/Interval", 5), "Plan: unknown key Interval"),
            ("INLINE with a label and a tolerance", inline, "Batches: INLINE has no Label"),
            ("INLINE with a reader", lambda it: (inline(it), it["States"]["Batches"].pop("Label"), item_reader("Parameters")(it)), "Batches: INLINE has no ItemReader"),
            ("STANDARD children", at("States/Batches/ItemProcessor/ProcessorConfig/ExecutionType", "STANDARD"), "Batches: children that are not EXPRESS cost far more"),
            ("long label", at("States/Batches/Label", "B" * 41), "Batches: a label has at most 40 plain characters"),
            ("label with a space", at("States/Batches/Label", "All batches"), "Batches: a label has at most 40 plain characters"),
            ("States.ALL first", at("States/Canaries/Catch", [all_errors, missing]), "Canaries: States.ALL is not the last, alone, in Catch"),
            ("States.ALL not alone", at("States/Canaries/Catch/0/ErrorEquals", ["States.Timeout", "States.ALL"]), "Canaries: States.ALL is not the last, alone, in Catch"),
            ("States.ALL first in Retry", at("States/Plan/Retry", [all_errors | {"Next": 0}, {"ErrorEquals": ["StoreFailed"]}]), "Plan: States.ALL is not the last, alone, in Retry"),
            ("path without .$", at("States/Summary/Parameters/Payload", {"step": "summary", "run": "$.run"}), "Summary: run and .$ do not belong together"),
            ("text with .$", at("States/Summary/Parameters/Payload/step.$", "summary"), "Summary: step.$ and .$ do not belong together"),
            ("intrinsic without .$", at("States/Plan/ResultSelector/concurrency", "States.StringToJson('7')"), "Plan: concurrency and .$ do not belong together"),
            ("no limit", at("States/Batches/MaxConcurrencyPath", None), "Batches: all children start at once"),
            ("no limit either", lambda it: (at("States/Batches/MaxConcurrencyPath", None)(it), at("States/Batches/MaxConcurrency", 0)(it)), "Batches: all children start at once"),
            ("a parameter is a text", at("States/Batches/MaxConcurrency", "7"), "machine: MaxConcurrency is no number"),
            ("a time-out that is a text", at("TimeoutSeconds", "3300"), "machine: TimeoutSeconds is no number"),
            ("null", lambda it: it["States"]["Batches"].update(ResultPath=None), "machine: CloudFormation takes no null"),
            ("items that the plan lacks", at("States/Batches/ItemsPath", "$.numbers"), "Batches: the plan has no $.numbers"),
            ("run that the plan lacks", at("States/Batches/ItemSelector/run.$", "$.name"), "Batches: the plan has no $.name"),
            ("summary of no run", at("States/Summary/Parameters/Payload/run.$", "$.name"), "Summary: the plan has no $.name"),
            ("large results", at(f"{child}/ResultSelector", {"swept.$": "$.Payload.swept"}), "Batch: all results together may have more than 256 KiB"),
            ("results as they are", at(f"{child}/ResultSelector", None), "Batch: all results together may have more than 256 KiB"),
            ("long child", at(f"{child}/TimeoutSeconds", 300), "Batch: it may live longer than its execution"),
            ("child that is tried too often", at(f"{child}/Retry/0/MaxAttempts", 4), "Batch: it may live longer than its execution"),
            ("short child", at(f"{child}/TimeoutSeconds", 290), "Batch: the function may run longer than its state"),
            ("short step", at("States/Plan/TimeoutSeconds", 60), "Plan: the function may run longer than its state"),
            ("way past a state", no_way, "machine: Batches is never reached"),
            ("way to nowhere", at("States/Canaries/Next", "Batch"), "machine: there is no Batch"),
            ("no way on", at("States/Plan/Next", None), "Plan: Next or End, and one of them"),
            ("map without a Catch", at("States/Batches/Catch", None), "Batches: without a Catch, there is no summary"),
            ("map whose Catch lacks some", at("States/Batches/Catch/0/ErrorEquals", ["States.ExceedToleratedFailureThreshold"]), "Batches: without a Catch, there is no summary"),
            ("error that nothing has", at("States/Plan/Catch/0/ErrorEquals", ["RunsInProgress"]), "Plan: nothing fails with RunsInProgress"),
        ]  # fmt: skip
        for name, change, expected in table:
            broken = copy.deepcopy(self.machine)
            change(broken)
            self.assertIn(expected, faults(broken, self.function_s), name)
        # And asl-validator is really run: no two states have the same name, children included.
        broken = copy.deepcopy(self.machine)
        broken["States"]["Canaries"]["ItemProcessor"] = broken["States"]["Batches"]["ItemProcessor"]
        self.assertNotEqual(self.validate(broken), 0)
        # As is the function's time-out of every state.
        self.assertIn("Batch: it may live longer than its execution", faults(self.machine, 293))

    def test_the_steps_are_those_that_the_function_knows(self):
        states = self.machine["States"]
        self.assertEqual(self.properties["StateMachineType"], "STANDARD")
        invoke = "arn:aws:states:::lambda:invoke"
        tasks = [states["Plan"], states["Summary"]]
        for name in ["Canaries", "Batches"]:
            (child,) = states[name]["ItemProcessor"]["States"].values()
            tasks.append(child)
            self.assertEqual(child["Parameters"]["Payload.$"], "$")
            item = {"step": "batch", "run.$": "$.run", "batch.$": "$$.Map.Item.Value"}
            self.assertEqual(states[name]["ItemSelector"], item)
        for it in tasks:
            self.assertEqual(it["Resource"], invoke)
            self.assertTrue(it["Parameters"]["FunctionName"].endswith(":function:hub"))
        plan = {"step": "plan", "run.$": "$$.Execution.Name", "input.$": "$"}
        self.assertEqual(states["Plan"]["Parameters"]["Payload"], plan)
        summary = {"step": "summary", "run.$": "$.run"}
        self.assertEqual(states["Summary"]["Parameters"]["Payload"], summary)
        known = re.search(r"const STEPS: .*?];", CODE, re.DOTALL).group(0)
        known = {
            step: re.findall(r'"(\w+)"', keys)
            for step, keys in re.findall(r'\("(\w+)", &\[(.*?)]', known)
        }
        for payload in [plan, summary, item]:
            sent = [it.removesuffix(".$") for it in payload]
            self.assertEqual(sorted(sent), sorted(known[payload["step"]]))
        # What is taken of the replies is in them.
        reply = re.search(r"pub struct PlanReply \{(.*?)\n}", CODE, re.DOTALL).group(1)
        selected = [it.removeprefix("$.Payload.") for it in states["Plan"]["ResultSelector"].values()
                    if it.startswith("$.")]  # fmt: skip
        self.assertLessEqual(set(selected), set(re.findall(r"pub (\w+):", reply)))
        concurrency = states["Plan"]["ResultSelector"]["concurrency.$"]
        self.assertEqual(concurrency, "States.StringToJson('7')")

    def test_canaries_are_not_tolerated_and_batches_are(self):
        states = self.machine["States"]
        canaries, batches = states["Canaries"], states["Batches"]
        self.assertEqual(canaries["ToleratedFailurePercentage"], 0)
        self.assertEqual(batches["ToleratedFailurePercentage"], 100)
        self.assertEqual((canaries["Next"], batches["Next"]), ("Batches", "Summary"))
        self.assertEqual(canaries["Catch"], batches["Catch"])
        (caught,) = canaries["Catch"]
        self.assertEqual((caught["ErrorEquals"], caught["Next"]), (["States.ALL"], "Summary"))
        self.assertNotIn("Catch", states["Summary"])  # So that the execution fails.
        (caught,) = states["Plan"]["Catch"]
        self.assertEqual(caught["ErrorEquals"], ["RunInProgress"])
        self.assertEqual(states[caught["Next"]]["Type"], "Succeed")

    def test_what_failed_for_good_is_not_tried_again(self):
        states = self.machine["States"]
        for name in ["Plan", "Summary"]:
            (retry,) = states[name]["Retry"]
            self.assertEqual(set(retry["ErrorEquals"]), LAMBDA_ERRORS | {"StoreFailed"})
        # A child has the time for one sweep only.
        for name in ["Canaries", "Batches"]:
            (child,) = states[name]["ItemProcessor"]["States"].values()
            (retry,) = child["Retry"]
            self.assertEqual(set(retry["ErrorEquals"]), LAMBDA_ERRORS)

    def test_a_run_ends_before_its_lease(self):
        variables = hub()[0]["Function"]["Properties"]["Environment"]["Variables"]
        self.assertEqual(variables["REAPER_RUN_TIMEOUT"], "1h")
        self.assertLessEqual(self.machine["TimeoutSeconds"] + self.function_s, 3600)

    def test_no_state_has_too_much(self):
        """For the largest organization, by computation, and for the smallest batches."""
        for batch_size in [1, 51]:
            n_batches = -(-TOP // max(batch_size // N_REGIONS, 1))
            plan = {
                "run": "r" * 80,
                "mode": "dry-run",
                "accounts": TOP,
                "account_regions": TOP * N_REGIONS,
                "canaries": [1],
                "batches": list(range(2, n_batches + 1)),
            }
            # The reply of `lambda:invoke` has headers and other things around it.
            self.assertLess(len(json.dumps(plan)) + 4_096, LIMIT)
            state = {
                "run": "r" * 80,
                "canaries": [1],
                "batches": plan["batches"],
                "concurrency": 1000,
            }
            state |= {
                "done": [{}] * n_batches,
                "error": {"Error": "e" * 256, "Cause": "c" * 32_768},
            }
            self.assertLess(len(json.dumps(state)), LIMIT)
        # As long as these, they would not do.
        self.assertGreater(
            len(
                json.dumps(
                    [{"run": "r" * 36, "batch": 1, "account_regions": 51, "swept": 51}] * n_batches
                )
            ),
            LIMIT,
        )

    def test_what_fails_in_children_is_logged(self):
        self.assertEqual(
            self.properties["LoggingConfiguration"],
            {
                "Level": "ERROR",
                "IncludeExecutionData": True,
                "Destinations": [{"CloudWatchLogsLogGroup": {"LogGroupArn": "RunLogGroup.Arn"}}],
            },
        )
        group = hub(LogRetentionDays=90)[0]["RunLogGroup"]["Properties"]
        expected = {"LogGroupName": "/aws/vendedlogs/states/reaper", "RetentionInDays": 90}
        self.assertEqual(group, expected)


class Roles(unittest.TestCase):
    """Who may do what."""

    maxDiff = None

    def test_the_hub_may_do_what_its_steps_call(self):
        key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1"
        for mode, own, key_arn in itertools.product(
            ["dry-run", "enforce"], ["", "/own"], ["", key]
        ):
            bus = "ops" if own else ""
            parameter = f"arn:aws-cn:ssm:{HERE}:parameter{own or '/session-reaper/reaper'}"
            objects = ["Bucket.Arn/lease.json", "Bucket.Arn/runs/*"]
            role = "arn:aws-cn:iam::*:role/session-reaper-member"
            calls = {
                "AssumeRole": (role, {"StringEquals": {"aws:ResourceOrgID": ID}}),
                "GetObject": (objects, None),
                "ListAccounts": ("*", None),
                "PutEvents": (f"arn:aws-cn:events:{HERE}:event-bus/ops", None),
                "PutObject": (objects, None),
            }
            # Objects are listed by `reapctl verify-evidence` alone.
            self.assertEqual(calls.keys(), HUB_OPERATIONS.keys() - {"ListObjectsV2"})
            if not bus:
                del calls["PutEvents"]
            expected = {HUB_OPERATIONS[it]: resource for it, resource in calls.items()} | {
                OPERATIONS["GetParameter"]: ([parameter, f"{parameter}:*"], None),
                "logs:CreateLogStream": ("LogGroup.Arn", None),
                "logs:PutLogEvents": ("LogGroup.Arn", None),
                "s3:ListBucket": ("Bucket.Arn", None),  # For a 404.
            }
            if key_arn:
                context = {"kms:EncryptionContext:PARAMETER_ARN": parameter}
                expected["kms:Decrypt"] = (key_arn, {"StringEquals": context})
            parameters = {"Mode": mode, "PolicyParameterName": own, "PolicyKmsKeyArn": key_arn}
            resources, _ = hub(EventBus=bus, **parameters)
            variables = resources["Function"]["Properties"]["Environment"]["Variables"]
            self.assertEqual((variables["REAPER_EVENT_BUS"], variables["REAPER_PERIOD"]), (bus, "5m"))
            self.assertEqual(allowed(resources), expected)
            properties = resources["Role"]["Properties"]
            self.assertEqual(properties["AssumeRolePolicyDocument"], trust("lambda.amazonaws.com"))
            self.assertEqual(resources["Function"]["Properties"]["Role"], "Role.Arn")
            self.assertEqual("Policy" in resources, not own)
        resources, _ = hub(MemberRole="Other")
        self.assertEqual(allowed(resources)["sts:AssumeRole"][0], "arn:aws-cn:iam::*:role/Other")

    def test_evidence_is_written_to_a_bucket_of_its_own(self):
        single = cloudformation.stack(SINGLE, Evidence="required", EvidenceLock="COMPLIANCE")[0]
        for bucket in ["", "audit"]:
            resources, _ = hub(
                Evidence="required", EvidenceBucketName=bucket, EvidenceLock="COMPLIANCE"
            )
            name = bucket or "EvidenceBucket"
            statements = resources["Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
            (statement,) = [it for it in statements if it["Sid"] == "WriteEvidence"]
            expected = {
                "Sid": "WriteEvidence",
                "Effect": "Allow",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws-cn:s3:::{name}/evidence/*",
            }
            self.assertEqual(statement, expected)
            variables = resources["Function"]["Properties"]["Environment"]["Variables"]
            actual = [variables["REAPER_EVIDENCE"], variables["REAPER_EVIDENCE_BUCKET"]]
            self.assertEqual(actual, ["required", name])
            self.assertEqual("EvidenceBucket" in resources, not bucket)
            for it in ["EvidenceBucket", "EvidenceBucketPolicy"]:
                self.assertEqual(resources.get(it), None if bucket else single[it])
        key = "arn:aws-cn:kms:cn-north-1:123456789012:key/1"
        for evidence, bucket in itertools.product(["none", "required"], ["", "audit"]):
            resources, _ = hub(
                Evidence=evidence, EvidenceBucketName=bucket, EvidenceKmsKeyArn=key
            )
            statements = resources["Role"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
            of_bucket = ["arn:aws-cn:s3:::audit", "arn:aws-cn:s3:::audit/evidence/*"]
            expected = {
                "Sid": "EncryptEvidence",
                "Effect": "Allow",
                "Action": "kms:GenerateDataKey",
                "Resource": key,
                "Condition": {"StringLike": {"kms:EncryptionContext:aws:s3:arn": of_bucket}},
            }
            expected = [expected] if (evidence, bucket) == ("required", "audit") else []
            self.assertEqual([it for it in statements if it["Sid"] == "EncryptEvidence"], expected)

    def test_the_members_may_do_what_a_sweep_calls(self):
        at, of_aws = "arn:aws-cn:ssm:*:123456789012", "arn:aws-cn:ssm:*:"
        for mode, reads in itertools.product(["dry-run", "enforce"], ["false", "true"]):
            calls = {
                "DescribeSessions": ("*", None),
                "GetDocument": ([f"{at}:document/*", f"{of_aws}:document/*"], None),
                "GetResources": ("*", None),
                "TerminateSession": (f"{at}:session/*", None),
            }
            self.assertEqual(calls.keys(), OPERATIONS.keys() - {"GetParameter", "PutEvents"})
            if mode == "dry-run":
                del calls["TerminateSession"]
            if reads == "false":
                del calls["GetDocument"]
            expected = {OPERATIONS[it]: resource for it, resource in calls.items()}
            resources, outputs = member(Mode=mode, ReadSessionDocuments=reads)
            self.assertEqual(allowed(resources), expected)
            self.assertEqual(outputs["RoleArn"]["Value"], "Role.Arn")
        self.assertEqual(resources.keys(), {"Role"})
        properties = resources["Role"]["Properties"]
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws-cn:iam::123456789012:role/hub"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:PrincipalOrgID": ID}},
        }
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.assertEqual(properties["AssumeRolePolicyDocument"], document)
        # The hub's role is itself assumed, so AWS allows no more.
        self.assertEqual(properties["MaxSessionDuration"], 3600)
        self.assertNotIn("ManagedPolicyArns", properties)

    def test_both_templates_agree(self):
        hub_parameters, member_parameters = (yaml_parse(it)["Parameters"] for it in [HUB, MEMBER])
        for name in ["MemberRole", "OrganizationId"]:
            one, other = (
                {key: it for key, it in template[name].items() if key != "Description"}
                for template in [hub_parameters, member_parameters]
            )
            self.assertEqual(one, other)
        name = hub_parameters["MemberRole"]["Default"]
        self.assertEqual(
            hub()[0]["Function"]["Properties"]["Environment"]["Variables"]["REAPER_MEMBER_ROLE"],
            name,
        )
        self.assertEqual(member()[0]["Role"]["Properties"]["RoleName"], name)

    def test_the_state_machine_may_run_itself(self):
        resources, _ = hub()
        machine = f"arn:aws-cn:states:{HERE}:stateMachine:reaper"
        execution = f"arn:aws-cn:states:{HERE}:execution:reaper"
        children = ([f"{execution}:*", f"{execution}/*"], None)
        expected = {
            "lambda:InvokeFunction": ("Function.Arn", None),
            "states:DescribeExecution": children,
            "states:StartExecution": (machine, None),
            "states:StopExecution": children,
        }
        log = [
            "CreateLogDelivery",
            "DeleteLogDelivery",
            "DescribeLogGroups",
            "DescribeResourcePolicies",
        ]
        log += ["GetLogDelivery", "ListLogDeliveries", "PutResourcePolicy", "UpdateLogDelivery"]
        expected |= {f"logs:{it}": ("*", None) for it in log}
        self.assertEqual(allowed(resources, "StateMachineRole"), expected)
        properties = resources["StateMachine"]["Properties"]
        self.assertEqual(properties["StateMachineName"], "reaper")  # As its role names it.
        self.assertEqual(properties["RoleArn"], "StateMachineRole.Arn")
        here = {"StringEquals": {"aws:SourceAccount": "123456789012"}}
        for name, service in [("StateMachineRole", "states"), ("ScheduleRole", "scheduler")]:
            document = resources[name]["Properties"]["AssumeRolePolicyDocument"]
            self.assertEqual(document, trust(f"{service}.amazonaws.com", Condition=here))
        expected = {"states:StartExecution": ("StateMachine", None)}
        self.assertEqual(allowed(resources, "ScheduleRole"), expected)
        roles = of_type(resources, "AWS::IAM::Role")
        self.assertEqual(roles.keys(), {"Role", "ScheduleRole", "StateMachineRole"})
        kinds = {it["Type"] for it in resources.values() if it["Type"].startswith("AWS::IAM")}
        self.assertEqual(kinds, {"AWS::IAM::Role"})
        for it in roles.values():
            self.assertFalse({"ManagedPolicyArns", "RoleName"} & it.keys())

    def test_no_arn_names_a_partition(self):
        for text in [HUB, MEMBER]:
            self.assertNotRegex(text, r"(?<!\^)arn:aws:")


class Stack(unittest.TestCase):
    """What else the hub has."""

    maxDiff = None

    def test_every_parameter_is_limited_labelled_and_in_one_group(self):
        for text in [HUB, MEMBER]:
            for name, it in yaml_parse(text)["Parameters"].items():
                limits = {"AllowedValues", "AllowedPattern", "MaxValue"} & it.keys()
                self.assertEqual(len(limits), 1, name)
                self.assertTrue(it["Description"], name)
                if pattern := it.get("AllowedPattern"):
                    if "Default" in it:
                        self.assertRegex(it["Default"], pattern)
                    self.assertNotRegex("* or ${x}", pattern)
        template = yaml_parse(HUB)
        interface = template["Metadata"]["AWS::CloudFormation::Interface"]
        grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
        self.assertEqual(sorted(grouped), sorted(template["Parameters"]))
        self.assertEqual(sorted(interface["ParameterLabels"]), sorted(template["Parameters"]))
        without = {name for name, it in template["Parameters"].items() if "Default" not in it}
        self.assertEqual(without, {"OrganizationId", "Regions"})
        # What is not of organizations is as in the other template.
        single = yaml_parse(SINGLE)["Parameters"]
        for name in [
            "PolicyParameterName",
            "PolicyKmsKeyArn",
            "AlarmEmail",
            "LogRetentionDays",
            "Architecture",
            "DeadlineMargin",
        ]:
            self.assertEqual(template["Parameters"][name], single[name], name)

    def test_patterns(self):
        parameters = yaml_parse(HUB)["Parameters"]
        for name, good, bad in [
            ("OrganizationId", ["o-a1b2c3d4e5"], ["", "o-A", "r-a1b2c3d4e5"]),
            ("Regions", ["eu-west-1", "us-gov-west-1,eu-central-1"], ["", "eu-west-1,", "eu-west-1, us-east-1", "all"]),
            ("ExcludeAccounts", ["", "111111111111", "111111111111,222222222222"], ["1", "111111111111, 222222222222"]),
            ("MemberRole", ["ReaperMember", "a+=,.@-_"], ["", "path/role", "x" * 65]),
            ("BatchConcurrency", ["1", "1000"], ["0", "1001", "1.5"]),
        ]:  # fmt: skip
            pattern = parameters[name]["AllowedPattern"]
            for it in good:
                self.assertRegex(it, pattern)
            for it in bad:
                self.assertNotRegex(it, pattern)
        for name in ["IncludeAccounts", "CanaryAccounts"]:
            self.assertEqual(
                parameters[name]["AllowedPattern"], parameters["ExcludeAccounts"]["AllowedPattern"]
            )

    def test_the_variables_are_those_that_the_code_reads(self):
        parameters = {"Regions": "eu-west-1", "IncludeAccounts": "111111111111", "BatchSize": "7"}
        parameters |= {"ExcludeAccounts": "222222222222", "CanaryAccounts": "333333333333"}
        function = hub(Mode="enforce", **parameters)[0]["Function"]["Properties"]
        variables = function["Environment"]["Variables"]
        other_sources = {"REAPER_POLICY", "REAPER_POLICY_FILE"}
        self.assertEqual(variables.keys() | other_sources, VARIABLES | HUB_VARIABLES)
        self.assertFalse(variables.keys() & other_sources)
        for name, value in (parameters | {"Mode": "enforce"}).items():
            variable = re.sub(r"(?<!^)([A-Z])", r"_\1", name).upper()
            self.assertEqual(variables[f"REAPER_{variable}"], value)
        self.assertEqual(variables["REAPER_BUCKET"], "Bucket")
        self.assertEqual(variables["REAPER_POLICY_PARAMETER"], "/session-reaper/reaper")
        self.assertEqual(
            hub()[0]["Function"]["Properties"]["Environment"]["Variables"]["REAPER_MODE"], "dry-run"
        )

    def test_the_function_is_what_is_built(self):
        template, single = (
            yaml_parse(HUB)["Resources"]["Function"],
            yaml_parse(SINGLE)["Resources"]["Function"],
        )
        for it in ["BuildMethod", "BuildProperties"]:
            self.assertEqual(template["Metadata"][it], single["Metadata"][it])
        for it in ["Runtime", "Handler", "LoggingConfig"]:
            self.assertEqual(template["Properties"][it], single["Properties"][it])
        properties = template["Properties"]
        source = pathlib.Path("organization", properties["CodeUri"]).resolve()
        self.assertEqual(source, pathlib.Path.cwd())
        self.assertEqual((properties["MemorySize"], properties["Timeout"]), (256, 290))
        self.assertNotIn("Events", properties)
        self.assertEqual(
            hub(Architecture="arm64")[0]["Function"]["Properties"]["Architectures"], ["arm64"]
        )

    def test_the_schedule_starts_runs(self):
        template = yaml_parse(HUB)
        schedules = template["Parameters"]["ScheduleMinutes"]["AllowedValues"]
        self.assertEqual(schedules, list(template["Mappings"]["Every"]))
        for minutes in map(int, schedules):
            resources, _ = hub(ScheduleMinutes=str(minutes))
            expected = {
                "ScheduleExpression": f"rate({minutes} minutes)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {
                    "Arn": "StateMachine",
                    "RoleArn": "ScheduleRole.Arn",
                    "Input": yaml_parse(SINGLE)["Resources"]["Schedule"]["Properties"]["Target"][
                        "Input"
                    ],
                    "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
                },
            }
            self.assertEqual(resources["Schedule"]["Properties"], expected)
            for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
                for _, _, metric, _, _, period in alarm_metrics(alarm):
                    holds = metric in ["Backlog", "OldestViolation"]
                    self.assertEqual(
                        period, max(1800, minutes * 60) if holds else minutes * 60, name
                    )

    def test_the_bucket_is_private_and_forgets(self):
        resources, _ = hub()
        bucket = resources["Bucket"]
        self.assertEqual(
            (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]),
            ("RetainExceptOnCreate", "Retain"),
        )
        expected = {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                ]
            },
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "PublicAccessBlockConfiguration": dict.fromkeys(
                [
                    "BlockPublicAcls",
                    "BlockPublicPolicy",
                    "IgnorePublicAcls",
                    "RestrictPublicBuckets",
                ],
                True,
            ),
            "LifecycleConfiguration": {
                "Rules": [
                    {
                        "Id": "expire",
                        "Status": "Enabled",
                        "ExpirationInDays": 30,
                        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                    }
                ]
            },
        }
        self.assertEqual(bucket["Properties"], expected)
        (policy,) = of_type(resources, "AWS::S3::BucketPolicy").values()
        (statement,) = policy["PolicyDocument"]["Statement"]
        del statement["Sid"]
        expected = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": ["Bucket.Arn", "Bucket.Arn/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        self.assertEqual((policy["Bucket"], statement), ("Bucket", expected))

    def test_the_policy_is_that_of_the_other_template(self):
        # Which is frozen: a change would overwrite the edited policies of those who upgrade.
        self.assertEqual(
            yaml_parse(HUB)["Resources"]["Policy"], yaml_parse(SINGLE)["Resources"]["Policy"]
        )

    def test_deployment_needs_no_named_role(self):
        config = tomllib.loads(CONFIG)["default"]
        self.assertEqual(config["build"]["parameters"]["template_file"], "hub.yaml")
        self.assertEqual(config["deploy"]["parameters"]["capabilities"], "CAPABILITY_IAM")
        self.assertNotEqual(config["global"]["parameters"]["stack_name"],
                            tomllib.loads(pathlib.Path("samconfig.toml").read_text())["default"]["global"]["parameters"]["stack_name"])  # fmt: skip

    def test_the_outputs(self):
        _, outputs = hub("aws", "eu-west-1")
        self.assertEqual(outputs["HubRoleArn"]["Value"], "Role.Arn")
        self.assertEqual(
            outputs["Run"]["Value"],
            "aws stepfunctions start-execution --region eu-west-1 --state-machine-arn StateMachine"
            """ --input '{"mode":"dry-run"}'""",
        )


class Alarms(unittest.TestCase):
    """Of totals of runs only: one metric for each, whatever the number of accounts."""

    maxDiff = None

    def alarms(self, mode="enforce"):
        more = {"Mode": mode, "UndeterminedPercent": 20, "EventBus": "ops", "Evidence": "required"}
        resources, _ = hub("aws", "eu-central-1", **more)
        alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
        return {it["AlarmName"].removeprefix("reaper-"): it for it in alarms}

    def test_alarms_and_dashboard_name_what_a_run_measures(self):
        measured = metrics("run_line")
        self.assertEqual(re.findall(r'emf\(vec!\[\("(\w+)"', CORE), ["Mode"])
        for mode in ["dry-run", "enforce"]:
            resources, _ = hub(Mode=mode, EventBus="ops", Evidence="required")
            for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
                self.assertEqual((alarm["AlarmActions"], alarm["OKActions"]), (["AlarmTopic"],) * 2)
                for _, namespace, metric, dimensions, _, _ in alarm_metrics(alarm):
                    dimensions = {it["Name"]: it["Value"] for it in dimensions}
                    if namespace == "AWS/States":
                        self.assertEqual(dimensions, {"StateMachineArn": "StateMachine"})
                        continue
                    self.assertEqual(namespace, NAMESPACE)
                    self.assertIn(metric, measured)
                    while_enforcing = metric in ["Backlog", "OldestViolation"]
                    expected = {"Mode": "enforce" if while_enforcing else mode}
                    self.assertEqual(dimensions, expected, name)
            shown = set()
            dashboard = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
            for widget in dashboard["widgets"]:
                properties = widget["properties"]
                if widget["type"] == "alarm":
                    alarms = {f"{it}.Arn" for it in of_type(resources, "AWS::CloudWatch::Alarm")}
                    self.assertEqual(set(properties["alarms"]), alarms)
                    continue
                self.assertEqual((properties["region"], properties["period"]), ("cn-north-1", 300))
                before = []
                for row in properties["metrics"]:
                    row = [it for it in row if isinstance(it, str)]
                    row = [before[i] if it == "." else it for i, it in enumerate(row)]
                    self.assertEqual((row[0], row[2:]), (NAMESPACE, ["Mode", mode]))
                    shown.add(row[1])
                    before = row
            self.assertEqual(shown, measured)

    def test_each_alarm_fires_in_its_situation(self):
        zero = dict.fromkeys(metrics("run_line"), 0)
        fine = zero | {
            "Accounts": 10,
            "AccountRegions": 20,
            "Swept": 18,
            "RegionOff": 2,
            "Sessions": 50,
        }
        fine |= {"ExecutionsFailed": 0, "ExecutionsTimedOut": 0, "ExecutionsAborted": 0}
        failed = {"ExecutionsFailed": 1}

        def run(**other):
            return [fine | other]

        def twice(**other):
            return [run(**other)] * 2

        def thrice(**other):
            return [run(**other)] * 3

        seconds = 25 * 3600
        table = [  # What comes after nine fine periods, and which alarms have fired then.
            ([], set()),
            ([[], []], set()),
            ([[], [], []], {"no-run-finished"}),
            ([[failed]] * 3, {"no-run-finished", "runs-failed"}),  # The plan fails.
            (twice(Missing=51, **failed), {"missing", "runs-failed"}),
            (twice(NotStarted=1, **failed), {"missing", "runs-failed"}),
            ([run(Missing=51, **failed)], set()),
            ([run(CanaryFailed=1, Missing=18, **failed)], {"canary-failed"}),
            (twice(ExecutionsTimedOut=1), {"runs-failed"}),
            (twice(ExecutionsAborted=1), {"runs-failed"}),
            ([run(EventsFailed=9)], set()),
            (twice(EventsFailed=9), {"events-not-sent"}),
            (twice(NoAccess=2), set()),
            (thrice(NoAccess=2), {"not-swept"}),
            (thrice(Incomplete=1), {"not-swept"}),
            (thrice(AccessDenied=1), {"not-swept"}),
            (thrice(Unreachable=1), {"not-swept"}),
            (thrice(RegionOff=9), set()),
            (twice(CircuitBreakersOpen=1), {"circuit-breaker-open"}),
            (twice(Unconfirmed=1), {"not-terminated"}),
            (twice(Failed=1), {"not-terminated"}),
            (twice(Denied=1), {"not-terminated"}),
            (twice(Throttled=1), {"not-terminated"}),
            (twice(Undetermined=10), set()),
            (twice(Undetermined=11), {"undetermined"}),
            (twice(NotEvaluated=1), {"not-evaluated"}),
            (twice(Backlog=1), {"backlog"}),  # Each period is half an hour or more.
            ([run(Backlog=1), run()], set()),
            (twice(OldestViolation=seconds), {"oldest-violation"}),
            (twice(OldestViolation=3600), set()),
            ([run(EvidenceFailed=1)], {"evidence-not-written"}),
        ]
        alarms, seen = self.alarms(), set()
        for periods, expected in table:
            fired = {name for name, it in alarms.items() if fires(it, [run()] * 9 + periods)[-1]}
            self.assertEqual(fired, expected, periods)
            seen |= fired
        self.assertEqual(seen, alarms.keys())


class Document(unittest.TestCase):
    """docs/organization.md names what there is, and nothing else."""

    maxDiff = None

    def first_column(self, section):
        part = re.search(
            rf"^## {section}$(.*?)(?=^## |\Z)", DOCUMENT, re.DOTALL | re.MULTILINE
        ).group(1)
        cells = re.findall(r"^\| (`.*?`) \|", part, re.MULTILINE)
        return [name for it in cells for name in re.findall("`(.*?)`", it)]

    def test_alarms(self):
        resources, _ = hub(EventBus="ops", Evidence="required")
        alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
        names = sorted(it["AlarmName"].removeprefix("reaper-") for it in alarms)
        self.assertEqual(sorted(self.first_column("When an alarm fires")), names)

    def test_failures(self):
        documented = self.first_column("When a run fails")
        self.assertEqual(sorted(documented), sorted(ERROR_TYPES | OTHER_ERROR_TYPES))

    def test_statuses(self):
        body = re.search(r"impl Status \{.*?\n}\n", CORE, re.DOTALL).group(0)
        statuses = re.findall(r'=> "(\w+)"', body)
        self.assertEqual(
            self.first_column("What becomes of an account-Region"), [*statuses, "missing"]
        )

    def test_permissions(self):
        hub_resources, member_resources = (
            hub(PolicyKmsKeyArn="k", EventBus="ops")[0],
            member(Mode="enforce", ReadSessionDocuments="true")[0],
        )
        actions = set(allowed(hub_resources)) | set(allowed(member_resources))
        actions |= {
            it for it in allowed(hub_resources, "StateMachineRole") if not it.startswith("logs:")
        }
        actions -= {"logs:CreateLogStream", "logs:PutLogEvents"}
        self.assertEqual(sorted(self.first_column("Permissions")), sorted(actions))

    def test_parameters(self):
        parameters = yaml_parse(HUB)["Parameters"]
        self.assertLessEqual(set(self.first_column("Parameters")), parameters.keys())
        others = {
            "PolicyParameterName",
            "PolicyKmsKeyArn",
            "Evidence",
            "EvidenceBucketName",
            "EvidenceKmsKeyArn",
            "EvidenceLock",
            "EvidenceDays",
            "LogCompliant",
            "AlarmEmail",
            "UndeterminedPercent",
            "OldestViolationHours",
            "LogRetentionDays",
            "Architecture",
            "CallsPerSecond",
            "Concurrency",
            "DeadlineMargin",
        }
        self.assertEqual(parameters.keys() - set(self.first_column("Parameters")), others)


if __name__ == "__main__":
    unittest.main(verbosity=2)

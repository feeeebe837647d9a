"""What the project writes in JSON, held to schemas by an independent validator.

The policy's schema: every example policy validates, and every policy of which `reapctl check` has a
diagnostic is refused by the schema too, but for those that only-the-reader.txt lists. The metrics of a whole sweep: CloudWatch's rules for the embedded metric format.
The events for EventBridge: those of examples.jsonl, which the code makes, validate; they have every field of their
schemas, and no other.
"""

import json
import pathlib
import re

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).parents[2]

# What no schema can refuse; what each needs is in brackets.
ONLY_THE_READER = {
    re.sub(r" \[.*\]$", "", line)
    for line in (ROOT / "tests/schema/only-the-reader.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
EMF = {
    "type": "object",
    "required": ["_aws"],
    "properties": {
        "_aws": {
            "type": "object",
            "required": ["Timestamp", "CloudWatchMetrics"],
            "properties": {
                "Timestamp": {"type": "integer"},
                "CloudWatchMetrics": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["Namespace", "Dimensions", "Metrics"],
                        "additionalProperties": False,
                        "properties": {
                            "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                            "Dimensions": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "array",
                                    "maxItems": 30,
                                    "items": {"type": "string", "minLength": 1, "maxLength": 250},
                                },
                            },
                            "Metrics": {
                                "type": "array",
                                "maxItems": 100,
                                "items": {
                                    "type": "object",
                                    "required": ["Name"],
                                    "additionalProperties": False,
                                    "properties": {
                                        "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
                                        "Unit": {"enum": ["Count", "Milliseconds", "Seconds"]},
                                        "StorageResolution": {"enum": [1, 60]},
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}


class Yaml12(yaml.SafeLoader):
    """PyYAML reads YAML 1.1; editors read the core schema of 1.2, without dates, `yes` or merges."""


Yaml12.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
]:
    Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), list(first))
Yaml12.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


def refusal(validator, text):
    """Why the schema refuses the policy, or nothing."""
    try:
        policy = yaml.load(text, Yaml12)
    except yaml.YAMLError:
        return None
    errors = list(validator.iter_errors(policy))
    return jsonschema.exceptions.best_match(errors).message if errors else None


schema = json.loads((ROOT / "policies/policy.schema.json").read_text())
jsonschema.Draft7Validator.check_schema(schema)
validator = jsonschema.Draft7Validator(schema)
failures = []

valid = sorted(ROOT.glob("policies/*.yaml")) + sorted(ROOT.glob("reapctl/tests/corpus/*.policy.yaml"))
for path in valid:
    why = refusal(validator, path.read_text())
    if why:
        failures.append(f"{path.relative_to(ROOT)} is refused: {why}")

sections = (ROOT / "reapctl/tests/it/diagnostics.txt").read_text().split("=== ")[1:]
names, refused = set(), 0
for section in sections:
    name, rest = section.split("\n", 1)
    names.add(name)
    is_refused = refusal(validator, rest.split("--- reapctl check\n")[0]) is not None
    refused += is_refused
    if is_refused == (name in ONLY_THE_READER):
        failures.append(f"{name!r} is {'refused after all' if is_refused else 'not refused'}")
failures += [f"{name!r} is no diagnostic" for name in ONLY_THE_READER - names]

emf = jsonschema.Draft7Validator(EMF)
lines = (ROOT / "tests/it/sweep.jsonl").read_text().splitlines()
metrics = [line for line in lines if "_aws" in json.loads(line)]
for text in metrics:
    line = json.loads(text)
    failures += [f"{error.message} in {text}" for error in emf.iter_errors(line)]
    if len(text.encode()) > 256 * 1024:
        failures.append(f"too long for an event: {text}")
    for directive in line["_aws"]["CloudWatchMetrics"]:
        for name in sum(directive["Dimensions"], []):
            if not isinstance(line.get(name), str) or not 1 <= len(line[name]) <= 1024:
                failures.append(f"the dimension {name} is no text in {text}")
        for metric in directive["Metrics"]:
            if type(line.get(metric["Name"])) not in (int, float):
                failures.append(f"the metric {metric['Name']} is no number in {text}")
if not metrics:
    failures.append("the sweep wrote no metrics")


def strict(node):
    """The same schema, without further fields."""
    if isinstance(node, list):
        return [strict(it) for it in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if "properties" in node else {}
    return closed | {key: strict(it) for key, it in node.items()}


def described(node, where):
    """The paths of all fields of a schema."""
    for name, it in node.get("properties", {}).items():
        yield (*where, name)
        yield from described(it, (*where, name))
    if "items" in node:
        yield from described(node["items"], where)


def there(value, where=()):
    """The paths of all fields of a value."""
    for it in value if isinstance(value, list) else []:
        yield from there(it, where)
    for name, it in value.items() if isinstance(value, dict) else []:
        yield (*where, name)
        yield from there(it, (*where, name))


examples = (ROOT / "core/src/notice/examples.jsonl").read_text().splitlines()
details = {}
for event in map(json.loads, examples):
    details.setdefault(event["detail-type"], []).append(event["detail"])
schemas = [json.loads(it.read_text()) for it in sorted((ROOT / "docs/schema").glob("*.json"))]
if {it["title"] for it in schemas} != details.keys():
    failures.append(f"events without a schema, or the reverse: {sorted(details)}")
for published in schemas:
    title = published["title"]
    jsonschema.Draft7Validator.check_schema(published)
    events = jsonschema.Draft7Validator(strict(published), format_checker=jsonschema.FormatChecker())
    found = set()
    for detail in details[title]:
        failures += [f"{title}: {error.message} at {error.json_path}" for error in events.iter_errors(detail)]
        found |= set(there(detail))
    failures += [f"{title}: no example has {path}" for path in set(described(published, ())) - found]
    # It refuses what lacks a field, or has one more.
    whole = details[title][0]
    for name in published["required"]:
        if events.is_valid({key: it for key, it in whole.items() if key != name}):
            failures.append(f"{title}: valid without {name}")
    if events.is_valid(whole | {"more": 1}) or not jsonschema.Draft7Validator(published).is_valid(whole | {"more": 1}):
        failures.append(f"{title}: consumers must allow further fields, and this check none")

print(f"{len(metrics)} of {len(lines)} lines of a sweep are metrics as CloudWatch wants them")
print(f"{len(examples)} events validate")
print(f"{len(valid)} policies validate, {refused} of {len(sections)} invalid ones are refused")
raise SystemExit("\n".join(failures) if failures else 0)

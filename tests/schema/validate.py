"""The policy's JSON Schema against an independent validator.

Every example policy validates, and every policy of which `reapctl check` has a diagnostic is refused
by the schema too, but for those of which the form is right and the meaning is not.
"""

import json
import pathlib
import re

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).parents[2]

# What no schema can know.
ONLY_THE_READER = {
    "not YAML",
    "a tab for indentation",
    "two documents",
    "an alias without its anchor",
    "a tag",
    "a key twice",
    "a tag twice",
    "an id twice",
    "a version with a fraction",  # To JSON, 1.0 is an integer.
    "a role's own ARN",
    "an assumed role's ARN without a session name",
    "an ARN that is too short",
    "an ARN of something else",
    "an ARN without a name",
    "a misspelt tag key",
    "a tag key without a vocabulary",
    "a reason that is no regular expression",
    "a reason that is too large",
    "hours in a zone that does not exist",
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

print(f"{len(valid)} policies validate, {refused} of {len(sections)} invalid ones are refused")
raise SystemExit("\n".join(failures) if failures else 0)

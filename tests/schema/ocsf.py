"""The OCSF events of `reapctl verify-evidence`, held to the published schema.

The schema checks neither that `type_uid` follows from class and activity nor that times are in
milliseconds: a test of `reapctl` does.
"""

import json
import pathlib

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

ROOT = pathlib.Path(__file__).parents[2]

text = (ROOT / "reapctl/tests/it/ocsf.jsonl").read_text(encoding="utf-8")
events = [json.loads(line) for line in text.splitlines()]
failures = [] if events else ["there are no events"]
for event in events:
    metadata = event["metadata"]
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(metadata["version"]))
    schema = schemas.get_class_schema("authentication", profiles=metadata["profiles"])
    validator = jsonschema.Draft202012Validator(schema)
    failures += [f"{error.json_path}: {error.message}" for error in validator.iter_errors(event)]
    # It refuses what is wrong.
    for key, value in [("class_uid", 3001), ("user", None), ("colour", "red")]:
        if validator.is_valid(event | {key: value}):
            failures.append(f"the schema takes {key} as {value!r}")

print(f"{len(events)} events are as OCSF wants them")
raise SystemExit("\n".join(failures) if failures else 0)

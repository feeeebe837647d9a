#!/usr/bin/env bash
# Two OCSF validators, one "session terminated" event: each accepts what the other refuses, and both accept seconds.
#
# Guess:   both are made from the published schema, so they agree on a plain Authentication event.
# Happens: they agree on the smallest one (class 3002, Logoff, 1.7.0), and then on little.
#            with the profile `cloud` declared, and its `cloud` object  refused by ocsf-json-schema, whose caller has to
#                                                                       name the profile a second time
#            `type_uid` of Logon with `activity_id` of Logoff           refused by pydantic-ocsf only
#            neither `service` nor `dst_endpoint`                       refused by ocsf-json-schema only
#            an unknown key                                             refused by ocsf-json-schema only
#            `time` in seconds, where OCSF means milliseconds           accepted by both: the event is from January 1970
# Matters: a green validator is no proof that a SIEM will file a termination as a logoff, or in this year.
# Here:    a test of an OCSF event needs, besides a validator, assertions that `type_uid` is `class_uid` × 100 +
#          `activity_id` and that `time` is a recent date in milliseconds. Own data goes into `unmapped`,
#          which both accept.
#
# Needs python3; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check \
    ocsf-json-schema==1.2.0 jsonschema==4.26.0 pydantic-ocsf==3.0.0 2>pip.log || { cat pip.log; exit 2; }
cat >run.py <<'E'
import copy
import jsonschema
import pydantic
from ocsf.v1_7_0.events import Authentication
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.7.0"))
event = {
    "metadata": {"version": "1.7.0", "product": {"name": "session-reaper", "vendor_name": "session-reaper"}},
    "time": 1795842000000, "category_uid": 3, "class_uid": 3002, "activity_id": 2, "type_uid": 300202, "severity_id": 1,
    "user": {"name": "jane"}, "service": {"name": "ssm"}, "session": {"uid": "jane-0123"},
}
metadata = dict(event["metadata"], profiles=["cloud"])
cloud = {"metadata": metadata, "cloud": {"provider": "AWS", "region": "us-east-1"}}
cases = [
    ("the smallest event", {}, None),
    ("unmapped", {"unmapped": {"rule": "twelve-hours"}}, None),
    ("profile cloud", cloud, None),
    ("profile cloud, named to the validator", cloud, ["cloud"]),
    ("type_uid of Logon", {"type_uid": 300201}, None),
    ("no service", {"service": None}, None),
    ("an unknown key", {"rule": "twelve-hours"}, None),
    ("time in seconds", {"time": 1795842000}, None),
]
for name, changes, profiles in cases:
    candidate = {key: value for key, value in dict(copy.deepcopy(event), **changes).items() if value is not None}
    schema = schemas.get_class_schema("authentication", profiles=profiles or [])
    by_schema = jsonschema.Draft202012Validator(schema).is_valid(candidate)
    try:
        Authentication(**candidate)
        by_model = True
    except pydantic.ValidationError:
        by_model = False
    answer = {True: "accepted", False: "refused"}
    print(f"{name}: {answer[by_schema]} by ocsf-json-schema, {answer[by_model]} by pydantic-ocsf")
E
cat >expected <<'E'
the smallest event: accepted by ocsf-json-schema, accepted by pydantic-ocsf
unmapped: accepted by ocsf-json-schema, accepted by pydantic-ocsf
profile cloud: refused by ocsf-json-schema, accepted by pydantic-ocsf
profile cloud, named to the validator: accepted by ocsf-json-schema, accepted by pydantic-ocsf
type_uid of Logon: accepted by ocsf-json-schema, refused by pydantic-ocsf
no service: refused by ocsf-json-schema, accepted by pydantic-ocsf
an unknown key: refused by ocsf-json-schema, accepted by pydantic-ocsf
time in seconds: accepted by ocsf-json-schema, accepted by pydantic-ocsf
E
echo 'ocsf-json-schema 1.2.0 with jsonschema 4.26.0, pydantic-ocsf 3.0.0 (PyPI)'
py/bin/python run.py | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

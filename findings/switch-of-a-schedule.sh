#!/usr/bin/env bash
# In a SAM template, `Enabled: !Ref Parameter` enables a schedule, whatever the parameter says.
#
# Guess:   an intrinsic function either decides, or is refused where a boolean is needed, as the text "false" is.
# Happens: the transform takes a `!Ref` or `!If` under `Enabled` of a `Schedule` for true, and writes `State: ENABLED`,
#          also when it is given the parameter's value `false`. The intrinsic function is gone from the result. Events
#          `CloudWatchEvent` of functions and `Schedule` of state machines do alike, and cfn-lint has nothing to say.
#          `State` with the same function is passed through, and decides. (Reported to the project in 2019 as issue
#          1271 and in 2021 as 1943; both are closed.)
# Matters: the switch with which an operator stops a function that terminates sessions, or deploys it switched off, does
#          nothing: the deployment succeeds, the parameter shows `false`, and the function runs every few minutes.
# Here:    the schedule is an `AWS::Scheduler::Schedule`, which the transform leaves alone, and a dry run has no
#          permission to terminate, so that no switch is needed to try it.
#
# Needs python3; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check aws-sam-translator==1.115.0 cfn-lint==1.58.0 2>pip.log ||
    { cat pip.log; exit 2; }
cat >run.py <<'E'
import contextlib, io, json, logging
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.translator.transform import transform

logging.disable(logging.CRITICAL)

class NoPolicies:
    def load(self):
        return {}

def template(owner, kind, switch):
    what = {"Pattern": {"source": ["example"]}} if kind == "CloudWatchEvent" else {"Schedule": "rate(5 minutes)"}
    events = {"Sweep": {"Type": kind, "Properties": {**what, **switch}}}
    function = {"Runtime": "provided.al2023", "Handler": "bootstrap", "CodeUri": "s3://example/function.zip"}
    machine = {"DefinitionUri": "s3://example/machine.json", "Role": "arn:aws:iam::111122223333:role/example"}
    properties = {"Function": function, "StateMachine": machine}[owner]
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": {"Active": {"Type": "String", "AllowedValues": ["true", "false"], "Default": "false"}},
        "Conditions": {"IsActive": {"Fn::Equals": [{"Ref": "Active"}, "true"]}},
        "Resources": {"Reaper": {"Type": f"AWS::Serverless::{owner}", "Properties": {**properties, "Events": events}}},
    }

def transformed(*case):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            answer = transform(template(*case), {"Active": "false"}, NoPolicies())
    except InvalidDocumentException:
        return "refused"
    rule = next(it for it in answer["Resources"].values() if it["Type"] == "AWS::Events::Rule")
    return json.dumps(rule["Properties"]["State"])

REF = {"Ref": "Active"}
IF = {"Fn::If": ["IsActive", True, False]}
for case in [
    ("Function", "Schedule", {"Enabled": False}),
    ("Function", "Schedule", {"Enabled": "false"}),
    ("Function", "Schedule", {"Enabled": REF}),
    ("Function", "Schedule", {"Enabled": IF}),
    ("Function", "CloudWatchEvent", {"Enabled": IF}),
    ("StateMachine", "Schedule", {"Enabled": IF}),
    ("Function", "Schedule", {"State": {"Ref": "Active"}}),
]:
    print(*case[:2], json.dumps(case[2]), "->", transformed(*case))
with open("template.json", "w") as file:
    json.dump(template("Function", "Schedule", {"Enabled": IF}), file)
E
cat >expected <<'E'
Function Schedule {"Enabled": false} -> "DISABLED"
Function Schedule {"Enabled": "false"} -> refused
Function Schedule {"Enabled": {"Ref": "Active"}} -> "ENABLED"
Function Schedule {"Enabled": {"Fn::If": ["IsActive", true, false]}} -> "ENABLED"
Function CloudWatchEvent {"Enabled": {"Fn::If": ["IsActive", true, false]}} -> "ENABLED"
StateMachine Schedule {"Enabled": {"Fn::If": ["IsActive", true, false]}} -> "ENABLED"
Function Schedule {"State": {"Ref": "Active"}} -> {"Ref": "Active"}
cfn-lint: nothing to say
E
echo "aws-sam-translator 1.115.0, cfn-lint 1.58.0; the parameter Active is \"false\"; the State of the rule:"
export AWS_DEFAULT_REGION=us-east-1
{
    py/bin/python run.py 2>run.log || { cat run.log; exit 1; }
    py/bin/cfn-lint --regions us-east-1 --template template.json >lint.log 2>&1 && [ ! -s lint.log ] &&
        echo "cfn-lint: nothing to say" || cat lint.log
} | tee seen
diff expected seen && echo "as described" || { echo "this has changed"; exit 1; }

"""What EventBridge takes for a pattern and for a transformer: cfn-lint looks into neither."""

import json
import pathlib
import re

# The fields of events, by the schemas that the code is held to.
SCHEMAS = [json.loads(it.read_text()) for it in pathlib.Path("docs/schema").glob("*.json")]
OPERATORS = {"prefix", "suffix", "anything-but", "equals-ignore-case", "wildcard", "numeric", "cidr", "exists"}
LEAVES = (str, bool, int, float, type(None))


def fields(path):
    """The schemas of a field of `detail`, in whichever events it is."""
    found = SCHEMAS
    for name in path:
        known = [it.get("properties", {}).get(name) or it.get("additionalProperties") for it in found]
        found = [it for it in known if it]
    return found


def faults(rule):
    """What is wrong with a rule whose events are this project's or AWS's own."""
    found = []
    is_own = rule["EventPattern"].get("source") != ["aws.ssm", "aws.ecs"]

    def pattern(node, path):
        for key, it in node.items():
            if key == "$or":
                if not (isinstance(it, list) and len(it) > 1 and all(isinstance(a, dict) for a in it)):
                    found.append(f"{path}: $or is no list of patterns")
                    continue
                for one in it:
                    pattern(one, path)
                continue
            here = [*path, key]
            if isinstance(it, dict):
                pattern(it, here)
                continue
            if not isinstance(it, list) or not it:
                found.append(f"{here}: no list of values")
                continue
            known = fields(here[1:]) if here[0] == "detail" else True
            if is_own and not known:
                found.append(f"{here}: no event has it")
            for one in it:
                if isinstance(one, dict):
                    if len(one) != 1 or not one.keys() <= OPERATORS:
                        found.append(f"{here}: no operator {sorted(one)}")
                    is_object = is_own and any(a.get("type") == "object" for a in fields(here[1:]))
                    if "exists" in one and is_object:
                        found.append(f"{here}: exists of an object never matches")
                elif not isinstance(one, LEAVES):
                    found.append(f"{here}: {one} is no value")

    pattern(rule["EventPattern"], [])
    if len(json.dumps(rule["EventPattern"])) > 4096:
        found.append("the pattern is too long")
    if not 1 <= len(rule["Targets"]) <= 5:
        found.append("a rule has 1 to 5 targets")
    for target in rule["Targets"]:
        if "InputTransformer" in target:
            found.extend(transformer_faults(**target["InputTransformer"]))
    return found


def transformer_faults(InputTemplate, InputPathsMap):
    used = re.findall(r"<([^>]*)>", InputTemplate)
    for name, path in InputPathsMap.items():
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", name):
            yield f"{name} is no variable's name"
        if not re.fullmatch(r"\$(\.[A-Za-z0-9_-]+)+", path):
            yield f"{path} is no path"
        elif not fields(path.split(".")[2:]):
            yield f"no event has {path}"
    if set(used) != InputPathsMap.keys():
        yield "the variables of the template are not those of the map"
    if len(InputPathsMap) > 100 or not 1 <= len(InputTemplate) <= 8192:
        yield "it is too long"
    # Nothing is escaped: a text stands between quotes, and has none; an object is put in as it is, and only as a
    # part of JSON, or it is plain text.
    is_text = re.fullmatch(r'"<[^<>]*>"', InputTemplate)
    for name in used:
        kinds = {it.get("type") for it in fields(InputPathsMap.get(name, "$.x").split(".")[2:])}
        if kinds != ({"string"} if is_text else {"object"}):
            yield f"<{name}> is not where it can stand"
    if not is_text:
        try:
            filled = json.loads(re.sub(r"<[^<>]*>", '{"a": 0}', InputTemplate))
        except ValueError:
            filled = None
        if not isinstance(filled, dict) or not InputTemplate.startswith("{"):
            yield "it is no object with objects in it"

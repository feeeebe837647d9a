"""What CloudFormation makes of a template, as far as ours need it."""

import logging
import os
import re

os.environ.setdefault("AWS_DEFAULT_REGION", "eu-central-1")  # The translator wants one.

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

logging.disable()  # The translator counts what it does, and warns that they are not read.
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws-cn",  # So that an `arn:aws:` in the text shows.
    "AWS::Region": "cn-north-1",
    "AWS::StackName": "reaper",
}


class Gone:
    """What `AWS::NoValue` leaves behind."""


def stack(text, partition="aws-cn", region="cn-north-1", **parameters):
    """The resources and outputs of a template as they are with these parameters."""
    template = yaml_parse(text)
    if "Function" in template["Resources"]:
        template["Resources"]["Function"]["Properties"]["CodeUri"] = "s3://bucket/built"
    defaults = template["Parameters"].items()
    values = {name: it["Default"] for name, it in defaults if "Default" in it} | parameters
    loader = type("NoManagedPolicies", (), {"load": lambda self: {}})()
    if "Transform" in template:
        template = transform(template, dict(values), loader)
    conditions, resources = template["Conditions"], template["Resources"]
    pseudo = PSEUDO | {"AWS::Partition": partition, "AWS::Region": region}

    def ref(name):
        if name == "AWS::NoValue":
            return Gone
        if name in resources:
            return resolve(resources[name].get("Properties", {}).get("Name", name))
        return {**pseudo, **values}[name]

    def sub(argument):
        text, names = (argument, {}) if isinstance(argument, str) else argument
        names = {name: resolve(it) for name, it in names.items()}

        def value(match):
            name = match.group(1)
            if name in names:
                return str(names[name])
            return name if "." in name else str(ref(name))

        return re.sub(r"\$\{([\w:.]+)}", value, text)

    functions = {
        "Fn::And": lambda it: all(resolve(one) for one in it),
        "Fn::Select": lambda it: resolve(it[1])[it[0]],
        "Fn::Split": lambda it: resolve(it[1]).split(it[0]),
        "Condition": lambda it: resolve(conditions[it]),
        "Fn::Equals": lambda it: str(resolve(it[0])) == str(resolve(it[1])),
        "Fn::FindInMap": lambda it: template["Mappings"][it[0]][resolve(it[1])][it[2]],
        "Fn::GetAtt": ".".join,
        "Fn::If": lambda it: resolve(it[1] if resolve(conditions[it[0]]) else it[2]),
        "Fn::Not": lambda it: not resolve(it[0]),
        "Fn::Sub": sub,
        "Ref": ref,
    }

    def resolve(node):
        if isinstance(node, dict):
            if len(node) == 1 and (function := functions.get(next(iter(node)))):
                return function(next(iter(node.values())))
            items = {name: resolve(it) for name, it in node.items()}
            return {name: it for name, it in items.items() if it is not Gone}
        if isinstance(node, list):
            return [it for it in map(resolve, node) if it is not Gone]
        return node

    there = {
        name: resolve({key: it for key, it in resource.items() if key != "Condition"})
        for name, resource in resources.items()
        if "Condition" not in resource or resolve(conditions[resource["Condition"]])
    }
    outputs = template["Outputs"].items()
    outputs = {name: it for name, it in outputs if resolve(conditions.get(it.get("Condition"), True))}
    return there, resolve(outputs)


def of_type(resources, kind):
    return {name: it["Properties"] for name, it in resources.items() if it["Type"] == kind}


def allowed(resources, role="Role"):
    """What a role may do: each action with its resource and condition."""
    actions = {}
    for policy in resources[role]["Properties"]["Policies"]:
        for it in policy["PolicyDocument"]["Statement"]:
            for action in [it["Action"]] if isinstance(it["Action"], str) else it["Action"]:
                assert it["Effect"] == "Allow" and action not in actions, it
                actions[action] = (it["Resource"], it.get("Condition"))
    return actions


def trust(service, **other):
    """The trust policy of a role that one service may assume."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement | other]}


def alarm_metrics(alarm):
    """The metrics of an alarm: id, namespace, name, dimensions, statistic, period."""
    if "MetricName" in alarm:
        yield ("it", alarm["Namespace"], alarm["MetricName"], alarm["Dimensions"],
               alarm["Statistic"], alarm["Period"])  # fmt: skip
    for it in alarm.get("Metrics", []):
        if "MetricStat" in it:
            stat = it["MetricStat"]
            metric = stat["Metric"]
            yield (it["Id"], metric["Namespace"], metric["MetricName"], metric["Dimensions"],
                   stat["Stat"], stat["Period"])  # fmt: skip


def fires(alarm, periods):
    """Whether an alarm has fired after each of these periods: what each sweep in them measured."""
    statistics = {"Maximum": max, "Minimum": min, "Sum": sum}
    formula = next(
        (it["Expression"] for it in alarm.get("Metrics", []) if "Expression" in it), "it"
    )

    def value(sweeps):
        values = {"FILL": lambda it, other: other if it is None else it}
        for key, _, name, _, statistic, _ in alarm_metrics(alarm):
            measured = [it[name] for it in sweeps if name in it]
            values[key] = statistics[statistic](measured) if measured else None
        try:
            return eval(formula, {}, values)
        except (TypeError, ZeroDivisionError):  # No data.
            return None

    def is_breaching(value):
        return {
            "GreaterThanOrEqualToThreshold": value >= alarm["Threshold"],
            "GreaterThanThreshold": value > alarm["Threshold"],
            "LessThanThreshold": value < alarm["Threshold"],
        }[alarm["ComparisonOperator"]]

    n_evaluated, has_fired, history = alarm["EvaluationPeriods"], False, []
    values = [value(it) for it in periods]
    for now in range(len(values)):
        # What is missing is sought further back, and only then taken for what the alarm says.
        looked_at = values[max(0, now - n_evaluated - 1) : now + 1]
        known = [is_breaching(it) for it in looked_at if it is not None][-n_evaluated:]
        n_missing = n_evaluated - len(known)
        if not (n_missing and alarm["TreatMissingData"] == "ignore"):
            n_breaching = sum(known) + n_missing * (alarm["TreatMissingData"] == "breaching")
            has_fired = n_breaching >= alarm["DatapointsToAlarm"]
        history.append(has_fired)
    return history

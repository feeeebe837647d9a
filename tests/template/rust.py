"""What the code calls, reads and measures, by its text."""

import pathlib
import re


def source(folder):
    """The code of a folder, wherever in it a thing stands, without its tests."""
    files = sorted(pathlib.Path(folder).rglob("*.rs"))
    code = [it.read_text(encoding="utf-8").split("#[cfg(test)]")[0] for it in files]
    return ");\n".join(code)  # A line that is a match arm's ends with its file at the latest.


CODE, CORE = source("src"), source("core/src")
OPERATIONS = dict(re.findall(r'operation\("(\w+)", "([\w:]+)"\)', CODE))
# Those that are no calls of a sweep: of the hub's bucket and accounts, and the bus.
HUB_OPERATIONS = dict(re.findall(r'Operation::new\(\s*"(\w+)",\s*"([\w:]+)"', CODE))
OPERATIONS["PutEvents"] = HUB_OPERATIONS["PutEvents"]
HUB_VARIABLES = re.search(r"HUB: .*?];", CODE, re.DOTALL).group(0)
HUB_VARIABLES = {"REAPER_MEMBER_ROLE", *re.findall(r'"(REAPER_\w+)"', HUB_VARIABLES)}
VARIABLES = set(re.findall(r'\.(?:read|variable)\(\s*"(REAPER_\w+)"', CODE)) - HUB_VARIABLES
NAMESPACE = re.search(r'NAMESPACE: &str = "(\w+)"', CORE).group(1)
DIMENSIONS = re.findall(r'^        \("(\w+)", report\.', CORE, re.MULTILINE)
UNIT = '"(?:Count|Seconds|Milliseconds)"'


def metrics(function):
    """The metrics that a function of the core writes, with those that sweeps and runs share."""
    body = re.search(rf"\n(?:pub )?fn {function}\(.*?\n}}\n", CORE, re.DOTALL).group(0)
    found = re.findall(rf'(?:count|status)\("(\w+)"|\("(\w+)", {UNIT}', body)
    shared = metrics("sessions") if "(sessions(" in body else set()
    return {counted or other for counted, other in found} | shared

"""Runs the commands of the README's first code block after `## Quick start`, exactly as written."""

import pathlib
import re
import subprocess
import sys

readme = pathlib.Path("README.md").read_text(encoding="utf-8")
block = re.search(r"^## Quick start$.*?^```sh\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
commands = block.group(1).splitlines()
if len(commands) != 2:
    sys.exit(f"the quick start must be two commands, not {commands}")
for command in commands:
    print(f"$ {command}", flush=True)
    subprocess.run(command, shell=True, check=True)

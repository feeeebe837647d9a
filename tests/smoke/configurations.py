"""Runs the AWS CLI and reapctl side by side with the configuration files and variables that people have.

    python tests/smoke/configurations.py target/debug/reapctl [PART OF A LINE]

Each line of configurations.txt is a configuration file, a credentials file and variables, separated by `|`,
with which the sessions are counted. Standard output, standard error and the exit status must be the same,
but for what `normal` names. The versions of the AWS CLI are those of side_by_side.py.
"""

import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

from side_by_side_clients import N_AT_ONCE, Reapctl, line_of, pairs, piped

HERE = pathlib.Path(__file__).parent
COUNT = ["describe-sessions", "--state", "Active", "--query", "length(Sessions)"]
KEYS = "aws_access_key_id = a\naws_secret_access_key = b\n"


def run(client, line, url):
    """What the command writes in a home of its own, and its exit status."""
    config, credentials, variables = (it.strip() for it in line.split("|"))
    with tempfile.TemporaryDirectory() as home:
        folder = pathlib.Path(home, ".aws")
        folder.mkdir()
        for name, text in {"config": config, "credentials": credentials}.items():
            if text:
                text = text.replace("{keys}", KEYS).replace("{url}", url)
                # Escapes are those of Python's bytes, so that a file need not be UTF-8.
                text = text.encode().decode("unicode_escape").encode("latin-1")
                (folder / name).write_bytes(text)
        environment = {
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
            "PATH": os.environ["PATH"],
        }
        words = shlex.split(variables.replace("{url}", url))
        options = [it for it in words if not re.match(r"\w+=", it)]
        environment |= dict(it.split("=", 1) for it in words if re.match(r"\w+=", it))
        status, out, err = piped(client.run, [*COUNT, *options], environment)
        err = err.replace(home, "HOME").replace(url, "URL")
        return normal(isinstance(client, Reapctl), status, out, err)


def normal(is_reapctl, status, out, err):
    """The same for both where a file is refused: reapctl adds the reason, and version 1 is ended by it."""
    if refused := re.search(r"Unable to parse config file: (\S+)( \(.+\))?\n\Z", err):
        return "reapctl gives no reason" if is_reapctl and not refused[2] else f"refused: {refused[1]}"
    return f"exit status {status}\n{out}{err}"


def both(queue, line, url):
    pair = queue.get()
    results = [run(client, line, url) for client in pair]
    queue.put(pair)
    return results


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    lines = (HERE / "configurations.txt").read_text(encoding="utf-8").splitlines()
    lines = [it for it in lines if it and not it.startswith("#") and wanted in it]
    command = [sys.argv[1], "emulate", "--port", "0"]
    n_lines = n_different = 0
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as emulator,
        concurrent.futures.ThreadPoolExecutor(N_AT_ONCE) as pool,
        pairs() as queues,
    ):
        try:
            url = re.search(r"http://[0-9.:]+[0-9]", emulator.stdout.readline()).group()
            for version, queue in queues.items():
                own = [it for it in (line_of(version, it) for it in lines) if it]
                results = pool.map(lambda line: both(queue, line, url), own)
                for line, (expected, actual) in zip(own, results):
                    n_lines += 1
                    if expected != actual:
                        n_different += 1
                        print(f"{line}\n  aws {version}: {expected}\n  reapctl: {actual}", flush=True)
        finally:
            emulator.kill()
    print(f"{n_lines - n_different} of {n_lines} configurations agree")
    sys.exit(bool(n_different or not n_lines))


main()

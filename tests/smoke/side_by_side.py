"""Runs the AWS CLI and reapctl side by side against the emulator, over command_lines.txt.

    python tests/smoke/side_by_side.py target/debug/reapctl [PART OF A COMMAND LINE]

Standard output, standard error and the exit status must be the same, byte for byte, but for what
`normal` and `skeleton` name. Needs the packages of requirements.txt, and `aws` beside the running
Python. Prints what differs as a unified diff, and exits with 1 if anything does.
"""

import concurrent.futures
import contextlib
import difflib
import fcntl
import os
import pathlib
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios

HERE = pathlib.Path(__file__).parent
REAPCTL = str(pathlib.Path(sys.argv[1]).resolve())
AWS = str(pathlib.Path(sys.executable).with_name("aws"))
CLIENTS = {"aws": [AWS, "ssm"], "reapctl": [REAPCTL]}
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "emulator",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SECRET_ACCESS_KEY": "emulator",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "LC_ALL": "C.UTF-8",
    "NO_PROXY": "127.0.0.1",
    "PATH": os.environ["PATH"],
}
# What the AWS CLI and botocore choose at random in a sample of a request.
CHOICES = {
    "Active": ["Active", "History"],
    "InvokedAfter": [
        "InvokedAfter", "InvokedBefore", "Target", "Owner", "Status", "SessionId", "AccessType",
    ],
}


def groups():
    """The groups of command_lines.txt: kind, fleet, lines."""
    found = []
    for line in (HERE / "command_lines.txt").read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(?:(fresh|terminal) )?(\w+)\]", line):
            found.append((header[1] or "shared", header[2], []))
        elif line and not line.startswith("#"):
            found[-1][2].append(line)
    return found


@contextlib.contextmanager
def emulator(fleet):
    command = [REAPCTL, "emulate", "--port", "0", "--fleet", HERE / "fleets" / f"{fleet}.yaml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://[0-9.:]+[0-9]", process.stdout.readline()).group()
        finally:
            process.kill()


def run(client, line, url, on_terminal):
    """What the commands of a line write, and their exit statuses."""
    result = []
    for name, value in {"url": url, "inputs": str(HERE / "inputs"), "deep": "[" * 1500}.items():
        line = line.replace("{" + name + "}", value)
    for part in line.split(" ; "):
        words = shlex.split(part)
        environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": url}
        while "=" in words[0]:
            name, value = words.pop(0).split("=", 1)
            environment[name] = value
            if not value:
                del environment[name]
        command = [*CLIENTS[client], *words]
        call = terminal if on_terminal else pipe
        status, out, err = call(command, environment)
        result.append(f"exit status {status}\n-- stdout\n{out}\n-- stderr\n{normal(err, url)}\n")
    text = "".join(result)
    return skeleton(text) if "skeleton" in line else text.replace(url, "URL")


def pipe(command, environment):
    ran = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return ran.returncode, ran.stdout.decode(), ran.stderr.decode()


def terminal(command, environment):
    """The same with a terminal of 100 columns for standard output."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    output = b""
    with contextlib.suppress(OSError):  # So ends a terminal that nobody writes to any more.
        while data := os.read(reading, 65536):
            output += data
    os.close(reading)
    err = process.communicate()[1].decode()
    return process.returncode, output.decode(), err


def normal(err, url):
    """Errors without what must differ: the program's name, and its usage above an error of use."""
    err = re.sub(r"\Ausage: .*?(?=^\S+: error: |^Unknown options: )", "", err, flags=re.S | re.M)
    return re.sub(r"\A(aws|reapctl): error: ", "PROGRAM: error: ", err).replace(url, "URL")


def skeleton(text):
    for first, choices in CHOICES.items():
        text = re.sub(rf'("(?:State|key)": )"(?:{"|".join(choices)})"', rf'\1"{first}"', text)
    return text


def compare(kind, fleet, url, line):
    """The diff of a line; empty if there is none."""
    results = []
    for client in CLIENTS:
        with contextlib.ExitStack() as stack:
            at = stack.enter_context(emulator(fleet)) if kind == "fresh" else url
            results.append(run(client, line, at, kind == "terminal"))
    lines = [it.splitlines() for it in results]
    return "\n".join(difflib.unified_diff(*lines, *CLIENTS, f"[{fleet}] {line}", lineterm=""))


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    n_lines = n_different = 0
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(2))
        diffs = []
        for kind, fleet, lines in groups():
            url = None if kind == "fresh" else stack.enter_context(emulator(fleet))
            lines = [it for it in lines if wanted in f"[{fleet}] {it}"]
            diffs += [pool.submit(compare, kind, fleet, url, it) for it in lines]
        for diff in diffs:
            n_lines += 1
            if diff.result():
                n_different += 1
                print(diff.result(), flush=True)
    print(f"{n_lines - n_different} of {n_lines} command lines agree")
    if n_different or not n_lines:
        sys.exit(1)


main()

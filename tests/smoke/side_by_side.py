"""Runs the AWS CLI and reapctl side by side against the emulator, and against a server of raw answers,
over command_lines.txt: version 1 of the running Python, and version 2 of Debian 12.

    python tests/smoke/side_by_side.py target/debug/reapctl [PART OF A COMMAND LINE]

Standard output, standard error and the exit status must be the same, byte for byte, but for what
`normal` and `skeleton` name. Needs the packages of requirements.txt, and `aws` beside the running
Python. Version 2 is what `.ci/tools debian-aws` puts below target/tools; without it, it is left out, and said to be.
Prints what differs as a unified diff, and exits with 1 if anything does.
"""

import concurrent.futures
import contextlib
import difflib
import fcntl
import gzip
import http.server
import os
import pathlib
import pty
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import threading

from side_by_side_clients import N_AT_ONCE, line_of, pairs, piped

HERE = pathlib.Path(__file__).parent
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "emulator",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SECRET_ACCESS_KEY": "emulator",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "LC_ALL": "C.UTF-8",
    "AWS_PAGER": "",
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
# Answers with status 200, by name.
SESSIONS = '{"Sessions":[{"SessionId":"é"}],"SessionId":"é"}'
RAW = {
    "bom": SESSIONS.encode("utf-8-sig"),
    "dates": b'{"Sessions":[{"StartDate":1550676938.352,"EndDate":5e-07},{"StartDate":-1.25,"EndDate":1.5e-06}]}',
    "empty": b"",
    "cut_off": SESSIONS.encode()[:20],
    "gzip": gzip.compress(SESSIONS.encode()),
    "html": b"<!DOCTYPE html><title>Sign in</title>",
    "latin": SESSIONS.encode("latin-1"),
    "list": f"[{SESSIONS}]".encode(),
    "null": b"null",
    "number": b"1",
    "object": b"{}",
    "of_another_service": b'{"status":"ok"}',
    "repeated_member": b'{"Sessions":7,"SessionId":[],"Sessions":[{"SessionId":"a"}],"SessionId":"a"}',
    "scalars": b'{"Sessions":[{"SessionId":1,"Owner":true}],"SessionId":2.50}',
    "sessions": SESSIONS.encode(),
    "sessions_null": b'{"Sessions":null,"SessionId":null}',
    "sessions_number": b'{"Sessions":7,"SessionId":[7]}',
    "sessions_object": b'{"Sessions":{},"SessionId":{}}',
    "sessions_text": b'{"Sessions":"x","SessionId":["x"]}',
    "session_list": b'{"Sessions":[[]],"SessionId":[]}',
    "session_null": b'{"Sessions":[null,{"SessionId":"a"}]}',
    "session_text": b'{"Sessions":["x"],"SessionId":[[]]}',
    "spaces": b" \r\n ",
    "text": b'"x"',
    "true": b"true",
    "twice": f"{SESSIONS}{SESSIONS}".encode(),
    "url_text": b'{"Sessions":[{"SessionId":"a","OutputUrl":"x"}],"SessionId":[1]}',
    "utf16": SESSIONS.encode("utf-16"),
}

# How the results begin that the AWS CLI has where an answer is not AWS's: success, or Python's words.
AWS_CLI_ON_NO_ANSWER = {
    "refused": "exit status 0\n",
    "reworded": "exit status 255\n-- stdout\n\n-- stderr\n",
}
# The results of reapctl there.
NO_ANSWER = """exit status 255
-- stdout

-- stderr

The answer to the {operation} operation is not AWS's: check the endpoint URL and any proxy

"""


class Raw(http.server.BaseHTTPRequestHandler):
    """Answers every call with the body of the path's name."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = RAW[self.path.strip("/")]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def groups():
    """The groups of command_lines.txt: kind, fleet or raw answer, lines."""
    found = []
    for line in (HERE / "command_lines.txt").read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(?:(fresh|raw|refused|reworded|terminal) )?(\w[\w ]*)\]", line):
            lines = []
            found += [(header[1] or "shared", name, lines) for name in header[2].split()]
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


@contextlib.contextmanager
def emulator(fleet):
    command = [sys.argv[1], "emulate", "--port", "0", "--fleet", HERE / "fleets" / f"{fleet}.yaml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.search(r"http://[0-9.:]+[0-9]", process.stdout.readline()).group()
        finally:
            process.kill()


@contextlib.contextmanager
def raw_answers():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Raw)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


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
        call = on_a_terminal if on_terminal else piped
        status, out, err = call(client.run, words, environment)
        result.append(f"exit status {status}\n-- stdout\n{out}\n-- stderr\n{normal(err, url)}\n")
    text = "".join(result)
    return skeleton(text) if "skeleton" in line else text.replace(url, "URL")


def on_a_terminal(run, words, environment):
    """The same as `piped`, with a terminal of 100 columns for standard output."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    output = []

    def read():
        with contextlib.suppress(OSError):  # So ends a terminal that nobody writes to any more.
            while data := os.read(reading, 65536):
                output.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with tempfile.TemporaryFile() as stderr:
        status = run(words, environment, writing, stderr.fileno())
        os.close(writing)
        reader.join()
        os.close(reading)
        stderr.seek(0)
        return status, b"".join(output).decode(), stderr.read().decode()


def normal(err, url):
    """Errors without what must differ: the program's name, and its usage above an error of use."""
    err = err.replace("(ExpiredTokenException:x)", "(ExpiredTokenException)")  # Version 2 keeps what follows a colon.
    err = re.sub(r"\A\s*usage: .*?(?=^\S+: error: |^Unknown options: )", "", err, flags=re.S | re.M)
    return re.sub(r"\A(aws|reapctl): error: ", "PROGRAM: error: ", err).replace(url, "URL")


def skeleton(text):
    for first, choices in CHOICES.items():
        text = re.sub(rf'("(?:State|key)": )"(?:{"|".join(choices)})"', rf'\1"{first}"', text)
    return text


def compare(version, queue, kind, fleet, url, line):
    """The diff of a line; empty if there is none."""
    results = []
    pair = queue.get()
    for client in pair:
        with contextlib.ExitStack() as stack:
            at = stack.enter_context(emulator(fleet)) if kind == "fresh" else url
            results.append(run(client, line, at, kind == "terminal"))
    queue.put(pair)
    if kind in AWS_CLI_ON_NO_ANSWER and results[0].startswith(AWS_CLI_ON_NO_ANSWER[kind]):
        is_listing = line.startswith("describe")
        operation = "DescribeSessions" if is_listing else "TerminateSession"
        results[0] = NO_ANSWER.format(operation=operation)
    lines = [it.splitlines() for it in results]
    names = f"aws {version}", "reapctl"
    return "\n".join(difflib.unified_diff(*lines, *names, f"[{kind} {fleet}] {line}", lineterm=""))


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    n_lines = n_different = 0
    with contextlib.ExitStack() as stack:
        queues = stack.enter_context(pairs())
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(N_AT_ONCE))
        raw = stack.enter_context(raw_answers())
        diffs = []
        for kind, fleet, lines in groups():
            if kind == "raw" or kind in AWS_CLI_ON_NO_ANSWER:
                url = f"{raw}/{fleet}"
            else:
                url = None if kind == "fresh" else stack.enter_context(emulator(fleet))
            for version, queue in queues.items():
                own = filter(None, (line_of(version, it) for it in lines))
                own = [it for it in own if wanted in f"[{kind} {fleet}] {it}"]
                diffs += [pool.submit(compare, version, queue, kind, fleet, url, it) for it in own]
        for diff in diffs:
            n_lines += 1
            if diff.result():
                n_different += 1
                print(diff.result(), flush=True)
    print(f"{n_lines - n_different} of {n_lines} command lines agree")
    if n_different or not n_lines:
        sys.exit(1)


main()

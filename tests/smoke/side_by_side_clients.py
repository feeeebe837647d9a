"""What side_by_side.py and configurations.py run: reapctl, and the AWS CLI of version 1 (of the running Python) and
of version 2 (of Debian 12).

The AWS CLI is loaded once, and forks for each command line: a start takes it more than a second of CPU time, most of
which it spends on loading its modules. `pairs` starts this file with the Pythons that have it.
"""

import atexit
import contextlib
import json
import os
import pathlib
import queue
import re
import socket
import subprocess
import sys
import tempfile
import time
import traceback

DEBIAN = pathlib.Path("target/tools/debian-aws").absolute()
N_AT_ONCE = 2


class Reapctl:
    def __init__(self, version):
        self.version = version

    def run(self, words, environment, stdout, stderr):
        """Runs it with these words and only these variables; its exit status."""
        environment = {**environment, "REAPCTL_CLI_VERSION": self.version}
        command = [os.path.abspath(sys.argv[1]), *words]
        files = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
        return subprocess.run(command, env=environment, **files, timeout=60).returncode


class Aws:
    """A process that carries out one command line of `aws ssm` at a time."""

    def __init__(self, version, python, environment):
        self.version = version
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(60)
        with theirs:
            self.process = subprocess.Popen([python, __file__], env=environment, stdin=theirs)

    def run(self, words, environment, stdout, stderr):
        """Runs it with these words and only these variables; its exit status."""
        words = ["ssm", *words]
        names = ["AWS_ENDPOINT_URL_SSM", "AWS_ENDPOINT_URL"]
        url = next((it for it in map(environment.get, names) if it), None)
        if self.version == "2" and url:  # It does not know these variables. Its last `--endpoint-url` counts.
            words = ["--endpoint-url", url, *words]
        request = json.dumps([words, environment]).encode()
        socket.send_fds(self.socket, [request], [stdout, stderr])
        return int(self.socket.recv(16))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.wait()


@contextlib.contextmanager
def pairs():
    """For each version that there is, a queue with pairs of an AWS CLI and reapctl."""
    with contextlib.ExitStack() as stack:
        found = {}
        for version, python in versions().items():
            found[version] = queue.Queue()
            for _ in range(N_AT_ONCE):
                found[version].put((stack.enter_context(Aws(version, *python)), Reapctl(version)))
        yield found


def versions():
    """The Python of each version, and its variables."""
    found = {"1": (sys.executable, dict(os.environ))}
    if not DEBIAN.exists():
        print("Version 2 is left out: Debian's AWS CLI 2.9.19 is not there")
        return found
    # Debian's model of Systems Manager is older than AccessType; it is given that of version 1.
    import botocore.loaders

    model = DEBIAN / "models/ssm/2014-11-06/service-2.json"
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_text(json.dumps(botocore.loaders.create_loader().load_service_model("ssm", "service-2")))
    packages = DEBIAN / "usr/lib/python3/dist-packages"
    environment = {"AWS_DATA_PATH": str(DEBIAN / "models"), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(packages)}
    return found | {"2": ("/usr/bin/python3", environment)}


def line_of(version, line):
    """The line, if it is one of this version: `1: …` is not one of version 2."""
    only, rest = re.fullmatch(r"(?:(\d): )?(.*)", line).groups()
    return rest if only in (None, version) else None


def piped(run, words, environment):
    """The exit status, standard output and standard error."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        status = run(words, environment, stdout.fileno(), stderr.fileno())
        return status, *(it.seek(0) or it.read().decode() for it in [stdout, stderr])


def serve():
    import awscli.clidriver

    awscli.clidriver.create_clidriver()  # It loads what every command line needs.
    own = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # Importing it has set this.
    requests = socket.socket(fileno=os.dup(0))
    while True:
        request, files, _, _ = socket.recv_fds(requests, 1 << 20, 2)
        if not request:
            return
        child = os.fork()
        if child == 0:
            words, environment = json.loads(request)
            start(words, environment | own, files)
            os._exit(end(awscli.clidriver.main))
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        requests.send(str(os.waitstatus_to_exitcode(status)).encode())


def start(words, environment, files):
    """Does what an interpreter does at its start."""
    sys.argv = ["aws", *words]
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
        os.dup2(file, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")


def end(main):
    """Does what an interpreter does at its end, but for the memory, which takes longer than all the rest."""
    try:
        status = main()
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    return status or 0


if __name__ == "__main__":
    serve()

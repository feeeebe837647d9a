"""Lambda's Runtime API for one function, its events, and what it used until its reply."""

import contextlib
import http.server
import json
import os
import pathlib
import queue
import re
import resource
import subprocess
import threading
import time

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:session-reaper"
TIMEOUT_S = 900


class Api(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.first_next = None
        self.events, self.replies = queue.Queue(), queue.Queue()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # A function that is terminated closes its connections.


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.first_next = self.server.first_next or time.perf_counter()
        event = self.server.events.get()  # A frozen function waits for its next event.
        self.answer(200, event, {
            "lambda-runtime-aws-request-id": "request-1",
            "lambda-runtime-deadline-ms": str(int((time.time() + TIMEOUT_S) * 1000)),
            "lambda-runtime-invoked-function-arn": ARN,
        })

    def do_POST(self):
        replied_at = time.perf_counter()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        reply = replied_at, self.path.rsplit("/", 1)[1], json.loads(body)
        self.answer(202, b"{}", {})
        self.server.replies.put(reply)

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def high_water_kib(process):
    """The peak memory of a running process."""
    with contextlib.suppress(OSError):  # It has just exited.
        status = pathlib.Path("/proc", str(process.pid), "status").read_text(encoding="utf-8")
        if match := re.search(r"VmHWM:\s+(\d+)", status):
            return int(match[1])
    return 0


def used(usage, peak_kib):
    """CPU time and peak memory; the kernel's figure counts what the parent had before `exec`."""
    inherited_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if inherited_kib < usage.ru_maxrss:
        peak_kib = max(peak_kib, usage.ru_maxrss)  # A child's of the process, for one.
    return {"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": peak_kib / 1024}


class Function:
    """A function that stays for one event after the other, each with a duration. Where its environment
    is closed it is killed, and `used` is set."""

    def __init__(self, command, environment):
        self.api = Api()
        environment = {
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_NAME": "session-reaper",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.server_port}",
            **environment,
        }
        with open(os.devnull, "wb") as null:
            self.started_at = time.perf_counter()
            self.process = subprocess.Popen(command, env=environment, stdout=null)
        self.peak_kib = 0

    def __enter__(self):
        return self

    def invoke(self, event):
        """The reply to an event. Fails if the function does."""
        self.api.events.put(json.dumps(event).encode())
        while True:
            try:
                self.replied_at, kind, reply = self.api.replies.get(timeout=1)
                break
            except queue.Empty:
                if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    raise RuntimeError("the function has ended") from None
        self.peak_kib = high_water_kib(self.process)
        if kind != "response":
            raise RuntimeError(reply)
        return reply

    def __exit__(self, *_err):
        self.end(subprocess.Popen.kill)

    def end(self, end):
        if self.process.returncode is not None:
            return
        end(self.process)
        _, _, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        self.api.shutdown()
        self.api.server_close()
        self.used = used(usage, self.peak_kib)


def invoke(command, environment, event={}, end=subprocess.Popen.kill):
    """Starts the function and gives it one event: what it used, and its reply.

    Times count from the start of the process. Killed, it is in the middle of waiting for the next event.
    """
    with Function(command, environment) as function:
        try:
            reply = function.invoke(event)
        finally:
            function.end(end)
    return {
        "next_s": function.api.first_next - function.started_at,
        "wall_s": function.replied_at - function.started_at,
        **function.used,
    }, reply

"""Lambda's Runtime API for one function, one event, and what the function used until its reply."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import resource
import subprocess
import threading
import time

ARN = "arn:aws:lambda:eu-central-1:123456789012:function:session-reaper"
TIMEOUT_S = 900


class Api(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, event):
        self.event = json.dumps(event).encode()
        super().__init__(("127.0.0.1", 0), Handler)
        self.first_next = self.reply = self.replied_at = None
        self.is_done = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # A function that is terminated closes its connections.


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        now = time.perf_counter()
        if self.server.first_next:
            return time.sleep(TIMEOUT_S)  # A frozen function waits for its next event.
        self.server.first_next = now
        self.answer(200, self.server.event, {
            "lambda-runtime-aws-request-id": "request-1",
            "lambda-runtime-deadline-ms": str(int((time.time() + TIMEOUT_S) * 1000)),
            "lambda-runtime-invoked-function-arn": ARN,
        })

    def do_POST(self):
        self.server.replied_at = time.perf_counter()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.reply = self.path.rsplit("/", 1)[1], json.loads(body)
        self.answer(202, b"{}", {})
        self.server.is_done.set()

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


def invoke(command, environment, event={}, end=subprocess.Popen.kill):
    """Starts the function and gives it one event: what it used, and its reply.

    Times count from the start of the process. Killed, it is in the middle of waiting for the next event.
    """
    with Api(event) as api:
        environment = {
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_FUNCTION_NAME": "session-reaper",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
            **environment,
        }
        with open(os.devnull, "wb") as null:
            started_at = time.perf_counter()
            process = subprocess.Popen(command, env=environment, stdout=null)
        try:
            while not api.is_done.wait(1):
                if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    raise RuntimeError("the function has ended")
            peak_kib = high_water_kib(process)
        finally:
            end(process)
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            api.shutdown()
    kind, reply = api.reply
    if kind != "response":
        raise RuntimeError(reply)
    return {
        "next_s": api.first_next - started_at,
        "wall_s": api.replied_at - started_at,
        **used(usage, peak_kib),
    }, reply

"""The benchmark: `bench/run` installs, builds, and starts this.

    python bench/bench.py FUNCTION REAPCTL EMULATOR FLOORS CUSTODIAN
        [--quick] [--only organization | growth] [--also NAME=FUNCTION]

Everything runs on one machine in one run, one after the other and interleaved, so that the ratios
hold though the machine may not be quiet; only what waits for the quota runs side by side.
Writes bench/results.json; bench/render.py makes tables and the chart of it.
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import http.client
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

import certifi
import trustme

import growth
import lambda_api
from organization import Organization

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
BIN = pathlib.Path(sys.executable).parent
AWS = {
    "AWS_ACCESS_KEY_ID": "emulator",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "eu-central-1",
    "AWS_SECRET_ACCESS_KEY": "emulator",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "HOME": tempfile.gettempdir(),
    "NO_PROXY": "127.0.0.1,localhost",
    "PATH": f"{BIN}:{os.environ['PATH']}",
}
QUOTA = 6  # AWS's quota.
RATE = 5  # session-reaper's default.
CONCURRENCY = 8
PAGE = 200
UNBOUNDED = "10000"  # Calls a second where there is no quota.

parser = argparse.ArgumentParser()
for name in ["function", "reapctl", "emulator", "floors", "custodian"]:
    parser.add_argument(name, type=lambda it: pathlib.Path(it).resolve())
parser.add_argument("--quick", action="store_true", help="small fleets, once: to try the benchmark")
parser.add_argument("--only", choices=["organization", "growth"], help="keep the other results")
parser.add_argument("--also", action="append", default=[], help="another build of the function")
ARGUMENTS = parser.parse_args()


@contextlib.contextmanager
def emulator(*shape, tls=()):
    """An emulator; its address, and, after it has exited, the calls that it received."""
    command = [ARGUMENTS.emulator, *map(str, shape), *tls]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    record = {}
    try:
        yield process.stdout.readline().strip(), record
        record.update(json.loads(process.communicate()[0]))
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def authority():
    """A server's certificate, what makes a client trust it, and how many roots are trusted in all."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        authority = trustme.CA()
        server = authority.issue_cert("localhost")
        server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        bundle = folder / "bundle.pem"
        bundle.write_bytes(pathlib.Path(certifi.where()).read_bytes())
        authority.cert_pem.write_to_path(bundle, append=True)
        roots = bundle.read_text(encoding="utf-8").count("BEGIN CERTIFICATE")
        trusted = {"AWS_CA_BUNDLE": str(bundle), "SSL_CERT_FILE": str(bundle)}
        yield [folder / "server.pem", folder / "server.pem"], trusted, roots


def resident_kib(group):
    """The memory of a group of processes; what they share counts once."""
    found = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It has just exited.
            if int(stat.read_text().rsplit(")", 1)[1].split()[2]) == group:
                rollup = stat.with_name("smaps_rollup").read_text()
                found += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1])
    return found


def run(command, environment, has_children=False):
    """Runs a command; its times and peak memory, with those of its children if it has any."""
    started_at = time.perf_counter()
    null = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, start_new_session=has_children, **null)
    peak_kib = 0
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        sample = resident_kib(process.pid) if has_children else lambda_api.high_water_kib(process)
        peak_kib = max(peak_kib, sample)
        time.sleep(0.25 if has_children else 0.005)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - started_at
    return {"wall_s": wall_s, "status": process.returncode, **lambda_api.used(usage, peak_kib)}


# The peers, and session-reaper. Each takes an environment and whether there is a quota.


def shell_loop(environment, _has_quota):
    return run(["sh", HERE / "peers/shell_loop.sh"], environment)


def naive(environment, _has_quota):
    return run([sys.executable, HERE / "peers/naive.py"], environment)


def careful(environment, _has_quota):
    return run([sys.executable, HERE / "peers/careful.py"], environment)


def custodian(environment, _has_quota):
    with tempfile.TemporaryDirectory() as folder:
        policy = HERE / "peers/custodian.yaml"
        region = environment["AWS_REGION"]
        options = ["--cache-period", "0", "--region", region, "-s", folder]
        return run([ARGUMENTS.custodian, "run", *options, policy], environment)


def reapctl_sweep(environment, has_quota):
    pace = [] if has_quota else ["--calls-per-second", UNBOUNDED]
    sweep = ["sweep", "--policy", HERE / "policy.yaml", "--enforce", "--yes", "--output", "ndjson"]
    return run([ARGUMENTS.reapctl, *sweep, *pace], environment)


def function(environment, has_quota, policy="policy.yaml"):
    pace = {} if has_quota else {"REAPER_CALLS_PER_SECOND": UNBOUNDED}
    ours = {"REAPER_MODE": "enforce", "REAPER_POLICY_FILE": str(HERE / policy)}
    result, _reply = lambda_api.invoke([ARGUMENTS.function], {**environment, **ours, **pace})
    return result


SUBJECTS = {
    "AWS CLI in a shell loop": (shell_loop, 1_000),
    "boto3, naive": (naive, 1_000),
    "boto3, careful": (careful, 10_000),
    "Cloud Custodian": (custodian, 10_000),
    "reapctl sweep": (reapctl_sweep, 100_000),
    "session-reaper (Lambda)": (function, 100_000),
}


def sweep(name, subject, sessions, latency_ms, quota, **options):
    with emulator(sessions, latency_ms, quota) as (url, record):
        used = subject({**AWS, "AWS_ENDPOINT_URL": url}, bool(quota), **options)
    violators = sessions // 10
    terminated = violators - record["violators_alive"]
    wrongly = sessions - violators - record["others_alive"]
    print(
        f"{name}: {sessions} sessions, {latency_ms} ms, quota {quota}: {used['wall_s']:.2f} s, CPU"
        f" {used['cpu_s']:.2f} s, {used['peak_mib']:.0f} MiB, {terminated} of {violators} terminated",
        flush=True,
    )
    where = {"name": name, "sessions": sessions, "latency_ms": latency_ms, "quota": quota}
    return {**where, **used, **record, "violators": violators, "terminated": terminated, "wrongly": wrongly}


def sweeps():
    """The matrix. Runs that take minutes without new information run once, or not at all."""
    sizes = [100, 1_000] if ARGUMENTS.quick else [100, 1_000, 10_000, 100_000]
    results = []
    for repeat in range(1 if ARGUMENTS.quick else 3):
        for sessions in sizes:
            for latency_ms in [0, 30]:
                for name, (subject, most) in SUBJECTS.items():
                    if (sessions, latency_ms, subject) == (1_000, 0, shell_loop):
                        continue
                    is_slow = (sessions, latency_ms) == (100_000, 30) or (sessions, subject) in [
                        (1_000, shell_loop),
                        (10_000, custodian),
                        (100_000, reapctl_sweep),
                    ]
                    if sessions <= most and not (repeat and is_slow):
                        results.append(sweep(name, subject, sessions, latency_ms, 0))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            waiting = [
                pool.submit(sweep, name, subject, sessions, latency_ms, QUOTA)
                for sessions in [100, 1_000]
                for latency_ms in [0, 30]
                for name, (subject, _) in SUBJECTS.items()
                if not (sessions == 1_000 and subject == shell_loop)  # Slower than the quota.
            ]
            results += [it.result() for it in waiting]
    return results


def limits(results):
    """The physical limits, and how far session-reaper is from them."""
    latency_ms, sessions = 30, 1_000 if ARGUMENTS.quick else 10_000
    with emulator(0, latency_ms, 0) as (url, _record):
        round_trips = [round_trip(url) for _ in range(20)]
    measured_latency_s = statistics.median(round_trips)
    tagged = sweep(
        "session-reaper (Lambda)", function, sessions, 0, 0, policy="policy-tags.yaml"
    )
    found = {
        "latency_s": measured_latency_s,
        "tags": {
            "sessions": sessions,
            "calls": sum(tagged["calls"].values()),
            "limit": limit_of_calls(sessions) + math.ceil(sessions / 10 / 100),
            "cpu_s": tagged["cpu_s"],
        },
    }
    ours = [it for it in results if it["name"] in ["reapctl sweep", "session-reaper (Lambda)"]]
    identity = {"reapctl sweep": 1}  # It asks STS which account this is.
    found["calls_beyond"] = max(
        sum(it["calls"].values()) - limit_of_calls(it["sessions"]) - identity.get(it["name"], 0)
        for it in ours
    )
    with_quota = [it for it in ours if it["quota"] and it["sessions"] == 1_000]
    found["throttled"] = sum(it["throttled"] for it in with_quota)
    found["quota"] = max(
        (it["last_termination_s"] - it["first_termination_s"]) / (it["violators"] / RATE)
        for it in with_quota
    )
    found["latency"] = [
        {
            "name": it["name"],
            "sessions": it["sessions"],
            "seconds": it["last_termination_s"] + measured_latency_s - it["first_call_s"],
            "limit": (pages(it["sessions"]) + math.ceil(it["violators"] / CONCURRENCY))
            * measured_latency_s,
        }
        for it in ours
        if it["latency_ms"] and not it["quota"]
    ]
    return found


def pages(sessions):
    return max(1, math.ceil(sessions / PAGE))


def limit_of_calls(sessions):
    """Pages, violators, and the one listing that verifies."""
    violators = sessions // 10
    return pages(sessions) + violators + pages(sessions - violators)


def round_trip(url):
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.connect()
    started_at = time.perf_counter()
    connection.request("POST", "/", b"{}", {"x-amz-target": "AmazonSSM.DescribeSessions"})
    connection.getresponse().read()
    return time.perf_counter() - started_at


def cold_starts():
    """From the start of the process to the first reply, over TLS, with a full bundle of root certificates."""
    also = dict(it.split("=", 1) for it in ARGUMENTS.also)
    policy = (ROOT / "policies/starter.yaml").read_text(encoding="utf-8")
    subjects = {
        "empty function": [ARGUMENTS.floors / "empty"],
        "empty function with one call": [ARGUMENTS.floors / "one_call"],
        "session-reaper": [ARGUMENTS.function],
        **{name: [path] for name, path in also.items()},
        "boto3 function with one call": [sys.executable, HERE / "boto3_function.py"],
    }
    found = {name: [] for name in subjects}
    with authority() as (tls, trusted, roots):
        with emulator(0, 0, 0, tls=tls) as (url, record):
            environment = {**AWS, "AWS_ENDPOINT_URL": url, **trusted, "REAPER_POLICY": policy}
            for _ in range(5 if ARGUMENTS.quick else 30):
                for name, command in subjects.items():
                    found[name].append(lambda_api.invoke(command, environment)[0])
    calls = record["calls"]["DescribeSessions"] / len(found["session-reaper"])
    assert calls == len(subjects) - 1, "one call each, but for the empty function"
    print(f"cold starts: {roots} roots", flush=True)
    try:
        lambda_api.invoke(subjects["empty function"], environment, {"panic": True})
        raise AssertionError("a panic was not reported")
    except RuntimeError as err:
        print(f"a panic is reported: {err}", flush=True)
    binaries = {name: command[0] for name, command in subjects.items() if len(command) == 1}
    return {
        "roots": roots,
        "starts": len(found["session-reaper"]),
        "subjects": {
            name: {
                key: statistics.median(it[key] for it in results)
                for key in ["next_s", "wall_s", "cpu_s", "peak_mib"]
            }
            | {"zip_bytes": zipped(binaries[name]) if name in binaries else None}
            for name, results in found.items()
        },
    }


def zipped(path):
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            archive.write(path, "bootstrap")
        return file.tell()


def command_lines():
    """Command lines with ten sessions."""
    commands = {
        "aws ssm describe-sessions": [BIN / "aws", "ssm", "describe-sessions", "--state", "Active"],
        "reapctl --help": [ARGUMENTS.reapctl, "--help"],
        "reapctl plan": [ARGUMENTS.reapctl, "plan", "--policy", HERE / "policy.yaml"],
    }
    found = {name: [] for name in commands}
    with emulator(10, 0, 0) as (url, _record):
        for _ in range(3 if ARGUMENTS.quick else 20):
            for name, command in commands.items():
                found[name].append(run(command, {**AWS, "AWS_ENDPOINT_URL": url}))
    return {
        name: {key: statistics.median(it[key] for it in runs) for key in ["wall_s", "cpu_s"]}
        for name, runs in found.items()
    }


def evaluating():
    """The evaluator's own benchmark: sessions per second and core."""
    command = ["cargo", "bench", "--locked", "--manifest-path", ROOT / "oracle/Cargo.toml"]
    command += ["--target-dir", ROOT / "target/oracle", "--bench", "policy", "--", "evaluate"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    units = {"item": 1, "Kitem": 1e3, "Mitem": 1e6}
    found = {}
    for line in text.splitlines():
        if match := re.search(r"[├╰]─ (evaluate_\w+)", line):
            name = match[1]
        elif match := re.search(r"[├╰]─ (\d+) ", line):
            case = match[1]
        elif rates := re.findall(r"([\d.]+) ([KM]?item)/s", line):
            fastest, _slowest, median, _mean = (float(n) * units[unit] for n, unit in rates)
            found[f"{name} {case}"] = {"fastest": fastest, "median": median}
    return found


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 1024**2),
        "load": os.getloadavg()[0],
    }


def versions():
    custodian = subprocess.run(
        [ARGUMENTS.custodian, "version"], check=True, capture_output=True, text=True
    )
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True)
    return {
        "AWS CLI": importlib.metadata.version("awscli"),
        "boto3": importlib.metadata.version("boto3"),
        "Cloud Custodian": custodian.stdout.strip(),
        "Python": platform.python_version(),
        "rustc": rustc.stdout.split()[1],
    }


def about():
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
    }


def main():
    name = ROOT / ("target/bench-quick.json" if ARGUMENTS.quick else "bench/results.json")
    organization = Organization(sys.modules[__name__])
    found = json.loads(name.read_text(encoding="utf-8")) if ARGUMENTS.only and name.exists() else {}
    if not ARGUMENTS.only:
        began = time.monotonic()
        found = {
            **about(),
            "quick": ARGUMENTS.quick,
            "cold": cold_starts(),
            "command_lines": command_lines(),
            "sweeps": sweeps(),
        }
        found["limits"] = limits(found["sweeps"])
        found["evaluating"] = evaluating()
        found["minutes"] = round((time.monotonic() - began) / 60)
    for part, measure in {
        "growth": lambda: growth.measure(sys.modules[__name__], organization),
        "organization": organization.measure,
    }.items():
        if ARGUMENTS.only in [None, part]:
            began = time.monotonic()
            measured = {**about(), **measure()}
            found[part] = {**measured, "minutes": round((time.monotonic() - began) / 60)}
    name.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


main()

"""The benchmark of an organization; bench.py runs it.

An organization has accounts in four Regions, each with 50 sessions, of which five are too old. Every
answer takes 30 ms, and there is no quota. All tools are measured in one run, one after the other.
"""

import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import lambda_api

HERE = pathlib.Path(__file__).parent
REGIONS = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2"]
MANY_REGIONS = REGIONS + [
    "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1",
    "ap-southeast-2", "ca-central-1", "eu-north-1", "eu-west-2", "eu-west-3", "sa-east-1",
    "us-east-2", "us-west-1",
]
ROLE = "ReaperMember"
SESSIONS = 50
LATENCY_MS = 30
BATCHES_AT_ONCE = 20  # As the hub does by default.
UNBOUNDED = "10000"  # Calls a second.
OURS = ["reapctl sweep", "session-reaper (Lambda)"]


def accounts(n):
    return [f"{100_000_000_000 + it:012}" for it in range(n)]


class Organization:
    """Measures the tools: `bench` is bench.py."""

    def __init__(self, bench):
        self.bench = bench
        self.quick = bench.ARGUMENTS.quick

    def emulator(self, n, regions=REGIONS, every=1, latency_ms=LATENCY_MS, throttles=False, tls=()):
        """An organization with sessions in one account-Region of `every`; one may throttle listings."""
        shape = [n, ",".join(regions), SESSIONS, every, latency_ms, str(throttles).lower()]
        return self.bench.emulator("organization", *shape, tls=tls)

    # The tools. Each takes the environment and the number of accounts.

    def careful(self, environment, n):
        script = HERE / "peers/organization.py"
        command = [sys.executable, script, ROLE, ",".join(REGIONS), *accounts(n)]
        return self.bench.run(command, environment)

    def custodian(self, environment, n):
        """c7n-org, whose processes share the work."""
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder, "accounts.json")
            config.write_text(json.dumps({
                "accounts": [
                    {
                        "account_id": it,
                        "name": f"account-{it}",
                        "regions": REGIONS,
                        "role": f"arn:aws:iam::{it}:role/{ROLE}",
                    }
                    for it in accounts(n)
                ]
            }))
            program = self.bench.ARGUMENTS.custodian.with_name("c7n-org")
            options = ["-c", config, "-u", HERE / "peers/custodian.yaml", "--cache-period", "0"]
            options += ["-s", pathlib.Path(folder, "out")]
            return self.bench.run([program, "run", *options], environment, has_children=True)

    def reapctl(self, environment, n, pace=("--calls-per-second", UNBOUNDED)):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(f"{it}\n" for it in accounts(n)))
            file.flush()
            sweep = ["sweep", "--policy", HERE / "policy.yaml", "--enforce", "--yes", "--output", "ndjson"]
            where = ["--accounts", file.name, "--regions", ",".join(REGIONS), "--member-role", ROLE]
            return self.bench.run([self.bench.ARGUMENTS.reapctl, *sweep, *where, *pace], environment)

    def function(self, environment, n, pace=UNBOUNDED, regions=REGIONS):
        """A run as the state machine starts it: each batch in a process of its own."""
        environment = environment | hub(regions, pace)
        began = time.perf_counter()
        plan, reply = self.step(environment, {"step": "plan", "run": "bench", "input": {}})
        assert reply["accounts"] == n, reply
        batch = lambda it: self.step(environment, {"step": "batch", "run": "bench", "batch": it})[0]
        used = [plan]
        with concurrent.futures.ThreadPoolExecutor(BATCHES_AT_ONCE) as pool:
            batches = [*pool.map(batch, reply["canaries"]), *pool.map(batch, reply["batches"])]
        status = 0
        try:
            used.append(self.step(environment, {"step": "summary", "run": "bench"})[0])
        except RuntimeError as err:  # Something was not swept, and the run says so.
            assert err.args[0]["errorType"] == "RunIncomplete", err
            status = 1
        return {
            "wall_s": time.perf_counter() - began,
            "status": status,
            "cpu_s": sum(it["cpu_s"] for it in used + batches),
            "peak_mib": max(it["peak_mib"] for it in used + batches),
            "batches": [it["wall_s"] for it in batches],
            "steps": [it["wall_s"] for it in used],
        }

    def step(self, environment, event):
        return lambda_api.invoke([self.bench.ARGUMENTS.function], environment, event)

    def sweep(self, name, tool, n, throttles=False, **options):
        with self.emulator(n, throttles=throttles) as (url, record):
            used = tool({**self.bench.AWS, "AWS_ENDPOINT_URL": url}, n, **options)
        print(
            f"{name}: {n} accounts in {len(REGIONS)} Regions{', one throttled' * throttles}:"
            f" {used['wall_s']:.2f} s, CPU {used['cpu_s']:.2f} s, {used['peak_mib']:.0f} MiB,"
            f" {sum(record['calls'].values())} calls, {record['terminated']} of"
            f" {record['violators']} terminated, wrongly {record['wrongly']}, foreign"
            f" {record['foreign']}, twice {record['twice']}",
            flush=True,
        )
        return {"name": name, "accounts": n, "throttles": throttles, **used, **record}

    def sweeps(self):
        tools = {
            "c7n-org": self.custodian,
            "boto3, careful": self.careful,
            "reapctl sweep": self.reapctl,
            "session-reaper (Lambda)": self.function,
        }
        if not self.has_reapctl():
            del tools["reapctl sweep"]
        results = []
        sizes = [2, 10] if self.quick else [10, 50, 100]
        for repeat in range(1 if self.quick else 3):
            for n in sizes:
                for throttles in [False, True] if n == sizes[-1] else [False]:
                    for name, tool in tools.items():
                        # A minute and more each time.
                        is_slow = name == "c7n-org" and n > 10
                        if not (is_slow and (repeat or throttles)):
                            results.append(self.sweep(name, tool, n, throttles))
        return results

    def has_reapctl(self):
        command = [self.bench.ARGUMENTS.reapctl, "sweep", "--help"]
        return b"--member-role" in subprocess.run(command, capture_output=True, check=True).stdout

    def many(self):
        """1,000 accounts in 17 Regions, one account-Region in ten with sessions, over TLS, in batches
        of 51 on one function that stays."""
        n, n_batches = (30, 5) if self.quick else (1_000, 40)
        with self.bench.authority() as (tls, trusted, _roots):
            with self.emulator(n, MANY_REGIONS, 10, 0, tls=tls) as (url, record):
                environment = self.bench.AWS | hub(MANY_REGIONS, UNBOUNDED) | trusted
                environment |= {"AWS_ENDPOINT_URL": url, "REAPER_BATCH_SIZE": "51"}
                command = [self.bench.ARGUMENTS.function]
                plan, reply = self.step(environment, {"step": "plan", "run": "bench", "input": {}})
                batches = (reply["canaries"] + reply["batches"])[:n_batches]
                with lambda_api.Function(command, environment) as function:
                    walls, account_regions, cpu = [], [], []
                    for it in batches:
                        began = time.perf_counter()
                        done = function.invoke({"step": "batch", "run": "bench", "batch": it})
                        walls.append(time.perf_counter() - began)
                        account_regions.append(done["account_regions"])
                        assert done["swept"] == done["account_regions"], done
                        cpu.append(cpu_of(function.process))
                another = {"step": "batch", "run": "bench", "batch": batches[-1] + 1}
                first = self.step(environment, another)[0]
        # What the start costs is not an account-Region's.
        cpu_s = (cpu[-1] - cpu[0]) / sum(account_regions[1:])
        found = {
            "accounts": n,
            "regions": len(MANY_REGIONS),
            "batches_of_run": len(reply["canaries"] + reply["batches"]),
            "batches": len(batches),
            "account_regions_of_batch": max(account_regions),
            "cpu_s": cpu_s,
            "peak_mib": function.used["peak_mib"],
            "cold": first,
            "plan": plan,
            "batch_s": statistics.median(walls),
            **record,
        }
        print(
            f"session-reaper (Lambda): {n} accounts in {len(MANY_REGIONS)} Regions over TLS:"
            f" {cpu_s * 1000:.2f} ms CPU an account-Region, {found['peak_mib']:.1f} MiB after"
            f" {len(batches)} batches, {first['peak_mib']:.1f} MiB after one",
            flush=True,
        )
        return found

    def cost(self):
        """The durations of a run's steps at the default pace and with a latency, to compute a bill of."""
        n = 9 if self.quick else 51
        with self.emulator(n, MANY_REGIONS, 10) as (url, record):
            environment = self.bench.AWS | hub(MANY_REGIONS, None)
            environment |= {"AWS_ENDPOINT_URL": url, "REAPER_BATCH_SIZE": "51"}
            plan, reply = self.step(environment, {"step": "plan", "run": "bench", "input": {}})
            numbers = (reply["canaries"] + reply["batches"])[: 2 if self.quick else 8]
            batches = [
                self.step(environment, {"step": "batch", "run": "bench", "batch": it})[0]
                for it in numbers
            ]
        return {
            "plan_s": plan["wall_s"],
            "batch_s": statistics.mean(it["wall_s"] for it in batches),
            "batches": len(batches),
        }

    def measure(self):
        return {
            "regions": len(REGIONS),
            "sessions": SESSIONS,
            "latency_ms": LATENCY_MS,
            "sweeps": self.sweeps(),
            "many": self.many(),
            "cost": self.cost(),
        }


def hub(regions, pace):
    ours = {
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",  # As the hub has.
        "REAPER_BUCKET": "reaper",
        "REAPER_MEMBER_ROLE": ROLE,
        "REAPER_MODE": "enforce",
        "REAPER_POLICY_FILE": str(HERE / "policy.yaml"),
        "REAPER_REGIONS": ",".join(regions),
    }
    return ours | ({"REAPER_CALLS_PER_SECOND": pace} if pace else {})


def cpu_of(process):
    fields = pathlib.Path("/proc", str(process.pid), "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

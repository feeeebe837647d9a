"""How the function's use grows with sessions, rules and account-Regions; bench.py runs it.

Every answer takes 30 ms, and there is no quota. Rules are tried on 10,000 sessions. Of account-Regions, one in
ten has sessions; a run is carried out as the state machine starts it.
"""

import tempfile

from organization import REGIONS

SIZES = {
    "sessions": [100, 1_000, 10_000, 100_000],
    "rules": [1, 3, 10, 30, 100],
    # Accounts, and Regions of each.
    "account-Regions": [(1, 1), (10, 1), (25, 4), (250, 4), (2_500, 4)],
}
QUICK = {
    "sessions": [100, 1_000],
    "rules": [1, 10],
    "account-Regions": [(1, 1), (5, 4)],
}
SESSIONS, LATENCY_MS = 10_000, 30


def policy(rules):
    """So many rules, of which the first alone is ever violated."""
    others = (
        f"  - {{ id: team-{it}, when: {{ owner: 'role/Team{it}*' }}, require: {{ max_age: {it}h }} }}\n"
        for it in range(1, rules)
    )
    return (
        "version: 1\nrules:\n  - { id: no-older-than-12-hours, when: all, require: { max_age: 12h } }\n"
        + "".join(others)
        + "limits: { max_terminations: 1000000 }\n"
    )


def sweep(bench, sessions, rules):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(policy(rules))
        file.flush()
        name = "session-reaper (Lambda)"
        found = bench.sweep(name, bench.function, sessions, LATENCY_MS, 0, policy=file.name)
    assert found["terminated"] == found["violators"] and not found["wrongly"], found
    return used(found, found)


def run(organization, accounts, regions):
    regions = REGIONS[:regions]
    environment = organization.bench.AWS
    with organization.emulator(accounts, regions, 10) as (url, record):
        found = organization.function(environment | {"AWS_ENDPOINT_URL": url}, accounts, regions=regions)
    print(f"a run of {accounts} accounts in {len(regions)} Regions: CPU {found['cpu_s']:.2f} s", flush=True)
    assert record["terminated"] == record["violators"] and not record["wrongly"], record
    return {**used(found, record), **{key: found[key] for key in ["batches", "steps"]}}


def used(found, record):
    calls = sum(record["calls"].values())
    return {"calls": calls, **{key: found[key] for key in ["wall_s", "cpu_s", "peak_mib"]}}


def measure(bench, organization):
    sizes = QUICK if bench.ARGUMENTS.quick else SIZES
    sessions = 1_000 if bench.ARGUMENTS.quick else SESSIONS
    return {
        "sessions": [{"n": it, **sweep(bench, it, 1)} for it in sizes["sessions"]],
        "rules": [{"n": it, **sweep(bench, sessions, it)} for it in sizes["rules"]],
        "account-Regions": [
            {"n": accounts * regions, **run(organization, accounts, regions)}
            for accounts, regions in sizes["account-Regions"]
        ],
    }

"""Tables and charts of bench/results.json, between the markers in docs/performance.md and README.md.

    python bench/render.py [RESULTS]
"""

import json
import math
import pathlib
import re
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).parent.parent
RESULTS = json.loads(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "bench/results.json").read_text())
OURS = "session-reaper (Lambda)"


def table(header, rows):
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, it))} |" for it in lines)


def number(value):
    """Three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.01 else f"{value:.1g}"


def groups():
    """The runs of the matrix by what was run where."""
    found = {}
    for it in RESULTS["sweeps"]:
        key = it["quota"], it["latency_ms"], it["sessions"], it["name"]
        found.setdefault(key, []).append(it)
    return found


def median(runs, key):
    return statistics.median(it[key] for it in runs)


def terminated(runs):
    worst = min(runs, key=lambda it: it["terminated"] - it["wrongly"])
    text = f"{worst['terminated']:,} of {worst['violators']:,}"
    return text + (f", and {worst['wrongly']} others" if worst["wrongly"] else "")


def machine(of=RESULTS):
    it, versions = of["machine"], of["versions"]
    names = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured on {of['date']} on {it['cores']} cores of an {it['cpu']} with"
        f" {it['memory_gib']} GiB, load {it['load']:.1f} at the start, in {of['minutes']}"
        f" minutes: {names}."
    )


def sweeps():
    parts = []
    titles = {
        (0, 30): "Without a quota, every answer after 30 ms",
        (0, 0): "Without a quota, every answer at once",
        (6, 30): "With AWS's quota of 6 calls a second, every answer after 30 ms",
        (6, 0): "With AWS's quota of 6 calls a second, every answer at once",
    }
    found = groups()
    for (quota, latency_ms), title in titles.items():
        rows = []
        for (*where, sessions, name), runs in sorted(found.items(), key=lambda it: it[0][2]):
            if where == [quota, latency_ms]:
                calls = statistics.median(sum(it["calls"].values()) for it in runs)
                rows.append([
                    f"{sessions:,}", name, number(median(runs, "wall_s")), number(median(runs, "cpu_s")),
                    number(max(it["peak_mib"] for it in runs)), f"{calls:,.0f}",
                    f"{median(runs, 'throttled'):,.0f}", terminated(runs), len(runs),
                ])
        header = ["sessions", "", "time, s", "CPU, s", "peak, MiB", "calls", "throttled", "violators terminated, in the worst run", "runs"]
        parts += [f"**{title}**", table(header, rows)]
    return "\n\n".join(parts)


def cold():
    it = RESULTS["cold"]
    floor = it["subjects"]["empty function with one call"]
    rows = [
        [
            name, number(used["next_s"] * 1000), number(used["wall_s"] * 1000),
            number(used["wall_s"] / floor["wall_s"]), number(used["cpu_s"] * 1000),
            number(used["peak_mib"]),
            f"{used['zip_bytes'] / 1e6:.2f}" if used["zip_bytes"] else "–",
        ]
        for name, used in it["subjects"].items()
    ]
    header = ["", "first poll, ms", "first reply, ms", "to one call", "CPU, ms", "peak, MiB", "zip, MB"]
    return f"Medians of {it['starts']} starts each, interleaved, {it['roots']} root certificates.\n\n" + table(header, rows)


def goals():
    """The goals: what is wanted, what was measured, and whether it is met."""
    cold, limits, found = RESULTS["cold"]["subjects"], RESULTS["limits"], groups()
    start = cold["session-reaper"]["wall_s"]
    careful_cpu = median(found[0, 0, 10_000, "boto3, careful"], "cpu_s")
    cpu = max(median(found[0, 0, 10_000, it], "cpu_s") for it in [OURS])
    peak = max(it["peak_mib"] for key, runs in found.items() if key[2:] == (100_000, OURS) for it in runs)
    evaluated = RESULTS["evaluating"]["evaluate_sessions 1000"]["fastest"]
    lines = RESULTS["command_lines"]
    aws = lines["aws ssm describe-sessions"]["wall_s"]
    of_limit = [it["seconds"] / it["limit"] for it in limits["latency"] if it["sessions"] == 10_000 and it["name"] == OURS]
    slowest = statistics.median(of_limit)
    wrong = sum(it["wrongly"] + it["violators"] - it["terminated"] for it in RESULTS["sweeps"] if it["name"] in [OURS, "reapctl sweep"])
    listed = [
        ("violators not terminated, and other sessions terminated, in all runs", "0", wrong, wrong == 0),
        ("calls beyond pages + violators + one verification", "0", limits["calls_beyond"], limits["calls_beyond"] == 0),
        ("the same, if the tags of one target in ten decide", "0", limits["tags"]["calls"] - limits["tags"]["limit"], limits["tags"]["calls"] == limits["tags"]["limit"]),
        ("with the quota: throttled calls", "0", limits["throttled"], limits["throttled"] == 0),
        ("with the quota: time to terminate V violators ÷ (V ÷ rate)", "≤ 1.05", f"{limits['quota']:.3f}", limits["quota"] <= 1.05),
        ("without a quota, 30 ms: time to terminate 1,000 of 10,000 ÷ (pages × L + ⌈V ÷ 8⌉ × L)", "≤ 1.1", f"{slowest:.3f}", slowest <= 1.1),
        ("peak memory at 100,000 sessions", "≤ 48 MiB", f"{peak:.1f} MiB", peak <= 48),
        ("CPU time of a sweep of 10,000 ÷ that of the careful script", "≤ 1/10", f"1/{careful_cpu / cpu:.1f}", 10 * cpu <= careful_cpu),
        ("sessions evaluated per second and core, 20 rules", "≥ 1 million", f"{evaluated / 1e6:.2f} million", evaluated >= 1e6),
        ("first reply over TLS ÷ that of the empty function with one call", "≤ 1.1", f"{start / cold['empty function with one call']['wall_s']:.2f}", start <= 1.1 * cold["empty function with one call"]["wall_s"]),
        ("zip of the function", "≤ 4.5 MB", f"{cold['session-reaper']['zip_bytes'] / 1e6:.2f} MB", cold["session-reaper"]["zip_bytes"] <= 4.5e6),
        ("boto3's first reply over TLS ÷ first reply over TLS", "≥ 30 ×", f"{cold['boto3 function with one call']['wall_s'] / start:.0f} ×", 30 * start <= cold["boto3 function with one call"]["wall_s"]),
        ("`aws ssm describe-sessions` of 10 sessions ÷ `reapctl --help`", "≥ 10 ×", f"{aws / lines['reapctl --help']['wall_s']:.0f} ×", 10 * lines["reapctl --help"]["wall_s"] <= aws),
        ("the same ÷ `reapctl plan`", "≥ 10 ×", f"{aws / lines['reapctl plan']['wall_s']:.0f} ×", 10 * lines["reapctl plan"]["wall_s"] <= aws),
    ]
    rows = [[what, goal, value, "yes" if is_met else "**no**"] for what, goal, value, is_met in listed]
    return table(["", "goal", "measured", "met"], rows)


def organization_groups():
    found = {}
    for it in RESULTS["organization"]["sweeps"]:
        found.setdefault((it["throttles"], it["accounts"], it["name"]), []).append(it)
    return found


def organization():
    """The tables of an organization."""
    of = RESULTS["organization"]
    parts = [machine(of)]
    found = organization_groups()
    header = ["accounts", "", "time, s", "CPU, s", "peak, MiB", "calls", "violators terminated, in the worst run", "foreign", "twice", "runs"]
    for throttles, title in [(False, "Every account-Region answers"), (True, "One account-Region throttles every listing")]:
        rows = []
        for (at, n, name), runs in sorted(found.items(), key=lambda it: it[0][1]):
            if at == throttles:
                rows.append([
                    f"{n} × {of['regions']}", name, number(median(runs, "wall_s")), number(median(runs, "cpu_s")),
                    number(max(it["peak_mib"] for it in runs)),
                    f"{statistics.median(sum(it['calls'].values()) for it in runs):,.0f}", terminated(runs),
                    max(it["foreign"] for it in runs), max(it["twice"] for it in runs), len(runs),
                ])
        parts += [f"**{title}**", table(header, rows)]
    return "\n\n".join(parts)


def organization_goals():
    of, found = RESULTS["organization"], organization_groups()
    n = max(it["accounts"] for it in of["sweeps"])
    careful, custodian = (found[False, n, it] for it in ["boto3, careful", "c7n-org"])
    listed = []
    for name in ["reapctl sweep", OURS]:
        runs = found.get((False, n, name))
        if not runs:
            continue
        cpu, wall = median(runs, "cpu_s"), median(runs, "wall_s")
        to_careful, to_custodian = median(careful, "cpu_s") / cpu, median(custodian, "cpu_s") / cpu
        faster = median(careful, "wall_s") / wall
        calls = max(sum(it["calls"].values()) for it in runs)
        peak = max(it["peak_mib"] for it in runs)
        every = [it for at, its in found.items() if at[2] == name for it in its]
        wrong = sum(it["wrongly"] + it["violators"] - it["terminated"] + it["foreign"] + it["twice"] for it in every)
        throttled = median(found[True, n, name], "wall_s") / wall
        listed += [
            (f"{name}: CPU time ÷ that of the careful script", "≤ 1/10", f"1/{to_careful:.1f}", 10 <= to_careful),
            (f"{name}: CPU time ÷ that of c7n-org", "≤ 1/140", f"1/{to_custodian:.0f}", 140 <= to_custodian),
            (f"{name}: time ÷ that of the careful script", "≤ 1/4", f"1/{faster:.1f}", 4 <= faster),
            (f"{name}: calls", "≤ 3,000", f"{calls:,}", calls <= 3_000),
            (f"{name}: peak memory", "≤ 40 MiB", f"{peak:.1f} MiB", peak <= 40),
            (f"{name}: sessions terminated wrongly, or twice, or not, and foreign calls, in all runs", "0", wrong, wrong == 0),
            (f"{name}: time with one throttled ÷ time without", "≤ 1.3", f"{throttled:.2f}", throttled <= 1.3),
        ]
    many = of["many"]
    listed += [
        (f"{many['accounts']:,} × {many['regions']}, over TLS: CPU time of an account-Region", "≤ 1 ms", f"{many['cpu_s'] * 1000:.2f} ms", many["cpu_s"] <= 0.001),
        (f"the same: peak memory of a batch of {many['account_regions_of_batch']}", "≤ 24 MiB", f"{many['cold']['peak_mib']:.1f} MiB", many["cold"]["peak_mib"] <= 24),
    ]
    rows = [[what, goal, value, "yes" if is_met else "**no**"] for what, goal, value, is_met in listed]
    return table([f"{n} × {of['regions']}", "goal", "measured", "met"], rows)


# List prices in us-east-1 in US dollars, as in docs/organization.md.
GB_SECOND, REQUEST = 0.0000166667, 0.20e-6  # Lambda on x86.
TRANSITION, EXPRESS, EXPRESS_GB_SECOND = 25e-6, 1e-6, 0.00001667  # Step Functions.
PUT, GET = 5e-6, 0.4e-6  # S3.
MEMORY_GB, SWEEP_GB, CHILD_GB = 0.25, 0.125, 0.0625


def dollars_of_run(n, batches_s, steps_s):
    """Of so many batches, which take so long together, and of the plan and the summary."""
    return {
        "Lambda": (batches_s + steps_s) * MEMORY_GB * GB_SECOND + (n + 2) * REQUEST,
        # A distributed map has a transition for each child that it starts.
        "Step Functions": n * EXPRESS + batches_s * CHILD_GB * EXPRESS_GB_SECOND + (6 + n) * TRANSITION,
        "S3": n * (PUT + 3 * GET),
    }


def organization_cost():
    """A month of runs of 1,000 accounts, from the durations that were measured."""
    of = RESULTS["organization"]
    many, cost = of["many"], of["cost"]
    n = many["batches_of_run"]
    parts = dollars_of_run(n, n * cost["batch_s"], 2 * cost["plan_s"])
    rows = [
        [name, *(f"{dollars * runs:,.2f}" for runs in [8_640, 2_880, 720])]
        for name, dollars in [*parts.items(), ("**together**", sum(parts.values()))]
    ]
    text = (
        f"{many['accounts']:,} accounts in {many['regions']} Regions are {n} batches of"
        f" {many['account_regions_of_batch']}. A batch took {cost['batch_s']:.2f} s, from the start of its"
        f" process (mean of {cost['batches']}; one account-Region in ten has {of['sessions']} sessions, of"
        f" which {of['sessions'] // 10} are terminated; {of['latency_ms']} ms a call; the default pace)."
    )
    header = ["dollars a month, if a run starts every", "5 minutes", "15 minutes", "hour"]
    return text + "\n\n" + table(header, rows)


def growth():
    """What a sweep, or a run of an organization, takes by its size, with the exponents."""
    of = RESULTS["growth"]
    header = ["", "CPU, s", "peak, MiB", "calls", "time, s", "dollars a million"]
    parts = []
    for what, points in grown().items():
        rows = [
            [f"{it['n']:,} {what}", number(it["cpu_s"]), number(it["peak_mib"]), f"{it['calls']:,}",
             number(it["wall_s"]), number(it["dollars"] * 1e6)]
            for it in points
        ]
        keys = ["cpu_s", "peak_mib", "calls", "wall_s", "dollars"]
        rows.append(["exponent", *(f"{exponent(points, key):.2f}" for key in keys)])
        rows.append(["of the last step", *(f"{exponent(points[-2:], key):.2f}" for key in keys)])
        parts.append(table(header, rows))
    return machine(of) + "\n\n" + "\n\n".join(parts)


def grown():
    """What was measured, with Lambda's price, and for an organization S3's and that of Step Functions."""
    of = RESULTS["growth"]
    of_sweep = lambda it: it["wall_s"] * SWEEP_GB * GB_SECOND + REQUEST
    of_run = lambda it: sum(
        dollars_of_run(len(it["batches"]), sum(it["batches"]), sum(it["steps"])).values()
    )
    costs = {"sessions": of_sweep, "rules": of_sweep, "account-Regions": of_run}
    return {what: [{**it, "dollars": cost(it)} for it in of[what]] for what, cost in costs.items()}


def exponent(points, key):
    """The slope of the straight line that fits the logarithms best."""
    slope, _ = statistics.linear_regression(
        [math.log(it["n"]) for it in points], [math.log(it[key]) for it in points]
    )
    return round(slope, 2) + 0.0  # No negative zero.


def evaluating():
    rows = []
    for name, it in RESULTS["evaluating"].items():
        kind, case = name.rsplit(" ", 1)
        case = f"20 rules, {case} sessions" if kind == "evaluate_sessions" else f"{case} rules"
        rows.append([kind.replace("_", " "), case, number(it["fastest"] / 1e3), number(it["median"] / 1e3)])
    return table(["", "", "fastest, thousand/s", "median, thousand/s"], rows)


def command_lines():
    rows = [
        [f"`{name}`", number(it["wall_s"] * 1000), number(it["cpu_s"] * 1000)]
        for name, it in RESULTS["command_lines"].items()
    ]
    return table(["", "time, ms", "CPU, ms"], rows)


def readme():
    """One line a tool: 1,000 sessions, 30 ms, no quota."""
    found = groups()
    rows = []
    for key, runs in found.items():
        if key[:3] == (0, 30, 1_000):
            calls = statistics.median(sum(it["calls"].values()) for it in runs)
            rows.append([
                key[3], number(median(runs, "wall_s")), number(median(runs, "cpu_s")),
                number(max(it["peak_mib"] for it in runs)), f"{calls:,.0f}",
            ])
    return machine() + "\n\n" + table(["", "time, s", "CPU, s", "peak, MiB", "calls"], rows)


GREY = "#808080"  # Readable on white and on black.


def styled():
    plt.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "bench", "text.color": GREY, "axes.labelcolor": GREY,
        "axes.edgecolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "font.size": 11,
        "font.family": "sans-serif", "lines.linewidth": 2, "lines.markersize": 6,
    })


def plot(axis, lines, title, xlabel):
    for name, colour, points in lines:
        axis.loglog(*zip(*points), marker="o", color=colour, label=name)
    axis.set(title=title, xlabel=xlabel)
    axis.title.set_color(GREY)
    axis.grid(color=GREY, alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def growth_chart():
    keys = {"cpu_s": "CPU time, s", "peak_mib": "peak memory, MiB", "calls": "calls", "dollars": "dollars"}
    found = grown()
    figure, axes = plt.subplots(len(found), len(keys), figsize=(15, 10), sharey="col")  # Noise is not growth.
    for row, (what, points) in zip(axes, found.items()):
        for axis, (key, title) in zip(row, keys.items()):
            plot(axis, [(what, "#4e9f50", [(it["n"], it[key]) for it in points])], title, what)
    figure.tight_layout()
    figure.savefig(ROOT / "docs/growth.svg", transparent=True, metadata={"Date": None})


def chart():
    colours = dict(zip(
        ["AWS CLI in a shell loop", "boto3, naive", "boto3, careful", "Cloud Custodian", "reapctl sweep", OURS],
        ["#b07aa1", "#f28e2b", "#edc948", "#e15759", "#76b7b2", "#4e9f50"],
    ))
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2))
    found = groups()
    for axis, key, title in zip(axes, ["wall_s", "cpu_s", "peak_mib"], ["time, s", "CPU time, s", "peak memory, MiB"]):
        points = lambda name: sorted(
            (at[2], median(runs, key)) for at, runs in found.items() if at[:2] == (0, 30) and at[3] == name
        )
        lines = [(name, colour, points(name)) for name, colour in colours.items()]
        plot(axis, [it for it in lines if it[2]], title, "sessions")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=6, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(ROOT / "docs/performance.svg", transparent=True, metadata={"Date": None})


def insert(path, name, text):
    """Puts a text between its markers, which must be there."""
    old = path.read_text(encoding="utf-8")
    begin, end = f"<!-- bench: {name} -->", "<!-- bench: end -->"
    pattern = re.compile(f"({re.escape(begin)}\n)(?:(?!<!--).*\n)*({re.escape(end)})")
    new, n = pattern.subn(lambda it: f"{it[1]}{text}\n{it[2]}", old)
    assert n == 1, f"{path}: {name}"
    path.write_text(new, encoding="utf-8")


names = ["machine", "goals", "sweeps", "cold", "evaluating", "command_lines"]
if "organization" in RESULTS:
    names += ["organization", "organization_goals", "organization_cost"]
if "growth" in RESULTS:
    names.append("growth")
for name in names:
    insert(ROOT / "docs/performance.md", name, globals()[name]())
insert(ROOT / "README.md", "readme", readme())
styled()
chart()
if "growth" in RESULTS:
    growth_chart()

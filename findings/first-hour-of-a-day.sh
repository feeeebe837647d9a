#!/usr/bin/env bash
# In the first hour of each day, @bufbuild/cel says that it is tomorrow.
#
# Guess:   the libraries for CEL agree on the weekday in a time zone: the language defines `getDayOfWeek`, and its
#          conformance tests have time zones.
# Happens: from 00:00:00 to 00:59:59 in a named zone, @bufbuild/cel gives the next day, as weekday and as date, while
#          `getHours` is 0: it asks Intl.DateTimeFormat with `hour12: false`, for which midnight is the 24th hour, and
#          24:30 is half past midnight of the day after. "UTC" is such a name. An offset (`+01:00`) and no zone at all
#          are right, and so are cel-python and @marcbachmann/cel-js with a named zone.
# Matters: "no sessions at the weekend" terminates sessions on Friday at 00:30, and lets them run on Sunday at 00:30. A
#          test at any other time of the day passes.
# Here:    weekdays and hours are of jiff, and taken from one civil time of the policy's zone. No expression language.
#
# The answer of @bufbuild/cel depends on the Intl of Node.js, whose version is printed.
# Needs python3, node, npm; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check cel-python==0.5.0 2>pip.log || { cat pip.log; exit 2; }
npm install --silent --no-audit --no-fund --prefix js @bufbuild/cel@0.6.1 @marcbachmann/cel-js@8.0.0 >npm.log 2>&1 ||
    { cat npm.log; exit 2; }
cat >cases <<'E'
2026-11-26T22:59:59Z "Europe/Berlin"
2026-11-26T23:00:00Z "Europe/Berlin"
2026-11-26T23:59:59Z "Europe/Berlin"
2026-11-27T00:00:00Z "Europe/Berlin"
2026-11-26T23:30:00Z "+01:00"
2026-11-27T00:30:00Z "UTC"
2026-11-27T00:30:00Z
2026-11-28T23:30:00Z "Europe/Berlin"
E
cat >run.py <<'E'
import celpy

environment = celpy.Environment()
for line in open("cases"):
    time, _, zone = line.strip().partition(" ")
    for of in ["getDayOfWeek", "getDate", "getHours"]:
        program = environment.program(environment.compile(f'timestamp("{time}").{of}({zone})'))
        print(line.strip(), of, int(program.evaluate({})), sep="|")
E
cat >js/run.mjs <<'E'
import { readFileSync } from "node:fs";
const library = process.argv[2];
const cel = await import(library);
const evaluate = cel.run ?? cel.evaluate;
for (const line of readFileSync("cases", "utf8").trim().split("\n")) {
  const [time, zone = ""] = line.split(" ");
  for (const of of ["getDayOfWeek", "getDate", "getHours"]) {
    let answer;
    try {
      answer = String(evaluate(`timestamp("${time}").${of}(${zone})`));
    } catch {
      answer = "refused";
    }
    console.log([line, of, answer].join("|"));
  }
}
E
cat >table.py <<'E'
DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
print(f"{'':37}{'cel-python':18}{'@marcbachmann/cel-js':22}@bufbuild/cel")
readers = []
for name in ["python", "marcbachmann", "bufbuild"]:
    read = {}
    for line in open(name):
        case, of, answer = line.rstrip("\n").split("|")
        read.setdefault(case, []).append(answer)
    readers.append(read)
for case in readers[0]:
    texts = []
    for read in readers:
        day, date, hour = read[case]
        texts.append("refused" if day == "refused" else f"{DAYS[int(day)]} {date}, {hour} h")
    print(f"{case:37}{texts[0]:18}{texts[1]:22}{texts[2]}")
E
cat >expected <<'E'
                                     cel-python        @marcbachmann/cel-js  @bufbuild/cel
2026-11-26T22:59:59Z "Europe/Berlin" Thu 26, 23 h      Thu 26, 23 h          Thu 26, 23 h
2026-11-26T23:00:00Z "Europe/Berlin" Fri 27, 0 h       Fri 27, 0 h           Sat 28, 0 h
2026-11-26T23:59:59Z "Europe/Berlin" Fri 27, 0 h       Fri 27, 0 h           Sat 28, 0 h
2026-11-27T00:00:00Z "Europe/Berlin" Fri 27, 1 h       Fri 27, 1 h           Fri 27, 1 h
2026-11-26T23:30:00Z "+01:00"        Fri 27, 0 h       refused               Fri 27, 0 h
2026-11-27T00:30:00Z "UTC"           Fri 27, 0 h       Fri 27, 0 h           Sat 28, 0 h
2026-11-27T00:30:00Z                 Fri 27, 0 h       Fri 27, 0 h           Fri 27, 0 h
2026-11-28T23:30:00Z "Europe/Berlin" Sun 29, 0 h       Sun 29, 0 h           Mon 30, 0 h
E
echo "cel-python 0.5.0, @marcbachmann/cel-js 8.0.0, @bufbuild/cel 0.6.1, Node.js $(node --version):"
export TZ=UTC
py/bin/python run.py >python
node js/run.mjs @marcbachmann/cel-js >marcbachmann
node js/run.mjs @bufbuild/cel >bufbuild
python3 table.py | tee seen
diff expected seen && echo "as described" || { echo "this has changed"; exit 1; }

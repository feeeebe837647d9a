#!/usr/bin/env bash
# An absent number is less than 60: for two of four JMESPath libraries, and for a filter of Cloud Custodian.
#
# Guess:   a filter on a field that a session does not have selects nothing: JMESPath says that `<` on anything
#          but numbers gives null, and all four libraries are implementations of it.
# Happens: `Sessions[?max < `60`]` selects the session without `max` in jmespath and @metrichor/jmespath (npm), where
#          null is compared as 0, and not in jmespath (PyPI, used by boto3 and the AWS CLI) or
#          @jmespath-community/jmespath. `!(max > `60`)` selects it in all four.
#          Cloud Custodian's `value_type: integer` reads the absent field as 0, so `op: lt` selects it too, while
#          `value_type: age` on an absent start does not.
# Matters: in Session Manager's API every field of a session is optional. A query that was tried with one tool
#          selects more sessions in another, and the additional ones are those of which least is known.
# Here:    an absent field is unknown in three-valued logic, neither less nor more, also under a negation, and what is
#          unknown terminates no session.
#
# Needs python3, node, npm; about a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check jmespath==1.1.0 c7n==0.9.53 2>pip.log ||
    { cat pip.log; exit 2; }
npm install --silent --no-audit --no-fund --prefix js \
    jmespath@0.16.0 @metrichor/jmespath@0.3.1 @jmespath-community/jmespath@1.3.0 >npm.log 2>&1 ||
    { cat npm.log; exit 2; }

cat >input.json <<'E'
{
  "data": {"Sessions": [{"id": "thirty", "max": 30}, {"id": "ninety", "max": 90}, {"id": "absent"}]},
  "queries": ["Sessions[?max < `60`].id", "Sessions[?max > `60`].id", "Sessions[?!(max > `60`)].id"]
}
E
cat >js/run.js <<'E'
const { data, queries } = JSON.parse(require("fs").readFileSync("input.json"));
for (const name of ["jmespath", "@metrichor/jmespath", "@jmespath-community/jmespath"]) {
  const library = require(name);
  for (const query of queries) {
    console.log(`npm ${name} | ${query} | ${library.search(data, query).join(" ")}`);
  }
}
E
cat >run.py <<'E'
import datetime, json
import jmespath
from c7n.filters.core import ValueFilter

source = json.load(open("input.json"))
for query in source["queries"]:
    print("PyPI jmespath |", query, "|", " ".join(jmespath.search(query, source["data"])))

now = datetime.datetime.now(datetime.timezone.utc)
sessions = [dict(session, start=now - datetime.timedelta(days=2)) for session in source["data"]["Sessions"]]
del sessions[2]["start"]
for key, value_type, op, value in [("max", "integer", "lt", 60), ("start", "age", "gt", 1)]:
    condition = ValueFilter(
        {"type": "value", "key": key, "value_type": value_type, "op": op, "value": value}
    ).validate()
    selected = " ".join(session["id"] for session in sessions if condition(dict(session)))
    print(f"c7n | {key} {op} {value} ({value_type}) | {selected}")
E
cat >expected <<'E'
PyPI jmespath | Sessions[?max < `60`].id | thirty
PyPI jmespath | Sessions[?max > `60`].id | ninety
PyPI jmespath | Sessions[?!(max > `60`)].id | thirty absent
c7n | max lt 60 (integer) | thirty absent
c7n | start gt 1 (age) | thirty ninety
npm jmespath | Sessions[?max < `60`].id | thirty absent
npm jmespath | Sessions[?max > `60`].id | ninety
npm jmespath | Sessions[?!(max > `60`)].id | thirty absent
npm @metrichor/jmespath | Sessions[?max < `60`].id | thirty absent
npm @metrichor/jmespath | Sessions[?max > `60`].id | ninety
npm @metrichor/jmespath | Sessions[?!(max > `60`)].id | thirty absent
npm @jmespath-community/jmespath | Sessions[?max < `60`].id | thirty
npm @jmespath-community/jmespath | Sessions[?max > `60`].id | ninety
npm @jmespath-community/jmespath | Sessions[?!(max > `60`)].id | thirty absent
E
echo 'jmespath 1.1.0, c7n 0.9.53 (PyPI)'
echo 'jmespath 0.16.0, @metrichor/jmespath 0.3.1, @jmespath-community/jmespath 1.3.0 (npm)'
{ py/bin/python run.py; node js/run.js; } | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

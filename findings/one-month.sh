#!/usr/bin/env bash
# `1M` is a month for one reader of durations and a minute for five others.
#
# Guess:   a reader that knows no `M` refuses it; nothing turns a limit of 30 days into one of a minute.
# Happens: humantime (Rust) is case-sensitive: `1M` is 30.44 days and `1m` a minute. pytimeparse, pytimeparse2,
#          humanfriendly (PyPI), ms and parse-duration (npm) ignore the case of letters, and read a minute, without a
#          word. The two Python readers also take `1:30` for 90 seconds, where a person may mean one hour and a half;
#          parse-duration takes it for 1.03 seconds.
# Matters: a maximum age that moves from one tool's file to another's is 43,834 times shorter, and the next sweep
#          terminates every session.
# Here:    `max_age` knows only `d`, `h`, `m`, `s`, in this order and in lower case. `1M`, `1H`, `1:30` and `90` are
#          errors with their place, and a policy with an error terminates no session.
#
# Needs python3, node, npm, cargo; about half a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check pytimeparse==1.1.10 pytimeparse2==1.7.1 humanfriendly==10.0 \
    2>pip.log || { cat pip.log; exit 2; }
npm install --silent --no-audit --no-fund --prefix js ms@2.1.3 parse-duration@2.1.9 >npm.log 2>&1 ||
    { cat npm.log; exit 2; }
mkdir -p rust/src
cat >rust/Cargo.toml <<'E'
[package]
name = "durations"
version = "0.0.0"
edition = "2021"
[dependencies]
humantime = "=2.4.0"
[workspace]
E
cat >rust/src/main.rs <<'E'
fn main() {
    for text in ["1m", "1M", "1:30"] {
        match humantime::parse_duration(text) {
            Ok(read) => println!("humantime {text} {}", read.as_secs()),
            Err(_) => println!("humantime {text} refused"),
        }
    }
}
E
cat >run.py <<'E'
import humanfriendly, pytimeparse, pytimeparse2

readers = [("pytimeparse", pytimeparse.parse), ("pytimeparse2", pytimeparse2.parse),
           ("humanfriendly", humanfriendly.parse_timespan)]
for name, reader in readers:
    for text in ["1m", "1M", "1:30"]:
        try:
            read = reader(text)
        except humanfriendly.InvalidTimespan:
            read = None
        print(name, text, "refused" if read is None else f"{read:g}")
E
cat >js/run.mjs <<'E'
import ms from "ms";
import parse from "parse-duration";
const readers = { ms: (text) => ms(text) / 1000, "parse-duration": (text) => parse(text, "s") };
for (const [name, reader] of Object.entries(readers)) {
  for (const text of ["1m", "1M", "1:30"]) {
    const read = reader(text);
    console.log(name, text, Number.isFinite(read) ? read : "refused");
  }
}
E
cat >expected <<'E'
humantime 1m 60
humantime 1M 2630016
humantime 1:30 refused
pytimeparse 1m 60
pytimeparse 1M 60
pytimeparse 1:30 90
pytimeparse2 1m 60
pytimeparse2 1M 60
pytimeparse2 1:30 90
humanfriendly 1m 60
humanfriendly 1M 60
humanfriendly 1:30 refused
ms 1m 60
ms 1M 60
ms 1:30 refused
parse-duration 1m 60
parse-duration 1M 60
parse-duration 1:30 1.03
E
echo 'Seconds read by humantime 2.4.0 (crates.io), ms 2.1.3, parse-duration 2.1.9 (npm)'
echo 'and pytimeparse 1.1.10, pytimeparse2 1.7.1, humanfriendly 10.0 (PyPI)'
{ cargo run --quiet --manifest-path rust/Cargo.toml --target-dir rust/target
  py/bin/python run.py
  node js/run.mjs; } | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

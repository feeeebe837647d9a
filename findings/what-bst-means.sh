#!/usr/bin/env bash
# BST is Dhaka in Node.js, London in Cloud Custodian, and no time zone in Python or in Rust's jiff.
#
# Guess:   an abbreviation that is no name of the tz database is refused everywhere.
# Happens: Intl.DateTimeFormat takes the old abbreviations of ICU: BST is Asia/Dhaka, IST Asia/Calcutta, CST
#          America/Chicago. Cloud Custodian's off-hours filter has a table of its own, in lower case only: `bst` is
#          Europe/London, `ist` Europe/Dublin. zoneinfo and jiff refuse all three. EST is a name of the tz database,
#          UTC-5 all year; Cloud Custodian's `est` is New York, with daylight saving.
# Matters: "08:00-18:00 BST" is checked in one tool and applied by another: the office closes at 12:00Z or at 17:00Z,
#          and a session is terminated in the middle of the day.
# Here:    a policy's hours take names of the tz database only; `BST` and `IST` are errors with their place. `EST` is
#          UTC-5 all year: write `America/New_York`.
#
# The first answer depends on the ICU data inside Node.js, which is printed.
# Needs python3, node, cargo; about a minute, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check c7n==0.9.53 tzdata==2025.2 2>pip.log || { cat pip.log; exit 2; }
mkdir -p rust/src
cat >rust/Cargo.toml <<'E'
[package]
name = "zones"
version = "0.0.0"
edition = "2021"
[dependencies]
jiff = { version = "=0.2.43", default-features = false, features = ["std", "tzdb-bundle-always"] }
[workspace]
E
cat >rust/src/main.rs <<'E'
use jiff::{tz::TimeZoneDatabase, Timestamp};

fn main() {
    let noon: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();
    for name in ["BST", "IST", "CST", "EST"] {
        match TimeZoneDatabase::bundled().get(name) {
            Ok(zone) => println!("jiff {name} {}", noon.to_zoned(zone).strftime("%H:%M")),
            Err(_) => println!("jiff {name} refused"),
        }
    }
}
E
cat >run.py <<'E'
import datetime, zoneinfo
from c7n.filters.offhours import Time

zoneinfo.reset_tzpath([])  # only the pinned tzdata
noon = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.timezone.utc)
for name in ["BST", "IST", "CST", "EST"]:
    try:
        print("zoneinfo", name, noon.astimezone(zoneinfo.ZoneInfo(name)).strftime("%H:%M"))
    except zoneinfo.ZoneInfoNotFoundError:
        print("zoneinfo", name, "refused")
for name in ["bst", "ist", "cst", "est", "BST"]:
    zone = Time.get_tz(name)
    print("c7n", name, "refused" if zone is None else noon.astimezone(zone).strftime("%H:%M"))
E
cat >run.js <<'E'
for (const timeZone of ["BST", "IST", "CST", "EST"]) {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone, hour: "2-digit", minute: "2-digit" });
  console.log(`Intl ${timeZone} ${format.format(new Date("2026-07-01T12:00:00Z"))}`);
}
E
cat >expected <<'E'
zoneinfo BST refused
zoneinfo IST refused
zoneinfo CST refused
zoneinfo EST 07:00
c7n bst 13:00
c7n ist 13:00
c7n cst 07:00
c7n est 08:00
c7n BST refused
Intl BST 18:00
Intl IST 17:30
Intl CST 07:00
Intl EST 07:00
jiff BST refused
jiff IST refused
jiff CST refused
jiff EST 07:00
E
echo '2026-07-01T12:00:00Z by tzdata 2025.2, c7n 0.9.53 (PyPI), jiff 0.2.43 (crates.io), and'
node --print '`Node.js ${process.version}, ICU ${process.versions.icu}, tz data ${process.versions.tz}`'
{ py/bin/python run.py
  node run.js
  cargo run --quiet --manifest-path rust/Cargo.toml --target-dir rust/target; } | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

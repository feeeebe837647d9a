#!/usr/bin/env bash
# Naming a binary's own package in `[profile.release.package]` leaves its symbols in, although the profile says
# `strip = true`.
#
# Guess:   an override changes the keys that it names: with `opt-level` for one package, all else is as the profile
#          has it.
# Happens: Cargo passes `strip=debuginfo` instead of `strip=symbols` for that package, whichever key the override has.
#          Overrides of other packages, of `"*"` and of build scripts leave `strip` as it is, and so does one that says
#          `strip` again. Cargo's book lists what an override cannot have (`panic`, `lto`, `rpath`), not this.
# Matters: a function whose own code should be faster than its dependencies is a fifth larger, without a warning, and a
#          zip near a limit is above it.
# Here:    the profile has the level of this project's code, and `"*"` that of the dependencies. bench/run weighs the zip.
#
# Needs cargo and readelf; seconds. Seen with cargo 1.95.0. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR

# Installs the package with these settings, and says which symbol tables the binary has.
install() {
    local settings=()
    for it in profile.release.strip=true "${@:2}"; do settings+=(--config "$it"); done
    cargo install --quiet --locked --no-track --force --root root "${settings[@]}" catr@0.1.2 2>log || { cat log; exit 2; }
    tables=$(readelf --section-headers --wide root/bin/catr | grep -c '[.]symtab' || true)
    echo "$1: $tables"
}
cat >expected <<'E2'
no override: 0
opt-level of the package: 1
codegen-units of the package: 1
opt-level and strip of the package: 0
opt-level of "*": 0
opt-level of build scripts: 0
E2
own=profile.release.package.catr
cargo --version
echo 'catr 0.1.2 (crates.io), `strip = true`; symbol tables in the binary:'
{
    install 'no override'
    install 'opt-level of the package' $own.opt-level=2
    install 'codegen-units of the package' $own.codegen-units=1
    install 'opt-level and strip of the package' $own.opt-level=2 $own.strip=true
    install 'opt-level of "*"' 'profile.release.package."*".opt-level=2'
    install 'opt-level of build scripts' profile.release.build-override.opt-level=2
} | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

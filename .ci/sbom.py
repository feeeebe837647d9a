"""What the function and reapctl are made of, as CycloneDX 1.5: target/sbom/NAME.cdx.json.

Of what `cargo cyclonedx` finds in the workspace, where reapctl's features reach the function, it is
what `cargo tree` says is built into each. Nothing in it tells of the machine or of the hour.
"""

import json
import pathlib
import subprocess
import tomllib

TARGET = "x86_64-unknown-linux-gnu"  # On aarch64 it is one crate less: core_detect.
FOLDERS = {"session-reaper": pathlib.Path(), "reapctl": pathlib.Path("reapctl")}
WRITTEN = "sbom-of-the-workspace"  # Beside the manifest of each member.


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def built(package):
    """The crates by normal edges: name and version."""
    edges = ["--edges", "normal", "--target", TARGET, "--prefix", "none", "--format", "{p}"]
    lines = run("cargo", "tree", "--locked", "--package", package, *edges).splitlines()
    return {(name, version.removeprefix("v")) for name, version, *_ in map(str.split, lines)}


def bill(package, text):
    """The package's own part of a bill, and nothing of this machine's."""
    whole = json.loads(text.replace(f"path+file://{pathlib.Path.cwd()}", "path+file://."))
    whole.pop("serialNumber", None)
    whole["metadata"].pop("timestamp", None)
    wanted = built(package)
    kept = [it for it in whole["components"] if (it["name"], it["version"]) in wanted]
    own = whole["metadata"]["component"]
    refs = {it["bom-ref"] for it in [own, *kept]}
    edges = [it for it in whole["dependencies"] if it["ref"] in refs]
    for it in edges:
        if "dependsOn" in it:
            it["dependsOn"] = [ref for ref in it["dependsOn"] if ref in refs]

    assert own["name"] == package, own["name"]
    named = {(it["name"], it["version"]) for it in [own, *kept]}
    assert named == wanted, f"{package} is made of other crates: {named ^ wanted}"
    assert {it["ref"] for it in edges} == refs, f"{package}: the graph lacks a crate"
    return whole | {"components": kept, "dependencies": edges}


def main():
    options = ["--format", "json", "--spec-version", "1.5", "--no-build-deps", "--target", TARGET]
    run("cargo", "cyclonedx", "--quiet", *options, "--override-filename", WRITTEN)
    texts = {}
    manifest = tomllib.loads(pathlib.Path("Cargo.toml").read_text(encoding="utf-8"))
    for folder in manifest["workspace"]["members"]:
        path = pathlib.Path(folder, f"{WRITTEN}.json")
        texts[path.parent] = path.read_text(encoding="utf-8")
        path.unlink()
    into = pathlib.Path("target/sbom")
    into.mkdir(parents=True, exist_ok=True)
    for package, folder in FOLDERS.items():
        of_package = bill(package, texts[folder])
        text = json.dumps(of_package, indent=1) + "\n"
        for place in [pathlib.Path.cwd(), pathlib.Path.home()]:
            assert str(place) not in text, f"{package}: {place} is a path of this machine"
        path = into / f"{package}.cdx.json"
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {len(of_package['components'])} crates")


main()

#!/usr/bin/env bash
# `--output yaml` of the AWS CLI 2, read with PyYAML: the reason `no` is False, and `12:30:00` is 45,000.
#
# Guess:   what one Python library for YAML writes, the other reads: ruamel.yaml is a fork of PyYAML, and both leave the
#          writing to libyaml. A text that another reader could take for something else has quotes.
# Happens: ruamel.yaml writes YAML 1.2, in which `no`, `on`, `yes` and `12:30:00` are texts, so they have no quotes, and
#          no line says which version it is. PyYAML reads YAML 1.1: it makes booleans of the words and numbers to the
#          base 60 of the times, without a warning. Both quote `true`, `0x1F` and dates.
# Matters: the reason of a session is what a user types. A script that compares it, joins it or counts its letters fails
#          or decides otherwise on such a session, and on no other.
# Here:    `reapctl describe-sessions --cli-version 2 --output yaml` writes the same, byte for byte, because scripts
#          depend on it, and docs/aws-cli.md says so. JSON has no such texts.
#
# ruamel.yaml is called as in awscli/formatter.py of the AWS CLI 2.9.19, with the versions of Debian 12.
# Needs python3; a few seconds, most of it installation. Exit status 0: as described.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
python3 -m venv py
py/bin/pip install --quiet --disable-pip-version-check ruamel.yaml==0.17.21 ruamel.yaml.clib==0.2.7 PyYAML==6.0.3 \
    2>pip.log || { cat pip.log; exit 2; }
cat >run.py <<'E'
import io, ruamel.yaml, yaml

writer = ruamel.yaml.YAML(typ="safe")
writer.encoding = None
writer.representer.default_flow_style = False
for reason in ["no", "on", "Yes", "1:30", "12:30:00", "12:30:45.5", "true", "0x1F", "2026-03-02", "INC-1"]:
    text = io.StringIO()
    writer.dump({"Reason": reason}, text)
    written = text.getvalue().strip()
    again = ruamel.yaml.YAML(typ="safe").load(written)["Reason"]
    print(f"{written:24} ruamel.yaml: {again!r:14} PyYAML: {yaml.safe_load(written)['Reason']!r}")
E
cat >expected <<'E'
Reason: no               ruamel.yaml: 'no'           PyYAML: False
Reason: on               ruamel.yaml: 'on'           PyYAML: True
Reason: Yes              ruamel.yaml: 'Yes'          PyYAML: True
Reason: 1:30             ruamel.yaml: '1:30'         PyYAML: 90
Reason: 12:30:00         ruamel.yaml: '12:30:00'     PyYAML: 45000
Reason: 12:30:45.5       ruamel.yaml: '12:30:45.5'   PyYAML: 45045.5
Reason: 'true'           ruamel.yaml: 'true'         PyYAML: 'true'
Reason: '0x1F'           ruamel.yaml: '0x1F'         PyYAML: '0x1F'
Reason: '2026-03-02'     ruamel.yaml: '2026-03-02'   PyYAML: '2026-03-02'
Reason: INC-1            ruamel.yaml: 'INC-1'        PyYAML: 'INC-1'
E
echo 'ruamel.yaml 0.17.21, ruamel.yaml.clib 0.2.7, PyYAML 6.0.3 (PyPI)'
py/bin/python run.py | tee seen
if diff expected seen >difference; then echo 'As described.'; else echo 'CHANGED:'; cat difference; exit 1; fi

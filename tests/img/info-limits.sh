#!/bin/bash
# SPDX-License-Identifier: MIT
# --limits: what requests can be like, for people and as JSON.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 -o cluster_size=128k a 1M
ok info a
grep -q limits out && fail 'limits without being asked'
ok info --limits a
expect_out_has '^Block limits:$'
expect_out_has '^    request alignment: 1$'
expect_out_has '^    discard alignment: 131072$'
ok info --limits --output=json a
python3 -c '
import json
info = json.load(open("out"))
assert info["limits"]["write-zeroes-alignment"] == 131072
assert info["children"][0]["info"]["limits"]["request-alignment"] >= 1
' || fail 'JSON'

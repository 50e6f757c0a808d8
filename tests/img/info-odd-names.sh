#!/bin/bash
# SPDX-License-Identifier: MIT
# File names with quotes, blanks and bytes that are no UTF-8.
. "$(dirname "$0")/lib.sh"

requires python3
odd=$'a "b" \\ \xff \n c'
truncate -s 512 "$odd"
ok info --output=json "./$odd"
python3 -c 'import json, sys; print(json.load(sys.stdin)["filename"])' <out >/dev/null ||
    fail 'no JSON'
ok info "./$odd"

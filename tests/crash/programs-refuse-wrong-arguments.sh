#!/bin/bash
# SPDX-License-Identifier: MIT
#
# programs-refuse-wrong-arguments.sh TEST-CRASH TEST-FAULT TEST-MODEL: what is wrong on their command lines is told on
# stderr, with exit code 2, and nothing runs that was not meant; --help goes to stdout with exit code 0.
set -euo pipefail
failed=0

refuses() {
    local rc=0 err
    err=$(timeout 20 "$@" 2>&1 >/dev/null </dev/null) || rc=$?
    if [ $rc != 2 ] || [ -z "$err" ]; then
        echo "FAILED: '${*##*/}': exit code $rc, on stderr '$err'"
        failed=1
    fi
}
crash=$1 fault=$2 model=$3
for program in "$crash" "$fault" "$model"; do
    for wrong in --no-such-option word --seed=x --seed= --seed=-1 --seed=1x --seconds=0 --seconds=-1 --seconds=abc \
        --seconds=99999999999999999999 --case --case= --case=no-such-case; do
        refuses "$program" "$wrong"
    done
    help=$("$program" --help) || help="failed: $help"
    [[ $help == 'usage: '* ]] || { echo "FAILED: $program --help says '$help'"; failed=1; }
done
for wrong in default/x:write default/0 default/0:no-such-step default/0:write@x:none default/0:write@4 \
    default/0:write@4:no-such-choice default/0:random=x no-such-shape/0:write; do
    refuses "$crash" "--case=$wrong"
done
for wrong in --part=0/8 --part=9/8 --part=1 --part=1/0 --part=x/8 --part=1/8/8; do
    refuses "$crash" --all "$wrong"
done
refuses "$crash" --part=1/8
exit $failed

#!/bin/bash
# SPDX-License-Identifier: MIT
#
# refuses-wrong-arguments.sh PROCESS-TEST: numbers below 1 and what is no number are told on stderr, with exit code 2;
# a 0 must not run as if nothing had been said.
set -euo pipefail
failed=0
for wrong in --seconds=0 --count=0 --at=0 --count=-1 --seconds=x --no-such-option --scenario=no-such-scenario; do
    rc=0
    out=$(timeout 20 "$1" kill "$wrong" 2>/dev/null) || rc=$?
    err=$(timeout 20 "$1" kill "$wrong" 2>&1 >/dev/null) || true
    if [ $rc != 2 ] || [ -n "$out" ] || [ -z "$err" ]; then
        echo "FAILED: '$wrong': exit code $rc, on stdout '$out', on stderr '$err'"
        failed=1
    fi
done
exit $failed

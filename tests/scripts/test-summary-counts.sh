#!/bin/bash
# SPDX-License-Identifier: MIT
#
# scripts/test-summary: what counts as passed, failed and skipped.
set -euo pipefail
top=$(realpath "$(dirname "$0")/../..")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

# summary EXIT-CODE LAST-LINE < log: compares both
summary() {
    cat >"$tmp/log.json"
    rc=0
    out=$("$top/scripts/test-summary" "$tmp/log.json") || rc=$?
    if [ $rc != "$1" ] || [ "$(tail -n 1 <<<"$out")" != "$2" ]; then
        echo "FAILED: expected '$2' and exit code $1, got $rc and:"
        echo "$out"
        failed=1
    fi
}
# line NAME RESULT RETURNCODE STDOUT
line() {
    printf '{"name": "%s", "result": "%s", "returncode": %s, "stdout": "%s", "stderr": "", "command": ["x"]}\n' "$@"
}

summary 0 '2 passed, 0 failed, 1 skipped' < <(line tap OK 0 '1..3\nok 1 /a\nok 2 /b # SKIP no disk\nok 3 /c')
summary 1 '1 passed, 1 failed, 0 skipped' < <(line tap FAIL 1 '1..2\nnot ok 1 /a - because\nok 2 /b')
summary 1 '1 passed, 1 failed, 0 skipped' < <(line crash ERROR -6 '1..3\nok 1 /a')
summary 1 '0 passed, 1 failed, 0 skipped' < <(line slow TIMEOUT -15 '')
summary 1 '0 passed, 0 failed, 1 skipped' < <(line gone SKIP 0 '1..0 # nothing to do')
three() {
    line sh OK 0 'fine\nok then'
    line sh2 SKIP 77 'needs root'
    line sh3 FAIL 1 'bad'
}
summary 1 '1 passed, 1 failed, 1 skipped' < <(three)
[[ $out == *"sh2: needs root"* && $out == *"FAILED: "*sh3* ]] || { echo "no reasons: $out"; failed=1; }
summary 1 '0 passed, 0 failed, 0 skipped' </dev/null

rc=0
out=$("$top/scripts/test-summary" "$tmp/none.json") || rc=$?
[ $rc = 1 ] && [[ $out == *"0 passed, 1 failed, 0 skipped" ]] || { echo "no log: $rc $out"; failed=1; }
exit $failed

#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each script tells a wrong argument at once, before it builds or runs anything, with exit
# code 2 and on stderr; --help goes to stdout with exit code 0.
set -euo pipefail
cd "$(dirname "$0")/../.."
failed=0

refuses() {
    rc=0
    out=$(timeout 20 "$@" 2>/dev/null </dev/null) || rc=$?
    err=$(timeout 20 "$@" 2>&1 >/dev/null </dev/null) || true
    if [ $rc != 2 ] || [ -n "$out" ] || [ -z "$err" ]; then
        echo "FAILED: '$*': exit code $rc, on stdout '$out', on stderr '$err'"
        failed=1
    fi
}
refuses scripts/quickstart --no-such-option
refuses scripts/quickstart a b c
refuses scripts/test --no-such-option
refuses scripts/test --suite
refuses scripts/test --sanitize=no-such-sanitizer
refuses scripts/test --sanitize=address,thread
refuses scripts/test --sanitize=thread,address
refuses scripts/test --valgrind --sanitize=all
refuses scripts/test --coverage --sanitize=thread
refuses scripts/test --coverage --valgrind
refuses scripts/coverage --no-such-option
refuses scripts/coverage --keep --no-such-option
refuses scripts/coverage --report test-aio
refuses scripts/coverage --report --keep
refuses scripts/coverage-report
refuses scripts/bench --no-such-option
refuses scripts/bench no-such-part
refuses scripts/fuzz --no-such-option
refuses scripts/fuzz no-such-target
refuses scripts/fuzz --seconds=0
refuses scripts/bench --runs=0
refuses scripts/bench --data=abc
refuses scripts/build
refuses scripts/build ../elsewhere
refuses scripts/setup no-such-group
refuses scripts/make-image
refuses scripts/make-image /no/such/directory/image 1k
refuses scripts/test-summary
refuses scripts/soak no-such-number
refuses scripts/soak --only=no-such-tier
refuses scripts/soak 0
refuses scripts/soak 0.01
refuses scripts/soak nan
refuses scripts/soak inf
refuses scripts/soak --jobs=0
refuses scripts/planted-bugs no-such-bug
refuses scripts/planted-bugs --no-such-option
refuses tests/process/run no-such-directory
refuses .ci/run no-such-argument

for script in quickstart test coverage coverage-report bench fuzz build setup make-image test-summary check-layers soak planted-bugs ../.ci/run; do
    out=$(timeout 20 scripts/$script --help 2>/dev/null) || out="failed: $out"
    if [[ $out != 'usage: '* ]]; then
        echo "FAILED: scripts/$script --help says '$out'"
        failed=1
    fi
done
exit $failed

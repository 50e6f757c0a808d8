#!/bin/bash
# SPDX-License-Identifier: MIT
# Without -W a raw target is written from its start to its end where convert does not run in threads of its own: with a rate, and with
# --salvage.
. "$(dirname "$0")/lib.sh"
requires strace
requires_no_sanitizer

make_full a 24M
strace -f -qq -e trace=pwrite64 -o trace true 2>/dev/null || skip 'strace does not work here'

# The offsets of the target's data, as they were written.
ordered() {
    run strace -f -qq -e trace=pwrite64,pwritev -o trace "$img" convert -O raw "$@"
    expect_status 0
    sed -n 's/.*, \([0-9]*\)\() = [0-9]*\| <unfinished.*\)$/\1/p' trace >offsets
    [ "$(wc -l <offsets)" -ge 24 ] || fail "only $(wc -l <offsets) writes were seen"
    sort -n -c offsets 2>/dev/null
}

ordered -r 1G a b || fail 'with a rate'
cmp a b
ordered --salvage a c || fail 'with --salvage'
cmp a c

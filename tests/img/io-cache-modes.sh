#!/bin/bash
# SPDX-License-Identifier: MIT
# Without -t every write is durable when it completes; writeback leaves that to a flush.
. "$(dirname "$0")/lib.sh"

requires strace
requires_no_sanitizer
make_full raw 64k
syncs() {
    strace -f -e trace=fdatasync,pwritev2 -o trace "$io" -f raw "$@" -c 'write -q 0 4k' \
        -c 'write -q 4k 4k' raw || fail "$*"
    grep -c 'fdatasync(\|RWF_DSYNC' trace
}
[ "$(syncs)" -ge 2 ] || fail 'not durable by default'
[ "$(syncs -t writethrough)" -ge 2 ] || fail 'writethrough'
[ "$(syncs -t unsafe)" = 0 ] || fail 'unsafe'
[ "$(syncs -t writeback)" -le 1 ] || fail 'writeback'

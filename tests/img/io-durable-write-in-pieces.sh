#!/bin/bash
# SPDX-License-Identifier: MIT
# A durable write that has to go out in many pieces is synced once, not for each of them.
. "$(dirname "$0")/lib.sh"

requires strace
requires_no_sanitizer
ok create -q -f raw x 1M
file='{"driver":"file","filename":"x"}'
syncs() {
    strace -f -e trace=pwritev2,fdatasync -o trace "$io" -c "$1" \
        "json:{\"driver\":\"blkdebug\",\"image\":$file,\"max-transfer\":$2}" >out 2>err ||
        fail 'the write'
    grep -c 'fdatasync(\|RWF_DSYNC' trace
}
n=$(syncs 'write -f -P 7 0 1M' 4096)
[ "$n" -ge 1 ] && [ "$n" -le 3 ] || fail "$n syncs for one write in 256 pieces"
n=$(syncs 'write -f -P 8 0 4k' 4096)
[ "$n" -ge 1 ] || fail 'a durable write was not synced'
run "$io" -r -f raw -c 'read -P 8 0 4k' -c 'read -P 7 4k 1020k' x
expect_status 0

#!/bin/bash
# SPDX-License-Identifier: MIT
# An error at any event of qcow2, once or for ever, is told, and leaves at worst leaked clusters.
. "$(dirname "$0")/../img/lib.sh"
requires qemu-img

io=${QEMU_IO_MINI:-$(dirname "$img")/../qemu-io-mini/qemu-io-mini}
[ -x "$io" ] || skip "there is no $io"

# The events that these commands raise; an error there must be seen.
seen="l1_update l2_load l2_update l2_alloc_write write_aio refblock_load refblock_update_part
 refblock_alloc refblock_alloc_hookup cluster_alloc flush_to_os flush_to_disk pwritev
 pwritev_done l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table read_aio"
other="cluster_free refblock_alloc_write_blocks refblock_alloc_write_table
 refblock_alloc_switch_table cow_read cow_write"

try() { # event once immediately
    printf '[inject-error]\nevent = "%s"\nonce = "%s"\nimmediately = "%s"\n' "$@" >conf
    qemu-img create -q -f qcow2 -o cluster_size=512 e.qcow2 16M
    "$io" -c 'write 0 4k' e.qcow2 >/dev/null # a table to load
    run timeout 20 "$io" -c 'write 0 1M' -c 'write 8k 1k' -c 'discard 8k 32k' \
        -c 'write 30000 100' -c 'truncate 64M' -c 'write 60M 64k' -c 'read 0 128k' -c flush \
        blkdebug:conf:e.qcow2
    [ "$status" -lt 2 ] || fail "$*: exit code $status"
    cat out err >said
    checked=0
    qemu-img check e.qcow2 >out 2>err || checked=$?
    [ "$checked" = 0 ] || [ "$checked" = 3 ] || fail "$*: check says $checked"
}

for event in $seen; do
    try "$event" on off
    grep -qi error said || fail "$event: nobody told of the error"
    try "$event" off on
    grep -qi error said || fail "$event: nobody told of the error"
done
for event in $other; do
    try "$event" on off
    try "$event" off on
done

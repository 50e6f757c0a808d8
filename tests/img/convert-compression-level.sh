#!/bin/bash
# SPDX-License-Identifier: MIT
# -o compression_level: more is smaller; what it cannot be is refused before there is a target.
. "$(dirname "$0")/lib.sh"

seq 1 300000 >a
truncate -s %64K a
size() { stat -c %s "$1"; }
for type in zlib:12 zstd:19; do
    max=${type#*:} type=${type%:*}
    for level in 1 "$max"; do
        ok convert -c -O qcow2 -o compression_type=$type,compression_level=$level a t$level
        ok compare -q a t$level
    done
    [ "$(size "t$max")" -lt "$(size t1)" ] || fail "$type: level $max is not smaller than level 1"
    rm t1 "t$max"
    for level in 0 $((max + 1)); do
        refused "compression_level for $type must be between 1 and $max" \
            convert -c -O qcow2 -o compression_type=$type,compression_level=$level a t
    done
done
refused 'compression_level has no effect without -c' convert -O qcow2 -o compression_level=3 a t
refused "Invalid parameter 'compression_level'" convert -O raw -o compression_level=3 a t
refused "Invalid parameter 'compression_level': it needs a format that compresses, such as -O qcow2" \
    convert -c -o compression_level=3 a t
[ ! -e t ] || fail 'there is a target'
# Scripts know the list of options as qemu-img has it.
"$img" convert -O qcow2 -o help >list
! grep -q compression_level list || fail '-o help lists compression_level'
grep -q '^  compression_type=<str> - ' list || fail '-o help lists no compression_type'

# Of an image that is there it is an option like others.
ok create -q -f qcow2 t "$(size a)"
ok convert -c -n --target-image-opts a driver=qcow2,compression-level=12,file.filename=t
ok compare -q a t
run "$img" convert -c -n --target-image-opts a driver=qcow2,compression-level=13,file.filename=t
expect_status 1
expect_err_has 'compression-level for zlib must be between 1 and 12'

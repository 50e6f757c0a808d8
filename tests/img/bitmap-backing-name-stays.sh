#!/bin/bash
# SPDX-License-Identifier: MIT
# The bitmaps extension moves the backing file's name about in the header; it survives, also where
# there is hardly room.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 base.qcow2 1M
long=$(printf './%.0s' $(seq 130))base.qcow2
for cluster in 512 4k 64k; do
    for file in base.qcow2 "$long"; do
        ok create -q -f qcow2 -o cluster_size=$cluster -b "$file" -F qcow2 ov.qcow2
        md5sum <(head -c 512 ov.qcow2) >before
        run "$img" bitmap --add ov.qcow2 b
        if [ "$cluster$file" = "512$long" ] && [ "$status" = 1 ]; then
            ok info ov.qcow2
            expect_out_has "^backing file: $file"
            continue
        fi
        expect_status 0
        ok info ov.qcow2
        expect_out_has "^backing file: $file"
        expect_out_has '^backing file format: qcow2$'
        expect_out_has 'name: b$'
        ok bitmap --remove ov.qcow2 b
        ok info ov.qcow2
        expect_out_has "^backing file: $file"
        [ "$(md5sum <(head -c 512 ov.qcow2) | cut -c1-32)" = "$(cut -c1-32 before)" ] ||
            fail 'the header is not as it was'
    done
done

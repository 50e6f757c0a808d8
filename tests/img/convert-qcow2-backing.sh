#!/bin/bash
# SPDX-License-Identifier: MIT
# With a backing file for the target, only what the source's own layer holds is copied.
. "$(dirname "$0")/lib.sh"
requires qemu-img qemu-io

make_image base
qemu-img create -qf qcow2 -b base -F raw top.q 24M
qemu-io -f qcow2 -c 'write -P 5 2M 64k' -c 'write -z 1M 64k' -c 'write -P 6 20M 64k' \
    -c 'write -z 22M 1M' top.q >/dev/null
for how in '-B base -F raw' '-o backing_file=base,backing_fmt=raw' '-c -B base -F raw'; do
    # shellcheck disable=SC2086
    ok convert -O qcow2 $how top.q t.q
    qemu-img check -q t.q || fail 'check finds something'
    ok compare -q top.q t.q
    qemu-img map --output=json t.q | grep -q '"start": 22020096.*"depth": 1\|"present": false' ||
        fail 'zeroes behind the end of the backing file were written'
    [ "$(disk_kib t.q)" -lt 700 ] || fail 'more than the difference was copied'
done
# The same into an image that is there.
qemu-img create -qf qcow2 -b base -F raw n.q 24M
ok convert -n -B base -O qcow2 top.q n.q
ok compare -q top.q n.q
refused 'Use of backing file requires explicit backing format' convert -O qcow2 -B base top.q t
refused "Backing file not supported for file format 'raw'" convert -O raw -B base -F raw top.q t
refused 'Having a backing file for the target makes no sense when concatenating multiple input images' \
    convert -O qcow2 -B base -F raw top.q base t
refused 'Cannot use --target-is-zero when the destination image has a backing file' \
    convert -n --target-is-zero -B base -O qcow2 top.q n.q

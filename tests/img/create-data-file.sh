#!/bin/bash
# SPDX-License-Identifier: MIT
# An image with an external data file: opened by itself, the same in every command; a raw data file
# reads as the disk whatever was done to it. Names with a protocol are not followed.
. "$(dirname "$0")/lib.sh"
requires qemu-io qemu-img

refused "x: data-file-raw requires data-file" create -q -f qcow2 -o data_file_raw=on x 1M
refused "x: Backing file and data-file-raw cannot be used at the same time" \
    create -q -f qcow2 -o data_file=d,data_file_raw=on,backing_file=none,backing_fmt=raw -u x 1M
refused "x: External data files are only supported with compatibility level 1.1 and above (use \
version=v3 or greater)" create -q -f qcow2 -o data_file=d,compat=0.10 x 1M
refused "x: Could not create 'none/d': No such file or directory" \
    create -q -f qcow2 -o data_file=none/d x 1M
[ ! -e x ] || fail 'left behind an image'

for raw in on off; do
    ok create -q -f qcow2 -o data_file=d,data_file_raw=$raw x 4M
    [ "$(stat -c %s d)" = 4194304 ] || fail 'the data file has another size'
    qemu-io -c 'write -P 7 0 3M' -c 'write -z 64k 128k' -c 'discard 1M 512k' \
        -c 'write -zu 2M 64k' -c 'write -z 1000k 13k' x >/dev/null || fail 'qemu-io'
    ok resize -f qcow2 x 6M
    ok resize --shrink -f qcow2 x 2500k
    ok resize -f qcow2 x 5M
    [ "$(stat -c %s d)" = 5242880 ] || fail 'the data file has another size'
    ok convert -f qcow2 -O raw x out.raw
    run qemu-img compare -f qcow2 -F raw x out.raw
    expect_status 0
    [ $raw = off ] || cmp d out.raw || fail 'the data file is not the disk'
done

for mode in metadata falloc full; do
    ok create -q -f qcow2 -o data_file=d,preallocation=$mode x 4M
    ok map -f qcow2 --output=json x
    expect_out '[{ "start": 0, "length": 4194304, "depth": 0, "present": true, "zero": false, '\
'"data": true, "offset": 0}]'
    [ $mode = metadata ] || [ "$(disk_kib d)" -ge 4096 ] || fail "$mode: $(disk_kib d) KiB"
done

mv d e
run "$img" map -f qcow2 x
expect_status 1
expect_err "$name: Could not open 'x': Could not open 'd': No such file or directory"
ok info -f qcow2 x
expect_out_has 'data file: d$'
ok map --image-opts driver=qcow2,file.filename=x,data-file.filename=e

ok create -q -f qcow2 -o data_file=abcdefgh x 1M
sed -i 's/abcdefgh/nbd:abcd/' x
run "$img" map -f qcow2 x
expect_status 1
expect_err_has 'only plain file names are followed from within an image'

# A failed create leaves neither of the two files behind.
rm -f x d
run bash -c 'trap "" XFSZ; ulimit -f 300; exec "$@"' bash "$img" create -q -f qcow2 \
    -o data_file=d x 1G
expect_status 1
[ ! -e x ] && [ ! -e d ] || fail 'a failed create leaves a file'

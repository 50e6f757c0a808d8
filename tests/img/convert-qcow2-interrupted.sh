#!/bin/bash
# SPDX-License-Identifier: MIT
# A signal or a full disk in the middle of a conversion to qcow2: a target that was made is removed by the
# signal; one that was there is said to be incomplete, and is no damaged image.
. "$(dirname "$0")/lib.sh"
requires qemu-img

make_full a 16M
for opt in '' -c; do
    # shellcheck disable=SC2086
    run_until_written TERM b "$img" convert -O qcow2 $opt -r 8M a b
    expect_status $((128 + $(kill -l TERM)))
    expect_err "$name: Interrupted: the incomplete target 'b' has been removed"
    [ ! -e b ] || fail 'there is a target'
done
qemu-img create -qf qcow2 n 16M
run timeout -s TERM 0.3 "$img" convert -n -O qcow2 -r 8M a n
expect_err "$name: Interrupted: the target 'n' is incomplete"
qemu-img check -q n || [ $? = 3 ] || fail 'the target is damaged'

run bash -c 'trap "" XFSZ; ulimit -f 2000; exec "$@"' bash "$img" convert -O qcow2 a c
expect_status 1
expect_err_has "^$name: error while writing at byte [0-9]*: File too large$"
qemu-img check -q c || [ $? = 3 ] || fail 'the target is damaged'

#!/bin/bash
# SPDX-License-Identifier: MIT
# --progress=json:FD writes lines of JSON to a descriptor of the caller, for all long commands.
. "$(dirname "$0")/lib.sh"
requires jq qemu-img

make_full a 3M
run bash -c '"$@" 7>lines' bash "$img" convert -q -r 2M --progress=json:7 -O qcow2 a b
expect_status 0
expect_out ''
expect_err ''
[ "$(wc -l <lines)" -ge 2 ] || fail 'too few lines'
jq -es 'all(.percent >= 0 and .percent <= 100 and .done <= .total) and
    (map(.percent) | . == sort) and .[-1].status == "completed" and .[-1].percent == 100 and
    .[0].status == "running" and any(.rate > 0)' lines >out || fail "lines: $(cat lines)"
# The reader is gone: the work is done all the same.
run bash -c '"$@" 7> >(exec true)' bash "$img" convert -r 4M --progress=json:7 a c
expect_status 0
cmp a c

qemu-img create -qf qcow2 -b a -F raw o
for command in 'compare --progress=json:7 -q a o' 'rebase --progress=json:7 -q -b c -F raw o' \
    'commit --progress=json:7 -q o' 'amend --progress=json:7 -q -o compat=0.10 o' \
    'check --progress=json:7 -q o' 'check --progress=json:7 -q -r all o' \
    'dd --progress=json:7 if=a of=d' 'measure --progress=json:7 -O qcow2 o' \
    'measure --progress=json:7 --size=1M' 'resize --progress=json:7 -q o 5M' \
    'resize --progress=json:7 -q --preallocation=full o 6M' \
    'resize --progress=json:7 -q -f raw --preallocation=full a 70M'; do
    # shellcheck disable=SC2086
    set -- $command
    run bash -c '"$@" 7>lines' bash "$img" "$@"
    expect_status 0 "$command"
    jq -es '.[-1].status == "completed" and .[-1].percent == 100 and
        all(.done <= .total) and (map(.percent) | . == sort)' lines >out || fail "$command: $(cat lines)"
done
run bash -c '"$@" 7>lines' bash "$img" convert -q --progress=json:7 a nodir/b
expect_status 1
refused "Invalid progress option 'xml': use json:FD with the number of an open file descriptor" \
    convert --progress=xml a b
refused "--progress: '77' is no open file descriptor" convert --progress=json:77 a b
"$img" convert --help | grep -q 'progress=json:FD' || fail 'not in the help'

#!/bin/bash
# SPDX-License-Identifier: MIT
# --object takes secrets, for every command; what is wrong with one is told, and nothing is done.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
ok create -q -f qcow2 base 1M
ok create -q -f qcow2 -b base -F qcow2 q
ok snapshot -c s q
refused "Parameter 'id' is missing" info --object secret,data=x a

commands=(
    'amend --object OBJECT -o lazy_refcounts=on q'
    'bench --object OBJECT -c 1 a'
    'bitmap --object OBJECT --add q b0'
    'check --object OBJECT q'
    'commit --object OBJECT q'
    'compare --object OBJECT base q'
    'convert --object OBJECT a b'
    'create --object OBJECT c 1M'
    'dd --object OBJECT if=a of=d'
    'info --object OBJECT a'
    'map --object OBJECT q'
    'measure --object OBJECT --size=1M'
    'rebase --object OBJECT -u -b base -F qcow2 q'
    'resize --object OBJECT q 2M'
    'snapshot --object OBJECT -l q'
)
for command in "${commands[@]}"; do
    # shellcheck disable=SC2086
    set -- $command
    sha256sum a base q >before
    run "$img" "${@/OBJECT/foo,id=a}"
    expect_status "$([ "$1" = compare ] && echo 2 || echo 1)" "$command"
    expect_err "$name: Parameter 'qom-type' does not accept value 'foo'"
    expect_out ''
    sha256sum -c --quiet before || fail "$command changed an image"
    if [ -e b ] || [ -e c ] || [ -e d ]; then fail "$command left a file"; fi

    ok "${@/OBJECT/secret,id=sec0,data=abc}"
    rm -f b c d
done

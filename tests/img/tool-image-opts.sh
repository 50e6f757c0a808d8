#!/bin/bash
# SPDX-License-Identifier: MIT
# --image-opts: every command takes an image as a list of options; a list is no file name then.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 base 1M
ok create -q -f qcow2 -b base -F qcow2 q
q=driver=qcow2,file.filename=q
base=driver=qcow2,file.filename=base

ok amend --image-opts -o lazy_refcounts=on "$q"
ok bench --image-opts -c 1 "$q"
ok bitmap --image-opts --add "$q" b0
ok check --image-opts "$q"
ok compare --image-opts "$q" "$base"
ok convert --image-opts "$q" x
ok dd --image-opts if="$q" of=y
ok info --image-opts "$q"
expect_out_has '^bitmaps\|name: b0'
ok map --image-opts "$q"
ok measure --image-opts -O qcow2 "$q"
ok rebase --image-opts -u -b base -F qcow2 "$q"
ok resize --image-opts "$q" 2M
ok snapshot -c s --image-opts "$q"
ok snapshot -l q
expect_out_has '1 *s '
ok commit --image-opts "$q"
[ "$(stat -c %s x)" = 1048576 ] || fail 'size of the copy'
cmp x y || fail 'dd has copied something else'

for command in 'amend --image-opts -o compat=1.1' 'bench --image-opts' 'check --image-opts' 'commit --image-opts' \
    'info --image-opts' 'map --image-opts' 'measure --image-opts' 'rebase --image-opts -b base'; do
    # shellcheck disable=SC2086
    run "$img" $command q
    expect_status 1 "$command"
    expect_err "$name: Could not open 'q': Cannot find device='q' nor node-name='q'"
done

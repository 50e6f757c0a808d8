#!/bin/bash
# SPDX-License-Identifier: MIT
# convert --bitmaps copies persistent bitmaps; one that is inconsistent ends it, unless
# --skip-broken-bitmaps leaves it out.
. "$(dirname "$0")/lib.sh"

bitmaps() { "$img" info "$1" | sed -n 's/^ *name: //p' | tr '\n' ' '; }

ok create -q -f qcow2 a 4M
ok bitmap --add a b0
ok bitmap --add --disable -g 512 a b1
"$io" -c 'write -P 5 1M 64k' a >/dev/null || fail 'write'
ok convert -O qcow2 a plain
[ "$(bitmaps plain)" = '' ] || fail 'bitmaps without being asked for'
ok convert --bitmaps -O qcow2 a copy
[ "$(bitmaps copy)" = 'b0 b1 ' ] || fail "bitmaps: $(bitmaps copy)"
ok compare a copy
"$img" info copy >out
grep -A1 'flags:' out | grep -q auto || fail 'b0 is not enabled'
grep -q 'granularity: 512' out || fail 'granularity of b1'
ok convert --bitmaps --skip-broken-bitmaps -O qcow2 a copy
refused "Format driver 'raw' does not support bitmaps" convert --bitmaps -O raw a x
refused "Format driver 'qcow2' does not support bitmaps" convert --bitmaps -O qcow2 -o compat=0.10 a x
[ "$(bitmaps copy)" = 'b0 b1 ' ] || fail "bitmaps: $(bitmaps copy)"

# Killed while it was recording: b0 is inconsistent from then on.
run bash -c '"$1" -c "write 0 64k" -c "sigraise 9" a; true' bash "$io"
run "$img" convert --bitmaps -O qcow2 a broken
expect_status 1
expect_err "$name: Cannot copy inconsistent bitmap 'b0'
Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it"
ok_with_warning() { run "$img" "$@"; expect_status 0 "$@"; }
ok_with_warning convert --bitmaps --skip-broken-bitmaps -O qcow2 a mended
expect_err "$name: warning: Skipping inconsistent bitmap 'b0'"
[ "$(bitmaps mended)" = 'b1 ' ] || fail "bitmaps: $(bitmaps mended)"

refused 'Use of --skip-broken-bitmaps requires --bitmaps' convert --skip-broken-bitmaps -O qcow2 a x

#!/bin/bash
# SPDX-License-Identifier: MIT
# Bitmaps are added, shown by info, disabled, enabled and removed; unchanged ones stay in place.
. "$(dirname "$0")/lib.sh"

listed() { sed -n '/^    bitmaps:/,/^    refcount bits/p' out | grep -v '^    [br]' | tr -s ' \n' ' '; }

ok create -q -f qcow2 a.qcow2 10M
cp a.qcow2 fresh.qcow2
ok bitmap --add a.qcow2 b0
ok bitmap --add --disable -g 512 a.qcow2 b1
ok info a.qcow2
[ "$(listed)" = ' [0]: flags: [0]: auto name: b0 granularity: 65536 [1]: flags: name: b1 granularity: 512 ' ] ||
    fail "$(listed)"
ok bitmap --disable a.qcow2 b0
ok bitmap --enable a.qcow2 b1
ok info a.qcow2
[ "$(listed)" = ' [0]: flags: name: b0 granularity: 65536 [1]: flags: [0]: auto name: b1 granularity: 512 ' ] ||
    fail "$(listed)"

# What changes nothing writes nothing.
md5sum a.qcow2 >before
ok bitmap --enable a.qcow2 b1
ok bitmap --disable --enable a.qcow2 b1
md5sum -c --quiet before >/dev/null || fail 'the image was written to'

ok bitmap --remove a.qcow2 b0
ok info a.qcow2
[ "$(listed)" = ' [0]: flags: [0]: auto name: b1 granularity: 512 ' ] || fail "$(listed)"
ok bitmap --remove a.qcow2 b1
ok info a.qcow2
[ -z "$(listed)" ] || fail "$(listed)"

# Without bitmaps the header is as it was.
cmp -n 65536 a.qcow2 fresh.qcow2 || fail 'the header differs'

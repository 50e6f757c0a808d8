#!/bin/bash
# SPDX-License-Identifier: MIT
# measure -l counts what a snapshot holds, by its id or name.
. "$(dirname "$0")/lib.sh"

required() { sed -n 's/^required size: //p' out; }

ok create -q -f qcow2 a 16M
ok measure -O qcow2 a
empty=$(required)
ok snapshot -c none a
"$io" -c 'write -P 1 0 1M' a >/dev/null || fail 'write'
ok snapshot -c one a
"$io" -c 'write -P 1 8M 2M' a >/dev/null || fail 'write'
ok measure -O qcow2 a
[ "$(required)" = $((empty + 3 * 1048576)) ] || fail "now: $(required), empty: $empty"
for snapshot in none 1 snapshot.name=none snapshot.id=1; do
    ok measure -l $snapshot -O qcow2 a
    [ "$(required)" = "$empty" ] || fail "$snapshot: $(required)"
done
for snapshot in one 2 snapshot.id=2,snapshot.name=one; do
    ok measure -l $snapshot -O qcow2 --output=json a
    grep -q "\"required\": $((empty + 1048576))" out || fail "$snapshot: $(cat out)"
done
run "$img" measure -l three -O qcow2 a
expect_status 1
expect_err_has "^$name: Failed to load snapshot: "
refused '--image-opts, -f, and -l require a filename argument.' measure -l one -O qcow2 --size=1M

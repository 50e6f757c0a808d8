#!/bin/bash
# SPDX-License-Identifier: MIT
# info shows the snapshots, also below a raw view of the image.
. "$(dirname "$0")/lib.sh"
requires jq

ok create -f qcow2 disk 1M
ok info disk
! grep -q Snapshot out || fail 'a list of nothing'
ok info --output=json disk
[ "$(jq 'has("snapshots")' out)" = false ] || fail 'a list of nothing'
ok snapshot -c one disk
ok info disk
"$img" snapshot -l disk >list
[ "$(sed -n '/^Snapshot list/,/^1 /p' out)" = "$(cat list)" ] || fail 'not the list of snapshot -l'
ok info --output=json disk
[ "$(jq -c '.snapshots[0] | [.id, .name, .["vm-state-size"], .["vm-clock-sec"], .icount]' out)" = \
    '["1","one",0,0,0]' ] || fail 'not in JSON'
now=$(date +%s)
at=$(jq '.snapshots[0]["date-sec"]' out)
[ "$at" -le "$now" ] && [ "$at" -gt $((now - 100)) ] || fail "made at $at, now it is $now"
ok info --image-opts driver=raw,file.driver=qcow2,file.file.filename=disk
expect_out_has '^1  *one '

#!/bin/bash
# SPDX-License-Identifier: MIT
# Damage in the snapshot table: what it makes impossible is refused, everything else goes on.
. "$(dirname "$0")/lib.sh"

# poke FILE OFFSET BYTES
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
field() { echo $((0x$(dd if=disk bs=1 skip="$1" count="$2" status=none | od -An -v -tx1 | tr -d ' \n'))); }

ok create -f qcow2 disk 1M
ok snapshot -c first disk
ok snapshot -c second disk
table=$(field 64 8)
cp disk good

extra_hint='You can force-remove this extra metadata with qemu-img check -r all'
damage() { cp good disk && poke disk "$1" "$2"; }
cannot_open() { refused "Could not open 'disk': $1" snapshot -l disk; }

damage $((table + 36)) '\x00\x00\x04\x08'
cannot_open "Too much extra metadata in snapshot table entry 0
$extra_hint"
damage 60 '\x00\x01\x00\x01'
cannot_open 'Snapshot table too large'
damage 64 '\x00\x00\x00\x00\x00\x00\x02\x00'
cannot_open 'Snapshot table offset invalid'

# An L1 table that cannot be there: only the snapshot itself is lost.
goes_on() {
    ok snapshot -l disk
    expect_out_has '^1  *first '
    run "$img" snapshot -a first disk
    expect_status 1
    expect_err "$name: $1
$name: Could not apply snapshot 'first': Failed to load snapshot: $2"
    refused "Could not delete snapshot 'first': $1" snapshot -d first disk
    refused "Failed to load snapshot: $1" convert -l first -O raw disk out.raw
    ok snapshot -a second disk
    ok snapshot -c third disk
    ok snapshot -d second disk
}
damage "$table" '\x00\x00\x00\x00\x00\x04\x02\x00'
goes_on 'Snapshot L1 table offset invalid' 'Invalid argument'
damage $((table + 8)) '\x10\x00\x00\x00'
goes_on 'Snapshot L1 table too large' 'File too large'

# Sizes that no disk has.
damage $((table + 48)) '\x00\x00\x00\x00\x00\x20\x01\x01'
run "$img" snapshot -a first disk
expect_status 1
expect_err "$name: The new size must be a multiple of 512
$name: Could not apply snapshot 'first': Failed to load snapshot: Invalid argument"
ok snapshot -d first disk
damage $((table + 48)) '\x7f\xff\xff\xff\xff\xff\xf0\x00'
refused "Could not apply snapshot 'first': Failed to load snapshot: File too large" \
    snapshot -a first disk
ok snapshot -d first disk

# Behind the end of the file everything is zero: two snapshots of nothing.
damage 64 '\x00\x00\x00\x00\x10\x00\x00\x00'
ok snapshot -l disk
[ "$(grep -c 1970 out)" = 2 ] || [ "$(grep -c 1969 out)" = 2 ] || fail 'not two empty entries'
refused "Could not delete snapshot 'first': snapshot not found" snapshot -d first disk

# The same id twice: id and name have to match.
damage $((table + 72 + 64)) 1
ok snapshot -d second disk
ok snapshot -l disk
expect_out_has '^1  *first '

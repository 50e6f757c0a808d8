#!/bin/bash
# SPDX-License-Identifier: MIT
# Ids count up from the largest; names may be there twice, and look like ids.
. "$(dirname "$0")/lib.sh"

names() { "$img" snapshot -l disk | awk 'NR > 2 { printf "%s=%s ", $1, $2 }'; }
expect_names() { [ "$(names)" = "$1" ] || fail "snapshots are '$(names)', not '$1'"; }

ok create -f qcow2 -o cluster_size=512 disk 1M
for i in a b a 7 1; do
    ok snapshot -c $i disk
done
expect_names '1=a 2=b 3=a 4=7 5=1 '
ok snapshot -d a disk # the first of that name
expect_names '2=b 3=a 4=7 5=1 '
ok snapshot -c c disk
expect_names '2=b 3=a 4=7 5=1 6=c '
ok snapshot -d c disk
ok snapshot -c d disk
expect_names '2=b 3=a 4=7 5=1 6=d '
ok snapshot -a 7 disk # a name
ok snapshot -a 4 disk # an id
ok snapshot -c '' disk
ok snapshot -d '' disk
expect_names '2=b 3=a 4=7 5=1 6=d '

# A name is as long as the field that QEMU has for it.
long=$(printf 'x%.0s' $(seq 300))
ok snapshot -c "$long" disk
ok snapshot -l disk
expect_out_has "^7         ${long:0:255}  "
refused "Could not delete snapshot '$long': snapshot not found" snapshot -d "$long" disk
ok snapshot -d "${long:0:255}" disk
for i in b a 7 1 d; do
    ok snapshot -d $i disk
done
ok snapshot -l disk
expect_out ''

#!/bin/bash
# SPDX-License-Identifier: MIT
# Damage that is easily passed over: what is written through a table behind the file's end stays
# when the file is cut to what is allocated; a repair leaves an image that can be written again;
# what keeps an image from being opened is found by check.
. "$(dirname "$0")/lib.sh"
requires qemu-img qemu-io

# poke OFFSET BYTES (for printf): of the image x.
poke() { printf "$2" | dd of=x bs=1 seek=$(($1)) conv=notrunc status=none; }
# peek OFFSET: the 64 bits there.
peek() { echo $((0x$(od -An -tx1 -j$(($1)) -N8 x | tr -d ' '))); }
fresh() {
    rm -f x
    qemu-img create -q -f qcow2 x 64M
}

fresh
qemu-io -c 'write -P 5 0 128k' x >/dev/null
poke "$(peek 40)" '\200\0\0\0\100\0\0\0' # the L2 table at 1 GiB
"$io" -f qcow2 -c 'write -P 7 0 64k' x >/dev/null
"$io" -f qcow2 -c 'read -P 7 0 64k' x >out 2>&1 || fail 'what was written behind the end is lost'

fresh
poke "$(peek 48) + 6" '\002' # an unaligned refcount block
"$io" -f qcow2 -c 'write 0 64k' x >out 2>&1 && fail 'written without refcounts'
run "$img" check -r all x
expect_status 0 check -r all
ok check x
"$io" -f qcow2 -c 'write 0 64k' x >out 2>&1 || fail 'repaired, and yet it cannot be written'

fresh
qemu-io -c 'write 0 64k' x >/dev/null
poke "$(peek 40) + 6" '\002' # an unaligned L2 table
run "$img" resize --shrink x 1k
[ "$status" = 1 ] || fail "resize: exit code $status"
expect_err_has 'L2 table offset 0x[0-9a-f]* unaligned (L1 index: 0)'

fresh
poke 64 '\0\0\0\0\0\003\001\002' # the table of no snapshots
run "$img" check x
[ "$status" = 1 ] || fail "check of the snapshot table: exit code $status"
expect_err_has 'snapshot table offset invalid'

fresh
qemu-img bitmap --add x b
extension=$(od -An -tx1 -v -N65536 x | tr -d ' \n' | grep -ob 23852875 | head -n 1 | cut -d: -f1)
poke "$(peek "$extension / 2 + 24") + 12" '\002' # unknown flags of a bitmap
run "$img" info x
expect_err_has "Bitmap 'b' doesn't satisfy the constraints"
run "$img" check x
[ "$status" = 2 ] || fail "check of the bitmaps: exit code $status"

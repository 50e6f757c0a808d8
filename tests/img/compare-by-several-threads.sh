#!/bin/bash
# SPDX-License-Identifier: MIT
# A large image is compared by several threads; of several differences still the first is told.
. "$(dirname "$0")/lib.sh"

head -c 64M /dev/urandom >a
cp a b
run "$img" compare -f raw -F raw a b
expect_status 0
expect_out 'Images are identical.'
for at in 67108863 50000000 33000001 20000000 1111; do
    # a byte that is another one
    dd if=a bs=1 skip=$at count=1 status=none | tr '\000-\377' '\001-\377\000' |
        dd of=b bs=1 seek=$at conv=notrunc status=none
    for round in 1 2 3; do
        run "$img" compare -f raw -F raw a b
        expect_status 1 "round $round"
        expect_out "Content mismatch at offset $((at / 512 * 512))!"
    done
done

#!/bin/bash
# SPDX-License-Identifier: MIT
# The bits that one tool records, the other sees: bitmaps made, filled, merged, copied and resized by
# each, and read through qemu-nbd.
. "$(dirname "$0")/../img/lib.sh"

requires qemu-img qemu-io qemu-nbd nbdinfo
mini_io=$(dirname "$img")/../qemu-io-mini/qemu-io-mini
requires_file "$mini_io"
at_exit 'kill "$(cat pid)" 2>/dev/null'

# What is dirty in bitmap $2 of the image $1.
bits() {
    rm -f socket
    qemu-nbd -r -f qcow2 -B "$2" -k "$PWD/socket" --fork --pid-file=pid "$1" || fail 'qemu-nbd'
    nbdinfo --map=qemu:dirty-bitmap:"$2" "nbd+unix:///?socket=$PWD/socket" || fail 'nbdinfo'
    kill "$(cat pid)"
    while kill -0 "$(cat pid)" 2>/dev/null; do sleep 0.01; done
}

# The same steps with the tools $1 and $2; image $3.
steps() {
    local img=$1 io=$2 a=$3
    "$img" create -q -f qcow2 -o cluster_size=4k "$a" 40M &&
        "$img" bitmap --add -g 512 "$a" fine && "$img" bitmap --add -g 1M "$a" coarse &&
        "$io" -f qcow2 -c 'write 1000 3000' -c 'write -z 5M 300k' -c 'discard 8M 1M' \
            -c 'write 41942528 512' "$a" >/dev/null &&
        "$img" bitmap --disable "$a" fine && "$io" -f qcow2 -c 'write 20M 1k' "$a" >/dev/null &&
        "$img" bitmap --add -g 4k --merge fine --merge coarse "$a" both &&
        "$img" bitmap --clear "$a" coarse &&
        for i in $(seq 0 5 160); do echo "write ${i}k 1k"; done | "$io" -f qcow2 "$a" >/dev/null &&
        "$img" convert --bitmaps -O qcow2 "$a" "copy-$a" && "$img" resize -q "copy-$a" 80M &&
        "$io" -f qcow2 -c 'write 79M 1M' "copy-$a" >/dev/null && "$img" resize -q --shrink "copy-$a" 79360k
}

steps "$img" "$mini_io" mine || fail 'our steps'
steps qemu-img qemu-io theirs || fail 'their steps'
for bitmap in coarse both; do
    for image in '' copy-; do
        bits "${image}mine" $bitmap >mine.bits
        bits "${image}theirs" $bitmap >theirs.bits
        cmp mine.bits theirs.bits || fail "$bitmap in $image"
    done
done
for image in mine theirs copy-mine copy-theirs; do
    qemu-img check -q -f qcow2 $image || fail "qemu-img check of $image"
    ok check -q -f qcow2 $image
done

# What QEMU recorded goes on here, and the other way round.
"$mini_io" -f qcow2 -c 'write 30M 64k' theirs >/dev/null
qemu-io -f qcow2 -c 'write 30M 64k' mine >/dev/null
bits mine coarse >mine.bits
bits theirs coarse >theirs.bits
cmp mine.bits theirs.bits || fail 'after a change of hands'
grep -q '31457280 *1048576 *1' mine.bits || fail 'the last write was not recorded'

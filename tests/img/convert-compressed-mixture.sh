#!/bin/bash
# SPDX-License-Identifier: MIT
# Clusters that are zero, that shrink and that do not, in any mixture: the compressed image is the same
# for any number of coroutines, and reads back whole, at once and in odd pieces. A long compressed
# write that meets a cluster which has data stores what lies before it.
. "$(dirname "$0")/lib.sh"
requires qemu-img

seq 1 40000 >text
# Per 4 KiB: a letter of the pattern, z zero, t text, r random.
pattern=tzrttrzzttttrrttzttrtztrzrtttttt
for ((i = 0; i < 20 * ${#pattern}; i++)); do
    case ${pattern:i % ${#pattern}:1} in
    z) head -c 4096 /dev/zero ;;
    t) tail -c +$((i * 7 + 1)) text | head -c 4096 ;;
    r) head -c 4096 /dev/urandom ;;
    esac
done >a 2>/dev/null
head -c 1500000 a >tail
cat tail >>a # runs that begin and end elsewhere
truncate -s %512 a
for options in cluster_size=512 cluster_size=4k,compression_type=zstd cluster_size=4k,refcount_bits=1 \
    cluster_size=64k cluster_size=2M,compression_type=zstd; do
    ok convert -c -f raw -O qcow2 -m 1 -o $options a first
    for m in 3 8 16; do
        ok convert -c -f raw -O qcow2 -m $m -o $options a other
        cmp first other || fail "$options: another file with $m coroutines"
    done
    qemu-img check -q first || fail "$options: check finds something"
    qemu-img compare -q -f raw -F qcow2 a first || fail "$options: qemu-img reads something else"
    ok compare -q -f raw -F qcow2 a first
    ok convert -f qcow2 -O raw first back
    cmp a back || fail "$options: read back differently"
    ok dd bs=12345 if=first of=back -f qcow2 -O raw
    cmp -n "$(stat -c %s a)" a back || fail "$options: read back differently in odd pieces"
done

ok create -q -f qcow2 q 4M
"$io" -c 'write -P 9 640k 64k' q >io.out
"$io" -c 'write -c -P 7 64k 2M' q >io.out 2>&1 && fail 'a cluster with data was compressed'
grep -q 'Input/output error' io.out || fail "$(cat io.out)"
"$io" -c 'read -P 0 0 64k' -c 'read -P 7 64k 576k' -c 'read -P 9 640k 64k' q >io.out
! grep -q 'verification failed' io.out || fail "$(cat io.out)"
qemu-img check -q q || fail 'check finds something after a refused write'

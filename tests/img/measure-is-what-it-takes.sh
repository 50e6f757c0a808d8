#!/bin/bash
# SPDX-License-Identifier: MIT
# What measure says is required is what a converted image takes, and what is fully allocated is
# what a preallocated one takes.
. "$(dirname "$0")/lib.sh"

value() { sed -n "s/^$1: //p" out; }

make_image s.img
for opts in cluster_size=64k cluster_size=512 cluster_size=4k,refcount_bits=64 \
    cluster_size=2M cluster_size=16k,extended_l2=on compat=0.10; do
    ok measure -f raw -O qcow2 -o $opts s.img
    required=$(value 'required size')
    full=$(value 'fully allocated size')
    ok convert -f raw -O qcow2 -o $opts s.img x
    [ "$(stat -c %s x)" -le "$required" ] || fail "$opts: $(stat -c %s x) bytes, not $required"
    ok create -q -f qcow2 -o $opts,preallocation=metadata x 16M
    took=$(stat -c %s x)
    # A refcount table that had to grow leaves a hole behind: some clusters more.
    [ "$took" -le $((full + full / 1000)) ] || fail "$opts: $took bytes, not $full"
    [ "$took" -ge $((full * 9 / 10)) ] || fail "$opts: $took bytes, far from $full"
done
ok measure -f raw -O raw s.img
expect_out 'required size: 16777216
fully allocated size: 16777216'
ok measure --output=json --size 1M -O qcow2
expect_out '{
    "required": 327680,
    "fully-allocated": 1376256
}'

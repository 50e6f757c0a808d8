#!/bin/bash
# SPDX-License-Identifier: MIT
# New space of an overlay reads as zeroes, also where the backing file is longer than the overlay
# was, and whatever preallocation is asked for.
. "$(dirname "$0")/lib.sh"

make_full base 4194304
for mode in off metadata falloc full; do
    for opts in '' ,extended_l2=on; do
        ok create -q -f qcow2 -o backing_file=base,backing_fmt=raw$opts x 999936
        ok resize --preallocation=$mode -f qcow2 x 6M
        head -c 999936 base >expected
        truncate -s 6M expected
        ok compare -f qcow2 -F raw x expected
        ok resize --shrink -f qcow2 x 2M
        ok resize -f qcow2 x 3M
        truncate -s 3M expected
        ok compare -f qcow2 -F raw x expected
    done
done

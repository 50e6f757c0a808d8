#!/bin/bash
# SPDX-License-Identifier: MIT
# resize --preallocation: falloc and full take the space, metadata does not; raw has no metadata.
. "$(dirname "$0")/lib.sh"

refused "Invalid preallocation mode 'some'" resize --preallocation=some x 1M
for mode in off metadata falloc full; do
    ok create -q -f qcow2 x 1M
    ok resize --preallocation=$mode -f qcow2 x 9M
    case $mode in
    falloc | full) [ "$(disk_kib x)" -ge 8192 ] || fail "$mode takes only $(disk_kib x) KiB" ;;
    *) [ "$(disk_kib x)" -lt 1024 ] || fail "$mode takes $(disk_kib x) KiB" ;;
    esac
    truncate -s 9M zero
    ok compare -f qcow2 -F raw x zero
    ok create -q x 1M
    if [ $mode = metadata ]; then
        refused 'Unsupported preallocation mode: metadata' resize --preallocation=$mode -f raw x 2M
    else
        ok resize --preallocation=$mode -f raw x 2M
    fi
done

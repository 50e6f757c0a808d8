#!/bin/bash
# SPDX-License-Identifier: MIT
# The largest offsets: the request fails, the next offset does not overflow (under UBSan).
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
: >empty
for image in a empty; do
    for offset in 9223372036854774784 9223372036854775807; do
        run "$img" bench -c 10 -f raw -o "$offset" "$image"
        expect_status 1 "$image" "$offset"
        expect_err "$name: Failed request: Input/output error"
    done
done

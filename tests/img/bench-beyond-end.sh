#!/bin/bash
# SPDX-License-Identifier: MIT
# Requests that do not lie within the image fail.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
: >empty
beyond() {
    run "$img" bench -c 10 -f raw "$@"
    expect_status 1 "$@"
    expect_err "$name: Failed request: Input/output error"
}
beyond -o 1M a
beyond -o 2G a
beyond -o 8191P a
beyond -s 2M -d 1 a
beyond empty

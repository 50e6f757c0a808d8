#!/bin/bash
# SPDX-License-Identifier: MIT
# raw with offset and size; windows that do not fit.
. "$(dirname "$0")/lib.sh"

truncate -s 2M a
o=driver=raw,file.filename=a
ok info --image-opts $o,offset=1M,size=4k
expect_out_has '^virtual size: 4 KiB (4096 bytes)$'
ok info --image-opts $o,offset=1M
expect_out_has '^virtual size: 1 MiB (1048576 bytes)$'
bad() {
    run "$img" info --image-opts "$o,$1"
    expect_status 1
    [ "$(head -1 err)" = "$name: Could not open '$o,$1': $2" ] || fail "not: $2"
}
bad offset=2G 'Offset (2147483648) cannot be greater than size of the containing file (2097152)'
bad offset=1M,size=2G 'The sum of offset (1048576) and size (2147483648) has to be smaller or equal to the  actual size of the containing file (2097152)'
bad size=100 'Specified size is not multiple of 512'
bad offset=-1 "Parameter 'offset' expects a non-negative number below 2^64"
bad offset=x "Parameter 'offset' expects a non-negative number below 2^64"
bad foo=1 "Block format 'raw' does not support the option 'foo'"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Sizes that are none: qemu-img's message, no file made.
. "$(dirname "$0")/lib.sh"

none='Invalid image size specified. You may use k, M, G, T, P or E suffixes for
'"$name"': kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.'
for size in 1Q '' x 1.5 1M1 '1 M' 0x; do
    refused "$none" create a "$size"
done
refused "$none" create a -- -1
for size in 8E 16E 9223372036854775808 99999999999999999999; do
    refused 'Invalid image size specified. Must be between 0 and 9223372036854775807.' \
        create a "$size"
done
refused 'a: Image creation needs a size parameter' create a
refused "Unexpected argument: 2
Try '$name --help' for more information" create a 1 2
[ ! -e a ] || fail 'there is a file'
# Too large for the file system.
run "$img" create -q a 9223372036854775807
expect_status 1
expect_err_has '^[^:]*: a: '
[ ! -e a ] || fail 'there is a file'

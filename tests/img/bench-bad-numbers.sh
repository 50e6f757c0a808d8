#!/bin/bash
# SPDX-License-Identifier: MIT
# Numbers out of range or with unknown units.
. "$(dirname "$0")/lib.sh"

truncate -s 1M a
units='You may use k, M, G, T, P or E suffixes for
'"$name"': kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.'
for n in x -1 1k 2147483648 ''; do
    refused 'Invalid request count specified' bench -c "$n" a
    refused 'Invalid queue depth specified' bench -d "$n" a
    refused 'Invalid flush interval specified' bench -w --flush-interval="$n" a
done
refused 'Invalid queue depth specified' bench -d 0 a
refused "Invalid offset specified. $units" bench -o x a
refused "Invalid offset specified. $units" bench -o -1 a
refused "Invalid buffer size specified. $units" bench -s 4Q a
refused "Invalid step_size specified. $units" bench -S x a
refused 'Invalid buffer size specified. Must be between 0 and 2147483647.' bench -s 2G a
refused 'Invalid pattern byte specified' bench -w --pattern=256 a
refused 'Invalid cache mode' bench -t foo a
refused 'Invalid aio option: foo' bench -i foo a
run "$io" -i foo -c quit -f raw a
expect_status 1
expect_err "$(basename "$io"): Invalid aio option: foo"

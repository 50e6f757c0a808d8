#!/bin/bash
# SPDX-License-Identifier: MIT
# Numbers out of range or with unknown units.
. "$(dirname "$0")/lib.sh"

make_image a
units='You may use k, M, G, T, P or E suffixes for
'"$name"': kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.'
for m in 0 17 -1 x '' 99999999999999999999; do
    refused 'Invalid number of coroutines. Allowed number of coroutines is between 1 and 16' convert -m "$m" a b
done
refused "Invalid buffer size for sparse output specified. $units" convert -S x a b
refused "Invalid buffer size for sparse output specified. $units" convert -S 1Q a b
for s in 100 3G 32M; do
    refused 'Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to 16777216. Select 0 to disable sparse detection (fully allocates output).' convert -S $s a b
done
refused "Invalid rate limit specified. $units" convert -r fast a b
[ ! -e b ] || fail 'there is a target'

#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Each installed header compiles on its own, in C and C++, without the flags of this
# project and without a warning.
. "$(dirname "$0")/common.sh"
cd "$tmp"

for cc in $(compilers gcc clang); do
    echo "$cc -x c -std=gnu11 -Wstrict-prototypes"
done >modes
for cc in $(compilers g++ clang++); do
    echo "$cc -x c++ -std=gnu++17"
done >>modes

cflags=$(pkg-config --cflags blkco)
while read -r mode; do
    headers | while read -r header; do
        echo "echo '#include <$header>' | $mode -Wall -Wextra -Werror -fsyntax-only $cflags -"
    done
done <modes >commands
[ -s commands ]

failed=0
# Two at a time; each command prints its own errors.
tr '\n' '\0' <commands | xargs -0 -P 2 -I{} sh -c '{} 2>&1 || { echo "failed: $0"; exit 1; }' {} ||
    failed=1
exit $failed

#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The program of docs/testing-your-device.md builds against the installed library and passes;
# with a flush left out its power cuts fail, and what is printed then repeats the failure.
. "$(dirname "$0")/common.sh"
cd "$tmp"

awk '/^```c [a-z]*\.c$/ { file = $2; next } /^```$/ { file = "" } file { print > file }' \
    "$top/docs/testing-your-device.md"
[ -s journal.c ] || { echo "docs/testing-your-device.md has lost its program"; exit 1; }

export LD_LIBRARY_PATH=$libdir
for cc in $(compilers gcc clang); do
    # shellcheck disable=SC2046
    $cc -Wall -Wextra -Werror -o journal journal.c $(pkg-config --cflags --libs blkco-test)
    # shellcheck disable=SC2046
    $cc -Wall -Wextra -Werror -DFORGET_FLUSH -o forgetful journal.c \
        $(pkg-config --cflags --libs blkco-test)
done
readelf -d journal | grep -q 'NEEDED.*\[libblkco\.so' || { echo "journal has no libblkco"; exit 1; }

./journal --verbose >out 2>&1 || { cat out; echo "the device of the document fails"; exit 1; }
grep -q '^# [0-9]* different states' out || { cat out; echo "no number of states"; exit 1; }

if ./forgetful -p /journal/power-cuts >out 2>&1; then
    echo "nobody has noticed the missing flush"
    exit 1
fi
cut=$(sed -n 's/.*BLKCO_TEST_CUT=\([^;]*\);.*/\1/p' out)
seed=$(sed -n 's/^# random seed: //p' out)
[ -n "$cut" ] && [ -n "$seed" ] || { cat out; echo "it does not say what has failed"; exit 1; }
grep -q 'disk 0 write 0+8192' out || { cat out; echo "it does not say what was lost"; exit 1; }
for again in 1 2; do
    if BLKCO_TEST_CUT=$cut ./forgetful --seed "$seed" -p /journal/power-cuts >out 2>&1; then
        echo "the cut $cut of seed $seed does not fail again ($again)"
        exit 1
    fi
    grep -q "BLKCO_TEST_CUT=$cut;" out
done
# A cut that is not there is no test that passes.
for other in 99999:none 0:lose-one:0; do
    BLKCO_TEST_CUT=$other ./journal --seed "$seed" -p /journal/power-cuts >out 2>&1 || { cat out; exit 1; }
    grep -q 'SKIP there is no such cut' out || { cat out; echo "$other was verified"; exit 1; }
done
# With the flush, this very state is fine, or is not there.
BLKCO_TEST_CUT=$cut ./journal --seed "$seed" -p /journal/power-cuts >out 2>&1 || { cat out; exit 1; }

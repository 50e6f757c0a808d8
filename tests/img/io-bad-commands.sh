#!/bin/bash
# SPDX-License-Identifier: MIT
# Garbage is answered, not obeyed; the exit code is 1, and what is right runs all the same.
. "$(dirname "$0")/lib.sh"

make_full raw 64k
head -c 10M /dev/urandom | tr -d '\000' | sed 's/^/x/' >garbage
echo >>garbage
echo 'read -q -P 1 0 1k' >>garbage
echo length >>garbage
status=0
timeout 50 "$io" -f raw raw <garbage >out 2>err || status=$?
[ "$status" = 1 ] || { rm -f out err; fail "exit code $status"; }
tail -n 3 out | grep -q '64 KiB$' || fail 'the last command was not obeyed'
grep -aq 'command ".*" not found' err || fail 'no message'
rm -f out err
for command in 'read "0 1' "read '0' 1" 'write -P 99999999999999999999 0 1' 'readv 0 9E 9E' \
        'write -z -n 0 7E' 'read -v 0 -- -1' 'alloc 99999999999999999999' 'read 0x 1' \
        'truncate 99999999999E' 'sleep 99999999999999999999'; do
    run "$io" -f raw -c "$command" raw
    expect_status 1 "$command"
    [ -s out ] || [ -s err ] || fail "no message for: $command"
done
# Thousands of arguments and a line of megabytes.
{
    printf 'readv 0'
    printf ' 1%.0s' {1..3000}
    printf '\nread '
    head -c 5M /dev/zero | tr '\0' ' '
    printf '0 1\n'
    head -c 5M /dev/zero | tr '\0' x
    printf '\n'
} >long
status=0
timeout 50 "$io" -f raw raw <long >out 2>err || status=$?
expect_status 1
grep -q 'read 3000/3000 bytes' out || fail 'many arguments'
grep -q 'read 1/1 bytes' out || fail 'many blanks'

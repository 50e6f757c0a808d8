#!/bin/bash
# SPDX-License-Identifier: MIT
# The end of what is typed ends the line of the prompt, for the shell's prompt comes next.
. "$(dirname "$0")/lib.sh"

requires script
ok create -q -f raw x 1M
printf 'length\n\004' | script -qc "sh -c '\"$io\" -f raw x; echo NEXT'" /dev/null >out 2>err
grep -q '^NEXT' out || fail 'behind the prompt'
# Into a pipe nothing more is printed.
printf 'length\n' | "$io" -f raw x >out 2>err
expect_out 'qemu-io> 1 MiB
qemu-io> '

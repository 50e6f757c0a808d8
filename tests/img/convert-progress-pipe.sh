#!/bin/bash
# SPDX-License-Identifier: MIT
# -p into a pipe: qemu-img's figures, a carriage return behind each and a newline at the end.
. "$(dirname "$0")/lib.sh"

truncate -s 128M a
for at in 0 2 4 6; do
    dd if=/dev/urandom of=a bs=256K count=1 seek=$at conv=notrunc status=none
done
ok convert -p -m 1 -O raw a b
expect_out "$(printf '    (%s/100%%)\r' 0.00 25.00 50.00 75.00 100.00 100.00)"
[ "$(tail -c 1 out | od -An -tx1)" = ' 0a' ] || fail 'no newline at the end'
ok compare -p a b
[ "$(tail -n 2 out | tr '\r' '\n' | tail -n 2 | head -n 1)" = 'Images are identical.' ] || fail 'result'
ok convert -q -p a b
expect_out ''

#!/bin/bash
# SPDX-License-Identifier: MIT
# A source that QEMU writes to is refused, unless -U is given; info is not.
. "$(dirname "$0")/lib.sh"

requires qemu-io
make_image a
hold_for_writing a
refused "Could not open 'a': Failed to get shared \"write\" lock
Is another process using the image [a]?" convert a b
[ ! -e b ] || fail 'there is a target'
ok convert -U a b
cmp a b
ok info a
ok info -U a

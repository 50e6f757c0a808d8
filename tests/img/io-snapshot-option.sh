#!/bin/bash
# SPDX-License-Identifier: MIT
# With -s writes are seen until the end and leave no trace; the temporary file has no name.
. "$(dirname "$0")/lib.sh"

export TMPDIR=$PWD/tmp
mkdir tmp
make_full raw 1M
cp raw before
run "$io" -s -f raw -c 'write -q -P 9 100k 100k' -c 'read -q -P 9 100k 100k' -c 'read -q -P 9 0 1M' raw
expect_status 1
expect_out 'Pattern verification failed at offset 0, 1048576 bytes'
cmp raw before || fail 'the image has changed'
[ -z "$(ls tmp)" ] || fail 'a temporary file is left'
run env TMPDIR=/nonexistent "$io" -s -f raw -c length raw
expect_status 1
expect_err_has 'Could not open temporary file'

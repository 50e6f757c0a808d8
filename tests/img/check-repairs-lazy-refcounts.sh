#!/bin/bash
# SPDX-License-Identifier: MIT
# lazy_refcounts: a writer that dies leaves the dirty bit and refcounts behind; one that ends
# well leaves neither; whoever opens the image for writing repairs it, who only reads does not.
. "$(dirname "$0")/lib.sh"

io=${QEMU_IO_MINI:-$(dirname "$img")/../qemu-io-mini/qemu-io-mini}
requires_file "$io"
dirty() { od -An -tu1 -j79 -N1 "$1" | tr -d ' '; }

ok create -q -f qcow2 -o lazy_refcounts=on a 16M
run "$io" -c 'write -P 1 0 64k' a
expect_status 0
[ "$(dirty a)" = 0 ] || fail 'dirty after an orderly end'
ok check a

run "$io" -t writethrough -c 'write -P 2 1M 64k' -c 'sigraise 9' a
[ "$(dirty a)" = 1 ] || fail 'not dirty after a sudden end'
run "$img" check a
expect_status 2
expect_err_has '^ERROR cluster 6 refcount=0 reference=1$'
run "$io" -r -c 'read -P 2 1M 64k' a
expect_status 0
[ "$(dirty a)" = 1 ] || fail 'reading has changed the image'
run "$io" -c 'read -P 2 1M 64k' a
expect_status 0
expect_err_has '^Rebuilding refcount structure$'
[ "$(dirty a)" = 0 ] || fail 'not repaired'
ok check a

# Off for a session: nothing is postponed.
run "$io" -t writethrough -c 'open -o lazy-refcounts=off a' -c 'write -P 3 2M 64k' -c 'sigraise 9'
[ "$(dirty a)" = 0 ] || fail 'dirty although lazy-refcounts is off'
ok check a

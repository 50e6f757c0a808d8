#!/bin/bash
# SPDX-License-Identifier: MIT
# -i io_uring reads and writes; where the build or the kernel has none, the message says so.
. "$(dirname "$0")/lib.sh"

make_full a 4M
run "$img" bench -c 1000 -i io_uring -f raw a
case $(cat err) in
*'is not supported in this build.'*)
    expect_status 1
    expect_err "$name: aio=io_uring was specified, but is not supported in this build."
    run "$io" -i io_uring -c quit -f raw a
    expect_status 1
    expect_err "$(basename "$io"): aio=io_uring was specified, but is not supported in this build."
    exit 0
    ;;
*'Could not set up io_uring'* | *'has no io_uring'*)
    expect_status 1
    skip "$(cat err)"
    ;;
esac
expect_status 0

# Buffered and past the page cache, with all that qcow2 sends.
ok convert -O qcow2 a q
caches='writeback writethrough'
dd if=/dev/zero of=probe bs=4096 count=1 oflag=direct 2>/dev/null && caches+=' none'
for cache in $caches; do
    run "$io" -i io_uring -t $cache -f qcow2 -c 'write -P 7 64k 96k' -c 'read -P 7 64k 96k' \
        -c 'write -f -P 8 1M 512' -c 'read -P 8 1M 512' -c 'aio_write -P 9 2M 64k' -c aio_flush \
        -c 'read -P 9 2M 64k' -c flush q
    expect_status 0 io $cache
    expect_err ''
done
ok check q
json=json:'{"driver":"raw","file":{"driver":"file","filename":"a","aio":"io_uring"}}'
ok convert "$json" b
cmp a b || fail 'the copy differs'

# A kernel that forbids it.
requires strace
requires_no_sanitizer
strace -f -qq -e inject=io_uring_setup:error=EPERM -o trace true 2>/dev/null || skip 'strace does not work here'
run strace -f -qq -e inject=io_uring_setup:error=EPERM -o trace "$img" bench -c 10 -i io_uring -f raw a
expect_status 1
expect_err_has "Could not open 'a': Could not set up io_uring: the system forbids it"
run strace -f -qq -e inject=io_uring_enter:error=ENOSYS -o trace "$img" bench -c 10 -i io_uring -f raw a
expect_status 1
expect_err_has "Could not open 'a': The kernel has no io_uring"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Native AIO: far fewer io_submit calls than requests, reads in no thread.
. "$(dirname "$0")/lib.sh"

requires strace
requires_no_sanitizer
requires_direct
make_full a 4M
strace -f -qq -e trace=io_submit,pread64,preadv,preadv2 -o trace true 2>/dev/null || skip 'strace does not work here'
run strace -f -qq -e trace=io_submit,pread64,preadv,preadv2 -o trace "$img" bench -c 1024 -d 32 -t none -i native -f raw a
expect_status 0
calls=$(grep -c io_submit trace)
[ "$calls" -gt 0 ] || fail 'no io_submit'
[ "$calls" -le 512 ] || fail "$calls io_submit calls for 1024 requests"
[ "$(grep -c pread trace)" -le 8 ] || fail 'reads by threads'

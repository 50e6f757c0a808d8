#!/bin/bash
# SPDX-License-Identifier: MIT
# An ext4 image converted with O_DIRECT and Linux AIO on both sides: identical, as sparse as
# the source, clean for e2fsck; and it was Linux AIO that moved the data.
. "$(dirname "$0")/lib.sh"
. "$here/ext4.sh"
requires_direct

make_ext4 disk.img
truncate -s "$(stat -c %s disk.img)" copy.img
how=driver=raw,file.driver=file,file.aio=native,file.cache.direct=on
command=(convert -n -W -m 16 --image-opts --target-image-opts --target-is-zero
         "$how,file.filename=disk.img" "$how,file.filename=copy.img")
ok "${command[@]}"
expect_same_ext4 disk.img copy.img
expect_as_sparse disk.img copy.img

requires strace
requires_no_sanitizer
run strace -f -o trace -e trace=io_submit,pread64,preadv,pwrite64,pwritev "$img" "${command[@]}"
[ "$status" = 0 ] || skip 'strace does not work here'
expect_same_ext4 disk.img copy.img
[ "$(grep -c 'io_submit(' trace)" -gt 10 ] || fail "few calls of io_submit: $(wc -l <trace) lines"
# Reads of the source's head, by whoever looks at it first, are not data.
[ "$(grep -cE 'p(read|write)[v64]*\(' trace)" -lt 10 ] || fail 'data was moved by other calls'

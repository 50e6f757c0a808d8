#!/bin/bash
# SPDX-License-Identifier: MIT
# No such directory, a directory or a fifo in the place, no permission.
. "$(dirname "$0")/lib.sh"

mkdir dir
run "$img" create -q dir/none/a 1M
expect_status 1
expect_err "$name: dir/none/a: Could not create 'dir/none/a': No such file or directory"
run "$img" create -q dir 1M
expect_status 1
expect_err "$name: dir: Could not create 'dir': Is a directory"
[ -d dir ] || fail 'the directory is gone'
mkfifo fifo
run timeout 5 "$img" create -q fifo 1M
expect_status 1
expect_err "$name: fifo: 'file' driver requires 'fifo' to be a regular file"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    chmod 755 . dir
    run setpriv --reuid=65534 --regid=65534 --clear-groups "$img" create -q dir/a 1M
    expect_status 1
    expect_err "$name: dir/a: Could not create 'dir/a': Permission denied"
fi

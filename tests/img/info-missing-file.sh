#!/bin/bash
# SPDX-License-Identifier: MIT
# A missing file, a directory, a fifo, an empty name.
. "$(dirname "$0")/lib.sh"

refused "Could not open 'a': Could not open 'a': No such file or directory" info a
mkdir dir
refused "Could not open 'dir': 'file' driver requires 'dir' to be a regular file" info dir
mkfifo fifo
run timeout 5 "$img" info fifo
expect_status 1
expect_err "$name: Could not open 'fifo': 'file' driver requires 'fifo' to be a regular file"
refused "Could not open '': The 'file' block driver requires a file name" info ''
refused "Could not open 'foo:a': Unknown protocol 'foo'" info foo:a

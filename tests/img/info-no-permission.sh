#!/bin/bash
# SPDX-License-Identifier: MIT
# A file that may not be read.
. "$(dirname "$0")/lib.sh"

requires_root
requires setpriv
truncate -s 1M a
chmod 600 a
chmod 755 .
run setpriv --reuid=65534 --regid=65534 --clear-groups "$img" info a
expect_status 1
expect_err "$name: Could not open 'a': Could not open 'a': Permission denied"

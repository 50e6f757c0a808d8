#!/bin/bash
# SPDX-License-Identifier: MIT
# A file that does not tell its length is no empty image.
. "$(dirname "$0")/lib.sh"

requires_file /proc/cpuinfo
run "$img" info /proc/cpuinfo
expect_status 1
expect_err_has "^$name: Could not open '/proc/cpuinfo': .*: Invalid argument$"
run "$img" convert /proc/cpuinfo b
expect_status 1
expect_err_has "^$name: Could not open '/proc/cpuinfo': .*: Invalid argument$"
[ ! -e b ] || fail 'there is a target'
run "$img" compare /proc/cpuinfo /proc/cpuinfo
expect_status 2

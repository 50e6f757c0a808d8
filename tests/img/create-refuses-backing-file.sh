#!/bin/bash
# SPDX-License-Identifier: MIT
# A raw image has no backing file.
. "$(dirname "$0")/lib.sh"

refused "a: Backing file not supported for file format 'raw'" create -b b a
refused "a: Backing file not supported for file format 'raw'" create -b b -F raw -u a 1M
refused "a: Backing file format not supported for file format 'raw'" create -F raw a 1M
[ ! -e a ] || fail 'there is a file'

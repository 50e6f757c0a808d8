#!/bin/bash
# SPDX-License-Identifier: MIT
# An overlay's backing file is named, as the image has it and as a path, and is not opened.
. "$(dirname "$0")/lib.sh"

mkdir dir
ok create -q -f raw dir/base 1M
ok create -q -f qcow2 -b base -F raw dir/overlay
rm dir/base
ok info dir/overlay
expect_out_has 'backing file: base (actual path: dir/base)'
expect_out_has 'backing file format: raw'
ok info --output=json dir/overlay
expect_out_has '"backing-filename-format": "raw"'
expect_out_has '"full-backing-filename": "dir/base"'
expect_out_has '"backing-filename": "base"'

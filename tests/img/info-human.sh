#!/bin/bash
# SPDX-License-Identifier: MIT
# What info prints of a raw image.
. "$(dirname "$0")/lib.sh"

make_image a
ok info a
expect_out "image: a
file format: raw
virtual size: 16 MiB (16777216 bytes)
disk size: $(disk_kib a) KiB
Child node '/file':
    filename: a
    protocol type: file
    file length: 16 MiB (16777216 bytes)
    disk size: $(disk_kib a) KiB"
cp out all
ok info -f raw a
cmp out all
ok info -U --backing-chain a
cmp out all
ok info --output=human a
cmp out all

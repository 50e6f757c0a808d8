#!/bin/bash
# SPDX-License-Identifier: MIT
# Damaged bitmap directories are told by name and field; the image opens for a check, and one
# damaged bitmap costs neither the others nor a write.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 -o cluster_size=4k good.qcow2 4M
ok bitmap --add good.qcow2 first
ok bitmap --add --disable good.qcow2 second

# Where the bitmaps extension is, and the directory.
ext=$(LC_ALL=C grep -obUaP '\x23\x85\x28\x75' good.qcow2 | head -n 1 | cut -d: -f1)
dir=$((16#$(od -An -tx1 -j $((ext + 24)) -N8 good.qcow2 | tr -d ' ')))
size=$((16#$(od -An -tx1 -j $((ext + 16)) -N8 good.qcow2 | tr -d ' ')))
[ "$size" = 64 ] || fail "directory of $size bytes"

damage() { # OFFSET BYTES MESSAGE
    cp good.qcow2 bad.qcow2
    printf "$2" | dd of=bad.qcow2 bs=1 seek="$1" conv=notrunc status=none
    refused "Could not open 'bad.qcow2': $3" info bad.qcow2
}

damage $((ext + 11)) '\3' 'Invalid bitmaps extension: bitmap_directory_size is 64'
damage $((ext + 11)) '\1' 'More bitmaps found than specified in header extension'
damage $((ext + 23)) '\70' 'Broken bitmap directory'
damage $((ext + 27)) '\1' 'bitmaps_ext: the bitmap directory reaches beyond the end of the file'
damage $((dir + 7)) '\1' "Bitmap 'first' doesn't satisfy the constraints: invalid bitmap_table_offset"
damage $dir '\1' "Bitmap 'first' doesn't satisfy the constraints: invalid bitmap_table_offset"
damage $((dir + 8)) '\377' "Bitmap 'first' doesn't satisfy the constraints: invalid bitmap_table_size"
damage $((dir + 11)) '\0' "Bitmap 'first' doesn't satisfy the constraints: invalid bitmap_table_size"
damage $((dir + 12)) '\1' "Bitmap 'first' doesn't satisfy the constraints: invalid flags"
damage $((dir + 16)) '\2' "Bitmap 'first' doesn't satisfy the constraints: invalid type"
damage $((dir + 17)) '\10' "Bitmap 'first' doesn't satisfy the constraints: invalid granularity_bits"
damage $((dir + 17)) '\40' "Bitmap 'first' doesn't satisfy the constraints: invalid granularity_bits"
damage $((dir + 19)) '\0' 'Broken bitmap directory: name of 0 bytes is invalid'
damage $((dir + 18)) '\377' 'Broken bitmap directory'
damage $((dir + 20)) '\377' 'Broken bitmap directory'
damage $((dir + 26)) '\0' 'Broken bitmap directory: name of 5 bytes is invalid'

# The second gets the first one's name.
cp good.qcow2 bad.qcow2
printf '\5' | dd of=bad.qcow2 bs=1 seek=$((dir + 32 + 19)) conv=notrunc status=none
printf 'first\0' | dd of=bad.qcow2 bs=1 seek=$((dir + 32 + 24)) conv=notrunc status=none
refused "Could not open 'bad.qcow2': Bitmap already exists: first" info bad.qcow2

# A table that makes no sense: the bitmap cannot be used, everything else can.
table=$((16#$(od -An -tx1 -j $dir -N8 good.qcow2 | tr -d ' ')))
cp good.qcow2 bad.qcow2
printf '\0\0\0\0\0\0\0\2' | dd of=bad.qcow2 bs=1 seek=$table conv=notrunc status=none
ok info bad.qcow2
refused "Operation merge on bitmap second failed: Could not read bitmap 'first' from image: Invalid argument" \
    bitmap --merge first bad.qcow2 second
ok bitmap --enable bad.qcow2 second
ok bitmap --remove bad.qcow2 first
ok bitmap --add --merge second bad.qcow2 third

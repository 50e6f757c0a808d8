#!/bin/bash
# SPDX-License-Identifier: MIT
# amend refuses what cannot be changed, before anything is.
. "$(dirname "$0")/lib.sh"

ok create -q -f qcow2 x 1M
cp x before
for option in cluster_size=4k preallocation=full compression_type=zstd extended_l2=on; do
    run "$img" amend -f qcow2 -o $option x
    expect_status 1
    expect_err "$name: Invalid parameter '${option%=*}'
This option is only supported for image creation"
done
refused "Invalid parameter 'foo'" amend -f qcow2 -o foo=1 x
refused "Format driver 'raw' does not support option amendment" amend -f raw -o size=2M x
refused 'Refcount width must be a power of two and may not exceed 64 bits' \
    amend -f qcow2 -o refcount_bits=7 x
refused 'Refcount widths other than 16 bits require compatibility level 1.1 or above (use'\
' compat=1.1 or greater)' amend -f qcow2 -o compat=0.10,refcount_bits=8 x
refused 'Unknown compatibility level 0.42' amend -f qcow2 -o compat=0.42 x
refused 'data-file can only be set for images that use an external data file' \
    amend -f qcow2 -o data_file=d x
refused 'data-file-raw cannot be set on existing images' amend -f qcow2 -o data_file_raw=on x
run "$img" amend -f qcow2 -o backing_file=b,backing_fmt=raw x
expect_status 1
expect_err "$name: Cannot amend the backing file
You can use 'qemu-img rebase' instead."
cmp x before || fail 'something has changed'

run "$img" amend x
expect_status 1
expect_err_has 'Must specify options (-o)'
refused 'Expecting one image file name' amend -o size=1M
refused 'Invalid cache option: foo' amend -t foo -o size=1M x
ok amend -f qcow2 -o help
expect_out_has '^  refcount_bits=<num>    - Width of a reference count entry in bits$'
ok amend -p -f qcow2 -o compat=0.10 x
expect_out_has '(100.00/100%)'

# The refcounts are told before the data file, as in QEMU.
"$img" create -q -f qcow2 -o data_file=raw,refcount_bits=8 d 1M
refused 'compat=0.10 requires refcount_bits=16' amend -o compat=0.10 d
"$img" amend -o refcount_bits=16 d || fail 'the refcounts of an image with a data file'
refused 'Cannot downgrade an image with a data file' amend -o compat=0.10 d

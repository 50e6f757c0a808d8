#!/bin/bash
# SPDX-License-Identifier: MIT
# measure wants either a size or an image, and says what is wrong with its options.
. "$(dirname "$0")/lib.sh"

refused 'Either --size N or one filename must be specified.' measure
refused '--size N cannot be used together with a filename.' measure --size 1M x
refused '--image-opts, -f, and -l require a filename argument.' measure --size 1M -f raw
refused 'At most one filename argument is allowed.' measure x y
refused "Unknown file format 'foo'" measure --size 1M -O foo
refused '--output must be used with human or json as argument.' measure --output=xml --size 1M
refused 'The image size is too large (try using a larger cluster size)' measure --size 3P -O qcow2
refused "Invalid compatibility level: '4'" measure --size 1M -O qcow2 -o compat=4
refused 'Cluster size must be a power of two between 512 and 2048k' \
    measure --size 1M -O qcow2 -o cluster_size=3k
run "$img" measure --size 1M -O qcow2 -o foo=1
expect_status 1
expect_err "$name: Invalid parameter 'foo'
$name: Invalid options for file format 'qcow2'"

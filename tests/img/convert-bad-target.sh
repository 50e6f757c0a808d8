#!/bin/bash
# SPDX-License-Identifier: MIT
# Targets that cannot be made.
. "$(dirname "$0")/lib.sh"

make_image a
mkdir dir
refused "dir/none/b: error while converting raw: Could not create 'dir/none/b': No such file or directory" convert a dir/none/b
refused "dir: error while converting raw: Could not create 'dir': Is a directory" convert a dir
refused "Unknown file format 'foo'" convert -O foo a b
refused "Format driver 'null-co' does not support image creation" convert -O null-co a b
refused "Invalid parameter 'foo'" convert -o foo=1 a b
refused "Backing file not supported for file format 'raw'" convert -B x a b
refused "Compression not supported for this file format" convert -c a b
[ ! -e b ] || fail 'there is a target'

#!/bin/bash
# SPDX-License-Identifier: MIT
# The target is the source, by any name: refused, nothing changed.
. "$(dirname "$0")/lib.sh"

make_image a
cp a before
ln a hard
ln -s a soft
mkdir dir
for target in a ./a dir/../a hard soft "$PWD/a" file:a; do
    refused "$target: The target is the same file as the source 'a'" convert a "$target"
    refused "$target: The target is the same file as the source 'a'" convert -U a "$target"
    refused "$target: The target is the same file as the source 'a'" convert -n a "$target"
    cmp a before || fail "the source was changed by $target"
done
make_image b
refused "a: The target is the same file as the source 'soft'" convert b soft a
refused "a: The target is the same file as the source 'driver=raw,file.filename=hard'" \
    convert --image-opts driver=raw,file.filename=hard a
cmp a before

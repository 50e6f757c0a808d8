#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The programs of docs/embedding.md build against the installed library, shared and
# static, with each compiler, and do what the document says.
. "$(dirname "$0")/common.sh"
cd "$tmp"

awk '/^```c [a-z]*\.c$/ { file = $2; next } /^```$/ { file = "" } file { print > file }' \
    "$top/docs/embedding.md"
[ -s readblock.c ] && [ -s pollfd.c ] && [ -s undo.c ] || { echo "docs/embedding.md has lost its programs"; exit 1; }
if [ "$(wc -l <readblock.c)" -ge 60 ]; then
    echo "readblock.c of docs/embedding.md is no longer under 60 lines"
    exit 1
fi

# 1 MiB that is different everywhere.
head -c 1M < <(seq -f 'line %.0f' 200000) >disk.img
sum=$(od -An -v -tu1 -w1 disk.img | awk '{ sum += $1 } END { print sum }')

# check HOW: the programs of this directory on the image, and on mistakes
check() {
    for offset in 0 520192; do
        ./readblock disk.img $offset >out
        dd if=disk.img bs=4096 skip=$((offset / 4096)) count=1 status=none | cmp - out ||
            { echo "$1: readblock read something else at $offset"; exit 1; }
    done
    [ "$(./pollfd disk.img)" = "$sum" ] || { echo "$1: pollfd gives another sum"; exit 1; }
    rm -f disk.qcow2
    [ "$(./undo disk.qcow2)" = 0 ] || { echo "$1: undo has not undone the write"; exit 1; }
    if ./readblock none.img 0 2>err || ! grep -q "none.img.*No such file" err; then
        echo "$1: no good error for a missing file: $(cat err)"
        exit 1
    fi
    if ./readblock disk.img 1048576 2>err || ! [ -s err ]; then
        echo "$1: read beyond the end of the image"
        exit 1
    fi
}

export LD_LIBRARY_PATH=$libdir
warnings='-Wall -Wextra -Werror'
for cc in $(compilers gcc clang); do
    for program in readblock pollfd undo; do
        # shellcheck disable=SC2046
        $cc $warnings -o $program $program.c $(pkg-config --cflags --libs blkco)
        readelf -d $program | grep -q 'NEEDED.*\[libblkco\.so\.[0-9]*\]' ||
            { echo "$program is not linked to the library's soname"; exit 1; }
    done
    check "$cc, shared"
done

# With only the archive there, -lblkco finds that; --static names what it needs.
mkdir shared
mv "$libdir"/libblkco.so* shared/
unset LD_LIBRARY_PATH
for cc in $(compilers gcc clang); do
    for program in readblock pollfd undo; do
        # shellcheck disable=SC2046
        $cc $warnings -o $program $program.c $(pkg-config --static --cflags --libs blkco)
    done
    check "$cc, static"
done

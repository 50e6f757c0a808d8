#!/bin/bash
# SPDX-License-Identifier: MIT
# The options of qemu-io-mini's commands that read and write: reports (-q -C -v), patterns (-P -s -l),
# files (-s), zeroes (-z -u), durability (-f), machine state (-b), invalid requests (-i).
. "$(dirname "$0")/lib.sh"

machine='^[0-9]*,1,[0-9:.]*,[0-9.]*,[0-9.]*$'

# Commands, run in one go on the image a.
does() {
    local command args=()
    for command; do args+=(-c "$command"); done
    run "$io" -f qcow2 "${args[@]}" a
    expect_status 0 "$@"
    expect_err ''
}

# One command that says nothing.
quiet() { does "$1" aio_flush; expect_out ''; }
# One command whose report is the short one of $2 bytes.
short() {
    does "$1" aio_flush
    grep -q "$machine" out && [ "$(cut -d, -f1 out)" = "$2" ] || fail "$1: not in short form"
}
# A pattern that is not there.
differs() {
    run "$io" -f qcow2 -c "$1" -c aio_flush a
    expect_out_has '^Pattern verification failed at offset'
}

ok create -q -f qcow2 a 1M
for write in 'write -q -P 7 0 64k' 'writev -q -P 7 0 32k 32k' 'aio_write -q -P 7 0 64k' \
    'writev -q -f -P 7 0 64k' 'aio_write -q -f -P 7 0 64k' 'write -q -f -P 7 0 64k' 'write -q -p -P 7 0 64k'; do
    quiet 'write -q -P 1 0 1M'
    quiet "$write"
    does 'read -q -P 7 0 64k' 'read -q -P 1 64k 960k'
    expect_out ''
done
short 'write -C 128k 4k' 4096
short 'writev -C 128k 512 1k' 1536
short 'aio_write -C 128k 512 1k' 1536
short 'write -z -C 128k 4k' 4096
short 'read -C 0 64k' 65536
short 'readv -C 0 512 1k' 1536
short 'aio_read -C 0 512 1k' 1536
short 'discard -C 256k 64k' 65536
quiet 'discard -q 256k 64k'
quiet 'read -q -P 0 256k 64k'

# What is compared: all, or from -s on, -l bytes.
quiet 'write -q -P 9 1k 512'
for read in 'read -P 7 0 64k' 'readv -P 7 0 1k 1k' 'aio_read -P 7 0 64k' 'read -P 9 -s 512 0 2k' \
    'read -P 9 -l 1536 0 2k' 'read -P 9 -s 1k -l 513 0 2k'; do
    differs "$read"
done
quiet 'read -q -P 9 -s 1k -l 512 0 2k'
quiet 'read -q -P 7 -l 1k 0 2k'
quiet 'readv -q -P 9 1k 256 256'
quiet 'aio_read -q -P 9 1k 512'
quiet 'read -q -p -P 9 1k 512'

for read in 'read -v 1k 32' 'readv -v 1k 16 16' 'aio_read -v 1k 32'; do
    does "$read" aio_flush
    [ "$(head -n 1 out)" = '00000400:  09 09 09 09 09 09 09 09 09 09 09 09 09 09 09 09  ................' ] ||
        fail "$read does not show the data"
done

# A file, repeated as needed.
printf 'abcdefgh' >pattern
quiet 'write -q -s pattern 512k 20'
does 'read -v 512k 32'
expect_out_has '  abcdefghabcdefgh$'
expect_out_has '  abcd............$'
run "$io" -f qcow2 -c 'write -s nofile 0 512' a
expect_status 1

quiet 'aio_write -z -u -q 0 64k'
quiet 'read -q -P 0 0 64k'
does map
expect_out_has '^64 KiB (0x10000) bytes not allocated at offset 0 bytes\|^.* bytes *\(not \)\?allocated at offset'

# Machine state lies beside the disk.
quiet 'write -q -b -P 3 0 4k'
quiet 'read -q -b -P 3 0 4k'
quiet 'read -q -P 0 0 4k'

does 'aio_read -i 0 512'
expect_out 'injecting invalid read request'
does 'aio_write -i 0 512'
expect_out 'injecting invalid write request'
sha256sum a >before
run "$io" -f qcow2 -c 'read -i 0 512' a
expect_status 1
sha256sum -c --quiet before || fail 'a wrong option changed the image'

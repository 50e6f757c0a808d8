#!/bin/bash
# SPDX-License-Identifier: MIT
# As differential.sh: the command lines of io-commands.txt with the system's qemu-io and with
# qemu-io-mini.
. "$(dirname "$0")/../img/lib.sh"
. "$here/differ.sh"

requires qemu-img qemu-io
case $(qemu-io --version) in
*' version 7.'*) ;;
*) skip 'another version of qemu-io' ;;
esac
wanted=" $* "
link_as qemu-io "${QEMU_IO_MINI:-$here/../../build/qemu-io-mini/qemu-io-mini}"
mkdir template template/dir

(
    cd template || exit 1
    qemu-img create -q -f raw r 1M
    qemu-io -f raw -c 'write -P 1 64k 64k' -c 'write -P 2 512k 4k' r >/dev/null
    truncate -s 1000 odd
    : >empty
    printf abcdefg >pattern
    qemu-img create -q -f qcow2 q 1M
    qemu-io -f qcow2 -c 'write -P 1 64k 128k' -c 'write -z 256k 64k' -c 'write -c -P 3 512k 64k' q \
        >/dev/null
    qemu-img create -q -f qcow2 ov -b q -F qcow2 2M
    qemu-io -f qcow2 -c 'write -P 4 128k 64k' -c 'write -P 5 1100k 3k' ov >/dev/null
    qemu-img create -q -f qcow2 -o compat=0.10 v2 1M
    qemu-img create -q -f qcow2 -o cluster_size=512,lazy_refcounts=on small 100k
    qemu-img create -q -f qcow2 -o extended_l2=on ext 1M
    qemu-img create -q -f qcow2 -o data_file=data.raw,data_file_raw=on data.q 1M
    printf '[inject-error]\nevent = "write_aio"\nerrno = "5"\n' >fail-writes
    printf '[inject-error]\nevent = "read_aio"\nerrno = "28"\nonce = "on"\n' >fail-read-once
)

# Times, and the long texts of help, which are our own.
normalise() {
    if [ "$(head -c 6 "$1")" = Usage: ]; then
        head -n 1 "$1"
        return
    fi
    sed -E -e 's/^(.*, [0-9]+ ops; ).*ops\/sec\)$/\1X/' -e 's/^([0-9]+,[0-9]+,).*/\1X/' \
        -e 's/#block[0-9]+/#block/' "$1" | awk '
        / -- / && !help { help = 1; print; next }
        help && /^ |^$/ { next }
        { help = 0; print }'
}

compare_lines qemu-io io-commands.txt

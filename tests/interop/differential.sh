#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs the command lines of commands.txt that begin with the words given (all without) with the
# system's qemu-img and with this tool, called by the same name, and compares standard output,
# standard error, exit code and the files that they leave. Differences that are meant stand
# in differences.txt, or are evened out in normalise().
. "$(dirname "$0")/../img/lib.sh"
. "$here/differ.sh"

requires qemu-img qemu-io jq
case $(qemu-img --version) in
*' version 7.'*) ;;
*) skip 'another version of qemu-img' ;;
esac
wanted=" $* "

link_as qemu-img "$img"
mkdir template template/dir

(
    cd template || exit 1
    make_image s.img
    cp s.img same
    cp s.img diff
    printf x | dd of=diff bs=1 seek=4000000 conv=notrunc status=none
    cp s.img longer
    truncate -s 20M longer
    cp longer longer2
    printf x | dd of=longer2 bs=1 seek=18000001 conv=notrunc status=none
    make_full full 65536
    dd if=/dev/zero of=alloc bs=1M count=1 status=none
    truncate -s 1M hole
    truncate -s 3000 odd
    truncate -s 3500 odd2
    echo hello >small
    : >empty
)

# Bytes $3 (for printf) at offset $2 of the first entry of the snapshot table.
poke_snapshot() {
    local table
    table=$(od -An -tx1 -j64 -N8 "$1" | tr -d ' ')
    printf "$3" | dd of="$1" bs=1 seek=$((0x$table + $2)) conv=notrunc status=none
}

# qcow2 images: see commands.txt.
make_qcow2() {
    local name=$1
    shift
    qemu-img create -q -f qcow2 "$@" &&
        qemu-io -f qcow2 -c 'write -P 1 64k 192k' -c 'write -z 512k 64k' "$name" >/dev/null
}

(
    cd template || exit 1
    make_qcow2 base.q base.q 2M
    make_qcow2 ov.q -b base.q -F qcow2 ov.q 3M
    make_qcow2 top.q -b ov.q -F qcow2 top.q 3M
    make_qcow2 dir/rel.q -b ../hole -F raw dir/rel.q
    make_qcow2 v2.q -o compat=0.10,cluster_size=4k v2.q 2M
    make_qcow2 ext.q -o extended_l2=on ext.q 2M
    make_qcow2 lazy.q -o lazy_refcounts=on,refcount_bits=1 lazy.q 2M
    make_qcow2 data.q -o data_file=data.raw,data_file_raw=on data.q 2M
    qemu-img create -q -f qcow2 -o preallocation=metadata meta.q 2M
    qemu-img convert -c -O qcow2 base.q comp.q
    qemu-img create -q -f qcow2 -u -b gone -F raw lost.q 2M
    qemu-img create -q -f qcow2 -u -b base.q -F vmdk strange.q 2M
    sed -i 's/vmdk/odd-/' strange.q
    cp base.q noformat.q
    qemu-img rebase -u -b base.q noformat.q 2>/dev/null
    cp base.q loop.q
    qemu-img rebase -u -b loop.q -F qcow2 loop.q
    cp base.q json.q
    qemu-img rebase -u -b 'json:{"driver":"null-co"}' -F raw json.q
    cp base.q bad.q
    printf '\377\377' | dd of=bad.q bs=1 seek=22 conv=notrunc status=none
    cp base.q cut.q
    truncate -s 60 cut.q
    qemu-img create -q -f qcow2 q.qcow2 4M
    qemu-io -c 'write -P 1 0 256k' -c 'write -P 2 1M 1M' -c 'write -P 3 3M 1M' q.qcow2 >/dev/null
    qemu-img create -q -f qcow2 -b q.qcow2 -F qcow2 over.qcow2 8M
    qemu-img create -q -f qcow2 -o cluster_size=4k,compat=0.10 v2.qcow2 4M
    qemu-io -c 'write -P 1 0 256k' -c 'write -P 2 2M 1M' v2.qcow2 >/dev/null
    cp v2.qcow2 snap2.qcow2
    qemu-img snapshot -c s snap2.qcow2
    cp q.qcow2 snap.qcow2
    qemu-img snapshot -c s snap.qcow2
    cp q.qcow2 snaps.qcow2
    for name in a b a 1; do
        qemu-img snapshot -c $name snaps.qcow2
        qemu-io -c 'write -P 9 512k 1M' -c "write -P ${#name}7 2M 64k" snaps.qcow2 >/dev/null
    done
    cp snaps.qcow2 snapbits.qcow2
    qemu-img bitmap --add snapbits.qcow2 bits
    qemu-img create -q -f qcow2 -o refcount_bits=1 snap1.qcow2 1M
    qemu-img create -q -f qcow2 bits.qcow2 4M
    qemu-img bitmap --add bits.qcow2 b0
    qemu-img bitmap --add --disable -g 512 bits.qcow2 b1
    qemu-io -c 'write -P 5 1M 128k' bits.qcow2 >/dev/null
    cp bits.qcow2 bits2.qcow2
    qemu-img bitmap --add --merge b0 bits2.qcow2 b2
    cp bits.qcow2 inuse.qcow2
    (qemu-io -c 'write 2M 1M' -c 'sigraise 9' inuse.qcow2 >/dev/null; true) 2>/dev/null
    qemu-img bitmap --add inuse.qcow2 good
    cp bits.qcow2 stale.qcow2
    printf '\0' | dd of=stale.qcow2 bs=1 seek=95 conv=notrunc status=none
    cp snaps.qcow2 snapextra.qcow2
    poke_snapshot snapextra.qcow2 38 '\377\377'
    cp snaps.qcow2 snapfar.qcow2
    printf '\020' | dd of=snapfar.qcow2 bs=1 seek=68 conv=notrunc status=none
    cp snaps.qcow2 snapodd.qcow2
    printf '\002' | dd of=snapodd.qcow2 bs=1 seek=70 conv=notrunc status=none
    cp snaps.qcow2 snapmany.qcow2
    printf '\1' | dd of=snapmany.qcow2 bs=1 seek=61 conv=notrunc status=none
    cp snaps.qcow2 snapl1.qcow2
    poke_snapshot snapl1.qcow2 6 '\002'
    cp snaps.qcow2 snapl1size.qcow2
    poke_snapshot snapl1size.qcow2 8 '\020'
    cp snaps.qcow2 snapsize.qcow2
    poke_snapshot snapsize.qcow2 55 '\1'
    cp snaps.qcow2 snapvm.qcow2
    poke_snapshot snapvm.qcow2 24 '\0\002\002\002\002\002\003\004'
    poke_snapshot snapvm.qcow2 44 '\002\002\003\004'
    poke_snapshot snapvm.qcow2 56 '\377\377\377\377\377\377\377\377'
)

# What may differ in any command line: child nodes of info, which QEMU 7 does not print; times;
# how many blocks a file takes, as the file system allocates them when it likes.
normalise() {
    if [ "${words[0]:-}" = info ] && [ "$(head -c 1 "$1")" = '{' ]; then
        jq --indent 4 'del(.children)' "$1" | sed 's/\("actual-size": \)[0-9]*/\1N/'
    elif [ "${words[0]:-}" = info ] && [ "$(head -c 1 "$1")" = '[' ]; then
        jq --indent 4 'map(del(.children))' "$1" | sed 's/\("actual-size": \)[0-9]*/\1N/'
    else
        awk "/^Child node '/ { child = 1; next } child && /^ / { next } { child = 0; print }" "$1" |
            sed -e 's/in [0-9.]* seconds/in X seconds/' -e 's/^\( *disk size: \)[0-9].*/\1N/'
    fi
}

compare_lines qemu-img commands.txt
